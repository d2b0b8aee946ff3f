//! When the heart beats: RR intervals of each rhythm, and what each beat does to dipole and pulse.
//!
//! **The heart runs ahead of the signal, beat by beat, and never looks at where the signal is cut.**
//! `cursor` is the time up to which everything is decided; a wave of a beat yet undecided begins less
//! than [`Heart::LOOKAHEAD`] before it.

use std::collections::VecDeque;
use std::f64::consts::TAU;

use super::chance::{Chance, Purpose};
use super::dipole::{Atrium, Extent, Origin, Patient, Wave};
use super::pulse::Stroke;
use super::rhythm::{AvBlock, Ectopy, Rhythm, Schedule, Stretch};
use super::truth::{Fiducials, TrueBeat};
use crate::{BeatClass, SampleIndex, SampleRate};

/// A beat to come. The beats of a pattern (a couplet and its pause) are planned together.
#[derive(Debug, Clone, Copy)]
struct Planned {
    /// Seconds from the R peak before.
    interval: f64,
    origin: Origin,
    class: BeatClass,
    /// Its P wave, and the PR interval.
    p: Option<(Atrium, f64)>,
    /// A blocked P wave so long before its own.
    blocked_p: Option<f64>,
}

/// What the heart has decided and nobody has taken yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity {
    pub(super) waves: Vec<Wave>,
    pub(super) beats: VecDeque<TrueBeat>,
    pub(super) lone_p: VecDeque<Fiducials>,
    pub(super) strokes: VecDeque<Stroke>,
}

#[derive(Debug, Clone)]
pub(super) struct Heart {
    schedule: Schedule,
    rate: SampleRate,
    chance: Chance,
    /// The stretch of the schedule that `cursor` is in, and its number.
    stretch: Stretch,
    k: u64,
    /// How many patterns have been planned in this stretch.
    n_patterns: u64,
    planned: VecDeque<Planned>,
    /// No beat between the last beatless rhythm (or the start of the record) and the cursor.
    silent: bool,
    /// The last R peak.
    r: f64,
    /// What QT and filling have adapted to.
    mean_rr: f64,
    /// The next P wave of dissociated atria.
    next_p: f64,
    cursor: f64,
}

impl Heart {
    /// More than the longest time between the first wave that a beat brings (a blocked P wave) and its R
    /// peak.
    const LOOKAHEAD: f64 = 5.0;
    /// The first beat after silence, seconds from its end: room for a P wave.
    const AWAKENING: f64 = 0.45;
    /// Longer RR intervals neither lengthen QT nor fill the ventricles any further, seconds.
    const LONGEST_RR: f64 = 2.5;
    /// After this RR interval the ventricles are full, whatever the rate was before, seconds.
    const FULL_RR: f64 = 0.9;
    /// The slow wave of blood pressure.
    const MAYER_HZ: f64 = 0.1;

    pub(super) fn new(seed: u64, rate: SampleRate, schedule: Schedule) -> Self {
        Self {
            stretch: schedule.stretch(0),
            schedule,
            rate,
            chance: Chance::new(seed, Purpose::Heart),
            k: 0,
            n_patterns: 0,
            planned: VecDeque::new(),
            silent: true,
            r: -10.0,
            mean_rr: 0.85,
            next_p: 0.1,
            cursor: 0.0,
        }
    }

    /// Decides everything that can be seen before `until`, seconds of the record.
    pub(super) fn decide(&mut self, until: f64, patient: &Patient, activity: &mut Activity) {
        while self.cursor < until + Self::LOOKAHEAD {
            self.step(patient, activity);
        }
    }

    fn step(&mut self, patient: &Patient, activity: &mut Activity) {
        if self.stretch.rhythm.is_beatless() {
            self.silent = true;
            self.enter_next();
            return;
        }
        let beat = match self.planned.pop_front() {
            Some(beat) => beat,
            None => self.plan(patient),
        };
        let earliest = self.stretch.start + if self.silent { Self::AWAKENING } else { 0.0 };
        let r = (self.r + beat.interval).max(earliest);
        let dissociated = matches!(
            self.stretch.rhythm,
            Rhythm::AvBlock {
                degree: AvBlock::Complete { .. },
                ..
            }
        );
        if dissociated {
            self.dissociated_p(r.min(self.stretch.end), patient, activity);
        }
        if r >= self.stretch.end {
            self.enter_next();
            return;
        }
        self.beat(beat, r, patient, activity);
        self.silent = false;
        self.cursor = r;
    }

    fn enter_next(&mut self) {
        self.cursor = self.stretch.end;
        // The end of the last stretch is infinite, and nobody asks for more than all.
        if self.cursor.is_finite() {
            self.k += 1;
            self.stretch = self.schedule.stretch(self.k);
            self.n_patterns = 0;
            self.planned.clear();
            self.next_p = self.stretch.start + 0.1;
        }
    }

