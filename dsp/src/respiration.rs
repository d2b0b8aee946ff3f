//! Respiration rate from pulses.
//!
//! Breath moves three things from pulse to pulse: the level of the signal at the foot, the amplitude, and the interval. Each of
//! them, resampled at 4 Hz, shows it as a peak of its spectrum between 4 breaths a minute and 60, or half the pulse rate:
//! faster ones cannot be told from slower ones. **A rate is given where the three agree**: the mean of
//! theirs, if their standard deviation is at most 4 a minute. One that shows no peak is passed over; two must be left, and agree
//! within a third of that. Where little of them is breath, none is given either.
//!
//! Windows of [`WINDOW_SECONDS`] end at multiples of [`HOP_SECONDS`], counted on the index. They are longer
//! than anything the chain may remember, so this is no stage of it: [`Respiration`] takes its pulses, and after a
//! restart says nothing until a window is full again. The same pulses give the same rates, whenever it is asked.
//!
//! Pulses that are premature, missed or none (see [`crate::variability`]) are left out and bridged. Where what is left fills less than
//! [`LEAST_SHARE`] of a window, or a hole is longer than [`LONGEST_HOLE_SECONDS`], there is no rate; and none in a window
//! where the pulse shows no breath.
//!
//! Reference: Karlen et al., IEEE TBME 60(7), 2013, doi:10.1109/TBME.2013.2246160 (the three modulations, windows of 32 s, "smart
//! fusion"). Differs in: works on pulses that are found already; the spectrum is limited by the pulse rate; a peak has
//! to stand out; two modulations may do, and the quality says so.

use std::collections::VecDeque;

use ecg::{Pulse, SampleIndex, SampleRate};

use crate::hrv::{deviation, mean};
use crate::variability::{Mark, marks};

/// The length of a window.
pub const WINDOW_SECONDS: f64 = 32.0;
/// From one window to the next.
pub const HOP_SECONDS: f64 = 4.0;
/// The share of a window that intervals between good pulses must fill.
pub const LEAST_SHARE: f64 = 0.75;
/// The longest part of it without one.
pub const LONGEST_HOLE_SECONDS: f64 = 4.0;

/// Breaths per minute.
const PER_MINUTE: (f64, f64) = (4.0, 60.0);
/// Rates of the modulations agree if their standard deviation is no more, per minute.
const AGREE: f64 = 4.0;
/// Where the quality is less, the rate is often another: no rate.
const LEAST_QUALITY: f64 = 0.25;
/// The least share of the power that lies around a peak which stands out.
const STANDS_OUT: f64 = 0.3;
/// So far around it, per minute.
const AROUND: f64 = 2.5;
/// Samples per second of what is resampled.
const RESAMPLED_HZ: f64 = 4.0;
/// Samples of a window.
const N: usize = 128;
/// From one frequency to the next, per minute.
const STEP: f64 = 0.25;
/// Pulses that are remembered at most: four a second.
const MOST: usize = 140;

/// The respiration rate in a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// The window's first sample.
    pub start: SampleIndex,
    /// The first sample after it.
    pub end: SampleIndex,
    /// Breaths per minute, 4 to 60; `None` where the window does not tell.
    pub per_minute: Option<f32>,
    /// How sure that is, 0.25 to 1: how well the modulations agree, and how much of them is breath. Zero where there is no rate.
    pub quality: f32,
}

/// Tells the respiration rate from the pulses of a record.
#[derive(Debug)]
pub struct Respiration {
    rate: SampleRate,
    /// Pulses of the last window, each with whether nothing is missing between it and the one before.
    pulses: VecDeque<(Pulse, bool)>,
    joined: bool,
    /// The number of the hop at which the next window ends.
    next: u64,
}

/// A modulation: values at instants, seconds from the start of the window.
type Modulation = Vec<(f64, f64)>;

impl Respiration {
    /// For a record that begins, or goes on, at `since`; positions at `rate`.
    pub fn new(since: SampleIndex, rate: SampleRate) -> Self {
        let mut new = Self {
            rate,
            pulses: VecDeque::new(),
            joined: false,
            next: 0,
        };
        new.gap(since);
        new
    }

    /// Takes the next pulse.
    pub fn pulse(&mut self, pulse: &Pulse) {
        self.pulses.push_back((*pulse, self.joined));
        self.joined = true;
        if self.pulses.len() > MOST {
            self.pulses.pop_front();
        }
    }

