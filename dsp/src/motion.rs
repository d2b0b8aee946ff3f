//! How much the wearer moves, by the second, where the device has an accelerometer; and what that means for a PPG.
//!
//! Each axis is high-passed at 0.5 Hz, which takes gravity and posture away, and its power is summed by the second; the axes add up.
//! **A second ends 80 ms early**, so that its motion is known when the pulse of the same second is judged, at whatever
//! rates. Light on the skin moves with the wearer: steps move it as regularly as a heart does, so that nothing in the wave itself
//! tells them apart (Temko, IEEE Trans Biomed Eng 64, 2017, doi:10.1109/TBME.2017.2676243).

use std::collections::VecDeque;

use ecg::{Quality, QualityReason, SampleIndex, SampleRate, SignalKind};

use crate::Error;
use crate::filter::Cascade;
use crate::quality::{boundary, half_at, second_of};

const HIGHPASS_HZ: f64 = 0.5;
/// By so much a second ends early, s: two samples of the slowest signal.
const EARLY_SECONDS: f64 = 0.08;
/// Seconds that are kept.
const KEPT: usize = 4;

/// The power of one axis.
#[derive(Debug)]
pub(crate) struct MotionMeter {
    rate: SampleRate,
    /// Samples by which a second ends early.
    early: u64,
    highpass: Cascade,
    /// The filter starts at zero.
    offset: Option<f64>,
    next: u64,
    second: u64,
    end: u64,
    sum: f64,
    n: u32,
}

impl MotionMeter {
    /// # Errors
    /// None for rates of 25 Hz or more; those of [`Cascade::highpass`] otherwise.
    pub(crate) fn new(rate: SampleRate) -> Result<Self, Error> {
        Ok(Self {
            rate,
            early: rate.count(EARLY_SECONDS).0,
            highpass: Cascade::highpass(2, HIGHPASS_HZ, rate.hz())?,
            offset: None,
            next: 0,
            second: 0,
            end: 0,
            sum: 0.0,
            n: 0,
        })
    }

    /// Begins a new segment at `start`, an index at this signal's rate.
    pub(crate) fn reset(&mut self, start: SampleIndex) {
        self.highpass.reset();
        self.offset = None;
        self.next = start.0;
        self.second = second_of(start.0 + self.early, self.rate);
        self.end = boundary(self.second + 1, self.rate) - self.early;
        (self.sum, self.n) = (0.0, 0);
    }

    /// Takes samples in and hands on each second that they complete, by number, with its power, g². Nothing is known of a second
    /// without samples that are numbers.
    pub(crate) fn push(&mut self, samples: &[f32], off: bool, mut said: impl FnMut(u64, f64)) {
        for sample in samples {
            if off || !sample.is_finite() {
                self.offset = None;
            } else {
                let sample = f64::from(*sample);
                if self.offset.is_none() {
                    self.highpass.reset();
                }
                let offset = *self.offset.get_or_insert(sample);
                let moved = self.highpass.push(sample - offset);
                self.sum += moved * moved;
                self.n += 1;
            }
            self.next += 1;
            if self.next == self.end {
                if self.n > 0 {
                    said(self.second, self.sum / f64::from(self.n));
                }
                self.second += 1;
                self.end = boundary(self.second + 1, self.rate) - self.early;
                (self.sum, self.n) = (0.0, 0);
            }
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.highpass.heap_bytes()
    }
}

/// The motion of the last seconds, all axes together.
#[derive(Debug)]
pub(crate) struct Motion {
    /// At this root mean square a PPG is half usable, g.
    limit: f64,
    /// Seconds, and their power, g².
    seconds: VecDeque<(u64, f64)>,
}

impl Motion {
    pub(crate) fn new(limit: f64) -> Self {
        Self {
            limit,
            seconds: VecDeque::with_capacity(KEPT + 1),
        }
    }

    pub(crate) fn reset(&mut self) {
        self.seconds.clear();
    }

    /// Adds the power of an axis in a second.
    pub(crate) fn hear(&mut self, second: u64, power: f64) {
        if let Some((_, sum)) = self.seconds.iter_mut().find(|(of, _)| *of == second) {
            *sum += power;
            return;
        }
        if self.seconds.len() == KEPT {
            self.seconds.pop_front();
        }
        self.seconds.push_back((second, power));
    }

    /// The quality of a second of a PPG whose sensor works is no better than the wearer is still.
    pub(crate) fn weigh(&self, mut quality: Quality, base: SampleRate) -> Quality {
        let works = matches!(quality.reason, QualityReason::Good | QualityReason::Unclear);
        if !works || !matches!(quality.signal, SignalKind::Ppg(_)) {
            return quality;
        }
        let second = second_of(quality.start.0, base);
        let Some((_, power)) = self.seconds.iter().find(|(of, _)| *of == second) else {
            return quality;
        };
        #[expect(clippy::cast_possible_truncation, reason = "a score is an f32")]
        let still = half_at((power.sqrt() / self.limit) as f32, 4);
        quality.score = quality.score.min(still);
        if still < Quality::USABLE {
            quality.reason = QualityReason::Motion;
        }
        quality
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.seconds.capacity() * size_of::<(u64, f64)>()
    }
}
