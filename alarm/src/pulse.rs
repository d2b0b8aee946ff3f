//! What the pulse says: whether it goes on, is steady, disturbed or gone. **It speaks for or against an alarm of the ECG. Alone,
//! where no ECG can be judged, it tells of rates and of its own loss, never of a rhythm.**
//!
//! Pulses are onsets on the PPG or the arterial pressure, from the best such signal at the time. They count only while
//! one of these signals could be used for [`SHARE`] of the last [`SECONDS`]; an electrode that hangs in the air
//! says nothing about the heart, and neither does a sensor that does.

use std::fmt;

use ecg::{Quality, SampleCount, SampleIndex, SignalKind, Wavelength};

use crate::memory::{Heard, Memory, PULSES_SECONDS};

/// How far back the pulse is looked at.
pub(crate) const SECONDS: usize = 10;
/// The least share of these seconds that can be used.
const SHARE: f64 = 0.7;
/// The same, where the pulse alone holds an asystole back or shows that the heart moves no blood.
const SURE_SHARE: f64 = 0.8;
/// The score of a second in which a pulse that is disturbed or lost says something of the heart.
const CLEAR: f32 = 0.85;
/// Intervals of a steady pulse differ from their median by less, relative.
pub(crate) const STEADY: f64 = 0.12;
/// The median deviation of the intervals of a pulse that is lost is more, relative.
const LOST: f64 = 0.3;
/// The same of a pulse that goes on is at most this.
pub(crate) const EVEN: f64 = 0.2;
/// The longest interval of a pulse that goes on.
const LONGEST_SECONDS: f64 = 2.0;
/// How long no pulse must come for the heart to be taken to move no blood.
pub(crate) const ARREST_SECONDS: f64 = 2.9;

/// A pulse is even if this share of its intervals is alike: one may have been missed, or be early.
const ALIKE: f64 = 0.75;

/// How long no pulse must come, where there is no ECG, for it to be lost...
pub(crate) const LOST_SECONDS: f64 = 6.0;
/// ...which is told within so many seconds, while the pulse before is known...
const LOST_WITHIN_SECONDS: f64 = 1.0;
/// ...which had at least so many intervals, and as many seconds of its end that could be used.
const BEFORE: usize = 3;
/// What is smaller than this share of a usual pulse before is noise that was taken for one.
const WEAK: f32 = 0.3;
/// A pulse is back with so many pulses on end in as many seconds, none of them smaller than half of the greatest...
const BACK: (usize, f64) = (4, 6.0);
/// ...and none sooner than this after the one before, on a signal that could be used for as long as [`BEFORE`].
const BACK_INTERVAL_SECONDS: f64 = 0.3;

/// After so long nothing is known of the pulse before.
const FORGOTTEN_SECONDS: f64 = 10.0;
/// The RR interval that the ECG must show meanwhile.
pub(crate) const ARREST_RR_SECONDS: f64 = 1.75;

/// How the pulse is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum Pulse {
    /// Nothing to judge by.
    #[default]
    Unknown,
    /// Every interval is like the others: so many beats a minute.
    Steady(f64),
    /// So many intervals are unlike the others.
    Disturbed(usize),
    /// No order in it, or none for 3 s.
    Lost,
}

impl fmt::Display for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("no clear pulse"),
            Self::Steady(bpm) => write!(f, "pulse steady at {bpm:.0}/min"),
            Self::Disturbed(odd) => write!(f, "pulse disturbed ({odd} intervals)"),
            Self::Lost => f.write_str("pulse lost"),
        }
    }
}

impl Memory {
    /// How the pulse is at `at`.
    pub(crate) fn pulse(&self, at: SampleIndex) -> Pulse {
        if self.pulse_share(|heard| heard.sensor) < SHARE {
            return Pulse::Unknown;
        }
        let intervals = self.pulse_intervals(at.before(self.rate.count(SECONDS as f64)), at);
        let lost = || match self.clear_share() {
            share if share >= SHARE => Pulse::Lost,
            _ => Pulse::Unknown,
        };
        let Some(since) = self.pulse_age(at) else {
            return lost();
        };
        let Some((median, deviation)) =
            median_deviation(&intervals).filter(|_| intervals.len() > 2)
        else {
            return lost();
        };
        let alike = |interval: &f64| (interval / median - 1.0).abs() <= STEADY;
        let goes_on = since <= 1.6 * median + 0.2;
        if intervals.len() > 4 && goes_on && intervals.iter().all(alike) {
            Pulse::Steady(60.0 / median)
        } else if self.clear_share() < SHARE {
            // Motion takes a pulse apart as well.
            Pulse::Unknown
        } else if deviation > LOST || since > 3.0 {
            Pulse::Lost
        } else {
            Pulse::Disturbed(intervals.iter().filter(|interval| !alike(interval)).count())
        }
    }

