//! What a manifest says of a model that names the rhythm of a pulse wave.

use serde::Deserialize;

use super::At;
use crate::Error;
use crate::pulse_rhythm::{BAND_HZ, CLIP, N_SAMPLES, PulseLabel, RATE_HZ};

/// The only layout there is.
const LAYOUT: &str = "[1, 1, sample]";

/// A model that names the rhythm of a pulse wave.
#[derive(Debug, Clone, PartialEq)]
pub struct PulseRhythmForm {
    /// Logits of labels are divided by this.
    pub temperature: f32,
    /// Then this is added to that of each label, in the order of [`PulseLabel::ALL`].
    pub bias: [f32; 6],
    /// A wave tells nothing that is usable with less than this probability.
    pub usable: f32,
    /// Atrial fibrillation begins at or above this calibrated probability.
    pub enter: f32,
    /// It ends below this one.
    pub leave: f32,
}

impl Form {
    /// Checks what the manifest says.
    pub(super) fn check(self, at: At<'_>) -> Result<PulseRhythmForm, Error> {
        let (input, output) = (self.input, self.output);
        at.only("input.layout", LAYOUT, &input.layout)?;
        at.only("input.rate_hz", &RATE_HZ, &input.rate_hz)?;
        at.only("input.n_samples", &N_SAMPLES, &input.n_samples)?;
        at.only_list("input.band_hz", &BAND_HZ, &input.band_hz)?;
        at.only("input.clip", &CLIP, &input.clip)?;
        let labels = PulseLabel::ALL.map(PulseLabel::name);
        at.only_list("output.labels", &labels, &output.labels)?;
        let limits = (output.enter, output.leave);
        at.decides(output.temperature, &output.bias, limits)?;
        if !(output.usable > 0.0 && output.usable < 1.0) {
            let found = output.usable.to_string();
            return Err(at.refuse("output.usable", "between 0 and 1", found));
        }
        Ok(PulseRhythmForm {
            temperature: output.temperature,
            bias: output.bias,
            usable: output.usable,
            enter: output.enter,
            leave: output.leave,
        })
    }
}

/// The part of a manifest that is of this kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    input: InputForm,
    output: OutputForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputForm {
    layout: String,
    rate_hz: f64,
    n_samples: usize,
    band_hz: [f64; 2],
    clip: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputForm {
    labels: Vec<String>,
    temperature: f32,
    bias: [f32; 6],
    usable: f32,
    enter: f32,
    leave: f32,
}