    /// The next interval is none: pulses could not be seen.
    pub fn interrupt(&mut self) {
        self.joined = false;
    }

    /// Samples are missing up to `end`: the next window begins there, or later.
    pub fn gap(&mut self, end: SampleIndex) {
        self.pulses.clear();
        self.joined = false;
        let full = end.after(self.rate.count(WINDOW_SECONDS));
        self.next = self.next.max(full.0.div_ceil(self.hop()));
    }

    /// All pulses before `until` have come: the windows that are full by now go to `found`, in order.
    pub fn decided(&mut self, until: SampleIndex, mut found: impl FnMut(Rate)) {
        while let Some(end) = self.next.checked_mul(self.hop()).map(SampleIndex)
            && end <= until
        {
            self.next += 1;
            let start = end.before(self.rate.count(WINDOW_SECONDS));
            let told = self.tell(start, end);
            found(Rate {
                start,
                end,
                per_minute: told.map(|(per_minute, _)| per_minute),
                quality: told.map_or(0.0, |(_, quality)| quality),
            });
            // The next window has no use for what is before this one.
            while self
                .pulses
                .front()
                .is_some_and(|(pulse, _)| pulse.onset < start)
            {
                self.pulses.pop_front();
            }
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.pulses.capacity() * size_of::<(Pulse, bool)>()
    }

    fn hop(&self) -> u64 {
        self.rate.count(HOP_SECONDS).0.max(1)
    }

    /// The rate and its quality in the window from `start` to `end`.
    #[expect(clippy::cast_possible_truncation, reason = "rates and shares are f32")]
    fn tell(&self, start: SampleIndex, end: SampleIndex) -> Option<(f32, f32)> {
        let within = |pulse: &Pulse| (start..end).contains(&pulse.onset);
        let pulses: Vec<(Pulse, bool)> = self
            .pulses
            .iter()
            .filter(|(pulse, _)| within(pulse))
            .copied()
            .collect();
        let seconds = |from: SampleIndex, to: SampleIndex| self.rate.seconds(to.since(from));
        let interval = |pair: &[(Pulse, bool)]| {
            let (_, joined) = pair[1];
            let samples = pair[1].0.steepest - pair[0].0.steepest;
            joined.then(|| 1e3 * samples / self.rate.hz())
        };
        let intervals: Vec<Option<f64>> = pulses.windows(2).map(interval).collect();
        let marks = marks(&intervals);
        let mut modulations: [Modulation; 3] = Default::default();
        let (mut filled, mut hole, mut last) = (0.0, 0f64, 0.0);
        for ((pair, ms), mark) in pulses.windows(2).zip(&intervals).zip(&marks) {
            let Some(ms) = ms.filter(|_| *mark == Mark::Used) else {
                continue;
            };
            let pulse = &pair[1].0;
            let at = seconds(start, pulse.onset);
            filled += ms / 1e3;
            hole = hole.max(at - last - ms / 1e3);
            last = at;
            let values = [pulse.level.into(), pulse.amplitude.into(), ms];
            for (modulation, value) in modulations.iter_mut().zip(values) {
                modulation.push((at, value));
            }
        }
        hole = hole.max(WINDOW_SECONDS - last);
        if filled < LEAST_SHARE * WINDOW_SECONDS || hole > LONGEST_HOLE_SECONDS {
            return None;
        }
        let pulse_rate = 60.0 * modulations[2].len() as f64 / filled;
        let highest = PER_MINUTE.1.min(0.5 * pulse_rate);
        let peaks: Vec<(f64, f64)> = modulations
            .iter()
            .filter_map(|modulation| peak(&resampled(modulation), highest))
            .collect();
        let rates: Vec<f64> = peaks.iter().map(|(rate, _)| *rate).collect();
        let spread = deviation(&rates);
        let agree = AGREE * (rates.len() as f64 - 1.5) / 1.5;
        if rates.len() < 2 || spread > agree {
            return None;
        }
        let clear = peaks.iter().map(|(_, share)| share).sum::<f64>() / modulations.len() as f64;
        let quality = clear * (1.0 - spread / AGREE).max(0.0);
        (quality >= LEAST_QUALITY).then(|| (mean(&rates) as f32, quality.min(1.0) as f32))
    }
}

/// The values at [`RESAMPLED_HZ`], on straight lines between the instants that there are; their trend taken off, tapered.
fn resampled(modulation: &Modulation) -> [f64; N] {
    let mut values = [0.0; N];
    let mut k = 0;
    for (n, value) in values.iter_mut().enumerate() {
        let at = n as f64 / RESAMPLED_HZ;
        while k + 2 < modulation.len() && modulation[k + 1].0 < at {
            k += 1;
        }
        if let Some([a, b]) = modulation.get(k..k + 2) {
            let part = ((at - a.0) / (b.0 - a.0).max(1e-9)).clamp(0.0, 1.0);
            *value = a.1 + part * (b.1 - a.1);
        }
    }
    let middle = (N as f64 - 1.0) / 2.0;
    let level = mean(&values);
    let (mut rise, mut square) = (0.0, 0.0);
    for (n, value) in values.iter().enumerate() {
        rise += (n as f64 - middle) * value;
        square += (n as f64 - middle).powi(2);
    }
    for (n, value) in values.iter_mut().enumerate() {
        let turn = std::f64::consts::TAU * (n as f64 + 0.5) / N as f64;
        let trend = level + rise / square * (n as f64 - middle);
        *value = (*value - trend) * 0.5 * (1.0 - turn.cos());
    }
    values
}

/// The rate of the highest peak up to `highest`, per minute, and the share of the power around it; `None` where none stands out.
fn peak(values: &[f64; N], highest: f64) -> Option<(f64, f64)> {
    let rate = |bin: usize| PER_MINUTE.0 + STEP * bin as f64;
    let bins = (0..).map(rate).take_while(|rate| *rate <= highest);
    let powers: Vec<f64> = bins
        .map(|rate| power(values, rate / 60.0 / RESAMPLED_HZ))
        .collect();
    let (best, _) = powers
        .iter()
        .enumerate()
        .max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    // At the lower edge, it is what is slower than breath.
    let [before, at, after] = powers.get(best.checked_sub(1)?..best + 2)? else {
        return None;
    };
    let bend = before - 2.0 * at + after;
    if bend >= 0.0 {
        return None;
    }
    let found = rate(best) + STEP * 0.5 * (before - after) / bend;
    let total: f64 = powers.iter().sum();
    let near = powers.iter().enumerate();
    let near = near.filter(|(bin, _)| (rate(*bin) - found).abs() <= AROUND);
    let share = near.map(|(_, power)| power).sum::<f64>() / total;
    (share >= STANDS_OUT).then_some((found, share))
}

/// The power at `turns` of a circle a sample (Goertzel).
fn power(values: &[f64; N], turns: f64) -> f64 {
    let twice = 2.0 * (std::f64::consts::TAU * turns).cos();
    let (mut a, mut b) = (0.0, 0.0);
    for value in values {
        (a, b) = (value + twice * a - b, a);
    }
    a * a + b * b - twice * a * b
}

#[cfg(test)]
mod tests {
    use ecg::SampleCount;

