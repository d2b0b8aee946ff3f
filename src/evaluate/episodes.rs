//! Alarms against what happened: the whole chain, as the service runs it, over records or simulated days.
//!
//! Each record goes through the monitor, its alarm machine, the rules and the rhythm model as a wearable sends it, a tenth of
//! a second at a time, so that the delay of an alarm is known that exactly. What takes time beside the signal (packets
//! of a second, the network, the models) is not in it. Twelve leads and classifiers are left out unless asked for.
//!
//! Event by event, after the episode statistics of EC57:
//!
//! * An **episode** is found if an alarm of its condition, or of one that its condition gives way to, stands in it or is raised
//!   on it: no later than its end and [`late`], what a condition looks back on.
//! * An **alarm** is true if what it was raised on, from its onset to the sample that let it out, meets an episode, from
//!   [`EARLY_SECONDS`] before it to [`late`] after it. What is nearly one (a rate 5 a minute inside a limit, a pause
//!   5 % too short) makes an alarm true too, but need not be found. Where nobody can tell (flutter of the atria is no
//!   fibrillation, but not wrong) an alarm counts as neither.
//! * The **delay** is from the onset of an episode, for a pause or an asystole the last beat, to the sample whose arrival let
//!   out the first alarm; an alarm that stood before has none.
//! * Conditions that a reference says nothing of are listed with their alarms and count as neither true nor false.
//!
//! Reference: ANSI/AAMI EC57, episodes of ventricular and atrial fibrillation.

mod days;
mod reference;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use alarm::definition;
use ecg::{AlarmKind, Condition, Priority};
use infer::Reader;
use serde_json::{Map, Value, json};

use super::ec57::percent;
use super::report::Excluded;
use super::{name_of, on_all_cores, ventricular};
use crate::record;

pub use days::Days;
use reference::{Reference, Spans};

/// How long before an episode an alarm of it may end, seconds.
pub const EARLY_SECONDS: f64 = 1.0;

/// What is scored how.
pub struct Options {
    /// The signal chain.
    pub dsp: dsp::Config,
    /// The alarms.
    pub alarm: alarm::Config,
    /// The rules and models.
    pub reader: Arc<Reader>,
    /// Whether twelve leads are made and classified too, as the service does; it takes many times as long.
    pub diagnose: bool,
    /// Weights in place of those that ship.
    pub weights: ventricular::Options,
}

/// How long after the end of an episode an alarm may be of it: what the condition looks back on, seconds.
pub fn late(condition: Condition) -> f64 {
    match condition {
        Condition::AtrialFibrillation => 30.0,
        Condition::VentricularFibrillation | Condition::VentricularTachycardia => {
            ventricular::AFTER_SECONDS
        }
        Condition::VentricularRun => 15.0,
        Condition::HighRate | Condition::LowRate => 10.0,
        Condition::AvBlock
        | Condition::StChange
        | Condition::NewFinding
        | Condition::VentricularBurden => 60.0,
        Condition::RateTrend => 600.0,
        _ => 5.0,
    }
}

/// An alarm, in seconds of the record.
#[derive(Debug, Clone, PartialEq)]
struct Raised {
    condition: Condition,
    priority: Priority,
    onset: f64,
    /// When the sample arrived that let it out.
    out: f64,
    /// Where it ended.
    end: f64,
    /// Why it was raised.
    evidence: String,
}

impl Raised {
    fn json(&self) -> Value {
        json!({
            "condition": self.condition.name(),
            "onset_seconds": self.onset,
            "raised_seconds": self.out,
            "evidence": self.evidence,
        })
    }
}

/// Episodes and alarms of one condition, in numbers.
#[derive(Debug, Clone, PartialEq, Default)]
struct Counts {
    /// Whether the reference says anything of it.
    known: bool,
    there: u64,
    found: u64,
    /// Met by any alarm of high priority.
    noticed: u64,
    alarms: u64,
    true_: u64,
    /// Those that are neither true nor false.
    aside: u64,
    delays: Vec<f64>,
    /// False ones of low, medium and high priority.
    wrong: [u64; 3],
}

