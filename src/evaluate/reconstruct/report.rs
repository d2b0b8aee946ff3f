//! How reconstruction came out: as JSON for programs, as a table for people.

use std::collections::BTreeMap;
use std::fmt;

use ecg::{Lead, Levels, Withheld};
use serde_json::{Map, Value, json};

use super::{LeadScore, Options, RecordScore, WindowScore, estimated_leads};
use crate::evaluate::report::{Excluded, mean};
use crate::evaluate::roc::auc;

/// An error of ST above this matters to a clinician, mV.
const ST_MV: f64 = 0.1;

/// How every record of a folder came out. Its JSON is `{"task", "observed", "records", "windows", "missing",
/// "reconstructed", "per_lead", "coverage90", "trust_auc", "trust_auc_of_r", "withheld", "baseline", "personal", "agreement",
/// "ms_per_window", "per_record", "excluded"}`; r without unit, errors in mV, intervals in ms.
pub struct Report {
    /// The leads that were given.
    pub observed: Vec<Lead>,
    /// The records compared.
    pub records: Vec<RecordScore>,
    /// The records left out.
    pub excluded: Vec<Excluded>,
}

/// Means over leads and records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Summary {
    /// Mean Pearson r.
    pub mean_r: Option<f64>,
    /// Root mean square error, mV.
    pub rmse_mv: Option<f64>,
    /// Mean absolute error, mV.
    pub mae_mv: Option<f64>,
}

impl Summary {
    fn json(self) -> Value {
        json!({"mean_r": self.mean_r, "rmse_mv": self.rmse_mv, "mae_mv": self.mae_mv})
    }
}

/// The error of a lead as the trust score expects it.
const RMSE: fn(&LeadScore) -> Option<f64> = |score| Some(score.rmse_mv);
/// The error of its shape alone.
const SHAPE: fn(&LeadScore) -> Option<f64> = |score| Some(1.0 - score.r?);

/// The leads of a window by one of the methods.
type Method = fn(&WindowScore) -> &Vec<LeadScore>;

const MODEL: Method = |window| &window.model;
const MEAN: Method = |window| &window.mean;
const LEAST_SQUARES: Method = |window| &window.least_squares;
const CALIBRATED: Method = |window| &window.calibrated;
const PERSONAL: Method = |window| &window.personal;
const HALF: Method = |window| window.halves.as_ref().map_or(&NONE, |[plain, _]| plain);
const HALF_CALIBRATED: Method = |window| window.halves.as_ref().map_or(&NONE, |[_, own]| own);
static NONE: Vec<LeadScore> = Vec::new();

impl Report {
    /// A report without records.
    pub fn new(options: &Options) -> Self {
        Self {
            observed: options.observed.clone(),
            records: Vec::new(),
            excluded: Vec::new(),
        }
    }

    /// Means of a method over the `leads`, of records for which it has any.
    fn summary(&self, method: Method, leads: impl Fn(Lead) -> bool) -> Summary {
        let records: Vec<&RecordScore> = self.records.iter().collect();
        summary(&records, method, leads)
    }

    fn covered(&self, leads: impl Fn(Lead) -> bool) -> Option<f64> {
        mean(self.records.iter().map(|record| {
            mean(record.windows.iter().map(|window| {
                let leads = window.model.iter().filter(|score| leads(score.lead));
                mean(leads.map(|score| score.covered))
            }))
        }))
    }

    fn windows(&self) -> impl Iterator<Item = &WindowScore> {
        self.records.iter().flat_map(|record| &record.windows)
    }

    fn missing(&self) -> Vec<Lead> {
        let there = |lead: &Lead| !self.observed.contains(lead);
        Lead::TWELVE.into_iter().filter(there).collect()
    }

    /// Slope of the error against the true value of a level of a lead, over windows.
    fn slope(&self, lead: Lead, level: fn(&Levels) -> Option<f32>) -> Option<f64> {
        let pairs: Vec<(f64, f64)> = self
            .windows()
            .filter_map(|window| {
                let (recorded, found) = window.clinical.levels(lead)?;
                let recorded = f64::from(level(recorded)?);
                // What is not there any more has come out as nothing.
                Some((recorded, level(found).map_or(0.0, f64::from) - recorded))
            })
            .collect();
        slope(&pairs)
    }

