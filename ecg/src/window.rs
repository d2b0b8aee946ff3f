//! What the models see and say: windows of measured leads, twelve leads, and strips.

use crate::{Lead, LeadOrigin, SampleIndex, SampleRate, SignalKind};

/// Measured ECG leads over a fixed span at a model's rate: `[lead, sample]`, mV, without a gap.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Position in the record of the first sample.
    pub start: SampleIndex,
    /// Position in the record after the last sample.
    pub end: SampleIndex,
    /// Sampling rate of `samples`.
    pub rate: SampleRate,
    /// The measured leads, in the record's order.
    pub leads: Vec<Lead>,
    /// Lead-major: `samples[k * n_samples..][..n_samples]` is lead `k`, mV.
    pub samples: Vec<f32>,
    /// Samples per lead.
    pub n_samples: usize,
}

impl Window {
    /// The samples of the `k`-th lead, mV.
    ///
    /// # Panics
    /// If there is no such lead.
    pub fn lead(&self, k: usize) -> &[f32] {
        &self.samples[k * self.n_samples..(k + 1) * self.n_samples]
    }
}

/// Which model said something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelRef {
    /// The name in its manifest.
    pub name: String,
    /// The version in its manifest.
    pub version: String,
    /// SHA-256 of the ONNX file, in hexadecimal.
    pub sha256: String,
}

/// The twelve leads of one window: `[12, sample]`, mV, in the order of [`Lead::TWELVE`].
#[derive(Debug, Clone, PartialEq)]
pub struct TwelveLead {
    /// Position in the record of the first sample.
    pub start: SampleIndex,
    /// Position in the record after the last sample.
    pub end: SampleIndex,
    /// Sampling rate of `samples`.
    pub rate: SampleRate,
    /// Lead-major, mV; zeros where the origin is [`LeadOrigin::Absent`].
    pub samples: Vec<f32>,
    /// Samples per lead.
    pub n_samples: usize,
    /// Where each lead comes from.
    pub origin: [LeadOrigin; 12],
    /// The model behind the reconstructed leads, `None` where there are none.
    pub model: Option<ModelRef>,
}

impl TwelveLead {
    /// The samples of `lead`, mV; `None` for a lead that is absent or not one of the twelve.
    pub fn lead(&self, lead: Lead) -> Option<&[f32]> {
        let row = lead.row()?;
        (self.origin[row] != LeadOrigin::Absent)
            .then(|| &self.samples[row * self.n_samples..(row + 1) * self.n_samples])
    }
}

/// A stretch of signals as a person looks at it, for example around an alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct Strip {
    /// Position in the record of the first sample.
    pub start: SampleIndex,
    /// Position in the record after the last sample.
    pub end: SampleIndex,
    /// Sampling rate of every signal in it.
    pub rate: SampleRate,
    /// The signals, all of the same length.
    pub signals: Vec<StripSignal>,
    /// The model behind the reconstructed leads, `None` where there are none.
    pub model: Option<ModelRef>,
}

/// One signal of a [`Strip`].
#[derive(Debug, Clone, PartialEq)]
pub struct StripSignal {
    /// What it is.
    pub kind: SignalKind,
    /// Where it comes from.
    pub origin: LeadOrigin,
    /// mV, or arbitrary units for PPG.
    pub samples: Vec<f32>,
}
