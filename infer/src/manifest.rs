//! The manifest beside each ONNX file: which leads a model sees and gives, and in which form.
//!
//! A manifest is checked when it is read; whatever passed fits the model's tensors, because
//! [`Plan`](crate::model::Plan) then checks the ONNX file against it. Form: `models/*.toml`.

use ecg::{Lead, ModelRef, SampleRate};
use serde::Deserialize;

use crate::Error;

/// The longest window a manifest may ask for, in samples: over two minutes at 2000 Hz.
const MAX_SAMPLES: usize = 1 << 18;
/// The only layout there is: batch of one, lead-major.
const LAYOUT: &str = "[1, lead, sample]";

/// What a model is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Gives leads that were not measured.
    Reconstruct,
}

/// How mV become the model's numbers, and its numbers mV again.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Normalisation {
    /// The model speaks mV.
    None,
    /// The model's 1.0 is `mv` millivolts.
    Scale {
        /// mV per unit of the model.
        mv: f32,
    },
}

impl Normalisation {
    /// mV per unit of the model.
    pub(crate) fn mv_per_unit(self) -> f32 {
        match self {
            Self::None => 1.0,
            Self::Scale { mv } => mv,
        }
    }
}

/// The windows that a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowShape {
    /// Sampling rate.
    pub rate: SampleRate,
    /// Samples per lead.
    pub n_samples: usize,
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
    /// The rows of the input tensor, in order.
    pub input: Vec<Lead>,
    /// The input leads that must be there; the others hold `fill`.
    pub observed: Vec<Lead>,
    /// What stands in the rows of input leads that are not observed, in the model's units.
    pub fill: f32,
    /// The rows of the output tensor, in order.
    pub output: Vec<Lead>,
    /// mV to the model's units and back.
    pub normalisation: Normalisation,
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
        let refuse = |field, expected: &str, found: String| Error::Manifest {
            file: file.to_owned(),
            field,
            expected: expected.to_owned(),
            found,
        };
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
        for (field, layout) in [
            ("input.layout", form.input.layout),
            ("output.layout", form.output.layout),
        ] {
            if layout != LAYOUT {
                return Err(refuse(field, LAYOUT, layout));
            }
        }
        let leads = |field, names: &[String]| {
            leads(names).ok_or_else(|| {
                let expected = "1 to 12 different names of the twelve leads";
                refuse(field, expected, format!("{names:?}"))
            })
        };
        let input = leads("input.leads", &form.input.leads)?;
        let observed = leads("input.observed", &form.input.observed)?;
        let output = leads("output.leads", &form.output.leads)?;
        if let Some(lead) = observed.iter().find(|lead| !input.contains(lead)) {
            return Err(refuse(
                "input.observed",
                "leads of input.leads",
                lead.to_string(),
            ));
        }
        if !form.input.fill.is_finite() {
            return Err(refuse(
                "input.fill",
                "a number",
                form.input.fill.to_string(),
            ));
        }
        let mv = form.normalisation.mv_per_unit();
        if !mv.is_normal() || mv <= 0.0 {
            return Err(refuse(
                "normalisation.mv",
                "a positive number",
                mv.to_string(),
            ));
        }
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
            input,
            observed,
            fill: form.input.fill,
            output,
            normalisation: form.normalisation,
        })
    }
}

/// The named leads, if there is at least one and each is one of the twelve and named once.
fn leads(names: &[String]) -> Option<Vec<Lead>> {
    let mut leads = Vec::new();
    for name in names {
        let lead: Lead = name.parse().ok()?;
        if lead == Lead::Unstated || leads.contains(&lead) {
            return None;
        }
        leads.push(lead);
    }
    (!leads.is_empty()).then_some(leads)
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
    normalisation: Normalisation,
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
    observed: Vec<String>,
    fill: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OutputForm {
    layout: String,
    leads: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../models/linear-3to12.toml");

    #[test]
    fn the_shipped_manifest_reads() {
        let manifest = Manifest::parse("linear-3to12.toml", SHIPPED).unwrap();
        assert_eq!(manifest.observed, [Lead::II, Lead::V1, Lead::V5]);
        assert_eq!(
            manifest.output,
            [Lead::I, Lead::V2, Lead::V3, Lead::V4, Lead::V6]
        );
        assert_eq!(manifest.window.rate, SampleRate::new(250.0).unwrap());
        assert_eq!(manifest.window.n_samples, 2560);
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
            ("fill = 0.0", "fill = nan", "input.fill"),
            ("name = \"linear-3to12\"", "name = \"\"", "name"),
            ("file = \"", "file = \"../", "onnx.file"),
            ("sha256 = \"", "sha256 = \"zz", "onnx.sha256"),
            (
                "kind = \"none\"",
                "kind = \"scale\"\nmv = -1.0",
                "normalisation.mv",
            ),
            ("observed = [", "observed = [\"V6\", ", "input.observed"),
            ("observed = [", "observed = [\"V1\", ", "input.observed"),
            ("observed = [", "observed = [\"V9\", ", "input.observed"),
            ("leads = [\"I\", ", "leads = [\"ECG\", ", "output.leads"),
            ("[1, lead, sample]", "[1, sample, lead]", "input.layout"),
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
