//! The limits of one patient: what may be asked for, and what is in force where nothing is.
//!
//! **No limit of a patient silences what kills.** Asystole, ventricular fibrillation and ventricular tachycardia have no
//! limits here; those of the extreme rates stay within bounds that still are extreme; and only physiological conditions of
//! medium or low priority can be switched off. That a device does not tell is never switched off either.

use std::ops::RangeInclusive;

use ecg::{AlarmKind, Condition, Conditions, PatientLimits, Priority};
use serde::{Deserialize, Serialize};

use crate::config::{Config, most_fast_beats};
use crate::{Error, definition};

/// More ventricular beats in a minute are a burden, where the ward says nothing else.
const VENTRICULAR_PER_MINUTE: f32 = 10.0;

/// What may be asked for: the name of each limit, its bounds, and where it is.
type Bounded = (
    &'static str,
    RangeInclusive<f32>,
    fn(&PatientLimits) -> Option<f32>,
);

/// Limits that a patient may have. What is absent is as on the ward ([`Config`]).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "WardLimits", into = "WardLimits")]
pub struct Limits(PatientLimits);

/// Limits as they are in force for a patient: the patient's own or, where there is none, those of the ward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InForce {
    /// Rates under this are too low, beats per minute.
    pub low_bpm: f32,
    /// Rates over this are too high, beats per minute.
    pub high_bpm: f32,
    /// Consecutive beats slower than this are an extreme bradycardia, beats per minute.
    pub extreme_bradycardia_bpm: f32,
    /// Consecutive beats faster than this are an extreme tachycardia, beats per minute.
    pub extreme_tachycardia_bpm: f32,
    /// So long without a QRS is a pause, seconds.
    pub pause_seconds: f32,
    /// So long the rate must be beyond a limit, seconds.
    pub rate_delay_seconds: f32,
    /// More ventricular beats in a minute are a burden.
    pub ventricular_per_minute: f32,
    /// ST higher than this is a change, mV; `None` for the limits of the statement on it.
    pub st_elevation_mv: Option<f32>,
    /// ST lower than this below the PR segment is a change, mV; `None` for the limit of the statement on it.
    pub st_depression_mv: Option<f32>,
    /// What is not alarmed on.
    pub off: Conditions,
}

/// The limits that a configuration names here; the others have keys of their own.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WardLimits {
    low_bpm: f32,
    high_bpm: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ventricular_per_minute: Option<f32>,
}

impl Limits {
    /// Every limit that is a number, with the bounds that it must be in.
    pub const BOUNDS: [Bounded; 9] = [
        ("low_bpm", 20.0..=300.0, |of| of.low_bpm),
        ("high_bpm", 20.0..=300.0, |of| of.high_bpm),
        ("extreme_bradycardia_bpm", 20.0..=50.0, |of| {
            of.extreme_bradycardia_bpm
        }),
        ("extreme_tachycardia_bpm", 120.0..=200.0, |of| {
            of.extreme_tachycardia_bpm
        }),
        ("pause_seconds", 1.0..=4.0, |of| of.pause_seconds),
        ("rate_delay_seconds", 1.0..=15.0, |of| of.rate_delay_seconds),
        ("ventricular_per_minute", 1.0..=60.0, |of| {
            of.ventricular_per_minute
        }),
        ("st_elevation_mv", 0.05..=0.5, |of| of.st_elevation_mv),
        ("st_depression_mv", 0.03..=0.5, |of| of.st_depression_mv),
    ];

    /// Limits of the rate alone, in beats per minute.
    ///
    /// # Errors
    /// [`Error::Setting`] unless 20 <= `low_bpm` < `high_bpm` <= 300.
    pub fn new(low_bpm: f32, high_bpm: f32) -> Result<Self, Error> {
        Self::of(PatientLimits {
            low_bpm: Some(low_bpm),
            high_bpm: Some(high_bpm),
            ..PatientLimits::default()
        })
    }

