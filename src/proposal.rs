//! Alarm limits proposed for a patient from what is usual for the patient. Proposed only: a person puts them in force.
//!
//! **The rules**, each from the usable minutes of the first day of signal (at least [`LEAST_MINUTES`] of them; a day has
//! [`FULL_MINUTES`]):
//!
//! * **Low rate**: the 1st percentile of the minutes' mean rates, less 10 a minute, rounded down to 5. A rate must be
//!   beyond a limit for seconds only, so single beats and short runs go further than a minute's mean: without a margin a
//!   patient would alarm in the calmest minutes of every night. Within 40 (or the extreme bradycardia, if that is higher)
//!   to 60: never so low that an extreme bradycardia comes first, never so high that normal sleep alarms.
//! * **High rate**: the 99th percentile, plus 20 a minute, rounded up to 5: rates rise faster than they fall. Within 100 to
//!   140 (or the extreme tachycardia, if that is lower).
//! * **Ventricular beats**: the 99th percentile of their number in a minute, plus 5, rounded up to 5, never less than the
//!   ward's (classes are not certain enough for less) and never more than 30: half of the beats of a slow heart.
//! * **ST**: where an ST elevation or depression was usual in the first hour, its level on the lead where it is largest,
//!   plus two robust standard deviations or what measuring it again differs by, whichever is more, rounded up to 0.05 mV,
//!   never beyond 0.3 mV. Where ST is within its limits, nothing is proposed: then the findings' own limits are right.
//!
//! Extreme rates, pauses and what is switched off are never proposed: they are decisions, not statistics.

use ecg::{Lead, PatientLimits};
use infer::baseline::{Baseline, USUAL_SHARE, USUAL_STRETCHES, reproducibility};

use crate::day::Minute;

/// Fewer minutes are not enough to propose anything from.
pub const LEAST_MINUTES: usize = 60;
/// The minutes of a day.
pub const FULL_MINUTES: usize = 1440;

/// The loosest and the tightest low limit that is proposed, beats per minute.
const LOW_BPM: (f32, f32) = (40.0, 60.0);
/// The tightest and the loosest high limit that is proposed, beats per minute.
const HIGH_BPM: (f32, f32) = (100.0, 140.0);
/// The loosest limit of ventricular beats in a minute that is proposed.
const MOST_VENTRICULAR: f32 = 30.0;
/// The loosest ST limit that is proposed, mV.
const MOST_ST_MV: f32 = 0.3;
/// The standard deviation of a normal distribution over the median distance from its median.
const NORMAL: f32 = 1.4826;

/// What is proposed.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    /// The patient's limits with what is proposed in them; `None` where there is nothing to propose.
    pub limits: Option<PatientLimits>,
    /// One line for each limit, with the numbers it rests on.
    pub why: Vec<String>,
}

/// Whether a minute counts: half of its signal usable, and the rate known.
pub fn is_usable(minute: &Minute) -> bool {
    minute.signal_seconds >= 30.0
        && minute.usable >= minute.unusable
        && minute.rate_mean().is_some_and(f64::is_finite)
}

/// What is proposed to a patient from usable `minutes` and what is `usual`, who has `asked` for limits of which `in_force`
/// are in force on a ward with `ward`.
pub fn propose<'a>(
    minutes: impl IntoIterator<Item = &'a Minute>,
    usual: Option<&Baseline>,
    asked: &PatientLimits,
    in_force: &alarm::InForce,
    ward: &alarm::InForce,
) -> Proposal {
    let mut limits = *asked;
    let mut why = Vec::new();
    let minutes: Vec<&Minute> = minutes.into_iter().filter(|m| is_usable(m)).collect();
    let n = minutes.len();
    if n < LEAST_MINUTES {
        why.push(format!(
            "rate, ventricular beats: {n} usable minutes, where {LEAST_MINUTES} are needed"
        ));
    } else {
        rates(&minutes, in_force, &mut limits, &mut why);
        ventricular(&minutes, ward, &mut limits, &mut why);
    }
    match usual {
        None => why.push("ST: what is usual is not known before an hour of signal".to_owned()),
        Some(usual) => {
            st(usual, true, &mut limits.st_elevation_mv, &mut why);
            st(usual, false, &mut limits.st_depression_mv, &mut why);
        }
    }
    Proposal {
        limits: (limits != *asked || n >= LEAST_MINUTES).then_some(limits),
        why,
    }
}

