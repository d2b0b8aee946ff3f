//! Whether the ventricles beat on their own: what the waves say, with what the pulse says of it.
//!
//! Each second of the ECG comes with a probability. **The pulse multiplies its odds**: a steady one speaks against it, one that is
//! disturbed speaks for tachycardia, one that is lost for either. Without a pulse signal the probability
//! stands as it is. The factors were chosen on Challenge 2015, with probabilities of models that had not seen the records.

use ecg::{SampleIndex, Ventricular};

use crate::memory::Memory;
use crate::pulse::Pulse;

/// A suspicion is over when the probability has been under half of its limit for so long.
pub(crate) const QUIET_SECONDS: f64 = 5.0;
/// What is looked at for a probability: what it is about began so long before.
pub(crate) const STRETCH_SECONDS: f64 = 4.0;

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
            (Self::Tachycardia, Pulse::Disturbed | Pulse::Lost) => 4.0,
            (Self::Fibrillation, Pulse::Lost) => 8.0,
            (_, Pulse::Unknown) | (Self::Fibrillation, Pulse::Disturbed) => 1.0,
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
    /// The probability by the waves alone, the pulse then, and the probability with it.
    pub(crate) alone: f32,
    pub(crate) pulse: Pulse,
    pub(crate) with_pulse: f32,
    /// Since when the waves alone would do, for what is held back.
    pub(crate) since: SampleIndex,
    /// Since when there is little of it: by the waves alone, and with the pulse.
    quiet: [Option<SampleIndex>; 2],
}

impl Default for Suspicion {
    fn default() -> Self {
        Self {
            alone: 0.0,
            pulse: Pulse::Unknown,
            with_pulse: 0.0,
            since: SampleIndex(0),
            quiet: [Some(SampleIndex(0)); 2],
        }
    }
}

impl Memory {
    /// Takes note of a second.
    pub(crate) fn ventricular(&mut self, second: &Ventricular) {
        let pulse = self.pulse(second.end);
        for kind in [Kind::Tachycardia, Kind::Fibrillation] {
            let alone = kind.of(second).clamp(0.0, 1.0);
            let odds = alone / (1.0 - alone).max(1e-6) * kind.factor(pulse);
            let limit = self.ventricular_limit(kind);
            let stretch = self.rate.count(STRETCH_SECONDS);
            let was_over = self.is_over(kind, second.start);
            let suspicion = self.suspicion_mut(kind);
            suspicion.alone = alone;
            suspicion.pulse = pulse;
            suspicion.with_pulse = odds / (1.0 + odds);
            if was_over[0] {
                suspicion.since = second.end.before(stretch);
            }
            for (probability, quiet) in [alone, suspicion.with_pulse]
                .into_iter()
                .zip(&mut suspicion.quiet)
            {
                let low = probability < 0.5 * limit;
                *quiet = low.then(|| quiet.unwrap_or(second.start));
            }
        }
    }

    /// Whether a suspicion is over at `at`: by the waves alone, and with the pulse.
    pub(crate) fn is_over(&self, kind: Kind, at: SampleIndex) -> [bool; 2] {
        let quiet = self.rate.count(QUIET_SECONDS);
        let long = |since: SampleIndex| at.since(since) >= quiet;
        self.suspicion(kind)
            .quiet
            .map(|since| since.is_some_and(long))
    }
}
