//! How usable each second of each signal is.
//!
//! One [`Quality`] per signal and **whole second of the absolute index**, judged on the samples of
//! that second (and on filters that forget within a second); a second cut off by a start, a gap or the end is
//! not judged. In order of precedence: the device says the electrode is off; the signal
//! does not move; it sticks to a limit; noise outweighs it. Flat is a fact about the signal, not
//! about the patient: whether it is a dead input or a heart that stands still is for others to say.

use biquad::Biquad as _;
use ecg::{Quality, QualityReason, SampleIndex, SampleRate, SignalKind};

use crate::Error;
use crate::filter::{Cascade, Section};

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
/// Weights of hiss, jump, turns and drift, and the sum at which an ECG is half usable.
/// `dsp/training/quality.py` made them, and says on what.
const WEIGHTS: [f32; 4] = [1.47, 0.88, 1.01, 2.08];
const LIMIT: f32 = 7.33;
/// Noise of this part of the pulse makes a PPG half usable.
const PPG_NOISE_PART: f32 = 0.12;

/// Parts of a second, to tell what lasts from what a QRS complex does.
const PARTS: usize = 8;
/// Steps of the signal are taken over so long a time, at any rate.
const STEP_SECONDS: f64 = 0.008;

/// Judges one signal.
#[derive(Debug)]
pub struct QualityMeter {
    signal: SignalKind,
    rate: SampleRate,
    base: SampleRate,
    noise: Section,
    /// The noise filter starts at zero.
    offset: Option<f64>,
    /// Samples after which a limit is a limit.
    stuck: usize,
    /// Samples to a step.
    step: u64,
    next: u64,
    /// The second being judged, its first index and that after its last.
    second: u64,
    start: u64,
    end: u64,
    /// The part of it, and the index after its last sample.
    part: usize,
    part_end: u64,
    /// The index at which the next step ends.
    step_end: u64,
    /// Whether it was seen from its first sample on.
    whole: bool,
    tally: Tally,
    features: Features,
}

/// What is known of the second so far.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    n: usize,
    off: bool,
    limits: Limits,
    /// By part: the sums of the samples and of the noise.
    sums: [f64; PARTS],
    noise: [f64; PARTS],
    /// The sum and the number of this part so far.
    part_sum: f64,
    part_noise: f64,
    part_n: usize,
    means: [f64; PARTS],
    /// The sample that the next step is taken from; the sum and the largest of all steps.
    from: Option<f32>,
    length: f32,
    jump: f32,
}

/// The lowest and the highest sample, and how long the signal stayed there.
#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    low: f32,
    high: f32,
    /// Samples on end equal to the last one.
    run: usize,
    last: f32,
    /// The longest such run at the lowest and at the highest value.
    low_run: usize,
    high_run: usize,
}

impl Limits {
    /// Before the first sample, `value`.
    fn at(value: f32) -> Self {
        Self {
            low: value,
            high: value,
            last: value,
            ..Self::default()
        }
    }

    #[inline]
    fn push(&mut self, value: f32) {
        #[expect(
            clippy::float_cmp,
            reason = "a converter at its limit repeats itself exactly"
        )]
        let same = value == self.last;
        self.run = if same { self.run + 1 } else { 1 };
        self.last = value;
        if value <= self.low {
            let longest = if value < self.low { 0 } else { self.low_run };
            (self.low, self.low_run) = (value, longest.max(self.run));
        }
        if value >= self.high {
            let longest = if value > self.high { 0 } else { self.high_run };
            (self.high, self.high_run) = (value, longest.max(self.run));
        }
    }
}

impl Tally {
    /// A step ends here.
    fn step(&mut self, value: f32) {
        if let Some(from) = self.from {
            let size = (value - from).abs();
            self.length += size;
            self.jump = self.jump.max(size);
        }
        self.from = Some(value);
    }