impl Counts {
    fn false_(&self) -> u64 {
        self.wrong.iter().sum()
    }

    fn se(&self) -> Option<f64> {
        percent(self.found, self.there)
    }

    fn precision(&self) -> Option<f64> {
        percent(self.true_, self.true_ + self.false_())
    }

    fn f1(&self) -> Option<f64> {
        let (se, precision) = (self.se()?, self.precision()?);
        (se + precision > 0.0).then(|| 2.0 * se * precision / (se + precision))
    }

    fn add(&mut self, other: &Self) {
        self.known |= other.known;
        self.there += other.there;
        self.found += other.found;
        self.noticed += other.noticed;
        self.alarms += other.alarms;
        self.true_ += other.true_;
        self.aside += other.aside;
        self.delays.extend(&other.delays);
        for (sum, more) in self.wrong.iter_mut().zip(other.wrong) {
            *sum += more;
        }
    }

    /// The delay that a share of the found do not exceed, by the nearest rank.
    fn delay(&self, share: f64) -> Option<f64> {
        let mut sorted = self.delays.clone();
        sorted.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a length"
        )]
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied()
    }

    fn json(&self, hours: f64) -> Value {
        let known = |n: u64| self.known.then_some(n);
        json!({
            "there": known(self.there),
            "found": known(self.found),
            "noticed": known(self.noticed),
            "se": self.se(),
            "alarms": self.alarms,
            "true": known(self.true_),
            "false": known(self.false_()),
            "aside": known(self.aside),
            "precision": self.precision(),
            "f1": self.f1(),
            "alarms_per_24h": per_day(self.alarms, hours),
            "false_per_24h": per_day(self.false_(), hours).filter(|_| self.known),
            "delay_median": self.delay(0.5),
            "delay_p95": self.delay(0.95),
            "delay_max": self.delay(1.0),
        })
    }
}

fn per_day(n: u64, hours: f64) -> Option<f64> {
    (hours > 0.0).then(|| 24.0 * n as f64 / hours)
}

/// What came of one record.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordScore {
    record: String,
    hours: f64,
    conditions: BTreeMap<Condition, Counts>,
    /// The false alarms.
    wrong: Vec<Raised>,
}

impl RecordScore {
    /// Alarms against a reference.
    fn of(record: String, hours: f64, reference: &Reference, raised: &[Raised]) -> Self {
        let mut wrong = Vec::new();
        let mut conditions = BTreeMap::new();
        for condition in Condition::ALL {
            let counts = compare(condition, reference, raised, &mut wrong);
            conditions.insert(condition, counts);
        }
        wrong.sort_by(|a, b| a.out.total_cmp(&b.out));
        Self {
            record,
            hours,
            conditions,
            wrong,
        }
    }
}

/// The alarms of one condition against its episodes; those that are false are appended to `wrong`.
fn compare(
    condition: Condition,
    reference: &Reference,
    raised: &[Raised],
    wrong: &mut Vec<Raised>,
) -> Counts {
    let own = |alarm: &&Raised| alarm.condition == condition;
    let alarms = raised.iter().filter(own).count() as u64;
    let Some(Spans { there, also, aside }) = reference.of.get(&condition) else {
        return Counts {
            alarms,
            ..Counts::default()
        };
    };
    let mut counts = Counts {
        known: true,
        alarms,
        there: there.len() as u64,
        ..Counts::default()
    };
    let late = late(condition);
    let meets = |from: f64, to: f64, span: &Range<f64>| {
        from < span.end + late && to > span.start - EARLY_SECONDS
    };
    for episode in there {
        let of_it = |alarm: &&Raised| {
            meets(alarm.onset, alarm.end, episode) && alarm.out <= episode.end + late
        };
        let finds = |alarm: &&Raised| {
            let greater = definition(condition).yields_to;
            alarm.condition == condition || greater.contains(&alarm.condition)
        };
        let found = raised.iter().filter(|alarm| finds(alarm) && of_it(alarm));
        if let Some(first) = found.map(|alarm| alarm.out).reduce(f64::min) {
            counts.found += 1;
            if first >= episode.start {
                counts.delays.push(first - episode.start);
            }
        }
        let high = |alarm: &Raised| alarm.priority == Priority::High && of_it(&alarm);
        counts.noticed += u64::from(raised.iter().any(high));
    }
    for alarm in raised.iter().filter(own) {
        let on = |span: &Range<f64>| meets(alarm.onset, alarm.out, span);
        if there.iter().chain(also).any(on) {
            counts.true_ += 1;
        } else if aside.iter().any(on) {
            counts.aside += 1;
        } else {
            counts.wrong[alarm.priority as usize] += 1;
            wrong.push(alarm.clone());
        }
    }
    counts
}