fn rates(
    minutes: &[&Minute],
    in_force: &alarm::InForce,
    limits: &mut PatientLimits,
    why: &mut Vec<String>,
) {
    let mut means: Vec<f32> = minutes
        .iter()
        .filter_map(|minute| minute.rate_mean())
        .map(narrow)
        .collect();
    means.sort_by(f32::total_cmp);
    let n = means.len();
    let (Some(slow), Some(fast)) = (percentile(&means, 1), percentile(&means, 99)) else {
        return;
    };
    let least = (in_force.extreme_bradycardia_bpm / 5.0).ceil() * 5.0;
    let least = least.clamp(LOW_BPM.0, LOW_BPM.1);
    let low = down(slow - 10.0, 5.0).clamp(least, LOW_BPM.1);
    why.push(format!(
        "low rate {low:.0}/min: 1 % of {n} minutes were at {slow:.0}/min or less; 10 less, rounded down to 5, within {least:.0} to {:.0}",
        LOW_BPM.1
    ));
    let most = (in_force.extreme_tachycardia_bpm / 5.0).floor() * 5.0;
    let most = most.clamp(HIGH_BPM.0, HIGH_BPM.1);
    let high = up(fast + 20.0, 5.0).clamp(HIGH_BPM.0, most);
    why.push(format!(
        "high rate {high:.0}/min: 99 % of {n} minutes were at {fast:.0}/min or less; 20 more, rounded up to 5, within {:.0} to {most:.0}",
        HIGH_BPM.0
    ));
    (limits.low_bpm, limits.high_bpm) = (Some(low), Some(high));
}

fn ventricular(
    minutes: &[&Minute],
    ward: &alarm::InForce,
    limits: &mut PatientLimits,
    why: &mut Vec<String>,
) {
    let of_minute = |minute: &&Minute| minute.beats[ecg::BeatClass::V.index()];
    let mut counts: Vec<f32> = minutes
        .iter()
        .map(|m| narrow(of_minute(m) as f64))
        .collect();
    counts.sort_by(f32::total_cmp);
    let Some(many) = percentile(&counts, 99) else {
        return;
    };
    let least = ward.ventricular_per_minute.min(MOST_VENTRICULAR);
    let limit = up(many + 5.0, 5.0).clamp(least, MOST_VENTRICULAR);
    why.push(format!(
        "ventricular beats {limit:.0}/min: 99 % of {} minutes had {many:.0} or fewer; 5 more, rounded up to 5, within {least:.0} to {MOST_VENTRICULAR:.0}",
        counts.len()
    ));
    limits.ventricular_per_minute = Some(limit);
}

/// Of elevation or depression, from the values of the rule that says it.
fn st(usual: &Baseline, raised: bool, limit: &mut Option<f32>, why: &mut Vec<String>) {
    let (name, word, least) = if raised {
        ("st_elevation", "elevation", 0.1)
    } else {
        ("st_depression", "depression", 0.05)
    };
    let needed = (usual.n_stretches as f32 * USUAL_SHARE).max(USUAL_STRETCHES as f32);
    let said = usual.usual.iter().find(|said| {
        said.model.is_none() && said.name == name && said.n_stretches as f32 >= needed
    });
    let levels = said.into_iter().flat_map(|said| &said.values);
    let largest = levels
        .filter(|value| matches!(value.name.as_str(), "st_j60_mv" | "st_j80_mv"))
        .map(|value| {
            let level = if raised { value.median } else { -value.median };
            let spread = (2.0 * NORMAL * value.deviation).max(reproducibility(&value.name));
            (level, spread, value.lead)
        })
        .filter(|(level, spread, _)| level.is_finite() && spread.is_finite() && *level > 0.0)
        .max_by(|a, b| (a.0 + a.1).total_cmp(&(b.0 + b.1)));
    let Some((level, spread, lead)) = largest else {
        why.push(format!("ST {word}: none is usual"));
        return;
    };
    let proposed = up(level + spread, 0.05).clamp(least, MOST_ST_MV);
    why.push(format!(
        "ST {word} {proposed:.2} mV: usually {level:.2} mV on {}, {spread:.2} more, rounded up to 0.05, within {least} to {MOST_ST_MV}",
        lead.map_or("a lead", Lead::name)
    ));
    *limit = Some(proposed);
}