    /// A part ends here.
    fn close(&mut self, part: usize) {
        self.sums[part] = self.part_sum;
        self.noise[part] = self.part_noise / self.part_n.max(1) as f64;
        self.means[part] = self.part_sum / self.part_n.max(1) as f64;
        (self.part_sum, self.part_noise, self.part_n) = (0.0, 0.0, 0);
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
            SignalKind::Ppg(_) | SignalKind::Abp | SignalKind::Acceleration(_) => 9.0,
        };
        let stuck = usize::try_from(rate.count(STUCK_SECONDS).0).unwrap_or(usize::MAX);
        let mut meter = Self {
            signal,
            rate,
            base,
            noise: Cascade::highpass(2, f64::min(corner, 0.4 * hz), hz)?.sections()[0],
            offset: None,
            stuck: stuck.max(4),
            step: rate.count(STEP_SECONDS).0.max(1),
            next: 0,
            second: 0,
            start: 0,
            end: 0,
            part: 0,
            part_end: 0,
            step_end: 0,
            whole: false,
            tally: Tally::default(),
            features: Features::default(),
        };
        meter.reset(SampleIndex(0));
        Ok(meter)
    }

    /// Begins a new segment at `start`, an index at this signal's rate.
    pub fn reset(&mut self, start: SampleIndex) {
        self.noise.reset_state();
        self.offset = None;
        self.next = start.0;
        self.second = second_of(start.0, self.rate);
        self.begin();
        self.whole = start.0 == self.start;
        while self.part_end <= start.0 {
            self.part += 1;
            self.part_end = self.end_of(self.part);
        }
        self.step_end = start.0.next_multiple_of(self.step);
    }

    /// Begins `second`.
    fn begin(&mut self) {
        self.start = boundary(self.second, self.rate);
        self.end = boundary(self.second + 1, self.rate);
        self.part = 0;
        self.part_end = self.end_of(0);
        self.tally = Tally::default();
    }

    fn end_of(&self, part: usize) -> u64 {
        self.start + (self.end - self.start) * (part as u64 + 1) / PARTS as u64
    }

    /// Takes samples in and hands on what is known of each second that they complete.
    pub fn push(&mut self, samples: &[f32], off: bool, mut judged: impl FnMut(Quality)) {
        self.push_measured(samples, off, |quality, _| judged(quality));
    }

    /// The same, and what each score was made of.
    pub(crate) fn push_measured(
        &mut self,
        samples: &[f32],
        off: bool,
        mut judged: impl FnMut(Quality, Features),
    ) {
        let mut rest = samples;
        while !rest.is_empty() {
            let left = self.part_end.saturating_sub(self.next).max(1);
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            let (piece, later) = rest.split_at(left.min(rest.len()));
            rest = later;
            self.steps(piece);
            // Not `all`, which stops at the first: all at once is faster.
            if !off
                && piece
                    .iter()
                    .fold(true, |all, sample| all & sample.is_finite())
            {
                self.take(piece);
            } else {
                for sample in piece {
                    if off || !sample.is_finite() {
                        self.tally.off = true;
                        self.offset = None;
                    } else {
                        self.take(std::slice::from_ref(sample));
                    }
                }
            }
            self.next += piece.len() as u64;
            if self.next == self.part_end {
                self.turn(&mut judged);
            }
        }
    }

    /// Takes the steps that end within a piece.
    fn steps(&mut self, piece: &[f32]) {
        let end = self.next + piece.len() as u64;
        let first = usize::try_from(self.step_end - self.next).unwrap_or(usize::MAX);
        let step = usize::try_from(self.step).unwrap_or(usize::MAX);
        for sample in piece.iter().skip(first).step_by(step) {
            self.tally.step(*sample);
        }
        while self.step_end < end {
            self.step_end += self.step;
        }
    }

    /// Takes in samples of one part, all finite.
    fn take(&mut self, piece: &[f32]) {
        if self.offset.is_none() {
            self.noise.reset_state();
        }
        let offset = *self.offset.get_or_insert(f64::from(piece[0]));
        let tally = &mut self.tally;
        if tally.n == 0 {
            tally.limits = Limits::at(piece[0]);
        }
        tally.n += piece.len();
        tally.part_n += piece.len();
        // Copies that live in registers.
        let (mut noise, mut limits) = (self.noise, tally.limits);
        let (mut sum, mut size) = (tally.part_sum, tally.part_noise);
        for sample in piece {
            let value = f64::from(*sample);
            size += noise.run(value - offset).abs();
            sum += value;
            limits.push(*sample);
        }
        (self.noise, tally.limits) = (noise, limits);
        (tally.part_sum, tally.part_noise) = (sum, size);
    }

    /// A part of a second is complete, and with the last one the second.
    fn turn(&mut self, judged: &mut impl FnMut(Quality, Features)) {
        self.tally.close(self.part);
        if self.next == self.end {
            if self.whole {
                self.features = Features::of(&self.tally);
                judged(self.judge(), self.features);
            }
            self.second += 1;
            self.begin();
            self.whole = true;
        } else {
            self.part += 1;
            self.part_end = self.end_of(self.part);
        }
    }

    /// What the score of the second judged last was made of.
    pub fn features(&self) -> Features {
        self.features
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
        let (tally, limits) = (&self.tally, &self.tally.limits);
        if tally.off {
            return (0.0, QualityReason::LeadOff);
        }
        let range = limits.high - limits.low;
        let n = tally.n.max(1) as f64;
        let mean = (tally.sums.iter().sum::<f64>() / n) as f32;
        let noise = self.features.noise_mv;
        let pulse = self.signal.lead().is_none();
        let (flat, limit) = if pulse {
            (FLAT_PART * mean.abs(), 0.25 * range)
        } else {
            (FLAT_MV, LIMIT_MV)
        };
        if range <= flat {
            return (0.0, QualityReason::Flat);
        }
        let stuck = if pulse { 3 * self.stuck } else { self.stuck };
        let at_limit = (limits.high_run >= stuck && limits.high - mean > limit)
            || (limits.low_run >= stuck && mean - limits.low > limit);
        if at_limit {
            return (0.0, QualityReason::Saturated);
        }
        let score = if pulse {
            half_at(noise / (PPG_NOISE_PART * range), 2)
        } else {
            self.features.score()
        };
        if score < Quality::USABLE {
            (score, QualityReason::Noisy)
        } else {
            (score, QualityReason::Good)
        }
    }
}

