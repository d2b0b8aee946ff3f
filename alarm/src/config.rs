//! The numbers of the conditions.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::limits::{Limits, of_a_ward};

/// All a measure may look back on, in seconds: after a restart, replaying this much of the facts
/// rebuilds everything but the standing alarms. [`Config::validate`] holds the settings to it.
pub(crate) const MEMORY_SECONDS: f64 = 20.0;

/// How long a rate is believed when no further one comes, in seconds.
pub(crate) const RATE_STALE_SECONDS: f64 = 10.0;

/// What is alarmed on, in physical units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long without a QRS is an asystole: 2 s to 4 s.
    #[serde(with = "humantime_serde")]
    pub asystole: Duration,
    /// How long without a QRS is a pause: 1 s up to, but not including, the asystole.
    #[serde(with = "humantime_serde")]
    pub pause: Duration,
    /// From which probability on it is ventricular tachycardia: 0.1 to 0.9.
    pub ventricular_tachycardia: f32,
    /// From which probability on it is ventricular flutter or fibrillation: 0.1 to 0.9.
    pub ventricular_fibrillation: f32,
    /// How slow, for how many beats, is an extreme bradycardia.
    pub extreme_bradycardia: Extreme,
    /// How fast, for how many beats, is an extreme tachycardia.
    pub extreme_tachycardia: Extreme,
    /// The limits of rate and ventricular beats for patients without limits of their own.
    pub limits: Limits,
    /// How long the rate must be beyond a limit: 1 s to 15 s.
    #[serde(with = "humantime_serde")]
    pub rate_delay: Duration,
    /// By how much the rate must be back inside to end an alarm, beats per minute: 0 to 20.
    pub hysteresis_bpm: f32,
    /// How long electrodes must be off: 1 s to 15 s.
    #[serde(with = "humantime_serde")]
    pub leads_off: Duration,
    /// How long no signal must be usable: 1 s to 15 s.
    #[serde(with = "humantime_serde")]
    pub unusable_signal: Duration,
    /// How long nothing must arrive, in wall-clock time: 1 s to 1 h.
    #[serde(with = "humantime_serde")]
    pub no_data: Duration,
}

/// A rate that is extreme when kept up for a number of consecutive beats.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extreme {
    /// The rate, beats per minute.
    pub bpm: f32,
    /// For how many consecutive beats; the intervals between them are one fewer.
    pub beats: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            asystole: Duration::from_secs(4),
            pause: Duration::from_secs(3),
            ventricular_tachycardia: 0.5,
            ventricular_fibrillation: 0.5,
            extreme_bradycardia: Extreme {
                bpm: 43.0,
                beats: 5,
            },
            extreme_tachycardia: Extreme {
                bpm: 140.0,
                beats: 13,
            },
            limits: of_a_ward(),
            rate_delay: Duration::from_secs(5),
            hysteresis_bpm: 5.0,
            leads_off: Duration::from_secs(2),
            unusable_signal: Duration::from_secs(10),
            no_data: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Checks every setting, and that all of them can be told from the last 20 s of facts.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first key that is out of its range.
    pub fn validate(&self) -> Result<(), Error> {
        let asystole = self.asystole.as_secs_f64();
        seconds("asystole", self.asystole, 2.0, 4.0)?;
        seconds("pause", self.pause, 1.0, 4.0)?;
        if self.pause >= self.asystole {
            return Err(Error::Setting {
                key: "pause",
                value: format!("{} s", self.pause.as_secs_f64()),
                limit: format!("less than asystole = {asystole} s"),
            });
        }
        seconds("rate_delay", self.rate_delay, 1.0, 15.0)?;
        seconds("leads_off", self.leads_off, 1.0, 15.0)?;
        seconds("unusable_signal", self.unusable_signal, 1.0, 15.0)?;
        seconds("no_data", self.no_data, 1.0, 3600.0)?;
        within("hysteresis_bpm", self.hysteresis_bpm, 0.0, 20.0)?;

        let [vt, vf] = [self.ventricular_tachycardia, self.ventricular_fibrillation];
        within("ventricular_tachycardia", vt, 0.1, 0.9)?;
        within("ventricular_fibrillation", vf, 0.1, 0.9)?;

        let slow = self.extreme_bradycardia;
        within("extreme_bradycardia.bpm", slow.bpm, 20.0, 60.0)?;
        let most = (MEMORY_SECONDS / asystole).floor();
        beats("extreme_bradycardia.beats", slow.beats, most)?;

        let fast = self.extreme_tachycardia;
        within("extreme_tachycardia.bpm", fast.bpm, 100.0, 300.0)?;
        let most = most_fast_beats(self, fast.bpm);
        beats("extreme_tachycardia.beats", fast.beats, most)?;

        let rates = self.in_force(self.limits);
        Limits::new(rates.low_bpm, rates.high_bpm).map(|_| ())
    }
}

