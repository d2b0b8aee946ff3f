//! Rhythm: sinus, atrial fibrillation, other, too noisy, against the labels of whole records or against rhythm marks.
//!
//! A folder with `REFERENCE.csv` is one of the Challenge 2017: each record has one label. Ours is that of the one decision
//! on a record that is no longer than a stretch; of a longer one, that with the largest mean logarithm of its probability
//! over the decisions on whole stretches, one each hop and one at the end. F1 of each label is as in
//! the Challenge, and so is the mean of those of N, A and O.
//!
//! In any other folder records have rhythm marks (`+`) in `.atr` files. The episodes that we find of atrial fibrillation
//! are compared with those marked `(AFIB`, second by second from the first to the last sample. **Flutter
//! (`(AFL`) is not fibrillation**: what we call fibrillation there counts against us, and is told apart as well.
//!
//! Reference: Clifford et al., AF Classification from a Short Single Lead ECG Recording, Computing in Cardiology 44 (2017);
//! ANSI/AAMI EC57, duration sensitivity and positive predictivity of atrial fibrillation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use dsp::Chain;
use ecg::{SampleIndex, SampleRate};
use infer::{RhythmDecision, RhythmLabel, RhythmModel, Stretch};
use serde::Serialize;

use super::ec57::percent;
use super::report::Excluded;
use super::rhythms::{self, Marked};
use super::{REFERENCE, annotations, name_of, on_all_cores, play};
use crate::record::annotation::AnnotationCode;
use crate::record::{self, Player, Record};
use crate::rhythm::{Change, Collector, Episodes};

/// The labels of the Challenge 2017.
const LABELS: &str = "REFERENCE.csv";

/// What is scored how.
pub struct Options {
    /// What names the rhythms.
    pub model: Arc<RhythmModel>,
    /// Only records with these names, where there are any.
    pub records: Option<BTreeSet<String>>,
}

/// What came of all records.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    task: &'static str,
    /// How many records were compared.
    pub records: usize,
    /// F1 of each label, against the labels of records.
    pub f1: Option<BTreeMap<char, Option<f64>>>,
    /// The mean of those of N, A and O.
    pub mean_f1: Option<f64>,
    /// How often which label (outer) was given which (inner).
    pub confusion: Option<BTreeMap<char, BTreeMap<char, u64>>>,
    /// Atrial fibrillation by duration, against marks.
    pub af: Option<Fibrillation>,
    /// Each record.
    pub per_record: Vec<RecordScore>,
    /// The records left out.
    pub excluded: Vec<Excluded>,
}

/// What came of one record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecordScore {
    /// Its name.
    pub record: String,
    /// Against a label.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub label: Option<Labelled>,
    /// Against marks.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub af: Option<Fibrillation>,
}

/// A record with a label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Labelled {
    /// The label that it has.
    pub reference: char,
    /// The one that it was given.
    pub test: char,
    /// Probabilities of N, A, O and ~.
    pub probabilities: [f32; 4],
}

/// Fibrillation by duration.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Fibrillation {
    /// What we found against what is marked.
    pub found: Marked,
    /// Seconds that we found in what the reference calls flutter.
    pub flutter_seconds: f64,
}

impl std::ops::AddAssign for Fibrillation {
    fn add_assign(&mut self, other: Self) {
        self.found += other.found;
        self.flutter_seconds += other.flutter_seconds;
    }
}

impl Serialize for Fibrillation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut all = serializer.serialize_struct("Fibrillation", 7)?;
        all.serialize_field("se", &self.found.duration_se())?;
        all.serialize_field("ppv", &self.found.duration_ppv())?;
        all.serialize_field("seconds", &self.found.seconds)?;
        all.serialize_field("marked_seconds", &self.found.marked_seconds)?;
        all.serialize_field("common_seconds", &self.found.common_seconds)?;
        all.serialize_field("flutter_seconds", &self.flutter_seconds)?;
        all.serialize_field("episodes", &self.found.marked.0)?;
        all.end()
    }
}

