//! From what is said window after window to alarms: how long it must be said, and how long it must be silent to be over.
//!
//! **Pure and deterministic: the windows of a record in order go in, what to tell the alarm machine comes out.** Nothing is
//! kept of what stands: present and absent are said again and again, and the machine takes the first of each. So a restart
//! starts the counting anew, raises nothing twice, and ends what stands once it has not been said for as long as always.
//!
//! | condition | told from | said for | over after | stands to what is usual as |
//! |---|---|---|---|---|
//! | atrial fibrillation | the episode of `rhythm::Episodes`, of 30 s and more, of the ECG or of the pulse | | at once | anything |
//! | AV block | first-degree AV block | 60 s | 60 s | new, worse, not known |
//! | ST change | ST elevation, ST depression, all of whose leads are measured | 60 s | 60 s | new, worse; anything beyond a limit of the patient's own |
//! | ventricular run | ventricular tachycardia of three beats and more, QRS of 110 ms and more | | 15 s | new, worse, not known |
//! | new finding | all others that are diagnoses ([`OTHERS`] are not) | 60 s each | 60 s | new, worse |
//!
//! "Said for" means in every window from the first to the last, and that these reach so far; a gap of
//! [`BROKEN_SECONDS`] between windows breaks it.

use alarm::{InForce, Report, Said};
use ecg::{Change, Condition, Finding, LeadOrigin, RecordId, SampleIndex, Source};

use super::Read;

/// How long something that may pass must be said without a break, and must not be said to be over.
const LASTING_SECONDS: f64 = 60.0;
/// A run of ventricular beats is over after so long without another.
const RUN_SECONDS: f64 = 15.0;
/// A narrower QRS is not that of a ventricular beat, ms.
const WIDE_MS: f32 = 110.0;
/// Windows that end farther apart do not follow each other.
const BROKEN_SECONDS: f64 = 30.0;

/// What is no alarm of a new finding: what has a condition of its own, what only names the ordinary, and what posture
/// and electrodes change.
const OTHERS: [&str; 24] = [
    "pause",
    "long_pause",
    "sinus_bradycardia",
    "bradycardia",
    "sinus_tachycardia",
    "tachycardia",
    "sinus_arrhythmia",
    // Pacing and a bundle branch block that is not always there look the same.
    "idioventricular_rhythm",
    "ventricular_couplet",
    "ventricular_bigeminy",
    "ventricular_premature_beats",
    "supraventricular_premature_beats",
    "left_axis_deviation",
    "right_axis_deviation",
    "extreme_axis_deviation",
    "low_qrs_voltage",
    "normal_sinus_rhythm",
    "sinus_rhythm",
    "other_rhythm",
    "norm",
    "wide_qrs_tachycardia",
    "pulse_sinus_rhythm",
    "pulse_early_beats",
    "pulse_tachycardia",
];

/// The conditions told here, and after how many seconds of silence each is over.
const CONDITIONS: [(Condition, f64); 5] = [
    (Condition::VentricularRun, RUN_SECONDS),
    (Condition::AtrialFibrillation, 0.0),
    (Condition::AvBlock, LASTING_SECONDS),
    (Condition::StChange, LASTING_SECONDS),
    (Condition::NewFinding, LASTING_SECONDS),
];

/// What is said of one device, and since when.
#[derive(Debug, Default)]
pub struct Conditions {
    record: Option<RecordId>,
    /// The patient's own limits of ST elevation and depression, mV.
    st: [Option<f32>; 2],
    /// The end of the newest window.
    end: SampleIndex,
    /// What is being said in every window.
    saying: Vec<Saying>,
    /// Of each condition: where it was said last, or where listening began.
    heard: [SampleIndex; CONDITIONS.len()],
}

#[derive(Debug)]
struct Saying {
    condition: Condition,
    source: String,
    name: String,
    since: SampleIndex,
}

