//! Listens to what the service says during a play: its live stream of some devices, and the open alarms of all on MQTT.
//!
//! Whatever arrives is noted with the generator's clock, the one clock of all latencies. An ear is opened before the play, so
//! that nothing is missed, and stays open until the verdict, so that what is retained can be held against what is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ecg::{AlarmId, BootId, DeviceId};
use ingest::mqtt::{Listener, PublisherConfig};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::Error;
use super::plan::Plan;
use super::settle::Api;
use crate::wall;

/// From one try to connect to the next.
const AGAIN: Duration = Duration::from_millis(200);

/// Listens until it is dropped.
pub struct Ear {
    heard: Arc<Mutex<Heard>>,
    tasks: Vec<JoinHandle<()>>,
    listens_to_readings: bool,
}

impl Drop for Ear {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// What was heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// Beats of watched devices: when by the device's clock, microseconds, and when the word of it came.
    pub beats: HashMap<DeviceId, Vec<(i64, Instant)>>,
    /// Windows of watched devices that the models were done with.
    pub readings: HashMap<DeviceId, Vec<Reading>>,
    /// When a watched device's alarm was heard of first, after its row was durable.
    pub alarms: HashMap<AlarmId, Instant>,
    /// When an alarm was first among the open ones on MQTT.
    pub delivered: HashMap<AlarmId, Instant>,
    /// The open alarms of each device on MQTT, as they are now.
    pub retained: BTreeMap<DeviceId, BTreeSet<AlarmId>>,
    /// Live events that were missed because the ear was too slow.
    pub lagged: u64,
    /// How often the live stream was lost.
    pub lost: u32,
}

/// The models are done with a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Of which record.
    pub boot: BootId,
    /// Its first sample.
    pub start: u64,
    /// The first sample after it.
    pub end: u64,
    /// `read`, `left_out` or `failed`.
    pub outcome: String,
    /// When the word of it came.
    pub at: Instant,
}

impl Ear {
    /// Opens it: to the broker of the plan, and to the live stream of the plan's watched devices where there is a service to
    /// ask.
    ///
    /// # Errors
    /// A broker that cannot be reached.
    pub async fn open(plan: &Plan, api: Option<&Api>) -> Result<Self, Error> {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let mut tasks = Vec::new();
        let config = PublisherConfig {
            inflight: 1000,
            reconnect_max: Duration::from_secs(2),
            ..PublisherConfig::new(&plan.broker)
        };
        let nonce: u32 = rand::random();
        let name = format!("{}-ear-{nonce:08x}", plan.prefix);
        let every = ingest::every_alarm_topic();
        let mut listener = Listener::connect(config, &name, &[every]).await?;
        let (to, prefix) = (Arc::clone(&heard), format!("{}-", plan.prefix));
        tasks.push(tokio::spawn(async move {
            while let Some(message) = listener.next().await {
                let now = wall::instant();
                let device = ingest::device_of_alarm_topic(&message.topic);
                if let Some(device) = device.filter(|d| d.as_str().starts_with(&prefix)) {
                    lock(&to).take_open(device, &message.payload, now);
                }
            }
        }));
        let watched: Vec<DeviceId> = (0..plan.watched).filter_map(|k| plan.device(k)).collect();
        let api = api.filter(|_| !watched.is_empty());
        if let Some(api) = api {
            let (api, to) = (api.clone(), Arc::clone(&heard));
            tasks.push(tokio::spawn(
                async move { listen(&api, &watched, &to).await },
            ));
        }
        Ok(Self {
            heard,
            tasks,
            listens_to_readings: api.is_some(),
        })
    }

    /// What has been heard so far. Nothing more is, while it is looked at.
    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        lock(&self.heard)
    }

    /// Whether it listened to the live stream, and missed nothing of it.
    pub fn missed_nothing(&self) -> bool {
        let heard = self.heard();
        self.listens_to_readings && heard.lagged == 0 && heard.lost == 0
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Listens to the live stream for ever, again and again if need be.
async fn listen(api: &Api, watched: &[DeviceId], to: &Mutex<Heard>) {
    let names: Vec<&str> = watched.iter().map(DeviceId::as_str).collect();
    let path = format!("/api/v1/live?devices={}", names.join(","));
    loop {
        match api.open(&path).await {
            Ok(mut body) => {
                let mut lines = Lines::default();
                while let Ok(Some(chunk)) = body.chunk().await {
                    let now = wall::instant();
                    lines.push(&chunk, |name, data| lock(to).take(name, data, now));
                }
            }
            Err(problem) => tracing::debug!(problem, "no live stream"),
        }
        lock(to).lost += 1;
        tokio::time::sleep(AGAIN).await;
    }
}

/// Server-sent events in the making.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
    name: String,
    data: String,
}

