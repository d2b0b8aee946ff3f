//! The rhythm of pulse waves: segments of PPG with labels, as one `.npz` file, against what the model says of each.
//!
//! Each segment is judged by itself. Told apart are atrial fibrillation and all others, by the area under the curve of its
//! probability, against the rest and against each other label; once for all segments, and once for those that the model
//! calls usable. At the threshold that ships, segments count as called whether usable or not, and again among usable ones.

mod segments;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ecg::{SampleIndex, SampleRate, SignalKind, Wavelength};
use infer::pulse_rhythm::Remembered;
use infer::{PulseLabel, PulseRhythmModel, PulseStretch};
use serde::Serialize;

use super::on_all_cores;
use super::roc::{auc, calibration_error};

pub use segments::{Error, Segments};

/// Bins of the calibration error.
const BINS: usize = 10;
/// What fibrillation is told from all together.
const REST: &str = "rest";
/// Segments that are decided one after the other.
const BATCH: usize = 64;

/// What came of all segments.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    task: &'static str,
    /// How many there were.
    pub segments: usize,
    /// The share that the model calls usable.
    pub usable: f64,
    /// Fibrillation against the rest and against each label; without segments of either, nothing.
    pub auc: BTreeMap<&'static str, Option<f64>>,
    /// The same of usable segments.
    pub auc_usable: BTreeMap<&'static str, Option<f64>>,
    /// At the threshold that ships.
    pub threshold: AtThreshold,
    /// The same of usable segments.
    pub threshold_usable: AtThreshold,
    /// Expected calibration error of the probability of fibrillation.
    pub ece: Option<f64>,
    /// How many segments of a label (outer) were called which (inner).
    pub confusion: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
}

/// What is called fibrillation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AtThreshold {
    /// From this probability on.
    pub at: f32,
    /// Of fibrillation, the share that is.
    pub se: Option<f64>,
    /// Of the rest, the share that is not.
    pub sp: Option<f64>,
    /// Of each other label, the share that is not.
    pub sp_by_class: BTreeMap<&'static str, Option<f64>>,
}

/// What the model says of a segment.
#[derive(Debug, Clone, Copy)]
struct Judged {
    truth: PulseLabel,
    said: PulseLabel,
    fibrillation: f32,
    is_usable: bool,
}

