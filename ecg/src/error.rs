//! The one error of this crate: a value that is outside what the domain allows.

/// A value was refused; the message names it and the limit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A sampling rate outside [`SampleRate::MIN_HZ`](crate::SampleRate::MIN_HZ) to `MAX_HZ`, or not a number.
    #[error("sampling rate {0} Hz is outside 25 to 2000 Hz")]
    Rate(f64),
    /// A device name that a topic cannot carry.
    #[error("device name {0:?} is not 1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'")]
    DeviceId(String),
    /// A name that is no ECG lead.
    #[error("unknown lead {0:?}")]
    Lead(String),
    /// A name that is neither an ECG lead nor a PPG wavelength.
    #[error("unknown signal {0:?}")]
    SignalKind(String),
    /// A record layout that is empty, too wide or names a signal twice.
    #[error("layout refused: {0}")]
    Layout(String),
    /// A word that names nothing in its table, such as a condition or a priority.
    #[error("unknown {what} {value:?}")]
    Word {
        /// Which table was looked in.
        what: &'static str,
        /// What was looked for.
        value: String,
    },
    /// A parameter of a simulator [`Scenario`](crate::simulate::Scenario) outside its limits, or not a number.
    #[error("simulator: {what} {value} is outside {min} to {max}")]
    Scenario {
        /// Which parameter.
        what: &'static str,
        /// What was asked for.
        value: f64,
        /// The least allowed.
        min: f64,
        /// The most allowed.
        max: f64,
    },
}
