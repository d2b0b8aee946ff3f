//! Whether there is mains hum, and of which frequency.
//!
//! Judged on segments of two seconds **aligned on the absolute index**, each on its own: what is
//! said of a stretch of record depends on one segment alone, not on where the stream began. The few bins
//! of the spectrum that matter are computed one by one, as Goertzel does, in single precision and a fixed order:
//! no tables to hold, and the same bits on every machine.
//!
//! Reference: Goertzel, Am Math Mon 65, 1958, doi:10.2307/2310304.

#![expect(
    clippy::inline_always,
    reason = "what is inlined takes on the instructions of the function that was dispatched to"
)]

use pulp::{Arch, Simd, WithSimd};

use crate::config::Mains;

/// Length of a segment, about.
const SEGMENT_SECONDS: f64 = 2.0;

/// Segments are a multiple of this many samples.
const FACTOR: f64 = 50.0;

/// Hum is there if its power is this many times that of the neighbouring frequencies...
const PROMINENCE: f32 = 10.0;

/// ...and its amplitude, in the unit of the signal (mV), is no less than this.
const AMPLITUDE: f32 = 0.015;

/// The mains frequencies, and how far around them one looks.
const MAINS_HZ: [f64; 2] = [50.0, 60.0];
const AROUND_HZ: f64 = 6.0;

/// Vectors of bins computed at once: with eight lanes, all bins there are up to 500 Hz.
const VECTORS: usize = 6;
/// Bins are computed in multiples of so many.
const MULTIPLE: usize = 8 * VECTORS;

/// Finds the mains frequency of one signal.
pub struct MainsFinder {
    rate: f64,
    /// Samples of a segment.
    n: usize,
    segment: Vec<f32>,
    /// The first bin computed.
    first: usize,
    /// Cosine and sine of the turn from sample to sample, bin by bin.
    cos: Vec<f32>,
    sin: Vec<f32>,
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
        let mut finder = Self {
            rate,
            n,
            segment: Vec::with_capacity(n),
            first: 0,
            cos: Vec::new(),
            sin: Vec::new(),
            aligned: false,
        };
        // The window is made of three neighbours, so one bin more to either side.
        let seen = MAINS_HZ.iter().filter(|hz| finder.sees(**hz));
        let bins = seen.map(|hz| {
            (
                finder.bin(hz - AROUND_HZ) - 1,
                finder.bin(hz + AROUND_HZ) + 1,
            )
        });
        let (first, last) = bins.fold((usize::MAX, 0), |all, bins| {
            (all.0.min(bins.0), all.1.max(bins.1))
        });
        if first <= last {
            let count = (last + 1 - first).next_multiple_of(MULTIPLE);
            let turn = |bin: usize| std::f64::consts::TAU * bin as f64 / n as f64;
            let turns = (first..first + count).map(|bin| turn(bin).sin_cos());
            finder.first = first;
            #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
            let narrow = |(sin, cos): (f64, f64)| (sin as f32, cos as f32);
            (finder.sin, finder.cos) = turns.map(narrow).unzip();
        }
        finder
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
            if !index.is_multiple_of(self.n as u64) {
                return None;
            }
            self.aligned = true;
        }
        self.segment.push(sample);
        (self.segment.len() == self.n).then(|| self.judge())
    }

    fn judge(&mut self) -> Mains {
        let bins = self.bins();
        self.segment.clear();
        let [fifty, sixty] = MAINS_HZ.map(|hz| self.hum(&bins, hz));
        match (fifty, sixty) {
            (None, None) => Mains::Off,
            (Some(a), Some(b)) if b > a => Mains::Hz60,
            (None, Some(_)) => Mains::Hz60,
            (Some(_), _) => Mains::Hz50,
        }
    }

    /// The spectrum from bin `first` on, as real and imaginary parts, not normalised.
    fn bins(&mut self) -> Vec<[f32; 2]> {
        let mean = self.segment.iter().sum::<f32>() / self.n as f32;
        for sample in &mut self.segment {
            *sample -= mean;
        }
        let states = Arch::new().dispatch(Goertzel {
            cos: &self.cos,
            samples: &self.segment,
        });
        let turns = self.cos.iter().zip(&self.sin).zip(states);
        turns
            .map(|((cos, sin), [last, before])| [cos * last - before, sin * last])
            .collect()
    }

    /// Whether all that is around `hz` can be seen at this rate.
    fn sees(&self, hz: f64) -> bool {
        hz + AROUND_HZ <= self.rate / 2.0
    }

    fn bin(&self, hz: f64) -> usize {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive frequency below Nyquist"
        )]
        let bin = (hz * self.n as f64 / self.rate).round() as usize;
        bin
    }

    /// The amplitude of the hum at `hz`, `None` where nothing stands out.
    fn hum(&self, bins: &[[f32; 2]], hz: f64) -> Option<f32> {
        if !self.sees(hz) {
            return None;
        }
        // A Hann window over the segment is this over neighbouring bins.
        let squared = |bin: usize| {
            let [a, b, c] = [bin - 1, bin, bin + 1].map(|bin| bins[bin - self.first]);
            let part = |k: usize| 0.5 * b[k] - 0.25 * (a[k] + c[k]);
            part(0) * part(0) + part(1) * part(1)
        };
        let power = |low: f64, high: f64| {
            let (low, high) = (self.bin(low), self.bin(high));
            let sum: f32 = (low..=high).map(squared).sum();
            (sum, (high - low + 1) as f32)
        };
        let (peak, width) = power(hz - 1.0, hz + 1.0);
        let (below, n_below) = power(hz - AROUND_HZ, hz - 2.0);
        let (above, n_above) = power(hz + 2.0, hz + AROUND_HZ);
        let floor = (below + above) / (n_below + n_above) * width;
        // A sine of amplitude A leaves A^2 n^2 * 3/32 in the main lobe of a Hann window.
        let n = self.n as f32;
        let amplitude = (peak * 32.0 / 3.0).sqrt() / n;
        (peak > PROMINENCE * floor && amplitude > AMPLITUDE).then_some(amplitude)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        (self.segment.capacity() + self.cos.capacity() + self.sin.capacity()) * size_of::<f32>()
    }
}

