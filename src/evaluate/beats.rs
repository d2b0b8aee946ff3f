//! Classes of beats, runs and rhythms of ectopic ones against reference annotations: the service's own chain on all
//! ECG leads of each record of a folder, and a table or JSON of what came of it.
//!
//! Records with paced beats are left out, as EC57 has it. **Gross** statistics count every beat, run and
//! episode alike, **average** ones every record for which they are defined.

use std::fmt;
use std::path::Path;

use dsp::ectopy::Rhythm;
use dsp::{Chain, Models, Output};
use ecg::{Beat, Gap, SampleIndex};
use serde::Serialize;
use serde_json::{Value, json};

use super::ec57::{self, ClassCounts, Labels, Matrix};
use super::report::{Excluded, mean};
use super::rhythms::{self, Marked};
use super::runs::{self, RunCounts, Runs};
use super::{REFERENCE, annotations, play, score_all};
use crate::holter::{self, Blind};
use crate::record::annotation::AnnotationCode;
use crate::record::{self, Player, Record};

/// What is scored how.
#[derive(Debug, Clone)]
pub struct Options {
    /// What finds and classifies the beats.
    pub models: Models,
    /// Seconds at the start of each record that are not scored.
    pub skip_seconds: f64,
    /// Score the beats of this annotator, and their rhythms by our definitions, in place of our own.
    pub annotator: Option<String>,
}

/// The scores of every record of a folder.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Each record and how it came out.
    pub per_record: Vec<(String, Score)>,
    /// The records left out.
    pub excluded: Vec<Excluded>,
}

/// How one record came out.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Score {
    /// What the labels of beats met.
    pub classes: Matrix,
    /// What ventricular runs met.
    pub runs: Runs,
    /// How each rhythm of [`Rhythm::ALL`] was marked.
    pub rhythms: [Marked; Rhythm::ALL.len()],
}

/// Scores every record of `dir` that has reference annotations and no pacemaker.
///
/// # Errors
/// A folder that cannot be read.
pub fn run(dir: &Path, config: &dsp::Config, options: &Options) -> Result<Report, record::Error> {
    let records = record::records_in(dir)?;
    let mut report = Report::default();
    for (record, score) in score_all(&records, |path| score(path, config, options)) {
        match score {
            Ok(score) => report.per_record.push((record, score)),
            Err(reason) => report.excluded.push(Excluded { record, reason }),
        }
    }
    Ok(report)
}

/// How one record came out, or why it is left out.
fn score(path: &Path, config: &dsp::Config, options: &Options) -> Result<Score, String> {
    let reference = annotations(path, REFERENCE)?.list;
    if reference
        .iter()
        .any(|label| label.code == AnnotationCode::PACED)
    {
        return Err("paced".to_owned());
    }
    let record = Record::open(path).map_err(|error| error.to_string())?;
    let player = Player::new(record, &[""; 0]).map_err(|error| error.to_string())?;
    let rate = player.layout().base_rate();
    let end = SampleIndex(rate.count(player.seconds()).0);
    let (test, gaps) = if let Some(annotator) = &options.annotator {
        let list = annotations(path, annotator)?.list;
        (Labels::from_annotations(&list), Vec::new())
    } else {
        let (beats, gaps) = classify(player, config, &options.models)?;
        (Labels::from_beats(beats), gaps)
    };
    let rules = ec57::Config {
        start: options.skip_seconds,
        ..ec57::Config::default()
    };
    let start = SampleIndex(rate.count(rules.start).0);
    let marks = holter::rhythms(&test.beats, &gaps, rate);
    let labels = Labels::from_annotations(&reference);
    Ok(Score {
        classes: ec57::compare(&labels, &test, rate, end, &rules),
        runs: runs::compare(&labels, &test, rate, end, &rules),
        rhythms: rhythms::compare(&reference, &marks, rate, (start, end)),
    })
}

/// The beats that the chain finds in what `player` plays, and the stretches without an electrode.
fn classify(
    player: Player,
    config: &dsp::Config,
    models: &Models,
) -> Result<(Vec<Beat>, Vec<Gap>), String> {
    let chain = Chain::with_models(player.layout(), config, models);
    let mut chain = chain.map_err(|error| error.to_string())?;
    let (mut beats, mut blind) = (Vec::new(), Blind::default());
    let said = |output| match output {
        Output::Class(beat) => beats.push(beat),
        Output::Quality(quality) => blind.note(&quality),
        _ => {}
    };
    play(player, &mut chain, |_| {}, said)?;
    Ok((beats, blind.finish()))
}

