//! Noise where it arises: at the electrodes. What the leads show of it obeys Einthoven's law, as the
//! heart's own signal does.
//!
//! Every source advances sample by sample or is a pure function of time, so that the way in which a
//! signal is cut leaves no trace.

use std::collections::VecDeque;
use std::f64::consts::{PI, SQRT_2, TAU};

use super::chance::{Chance, Purpose};
use super::dipole::{N_ELECTRODES, Patient};
use super::rhythm::within;
use super::unrest::Unrest;
use crate::Error;

/// How much noise there is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Noise {
    /// Baseline wander at each electrode: RMS, mV. Breath, and slower.
    pub wander: f64,
    /// Muscle noise at each electrode: RMS, mV, 20 to 100 Hz.
    pub muscle: f64,
    /// Mains pick-up at each electrode: RMS, mV, with harmonics.
    pub mains: f64,
    /// The frequency of the mains, Hz; it drifts a little.
    pub mains_hz: f64,
    /// Motion artefacts: height in mV of the typical burst or electrode step.
    pub motion: f64,
    /// Bursts of motion a minute; they disturb the PPG, too.
    pub motion_per_minute: f64,
    /// Noise of the PPG: RMS, where a pulse is 1 high.
    pub ppg: f64,
    /// Steps a minute of somebody who walks, as restless as [`Scenario::unrest`](super::Scenario::unrest) says; 0 for nobody.
    /// They move the PPG as much as a pulse does, and so regularly that they look like one.
    pub steps_per_minute: f64,
}

impl Noise {
    /// None at all.
    pub const NONE: Noise = Noise {
        wander: 0.0,
        muscle: 0.0,
        mains: 0.0,
        mains_hz: 50.0,
        motion: 0.0,
        motion_per_minute: 0.0,
        ppg: 0.0,
        steps_per_minute: 0.0,
    };

    /// Somebody at rest.
    pub const REST: Noise = Noise {
        wander: 0.03,
        muscle: 0.008,
        mains: 0.004,
        ppg: 0.01,
        ..Self::NONE
    };

    /// Somebody about the house.
    pub const AMBULATORY: Noise = Noise {
        wander: 0.1,
        muscle: 0.025,
        mains: 0.01,
        motion: 0.4,
        motion_per_minute: 4.0,
        ppg: 0.03,
        ..Self::NONE
    };

    pub(super) fn check(&self) -> Result<(), Error> {
        within("baseline wander", self.wander, 0.0, 10.0)?;
        within("muscle noise", self.muscle, 0.0, 10.0)?;
        within("mains pick-up", self.mains, 0.0, 10.0)?;
        within("mains frequency", self.mains_hz, 45.0, 65.0)?;
        within("motion", self.motion, 0.0, 10.0)?;
        within(
            "motion bursts per minute",
            self.motion_per_minute,
            0.0,
            120.0,
        )?;
        within("PPG noise", self.ppg, 0.0, 10.0)?;
        within("steps per minute", self.steps_per_minute, 0.0, 240.0)
    }
}

/// A sine and its cosine, sample by sample.
#[derive(Debug, Clone)]
struct Oscillator {
    radians_per_sample: f64,
    phase: f64,
    state: (f64, f64),
    turn: (f64, f64),
}

impl Oscillator {
    /// How many samples rounding errors may add up for.
    const EXACT_EVERY: u64 = 256;

    fn new(cycles_per_sample: f64, phase: f64) -> Self {
        let radians_per_sample = TAU * cycles_per_sample;
        Self {
            radians_per_sample,
            phase,
            state: phase.sin_cos(),
            turn: radians_per_sample.sin_cos(),
        }
    }

    /// Sine and cosine at sample `n`, which is the one after that of the call before.
    fn sin_cos(&mut self, n: u64) -> (f64, f64) {
        if n.is_multiple_of(Self::EXACT_EVERY) {
            self.state = (self.radians_per_sample * n as f64 + self.phase).sin_cos();
        }
        let now = self.state;
        let ((s, c), (turn_s, turn_c)) = (now, self.turn);
        self.state = (s * turn_c + c * turn_s, c * turn_c - s * turn_s);
        now
    }
}

