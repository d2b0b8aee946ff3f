//! What a person watching sees at once: published to whoever listens, kept by nobody.
//!
//! A subscriber that cannot keep up misses events and is told how many; nothing waits for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ecg::{
    BootId, Change, DeviceId, Measurement, QualityReason, RateSource, SampleIndex, SampleRate,
    SignalKind, TwelveLead, Utc, Window,
};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::vitals::Vitals;

/// Live events that a subscriber may lag behind before it misses some.
const BACKLOG: usize = 4096;

/// Something that just happened.
#[derive(Debug, Clone)]
pub enum LiveEvent {
    /// Filtered samples of a device, microvolts for ECG.
    Trace {
        /// Who sent them.
        device: DeviceId,
        /// When the first was taken.
        start: Utc,
        /// Samples per second.
        rate: SampleRate,
        /// Each signal's samples; `[signal, sample]`.
        signals: Vec<(SignalKind, Vec<i32>)>,
    },
    /// A heartbeat.
    Beat {
        /// Whose.
        device: DeviceId,
        /// When.
        at: Utc,
    },
    /// The models are done with a window.
    Reading {
        /// Whose.
        device: DeviceId,
        /// Of which record.
        boot: BootId,
        /// Its first sample.
        start: SampleIndex,
        /// The first sample after it.
        end: SampleIndex,
        /// What came of it.
        outcome: ReadingOutcome,
    },
    /// How a device is.
    Status(Box<DeviceStatus>),
    /// A step of an alarm, durable already.
    Alarm {
        /// Whose it is.
        device: DeviceId,
        /// Which.
        alarm: ecg::AlarmId,
    },
    /// Nobody acknowledged an alarm in time.
    Escalated {
        /// Whose it is.
        device: DeviceId,
        /// Which.
        alarm: ecg::AlarmId,
        /// How often by now.
        level: u32,
        /// When.
        at: Utc,
    },
    /// Messages of a device are paused, or go on.
    Pause {
        /// Which.
        device: DeviceId,
        /// Until when; `None` if they go on.
        until: Option<Utc>,
        /// Who said so; `None` where the time was up.
        by: Option<String>,
    },
}

impl LiveEvent {
    /// The device it speaks of.
    pub fn device(&self) -> &DeviceId {
        match self {
            LiveEvent::Trace { device, .. }
            | LiveEvent::Beat { device, .. }
            | LiveEvent::Reading { device, .. }
            | LiveEvent::Alarm { device, .. }
            | LiveEvent::Escalated { device, .. }
            | LiveEvent::Pause { device, .. } => device,
            LiveEvent::Status(status) => &status.device,
        }
    }
}

/// What came of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadingOutcome {
    /// It was read, with so many findings.
    Read(usize),
    /// It was left out: a newer one came before the models had time for it.
    LeftOut,
    /// The models refused it.
    Failed,
}

/// How a device is right now.
#[derive(Debug, Clone)]
pub struct DeviceStatus {
    /// The device.
    pub device: DeviceId,
    /// Whether data arrived lately.
    pub online: bool,
    /// When data arrived last.
    pub last_seen: Option<Utc>,
    /// The boot of the record being received.
    pub record: Option<String>,
    /// Whether a synthetic trace may be asked for.
    pub synthetic: bool,
    /// Its signals.
    pub signals: Vec<(SignalKind, SampleRate)>,
    /// Heart rate in beats per minute, if it is known.
    pub bpm: Option<f32>,
    /// What it was counted on.
    pub rate_source: Option<RateSource>,
    /// Each signal's last judged second.
    pub quality: Vec<(SignalKind, f32, QualityReason)>,
    /// How its pulse wave serves to tell a rhythm; `None` where nobody asked it.
    pub pulse: Option<PulseStatus>,
    /// What was measured of the newest beat and the last ones, and when that was; measured leads only.
    pub measurement: Option<(Box<Measurement>, Utc)>,
    /// What its pulse says beyond the rate, and as of when.
    pub vitals: Option<(Box<Vitals>, Utc)>,
    /// What is found in it by now, the longest standing first.
    pub findings: Vec<Found>,
    /// Percent, if the device says so.
    pub battery_percent: Option<u8>,
    /// Who wears it.
    pub patient: Option<String>,
    /// Its alarm limits in force.
    pub limits: alarm::InForce,
}