impl Conditions {
    /// Other limits for the patient, from the next window on.
    pub fn set_limits(&mut self, limits: &InForce) {
        self.st = [limits.st_elevation_mv, limits.st_depression_mv];
    }

    /// Takes note of a window; windows of a record come in order. `change` says how a finding stands to what is usual.
    pub fn window(
        &mut self,
        read: &Read<'_>,
        change: impl Fn(&Finding) -> Option<Change>,
        out: &mut Vec<Report>,
    ) {
        if self.record.as_ref() != Some(read.record) {
            self.record = Some(read.record.clone());
            self.saying.clear();
            self.heard = [read.end; CONDITIONS.len()];
        } else if read.end <= self.end {
            // Read once more.
            return;
        } else if read.rate.seconds(read.end.since(self.end)) > BROKEN_SECONDS {
            self.saying.clear();
        }
        self.end = read.end;
        let findings = read.findings.iter();
        let said: Vec<(Condition, &Finding)> = findings
            .filter_map(|finding| Some((condition(finding, change(finding), self.st)?, finding)))
            .collect();
        let is = |saying: &Saying, finding: &Finding| {
            saying.name == finding.label.name && saying.source == super::source(&finding.source)
        };
        self.saying
            .retain(|saying| said.iter().any(|(_, finding)| is(saying, finding)));
        for (condition, finding) in &said {
            if !self.saying.iter().any(|saying| is(saying, finding)) {
                self.saying.push(Saying {
                    condition: *condition,
                    source: super::source(&finding.source).to_owned(),
                    name: finding.label.name.to_string(),
                    since: onset(finding),
                });
            }
        }
        for ((condition, over), heard) in CONDITIONS.into_iter().zip(&mut self.heard) {
            let mut of_it = self.saying.iter().filter(|s| s.condition == condition);
            let at = read.end;
            if self.saying.iter().any(|s| s.condition == condition) {
                *heard = at;
                let lasting = |saying: &&Saying| {
                    let lasted = read.rate.seconds(at.since(saying.since));
                    lasts(condition).is_none_or(|seconds| lasted >= seconds)
                };
                let Some(saying) = of_it.find(lasting) else {
                    continue;
                };
                let finding = said.iter().find(|(_, finding)| is(saying, finding));
                let Some((_, finding)) = finding else {
                    continue;
                };
                out.push(Report {
                    condition,
                    at,
                    said: Said::Present {
                        onset: saying.since,
                        evidence: evidence(condition, finding),
                    },
                });
            } else if read.rate.seconds(at.since(*heard)) >= over {
                let evidence = if over > 0.0 {
                    format!("not found for {over:.0} s")
                } else {
                    "the episode ended".to_owned()
                };
                out.push(Report {
                    condition,
                    at,
                    said: Said::Absent { evidence },
                });
            }
        }
    }
}

/// The condition that a finding is of, if it is one that alarms.
fn condition(
    finding: &Finding,
    change: Option<Change>,
    [elevation, depression]: [Option<f32>; 2],
) -> Option<Condition> {
    let name = finding.label.name.as_ref();
    let rule = finding.source == Source::Rule;
    let differs = matches!(change, Some(Change::New | Change::Worse));
    match name {
        "atrial_fibrillation" | "pulse_atrial_fibrillation" => Some(Condition::AtrialFibrillation),
        "first_degree_av_block" if rule => {
            (differs || change.is_none()).then_some(Condition::AvBlock)
        }
        "st_elevation" | "st_depression" if rule => {
            let measured = |(_, origin): &(_, LeadOrigin)| *origin == LeadOrigin::Measured;
            let own = if name == "st_elevation" {
                elevation
            } else {
                depression
            };
            let beyond = own.map_or(differs, |limit| st_mv(finding) > limit);
            (beyond && finding.leads.iter().all(measured)).then_some(Condition::StChange)
        }
        "ventricular_tachycardia" if rule => {
            (wide(finding) && (differs || change.is_none())).then_some(Condition::VentricularRun)
        }
        _ if OTHERS.contains(&name) => None,
        _ => differs.then_some(Condition::NewFinding),
    }
}

