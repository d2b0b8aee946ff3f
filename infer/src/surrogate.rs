//! A synthetic ECG drawn from a pulse wave (PPG): how lead II might look above it. **It is no measurement.**
//!
//! A [`SurrogateModel`] is shown 2.56 s of the wave around each pulse ([`input`]) and gives one beat of lead II, and how much
//! earlier or later than usual it was before the onset of its pulse; the beats are laid one after the other (`lay`). What a
//! pulse wave does not show (the width of QRS, ST, P waves, whether the atria fibrillate) the trace does not know: it is what
//! was usual among the patients of the training. So **a trace is a type of its own, [`Synthetic`], which nothing but a view
//! takes**: it is no block, window or strip, and no way leads from it into the chain, findings, alarms or the store.
//! A trace is a function of the stretch alone.

pub mod input;
mod lay;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use ecg::{ModelRef, SampleIndex, SampleRate};
use sha2::{Digest, Sha256};

use crate::model::{Plan, Runtime};
use crate::{Error, Kind, Manifest, PulseStretch, SurrogateForm};

pub use lay::{BEAT_RATE_HZ, BEFORE, N_BEAT, RATE_HZ};

use lay::{Beat, lay};

static RATE: LazyLock<SampleRate> =
    LazyLock::new(|| SampleRate::new(RATE_HZ).expect("a rate within the limits"));

/// No beat is laid earlier or later than by this, seconds, whatever a model says.
const MOST_LATE: f64 = 0.15;

/// A trace that looks like lead II and was not measured.
///
/// A view may show it, marked as synthetic; nothing else may take it.
#[derive(Debug, Clone, PartialEq)]
pub struct Synthetic {
    model: ModelRef,
    start: SampleIndex,
    end: SampleIndex,
    rate: SampleRate,
    millivolts: Vec<f32>,
}

impl Synthetic {
    /// What drew it.
    pub fn model(&self) -> &ModelRef {
        &self.model
    }

    /// The first sample of the pulse wave that it was drawn from, in the record's base rate.
    pub fn start(&self) -> SampleIndex {
        self.start
    }

    /// The first sample after it.
    pub fn end(&self) -> SampleIndex {
        self.end
    }

    /// The rate of the trace.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// The trace, mV; zero where no beat was drawn.
    pub fn millivolts(&self) -> &[f32] {
        &self.millivolts
    }
}

/// Whose beats are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beats {
    /// Those that the model makes.
    Model,
    /// The mean beat of the training, the same nominal time before each pulse: what the model is compared with.
    Template,
}

/// A model that draws a synthetic ECG from a pulse wave.
#[derive(Debug, Clone)]
pub struct SurrogateModel {
    model: ModelRef,
    form: SurrogateForm,
    plan: Plan,
}

impl SurrogateModel {
    pub(crate) fn new(model: ModelRef, form: SurrogateForm, plan: Plan) -> Self {
        Self { model, form, plan }
    }

    /// The same model with the weights of another ONNX file, which it is then named after by its hash alone: for an evaluation on
    /// records that these weights have not seen. tract runs it.
    ///
    /// # Errors
    /// [`Error::Onnx`] and [`Error::Manifest`] for a file that is no such model.
    pub fn with_weights(&self, onnx: &[u8]) -> Result<Self, Error> {
        let model = ModelRef {
            sha256: format!("{:x}", Sha256::digest(onnx)),
            ..self.model.clone()
        };
        let manifest = Manifest {
            onnx_file: format!("{} of other weights", model.name),
            model: model.clone(),
            licence: String::new(),
            training_data: String::new(),
            kind: Kind::Surrogate(self.form.clone()),
        };
        let plan = Plan::build(&Runtime::Tract, &manifest, onnx)?;
        Ok(Self::new(model, self.form.clone(), plan))
    }

    /// Name, version and hash.
    pub fn model(&self) -> &ModelRef {
        &self.model
    }

    /// What its manifest says.
    pub fn form(&self) -> &SurrogateForm {
        &self.form
    }

    /// The trace of a stretch.
    ///
    /// # Errors
    /// [`Error::Window`] for one that is shorter than 10 s, [`Error::Surrogate`] where the model fails.
    pub fn draw(&self, stretch: &PulseStretch, beats: Beats) -> Result<Synthetic, Error> {
        let pulses = input::pulses(stretch).ok_or_else(|| Error::Window {
            field: "samples",
            expected: format!("{:.0} s of a pulse wave", input::SECONDS),
            found: format!("{} at {}", stretch.samples.len(), stretch.rate),
        })?;
        let mut drawn = Vec::with_capacity(pulses.len());
        for pulse in &pulses {
            let made = self.ask(&pulse.seen)?;
            let row = match beats {
                Beats::Model => &made[..=N_BEAT],
                Beats::Template => &made[1 + N_BEAT..],
            };
            let (late, samples) = (f64::from(row[0]), &row[1..]);
            drawn.push(Beat {
                at: pulse.onset - f64::from(self.form.arrival_seconds)
                    + late.clamp(-MOST_LATE, MOST_LATE),
                interval: pulse.before,
                samples: samples.to_vec(),
            });
        }
        let seconds = stretch.samples.len() as f64 / stretch.rate.hz();
        Ok(Synthetic {
            model: self.model.clone(),
            start: stretch.start,
            end: stretch.end,
            rate: *RATE,
            millivolts: lay(&drawn, seconds),
        })
    }

    /// What the model says of a pulse: how late its beat is and the beat, then the same of the template.
    fn ask(&self, seen: &[f32]) -> Result<Vec<f32>, Error> {
        let failed = |reason: String| Error::Surrogate {
            model: self.model.name.clone(),
            reason,
        };
        let mut outputs = self.plan.run(seen).map_err(failed)?;
        let made = match outputs.first_mut() {
            Some(made) if made.len() == 2 * (1 + N_BEAT) => std::mem::take(made),
            _ => return Err(failed("its output has another shape".to_owned())),
        };
        match made.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(failed(format!("it answered {value}"))),
            None => Ok(made),
        }
    }
}