/// Scores every record of `dir` that has a label, or marks; the others are listed as left out. `progress` is told how many
/// records are done, of how many.
///
/// # Errors
/// A folder or a table of labels that cannot be read.
pub fn run(
    dir: &Path,
    config: &dsp::Config,
    options: &Options,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Report, record::Error> {
    let labels = labels(&dir.join(LABELS))?;
    let mut records = record::records_in(dir)?;
    if let Some(wanted) = &options.records {
        records.retain(|path| wanted.contains(&name_of(path)));
    }
    let scores = on_all_cores(&records, progress, |path| match &labels {
        Some(labels) => labelled(path, labels, config, &options.model),
        None => marked(path, config, &options.model),
    });
    let (mut per_record, mut excluded) = (Vec::new(), Vec::new());
    for (path, score) in records.iter().zip(scores) {
        let record = name_of(path);
        match score {
            Ok(score) => per_record.push(score),
            Err(reason) => excluded.push(Excluded { record, reason }),
        }
    }
    Ok(Report::of(per_record, excluded, labels.is_some()))
}

/// The labels of the records; `None` where there is no table.
fn labels(table: &Path) -> Result<Option<BTreeMap<String, RhythmLabel>>, record::Error> {
    if !table.exists() {
        return Ok(None);
    }
    let rows = record::collection::labels(table)?.into_iter();
    // Headings, which only some copies have, are no label.
    let label = |(name, letter): (String, String)| Some((name, RhythmLabel::from_letter(&letter)?));
    Ok(Some(rows.filter_map(label).collect()))
}

/// The label of a record against that which it has.
fn labelled(
    path: &Path,
    labels: &BTreeMap<String, RhythmLabel>,
    config: &dsp::Config,
    model: &RhythmModel,
) -> Result<RecordScore, String> {
    let record = name_of(path);
    let reference = *labels.get(&record).ok_or("no label")?;
    let decisions = decisions(path, config, model)?.decisions;
    let last = decisions.last().ok_or("too short for a decision")?;
    let length = |decision: &RhythmDecision| decision.end.since(decision.start);
    // A whole stretch may be a sample shorter than another, by rounding.
    let whole = |decision: &&RhythmDecision| length(decision).0 + 1 >= length(last).0;
    let whole: Vec<&RhythmDecision> = decisions.iter().filter(whole).collect();
    let mut logs = [0.0f32; 4];
    for decision in &whole {
        for (log, p) in logs.iter_mut().zip(decision.probabilities) {
            *log += p.max(1e-9).ln() / whole.len() as f32;
        }
    }
    let odds = logs.map(f32::exp);
    let sum: f32 = odds.iter().sum();
    let probabilities = odds.map(|odds| odds / sum);
    Ok(RecordScore {
        record,
        label: Some(Labelled {
            reference: reference.letter(),
            test: RhythmLabel::most_probable(&probabilities).letter(),
            probabilities,
        }),
        af: None,
    })
}

/// The fibrillation found in a record against its marks.
fn marked(path: &Path, config: &dsp::Config, model: &RhythmModel) -> Result<RecordScore, String> {
    let marks = annotations(path, REFERENCE)?.list;
    if !marks.iter().any(|mark| mark.code == AnnotationCode::RHYTHM) {
        return Err("no rhythm marks".to_owned());
    }
    let Decided {
        decisions,
        rate,
        end,
    } = decisions(path, config, model)?;
    let mut episodes = Episodes::new(rate, model.form());
    let mut changes = Vec::new();
    for decision in &decisions {
        episodes.push(decision, &mut changes);
    }
    episodes.end(&mut changes);
    let found: Vec<Range<SampleIndex>> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Ended(episode) => Some(episode.onset..episode.offset),
            Change::Began(_) => None,
        })
        .collect();
    let marked = |code| rhythms::spans(&marks, code, SampleIndex(0), end);
    Ok(RecordScore {
        record: name_of(path),
        label: None,
        af: Some(Fibrillation {
            found: Marked::of(&marked("AFIB"), &found, rate),
            flutter_seconds: Marked::of(&marked("AFL"), &found, rate).common_seconds,
        }),
    })
}

/// What is decided of a record.
struct Decided {
    decisions: Vec<RhythmDecision>,
    rate: SampleRate,
    end: SampleIndex,
}