/// One source for all electrodes, with a share of sine and cosine for each.
#[derive(Debug, Clone)]
struct Shares([(f64, f64); N_ELECTRODES]);

impl Shares {
    /// Shares of RMS `rms` each, in random phase.
    fn new(chance: &mut Chance, rms: f64) -> Self {
        Self(std::array::from_fn(|_| {
            let (s, c) = chance.between(0.0, TAU).sin_cos();
            (SQRT_2 * rms * s, SQRT_2 * rms * c)
        }))
    }

    fn add(&self, (s, c): (f64, f64), potentials: &mut [f64], n: usize, k: usize) {
        for (electrode, (share_s, share_c)) in self.0.iter().enumerate() {
            potentials[electrode * n + k] += share_s * s + share_c * c;
        }
    }
}

/// White noise between two frequencies, first order twice at each end.
#[derive(Debug, Clone)]
struct Band {
    high_pole: f64,
    low_pole: f64,
    gain: f64,
}

/// State of one [`Band`]: two high-pass and two low-pass sections.
type BandState = [f64; 4];

impl Band {
    fn new(low_hz: f64, high_hz: f64, hz: f64, rms: f64) -> Self {
        let mut band = Self {
            high_pole: (-TAU * low_hz / hz).exp(),
            low_pole: (-TAU * high_hz / hz).exp(),
            gain: 1.0,
        };
        // The RMS of filtered white noise is the norm of the impulse response.
        let mut state = BandState::default();
        let energy: f64 = (0..2000)
            .map(|k| {
                band.push(&mut state, if k == 0 { 1.0 } else { 0.0 })
                    .powi(2)
            })
            .sum();
        band.gain = rms / energy.sqrt();
        band
    }

    fn push(&self, state: &mut BandState, white: f64) -> f64 {
        let mut x = self.gain * white;
        for slow in &mut state[..2] {
            *slow = self.high_pole * *slow + (1.0 - self.high_pole) * x;
            x -= *slow;
        }
        for smooth in &mut state[2..] {
            *smooth = self.low_pole * *smooth + (1.0 - self.low_pole) * x;
            x = *smooth;
        }
        x
    }
}

/// A burst of motion at one electrode, and the step that it leaves.
#[derive(Debug, Clone)]
struct Burst {
    electrode: usize,
    start: f64,
    length: f64,
    /// mV.
    height: f64,
    /// Frequencies and phases.
    sway: [(f64, f64); 3],
    /// mV, and the seconds in which it fades.
    step: f64,
    fade: f64,
    /// What the PPG sees of it.
    ppg: f64,
}

impl Burst {
    fn sway(&self, t: f64) -> f64 {
        let since = t - self.start;
        if since < 0.0 || since > self.length {
            return 0.0;
        }
        let window = (PI * since / self.length).sin();
        let sway = |&(hz, phase): &(f64, f64)| (TAU * hz * since + phase).sin();
        let sum: f64 = self.sway.iter().map(sway).sum();
        0.5 * window * window * sum
    }

    fn potential(&self, t: f64) -> f64 {
        let since = t - self.start - 0.5 * self.length;
        let step = if since < 0.0 {
            0.0
        } else {
            // 20 ms to slip, then the electrode settles.
            self.step * (1.0 - (-since / 0.02).exp()) * (-since / self.fade).exp()
        };
        self.height * self.sway(t) + step
    }

    fn end(&self) -> f64 {
        self.start + self.length + 8.0 * self.fade
    }
}

/// All noise of one simulated patient.
#[derive(Debug, Clone)]
pub(super) struct Electrodes {
    hz: f64,
    noise: Noise,
    unrest: Unrest,
    /// The factors of one block.
    factors: Vec<f64>,
    wander: Vec<(Oscillator, Shares)>,
    mains_drift: Oscillator,
    mains_phase: f64,
    /// Fundamental, second and third harmonic, as far as they are below Nyquist.
    mains: Vec<Shares>,
    muscle: Band,
    muscle_state: [BandState; N_ELECTRODES],
    muscle_chance: Chance,
    motion_chance: Chance,
    next_burst: f64,
    bursts: VecDeque<Burst>,
}

