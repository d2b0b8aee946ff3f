//! From twelve leads to what a classifier was trained on: its rate, its length, its filters, its scale.
//!
//! Windows come as the service cuts them, in mV, 0.5 to 40 Hz. In this order: resample; take the middle, or hold the
//! ends where the window is too short; notch; band-pass; baseline; z-score. Filters and z-scores are in f64.

mod baseline;
pub(crate) mod resample;
pub(crate) mod zero_phase;

use std::borrow::Cow;
use std::ops::Range;

use ecg::{SampleRate, TwelveLead};

use crate::manifest::{Classification, Normalise, WindowShape};
use baseline::Baseline;
use resample::Resampler;
use zero_phase::ZeroPhase;

/// A standard deviation below this is that of a flat line, mV.
const MIN_DEVIATION: f64 = 1e-6;

/// How the windows of one classifier are prepared.
#[derive(Debug, Clone)]
pub(crate) struct Prepare {
    rows: Vec<usize>,
    to: WindowShape,
    from: WindowShape,
    resampler: Resampler,
    filters: Vec<ZeroPhase>,
    baseline: Option<Baseline>,
    normalise: Normalise,
}

/// What a classifier is shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    /// `[lead, sample]`.
    pub(crate) values: Vec<f32>,
    /// The samples of each lead that are not held ends.
    pub(crate) real: Range<usize>,
}

impl Prepare {
    /// The preparation of a manifest for windows of a shape; those of another take longer.
    pub(crate) fn design(form: &Classification, from: WindowShape) -> Self {
        let rate = form.input.rate;
        let notch = form.prepare.notch_hz.map(|hz| ZeroPhase::notch(hz, rate));
        let band = form.prepare.band_hz.map(|hz| ZeroPhase::band(hz, rate));
        Self {
            rows: form.leads.iter().filter_map(|lead| lead.row()).collect(),
            to: form.input,
            from,
            resampler: resampler(from, rate),
            filters: notch.into_iter().chain(band).collect(),
            baseline: form.prepare.baseline_s.map(|s| Baseline::design(s, rate)),
            normalise: form.prepare.normalise,
        }
    }

    /// Prepares a window whose leads are all there.
    pub(crate) fn run(&self, twelve: &TwelveLead) -> Seen {
        let from = WindowShape {
            rate: twelve.rate,
            n_samples: twelve.n_samples,
        };
        let resampler = if from == self.from {
            Cow::Borrowed(&self.resampler)
        } else {
            Cow::Owned(resampler(from, self.to.rate))
        };
        let n = self.to.n_samples;
        let n_resampled = resampler.n_out();
        let (cut, before) = (
            n_resampled.saturating_sub(n) / 2,
            n.saturating_sub(n_resampled) / 2,
        );
        let real = before..before + n_resampled.min(n);
        let (mut held, mut room, mut resampled) = (Vec::new(), Vec::new(), Vec::new());
        let mut values = vec![0.0; self.rows.len() * n];
        for (row, lead) in self.rows.iter().zip(values.chunks_exact_mut(n)) {
            resampled.clear();
            let samples = &twelve.samples[row * twelve.n_samples..][..twelve.n_samples];
            resampler.run(samples, &mut held, &mut resampled);
            let middle = &resampled[cut..][..real.len()];
            if let (Some(first), Some(last)) = (middle.first(), middle.last()) {
                lead[..real.start].fill(*first);
                lead[real.clone()].copy_from_slice(middle);
                lead[real.end..].fill(*last);
            }
            for filter in &self.filters {
                filter.run(lead, &mut room);
            }
            if let Some(baseline) = self.baseline {
                baseline.run(lead, &mut room);
            }
        }
        match self.normalise {
            Normalise::Lead => values.chunks_exact_mut(n).for_each(z_score),
            Normalise::Record => z_score(&mut values),
            Normalise::None => {}
        }
        #[expect(clippy::cast_possible_truncation, reason = "what tensors hold")]
        let values = values.iter().map(|x| *x as f32).collect();
        Seen { values, real }
    }
}

fn resampler(from: WindowShape, to: SampleRate) -> Resampler {
    Resampler::design(from.rate, to, from.n_samples)
}

/// Mean 0 and deviation 1; a flat line becomes zeros.
fn z_score(values: &mut [f64]) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    let deviation = (squares / n).sqrt();
    let scale = if deviation < MIN_DEVIATION {
        0.0
    } else {
        1.0 / deviation
    };
    for x in values {
        *x = (*x - mean) * scale;
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "samples that are only moved")]
mod tests {
    use super::*;
    use crate::Manifest;
    use ecg::{LeadOrigin, SampleIndex};