/// The value at a percentile by nearest rank, of sorted values.
fn percentile(sorted: &[f32], percent: usize) -> Option<f32> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

fn down(value: f32, step: f32) -> f32 {
    (value / step + 1e-3).floor() * step
}

fn up(value: f32, step: f32) -> f32 {
    // A hundredth of a microvolt is no reason for the next step.
    let steps = (value / step - 1e-3).ceil();
    // In hundredths, so that 0.15 is 0.15.
    (steps * step * 100.0).round() / 100.0
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rates and counts were smaller numbers before they were averaged"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use alarm::{Config, Limits};
    use infer::baseline::{Spread, Usual};
    use proptest::prelude::*;

    fn minute(bpm: f64, ventricular: u64) -> Minute {
        Minute {
            signal_seconds: 60.0,
            usable: 170,
            unusable: 10,
            n_rates: 60,
            rate_sum: 60.0 * bpm,
            beats: [60, 0, ventricular, 0, 0],
            ..Minute::default()
        }
    }

    fn proposed(minutes: &[Minute], usual: Option<&Baseline>) -> Proposal {
        let config = Config::default();
        let ward = config.in_force(Limits::default());
        propose(minutes, usual, &PatientLimits::default(), &ward, &ward)
    }

    /// ST that is elevated in `n` of 60 stretches.
    fn elevated(n: usize, median: f32, deviation: f32) -> Baseline {
        let value = |name: &str, median| Spread {
            name: name.to_owned(),
            lead: Some(Lead::V1),
            n,
            median,
            deviation,
        };
        Baseline {
            n_stretches: 60,
            usual: vec![Usual {
                model: None,
                name: "st_elevation".to_owned(),
                n_stretches: n,
                values: vec![value("st_j60_mv", median), value("st_j_mv", 9.0)],
            }],
        }
    }

    #[test]
    fn a_day_says_the_limits_and_why() {
        // Nights at 52, days at 70, a little exercise, and 12 ventricular beats in the worst minutes.
        let mut day = vec![minute(52.0, 0); 480];
        day.extend(vec![minute(70.0, 3); 900]);
        day.extend(vec![minute(98.0, 12); 60]);
        let proposal = proposed(&day, None);
        let limits = proposal.limits.unwrap();
        assert_eq!((limits.low_bpm, limits.high_bpm), (Some(45.0), Some(120.0)));
        assert_eq!(limits.ventricular_per_minute, Some(20.0));
        assert_eq!(
            proposal.why,
            [
                "low rate 45/min: 1 % of 1440 minutes were at 52/min or less; 10 less, rounded down to 5, within 45 to 60",
                "high rate 120/min: 99 % of 1440 minutes were at 98/min or less; 20 more, rounded up to 5, within 100 to 140",
                "ventricular beats 20/min: 99 % of 1440 minutes had 12 or fewer; 5 more, rounded up to 5, within 10 to 30",
                "ST: what is usual is not known before an hour of signal",
            ]
        );
    }

    #[test]
    fn too_little_signal_proposes_nothing_and_says_so() {
        let mut minutes = vec![minute(70.0, 0); LEAST_MINUTES - 1];
        let mut noisy = minute(70.0, 0);
        (noisy.usable, noisy.unusable) = (10, 170);
        minutes.push(noisy);
        let proposal = proposed(&minutes, None);
        assert_eq!(proposal.limits, None);
        assert_eq!(
            proposal.why[0],
            "rate, ventricular beats: 59 usable minutes, where 60 are needed"
        );
        assert_eq!(proposed(&[], None).limits, None);
    }

    #[test]
    fn a_usual_st_is_allowed_for_and_a_large_one_only_so_far() {
        let limit = |usual: &Baseline| {
            let limits = proposed(&[], Some(usual)).limits;
            limits.and_then(|limits| limits.st_elevation_mv)
        };
        assert_eq!(limit(&elevated(50, 0.14, 0.005)), Some(0.2));
        assert_eq!(limit(&elevated(50, 0.02, 0.005)), Some(0.1));
        assert_eq!(limit(&elevated(50, 0.14, 0.04)), Some(0.3));
        assert_eq!(limit(&elevated(50, 1.4, 0.04)), Some(0.3));
        // Not usual.
        assert_eq!(limit(&elevated(2, 0.14, 0.005)), None);
        assert_eq!(limit(&elevated(50, f32::NAN, 0.005)), None);
    }

    #[test]
    fn extreme_rates_of_the_patient_are_not_passed() {
        let config = Config::default();
        let asked = PatientLimits {
            extreme_bradycardia_bpm: Some(48.0),
            extreme_tachycardia_bpm: Some(122.0),
            ..PatientLimits::default()
        };
        let in_force = config.in_force(Limits::of(asked).unwrap());
        let ward = config.in_force(Limits::default());
        let mut minutes = vec![minute(35.0, 0); 100];
        minutes.extend(vec![minute(150.0, 0); 100]);
        let proposal = propose(&minutes, None, &asked, &in_force, &ward);
        let limits = proposal.limits.unwrap();
        assert_eq!((limits.low_bpm, limits.high_bpm), (Some(50.0), Some(120.0)));
        assert_eq!(limits.extreme_bradycardia_bpm, Some(48.0));
    }

    proptest! {
        #[test]
        fn a_proposal_is_always_safe(
            days in prop::collection::vec((any::<f64>(), 0u64..1000, any::<u32>(), 0u32..200), 0..300),
            plausible in prop::collection::vec((20f64..250.0, 0u64..200), 0..300),
            st in (any::<f32>(), any::<f32>(), 0usize..70),
            slow in 20f32..=50.0,
            fast in 120f32..=200.0,
            ward_ventricular in 1f32..=60.0,
        ) {
            let mut minutes: Vec<Minute> = plausible.into_iter().map(|(bpm, v)| minute(bpm, v)).collect();
            minutes.extend(days.into_iter().map(|(bpm, v, usable, n_rates)| Minute {
                usable,
                n_rates,
                rate_sum: bpm,
                ..minute(60.0, v)
            }));
            let config = Config::default();
            let asked = PatientLimits {
                extreme_bradycardia_bpm: Some(slow),
                extreme_tachycardia_bpm: Some(fast),
                ..PatientLimits::default()
            };
            let in_force = config.in_force(Limits::of(asked).unwrap());
            let mut ward = config.in_force(Limits::default());
            ward.ventricular_per_minute = ward_ventricular;
            let usual = elevated(st.2, st.0, st.1);
            let proposal = propose(&minutes, Some(&usual), &asked, &in_force, &ward);
            prop_assert!(!proposal.why.is_empty());
            if let Some(limits) = proposal.limits {
                // What a person would be offered can be put in force.
                let accepted = Limits::of(limits).unwrap();
                config.accept(&accepted).unwrap();
                prop_assert_eq!(limits.off, asked.off);
                prop_assert_eq!(limits.extreme_bradycardia_bpm, asked.extreme_bradycardia_bpm);
                if let (Some(low), Some(high)) = (limits.low_bpm, limits.high_bpm) {
                    prop_assert!(low >= slow && low >= LOW_BPM.0 && low <= LOW_BPM.1);
                    prop_assert!(high <= fast && high >= HIGH_BPM.0 && high <= HIGH_BPM.1);
                    prop_assert!(low < high);
                }
                prop_assert!(limits.ventricular_per_minute.is_none_or(|n| n <= MOST_VENTRICULAR));
                prop_assert!(limits.st_elevation_mv.is_none_or(|mv| mv <= MOST_ST_MV));
            }
        }
    }
}