    /// Whether blood went on moving from `start`, where the ECG shows nothing, to `at`: why, or `None`.
    pub(crate) fn pulse_goes_on(&self, start: SampleIndex, at: SampleIndex) -> Option<String> {
        let from = start.before(self.rate.count(3.0));
        let intervals = self.pulse_intervals(from, at);
        let within = self.pulses.iter().filter(|pulse| **pulse >= start).count();
        let (median, deviation) = median_deviation(&intervals)?;
        let longest = intervals.iter().copied().fold(0.0, f64::max);
        let goes_on = self.pulse_share(|heard| heard.score) >= SURE_SHARE
            && within >= 3
            && deviation <= EVEN
            && longest.max(self.pulse_age(at)?) <= LONGEST_SECONDS;
        let bpm = 60.0 / median;
        goes_on.then(|| format!("{within} pulses meanwhile, {bpm:.0}/min"))
    }

    /// Where the last pulse was, if none has come for [`ARREST_SECONDS`] after steady ones though a beat was found, and
    /// the ECG was slow too: that of a heart that moves no blood. And the longest RR interval since. By the arterial pressure
    /// only: light on the skin loses its pulse too easily.
    pub(crate) fn arrest(&self, at: SampleIndex) -> Option<(SampleIndex, f64)> {
        let last = *self.pulses.back()?;
        let silent = self.seconds(last, at);
        let lately = (ARREST_SECONDS..FORGOTTEN_SECONDS).contains(&silent);
        if !lately || self.pressure_share(true) < SURE_SHARE {
            return None;
        }
        let before = self.pulse_intervals(last.before(self.rate.count(8.0)), last);
        let (_, deviation) = median_deviation(&before).filter(|_| before.len() > 4)?;
        let since = last.before(self.rate.count(1.0));
        let beats = self.beats();
        let ends = beats.clone().skip(1).chain([at]);
        let intervals = beats.zip(ends).filter(|(_, end)| *end > since);
        let longest = intervals
            .map(|(start, end)| self.seconds(start, end))
            .fold(0.0, f64::max);
        (deviation <= EVEN && longest >= ARREST_RR_SECONDS && silent > longest + 0.7)
            .then_some((last, longest))
    }

    /// The mean rate of the last `n` pulses of the arterial pressure, per minute, where that can be judged.
    pub(crate) fn pulse_rate(&self, n: usize, at: SampleIndex) -> Option<f64> {
        let skipped = self.pulses.len().checked_sub(n)?;
        let (first, last) = (*self.pulses.get(skipped)?, *self.pulses.back()?);
        if self.seconds(first, at) > PULSES_SECONDS {
            return None;
        }
        let seconds = self.seconds(first, last);
        (self.pressure_share(false) >= SURE_SHARE && seconds > 0.0)
            .then(|| 60.0 * (n - 1) as f64 / seconds)
    }

    /// The first of the last `n` pulses and the rate of their median interval per minute, where enough of the intervals are within
    /// `spread` of it, the next pulse is not overdue and the signal could be used.
    pub(crate) fn even_pulse(
        &self,
        n: usize,
        spread: f64,
        at: SampleIndex,
    ) -> Option<(SampleIndex, f64)> {
        let first = *self.pulses.get(self.pulses.len().checked_sub(n)?)?;
        let intervals = self.pulse_intervals(first.before(SampleCount(1)), at);
        let median = even(&intervals, spread)?;
        let goes_on = self.pulse_age(at)? <= 1.6 * median + 0.2;
        (goes_on && self.pulse_share(|heard| heard.score) >= SURE_SHARE)
            .then(|| (first, 60.0 / median))
    }

    /// The last pulse and the rate before it, if none has come for [`LOST_SECONDS`], and not for much longer, but for weak ones,
    /// after an even one on a signal that could be used.
    pub(crate) fn lost_pulse(&self, at: SampleIndex) -> Option<(SampleIndex, f64)> {
        let due = at.before(self.rate.count(LOST_SECONDS));
        let n_before = self.pulses.partition_point(|pulse| *pulse <= due);
        let mut usual: Vec<f32> = self.amplitudes.range(..n_before).copied().collect();
        usual.sort_unstable_by(f32::total_cmp);
        let weak = WEAK * usual.get(usual.len() / 2)?;
        let pulses = self.pulses.iter().zip(&self.amplitudes);
        let strong: Vec<SampleIndex> = pulses
            .filter(|(_, height)| **height >= weak)
            .map(|(pulse, _)| *pulse)
            .collect();
        let last = *strong.last()?;
        let lately = LOST_SECONDS..LOST_SECONDS + LOST_WITHIN_SECONDS;
        if strong.len() <= BEFORE || !lately.contains(&self.seconds(last, at)) {
            return None;
        }
        let intervals = strong.iter().zip(&strong[1..]);
        let intervals: Vec<f64> = intervals.map(|(a, b)| self.seconds(*a, *b)).collect();
        let median = even(&intervals, EVEN)?;
        self.heard_pulse(last).then(|| (last, 60.0 / median))
    }

