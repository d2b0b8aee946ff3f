//! How usable each second of each signal is.
//!
//! One [`Quality`] per signal and **whole second of the absolute index**, judged on the samples of
//! that second (and on filters that forget within a second); a second cut off by a start, a gap or the end is
//! not judged. In order of precedence: the device says the electrode is off; the signal
//! does not move; it sticks to a limit; noise outweighs it. Flat is a fact about the signal, not
//! about the patient: whether it is a dead input or a heart that stands still is for others to say.

use ecg::{Quality, QualityReason, SampleIndex, SampleRate, SignalKind};

use crate::Error;
use crate::filter::Cascade;

/// An ECG that moves no more than this within a second is flat, mV.
const FLAT_MV: f32 = 0.015;
/// A PPG is flat if it moves no more than this part of its level.
const FLAT_PART: f32 = 1e-6;
/// Staying this long on the highest or lowest value, far from the middle, is saturation.
const STUCK_SECONDS: f64 = 0.08;
/// How far from the mean that limit is, at least, mV.
const LIMIT_MV: f32 = 0.8;
/// Muscle noise and hum of this mean size make an ECG half usable, mV.
const NOISE_MV: f32 = 0.12;
/// A movement of this size within a second makes an ECG half usable, mV.
const MOTION_MV: f32 = 9.0;
/// Noise of this part of the pulse makes a PPG half usable.
const PPG_NOISE_PART: f32 = 0.12;

/// Judges one signal.
#[derive(Debug)]
pub struct QualityMeter {
    signal: SignalKind,
    rate: SampleRate,
    base: SampleRate,
    noise: Cascade,
    /// The noise filter starts at zero.
    offset: Option<f64>,
    /// Samples after which a limit is a limit.
    stuck: usize,
    next: u64,
    /// The second being judged, and the index after its last sample.
    second: u64,
    end: u64,
    /// Whether it was seen from its first sample on.
    whole: bool,
    tally: Tally,
}

/// What is known of the second so far.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    n: usize,
    off: bool,
    low: f32,
    high: f32,
    sum: f64,
    noise: f64,
    /// Samples on end equal to the last one.
    run: usize,
    last: f32,
    /// The longest such run at the lowest and at the highest value.
    low_run: usize,
    high_run: usize,
}

impl Tally {
    #[inline]
    fn push(&mut self, value: f32) {
        if self.n == 0 {
            (self.low, self.high, self.last) = (value, value, value);
        }
        #[expect(
            clippy::float_cmp,
            reason = "a converter at its limit repeats itself exactly"
        )]
        let same = value == self.last;
        self.run = if same { self.run + 1 } else { 1 };
        self.last = value;
        self.n += 1;
        self.sum += f64::from(value);
        if value < self.low {
            (self.low, self.low_run) = (value, 1);
        } else if value <= self.low {
            self.low_run = self.low_run.max(self.run);
        }
        if value > self.high {
            (self.high, self.high_run) = (value, 1);
        } else if value >= self.high {
            self.high_run = self.high_run.max(self.run);
        }
    }
}

impl QualityMeter {
    /// For a signal at `rate` of a record with the base rate `base`.
    ///
    /// # Errors
    /// None for rates of 25 Hz or more; those that [`Cascade::highpass`] states otherwise.
    pub fn new(signal: SignalKind, rate: SampleRate, base: SampleRate) -> Result<Self, Error> {
        let hz = rate.hz();
        let corner = match signal {
            SignalKind::Ecg(_) => 38.0,
            SignalKind::Ppg(_) => 9.0,
        };
        let stuck = usize::try_from(rate.count(STUCK_SECONDS).0).unwrap_or(usize::MAX);
        let mut meter = Self {
            signal,
            rate,
            base,
            noise: Cascade::highpass(2, f64::min(corner, 0.4 * hz), hz)?,
            offset: None,
            stuck: stuck.max(4),
            next: 0,
            second: 0,
            end: 0,
            whole: false,
            tally: Tally::default(),
        };
        meter.reset(SampleIndex(0));
        Ok(meter)
    }

    /// Begins a new segment at `start`, an index at this signal's rate.
    pub fn reset(&mut self, start: SampleIndex) {
        self.noise.reset();
        self.offset = None;
        self.next = start.0;
        self.second = second_of(start.0, self.rate);
        self.end = boundary(self.second + 1, self.rate);
        self.whole = start.0 == boundary(self.second, self.rate);
        self.tally = Tally::default();
    }

    /// Takes samples in and hands on what is known of each second that they complete.
    pub fn push(&mut self, samples: &[f32], off: bool, mut judged: impl FnMut(Quality)) {
        for sample in samples {
            if off || !sample.is_finite() {
                self.tally.off = true;
                self.offset = None;
            } else {
                let value = f64::from(*sample);
                if self.offset.is_none() {
                    self.noise.reset();
                }
                let offset = *self.offset.get_or_insert(value);
                self.tally.noise += self.noise.push(value - offset).abs();
                self.tally.push(*sample);
            }
            self.next += 1;
            if self.next == self.end {
                if self.whole {
                    judged(self.judge());
                }
                self.second += 1;
                self.end = boundary(self.second + 1, self.rate);
                self.whole = true;
                self.tally = Tally::default();
            }
        }
    }

