//! The seeded ECG and PPG simulator.
//!
//! The heart is a moving dipole; nine electrodes see it through a lead field, noise is added to their
//! potentials, and the leads are differences of those. So the limb-lead identities (III = II - I,
//! aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2) hold to the last bit, noise or not.
//!
//! **The same [`Scenario`] gives the same samples and the same [`Truth`], however [`Simulator::advance`]
//! cuts them.** Memory does not grow with the length of the record. No clock, no randomness without
//! the seed.
//!
//! ```text
//! schedule > heart --+-- waves > dipole > electrodes + noise > leads
//!                    +-- pulses > sensor + motion > PPG
//!                    +-- beats > truth
//! motion > acceleration
//! ```
//!
//! ```
//! use ecg::simulate::{Rhythm, Scenario, record};
//! use ecg::{Lead, SampleRate};
//!
//! let scenario = Scenario {
//!     rhythms: vec![(Rhythm::Sinus { bpm: 60.0 }, 20.0), (Rhythm::Asystole, 10.0)],
//!     ..Scenario::new(7, SampleRate::new(250.0)?)
//! };
//! let segment = record(&scenario, 30.0)?;
//! assert_eq!(segment.lead(Lead::II).map(<[f32]>::len), Some(7500));
//! assert!(segment.truth.beats.iter().all(|beat| beat.r_peak.0 < 20 * 250));
//! # Ok::<(), ecg::Error>(())
//! ```

mod chance;
mod contact;
mod dipole;
mod fibrillation;
mod heart;
mod noise;
mod pulse;
mod rhythm;
mod truth;
mod unrest;

pub use contact::OffSpan;
pub use noise::Noise;
pub use rhythm::{AvBlock, Ectopy, Rhythm};
pub use truth::{Contact, ContactOff, Episode, Fiducials, TrueBeat, Truth};

use std::collections::VecDeque;
use std::ops::Range;

use crate::{Error, Lead, SampleCount, SampleIndex, SampleRate, SignalKind};

use chance::{Chance, Purpose};
use contact::{Contacts, Occurrence};
use dipole::{N_ELECTRODES, Patient};
use fibrillation::Fibrillation;
use heart::{Activity, Heart};
use noise::Electrodes;
use pulse::Sensor;
use rhythm::{Schedule, within};
use unrest::Unrest;

/// The range of the simulated amplifier: no lead goes beyond ± so many mV (the derived ones twice).
pub const RAIL_MV: f64 = 10.0;

/// What to simulate.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Everything random follows from it: the patient, each beat, the noise.
    pub seed: u64,
    /// Sampling rate of the ECG.
    pub rate: SampleRate,
    /// Sampling rate of the PPG, `None` for no PPG.
    pub ppg_rate: Option<SampleRate>,
    /// Sampling rate of the accelerometer beside it, `None` for none.
    pub acceleration_rate: Option<SampleRate>,
    /// The rhythms in order, each with its seconds. Without repetition the last one goes on for ever,
    /// whatever its seconds say.
    pub rhythms: Vec<(Rhythm, f64)>,
    /// Start again with the first rhythm after the last.
    pub repeat: bool,
    /// How much noise there is.
    pub noise: Noise,
    /// How restless the wearer is: pairs of seconds and what wander, muscle noise and motion are multiplied with there, in
    /// order, with a line between them; as often as they are less than 1, bursts of motion are fewer. Throughout 1 where
    /// there are none.
    pub unrest: Vec<(f64, f64)>,
    /// The conduction system is blocked to the left: every conducted QRS is wide, with a T wave against it.
    pub left_bundle_branch_block: bool,
    /// When electrodes, or the sensor of the PPG, are off.
    pub contact_off: Vec<OffSpan>,
    /// Breaths per minute, 4 to 60; `None` for what is usual for the patient, 12 to 18.
    pub breaths_per_minute: Option<f64>,
}

impl Scenario {
    /// Sinus rhythm at 72 beats a minute in somebody at rest, without PPG: a start for others.
    pub fn new(seed: u64, rate: SampleRate) -> Self {
        Self {
            seed,
            rate,
            ppg_rate: None,
            acceleration_rate: None,
            rhythms: vec![(Rhythm::Sinus { bpm: 72.0 }, f64::INFINITY)],
            repeat: false,
            noise: Noise::REST,
            unrest: Vec::new(),
            left_bundle_branch_block: false,
            contact_off: Vec::new(),
            breaths_per_minute: None,
        }
    }
}

/// A span of simulated signals and their truth.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Position of the first ECG sample.
    pub start: SampleIndex,
    /// Sampling rate of the ECG.
    pub rate: SampleRate,
    /// ECG samples per lead.
    pub n_samples: usize,
    /// The twelve leads, `[12, sample]`, mV, in the order of [`Lead::TWELVE`].
    pub leads: Vec<f32>,
    /// The PPG samples taken in the span, arbitrary units; empty where there is no PPG.
    pub ppg: Vec<f32>,
    /// The acceleration in the span along x, y and z, g; empty where there is no accelerometer.
    pub acceleration: [Vec<f32>; 3],
    /// What is true of the span.
    pub truth: Truth,
}

