//! Ventricular tachycardia and fibrillation against reference: the service's own chain on all ECG leads of each record
//! of a folder, each second's probabilities, and a table or JSON of what came of them.
//!
//! * A folder with `ALARMS.csv` (record, alarm, truth), as of Challenge 2015: each record ends with an alarm, and its score is the
//!   highest probability of the seconds that end within its last [`LAST_SECONDS`]; nothing after the end is known. The area
//!   under the ROC curve (AUC) is the chance that of a true and a false alarm the true one has the higher score, ties counted half.
//! * A folder with `.atr` files: an episode is five ventricular beats (V, E or F) on end above 100 a minute (VT), or
//!   flutter, `[` to `]` (VF). It is found if a second that reaches [`LIKELY`] ends within it or up to [`LATE_SECONDS`]
//!   after; such seconds no further than [`BRIDGE_SECONDS`] apart are one alarm, and one that meets no episode of either kind from its start
//!   to [`AFTER_SECONDS`] after its end is false.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dsp::{Chain, Models, Output};
use ecg::{BeatClass, SampleIndex, Ventricular};
use serde_json::{Value, json};

use super::ec57::Labels;
use super::report::Excluded;
use super::roc::auc;
use super::{REFERENCE, annotations, name_of, play, score_all, weights};
use crate::record::{self, Player, Record};

/// The seconds before an alarm that its score is of.
pub const LAST_SECONDS: f64 = 16.0;
/// From this probability on a second is said to be ventricular.
pub const LIKELY: f32 = 0.5;
/// How long after an episode it can still be found, seconds.
pub const LATE_SECONDS: f64 = 3.0;
/// Such seconds no further apart are one alarm.
pub const BRIDGE_SECONDS: f64 = 5.0;
/// How long after an episode an alarm can still be of it: as far as the detector looks back for the fastest beats.
pub const AFTER_SECONDS: f64 = 8.0;

/// Beats of a ventricular tachycardia, at least.
const RUN: usize = 5;
/// Its longest interval: 100 a minute.
const FAST_SECONDS: f64 = 0.6;

/// The two kinds, in this order everywhere.
const KINDS: [&str; 2] = ["vt", "vf"];
/// What `ALARMS.csv` calls them.
const ALARMS: [&str; 2] = ["Ventricular_Tachycardia", "Ventricular_Flutter_Fib"];

/// What is scored how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What finds the beats.
    pub models: Models,
    /// Weights in place of those that ship: a file, or a folder with `RECORD.bin` for each record.
    pub weights: Option<PathBuf>,
    /// The same of what finds the beats.
    pub detector: Option<PathBuf>,
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
#[derive(Debug, Clone, PartialEq)]
pub enum Score {
    /// It ends with an alarm.
    Alarm {
        /// What the alarm says.
        alarm: String,
        /// Whether it is true.
        truth: bool,
        /// The score of each kind.
        scores: [f32; 2],
    },
    /// It has annotations.
    Episodes(Episodes),
}

/// Episodes of each kind, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Episodes {
    /// Episodes of the reference.
    pub there: [u64; 2],
    /// Those found as what they are.
    pub found: [u64; 2],
    /// Those found as either.
    pub noticed: [u64; 2],
    /// Alarms that meet no episode.
    pub wrong: [u64; 2],
    /// Hours without episodes.
    pub hours: f64,
}

/// Scores every record of `dir`.
///
/// # Errors
/// A folder that cannot be read.
pub fn run(dir: &Path, config: &dsp::Config, options: &Options) -> Result<Report, record::Error> {
    let records = record::records_in(dir)?;
    let alarms = std::fs::read_to_string(dir.join("ALARMS.csv")).ok();
    let alarms = alarms.as_deref().map(parse_alarms);
    let mut report = Report::default();
    let scores = score_all(&records, |path| {
        score(path, config, options, alarms.as_ref())
    });
    for (record, score) in scores {
        match score {
            Ok(score) => report.per_record.push((record, score)),
            Err(reason) => report.excluded.push(Excluded { record, reason }),
        }
    }
    Ok(report)
}

