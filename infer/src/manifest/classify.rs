//! What a manifest says of a classifier: when it runs, what it is shown, and what its numbers mean.

use ecg::{Label, Lead, SampleRate};
use serde::Deserialize;

use super::{At, WindowShape, leads};
use crate::Error;

/// The longest input, in samples: half a minute at 2000 Hz.
const MAX_SAMPLES: usize = 1 << 16;
/// The most labels.
const MAX_LABELS: usize = 1 << 12;
/// The most numbers of an embedding.
const MAX_EMBEDDING: usize = 1 << 12;

/// The longest span of a running median, s.
const MAX_BASELINE_S: f64 = 5.0;

/// When a classifier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// On every window.
    Window,
    /// On the strips of alarms: one that is too slow for every window.
    Alarm,
    /// When a person asks.
    Request,
}

/// How the input tensor lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Layout {
    /// Batch of one, lead-major.
    #[serde(rename = "[1, lead, sample]")]
    LeadSample,
    /// Batch of one, sample-major.
    #[serde(rename = "[1, sample, lead]")]
    SampleLead,
}

/// Over what a z-score is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normalise {
    /// Over each lead.
    Lead,
    /// Over all leads together.
    Record,
    /// The model takes mV.
    None,
}

/// What is to be done with the first output to make probabilities of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// Each label for itself: the output is logits.
    Sigmoid,
    /// One label of all: the output is logits.
    Softmax,
    /// Nothing: the output is probabilities.
    None,
}

/// What is done to a window before a classifier sees it, in this order, after resampling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preparation {
    /// A notch at this frequency, without delay, Hz.
    pub notch_hz: Option<f64>,
    /// A band-pass between these frequencies, without delay, Hz.
    pub band_hz: Option<[f64; 2]>,
    /// Take away the running median over so many seconds.
    pub baseline_s: Option<f64>,
    /// Over what the z-score is taken.
    pub normalise: Normalise,
}

/// `probability = sigmoid(slope * logit + offset)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Platt {
    /// What the logit is multiplied by; positive.
    pub slope: f32,
    /// What is added.
    pub offset: f32,
}

/// A label that a classifier gives, and what its probability means.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// What it says.
    pub label: Label,
    /// From logit to probability.
    pub calibration: Platt,
    /// The same where leads of the chest are reconstructed.
    pub calibration_reconstructed: Platt,
    /// It is a finding from this probability on.
    pub threshold: f32,
    /// From this probability on it belongs to the set that holds the truth nine times out of ten.
    pub conformal: Option<f32>,
}

/// A recording of the training data and where it lies in the space of a classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Its database and name.
    pub recording: String,
    /// What it is labelled with.
    pub labels: Vec<String>,
    /// Where it lies; never all zeros.
    pub embedding: Vec<f32>,
}

/// A model that says what is in twelve leads.
#[derive(Debug, Clone, PartialEq)]
pub struct Classification {
    /// When it runs.
    pub when: When,
    /// How its input lies.
    pub layout: Layout,
    /// The leads of its input, in order.
    pub leads: Vec<Lead>,
    /// The rate and length of its input; a shorter one than the window takes the middle.
    pub input: WindowShape,
    /// What is done before.
    pub prepare: Preparation,
    /// What is to be done with its first output, `[1, label]`.
    pub activation: Activation,
    /// The size of its second output, `[1, embedding]`, if there is one.
    pub embedding: Option<usize>,
    /// The labels, in the order of its output.
    pub labels: Vec<Target>,
    /// Recordings to compare with.
    pub examples: Vec<Example>,
}

impl Form {
    /// Checks what the manifest says.
    pub(super) fn check(self, at: At<'_>) -> Result<Classification, Error> {
        let rate = SampleRate::new(self.input.rate_hz).map_err(|_| {
            let found = self.input.rate_hz.to_string();
            at.refuse("input.rate_hz", "25 to 2000", found)
        })?;
        let n_samples = self.input.n_samples;
        if n_samples == 0 || n_samples > MAX_SAMPLES {
            let expected = format!("1 to {MAX_SAMPLES}");
            return Err(at.refuse("input.n_samples", &expected, n_samples.to_string()));
        }
        let leads = leads(at, "input.leads", &self.input.leads)?;
        let prepare = self.prepare.check(at, rate)?;
        let embedding = self.output.embedding;
        if let Some(size) = embedding.filter(|size| *size == 0 || *size > MAX_EMBEDDING) {
            let expected = format!("1 to {MAX_EMBEDDING}");
            return Err(at.refuse("output.embedding", &expected, size.to_string()));
        }
        let n_labels = self.labels.len();
        if n_labels == 0 || n_labels > MAX_LABELS {
            let expected = format!("1 to {MAX_LABELS}");
            return Err(at.refuse("labels", &expected, n_labels.to_string()));
        }
        let mut labels: Vec<Target> = Vec::with_capacity(n_labels);
        for form in self.labels {
            let target = form.check(at)?;
            let name = &target.label.name;
            if labels.iter().any(|other| other.label.name == *name) {
                let found = format!("{name} a second time");
                return Err(at.refuse("labels.name", "a name of its own", found));
            }
            labels.push(target);
        }
        let check = |form: PrototypeForm| form.check(at, embedding);
        let examples = self
            .prototypes
            .into_iter()
            .map(check)
            .collect::<Result<_, _>>()?;
        Ok(Classification {
            when: self.run.when,
            layout: self.input.layout,
            leads,
            input: WindowShape { rate, n_samples },
            prepare,
            activation: self.output.activation,
            embedding,
            labels,
            examples,
        })
    }
}

