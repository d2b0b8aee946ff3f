//! The device's clock to UTC.
//!
//! **Contract.** Sample time is the sample index; UTC is an estimate of it. [`Clock::observe`] is told the
//! first sample of each block, the device's idea of its time and when it arrived, and keeps an
//! [`Anchor`]: a straight line from sample index to UTC. Within one anchor UTC only grows; a new anchor may
//! step. The same observations give the same anchors; no clock is read.
//!
//! Three cases:
//!
//! 1. The device's clock is believed: its time is not later than arrival (plus a tolerance) and not
//!    implausibly long before it. Being earlier is normal, for packets may be kept or replayed. The rate of
//!    the line is the nominal one until there are five minutes of signal, then the median slope between
//!    observations half a window apart (Theil 1950, incomplete), at most ±500 ppm off nominal.
//! 2. It steps: its time is more than a second off the line. [`ClockEvent::Jump`], and a new line begins.
//! 3. It lies: [`ClockEvent::Lie`]. The line is anchored at arrival instead, never later than arrival, until ten
//!    observations in a row are believable and agree with each other.

use std::collections::VecDeque;
use std::time::Duration;

use ecg::{Anchor, SampleIndex, SampleRate, Utc};
use serde::{Deserialize, Serialize};

/// Observations that the drift is estimated from, and how much signal lies between two.
const MAX_POINTS: usize = 64;
const POINT_SECONDS: f64 = 10.0;
/// The span from which a slope is known better than the nominal rate.
const MIN_DRIFT_SECONDS: f64 = 300.0;
/// Believable observations after which a clock that lied is believed again.
const BELIEVE_AFTER: u32 = 10;

/// How far to trust the clocks of devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How much later than its arrival a packet may claim to be.
    #[serde(with = "humantime_serde")]
    pub tolerance: Duration,
    /// How long before its arrival a packet may claim to be.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
    /// How far the device's clock may be off its line before that counts as a jump.
    #[serde(with = "humantime_serde")]
    pub jump: Duration,
    /// The largest drift believed, in parts per million.
    pub max_drift_ppm: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tolerance: Duration::from_secs(5),
            max_age: Duration::from_hours(7 * 24),
            jump: Duration::from_secs(1),
            max_drift_ppm: 500.0,
        }
    }
}

/// Something about a device's clock that deserves to be counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ClockEvent {
    /// The clock stepped by so many seconds against the line; a new line begins.
    Jump {
        /// Positive if it went ahead.
        seconds: f64,
    },
    /// The clock cannot be right; from here the time of arrival is used. Said once, not per packet.
    Lie {
        /// How far the device's time is ahead of arrival, in seconds; negative if behind.
        ahead_seconds: f64,
    },
    /// A clock that lied is believed again.
    Recovered,
}

/// Whose time the anchor rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Device,
    Arrival,
}

/// The clock of one record.
#[derive(Debug, Clone)]
pub struct Clock {
    config: Config,
    nominal_hz: f64,
    anchor: Option<(Anchor, Source)>,
    /// Sample index and device time, oldest first.
    points: VecDeque<(SampleIndex, Utc)>,
    /// While the device lies: its last believable observation and how many there were in a row.
    believable: Option<(SampleIndex, Utc)>,
    n_believable: u32,
}

impl Clock {
    /// A clock for a record whose indices count at `rate`.
    pub fn new(config: Config, rate: SampleRate) -> Self {
        Self {
            config,
            nominal_hz: rate.hz(),
            anchor: None,
            points: VecDeque::with_capacity(MAX_POINTS),
            believable: None,
            n_believable: 0,
        }
    }

    /// The line from sample index to UTC as it is known now; before the first observation it
    /// passes through 1970.
    pub fn anchor(&self) -> Anchor {
        self.anchor.map_or(
            Anchor {
                index: SampleIndex(0),
                utc: Utc(0),
                hz: self.nominal_hz,
            },
            |(anchor, _)| anchor,
        )
    }

