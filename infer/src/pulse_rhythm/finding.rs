//! A decision as a finding, with what it rests on in words and numbers.

use ecg::{Evidence, Finding, Label, Limit, Source, Value};

use super::{PulseLabel, PulseRhythmDecision, PulseRhythmModel, PulseStretch};

/// What a finding of atrial fibrillation is labelled with. No code: a pulse wave raises a suspicion, no diagnosis.
pub const PULSE_FIBRILLATION: Label = Label::new(
    "pulse_atrial_fibrillation",
    "Irregular pulse, atrial fibrillation likely (PPG)",
    None,
);
const REGULAR: Label = Label::new("pulse_sinus_rhythm", "Pulse as in sinus rhythm (PPG)", None);
const EARLY: Label = Label::new("pulse_early_beats", "Early beats in the pulse (PPG)", None);
const FAST: Label = Label::new(
    "pulse_tachycardia",
    "Fast pulse of an arrhythmia (PPG)",
    None,
);

/// Pulse intervals vary by more than this share of their mean in an irregular rhythm.
const IRREGULAR: f32 = 0.1;
/// What is said of other rhythms is at least so likely.
const LIKELY: f32 = 0.5;

impl PulseRhythmModel {
    /// What a decision says to a person: a finding with its evidence; `None` where the wave is not usable, and where nothing
    /// is likely enough. Which chamber a fast or early beat comes from is not said.
    ///
    /// `stretch` is the one that it was decided on.
    pub fn finding(
        &self,
        decision: &PulseRhythmDecision,
        stretch: &PulseStretch,
    ) -> Option<Finding> {
        if !decision.is_usable {
            return None;
        }
        let p = |label| decision.probability(label);
        let fibrillation = p(PulseLabel::AtrialFibrillation);
        let said = [
            (REGULAR, p(PulseLabel::Sinus)),
            (
                EARLY,
                p(PulseLabel::VentricularEctopy) + p(PulseLabel::AtrialEctopy),
            ),
            (
                FAST,
                p(PulseLabel::VentricularTachycardia) + p(PulseLabel::SupraventricularTachycardia),
            ),
        ];
        let (label, probability) = if fibrillation >= self.form().enter {
            (PULSE_FIBRILLATION, fibrillation)
        } else {
            said.into_iter().find(|(_, p)| *p >= LIKELY)?
        };
        Some(Finding {
            label,
            start: decision.start,
            end: decision.end,
            probability: Some(probability),
            source: Source::Model(self.model().clone()),
            leads: Vec::new(),
            evidence: evidence(decision, stretch),
        })
    }
}

fn evidence(decision: &PulseRhythmDecision, stretch: &PulseStretch) -> Evidence {
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
    let mut parts = Vec::new();
    let pairs = stretch.pulses.iter().zip(stretch.pulses.iter().skip(1));
    #[expect(clippy::cast_possible_truncation, reason = "intervals of seconds")]
    let intervals: Vec<f32> = pairs
        .map(|(a, b)| stretch.base.seconds(b.since(*a)) as f32)
        .collect();
    let n = intervals.len() as f32;
    let mean = intervals.iter().sum::<f32>() / n;
    if intervals.len() >= 3 && mean > 0.0 {
        let squares: f32 = intervals.iter().map(|x| (x - mean) * (x - mean)).sum();
        let cv = (squares / n).sqrt() / mean;
        let irregular = cv > IRREGULAR;
        let limit = if irregular {
            Limit::Above(IRREGULAR)
        } else {
            Limit::Below(IRREGULAR)
        };
        value("pp_cv", cv, "", Some(limit));
        value("pulse_rate", 60.0 / mean, "1/min", None);
        let word = if irregular { "irregular" } else { "regular" };
        parts.push(format!("{word} pulse intervals (CV {cv:.2})"));
        parts.push(format!("{:.0}/min", 60.0 / mean));
    }
    value("usable", decision.usable, "", None);
    parts.push(decision.signal.to_string());
    Evidence {
        text: parts.join(", "),
        values,
        beats: stretch.pulses.clone(),
        ..Evidence::default()
    }
}