/// The alarm of each record, and whether it is true.
pub(super) fn parse_alarms(text: &str) -> HashMap<&str, (&str, bool)> {
    let cells = text.lines().filter_map(|line| {
        let mut cells = line.split(',').map(str::trim);
        let (record, alarm, truth) = (cells.next()?, cells.next()?, cells.next()?);
        Some((record, (alarm, truth.parse().ok()?)))
    });
    cells.collect()
}

/// How one record came out, or why it is left out.
fn score(
    path: &Path,
    config: &dsp::Config,
    options: &Options,
    alarms: Option<&HashMap<&str, (&str, bool)>>,
) -> Result<Score, String> {
    let name = name_of(path);
    let alarm = match alarms {
        Some(alarms) => Some(*alarms.get(name.as_str()).ok_or("not in ALARMS.csv")?),
        None => None,
    };
    let reference = match alarm {
        Some(_) => None,
        None => Some(Labels::from_annotations(
            &annotations(path, REFERENCE)?.list,
        )),
    };
    let models = models(options, &name)?;
    let record = Record::open(path).map_err(|error| error.to_string())?;
    let player = Player::new(record, &[""; 0]).map_err(|error| error.to_string())?;
    let hz = player.layout().base_rate().hz();
    let chain = Chain::with_models(player.layout(), config, &models);
    let mut chain = chain.map_err(|error| error.to_string())?;
    let mut seconds = Vec::new();
    let end = play(
        player,
        &mut chain,
        |_| {},
        |output| {
            if let Output::Ventricular(second) = output {
                seconds.push(second);
            }
        },
    )?;
    let seconds_of = |at: SampleIndex| at.0 as f64 / hz;
    if let Some((alarm, truth)) = alarm {
        let from = seconds_of(end) - LAST_SECONDS;
        let last = seconds
            .iter()
            .filter(|second| seconds_of(second.end) > from);
        let scores = last.fold([0.0; 2], |[vt, vf], second| {
            [second.vt.max(vt), second.vf.max(vf)]
        });
        return Ok(Score::Alarm {
            alarm: alarm.to_owned(),
            truth,
            scores,
        });
    }
    let reference = reference.unwrap_or_default();
    let there = [runs(&reference, hz), flutters(&reference, hz)];
    Ok(Score::Episodes(compare(
        &there,
        &seconds,
        hz,
        seconds_of(end),
    )))
}

/// The models for a record.
pub(super) fn models(options: &Options, name: &str) -> Result<Models, String> {
    let mut models = options.models.clone();
    if let Some(path) = &options.weights {
        let model = dsp::ventricular::Model::new(&weights(path, name)?);
        models.ventricular = Arc::new(model.map_err(|error| error.to_string())?);
    }
    if let Some(path) = &options.detector {
        let networks = dsp::qrs::Networks::new(&weights(path, name)?);
        models.qrs = Arc::new(networks.map_err(|error| error.to_string())?);
    }
    Ok(models)
}

/// Where ventricular beats follow each other fast, seconds.
fn runs(labels: &Labels, hz: f64) -> Vec<Range<f64>> {
    let mut runs = Vec::new();
    let mut run: Vec<f64> = Vec::new();
    let mut close = |run: &mut Vec<f64>| {
        if run.len() >= RUN {
            runs.push(run[0]..run[run.len() - 1]);
        }
        run.clear();
    };
    for beat in &labels.beats {
        let at = beat.r_peak.0 as f64 / hz;
        if run.last().is_some_and(|last| at - last >= FAST_SECONDS) {
            close(&mut run);
        }
        if matches!(beat.class, Some(BeatClass::V | BeatClass::F)) {
            run.push(at);
        } else {
            close(&mut run);
        }
    }
    close(&mut run);
    runs
}

fn flutters(labels: &Labels, hz: f64) -> Vec<Range<f64>> {
    let seconds = |at: SampleIndex| at.0 as f64 / hz;
    let spans = labels.flutter.iter();
    spans
        .map(|span| seconds(span.start)..seconds(span.end))
        .collect()
}

