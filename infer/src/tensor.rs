//! Leads to a model's tensors and back. **The only place where a model's layout is known.**
//!
//! In: `[1, lead + mask, sample]`, the leads of the manifest in mV, then for each of them 1 where it is there
//! and 0, with the lead at 0, where it is not. Out: the leads in mV `[1, lead, sample]`, their standard
//! deviations in mV `[1, lead, band]`, and `[1, 2]`: the error that the model expects of itself, and how
//! unusual the measured leads are to it.
//!
//! A classifier takes the leads of its manifest, prepared, in one of two orders, and gives `[1, label]` and, if it has
//! one, `[1, embedding]`.

use std::borrow::Cow;

use crate::manifest::{Classification, Kind, Layout, Reconstruction};
use crate::pulse_rhythm::{self, PulseLabel};
use crate::rhythm::{self, RhythmLabel};
use crate::surrogate;
use crate::surrogate::input::{N_AROUND, N_CHANNELS};

/// The shapes of a model's tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shapes {
    pub(crate) input: [usize; 3],
    pub(crate) outputs: Vec<Vec<usize>>,
}

/// The shapes that a manifest says.
pub(crate) fn shapes(kind: &Kind) -> Shapes {
    match kind {
        Kind::Reconstruct(form) => {
            let (n_leads, n_samples) = (form.leads.len(), form.window.n_samples);
            Shapes {
                input: [1, 2 * n_leads, n_samples],
                outputs: vec![
                    vec![1, n_leads, n_samples],
                    vec![1, n_leads, form.n_bands],
                    vec![1, 2],
                ],
            }
        }
        Kind::Classify(form) => {
            let (n_leads, n_samples) = (form.leads.len(), form.input.n_samples);
            let sizes = [Some(form.labels.len()), form.embedding];
            Shapes {
                input: match form.layout {
                    Layout::LeadSample => [1, n_leads, n_samples],
                    Layout::SampleLead => [1, n_samples, n_leads],
                },
                outputs: sizes.iter().flatten().map(|size| vec![1, *size]).collect(),
            }
        }
        Kind::Rhythm(_) => Shapes {
            input: [1, 1, rhythm::N_INPUT],
            outputs: vec![vec![1, RhythmLabel::ALL.len()]],
        },
        Kind::PulseRhythm(_) => Shapes {
            input: [1, 1, pulse_rhythm::N_SAMPLES],
            outputs: vec![vec![1, PulseLabel::ALL.len() + 1]],
        },
        Kind::Surrogate(_) => Shapes {
            input: [1, N_CHANNELS, N_AROUND],
            outputs: vec![vec![1, 2, 1 + surrogate::N_BEAT]],
        },
    }
}

/// The input tensor of a classifier from `[lead, sample]`.
pub(crate) fn lay<'a>(form: &Classification, values: &'a [f32]) -> Cow<'a, [f32]> {
    match form.layout {
        Layout::LeadSample => values.into(),
        Layout::SampleLead => {
            let n = form.input.n_samples;
            let column = |sample: usize| values[sample..].iter().step_by(n).copied();
            (0..n).flat_map(column).collect()
        }
    }
}

/// One lead of the input: its samples, mV, and which of them mean something.
pub(crate) struct Given<'a> {
    pub(crate) samples: &'a [f32],
    pub(crate) usable: &'a [bool],
}

