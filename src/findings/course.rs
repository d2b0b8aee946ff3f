//! The course of one device: from what is read of each window to rows, what is usual, and what to alarm on.
//!
//! The service and `evaluate episodes` give their windows to the same [`Course`]: what is scored is what is run.

use std::sync::Arc;

use alarm::{InForce, Report};
use ecg::Finding;
use infer::baseline::Baseline;
use infer::{RhythmDecision, RhythmForm};
use store::FindingRow;

use super::{Conditions, Episodes, Fibrillation, Read, Step};
use crate::usual::Usual;

/// What is found on one device, window after window.
#[derive(Debug, Default)]
pub struct Course {
    episodes: Episodes,
    fibrillation: Fibrillation,
    usual: Usual,
    conditions: Conditions,
}

/// What came of a window.
#[derive(Debug, Default)]
pub struct Noted {
    /// What is to be written of its findings.
    pub steps: Vec<(Step, FindingRow)>,
    /// What is usual for the patient, as JSON, now that it is known.
    pub baseline: Option<String>,
    /// What the alarm machine is to be told.
    pub reports: Vec<Report>,
}

impl Course {
    /// Carries on with these episodes, for whom this is usual.
    pub fn new(open: Vec<FindingRow>, usual: Option<Arc<Baseline>>) -> Self {
        Self {
            episodes: Episodes::resume(open),
            usual: Usual::new(usual),
            ..Self::default()
        }
    }

    /// Another patient, for whom this is usual.
    pub fn set_usual(&mut self, usual: Option<Arc<Baseline>>) {
        self.usual = Usual::new(usual);
    }

    /// Other limits for the patient, from the next window on.
    pub fn set_limits(&mut self, limits: &InForce) {
        self.conditions.set_limits(limits);
    }

    /// What is going on, in the order in which it began.
    pub fn current(&self) -> impl Iterator<Item = &FindingRow> {
        self.episodes.current()
    }

    /// Takes note of what was read from a window, and of what the rhythm model decided on it; windows of a record come in
    /// order. With `learn`, what is usual is learnt.
    pub fn window(
        &mut self,
        read: &Read<'_>,
        rhythm: Option<(&RhythmForm, &RhythmDecision)>,
        learn: bool,
    ) -> Noted {
        let mut noted = Noted::default();
        let mut lasting: Vec<Finding> = read.findings.to_vec();
        if let Some((form, decision)) = rhythm {
            self.fibrillation
                .window(read.record, read.rate, form, decision, &mut lasting);
        }
        let lasting = Read {
            findings: &lasting,
            ..*read
        };
        let usual = &self.usual;
        let change = |finding: &Finding| usual.compare(finding);
        self.episodes.window(&lasting, change, &mut noted.steps);
        self.conditions.window(&lasting, change, &mut noted.reports);
        if learn {
            noted.baseline = self.usual.learn(read.end, read.rate, read.findings);
        }
        noted
    }

    /// The record ended: nothing goes on.
    pub fn end(&mut self, steps: &mut Vec<(Step, FindingRow)>) {
        self.episodes.end(steps);
    }
}
