//! What the signal chain knows of a stretch, for statements and rhythm.

use ecg::{Beat, Lead, Measurement, Quality, SampleIndex, SampleRate};

/// What was measured in a stretch without a gap. Whoever assembles it keeps each list in order and within the stretch.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// The first sample.
    pub start: SampleIndex,
    /// The first sample after it.
    pub end: SampleIndex,
    /// The record's base rate, in which positions count.
    pub rate: SampleRate,
    /// The measured leads, in the record's order.
    pub leads: Vec<Lead>,
    /// The beats, each with its class where it is known by now.
    pub beats: Vec<Beat>,
    /// What was measured of them; not of every beat.
    pub measurements: Vec<Measurement>,
    /// Quality, second by second and lead by lead.
    pub quality: Vec<Quality>,
}

impl Context {
    /// The intervals between successive R peaks, ms.
    pub fn rr_ms(&self) -> Vec<f64> {
        let seconds = |pair: &[Beat]| self.rate.seconds(pair[1].r_peak.since(pair[0].r_peak));
        self.beats
            .windows(2)
            .map(|pair| seconds(pair) * 1000.0)
            .collect()
    }
}