/// Scores the segments of a file. `progress` is told how many batches are done, of how many.
///
/// # Errors
/// A file that is none, or a model that fails.
pub fn run(
    path: &Path,
    rate: SampleRate,
    model: &PulseRhythmModel,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Report, Error> {
    let segments = Segments::read(path, rate)?;
    let batches: Vec<_> = (0..segments.len()).step_by(BATCH).collect();
    let judged = on_all_cores(&batches, progress, |first| {
        let last = (first + BATCH).min(segments.len());
        let judged = (*first..last).map(|k| judge(&segments, k, rate, model));
        judged.collect::<Result<Vec<_>, _>>()
    });
    let judged: Result<Vec<_>, _> = judged.into_iter().collect();
    let judged = judged.map_err(|source| Error::Model {
        path: path.to_owned(),
        source,
    })?;
    Ok(Report::of(&judged.concat(), model.form().enter))
}

fn judge(
    segments: &Segments,
    k: usize,
    rate: SampleRate,
    model: &PulseRhythmModel,
) -> Result<Judged, infer::Error> {
    let samples = segments.samples(k);
    let decision = model.decide(&PulseStretch {
        signal: SignalKind::Ppg(Wavelength::Unstated),
        start: SampleIndex(0),
        end: SampleIndex(samples.len() as u64),
        base: rate,
        rate,
        samples: samples.to_vec(),
        pulses: Vec::new(),
        said: Remembered::default(),
    })?;
    Ok(Judged {
        truth: segments.label(k),
        said: decision.label,
        fibrillation: decision.probability(PulseLabel::AtrialFibrillation),
        is_usable: decision.is_usable,
    })
}

/// The labels that fibrillation is told from.
fn others() -> impl Iterator<Item = PulseLabel> {
    let all = PulseLabel::ALL.into_iter();
    all.filter(|label| *label != PulseLabel::AtrialFibrillation)
}

fn share(part: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

fn areas(judged: &[Judged]) -> BTreeMap<&'static str, Option<f64>> {
    let fibrillation = PulseLabel::AtrialFibrillation;
    let against = |is: &dyn Fn(PulseLabel) -> bool| {
        let chosen = judged
            .iter()
            .filter(|one| one.truth == fibrillation || is(one.truth));
        let scored: Vec<(f64, bool)> = chosen
            .map(|one| (f64::from(one.fibrillation), one.truth == fibrillation))
            .collect();
        auc(&scored)
    };
    let each = others().map(|label| (label.name(), against(&|truth| truth == label)));
    std::iter::once((REST, against(&|_| true)))
        .chain(each)
        .collect()
}

impl AtThreshold {
    fn of(judged: &[Judged], at: f32) -> Self {
        let called = |is: &dyn Fn(PulseLabel) -> bool, called: bool| {
            let of = judged.iter().filter(|one| is(one.truth));
            let part = of
                .clone()
                .filter(|one| (one.fibrillation >= at) == called)
                .count();
            share(part, of.count())
        };
        let fibrillation = PulseLabel::AtrialFibrillation;
        Self {
            at,
            se: called(&|truth| truth == fibrillation, true),
            sp: called(&|truth| truth != fibrillation, false),
            sp_by_class: others()
                .map(|label| (label.name(), called(&|truth| truth == label, false)))
                .collect(),
        }
    }
}

impl Report {
    fn of(judged: &[Judged], at: f32) -> Self {
        let usable: Vec<Judged> = judged.iter().filter(|one| one.is_usable).copied().collect();
        let scored: Vec<(f64, bool)> = judged
            .iter()
            .map(|one| {
                let is = one.truth == PulseLabel::AtrialFibrillation;
                (f64::from(one.fibrillation), is)
            })
            .collect();
        let mut confusion = BTreeMap::new();
        for truth in PulseLabel::ALL {
            let count = |said: PulseLabel| {
                let is = |one: &&Judged| one.truth == truth && one.said == said;
                judged.iter().filter(is).count() as u64
            };
            let row = PulseLabel::ALL.map(|said| (said.name(), count(said)));
            confusion.insert(truth.name(), BTreeMap::from(row));
        }
        Self {
            task: "ppg-rhythm",
            segments: judged.len(),
            usable: share(usable.len(), judged.len()).unwrap_or(0.0),
            auc: areas(judged),
            auc_usable: areas(&usable),
            threshold: AtThreshold::of(judged, at),
            threshold_usable: AtThreshold::of(&usable, at),
            ece: calibration_error(&scored, BINS),
            confusion,
        }
    }

    /// The report as one line of JSON.
    #[expect(clippy::missing_panics_doc, reason = "it cannot panic")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report has nothing but strings and numbers")
    }
}

