//! The manifest beside each ONNX file: what a model is for, and what it takes and gives, in which form.
//!
//! A manifest is checked when it is read; whatever passed fits the model's tensors, because
//! [`Plan`](crate::model::Plan) then checks the ONNX file against it. Form: `models/*.toml`.

mod classify;
mod pulse_rhythm;
mod reconstruct;
mod rhythm;
mod surrogate;

use std::fmt::{Debug, Display};

use ecg::{Lead, ModelRef, SampleRate};
use serde::Deserialize;

pub use classify::{
    Activation, Classification, Example, Layout, Normalise, Platt, Preparation, Target, When,
};
pub use pulse_rhythm::PulseRhythmForm;
pub use reconstruct::{LeadSet, Reconstruction};
pub use rhythm::RhythmForm;
pub use surrogate::SurrogateForm;

use crate::Error;

/// What every manifest says; the rest belongs to its kind.
const COMMON: [&str; 6] = [
    "name",
    "version",
    "kind",
    "licence",
    "training_data",
    "onnx",
];

/// What a model is for, and what only such a model has.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Gives leads that were not measured.
    Reconstruct(Reconstruction),
    /// Says what is in twelve leads.
    Classify(Classification),
    /// Names the rhythm of one lead.
    Rhythm(RhythmForm),
    /// Names the rhythm of a pulse wave.
    PulseRhythm(PulseRhythmForm),
    /// Draws a synthetic ECG from a pulse wave.
    Surrogate(SurrogateForm),
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
    /// Name, version and hash, as they travel with everything that the model says.
    pub model: ModelRef,
    /// The licence of the weights.
    pub licence: String,
    /// What the model was trained on.
    pub training_data: String,
    /// The ONNX file, in the manifest's directory.
    pub onnx_file: String,
    /// What the model is for.
    pub kind: Kind,
}

impl Manifest {
    /// Reads and checks the text of a manifest; `file` is its name for errors.
    ///
    /// # Errors
    /// [`Error::Toml`] for another form, [`Error::Manifest`] for a field outside its limits.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let toml = |source| Error::Toml {
            file: file.to_owned(),
            source: Box::new(source),
        };
        let at = At(file);
        let mut own: toml::Table = toml::from_str(text).map_err(toml)?;
        let mut common = toml::Table::new();
        for field in COMMON {
            common.extend(own.remove_entry(field));
        }
        let form: Form = common.try_into().map_err(toml)?;
        for (field, text) in [("name", &form.name), ("version", &form.version)] {
            if text.is_empty() || text.len() > 64 {
                return Err(at.refuse(field, "1 to 64 bytes", text.len().to_string()));
            }
        }
        if form.onnx.file.is_empty() || form.onnx.file.contains(['/', '\\', '\0']) {
            let expected = "a file name without a directory";
            return Err(at.refuse("onnx.file", expected, form.onnx.file));
        }
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if form.onnx.sha256.len() != 64 || !form.onnx.sha256.bytes().all(hex) {
            let expected = "64 lower-case hexadecimal digits";
            return Err(at.refuse("onnx.sha256", expected, form.onnx.sha256));
        }
        let kind = match form.kind {
            KindForm::Reconstruct => {
                let form: reconstruct::Form = own.try_into().map_err(toml)?;
                Kind::Reconstruct(form.check(at)?)
            }
            KindForm::Classify => {
                let form: classify::Form = own.try_into().map_err(toml)?;
                Kind::Classify(form.check(at)?)
            }
            KindForm::Rhythm => {
                let form: rhythm::Form = own.try_into().map_err(toml)?;
                Kind::Rhythm(form.check(at)?)
            }
            KindForm::PulseRhythm => {
                let form: pulse_rhythm::Form = own.try_into().map_err(toml)?;
                Kind::PulseRhythm(form.check(at)?)
            }
            KindForm::Surrogate => {
                let form: surrogate::Form = own.try_into().map_err(toml)?;
                Kind::Surrogate(form.check(at)?)
            }
        };
        Ok(Self {
            model: ModelRef {
                name: form.name,
                version: form.version,
                sha256: form.onnx.sha256,
            },
            licence: form.licence,
            training_data: form.training_data,
            onnx_file: form.onnx.file,
            kind,
        })
    }

    /// What the manifest says of a model that gives leads, if it is one.
    pub fn reconstruction(&self) -> Option<&Reconstruction> {
        match &self.kind {
            Kind::Reconstruct(reconstruction) => Some(reconstruction),
            Kind::Classify(_) | Kind::Rhythm(_) | Kind::PulseRhythm(_) | Kind::Surrogate(_) => None,
        }
    }

    /// What the manifest says of a classifier, if it is one.
    pub fn classification(&self) -> Option<&Classification> {
        match &self.kind {
            Kind::Classify(classification) => Some(classification),
            Kind::Reconstruct(_) | Kind::Rhythm(_) | Kind::PulseRhythm(_) | Kind::Surrogate(_) => {
                None
            }
        }
    }
}

