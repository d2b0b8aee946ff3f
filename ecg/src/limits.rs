//! The limits of one patient's alarms, as they are asked for, kept and shown.

use std::fmt;
use std::str::FromStr;

use crate::{Condition, Error};

/// What a patient's alarms depend on. What is absent is as on the ward; what is allowed, the alarm machine knows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PatientLimits {
    /// Rates under this are too low, beats per minute; given with the high one.
    pub low_bpm: Option<f32>,
    /// Rates over this are too high, beats per minute; given with the low one.
    pub high_bpm: Option<f32>,
    /// Consecutive beats slower than this are an extreme bradycardia, beats per minute.
    pub extreme_bradycardia_bpm: Option<f32>,
    /// Consecutive beats faster than this are an extreme tachycardia, beats per minute.
    pub extreme_tachycardia_bpm: Option<f32>,
    /// So long without a QRS is a pause, seconds.
    pub pause_seconds: Option<f32>,
    /// So long the rate must be beyond a limit, seconds.
    pub rate_delay_seconds: Option<f32>,
    /// More ventricular beats in a minute are a burden.
    pub ventricular_per_minute: Option<f32>,
    /// ST higher than this is a change, mV.
    pub st_elevation_mv: Option<f32>,
    /// ST lower than this below the PR segment is a change, mV.
    pub st_depression_mv: Option<f32>,
    /// What is not alarmed on.
    pub off: Conditions,
}

/// A set of conditions. As text: their names in the order of [`Condition::ALL`], separated by spaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Conditions(u32);

impl Conditions {
    /// Whether `condition` is one of them.
    pub fn contains(self, condition: Condition) -> bool {
        self.0 & bit(condition) != 0
    }

    /// Them, most severe first.
    pub fn iter(self) -> impl Iterator<Item = Condition> {
        Condition::ALL
            .into_iter()
            .filter(move |&condition| self.contains(condition))
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// There are fewer than 32.
fn bit(condition: Condition) -> u32 {
    1 << condition as u32
}

impl FromIterator<Condition> for Conditions {
    fn from_iter<T: IntoIterator<Item = Condition>>(conditions: T) -> Self {
        Self(conditions.into_iter().fold(0, |set, one| set | bit(one)))
    }
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (k, condition) in self.iter().enumerate() {
            let between = if k == 0 { "" } else { " " };
            write!(f, "{between}{condition}")?;
        }
        Ok(())
    }
}

impl FromStr for Conditions {
    type Err = Error;

    fn from_str(names: &str) -> Result<Self, Error> {
        names.split_whitespace().map(str::parse).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_conditions_round_trips_as_text() {
        let all: Conditions = Condition::ALL.into_iter().collect();
        assert!(all.iter().eq(Condition::ALL));
        let some: Conditions = [Condition::RateTrend, Condition::Pause]
            .into_iter()
            .collect();
        assert_eq!(some.to_string(), "pause rate_trend");
        for set in [Conditions::default(), some, all] {
            assert_eq!(set.to_string().parse::<Conditions>().unwrap(), set);
        }
        assert!(some.contains(Condition::Pause) && !some.contains(Condition::Asystole));
        assert!(Conditions::default().is_empty());
        assert!("pause hiccups".parse::<Conditions>().is_err());
    }
}