impl fmt::Display for Report {
    /// The table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
        write!(f, "{:<10} {:>7}", "AF against", REST)?;
        for label in others() {
            write!(f, " {:>7}", label.name())?;
        }
        writeln!(f)?;
        let mut row = |name: &str, rest: Option<f64>, by: &BTreeMap<&str, Option<f64>>| {
            write!(f, "{name:<10} {:>7}", one(rest))?;
            for label in others() {
                write!(f, " {:>7}", one(by.get(label.name()).copied().flatten()))?;
            }
            writeln!(f)
        };
        let rest = |by: &BTreeMap<&str, Option<f64>>| by.get(REST).copied().flatten();
        row("AUC", rest(&self.auc), &self.auc)?;
        row("usable", rest(&self.auc_usable), &self.auc_usable)?;
        let (all, usable) = (&self.threshold, &self.threshold_usable);
        row("Sp", all.sp, &all.sp_by_class)?;
        row("Sp usable", usable.sp, &usable.sp_by_class)?;
        writeln!(
            f,
            "from {:.3} on: Se {}, of usable {}; calibration error {}",
            all.at,
            one(all.se),
            one(usable.se),
            one(self.ece)
        )?;
        let of = format!("{:.1} % usable", 100.0 * self.usable);
        writeln!(f, "{} segments, {of}", self.segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(truth: PulseLabel, fibrillation: f32, is_usable: bool) -> Judged {
        Judged {
            truth,
            said: if fibrillation > 0.5 {
                PulseLabel::AtrialFibrillation
            } else {
                PulseLabel::Sinus
            },
            fibrillation,
            is_usable,
        }
    }

    /// Of simulated patients, whom the model does not know: through a file, as anybody would.
    #[test]
    fn simulated_fibrillation_is_told_from_sinus_rhythm_and_ectopy() {
        use super::segments::tests::{npy, write};
        use ecg::simulate::{Ectopy, Noise, Rhythm, Scenario, record};
        let rate = SampleRate::new(100.0).unwrap();
        let ectopic = |pattern| Rhythm::Ectopic { bpm: 70.0, pattern };
        let rhythms = [
            (0u8, Rhythm::Sinus { bpm: 58.0 }),
            (0, Rhythm::Sinus { bpm: 85.0 }),
            (1, ectopic(Ectopy::Single { per_minute: 12.0 })),
            (1, ectopic(Ectopy::Bigeminy)),
            (2, ectopic(Ectopy::Atrial { per_minute: 12.0 })),
            (5, Rhythm::AtrialFibrillation { bpm: 75.0 }),
            (5, Rhythm::AtrialFibrillation { bpm: 110.0 }),
        ];
        let (mut waves, mut labels) = (Vec::new(), Vec::new());
        for (seed, (label, rhythm)) in (0u64..).zip(rhythms.iter().cycle().take(28)) {
            let scenario = Scenario {
                rhythms: vec![(*rhythm, f64::INFINITY)],
                ppg_rate: Some(rate),
                noise: if seed < 14 {
                    Noise::REST
                } else {
                    Noise::AMBULATORY
                },
                ..Scenario::new(seed, SampleRate::new(250.0).unwrap())
            };
            let ppg = record(&scenario, 50.0).unwrap().ppg;
            waves.extend_from_slice(&ppg[1000..5000]);
            labels.extend([*label; 4]);
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("simulated.npz");
        let n = labels.len() as u64;
        let members = [
            ("x.npy", npy(&waves, &[n, 1000])),
            ("y.npy", npy(&labels, &[n])),
        ];
        write(&path, &members);
        let library = infer::Library::shipped().unwrap();
        let report = run(&path, rate, library.pulse_rhythm().unwrap(), |_, _| {}).unwrap();
        assert_eq!(report.segments, 112);
        assert!(report.usable > 0.9, "{report}");
        assert!(report.auc["rest"] > Some(0.95), "{report}");
        assert!(report.threshold.sp > Some(0.95), "{report}");
    }

    #[test]
    fn figures_by_hand() {
        use PulseLabel::{AtrialEctopy, AtrialFibrillation, Sinus};
        let report = Report::of(
            &[
                judged(AtrialFibrillation, 0.9, true),
                judged(AtrialFibrillation, 0.4, false),
                judged(Sinus, 0.1, true),
                judged(Sinus, 0.1, true),
                judged(AtrialEctopy, 0.6, true),
                judged(AtrialEctopy, 0.3, false),
            ],
            0.5,
        );
        assert_eq!(report.auc["rest"], Some(0.875));
        assert_eq!(report.auc["sinus"], Some(1.0));
        assert_eq!(report.auc["pac"], Some(0.75));
        assert_eq!(report.auc["vt"], None);
        assert_eq!(report.auc_usable["rest"], Some(1.0));
        assert!((report.usable - 4.0 / 6.0).abs() < 1e-12);
        assert_eq!(report.threshold.se, Some(0.5));
        assert_eq!(report.threshold.sp, Some(0.75));
        assert_eq!(report.threshold.sp_by_class["pac"], Some(0.5));
        assert_eq!(report.threshold_usable.se, Some(1.0));
        assert_eq!(report.confusion["pac"]["af"], 1);
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["task"], "ppg-rhythm");
        assert_eq!(json["segments"], 6);
        assert_eq!(json["auc"]["svt"], serde_json::Value::Null);
        assert!(report.to_string().contains("6 segments, 66.7 % usable"));
        assert_eq!(Report::of(&[], 0.5).ece, None);
    }
}