    const TEXT: &str = include_str!("../training/golden/tallest.toml");

    fn twelve(n_samples: usize, value: impl Fn(usize, usize) -> f32) -> TwelveLead {
        TwelveLead {
            start: SampleIndex(0),
            end: SampleIndex(n_samples as u64),
            rate: SampleRate::new(250.0).unwrap(),
            samples: (0..12 * n_samples)
                .map(|k| value(k / n_samples, k % n_samples))
                .collect(),
            n_samples,
            origin: [LeadOrigin::Measured; 12],
            model: None,
            bands: Vec::new(),
            n_bands: 0,
            trust: None,
            withheld: None,
        }
    }

    fn prepare(text: &str, twelve: &TwelveLead) -> Seen {
        let manifest = Manifest::parse("m.toml", text).unwrap();
        let window = WindowShape {
            rate: twelve.rate,
            n_samples: 2560,
        };
        Prepare::design(manifest.classification().unwrap(), window).run(twelve)
    }

    #[test]
    fn a_shorter_input_is_the_middle_of_the_window() {
        let seen = prepare(TEXT, &twelve(2560, |row, k| (row * 10000 + k) as f32));
        assert_eq!(seen.real, 0..2500);
        assert_eq!(seen.values[0], 30.0);
        assert_eq!(seen.values[2499], 2529.0);
        assert_eq!(seen.values[11 * 2500], 110_030.0);
    }

    #[test]
    fn a_longer_input_holds_the_ends_of_the_window() {
        let seen = prepare(TEXT, &twelve(1000, |_, k| k as f32));
        assert_eq!(seen.real, 750..1750);
        assert!(seen.values[..751].iter().all(|x| *x == 0.0));
        assert_eq!(seen.values[751], 1.0);
        assert!(seen.values[1749..2500].iter().all(|x| *x == 999.0));
        let seen = prepare(TEXT, &twelve(0, |_, _| 0.0));
        assert!(seen.real.is_empty() && seen.values.iter().all(|x| *x == 0.0));
    }

    /// Of one lead: see `write_prepared` in `training/`.
    #[test]
    fn a_lead_comes_out_as_scipy_prepares_it() {
        let read = |bytes: &[u8]| -> Vec<f32> {
            let (words, _) = bytes.as_chunks::<4>();
            words.iter().map(|word| f32::from_le_bytes(*word)).collect()
        };
        let given = read(include_bytes!("../training/golden/prepared.input.f32"));
        let expected = read(include_bytes!("../training/golden/prepared.output.f32"));
        let text = TEXT
            .replace("rate_hz = 250.0", "rate_hz = 500.0")
            .replace("n_samples = 2500", "n_samples = 5000")
            .replace("leads = [\"I\", \"II\",", "leads = [\"II\", \"I\",")
            .replace(
                "normalise = \"none\"",
                "notch_hz = 50.0\nband_hz = [0.67, 40.0]\nbaseline_s = 0.4\nnormalise = \"lead\"",
            );
        let twelve = twelve(2560, |row, k| if row == 1 { given[k] } else { 0.0 });
        let found = prepare(&text, &twelve).values;
        let pairs = found.iter().zip(&expected);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{worst:e} standard deviations");
    }

    #[test]
    fn leads_are_scaled_each_for_itself_or_together_and_flat_ones_are_zero() {
        let wave = |row: usize, k: usize| match row {
            0 => 5.0,
            row => row as f32 * (k as f32 * 0.1).sin(),
        };
        let moments = |values: &[f32]| {
            let n = values.len() as f32;
            let mean = values.iter().sum::<f32>() / n;
            let squares: f32 = values.iter().map(|x| (x - mean).powi(2)).sum();
            (mean, (squares / n).sqrt())
        };
        let is_unit = |values: &[f32]| {
            let (mean, deviation) = moments(values);
            assert!(mean.abs() < 1e-4 && (deviation - 1.0).abs() < 1e-4);
        };
        for rate in ["250.0", "100.0", "500.0"] {
            let text = TEXT.replace("rate_hz = 250.0", &format!("rate_hz = {rate}"));
            let seen = |normalise: &str, more: &str| {
                let to = format!("{more}normalise = \"{normalise}\"");
                let text = text.replace("normalise = \"none\"", &to);
                prepare(&text, &twelve(2560, wave)).values
            };
            let each = seen("lead", "");
            assert!(each[..2500].iter().all(|x| *x == 0.0));
            each[2500..].chunks(2500).for_each(is_unit);
            is_unit(&seen("record", ""));
            is_unit(&seen("record", "band_hz = [0.67, 40.0]\nnotch_hz = 45.0\n"));
        }
    }
}
