//! Recursive filters: Butterworth designs and the notch, run as cascades of biquads.
//!
//! Design once, run for the life of the record. **Coefficients and state are f64**; a sample goes
//! in and a sample comes out, nothing is allocated and nothing can fail after the design.
//! Designs follow the textbook way: analogue Butterworth poles, frequencies prewarped, bilinear
//! transform; they agree with SciPy's `butter(output="sos")` and `iirnotch` (see `tests/golden.py`).

use biquad::{Biquad, Coefficients, DirectForm2Transposed};
use rustfft::num_complex::Complex64;

use crate::Error;

/// A second-order section.
pub(crate) type Section = DirectForm2Transposed<f64>;

/// A cascade of second-order sections in transposed direct form 2.
#[derive(Debug, Clone)]
pub struct Cascade {
    sections: Vec<Section>,
    coefficients: Vec<Coefficients<f64>>,
}

/// Which side of a corner passes.
#[derive(Clone, Copy)]
enum Side {
    Low,
    High,
}

impl Cascade {
    /// A Butterworth low-pass of `order` 2 to 8, -3 dB at `corner` Hz.
    ///
    /// # Errors
    /// [`Error::Order`], or [`Error::Corner`] unless `0 < corner < rate / 2`.
    pub fn lowpass(order: usize, corner: f64, rate: f64) -> Result<Self, Error> {
        Self::one_sided(order, corner, rate, Side::Low)
    }

    /// A Butterworth high-pass of `order` 2 to 8, -3 dB at `corner` Hz.
    ///
    /// # Errors
    /// As [`lowpass`](Self::lowpass).
    pub fn highpass(order: usize, corner: f64, rate: f64) -> Result<Self, Error> {
        Self::one_sided(order, corner, rate, Side::High)
    }

    fn one_sided(order: usize, corner: f64, rate: f64, side: Side) -> Result<Self, Error> {
        check_order(order)?;
        check_corner(corner, rate)?;
        let warped = prewarp(corner, rate);
        let to_analogue = |pole: Complex64| match side {
            Side::Low => pole * warped,
            Side::High => warped / pole,
        };
        let zero = match side {
            Side::Low => -1.0,
            Side::High => 1.0,
        };
        // Each section passes its own band untouched: z = 1 for a low-pass, z = -1 for a high-pass.
        let pass = Complex64::new(-zero, 0.0);
        let sections = upper_poles(order).into_iter().map(|pole| {
            let z = bilinear(to_analogue(pole), rate);
            if pole.im.abs() < 1e-12 {
                normalised([1.0, -zero, 0.0], [-z.re, 0.0], pass)
            } else {
                normalised([1.0, -2.0 * zero, 1.0], [-2.0 * z.re, z.norm_sqr()], pass)
            }
        });
        Ok(Self::from_sections(sections.collect()))
    }

    /// A Butterworth band-pass, -3 dB at `low` and `high` Hz. As in SciPy, `order` (2 to 8) is
    /// that of each slope, so there are `order` sections.
    ///
    /// # Errors
    /// [`Error::Order`], or [`Error::Corner`] unless `0 < low < high < rate / 2`.
    pub fn bandpass(order: usize, low: f64, high: f64, rate: f64) -> Result<Self, Error> {
        check_order(order)?;
        check_corner(high, rate)?;
        check_corner(low, 2.0 * high)?;
        let (a, b) = (prewarp(low, rate), prewarp(high, rate));
        let (width, centre) = (b - a, (a * b).sqrt());
        let pass = bilinear(Complex64::new(0.0, centre), rate);
        let mut sections = Vec::with_capacity(order);
        for pole in upper_poles(order) {
            // The band-pass transform s -> (s^2 + centre^2) / (width s) turns one pole into two.
            let half = pole * width / 2.0;
            let root = (half * half - centre * centre).sqrt();
            let (one, two) = (bilinear(half + root, rate), bilinear(half - root, rate));
            let numerator = [1.0, 0.0, -1.0];
            if pole.im.abs() < 1e-12 {
                let denominator = [-(one + two).re, (one * two).re];
                sections.push(normalised(numerator, denominator, pass));
            } else {
                for z in [one, two] {
                    sections.push(normalised(numerator, [-2.0 * z.re, z.norm_sqr()], pass));
                }
            }
        }
        Ok(Self::from_sections(sections))
    }

