//! The rhythms that can be asked for, and the schedule in which they follow one another.

use crate::Error;

/// A rhythm of the heart. Every rate is in beats per minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rhythm {
    /// Sinus rhythm with respiratory arrhythmia; bradycardia and tachycardia are this at another rate.
    Sinus {
        /// Mean rate.
        bpm: f64,
    },
    /// Atrial fibrillation: irregular RR intervals, no P waves, f-waves.
    AtrialFibrillation {
        /// Mean ventricular rate.
        bpm: f64,
    },
    /// Sinus rhythm with ectopic beats.
    Ectopic {
        /// Rate of the sinus rhythm.
        bpm: f64,
        /// How the ectopic beats come.
        pattern: Ectopy,
    },
    /// Regular ventricular tachycardia.
    VentricularTachycardia {
        /// Its rate.
        bpm: f64,
    },
    /// Ventricular fibrillation: no beats, no pulses.
    VentricularFibrillation,
    /// Sinus rhythm whose conduction to the ventricles is disturbed.
    AvBlock {
        /// Rate of the atria.
        bpm: f64,
        /// How much gets through.
        degree: AvBlock,
    },
    /// Sinus rhythm with one pause: the second RR interval that begins in it lasts `seconds`.
    Pause {
        /// Rate of the sinus rhythm.
        bpm: f64,
        /// Length of the pause, from R peak to R peak.
        seconds: f64,
    },
    /// Nothing at all.
    Asystole,
}

/// How ectopic beats are mixed into sinus rhythm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ectopy {
    /// Single premature ventricular beats, each with a compensatory pause.
    Single {
        /// How many a minute.
        per_minute: f64,
    },
    /// Every other beat is ventricular.
    Bigeminy,
    /// Pairs of premature ventricular beats.
    Couplets {
        /// How many pairs a minute.
        per_minute: f64,
    },
    /// Single premature atrial beats: narrow, an odd P wave, no full compensatory pause.
    Atrial {
        /// How many a minute.
        per_minute: f64,
    },
}

/// The degrees of atrioventricular block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AvBlock {
    /// Every P wave is conducted, late: PR above 200 ms.
    First,
    /// Second degree, type I: PR grows from beat to beat until one P wave is blocked (5:4).
    Wenckebach,
    /// Second degree: every other P wave is blocked.
    TwoToOne,
    /// Third degree: the atria and a junctional escape rhythm go their own ways.
    Complete {
        /// Rate of the escape rhythm.
        escape_bpm: f64,
    },
}

impl Rhythm {
    /// Whether this rhythm is without beats.
    pub fn is_beatless(self) -> bool {
        matches!(self, Rhythm::VentricularFibrillation | Rhythm::Asystole)
    }

    fn check(self) -> Result<(), Error> {
        match self {
            Rhythm::Sinus { bpm } | Rhythm::AtrialFibrillation { bpm } => check_bpm(bpm, 220.0),
            Rhythm::Ectopic { bpm, pattern } => {
                check_bpm(bpm, 150.0)?;
                match pattern {
                    Ectopy::Single { per_minute }
                    | Ectopy::Couplets { per_minute }
                    | Ectopy::Atrial { per_minute } => {
                        within("ectopic beats per minute", per_minute, 0.0, bpm / 4.0)
                    }
                    Ectopy::Bigeminy => Ok(()),
                }
            }
            Rhythm::VentricularTachycardia { bpm } => check_bpm(bpm, 300.0),
            Rhythm::AvBlock { bpm, degree } => {
                check_bpm(bpm, 150.0)?;
                match degree {
                    AvBlock::Complete { escape_bpm } => check_bpm(escape_bpm, 150.0),
                    AvBlock::First | AvBlock::Wenckebach | AvBlock::TwoToOne => Ok(()),
                }
            }
            Rhythm::Pause { bpm, seconds } => {
                check_bpm(bpm, 220.0)?;
                within("seconds of pause", seconds, 60.0 / bpm, 60.0)
            }
            Rhythm::VentricularFibrillation | Rhythm::Asystole => Ok(()),
        }
    }
}

/// Refuses a value outside `min..=max`, and NaN.
pub(super) fn within(what: &'static str, value: f64, min: f64, max: f64) -> Result<(), Error> {
    if value >= min && value <= max {
        return Ok(());
    }
    Err(Error::Scenario {
        what,
        value,
        min,
        max,
    })
}

fn check_bpm(bpm: f64, max: f64) -> Result<(), Error> {
    within("beats per minute", bpm, 20.0, max)
}

/// One rhythm from `start` to `end`, seconds of the record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) rhythm: Rhythm,
    pub(super) start: f64,
    pub(super) end: f64,
}

/// Which rhythm when. A pure function of time: whoever walks along it keeps a number of its own.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    /// Never empty; in one cycle, from 0.
    stretches: Vec<Stretch>,
    /// Seconds of one cycle where the list is repeated, else `None`.
    cycle: Option<f64>,
}

impl Schedule {
    pub(super) fn new(rhythms: &[(Rhythm, f64)], repeat: bool) -> Result<Self, Error> {
        within("number of rhythms", rhythms.len() as f64, 1.0, 1e6)?;
        let mut stretches = Vec::with_capacity(rhythms.len());
        let mut start = 0.0;
        for (k, &(rhythm, seconds)) in rhythms.iter().enumerate() {
            rhythm.check()?;
            let last = k + 1 == rhythms.len() && !repeat;
            let max = if last { f64::INFINITY } else { 1e6 };
            within("seconds of a rhythm", seconds, 1.0, max)?;
            let end = if last { f64::INFINITY } else { start + seconds };
            stretches.push(Stretch { rhythm, start, end });
            start = end;
        }
        Ok(Self {
            stretches,
            cycle: repeat.then_some(start),
        })
    }

    /// The `k`-th stretch from the start of the record. Without repetition the last one has no end.
    pub(super) fn stretch(&self, k: u64) -> Stretch {
        let n = self.stretches.len() as u64;
        let in_cycle = usize::try_from(k % n).unwrap_or_default();
        let stretch = self.stretches[in_cycle];
        let shift = self.cycle.map_or(0.0, |cycle| (k / n) as f64 * cycle);
        Stretch {
            start: stretch.start + shift,
            end: stretch.end + shift,
            ..stretch
        }
    }

    /// Seconds of one cycle where the schedule repeats.
    pub(super) fn cycle(&self) -> Option<f64> {
        self.cycle
    }
}