/// The episodes of each kind against what was said of each second.
fn compare(there: &[Vec<Range<f64>>; 2], seconds: &[Ventricular], hz: f64, end: f64) -> Episodes {
    let said = [0, 1].map(|kind| {
        let likely = |second: &&Ventricular| [second.vt, second.vf][kind] >= LIKELY;
        let ends = seconds.iter().filter(likely);
        ends.map(|second| second.end.0 as f64 / hz)
            .collect::<Vec<f64>>()
    });
    let meets =
        |at: f64, episode: &Range<f64>| at > episode.start && at <= episode.end + LATE_SECONDS;
    let mut episodes = Episodes::default();
    for kind in 0..2 {
        episodes.there[kind] = there[kind].len() as u64;
        for episode in &there[kind] {
            let by = |kind: usize| said[kind].iter().any(|at| meets(*at, episode));
            episodes.found[kind] += u64::from(by(kind));
            episodes.noticed[kind] += u64::from(by(0) || by(1));
        }
        // The alarms.
        let mut alarm: Option<Range<f64>> = None;
        let mut ended = |alarm: &Range<f64>| {
            let mut all = there.iter().flatten();
            let near = |episode: &Range<f64>| {
                alarm.end > episode.start && alarm.start <= episode.end + AFTER_SECONDS
            };
            episodes.wrong[kind] += u64::from(!all.any(near));
        };
        for &at in &said[kind] {
            match &mut alarm {
                Some(alarm) if at - alarm.end <= BRIDGE_SECONDS => alarm.end = at,
                other => {
                    if let Some(alarm) = other.take() {
                        ended(&alarm);
                    }
                    *other = Some(at..at);
                }
            }
        }
        if let Some(alarm) = alarm {
            ended(&alarm);
        }
    }
    let inside: f64 = there
        .iter()
        .flatten()
        .map(|span| span.end - span.start)
        .sum();
    episodes.hours = (end - inside).max(0.0) / 3600.0;
    episodes
}

/// How the alarms of a kind came out.
struct Line {
    name: &'static str,
    /// How many are true and false.
    n: [usize; 2],
    auc: Option<f64>,
    /// How many of these have a score of [`LIKELY`] or more.
    likely: [usize; 2],
}

impl Report {
    /// Of the alarms of each kind, by their own score, and of both, by the greater of the two; then of all others by the greater.
    fn alarms(&self) -> Vec<Line> {
        let line = |name, own: fn(&str) -> bool, score: fn([f32; 2]) -> f32| {
            let mut scored = Vec::new();
            for (_, record) in &self.per_record {
                if let Score::Alarm {
                    alarm,
                    truth,
                    scores: own_scores,
                } = record
                    && own(alarm)
                {
                    scored.push((score(*own_scores), *truth));
                }
            }
            let count = |counts: &dyn Fn(f32) -> bool| {
                let those = |truth| {
                    scored
                        .iter()
                        .filter(move |(p, is)| *is == truth && counts(*p))
                };
                [those(true).count(), those(false).count()]
            };
            let wide: Vec<(f64, bool)> =
                scored.iter().map(|(p, is)| (f64::from(*p), *is)).collect();
            Line {
                name,
                n: count(&|_| true),
                auc: auc(&wide),
                likely: count(&|p| p >= LIKELY),
            }
        };
        let most: fn([f32; 2]) -> f32 = |[vt, vf]| vt.max(vf);
        vec![
            line("vt", |alarm| alarm == ALARMS[0], |[vt, _]| vt),
            line("vf", |alarm| alarm == ALARMS[1], |[_, vf]| vf),
            line("vt and vf", |alarm| ALARMS.contains(&alarm), most),
            line("others", |alarm| !ALARMS.contains(&alarm), most),
        ]
    }

    /// The sums over records with annotations, `None` where there is none.
    fn episodes(&self) -> Option<Episodes> {
        let records = self.per_record.iter().filter_map(|(_, score)| match score {
            Score::Episodes(episodes) => Some(episodes),
            Score::Alarm { .. } => None,
        });
        records.copied().reduce(|mut sum, more| {
            for kind in 0..2 {
                sum.there[kind] += more.there[kind];
                sum.found[kind] += more.found[kind];
                sum.noticed[kind] += more.noticed[kind];
                sum.wrong[kind] += more.wrong[kind];
            }
            sum.hours += more.hours;
            sum
        })
    }

