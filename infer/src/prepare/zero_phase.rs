//! Filters that run forward and backward, so that nothing is delayed, as SciPy's `filtfilt` does: extended at both
//! ends by the signal turned about its end, and begun in the state that the first sample would have led to.

use std::f64::consts::PI;

use ecg::SampleRate;
use num_complex::Complex;

/// Poles of the low-pass that the band-pass is made from; even.
const ORDER: u32 = 4;
/// Of the notch: its frequency by its width.
const NOTCH_Q: f64 = 30.0;

/// Second-order sections in a row, twice.
#[derive(Debug, Clone)]
pub(crate) struct ZeroPhase {
    sections: Vec<Section>,
    /// By how many samples each end is extended.
    pad: usize,
}

#[derive(Debug, Clone, Copy)]
struct Section {
    b: [f64; 3],
    /// After the leading 1.
    a: [f64; 2],
}

impl ZeroPhase {
    /// A notch of Q 30 at `hz`, which is above 0 and below half of the rate: SciPy's `iirnotch`.
    pub(crate) fn notch(hz: f64, rate: SampleRate) -> Self {
        let omega = 2.0 * PI * hz / rate.hz();
        let gain = 1.0 / (1.0 + (omega / NOTCH_Q / 2.0).tan());
        let middle = -2.0 * gain * omega.cos();
        let section = Section {
            b: [gain, middle, gain],
            a: [middle, 2.0 * gain - 1.0],
        };
        Self::of(vec![section])
    }

    /// A Butterworth band-pass of order 4 at each side: SciPy's `butter(4, band, "bandpass")`. The frequencies are in
    /// rising order, above 0 and below half of the rate.
    pub(crate) fn band([low, high]: [f64; 2], rate: SampleRate) -> Self {
        // By the bilinear transform s = 2 (z - 1) / (z + 1).
        let warp = |hz: f64| 2.0 * (PI * hz / rate.hz()).tan();
        let (low, high) = (warp(low), warp(high));
        let (width, centre) = (high - low, (low * high).sqrt());
        let at_centre = Complex::from_polar(1.0, 2.0 * (centre / 2.0).atan());
        let mut sections = Vec::new();
        for k in 0..ORDER / 2 {
            // Of each pair of poles the one above the axis; each makes two, whose pairs the other makes.
            let angle = PI * f64::from(2 * k + ORDER + 1) / f64::from(2 * ORDER);
            let half = Complex::from_polar(width / 2.0, angle);
            let root = (half * half - centre * centre).sqrt();
            for pole in [half + root, half - root] {
                let pole = (pole + 2.0) / (-pole + 2.0);
                let a = [-2.0 * pole.re, pole.norm_sqr()];
                // Zeros at 0 Hz and at half of the rate; a gain of 1 at the centre, where that of the whole is 1.
                let z = at_centre.inv();
                let gain = (z * z * a[1] + z * a[0] + 1.0).norm() / (-z * z + 1.0).norm();
                let b = [gain, 0.0, -gain];
                sections.push(Section { b, a });
            }
        }
        Self::of(sections)
    }

    fn of(sections: Vec<Section>) -> Self {
        let pad = 3 * (2 * sections.len() + 1);
        Self { sections, pad }
    }

    /// Filters a signal in place; `extended` is room to work in.
    pub(crate) fn run(&self, signal: &mut [f64], extended: &mut Vec<f64>) {
        let (Some(&first), Some(&last)) = (signal.first(), signal.last()) else {
            return;
        };
        let n = signal.len();
        let pad = self.pad.min(n - 1);
        extended.clear();
        extended.extend(signal[1..=pad].iter().rev().map(|x| 2.0 * first - x));
        extended.extend_from_slice(signal);
        let end = signal[n - 1 - pad..n - 1].iter().rev();
        extended.extend(end.map(|x| 2.0 * last - x));
        for _ in 0..2 {
            self.forward(extended);
            extended.reverse();
        }
        signal.copy_from_slice(&extended[pad..pad + n]);
    }

    fn forward(&self, signal: &mut [f64]) {
        let mut level = signal[0];
        for Section { b, a } in &self.sections {
            // The state after a long time of the first sample, and what comes out then.
            let out = level * (b[0] + b[1] + b[2]) / (1.0 + a[0] + a[1]);
            let mut late = b[2] * level - a[1] * out;
            let mut soon = b[1] * level - a[0] * out + late;
            for x in signal.iter_mut() {
                let y = b[0] * *x + soon;
                soon = b[1] * *x - a[0] * y + late;
                late = b[2] * *x - a[1] * y;
                *x = y;
            }
            level = out;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the 1000 samples that SciPy was given: see `write_zero_phase` in `training/`.
    fn golden() -> [Vec<f64>; 4] {
        let bytes = include_bytes!("../../training/golden/zero_phase.f32");
        let (words, _) = bytes.as_chunks::<4>();
        let row = |k: usize| {
            let words = words[k * 1000..][..1000].iter();
            words
                .map(|word| f64::from(f32::from_le_bytes(*word)))
                .collect()
        };
        [row(0), row(1), row(2), row(3)]
    }

    fn rate(hz: f64) -> SampleRate {
        SampleRate::new(hz).unwrap()
    }

    #[test]
    fn what_scipy_makes_of_a_signal_comes_out() {
        let [given, notch, at_500, at_100] = golden();
        for (filter, expected) in [
            (ZeroPhase::notch(50.0, rate(500.0)), notch),
            (ZeroPhase::band([0.67, 40.0], rate(500.0)), at_500),
            (ZeroPhase::band([0.67, 40.0], rate(100.0)), at_100),
        ] {
            let mut found = given.clone();
            filter.run(&mut found, &mut Vec::new());
            let pairs = found.iter().zip(&expected);
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-6, "{worst:e}");
        }
    }

    #[test]
    fn a_constant_is_gone_and_short_signals_do_no_harm() {
        for n in [0, 1, 2, 20, 500] {
            let mut signal = vec![2.0; n];
            ZeroPhase::band([0.67, 40.0], rate(250.0)).run(&mut signal, &mut Vec::new());
            assert!(signal.iter().all(|x| x.abs() < 1e-9), "{n}: {signal:?}");
            let mut signal = vec![2.0; n];
            ZeroPhase::notch(50.0, rate(250.0)).run(&mut signal, &mut Vec::new());
            assert!(signal.iter().all(|x| (x - 2.0).abs() < 1e-9), "{n}");
        }
    }
}