    /// Share of windows whose ST level 60 ms after the J point is off by more than [`ST_MV`], over the leads.
    fn st_errors(&self, leads: &[Lead]) -> Option<f64> {
        let mut errors = Vec::new();
        for window in self.windows() {
            for lead in leads {
                let levels = window.clinical.levels(*lead);
                let st = levels.and_then(|(a, b)| Some((a.st_j60_mv?, b.st_j60_mv?)));
                errors.extend(st.map(|(a, b)| f64::from(a - b).abs()));
            }
        }
        let over = errors.iter().filter(|error| **error > ST_MV).count();
        (!errors.is_empty()).then(|| over as f64 / errors.len() as f64)
    }

    /// Median absolute difference of an interval, ms.
    fn interval(&self, of: fn(&ecg::Intervals) -> Option<f32>) -> Option<f64> {
        let both = |window: &WindowScore| {
            let (recorded, found) = window.clinical.both.as_ref()?;
            Some(f64::from(
                (of(&recorded.intervals)? - of(&found.intervals)?).abs(),
            ))
        };
        median(self.windows().filter_map(both))
    }

    /// How well the trust score tells the worst tenth of windows by an `error` of their leads.
    fn trust_auc(&self, error: fn(&LeadScore) -> Option<f64>) -> Option<f64> {
        let scored: Vec<(f64, f64)> = self
            .windows()
            .filter_map(|window| {
                let error = mean(window.model.iter().map(error))?;
                Some((error, f64::from(window.trust?.score)))
            })
            .collect();
        worst_decile_auc(scored)
    }

    /// The report as one line of JSON.
    pub fn to_json(&self) -> String {
        let missing = self.missing();
        let reconstructed = estimated_leads(&self.observed);
        let all = |_: Lead| true;
        let mut per_lead = Map::new();
        for lead in &missing {
            let this = |other: Lead| other == *lead;
            let mut entry = self.summary(MODEL, this).json();
            if let Some(entry) = entry.as_object_mut() {
                entry.insert("r".to_owned(), entry["mean_r"].clone());
                entry.remove("mean_r");
                entry.insert("slope".to_owned(), self.slope(*lead, |l| l.r_mv).into());
                entry.insert("slope_s".to_owned(), self.slope(*lead, |l| l.s_mv).into());
                entry.insert("coverage90".to_owned(), self.covered(this).into());
                let linear = self.summary(LEAST_SQUARES, this);
                entry.insert("least_squares".to_owned(), linear.json());
            }
            per_lead.insert(lead.name().to_owned(), entry);
        }
        let mut withheld = Map::new();
        for reason in Withheld::ALL {
            let n = self.windows().filter(|w| w.withheld == Some(reason));
            withheld.insert(reason.name().to_owned(), n.count().into());
        }
        let names: Vec<&str> = self.observed.iter().map(|lead| lead.name()).collect();
        let per_record: BTreeMap<&str, Value> = self
            .records
            .iter()
            .map(|record| (record.record.as_str(), record_json(record)))
            .collect();
        json!({
            "task": "reconstruct",
            "observed": names,
            "records": self.records.len(),
            "windows": self.windows().count(),
            "missing": self.summary(MODEL, all).json(),
            "reconstructed": self.summary(MODEL, |lead| reconstructed.contains(&lead)).json(),
            "per_lead": per_lead,
            "coverage90": self.covered(all),
            "trust_auc": self.trust_auc(RMSE),
            "trust_auc_of_r": self.trust_auc(SHAPE),
            "withheld": withheld,
            "baseline": {
                "mean": self.summary(MEAN, all).json(),
                "least_squares": self.summary(LEAST_SQUARES, all).json(),
            },
            "personal": self.personal(),
            "agreement": {
                "st_error_over_0.1_mv": self.st_errors(&reconstructed),
                "rr_ms": self.interval(|i| i.rr_ms),
                "pr_ms": self.interval(|i| i.pr_ms),
                "qrs_ms": self.interval(|i| i.qrs_ms),
                "qt_ms": self.interval(|i| i.qt_ms),
            },
            "ms_per_window": self.ms_per_window(),
            "per_record": per_record,
            "excluded": self.excluded,
        })
        .to_string()
    }