    /// Takes one block's first sample, its time by the device's clock, and when it arrived.
    pub fn observe(
        &mut self,
        first_sample: SampleIndex,
        device_time: Utc,
        arrival: Utc,
    ) -> Option<ClockEvent> {
        let ahead = device_time.seconds_since(arrival);
        let is_plausible = ahead <= self.config.tolerance.as_secs_f64()
            && ahead >= -self.config.max_age.as_secs_f64();
        match (self.anchor, is_plausible) {
            (None, true) => {
                self.begin(first_sample, device_time, Source::Device);
                None
            }
            (None | Some((_, Source::Device)), false) => {
                self.begin(first_sample, arrival, Source::Arrival);
                Some(ClockEvent::Lie {
                    ahead_seconds: ahead,
                })
            }
            (Some((anchor, Source::Device)), true) => {
                let off = device_time.seconds_since(anchor.utc(first_sample));
                if off.abs() > self.config.jump.as_secs_f64() {
                    self.begin(first_sample, device_time, Source::Device);
                    return Some(ClockEvent::Jump { seconds: off });
                }
                self.follow(first_sample, device_time);
                None
            }
            (Some((anchor, Source::Arrival)), _) => {
                if self.is_believed_again(first_sample, device_time, is_plausible) {
                    self.begin(first_sample, device_time, Source::Device);
                    return Some(ClockEvent::Recovered);
                }
                // A sample cannot arrive before it was taken; it may well arrive late.
                let late = arrival.seconds_since(anchor.utc(first_sample));
                if late < 0.0 || late > self.config.max_age.as_secs_f64() {
                    self.anchor = Some((self.line(first_sample, arrival), Source::Arrival));
                    if late.abs() > self.config.jump.as_secs_f64() {
                        return Some(ClockEvent::Jump { seconds: late });
                    }
                }
                None
            }
        }
    }

    /// A line at the nominal rate.
    fn line(&self, index: SampleIndex, utc: Utc) -> Anchor {
        Anchor {
            index,
            utc,
            hz: self.nominal_hz,
        }
    }

    fn begin(&mut self, index: SampleIndex, utc: Utc, source: Source) {
        self.anchor = Some((self.line(index, utc), source));
        self.points.clear();
        self.believable = None;
        self.n_believable = 0;
        if source == Source::Device {
            self.points.push_back((index, utc));
        }
    }

    /// Keeps an observation, if it is far enough from the last one, and fits the line again.
    fn follow(&mut self, index: SampleIndex, utc: Utc) {
        let seconds =
            |count: SampleIndex, from: SampleIndex| count.since(from).0 as f64 / self.nominal_hz;
        let (Some(&(oldest, _)), Some(&(latest, _))) = (self.points.front(), self.points.back())
        else {
            return;
        };
        // Once the window is full its oldest point leaves, so it slides with the signal.
        if seconds(index, latest) < POINT_SECONDS {
            return;
        }
        let span = seconds(index, oldest);
        if self.points.len() == MAX_POINTS {
            self.points.pop_front();
        }
        self.points.push_back((index, utc));
        if span < MIN_DRIFT_SECONDS || self.points.len() < 8 {
            return;
        }
        let hz = self.drifting_rate();
        let mut instants: Vec<i64> = self
            .points
            .iter()
            .map(|&(point, utc)| utc.plus_seconds(index.since(point).0 as f64 / hz).0)
            .collect();
        let utc = Utc(*median(&mut instants, i64::cmp));
        self.anchor = Some((Anchor { index, utc, hz }, Source::Device));
    }

    /// Samples per second of the device's clock: the median over pairs of points half a window apart.
    fn drifting_rate(&self) -> f64 {
        let half = self.points.len() / 2;
        let mut rates: Vec<f64> = self
            .points
            .iter()
            .zip(self.points.iter().skip(half))
            .map(|(&(early, from), &(late, to))| {
                late.since(early).0 as f64 / to.seconds_since(from)
            })
            .filter(|rate| rate.is_finite())
            .collect();
        if rates.is_empty() {
            return self.nominal_hz;
        }
        let bound = self.config.max_drift_ppm.abs().min(1e5) * 1e-6;
        let drift = median(&mut rates, f64::total_cmp) / self.nominal_hz - 1.0;
        self.nominal_hz * (1.0 + drift.max(-bound).min(bound))
    }

    /// Case 3 of the module comment: counts believable observations that agree with each other.
    fn is_believed_again(&mut self, index: SampleIndex, utc: Utc, is_plausible: bool) -> bool {
        if !is_plausible {
            self.believable = None;
            self.n_believable = 0;
            return false;
        }
        let agrees = self.believable.is_some_and(|(last, last_utc)| {
            let off = utc.seconds_since(self.line(last, last_utc).utc(index));
            off.abs() <= self.config.jump.as_secs_f64()
        });
        self.n_believable = if agrees { self.n_believable + 1 } else { 1 };
        self.believable = Some((index, utc));
        self.n_believable >= BELIEVE_AFTER
    }
}