/// The input tensor of the leads that are there, in the order of the form.
pub(crate) fn encode(form: &Reconstruction, leads: &[Option<Given<'_>>]) -> Vec<f32> {
    let n_samples = form.window.n_samples;
    let n_leads = form.leads.len();
    let mut values = vec![0.0; 2 * n_leads * n_samples];
    let (samples, masks) = values.split_at_mut(n_leads * n_samples);
    let rows = samples
        .chunks_exact_mut(n_samples)
        .zip(masks.chunks_exact_mut(n_samples));
    for ((row, mask), lead) in rows.zip(leads) {
        let Some(lead) = lead else { continue };
        let given = lead.samples.iter().zip(lead.usable);
        for ((value, mask), (sample, usable)) in row.iter_mut().zip(mask).zip(given) {
            if *usable {
                *value = *sample;
                *mask = 1.0;
            }
        }
    }
    values
}

/// What a model says of a window.
pub(crate) struct Answer {
    n_leads: usize,
    /// `[lead, sample]`, mV.
    leads: Vec<f32>,
    /// `[lead, band]`, mV.
    deviations: Vec<f32>,
    pub(crate) expected_error: f32,
    pub(crate) novelty: f32,
}

impl Answer {
    /// Reads the output tensors, which have the [`shapes`] of the manifest.
    pub(crate) fn decode(form: &Reconstruction, outputs: Vec<Vec<f32>>) -> Option<Self> {
        let [leads, deviations, score] = <[_; 3]>::try_from(outputs).ok()?;
        let [expected_error, novelty] = <[_; 2]>::try_from(score).ok()?;
        Some(Self {
            n_leads: form.leads.len(),
            leads,
            deviations,
            expected_error,
            novelty,
        })
    }

    /// The samples of the `k`-th lead, mV.
    pub(crate) fn lead(&self, k: usize) -> &[f32] {
        row(&self.leads, self.n_leads, k)
    }

    /// The standard deviations of the `k`-th lead, mV.
    pub(crate) fn deviation(&self, k: usize) -> &[f32] {
        row(&self.deviations, self.n_leads, k)
    }

    /// The first number that is none: of which lead, at which sample, and what it is. Leads that were given
    /// do not matter.
    pub(crate) fn not_finite(&self, wanted: impl Fn(usize) -> bool) -> Option<(usize, usize, f32)> {
        let bad = |value: &f32| !value.is_finite();
        for k in (0..self.n_leads).filter(|k| wanted(*k)) {
            let (lead, deviation) = (self.lead(k), self.deviation(k));
            if let Some(at) = lead.iter().position(bad) {
                return Some((k, at, lead[at]));
            }
            if let Some(at) = deviation.iter().position(bad) {
                return Some((k, at * lead.len() / deviation.len(), deviation[at]));
            }
        }
        let score = [self.expected_error, self.novelty];
        score.into_iter().find(bad).map(|value| (0, 0, value))
    }
}

fn row(values: &[f32], n_rows: usize, k: usize) -> &[f32] {
    let n = values.len() / n_rows;
    &values[k * n..(k + 1) * n]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;

    #[test]
    fn what_is_not_usable_is_masked() {
        let text = include_str!("../models/vae-12.toml")
            .replace("n_samples = 2560", "n_samples = 2")
            .replace("n_bands = 160", "n_bands = 1");
        let manifest = Manifest::parse("m.toml", &text).unwrap();
        let form = manifest.reconstruction().unwrap();
        let (i, v1) = ([1.0, 2.0], [3.0, f32::NAN]);
        let mut leads: [Option<Given<'_>>; 8] = Default::default();
        leads[0] = Some(Given {
            samples: &i,
            usable: &[true, true],
        });
        leads[2] = Some(Given {
            samples: &v1,
            usable: &[true, false],
        });
        let mut expected = vec![0.0; 32];
        expected[..2].copy_from_slice(&[1.0, 2.0]);
        expected[4] = 3.0;
        expected[16..18].copy_from_slice(&[1.0, 1.0]);
        expected[20] = 1.0;
        assert_eq!(encode(form, &leads), expected);
        let expected = Shapes {
            input: [1, 16, 2],
            outputs: vec![vec![1, 8, 2], vec![1, 8, 1], vec![1, 2]],
        };
        assert_eq!(shapes(&manifest.kind), expected);
    }

    #[test]
    fn a_number_that_is_none_is_found_where_it_matters() {
        let mut answer = Answer {
            n_leads: 2,
            leads: vec![0.0, f32::NAN, 1.0, 2.0],
            deviations: vec![0.1, 0.2],
            expected_error: 0.0,
            novelty: 0.0,
        };
        assert_eq!(answer.not_finite(|k| k == 1), None);
        assert!(matches!(answer.not_finite(|_| true), Some((0, 1, _))));
        answer.deviations[1] = f32::INFINITY;
        assert_eq!(answer.not_finite(|k| k == 1), Some((1, 0, f32::INFINITY)));
    }
}
