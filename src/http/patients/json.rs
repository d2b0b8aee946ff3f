//! The bodies of what is asked of a patient.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use store::PatientId;
use utoipa::ToSchema;

use super::super::api::refused;
use super::super::error::Error;
use crate::day::Minutes;
use crate::proposal::FULL_MINUTES;
use crate::wall::{day, rfc3339};

/// A patient's own limits. What is absent or null is as on the ward.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::http) struct OwnLimits {
    /// Rates under this are too low, beats per minute; given with the high one.
    low_bpm: Option<f32>,
    /// Rates over this are too high, beats per minute; given with the low one.
    high_bpm: Option<f32>,
    /// Consecutive beats slower than this are an extreme bradycardia.
    extreme_bradycardia_bpm: Option<f32>,
    /// Consecutive beats faster than this are an extreme tachycardia.
    extreme_tachycardia_bpm: Option<f32>,
    /// So long without a QRS is a pause.
    pause_seconds: Option<f32>,
    /// So long the rate must be beyond a limit.
    rate_delay_seconds: Option<f32>,
    /// More ventricular beats in a minute are a burden.
    ventricular_per_minute: Option<f32>,
    /// ST higher than this is a change.
    st_elevation_mv: Option<f32>,
    /// ST lower than this below the PR segment is a change.
    st_depression_mv: Option<f32>,
    /// Conditions that are not alarmed on.
    off: Vec<String>,
}

impl OwnLimits {
    /// As they were asked for.
    ///
    /// # Errors
    /// A condition that there is not.
    pub(super) fn read(&self) -> Result<ecg::PatientLimits, Error> {
        let off: Result<ecg::Conditions, _> = self.off.iter().map(|name| name.parse()).collect();
        Ok(ecg::PatientLimits {
            low_bpm: self.low_bpm,
            high_bpm: self.high_bpm,
            extreme_bradycardia_bpm: self.extreme_bradycardia_bpm,
            extreme_tachycardia_bpm: self.extreme_tachycardia_bpm,
            pause_seconds: self.pause_seconds,
            rate_delay_seconds: self.rate_delay_seconds,
            ventricular_per_minute: self.ventricular_per_minute,
            st_elevation_mv: self.st_elevation_mv,
            st_depression_mv: self.st_depression_mv,
            off: off.map_err(|error: ecg::Error| refused(error))?,
        })
    }
}

impl From<&ecg::PatientLimits> for OwnLimits {
    fn from(limits: &ecg::PatientLimits) -> Self {
        Self {
            low_bpm: limits.low_bpm,
            high_bpm: limits.high_bpm,
            extreme_bradycardia_bpm: limits.extreme_bradycardia_bpm,
            extreme_tachycardia_bpm: limits.extreme_tachycardia_bpm,
            pause_seconds: limits.pause_seconds,
            rate_delay_seconds: limits.rate_delay_seconds,
            ventricular_per_minute: limits.ventricular_per_minute,
            st_elevation_mv: limits.st_elevation_mv,
            st_depression_mv: limits.st_depression_mv,
            off: names(limits.off),
        }
    }
}

/// Limits in force: the patient's own or, where there is none, those of the ward.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::http) struct LimitsInForce {
    low_bpm: f32,
    high_bpm: f32,
    extreme_bradycardia_bpm: f32,
    extreme_tachycardia_bpm: f32,
    pause_seconds: f32,
    rate_delay_seconds: f32,
    ventricular_per_minute: f32,
    /// Null for the limits of the finding.
    st_elevation_mv: Option<f32>,
    /// Null for the limit of the finding.
    st_depression_mv: Option<f32>,
    /// Conditions that are not alarmed on.
    off: Vec<String>,
}

impl From<&alarm::InForce> for LimitsInForce {
    fn from(limits: &alarm::InForce) -> Self {
        Self {
            low_bpm: limits.low_bpm,
            high_bpm: limits.high_bpm,
            extreme_bradycardia_bpm: limits.extreme_bradycardia_bpm,
            extreme_tachycardia_bpm: limits.extreme_tachycardia_bpm,
            pause_seconds: limits.pause_seconds,
            rate_delay_seconds: limits.rate_delay_seconds,
            ventricular_per_minute: limits.ventricular_per_minute,
            st_elevation_mv: limits.st_elevation_mv,
            st_depression_mv: limits.st_depression_mv,
            off: names(limits.off),
        }
    }
}

fn names(conditions: ecg::Conditions) -> Vec<String> {
    conditions.iter().map(|c| c.name().to_owned()).collect()
}

/// The limits of a patient.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct PatientLimits {
    patient: String,
    own: OwnLimits,
    in_force: LimitsInForce,
    /// What holds where there is no own limit.
    ward: LimitsInForce,
    /// The least and the greatest value of each limit.
    bounds: BTreeMap<&'static str, [f32; 2]>,
}

