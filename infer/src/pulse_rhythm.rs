//! The rhythm of a stretch of a pulse wave (PPG): sinus, ectopy, tachycardia, atrial fibrillation; or that it tells nothing.
//!
//! A [`PulseRhythmModel`] is shown 10 s or more of one wave ([`input`]) and gives a calibrated probability of each
//! [`PulseLabel`], and how likely the wave is good enough to be believed. Of a longer stretch each window of 10 s is asked,
//! and the logarithms of what they say are averaged, those of usable windows counting more. A decision is a function of
//! the stretch alone. **A pulse wave shows when the heart ejects, not why**: what is said is a suspicion.

mod finding;
mod input;
mod remembered;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;

use ecg::{ModelRef, SampleIndex, SampleRate, SignalKind};

pub use finding::PULSE_FIBRILLATION;
pub(crate) use input::windows;
pub use input::{BAND_HZ, CLIP, N_SAMPLES, RATE_HZ, input};
pub use remembered::Remembered;

use crate::model::Plan;
use crate::numbers::{greatest, softmax};
use crate::rhythm::{calibrated, logits};
use crate::{Error, PulseRhythmForm};

/// A window counts for at least so much, however little usable it is.
const LEAST_WEIGHT: f32 = 0.02;

/// What the rhythm of a pulse wave is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PulseLabel {
    /// Sinus rhythm, arrhythmia of respiration included.
    Sinus,
    /// Ventricular ectopic beats.
    VentricularEctopy,
    /// Atrial ectopic beats.
    AtrialEctopy,
    /// Ventricular tachycardia.
    VentricularTachycardia,
    /// Supraventricular tachycardia.
    SupraventricularTachycardia,
    /// Atrial fibrillation, or flutter.
    AtrialFibrillation,
}

impl PulseLabel {
    /// Every label, in the order of probabilities.
    pub const ALL: [Self; 6] = [
        Self::Sinus,
        Self::VentricularEctopy,
        Self::AtrialEctopy,
        Self::VentricularTachycardia,
        Self::SupraventricularTachycardia,
        Self::AtrialFibrillation,
    ];

    /// The short word of manifests and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sinus => "sinus",
            Self::VentricularEctopy => "pvc",
            Self::AtrialEctopy => "pac",
            Self::VentricularTachycardia => "vt",
            Self::SupraventricularTachycardia => "svt",
            Self::AtrialFibrillation => "af",
        }
    }

    /// The most probable label, the first of equals, of probabilities in the order of [`ALL`](Self::ALL).
    pub fn most_probable(probabilities: &[f32; 6]) -> Self {
        Self::ALL[greatest(probabilities)]
    }

    /// Its place in [`ALL`](Self::ALL).
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for PulseLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A stretch of a pulse wave without a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct PulseStretch {
    /// The signal.
    pub signal: SignalKind,
    /// The first sample, in the record's base rate, as are all positions.
    pub start: SampleIndex,
    /// The first sample after it.
    pub end: SampleIndex,
    /// The record's base rate.
    pub base: SampleRate,
    /// The rate of `samples`.
    pub rate: SampleRate,
    /// The wave, in any unit.
    pub samples: Vec<f32>,
    /// The feet of the pulses that were found in it, in order.
    pub pulses: Vec<SampleIndex>,
    /// What was said of its windows before. Shared by the stretches of one wave, so that each window is asked once.
    pub said: Remembered,
}

/// What a model says of a window.
#[derive(Debug, Clone, Copy)]
struct WindowSaid {
    /// Logarithms of calibrated probabilities.
    logs: [f32; 6],
    /// How likely it is usable.
    usable: f32,
}

/// What a model says of a stretch.
#[derive(Debug, Clone, PartialEq)]
pub struct PulseRhythmDecision {
    /// The first sample of the stretch.
    pub start: SampleIndex,
    /// The first sample after it.
    pub end: SampleIndex,
    /// The signal that it was told from.
    pub signal: SignalKind,
    /// Calibrated, of each label in the order of [`PulseLabel::ALL`]; they add up to 1.
    pub probabilities: [f32; 6],
    /// How likely the wave is good enough to tell.
    pub usable: f32,
    /// Whether it is.
    pub is_usable: bool,
    /// The most probable label.
    pub label: PulseLabel,
}

