//! The course of one device: from what is read of each window to rows, what is usual, and what to alarm on.
//!
//! The service and `evaluate episodes` give their windows to the same [`Course`]: what is scored is what is run.

use std::sync::Arc;

use alarm::{InForce, Report};
use ecg::{Finding, SampleIndex};
use infer::baseline::Baseline;
use infer::pulse_rhythm::PULSE_FIBRILLATION;
use infer::rhythm::FIBRILLATION;
use infer::{PulseRhythmDecision, PulseRhythmForm, RhythmDecision, RhythmForm};
use store::FindingRow;

use super::{Conditions, Episodes, Fibrillation, Read, Step};
use crate::usual::Usual;

/// What classifiers said of twelve leads stands for so long when nobody asks them again.
const HOLD_SECONDS: f64 = 75.0;
/// What the pulse says stands for so long beside windows of the ECG: two hops.
const PULSE_HOLD_SECONDS: f64 = 10.5;

/// What is found on one device, window after window.
#[derive(Debug)]
pub struct Course {
    episodes: Episodes,
    fibrillation: Fibrillation,
    pulse: Fibrillation,
    /// What the pulse said last in a record with an ECG, and the end of the stretch that it said it of.
    pulse_held: Option<(SampleIndex, Vec<Finding>)>,
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

impl Default for Course {
    fn default() -> Self {
        Self {
            episodes: Episodes::default(),
            fibrillation: Fibrillation::new(FIBRILLATION),
            pulse: Fibrillation::new(PULSE_FIBRILLATION),
            pulse_held: None,
            usual: Usual::default(),
            conditions: Conditions::default(),
            held: None,
        }
    }
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
        lasting.extend(self.pulse_says(read));
        self.take(read, &lasting, &mut noted);
        if learn && let Some(diagnoses) = diagnoses {
            let all = read.findings.iter().chain(diagnoses);
            noted.baseline = self.usual.learn(read.end, read.rate, all);
        }
        noted
    }

    /// Takes note of what the model of pulse waves decided, and of what that says; stretches of a record come in order. Beside
    /// the windows of an ECG, it is told with the next of them.
    pub fn pulse(
        &mut self,
        read: &Read<'_>,
        (form, decision): (&PulseRhythmForm, &PulseRhythmDecision),
        has_windows: bool,
    ) -> Noted {
        let mut noted = Noted::default();
        let mut lasting = read.findings.to_vec();
        self.pulse
            .window(read.record, read.rate, form, decision, &mut lasting);
        if has_windows {
            self.pulse_held = Some((read.end, lasting));
        } else {
            self.take(read, &lasting, &mut noted);
        }
        noted
    }

    /// What the pulse says beside a window of an ECG.
    fn pulse_says(&mut self, read: &Read<'_>) -> Vec<Finding> {
        let Some((end, held)) = &self.pulse_held else {
            return Vec::new();
        };
        // Of another record, or the ECG can tell again.
        let apart = read
            .rate
            .seconds(read.end.since(*end).max(end.since(read.end)));
        if apart > PULSE_HOLD_SECONDS {
            self.pulse_held = None;
            self.pulse.lapse();
            return Vec::new();
        }
        held.clone()
    }

    /// Makes rows and alarms of what is found.
    fn take(&mut self, read: &Read<'_>, findings: &[Finding], noted: &mut Noted) {
        let lasting = Read { findings, ..*read };
        let usual = &self.usual;
        let change = |finding: &Finding| usual.compare(finding);
        self.episodes.window(&lasting, change, &mut noted.steps);
        self.conditions.window(&lasting, change, &mut noted.reports);
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
        self.pulse_held = None;
        self.episodes.end(steps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::{
        Anchor, BootId, Condition, Evidence, Label, ModelRef, RecordId, SampleRate, SignalKind,
        Source, Utc, Wavelength,
    };
    use infer::PulseLabel;

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

    /// What the pulse says each five seconds, by how probable fibrillation is and whether it is usable, in a record with or
    /// without windows of an ECG: what is told to the machine, as second and whether fibrillation is present.
    fn told(pulse: &[(f32, bool)], n_more: usize, has_windows: bool) -> Vec<(u64, bool)> {
        let record = RecordId {
            device: "watch".parse().unwrap(),
            boot: BootId(1),
        };
        let form = PulseRhythmForm {
            temperature: 1.0,
            bias: [0.0; 6],
            usable: 0.5,
            enter: 0.6,
            leave: 0.4,
        };
        let mut course = Course::default();
        let mut told = Vec::new();
        for k in 0..pulse.len() + n_more {
            let second = 30 + 5 * k as u64;
            let (start, end) = (SampleIndex(100 * (second - 30)), SampleIndex(100 * second));
            let read = Read {
                record: &record,
                rate: SampleRate::new(100.0).unwrap(),
                anchor: Anchor {
                    index: SampleIndex(0),
                    utc: Utc(0),
                    hz: 100.0,
                },
                end,
                findings: &[],
            };
            let mut reports = Vec::new();
            if let Some((p, is_usable)) = pulse.get(k).copied() {
                let decision = PulseRhythmDecision {
                    start,
                    end,
                    signal: SignalKind::Ppg(Wavelength::Green),
                    probabilities: [1.0 - p, 0.0, 0.0, 0.0, 0.0, p],
                    usable: if is_usable { 0.9 } else { 0.1 },
                    is_usable,
                    label: PulseLabel::Sinus,
                };
                let finding = Finding {
                    label: PULSE_FIBRILLATION,
                    start,
                    end,
                    probability: Some(p),
                    source: Source::Model(ModelRef {
                        name: "ppg".to_owned(),
                        version: "1".to_owned(),
                        sha256: "ab".to_owned(),
                    }),
                    leads: Vec::new(),
                    evidence: Evidence::default(),
                };
                let found = (is_usable && p >= form.enter).then_some(finding);
                let read = Read {
                    findings: found.as_slice(),
                    ..read
                };
                let noted = course.pulse(&read, (&form, &decision), has_windows);
                assert!(!has_windows || noted.reports.is_empty());
                reports.extend(noted.reports);
            }
            if has_windows {
                reports.extend(course.window(&read, Some(&[]), None, false).reports);
            }
            for report in reports {
                if report.condition == Condition::AtrialFibrillation {
                    let present = matches!(report.said, alarm::Said::Present { .. });
                    if told.last().is_none_or(|(_, last)| *last != present) {
                        told.push((second, present));
                    }
                }
            }
        }
        told
    }

    #[test]
    fn fibrillation_of_the_pulse_is_told_once_it_lasts_with_and_beside_an_ecg() {
        let mut pulse = vec![(0.1, true); 2];
        pulse.extend([(0.9, true); 10]);
        // Lost for a while, and back.
        pulse.extend([(0.9, false); 2]);
        pulse.extend([(0.9, true); 3]);
        pulse.extend([(0.1, true); 6]);
        let alone = told(&pulse, 0, false);
        assert_eq!(alone, [(30, false), (65, true), (120, false)]);
        assert_eq!(told(&pulse, 0, true), alone);
        // The ECG can tell again: what the pulse said is over.
        let asked = told(&pulse[..12], 5, true);
        assert_eq!(asked, [(30, false), (65, true), (100, false)]);
        // What is not usable is no fibrillation, however likely.
        assert_eq!(told(&[(0.9, false); 20], 0, false), [(30, false)]);
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