    fn beat(&mut self, beat: Planned, r: f64, patient: &Patient, activity: &mut Activity) {
        if self.silent {
            self.mean_rr = beat.interval.min(Self::LONGEST_RR);
        }
        let rr = if self.silent {
            self.mean_rr
        } else {
            (r - self.r).min(Self::LONGEST_RR)
        };
        let breath = patient.breath(r);
        let waves = &mut activity.waves;
        let p_onset = |pr: f64| r + patient.qrs_onset() - pr;
        if let (Some(before), Some((_, pr))) = (beat.blocked_p, beat.p) {
            let onset = p_onset(pr) - before;
            if onset >= self.stretch.start {
                let p = patient.atria(Atrium::Sinus, onset, waves);
                activity.lone_p.push_back(fiducials(p, self.rate));
            }
        }
        let p = beat
            .p
            .map(|(atrium, pr)| patient.atria(atrium, p_onset(pr), waves));
        let gain = 1.0 + 0.04 * breath + 0.015 * self.chance.normal();
        // A premature beat repolarises sooner than the mean rate would have it.
        let adapted = self.mean_rr.min(1.3 * rr);
        let (qrs, t) = patient.ventricles(beat.origin, r, adapted, gain, waves);

        let ventricular = beat.origin == Origin::Ventricular;
        let filling = ((rr / self.mean_rr.min(Self::FULL_RR) - 0.3) / 0.7)
            .clamp(0.0, 1.25)
            .powf(0.8);
        let amplitude = filling * if ventricular { 0.65 } else { 1.0 } * (1.0 + 0.08 * breath);
        let onset = r
            + patient.transit
            + 0.006 * breath
            + 0.003 * self.chance.normal()
            + if ventricular { 0.015 } else { 0.0 };
        let felt = amplitude >= Stroke::WEAKEST;
        if felt {
            activity.strokes.push_back(Stroke {
                onset,
                amplitude,
                stretch: (adapted / 0.85).sqrt().clamp(0.55, 1.2),
            });
        }
        activity.beats.push_back(TrueBeat {
            r_peak: index(r, self.rate),
            class: beat.class,
            p: p.map(|p| fiducials(p, self.rate)),
            qrs: fiducials(qrs, self.rate),
            t: fiducials(t, self.rate),
            pulse_onset: felt.then(|| index(onset, self.rate)),
        });
        self.mean_rr += 0.2 * (rr - self.mean_rr);
        self.r = r;
    }

    /// The P waves of atria on their own, up to `until`.
    fn dissociated_p(&mut self, until: f64, patient: &Patient, activity: &mut Activity) {
        let Rhythm::AvBlock { bpm, .. } = self.stretch.rhythm else {
            return;
        };
        while self.next_p < until {
            let p = patient.atria(Atrium::Sinus, self.next_p, &mut activity.waves);
            activity.lone_p.push_back(fiducials(p, self.rate));
            self.next_p += self.sinus_interval(bpm, self.next_p, patient);
        }
    }

    /// Plans the next pattern of the rhythm; returns its first beat, keeps the others.
    fn plan(&mut self, patient: &Patient) -> Planned {
        let n = self.n_patterns;
        self.n_patterns += 1;
        match self.stretch.rhythm {
            Rhythm::Sinus { bpm } => self.sinus(bpm, patient),
            Rhythm::Pause { bpm, seconds } => {
                let mut beat = self.sinus(bpm, patient);
                if n == 2 {
                    beat.interval = seconds;
                }
                beat
            }
            Rhythm::AtrialFibrillation { bpm } => {
                // Log-normal intervals; the AV node lets nothing through too soon.
                const SPREAD: f64 = 0.22;
                let mean = 60.0 / bpm;
                let factor = (SPREAD * self.chance.normal() - 0.5 * SPREAD * SPREAD).exp();
                Planned {
                    p: None,
                    ..conducted((mean * factor).max(0.26), patient)
                }
            }
            Rhythm::Ectopic { bpm, pattern } => self.ectopic(bpm, pattern, n, patient),
            Rhythm::VentricularTachycardia { bpm } => {
                ventricular(60.0 / bpm * (1.0 + 0.008 * self.chance.normal()))
            }
            Rhythm::AvBlock { bpm, degree } => self.blocked(bpm, degree, patient),
            // `step` leaves beatless rhythms before it plans anything; a heart that does nothing is right.
            Rhythm::VentricularFibrillation | Rhythm::Asystole => conducted(f64::INFINITY, patient),
        }
    }

