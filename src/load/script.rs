//! Scripts: seeded signals of some minutes, simulated and encoded once, played by many devices.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ecg::simulate::{AvBlock, Contact, Ectopy, Noise, OffSpan, Rhythm, Scenario, Truth};
use ecg::{BootId, SampleRate, Utc};
use ingest::Body;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::Error;
use super::plan::{Kind, Plan};
use crate::wearable::Simulated;

/// Samples per second of leads and PPGs.
pub const RATE_HZ: f64 = 250.0;
/// The rate of accelerometers.
const ACCELEROMETER_HZ: f64 = 50.0;

/// A signal, second by second.
#[derive(Debug)]
pub struct Script {
    /// What it shows.
    pub kind: Kind,
    /// Its seconds, encoded.
    pub bodies: Vec<Body>,
    /// What is true of it.
    pub truth: Truth,
    /// Its rate.
    pub rate: SampleRate,
}

impl Script {
    /// The `k`-th script of a plan.
    ///
    /// # Errors
    /// [`Error::Signals`] for leads that cannot be sent together.
    pub fn new(plan: &Plan, k: usize) -> Result<Self, Error> {
        let kind = plan.mix.kind(k);
        let seed = plan.seed.wrapping_mul(1_000_003).wrapping_add(k as u64);
        let refuse = |error: String| Error::Signals(error);
        let of = |hz: f64| SampleRate::new(hz).map_err(|error| refuse(error.to_string()));
        let (rate, accelerometer) = (of(RATE_HZ)?, of(ACCELEROMETER_HZ)?);
        let scenario = scenario(kind, seed, (rate, accelerometer));
        let leads = if kind.has_ecg() { &*plan.leads } else { &[] };
        let mut wearable = Simulated::new(&scenario, leads, BootId(0), Utc(0))
            .map_err(|error| refuse(error.to_string()))?;
        let mut truth = Truth::default();
        let mut bodies = Vec::new();
        for _ in 0..plan.script_seconds() {
            let (packet, more) = wearable
                .second_and_truth()
                .map_err(|error| refuse(error.to_string()))?;
            bodies.push(Body::new(&packet));
            truth.append(more);
        }
        Ok(Self {
            kind,
            bodies,
            truth,
            rate,
        })
    }

    /// All scripts of a plan, made on all cores. `done` is called after each.
    ///
    /// # Errors
    /// As [`Script::new`].
    pub fn all(plan: &Plan, done: impl Fn() + Sync) -> Result<Vec<Self>, Error> {
        let n = plan.n_scripts();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let next = AtomicUsize::new(0);
        let made = Mutex::new(Vec::with_capacity(n));
        std::thread::scope(|scope| {
            for _ in 0..cores.min(n) {
                scope.spawn(|| {
                    loop {
                        let k = next.fetch_add(1, Ordering::Relaxed);
                        if k >= n {
                            return;
                        }
                        let script = Script::new(plan, k);
                        let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
                        made.push((k, script));
                        done();
                    }
                });
            }
        });
        let mut made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
        made.sort_by_key(|(k, _)| *k);
        made.into_iter().map(|(_, script)| script).collect()
    }

    /// The body of a second of the play: after the last of the script comes the first again.
    pub fn body(&self, second: u32) -> &Body {
        &self.bodies[second as usize % self.bodies.len()]
    }
}

