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
    /// The tables are those of a newer version. Give up; the message says what to do.
    #[error(
        "the database has migration {found}, where this version knows those up to {known}: a newer version of \
         einthoven has brought it up to date; run that version or a later one, or go back to a backup from before it"
    )]
    Newer {
        /// The first migration that is not known.
        found: i64,
        /// The newest that is.
        known: i64,
    },
    /// The tables could not be brought up to date. Give up.
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

    /// The message with everything behind it, on one line.
    pub fn explain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text += ": ";
            text += &error.to_string();
            source = error.source();
        }
        text
    }

    /// Whether what was to be stored is at fault, so that it will never be: everything else passes, by itself or by
    /// an operator's hand (a password that was changed, a table that is not there, a disk that is read-only).
    pub fn blames_rows(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Corrupt(_) | Self::Database(sqlx::Error::Encode(_)) => true,
            Self::Database(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| is_about_rows(&code))
            }
            _ => false,
        }
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

/// Whether a code is about the values of rows: a cardinality or integrity violation, a data exception, a limit of the program
/// (PostgreSQL); too big, constraint, mismatch (SQLite).
fn is_about_rows(code: &str) -> bool {
    if code.len() == 5 {
        return ["21", "22", "23", "54"]
            .iter()
            .any(|class| code.starts_with(class));
    }
    code.parse::<u32>()
        .is_ok_and(|code| matches!(code & 0xff, 18..=20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_are_the_fault_of_rows() {
        for code in ["22P02", "23505", "54000", "21000", "18", "19", "1555", "20"] {
            assert!(is_about_rows(code), "{code}");
        }
        for code in [
            "28P01", "3D000", "55000", "42501", "42P01", "25006", "57P01", "8", "14", "26", "13",
            "",
        ] {
            assert!(!is_about_rows(code), "{code}");
        }
        assert!(Error::Refused("x".into()).blames_rows());
        assert!(!Error::Timeout(std::time::Duration::ZERO).blames_rows());
    }

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