/// Whether the beats of a run are as wide as ventricular ones are, as far as that is measured.
fn wide(finding: &Finding) -> bool {
    let mut values = finding.evidence.values.iter();
    let qrs = values.find(|value| value.name == "qrs_ms");
    qrs.is_none_or(|qrs| qrs.value >= WIDE_MS)
}

/// How far ST is from the PR segment where it is farthest, mV: 60 or 80 ms after J, not on a line drawn back to it.
fn st_mv(finding: &Finding) -> f32 {
    let levels = finding.evidence.values.iter();
    levels
        .filter(|value| matches!(value.name, "st_j60_mv" | "st_j80_mv"))
        .map(|value| value.value.abs())
        .fold(0.0, f32::max)
}

/// For how long it must be said.
fn lasts(condition: Condition) -> Option<f64> {
    match condition {
        Condition::AtrialFibrillation | Condition::VentricularRun => None,
        _ => Some(LASTING_SECONDS),
    }
}

/// Where it begins: a run of beats with the first of them, everything else with its window or episode.
fn onset(finding: &Finding) -> SampleIndex {
    let run = matches!(finding.label.name.as_ref(), "ventricular_tachycardia");
    let first = finding.evidence.beats.first().filter(|_| run);
    first.copied().unwrap_or(finding.start)
}