/// The manifest at hand, by its name.
#[derive(Clone, Copy)]
struct At<'a>(&'a str);

impl At<'_> {
    fn refuse(self, field: &'static str, expected: &str, found: String) -> Error {
        Error::Manifest {
            file: self.0.to_owned(),
            field,
            expected: expected.to_owned(),
            found,
        }
    }

    /// Checks that a field says the only thing that it can.
    fn only<F: Display + PartialEq<E>, E: Display + ?Sized>(
        self,
        field: &'static str,
        expected: &E,
        found: &F,
    ) -> Result<(), Error> {
        if found == expected {
            Ok(())
        } else {
            Err(self.refuse(field, &expected.to_string(), found.to_string()))
        }
    }

    /// The same of a list.
    fn only_list<T: Debug>(
        self,
        field: &'static str,
        expected: &[T],
        found: &(impl Debug + ?Sized),
    ) -> Result<(), Error> {
        self.only(field, &format!("{expected:?}"), &format!("{found:?}"))
    }

    /// Checks how logits become probabilities, and where atrial fibrillation begins and ends.
    fn decides(
        self,
        temperature: f32,
        bias: &[f32],
        (enter, leave): (f32, f32),
    ) -> Result<(), Error> {
        if !(0.01..=100.0).contains(&temperature) {
            let found = temperature.to_string();
            return Err(self.refuse("output.temperature", "0.01 to 100", found));
        }
        if !bias.iter().all(|bias| bias.abs() <= 20.0) {
            let expected = format!("{} numbers from -20 to 20", bias.len());
            return Err(self.refuse("output.bias", &expected, format!("{bias:?}")));
        }
        if !(enter > 0.0 && enter < 1.0) {
            return Err(self.refuse("output.enter", "between 0 and 1", enter.to_string()));
        }
        if !(leave > 0.0 && leave <= enter) {
            let expected = "above 0 and at most output.enter";
            return Err(self.refuse("output.leave", expected, leave.to_string()));
        }
        Ok(())
    }
}