impl PulseRhythmDecision {
    /// The probability of a label.
    pub fn probability(&self, label: PulseLabel) -> f32 {
        self.probabilities[label.index()]
    }
}

/// A model that names the rhythms of pulse waves.
#[derive(Debug, Clone)]
pub struct PulseRhythmModel {
    model: ModelRef,
    form: PulseRhythmForm,
    plan: Plan,
}

impl PulseRhythmModel {
    pub(crate) fn new(model: ModelRef, form: PulseRhythmForm, plan: Plan) -> Self {
        Self { model, form, plan }
    }

    /// Name, version and hash.
    pub fn model(&self) -> &ModelRef {
        &self.model
    }

    /// What its manifest says.
    pub fn form(&self) -> &PulseRhythmForm {
        &self.form
    }

    /// The rhythm of a stretch.
    ///
    /// # Errors
    /// [`Error::Window`] for one that is shorter than 10 s, [`Error::Rhythm`] where the model fails.
    pub fn decide(&self, stretch: &PulseStretch) -> Result<PulseRhythmDecision, Error> {
        let (mut logs, mut weights, mut usable, mut n) = ([0.0f32; 6], 0.0, 0.0, 0.0f32);
        for window in input::windows(stretch.samples.len(), stretch.rate) {
            let said = self.hear(stretch, window)?;
            let weight = said.usable.max(LEAST_WEIGHT);
            for (log, own) in logs.iter_mut().zip(said.logs) {
                *log += weight * own;
            }
            weights += weight;
            usable += said.usable;
            n += 1.0;
        }
        if n == 0.0 {
            return Err(Error::Window {
                field: "samples",
                expected: format!("{:.0} s of a pulse wave", N_SAMPLES as f64 / RATE_HZ),
                found: format!("{} at {}", stretch.samples.len(), stretch.rate),
            });
        }
        usable /= n;
        let probabilities = softmax(logs.map(|log| log / weights));
        Ok(PulseRhythmDecision {
            start: stretch.start,
            end: stretch.end,
            signal: stretch.signal,
            probabilities,
            usable,
            is_usable: usable >= self.form.usable,
            label: PulseLabel::most_probable(&probabilities),
        })
    }

    /// What is said of a window of a stretch: what was said of it before, or the model.
    fn hear(&self, stretch: &PulseStretch, window: Range<usize>) -> Result<WindowSaid, Error> {
        let after = SampleIndex((stretch.samples.len() - window.end) as u64);
        let after = stretch.rate.convert(after, stretch.base);
        let end = stretch.end.before(after.since(SampleIndex(0)));
        if let Some(said) = stretch.said.of(stretch.signal, end) {
            return Ok(said);
        }
        let said = self.ask(&input(&stretch.samples[window], stretch.rate))?;
        stretch.said.keep(stretch.signal, end, said);
        Ok(said)
    }

    fn ask(&self, window: &[f32]) -> Result<WindowSaid, Error> {
        if window.iter().all(|x| *x == 0.0) {
            // A flat line: nothing is more likely than anything else.
            return Ok(WindowSaid {
                logs: [-(6.0f32.ln()); 6],
                usable: 0.0,
            });
        }
        let logits: [f32; 7] = logits(&self.plan, &self.model, window)?;
        let [.., usable] = logits;
        let scaled = calibrated(&logits, self.form.temperature, self.form.bias);
        let most = scaled.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = scaled.iter().map(|scaled| (scaled - most).exp()).sum();
        let all = most + sum.ln();
        Ok(WindowSaid {
            logs: scaled.map(|scaled| scaled - all),
            usable: 1.0 / (1.0 + (-usable).exp()),
        })
    }
}