impl Lines {
    /// Takes bytes as they come; `event` is called with name and data of each event that is complete.
    fn push(&mut self, bytes: &[u8], mut event: impl FnMut(&str, &str)) {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return;
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        for line in String::from_utf8_lossy(&whole).lines() {
            if let Some(name) = line.strip_prefix("event:") {
                name.trim().clone_into(&mut self.name);
            } else if let Some(data) = line.strip_prefix("data:") {
                self.data.push_str(data.trim_start());
            } else if line.is_empty() && !self.name.is_empty() {
                event(&self.name, &self.data);
                self.name.clear();
                self.data.clear();
            }
        }
    }
}

impl Heard {
    /// Takes an event of the live stream.
    fn take(&mut self, name: &str, data: &str, now: Instant) {
        if !matches!(name, "beat" | "reading" | "alarm" | "lagged") {
            return;
        }
        let Ok(data) = serde_json::from_str::<Value>(data) else {
            return;
        };
        let word = |key: &str| data[key].as_str().unwrap_or_default();
        let number = |key: &str| data[key].as_u64().unwrap_or_default();
        let Ok(device) = word("device").parse::<DeviceId>() else {
            self.lagged += number("skipped");
            return;
        };
        match name {
            "beat" => {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "microseconds since 1970 are far from the limits"
                )]
                let at = (data["at_ms"].as_f64().unwrap_or_default() * 1e3).round() as i64;
                self.beats.entry(device).or_default().push((at, now));
            }
            "reading" => {
                let boot = u32::from_str_radix(word("record"), 16).unwrap_or_default();
                self.readings.entry(device).or_default().push(Reading {
                    boot: BootId(boot),
                    start: number("start_sample"),
                    end: number("end_sample"),
                    outcome: word("outcome").to_owned(),
                    at: now,
                });
            }
            _ => {
                if let Ok(alarm) = word("id").parse() {
                    self.alarms.entry(AlarmId(alarm)).or_insert(now);
                }
            }
        }
    }

    /// Takes the open alarms of a device.
    fn take_open(&mut self, device: DeviceId, payload: &[u8], now: Instant) {
        let open: Vec<Value> = serde_json::from_slice(payload).unwrap_or_default();
        let ids = open.iter().filter_map(|alarm| {
            let id = alarm["id"].as_str()?.parse().ok()?;
            Some(AlarmId(id))
        });
        let ids: BTreeSet<AlarmId> = ids.collect();
        for id in &ids {
            self.delivered.entry(*id).or_insert(now);
        }
        self.retained.insert(device, ids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let stream = "event: beat\ndata: {\"device\":\"load-00001\",\"at_ms\":1.5}\n\n: alive\n\n\
             event: trace\ndata: {\"device\":\"load-00001\"}\n\n\
             event: reading\ndata: {\"device\":\"load-00001\",\"record\":\"0000000f\",\
             \"start_sample\":2,\"end_sample\":7,\"outcome\":\"read\"}\n\n\
             event: lagged\ndata: {\"skipped\":3}\n\n";
        let now = wall::instant();
        for size in [1, 7, 1000] {
            let (mut lines, mut heard) = (Lines::default(), Heard::default());
            for chunk in stream.as_bytes().chunks(size) {
                lines.push(chunk, |name, data| heard.take(name, data, now));
            }
            let device: DeviceId = "load-00001".parse().unwrap();
            assert_eq!(heard.beats[&device], [(1500, now)]);
            let reading = &heard.readings[&device][0];
            assert_eq!(
                (reading.boot, reading.start, reading.end),
                (BootId(15), 2, 7)
            );
            assert_eq!((reading.outcome.as_str(), heard.lagged), ("read", 3));
        }
    }
}