/// The decisions on a record at each hop and at its end.
fn decisions(path: &Path, config: &dsp::Config, model: &RhythmModel) -> Result<Decided, String> {
    let record = Record::open(path).map_err(|error| error.to_string())?;
    let player = Player::new::<&str>(record, &[]).map_err(|error| error.to_string())?;
    let layout = player.layout().clone();
    let mut chain = Chain::new(&layout, config).map_err(|error| error.to_string())?;
    let collector = Collector::new(&layout, config.window.rate_hz);
    let mut collector = collector.ok_or("no ECG lead at a rate that can be used")?;
    let mut decisions = Vec::new();
    let mut failed = None;
    let decide = |stretch: &Stretch| model.decide(stretch.lead, &stretch.samples, &stretch.context);
    let end = play(
        player,
        &mut chain,
        |_| {},
        |output| {
            collector.push(&output);
            while let Some(stretch) = collector.next_stretch() {
                match decide(&stretch) {
                    Ok(decision) => decisions.push(decision),
                    Err(error) => failed = Some(error.to_string()),
                }
            }
        },
    )?;
    if let Some(last) = collector.last()
        && decisions
            .last()
            .is_none_or(|decision| decision.end < last.context.end)
    {
        decisions.push(decide(&last).map_err(|error| error.to_string())?);
    }
    match failed {
        Some(reason) => Err(reason),
        None => Ok(Decided {
            decisions,
            rate: layout.base_rate(),
            end,
        }),
    }
}

