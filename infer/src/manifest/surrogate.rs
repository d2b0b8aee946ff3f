//! What a manifest says of a model that draws a synthetic ECG from a pulse wave.

use serde::Deserialize;

use super::At;
use crate::Error;
use crate::pulse_rhythm::{BAND_HZ, CLIP, RATE_HZ};
use crate::surrogate::input::{N_AROUND, N_CHANNELS};
use crate::surrogate::{BEAT_RATE_HZ, BEFORE, N_BEAT};

/// The only layouts there are.
const INPUT: &str = "[1, wave + onsets + before + after, sample]";
const OUTPUT: &str = "[1, model + template, late + sample]";

/// A model that draws a synthetic ECG from a pulse wave.
#[derive(Debug, Clone, PartialEq)]
pub struct SurrogateForm {
    /// A beat is drawn so long before the onset of its pulse, s: nominal, as nobody knows it of a patient and a device.
    pub arrival_seconds: f32,
}

impl Form {
    /// Checks what the manifest says.
    pub(super) fn check(self, at: At<'_>) -> Result<SurrogateForm, Error> {
        let (input, output) = (self.input, self.output);
        at.only("input.layout", INPUT, &input.layout)?;
        at.only("input.channels", &N_CHANNELS, &input.channels)?;
        at.only("input.rate_hz", &RATE_HZ, &input.rate_hz)?;
        at.only("input.n_samples", &N_AROUND, &input.n_samples)?;
        at.only_list("input.band_hz", &BAND_HZ, &input.band_hz)?;
        at.only("input.clip", &CLIP, &input.clip)?;
        at.only("output.layout", OUTPUT, &output.layout)?;
        at.only("output.rate_hz", &BEAT_RATE_HZ, &output.rate_hz)?;
        at.only("output.n_samples", &N_BEAT, &output.n_samples)?;
        at.only("output.before", &BEFORE, &output.before)?;
        let arrival_seconds = output.arrival_seconds;
        if !(0.0..=1.0).contains(&arrival_seconds) {
            let found = arrival_seconds.to_string();
            return Err(at.refuse("output.arrival_seconds", "0 to 1", found));
        }
        Ok(SurrogateForm { arrival_seconds })
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
    channels: usize,
    rate_hz: f64,
    n_samples: usize,
    band_hz: [f64; 2],
    clip: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputForm {
    layout: String,
    rate_hz: f64,
    n_samples: usize,
    before: usize,
    arrival_seconds: f32,
}