/// What a wearer of this kind goes through, over and over.
fn scenario(kind: Kind, seed: u64, (rate, accelerometer): (SampleRate, SampleRate)) -> Scenario {
    let chance = &mut StdRng::seed_from_u64(seed);
    let mut between = |low: f64, high: f64| chance.random_range(low..high);
    let bpm = between(58.0, 88.0);
    let usual = Rhythm::Sinus { bpm };
    let ectopic = |pattern| Rhythm::Ectopic { bpm, pattern };
    let mut contact_off = Vec::new();
    // The first event comes early, so that short plays have one.
    let lead_in = between(12.0, 30.0);
    let event = match kind {
        Kind::Normal | Kind::Noisy => Vec::new(),
        Kind::Fibrillation => {
            let bpm = between(75.0, 115.0);
            vec![(Rhythm::AtrialFibrillation { bpm }, 600.0)]
        }
        Kind::Ectopy => {
            let per_minute = between(4.0, 14.0);
            vec![
                (ectopic(Ectopy::Single { per_minute }), 60.0),
                (ectopic(Ectopy::Couplets { per_minute: 4.0 }), 30.0),
                (ectopic(Ectopy::Bigeminy), 20.0),
                (ectopic(Ectopy::Atrial { per_minute: 6.0 }), 40.0),
            ]
        }
        Kind::Tachycardia => {
            let bpm = between(150.0, 210.0);
            vec![(Rhythm::VentricularTachycardia { bpm }, between(10.0, 25.0))]
        }
        Kind::VentricularFibrillation => {
            vec![(Rhythm::VentricularFibrillation, between(12.0, 30.0))]
        }
        Kind::Asystole => vec![(Rhythm::Asystole, between(6.0, 12.0))],
        // The last pulse comes after the last beat.
        Kind::PulseLost => vec![(Rhythm::Asystole, between(9.0, 14.0))],
        Kind::Pause => {
            let seconds = between(3.2, 3.8);
            vec![(Rhythm::Pause { bpm, seconds }, 15.0)]
        }
        Kind::Slow => {
            let escape_bpm = between(30.0, 36.0);
            let degree = AvBlock::Complete { escape_bpm };
            vec![(Rhythm::AvBlock { bpm, degree }, between(25.0, 40.0))]
        }
        Kind::Fast | Kind::Pulse => {
            let bpm = between(150.0, 170.0);
            vec![(Rhythm::Sinus { bpm }, between(20.0, 40.0))]
        }
        Kind::LeadsOff => {
            let seconds = between(5.0, 15.0);
            for contact in [Contact::RA, Contact::LL] {
                contact_off.push(OffSpan {
                    contact,
                    start: lead_in,
                    seconds,
                });
            }
            vec![(usual, seconds)]
        }
    };
    let mut rhythms = vec![(usual, lead_in)];
    rhythms.extend(event);
    rhythms.push((usual, between(25.0, 60.0)));
    let noise = match kind {
        Kind::Noisy => Noise::AMBULATORY,
        _ => Noise::REST,
    };
    Scenario {
        rhythms,
        repeat: true,
        noise,
        contact_off,
        ppg_rate: (!kind.has_ecg()).then_some(rate),
        acceleration_rate: (kind == Kind::Pulse).then_some(accelerometer),
        ..Scenario::new(seed, rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_the_same_again_and_another_is_not() {
        let plan = Plan::new("mqtt://127.0.0.1:1", 3, 30);
        let [once, twice] = [(), ()].map(|()| Script::all(&plan, || ()).unwrap());
        assert_eq!(once.len(), 3);
        for (a, b) in once.iter().zip(&twice) {
            assert_eq!(a.bodies, b.bodies);
            assert_eq!(a.bodies.len(), 30);
        }
        assert_ne!(once[0].bodies, once[1].bodies);
        assert_eq!(once[0].body(31), once[0].body(1));
    }

    #[test]
    fn every_kind_can_be_simulated() {
        for kind in Kind::ALL {
            let mut plan = Plan::new("mqtt://127.0.0.1:1", 1, 90);
            plan.mix = kind.name().parse().unwrap();
            let script = Script::new(&plan, 0).unwrap();
            assert_eq!(script.kind, kind);
            let beatless = script.truth.episodes.iter().any(|e| e.rhythm.is_beatless());
            let expected = matches!(
                kind,
                Kind::Asystole | Kind::VentricularFibrillation | Kind::PulseLost
            );
            assert_eq!(beatless, expected, "{kind:?}");
        }
    }
}
