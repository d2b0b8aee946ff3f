//! The one error of this crate, its variants named by what fails: loading, a window, a run.

use ecg::TwelveLead;

/// A model or a window was refused, or a model failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of a model cannot be read. Give up.
    #[error("cannot read {file}")]
    Read {
        /// The file or directory.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A manifest is not TOML of the expected form. Give up.
    #[error("{file} is no manifest")]
    Toml {
        /// The manifest.
        file: String,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A manifest contradicts its limits, its ONNX file or its neighbours. Give up.
    #[error("{file}: {field}: expected {expected}, found {found}")]
    Manifest {
        /// The manifest or ONNX file.
        file: String,
        /// The field of the manifest.
        field: &'static str,
        /// What the field must be, or what the manifest says.
        expected: String,
        /// What it is.
        found: String,
    },
    /// An ONNX file cannot be turned into a plan. Give up.
    #[error("{file}: the model cannot be loaded: {reason}")]
    Onnx {
        /// The ONNX file.
        file: String,
        /// The loader's reason.
        reason: String,
    },
    /// A window is not what the models were made for. Discard it.
    #[error("window refused: {field}: expected {expected}, found {found}")]
    Window {
        /// What is wrong about it.
        field: &'static str,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A setting is outside its limits, or no number. Give up.
    #[error("{key} is {value}, where {low} to {high} is allowed")]
    Setting {
        /// The key.
        key: &'static str,
        /// What it is set to.
        value: f32,
        /// The least allowed.
        low: f32,
        /// The most allowed.
        high: f32,
    },
    /// A model failed on a window. `leads` is what stands without it.
    #[error("model {model} failed: {reason}")]
    Run {
        /// The model's name.
        model: String,
        /// Why.
        reason: String,
        /// Measured and derived leads; what the model should have given is absent.
        leads: Box<TwelveLead>,
    },
    /// A model answered with a value that is no number. `leads` is what stands without it.
    #[error("model {model} gave {value} mV at sample {sample} of lead {lead}")]
    NotFinite {
        /// The model's name.
        model: String,
        /// The lead.
        lead: ecg::Lead,
        /// The sample of the window.
        sample: usize,
        /// Infinity, or not a number.
        value: f32,
        /// Measured and derived leads; what the model should have given is absent.
        leads: Box<TwelveLead>,
    },
    /// A classifier failed on a window, or answered with a value that is no number. Go on without it.
    #[error("classifier {model} failed: {reason}")]
    Classify {
        /// The model's name.
        model: String,
        /// Why.
        reason: String,
    },
    /// A rhythm model failed, or answered with a value that is no number. Go on without its decision.
    #[error("rhythm model {model} failed: {reason}")]
    Rhythm {
        /// The model's name.
        model: String,
        /// Why.
        reason: String,
    },
    /// A model of synthetic traces failed, or answered with a value that is no number. Show none.
    #[error("surrogate model {model} failed: {reason}")]
    Surrogate {
        /// The model's name.
        model: String,
        /// Why.
        reason: String,
    },
    /// A job panicked; its thread lives on. A bug worth a report.
    #[error("inference panicked: {reason}")]
    Panic {
        /// The panic's message.
        reason: String,
    },
    /// The operating system refused a thread.
    #[error("cannot start an inference thread")]
    Thread(#[source] std::io::Error),
}

impl Error {
    /// The leads that stand without the model that failed, where it was a model that failed.
    pub fn leads(&self) -> Option<&TwelveLead> {
        match self {
            Self::Run { leads, .. } | Self::NotFinite { leads, .. } => Some(leads),
            _ => None,
        }
    }
}

/// What a caught panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
