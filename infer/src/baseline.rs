//! What a patient usually has: the findings of a reference period, and how the findings of today differ from them.
//!
//! A left bundle branch block that has been there for years is no news; the same one with a QRS that is 30 ms wider is. A
//! [`Baseline`] keeps how often each finding was said, and median and spread of its values.
//! It says nothing of whether a finding matters.
//!
//! **The rule.** A finding is [`Change::New`] if it was said in fewer than [`USUAL_STRETCHES`] stretches of the reference
//! period, or in less than [`USUAL_SHARE`] of them. Otherwise each of its values that has a limit is compared: one that is
//! farther beyond its limit than usual, by more than two robust standard deviations of the patient's own values **and**
//! more than [`reproducibility`] of the measurement, or that is of a lead in which it was not usual, makes it
//! [`Change::Worse`]; if there is none, one that is nearer by as much makes it [`Change::Better`].

use std::collections::BTreeMap;

use ecg::{Change, Finding, Lead, Limit, Source};
use serde::{Deserialize, Serialize};

use crate::numbers::{median, median_deviation};

/// A finding said in fewer stretches is not usual.
pub const USUAL_STRETCHES: usize = 3;
/// A finding said in a smaller share of the stretches is not usual.
pub const USUAL_SHARE: f32 = 0.05;
/// The labels that are kept, at most: those said most often.
pub const MAX_LABELS: usize = 64;
/// The values of a label that are kept, at most: those measured most often.
pub const MAX_VALUES: usize = 48;
/// The standard deviation of a normal distribution over the median distance from its median.
const NORMAL: f32 = 1.4826;
/// The name that the probability of a finding is kept under.
const PROBABILITY: &str = "probability";

/// What a patient usually has. Plain data, in the order of its labels; as JSON, for the caller to keep.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Baseline {
    /// The stretches looked at.
    pub n_stretches: usize,
    /// What was said in them; at most [`MAX_LABELS`].
    pub usual: Vec<Usual>,
}

/// A finding as it usually is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usual {
    /// The model that says it, by name; `None` for a rule.
    pub model: Option<String>,
    /// The name of its label.
    pub name: String,
    /// The stretches that it was said in.
    pub n_stretches: usize,
    /// Its values; at most [`MAX_VALUES`].
    pub values: Vec<Spread>,
}

/// A value as it usually is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// What is measured.
    pub name: String,
    /// The lead, where it belongs to one.
    #[serde(with = "by_name")]
    pub lead: Option<Lead>,
    /// How often it was measured.
    pub n: usize,
    /// The median.
    pub median: f32,
    /// The median distance from it.
    pub deviation: f32,
}

/// Leads by their names.
mod by_name {
    use ecg::Lead;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(
        clippy::ref_option,
        clippy::trivially_copy_pass_by_ref,
        reason = "what the derive calls"
    )]
    pub(super) fn serialize<S: Serializer>(lead: &Option<Lead>, to: S) -> Result<S::Ok, S::Error> {
        lead.map(Lead::name).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Lead>, D::Error> {
        let name: Option<String> = Option::deserialize(from)?;
        let lead = name.map(|name| name.parse());
        lead.transpose()
            .map_err(|error: ecg::Error| D::Error::custom(error))
    }
}

/// A number of a finding, and the way that is worse.
struct Number {
    name: &'static str,
    lead: Option<Lead>,
    value: f32,
    /// 1 if more is worse, -1 if less is, 0 if neither.
    worse: f32,
}

impl Baseline {
    /// The baseline of a reference period: what was found in each of its stretches.
    pub fn of<'a>(stretches: impl IntoIterator<Item = &'a [Finding]>) -> Self {
        type Key<'a> = (Option<&'a str>, &'a str);
        type Values = BTreeMap<(&'static str, Option<Lead>), Vec<f32>>;
        let mut said: BTreeMap<Key<'_>, (usize, Values)> = BTreeMap::new();
        let mut n_stretches = 0;
        for findings in stretches {
            n_stretches += 1;
            for (k, finding) in findings.iter().enumerate() {
                let key = key(finding);
                if findings[..k].iter().any(|other| self::key(other) == key) {
                    continue;
                }
                let (n, values) = said.entry(key).or_default();
                *n += 1;
                for number in numbers(finding) {
                    let place = values.entry((number.name, number.lead)).or_default();
                    place.push(number.value);
                }
            }
        }
        let usual = said.into_iter().map(|((model, name), (n, values))| {
            let values = values.into_iter().filter_map(|((name, lead), values)| {
                Some(Spread {
                    name: name.to_owned(),
                    lead,
                    n: values.len(),
                    median: median(values.iter().copied())?,
                    deviation: median_deviation(&values)?,
                })
            });
            Usual {
                model: model.map(str::to_owned),
                name: name.to_owned(),
                n_stretches: n,
                values: most(values.collect(), MAX_VALUES, |spread| spread.n),
            }
        });
        Self {
            n_stretches,
            usual: most(usual.collect(), MAX_LABELS, |usual| usual.n_stretches),
        }
    }

    /// How a finding differs from what is usual, by the rule above.
    pub fn compare(&self, finding: &Finding) -> Change {
        let (model, name) = key(finding);
        let mut all = self.usual.iter();
        let usual = all.find(|usual| usual.model.as_deref() == model && usual.name == name);
        let Some(usual) = usual.filter(|usual| is_usual(usual.n_stretches, self.n_stretches))
        else {
            return Change::New;
        };
        let mut change = Change::Unchanged;
        for number in numbers(finding).filter(|number| number.worse != 0.0) {
            let mut values = usual.values.iter();
            let spread = values.find(|s| s.name == number.name && s.lead == number.lead);
            let Some(spread) = spread.filter(|s| is_usual(s.n, usual.n_stretches)) else {
                if number.lead.is_some() {
                    return Change::Worse;
                }
                continue;
            };
            let least = (2.0 * NORMAL * spread.deviation).max(reproducibility(number.name));
            let by = number.worse * (number.value - spread.median);
            if by > least {
                return Change::Worse;
            }
            if by < -least {
                change = Change::Better;
            }
        }
        change
    }
}