impl PatientLimits {
    pub(super) fn new(patient: &PatientId, limits: alarm::Limits, config: &alarm::Config) -> Self {
        Self {
            patient: patient.to_string(),
            own: OwnLimits::from(limits.asked()),
            in_force: LimitsInForce::from(&config.in_force(limits)),
            ward: LimitsInForce::from(&config.in_force(alarm::Limits::default())),
            bounds: alarm::Limits::BOUNDS
                .into_iter()
                .map(|(key, bounds, _)| (key, [*bounds.start(), *bounds.end()]))
                .collect(),
        }
    }
}

/// New limits of a patient.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct PutLimits {
    /// All of them: what is absent is as on the ward.
    pub(super) limits: OwnLimits,
    /// Who sets them, 1 to 64 characters.
    pub(super) by: String,
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LimitChanges {
    pub(super) changes: Vec<LimitChange>,
}

/// A change of a patient's limits.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct LimitChange {
    at: String,
    by: String,
    before: OwnLimits,
    after: OwnLimits,
}

impl From<&store::LimitChange> for LimitChange {
    fn from(change: &store::LimitChange) -> Self {
        Self {
            at: rfc3339(change.utc),
            by: change.by.clone(),
            before: OwnLimits::from(&change.before),
            after: OwnLimits::from(&change.after),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Conditions {
    pub(super) conditions: Vec<Condition>,
}

/// A line of the table of conditions. The numbers in its texts are the defaults.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the API's word for its name")]
pub(in crate::http) struct Condition {
    condition: &'static str,
    /// `physiological` or `technical`.
    kind: &'static str,
    /// `high`, `medium` or `low`.
    priority: &'static str,
    /// Whether it stands until acknowledged after it is over.
    latching: bool,
    /// While one of these is announced, this one is not.
    yields_to: Vec<&'static str>,
    begins: &'static str,
    ends: &'static str,
    evidence: &'static str,
    source: &'static str,
    /// Whether it can be switched off for a patient.
    can_be_off: bool,
}

impl From<&alarm::Definition> for Condition {
    fn from(line: &alarm::Definition) -> Self {
        Self {
            condition: line.condition.name(),
            kind: line.kind.name(),
            priority: line.priority.name(),
            latching: line.latching,
            yields_to: line.yields_to.iter().map(|c| c.name()).collect(),
            begins: line.begins,
            ends: line.ends,
            evidence: line.evidence,
            source: line.source,
            can_be_off: alarm::can_be_off(line.condition),
        }
    }
}

/// Limits from what is usual for the patient.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Proposal {
    based_on: Basis,
    /// All limits of the patient with what is proposed in them, to be put as they are; null where there is nothing to
    /// propose.
    limits: Option<OwnLimits>,
    /// One line for each limit, with the numbers it rests on.
    why: Vec<String>,
    /// The limits as they are.
    current: PatientLimits,
}

/// What a proposal rests on.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Basis {
    /// Usable minutes of the first day of signal.
    minutes: usize,
    /// The same in hours.
    hours: f64,
    /// Whether that is a whole day.
    complete: bool,
    /// The first of these minutes.
    from: Option<String>,
    /// The end of the last one.
    until: Option<String>,
}

impl Proposal {
    pub(super) fn new(
        minutes: &Minutes,
        proposal: crate::proposal::Proposal,
        current: PatientLimits,
    ) -> Self {
        let instant = |minute: i64| rfc3339(ecg::Utc(minute.saturating_mul(60_000_000)));
        let first = minutes.first_key_value().map(|(at, _)| *at);
        let last = minutes.last_key_value().map(|(at, _)| *at);
        Self {
            based_on: Basis {
                minutes: minutes.len(),
                hours: hundredths(minutes.len() as f64 / 60.0),
                complete: minutes.len() >= FULL_MINUTES,
                from: first.map(instant),
                until: last.map(|at| instant(at.saturating_add(1))),
            },
            limits: proposal.limits.as_ref().map(OwnLimits::from),
            why: proposal.why,
            current,
        }
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[derive(Serialize, ToSchema)]
pub(in crate::http) struct Days {
    pub(super) days: Vec<Day>,
}

/// A day of a patient in numbers.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the API's word for its date")]
pub(in crate::http) struct Day {
    /// Such as `2026-11-26`.
    day: String,
    from: String,
    until: String,
    devices: Vec<WornDevice>,
    signal: DaySignal,
    /// Null where no rate was seen.
    rate: Option<DayRates>,
    beats: DayBeats,
    /// What was found, the longest first.
    findings: Vec<DayFinding>,
    alarms: DayAlarms,
}

/// A device that was worn.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct WornDevice {
    device: String,
    from: String,
    until: String,
}

/// How much signal there was.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DaySignal {
    hours: f64,
    /// The share of it that was usable, 0 to 1.
    usable_share: Option<f64>,
    /// Signal that never came, within records.
    gaps: usize,
    gap_seconds: f64,
    longest_gap_seconds: f64,
}

/// Heart rates, beats per minute.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DayRates {
    min_bpm: f64,
    /// When the minute with it begins.
    min_at: String,
    mean_bpm: f64,
    max_bpm: f64,
    /// When the minute with it begins.
    max_at: String,
}

