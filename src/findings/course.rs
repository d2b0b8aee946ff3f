//! The course of one device: from what is read of each window to rows, what is usual, and what to alarm on.
//!
//! The service and `evaluate episodes` give their windows to the same [`Course`]: what is scored is what is run.

use std::sync::Arc;

use alarm::{InForce, Report};
use ecg::{Finding, SampleIndex};
use infer::baseline::Baseline;
use infer::{RhythmDecision, RhythmForm};
use store::FindingRow;

use super::{Conditions, Episodes, Fibrillation, Read, Step};
use crate::usual::Usual;

/// What classifiers said of twelve leads stands for so long when nobody asks them again.
const HOLD_SECONDS: f64 = 75.0;

/// What is found on one device, window after window.
#[derive(Debug, Default)]
pub struct Course {
    episodes: Episodes,
    fibrillation: Fibrillation,
    usual: Usual,
    conditions: Conditions,
    /// What classifiers said last, and the end of the window they said it of.
    held: Option<(SampleIndex, Vec<Finding>)>,
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
    /// order. `diagnoses` are what the classifiers said of its twelve leads; where nobody asked them, for lack of time, what
    /// they said last stands for 75 s. With `learn`, what is usual is learnt.
    pub fn window(
        &mut self,
        read: &Read<'_>,
        diagnoses: Option<&[Finding]>,
        rhythm: Option<(&RhythmForm, &RhythmDecision)>,
        learn: bool,
    ) -> Noted {
        let mut noted = Noted::default();
        let said = read.findings.iter().cloned();
        let mut lasting: Vec<Finding> = said.chain(self.diagnoses(read, diagnoses)).collect();
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
        if learn && let Some(diagnoses) = diagnoses {
            let all = read.findings.iter().chain(diagnoses);
            noted.baseline = self.usual.learn(read.end, read.rate, all);
        }
        noted
    }

    /// What the classifiers say of a window, or said last.
    fn diagnoses(&mut self, read: &Read<'_>, said: Option<&[Finding]>) -> Vec<Finding> {
        if let Some(said) = said {
            self.held = Some((read.end, said.to_vec()));
            return said.to_vec();
        }
        let Some((end, held)) = &self.held else {
            return Vec::new();
        };
        if *end > read.end || read.rate.seconds(read.end.since(*end)) > HOLD_SECONDS {
            // Of another record, or too old.
            return Vec::new();
        }
        let moved = |finding: &Finding| Finding {
            start: read.end.before(finding.end.since(finding.start)),
            end: read.end,
            ..finding.clone()
        };
        held.iter().map(moved).collect()
    }

    /// The record ended: nothing goes on.
    pub fn end(&mut self, steps: &mut Vec<(Step, FindingRow)>) {
        self.held = None;
        self.episodes.end(steps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::{Anchor, BootId, Evidence, Label, ModelRef, RecordId, SampleRate, Source, Utc};

    /// Windows of 10 s each five seconds: `Some` of what a classifier says, `None` where nobody asked it. What is written:
    /// the second of the window, and what became of the episode.
    fn written(windows: &[Option<bool>]) -> Vec<(u64, Step)> {
        let record = RecordId {
            device: "vest".parse().unwrap(),
            boot: BootId(1),
        };
        let mut course = Course::default();
        let mut written = Vec::new();
        for (k, said) in windows.iter().enumerate() {
            let second = 10 + 5 * k as u64;
            let finding = Finding {
                label: Label::new("mi", "Infarction", None),
                start: SampleIndex(100 * (second - 10)),
                end: SampleIndex(100 * second),
                probability: Some(0.9),
                source: Source::Model(ModelRef {
                    name: "classifier".to_owned(),
                    version: "1".to_owned(),
                    sha256: "ab".to_owned(),
                }),
                leads: Vec::new(),
                evidence: Evidence::default(),
            };
            let diagnoses = said.map(|yes| if yes { vec![finding] } else { Vec::new() });
            let read = Read {
                record: &record,
                rate: SampleRate::new(100.0).unwrap(),
                anchor: Anchor {
                    index: SampleIndex(0),
                    utc: Utc(0),
                    hz: 100.0,
                },
                end: SampleIndex(100 * second),
                findings: &[],
            };
            let noted = course.window(&read, diagnoses.as_deref(), None, false);
            let steps = noted.steps.into_iter();
            written.extend(steps.map(|(step, row)| {
                assert_eq!(row.ended, step == Step::Ended);
                (row.end.0 / 100, step)
            }));
        }
        written
    }

    #[test]
    fn what_was_said_last_stands_while_nobody_asks_for_a_minute() {
        // Asked once a minute, an episode goes on; when the answer is no, it ends where it was last said to be.
        let mut windows = vec![None; 40];
        for k in [0, 12, 24] {
            windows[k] = Some(k < 24);
        }
        assert_eq!(
            written(&windows),
            [(10, Step::Began), (70, Step::WentOn), (125, Step::Ended)]
        );
        // Nobody asks again.
        let mut windows = vec![None; 40];
        windows[0] = Some(true);
        assert_eq!(
            written(&windows),
            [(10, Step::Began), (70, Step::WentOn), (85, Step::Ended)]
        );
    }
}
