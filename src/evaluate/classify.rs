//! Diagnostic superclasses against PTB-XL's labels, on twelve measured leads and on twelve of which some are reconstructed.
//!
//! Each recording is cut into a window as the service cuts it ([`Cutter`]) and classified twice by the service's own
//! models: with all of its leads, and with those named as observed alone, the others being reconstructed first. A recording
//! whose leads are withheld has no second answer; how many there are is reported.
//!
//! Of every class: the area under the curve. **Macro** is their mean. The expected calibration error, in ten bins of equal
//! width, is given over all recordings and classes together and as the mean over classes, and beside each what it would
//! be by chance were every probability true: few recordings in many bins are off by themselves. The interval is the 2.5th to the 97.5th percentile of [`N_RESAMPLES`] resamples
//! of patients.

mod labels;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ecg::{Lead, TwelveLead};
use infer::{Classifier, Reconstructor};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Map, Value, json};

use super::report::{Excluded, mean};
use super::roc::{auc, calibration_error};
use crate::record;
use crate::windows::{Cut, Cutter};

pub use labels::{CLASSES, Case, cases};

/// Resamples of patients for an interval.
pub const N_RESAMPLES: usize = 1000;
/// Draws of what the calibration error is by chance.
const N_DRAWS: usize = 200;
/// Bins of the calibration error.
const N_BINS: usize = 10;

/// What is scored how.
pub struct Options {
    /// The leads that are kept where the others are reconstructed.
    pub observed: Vec<Lead>,
    /// Only recordings in these folds; all where there is none.
    pub folds: Vec<u8>,
    /// What reconstructs and classifies.
    pub reconstructor: Reconstructor,
}

/// What came of one recording.
#[derive(Debug, Clone)]
pub struct Score {
    /// Its name.
    pub record: String,
    /// Whose it is.
    pub patient: String,
    /// Which of [`CLASSES`] it has.
    pub labels: [bool; 5],
    /// The probability of each from the measured leads.
    pub measured: [f64; 5],
    /// The same where leads are reconstructed; `None` where they are withheld.
    pub reconstructed: Option<[f64; 5]>,
}

/// How every recording of a folder came out. Its JSON is `{"task", "model", "records", "measured", "reconstructed",
/// "excluded"}`, the two in the middle `{"records", "macro_auc", "macro_auc_95", "auc", "ece",
/// "ece_by_class", "ece_chance", "ece_by_class_chance"}`; the second also says
/// which leads were `observed` and how many recordings were `withheld`.
pub struct Report {
    /// Name, version and hash of the classifier.
    pub model: ecg::ModelRef,
    /// What it was trained on.
    pub training_data: String,
    /// The leads that were given where the others are reconstructed.
    pub observed: Vec<Lead>,
    /// The recordings scored.
    pub scores: Vec<Score>,
    /// The recordings left out.
    pub excluded: Vec<Excluded>,
}

/// Scores every labelled recording of `dir`.
///
/// # Errors
/// A folder that cannot be read, one in neither of the two forms of [`cases`], and models without a classifier of the
/// superclasses.
pub fn run(
    dir: &Path,
    config: &dsp::Config,
    options: &Options,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Report, record::Error> {
    let refuse = |reason: String| record::Error::Choice {
        record: dir.display().to_string(),
        reason,
    };
    let cutter = Cutter::new(config, None).map_err(refuse)?;
    let library = options.reconstructor.library();
    let mut classifiers = library.classifiers().iter();
    let classifier = classifiers
        .find(|classifier| knows_classes(classifier))
        .ok_or_else(|| refuse("no model tells NORM, MI, STTC, CD and HYP".to_owned()))?;
    let (cases, excluded) = cases(dir, &options.folds)?;
    let job = Job {
        cutter,
        options,
        classifier,
    };
    let scores = super::on_all_cores(&cases, progress, |case| job.score(case));
    let mut report = Report {
        model: classifier.model().clone(),
        training_data: library
            .manifests()
            .find(|manifest| manifest.model == *classifier.model())
            .map(|manifest| manifest.training_data.clone())
            .unwrap_or_default(),
        observed: options.observed.clone(),
        scores: Vec::new(),
        excluded,
    };
    for (case, score) in cases.iter().zip(scores) {
        match score {
            Ok(score) => report.scores.push(score),
            Err(reason) => report.excluded.push(Excluded {
                record: case.name.clone(),
                reason,
            }),
        }
    }
    Ok(report)
}

/// Whether a classifier tells all of the classes.
fn knows_classes(classifier: &Classifier) -> bool {
    CLASSES.iter().all(|class| {
        let mut targets = classifier.form().labels.iter();
        targets.any(|target| target.label.name.eq_ignore_ascii_case(class))
    })
}

/// What every recording is scored with.
struct Job<'a> {
    cutter: Cutter,
    options: &'a Options,
    classifier: &'a Classifier,
}