    /// Whether a pulse that was lost is back.
    pub(crate) fn pulse_is_back(&self, at: SampleIndex) -> bool {
        let (n, seconds) = BACK;
        let Some(skipped) = self.pulses.len().checked_sub(n) else {
            return false;
        };
        let lately = |first: &SampleIndex| self.seconds(*first, at) <= seconds;
        let heights = self.amplitudes.range(skipped..);
        let greatest = heights.clone().copied().fold(0.0, f32::max);
        // As far as it is known, what was lost was not much greater.
        let known = self.amplitudes.iter().copied().fold(0.0, f32::max);
        let pulses = self.pulses.range(skipped..);
        let next = pulses.clone().skip(1);
        let mut intervals = pulses.zip(next).map(|(a, b)| self.seconds(*a, *b));
        self.pulses.get(skipped).is_some_and(lately)
            && heights.clone().all(|height| *height >= 0.5 * greatest)
            && greatest >= WEAK * known
            && intervals.all(|interval| interval >= BACK_INTERVAL_SECONDS)
            && self.heard_pulse(at)
    }

    /// Whether some signal with a pulse could be used in the last seconds before `at`.
    fn heard_pulse(&self, at: SampleIndex) -> bool {
        let mut pulse = self.signals.iter().filter(|s| s.kind.has_pulse());
        pulse.any(|signal| signal.was_usable(at, BEFORE, self.rate))
    }

    /// Seconds since the last pulse.
    fn pulse_age(&self, at: SampleIndex) -> Option<f64> {
        self.pulses.back().map(|last| self.seconds(*last, at))
    }

    /// The intervals between pulses from `from` on, seconds.
    fn pulse_intervals(&self, from: SampleIndex, until: SampleIndex) -> Vec<f64> {
        let pulses = self.pulses.iter();
        let pulses = pulses.filter(|pulse| **pulse > from && **pulse <= until);
        let next = pulses.clone().skip(1);
        pulses
            .zip(next)
            .map(|(a, b)| self.seconds(*a, *b))
            .collect()
    }

    /// The share of the last seconds in which the best signal with a pulse could be used, by its `score`.
    fn pulse_share(&self, score: impl Fn(&Heard) -> f32) -> f64 {
        let pulse = self.signals.iter().filter(|s| s.kind.has_pulse());
        pulse
            .map(|signal| signal.share(|heard| score(heard) >= Quality::USABLE))
            .fold(0.0, f64::max)
    }

    /// The share of the last seconds in which a pulse that is disturbed would be one of the heart. Green light is that of a
    /// wearable, which motion disturbs first.
    fn clear_share(&self) -> f64 {
        let firm = |kind| {
            !matches!(
                kind,
                SignalKind::Ecg(_) | SignalKind::Ppg(Wavelength::Green)
            )
        };
        let pulse = self.signals.iter().filter(|s| firm(s.kind));
        pulse
            .map(|signal| signal.share(|heard| heard.sensor >= CLEAR))
            .fold(0.0, f64::max)
    }

    /// The share of the last seconds in which the arterial pressure could be used; with `flat`, those without any change count
    /// as well.
    fn pressure_share(&self, flat: bool) -> f64 {
        let pressure = self.signals.iter().find(|s| s.kind == SignalKind::Abp);
        let counts = |heard: &Heard| heard.sensor >= Quality::USABLE || flat && heard.flat;
        pressure.map_or(0.0, |signal| signal.share(counts))
    }
}

/// The median of intervals of which enough are within `spread` of it.
fn even(intervals: &[f64], spread: f64) -> Option<f64> {
    let (median, _) = median_deviation(intervals)?;
    let alike = |interval: &&f64| (*interval / median - 1.0).abs() <= spread;
    let alike = intervals.iter().filter(alike).count() as f64;
    (alike >= ALIKE * intervals.len() as f64).then_some(median)
}

/// The median, and the median of the distances from it relative to it.
fn median_deviation(values: &[f64]) -> Option<(f64, f64)> {
    let median = |mut values: Vec<f64>| {
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        Some(if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], upper)
        } else {
            upper
        })
    };
    let middle = median(values.to_vec()).filter(|middle| *middle > 0.0)?;
    let apart = values.iter().map(|value| (value - middle).abs());
    Some((middle, median(apart.collect())? / middle))
}