    /// What a patient's own recording buys: calibrated on another one, and on the first half for the second.
    fn personal(&self) -> Value {
        let part = |method: Method, over: Method| {
            let records = self.records.iter();
            let records =
                records.filter(|record| record.windows.iter().any(|w| !over(w).is_empty()));
            let records: Vec<&RecordScore> = records.collect();
            let mut value = summary(&records, method, |_| true).json();
            value["records"] = records.len().into();
            value
        };
        if self.windows().all(|window| window.halves.is_none()) {
            return Value::Null;
        }
        json!({
            "other_recording": {
                "model": part(MODEL, PERSONAL),
                "calibrated": part(CALIBRATED, PERSONAL),
                "least_squares": part(PERSONAL, PERSONAL),
            },
            "first_half": {
                "model": part(HALF, HALF),
                "calibrated": part(HALF_CALIBRATED, HALF),
            },
        })
    }

    /// Median time of a window, ms.
    fn ms_per_window(&self) -> Option<f64> {
        median(self.windows().map(|window| window.seconds * 1e3))
    }
}

fn summary(records: &[&RecordScore], method: Method, leads: impl Fn(Lead) -> bool) -> Summary {
    let over = |value: fn(&LeadScore) -> Option<f64>| {
        mean(records.iter().map(|record| {
            mean(record.windows.iter().map(|window| {
                let leads = method(window).iter().filter(|score| leads(score.lead));
                mean(leads.map(value))
            }))
        }))
    };
    Summary {
        mean_r: over(|score| score.r),
        rmse_mv: over(|score| Some(score.rmse_mv)),
        mae_mv: over(|score| Some(score.mae_mv)),
    }
}

fn record_json(record: &RecordScore) -> Value {
    let windows = &record.windows;
    let over = |value: fn(&LeadScore) -> Option<f64>| {
        mean(windows.iter().map(|w| mean(w.model.iter().map(value))))
    };
    let trust = mean(windows.iter().map(|w| Some(f64::from(w.trust?.score))));
    json!({
        "mean_r": over(|score| score.r),
        "rmse_mv": over(|score| Some(score.rmse_mv)),
        "trust": trust,
        "novelty": mean(windows.iter().map(|w| Some(f64::from(w.trust?.novelty)))),
    })
}

/// The middle value, the upper of two; `None` of none.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Slope of the least-squares line through pairs of value and error; `None` for fewer than three.
fn slope(pairs: &[(f64, f64)]) -> Option<f64> {
    let n = pairs.len() as f64;
    let mean_x = pairs.iter().map(|(x, _)| x).sum::<f64>() / n;
    let mean_y = pairs.iter().map(|(_, y)| y).sum::<f64>() / n;
    let xx: f64 = pairs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let xy: f64 = pairs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (pairs.len() > 2 && xx > 0.0).then(|| xy / xx)
}

/// The area under the curve of a score that should be low for the worst tenth by error; `None` for fewer than ten.
fn worst_decile_auc(mut scored: Vec<(f64, f64)>) -> Option<f64> {
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let n_worst = scored.len() / 10;
    if n_worst == 0 {
        return None;
    }
    // What should be low for the worst is high, negated.
    let marked = scored.iter().enumerate();
    let marked: Vec<(f64, bool)> = marked.map(|(k, (_, x))| (-x, k < n_worst)).collect();
    auc(&marked)
}

