//! The one error of this crate: what was refused, with the value and the limit.

/// Something was refused or did not work; [`Error::reason`] is a short label for counters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A payload, a number of signals or a number of samples over its limit.
    #[error("{value} {what}, where at most {limit} are allowed")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        value: usize,
        /// How much is allowed.
        limit: usize,
    },
    /// The payload is no protobuf message of the schema, or ends too early.
    #[error("not a packet in protobuf: {0}")]
    Protobuf(String),
    /// The payload is no JSON of the schema's shape, or ends too early.
    #[error("not a packet in JSON: {0}")]
    Json(String),
    /// A packet of another version of the wire format.
    #[error("packet version {0}, where 1 is understood")]
    Version(u32),
    /// A signal name, sampling rate or set of signals outside the vocabulary.
    #[error(transparent)]
    Vocabulary(#[from] ecg::Error),
    /// A field whose value is outside its limits.
    #[error("{field} {value} is outside {limits}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it may hold.
        limits: &'static str,
    },
    /// The signals do not start at the same instant or do not cover the same duration.
    #[error("signal {kind}: {problem}")]
    Misaligned {
        /// The signal that does not agree with the first.
        kind: &'static str,
        /// How.
        problem: String,
    },
    /// Differences that add up to a sample beyond 32 bits.
    #[error("signal {kind}: sample {index} does not fit in 32 bits")]
    SampleRange {
        /// The signal.
        kind: String,
        /// Which of its samples.
        index: usize,
    },
    /// A topic that is none of ours.
    #[error("topic {0:?} is not einthoven/v1/{{device}}/signal or /status")]
    Topic(String),
    /// A status other than `online` and `offline`.
    #[error("status {0:?} is neither \"online\" nor \"offline\"")]
    Status(String),
    /// A setting that cannot be used.
    #[error("{key}: {problem}")]
    Config {
        /// The key of the setting.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The broker cannot be reached, or refuses.
    #[error("broker {broker}: {problem}")]
    Broker {
        /// Its address.
        broker: String,
        /// What it or the network said.
        problem: String,
    },
    /// Whoever takes the deliveries has gone.
    #[error("nobody takes deliveries any more")]
    Closed,
    /// A publisher ended before the broker had acknowledged everything.
    #[error("{0} packets were not acknowledged by the broker")]
    Unacked(u64),
}

impl Error {
    /// A label for counters, from a fixed small set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Protobuf(_) => "protobuf",
            Self::Json(_) => "json",
            Self::Version(_) => "version",
            Self::Vocabulary(ecg::Error::Rate(_)) => "rate",
            Self::Vocabulary(ecg::Error::SignalKind(_) | ecg::Error::Lead(_)) => "unknown_signal",
            Self::Vocabulary(_) => "layout",
            Self::Field { .. } => "field",
            Self::Misaligned { .. } => "misaligned",
            Self::SampleRange { .. } => "sample_range",
            Self::Topic(_) => "topic",
            Self::Status(_) => "status",
            Self::Config { .. } => "config",
            Self::Broker { .. } => "broker",
            Self::Closed => "closed",
            Self::Unacked(_) => "unacked",
        }
    }
}
