//! The one error of this crate: a chain that cannot be built. Once built, it cannot fail.

/// A configuration or a layout was refused; the message names the value and the limit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A corner frequency that the rate cannot carry.
    #[error("corner frequency {hz} Hz is outside 0 to {nyquist} Hz, half the sampling rate")]
    Corner {
        /// The frequency asked for.
        hz: f64,
        /// The limit.
        nyquist: f64,
    },
    /// A filter order outside 2 to 8.
    #[error("filter order {0} is outside 2 to 8")]
    Order(usize),
    /// The quality factor of a notch is not positive.
    #[error("quality factor {0} is not positive")]
    Notch(f64),
    /// A signal too coarse to find beats in.
    #[error("{signal} is sampled at {hz} Hz, but beats need {limit} Hz or more")]
    Coarse {
        /// The signal.
        signal: ecg::SignalKind,
        /// Its rate.
        hz: f64,
        /// The lowest rate accepted.
        limit: f64,
    },
    /// A setting outside its limits.
    #[error("{key} is {value}, outside {low} to {high}")]
    Setting {
        /// The key in the configuration.
        key: &'static str,
        /// Its value.
        value: f64,
        /// The lowest value accepted.
        low: f64,
        /// The highest value accepted.
        high: f64,
    },
    /// Weights of a network that are not as many as it has, or not finite.
    #[error("the weights do not fit the network")]
    Weights,
    /// A window rate that is no sampling rate.
    #[error(transparent)]
    Domain(#[from] ecg::Error),
}
