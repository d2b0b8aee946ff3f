//! What the signal chain knows of a stretch, for statements and rhythm.

use ecg::{Beat, Lead, Measurement, Quality, SampleIndex, SampleRate};

use crate::rhythm::RATE_HZ;

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
    /// What of it lies between two samples, those outside of it left out.
    #[must_use]
    pub fn within(mut self, start: SampleIndex, end: SampleIndex) -> Self {
        let (start, end) = (start.max(self.start), end.min(self.end));
        let in_span = |at: SampleIndex| start <= at && at < end;
        self.beats.retain(|beat| in_span(beat.r_peak));
        self.measurements.retain(|m| in_span(m.r_peak));
        self.quality
            .retain(|second| second.start >= start && second.end <= end);
        (self.start, self.end) = (start, end);
        self
    }
}

/// One lead of a stretch, and what is known of all of it: what a rhythm is told from.
#[derive(Debug, Clone, PartialEq)]
pub struct Stretch {
    /// The lead of the best quality.
    pub lead: Lead,
    /// Its samples at the rate of rhythm models, mV; the last one ends with the context.
    pub samples: Vec<f32>,
    /// What is known.
    pub context: Context,
}

impl Stretch {
    /// What of it is not before `start`.
    #[must_use]
    pub fn since(&self, start: SampleIndex) -> Self {
        let context = self.context.clone().within(start, self.context.end);
        let seconds = context.rate.seconds(context.end.since(context.start));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most as many as there are"
        )]
        let n = ((seconds * RATE_HZ).round() as usize).min(self.samples.len());
        Self {
            lead: self.lead,
            samples: self.samples[self.samples.len() - n..].to_vec(),
            context,
        }
    }
}
