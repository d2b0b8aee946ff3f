//! A decision as a finding, with what it rests on in words and numbers.

use ecg::{BeatClass, Evidence, Finding, Label, LeadOrigin, Limit, Source, Value};

use super::{NAMES, RhythmDecision, RhythmLabel, RhythmModel};
use crate::Context;

const SINUS: Label = Label::new("sinus_rhythm", "Sinus rhythm", Some(426783006));
/// What a finding of atrial fibrillation is labelled with.
pub const FIBRILLATION: Label = Label::new(
    "atrial_fibrillation",
    "Atrial fibrillation",
    Some(164889003),
);
const OTHER: Label = Label::new(
    "other_rhythm",
    "Neither sinus rhythm nor atrial fibrillation",
    None,
);

/// RR intervals vary by more than this share of their mean in an irregular rhythm.
const IRREGULAR: f32 = 0.1;
/// Where fewer than this share of the beats have a P wave, there is no atrial rhythm to be seen.
const FEW_P: f32 = 0.5;

impl RhythmModel {
    /// What a decision says to a person: a finding with its evidence; `None` where the stretch is too noisy, and where
    /// atrial fibrillation is more likely than anything else, but not likely enough.
    ///
    /// `context` is the one that it was decided on.
    pub fn finding(&self, decision: &RhythmDecision, context: &Context) -> Option<Finding> {
        let probability = decision.probability(decision.label);
        let label = match decision.label {
            RhythmLabel::Sinus => SINUS,
            RhythmLabel::AtrialFibrillation if probability >= self.form.enter => FIBRILLATION,
            RhythmLabel::Other => OTHER,
            RhythmLabel::AtrialFibrillation | RhythmLabel::Noisy => return None,
        };
        Some(Finding {
            label,
            start: decision.start,
            end: decision.end,
            probability: Some(probability),
            source: Source::Model(self.model.clone()),
            leads: vec![(decision.lead, LeadOrigin::Measured)],
            evidence: evidence(decision, context),
        })
    }
}

fn evidence(decision: &RhythmDecision, context: &Context) -> Evidence {
    let number = |name: &str| {
        let k = NAMES.iter().position(|other| *other == name)?;
        Some(decision.numbers[k]).filter(|number| number.is_finite())
    };
    let mut values = Vec::new();
    let mut value = |name, value, unit, limit| {
        values.push(Value {
            name,
            lead: None,
            value,
            unit,
            limit,
        });
    };
    let mut parts: Vec<String> = Vec::new();
    if let Some(cv) = number("rr_cv") {
        let irregular = cv > IRREGULAR;
        let limit = if irregular {
            Limit::Above(IRREGULAR)
        } else {
            Limit::Below(IRREGULAR)
        };
        value("rr_cv", cv, "", Some(limit));
        let word = if irregular { "irregular" } else { "regular" };
        parts.push(format!("{word} RR (CV {cv:.2})"));
    }
    let n = context.measurements.len();
    let n_p = context
        .measurements
        .iter()
        .filter(|m| m.p.is_some())
        .count();
    if let Some(share) = number("p") {
        let limit = (share < FEW_P).then_some(Limit::Below(FEW_P));
        value("p_share", share, "", limit);
        parts.push(if share < FEW_P {
            format!("no P in {} of {n} beats", n - n_p)
        } else {
            format!("P in {n_p} of {n} beats")
        });
    }
    let count = |class| {
        let of = context
            .beats
            .iter()
            .filter(|beat| beat.class == Some(class));
        of.count()
    };
    for (class, name, word) in [
        (BeatClass::V, "ventricular_beats", "ventricular"),
        (BeatClass::S, "supraventricular_beats", "supraventricular"),
    ] {
        let n = count(class);
        if n > 0 {
            value(name, n as f32, "", None);
            parts.push(format!("{n} {word} beats"));
        }
    }
    if let Some(rate) = number("rate") {
        value("rate", rate, "1/min", None);
        parts.push(format!("{rate:.0}/min"));
    }
    Evidence {
        text: parts.join(", "),
        values,
        beats: context.beats.iter().map(|beat| beat.r_peak).collect(),
        ..Evidence::default()
    }
}
