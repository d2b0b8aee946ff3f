//! A window at another rate: windowed sinc, zero delay.
//!
//! Output sample `k` lies `k` output periods after input sample 0. Beyond its ends a window goes on as its first and
//! its last sample. Up to 0.8 of the lower of the two Nyquist frequencies a sine comes out within 2e-5 of its
//! amplitude, away from the ends; from that frequency on at most 1e-5 of one is left.

use std::f64::consts::PI;

use ecg::SampleRate;

/// How far the kernel reaches to each side, in periods of the lower rate.
const REACH: f64 = 32.0;
/// Where the kernel cuts, as a share of the lower of the two Nyquist frequencies.
const CUT: f64 = 0.9;
/// Products that are summed side by side.
const LANES: usize = 16;
/// Of the Kaiser window.
const BETA: f64 = 9.0;

/// A change of rate for windows of one length.
#[derive(Debug, Clone)]
pub(crate) struct Resampler {
    /// Input periods per output period, as a fraction in lowest terms.
    step: (usize, usize),
    n_in: usize,
    n_out: usize,
    /// Taps to each side; a multiple of half of [`LANES`].
    half: usize,
    /// `[phase, tap]`: sample `k` of the output takes phase `k % step.1`. No more phases than the output has samples.
    taps: Vec<f32>,
}

impl Resampler {
    /// A change from one rate to another for windows of `n_in` samples.
    pub(crate) fn design(from: SampleRate, to: SampleRate, n_in: usize) -> Self {
        let (from, to) = (microhertz(from), microhertz(to));
        let divisor = gcd(from, to);
        let step = (from / divisor, to / divisor);
        let n_out = n_in * step.1 / step.0;
        let slower = (from as f64 / to as f64).max(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rates are 25 to 2000 Hz"
        )]
        let half = ((REACH * slower) as usize).next_multiple_of(LANES / 2);
        let cut = CUT / slower;
        let mut taps = Vec::new();
        for k in 0..step.1.min(n_out) {
            let fraction = (k * step.0 % step.1) as f64 / step.1 as f64;
            let tap = |tap: usize| {
                let x = tap as f64 - half as f64 - fraction;
                sinc(cut * x) * kaiser(x / half as f64)
            };
            // A constant comes out as it went in.
            let sum: f64 = (1..=2 * half).map(tap).sum();
            #[expect(clippy::cast_possible_truncation, reason = "as precise as samples")]
            taps.extend((1..=2 * half).map(|k| (tap(k) / sum) as f32));
        }
        Self {
            step,
            n_in,
            n_out,
            half,
            taps,
        }
    }

    /// How many samples come out.
    pub(crate) fn n_out(&self) -> usize {
        self.n_out
    }

    /// Appends the resampled window to `to`; `held` is room to work in.
    ///
    /// # Panics
    /// If the window has another length than it was designed for.
    pub(crate) fn run(&self, from: &[f32], held: &mut Vec<f32>, to: &mut Vec<f64>) {
        assert_eq!(from.len(), self.n_in, "designed for another length");
        let (Some(first), Some(last)) = (from.first(), from.last()) else {
            return;
        };
        if self.step == (1, 1) {
            to.extend(from.iter().map(|x| f64::from(*x)));
            return;
        }
        held.clear();
        held.resize(self.half, *first);
        held.extend_from_slice(from);
        held.resize(held.len() + self.half, *last);
        pulp::Arch::new().dispatch(Pass {
            resampler: self,
            held,
            to,
        });
    }
}

/// One window, compiled for whichever vectors the processor has. The same bits come out of all of them.
struct Pass<'a> {
    resampler: &'a Resampler,
    held: &'a [f32],
    to: &'a mut Vec<f64>,
}

impl pulp::WithSimd for Pass<'_> {
    type Output = ();

    #[expect(
        clippy::inline_always,
        reason = "what is inlined takes on the instructions of the function that was dispatched to"
    )]
    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self {
            resampler,
            held,
            to,
        } = self;
        let width = 2 * resampler.half;
        to.reserve(resampler.n_out);
        for k in 0..resampler.n_out {
            let start = k * resampler.step.0 / resampler.step.1 + 1;
            let taps = &resampler.taps[k % resampler.step.1 * width..][..width];
            to.push(f64::from(dot(&held[start..][..width], taps)));
        }
    }
}