impl Electrodes {
    const MUSCLE_HZ: (f64, f64) = (20.0, 100.0);
    /// How slowly and how far the mains drift.
    const MAINS_DRIFT_HZ: f64 = 0.01;
    const MAINS_DEVIATION_HZ: f64 = 0.04;
    /// Relative height of the mains' fundamental and harmonics.
    const HARMONICS: [f64; 3] = [1.0, 0.06, 0.18];

    pub(super) fn new(seed: u64, noise: Noise, unrest: Unrest, hz: f64, patient: &Patient) -> Self {
        let chance = &mut Chance::new(seed, Purpose::Electrodes);
        // Breath makes half of the power, slower things the rest.
        let mut wander = vec![(
            Oscillator::new(patient.breath_hz / hz, patient.breath_phase),
            Shares::new(chance, noise.wander * 0.5_f64.sqrt()),
        )];
        for slow_hz in [0.06, 0.11, 0.17, 0.37] {
            let cycles = slow_hz * chance.between(0.85, 1.15) / hz;
            let phase = chance.between(0.0, TAU);
            let share = noise.wander * 0.125_f64.sqrt();
            wander.push((Oscillator::new(cycles, phase), Shares::new(chance, share)));
        }
        let mains_phase = chance.between(0.0, TAU);
        let mains = Self::HARMONICS
            .iter()
            .zip(1_u8..)
            .take_while(|(_, order)| f64::from(*order) * (noise.mains_hz + 1.0) < hz / 2.0)
            .map(|(height, _)| Shares::new(chance, noise.mains * height))
            .collect();
        let (low, high) = Self::MUSCLE_HZ;
        let mut motion_chance = Chance::new(seed, Purpose::Motion);
        let next_burst = if noise.motion > 0.0 && noise.motion_per_minute > 0.0 {
            motion_chance.wait(60.0 / noise.motion_per_minute)
        } else {
            f64::INFINITY
        };
        Self {
            hz,
            noise,
            unrest,
            factors: Vec::new(),
            wander,
            mains_drift: Oscillator::new(Self::MAINS_DRIFT_HZ / hz, chance.between(0.0, TAU)),
            mains_phase,
            mains,
            muscle: Band::new(low.min(0.2 * hz), high.min(0.4 * hz), hz, noise.muscle),
            muscle_state: [BandState::default(); N_ELECTRODES],
            muscle_chance: Chance::new(seed, Purpose::Muscle),
            motion_chance,
            next_burst,
            bursts: VecDeque::new(),
        }
    }

    /// Adds the noise to the rows of `potentials`, `n` samples from sample `first` of the record. Blocks
    /// come in order and without a gap.
    pub(super) fn render(&mut self, potentials: &mut [f64], n: usize, first: u64) {
        self.factors.clear();
        for k in 0..n {
            let t = (first + k as u64) as f64 / self.hz;
            self.factors.push(self.unrest.at(t));
        }
        if self.noise.wander > 0.0 {
            for (oscillator, shares) in &mut self.wander {
                for (k, factor) in self.factors.iter().enumerate() {
                    let (s, c) = oscillator.sin_cos(first + k as u64);
                    shares.add((factor * s, factor * c), potentials, n, k);
                }
            }
        }
        if self.noise.mains > 0.0 {
            self.add_mains(potentials, n, first);
        }
        if self.noise.muscle > 0.0 {
            for (k, factor) in self.factors.iter().enumerate() {
                for (electrode, state) in self.muscle_state.iter_mut().enumerate() {
                    let white = self.muscle_chance.normal();
                    potentials[electrode * n + k] += factor * self.muscle.push(state, white);
                }
            }
        }
        self.move_on(first as f64 / self.hz, (first + n as u64) as f64 / self.hz);
        for burst in &self.bursts {
            let row = &mut potentials[burst.electrode * n..(burst.electrode + 1) * n];
            for (k, x) in row.iter_mut().enumerate() {
                let t = (first + k as u64) as f64 / self.hz;
                if t >= burst.start && t < burst.end() {
                    *x += burst.potential(t);
                }
            }
        }
    }