/// What came of all records.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// Each record.
    pub per_record: Vec<RecordScore>,
    /// The records left out.
    pub excluded: Vec<Excluded>,
}

/// Scores every record of `dir` that has a `.atr` file. `progress` is told how many records are done, of how many.
///
/// # Errors
/// A folder that cannot be read.
pub fn run(
    dir: &Path,
    options: &Options,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Report, record::Error> {
    let records = record::records_in(dir)?;
    let scores = on_all_cores(&records, progress, |path| {
        let name = name_of(path);
        let score = watch::recording(path, options);
        (name, score)
    });
    Ok(Report::of(scores))
}

/// Scores simulated patients. `progress` is told how many of them are done, of how many.
pub fn simulate(days: &Days, options: &Options, progress: impl Fn(usize, usize) + Sync) -> Report {
    Report::of(days::scores(days, options, progress))
}

impl Report {
    fn of(scores: Vec<(String, Result<RecordScore, String>)>) -> Self {
        let mut report = Self::default();
        for (record, score) in scores {
            match score {
                Ok(score) => report.per_record.push(score),
                Err(reason) => report.excluded.push(Excluded { record, reason }),
            }
        }
        report
    }

    fn hours(&self) -> f64 {
        self.per_record.iter().map(|score| score.hours).sum()
    }

    /// The sums over records.
    fn gross(&self) -> BTreeMap<Condition, Counts> {
        let mut gross: BTreeMap<Condition, Counts> = BTreeMap::new();
        for (condition, counts) in self.per_record.iter().flat_map(|r| &r.conditions) {
            gross.entry(*condition).or_default().add(counts);
        }
        gross
    }

    /// The mean over the records in which a statistic of a condition is defined.
    fn average(&self, condition: Condition, of: fn(&Counts) -> Option<f64>) -> Option<f64> {
        let records = self.per_record.iter();
        let values = records.filter_map(|record| of(record.conditions.get(&condition)?));
        let values: Vec<f64> = values.collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    }

    /// The report as one line of JSON.
    pub fn to_json(&self) -> String {
        let hours = self.hours();
        let gross = self.gross();
        let by_name = |conditions: &BTreeMap<Condition, Counts>, hours| {
            let some = conditions
                .iter()
                .filter(|(_, counts)| counts.known || counts.alarms > 0);
            let named = some.map(|(name, counts)| (name.name().to_owned(), counts.json(hours)));
            Value::Object(named.collect())
        };
        let wrong = |priority: Priority| -> u64 {
            gross
                .values()
                .map(|counts| counts.wrong[priority as usize])
                .sum()
        };
        let priorities = [Priority::High, Priority::Medium, Priority::Low];
        let by_priority = priorities.map(|priority| {
            let n = wrong(priority);
            let value = json!({"false": n, "false_per_24h": per_day(n, hours)});
            (priority.name().to_owned(), value)
        });
        let average = gross.iter().filter(|(_, counts)| counts.known);
        let average = average.map(|(&condition, _)| {
            let value = json!({
                "se": self.average(condition, Counts::se),
                "precision": self.average(condition, Counts::precision),
                "f1": self.average(condition, Counts::f1),
            });
            (condition.name().to_owned(), value)
        });
        let per_record: Vec<Value> = self
            .per_record
            .iter()
            .map(|score| {
                json!({
                    "record": score.record,
                    "hours": score.hours,
                    "conditions": by_name(&score.conditions, score.hours),
                    "false": score.wrong.iter().map(Raised::json).collect::<Vec<_>>(),
                })
            })
            .collect();
        json!({
            "task": "episodes",
            "records": self.per_record.len(),
            "hours": hours,
            "conditions": by_name(&gross, hours),
            "average": Value::Object(average.collect()),
            "by_priority": Value::Object(Map::from_iter(by_priority)),
            "all_false_per_24h": per_day(gross.values().map(Counts::false_).sum(), hours),
            "per_record": per_record,
            "excluded": self.excluded,
        })
        .to_string()
    }
}

impl fmt::Display for Report {
    /// The table: each condition over all records, then the records with something to tell.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.hours();
        let gross = self.gross();
        let one = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
        let two = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        writeln!(
            f,
            "{:26} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>9} {:>6} {:>6} {:>6}",
            "condition",
            "there",
            "found",
            "Se",
            "alarms",
            "true",
            "false",
            "+P",
            "F1",
            "false/24h",
            "median",
            "p95",
            "max"
        )?;
        for (condition, counts) in &gross {
            if !counts.known {
                if counts.alarms > 0 {
                    let rate = two(per_day(counts.alarms, hours));
                    let n = counts.alarms;
                    writeln!(f, "{condition:26} {n} alarms, {rate} in 24 h, no reference")?;
                }
                continue;
            }
            writeln!(
                f,
                "{:26} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>9} {:>6} {:>6} {:>6}",
                condition.name(),
                counts.there,
                counts.found,
                one(counts.se()),
                counts.alarms,
                counts.true_,
                counts.false_(),
                one(counts.precision()),
                one(counts.f1()),
                two(per_day(counts.false_(), hours)),
                one(counts.delay(0.5)),
                one(counts.delay(0.95)),
                one(counts.delay(1.0)),
            )?;
        }
        for priority in [Priority::High, Priority::Medium, Priority::Low] {
            let wrong = gross.values().map(|counts| counts.wrong[priority as usize]);
            let wrong = two(per_day(wrong.sum(), hours));
            writeln!(f, "false of {priority} priority in 24 h: {wrong}")?;
        }
        let patient = gross
            .iter()
            .filter(|(condition, _)| definition(**condition).kind == AlarmKind::Physiological);
        let patient = patient.map(|(_, counts)| counts.false_()).sum();
        let all = gross.values().map(Counts::false_).sum();
        writeln!(
            f,
            "false in 24 h: {}, of the patient {}",
            two(per_day(all, hours)),
            two(per_day(patient, hours))
        )?;
        for score in &self.per_record {
            let wrong = score.conditions.iter().filter(|(_, c)| c.false_() > 0);
            let wrong: Vec<String> = wrong
                .map(|(condition, c)| format!("{condition} {}", c.false_()))
                .collect();
            let missed = score.conditions.iter().filter(|(_, c)| c.found < c.there);
            let missed: Vec<String> = missed
                .map(|(condition, c)| format!("{condition} {}", c.there - c.found))
                .collect();
            if !wrong.is_empty() || !missed.is_empty() {
                let name = &score.record;
                let (wrong, missed) = (wrong.join(", "), missed.join(", "));
                writeln!(f, "{name:10} false: {wrong}; missed: {missed}")?;
            }
        }
        write!(f, "{} records, {hours:.2} h", self.per_record.len())?;
        for excluded in &self.excluded {
            write!(f, "\nwithout {}: {}", excluded.record, excluded.reason)?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm(condition: Condition, onset: f64, out: f64, end: f64) -> Raised {
        Raised {
            condition,
            priority: definition(condition).priority,
            onset,
            out,
            end,
            evidence: "why".to_owned(),
        }
    }

    fn score(raised: &[Raised]) -> RecordScore {
        let mut reference = Reference::default();
        let spans = Spans {
            there: vec![100.0..106.0, 200.0..210.0],
            also: vec![300.0..303.0],
            aside: vec![400.0..450.0],
        };
        reference.of.insert(Condition::Asystole, spans);
        let pauses = Spans {
            there: vec![100.0..106.0],
            ..Spans::default()
        };
        reference.of.insert(Condition::Pause, pauses);
        RecordScore::of("a".to_owned(), 12.0, &reference, raised)
    }

    #[test]
    fn episodes_are_found_and_alarms_are_true_or_false() {
        let asystole = |onset, out, end| alarm(Condition::Asystole, onset, out, end);
        let of = score(&[
            asystole(100.0, 104.3, 106.1),
            // Nearly one, one where nobody can tell, one too late, one of nothing.
            asystole(300.0, 304.0, 305.0),
            asystole(420.0, 424.0, 425.0),
            asystole(216.0, 220.0, 221.0),
            asystole(500.0, 504.0, 505.0),
            alarm(Condition::HighRate, 1.0, 2.0, 3.0),
        ]);
        let counts = &of.conditions[&Condition::Asystole];
        assert_eq!((counts.there, counts.found), (2, 1));
        assert_eq!((counts.alarms, counts.true_, counts.aside), (5, 2, 1));
        assert_eq!(counts.wrong, [0, 0, 2]);
        assert_eq!(counts.precision(), Some(50.0));
        assert!((counts.delay(0.5).unwrap() - 4.3).abs() < 1e-9);
        // A pause that became an asystole is found by it.
        let pause = &of.conditions[&Condition::Pause];
        assert_eq!((pause.there, pause.found, pause.alarms), (1, 1, 0));
        assert!(!of.conditions[&Condition::HighRate].known);
        let report = Report::of(vec![
            ("a".to_owned(), Ok(of)),
            ("b".to_owned(), Err("no .atr file".to_owned())),
        ]);
        let json: Value = serde_json::from_str(&report.to_json()).unwrap();
        let asystole = &json["conditions"]["asystole"];
        assert_eq!(asystole["false_per_24h"], 4.0);
        assert_eq!(asystole["se"], 50.0);
        assert_eq!(json["conditions"]["high_rate"]["alarms"], 1);
        assert_eq!(
            json["conditions"]["high_rate"]["false_per_24h"],
            Value::Null
        );
        assert_eq!(json["by_priority"]["high"]["false_per_24h"], 4.0);
        assert_eq!(json["all_false_per_24h"], 4.0);
        let wrong = &json["per_record"][0]["false"];
        assert_eq!(wrong.as_array().map(Vec::len), Some(2));
        assert_eq!(wrong[0]["onset_seconds"], 216.0);
        assert_eq!(json["excluded"][0]["record"], "b");
        let text = report.to_string();
        assert!(
            text.contains("false of high priority in 24 h: 4.00"),
            "{text}"
        );
    }

    #[test]
    fn an_alarm_that_stands_finds_without_delay() {
        let of = score(&[alarm(Condition::Asystole, 100.0, 104.0, 205.0)]);
        let counts = &of.conditions[&Condition::Asystole];
        assert_eq!((counts.found, counts.alarms, counts.true_), (2, 1, 1));
        assert_eq!(counts.delays, [4.0]);
    }

    #[test]
    fn delays_are_of_the_nearest_rank() {
        let counts = Counts {
            delays: (1..=20).map(f64::from).collect(),
            ..Counts::default()
        };
        assert_eq!(counts.delay(0.5), Some(10.0));
        assert_eq!(counts.delay(0.95), Some(19.0));
        assert_eq!(counts.delay(1.0), Some(20.0));
        assert_eq!(Counts::default().delay(0.5), None);
    }
}
