//! Facts that were given and wait until everything before them is known.
//!
//! Facts of one sample take effect in the order of [`Phase`], whatever order they were given in;
//! that is what makes the outcome independent of how the input was cut into packets.

use std::collections::VecDeque;

use ecg::{Quality, Rate, SampleIndex, Ventricular};

/// The order within one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Judgements of the seconds that end at this sample.
    Quality,
    /// What the waves of the seconds that end at this sample look like.
    Ventricular,
    /// Intervals that are full at this sample: all of them lies before it.
    Due,
    /// Gaps that begin or end at this sample.
    Gap,
    /// Beats and pulses at this sample, and the rates they complete.
    Beat,
}

/// A point in the order of things.
pub(crate) type Moment = (SampleIndex, Phase);

/// What can take effect at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fact {
    Quality(Quality),
    Ventricular(Ventricular),
    /// A gap begins, to last until the index given.
    GapStart(SampleIndex),
    GapEnd,
    Beat,
    /// A pulse, and its amplitude.
    Pulse(f32),
    Rate(Rate),
}

/// Facts in order of their moments; of one moment, in the order given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pending(VecDeque<(Moment, Fact)>);

impl Pending {
    pub(crate) fn insert(&mut self, moment: Moment, fact: Fact) {
        let place = self.0.partition_point(|(earlier, _)| *earlier <= moment);
        self.0.insert(place, (moment, fact));
    }

    /// The moment of the first fact.
    pub(crate) fn first(&self) -> Option<Moment> {
        self.0.front().map(|(moment, _)| *moment)
    }

    /// Takes the first fact if it is of `moment`.
    pub(crate) fn take(&mut self, moment: Moment) -> Option<Fact> {
        self.0
            .pop_front_if(|(first, _)| *first == moment)
            .map(|(_, fact)| fact)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}
