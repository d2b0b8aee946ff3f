//! Whether there is mains hum, and of which frequency.
//!
//! Judged on segments of two seconds **aligned on the absolute index**, each on its own: what is
//! said of a stretch of record depends on one segment alone, not on where the stream began.

use std::sync::Arc;

use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftPlanner};

use crate::config::Mains;

/// Length of a segment, about.
const SEGMENT_SECONDS: f64 = 2.0;

/// Segments are a multiple of this many samples, a length that transforms well.
const FACTOR: f64 = 50.0;

/// Hum is there if its power is this many times that of the neighbouring frequencies...
const PROMINENCE: f32 = 10.0;

/// ...and its amplitude, in the unit of the signal (mV), is no less than this.
const AMPLITUDE: f32 = 0.015;

/// Finds the mains frequency of one signal.
pub struct MainsFinder {
    rate: f64,
    fft: Arc<dyn Fft<f32>>,
    window: Vec<f32>,
    segment: Vec<f32>,
    spectrum: Vec<Complex32>,
    scratch: Vec<Complex32>,
    /// Whether the segment is being taken in from its first sample on.
    aligned: bool,
}

impl MainsFinder {
    /// For a signal at `rate` Hz.
    pub fn new(rate: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number"
        )]
        let n = (rate * SEGMENT_SECONDS / FACTOR).round().max(1.0) as usize * FACTOR as usize;
        let fft = FftPlanner::new().plan_fft_forward(n);
        let scratch = vec![Complex32::default(); fft.get_inplace_scratch_len()];
        let hann = |k: usize| 0.5 - 0.5 * (std::f32::consts::TAU * k as f32 / n as f32).cos();
        Self {
            rate,
            fft,
            window: (0..n).map(hann).collect(),
            segment: Vec::with_capacity(n),
            spectrum: vec![Complex32::default(); n],
            scratch,
            aligned: false,
        }
    }

    /// Forgets the segment begun.
    pub fn reset(&mut self) {
        self.segment.clear();
        self.aligned = false;
    }

    /// Takes in the sample with the absolute `index`. At the end of a segment says which hum is
    /// in it: [`Mains::Off`] for none.
    #[inline]
    pub fn push(&mut self, index: u64, sample: f32) -> Option<Mains> {
        if !self.aligned {
            if !index.is_multiple_of(self.window.len() as u64) {
                return None;
            }
            self.aligned = true;
        }
        self.segment.push(sample);
        (self.segment.len() == self.window.len()).then(|| self.judge())
    }

    fn judge(&mut self) -> Mains {
        let n = self.window.len();
        let mean = self.segment.iter().sum::<f32>() / n as f32;
        for ((bin, sample), weight) in self
            .spectrum
            .iter_mut()
            .zip(&self.segment)
            .zip(&self.window)
        {
            *bin = Complex32::new((sample - mean) * weight, 0.0);
        }
        self.segment.clear();
        self.fft
            .process_with_scratch(&mut self.spectrum, &mut self.scratch);
        let [fifty, sixty] = [50.0, 60.0].map(|hz| self.hum(hz));
        match (fifty, sixty) {
            (None, None) => Mains::Off,
            (Some(a), Some(b)) if b > a => Mains::Hz60,
            (None, Some(_)) => Mains::Hz60,
            (Some(_), _) => Mains::Hz50,
        }
    }

    /// The amplitude of the hum at `hz`, `None` where nothing stands out.
    fn hum(&self, hz: f64) -> Option<f32> {
        if hz + 6.0 > self.rate / 2.0 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive frequency below Nyquist"
        )]
        let bin = |hz: f64| (hz * self.window.len() as f64 / self.rate).round() as usize;
        let power = |low: f64, high: f64| {
            let bins = &self.spectrum[bin(low)..=bin(high)];
            (
                bins.iter().map(Complex32::norm_sqr).sum::<f32>(),
                bins.len() as f32,
            )
        };
        let (peak, width) = power(hz - 1.0, hz + 1.0);
        let (below, n_below) = power(hz - 6.0, hz - 2.0);
        let (above, n_above) = power(hz + 2.0, hz + 6.0);
        let floor = (below + above) / (n_below + n_above) * width;
        // A sine of amplitude A leaves A^2 n^2 * 3/32 in the main lobe of a Hann window.
        let n = self.window.len() as f32;
        let amplitude = (peak * 32.0 / 3.0).sqrt() / n;
        (peak > PROMINENCE * floor && amplitude > AMPLITUDE).then_some(amplitude)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        (self.window.len() + self.segment.capacity()) * size_of::<f32>()
            + (self.spectrum.len() + self.scratch.len()) * size_of::<Complex32>()
            // The plan's twiddle factors, about as many as the transform is long.
            + self.window.len() * size_of::<Complex32>()
    }
}

impl std::fmt::Debug for MainsFinder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MainsFinder")
            .field("rate", &self.rate)
            .field("n_samples", &self.segment.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(rate: f64, start: u64, signal: impl Fn(f64) -> f64) -> Vec<Mains> {
        let mut finder = MainsFinder::new(rate);
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        (start..start + 4000)
            .filter_map(|n| finder.push(n, signal(n as f64 / rate) as f32))
            .collect()
    }

    #[test]
    fn hum_is_found_and_told_apart() {
        let tau = std::f64::consts::TAU;
        // A pulse train of 1.2 Hz has harmonics everywhere, hum at 48 and 60 Hz included.
        let train = |t: f64| (-((t * 1.2).fract() - 0.5).powi(2) / 0.0004).exp();
        for rate in [250.0, 333.3, 360.0] {
            let hum = |hz: f64| move |t: f64| train(t) + 0.1 * (tau * hz * t).sin();
            let verdicts = |v: Vec<Mains>, expected| {
                assert!(
                    v.len() >= 4 && v.iter().all(|m| *m == expected),
                    "{rate} {v:?}"
                );
            };
            verdicts(judge(rate, 123, hum(50.0)), Mains::Hz50);
            verdicts(judge(rate, 0, hum(59.8)), Mains::Hz60);
            verdicts(judge(rate, 77, train), Mains::Off);
            verdicts(judge(rate, 77, |_| 0.0), Mains::Off);
        }
        // Half of 100 Hz is below the mains: nothing to find, nothing to fear.
        assert!(judge(100.0, 0, train).iter().all(|m| *m == Mains::Off));
    }

    /// The grid's frequency wanders by 0.2 Hz, within minutes at worst.
    #[test]
    fn hum_is_found_while_its_frequency_drifts() {
        let tau = std::f64::consts::TAU;
        let train = |t: f64| (-((t * 1.2).fract() - 0.5).powi(2) / 0.0004).exp();
        for rate in [250.0, 333.3, 360.0] {
            for (hz, expected) in [(50.0, Mains::Hz50), (60.0, Mains::Hz60)] {
                for off in [-0.2, -0.1, 0.1, 0.2] {
                    let hum = |t: f64| train(t) + 0.05 * (tau * (hz + off) * t).sin();
                    let all = judge(rate, 0, hum);
                    assert!(
                        all.len() >= 4 && all.iter().all(|m| *m == expected),
                        "{rate} {off} {all:?}"
                    );
                }
                // From 0.2 Hz below to as much above and back, once every 12 s.
                let swing = tau / 12.0;
                let phase = |t: f64| tau * hz * t - 0.2 * tau / swing * (swing * t).cos();
                let all = judge(rate, 0, |t| train(t) + 0.05 * phase(t).sin());
                assert!(
                    all.len() >= 4 && all.iter().all(|m| *m == expected),
                    "{rate} {all:?}"
                );
            }
        }
    }
}