impl PrepareForm {
    fn check(self, at: At<'_>, rate: SampleRate) -> Result<Preparation, Error> {
        let half = rate.hz() / 2.0;
        let within = |hz: f64| hz > 0.0 && hz < half;
        if let Some(hz) = self.notch_hz.filter(|hz| !within(*hz)) {
            let expected = format!("above 0 and below {half}, half of input.rate_hz");
            return Err(at.refuse("prepare.notch_hz", &expected, hz.to_string()));
        }
        let band = |[low, high]: &[f64; 2]| within(*low) && within(*high) && low < high;
        if let Some(hz) = self.band_hz.filter(|hz| !band(hz)) {
            let expected = format!("[low, high], above 0 and below {half}, half of input.rate_hz");
            return Err(at.refuse("prepare.band_hz", &expected, format!("{hz:?}")));
        }
        let span = |seconds: &f64| *seconds > 0.0 && *seconds <= MAX_BASELINE_S;
        if let Some(seconds) = self.baseline_s.filter(|seconds| !span(seconds)) {
            let expected = format!("above 0, at most {MAX_BASELINE_S}");
            return Err(at.refuse("prepare.baseline_s", &expected, seconds.to_string()));
        }
        Ok(Preparation {
            notch_hz: self.notch_hz,
            band_hz: self.band_hz,
            baseline_s: self.baseline_s,
            normalise: self.normalise,
        })
    }
}

impl LabelForm {
    fn check(self, at: At<'_>) -> Result<Target, Error> {
        for (field, text, limit) in [
            ("labels.name", &self.name, 64),
            ("labels.text", &self.text, 256),
        ] {
            if text.is_empty() || text.len() > limit {
                let expected = format!("1 to {limit} bytes");
                return Err(at.refuse(field, &expected, text.len().to_string()));
            }
        }
        let platt = |field, values: [f32; 2]| {
            let [slope, offset] = values;
            if slope > 0.0 && slope.is_finite() && offset.is_finite() {
                return Ok(Platt { slope, offset });
            }
            let expected = "[slope, offset], the slope above 0";
            Err(at.refuse(field, expected, format!("{values:?}")))
        };
        let calibration = platt("labels.calibration", self.calibration)?;
        let calibration_reconstructed = match self.calibration_reconstructed {
            Some(values) => platt("labels.calibration_reconstructed", values)?,
            None => calibration,
        };
        for (field, value) in [
            ("labels.threshold", Some(self.threshold)),
            ("labels.conformal", self.conformal),
        ] {
            if let Some(value) = value.filter(|value| !(0.0..=1.0).contains(value)) {
                return Err(at.refuse(field, "0 to 1", value.to_string()));
            }
        }
        Ok(Target {
            label: Label {
                name: self.name.into(),
                text: self.text.into(),
                snomed: self.snomed,
            },
            calibration,
            calibration_reconstructed,
            threshold: self.threshold,
            conformal: self.conformal,
        })
    }
}

impl PrototypeForm {
    fn check(self, at: At<'_>, embedding: Option<usize>) -> Result<Example, Error> {
        let Some(size) = embedding else {
            let found = self.recording;
            return Err(at.refuse("prototypes", "none without output.embedding", found));
        };
        if self.recording.is_empty() || self.recording.len() > 256 {
            let found = self.recording.len().to_string();
            return Err(at.refuse("prototypes.recording", "1 to 256 bytes", found));
        }
        let finite = self.embedding.iter().all(|x| x.is_finite());
        if self.embedding.len() != size || !finite || self.embedding.iter().all(|x| *x == 0.0) {
            let expected = format!("{size} numbers, not all 0");
            let found = format!("{} of {}", self.embedding.len(), self.recording);
            return Err(at.refuse("prototypes.embedding", &expected, found));
        }
        Ok(Example {
            recording: self.recording,
            labels: self.labels,
            embedding: self.embedding,
        })
    }
}

/// The part of the manifest that only this kind has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    run: RunForm,
    input: InputForm,
    prepare: PrepareForm,
    output: OutputForm,
    labels: Vec<LabelForm>,
    #[serde(default)]
    prototypes: Vec<PrototypeForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunForm {
    when: When,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputForm {
    layout: Layout,
    leads: Vec<String>,
    rate_hz: f64,
    n_samples: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrepareForm {
    notch_hz: Option<f64>,
    band_hz: Option<[f64; 2]>,
    baseline_s: Option<f64>,
    normalise: Normalise,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputForm {
    activation: Activation,
    embedding: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelForm {
    name: String,
    text: String,
    snomed: Option<u64>,
    calibration: [f32; 2],
    calibration_reconstructed: Option<[f32; 2]>,
    threshold: f32,
    conformal: Option<f32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PrototypeForm {
    recording: String,
    labels: Vec<String>,
    embedding: Vec<f32>,
}
