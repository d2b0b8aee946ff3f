//! The heart's continuous activities: f-waves of the atria, and ventricular fibrillation.
//!
//! Both are pure functions of time: oscillators modulated in amplitude and frequency.
//!
//! Reference: Stridh & Sörnmo, IEEE TBME 48(1), 2001, doi:10.1109/10.900266 (sawtooth model of
//! f-waves). The dipole of ventricular fibrillation is this project's own: two modulated oscillators per
//! axis, 4 to 7 Hz.

use std::f64::consts::TAU;

use super::chance::{Chance, Purpose};
use super::dipole::Vector;
use super::rhythm::{Rhythm, Schedule};

/// An oscillator whose frequency and amplitude wander.
#[derive(Debug, Clone)]
struct Wanderer {
    /// Mean frequency.
    hz: f64,
    phase: f64,
    /// Frequency modulation: how fast, and how many radians; two of them.
    slow: (f64, f64, f64),
    fast: (f64, f64, f64),
    /// Amplitude modulation: how fast, its phase, how deep.
    swell: (f64, f64, f64),
}

impl Wanderer {
    fn new(chance: &mut Chance, hz: (f64, f64), deviation: f64, depth: f64) -> Self {
        let mut turn = || chance.between(0.0, TAU);
        let (phase, slow, fast, swell) = (turn(), turn(), turn(), turn());
        let slow_hz = chance.between(0.2, 0.5);
        let fast_hz = chance.between(0.7, 1.2);
        Self {
            hz: chance.between(hz.0, hz.1),
            phase,
            slow: (slow_hz, slow, 0.6 * deviation / slow_hz),
            fast: (fast_hz, fast, 0.4 * deviation / fast_hz),
            swell: (chance.between(0.15, 0.45), swell, depth),
        }
    }

    fn theta(&self, t: f64) -> f64 {
        let modulation =
            |(hz, phase, radians): (f64, f64, f64)| radians * (TAU * hz * t + phase).sin();
        TAU * self.hz * t + self.phase + modulation(self.slow) + modulation(self.fast)
    }

    fn amplitude(&self, t: f64) -> f64 {
        let (hz, phase, depth) = self.swell;
        1.0 + depth * (TAU * hz * t + phase).sin()
    }
}

/// Both fibrillations of one patient, along the schedule.
#[derive(Debug, Clone)]
pub(super) struct Fibrillation {
    atria: Wanderer,
    atrial_vector: Vector,
    /// For each axis a strong oscillator, and a weaker one that disturbs it.
    ventricles: [[Wanderer; 2]; 3],
    /// mV.
    ventricular_gain: f64,
    /// The stretch of the schedule last rendered.
    k: u64,
}

impl Fibrillation {
    /// Seconds in which it swells and fades at the ends of its stretch.
    const FADE: f64 = 0.15;

    pub(super) fn new(seed: u64) -> Self {
        let chance = &mut Chance::new(seed, Purpose::Fibrillation);
        let gain = chance.between(0.7, 1.4);
        Self {
            atria: Wanderer::new(chance, (5.0, 8.0), 0.4, 0.25),
            // Largest in V1.
            atrial_vector: [-0.025 * gain, 0.035 * gain, -0.05 * gain],
            ventricles: std::array::from_fn(|_| {
                [(4.9, 6.1), (3.6, 8.0)].map(|hz| Wanderer::new(chance, hz, 1.0, 0.5))
            }),
            ventricular_gain: chance.between(0.35, 0.65),
            k: 0,
        }
    }

    /// Adds it to `dipole`, three rows of `n` samples from sample `first` of the record. Blocks come in
    /// order.
    pub(super) fn render(
        &mut self,
        dipole: &mut [f64],
        n: usize,
        first: u64,
        hz: f64,
        schedule: &Schedule,
    ) {
        let mut stretch = schedule.stretch(self.k);
        for sample in 0..n {
            let t = (first + sample as u64) as f64 / hz;
            while t >= stretch.end {
                self.k += 1;
                stretch = schedule.stretch(self.k);
            }
            let edge = (t - stretch.start).min(stretch.end - t) / Self::FADE;
            let fade = edge.clamp(0.0, 1.0);
            let vector = match stretch.rhythm {
                Rhythm::AtrialFibrillation { .. } => self.atrial(t),
                Rhythm::VentricularFibrillation => self.ventricular(t),
                _ => continue,
            };
            for (axis, x) in vector.into_iter().enumerate() {
                dipole[axis * n + sample] += fade * x;
            }
        }
    }

    fn atrial(&self, t: f64) -> Vector {
        let theta = self.atria.theta(t);
        let sawtooth = theta.sin() + (2.0 * theta).sin() / 2.0 + (3.0 * theta).sin() / 3.0;
        let height = 0.7 * self.atria.amplitude(t) * sawtooth;
        self.atrial_vector.map(|x| height * x)
    }

    fn ventricular(&self, t: f64) -> Vector {
        std::array::from_fn(|axis| {
            let [strong, weak] = &self.ventricles[axis];
            let swing = |wanderer: &Wanderer| wanderer.amplitude(t) * wanderer.theta(t).sin();
            self.ventricular_gain * (swing(strong) + 0.5 * swing(weak))
        })
    }
}