impl Segment {
    /// The samples of `lead`, mV; `None` for [`Lead::Unstated`].
    pub fn lead(&self, lead: Lead) -> Option<&[f32]> {
        let row = lead.row()?;
        Some(&self.leads[row * self.n_samples..(row + 1) * self.n_samples])
    }

    /// Whether a contact that `signal` needs is off anywhere in the span.
    pub fn lead_off(&self, signal: SignalKind) -> bool {
        self.truth
            .contact_off
            .iter()
            .any(|off| off.contact.affects(signal))
    }
}

/// Simulates the first `seconds` of `scenario` at once.
///
/// # Errors
/// As [`Simulator::new`], and where `seconds` is not 0 to 86,400.
pub fn record(scenario: &Scenario, seconds: f64) -> Result<Segment, Error> {
    within("seconds of a record", seconds, 0.0, 86_400.0)?;
    let n = scenario.rate.count(seconds);
    Ok(Simulator::new(scenario)?.advance(n))
}

/// A patient with electrodes on, played sample by sample.
#[derive(Debug, Clone)]
pub struct Simulator {
    rate: SampleRate,
    ppg_rate: Option<SampleRate>,
    acceleration_rate: Option<SampleRate>,
    acceleration_chance: Chance,
    schedule: Schedule,
    patient: Patient,
    heart: Heart,
    activity: Activity,
    fibrillation: Fibrillation,
    electrodes: Electrodes,
    contacts: Contacts,
    sensor: Sensor,
    /// The next sample.
    position: SampleIndex,
    /// The stretch of the schedule that `position` is in.
    k: u64,
    /// Three rows of one block.
    dipole: Vec<f64>,
    /// A row of one block for each electrode.
    potentials: Vec<f64>,
}

impl Simulator {
    /// Samples simulated at once: what stays in a cache.
    const BLOCK: usize = 128;

    /// A simulator at the start of `scenario`.
    ///
    /// # Errors
    /// [`Error::Scenario`] naming the first value outside its limits.
    pub fn new(scenario: &Scenario) -> Result<Self, Error> {
        scenario.noise.check()?;
        let schedule = Schedule::new(&scenario.rhythms, scenario.repeat)?;
        let contacts = Contacts::new(scenario, schedule.cycle())?;
        let unrest = Unrest::new(&scenario.unrest)?;
        let mut patient = Patient::new(scenario.seed, scenario.left_bundle_branch_block);
        if let Some(breaths) = scenario.breaths_per_minute {
            within("breaths per minute", breaths, 4.0, 60.0)?;
            patient.breath_hz = breaths / 60.0;
        }
        let ppg_rate = scenario.ppg_rate.unwrap_or(scenario.rate);
        let hz = scenario.rate.hz();
        Ok(Self {
            rate: scenario.rate,
            ppg_rate: scenario.ppg_rate,
            acceleration_rate: scenario.acceleration_rate,
            acceleration_chance: Chance::new(scenario.seed, Purpose::Acceleration),
            heart: Heart::new(scenario.seed, scenario.rate, schedule.clone()),
            activity: Activity::default(),
            fibrillation: Fibrillation::new(scenario.seed),
            electrodes: Electrodes::new(scenario.seed, scenario.noise, unrest, hz, &patient),
            sensor: Sensor::new(scenario.seed, scenario.noise.ppg, ppg_rate.hz()),
            contacts,
            patient,
            schedule,
            position: SampleIndex(0),
            k: 0,
            dipole: Vec::new(),
            potentials: Vec::new(),
        })
    }

    /// The position of the next sample.
    pub fn position(&self) -> SampleIndex {
        self.position
    }

    /// How often the patient breathes in a minute, which never changes.
    pub fn breaths_per_minute(&self) -> f64 {
        60.0 * self.patient.breath_hz
    }

    /// The next `n` ECG samples, the PPG samples and the acceleration of the same span, and its truth. Allocates all of it.
    pub fn advance(&mut self, n: SampleCount) -> Segment {
        let n_samples = usize::try_from(n.0).unwrap_or(usize::MAX);
        let mut segment = Segment {
            start: self.position,
            rate: self.rate,
            n_samples,
            leads: vec![0.0; Lead::TWELVE.len().saturating_mul(n_samples)],
            ppg: Vec::new(),
            acceleration: Default::default(),
            truth: Truth::default(),
        };
        let mut done = 0;
        while done < n_samples {
            let block = Self::BLOCK.min(n_samples - done);
            self.block(block, done, &mut segment);
            done += block;
        }
        segment
    }

