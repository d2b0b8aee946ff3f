//! Atrial fibrillation in the stream: its episodes are those that `evaluate rhythm` scores.
//!
//! A decision is about half a minute, so that what a single one says is neither when fibrillation began nor whether it
//! lasted. [`Fibrillation`] gives every decision to [`rhythm::Episodes`](Episodes) and puts the episode that goes on, once
//! it is one, in the place of what the window said.

use ecg::{Finding, Label, RecordId, SampleIndex, SampleRate, Source};

use crate::rhythm::{Episodes, Limits, Verdict};

/// Makes episodes of what a rhythm model says of one device.
#[derive(Debug)]
pub struct Fibrillation {
    /// What its findings of fibrillation are labelled with.
    label: Label,
    state: Option<State>,
}

#[derive(Debug)]
struct State {
    record: RecordId,
    episodes: Episodes,
    /// The end of the newest decision.
    end: SampleIndex,
    /// What the model said of fibrillation last.
    said: Option<Finding>,
}

impl Fibrillation {
    /// Of the model whose findings of fibrillation have this label.
    pub fn new(label: Label) -> Self {
        Self { label, state: None }
    }

    /// Takes the decision on a window of `record`; of its `findings`, that of fibrillation gives way to the episode.
    pub fn window(
        &mut self,
        record: &RecordId,
        rate: SampleRate,
        limits: impl Into<Limits>,
        decision: impl Into<Verdict>,
        findings: &mut Vec<Finding>,
    ) {
        let decision: Verdict = decision.into();
        let is = |finding: &Finding| {
            finding.label == self.label && matches!(finding.source, Source::Model(_))
        };
        let own = findings.iter().position(is).map(|k| findings.remove(k));
        let known = self.state.take();
        let known = known.filter(|state| state.record == *record);
        let state = self.state.insert(known.unwrap_or_else(|| State {
            record: record.clone(),
            episodes: Episodes::new(rate, limits),
            end: SampleIndex(0),
            said: None,
        }));
        if decision.end > state.end {
            let mut changes = Vec::new();
            // A stretch that begins after all that was decided on comes after a gap.
            if decision.start >= state.end {
                state.episodes.end(&mut changes);
            }
            state.episodes.push(decision, &mut changes);
            state.end = decision.end;
            state.said = own.or(state.said.take());
        }
        if let (Some(episode), Some(said)) = (state.episodes.current(), &state.said) {
            findings.push(Finding {
                start: episode.onset,
                end: episode.offset,
                probability: Some(episode.probability),
                ..said.clone()
            });
        }
    }

    /// Nothing is decided any more: what is going on is over.
    pub fn lapse(&mut self) {
        self.state = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::{Episodes as Rows, Read, Step};
    use ecg::{Anchor, BootId, Evidence, Lead, ModelRef, SampleCount, Utc};
    use infer::{RhythmDecision, RhythmForm, RhythmLabel};

    const FORM: RhythmForm = RhythmForm {
        temperature: 1.0,
        bias: [0.0; 4],
        enter: 0.5,
        leave: 0.35,
    };

    fn model() -> ModelRef {
        ModelRef {
            name: "rhythm-1".to_owned(),
            version: "1".to_owned(),
            sha256: "ab".to_owned(),
        }
    }

    /// What the windows of a record say that end each five seconds from the 15th on, by how probable fibrillation is
    /// in each: the rows that are written, as step, onset and end in seconds. A gap of a minute comes before the window
    /// of that number.
    fn rows(probabilities: &[f32], gap_before: usize) -> Vec<(Step, u64, u64)> {
        let rate = SampleRate::new(100.0).unwrap();
        let record = RecordId {
            device: "vest".parse().unwrap(),
            boot: BootId(1),
        };
        let (mut fibrillation, mut episodes) = (
            Fibrillation::new(infer::rhythm::FIBRILLATION),
            Rows::default(),
        );
        let (mut steps, mut segment) = (Vec::new(), SampleIndex(0));
        for (k, p) in probabilities.iter().enumerate() {
            let late = if k < gap_before { 0 } else { 60 };
            if k == gap_before {
                segment = SampleIndex((5 * k as u64 + 60) * 100);
            }
            let end = SampleIndex((15 + 5 * k as u64 + late) * 100);
            let decision = RhythmDecision {
                start: end.before(SampleCount(3072)).max(segment),
                end,
                lead: Lead::II,
                probabilities: [1.0 - p, *p, 0.0, 0.0],
                label: RhythmLabel::Sinus,
                numbers: [0.0; infer::rhythm::N_FEATURES],
            };
            let said = Finding {
                label: infer::rhythm::FIBRILLATION,
                start: decision.start,
                end,
                probability: Some(*p),
                source: Source::Model(model()),
                leads: Vec::new(),
                evidence: Evidence::default(),
            };
            let mut findings = if *p >= FORM.enter {
                vec![said]
            } else {
                Vec::new()
            };
            fibrillation.window(&record, rate, &FORM, &decision, &mut findings);
            let read = Read {
                record: &record,
                rate,
                anchor: Anchor {
                    index: SampleIndex(0),
                    utc: Utc(0),
                    hz: 100.0,
                },
                end,
                findings: &findings,
            };
            episodes.window(&read, |_| None, &mut steps);
        }
        let brief =
            |(step, row): &(Step, store::FindingRow)| (*step, row.onset.0 / 100, row.end.0 / 100);
        steps.iter().map(brief).collect()
    }

    #[test]
    fn what_lasts_half_a_minute_is_an_episode_that_a_weak_moment_does_not_end() {
        let mut said = vec![0.1, 0.1];
        said.extend([0.9; 10]);
        // Neither below the limit to leave, nor long.
        said.extend([0.4, 0.2]);
        said.extend([0.9; 4]);
        said.extend([0.1; 4]);
        let rows = rows(&said, usize::MAX);
        // Dated by the middle of the stretch that ended at 25 s, and of the last one that says so.
        assert_eq!(rows, [(Step::Began, 10, 42), (Step::Ended, 10, 87)]);
    }

    #[test]
    fn what_is_short_or_cut_by_a_gap_is_none() {
        assert_eq!(rows(&[0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1], usize::MAX), []);
        assert_eq!(rows(&[0.9, 0.9, 0.9, 0.9], 2), []);
    }
}