/// Beats of the ECG.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DayBeats {
    total: u64,
    /// How many of each class: N, S, V, F, Q.
    by_class: BTreeMap<String, u64>,
    /// Those that nothing has classified.
    unclassified: u64,
    /// Per cent of those with a class.
    ventricular_percent: Option<f64>,
    /// Per cent of those with a class.
    supraventricular_percent: Option<f64>,
}

/// How much of the day something was found.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DayFinding {
    name: String,
    text: String,
    episodes: usize,
    seconds: f64,
    longest_seconds: f64,
    /// Per cent of the day's signal.
    burden_percent: Option<f64>,
}

/// The alarms of a day.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct DayAlarms {
    total: usize,
    /// How many more were held back, because something spoke against them, and never raised.
    held_back: usize,
    /// The median time from raised to acknowledged.
    median_seconds_to_acknowledge: Option<f64>,
    by_condition: Vec<AlarmCount>,
}

/// The alarms of one condition.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct AlarmCount {
    condition: &'static str,
    priority: &'static str,
    raised: usize,
    /// How many are in each state by now.
    by_state: BTreeMap<&'static str, usize>,
    /// How many more were held back and never raised.
    held_back: usize,
    acknowledged: usize,
    median_seconds_to_acknowledge: Option<f64>,
}

impl Day {
    pub(super) fn new(midnight: ecg::Utc, of: &crate::day::Day) -> Self {
        let total = &of.total;
        let classified: u64 = total.beats.iter().sum();
        let percent = |class: ecg::BeatClass| {
            let share = 100.0 * total.beats[class.index()] as f64 / classified as f64;
            (classified > 0).then(|| hundredths(share))
        };
        let judged = f64::from(total.usable) + f64::from(total.unusable);
        let classes = [
            ecg::BeatClass::N,
            ecg::BeatClass::S,
            ecg::BeatClass::V,
            ecg::BeatClass::F,
            ecg::BeatClass::Q,
        ];
        let rate = total.lowest.zip(total.highest).zip(total.rate_mean());
        Self {
            day: day(midnight),
            from: rfc3339(of.span.start),
            until: rfc3339(of.span.end),
            devices: of
                .worn
                .iter()
                .map(|worn| WornDevice {
                    device: worn.device.to_string(),
                    from: rfc3339(worn.span.start),
                    until: rfc3339(worn.span.end),
                })
                .collect(),
            signal: DaySignal {
                hours: hundredths(total.signal_seconds / 3600.0),
                usable_share: (judged > 0.0).then(|| hundredths(f64::from(total.usable) / judged)),
                gaps: of.gaps.n,
                gap_seconds: hundredths(of.gaps.seconds),
                longest_gap_seconds: hundredths(of.gaps.longest_seconds),
            },
            rate: rate.map(|((lowest, highest), mean)| DayRates {
                min_bpm: hundredths(lowest.0.into()),
                min_at: rfc3339(lowest.1),
                mean_bpm: hundredths(mean),
                max_bpm: hundredths(highest.0.into()),
                max_at: rfc3339(highest.1),
            }),
            beats: DayBeats {
                total: total.n_beats(),
                by_class: classes
                    .into_iter()
                    .map(|class| (class.to_string(), total.beats[class.index()]))
                    .collect(),
                unclassified: total.unclassified,
                ventricular_percent: percent(ecg::BeatClass::V),
                supraventricular_percent: percent(ecg::BeatClass::S),
            },
            findings: of
                .findings
                .iter()
                .map(|burden| DayFinding {
                    name: burden.name.clone(),
                    text: burden.text.clone(),
                    episodes: burden.episodes,
                    seconds: hundredths(burden.seconds),
                    longest_seconds: hundredths(burden.longest_seconds),
                    burden_percent: burden.percent.map(hundredths),
                })
                .collect(),
            alarms: DayAlarms {
                total: of.alarms.iter().flat_map(|count| count.by_state).sum(),
                held_back: of.alarms.iter().map(|count| count.held_back).sum(),
                median_seconds_to_acknowledge: of.median_seconds.map(hundredths),
                by_condition: of.alarms.iter().map(AlarmCount::from).collect(),
            },
        }
    }
}

impl From<&crate::day::AlarmCount> for AlarmCount {
    fn from(count: &crate::day::AlarmCount) -> Self {
        let states = ecg::AlarmState::ALL.map(ecg::AlarmState::name);
        Self {
            condition: count.condition.name(),
            priority: count.priority.name(),
            raised: count.by_state.iter().sum(),
            by_state: states.into_iter().zip(count.by_state).collect(),
            held_back: count.held_back,
            acknowledged: count.acknowledged,
            median_seconds_to_acknowledge: count.median_seconds.map(hundredths),
        }
    }
}
