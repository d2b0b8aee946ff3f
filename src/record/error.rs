//! Why a recording could not be read or written.

use std::io;
use std::path::{Path, PathBuf};

/// A file was refused; the message names it, the value and the limit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system said no.
    #[error("cannot read {}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The file system said no.
    #[error("cannot write {}", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The file breaks the rules of its format.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which rule, and the value that breaks it.
        reason: String,
    },
    /// The file is sound, but uses something that is not implemented.
    #[error("{}: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it uses.
        reason: String,
    },
    /// The file ends before its header says.
    #[error("{}: {found} bytes, where its header promises {needed}", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes that the header promises.
        needed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// More than is read into memory.
    #[error("{}: {value} {what}, where at most {limit} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Of what there is too much.
        what: &'static str,
        /// How much there is.
        value: u64,
        /// How much is allowed.
        limit: u64,
    },
    /// The signals asked for cannot be played.
    #[error("record {record}: {reason}")]
    Choice {
        /// The record's name.
        record: String,
        /// What was asked for, and what there is.
        reason: String,
    },
}

/// What a parser of bytes finds wrong: an [`Error`] that does not know its file yet.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// They break a rule of their format: which one, and the value that does.
    #[error("{0}")]
    Malformed(String),
    /// They are sound, but use something that is not implemented.
    #[error("{0}")]
    Unsupported(String),
}

impl Fault {
    pub(super) fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed(reason.into())
    }

    pub(super) fn unsupported(reason: impl Into<String>) -> Self {
        Self::Unsupported(reason.into())
    }

    /// The error of the file at `path`.
    pub(super) fn at(self, path: &Path) -> Error {
        let path = path.to_owned();
        match self {
            Self::Malformed(reason) => Error::Malformed { path, reason },
            Self::Unsupported(reason) => Error::Unsupported { path, reason },
        }
    }
}