    /// Simulates `n` samples into `segment`, from sample `at` of it.
    fn block(&mut self, n: usize, at: usize, segment: &mut Segment) {
        let first = self.position.0;
        let end = self.position.after(SampleCount(n as u64));
        let hz = self.rate.hz();
        self.heart
            .decide(end.0 as f64 / hz, &self.patient, &mut self.activity);

        self.dipole.clear();
        self.dipole.resize(3 * n, 0.0);
        for wave in &self.activity.waves {
            wave.render(&mut self.dipole, n, first, hz);
        }
        self.fibrillation
            .render(&mut self.dipole, n, first, hz, &self.schedule);

        self.potentials.clear();
        self.potentials.resize(N_ELECTRODES * n, 0.0);
        self.patient
            .lead_field
            .project(&self.dipole, &mut self.potentials, n);
        self.electrodes.render(&mut self.potentials, n, first);
        let off = self.contacts.between(self.position, end);
        for occurrence in &off {
            self.contacts
                .open(occurrence, &mut self.potentials, n, first);
        }
        take_leads(&self.potentials, n, at, segment);
        self.take_ppg(end, &off, &mut segment.ppg);
        self.take_acceleration(end, &mut segment.acceleration);
        self.take_truth(end, &off, &mut segment.truth);

        let over = end.0 as f64 / hz;
        self.activity.waves.retain(|wave| wave.end() >= over);
        pulse::forget(&mut self.activity.strokes, over);
        self.position = end;
    }

    /// The samples at another rate from the next sample of the ECG on to before `end`.
    fn samples(&self, end: SampleIndex, rate: SampleRate) -> Range<u64> {
        // The first one at or after a position of the ECG.
        let first_at = |at: SampleIndex| {
            self.rate
                .convert_exact(at, rate)
                .unwrap_or_else(|| self.rate.convert(at, rate).after(SampleCount(1)))
                .0
        };
        first_at(self.position)..first_at(end)
    }

    fn take_acceleration(&mut self, end: SampleIndex, axes: &mut [Vec<f32>; 3]) {
        /// g.
        const NOISE: f64 = 0.004;
        let Some(rate) = self.acceleration_rate else {
            return;
        };
        for k in self.samples(end, rate) {
            let all = self.electrodes.acceleration(k as f64 / rate.hz());
            for (axis, g) in axes.iter_mut().zip(all) {
                axis.push(single(g + NOISE * self.acceleration_chance.normal()));
            }
        }
    }

    fn take_ppg(&mut self, end: SampleIndex, off: &[Occurrence], ppg: &mut Vec<f32>) {
        let Some(rate) = self.ppg_rate else {
            return;
        };
        for k in self.samples(end, rate) {
            let at = rate.convert(SampleIndex(k), self.rate);
            let dark = off.iter().any(|occurrence| {
                let off = occurrence.off;
                off.contact == Contact::Ppg && off.start <= at && at < off.end
            });
            let t = k as f64 / rate.hz();
            let x = if dark {
                self.sensor.dark()
            } else {
                self.sensor.sample(t, &self.activity.strokes, &self.patient)
                    + self.electrodes.ppg(t)
            };
            ppg.push(single(x));
        }
    }

    fn take_truth(&mut self, end: SampleIndex, off: &[Occurrence], truth: &mut Truth) {
        take_before(&mut self.activity.beats, &mut truth.beats, |beat| {
            beat.r_peak < end
        });
        take_before(&mut self.activity.lone_p, &mut truth.lone_p, |p| {
            p.peak < end
        });
        let mut start = self.position;
        while start < end {
            let stretch = self.schedule.stretch(self.k);
            let over = SampleIndex(self.rate.count(stretch.end).0);
            if over > start {
                let end = over.min(end);
                truth.add_episode(Episode {
                    rhythm: stretch.rhythm,
                    start,
                    end,
                });
                start = end;
            }
            if over <= start {
                self.k += 1;
            }
        }
        for occurrence in off {
            truth.add_contact_off(occurrence.off);
        }
    }
}

/// The leads of one block of electrode potentials, to `segment` from sample `at` of it.
fn take_leads(potentials: &[f64], n: usize, at: usize, segment: &mut Segment) {
    let stride = segment.n_samples;
    for k in 0..n {
        let electrode = |row: usize| potentials[row * n + k];
        let (ra, la, ll) = (electrode(0), electrode(1), electrode(2));
        let terminal = (ra + la + ll) / 3.0;
        // What an amplifier measures; the rest is arithmetic on its output.
        let measured = |mv: f64| single(mv.clamp(-RAIL_MV, RAIL_MV));
        let (i, ii) = (measured(la - ra), measured(ll - ra));
        let mut put = |row: usize, mv: f32| segment.leads[row * stride + at + k] = mv;
        put(0, i);
        put(1, ii);
        put(2, ii - i);
        put(3, -(i + ii) / 2.0);
        put(4, i - ii / 2.0);
        put(5, ii - i / 2.0);
        for chest in 0..6 {
            put(6 + chest, measured(electrode(3 + chest) - terminal));
        }
    }
}

fn take_before<T: Copy>(from: &mut VecDeque<T>, to: &mut Vec<T>, before: impl Fn(&T) -> bool) {
    while let Some(item) = from.pop_front_if(|item| before(item)) {
        to.push(item);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "samples are stored in single precision"
)]
fn single(x: f64) -> f32 {
    x as f32
}