/// The sum of products, in lanes that a compiler can keep in few registers; the length is a multiple of [`LANES`].
#[expect(
    clippy::inline_always,
    reason = "what is inlined takes on the instructions of the function that was dispatched to"
)]
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a, _) = a.as_chunks::<LANES>();
    let (b, _) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += a * b;
        }
    }
    lanes.iter().sum()
}

fn microhertz(rate: SampleRate) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates are 25 to 2000 Hz, and kept in microhertz"
    )]
    {
        (rate.hz() * 1e6).round() as usize
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        (PI * x).sin() / (PI * x)
    }
}

/// The Kaiser window, -1 to 1; not scaled.
fn kaiser(x: f64) -> f64 {
    bessel_i0(BETA * (1.0 - x * x).max(0.0).sqrt())
}

/// The modified Bessel function of order zero, by its series.
fn bessel_i0(x: f64) -> f64 {
    let quarter = x * x / 4.0;
    let terms = (1..40).scan(1.0, |term, k| {
        *term *= quarter / f64::from(k * k);
        Some(*term)
    });
    1.0 + terms.sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hz: f64, rate: f64, n: usize) -> Vec<f64> {
        (0..n)
            .map(|k| (2.0 * PI * hz * k as f64 / rate + 0.3).sin())
            .collect()
    }

    fn resample(samples: &[f64], from: f64, to: f64) -> Vec<f64> {
        let rate = |hz| SampleRate::new(hz).unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let samples: Vec<f32> = samples.iter().map(|x| *x as f32).collect();
        let (mut held, mut out) = (Vec::new(), Vec::new());
        let resampler = Resampler::design(rate(from), rate(to), samples.len());
        resampler.run(&samples, &mut held, &mut out);
        assert_eq!(out.len(), resampler.n_out());
        out
    }

    fn worst(a: &[f64], b: &[f64], edge: usize) -> f64 {
        let inner = a.iter().zip(b).skip(edge).take(a.len() - 2 * edge);
        inner.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn a_sine_keeps_its_phase_and_amplitude() {
        for (from, to, limit) in [
            (250.0, 100.0, 50.0),
            (250.0, 500.0, 125.0),
            (250.0, 257.0, 125.0),
            (250.0, 128.123, 64.0),
            (360.0, 250.0, 125.0),
            (500.0, 500.0, 250.0),
        ] {
            let mut left: f64 = 0.0;
            for share in [0.02, 0.1, 0.3, 0.5, 0.7, 0.8] {
                let hz = share * limit;
                let out = resample(&sine(hz, from, 2560), from, to);
                let expected = sine(hz, to, out.len());
                left = left.max(worst(&out, &expected, out.len() / 8));
            }
            assert!(left < 2e-5, "{from} to {to}: {left:e}");
        }
    }

    #[test]
    fn what_the_lower_rate_cannot_carry_is_gone() {
        for hz in [50.0, 55.0, 60.0, 80.0, 110.0] {
            let out = resample(&sine(hz, 250.0, 2560), 250.0, 100.0);
            let left = worst(&out, &vec![0.0; out.len()], 128);
            assert!(left < 1e-5, "{hz} Hz: {left:e}");
        }
    }

    #[test]
    fn a_constant_stays_one_to_the_ends_and_short_windows_do_no_harm() {
        let out = resample(&vec![3.0; 2560], 250.0, 100.0);
        assert_eq!(out.len(), 1024);
        assert!(worst(&out, &vec![3.0; 1024], 0) < 2e-6);
        assert_eq!(resample(&vec![3.0; 2560], 250.0, 500.0).len(), 5120);
        assert_eq!(resample(&[1.0, 1.0], 250.0, 100.0).len(), 0);
        assert_eq!(resample(&[1.0; 3], 250.0, 100.0).len(), 1);
        assert_eq!(resample(&[], 250.0, 100.0).len(), 0);
    }
}
