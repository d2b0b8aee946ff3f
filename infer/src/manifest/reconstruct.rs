//! What a manifest says of a model that gives leads which were not measured.

use ecg::{Lead, SampleRate};
use serde::Deserialize;

use super::{At, WindowShape, leads};
use crate::Error;

/// The longest window a manifest may ask for, in samples: over two minutes at 2000 Hz.
const MAX_SAMPLES: usize = 1 << 18;
/// The only layouts there are. What goes in: batch of one, the leads and then, for each, 1 where it is
/// there and 0 where it is not.
const LAYOUT_IN: &str = "[1, lead + mask, sample]";
/// What comes out: batch of one, lead-major.
const LAYOUT_OUT: &str = "[1, lead, sample]";

/// A set of leads that a model was trained on, and what held-out recordings say of it there.
#[derive(Debug, Clone, PartialEq)]
pub struct LeadSet {
    /// The leads.
    pub observed: Vec<Lead>,
    /// For each lead of the output, how many of the deviations it gives make half of a band that holds 90 % of the
    /// samples of held-out recordings.
    pub band: Vec<f32>,
    /// Evenly spaced quantiles, least first, of the error that the model expects of held-out windows.
    pub expected_error: Vec<f32>,
    /// Evenly spaced quantiles, least first, of how unusual held-out windows are to it.
    pub novelty: Vec<f32>,
    /// Windows more unusual than this are not reconstructed.
    pub novelty_limit: f32,
}

/// A model that gives leads which were not measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Reconstruction {
    /// The windows it takes.
    pub window: WindowShape,
    /// The leads of the input tensor and of its output, in order; mV. Two limb leads and leads of the chest:
    /// the other limb leads follow from them.
    pub leads: Vec<Lead>,
    /// Deviations of a lead that it gives for a window, each for equally many samples.
    pub n_bands: usize,
    /// The sets of leads that it can start from.
    pub sets: Vec<LeadSet>,
}

impl Reconstruction {
    /// The largest of the sets that `there` has all leads of, the first of equals.
    pub fn set_for(&self, there: impl Fn(Lead) -> bool) -> Option<&LeadSet> {
        self.sets
            .iter()
            .filter(|set| set.observed.iter().all(|lead| there(*lead)))
            .reduce(|best, set| {
                let more = set.observed.len() > best.observed.len();
                if more { set } else { best }
            })
    }
}

impl Form {
    /// Checks what the manifest says.
    pub(super) fn check(self, at: At<'_>) -> Result<Reconstruction, Error> {
        let rate = SampleRate::new(self.window.rate_hz).map_err(|_| {
            at.refuse(
                "window.rate_hz",
                "25 to 2000",
                self.window.rate_hz.to_string(),
            )
        })?;
        let n_samples = self.window.n_samples;
        if n_samples == 0 || n_samples > MAX_SAMPLES {
            let expected = format!("1 to {MAX_SAMPLES}");
            return Err(at.refuse("window.n_samples", &expected, n_samples.to_string()));
        }
        let n_bands = self.output.n_bands;
        if n_bands == 0 || !n_samples.is_multiple_of(n_bands) {
            let expected = format!("a divisor of {n_samples}");
            return Err(at.refuse("output.n_bands", &expected, n_bands.to_string()));
        }
        for (field, expected, layout) in [
            ("input.layout", LAYOUT_IN, self.input.layout),
            ("output.layout", LAYOUT_OUT, self.output.layout),
        ] {
            if layout != expected {
                return Err(at.refuse(field, expected, layout));
            }
        }
        let leads = |field, names: &[String]| leads(at, field, names);
        let (input, output) = (
            leads("input.leads", &self.input.leads)?,
            leads("output.leads", &self.output.leads)?,
        );
        if output != input {
            let expected = "input.leads";
            return Err(at.refuse("output.leads", expected, format!("{:?}", self.output.leads)));
        }
        if let Some(lead) = input.iter().find(|lead| !Lead::INDEPENDENT.contains(lead)) {
            return Err(at.refuse(
                "input.leads",
                "none of III, aVR, aVL, aVF",
                lead.to_string(),
            ));
        }
        if self.sets.is_empty() {
            return Err(at.refuse("sets", "at least one", "none".to_owned()));
        }
        let sets = self
            .sets
            .into_iter()
            .map(|set| set.check(at, &input))
            .collect::<Result<_, _>>()?;
        Ok(Reconstruction {
            window: WindowShape { rate, n_samples },
            leads: input,
            n_bands,
            sets,
        })
    }
}

impl SetForm {
    /// Checks a set against the leads of the model.
    fn check(self, at: At<'_>, input: &[Lead]) -> Result<LeadSet, Error> {
        let refuse = |field, expected: &str, found| Err(at.refuse(field, expected, found));
        let observed = leads(at, "sets.observed", &self.observed)?;
        if let Some(lead) = observed.iter().find(|lead| !input.contains(lead)) {
            return refuse("sets.observed", "leads of input.leads", lead.to_string());
        }
        let not_negative = |x: &f32| x.is_finite() && *x >= 0.0;
        if self.band.len() != input.len() || !self.band.iter().all(not_negative) {
            let expected = format!("{} numbers from 0 on", input.len());
            return refuse("sets.band", &expected, format!("{:?}", self.band));
        }
        for (field, quantiles) in [
            ("sets.expected_error", &self.expected_error),
            ("sets.novelty", &self.novelty),
        ] {
            let finite = quantiles.iter().all(|x| x.is_finite());
            if quantiles.len() < 2 || !finite || !quantiles.is_sorted() {
                let expected = "at least two numbers in rising order";
                return refuse(field, expected, format!("{quantiles:?}"));
            }
        }
        if !self.novelty_limit.is_finite() {
            let found = self.novelty_limit.to_string();
            return refuse("sets.novelty_limit", "a number", found);
        }
        Ok(LeadSet {
            observed,
            band: self.band,
            expected_error: self.expected_error,
            novelty: self.novelty,
            novelty_limit: self.novelty_limit,
        })
    }
}

/// The part of the manifest that only this kind has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    window: WindowForm,
    input: InputForm,
    output: OutputForm,
    sets: Vec<SetForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WindowForm {
    rate_hz: f64,
    n_samples: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputForm {
    layout: String,
    leads: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputForm {
    layout: String,
    leads: Vec<String>,
    n_bands: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetForm {
    observed: Vec<String>,
    band: Vec<f32>,
    expected_error: Vec<f32>,
    novelty: Vec<f32>,
    novelty_limit: f32,
}