/// The named leads: at least one, each one of the twelve and named once.
fn leads(at: At<'_>, field: &'static str, names: &[String]) -> Result<Vec<Lead>, Error> {
    let other = || {
        let expected = "1 to 12 different names of the twelve leads";
        at.refuse(field, expected, format!("{names:?}"))
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

/// What every manifest has.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    name: String,
    version: String,
    kind: KindForm,
    licence: String,
    training_data: String,
    onnx: OnnxForm,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KindForm {
    Reconstruct,
    Classify,
    Rhythm,
    PulseRhythm,
    Surrogate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnnxForm {
    file: String,
    sha256: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../models/vae-12.toml");

    #[test]
    fn the_shipped_manifest_reads() {
        use Lead::{I, II, V1, V2, V3, V4, V5, V6};
        let manifest = Manifest::parse("vae-12.toml", SHIPPED).unwrap();
        let form = manifest.reconstruction().unwrap();
        assert_eq!(form.leads, [I, II, V1, V2, V3, V4, V5, V6]);
        assert_eq!(form.window.rate, SampleRate::new(250.0).unwrap());
        assert_eq!(form.window.n_samples, 2560);
        let set = |there: &[Lead]| {
            let set = form.set_for(|lead| there.contains(&lead))?;
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

    #[test]
    fn a_field_of_a_classifier_outside_its_limits_is_named() {
        let classifier = include_str!("../training/golden/tallest.toml");
        for (from, to, field) in [
            ("rate_hz = 250.0", "rate_hz = 10.0", "input.rate_hz"),
            ("n_samples = 2500", "n_samples = 0", "input.n_samples"),
            ("n_samples = 2500", "n_samples = 9999999", "input.n_samples"),
            ("leads = [", "leads = [\"V1\", ", "input.leads"),
            (
                "[prepare]",
                "[prepare]\nnotch_hz = 125.0",
                "prepare.notch_hz",
            ),
            ("[prepare]", "[prepare]\nnotch_hz = nan", "prepare.notch_hz"),
            (
                "[prepare]",
                "[prepare]\nband_hz = [40.0, 0.67]",
                "prepare.band_hz",
            ),
            (
                "[prepare]",
                "[prepare]\nband_hz = [0.67, 130.0]",
                "prepare.band_hz",
            ),
            (
                "[prepare]",
                "[prepare]\nbaseline_s = 0.0",
                "prepare.baseline_s",
            ),
            (
                "[prepare]",
                "[prepare]\nbaseline_s = inf",
                "prepare.baseline_s",
            ),
            ("embedding = 12", "embedding = 0", "output.embedding"),
            ("embedding = 12", "embedding = 11", "prototypes.embedding"),
            ("embedding = 12", "", "prototypes"),
            (
                "embedding = [0.1",
                "embedding = [inf",
                "prototypes.embedding",
            ),
            (
                "recording = \"tallest/II\"",
                "recording = \"\"",
                "prototypes.recording",
            ),
            ("name = \"tall_v1\"", "name = \"\"", "labels.name"),
            ("name = \"tall_v1\"", "name = \"even\"", "labels.name"),
            ("text = \"", "text = \"\" #", "labels.text"),
            (
                "calibration = [1.0",
                "calibration = [-1.0",
                "labels.calibration",
            ),
            (
                "reconstructed = [0.5",
                "reconstructed = [nan",
                "labels.calibration_reconstructed",
            ),
            ("threshold = 0.5", "threshold = 1.5", "labels.threshold"),
            ("conformal = 0.3", "conformal = nan", "labels.conformal"),
        ] {
            let text = classifier.replacen(from, to, 1);
            assert_ne!(text, classifier, "{from}");
            match Manifest::parse("m.toml", &text) {
                Err(Error::Manifest { field: named, .. }) => assert_eq!(named, field),
                other => panic!("{to}: {other:?}"),
            }
        }
        for (from, to) in [
            ("when = \"window\"", "when = \"always\""),
            ("normalise = \"none\"", "normalise = \"z\""),
            ("activation = \"sigmoid\"", "activation = \"tanh\""),
            ("[1, lead, sample]", "[lead, sample]"),
            ("kind = \"classify\"", "kind = \"reconstruct\""),
            ("kind = \"classify\"", "kind = \"guess\""),
            ("threshold = 0.5", "threshold = 0.5\ncolour = 1"),
            ("threshold = 0.5", ""),
        ] {
            let text = classifier.replacen(from, to, 1);
            assert_ne!(text, classifier, "{from}");
            match Manifest::parse("m.toml", &text) {
                Err(Error::Toml { .. }) => {}
                other => panic!("{to}: {other:?}"),
            }
        }
    }
}
