//! Alarms against Challenge 2015 (Clifford et al., Computing in Cardiology, 2015): each record of a folder with `ALARMS.csv`
//! (record, alarm, truth) ends with an alarm of a bedside monitor, and is streamed through the monitor of the service as a wearable
//! would send it, a second a packet.
//!
//! **The alarm counts as raised if its condition is active, or becomes active, at any moment of the last [`LAST_SECONDS`]**; nothing
//! after the record's end is known. The score is that of the Challenge, in percent: (TP + TN) / (TP + TN + FP + 5 FN).

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use alarm::Machine;
use ecg::{
    AlarmState, Anchor, BootId, Condition, RecordId, SampleIndex, SignalKind, Suppression, Utc,
};
use serde_json::{Value, json};

use super::ec57::percent;
use super::report::Excluded;
use super::ventricular::{Options, models, parse_alarms};
use super::{name_of, playable, player, score_all};
use crate::monitor::{Effects, Monitor};
use crate::record;
use crate::wearable::Played;

/// An alarm must be active in these seconds at the end of its record.
pub const LAST_SECONDS: f64 = 10.0;

/// What `ALARMS.csv` calls the conditions.
const NAMES: [(&str, Condition); 5] = [
    ("Asystole", Condition::Asystole),
    ("Bradycardia", Condition::ExtremeBradycardia),
    ("Tachycardia", Condition::ExtremeTachycardia),
    (
        "Ventricular_Flutter_Fib",
        Condition::VentricularFibrillation,
    ),
    ("Ventricular_Tachycardia", Condition::VentricularTachycardia),
];

/// True and false alarms, raised and not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// True and raised.
    pub tp: u64,
    /// False and raised.
    pub fp: u64,
    /// True and not raised.
    pub fn_: u64,
    /// False and not raised.
    pub tn: u64,
}

impl Counts {
    fn of(truth: bool, raised: bool) -> Self {
        Self {
            tp: u64::from(truth && raised),
            fp: u64::from(!truth && raised),
            fn_: u64::from(truth && !raised),
            tn: u64::from(!truth && !raised),
        }
    }

    fn add(&mut self, other: Self) {
        self.tp += other.tp;
        self.fp += other.fp;
        self.fn_ += other.fn_;
        self.tn += other.tn;
    }

    /// The score of the Challenge, percent; `None` without records.
    pub fn score(&self) -> Option<f64> {
        percent(
            self.tp + self.tn,
            self.tp + self.tn + self.fp + 5 * self.fn_,
        )
    }

    /// The share of true alarms that was raised, percent.
    pub fn sensitivity(&self) -> Option<f64> {
        percent(self.tp, self.tp + self.fn_)
    }

    /// The share of false alarms that was not, percent.
    pub fn specificity(&self) -> Option<f64> {
        percent(self.tn, self.tn + self.fp)
    }

    fn json(&self) -> Value {
        json!({
            "tp": self.tp, "fp": self.fp, "fn": self.fn_, "tn": self.tn,
            "score": self.score(), "se": self.sensitivity(), "sp": self.specificity(),
        })
    }
}

/// How one record came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// What its alarm is called in `ALARMS.csv`.
    pub alarm: String,
    /// Whether it is true.
    pub truth: bool,
    /// Why it was raised; `None` if it was not.
    pub raised: Option<String>,
    /// What spoke for it and against it, where it was held back.
    pub held_back: Option<String>,
}

/// How every record of a folder came out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// By record.
    pub per_record: Vec<(String, Score)>,
    /// The records left out.
    pub excluded: Vec<Excluded>,
}

