//! The bodies of what is asked of a patient.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use store::PatientId;
use utoipa::ToSchema;

use super::super::api::refused;
use super::super::error::Error;
use crate::wall::rfc3339;

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