    /// What motion does to the PPG at `t` seconds, which lies in the block rendered last.
    pub(super) fn ppg(&mut self, t: f64) -> f64 {
        let mut moved = self.bursts.iter().map(|b| b.ppg * b.sway(t)).sum();
        if self.noise.steps_per_minute > 0.0 {
            // The blood in a hanging arm is thrown down with each step.
            moved += self.unrest.at(t) * self.steps(t - 0.1);
        }
        moved
    }

    /// How the device is accelerated at `t` seconds, which lies in the block rendered last: x, y and z, g.
    pub(super) fn acceleration(&mut self, t: f64) -> [f64; 3] {
        let mut all = [0.26, -0.19, 0.95];
        for burst in &self.bursts {
            let sway = burst.ppg * burst.sway(t);
            let own = [0.3, 0.6, 0.4];
            all = std::array::from_fn(|k| all[k] + own[k] * sway);
        }
        if self.noise.steps_per_minute > 0.0 {
            let unrest = self.unrest.at(t);
            // Up and down with each step, and the arm to and fro with each second one.
            let swing = (0.5 * TAU * self.cadence_hz() * t).sin();
            all[0] += 0.2 * unrest * swing;
            all[2] += 0.35 * unrest * self.steps(t);
        }
        all
    }

    fn cadence_hz(&self) -> f64 {
        self.noise.steps_per_minute / 60.0
    }

    /// Steps at `t` seconds: 1 high, steeper where the foot meets the ground.
    fn steps(&self, t: f64) -> f64 {
        let turn = TAU * self.cadence_hz() * t;
        turn.sin() + 0.4 * (2.0 * turn).sin()
    }

    fn add_mains(&mut self, potentials: &mut [f64], n: usize, first: u64) {
        let swing = Self::MAINS_DEVIATION_HZ / Self::MAINS_DRIFT_HZ;
        for k in 0..n {
            let sample = first + k as u64;
            let drift = swing * self.mains_drift.sin_cos(sample).0;
            let turns = self.noise.mains_hz * (sample as f64 / self.hz);
            let (s, c) = (TAU * turns.fract() + self.mains_phase + drift).sin_cos();
            // Each harmonic from the one before, by the addition theorem.
            let (mut now_s, mut now_c) = (s, c);
            for shares in &self.mains {
                shares.add((now_s, now_c), potentials, n, k);
                (now_s, now_c) = (now_s * c + now_c * s, now_c * c - now_s * s);
            }
        }
    }

    /// Forgets the bursts that are over at `start`, draws those that begin before `end`.
    fn move_on(&mut self, start: f64, end: f64) {
        self.bursts.retain(|burst| burst.end() > start);
        while self.next_burst < end {
            let chance = &mut self.motion_chance;
            let electrode = (chance.unit() * N_ELECTRODES as f64).floor();
            let length = chance.between(0.4, 2.5);
            let factor = self.unrest.at(self.next_burst);
            let motion = factor * self.noise.motion;
            let height = motion * chance.between(0.3, 1.7);
            let sway =
                std::array::from_fn(|_| (chance.between(1.0, 9.0), chance.between(0.0, TAU)));
            let step = if chance.unit() < 0.4 {
                motion * chance.between(-1.5, 1.5)
            } else {
                0.0
            };
            let burst = Burst {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "below N_ELECTRODES, as unit is below 1"
                )]
                electrode: electrode as usize,
                start: self.next_burst,
                length,
                height,
                sway,
                step,
                fade: chance.between(0.2, 0.8),
                ppg: factor * chance.between(0.2, 1.5),
            };
            // Somebody who is quiet moves less often, too.
            if self.unrest.is_level() || chance.unit() < factor {
                self.bursts.push_back(burst);
            }
            self.next_burst += chance.wait(60.0 / self.noise.motion_per_minute);
        }
    }
}
