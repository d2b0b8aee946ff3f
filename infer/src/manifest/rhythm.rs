//! What a manifest says of a model that names the rhythm of one lead.

use serde::Deserialize;

use super::At;
use crate::Error;
use crate::rhythm::{N_SAMPLES, NAMES, RATE_HZ, RhythmLabel};

/// The only layout there is.
const LAYOUT: &str = "[1, 1, wave + steps + numbers]";

/// A model that names the rhythm of one lead.
#[derive(Debug, Clone, PartialEq)]
pub struct RhythmForm {
    /// Logits are divided by this.
    pub temperature: f32,
    /// Then this is added to that of each label, in the order of [`RhythmLabel::ALL`].
    pub bias: [f32; 4],
    /// Atrial fibrillation begins at or above this calibrated probability.
    pub enter: f32,
    /// It ends below this one.
    pub leave: f32,
}

impl Form {
    /// Checks what the manifest says.
    pub(super) fn check(self, at: At<'_>) -> Result<RhythmForm, Error> {
        let (input, output) = (self.input, self.output);
        at.only("input.layout", LAYOUT, &input.layout)?;
        at.only("input.rate_hz", &RATE_HZ, &input.rate_hz)?;
        at.only("input.n_samples", &N_SAMPLES, &input.n_samples)?;
        at.only_list("input.numbers", &NAMES, &input.numbers)?;
        let labels = RhythmLabel::ALL.map(RhythmLabel::letter);
        at.only_list("output.labels", &labels, &output.labels)?;
        let limits = (output.enter, output.leave);
        at.decides(output.temperature, &output.bias, limits)?;
        Ok(RhythmForm {
            temperature: output.temperature,
            bias: output.bias,
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
    numbers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputForm {
    labels: Vec<char>,
    temperature: f32,
    bias: [f32; 4],
    enter: f32,
    leave: f32,
}