    /// A notch at `centre` Hz; its -3 dB width is `centre / q`.
    ///
    /// # Errors
    /// [`Error::Corner`] unless `0 < centre < rate / 2`; [`Error::Notch`] unless `q > 0`.
    pub fn notch(centre: f64, q: f64, rate: f64) -> Result<Self, Error> {
        check_corner(centre, rate)?;
        if !(q > 0.0 && q.is_finite()) {
            return Err(Error::Notch(q));
        }
        let omega = std::f64::consts::TAU * centre / rate;
        let gain = 1.0 / (1.0 + (omega / q / 2.0).tan());
        let turn = -2.0 * omega.cos();
        Ok(Self::from_sections(vec![Coefficients {
            b0: gain,
            b1: gain * turn,
            b2: gain,
            a1: gain * turn,
            a2: 2.0 * gain - 1.0,
        }]))
    }

    /// This cascade followed by `next`.
    #[must_use]
    pub fn then(mut self, next: &Cascade) -> Self {
        self.coefficients.extend_from_slice(&next.coefficients);
        Self::from_sections(self.coefficients)
    }

    fn from_sections(coefficients: Vec<Coefficients<f64>>) -> Self {
        Self {
            sections: coefficients
                .iter()
                .map(|section| Section::new(*section))
                .collect(),
            coefficients,
        }
    }

    /// Filters one sample.
    #[inline]
    pub fn push(&mut self, sample: f64) -> f64 {
        self.sections
            .iter_mut()
            .fold(sample, |value, section| section.run(value))
    }

    /// Forgets every sample: time zero.
    pub fn reset(&mut self) {
        for section in &mut self.sections {
            section.reset_state();
        }
    }

    /// The sections, for those who run them by themselves.
    pub(crate) fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The coefficients, one `[b0, b1, b2, 1, a1, a2]` per section as SciPy prints them.
    pub fn sos(&self) -> Vec<[f64; 6]> {
        self.coefficients
            .iter()
            .map(|c| [c.b0, c.b1, c.b2, 1.0, c.a1, c.a2])
            .collect()
    }

    /// The complex gain at `hz`.
    pub fn response(&self, hz: f64, rate: f64) -> Complex64 {
        let z = Complex64::from_polar(1.0, std::f64::consts::TAU * hz / rate);
        self.coefficients
            .iter()
            .map(|c| section_gain([c.b0, c.b1, c.b2], [c.a1, c.a2], z))
            .product()
    }

    /// The delay of a wave packet around `hz`, in seconds.
    pub fn group_delay(&self, hz: f64, rate: f64) -> f64 {
        let step = rate * 1e-6;
        let turn = self.response(hz - step, rate) / self.response(hz + step, rate);
        turn.arg() / (2.0 * step * std::f64::consts::TAU)
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.sections) + size_of_val(&*self.coefficients)
    }
}

fn check_order(order: usize) -> Result<(), Error> {
    if (2..=8).contains(&order) {
        Ok(())
    } else {
        Err(Error::Order(order))
    }
}

fn check_corner(hz: f64, rate: f64) -> Result<(), Error> {
    let nyquist = rate / 2.0;
    if hz > 0.0 && hz < nyquist {
        Ok(())
    } else {
        Err(Error::Corner { hz, nyquist })
    }
}

/// The analogue frequency, rad/s, that the bilinear transform bends onto `hz`.
fn prewarp(hz: f64, rate: f64) -> f64 {
    2.0 * rate * (std::f64::consts::PI * hz / rate).tan()
}

fn bilinear(s: Complex64, rate: f64) -> Complex64 {
    (2.0 * rate + s) / (2.0 * rate - s)
}

/// The poles of the analogue Butterworth prototype in the upper half plane, the real one of an
/// odd order included; the others are their conjugates.
fn upper_poles(order: usize) -> Vec<Complex64> {
    (0..order.div_ceil(2))
        .map(|k| {
            let angle = std::f64::consts::PI * (2 * k + order + 1) as f64 / (2.0 * order as f64);
            Complex64::from_polar(1.0, angle)
        })
        .collect()
}