    fn sinus_interval(&mut self, bpm: f64, t: f64, patient: &Patient) -> f64 {
        let mean = 60.0 / bpm;
        // The vagus has little to say at high rates.
        let depth = patient.rsa * (mean / 0.8).min(1.2);
        let mayer = (TAU * Self::MAYER_HZ * t).sin();
        let swing = depth * patient.breath(t) + 0.4 * depth * mayer;
        mean * (1.0 + swing + 0.006 * self.chance.normal())
    }

    fn sinus(&mut self, bpm: f64, patient: &Patient) -> Planned {
        let interval = self.sinus_interval(bpm, self.r, patient);
        conducted(interval, patient)
    }

    fn ectopic(&mut self, bpm: f64, pattern: Ectopy, n: u64, patient: &Patient) -> Planned {
        let beat = self.sinus(bpm, patient);
        let rr = beat.interval;
        let after = |interval| Planned { interval, ..beat };
        // A pattern with an ectopic beat takes `beats` sinus intervals, so that the mean rate holds.
        let mut comes = |per_minute: f64, beats: f64| {
            self.chance.unit() < per_minute / (bpm - (beats - 1.0) * per_minute)
        };
        let coupling = |chance: f64| (0.5 + 0.12 * chance) * rr;
        match pattern {
            Ectopy::Single { per_minute } if comes(per_minute, 2.0) => {
                let early = coupling(self.chance.unit());
                self.planned.push_back(after(2.0 * rr - early));
                ventricular(early)
            }
            Ectopy::Bigeminy if n > 0 => {
                let early = 0.55 * rr;
                self.planned.push_back(after(2.0 * rr - early));
                ventricular(early)
            }
            Ectopy::Couplets { per_minute } if comes(per_minute, 3.0) => {
                let early = coupling(self.chance.unit());
                let second = (0.5 * rr).max(0.3);
                self.planned.push_back(ventricular(second));
                self.planned.push_back(after(3.0 * rr - early - second));
                ventricular(early)
            }
            Ectopy::Atrial { per_minute } if comes(per_minute, 2.0) => {
                let early = (0.6 + 0.1 * self.chance.unit()) * rr;
                // The sinus node is reset: less than a full compensatory pause.
                self.planned.push_back(after(1.12 * rr));
                Planned {
                    interval: early,
                    class: BeatClass::S,
                    p: beat.p.map(|(_, pr)| (Atrium::Ectopic, pr)),
                    ..beat
                }
            }
            _ => beat,
        }
    }

    fn blocked(&mut self, bpm: f64, degree: AvBlock, patient: &Patient) -> Planned {
        let beat = self.sinus(bpm, patient);
        let pp = beat.interval;
        match degree {
            AvBlock::First => Planned {
                p: Some((Atrium::Sinus, patient.pr + 0.1)),
                ..beat
            },
            AvBlock::Wenckebach => {
                // Each PR is longer than the one before, by less and less, so that RR shortens.
                const LATER: [f64; 4] = [0.0, 0.08, 0.12, 0.14];
                let delayed = |by: f64, interval: f64| Planned {
                    interval,
                    p: beat.p.map(|(atrium, pr)| (atrium, pr + by)),
                    ..beat
                };
                for pair in LATER.windows(2) {
                    self.planned
                        .push_back(delayed(pair[1], pp + pair[1] - pair[0]));
                }
                Planned {
                    blocked_p: Some(pp),
                    ..delayed(0.0, 2.0 * pp - LATER[3])
                }
            }
            AvBlock::TwoToOne => Planned {
                interval: 2.0 * pp,
                blocked_p: Some(pp),
                ..beat
            },
            AvBlock::Complete { escape_bpm } => {
                let interval = 60.0 / escape_bpm * (1.0 + 0.01 * self.chance.normal());
                Planned {
                    interval,
                    p: None,
                    ..beat
                }
            }
        }
    }
}

/// A beat from the sinus node.
fn conducted(interval: f64, patient: &Patient) -> Planned {
    // The AV node conducts faster at high rates.
    let pr = patient.pr * (0.7 + 0.3 * (interval / 0.8).min(1.0));
    Planned {
        interval,
        origin: Origin::Conducted,
        class: BeatClass::N,
        p: Some((Atrium::Sinus, pr.max(0.12))),
        blocked_p: None,
    }
}

/// A beat from the ventricles.
fn ventricular(interval: f64) -> Planned {
    Planned {
        interval,
        origin: Origin::Ventricular,
        class: BeatClass::V,
        p: None,
        blocked_p: None,
    }
}

fn index(seconds: f64, rate: SampleRate) -> SampleIndex {
    SampleIndex(rate.count(seconds).0)
}

fn fiducials(extent: Extent, rate: SampleRate) -> Fiducials {
    Fiducials {
        onset: index(extent.onset, rate),
        peak: index(extent.peak, rate),
        offset: index(extent.offset, rate),
    }
}
