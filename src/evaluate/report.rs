//! The result of a task over a folder of records: as JSON for programs, as a table for people.
//!
//! **Gross** statistics treat the database as one long record: every beat weighs the same.
//! **Average** statistics are means over the records: every record weighs the same. Both, and
//! every record by itself, are reported, and so is each record that was left out, with the reason.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::ec57::Counts;

/// The counts of every record of a task. Its JSON is
/// `{"task", "records", "gross", "average", "per_record", "excluded"}`, Se, +P and F1 in percent. In a
/// noise stress test `gross`, `average` and each record have the same of the noisy minutes in `noisy`.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The name of the task.
    pub task: String,
    /// The records compared.
    pub per_record: Vec<RecordScore>,
    /// The records left out.
    pub excluded: Vec<Excluded>,
}

/// How one record came out.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordScore {
    /// Its name.
    pub record: String,
    /// Its counts.
    pub counts: Counts,
    /// Those of the noisy minutes alone, in a noise stress test.
    pub noisy: Option<Counts>,
}

/// A record that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Excluded {
    /// Its name.
    pub record: String,
    /// Why.
    pub reason: String,
}

/// Means over records, percent; a record for which a statistic is not defined is left out of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Average {
    /// Mean sensitivity.
    pub se: Option<f64>,
    /// Mean positive predictivity.
    pub ppv: Option<f64>,
    /// Mean F1.
    pub f1: Option<f64>,
}

impl Report {
    /// A report without records.
    pub fn new(task: impl Into<String>) -> Self {
        Self {
            task: task.into(),
            per_record: Vec::new(),
            excluded: Vec::new(),
        }
    }

    /// Adds a record.
    pub fn push(&mut self, record: impl Into<String>, counts: Counts, noisy: Option<Counts>) {
        self.per_record.push(RecordScore {
            record: record.into(),
            counts,
            noisy,
        });
    }

    /// Says that a record was left out, and why.
    pub fn exclude(&mut self, record: impl Into<String>, reason: impl Into<String>) {
        self.excluded.push(Excluded {
            record: record.into(),
            reason: reason.into(),
        });
    }

    /// The report as one line of JSON.
    #[expect(clippy::missing_panics_doc, reason = "it cannot panic")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report has nothing but strings and numbers")
    }

    /// The sum over all records.
    pub fn gross(&self) -> Counts {
        sum(self.per_record.iter().map(|score| score.counts))
    }

    /// The means over all records.
    pub fn average(&self) -> Average {
        Average::of(self.per_record.iter().map(|score| score.counts))
    }

    /// The sum and the means over the noisy minutes of all records, in a noise stress test.
    pub fn noisy(&self) -> Option<(Counts, Average)> {
        let noisy = || self.per_record.iter().filter_map(|score| score.noisy);
        noisy().next()?;
        Some((sum(noisy()), Average::of(noisy())))
    }
}

fn sum(counts: impl Iterator<Item = Counts>) -> Counts {
    counts.fold(Counts::default(), |mut sum, counts| {
        sum += counts;
        sum
    })
}

/// The mean of the values that there are.
pub(super) fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

impl Average {
    fn of(counts: impl Iterator<Item = Counts>) -> Self {
        let counts: Vec<Counts> = counts.collect();
        let over = |statistic: fn(&Counts) -> Option<f64>| mean(counts.iter().map(statistic));
        Self {
            se: over(Counts::se),
            ppv: over(Counts::ppv),
            f1: over(Counts::f1),
        }
    }
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Report", 6)?;
        report.serialize_field("task", &self.task)?;
        report.serialize_field("records", &self.per_record.len())?;
        let noisy = self.noisy();
        let gross = Statistics::of(self.gross());
        let average = Means {
            whole: self.average(),
            noisy: noisy.map(|(_, average)| average),
        };
        report.serialize_field("gross", &gross.with(noisy.map(|(gross, _)| gross)))?;
        report.serialize_field("average", &average)?;
        let of = |score: &RecordScore| RecordStatistics {
            record: score.record.clone(),
            statistics: Statistics::of(score.counts).with(score.noisy),
        };
        let per_record: Vec<RecordStatistics> = self.per_record.iter().map(of).collect();
        report.serialize_field("per_record", &per_record)?;
        report.serialize_field("excluded", &self.excluded)?;
        report.end()
    }
}

/// [`Counts`] as they stand in JSON.
#[derive(Serialize)]
struct Statistics {
    se: Option<f64>,
    ppv: Option<f64>,
    f1: Option<f64>,
    tp: u64,
    #[serde(rename = "fn")]
    fn_: u64,
    fp: u64,
    missed_in_shutdown: u64,
    extra_in_unreadable: u64,
    shutdown_seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    noisy: Option<Box<Statistics>>,
}

#[derive(Serialize)]
struct RecordStatistics {
    record: String,
    #[serde(flatten)]
    statistics: Statistics,
}

#[derive(Serialize)]
struct Means {
    #[serde(flatten)]
    whole: Average,
    #[serde(skip_serializing_if = "Option::is_none")]
    noisy: Option<Average>,
}

