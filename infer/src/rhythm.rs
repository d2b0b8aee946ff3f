//! The rhythm of a stretch of one lead: sinus, atrial fibrillation, another, or too noisy to tell.
//!
//! A [`RhythmModel`] is shown a stretch of 9 to 30.72 s, the samples of one lead and what the chain found in
//! them ([`input`]), and gives a calibrated probability of each [`RhythmLabel`]: those of the Challenge 2017 (Clifford et
//! al., Computing in Cardiology 44, 2017). Flutter is another rhythm, not fibrillation. A decision is a function of the stretch alone.

mod features;
mod finding;
mod input;
#[cfg(test)]
mod tests;

use std::fmt;

use ecg::{Lead, ModelRef, SampleIndex};

pub use features::{N_FEATURES, NAMES, features};
pub use finding::FIBRILLATION;
pub use input::{N_INPUT, N_SAMPLES, RATE_HZ, input};

use crate::model::Plan;
use crate::numbers::{greatest, softmax};
use crate::{Context, Error, RhythmForm};

/// What a rhythm is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RhythmLabel {
    /// Sinus rhythm, without much that is remarkable.
    Sinus,
    /// Atrial fibrillation.
    AtrialFibrillation,
    /// Neither: ectopy, flutter, block, a rate out of range, or something else to look at.
    Other,
    /// Too noisy to tell.
    Noisy,
}

impl RhythmLabel {
    /// Every label, in the order of probabilities.
    pub const ALL: [Self; 4] = [
        Self::Sinus,
        Self::AtrialFibrillation,
        Self::Other,
        Self::Noisy,
    ];

    /// The letter of the Challenge 2017.
    pub fn letter(self) -> char {
        match self {
            Self::Sinus => 'N',
            Self::AtrialFibrillation => 'A',
            Self::Other => 'O',
            Self::Noisy => '~',
        }
    }

    /// The label of a letter.
    pub fn from_letter(letter: &str) -> Option<Self> {
        let is = |label: &Self| letter.len() == 1 && letter.starts_with(label.letter());
        Self::ALL.into_iter().find(is)
    }

    /// The most probable label, the first of equals, of probabilities in the order of [`ALL`](Self::ALL).
    pub fn most_probable(probabilities: &[f32; 4]) -> Self {
        Self::ALL[greatest(probabilities)]
    }

    /// Its place in [`ALL`](Self::ALL).
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for RhythmLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter())
    }
}

/// What a model says of a stretch.
#[derive(Debug, Clone, PartialEq)]
pub struct RhythmDecision {
    /// The first sample of the stretch.
    pub start: SampleIndex,
    /// The first sample after it.
    pub end: SampleIndex,
    /// The lead that it was told from.
    pub lead: Lead,
    /// Calibrated, of each label in the order of [`RhythmLabel::ALL`]; they add up to 1.
    pub probabilities: [f32; 4],
    /// The most probable label.
    pub label: RhythmLabel,
    /// The numbers that it rests on beside the wave, in the order of [`NAMES`]; `NaN` where unknown.
    pub numbers: [f32; N_FEATURES],
}

impl RhythmDecision {
    /// The probability of a label.
    pub fn probability(&self, label: RhythmLabel) -> f32 {
        self.probabilities[label.index()]
    }
}

/// A model that names rhythms.
#[derive(Debug, Clone)]
pub struct RhythmModel {
    model: ModelRef,
    form: RhythmForm,
    plan: Plan,
}

impl RhythmModel {
    pub(crate) fn new(model: ModelRef, form: RhythmForm, plan: Plan) -> Self {
        Self { model, form, plan }
    }

    /// Name, version and hash.
    pub fn model(&self) -> &ModelRef {
        &self.model
    }

    /// What its manifest says.
    pub fn form(&self) -> &RhythmForm {
        &self.form
    }

    /// The rhythm of the newest [`N_SAMPLES`] of `samples`, mV at 125 Hz, of `lead`; the last of them ends with `context`,
    /// which is about the same stretch. Samples that are no number are taken for 0.
    ///
    /// # Errors
    /// [`Error::Rhythm`] where the model fails.
    pub fn decide(
        &self,
        lead: Lead,
        samples: &[f32],
        context: &Context,
    ) -> Result<RhythmDecision, Error> {
        let (values, numbers) = input(lead, samples, context);
        let probabilities = self.probabilities(&values)?;
        Ok(RhythmDecision {
            start: context.start,
            end: context.end,
            lead,
            probabilities,
            label: RhythmLabel::most_probable(&probabilities),
            numbers,
        })
    }

    /// Calibrated probabilities of an input tensor.
    fn probabilities(&self, values: &[f32]) -> Result<[f32; 4], Error> {
        let logits: [f32; 4] = logits(&self.plan, &self.model, values)?;
        let scaled = calibrated(&logits, self.form.temperature, self.form.bias);
        Ok(softmax(scaled))
    }
}

/// What a model of rhythms answers to an input tensor, `N` numbers.
///
/// # Errors
/// [`Error::Rhythm`] where it fails, or answers anything else.
pub(crate) fn logits<const N: usize>(
    plan: &Plan,
    model: &ModelRef,
    values: &[f32],
) -> Result<[f32; N], Error> {
    let failed = |reason: String| Error::Rhythm {
        model: model.name.clone(),
        reason,
    };
    let outputs = plan.run(values).map_err(failed)?;
    let logits: [f32; N] = outputs
        .first()
        .and_then(|logits| logits.as_slice().try_into().ok())
        .ok_or_else(|| failed("its output has another shape".to_owned()))?;
    match logits.iter().find(|logit| !logit.is_finite()) {
        Some(value) => Err(failed(format!("it answered {value}"))),
        None => Ok(logits),
    }
}

/// The first `N` logits, calibrated.
pub(crate) fn calibrated<const N: usize>(
    logits: &[f32],
    temperature: f32,
    bias: [f32; N],
) -> [f32; N] {
    let mut scaled = [0.0; N];
    for ((scaled, logit), bias) in scaled.iter_mut().zip(logits).zip(bias) {
        *scaled = logit / temperature + bias;
    }
    scaled
}