/// How the pulse wave of a record serves to tell a rhythm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PulseStatus {
    /// The signal that was asked last.
    pub signal: SignalKind,
    /// How likely its last stretch is good enough, 0 to 1.
    pub usable: f32,
    /// Stretches that were asked in this record.
    pub n_asked: u64,
    /// Those of them that were not good enough.
    pub n_unusable: u64,
}

/// Something that is found in a device's signals right now, without what it rests on.
#[derive(Debug, Clone)]
pub struct Found {
    /// What, in a word.
    pub name: String,
    /// What, for people.
    pub text: String,
    /// Who says so: `rule`, or the name of a model.
    pub source: String,
    /// The highest calibrated probability so far; `None` for a rule.
    pub probability: Option<f32>,
    /// When it began.
    pub since: Utc,
    /// Against what is usual for the patient.
    pub change: Option<Change>,
}

impl From<&store::FindingRow> for Found {
    fn from(row: &store::FindingRow) -> Self {
        Self {
            name: row.name.clone(),
            text: row.text.clone(),
            source: row.source.clone(),
            probability: row.probability,
            since: row.start_utc,
            change: row.change,
        }
    }
}

/// The newest window of a device that was read: what its twelve leads are completed from again when somebody asks for them,
/// since twelve leads take four times its memory.
#[derive(Debug, Clone)]
pub struct LatestWindow {
    /// The measured leads.
    pub window: Arc<Window>,
    /// The patient's own correction of the model.
    pub calibration: Option<Arc<infer::Calibration>>,
    /// When it begins.
    pub start: Utc,
    /// What was found in it.
    pub findings: Arc<[ecg::Finding]>,
}

/// The newest twelve leads of a device, with the UTC of their first sample.
#[derive(Debug, Clone)]
pub struct LatestTwelve {
    /// The leads.
    pub leads: TwelveLead,
    /// When they begin.
    pub start: Utc,
    /// What was found in them.
    pub findings: Arc<[ecg::Finding]>,
}

/// What is drawn of the newest pulse wave of a device: synthetic, for a view alone.
#[derive(Debug, Clone)]
pub struct LatestSynthetic {
    /// What is drawn.
    pub trace: infer::Synthetic,
    /// What it is drawn from.
    pub signal: SignalKind,
    /// When it begins.
    pub start: Utc,
}

/// Why nothing is drawn of a pulse wave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Undrawn {
    /// The settings say so, or no model is loaded that could.
    #[error("synthetic traces are switched off (infer.surrogate)")]
    Off,
    /// There is no such device.
    #[error("no such device")]
    NoDevice,
    /// Nothing that it could be drawn from.
    #[error("the device has no PPG")]
    NoPulse,
    /// There is a true one.
    #[error("the device measures an ECG")]
    Measured,
    /// The record, or what follows a gap, is too short.
    #[error("there are no 10 s of the pulse wave yet")]
    TooShort,
    /// Nothing that is worth drawing from.
    #[error("the pulse wave is not usable")]
    Unusable,
    /// The model failed.
    #[error("the model failed")]
    Failed,
}

/// The way from the stages to the subscribers.
#[derive(Debug, Clone)]
pub struct LiveBus {
    events: broadcast::Sender<Arc<LiveEvent>>,
    wanted: Arc<Wanted>,
}

/// What subscribers want to hear of.
#[derive(Debug, Default)]
struct Wanted {
    /// How many want to hear of every device.
    everything: AtomicUsize,
    /// How many want to hear of each of some devices.
    devices: RwLock<HashMap<DeviceId, usize>>,
    /// How many devices are in there, for a look without the lock.
    n_devices: AtomicUsize,
}

impl Default for LiveBus {
    fn default() -> Self {
        Self {
            events: broadcast::channel(BACKLOG).0,
            wanted: Arc::default(),
        }
    }
}