    /// Limits as asked for.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first that is out of its [bounds](Self::BOUNDS), a rate limit without the other one
    /// (its order could not be told if the ward's changed), and a condition that [cannot be switched off](can_be_off).
    pub fn of(asked: PatientLimits) -> Result<Self, Error> {
        for (key, bounds, value) in Self::BOUNDS {
            if let Some(value) = value(&asked)
                && !bounds.contains(&value)
            {
                let limit = format!("{} to {}", bounds.start(), bounds.end());
                return Err(setting(key, &value, limit));
            }
        }
        match (asked.low_bpm, asked.high_bpm) {
            (Some(low), Some(high)) if low >= high => {
                return Err(setting(
                    "low_bpm",
                    &low,
                    format!("less than high_bpm = {high}"),
                ));
            }
            (Some(low), None) => {
                return Err(setting("low_bpm", &low, "a pair with high_bpm".into()));
            }
            (None, Some(high)) => {
                return Err(setting("high_bpm", &high, "a pair with low_bpm".into()));
            }
            _ => {}
        }
        if let Some(fixed) = asked.off.iter().find(|&condition| !can_be_off(condition)) {
            return Err(setting(
                "off",
                &fixed,
                "a physiological condition of medium or low priority".into(),
            ));
        }
        Ok(Self(asked))
    }

    /// What was asked for.
    pub fn asked(&self) -> &PatientLimits {
        &self.0
    }
}

/// Whether a condition can be switched off for a patient: a physiological one whose priority is not high.
pub fn can_be_off(condition: Condition) -> bool {
    let line = definition(condition);
    line.kind == AlarmKind::Physiological && line.priority != Priority::High
}

impl Config {
    /// Whether this configuration can keep to `limits`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a pause that is no shorter than an asystole, and for an extreme tachycardia that is so slow
    /// that its beats take longer than what is remembered.
    pub fn accept(&self, limits: &Limits) -> Result<(), Error> {
        let asked = limits.asked();
        let asystole = self.asystole.as_secs_f32();
        if let Some(pause) = asked.pause_seconds.filter(|pause| *pause >= asystole) {
            let limit = format!("less than asystole = {asystole} s");
            return Err(setting("pause_seconds", &pause, limit));
        }
        if let Some(bpm) = asked.extreme_tachycardia_bpm {
            let most = most_fast_beats(self, bpm);
            let beats = self.extreme_tachycardia.beats;
            if f64::from(beats) > most {
                let limit = format!("a rate of which {beats} beats fit into the memory");
                return Err(setting("extreme_tachycardia_bpm", &bpm, limit));
            }
        }
        Ok(())
    }

    /// What is in force for a patient with `limits`, which should be [accepted](Self::accept).
    pub fn in_force(&self, limits: Limits) -> InForce {
        let (own, ward) = (limits.0, self.limits.0);
        let rates = |of: PatientLimits| of.low_bpm.zip(of.high_bpm);
        let (low_bpm, high_bpm) = rates(own).or(rates(ward)).unwrap_or((50.0, 120.0));
        InForce {
            low_bpm,
            high_bpm,
            extreme_bradycardia_bpm: own
                .extreme_bradycardia_bpm
                .unwrap_or(self.extreme_bradycardia.bpm),
            extreme_tachycardia_bpm: own
                .extreme_tachycardia_bpm
                .unwrap_or(self.extreme_tachycardia.bpm),
            pause_seconds: own.pause_seconds.unwrap_or(self.pause.as_secs_f32()),
            rate_delay_seconds: own
                .rate_delay_seconds
                .unwrap_or(self.rate_delay.as_secs_f32()),
            ventricular_per_minute: own
                .ventricular_per_minute
                .or(ward.ventricular_per_minute)
                .unwrap_or(VENTRICULAR_PER_MINUTE),
            st_elevation_mv: own.st_elevation_mv,
            st_depression_mv: own.st_depression_mv,
            off: own.off,
        }
    }
}

/// The limits of a ward: rates and ventricular beats.
pub(crate) fn of_a_ward() -> Limits {
    Limits(PatientLimits {
        low_bpm: Some(50.0),
        high_bpm: Some(120.0),
        ventricular_per_minute: Some(VENTRICULAR_PER_MINUTE),
        ..PatientLimits::default()
    })
}

impl TryFrom<WardLimits> for Limits {
    type Error = Error;

    fn try_from(read: WardLimits) -> Result<Self, Error> {
        Self::of(PatientLimits {
            low_bpm: Some(read.low_bpm),
            high_bpm: Some(read.high_bpm),
            ventricular_per_minute: read.ventricular_per_minute,
            ..PatientLimits::default()
        })
    }
}

impl From<Limits> for WardLimits {
    fn from(limits: Limits) -> Self {
        let rates = Config::default().in_force(limits);
        Self {
            low_bpm: rates.low_bpm,
            high_bpm: rates.high_bpm,
            ventricular_per_minute: limits.0.ventricular_per_minute,
        }
    }
}

