//! The settings of a chain, in seconds and hertz.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Error;

/// The settings of a [`Chain`](crate::Chain).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What the models are shown.
    pub window: WindowConfig,
    /// The mains frequency taken out before beats are looked for.
    pub mains: Mains,
    /// The motion, where the device has an accelerometer, at which a PPG is no longer usable: root mean square of a second
    /// without gravity, 0.01 to 10 g.
    pub motion_g: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: WindowConfig::default(),
            mains: Mains::default(),
            motion_g: 0.15,
        }
    }
}

/// The windows that models are shown. Length and rate are the model's, not a matter of taste.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WindowConfig {
    /// Length of a window, 1 to 30 s.
    pub seconds: f64,
    /// Samples per second of a window, 50 to 1000 Hz.
    pub rate_hz: f64,
    /// From one window to the next, 0.5 to 60 s.
    pub hop_seconds: f64,
}

impl Default for WindowConfig {
    fn default() -> Self {
        Self {
            seconds: 10.24,
            rate_hz: 250.0,
            hop_seconds: 5.0,
        }
    }
}

impl Config {
    /// Checks every setting against its limits.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first one that is outside.
    pub fn check(&self) -> Result<(), Error> {
        let checks = [
            ("window.seconds", self.window.seconds, 1.0, 30.0),
            ("window.rate_hz", self.window.rate_hz, 50.0, 1000.0),
            ("window.hop_seconds", self.window.hop_seconds, 0.5, 60.0),
            ("motion_g", self.motion_g, 0.01, 10.0),
        ];
        for (key, value, low, high) in checks {
            if !(value >= low && value <= high) {
                return Err(Error::Setting {
                    key,
                    value,
                    low,
                    high,
                });
            }
        }
        Ok(())
    }
}

/// The frequency of the mains: `"auto"`, `50`, `60` or `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mains {
    /// Found from the spectrum, again and again; no notch where there is no hum.
    #[default]
    Auto,
    /// 50 Hz, always taken out.
    Hz50,
    /// 60 Hz, always taken out.
    Hz60,
    /// Never taken out.
    Off,
}

impl Mains {
    /// The frequency in hertz, where it is fixed.
    pub fn hz(self) -> Option<f64> {
        match self {
            Mains::Hz50 => Some(50.0),
            Mains::Hz60 => Some(60.0),
            Mains::Auto | Mains::Off => None,
        }
    }
}

impl Serialize for Mains {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Mains::Auto => serializer.serialize_str("auto"),
            Mains::Hz50 => serializer.serialize_u64(50),
            Mains::Hz60 => serializer.serialize_u64(60),
            Mains::Off => serializer.serialize_str("off"),
        }
    }
}

impl<'de> Deserialize<'de> for Mains {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;

        impl Visitor<'_> for Word {
            type Value = Mains;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\", 50, 60 or \"off\"")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Mains, E> {
                match word {
                    "auto" => Ok(Mains::Auto),
                    "50" => Ok(Mains::Hz50),
                    "60" => Ok(Mains::Hz60),
                    "off" => Ok(Mains::Off),
                    _ => Err(E::invalid_value(de::Unexpected::Str(word), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, hz: u64) -> Result<Mains, E> {
                match hz {
                    50 => Ok(Mains::Hz50),
                    60 => Ok(Mains::Hz60),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(hz), &self)),
                }
            }

            fn visit_i64<E: de::Error>(self, hz: i64) -> Result<Mains, E> {
                u64::try_from(hz)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(hz), &self))
                    .and_then(|hz| self.visit_u64(hz))
            }
        }

        deserializer.deserialize_any(Word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_checked() {
        let config: Config =
            serde_json::from_str(r#"{"mains": 60, "window": {"hop_seconds": 2.5}}"#).unwrap();
        assert_eq!(config.mains, Mains::Hz60);
        let expected = WindowConfig {
            hop_seconds: 2.5,
            ..WindowConfig::default()
        };
        assert_eq!(config.window, expected);
        assert!(config.check().is_ok());
        for mains in [Mains::Auto, Mains::Hz50, Mains::Hz60, Mains::Off] {
            let text = serde_json::to_string(&mains).unwrap();
            assert_eq!(serde_json::from_str::<Mains>(&text).unwrap(), mains);
        }
        for bad in [r#"{"mains": 55}"#, r#"{"mains": "on"}"#, r#"{"hum": 50}"#] {
            assert!(serde_json::from_str::<Config>(bad).is_err(), "{bad}");
        }
        for seconds in [0.5, 31.0, f64::NAN] {
            let mut config = Config::default();
            config.window.seconds = seconds;
            let message = config.check().unwrap_err().to_string();
            assert!(message.contains("window.seconds"), "{message}");
        }
    }
}
