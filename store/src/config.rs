//! Which database, and how it is spoken to.

use std::num::NonZeroU32;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::Kept;

/// Which database, and how it is spoken to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host:5432/name` for PostgreSQL, `sqlite:///path/file.db` or
    /// `sqlite:relative/file.db` for SQLite, whose file is created if it is not there, but not its
    /// folder. Secret, because it may hold a password.
    pub url: SecretString,
    /// The most connections open at once. SQLite has one of them for writing, the others for
    /// reading, and at least one of each.
    #[serde(default = "Config::default_max_connections")]
    pub max_connections: NonZeroU32,
    /// How long to wait for a connection before giving the caller a transient error.
    #[serde(default = "Config::default_acquire_timeout", with = "humantime_serde")]
    pub acquire_timeout: Duration,
    /// How long PostgreSQL may take for one transaction or question, before its connection is taken for dead and the same
    /// is tried over another. SQLite ignores it.
    #[serde(
        default = "Config::default_transaction_timeout",
        with = "humantime_serde"
    )]
    pub transaction_timeout: Duration,
    /// How long SQLite waits while another process writes to the file. PostgreSQL ignores it.
    #[serde(default = "Config::default_busy_timeout", with = "humantime_serde")]
    pub busy_timeout: Duration,
    /// How long rows are kept.
    #[serde(default)]
    pub retention: Retention,
}

/// How long rows are kept, in days; 0 for ever.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Whether anything is removed at all.
    pub delete: bool,
    /// Beats.
    pub beats: u32,
    /// Minutes.
    pub trends: u32,
    /// Samples that never came.
    pub gaps: u32,
    /// Episodes of findings.
    pub findings: u32,
    /// Alarms that were held back.
    pub suppressions: u32,
    /// The signals around alarms.
    pub strips: u32,
    /// Alarms.
    pub alarms: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            delete: false,
            beats: 30,
            trends: 730,
            gaps: 730,
            findings: 3650,
            suppressions: 3650,
            strips: 3650,
            alarms: 3650,
        }
    }
}

impl Retention {
    /// The least number of days, for days in numbers and proposed limits look back as far.
    const LEAST: u32 = 2;
    /// A hundred years.
    const MOST: u32 = 36_500;

    /// How many days something is kept; `None` for ever.
    pub fn days(&self, kept: Kept) -> Option<u32> {
        let days = match kept {
            Kept::Beats => self.beats,
            Kept::Trends => self.trends,
            Kept::Gaps => self.gaps,
            Kept::Findings => self.findings,
            Kept::Suppressions => self.suppressions,
            Kept::Strips => self.strips,
            Kept::Alarms => self.alarms,
        };
        Some(days).filter(|days| *days > 0)
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// What is wrong, with the value and the limit.
    pub fn check(&self) -> Result<(), String> {
        for kept in Kept::ALL {
            let days = self.days(kept);
            if days.is_some_and(|days| !(Self::LEAST..=Self::MOST).contains(&days)) {
                return Err(format!(
                    "store.retention.{} is {} days, where 0 (for ever) or {} to {} are allowed",
                    kept.name(),
                    days.unwrap_or_default(),
                    Self::LEAST,
                    Self::MOST
                ));
            }
        }
        if self.alarms > 0 && (self.strips == 0 || self.strips > self.alarms) {
            return Err(format!(
                "store.retention.strips is {} and store.retention.alarms is {} days, where strips go with their alarms at the latest",
                self.strips, self.alarms
            ));
        }
        Ok(())
    }
}

impl Config {
    /// The defaults for the database at `url`: eight connections, five seconds of patience for
    /// each of the two waits, and thirty for a transaction.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: SecretString::from(url.into()),
            max_connections: Self::default_max_connections(),
            acquire_timeout: Self::default_acquire_timeout(),
            transaction_timeout: Self::default_transaction_timeout(),
            busy_timeout: Self::default_busy_timeout(),
            retention: Retention::default(),
        }
    }

    fn default_max_connections() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(7)
    }

    fn default_acquire_timeout() -> Duration {
        Duration::from_secs(5)
    }

    fn default_transaction_timeout() -> Duration {
        Duration::from_secs(30)
    }

    fn default_busy_timeout() -> Duration {
        Duration::from_secs(5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_need_only_a_url_and_the_url_stays_secret() {
        let config: Config = toml::from_str("url = \"postgres://a:hunter2@b/c\"").unwrap();
        assert_eq!(config.max_connections.get(), 8);
        assert_eq!(config.acquire_timeout, Duration::from_secs(5));
        assert!(!format!("{config:?}").contains("hunter2"));

        let config: Config =
            toml::from_str("url = \"sqlite:a.db\"\nbusy_timeout = \"250ms\"").unwrap();
        assert_eq!(config.busy_timeout, Duration::from_millis(250));
    }

    #[test]
    fn nothing_is_removed_unless_it_is_asked_for_and_limits_must_agree() {
        let retention = Retention::default();
        assert!(!retention.delete);
        assert_eq!(retention.check(), Ok(()));
        for (wrong, named) in [
            (
                Retention {
                    beats: 1,
                    ..retention.clone()
                },
                "beats is 1",
            ),
            (
                Retention {
                    trends: 99_999,
                    ..retention.clone()
                },
                "trends is 99999",
            ),
            (
                Retention {
                    strips: 0,
                    ..retention.clone()
                },
                "strips is 0",
            ),
            (
                Retention {
                    alarms: 30,
                    ..retention.clone()
                },
                "alarms is 30",
            ),
        ] {
            let error = wrong.check().unwrap_err();
            assert!(error.contains(named), "{error}");
        }
        let ever = Retention {
            alarms: 0,
            strips: 30,
            ..retention
        };
        assert_eq!(ever.check(), Ok(()));
        assert_eq!(
            (ever.days(Kept::Alarms), ever.days(Kept::Strips)),
            (None, Some(30))
        );
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (text, named) in [
            ("url = \"sqlite:a.db\"\npool = 3", "pool"),
            (
                "url = \"sqlite:a.db\"\nmax_connections = 0",
                "max_connections",
            ),
            ("max_connections = 3", "url"),
        ] {
            let error = toml::from_str::<Config>(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
