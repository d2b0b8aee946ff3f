//! A finding as JSON: what is kept with a strip and an episode, and what the API gives.

use std::collections::BTreeMap;

use ecg::{Limit, Source};
use serde::Serialize;
use utoipa::ToSchema;

/// Something found in a stretch of a record.
#[derive(Serialize, ToSchema)]
pub struct Finding<'a> {
    /// To program against, such as `atrial_fibrillation`.
    name: &'a str,
    /// To read.
    text: &'a str,
    /// The concept of SNOMED CT.
    snomed: Option<u64>,
    /// 0 to 1, calibrated on held-out recordings; null for a rule.
    probability: Option<f32>,
    /// `rule`, or the name of the model.
    source: &'a str,
    /// Version and SHA-256 of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<ModelVersion<'a>>,
    /// Index of the first sample of the stretch.
    start_sample: u64,
    /// Index of the first sample after it.
    end_sample: u64,
    /// The leads that it rests on, each `measured`, `derived` or `reconstructed`.
    leads: BTreeMap<&'static str, &'static str>,
    evidence: Evidence<'a>,
}

#[derive(Serialize, ToSchema)]
struct ModelVersion<'a> {
    version: &'a str,
    sha256: &'a str,
}

/// What it rests on.
#[derive(Serialize, ToSchema)]
struct Evidence<'a> {
    /// One line with the numbers.
    text: &'a str,
    values: Vec<Value<'a>>,
    /// Indices of the R peaks of the beats measured.
    beats: Vec<u64>,
    /// How much the probability falls when the model may not see a lead.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    by_lead: BTreeMap<&'static str, f32>,
    /// How much it falls without each of equal parts of the stretch, in order.
    #[serde(skip_serializing_if = "<[f32]>::is_empty")]
    by_part: &'a [f32],
    /// Recordings of the training data that the model finds most alike, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prototypes: Vec<Prototype<'a>>,
}

/// A measured number, and the limit that it is beyond.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the API's word for it")]
struct Value<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    lead: Option<&'static str>,
    value: f32,
    unit: &'a str,
    /// The limit that it is more than.
    #[serde(skip_serializing_if = "Option::is_none")]
    above: Option<f32>,
    /// The limit that it is less than.
    #[serde(skip_serializing_if = "Option::is_none")]
    below: Option<f32>,
}

#[derive(Serialize, ToSchema)]
struct Prototype<'a> {
    recording: &'a str,
    labels: Vec<&'a str>,
    /// The cosine distance in the space of the model.
    distance: f32,
}

impl<'a> From<&'a ecg::Finding> for Finding<'a> {
    fn from(finding: &'a ecg::Finding) -> Self {
        let evidence = &finding.evidence;
        let leads = finding.leads.iter();
        Self {
            name: &finding.label.name,
            text: &finding.label.text,
            snomed: finding.label.snomed,
            probability: finding.probability.map(thousandths),
            source: super::source(&finding.source),
            model: match &finding.source {
                Source::Rule => None,
                Source::Model(model) => Some(ModelVersion {
                    version: &model.version,
                    sha256: &model.sha256,
                }),
            },
            start_sample: finding.start.0,
            end_sample: finding.end.0,
            leads: leads
                .map(|(lead, origin)| (lead.name(), origin.name()))
                .collect(),
            evidence: Evidence {
                text: &evidence.text,
                values: evidence.values.iter().map(Value::from).collect(),
                beats: evidence.beats.iter().map(|beat| beat.0).collect(),
                by_lead: evidence
                    .attribution
                    .leads
                    .iter()
                    .map(|(lead, fall)| (lead.name(), thousandths(*fall)))
                    .collect(),
                by_part: &evidence.attribution.parts,
                prototypes: evidence
                    .prototypes
                    .iter()
                    .map(|prototype| Prototype {
                        recording: &prototype.recording,
                        labels: prototype.labels.iter().map(AsRef::as_ref).collect(),
                        distance: thousandths(prototype.distance),
                    })
                    .collect(),
            },
        }
    }
}

impl<'a> From<&'a ecg::Value> for Value<'a> {
    fn from(value: &'a ecg::Value) -> Self {
        let (above, below) = match value.limit {
            None => (None, None),
            Some(Limit::Above(limit)) => (Some(limit), None),
            Some(Limit::Below(limit)) => (None, Some(limit)),
        };
        Self {
            name: value.name,
            lead: value.lead.map(ecg::Lead::name),
            value: value.value,
            unit: value.unit,
            above,
            below,
        }
    }
}

/// Rounded to what means something.
fn thousandths(x: f32) -> f32 {
    (x * 1e3).round() / 1e3
}

/// Findings as a JSON array.
pub fn to_json<'a>(findings: impl IntoIterator<Item = &'a ecg::Finding>) -> String {
    let forms: Vec<Finding<'_>> = findings.into_iter().map(Finding::from).collect();
    // Strings and numbers only: what could fail is a map whose keys are no strings.
    serde_json::to_string(&forms).unwrap_or_else(|_| "[]".to_owned())
}

/// A finding as a JSON object.
pub(super) fn one_to_json(finding: &ecg::Finding) -> String {
    serde_json::to_string(&Finding::from(finding)).unwrap_or_else(|_| "{}".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::{Label, Lead, LeadOrigin, SampleIndex};

    #[test]
    fn a_finding_says_what_it_rests_on() {
        let finding = ecg::Finding {
            label: Label::new("long_qt", "Prolonged QT", Some(111_975_006)),
            start: SampleIndex(100),
            end: SampleIndex(2660),
            probability: None,
            source: Source::Rule,
            leads: vec![(Lead::II, LeadOrigin::Measured)],
            evidence: ecg::Evidence {
                text: "QTc 512 ms".to_owned(),
                values: vec![ecg::Value {
                    name: "qtc_ms",
                    lead: None,
                    value: 512.0,
                    unit: "ms",
                    limit: Some(Limit::Above(470.0)),
                }],
                beats: vec![SampleIndex(300)],
                ..ecg::Evidence::default()
            },
        };
        assert_eq!(
            to_json(&[finding]),
            r#"[{"name":"long_qt","text":"Prolonged QT","snomed":111975006,"probability":null,"source":"rule","start_sample":100,"end_sample":2660,"leads":{"II":"measured"},"evidence":{"text":"QTc 512 ms","values":[{"name":"qtc_ms","value":512.0,"unit":"ms","above":470.0}],"beats":[300]}}]"#
        );
    }
}
