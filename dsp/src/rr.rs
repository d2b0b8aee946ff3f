//! Heart rate as monitors count it: the mean of the last few intervals.
//!
//! Reported at each beat: over at most [`MAX_INTERVALS`] intervals that lie within the last
//! [`WINDOW_SECONDS`]. An interval longer than the window is none. **No interval reaches across a gap or a
//! stretch without a usable electrode**: [`RateCounter::interrupt`] says so.

use std::collections::VecDeque;

use ecg::{Rate, RateSource, SampleIndex, SampleRate};

/// Intervals averaged at most.
pub const MAX_INTERVALS: usize = 8;

/// How far back they reach. Eight intervals at 51 per minute and more; fewer below.
pub const WINDOW_SECONDS: f64 = 9.5;

/// Counts the rate of one source.
#[derive(Debug)]
pub struct RateCounter {
    source: RateSource,
    rate: SampleRate,
    /// The last beats or pulses, oldest first.
    marks: VecDeque<SampleIndex>,
}

impl RateCounter {
    /// For positions at `rate`.
    pub fn new(source: RateSource, rate: SampleRate) -> Self {
        Self {
            source,
            rate,
            marks: VecDeque::with_capacity(MAX_INTERVALS + 2),
        }
    }

    /// The next interval is none: something between the beats was not seen.
    pub fn interrupt(&mut self) {
        self.marks.clear();
    }

    /// Takes a beat or a pulse in, later than all before; the rate as of it, if there is an interval.
    pub fn push(&mut self, at: SampleIndex) -> Option<Rate> {
        self.marks.push_back(at);
        while self.marks.len() > MAX_INTERVALS + 1 {
            self.marks.pop_front();
        }
        let window = self.rate.count(WINDOW_SECONDS);
        while self
            .marks
            .front()
            .is_some_and(|mark| at.since(*mark) > window)
        {
            self.marks.pop_front();
        }
        let n = self.marks.len() - 1;
        let seconds = self.rate.seconds(at.since(*self.marks.front()?));
        #[expect(clippy::cast_possible_truncation, reason = "a rate is an f32")]
        (n > 0 && seconds > 0.0).then(|| Rate {
            at,
            bpm: (60.0 * n as f64 / seconds) as f32,
            source: self.source,
        })
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.marks.capacity() * size_of::<SampleIndex>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_the_mean_of_the_last_intervals() {
        let mut counter = RateCounter::new(RateSource::Ecg, SampleRate::new(100.0).unwrap());
        assert_eq!(counter.push(SampleIndex(0)), None);
        let mut last = None;
        for k in 1..=20 {
            last = counter.push(SampleIndex(k * 50));
        }
        assert!((last.unwrap().bpm - 120.0).abs() < 1e-3);
        // Three seconds without a beat, then one: eight intervals in 6.5 s.
        let rate = counter.push(SampleIndex(1300)).unwrap();
        assert!((rate.bpm - 480.0 / 6.5).abs() < 1e-3);
        counter.interrupt();
        assert_eq!(counter.push(SampleIndex(1400)), None);
        assert!((counter.push(SampleIndex(1500)).unwrap().bpm - 60.0).abs() < 1e-3);
        // Nothing within the window before it.
        assert_eq!(counter.push(SampleIndex(2600)), None);
    }
}