fn evidence(condition: Condition, finding: &Finding) -> String {
    let text = &finding.evidence.text;
    let label = &finding.label.text;
    match (lasts(condition), text.is_empty()) {
        (None, true) => label.to_string(),
        (None, false) => format!("{label}: {text}"),
        (Some(seconds), true) => format!("{label} for {seconds:.0} s"),
        (Some(seconds), false) => format!("{label} for {seconds:.0} s: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::{Anchor, BootId, Evidence, Label, Lead, ModelRef, SampleRate, Utc};

    fn finding(name: &'static str, end: u64, origin: LeadOrigin) -> Finding {
        let rule = !["mi", "atrial_fibrillation"].contains(&name);
        Finding {
            label: Label::new(name, name, None),
            start: SampleIndex((end - 10) * 100),
            end: SampleIndex(end * 100),
            probability: None,
            source: if rule {
                Source::Rule
            } else {
                Source::Model(ModelRef {
                    name: "model".to_owned(),
                    version: "1".to_owned(),
                    sha256: "ab".to_owned(),
                })
            },
            leads: vec![(Lead::II, origin)],
            evidence: Evidence::default(),
        }
    }

    /// What is told of windows of 10 s each five seconds from the tenth on, that say these names: condition, second,
    /// and the second of the onset of what is present; nothing twice.
    fn told(
        windows: &[&[&'static str]],
        change: Option<Change>,
        origin: LeadOrigin,
    ) -> Vec<(Condition, u64, Option<u64>)> {
        let mut conditions = Conditions::default();
        let (mut told, mut standing): (Vec<_>, Vec<Condition>) = (Vec::new(), Vec::new());
        let record = RecordId {
            device: "vest".parse().unwrap(),
            boot: BootId(1),
        };
        for (k, names) in windows.iter().enumerate() {
            let end = 10 + 5 * k as u64;
            let findings: Vec<_> = names.iter().map(|n| finding(n, end, origin)).collect();
            let read = Read {
                record: &record,
                rate: SampleRate::new(100.0).unwrap(),
                anchor: Anchor {
                    index: SampleIndex(0),
                    utc: Utc(0),
                    hz: 100.0,
                },
                end: SampleIndex(end * 100),
                findings: &findings,
            };
            let mut reports = Vec::new();
            conditions.window(&read, |_| change, &mut reports);
            for report in reports {
                let stands = standing.contains(&report.condition);
                match report.said {
                    Said::Present { onset, .. } if !stands => {
                        standing.push(report.condition);
                        told.push((report.condition, end, Some(onset.0 / 100)));
                    }
                    Said::Absent { .. } if stands => {
                        standing.retain(|condition| *condition != report.condition);
                        told.push((report.condition, end, None));
                    }
                    _ => {}
                }
            }
        }
        told
    }

    #[test]
    fn what_lasts_a_minute_is_told_and_ends_after_a_minute_without_it() {
        let mut windows: Vec<&[&str]> = vec![&["st_elevation"]; 20];
        windows.extend([&[][..]; 20]);
        let told = |change, origin| told(&windows, change, origin);
        let measured = LeadOrigin::Measured;
        let expected = [
            (Condition::StChange, 60, Some(0)),
            (Condition::StChange, 165, None),
        ];
        assert_eq!(told(Some(Change::New), measured), expected);
        assert_eq!(told(Some(Change::Unchanged), measured), []);
        assert_eq!(told(None, measured), []);
        // Never of leads that a model made.
        assert_eq!(told(Some(Change::New), LeadOrigin::Reconstructed), []);
    }

    #[test]
    fn a_patients_own_st_limit_counts_instead_of_what_is_usual() {
        let mut elevated = finding("st_elevation", 10, LeadOrigin::Measured);
        elevated.evidence.values = [("st_j60_mv", 0.17), ("st_j80_mv", 0.12), ("st_j_mv", 0.32)]
            .map(|(name, value)| ecg::Value {
                name,
                lead: Some(Lead::II),
                value,
                unit: "mV",
                limit: None,
            })
            .to_vec();
        let told = |own| condition(&elevated, Some(Change::Unchanged), [own, None]);
        assert_eq!(told(None), None);
        assert_eq!(told(Some(0.2)), None);
        assert_eq!(told(Some(0.15)), Some(Condition::StChange));
        let other = condition(&elevated, Some(Change::Worse), [Some(0.2), Some(0.05)]);
        assert_eq!(other, None);
    }

    #[test]
    fn one_window_without_it_starts_the_minute_anew() {
        let mut windows: Vec<&[&str]> = vec![&["first_degree_av_block"]; 10];
        windows.push(&[]);
        windows.extend([&["first_degree_av_block"][..]; 9]);
        assert_eq!(told(&windows, None, LeadOrigin::Measured), []);
        windows.extend([&["first_degree_av_block"][..]; 4]);
        let expected = [(Condition::AvBlock, 115, Some(55))];
        assert_eq!(told(&windows, None, LeadOrigin::Measured), expected);
    }

    #[test]
    fn runs_and_fibrillation_are_told_at_once() {
        let windows: [&[&str]; 7] = [
            &["ventricular_tachycardia", "norm"],
            &["ventricular_tachycardia", "atrial_fibrillation"],
            &["atrial_fibrillation", "idioventricular_rhythm"],
            &[],
            &[],
            &[],
            &[],
        ];
        let run = Condition::VentricularRun;
        let fibrillation = Condition::AtrialFibrillation;
        let expected = [
            (run, 10, Some(0)),
            (fibrillation, 15, Some(5)),
            (fibrillation, 25, None),
            (run, 30, None),
        ];
        assert_eq!(told(&windows, None, LeadOrigin::Measured), expected);
        // What is usual for a patient is no run to be told; fibrillation is.
        let usual = told(&windows, Some(Change::Unchanged), LeadOrigin::Measured);
        assert_eq!(usual, expected[1..3]);
    }

    #[test]
    fn new_diagnoses_are_told_and_the_ordinary_is_not() {
        let windows: Vec<&[&str]> = vec![&["mi", "sinus_rhythm", "left_axis_deviation"]; 12];
        let expected = [(Condition::NewFinding, 60, Some(0))];
        let told = |change| told(&windows, Some(change), LeadOrigin::Reconstructed);
        assert_eq!(told(Change::New), expected);
        assert_eq!(told(Change::Better), []);
    }
}