    /// The report as one line of JSON: `{"task", "records", "alarms", "episodes", "per_record", "excluded"}`.
    pub fn to_json(&self) -> String {
        let alarms = self.alarms().into_iter().filter(|line| line.n != [0, 0]);
        let alarms: Vec<Value> = alarms
            .map(|line| {
                json!({
                    "kind": line.name,
                    "true": line.n[0],
                    "false": line.n[1],
                    "auc": line.auc,
                    "true_likely": line.likely[0],
                    "false_likely": line.likely[1],
                })
            })
            .collect();
        let per_record: Vec<Value> = self.per_record.iter().map(record_json).collect();
        json!({
            "task": "ventricular",
            "records": self.per_record.len(),
            "alarms": alarms,
            "episodes": self.episodes().map(|episodes| episodes_json(&episodes)),
            "per_record": per_record,
            "excluded": self.excluded,
        })
        .to_string()
    }
}

fn record_json((record, score): &(String, Score)) -> Value {
    match score {
        Score::Alarm {
            alarm,
            truth,
            scores,
        } => {
            json!({"record": record, "alarm": alarm, "truth": truth, "vt": scores[0], "vf": scores[1]})
        }
        Score::Episodes(episodes) => {
            json!({"record": record, "episodes": episodes_json(episodes)})
        }
    }
}

/// By kind.
fn episodes_json(episodes: &Episodes) -> Value {
    let kinds = KINDS.iter().enumerate().map(|(k, name)| {
        let value = json!({
            "there": episodes.there[k],
            "found": episodes.found[k],
            "noticed": episodes.noticed[k],
            "wrong": episodes.wrong[k],
            "wrong_per_hour": per_hour(episodes.wrong[k], episodes.hours),
        });
        ((*name).to_owned(), value)
    });
    Value::Object(kinds.collect())
}

fn per_hour(n: u64, hours: f64) -> Option<f64> {
    (hours > 0.0).then(|| n as f64 / hours)
}

