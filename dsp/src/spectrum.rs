//! Whether there is mains hum, and of which frequency.
//!
//! Judged on segments of two seconds **aligned on the absolute index**, each on its own: what is
//! said of a stretch of record depends on one segment alone, not on where the stream began. The few bins
//! of the spectrum that matter are computed one by one, as Goertzel does, in single precision and a fixed order:
//! no tables to hold, and the same bits on every machine. The halves of a segment are added for the even bins and
//! subtracted for the odd ones first, so that each recursion takes half the steps.
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

/// Vectors of even bins, and of odd ones, computed at once: with eight lanes, all bins there are at 250 Hz.
const VECTORS: usize = 3;
/// As many even bins, and odd ones, make a group.
const HALF: usize = 8 * VECTORS;
const GROUP: usize = 2 * HALF;

/// Finds the mains frequency of one signal.
pub struct MainsFinder {
    rate: f64,
    /// Samples of a segment.
    n: usize,
    segment: Vec<f32>,
    /// The first bin computed, an even one.
    first: usize,
    /// Cosine and sine of the turn from sample to sample, bin by bin: of each group the even ones, then the
    /// odd ones.
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
            let first = first - first % 2;
            let count = (last + 1 - first).next_multiple_of(GROUP);
            let turn = |bin: usize| std::f64::consts::TAU * bin as f64 / n as f64;
            let turns = (0..count).map(|place| turn(first + bin_at(place)).sin_cos());
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

    /// Takes in samples, the first of which has the absolute `index`, up to the end of a segment; there it
    /// says how many these were and which hum is in it: [`Mains::Off`] for none.
    pub fn push(&mut self, index: u64, samples: &[f32]) -> Option<(usize, Mains)> {
        let skipped = if self.aligned {
            0
        } else {
            let n = self.n as u64;
            usize::try_from((n - index % n) % n).unwrap_or(usize::MAX)
        };
        let rest = samples.get(skipped..).filter(|rest| !rest.is_empty())?;
        self.aligned = true;
        let n = rest.len().min(self.n - self.segment.len());
        let clean = |sample: &f32| if sample.is_nan() { 0.0 } else { *sample };
        self.segment.extend(rest[..n].iter().map(clean));
        (self.segment.len() == self.n).then(|| (skipped + n, self.judge()))
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
        let mean = sum(&self.segment) / self.n as f32;
        let (early, late) = self.segment.split_at_mut(self.n / 2);
        for (early, late) in early.iter_mut().zip(late) {
            let (a, b) = (*early - mean, *late - mean);
            (*early, *late) = (a + b, a - b);
        }
        let states = Arch::new().dispatch(Goertzel {
            cos: &self.cos,
            added: &self.segment[..self.n / 2],
            subtracted: &self.segment[self.n / 2..],
        });
        let mut bins = vec![[0.0; 2]; states.len()];
        let turns = self.cos.iter().zip(&self.sin).zip(states);
        for (place, ((cos, sin), [last, before])) in turns.enumerate() {
            let bin = bin_at(place);
            // Half a segment is a whole number of turns, or half a turn more.
            let sign = if bin.is_multiple_of(2) { 1.0 } else { -1.0 };
            bins[bin] = [sign * (cos * last - before), sign * (sin * last)];
        }
        bins
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

/// Which bin, counted from the first, stands at a place.
fn bin_at(place: usize) -> usize {
    let (group, place) = (place / GROUP, place % GROUP);
    GROUP * group + 2 * (place % HALF) + place / HALF
}

/// The sum in a fixed order.
fn sum(values: &[f32]) -> f32 {
    let mut sums = [0.0; 8];
    let (eights, rest) = values.as_chunks::<8>();
    for eight in eights {
        for (sum, value) in sums.iter_mut().zip(eight) {
            *sum += value;
        }
    }
    sums.iter().chain(rest).sum()
}

/// The recursion of all bins over the halves of a segment; what comes out is its last two states, place by place.
struct Goertzel<'a> {
    cos: &'a [f32],
    added: &'a [f32],
    subtracted: &'a [f32],
}

impl WithSimd for Goertzel<'_> {
    type Output = Vec<[f32; 2]>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let mut states = vec![[0.0; 2]; self.cos.len()];
        let halves = self.cos.chunks_exact(HALF);
        let samples = [self.added, self.subtracted].into_iter().cycle();
        for ((cos, states), samples) in halves.zip(states.chunks_exact_mut(HALF)).zip(samples) {
            let width = VECTORS * S::F32_LANES;
            let some = cos.chunks_exact(width).zip(states.chunks_exact_mut(width));
            for (cos, states) in some {
                recursion(simd, S::as_simd_f32s(cos).0, samples, states);
            }
        }
        states
    }
}

/// As many bins as are computed at once.
#[inline(always)]
fn recursion<S: Simd>(simd: S, cos: &[S::f32s], samples: &[f32], states: &mut [[f32; 2]]) {
    let zero = [simd.splat_f32s(0.0); VECTORS];
    let (mut last, mut before, mut twice) = (zero, zero, zero);
    for v in 0..VECTORS {
        twice[v] = simd.add_f32s(cos[v], cos[v]);
    }
    for sample in samples {
        let sample = simd.splat_f32s(*sample);
        for v in 0..VECTORS {
            // The state before is taken off the sample first: only a product and a sum wait for the last.
            let rest = simd.sub_f32s(sample, before[v]);
            before[v] = last[v];
            last[v] = simd.add_f32s(rest, simd.mul_f32s(twice[v], last[v]));
        }
    }
    let (mut lasts, mut befores) = ([0.0; HALF], [0.0; HALF]);
    let n = states.len();
    S::as_mut_simd_f32s(&mut lasts[..n])
        .0
        .copy_from_slice(&last);
    S::as_mut_simd_f32s(&mut befores[..n])
        .0
        .copy_from_slice(&before);
    for ((state, last), before) in states.iter_mut().zip(lasts).zip(befores) {
        *state = [last, before];
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
        let samples: Vec<f32> = (start..start + 4000)
            .map(|n| signal(n as f64 / rate) as f32)
            .collect();
        let mut verdicts = Vec::new();
        let mut rest = &samples[..];
        while let Some((n, mains)) = finder.push(start + (samples.len() - rest.len()) as u64, rest)
        {
            rest = &rest[n..];
            verdicts.push(mains);
        }
        verdicts
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
            added: &samples[..250],
            subtracted: &samples[250..],
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
