//! The manifest beside each ONNX file: which leads a model sees and gives, and in which form.
//!
//! A manifest is checked when it is read; whatever passed fits the model's tensors, because
//! [`Plan`](crate::model::Plan) then checks the ONNX file against it. Form: `models/*.toml`.

use ecg::{Lead, ModelRef, SampleRate};
use serde::Deserialize;

use crate::Error;

/// The longest window a manifest may ask for, in samples: over two minutes at 2000 Hz.
const MAX_SAMPLES: usize = 1 << 18;
/// The only layouts there are. What goes in: batch of one, the leads and then, for each, 1 where it is
/// there and 0 where it is not.
const LAYOUT_IN: &str = "[1, lead + mask, sample]";
/// What comes out: batch of one, lead-major.
const LAYOUT_OUT: &str = "[1, lead, sample]";

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Gives leads that were not measured.
    Reconstruct,
}

/// The windows that a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowShape {
    /// Sampling rate.
    pub rate: SampleRate,
    /// Samples per lead.
    pub n_samples: usize,
}

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

/// A checked manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Name, version and hash, as they travel with every reconstructed lead.
    pub model: ModelRef,
    /// What the model is for.
    pub kind: Kind,
    /// The licence of the weights.
    pub licence: String,
    /// What the model was trained on.
    pub training_data: String,
    /// The ONNX file, in the manifest's directory.
    pub onnx_file: String,
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

impl Manifest {
    /// Reads and checks the text of a manifest; `file` is its name for errors.
    ///
    /// # Errors
    /// [`Error::Toml`] for another form, [`Error::Manifest`] for a field outside its limits.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let form: Form = toml::from_str(text).map_err(|source| Error::Toml {
            file: file.to_owned(),
            source: Box::new(source),
        })?;
        let refuse = |field, expected: &str, found| refuse(file, field, expected, found);
        for (field, text) in [("name", &form.name), ("version", &form.version)] {
            if text.is_empty() || text.len() > 64 {
                return Err(refuse(field, "1 to 64 bytes", format!("{}", text.len())));
            }
        }
        if form.onnx.file.is_empty() || form.onnx.file.contains(['/', '\\', '\0']) {
            let expected = "a file name without a directory";
            return Err(refuse("onnx.file", expected, form.onnx.file));
        }
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if form.onnx.sha256.len() != 64 || !form.onnx.sha256.bytes().all(hex) {
            let expected = "64 lower-case hexadecimal digits";
            return Err(refuse("onnx.sha256", expected, form.onnx.sha256));
        }
        let rate = SampleRate::new(form.window.rate_hz).map_err(|_| {
            refuse(
                "window.rate_hz",
                "25 to 2000",
                form.window.rate_hz.to_string(),
            )
        })?;
        let n_samples = form.window.n_samples;
        if n_samples == 0 || n_samples > MAX_SAMPLES {
            let expected = format!("1 to {MAX_SAMPLES}");
            return Err(refuse("window.n_samples", &expected, n_samples.to_string()));
        }
        let n_bands = form.output.n_bands;
        if n_bands == 0 || !n_samples.is_multiple_of(n_bands) {
            let expected = format!("a divisor of {n_samples}");
            return Err(refuse("output.n_bands", &expected, n_bands.to_string()));
        }
        for (field, expected, layout) in [
            ("input.layout", LAYOUT_IN, form.input.layout),
            ("output.layout", LAYOUT_OUT, form.output.layout),
        ] {
            if layout != expected {
                return Err(refuse(field, expected, layout));
            }
        }
        let leads = |field, names: &[String]| leads(file, field, names);
        let (input, output) = (
            leads("input.leads", &form.input.leads)?,
            leads("output.leads", &form.output.leads)?,
        );
        if output != input {
            let expected = "input.leads";
            return Err(refuse(
                "output.leads",
                expected,
                format!("{:?}", form.output.leads),
            ));
        }
        if let Some(lead) = input.iter().find(|lead| !Lead::INDEPENDENT.contains(lead)) {
            return Err(refuse(
                "input.leads",
                "none of III, aVR, aVL, aVF",
                lead.to_string(),
            ));
        }
        if form.sets.is_empty() {
            return Err(refuse("sets", "at least one", "none".to_owned()));
        }
        let sets = form
            .sets
            .into_iter()
            .map(|set| set.check(file, &input))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            model: ModelRef {
                name: form.name,
                version: form.version,
                sha256: form.onnx.sha256,
            },
            kind: form.kind,
            licence: form.licence,
            training_data: form.training_data,
            onnx_file: form.onnx.file,
            window: WindowShape { rate, n_samples },
            leads: input,
            n_bands,
            sets,
        })
    }

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

