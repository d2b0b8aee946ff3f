//! What the models see and say: windows of measured leads, twelve leads, and strips.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use crate::{Error, Lead, LeadOrigin, SampleIndex, SampleRate, SignalKind};

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
    /// Where a lead says nothing (electrode off, flat, saturated, noise), in order.
    pub unusable: Vec<Unusable>,
}

/// Samples of one lead of a [`Window`] that nothing should be concluded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// The lead, by its place among those of the window.
    pub lead: usize,
    /// The samples.
    pub samples: Range<usize>,
}

impl Window {
    /// The samples of the `k`-th lead, mV.
    ///
    /// # Panics
    /// If there is no such lead.
    pub fn lead(&self, k: usize) -> &[f32] {
        &self.samples[k * self.n_samples..(k + 1) * self.n_samples]
    }

    /// The samples of `lead`, mV; `None` if it is not there.
    pub fn of(&self, lead: Lead) -> Option<&[f32]> {
        let k = self.leads.iter().position(|other| *other == lead)?;
        Some(self.lead(k))
    }

    /// The window of those of `leads` that are there, in their order, with what is known of them.
    #[must_use]
    pub fn only(&self, leads: &[Lead]) -> Self {
        let place = |lead: &Lead| self.leads.iter().position(|other| other == lead);
        let kept: Vec<usize> = leads.iter().filter_map(place).collect();
        let hole = |(lead, k): (usize, &usize)| {
            let of = self.unusable.iter().filter(move |hole| hole.lead == *k);
            of.map(move |hole| Unusable {
                lead,
                samples: hole.samples.clone(),
            })
            .collect::<Vec<_>>()
        };
        Self {
            leads: kept.iter().map(|k| self.leads[*k]).collect(),
            samples: kept.iter().flat_map(|k| self.lead(*k)).copied().collect(),
            unusable: kept.iter().enumerate().flat_map(hole).collect(),
            ..*self
        }
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
    /// Half the width of the 90 % band of each reconstructed lead, mV: `[12, n_bands]`, each value for
    /// `n_samples / n_bands` samples in a row; zero where a lead is not reconstructed.
    pub bands: Vec<f32>,
    /// Values of a lead in `bands`; zero where no lead is reconstructed.
    pub n_bands: usize,
    /// How far the reconstructed leads can be trusted, `None` where there are none.
    pub trust: Option<Trust>,
    /// Why nothing was reconstructed though leads are missing and there is a model.
    pub withheld: Option<Withheld>,
}

/// What a model says of its own answer to one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trust {
    /// 0 (do not trust) to 1: the share of validation windows whose reconstruction is expected to be worse than this.
    pub score: f32,
    /// 0 to 1: the share of validation windows whose measured leads were less unusual than these.
    pub novelty: f32,
}

/// Why leads that are missing were not reconstructed. A finding, not a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Withheld {
    /// The leads at hand do not include any set that the model was trained on.
    TooFewLeads,
    /// They would, were their signals not flat, saturated or off for most of the window.
    Unusable,
    /// The measured leads look like nothing that the model was trained on.
    Unfamiliar,
    /// The model failed.
    Failed,
    /// There was no time: more windows came than could be read.
    Overloaded,
}

impl Withheld {
    /// Every reason.
    pub const ALL: [Withheld; 5] = [
        Self::TooFewLeads,
        Self::Unusable,
        Self::Unfamiliar,
        Self::Failed,
        Self::Overloaded,
    ];

    /// The word for it in rows, labels and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Withheld::TooFewLeads => "too_few_leads",
            Withheld::Unusable => "unusable",
            Withheld::Unfamiliar => "unfamiliar",
            Withheld::Failed => "failed",
            Withheld::Overloaded => "overloaded",
        }
    }
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Withheld {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.name() == name)
            .ok_or_else(|| Error::Word {
                what: "reason for withholding",
                value: name.to_owned(),
            })
    }
}

impl TwelveLead {
    /// The samples of `lead`, mV; `None` for a lead that is absent or not one of the twelve.
    pub fn lead(&self, lead: Lead) -> Option<&[f32]> {
        let row = lead.row()?;
        (self.origin[row] != LeadOrigin::Absent)
            .then(|| &self.samples[row * self.n_samples..(row + 1) * self.n_samples])
    }

    /// Half the width of the 90 % band of `lead` over the window, mV; `None` for a lead that is not reconstructed.
    pub fn band(&self, lead: Lead) -> Option<&[f32]> {
        let row = lead.row()?;
        (self.origin[row] == LeadOrigin::Reconstructed)
            .then(|| &self.bands[row * self.n_bands..(row + 1) * self.n_bands])
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
    /// How far the reconstructed leads can be trusted, `None` where there are none.
    pub trust: Option<Trust>,
    /// Why nothing was reconstructed though leads are missing and there is a model.
    pub withheld: Option<Withheld>,
}

/// One signal of a [`Strip`].
#[derive(Debug, Clone, PartialEq)]
pub struct StripSignal {
    /// What it is.
    pub kind: SignalKind,
    /// Where it comes from.
    pub origin: LeadOrigin,
    /// In the unit of its [`SignalKind`].
    pub samples: Vec<f32>,
    /// Half the width of the 90 % band, mV, each value for `samples.len() / band.len()` samples in a row; empty
    /// for a signal that is not reconstructed.
    pub band: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_are_kept_in_the_order_asked_with_what_is_known_of_them() {
        let hole = |lead, samples| Unusable { lead, samples };
        let window = Window {
            start: SampleIndex(0),
            end: SampleIndex(2),
            rate: SampleRate::new(250.0).unwrap(),
            leads: vec![Lead::I, Lead::II, Lead::V1],
            samples: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            n_samples: 2,
            unusable: vec![hole(1, 0..1), hole(2, 1..2)],
        };
        let kept = window.only(&[Lead::V1, Lead::V5, Lead::I]);
        assert_eq!(kept.leads, [Lead::V1, Lead::I]);
        assert_eq!(kept.samples, [5.0, 6.0, 1.0, 2.0]);
        assert_eq!(kept.unusable, [hole(0, 1..2)]);
    }
}