/// By how much a measurement differs when nothing has changed; zero for what is counted otherwise.
///
/// Durations: from the standard deviations of onsets and offsets against cardiologists (P onset 9 ms, QRS 6 and 6 ms, end
/// of T 13 ms; `docs/accuracy.md`). The others are set with care and not measured: electrodes put on again.
pub fn reproducibility(name: &str) -> f32 {
    match name {
        "pr_ms" => 11.0,
        "qrs_ms" => 9.0,
        "qt_ms" | "qtc_fridericia_ms" | "qtc_bazett_ms" | "axis_degrees" => 15.0,
        "rr_ms" | "rr_range_ms" | "longest_rr_ms" => 20.0,
        "rate_bpm" | "mean_rate_bpm" | "slowest_run_bpm" | "fastest_run_bpm" => 3.0,
        "st_j60_mv" | "st_j80_mv" | "t_mv" => 0.03,
        "st_j_mv" => 0.06,
        "qrs_mv" | "q_mv" | "r_mv" | "s_mv" | PROBABILITY => 0.1,
        "n_beats" => 2.0,
        _ => 0.0,
    }
}

fn key(finding: &Finding) -> (Option<&str>, &str) {
    let model = match &finding.source {
        Source::Rule => None,
        Source::Model(model) => Some(model.name.as_str()),
    };
    (model, &finding.label.name)
}

/// The finite numbers of a finding.
fn numbers(finding: &Finding) -> impl Iterator<Item = Number> {
    let values = finding.evidence.values.iter().map(|value| Number {
        name: value.name,
        lead: value.lead,
        value: value.value,
        worse: match value.limit {
            Some(Limit::Above(_)) => 1.0,
            Some(Limit::Below(_)) => -1.0,
            None => 0.0,
        },
    });
    let probability = finding.probability.map(|value| Number {
        name: PROBABILITY,
        lead: None,
        value,
        worse: 1.0,
    });
    let all = values.chain(probability);
    all.filter(|number| number.value.is_finite())
}

fn is_usual(n: usize, of: usize) -> bool {
    n >= USUAL_STRETCHES && n as f32 >= USUAL_SHARE * of as f32
}