/// The (upper) median.
///
/// # Panics
/// If there are no values.
fn median<T>(values: &mut [T], compare: impl FnMut(&T, &T) -> std::cmp::Ordering) -> &T {
    let middle = values.len() / 2;
    values.select_nth_unstable_by(middle, compare).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: i64 = 1_000_000;
    const NOW: i64 = 1_767_225_600 * SECOND;

    fn clock() -> Clock {
        Clock::new(Config::default(), SampleRate::new(250.0).unwrap())
    }

    #[test]
    fn a_good_clock_is_followed() {
        let mut clock = clock();
        for second in 0..60 {
            let time = Utc(NOW + second * SECOND);
            let index = SampleIndex(250 * second.unsigned_abs());
            let arrival = time.plus_seconds(1.3);
            assert_eq!(clock.observe(index, time, arrival), None);
            assert_eq!(clock.anchor().utc(index), time);
        }
    }

    #[test]
    fn being_early_is_normal_until_it_is_absurd() {
        let day = 24.0 * 3600.0;
        for (age, is_lie) in [
            (0.0, false),
            (-4.9, false),
            (-5.1, true),
            (6.9 * day, false),
            (7.1 * day, true),
            (1e12, true),
            (-1e12, true),
        ] {
            let time = Utc(NOW).plus_seconds(-age);
            let mut clock = clock();
            let event = clock.observe(SampleIndex(9), time, Utc(NOW));
            assert_eq!(event.is_some(), is_lie, "{age}");
            let expected = if is_lie { Utc(NOW) } else { time };
            assert_eq!(clock.anchor().utc(SampleIndex(9)), expected, "{age}");
        }
    }

    #[test]
    fn a_step_is_said_and_followed() {
        let mut clock = clock();
        let arrival = Utc(NOW + 100 * SECOND);
        clock.observe(SampleIndex(0), Utc(NOW), arrival);
        let event = clock.observe(SampleIndex(250), Utc(NOW + 31 * SECOND), arrival);
        assert_eq!(event, Some(ClockEvent::Jump { seconds: 30.0 }));
        assert_eq!(clock.anchor().utc(SampleIndex(500)), Utc(NOW + 32 * SECOND));
        let event = clock.observe(SampleIndex(500), Utc(NOW), arrival);
        assert_eq!(event, Some(ClockEvent::Jump { seconds: -32.0 }));
    }

    #[test]
    fn a_liar_is_placed_by_arrival_and_can_recover() {
        let mut clock = clock();
        let mut events = Vec::new();
        for second in 0..40_i64 {
            let index = SampleIndex(250 * second.unsigned_abs());
            let arrival = Utc(NOW + second * SECOND);
            let lies_by = if second < 20 { 3600 } else { 0 };
            let time = Utc(arrival.0 + lies_by * SECOND);
            events.extend(clock.observe(index, time, arrival));
            assert_eq!(clock.anchor().utc(index), arrival);
        }
        let lie = ClockEvent::Lie {
            ahead_seconds: 3600.0,
        };
        assert_eq!(events, [lie, ClockEvent::Recovered]);
    }

    #[test]
    fn arrival_moves_a_line_back_but_a_late_packet_does_not_move_it() {
        let mut clock = clock();
        let liar = Utc(0);
        clock.observe(SampleIndex(0), liar, Utc(NOW));
        clock.observe(SampleIndex(250), liar, Utc(NOW + 9 * SECOND));
        assert_eq!(clock.anchor().utc(SampleIndex(0)), Utc(NOW));
        // Twenty seconds of signal, five of time: the record is played faster than it was taken.
        let event = clock.observe(SampleIndex(5000), liar, Utc(NOW + 5 * SECOND));
        assert_eq!(event, Some(ClockEvent::Jump { seconds: -15.0 }));
        assert_eq!(clock.anchor().utc(SampleIndex(5000)), Utc(NOW + 5 * SECOND));
    }

    /// The rate found after an hour of a clock that drifts, with seeded jitter and outliers.
    fn drift_found(ppm: f64) -> f64 {
        let mut clock = clock();
        let mut noise = 12345_u64;
        for second in 0..3600_u32 {
            noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1);
            let mut jitter = (noise >> 33) as f64 / f64::from(1_u32 << 31) * 0.01;
            if second % 97 == 50 {
                jitter += 0.8;
            }
            let index = SampleIndex(u64::from(second) * 250);
            let time = Utc(NOW).plus_seconds(f64::from(second) / (1.0 + ppm * 1e-6) + jitter);
            assert_eq!(clock.observe(index, time, time), None);
        }
        (clock.anchor().hz / 250.0 - 1.0) * 1e6
    }

    #[test]
    fn drift_is_found_and_bounded() {
        for ppm in [0.0, 40.0, -120.0, 400.0] {
            let found = drift_found(ppm);
            assert!((found - ppm).abs() < 15.0, "{ppm}: {found}");
        }
        assert!((drift_found(700.0) - 500.0).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn any_observation_leaves_a_usable_line(
            seen in prop::collection::vec((0..1_u64 << 53, any::<i64>(), any::<i64>()), 1..200)
        ) {
            let mut clock = clock();
            for (index, time, arrival) in seen {
                clock.observe(SampleIndex(index), Utc(time), Utc(arrival));
                let anchor = clock.anchor();
                prop_assert!((anchor.hz / 250.0 - 1.0).abs() <= 501e-6);
                prop_assert!(anchor.utc(SampleIndex(index + 250)) >= anchor.utc(SampleIndex(index)));
            }
        }
    }
}