/// Scores every record of `dir`, its signals `without` left out.
///
/// # Errors
/// A folder or an `ALARMS.csv` that cannot be read.
pub fn run(
    dir: &Path,
    dsp: &dsp::Config,
    alarm: &alarm::Config,
    options: &Options,
    without: &[SignalKind],
) -> Result<Report, record::Error> {
    let records = record::records_in(dir)?;
    let table = dir.join("ALARMS.csv");
    let table = std::fs::read_to_string(&table).map_err(|source| record::Error::Read {
        path: table,
        source,
    })?;
    let alarms = parse_alarms(&table);
    let mut report = Report::default();
    let scores = score_all(&records, |path| {
        let name = name_of(path);
        let (called, truth) = *alarms.get(name.as_str()).ok_or("not in ALARMS.csv")?;
        let named = NAMES.iter().find(|(name, _)| *name == called);
        let (_, condition) = named.ok_or_else(|| format!("alarm {called:?} is not known"))?;
        let (raised, held_back) = play(path, *condition, dsp, alarm, options, without)?;
        Ok(Score {
            alarm: called.to_owned(),
            truth,
            raised,
            held_back,
        })
    });
    for (record, score) in scores {
        match score {
            Ok(score) => report.per_record.push((record, score)),
            Err(reason) => report.excluded.push(Excluded { record, reason }),
        }
    }
    Ok(report)
}

/// Why `condition` was active in the last seconds of a record, and why it was held back there.
fn play(
    path: &Path,
    condition: Condition,
    dsp: &dsp::Config,
    alarm: &alarm::Config,
    options: &Options,
    without: &[SignalKind],
) -> Result<(Option<String>, Option<String>), String> {
    let text = |error: &dyn fmt::Display| error.to_string();
    let names = playable(path, |kind| !without.contains(&kind))?;
    let player = player(path, &names)?;
    let layout = player.layout().clone();
    let rate = layout.base_rate();
    let id = RecordId {
        device: "record".parse().map_err(|error: ecg::Error| text(&error))?,
        boot: BootId(0),
    };
    let machine = Machine::new(id.device.clone(), alarm, alarm.limits);
    let models = models(options, &name_of(path))?;
    let mut monitor = Monitor::with_models(dsp.clone(), models, machine);
    let anchor = Anchor {
        index: SampleIndex(0),
        utc: Utc(0),
        hz: rate.hz(),
    };
    let mut effects = Effects::default();
    let started = monitor.start(id, &layout, anchor, SampleIndex(0), None, &mut effects);
    started.map_err(|error| text(&error))?;
    let mut end = SampleIndex(0);
    for packet in Played::new(player, BootId(0), Utc(0)).map_err(|error| text(&error))? {
        let block = packet.map_err(|error| text(&error))?.to_block();
        end = block.end();
        monitor.block(&block, anchor, Utc(0), &mut effects);
        // Nobody reads windows and traces here.
        effects.windows.clear();
        effects.strips.clear();
        effects.live.clear();
    }
    monitor.end(Utc(0), &mut effects);
    let last = end.before(rate.count(LAST_SECONDS));
    let mut raised: Option<String> = None;
    let mut why = String::new();
    for event in effects
        .batch
        .events
        .iter()
        .filter(|event| event.condition == condition)
    {
        if event.state == AlarmState::Active {
            why.clone_from(&event.evidence);
        }
        // Whatever it becomes within these seconds, it was active in them.
        if event.at > last {
            raised = Some(why.clone());
        }
    }
    let of = |held: &&Suppression| held.condition == condition && held.at > last;
    let held_back = effects.batch.suppressions.iter().rfind(of);
    let held_back = held_back.map(|held| format!("{}: {}", held.evidence, held.reason));
    Ok((raised, held_back))
}

impl Report {
    /// The counts by what alarms are called, in the order of their names.
    pub fn by_type(&self) -> BTreeMap<&str, Counts> {
        let mut by_type: BTreeMap<&str, Counts> = BTreeMap::new();
        for (_, score) in &self.per_record {
            let counts = by_type.entry(&score.alarm).or_default();
            counts.add(Counts::of(score.truth, score.raised.is_some()));
        }
        by_type
    }

    /// The counts of alarms of these names; of all for no name.
    pub fn counts(&self, names: &[&str]) -> Counts {
        let mut all = Counts::default();
        for (name, counts) in self.by_type() {
            if names.is_empty() || names.contains(&name) {
                all.add(counts);
            }
        }
        all
    }