/// The `limit` items with the highest counts, in the order they came in.
fn most<T>(mut items: Vec<T>, limit: usize, count: impl Fn(&T) -> usize) -> Vec<T> {
    if items.len() > limit {
        let mut counts: Vec<_> = items.iter().map(&count).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let least = counts[limit - 1];
        let mut spare = limit - counts.iter().filter(|n| **n > least).count();
        items.retain(|item| {
            let n = count(item);
            let keep = n > least || (n == least && spare > 0);
            spare -= usize::from(keep && n == least);
            keep
        });
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::{Evidence, Label, LeadOrigin, ModelRef, SampleIndex, Value};
    use proptest::prelude::*;

    fn finding(name: &'static str, values: &[(&'static str, Option<Lead>, f32, f32)]) -> Finding {
        let value = |&(name, lead, value, limit): &(_, _, f32, f32)| Value {
            name,
            lead,
            value,
            unit: "",
            limit: Some(if limit < 0.0 {
                Limit::Below(limit)
            } else {
                Limit::Above(limit)
            }),
        };
        Finding {
            label: Label::new(name, name, None),
            start: SampleIndex(0),
            end: SampleIndex(1),
            probability: None,
            source: Source::Rule,
            leads: vec![(Lead::II, LeadOrigin::Measured)],
            evidence: Evidence {
                values: values.iter().map(value).collect(),
                ..Evidence::default()
            },
        }
    }

    fn wide(qrs_ms: f32) -> Finding {
        finding("wide_qrs", &[("qrs_ms", None, qrs_ms, 120.0)])
    }

    /// Wide by 138 to 142 ms in half of forty stretches, and depressed in V5.
    fn baseline() -> Baseline {
        let st = |lead, mv| ("st_j60_mv", Some(lead), mv, -0.05);
        let stretches = (0..40u8).map(|k| {
            if k % 2 == 0 {
                vec![wide(138.0 + f32::from(k % 5))]
            } else {
                vec![finding("st_depression", &[st(Lead::V5, -0.1)])]
            }
        });
        let stretches: Vec<_> = stretches.collect();
        Baseline::of(stretches.iter().map(Vec::as_slice))
    }

    #[test]
    fn a_finding_is_judged_by_what_the_patient_usually_has() {
        let baseline = baseline();
        assert_eq!(baseline.n_stretches, 40);
        let usual = &baseline.usual[1];
        assert_eq!((&*usual.name, usual.n_stretches), ("wide_qrs", 20));
        let spread = &usual.values[0];
        assert_eq!(
            (spread.n, spread.median, spread.deviation),
            (20, 140.0, 1.0)
        );
        let check = |finding: Finding, change| assert_eq!(baseline.compare(&finding), change);
        check(wide(140.0), Change::Unchanged);
        // More than two of the patient's deviations, but not of the measurement's.
        check(wide(147.0), Change::Unchanged);
        check(wide(150.0), Change::Worse);
        check(wide(130.0), Change::Better);
        check(finding("first_degree_av_block", &[]), Change::New);
        let st = |values: &[(Lead, f32)]| {
            let value = |(lead, mv): &(Lead, f32)| ("st_j60_mv", Some(*lead), *mv, -0.05);
            finding(
                "st_depression",
                &values.iter().map(value).collect::<Vec<_>>(),
            )
        };
        check(st(&[(Lead::V5, -0.11)]), Change::Unchanged);
        check(st(&[(Lead::V5, -0.2)]), Change::Worse);
        check(st(&[(Lead::V5, -0.06)]), Change::Better);
        // A lead that it was never in.
        check(st(&[(Lead::V5, -0.06), (Lead::V4, -0.06)]), Change::Worse);
    }

    #[test]
    fn what_was_said_seldom_is_new_and_so_is_the_word_of_another() {
        let once = [vec![wide(140.0)], vec![wide(140.0)], Vec::new()];
        let baseline = Baseline::of(once.iter().map(Vec::as_slice));
        assert_eq!(baseline.compare(&wide(140.0)), Change::New);
        assert_eq!(Baseline::default().compare(&wide(140.0)), Change::New);
        let of_model = |probability| Finding {
            source: Source::Model(ModelRef {
                name: "m".to_owned(),
                version: "1".to_owned(),
                sha256: String::new(),
            }),
            probability: Some(probability),
            ..wide(f32::NAN)
        };
        assert_eq!(
            super::tests::baseline().compare(&of_model(0.9)),
            Change::New
        );
        let often = vec![vec![of_model(0.5)]; 9];
        let baseline = Baseline::of(often.iter().map(Vec::as_slice));
        let change = |probability| baseline.compare(&of_model(probability));
        assert_eq!(change(0.55), Change::Unchanged);
        assert_eq!(change(0.8), Change::Worse);
        assert_eq!(change(0.2), Change::Better);
    }

    #[test]
    fn it_is_bounded_by_what_was_said_most() {
        let names: Vec<&'static str> = (0..100)
            .map(|k| &*Box::leak(format!("label {k:02}").into_boxed_str()))
            .collect();
        let stretches: Vec<Vec<_>> = (0..5)
            .map(|k| {
                names[10 * k..]
                    .iter()
                    .map(|name| finding(name, &[]))
                    .collect()
            })
            .collect();
        let baseline = Baseline::of(stretches.iter().map(Vec::as_slice));
        assert_eq!(baseline.usual.len(), MAX_LABELS);
        assert_eq!(baseline.usual[63].name, "label 99");
        assert!(baseline.usual.iter().all(|usual| usual.n_stretches >= 4));
    }

    proptest! {
        #[test]
        fn what_was_always_so_is_unchanged(values in proptest::collection::vec(-1e3f32..1e3, 3..40)) {
            let stretches: Vec<_> = values.iter().map(|value| vec![wide(*value)]).collect();
            let baseline = Baseline::of(stretches.iter().map(Vec::as_slice));
            let middle = baseline.usual[0].values[0].median;
            prop_assert_eq!(baseline.compare(&wide(middle)), Change::Unchanged);
            prop_assert_eq!(baseline.compare(&wide(middle + 1e4)), Change::Worse);
            prop_assert_eq!(baseline.compare(&wide(middle - 1e4)), Change::Better);
        }
    }
}