/// How many beats of an extreme tachycardia over `bpm` can be told from what is remembered.
pub(crate) fn most_fast_beats(config: &Config, bpm: f32) -> f64 {
    let longest_rr = 60.0 / f64::from(bpm - config.hysteresis_bpm);
    ((MEMORY_SECONDS - config.asystole.as_secs_f64()) / longest_rr).floor() + 1.0
}

fn within(key: &'static str, value: f32, low: f32, high: f32) -> Result<(), Error> {
    if value >= low && value <= high {
        return Ok(());
    }
    Err(Error::Setting {
        key,
        value: value.to_string(),
        limit: format!("{low} to {high}"),
    })
}

fn seconds(key: &'static str, value: Duration, low: f64, high: f64) -> Result<(), Error> {
    let value = value.as_secs_f64();
    if value >= low && value <= high {
        return Ok(());
    }
    Err(Error::Setting {
        key,
        value: format!("{value} s"),
        limit: format!("{low} s to {high} s"),
    })
}

/// Fewer than 3 beats are no rate; more than `most` could not be told from 20 s of facts.
fn beats(key: &'static str, value: u8, most: f64) -> Result<(), Error> {
    if value >= 3 && f64::from(value) <= most {
        return Ok(());
    }
    Err(Error::Setting {
        key,
        value: value.to_string(),
        limit: format!("3 to {most}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Config), expected: &str) {
        let mut config = Config::default();
        change(&mut config);
        assert_eq!(config.validate().unwrap_err().to_string(), expected);
    }

    #[test]
    fn settings_out_of_range_are_named_with_their_limit() {
        Config::default().validate().unwrap();
        check(
            |c| c.asystole = Duration::from_secs(5),
            "asystole is 5 s, where 2 s to 4 s is allowed",
        );
        check(
            |c| c.pause = Duration::from_secs(4),
            "pause is 4 s, where less than asystole = 4 s is allowed",
        );
        check(
            |c| c.extreme_bradycardia.beats = 6,
            "extreme_bradycardia.beats is 6, where 3 to 5 is allowed",
        );
        check(
            |c| c.extreme_tachycardia.beats = 40,
            "extreme_tachycardia.beats is 40, where 3 to 37 is allowed",
        );
        check(
            |c| c.hysteresis_bpm = f32::NAN,
            "hysteresis_bpm is NaN, where 0 to 20 is allowed",
        );
    }

    #[test]
    fn reads_units_and_refuses_what_it_does_not_know() {
        let config: Config = toml::from_str(
            "asystole = \"3500ms\"\nlimits = { low_bpm = 45, high_bpm = 130 }\n\
             extreme_bradycardia = { bpm = 35, beats = 4 }",
        )
        .unwrap();
        assert_eq!(config.asystole, Duration::from_millis(3500));
        assert_eq!(config.limits, Limits::new(45.0, 130.0).unwrap());
        assert_eq!(config.pause, Config::default().pause);
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);

        for bad in [
            "asystol = \"4s\"",
            "asystole = 4",
            "limits = { low_bpm = 90, high_bpm = 60 }",
            "limits = { low_bpm = 50, high_bpm = 60, bpm = 3 }",
        ] {
            assert!(toml::from_str::<Config>(bad).is_err(), "{bad}");
        }
    }
}
