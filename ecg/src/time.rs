//! Positions and spans on a record's time axis, and UTC.
//!
//! A position is a sample index on the device's own clock; an instant of UTC is an estimate
//! derived from it. Spans are half-open, `start..end`, everywhere in the project.

use std::fmt;

use crate::Error;

/// Samples per second of one signal, 25 to 2000 Hz.
///
/// Kept in microhertz, so that rates compare and hash exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SampleRate(u64);

impl SampleRate {
    /// The lowest rate accepted.
    pub const MIN_HZ: f64 = 25.0;
    /// The highest rate accepted.
    pub const MAX_HZ: f64 = 2000.0;

    /// A rate in hertz.
    ///
    /// # Errors
    /// [`Error::Rate`] outside 25 to 2000 Hz, and for NaN.
    pub fn new(hz: f64) -> Result<Self, Error> {
        if hz >= Self::MIN_HZ && hz <= Self::MAX_HZ {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at most 2e9 microhertz, checked above"
            )]
            Ok(Self((hz * 1e6).round() as u64))
        } else {
            Err(Error::Rate(hz))
        }
    }

    /// The rate in hertz.
    pub fn hz(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The duration of `count` samples in seconds.
    pub fn seconds(self, count: SampleCount) -> f64 {
        count.0 as f64 / self.hz()
    }

    /// The number of samples nearest to `seconds`; zero for a negative span.
    pub fn count(self, seconds: f64) -> SampleCount {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "float to integer casts saturate, which is what a count wants"
        )]
        SampleCount((seconds * self.hz()).round() as u64)
    }

    /// The same instant as `index`, in samples of `other`, rounded down.
    pub fn convert(self, index: SampleIndex, other: SampleRate) -> SampleIndex {
        if self == other {
            return index;
        }
        let wide = u128::from(index.0) * u128::from(other.0) / u128::from(self.0);
        SampleIndex(u64::try_from(wide).unwrap_or(u64::MAX))
    }

    /// Like [`convert`](Self::convert), but `None` where the instant falls between two samples of `other`.
    pub fn convert_exact(self, index: SampleIndex, other: SampleRate) -> Option<SampleIndex> {
        let wide = u128::from(index.0) * u128::from(other.0);
        if !wide.is_multiple_of(u128::from(self.0)) {
            return None;
        }
        u64::try_from(wide / u128::from(self.0))
            .ok()
            .map(SampleIndex)
    }
}

impl fmt::Display for SampleRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Hz", self.hz())
    }
}

/// A position in a record: the number of samples before it, counted at the record's base rate
/// (see [`Layout`](crate::Layout)) from the start of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SampleIndex(pub u64);

/// A span in samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SampleCount(pub u64);

impl SampleIndex {
    /// The position `count` samples later, stopping at the last representable one.
    #[must_use]
    pub fn after(self, count: SampleCount) -> Self {
        Self(self.0.saturating_add(count.0))
    }

    /// The position `count` samples earlier, stopping at the start of the record.
    #[must_use]
    pub fn before(self, count: SampleCount) -> Self {
        Self(self.0.saturating_sub(count.0))
    }

    /// The span from `earlier` to here; zero if `earlier` is in fact later.
    pub fn since(self, earlier: Self) -> SampleCount {
        SampleCount(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for SampleIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SampleCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An instant of UTC in microseconds since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Utc(pub i64);

impl Utc {
    /// The instant `seconds` later (earlier if negative), saturating.
    #[must_use]
    pub fn plus_seconds(self, seconds: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "float to integer casts saturate, which is what an instant wants"
        )]
        Self(self.0.saturating_add((seconds * 1e6).round() as i64))
    }

    /// Seconds from `earlier` to here; negative if `earlier` is in fact later.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e6
    }
}

/// Ties a record's samples to UTC: the estimated instant of one sample, and the device's true
/// sampling rate as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Anchor {
    /// The sample that is tied.
    pub index: SampleIndex,
    /// When it was taken.
    pub utc: Utc,
    /// Samples per second of UTC: the nominal base rate, corrected for the drift of the device's clock.
    pub hz: f64,
}

impl Anchor {
    /// The estimated instant of `index`, before or after the anchored sample.
    pub fn utc(&self, index: SampleIndex) -> Utc {
        let ahead = index.since(self.index).0 as f64 - self.index.since(index).0 as f64;
        self.utc.plus_seconds(ahead / self.hz)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_outside_the_limits_are_refused() {
        for hz in [24.999, 2000.001, f64::NAN, f64::INFINITY, -250.0, 0.0] {
            assert!(SampleRate::new(hz).is_err(), "{hz}");
        }
        assert!((SampleRate::new(360.0).unwrap().hz() - 360.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn conversion_rounds_down_and_exact_agrees(index in 0u64..1 << 40, a in 25u32..=2000, b in 25u32..=2000) {
            let (a, b) = (SampleRate::new(f64::from(a)).unwrap(), SampleRate::new(f64::from(b)).unwrap());
            let there = a.convert(SampleIndex(index), b);
            let seconds = index as f64 / a.hz();
            prop_assert!((there.0 as f64 / b.hz() - seconds) < 1e-6);
            prop_assert!((seconds - there.0 as f64 / b.hz()) < 1.0 / b.hz() + 1e-6);
            if let Some(exact) = a.convert_exact(SampleIndex(index), b) {
                prop_assert_eq!(exact, there);
                prop_assert_eq!(b.convert_exact(exact, a), Some(SampleIndex(index)));
            }
        }
    }
}