/// What is measured of a second of an ECG beside the rules.
///
/// **Nothing here speaks against a small or a slow signal**: an isoelectric line and ventricular
/// fibrillation are facts, not faults. All but the first two are natural logarithms, zero for
/// what is small enough, and more is worse.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Features {
    /// The mean size of what is above 38 Hz, mV: muscle and hum.
    pub noise_mv: f32,
    /// From the lowest to the highest sample, mV.
    pub range_mv: f32,
    /// The same between the complexes (in the quieter half of the second), over 0.01 mV.
    pub hiss: f32,
    /// The largest step within 8 ms, over 0.2 mV.
    pub jump: f32,
    /// How often the signal goes up and down its range, over three times.
    pub turns: f32,
    /// The second highest mean of an eighth of the second less the second lowest, so that one complex
    /// is none, over 0.2 mV: wander, cables and electrodes that move.
    pub drift: f32,
}

impl Features {
    #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
    fn of(tally: &Tally) -> Self {
        let mut noise = tally.noise.map(|noise| noise as f32);
        noise.sort_by(f32::total_cmp);
        let mut means = tally.means.map(|mean| mean as f32);
        means.sort_by(f32::total_cmp);
        let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
        let range = tally.limits.high - tally.limits.low;
        let excess = |value: f32, least: f32| (value / least).clamp(1.0, 1e6).ln();
        Self {
            noise_mv: mean(&noise),
            range_mv: range,
            hiss: excess(mean(&noise[..PARTS / 2]), 0.01),
            jump: excess(tally.jump, 0.2),
            turns: excess(tally.length / range.max(0.1), 3.0),
            drift: excess(means[PARTS - 2] - means[1], 0.2),
        }
    }