impl LiveBus {
    /// Whether anybody wants to hear of a device; if not, events need not be made. Nobody else's events go past a
    /// subscriber of a few devices, of which there may be one among thousands.
    pub fn is_watched(&self, device: &DeviceId) -> bool {
        let Wanted {
            everything,
            devices,
            n_devices,
        } = &*self.wanted;
        everything.load(Ordering::Relaxed) > 0
            || (n_devices.load(Ordering::Relaxed) > 0
                && devices
                    .read()
                    .unwrap_or_else(PoisonError::into_inner)
                    .contains_key(device))
    }

    /// Publishes to whoever listens.
    pub fn publish(&self, event: LiveEvent) {
        // An error says that nobody listens, which is fine.
        self.events.send(Arc::new(event)).ok();
    }

    /// Listens from now on, to what is said of these devices, or of all of them. Alarms and what else is rare is heard of
    /// every device.
    pub fn subscribe(&self, only: Option<&[DeviceId]>) -> Subscription {
        let wanted = Arc::clone(&self.wanted);
        match only {
            None => {
                wanted.everything.fetch_add(1, Ordering::Relaxed);
            }
            Some(only) => wanted.change(|devices| {
                for device in only {
                    *devices.entry(device.clone()).or_default() += 1;
                }
            }),
        }
        Subscription {
            events: self.events.subscribe(),
            wanted,
            only: only.map(<[DeviceId]>::to_vec),
        }
    }
}

impl Wanted {
    fn change(&self, change: impl FnOnce(&mut HashMap<DeviceId, usize>)) {
        let mut devices = self.devices.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut devices);
        self.n_devices.store(devices.len(), Ordering::Relaxed);
    }
}

/// Somebody who listens, until it is dropped.
#[derive(Debug)]
pub struct Subscription {
    events: broadcast::Receiver<Arc<LiveEvent>>,
    wanted: Arc<Wanted>,
    only: Option<Vec<DeviceId>>,
}

impl Subscription {
    /// The next event.
    ///
    /// # Errors
    /// How many were missed, or that there will be none.
    pub async fn recv(&mut self) -> Result<Arc<LiveEvent>, RecvError> {
        self.events.recv().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        match &self.only {
            None => {
                self.wanted.everything.fetch_sub(1, Ordering::Relaxed);
            }
            Some(only) => self.wanted.change(|devices| {
                for device in only {
                    if let Some(n) = devices.get_mut(device) {
                        *n -= 1;
                        if *n == 0 {
                            devices.remove(device);
                        }
                    }
                }
            }),
        }
    }
}

/// Thousandths: microvolts for ECG, thousandths of the arbitrary unit for PPG, of g for acceleration.
#[expect(
    clippy::cast_possible_truncation,
    reason = "float to integer casts saturate"
)]
pub fn to_thousandths(samples: &[f32]) -> Vec<i32> {
    samples
        .iter()
        .map(|x| (x * 1000.0).round() as i32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_somebody_wants_to_hear_of_is_watched() {
        let bus = LiveBus::default();
        let [a, b] = ["a", "b"].map(|name| name.parse::<DeviceId>().unwrap());
        let watched = || [&a, &b].map(|device| bus.is_watched(device));
        assert_eq!(watched(), [false, false]);
        let mut some = bus.subscribe(Some(&[a.clone(), a.clone()]));
        assert_eq!(watched(), [true, false]);
        let everything = bus.subscribe(None);
        assert_eq!(watched(), [true, true]);
        drop(everything);
        let again = bus.subscribe(Some(std::slice::from_ref(&a)));
        bus.publish(LiveEvent::Beat {
            device: a.clone(),
            at: Utc(7),
        });
        let heard = some.recv().await.unwrap();
        assert!(matches!(*heard, LiveEvent::Beat { at: Utc(7), .. }));
        drop(some);
        assert_eq!(watched(), [true, false]);
        drop(again);
        assert_eq!(watched(), [false, false]);
    }
}