    /// The report as one line of JSON: `{"task", "records", "tp", "fp", "fn", "tn", "score", "by_type", "lethal", "extreme_rate",
    /// "per_record", "excluded"}`, shares in percent.
    pub fn to_json(&self) -> String {
        let all = self.counts(&[]);
        let by_type = self.by_type();
        let by_type = by_type
            .iter()
            .map(|(name, counts)| ((*name).to_owned(), counts.json()));
        let per_record = self.per_record.iter().map(|(record, score)| {
            json!({
                "record": record, "alarm": score.alarm, "truth": score.truth,
                "raised": score.raised, "held_back": score.held_back,
            })
        });
        json!({
            "task": "alarms",
            "records": self.per_record.len(),
            "tp": all.tp, "fp": all.fp, "fn": all.fn_, "tn": all.tn,
            "score": all.score(),
            "by_type": by_type.collect::<serde_json::Map<String, Value>>(),
            "lethal": self.counts(&LETHAL).json(),
            "extreme_rate": self.counts(&EXTREME_RATE).json(),
            "per_record": per_record.collect::<Vec<Value>>(),
            "excluded": self.excluded,
        })
        .to_string()
    }
}

const LETHAL: [&str; 3] = [
    "Asystole",
    "Ventricular_Flutter_Fib",
    "Ventricular_Tachycardia",
];
const EXTREME_RATE: [&str; 2] = ["Bradycardia", "Tachycardia"];

impl fmt::Display for Report {
    /// The table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = |value: Option<f64>| value.map_or_else(|| "-".into(), |x| format!("{x:.1}"));
        writeln!(
            f,
            "{:24} {:>4} {:>4} {:>4} {:>4} {:>6} {:>6} {:>6}",
            "alarm", "TP", "FP", "FN", "TN", "Se", "Sp", "score"
        )?;
        let by_type = self.by_type();
        let lethal = self.counts(&LETHAL);
        let extreme = self.counts(&EXTREME_RATE);
        let sums = [
            ("asystole, VF and VT", lethal),
            ("extreme rates", extreme),
            ("all", self.counts(&[])),
        ];
        let lines = by_type.iter().map(|(name, counts)| (*name, *counts));
        for (name, counts) in lines.chain(sums) {
            let Counts { tp, fp, fn_, tn } = counts;
            let [se, sp, score] =
                [counts.sensitivity(), counts.specificity(), counts.score()].map(column);
            writeln!(
                f,
                "{name:24} {tp:>4} {fp:>4} {fn_:>4} {tn:>4} {se:>6} {sp:>6} {score:>6}"
            )?;
        }
        write!(f, "{} records", self.per_record.len())?;
        for excluded in &self.excluded {
            write!(f, "\nwithout {}: {}", excluded.record, excluded.reason)?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_alarm_weighs_five() {
        let score = |alarm: &str, truth, raised: bool| Score {
            alarm: alarm.to_owned(),
            truth,
            raised: raised.then(|| "why".to_owned()),
            held_back: None,
        };
        let report = Report {
            per_record: vec![
                ("a".into(), score("Asystole", true, true)),
                ("b".into(), score("Asystole", false, true)),
                ("c".into(), score("Tachycardia", true, false)),
                ("d".into(), score("Tachycardia", false, false)),
            ],
            excluded: Vec::new(),
        };
        let value: Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(
            [&value["tp"], &value["fp"], &value["fn"], &value["tn"]],
            [1, 1, 1, 1]
        );
        assert_eq!(value["score"], 25.0);
        assert_eq!(value["by_type"]["Asystole"]["score"], 50.0);
        assert_eq!(value["lethal"]["se"], 100.0);
        assert_eq!(value["extreme_rate"]["se"], 0.0);
        let text = report.to_string();
        assert!(text.contains("25.0\n4 records"), "{text}");
    }
}