impl Report {
    fn of(per_record: Vec<RecordScore>, excluded: Vec<Excluded>, labelled: bool) -> Self {
        let letters = RhythmLabel::ALL.map(RhythmLabel::letter);
        let mut confusion: BTreeMap<char, BTreeMap<char, u64>> = letters
            .into_iter()
            .map(|a| (a, letters.into_iter().map(|b| (b, 0)).collect()))
            .collect();
        let mut af = Fibrillation::default();
        for score in &per_record {
            if let Some(Labelled {
                reference, test, ..
            }) = &score.label
                && let Some(cell) = confusion
                    .get_mut(reference)
                    .and_then(|row| row.get_mut(test))
            {
                *cell += 1;
            }
            if let Some(of_record) = score.af {
                af += of_record;
            }
        }
        let f1: BTreeMap<char, Option<f64>> = letters
            .into_iter()
            .map(|letter| {
                let row: u64 = confusion[&letter].values().sum();
                let column: u64 = confusion.values().map(|row| row[&letter]).sum();
                let both = 2 * confusion[&letter][&letter];
                (
                    letter,
                    percent(both, row + column).map(|percent| percent / 100.0),
                )
            })
            .collect();
        let three: Option<Vec<f64>> = ['N', 'A', 'O'].iter().map(|letter| f1[letter]).collect();
        let mean_f1 = three.filter(|_| labelled);
        Self {
            task: "rhythm",
            records: per_record.len(),
            mean_f1: mean_f1.map(|three| three.iter().sum::<f64>() / 3.0),
            f1: labelled.then_some(f1),
            confusion: labelled.then_some(confusion),
            af: (!labelled).then_some(af),
            per_record,
            excluded,
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
        let width = self
            .per_record
            .iter()
            .map(|score| score.record.chars().count());
        let width = width.max().unwrap_or(0).max(6);
        let one = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        if let (Some(f1), Some(confusion)) = (&self.f1, &self.confusion) {
            writeln!(
                f,
                "{:width$} label given {:>8} {:>5} {:>5} {:>5}",
                "record", "N", "A", "O", "~"
            )?;
            for score in &self.per_record {
                let Some(label) = &score.label else { continue };
                let [n, a, o, noisy] = label.probabilities;
                writeln!(
                    f,
                    "{:width$} {:>5} {:>5} {n:>8.3} {a:.3} {o:.3} {noisy:.3}",
                    score.record, label.reference, label.test
                )?;
            }
            writeln!(
                f,
                "label      F1 {:>6} {:>6} {:>6} {:>6}  given",
                "N", "A", "O", "~"
            )?;
            for letter in RhythmLabel::ALL.map(RhythmLabel::letter) {
                let value = f1[&letter].map_or("-".to_owned(), |f1| format!("{f1:.3}"));
                write!(f, "{letter:<5} {value:>7}")?;
                for given in RhythmLabel::ALL.map(RhythmLabel::letter) {
                    write!(f, " {:>6}", confusion[&letter][&given])?;
                }
                writeln!(f)?;
            }
            let mean = self.mean_f1.map_or("-".to_owned(), |f1| format!("{f1:.4}"));
            writeln!(f, "mean F1 of N, A, O: {mean}")?;
        }
        if let Some(all) = &self.af {
            writeln!(
                f,
                "{:width$} {:>7} {:>7} {:>9} {:>9} {:>9} {:>9} {:>8}",
                "record", "Se", "+P", "AF s", "found s", "both s", "AFL s", "episodes"
            )?;
            let mut row = |name: &str, af: &Fibrillation| {
                writeln!(
                    f,
                    "{name:width$} {:>7} {:>7} {:>9.0} {:>9.0} {:>9.0} {:>9.0} {:>8}",
                    one(af.found.duration_se()),
                    one(af.found.duration_ppv()),
                    af.found.seconds,
                    af.found.marked_seconds,
                    af.found.common_seconds,
                    af.flutter_seconds,
                    af.found.marked.0
                )
            };
            for score in &self.per_record {
                if let Some(af) = &score.af {
                    row(&score.record, af)?;
                }
            }
            row("all", all)?;
        }
        write!(f, "{} records", self.records)?;
        for left_out in &self.excluded {
            write!(f, "\nwithout {}: {}", left_out.record, left_out.reason)?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::annotation::Annotation;

    fn score(reference: char, test: char) -> RecordScore {
        RecordScore {
            record: "A1".to_owned(),
            label: Some(Labelled {
                reference,
                test,
                probabilities: [0.25; 4],
            }),
            af: None,
        }
    }

    #[test]
    fn f1_of_labels_by_hand() {
        let scores = "NN NN NO AA OO OA ~N".split(' ').map(|pair| {
            let mut letters = pair.chars();
            score(letters.next().unwrap(), letters.next().unwrap())
        });
        let report = Report::of(scores.collect(), Vec::new(), true);
        let f1 = report.f1.as_ref().unwrap();
        // Twice those that agree, over those that have the label and those that were given it.
        for (letter, expected) in [('N', 4.0 / 6.0), ('A', 2.0 / 3.0), ('O', 0.5), ('~', 0.0)] {
            assert!((f1[&letter].unwrap() - expected).abs() < 1e-12, "{letter}");
        }
        let mean = (4.0 / 6.0 + 2.0 / 3.0 + 0.5) / 3.0;
        assert!((report.mean_f1.unwrap() - mean).abs() < 1e-12);
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["task"], "rhythm");
        assert_eq!(json["records"], 7);
        assert_eq!(json["confusion"]["O"]["A"], 1);
        assert!(report.to_string().contains("mean F1 of N, A, O: 0.6111"));
    }

    #[test]
    fn fibrillation_is_counted_in_seconds_and_flutter_apart() {
        let mark = |at: u64, aux: &str| Annotation {
            aux: aux.to_owned(),
            ..Annotation::new(SampleIndex(at), AnnotationCode::RHYTHM)
        };
        let marks = [
            mark(0, "(N"),
            mark(100, "(AFIB"),
            mark(300, "(AFL"),
            mark(400, "(AFIB"),
        ];
        let marked = |code| rhythms::spans(&marks, code, SampleIndex(0), SampleIndex(500));
        let fibrillation = marked("AFIB");
        let of = |a: u64, b: u64| SampleIndex(a)..SampleIndex(b);
        assert_eq!(fibrillation, [of(100, 300), of(400, 500)]);
        let found = [of(50, 250), of(350, 450)];
        let common = |reference: &[Range<SampleIndex>]| rhythms::common(reference, &found);
        assert_eq!(common(&fibrillation), [of(100, 250), of(400, 450)]);
        assert_eq!(common(&marked("AFL")), [of(350, 400)]);
        let af = RecordScore {
            label: None,
            af: Some(Fibrillation {
                found: Marked {
                    marked: (2, 2),
                    seconds: 300.0,
                    marked_seconds: 250.0,
                    common_seconds: 200.0,
                    ..Marked::default()
                },
                flutter_seconds: 50.0,
            }),
            ..score('A', 'A')
        };
        let report = Report::of(vec![af.clone(), af], Vec::new(), false);
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["f1"], serde_json::Value::Null);
        assert_eq!(json["af"]["ppv"], 80.0);
        assert_eq!(json["af"]["seconds"], 600.0);
        assert_eq!(json["per_record"][0]["record"], "A1");
    }
}
