//! How long it takes: from a packet to what is told of it.
//!
//! **One clock, the generator's.** A latency begins when the packet was due that holds the last sample needed (the twin
//! says which that is) and ends when the word of it arrives at the generator. It was due, not handed over: a generator or a
//! broker that is late makes latencies longer and hides none.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use ecg::{AlarmId, RecordId, SampleIndex};
use hdrhistogram::Histogram;

use super::ear::{Ear, Heard};
use super::expect::{Expected, What};
use super::publish::{DeviceLog, Run};
use crate::config::Config;

/// Latencies of one kind.
#[derive(Debug, Clone)]
pub struct Latency {
    /// From what to what.
    pub what: &'static str,
    /// In microseconds.
    pub histogram: Histogram<u64>,
    /// What must have been told and was not heard of, for whatever reason.
    pub unheard: u64,
}

/// What is told apart.
const KINDS: [&str; 4] = [
    "packet to beat",
    "packet to finding",
    "condition to alarm row",
    "condition to delivery",
];
/// Beats are told by time: the same ones lie so near, microseconds.
const SAME_US: i64 = 5_000;

impl Latency {
    fn new(what: &'static str) -> Option<Self> {
        // A microsecond to an hour, to three digits.
        let histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).ok()?;
        Some(Self {
            what,
            histogram,
            unheard: 0,
        })
    }

    fn record(&mut self, due: Instant, heard: Option<Instant>) {
        match heard {
            Some(heard) => {
                let latency = heard.saturating_duration_since(due).as_micros();
                let latency = u64::try_from(latency).unwrap_or(u64::MAX);
                self.histogram.saturating_record(latency.max(1));
            }
            None => self.unheard += 1,
        }
    }

    /// Milliseconds below which this share of them is.
    pub fn quantile_ms(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 * 1e-3
    }

    /// The longest, milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.histogram.max() as f64 * 1e-3
    }
}

/// The latencies of the watched devices of a play.
pub fn measure(run: &Run, config: &Config, ear: &Ear) -> Vec<Latency> {
    let mut twins: HashMap<(usize, usize), Expected> = HashMap::new();
    let mut latencies: BTreeMap<&str, Latency> = KINDS
        .into_iter()
        .filter_map(|what| Some((what, Latency::new(what)?)))
        .collect();
    let heard = ear.heard();
    for log in run.devices.iter().filter(|log| !log.due.is_empty()) {
        let course = &run.courses[log.course];
        let twin = || Expected::new(course, log.published, &[], config);
        let expected = twins
            .entry((log.course, log.published))
            .or_insert_with(twin);
        device(log, expected, &heard, |what, due, heard| {
            if let Some(latency) = latencies.get_mut(what) {
                latency.record(due, heard);
            }
        });
    }
    let told = |what| latencies.remove(what);
    KINDS.into_iter().filter_map(told).collect()
}

fn device(
    log: &DeviceLog,
    expected: &Expected,
    heard: &Heard,
    mut record: impl FnMut(&'static str, Instant, Option<Instant>),
) {
    let none = Vec::new();
    let mut beats = heard.beats.get(&log.device).unwrap_or(&none).clone();
    beats.sort_unstable();
    let readings = heard.readings.get(&log.device);
    let read: HashMap<(u32, u64), Instant> = readings
        .into_iter()
        .flatten()
        .filter(|reading| reading.outcome == "read")
        .map(|reading| ((reading.boot.0, reading.start), reading.at))
        .collect();
    for told in &expected.told {
        // What only silence completes is not told at once.
        let Some(&due) = log.due.get(told.packet) else {
            continue;
        };
        let boot = log.player.boot(told.boot);
        match told.what {
            What::Beat(after) => {
                let at = log.player.start.0 + after;
                let from = beats.partition_point(|(other, _)| *other < at - SAME_US);
                let found = beats.get(from).filter(|(other, _)| *other <= at + SAME_US);
                record(KINDS[0], due, found.map(|(_, at)| *at));
            }
            What::Window(start, _) => {
                record(KINDS[1], due, read.get(&(boot.0, start)).copied());
            }
            What::Raised(condition, onset) => {
                let record_id = RecordId {
                    device: log.device.clone(),
                    boot,
                };
                let alarm = AlarmId::new(&record_id, condition, SampleIndex(onset));
                record(KINDS[2], due, heard.alarms.get(&alarm).copied());
                record(KINDS[3], due, heard.delivered.get(&alarm).copied());
            }
        }
    }
}
