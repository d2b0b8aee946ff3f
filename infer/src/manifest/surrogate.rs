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
        for (field, layout, found) in [
            ("input.layout", INPUT, input.layout),
            ("output.layout", OUTPUT, output.layout),
        ] {
            if found != layout {
                return Err(at.refuse(field, layout, found));
            }
        }
        for (field, expected, found) in [
            ("input.channels", N_CHANNELS, input.channels),
            ("input.n_samples", N_AROUND, input.n_samples),
            ("output.n_samples", N_BEAT, output.n_samples),
            ("output.before", BEFORE, output.before),
        ] {
            if found != expected {
                return Err(at.refuse(field, &expected.to_string(), found.to_string()));
            }
        }
        let refuse_number = |field, expected: f64, found: f64| {
            Err(at.refuse(field, &expected.to_string(), found.to_string()))
        };
        if input.rate_hz != RATE_HZ {
            return refuse_number("input.rate_hz", RATE_HZ, input.rate_hz);
        }
        if input.clip != CLIP {
            return refuse_number("input.clip", CLIP, input.clip);
        }
        if output.rate_hz != BEAT_RATE_HZ {
            return refuse_number("output.rate_hz", BEAT_RATE_HZ, output.rate_hz);
        }
        if input.band_hz != BAND_HZ {
            let found = format!("{:?}", input.band_hz);
            return Err(at.refuse("input.band_hz", &format!("{BAND_HZ:?}"), found));
        }
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