impl Job<'_> {
    fn score(&self, case: &Case) -> Result<Score, String> {
        let cuts = self
            .cutter
            .cut(case.record()?, &Lead::TWELVE.map(Lead::name))?;
        let measured = self.mean(&cuts, |cut| {
            infer::derive(&cut.window).map_err(|error| error.to_string())
        })?;
        let reconstructed = self.mean(&cuts, |cut| {
            let window = cut.window.only(&self.options.observed);
            let twelve = self.options.reconstructor.reconstruct(&window, None);
            twelve.map_err(|error| error.to_string())
        })?;
        Ok(Score {
            record: case.name.clone(),
            patient: case.patient.clone(),
            labels: case.labels,
            measured: measured.ok_or("it has not all of the leads")?,
            reconstructed,
        })
    }

    /// The mean of the probabilities over windows; `None` where a window has not all of the leads.
    fn mean(
        &self,
        cuts: &[Cut],
        leads: impl Fn(&Cut) -> Result<TwelveLead, String>,
    ) -> Result<Option<[f64; 5]>, String> {
        let mut sums = [0.0; 5];
        for cut in cuts {
            let twelve = leads(cut)?;
            let diagnosis = self.classifier.classify(&twelve);
            let diagnosis = diagnosis.map_err(|error| error.to_string())?;
            if diagnosis.refused.is_some() {
                return Ok(None);
            }
            for (label, p) in &diagnosis.probabilities {
                let is = |class: &&str| label.name.eq_ignore_ascii_case(class);
                if let Some(k) = CLASSES.iter().position(is) {
                    sums[k] += f64::from(*p) / cuts.len() as f64;
                }
            }
        }
        Ok(Some(sums))
    }
}

/// A number of some answers.
type Number = fn(&Answers<'_>) -> Option<f64>;

const ECE: Number = |answers| answers.calibration_error();
const ECE_BY_CLASS: Number = |answers| answers.calibration_error_by_class();

/// The answers to some recordings, each with its labels and its patient.
struct Answers<'a>(Vec<(&'a str, [bool; 5], [f64; 5])>);

impl Answers<'_> {
    fn of_class(&self, k: usize) -> Vec<(f64, bool)> {
        let answers = self.0.iter();
        answers
            .map(|(_, labels, said)| (said[k], labels[k]))
            .collect()
    }

    fn auc(&self, k: usize) -> Option<f64> {
        auc(&self.of_class(k))
    }

    /// The mean over the classes that can be scored.
    fn macro_auc(&self) -> Option<f64> {
        mean((0..CLASSES.len()).map(|k| self.auc(k)))
    }

    /// The calibration error of all recordings and classes together.
    fn calibration_error(&self) -> Option<f64> {
        let all: Vec<(f64, bool)> = (0..CLASSES.len()).flat_map(|k| self.of_class(k)).collect();
        calibration_error(&all, N_BINS)
    }

    /// The mean of the calibration errors of the classes.
    fn calibration_error_by_class(&self) -> Option<f64> {
        mean((0..CLASSES.len()).map(|k| calibration_error(&self.of_class(k), N_BINS)))
    }

    /// What an error would be by chance, were every probability true.
    fn by_chance(&self, error: Number) -> Option<f64> {
        let mut random = StdRng::seed_from_u64(1);
        let drawn = (0..N_DRAWS).map(|_| {
            let answers = self.0.iter().map(|(patient, _, said)| {
                let labels = said.map(|p| random.random::<f64>() < p);
                (*patient, labels, *said)
            });
            error(&Answers(answers.collect()))
        });
        mean(drawn)
    }

    /// The interval of the macro AUC over resamples of patients.
    fn interval(&self) -> Option<[f64; 2]> {
        let mut by_patient: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (k, (patient, ..)) in self.0.iter().enumerate() {
            by_patient.entry(patient).or_default().push(k);
        }
        let patients: Vec<&Vec<usize>> = by_patient.values().collect();
        if patients.is_empty() {
            return None;
        }
        let mut random = StdRng::seed_from_u64(1);
        let mut found: Vec<f64> = (0..N_RESAMPLES)
            .filter_map(|_| {
                let drawn =
                    (0..patients.len()).map(|_| patients[random.random_range(0..patients.len())]);
                Answers(drawn.flatten().map(|k| self.0[*k]).collect()).macro_auc()
            })
            .collect();
        found.sort_by(f64::total_cmp);
        let at = |permille: usize| found.get(found.len() * permille / 1000).copied();
        Some([at(25)?, at(975)?])
    }

    fn json(&self) -> Value {
        let per_class = |k: usize| (CLASSES[k].to_owned(), json!(self.auc(k)));
        let auc: Map<String, Value> = (0..CLASSES.len()).map(per_class).collect();
        json!({
            "records": self.0.len(),
            "macro_auc": self.macro_auc(),
            "macro_auc_95": self.interval(),
            "auc": auc,
            "ece": self.calibration_error(),
            "ece_by_class": self.calibration_error_by_class(),
            "ece_chance": self.by_chance(ECE),
            "ece_by_class_chance": self.by_chance(ECE_BY_CLASS),
        })
    }
}