/// The recursion of all bins over a segment; what comes out is its last two states, bin by bin.
struct Goertzel<'a> {
    cos: &'a [f32],
    samples: &'a [f32],
}

impl WithSimd for Goertzel<'_> {
    type Output = Vec<[f32; 2]>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let mut states = vec![[0.0; 2]; self.cos.len()];
        let block = VECTORS * S::F32_LANES;
        for (cos, states) in self
            .cos
            .chunks_exact(block)
            .zip(states.chunks_exact_mut(block))
        {
            let cos = S::as_simd_f32s(cos).0;
            let (mut last, mut before) = (
                [simd.splat_f32s(0.0); VECTORS],
                [simd.splat_f32s(0.0); VECTORS],
            );
            let mut twice = last;
            for v in 0..VECTORS {
                twice[v] = simd.add_f32s(cos[v], cos[v]);
            }
            for sample in self.samples {
                let sample = simd.splat_f32s(*sample);
                for v in 0..VECTORS {
                    let turned = simd.mul_f32s(twice[v], last[v]);
                    let next = simd.add_f32s(simd.sub_f32s(turned, before[v]), sample);
                    before[v] = last[v];
                    last[v] = next;
                }
            }
            let (mut lasts, mut befores) = ([0.0; MULTIPLE], [0.0; MULTIPLE]);
            S::as_mut_simd_f32s(&mut lasts[..block])
                .0
                .copy_from_slice(&last);
            S::as_mut_simd_f32s(&mut befores[..block])
                .0
                .copy_from_slice(&before);
            for ((state, last), before) in states.iter_mut().zip(lasts).zip(befores) {
                *state = [last, before];
            }
        }
        states
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
    fn bins_are_those_of_the_fourier_transform() {
        let mut finder = MainsFinder::new(360.0);
        let sample = |k: usize| ((k * k % 719) as f32 * 0.013).sin() + 3.0;
        let n = finder.n;
        finder.segment.extend((0..n).map(sample));
        let bins = finder.bins();
        for bin in [finder.first, 100, 120, finder.first + bins.len() - 1] {
            let (mut re, mut im) = (0.0, 0.0);
            for k in 0..n {
                let turn = std::f64::consts::TAU * (bin * k % n) as f64 / n as f64;
                re += f64::from(sample(k)) * turn.cos();
                im -= f64::from(sample(k)) * turn.sin();
            }
            let found = bins[bin - finder.first].map(f64::from);
            // The sign of the imaginary part is a matter of which way time runs.
            assert!((found[0] - re).abs() < 0.01, "{bin}: {found:?} {re} {im}");
            assert!(
                (found[1].abs() - im.abs()).abs() < 0.01,
                "{bin}: {found:?} {re} {im}"
            );
        }
    }

    #[test]
    fn the_machine_changes_nothing() {
        let finder = MainsFinder::new(250.0);
        let samples: Vec<f32> = (0..500)
            .map(|k| ((k * k % 719) as f32 * 0.013).sin())
            .collect();
        let run = || Goertzel {
            cos: &finder.cos,
            samples: &samples,
        };
        assert_eq!(Arch::new().dispatch(run()), run().with_simd(pulp::Scalar));
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
