//! What a device sends, in order: its layout, blocks of samples, and the gaps between them.

use std::ops::Deref;
use std::sync::Arc;

use crate::{Error, SampleCount, SampleIndex, SampleRate, SignalKind};

/// One signal of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignalSpec {
    /// What it is.
    pub kind: SignalKind,
    /// Its sampling rate.
    pub rate: SampleRate,
}

/// The signals of a record, in the order in which blocks carry them.
///
/// The rate of the first signal is the record's **base rate**: every [`SampleIndex`] of the
/// record counts at it, whichever signal it speaks of. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Layout(Arc<[SignalSpec]>);

impl Layout {
    /// The most signals a record may have.
    pub const MAX_SIGNALS: usize = 16;

    /// A layout of `signals`.
    ///
    /// # Errors
    /// [`Error::Layout`] where there are none, more than [`Layout::MAX_SIGNALS`], a kind twice
    /// ([`Lead::Unstated`](crate::Lead::Unstated) included: name the leads to tell them apart), or acceleration alone.
    pub fn new(signals: &[SignalSpec]) -> Result<Self, Error> {
        if signals.is_empty() || signals.len() > Self::MAX_SIGNALS {
            return Err(Error::Layout(format!(
                "{} signals, where 1 to {} are allowed",
                signals.len(),
                Self::MAX_SIGNALS
            )));
        }
        for (k, signal) in signals.iter().enumerate() {
            if signals[..k].iter().any(|other| other.kind == signal.kind) {
                return Err(Error::Layout(format!("{} is there twice", signal.kind)));
            }
        }
        if !signals.iter().any(|signal| signal.kind.is_vital()) {
            return Err(Error::Layout(
                "acceleration alone, where an ECG lead, PPG or ABP is needed".into(),
            ));
        }
        Ok(Self(signals.into()))
    }

    /// The rate at which the record's sample indices count.
    pub fn base_rate(&self) -> SampleRate {
        self.0[0].rate
    }

    /// Whether any signal is an ECG lead.
    pub fn has_ecg(&self) -> bool {
        self.0.iter().any(|signal| signal.kind.lead().is_some())
    }
}

impl Deref for Layout {
    type Target = [SignalSpec];

    fn deref(&self) -> &[SignalSpec] {
        &self.0
    }
}

/// Contiguous samples of every signal of a record over the same span of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// Position of the first sample of the first signal.
    pub start: SampleIndex,
    /// One entry per signal of the [`Layout`], in its order; all cover the same span of time.
    pub signals: Vec<SignalBlock>,
}

impl Block {
    /// The length at the base rate.
    pub fn n_samples(&self) -> SampleCount {
        SampleCount(
            self.signals
                .first()
                .map_or(0, |signal| signal.samples.len() as u64),
        )
    }

    /// The position after the last sample.
    pub fn end(&self) -> SampleIndex {
        self.start.after(self.n_samples())
    }
}

/// The samples of one signal in a [`Block`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SignalBlock {
    /// mV for an ECG lead, arbitrary units for PPG, mmHg for ABP, g for acceleration. Always finite.
    pub samples: Vec<f32>,
    /// The device says that the electrode (or the skin contact) is off: the samples mean nothing.
    pub lead_off: bool,
}

/// Samples that never came: the half-open span `start..end` of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Gap {
    /// The first missing sample.
    pub start: SampleIndex,
    /// The first sample after the gap.
    pub end: SampleIndex,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_names_each_signal_once() {
        let spec = |name: &str| SignalSpec {
            kind: name.parse().unwrap(),
            rate: SampleRate::new(250.0).unwrap(),
        };
        assert!(Layout::new(&[]).is_err());
        assert!(Layout::new(&[spec("II"), spec("II")]).is_err());
        assert!(Layout::new(&[spec("II"); 17]).is_err());
        assert!(Layout::new(&[spec("ACC-X"), spec("ACC-Y")]).is_err());
        assert!(Layout::new(&[spec("PPG"), spec("ACC-X")]).is_ok());
        let layout = Layout::new(&[spec("II"), spec("PPG")]).unwrap();
        assert_eq!(layout.base_rate(), SampleRate::new(250.0).unwrap());
        assert!(layout.has_ecg());
    }
}