impl Statistics {
    fn of(counts: Counts) -> Self {
        Self {
            se: counts.se(),
            ppv: counts.ppv(),
            f1: counts.f1(),
            tp: counts.tp,
            fn_: counts.fn_,
            fp: counts.fp,
            missed_in_shutdown: counts.missed_in_shutdown,
            extra_in_unreadable: counts.extra_in_unreadable,
            shutdown_seconds: counts.shutdown_seconds,
            noisy: None,
        }
    }

    fn with(self, noisy: Option<Counts>) -> Self {
        Self {
            noisy: noisy.map(|counts| Box::new(Self::of(counts))),
            ..self
        }
    }
}

impl fmt::Display for Report {
    /// The table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self
            .per_record
            .iter()
            .map(|score| score.record.chars().count());
        let width = names.max().unwrap_or(0).max("average".len());
        writeln!(
            f,
            "{:width$} {:>7} {:>7} {:>7} {:>8} {:>7} {:>7} {:>10}",
            self.task, "Se", "+P", "F1", "TP", "FN", "FP", "shutdown s"
        )?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, counts: &Counts| {
            writeln!(
                f,
                "{name:width$} {} {} {} {:>8} {:>7} {:>7} {:>10.1}",
                column(counts.se()),
                column(counts.ppv()),
                column(counts.f1()),
                counts.tp,
                counts.fn_,
                counts.fp,
                counts.shutdown_seconds
            )
        };
        for score in &self.per_record {
            row(f, &score.record, &score.counts)?;
        }
        row(f, "gross", &self.gross())?;
        let means = |f: &mut fmt::Formatter<'_>, average: Average| {
            writeln!(
                f,
                "{:width$} {} {} {}",
                "average",
                column(average.se),
                column(average.ppv),
                column(average.f1)
            )
        };
        means(f, self.average())?;
        if let Some((gross, average)) = self.noisy() {
            writeln!(f, "noisy minutes")?;
            for score in &self.per_record {
                if let Some(noisy) = &score.noisy {
                    row(f, &score.record, noisy)?;
                }
            }
            row(f, "gross", &gross)?;
            means(f, average)?;
        }
        write!(f, "{} records", self.per_record.len())?;
        for excluded in &self.excluded {
            write!(f, "\nwithout {}: {}", excluded.record, excluded.reason)?;
        }
        writeln!(f)
    }
}

/// A percentage in seven characters; a dash where there is none.
fn column(percent: Option<f64>) -> String {
    percent.map_or_else(|| format!("{:>7}", "-"), |value| format!("{value:>7.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(tp: u64, fn_: u64, fp: u64) -> Counts {
        Counts {
            tp,
            fn_,
            fp,
            ..Counts::default()
        }
    }

    fn report() -> Report {
        let mut report = Report::new("qrs");
        report.push("100", counts(90, 10, 0), None);
        report.push("silent", counts(0, 0, 0), None);
        report.push("101", counts(1, 1, 3), None);
        report.exclude("102", "no reference annotations");
        report
    }

    #[test]
    fn gross_counts_beats_and_average_counts_records() {
        let report = report();
        let gross = report.gross();
        assert_eq!((gross.tp, gross.fn_, gross.fp), (91, 11, 3));
        assert_eq!(gross.se(), Some(100.0 * 91.0 / 102.0));
        let average = report.average();
        assert_eq!((average.se, average.ppv), (Some(70.0), Some(62.5)));
        let nothing = Report::new("qrs").average();
        assert_eq!((nothing.se, nothing.ppv), (None, None));
    }

    #[test]
    fn json_for_programs() {
        let json = report().to_json();
        assert!(json.starts_with(r#"{"task":"qrs","records":3,"gross":{"se":89.2156862745098,"#));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["gross"]["fn"], 11);
        assert_eq!(value["average"]["ppv"], 62.5);
        assert_eq!(value["per_record"][0]["record"], "100");
        assert_eq!(value["per_record"][1]["se"], serde_json::Value::Null);
        assert_eq!(value["excluded"][0]["reason"], "no reference annotations");
        assert!(value["gross"].get("record").is_none());
    }

    #[test]
    fn the_noisy_minutes_stand_apart() {
        assert_eq!(report().noisy(), None);
        let mut report = report();
        report.push("103", counts(10, 0, 0), Some(counts(3, 1, 1)));
        let value: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(value["gross"]["tp"], 101);
        assert_eq!(value["gross"]["noisy"]["f1"], 75.0);
        assert_eq!(value["average"]["noisy"]["se"], 75.0);
        assert_eq!(value["per_record"][3]["noisy"]["tp"], 3);
        assert!(value["per_record"][0].get("noisy").is_none());
        let table = report.to_string();
        let noisy = table.split_once("noisy minutes\n").unwrap().1;
        assert!(noisy.starts_with("103       75.00   75.00   75.00        3       1       1"));
    }

    #[test]
    fn a_table_for_people() {
        let table = report().to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 8);
        assert_eq!(
            lines[1],
            "100       90.00  100.00   94.74       90      10       0        0.0"
        );
        assert_eq!(
            lines[2],
            "silent        -       -       -        0       0       0        0.0"
        );
        assert_eq!(lines[5], "average   70.00   62.50   64.04");
        assert_eq!(lines[7], "without 102: no reference annotations");
    }
}