    use super::*;

    const HZ: f64 = 500.0;

    fn hz() -> SampleRate {
        SampleRate::new(HZ).unwrap()
    }

    /// Pulses of so many seconds at 75 a minute, in which breath moves level, amplitude and interval by these shares.
    fn pulses(seconds: f64, per_minute: [f64; 3]) -> Vec<Pulse> {
        let (mut pulses, mut at) = (Vec::new(), 0.3);
        while at < seconds {
            let [level, amplitude, interval] =
                per_minute.map(|rate| (std::f64::consts::TAU * rate / 60.0 * at).sin());
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "some samples"
            )]
            let (onset, level, amplitude) = (
                SampleIndex((at * HZ) as u64),
                (100.0 + 0.3 * level) as f32,
                (2.0 + 0.2 * amplitude) as f32,
            );
            pulses.push(Pulse {
                onset,
                steepest: at * HZ,
                peak: onset.after(SampleCount(70)),
                level,
                amplitude,
            });
            at += 0.8 * (1.0 + 0.04 * interval);
        }
        pulses
    }

    fn told(pulses: &[Pulse], until: f64) -> Vec<Rate> {
        let mut respiration = Respiration::new(SampleIndex(0), hz());
        let mut told = Vec::new();
        for pulse in pulses {
            respiration.decided(pulse.onset, |rate| told.push(rate));
            respiration.pulse(pulse);
            assert!(respiration.pulses.len() <= MOST);
        }
        respiration.decided(SampleIndex(hz().count(until).0), |rate| told.push(rate));
        told
    }

    #[test]
    fn three_that_agree_are_told() {
        for per_minute in [6.0, 8.0, 12.0, 15.0, 20.0, 25.0, 30.0] {
            let told = told(&pulses(60.0, [per_minute; 3]), 60.0);
            assert_eq!(told.len(), 8);
            for rate in &told {
                let found = rate.per_minute.unwrap();
                assert!((f64::from(found) - per_minute).abs() < 0.8, "{rate:?}");
                assert!(rate.quality > 0.5, "{per_minute}: {rate:?}");
                assert!(hz().seconds(rate.end.since(rate.start)) == WINDOW_SECONDS);
                assert!(rate.end.0.is_multiple_of(4 * 500));
            }
        }
    }

    #[test]
    fn those_that_contradict_are_not() {
        for per_minute in [[10.0, 20.0, 30.0], [8.0, 16.0, 16.0]] {
            let told = told(&pulses(60.0, per_minute), 60.0);
            assert!(
                told.iter()
                    .all(|rate| rate.per_minute.is_none() && rate.quality == 0.0)
            );
        }
        let closer = told(&pulses(60.0, [14.0, 16.0, 18.0]), 60.0);
        let found = closer[3].per_minute.unwrap();
        assert!(
            (found - 16.0).abs() < 0.5 && closer[3].quality < 0.5,
            "{closer:?}"
        );
    }

    #[test]
    fn faster_than_half_the_pulse_is_not_told() {
        let told = told(&pulses(60.0, [45.0; 3]), 60.0);
        assert!(
            told.iter()
                .all(|rate| rate.per_minute.is_none_or(|found| found < 38.0))
        );
    }

    #[test]
    fn a_gap_begins_anew_and_no_window_comes_twice() {
        let all = pulses(120.0, [15.0; 3]);
        let mut respiration = Respiration::new(SampleIndex(0), hz());
        let (mut ends, mut gone) = (Vec::new(), false);
        let mut note = |rate: Rate| ends.push(hz().seconds(rate.end.since(SampleIndex(0))));
        for pulse in all
            .iter()
            .filter(|pulse| !(25_000..27_000).contains(&pulse.onset.0))
        {
            if pulse.onset.0 >= 27_000 && !gone {
                gone = true;
                respiration.decided(SampleIndex(25_000), &mut note);
                respiration.gap(SampleIndex(27_000));
            }
            respiration.decided(pulse.onset, &mut note);
            respiration.pulse(pulse);
        }
        respiration.decided(SampleIndex(60_000), &mut note);
        let whole = (32..=48).step_by(4).chain((88..=120).step_by(4));
        assert_eq!(ends, whole.map(f64::from).collect::<Vec<_>>());
    }

    #[test]
    fn premature_and_missing_pulses_do_no_harm_where_few() {
        let mut all = pulses(60.0, [12.0; 3]);
        all.remove(50);
        all.remove(30);
        all[20].onset = all[20].onset.before(SampleCount(150));
        all[20].steepest -= 150.0;
        all[20].amplitude = 0.8;
        let found = told(&all, 60.0);
        assert!(
            found
                .iter()
                .all(|rate| (rate.per_minute.unwrap() - 12.0).abs() < 1.0),
            "{found:?}"
        );
        // Ten seconds without any are a hole.
        all.retain(|pulse| !(10_000..15_000).contains(&pulse.onset.0));
        let found = told(&all, 60.0);
        assert!(found.iter().take(7).all(|rate| rate.per_minute.is_none()));
        assert!(
            told(&[], 100.0)
                .iter()
                .all(|rate| rate.per_minute.is_none())
        );
    }

    #[test]
    fn an_end_far_away_takes_no_time() {
        let mut respiration = Respiration::new(SampleIndex(u64::MAX / 2), hz());
        respiration.decided(SampleIndex(7), |_| panic!("nothing is due"));
        respiration.gap(SampleIndex(u64::MAX));
        respiration.decided(SampleIndex(u64::MAX), |_| {});
    }
}
