//! The photoplethysmogram: one pulse for each beat that moves blood, arbitrary units.
//!
//! A pulse of a normal beat is 1 high. Its foot is sharp, so that the truth is.

use std::collections::VecDeque;
use std::f64::consts::{FRAC_PI_2, TAU};

use super::chance::{Chance, Purpose};
use super::dipole::Patient;

/// One pulse on its way to the sensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stroke {
    /// The foot of the upstroke, seconds.
    pub(super) onset: f64,
    /// Relative to a normal beat at rest.
    pub(super) amplitude: f64,
    /// Slower hearts push longer.
    pub(super) stretch: f64,
}

impl Stroke {
    /// A weaker beat does not open the valve.
    pub(super) const WEAKEST: f64 = 0.15;
    /// Seconds, before stretching: from foot to systolic peak, and all of it.
    const UPSTROKE: f64 = 0.13;
    const LENGTH: f64 = 1.2;

    /// The height at `t`, seconds.
    fn height(&self, t: f64) -> f64 {
        let since = (t - self.onset) / self.stretch;
        if since < 0.0 || since > Self::LENGTH {
            return 0.0;
        }
        if since < Self::UPSTROKE {
            let sin = (FRAC_PI_2 * since / Self::UPSTROKE).sin();
            return self.amplitude * sin * sin;
        }
        let gaussian = |from: f64, width: f64| (-0.5 * (from / width).powi(2)).exp();
        let down = since - Self::UPSTROKE;
        let systolic = 0.68 * gaussian(down, 0.1) + 0.32 * gaussian(down, 0.26);
        let dicrotic = 0.16 * gaussian(down - 0.24, 0.055);
        self.amplitude * (systolic + dicrotic)
    }

    fn end(&self) -> f64 {
        self.onset + Self::LENGTH * self.stretch
    }
}

/// What the sensor adds of its own.
#[derive(Debug, Clone)]
pub(super) struct Sensor {
    chance: Chance,
    noise: f64,
    smooth: f64,
    /// Pole of the smoothing, per sample.
    pole: f64,
}

impl Sensor {
    /// Bandwidth of the noise.
    const NOISE_HZ: f64 = 8.0;

    pub(super) fn new(seed: u64, noise: f64, hz: f64) -> Self {
        Self {
            chance: Chance::new(seed, Purpose::Ppg),
            noise,
            smooth: 0.0,
            pole: (-TAU * Self::NOISE_HZ / hz).exp(),
        }
    }

    /// The sample at `t` seconds, without motion.
    pub(super) fn sample(&mut self, t: f64, strokes: &VecDeque<Stroke>, patient: &Patient) -> f64 {
        let pulses: f64 = strokes.iter().map(|stroke| stroke.height(t)).sum();
        let own = self.own();
        pulses + 0.06 * patient.breath(t) + own
    }

    /// The sample where the sensor does not touch the skin.
    pub(super) fn dark(&mut self) -> f64 {
        self.own()
    }

    fn own(&mut self) -> f64 {
        if self.noise == 0.0 {
            return 0.0;
        }
        // Unit variance in, unit variance out.
        let drive = (1.0 - self.pole * self.pole).sqrt() * self.chance.normal();
        self.smooth = self.pole * self.smooth + drive;
        self.noise * self.smooth
    }
}

/// Forgets the pulses that are over at `t`.
pub(super) fn forget(strokes: &mut VecDeque<Stroke>, t: f64) {
    strokes.retain(|stroke| stroke.end() >= t);
}