impl fmt::Display for Report {
    /// The table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.observed.iter().map(|lead| lead.name()).collect();
        writeln!(f, "observed {}", names.join(", "))?;
        writeln!(
            f,
            "{:14} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9}",
            "lead", "r", "RMSE mV", "MAE mV", "slope R", "slope S", "in band", "LS r", "LS RMSE"
        )?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, leads: &dyn Fn(Lead) -> bool, slopes| {
            let (model, linear): (Summary, Summary) = (
                self.summary(MODEL, leads),
                self.summary(LEAST_SQUARES, leads),
            );
            let (slope_r, slope_s): (Option<f64>, Option<f64>) = slopes;
            writeln!(
                f,
                "{name:14} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8} {:>9} {:>9}",
                number(model.mean_r),
                number(model.rmse_mv),
                number(model.mae_mv),
                number(slope_r),
                number(slope_s),
                number(self.covered(leads)),
                number(linear.mean_r),
                number(linear.rmse_mv)
            )
        };
        for lead in self.missing() {
            let slopes = (self.slope(lead, |l| l.r_mv), self.slope(lead, |l| l.s_mv));
            row(f, lead.name(), &|other| other == lead, slopes)?;
        }
        row(f, "missing", &|_| true, (None, None))?;
        let reconstructed = estimated_leads(&self.observed);
        row(
            f,
            "reconstructed",
            &|lead| reconstructed.contains(&lead),
            (None, None),
        )?;
        let mean = self.summary(MEAN, |_| true);
        writeln!(f, "mean of each lead: RMSE {} mV", number(mean.rmse_mv))?;
        let personal = self.personal();
        for (name, methods) in personal.as_object().into_iter().flatten() {
            write!(f, "{}:", name.replace('_', " "))?;
            for (method, scores) in methods.as_object().into_iter().flatten() {
                let r = number(scores["mean_r"].as_f64());
                write!(f, " {} r {r},", method.replace('_', " "))?;
            }
            writeln!(f, " {} records", methods["model"]["records"])?;
        }
        writeln!(
            f,
            "ST 60 ms after J off by more than 0.1 mV: {} of leads; differences, ms: QRS {} QT {} PR {}",
            number(self.st_errors(&reconstructed)),
            number(self.interval(|i| i.qrs_ms)),
            number(self.interval(|i| i.qt_ms)),
            number(self.interval(|i| i.pr_ms))
        )?;
        writeln!(
            f,
            "trust tells the worst tenth by RMSE with AUC {}, by r {}; {} ms a window",
            number(self.trust_auc(RMSE)),
            number(self.trust_auc(SHAPE)),
            number(self.ms_per_window())
        )?;
        for reason in Withheld::ALL {
            let n = self
                .windows()
                .filter(|w| w.withheld == Some(reason))
                .count();
            if n > 0 {
                writeln!(f, "withheld, {reason}: {n} windows")?;
            }
        }
        write!(f, "{} records", self.records.len())?;
        for excluded in &self.excluded {
            write!(f, "\nwithout {}: {}", excluded.record, excluded.reason)?;
        }
        writeln!(f)
    }
}

/// A number with three decimals; a dash where there is none.
fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_error() {
        let regressed: Vec<(f64, f64)> = (0..10)
            .map(|k| (f64::from(k), -0.3 * f64::from(k)))
            .collect();
        assert!((slope(&regressed).unwrap() + 0.3).abs() < 1e-12);
        assert_eq!(slope(&regressed[..2]), None);
        assert_eq!(slope(&[(1.0, 0.0); 5]), None);
    }

    #[test]
    fn trust_is_judged_on_the_worst_tenth() {
        let scored = |trust: fn(f64) -> f64| -> Vec<(f64, f64)> {
            (0..40)
                .map(|k| (f64::from(k), trust(f64::from(k))))
                .collect()
        };
        assert_eq!(worst_decile_auc(scored(|error| -error)), Some(1.0));
        assert_eq!(worst_decile_auc(scored(|error| error)), Some(0.0));
        assert_eq!(worst_decile_auc(scored(|_| 0.5)), Some(0.5));
        assert_eq!(worst_decile_auc(scored(|_| 0.5)[..9].to_vec()), None);
    }
}
