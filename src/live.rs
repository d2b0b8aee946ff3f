//! What a person watching sees at once: published to whoever listens, kept by nobody.
//!
//! A subscriber that cannot keep up misses events and is told how many; nothing waits for it.

use std::sync::Arc;

use ecg::{
    Change, DeviceId, Measurement, QualityReason, RateSource, SampleRate, SignalKind, TwelveLead,
    Utc, Window,
};
use tokio::sync::broadcast;

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
    /// How a device is.
    Status(DeviceStatus),
    /// A step of an alarm, durable already.
    Alarm(uuid::Uuid),
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
    /// The device it speaks of; `None` for an alarm, which is looked up.
    pub fn device(&self) -> Option<&DeviceId> {
        match self {
            LiveEvent::Trace { device, .. }
            | LiveEvent::Beat { device, .. }
            | LiveEvent::Escalated { device, .. }
            | LiveEvent::Pause { device, .. } => Some(device),
            LiveEvent::Status(status) => Some(&status.device),
            LiveEvent::Alarm(_) => None,
        }
    }
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
    /// Its signals.
    pub signals: Vec<(SignalKind, SampleRate)>,
    /// Heart rate in beats per minute, if it is known.
    pub bpm: Option<f32>,
    /// What it was counted on.
    pub rate_source: Option<RateSource>,
    /// Each signal's last judged second.
    pub quality: Vec<(SignalKind, f32, QualityReason)>,
    /// What was measured of the newest beat and the last ones, and when that was; measured leads only.
    pub measurement: Option<(Box<Measurement>, Utc)>,
    /// What is found in it by now, the longest standing first.
    pub findings: Vec<Found>,
    /// Percent, if the device says so.
    pub battery_percent: Option<u8>,
    /// Who wears it.
    pub patient: Option<String>,
    /// Its alarm limits in force.
    pub limits: alarm::InForce,
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

/// The way from the stages to the subscribers.
#[derive(Debug, Clone)]
pub struct LiveBus(broadcast::Sender<Arc<LiveEvent>>);

impl Default for LiveBus {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG).0)
    }
}

impl LiveBus {
    /// Whether anybody listens; if not, events need not be made.
    pub fn is_watched(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Publishes to whoever listens.
    pub fn publish(&self, event: LiveEvent) {
        // An error says that nobody listens, which is fine.
        self.0.send(Arc::new(event)).ok();
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<LiveEvent>> {
        self.0.subscribe()
    }
}

/// Thousandths: microvolts for ECG, thousandths of the arbitrary unit for PPG.
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
