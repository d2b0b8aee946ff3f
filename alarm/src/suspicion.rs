//! Whether the ventricles beat on their own: what the waves say, with what the pulse says of it.
//!
//! Each second of the ECG comes with a probability. **The pulse multiplies its odds**: a steady one speaks against it, one that is
//! disturbed speaks for tachycardia, one that is lost for either. Without a pulse signal the probability
//! of fibrillation stands as it is, the odds of tachycardia are 0.35 times those. A tachycardia takes fast beats, or a pulse that is much disturbed. The factors were chosen on Challenge 2015, with probabilities of models that had not seen the records.

use ecg::{SampleIndex, Ventricular};

use crate::memory::Memory;
use crate::pulse::Pulse;

/// A suspicion is over when the probability has been under half of its limit for so long.
pub(crate) const QUIET_SECONDS: f64 = 5.0;
/// What is looked at for a probability: what it is about began so long before.
pub(crate) const STRETCH_SECONDS: f64 = 4.0;

/// From so many odd intervals on, a pulse speaks for tachycardia by itself.
const MANY: usize = 3;
/// What fast beats are: so many RR intervals on end.
const RUN: usize = 3;
/// None of them longer.
const FAST_SECONDS: f64 = 0.7;
/// So lately.
const LATELY_SECONDS: f64 = 12.0;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tachycardia,
    Fibrillation,
}

impl Kind {
    /// The factor of the odds.
    fn factor(self, pulse: Pulse) -> f32 {
        match (self, pulse) {
            (_, Pulse::Steady(_)) => 1.0 / 30.0,
            // Nothing to confirm it.
            (Self::Tachycardia, Pulse::Unknown) => 0.35,
            (Self::Tachycardia, pulse) if speaks(pulse) => 4.0,
            // A premature beat does as much.
            (Self::Tachycardia, _) => 2.0,
            (Self::Fibrillation, Pulse::Lost) => 8.0,
            (Self::Fibrillation, Pulse::Unknown | Pulse::Disturbed(_)) => 1.0,
        }
    }

    fn of(self, second: &Ventricular) -> f32 {
        match self {
            Self::Tachycardia => second.vt,
            Self::Fibrillation => second.vf,
        }
    }
}

/// What is suspected as of the last second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suspicion {
    /// The probability by the waves alone.
    pub(crate) alone: f32,
    /// The pulse then.
    pub(crate) pulse: Pulse,
    /// Neither the beats were fast nor did the pulse say much.
    pub(crate) slow: bool,
    /// The probability with pulse and beats.
    pub(crate) likely: f32,
    /// Since when the waves alone would do, for what is held back.
    pub(crate) since: SampleIndex,
    /// Since when there is little of it: by the waves alone, and with pulse and beats.
    quiet: [Option<SampleIndex>; 2],
}

impl Default for Suspicion {
    fn default() -> Self {
        Self {
            alone: 0.0,
            pulse: Pulse::Unknown,
            slow: false,
            likely: 0.0,
            since: SampleIndex(0),
            quiet: [Some(SampleIndex(0)); 2],
        }
    }
}

/// Whether a pulse speaks for tachycardia by itself: lost, or [`MANY`] odd intervals.
fn speaks(pulse: Pulse) -> bool {
    match pulse {
        Pulse::Lost => true,
        Pulse::Disturbed(odd) => odd >= MANY,
        Pulse::Unknown | Pulse::Steady(_) => false,
    }
}

impl Memory {
    /// Whether beats were fast as of `at`: [`RUN`] RR intervals on end, none longer than [`FAST_SECONDS`]. Single ventricular
    /// beats and couplets among others are not.
    fn fast(&self, at: SampleIndex) -> bool {
        let since = at.before(self.rate.count(LATELY_SECONDS));
        let mut run = 0;
        let beats = self.beats();
        let mut intervals = beats.clone().zip(beats.skip(1));
        intervals.any(|(earlier, later)| {
            let is_fast = self.seconds(earlier, later) <= FAST_SECONDS && later > since;
            run = if is_fast { run + 1 } else { 0 };
            run >= RUN
        })
    }

    /// Takes note of a second.
    pub(crate) fn ventricular(&mut self, second: &Ventricular) {
        let pulse = self.pulse(second.end);
        for kind in [Kind::Tachycardia, Kind::Fibrillation] {
            let alone = kind.of(second).clamp(0.0, 1.0);
            let limit = self.ventricular_limit(kind);
            let sure = speaks(pulse) && alone >= limit;
            let slow = kind == Kind::Tachycardia && !sure && !self.fast(second.end);
            let odds = alone / (1.0 - alone).max(1e-6) * kind.factor(pulse);
            let stretch = self.rate.count(STRETCH_SECONDS);
            let was_over = self.is_over(kind, second.start);
            let suspicion = self.suspicion_mut(kind);
            suspicion.alone = alone;
            suspicion.pulse = pulse;
            suspicion.slow = slow;
            suspicion.likely = if slow { 0.0 } else { odds / (1.0 + odds) };
            if was_over[0] {
                suspicion.since = second.end.before(stretch);
            }
            for (probability, quiet) in [alone, suspicion.likely]
                .into_iter()
                .zip(&mut suspicion.quiet)
            {
                let low = probability < 0.5 * limit;
                *quiet = low.then(|| quiet.unwrap_or(second.start));
            }
        }
    }

    /// Whether a suspicion is over at `at`: by the waves alone, and with pulse and beats.
    pub(crate) fn is_over(&self, kind: Kind, at: SampleIndex) -> [bool; 2] {
        let quiet = self.rate.count(QUIET_SECONDS);
        let long = |since: SampleIndex| at.since(since) >= quiet;
        self.suspicion(kind)
            .quiet
            .map(|since| since.is_some_and(long))
    }
}