impl fmt::Display for Report {
    /// The table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |x| format!("{x:.4}"));
        let alarms = self.alarms();
        if alarms.iter().any(|line| line.n != [0, 0]) {
            let p = format!("p >= {LIKELY}");
            writeln!(
                f,
                "{:10} {:>5} {:>5} {:>7} {p:>9}",
                "alarms", "true", "false", "AUC"
            )?;
            for line in alarms.iter().filter(|line| line.n != [0, 0]) {
                let [true_, false_] = line.n;
                let auc = column(line.auc);
                let likely = format!("{}, {}", line.likely[0], line.likely[1]);
                writeln!(
                    f,
                    "{:10} {true_:>5} {false_:>5} {auc:>7} {likely:>9}",
                    line.name
                )?;
            }
        }
        if let Some(total) = self.episodes() {
            let head =
                |kind: &str| format!("{kind:>8} {:>5} {:>7} {:>5}", "found", "noticed", "wrong");
            writeln!(f, "{:10} {}  {}", "episodes", head("VT"), head("VF"))?;
            let mut row = |name: &str, episodes: &Episodes| {
                let cells = [0, 1].map(|k| {
                    let (there, found) = (episodes.there[k], episodes.found[k]);
                    let (noticed, wrong) = (episodes.noticed[k], episodes.wrong[k]);
                    format!("{there:>8} {found:>5} {noticed:>7} {wrong:>5}")
                });
                writeln!(f, "{name:10} {}", cells.join("  "))
            };
            for (name, score) in &self.per_record {
                if let Score::Episodes(episodes) = score
                    && episodes.there.iter().chain(&episodes.wrong).any(|n| *n > 0)
                {
                    row(name, episodes)?;
                }
            }
            row("all", &total)?;
            let [vt, vf] = [0, 1].map(|k| column(per_hour(total.wrong[k], total.hours)));
            writeln!(
                f,
                "wrong per hour: VT {vt}, VF {vf} in {:.2} h",
                total.hours
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
    use ecg::Beat;

    fn seconds(vt: &[u64], vf: &[u64], n: u64) -> Vec<Ventricular> {
        let p = |list: &[u64], at: u64| if list.contains(&at) { 0.9 } else { 0.1 };
        (1..=n)
            .map(|end| Ventricular {
                start: SampleIndex((end - 1) * 100),
                end: SampleIndex(end * 100),
                vt: p(vt, end),
                vf: p(vf, end),
                leads: [None; 3],
            })
            .collect()
    }

    #[test]
    fn five_fast_ventricular_beats_are_an_episode() {
        let beat = |(k, class): (u64, char)| Beat {
            r_peak: SampleIndex(50 * k),
            class: class.to_string().parse().ok(),
        };
        let labels =
            |letters: &str| Labels::from_beats((0..).zip(letters.chars()).map(beat).collect());
        assert_eq!(runs(&labels("NVVVVN"), 100.0), []);
        assert_eq!(runs(&labels("NVFVVVN"), 100.0), [0.5..2.5]);
        assert_eq!(runs(&labels("NVVVVVV"), 100.0), [0.5..3.0]);
        // At 80 Hz these are 0.625 s apart.
        assert_eq!(runs(&labels("NVVVVVVVVN"), 80.0), []);
    }

    #[test]
    fn episodes_are_found_and_alarms_are_wrong() {
        let there = [vec![10.0..20.0, 50.0..53.0], vec![80.0..90.0]];
        let said = seconds(&[12, 13, 30, 31, 35, 60, 85], &[100, 101, 110], 200);
        let found = compare(&there, &said, 100.0, 3600.0 + 23.0);
        assert_eq!(found.there, [2, 1]);
        assert_eq!((found.found, found.noticed), ([1, 0], [1, 1]));
        // 30 to 35 is one; 60 is within eight seconds of the second episode, 85 within one of the other kind.
        assert_eq!(found.wrong, [1, 2]);
        assert!((found.hours - 1.0).abs() < 1e-9);
    }

    #[test]
    fn alarms_are_those_of_the_table() {
        let alarms = parse_alarms("record,alarm,truth\nv1,Asystole,false\r\nv2,X,true\nbroken\n");
        assert_eq!(alarms.len(), 2);
        assert_eq!(alarms["v2"], ("X", true));
        assert_eq!(alarms["v1"], ("Asystole", false));
    }

    #[test]
    fn reports() {
        let alarm = |alarm: &str, truth, vt, vf| Score::Alarm {
            alarm: alarm.to_owned(),
            truth,
            scores: [vt, vf],
        };
        let report = Report {
            per_record: vec![
                ("a".to_owned(), alarm(ALARMS[0], true, 0.8, 0.1)),
                ("b".to_owned(), alarm(ALARMS[0], false, 0.3, 0.9)),
                ("c".to_owned(), alarm("Asystole", true, 0.6, 0.0)),
            ],
            excluded: Vec::new(),
        };
        let value: Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(value["alarms"][0]["auc"], 1.0);
        assert_eq!(value["alarms"][1]["kind"], "vt and vf");
        assert_eq!(value["alarms"][1]["auc"], 0.0);
        assert_eq!(value["alarms"][2]["true_likely"], 1);
        assert_eq!(value["episodes"], Value::Null);
        assert!(
            report
                .to_string()
                .contains("vt             1     1  1.0000      1, 0"),
            "{report}"
        );
        let episodes = Episodes {
            there: [2, 0],
            found: [1, 0],
            noticed: [2, 0],
            wrong: [3, 0],
            hours: 0.5,
        };
        let report = Report {
            per_record: vec![("207".to_owned(), Score::Episodes(episodes))],
            excluded: Vec::new(),
        };
        let text = report.to_string();
        assert!(text.contains("VT 6.0000, VF 0.0000 in 0.50 h"), "{text}");
        let value: Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(value["episodes"]["vt"]["wrong_per_hour"], 6.0);
    }
}