    fn judge(&self) -> Quality {
        let (score, reason) = self.verdict();
        Quality {
            signal: self.signal,
            start: SampleIndex(boundary(self.second, self.base)),
            end: SampleIndex(boundary(self.second + 1, self.base)),
            score,
            reason,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
    fn verdict(&self) -> (f32, QualityReason) {
        let tally = &self.tally;
        if tally.off {
            return (0.0, QualityReason::LeadOff);
        }
        let range = tally.high - tally.low;
        let n = tally.n.max(1) as f64;
        let (mean, noise) = ((tally.sum / n) as f32, (tally.noise / n) as f32);
        let ppg = matches!(self.signal, SignalKind::Ppg(_));
        let (flat, limit) = if ppg {
            (FLAT_PART * mean.abs(), 0.25 * range)
        } else {
            (FLAT_MV, LIMIT_MV)
        };
        if range <= flat {
            return (0.0, QualityReason::Flat);
        }
        let stuck = if ppg { 3 * self.stuck } else { self.stuck };
        let at_limit = (tally.high_run >= stuck && tally.high - mean > limit)
            || (tally.low_run >= stuck && mean - tally.low > limit);
        if at_limit {
            return (0.0, QualityReason::Saturated);
        }
        let score = if ppg {
            half_at(noise / (PPG_NOISE_PART * range), 2)
        } else {
            half_at(noise / NOISE_MV, 2).min(half_at(range / MOTION_MV, 4))
        };
        if score < Quality::USABLE {
            (score, QualityReason::Noisy)
        } else {
            (score, QualityReason::Good)
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.noise.heap_bytes()
    }
}

/// One at zero, a half at one, falling towards zero: the faster, the greater `power`.
fn half_at(ratio: f32, power: i32) -> f32 {
    1.0 / (1.0 + ratio.powi(power))
}

/// The index of the first sample of a second.
pub(crate) fn boundary(second: u64, rate: SampleRate) -> u64 {
    boundary_of(second, 1.0, rate)
}

/// The second that holds a sample.
pub(crate) fn second_of(index: u64, rate: SampleRate) -> u64 {
    part_of(index, 1.0, rate)
}

/// The index of the first sample of a part of the record, where parts are `seconds` long.
pub(crate) fn boundary_of(part: u64, seconds: f64, rate: SampleRate) -> u64 {
    rate.count(part as f64 * seconds).0
}

/// The part that holds a sample.
pub(crate) fn part_of(index: u64, seconds: f64, rate: SampleRate) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float to integer casts saturate, which is what a position wants"
    )]
    let near = (index as f64 / (rate.hz() * seconds)) as u64;
    if boundary_of(near + 1, seconds, rate) <= index {
        near + 1
    } else if boundary_of(near, seconds, rate) > index {
        near.saturating_sub(1)
    } else {
        near
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::{Lead, Wavelength};

    fn judge(kind: SignalKind, off: bool, signal: impl Fn(usize) -> f32) -> Vec<Quality> {
        let rate = SampleRate::new(250.0).unwrap();
        let mut meter = QualityMeter::new(kind, rate, rate).unwrap();
        let x: Vec<f32> = (0..1000).map(signal).collect();
        meter.reset(SampleIndex(100));
        let mut all = Vec::new();
        for piece in x.chunks(7) {
            meter.push(piece, off, |quality| all.push(quality));
        }
        let mut whole = Vec::new();
        meter.reset(SampleIndex(100));
        meter.push(&x, off, |quality| whole.push(quality));
        assert_eq!(all, whole);
        all
    }

    #[test]
    fn each_fault_is_named() {
        let beat = |n: usize| (-((n % 200) as f32 - 100.0).powi(2) / 30.0).exp();
        let check = |signal: &dyn Fn(usize) -> f32, off, reason: QualityReason| {
            let all = judge(SignalKind::Ecg(Lead::II), off, signal);
            assert_eq!(all.len(), 3);
            assert_eq!((all[0].start.0, all[0].end.0), (250, 500));
            assert!(all.iter().all(|q| q.reason == reason), "{reason}: {all:?}");
            let usable = reason == QualityReason::Good;
            assert!(all.iter().all(|q| q.usable() == usable), "{all:?}");
        };
        check(&beat, false, QualityReason::Good);
        check(&beat, true, QualityReason::LeadOff);
        check(&|_| 0.3, false, QualityReason::Flat);
        check(&|n| (3.0 * beat(n)).min(2.0), false, QualityReason::Good);
        check(
            &|n| (n as f32 * 0.04).sin().min(0.0) * 5.0 + 5.0,
            false,
            QualityReason::Saturated,
        );
        check(
            &|n| beat(n) + (n as f32 * 1.5).sin(),
            false,
            QualityReason::Noisy,
        );
    }

    #[test]
    fn a_ppg_is_judged_without_a_scale() {
        let pulse = |n: usize| 5e5 + 800.0 * (n as f32 * 0.03).sin();
        let kind = SignalKind::Ppg(Wavelength::Green);
        assert!(judge(kind, false, pulse).iter().all(Quality::usable));
        let shaken = |n: usize| pulse(n) + 900.0 * (n as f32 * 0.7).sin();
        assert!(!judge(kind, false, shaken).iter().any(Quality::usable));
        assert!(
            judge(kind, false, |_| 5e5)
                .iter()
                .all(|q| q.reason == QualityReason::Flat)
        );
    }
}