fn section_gain(b: [f64; 3], a: [f64; 2], z: Complex64) -> Complex64 {
    let back = z.inv();
    (b[0] + back * (b[1] + back * b[2])) / (1.0 + back * (a[0] + back * a[1]))
}

/// The section with gain 1 at `pass`.
fn normalised(b: [f64; 3], a: [f64; 2], pass: Complex64) -> Coefficients<f64> {
    let gain = 1.0 / section_gain(b, a, pass).norm();
    Coefficients {
        b0: b[0] * gain,
        b1: b[1] * gain,
        b2: b[2] * gain,
        a1: a[0],
        a2: a[1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gains_are_those_of_a_butterworth() {
        for order in 2..=8 {
            let low = Cascade::lowpass(order, 30.0, 250.0).unwrap();
            let high = Cascade::highpass(order, 30.0, 250.0).unwrap();
            let band = Cascade::bandpass(order, 5.0, 30.0, 250.0).unwrap();
            let half = 0.5f64.sqrt();
            for (filter, hz, gain) in [
                (&low, 0.0, 1.0),
                (&low, 30.0, half),
                (&high, 0.0, 0.0),
                (&high, 30.0, half),
                (&high, 125.0, 1.0),
                (&band, 5.0, half),
                (&band, 30.0, half),
                (&band, 0.0, 0.0),
            ] {
                let found = filter.response(hz, 250.0).norm();
                assert!((found - gain).abs() < 1e-9, "{order} {hz} {found} {gain}");
            }
        }
        let notch = Cascade::notch(50.0, 25.0, 250.0).unwrap();
        assert!(notch.response(50.0, 250.0).norm() < 1e-12);
        assert!((notch.response(0.0, 250.0).norm() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_delayed_wave_comes_out_after_the_group_delay() {
        let filter = Cascade::bandpass(2, 6.0, 24.0, 250.0).unwrap();
        let mut run = filter.clone();
        let packet = |t: f64| (-(t / 0.1).powi(2)).exp() * (12.0 * std::f64::consts::TAU * t).cos();
        let out: Vec<f64> = (0..500)
            .map(|n| run.push(packet(f64::from(n) / 250.0 - 1.0)))
            .collect();
        let energy: f64 = out.iter().map(|v| v * v).sum();
        let centre: f64 = out
            .iter()
            .enumerate()
            .map(|(n, v)| n as f64 / 250.0 * v * v)
            .sum::<f64>()
            / energy;
        let expected = filter.group_delay(12.0, 250.0);
        assert!(
            (centre - 1.0 - expected).abs() < 0.006,
            "{centre} {expected}"
        );
    }

    #[test]
    fn designs_outside_the_limits_are_refused() {
        assert_eq!(
            Cascade::lowpass(9, 30.0, 250.0).unwrap_err(),
            Error::Order(9)
        );
        for (low, high) in [(0.0, 30.0), (30.0, 5.0), (5.0, 125.0), (f64::NAN, 30.0)] {
            assert!(Cascade::bandpass(2, low, high, 250.0).is_err());
        }
        assert!(Cascade::notch(50.0, 0.0, 250.0).is_err());
        assert!(Cascade::notch(50.0, 30.0, 100.0).is_err());
    }

    proptest! {
        #[test]
        fn filtering_is_linear_and_reset_is_time_zero(
            x in prop::collection::vec(-5.0f64..5.0, 1..200),
            gain in -3.0f64..3.0,
        ) {
            let mut filter = Cascade::bandpass(2, 5.0, 25.0, 250.0).unwrap();
            let first: Vec<f64> = x.iter().map(|v| filter.push(*v)).collect();
            filter.reset();
            let again: Vec<f64> = x.iter().map(|v| filter.push(*v)).collect();
            prop_assert_eq!(&first, &again);
            filter.reset();
            for (v, y) in x.iter().zip(&first) {
                prop_assert!((filter.push(v * gain) - y * gain).abs() < 1e-9);
            }
        }
    }
}