fn refuse(file: &str, field: &'static str, expected: &str, found: String) -> Error {
    Error::Manifest {
        file: file.to_owned(),
        field,
        expected: expected.to_owned(),
        found,
    }
}

/// The named leads: at least one, each one of the twelve and named once.
fn leads(file: &str, field: &'static str, names: &[String]) -> Result<Vec<Lead>, Error> {
    let other = || {
        let expected = "1 to 12 different names of the twelve leads";
        refuse(file, field, expected, format!("{names:?}"))
    };
    let mut leads = Vec::new();
    for name in names {
        let lead: Lead = name.parse().map_err(|_| other())?;
        if lead == Lead::Unstated || leads.contains(&lead) {
            return Err(other());
        }
        leads.push(lead);
    }
    if leads.is_empty() {
        return Err(other());
    }
    Ok(leads)
}

impl SetForm {
    /// Checks a set against the leads of the model.
    fn check(self, file: &str, input: &[Lead]) -> Result<LeadSet, Error> {
        let refuse = |field, expected: &str, found| Err(refuse(file, field, expected, found));
        let observed = leads(file, "sets.observed", &self.observed)?;
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    name: String,
    version: String,
    kind: Kind,
    licence: String,
    training_data: String,
    onnx: OnnxForm,
    window: WindowForm,
    input: InputForm,
    output: OutputForm,
    sets: Vec<SetForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnnxForm {
    file: String,
    sha256: String,
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

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../models/vae-12.toml");

    #[test]
    fn the_shipped_manifest_reads() {
        use Lead::{I, II, V1, V2, V3, V4, V5, V6};
        let manifest = Manifest::parse("vae-12.toml", SHIPPED).unwrap();
        assert_eq!(manifest.leads, [I, II, V1, V2, V3, V4, V5, V6]);
        assert_eq!(manifest.window.rate, SampleRate::new(250.0).unwrap());
        assert_eq!(manifest.window.n_samples, 2560);
        let set = |there: &[Lead]| {
            let set = manifest.set_for(|lead| there.contains(&lead))?;
            Some(set.observed.clone())
        };
        assert_eq!(set(&[II, V1, V5]), Some(vec![II, V1, V5]));
        assert_eq!(set(&[V5, V1, V2, II, I]), Some(vec![I, II, V1, V5]));
        assert_eq!(set(&[II, V6]), Some(vec![II]));
        assert_eq!(set(&[V1, V5]), None);
    }

    #[test]
    fn a_field_outside_its_limits_is_named() {
        for (from, to, field) in [
            ("rate_hz = 250.0", "rate_hz = 10.0", "window.rate_hz"),
            ("n_samples = 2560", "n_samples = 0", "window.n_samples"),
            (
                "n_samples = 2560",
                "n_samples = 99999999999",
                "window.n_samples",
            ),
            ("n_bands = 160", "n_bands = 159", "output.n_bands"),
            ("name = \"vae-12\"", "name = \"\"", "name"),
            ("file = \"", "file = \"../", "onnx.file"),
            ("sha256 = \"", "sha256 = \"zz", "onnx.sha256"),
            ("observed = [", "observed = [\"aVF\", ", "sets.observed"),
            ("observed = [", "observed = [\"V9\", ", "sets.observed"),
            ("band = [", "band = [nan, ", "sets.band"),
            ("band = [", "band = [1.0, ", "sets.band"),
            ("novelty = [", "novelty = [1e9, ", "sets.novelty"),
            (
                "expected_error = [",
                "expected_error = [inf, ",
                "sets.expected_error",
            ),
            (
                "novelty_limit = ",
                "novelty_limit = nan #",
                "sets.novelty_limit",
            ),
            ("leads = [\"I\", ", "leads = [\"ECG\", ", "input.leads"),
            ("leads = [\"I\", ", "leads = [\"aVL\", ", "output.leads"),
            ("[1, lead + mask, sample]", "[1, sample]", "input.layout"),
        ] {
            let text = SHIPPED.replacen(from, to, 1);
            assert_ne!(text, SHIPPED, "{from}");
            match Manifest::parse("m.toml", &text) {
                Err(Error::Manifest { field: named, .. }) => assert_eq!(named, field),
                other => panic!("{to}: {other:?}"),
            }
        }
        for text in ["", "name = 1", "\u{0}", &format!("x = 1\n{SHIPPED}")] {
            assert!(matches!(
                Manifest::parse("m.toml", text),
                Err(Error::Toml { .. })
            ));
        }
    }
}
