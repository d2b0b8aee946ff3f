//! One record under watch: what is known of it and how far it has been judged.

use ecg::{AlarmEvent, AlarmId, AlarmState, Anchor, Condition, Priority, RecordId, SampleIndex};

use crate::judge::Judge;
use crate::memory::Memory;
use crate::pending::{Fact, Moment, Pending, Phase};
use crate::{Config, InForce, definition};

/// A record as far as it has been watched.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) id: RecordId,
    pub(crate) anchor: Anchor,
    pub(crate) memory: Memory,
    pub(crate) pending: Pending,
    /// Everything up to and including this moment has taken effect.
    pub(crate) cursor: Moment,
    /// Up to and including this sample events are known already: none is raised.
    pub(crate) known_until: Option<SampleIndex>,
    /// The limits changed since the last judgement.
    pub(crate) rejudge: bool,
    /// Over: only kept to know where the silence began.
    pub(crate) ended: bool,
}

impl Watch {
    pub(crate) fn new(id: RecordId, anchor: Anchor, memory: Memory, at: SampleIndex) -> Self {
        Self {
            id,
            anchor,
            memory,
            pending: Pending::default(),
            cursor: (at, Phase::Quality),
            known_until: None,
            rejudge: false,
            ended: false,
        }
    }

    /// What is judged, or was before a restart.
    pub(crate) fn position(&self) -> SampleIndex {
        self.known_until
            .map_or(self.cursor.0, |known| known.max(self.cursor.0))
    }

    pub(crate) fn judge<'a>(&'a self, config: &'a Config, limits: InForce) -> Judge<'a> {
        Judge {
            config,
            limits,
            memory: &self.memory,
            at: self.cursor.0,
        }
    }

    /// Lets the facts of a moment take effect together.
    pub(crate) fn learn(&mut self, moment: Moment) {
        let mut judged = false;
        while let Some(fact) = self.pending.take(moment) {
            match fact {
                Fact::Quality(quality) => {
                    self.memory.quality(quality);
                    judged = true;
                }
                Fact::GapStart(end) => self.memory.gap_start(moment.0, end),
                Fact::GapEnd => self.memory.gap_end(moment.0),
                Fact::Ventricular(second) => self.memory.ventricular(&second),
                Fact::Beat => self.memory.beat(moment.0),
                Fact::Pulse(amplitude) => self.memory.add_pulse(moment.0, amplitude),
                Fact::Rate(rate) => self.memory.rate(rate),
            }
        }
        if judged {
            self.memory.settle(moment.0);
        }
    }

    pub(crate) fn raised(
        &self,
        condition: Condition,
        onset: SampleIndex,
        at: SampleIndex,
        priority: Priority,
        evidence: String,
    ) -> AlarmEvent {
        AlarmEvent {
            onset,
            alarm: AlarmId::new(&self.id, condition, onset),
            ..raised(&self.id, self.anchor, condition, at, priority, evidence)
        }
    }
}

/// An alarm of a record that is raised, and begins, at `at`.
pub(crate) fn raised(
    record: &RecordId,
    anchor: Anchor,
    condition: Condition,
    at: SampleIndex,
    priority: Priority,
    evidence: String,
) -> AlarmEvent {
    AlarmEvent {
        alarm: AlarmId::new(record, condition, at),
        record: record.clone(),
        condition,
        kind: definition(condition).kind,
        priority,
        state: AlarmState::Active,
        onset: at,
        at,
        utc: anchor.utc(at),
        by: None,
        evidence,
    }
}