impl Report {
    fn measured(&self) -> Answers<'_> {
        let scores = self.scores.iter();
        let answers = scores.map(|s| (s.patient.as_str(), s.labels, s.measured));
        Answers(answers.collect())
    }

    fn reconstructed(&self) -> Answers<'_> {
        let scores = self.scores.iter();
        let answers = scores.filter_map(|s| Some((s.patient.as_str(), s.labels, s.reconstructed?)));
        Answers(answers.collect())
    }

    /// The report as JSON.
    pub fn to_json(&self) -> String {
        let mut reconstructed = self.reconstructed().json();
        let observed: Vec<&str> = self.observed.iter().map(|lead| lead.name()).collect();
        reconstructed["observed"] = json!(observed);
        let withheld = self.scores.iter().filter(|s| s.reconstructed.is_none());
        reconstructed["withheld"] = json!(withheld.count());
        json!({
            "task": "classify",
            "model": {
                "name": self.model.name, "version": self.model.version, "sha256": self.model.sha256,
                "training_data": self.training_data,
            },
            "records": self.scores.len(),
            "measured": self.measured().json(),
            "reconstructed": reconstructed,
            "excluded": self.excluded,
        })
        .to_string()
    }
}

impl fmt::Display for Report {
    /// The table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} {}, trained on {}\n",
            self.model.name, self.model.version, self.training_data
        )?;
        writeln!(
            f,
            "{:>6} {:>9} {:>9} {:>14}",
            "", "positive", "measured", "reconstructed"
        )?;
        let (measured, reconstructed) = (self.measured(), self.reconstructed());
        let number = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), |x| format!("{x:.3}"));
        for (k, class) in CLASSES.iter().enumerate() {
            let n = self.scores.iter().filter(|score| score.labels[k]).count();
            let (a, b) = (measured.auc(k), reconstructed.auc(k));
            writeln!(f, "{class:>6} {n:>9} {:>9} {:>14}", number(a), number(b))?;
        }
        let both = |of: &dyn Fn(&Answers<'_>) -> Option<f64>| (of(&measured), of(&reconstructed));
        let of_all = [
            ("macro", both(&|answers| answers.macro_auc())),
            ("ECE", both(&ECE)),
            ("chance", both(&|answers| answers.by_chance(ECE))),
            ("by cl.", both(&ECE_BY_CLASS)),
            ("chance", both(&|answers| answers.by_chance(ECE_BY_CLASS))),
        ];
        for (name, (a, b)) in of_all {
            writeln!(f, "{name:>6} {:>9} {:>9} {:>14}", "", number(a), number(b))?;
        }
        for (name, answers) in [("measured", &measured), ("reconstructed", &reconstructed)] {
            if let Some([low, high]) = answers.interval() {
                writeln!(
                    f,
                    "macro AUC, {name}: 95 % of patients' resamples {low:.3} to {high:.3}"
                )?;
            }
        }
        let observed: Vec<&str> = self.observed.iter().map(|lead| lead.name()).collect();
        let withheld = self.scores.len() - reconstructed.0.len();
        writeln!(
            f,
            "\n{} recordings; given {} alone, the leads of {withheld} are withheld",
            self.scores.len(),
            observed.join(", ")
        )?;
        for excluded in &self.excluded {
            writeln!(f, "left out: {}: {}", excluded.record, excluded.reason)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let score = |k: u8, label: bool, measured: f64, reconstructed: Option<f64>| Score {
            record: k.to_string(),
            patient: (k / 2).to_string(),
            labels: [label; 5],
            measured: [measured; 5],
            reconstructed: reconstructed.map(|p| [p; 5]),
        };
        Report {
            model: ecg::ModelRef {
                name: "m".to_owned(),
                version: "1".to_owned(),
                sha256: "ab".to_owned(),
            },
            training_data: "folds 1 to 8".to_owned(),
            observed: vec![Lead::II, Lead::V1],
            scores: vec![
                score(0, true, 0.9, Some(0.9)),
                score(1, true, 0.6, Some(0.2)),
                score(2, false, 0.7, None),
                score(3, false, 0.1, Some(0.5)),
            ],
            excluded: Vec::new(),
        }
    }

    #[test]
    fn both_ways_are_scored_and_what_was_withheld_is_counted() {
        let json: Value = serde_json::from_str(&report().to_json()).unwrap();
        assert_eq!(json["measured"]["macro_auc"], 0.75);
        assert_eq!(json["measured"]["auc"]["HYP"], 0.75);
        assert_eq!(json["reconstructed"]["macro_auc"], 0.5);
        assert_eq!(
            (
                &json["reconstructed"]["withheld"],
                &json["reconstructed"]["records"]
            ),
            (&json!(1), &json!(3))
        );
        let table = report().to_string();
        assert!(
            table.contains("macro               0.750          0.500"),
            "{table}"
        );
    }
}