fn setting(key: &'static str, value: &impl ToString, limit: String) -> Error {
    Error::Setting {
        key,
        value: value.to_string(),
        limit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn off(condition: Condition) -> PatientLimits {
        PatientLimits {
            off: [condition].into_iter().collect(),
            ..PatientLimits::default()
        }
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut PatientLimits), expected: &str) {
        let mut asked = PatientLimits::default();
        change(&mut asked);
        assert_eq!(Limits::of(asked).unwrap_err().to_string(), expected);
    }

    #[test]
    fn limits_are_in_order_and_in_range() {
        for (low, high) in [
            (60.0, 60.0),
            (19.0, 100.0),
            (60.0, 301.0),
            (f32::NAN, 100.0),
            (120.0, 50.0),
        ] {
            assert!(Limits::new(low, high).is_err(), "{low} to {high}");
        }
        assert_eq!(
            Limits::new(120.0, 50.0).unwrap_err().to_string(),
            "low_bpm is 120, where less than high_bpm = 50 is allowed"
        );
        refused(
            |of| of.high_bpm = Some(90.0),
            "high_bpm is 90, where a pair with low_bpm is allowed",
        );
        for (key, bounds, _) in Limits::BOUNDS {
            assert!(bounds.start() < bounds.end(), "{key}");
        }
    }

    #[test]
    fn what_kills_cannot_be_silenced() {
        refused(
            |of| of.extreme_bradycardia_bpm = Some(19.0),
            "extreme_bradycardia_bpm is 19, where 20 to 50 is allowed",
        );
        refused(
            |of| of.extreme_tachycardia_bpm = Some(201.0),
            "extreme_tachycardia_bpm is 201, where 120 to 200 is allowed",
        );
        refused(
            |of| *of = off(Condition::Asystole),
            "off is asystole, where a physiological condition of medium or low priority is allowed",
        );
        for condition in Condition::ALL {
            let line = definition(condition);
            let silent = Limits::of(off(condition)).is_ok();
            assert!(!silent || line.priority != Priority::High, "{condition}");
            assert!(!silent || line.kind == AlarmKind::Physiological);
        }
        assert!(Limits::of(off(Condition::Pause)).is_ok());
        assert!(Limits::of(off(Condition::NoData)).is_err());
    }

    #[test]
    fn what_a_patient_lacks_is_as_on_the_ward() {
        let ward = Config {
            limits: Limits::new(45.0, 110.0).unwrap(),
            ..Config::default()
        };
        let none = ward.in_force(Limits::default());
        let rates = (45.0, 110.0);
        assert_eq!((none.low_bpm, none.high_bpm), rates);
        assert_eq!(
            (none.extreme_bradycardia_bpm, none.pause_seconds),
            (43.0, 3.0)
        );
        let own = Limits::of(PatientLimits {
            extreme_bradycardia_bpm: Some(30.0),
            pause_seconds: Some(2.0),
            ventricular_per_minute: Some(25.0),
            ..off(Condition::HighRate)
        });
        let own = ward.in_force(own.unwrap());
        assert_eq!((own.low_bpm, own.high_bpm), rates);
        assert_eq!(
            (own.extreme_bradycardia_bpm, own.pause_seconds),
            (30.0, 2.0)
        );
        let many = (none.ventricular_per_minute, own.ventricular_per_minute);
        assert_eq!(many, (10.0, 25.0));
        assert!(own.off.contains(Condition::HighRate));
    }

    #[test]
    fn a_configuration_says_what_it_cannot_keep_to() {
        let asked = |change: fn(&mut PatientLimits)| {
            let mut asked = PatientLimits::default();
            change(&mut asked);
            Limits::of(asked).unwrap()
        };
        let mut config = Config::default();
        let pause = asked(|of| of.pause_seconds = Some(3.5));
        let fast = asked(|of| of.extreme_tachycardia_bpm = Some(120.0));
        config.accept(&pause).unwrap();
        config.accept(&fast).unwrap();
        config.asystole = std::time::Duration::from_secs(3);
        config.extreme_tachycardia.beats = 36;
        assert_eq!(
            config.accept(&pause).unwrap_err().to_string(),
            "pause_seconds is 3.5, where less than asystole = 3 s is allowed"
        );
        assert_eq!(
            config.accept(&fast).unwrap_err().to_string(),
            "extreme_tachycardia_bpm is 120, where a rate of which 36 beats fit into the memory is allowed"
        );
    }
}
