//! Deciders that learn from what they decided, and still forget.
//!
//! A detector that adapts to its own beats depends, strictly, on every sample since its start.
//! Here a fresh decider starts at every multiple of [`EPOCH_SECONDS`] in the absolute index, learns
//! silently for three to four epochs, has the say for one, and is dropped:
//!
//! ```text
//! epoch     0    1    2    3    4    5
//! decider 0 learns......... says
//! decider 1      learns......... says
//! decider 2           learns......... says
//! ```
//!
//! What is decided at a position depends on the crests of the eight seconds before it, whenever the
//! stream began. At the start of a segment the oldest decider there is has the say.

use crate::crest::Crest;

/// From one fresh decider to the next.
pub(crate) const EPOCH_SECONDS: f64 = 2.0;

/// Deciders alive at once.
const ALIVE: usize = 4;

/// Says of each crest whether it counts, and learns from it.
pub(crate) trait Decider: Default {
    /// Decides on `crest`, knowing how high the curve rises shortly after it. Times are in samples
    /// at `rate` Hz.
    fn decide(&mut self, crest: Crest, after: f32, rate: f64) -> bool;
}

/// Passes the say from decider to decider.
#[derive(Debug)]
pub(crate) struct Relay<D> {
    rate: f64,
    epoch_samples: u64,
    /// The deciders alive with the epoch they started in, oldest first.
    deciders: [Option<(u64, D)>; ALIVE],
    /// The epoch in which the segment started.
    first: u64,
}

impl<D: Decider> Relay<D> {
    /// For crests at `rate` Hz.
    pub(crate) fn new(rate: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number"
        )]
        let epoch_samples = (rate * EPOCH_SECONDS).round() as u64;
        Self {
            rate,
            epoch_samples,
            deciders: std::array::from_fn(|_| None),
            first: 0,
        }
    }

    /// Starts anew with the sample `start`.
    pub(crate) fn reset(&mut self, start: u64) {
        self.deciders = std::array::from_fn(|_| None);
        self.first = start / self.epoch_samples;
    }

    /// Whether `crest` counts. Crests come in order.
    pub(crate) fn decide(&mut self, crest: Crest, after: f32) -> bool {
        let epoch = crest.at / self.epoch_samples;
        let oldest = epoch.saturating_sub(ALIVE as u64 - 1).max(self.first);
        let mut verdict = false;
        for start in oldest..=epoch {
            let turn = usize::try_from(start % ALIVE as u64).unwrap_or(0);
            let slot = &mut self.deciders[turn];
            if slot.as_ref().is_none_or(|(held, _)| *held != start) {
                *slot = Some((start, D::default()));
            }
            if let Some((_, decider)) = slot {
                let counts = decider.decide(crest, after, self.rate);
                if start == oldest {
                    verdict = counts;
                }
            }
        }
        verdict
    }
}
