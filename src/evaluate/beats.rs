//! Classes of beats against reference annotations: the service's own chain on all ECG leads of each
//! record of a folder, and a table or JSON of what came of it.
//!
//! Records with paced beats are left out, as EC57 has it. **Gross** statistics count every beat alike,
//! **average** ones every record for which they are defined.

use std::fmt;
use std::path::Path;

use dsp::{Chain, Models, Output};
use serde::Serialize;

use super::ec57::{self, ClassCounts, Labels, Matrix};
use super::report::{Excluded, mean};
use super::{REFERENCE, annotations, play, score_all};
use crate::record::annotation::AnnotationCode;
use crate::record::{self, Player, Record};

/// The scores of every record of a folder.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Each record and what its labels met.
    pub per_record: Vec<(String, Matrix)>,
    /// The records left out.
    pub excluded: Vec<Excluded>,
}

/// Scores every record of `dir` that has reference annotations and no pacemaker, with the first
/// `skip_seconds` of each not counted; beats are found and classified by `models`.
///
/// # Errors
/// A folder that cannot be read.
pub fn run(
    dir: &Path,
    config: &dsp::Config,
    models: &Models,
    skip_seconds: f64,
) -> Result<Report, record::Error> {
    let records = record::records_in(dir)?;
    let mut report = Report::default();
    for (record, score) in score_all(&records, |path| score(path, config, models, skip_seconds)) {
        match score {
            Ok(matrix) => report.per_record.push((record, matrix)),
            Err(reason) => report.excluded.push(Excluded { record, reason }),
        }
    }
    Ok(report)
}

/// What the labels of one record met, or why it is left out.
fn score(
    path: &Path,
    config: &dsp::Config,
    models: &Models,
    skip_seconds: f64,
) -> Result<Matrix, String> {
    let reference = annotations(path, REFERENCE)?.list;
    if reference
        .iter()
        .any(|label| label.code == AnnotationCode::PACED)
    {
        return Err("paced".to_owned());
    }
    let record = Record::open(path).map_err(|error| error.to_string())?;
    let player = Player::new(record, &[""; 0]).map_err(|error| error.to_string())?;
    let layout = player.layout().clone();
    let rate = layout.base_rate();
    let chain = Chain::with_models(&layout, config, models);
    let mut chain = chain.map_err(|error| error.to_string())?;
    let mut beats = Vec::new();
    let end = play(
        player,
        &mut chain,
        |_| {},
        |output| {
            if let Output::Class(beat) = output {
                beats.push(beat);
            }
        },
    )?;
    let rules = ec57::Config {
        start: skip_seconds,
        ..ec57::Config::default()
    };
    let reference = Labels::from_annotations(&reference);
    Ok(ec57::compare(
        &reference,
        &Labels::from_beats(beats),
        rate,
        end,
        &rules,
    ))
}

/// The two classes that EC57 scores.
#[derive(Clone, Copy, Serialize)]
struct Both<T> {
    veb: T,
    sveb: T,
}

impl Both<ClassCounts> {
    fn of(matrix: &Matrix) -> Self {
        Self {
            veb: matrix.veb(),
            sveb: matrix.sveb(),
        }
    }
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

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a str>,
    #[serde(flatten)]
    classes: Both<Statistics>,
}

impl<'a> Line<'a> {
    fn of(record: Option<&'a str>, counts: Both<ClassCounts>) -> Self {
        let classes = Both {
            veb: counts.veb.into(),
            sveb: counts.sveb.into(),
        };
        Self { record, classes }
    }
}

impl Report {
    /// The sums over all records: VEB, SVEB.
    pub fn gross(&self) -> (ClassCounts, ClassCounts) {
        let both = self.sum();
        (both.veb, both.sveb)
    }

    fn sum(&self) -> Both<ClassCounts> {
        let mut sum = Both::of(&Matrix::default());
        for (_, matrix) in &self.per_record {
            sum.veb += matrix.veb();
            sum.sveb += matrix.sveb();
        }
        sum
    }

    fn average(&self, of: fn(&Matrix) -> ClassCounts) -> Average {
        let over = |statistic: fn(&ClassCounts) -> Option<f64>| {
            let matrices = self.per_record.iter().map(|(_, matrix)| of(matrix));
            mean(matrices.map(|counts| statistic(&counts)))
        };
        Average {
            se: over(ClassCounts::se),
            ppv: over(ClassCounts::ppv),
            fpr: over(ClassCounts::fpr),
        }
    }

    /// The report as one line of JSON: `{"task", "records", "gross": {"veb", "sveb"}, "average", "per_record",
    /// "excluded"}`, statistics in percent.
    pub fn to_json(&self) -> String {
        let lines = self.per_record.iter();
        let lines: Vec<Line<'_>> = lines
            .map(|(record, matrix)| Line::of(Some(record), Both::of(matrix)))
            .collect();
        serde_json::json!({
            "task": "beats",
            "records": self.per_record.len(),
            "gross": Line::of(None, self.sum()),
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
        for (name, matrix) in &self.per_record {
            row(name, &Both::of(matrix))?;
        }
        row("gross", &self.sum())?;
        let cells = |average: Average| {
            let [se, ppv, fpr] = [average.se, average.ppv, average.fpr].map(column);
            format!("{se:>7} {ppv:>7} {fpr:>6}")
        };
        let (veb, sveb) = (self.average(Matrix::veb), self.average(Matrix::sveb));
        writeln!(f, "{:width$} {:43}  {}", "average", cells(veb), cells(sveb))?;
        write!(f, "{} records", self.per_record.len())?;
        for excluded in &self.excluded {
            write!(f, "\nwithout {}: {}", excluded.record, excluded.reason)?;
        }
        writeln!(f)
    }
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
        let one = Matrix {
            cells,
            ..Matrix::default()
        };
        let mut cells = [[0; 7]; 7];
        cells[0][0] = 100;
        cells[1][1] = 4;
        let two = Matrix {
            cells,
            ..Matrix::default()
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
        assert_eq!(value["excluded"][0]["reason"], "paced");
    }

    #[test]
    fn a_table_for_people() {
        let table = report().to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 7);
        assert!(lines[1].starts_with("100       75.00   75.00   5.00     15      5      5"));
        assert!(lines[4].starts_with("average   75.00   75.00   2.50"));
        assert_eq!(lines[6], "without 102: paced");
    }
}
