//! What the rhythm model is shown of a device, and what its decisions make: stretches and episodes.
//!
//! A [`Collector`] is given everything that a chain says of one record, in order. At each hop, every [`HOP_SECONDS`] of
//! the record's own clock, it hands on the last [`SPAN_SECONDS`] of the lead of the best quality with all that is known of
//! them, once all of it is known: beats with their classes, measurements, quality. **A stretch does not depend on how the
//! stream was cut into blocks, and none straddles a gap.** Stretches shorter than [`LEAST_SECONDS`] are not handed on.
//!
//! What is kept: [`MAX_LEADS`] leads at 125 Hz in microvolts, and the facts of as long; with three leads
//! under 96 KiB up to 250 beats a minute.
//!
//! A [`PulseCollector`] does the same for the pulse wave, where there is no ECG that could tell.
//!
//! What the models decide of these stretches, in order, [`Episodes`] makes episodes of.

mod collector;
mod episodes;
mod kept;
mod pulses;
#[cfg(test)]
mod tests;

pub use collector::{Collector, HOP_SECONDS, LEAST_SECONDS, MAX_LEADS, SPAN_SECONDS};
pub use episodes::{Change, Episode, Episodes, LEAST_EPISODE_SECONDS, Limits, Verdict};
pub use pulses::{PULSE_LEAST_SECONDS, PULSE_SPAN_SECONDS, PulseCollector};
