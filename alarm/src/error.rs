//! The one error of this crate.

use ecg::AlarmId;

/// What was refused; the message names the value and the limit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting outside its range: correct the configuration.
    #[error("{key} is {value}, where {limit} is allowed")]
    Setting {
        /// The key in the configuration.
        key: &'static str,
        /// What it was set to.
        value: String,
        /// What is allowed.
        limit: String,
    },
    /// The alarm cannot be acknowledged because it is not open: never raised, or cleared already.
    #[error("alarm {0} is not open: unknown, or cleared already")]
    NotOpen(AlarmId),
    /// Somebody has acknowledged the alarm already; there is nothing left to do.
    #[error("alarm {0} is acknowledged already")]
    AlreadyAcknowledged(AlarmId),
}