/// The two classes that EC57 scores.
#[derive(Clone, Copy, Serialize)]
struct Both<T> {
    veb: T,
    sveb: T,
}

/// [`ClassCounts`] as they stand in JSON, percent and counts.
#[derive(Serialize)]
struct Statistics {
    se: Option<f64>,
    ppv: Option<f64>,
    fpr: Option<f64>,
    tp: u64,
    #[serde(rename = "fn")]
    fn_: u64,
    fp: u64,
    tn: u64,
}

impl From<ClassCounts> for Statistics {
    fn from(counts: ClassCounts) -> Self {
        Self {
            se: counts.se(),
            ppv: counts.ppv(),
            fpr: counts.fpr(),
            tp: counts.tp,
            fn_: counts.fn_,
            fp: counts.fp,
            tn: counts.tn,
        }
    }
}

/// Means over records, percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Average {
    se: Option<f64>,
    ppv: Option<f64>,
    fpr: Option<f64>,
}

impl Score {
    fn both(&self) -> Both<ClassCounts> {
        Both {
            veb: self.classes.veb(),
            sveb: self.classes.sveb(),
        }
    }

    fn lengths(&self) -> [(&'static str, RunCounts); 3] {
        let runs = &self.runs;
        [
            ("couplets", runs.couplets()),
            ("short", runs.short()),
            ("long", runs.long()),
        ]
    }
}

/// Runs as they stand in JSON: by length, percent and counts.
fn runs_json(lengths: [(&'static str, RunCounts); 3]) -> Value {
    let value = |counts: RunCounts| {
        json!({
            "se": counts.se(),
            "ppv": counts.ppv(),
            "found": counts.found,
            "missed": counts.missed,
            "right": counts.right,
            "wrong": counts.wrong,
        })
    };
    let lengths = lengths.map(|(name, counts)| (name.to_owned(), value(counts)));
    Value::Object(lengths.into_iter().collect())
}

/// Rhythms as they stand in JSON: by code, percent, counts and seconds; only those that one side has.
fn rhythms_json(rhythms: &[Marked]) -> Value {
    let value = |marked: &Marked| {
        json!({
            "se": marked.se(),
            "ppv": marked.ppv(),
            "duration_se": marked.duration_se(),
            "duration_ppv": marked.duration_ppv(),
            "episodes": marked.episodes.0,
            "marked": marked.marked.0,
            "seconds": marked.seconds,
            "marked_seconds": marked.marked_seconds,
        })
    };
    let there = present(rhythms).map(|(code, marked)| (code.to_owned(), value(marked)));
    Value::Object(there.collect())
}

/// The rhythms that one side has, with their codes.
fn present(rhythms: &[Marked]) -> impl Iterator<Item = (&'static str, &Marked)> {
    let codes = Rhythm::ALL.map(Rhythm::code).into_iter().zip(rhythms);
    codes.filter(|(_, marked)| marked.episodes.0 + marked.marked.0 > 0)
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a str>,
    #[serde(flatten)]
    classes: Both<Statistics>,
    runs: Value,
    rhythms: Value,
}

impl<'a> Line<'a> {
    fn of(record: Option<&'a str>, score: &Total) -> Self {
        let classes = Both {
            veb: score.classes.veb.into(),
            sveb: score.classes.sveb.into(),
        };
        Self {
            record,
            classes,
            runs: runs_json(score.runs),
            rhythms: rhythms_json(&score.rhythms),
        }
    }
}

/// What adds up over records.
struct Total {
    classes: Both<ClassCounts>,
    runs: [(&'static str, RunCounts); 3],
    rhythms: [Marked; Rhythm::ALL.len()],
}

impl Total {
    fn of(score: &Score) -> Self {
        Self {
            classes: score.both(),
            runs: score.lengths(),
            rhythms: score.rhythms,
        }
    }
}

impl Report {
    /// The sums over all records: VEB, SVEB.
    pub fn gross(&self) -> (ClassCounts, ClassCounts) {
        let both = self.total().classes;
        (both.veb, both.sveb)
    }

    fn total(&self) -> Total {
        let mut classes = Score::default().both();
        let mut sum = Score::default();
        for (_, score) in &self.per_record {
            let both = score.both();
            classes.veb += both.veb;
            classes.sveb += both.sveb;
            sum.runs += score.runs;
            for (sum, marked) in sum.rhythms.iter_mut().zip(score.rhythms) {
                *sum += marked;
            }
        }
        Total {
            classes,
            ..Total::of(&sum)
        }
    }

    fn average(&self, of: fn(&Matrix) -> ClassCounts) -> Average {
        let over = |statistic: fn(&ClassCounts) -> Option<f64>| {
            let matrices = self.per_record.iter();
            let matrices = matrices.map(|(_, score)| of(&score.classes));
            mean(matrices.map(|counts| statistic(&counts)))
        };
        Average {
            se: over(ClassCounts::se),
            ppv: over(ClassCounts::ppv),
            fpr: over(ClassCounts::fpr),
        }
    }

    /// The report as one line of JSON: `{"task", "records", "gross": {"veb", "sveb", "runs", "rhythms"}, "average":
    /// {"veb", "sveb"}, "per_record", "excluded"}`, statistics in percent.
    pub fn to_json(&self) -> String {
        let lines = self.per_record.iter();
        let lines: Vec<Line<'_>> = lines
            .map(|(record, score)| Line::of(Some(record), &Total::of(score)))
            .collect();
        json!({
            "task": "beats",
            "records": self.per_record.len(),
            "gross": Line::of(None, &self.total()),
            "average": Both { veb: self.average(Matrix::veb), sveb: self.average(Matrix::sveb) },
            "per_record": lines,
            "excluded": self.excluded,
        })
        .to_string()
    }
}

impl fmt::Display for Report {
    /// The table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.per_record.iter().map(|(name, _)| name.chars().count());
        let width = names.max().unwrap_or(0).max("average".len());
        let head = |class: &str| {
            format!(
                "{:>7} {:>7} {:>6} {:>6} {:>6} {:>6}",
                class, "+P", "FPR", "TP", "FN", "FP"
            )
        };
        writeln!(
            f,
            "{:width$} {}  {}",
            "beats",
            head("VEB Se"),
            head("SVEB Se")
        )?;
        let cells = |counts: &ClassCounts| {
            format!(
                "{:>7} {:>7} {:>6} {:>6} {:>6} {:>6}",
                column(counts.se()),
                column(counts.ppv()),
                column(counts.fpr()),
                counts.tp,
                counts.fn_,
                counts.fp
            )
        };
        let mut row = |name: &str, both: &Both<ClassCounts>| {
            writeln!(
                f,
                "{name:width$} {}  {}",
                cells(&both.veb),
                cells(&both.sveb)
            )
        };
        for (name, score) in &self.per_record {
            row(name, &score.both())?;
        }
        let total = self.total();
        row("gross", &total.classes)?;
        let cells = |average: Average| {
            let [se, ppv, fpr] = [average.se, average.ppv, average.fpr].map(column);
            format!("{se:>7} {ppv:>7} {fpr:>6}")
        };
        let (veb, sveb) = (self.average(Matrix::veb), self.average(Matrix::sveb));
        writeln!(f, "{:width$} {:43}  {}", "average", cells(veb), cells(sveb))?;
        self.table_of_runs(width, &total, f)?;
        table_of_rhythms(width, &total, f)?;
        write!(f, "{} records", self.per_record.len())?;
        for excluded in &self.excluded {
            write!(f, "\nwithout {}: {}", excluded.record, excluded.reason)?;
        }
        writeln!(f)
    }
}

impl Report {
    /// The records that have ventricular couplets or runs, or are said to, and all together.
    fn table_of_runs(
        &self,
        width: usize,
        total: &Total,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let head = |kind: &str| format!("{kind:>7} {:>7} {:>5} {:>5}", "+P", "there", "told");
        let [couplets, short, long] = ["VE 2 Se", "3-5 Se", "> 5 Se"].map(head);
        writeln!(f, "\n{:width$} {couplets}  {short}  {long}", "runs")?;
        let there = |counts: &RunCounts| counts.found + counts.missed;
        let told = |counts: &RunCounts| counts.right + counts.wrong;
        let mut row = |name: &str, runs: &[(&'static str, RunCounts); 3]| {
            let cells = runs.map(|(_, counts)| {
                let (se, ppv) = (column(counts.se()), column(counts.ppv()));
                format!(
                    "{se:>7} {ppv:>7} {:>5} {:>5}",
                    there(&counts),
                    told(&counts)
                )
            });
            writeln!(f, "{name:width$} {}", cells.join("  "))
        };
        for (name, score) in &self.per_record {
            let runs = score.lengths();
            if runs.iter().any(|(_, runs)| there(runs) + told(runs) > 0) {
                row(name, &runs)?;
            }
        }
        row("gross", &total.runs)
    }
}

/// The rhythms of all records together: episodes, then time in seconds.
fn table_of_rhythms(width: usize, total: &Total, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if present(&total.rhythms).next().is_none() {
        return Ok(());
    }
    let head = |kind: &str| format!("{kind:>7} {:>7} {:>7} {:>7}", "+P", "there", "told");
    let (episodes, time) = (head("Se"), head("time Se"));
    writeln!(f, "\n{:width$} {episodes}  {time}", "rhythms")?;
    for (code, marked) in present(&total.rhythms) {
        let (se, ppv) = (column(marked.se()), column(marked.ppv()));
        write!(f, "{code:width$} {se:>7} {ppv:>7} ")?;
        write!(f, "{:>7} {:>7}  ", marked.episodes.0, marked.marked.0)?;
        let (se, ppv) = (column(marked.duration_se()), column(marked.duration_ppv()));
        write!(f, "{se:>7} {ppv:>7} ")?;
        writeln!(f, "{:>7.1} {:>7.1}", marked.seconds, marked.marked_seconds)?;
    }
    Ok(())
}

/// A percentage; a dash where there is none.
fn column(percent: Option<f64>) -> String {
    percent.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut cells = [[0; 7]; 7];
        cells[0][0] = 95;
        cells[0][2] = 5;
        cells[2][2] = 15;
        cells[2][0] = 5;
        let mut one = Score {
            classes: Matrix {
                cells,
                ..Matrix::default()
            },
            ..Score::default()
        };
        one.runs.sensitivity[2][2] = 3;
        one.runs.sensitivity[2][1] = 1;
        one.runs.predictivity[2][2] = 3;
        one.rhythms[0] = Marked {
            episodes: (4, 3),
            marked: (3, 3),
            seconds: 20.0,
            marked_seconds: 12.0,
            common_seconds: 10.0,
        };
        let mut cells = [[0; 7]; 7];
        cells[0][0] = 100;
        cells[1][1] = 4;
        let two = Score {
            classes: Matrix {
                cells,
                ..Matrix::default()
            },
            ..Score::default()
        };
        Report {
            per_record: vec![("100".to_owned(), one), ("101".to_owned(), two)],
            excluded: vec![Excluded {
                record: "102".to_owned(),
                reason: "paced".to_owned(),
            }],
        }
    }

    #[test]
    fn json_for_programs() {
        let value: serde_json::Value = serde_json::from_str(&report().to_json()).unwrap();
        assert_eq!(value["task"], "beats");
        assert_eq!(value["records"], 2);
        assert_eq!(value["gross"]["veb"]["se"], 75.0);
        assert_eq!(value["gross"]["veb"]["ppv"], 75.0);
        assert_eq!(value["gross"]["sveb"]["se"], 100.0);
        assert_eq!(value["average"]["veb"]["fpr"], 2.5);
        assert_eq!(value["per_record"][1]["record"], "101");
        assert_eq!(value["per_record"][1]["veb"]["se"], serde_json::Value::Null);
        assert_eq!(value["gross"]["runs"]["couplets"]["se"], 75.0);
        assert_eq!(value["per_record"][1]["runs"]["long"]["missed"], 0);
        assert_eq!(value["gross"]["rhythms"]["VT"]["se"], 75.0);
        assert_eq!(value["gross"]["rhythms"]["VT"]["duration_se"], 50.0);
        assert_eq!(value["gross"]["rhythms"].get("B"), None);
        assert_eq!(value["excluded"][0]["reason"], "paced");
    }

    #[test]
    fn a_table_for_people() {
        let table = report().to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 14);
        assert!(lines[1].starts_with("100       75.00   75.00   5.00     15      5      5"));
        assert!(lines[4].starts_with("average   75.00   75.00   2.50"));
        assert!(lines[6].starts_with("runs    VE 2 Se      +P there  told   3-5 Se"));
        assert!(lines[7].starts_with("100       75.00  100.00     4     3        -"));
        assert!(lines[8].starts_with("gross     75.00  100.00     4     3        -"));
        assert_eq!(
            lines[11],
            "VT        75.00  100.00       4       3    50.00   83.33    20.0    12.0"
        );
        assert_eq!(lines[13], "without 102: paced");
    }
}
