//! Which database, and how it is spoken to.

use std::num::NonZeroU32;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

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
    /// How long SQLite waits while another process writes to the file. PostgreSQL ignores it.
    #[serde(default = "Config::default_busy_timeout", with = "humantime_serde")]
    pub busy_timeout: Duration,
}

impl Config {
    /// The defaults for the database at `url`: eight connections, and five seconds of patience for
    /// each of the two waits.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: SecretString::from(url.into()),
            max_connections: Self::default_max_connections(),
            acquire_timeout: Self::default_acquire_timeout(),
            busy_timeout: Self::default_busy_timeout(),
        }
    }

    fn default_max_connections() -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(7)
    }

    fn default_acquire_timeout() -> Duration {
        Duration::from_secs(5)
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
