//! What is usual for a patient: learnt from the first hour of signal, kept, and never changed by itself.
//!
//! One reading a minute, of whichever device the patient wears, until there are [`ENOUGH`]; then they are a
//! [`Baseline`], which is written down once and which findings are compared with from then on. A restart while it is
//! learnt starts that hour anew.

use std::collections::HashMap;
use std::sync::Arc;

use ecg::{Change, Finding, SampleIndex, SampleRate};
use infer::baseline::Baseline;
use store::PatientId;

/// Readings that a baseline is made of.
pub const ENOUGH: usize = 60;
/// Seconds of signal from one of them to the next.
const EVERY_SECONDS: f64 = 60.0;

/// What is usual, by patient.
pub type Baselines = HashMap<String, Arc<Baseline>>;

/// What is usual, as it is in the database; what cannot be read is logged and learnt again.
pub fn read(rows: Vec<(PatientId, String)>) -> Baselines {
    let by_patient = |(patient, body): (PatientId, String)| {
        let baseline = parse(&body)?;
        Some((patient.to_string(), baseline))
    };
    rows.into_iter().filter_map(by_patient).collect()
}

/// What is usual, as it is in a row.
pub fn parse(body: &str) -> Option<Arc<Baseline>> {
    match serde_json::from_str(body) {
        Ok(baseline) => Some(Arc::new(baseline)),
        Err(error) => {
            tracing::warn!(%error, "what is usual for a patient cannot be read");
            None
        }
    }
}

/// What is usual for who wears a device, or what is learnt of that so far.
#[derive(Debug, Default)]
pub struct Usual {
    known: Option<Arc<Baseline>>,
    readings: Vec<Vec<Finding>>,
    /// The end of the newest of them.
    last: Option<SampleIndex>,
}

impl Usual {
    /// What is known already.
    pub fn new(known: Option<Arc<Baseline>>) -> Self {
        Self {
            known,
            ..Self::default()
        }
    }

    /// How a finding stands to what is usual; `None` while that is learnt.
    pub fn compare(&self, finding: &Finding) -> Option<Change> {
        self.known.as_ref().map(|known| known.compare(finding))
    }

    /// Learns from a window that ends at `end`. What is to be written, as JSON, when enough has been seen.
    pub fn learn<'a>(
        &mut self,
        end: SampleIndex,
        rate: SampleRate,
        findings: impl IntoIterator<Item = &'a Finding>,
    ) -> Option<String> {
        if self.known.is_some() {
            return None;
        }
        // Another record counts from the start.
        let due = self
            .last
            .is_none_or(|last| end < last || rate.seconds(end.since(last)) >= EVERY_SECONDS);
        if !due {
            return None;
        }
        self.last = Some(end);
        self.readings.push(findings.into_iter().cloned().collect());
        if self.readings.len() < ENOUGH {
            return None;
        }
        let readings = std::mem::take(&mut self.readings);
        let baseline = Baseline::of(readings.iter().map(Vec::as_slice));
        let body = serde_json::to_string(&baseline);
        self.known = Some(Arc::new(baseline));
        body.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::{Evidence, Label, Limit, Source, Value};

    fn wide(ms: f32) -> Finding {
        Finding {
            label: Label::new("wide_qrs", "Wide QRS", None),
            start: SampleIndex(0),
            end: SampleIndex(1),
            probability: None,
            source: Source::Rule,
            leads: Vec::new(),
            evidence: Evidence {
                values: vec![Value {
                    name: "qrs_ms",
                    lead: None,
                    value: ms,
                    unit: "ms",
                    limit: Some(Limit::Above(120.0)),
                }],
                ..Evidence::default()
            },
        }
    }

    #[test]
    fn an_hour_is_learnt_once_and_comes_back_from_its_row() {
        let rate = SampleRate::new(250.0).unwrap();
        let mut usual = Usual::default();
        let mut written = Vec::new();
        // Windows each five seconds for two hours.
        for k in 1..=1440u64 {
            let qrs = 140.0 + (k % 3) as f32;
            let end = SampleIndex(k * 1250);
            assert_eq!(usual.compare(&wide(190.0)).is_some(), !written.is_empty());
            written.extend(usual.learn(end, rate, &[wide(qrs)]));
        }
        assert_eq!(written.len(), 1);
        let again = Usual::new(parse(&written[0]));
        for usual in [usual, again] {
            assert_eq!(usual.compare(&wide(141.0)), Some(Change::Unchanged));
            assert_eq!(usual.compare(&wide(175.0)), Some(Change::Worse));
            let mut other = wide(141.0);
            other.label = Label::new("long_qt", "Prolonged QT", None);
            assert_eq!(usual.compare(&other), Some(Change::New));
        }
        assert!(parse("{").is_none());
    }
}
