//! The one error of this crate, by what the caller can do about it.

use sqlx::error::ErrorKind;

/// Something was not stored or not found out.
///
/// [`is_transient`](Self::is_transient) tells whether to try again or to give up. A failed commit
/// has left nothing behind in either case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration names no database that can be used. Give up; the message says why.
    #[error("database configuration: {0}")]
    Config(String),
    /// The database cannot be reached, is starting, stopping, full or busy, or broke off a
    /// transaction that collided with another. Try again later.
    #[error("database is not available at the moment")]
    Unavailable(#[source] sqlx::Error),
    /// No connection came about within the configured time. Try again later.
    #[error("no database connection within {0:?}")]
    Timeout(std::time::Duration),
    /// What was given is outside of what is stored: the message names the value and the limit. The
    /// same value will be refused again; nothing given with it was stored.
    #[error("refused: {0}")]
    Refused(String),
    /// A row does not say what its table is for; the message names it. Other rows are not affected.
    #[error("corrupt row: {0}")]
    Corrupt(String),
    /// The tables could not be brought up to date, or are those of a newer version. Give up.
    #[error("database migration failed")]
    Migration(#[source] sqlx::migrate::MigrateError),
    /// The database answered with an error that trying again will not change. Give up.
    #[error("database error")]
    Database(#[source] sqlx::Error),
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout(_))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let code = match &error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => {
                return Self::Unavailable(error);
            }
            sqlx::Error::Database(database) => {
                if matches!(
                    database.kind(),
                    ErrorKind::CheckViolation | ErrorKind::NotNullViolation
                ) {
                    return Self::Refused(database.message().to_owned());
                }
                database.code()
            }
            _ => None,
        };
        if code.is_some_and(|code| passes(&code)) {
            Self::Unavailable(error)
        } else {
            Self::Database(error)
        }
    }
}

impl From<sqlx::migrate::MigrateError> for Error {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError;
        match error {
            MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
                match Self::from(source) {
                    Self::Database(source) => Self::Migration(MigrateError::Execute(source)),
                    other => other,
                }
            }
            other => Self::Migration(other),
        }
    }
}

/// Whether the trouble of this code passes by itself or by an operator's hand.
///
/// PostgreSQL's codes are the five characters of its appendix A, of which the first two are the
/// class; SQLite's are extended result codes in decimal, of which the low byte is the primary one.
fn passes(code: &str) -> bool {
    if code.len() == 5 {
        // Connection, transaction rollback (serialization, deadlock), insufficient resources,
        // operator intervention (shutdown, starting up, cancelled), system error such as a failing
        // disk; and a lock that was not to be had in time.
        return ["08", "40", "53", "57", "58", "55P03"]
            .iter()
            .any(|class| code.starts_with(class));
    }
    // Busy, locked, input/output error, full.
    code.parse::<u32>()
        .is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 10 | 13))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for code in [
            "08006", "40P01", "40001", "53300", "57P01", "57P03", "55P03", "58030",
        ] {
            assert!(passes(code), "PostgreSQL {code}");
        }
        for code in ["28P01", "3D000", "42P01", "23505", "22P02"] {
            assert!(!passes(code), "PostgreSQL {code}");
        }
        for code in ["5", "261", "517", "6", "262", "10", "4106", "13"] {
            assert!(passes(code), "SQLite {code}");
        }
        for code in ["1", "8", "14", "19", "1555", "26", "é", ""] {
            assert!(!passes(code), "SQLite {code}");
        }
        assert!(Error::from(sqlx::Error::PoolTimedOut).is_transient());
        assert!(!Error::from(sqlx::Error::RowNotFound).is_transient());
    }
}
