//! What is committed together.

use ecg::{
    AlarmEvent, AlarmId, Anchor, Beat, Gap, Layout, RecordId, SampleIndex, Strip, Suppression,
    Trend, Utc,
};

use crate::{FindingRow, PatientId};

/// How far a record has come.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordUpdate {
    /// The record.
    pub record: RecordId,
    /// Its signals.
    pub layout: Layout,
    /// How its samples lie in UTC, as far as is known by now.
    pub anchor: Anchor,
    /// Everything derived from samples before this one is durable once this is committed. Of two
    /// updates of a record, the one that reaches further is the newer one, and the other is ignored.
    pub durable_until: SampleIndex,
    /// The device has started anew, or said that it is going away.
    pub ended: bool,
    /// When the device was last heard of, in UTC of the receiver.
    pub seen: Utc,
}

/// The signals around an alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmStrip {
    /// The alarm.
    pub alarm: AlarmId,
    /// The signals.
    pub strip: Strip,
    /// What was found in them: a JSON array as the API gives it; `None` where nothing looked.
    pub findings: Option<String>,
}

/// What is committed together: all of it or nothing.
///
/// The same thing may be in it twice, or already be in the database. Which one stays:
///
/// | | stays |
/// |---|---|
/// | record | the furthest `durable_until`, among equals the later |
/// | beat | the first, completed by the first class that is given |
/// | gap | the longest from the same start |
/// | event | the first of an alarm and state; with it comes a message in the outbox, once |
/// | suppression | the first of an alarm |
/// | strip | the first of an alarm |
/// | finding | the first of an episode, with the furthest end, whether it ended there, and the highest probability |
/// | baseline | the first of a patient |
/// | trend | the last of a record and minute |
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// How far records have come; also what makes a device known.
    pub records: Vec<RecordUpdate>,
    /// Beats with the estimated UTC of their R peak.
    pub beats: Vec<(RecordId, Beat, Utc)>,
    /// Samples that never came.
    pub gaps: Vec<(RecordId, Gap)>,
    /// Steps in the lives of alarms.
    pub events: Vec<AlarmEvent>,
    /// Alarms that were held back, and why.
    pub suppressions: Vec<Suppression>,
    /// The signals around alarms.
    pub strips: Vec<AlarmStrip>,
    /// Episodes of findings, each as it is by now.
    pub findings: Vec<FindingRow>,
    /// What is usual for a patient, as JSON. The patient has to be known.
    pub baselines: Vec<(PatientId, String)>,
    /// Minutes, each complete up to now: it replaces what was stored of the same minute.
    pub trends: Vec<Trend>,
    /// When all of it is committed, by the clock of whoever does: what messages of alarms and escalations are timed by.
    /// Without it they are timed by their events.
    pub at: Option<Utc>,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.n_rows() == 0
    }

    /// How many things are in it.
    pub fn n_rows(&self) -> usize {
        self.records.len()
            + self.beats.len()
            + self.gaps.len()
            + self.events.len()
            + self.suppressions.len()
            + self.strips.len()
            + self.findings.len()
            + self.baselines.len()
            + self.trends.len()
    }

    /// Adds everything that is in `later`, as if it had happened after what is here.
    pub fn append(&mut self, mut later: Batch) {
        self.records.append(&mut later.records);
        self.beats.append(&mut later.beats);
        self.gaps.append(&mut later.gaps);
        self.events.append(&mut later.events);
        self.suppressions.append(&mut later.suppressions);
        self.strips.append(&mut later.strips);
        self.findings.append(&mut later.findings);
        self.baselines.append(&mut later.baselines);
        self.trends.append(&mut later.trends);
        self.at = self.at.max(later.at);
    }
}