    /// From 0 (no ECG to be seen) to 1: the least that noise, range and movement leave.
    fn score(&self) -> f32 {
        let weighed = [self.hiss, self.jump, self.turns, self.drift];
        let badness: f32 = weighed.iter().zip(WEIGHTS).map(|(x, w)| x * w).sum();
        let moved = 1.0 / (1.0 + (badness - LIMIT).exp());
        half_at(self.noise_mv / NOISE_MV, 2)
            .min(half_at(self.range_mv / MOTION_MV, 4))
            .min(moved)
    }
}

/// One at zero, a half at one, falling towards zero: the faster, the greater `power`.
pub(crate) fn half_at(ratio: f32, power: i32) -> f32 {
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
    use ecg::simulate::{self, Ectopy, Rhythm, Scenario};
    use ecg::{Lead, Wavelength};
    use proptest::prelude::*;

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

    /// Asystole, fibrillation and tachycardia are for the alarms to see, in every lead.
    #[test]
    fn a_heart_that_does_wrong_is_no_fault() {
        for rhythm in [
            Rhythm::VentricularFibrillation,
            Rhythm::VentricularTachycardia { bpm: 190.0 },
            Rhythm::Asystole,
            Rhythm::AtrialFibrillation { bpm: 130.0 },
            Rhythm::Ectopic {
                bpm: 80.0,
                pattern: Ectopy::Bigeminy,
            },
        ] {
            let rate = SampleRate::new(250.0).unwrap();
            let scenarios = (0..6).map(|seed| Scenario {
                rhythms: vec![(rhythm, f64::INFINITY)],
                ..Scenario::new(seed, rate)
            });
            let (mut n, mut n_bad) = (0, 0);
            for scenario in scenarios {
                let segment = simulate::record(&scenario, 60.0).unwrap();
                for lead in Lead::TWELVE {
                    let mut meter = QualityMeter::new(SignalKind::Ecg(lead), rate, rate).unwrap();
                    meter.push(segment.lead(lead).unwrap(), false, |quality| {
                        n += 1;
                        // A line that is flat enough is called that, and no fault either.
                        n_bad +=
                            u32::from(!quality.usable() && quality.reason != QualityReason::Flat);
                    });
                }
            }
            assert_eq!(n, 6 * 12 * 60);
            assert!(n_bad <= n / 500, "{rhythm:?}: {n_bad} of {n}");
        }
    }

    #[test]
    fn a_cable_that_moves_is_noise() {
        let beat = |n: usize| (-((n % 200) as f32 - 100.0).powi(2) / 30.0).exp();
        // Steps of the electrode, five a second, each another.
        let step = |n: usize| 3.0 * ((n / 50) as f32 * 2.4).sin() + 0.01 * (n % 7) as f32;
        let all = judge(SignalKind::Ecg(Lead::II), false, |n| beat(n) + step(n));
        assert!(
            all.iter().all(|q| q.reason == QualityReason::Noisy),
            "{all:?}"
        );
        // Breath is slower, and does no harm.
        let wander = |n: usize| 1.0 * (n as f32 * 0.006).sin();
        let all = judge(SignalKind::Ecg(Lead::II), false, |n| beat(n) + wander(n));
        assert!(all.iter().all(Quality::usable), "{all:?}");
    }

    proptest! {
        /// The score is a number whatever the samples are.
        #[test]
        fn scores_are_within_zero_and_one(
            samples in prop::collection::vec(prop::num::f32::ANY, 100..600),
            hz in prop::sample::select(vec![25.0, 100.0, 128.2, 499.0]),
        ) {
            let rate = SampleRate::new(hz).unwrap();
            for kind in [SignalKind::Ecg(Lead::II), SignalKind::Ppg(Wavelength::Red)] {
                let mut meter = QualityMeter::new(kind, rate, rate).unwrap();
                let finite: Vec<f32> = samples.iter().copied().filter(|x| x.is_finite()).collect();
                for samples in [&samples, &finite] {
                    meter.reset(SampleIndex(0));
                    let mut all = Vec::new();
                    meter.push(samples, false, |quality| all.push(quality));
                    prop_assert!(all.iter().all(|q| q.score >= 0.0 && q.score <= 1.0), "{all:?}");
                }
            }
        }
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
