//! Recordings on disk: WFDB and EDF/EDF+ signals, WFDB annotations, and [`Player`], which sends
//! a recording as a wearable would.
//!
//! **A file can be wrong, never dangerous**: whatever its bytes are, reading ends in a
//! [`Record`] or in an [`Error`] that names the file, the value and the limit. Nothing is
//! allocated for samples that a file does not hold, and a header cannot reach outside its folder.
//!
//! Two published readers were weighed. `wfdb` 0.1.6 has no annotations, ignores samples per
//! frame and skew, mixes up an odd number of signals in format 212, and takes a file that ends
//! early for a short record; `edfplus` 0.1.0 refuses plain EDF, clamps samples to the digital
//! range, hides broken annotations and computes sizes from negative counts. What is needed of
//! both formats is small, so it is here.
//!
//! References: WFDB Applications Guide, pages header(5), signal(5), annot(5); Kemp et al.,
//! Electroenceph. Clin. Neurophysiol. 82, 1992 (EDF) and Kemp & Olivan, Clin. Neurophysiol. 114,
//! 2003 (EDF+).

pub mod annotation;
pub mod collection;
mod edf;
mod error;
mod files;
mod format;
mod header;
mod player;
mod wfdb;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use ecg::{Lead, SignalKind, Utc};

pub use error::{Error, Fault};
pub use files::{Disk, Files, Source};
pub use player::{AduBlock, AduSignal, PassedOver, PlayedSignal, Player};

/// A recording: every signal of it, in adu, over the same span of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its name: that of its file, without folder and extension.
    pub name: String,
    /// When sample 0 was taken, where the file says date and time. Neither format knows time
    /// zones; the time is read as UTC.
    pub start: Option<Utc>,
    /// Frames per second. A frame is one or more samples of every signal.
    pub frame_hz: f64,
    /// Frames in the record.
    pub n_frames: u64,
    /// The signals, in the order of the file.
    pub signals: Vec<Signal>,
    /// Free text of the header, one entry per line.
    pub comments: Vec<String>,
}

/// One signal of a [`Record`]. Its gain is positive: a signal stored upside down is turned over.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// The name in the file.
    pub name: String,
    /// What it is, `None` where the name says neither an ECG lead nor a pulse.
    pub kind: Option<SignalKind>,
    /// Samples per frame.
    pub per_frame: u64,
    /// Samples per second.
    pub hz: f64,
    /// adu per mV for a voltage in any unit, adu per one of `units` otherwise.
    pub gain: f64,
    /// The adu of 0 mV.
    pub baseline: i32,
    /// `mV` for every voltage, otherwise as in the file.
    pub units: String,
    /// `n_frames * per_frame` samples, adu; [`Signal::MISSING`] where there is none.
    pub samples: Vec<i32>,
}

impl Signal {
    /// Stands for a sample that the file marks as invalid.
    pub const MISSING: i32 = i32::MIN;

    /// The `k`-th sample, adu; `None` where it is missing or past the end.
    pub fn sample(&self, k: usize) -> Option<i32> {
        self.samples
            .get(k)
            .copied()
            .filter(|&adu| adu != Self::MISSING)
    }

    /// Brings a voltage to mV and turns an inverted signal over.
    fn normalise(&mut self) {
        let per_mv = match self.units.trim() {
            "" | "mV" | "mv" | "MV" => Some(1.0),
            "V" | "v" => Some(1e-3),
            // the last two are the micro sign and the Greek letter; the replacement character is
            // a micro sign that came as one byte of Latin-1
            "uV" | "uv" | "UV" | "\u{b5}V" | "\u{3bc}V" | "\u{fffd}V" => Some(1e3),
            "nV" | "nv" => Some(1e6),
            _ => None,
        };
        if let Some(per_mv) = per_mv {
            self.gain *= per_mv;
            "mV".clone_into(&mut self.units);
        }
        if self.gain < 0.0 {
            self.gain = -self.gain;
            self.baseline = self.baseline.saturating_neg();
            for adu in &mut self.samples {
                if *adu != Self::MISSING {
                    *adu = -*adu;
                }
            }
        }
    }
}

impl Record {
    /// The most samples, all signals together, that are read into memory: 2 GiB of them.
    pub const MAX_SAMPLES: u64 = 1 << 29;
    /// The most signals a record may have.
    pub const MAX_SIGNALS: usize = 512;

    /// Reads the record at `path`: an `.edf` file, or the header of a WFDB record with or without
    /// its `.hea`. A path without extension is tried as WFDB first, then as EDF.
    ///
    /// # Errors
    /// Where a file cannot be read, is malformed or shorter than it says, uses a feature that is
    /// not supported (discontinuous EDF+, compressed signals, segments of different layout), or
    /// is larger than [`Record::MAX_SAMPLES`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_in(&Disk, path.as_ref(), Self::MAX_SAMPLES)
    }

    /// Like [`open`](Self::open), from any `files`, reading at most `max_samples` of all signals
    /// together.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_in(files: &dyn Files, path: &Path, max_samples: u64) -> Result<Self, Error> {
        let stem = record_path(path);
        let header = with_suffix(&stem, "hea");
        let plain = with_suffix(&stem, "edf");
        if has_extension(path, "edf") {
            edf::open(files, path, max_samples)
        } else if !files.exists(&header) && files.exists(&plain) {
            edf::open(files, &plain, max_samples)
        } else {
            wfdb::Reader { files, max_samples }.open(&header)
        }
    }
}

/// The records of a folder: paths that [`Record::open`] takes, sorted by name.
///
/// # Errors
/// Where the folder cannot be read.
pub fn records_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::Read {
        path: folder.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if has_extension(&path, "hea") {
            found.push(record_path(&path));
        } else if has_extension(&path, "edf") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// `path` without the extension of a record's own file; other dots belong to the name.
fn record_path(path: &Path) -> PathBuf {
    let own = ["hea", "dat", "edf"];
    if own.iter().any(|extension| has_extension(path, extension)) {
        path.with_extension("")
    } else {
        path.to_owned()
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// `stem.suffix`, whatever dots the stem has.
pub(crate) fn with_suffix(stem: &Path, suffix: &str) -> PathBuf {
    let mut name = stem.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// The file's name without folder and extension.
fn name_of(path: &Path) -> String {
    record_path(path)
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// What a signal is, by its name in a file.
///
/// Beyond the names of [`SignalKind`]: `ECG II`, `ECG Lead V1`, `EKG-aVR`, `Lead I`; the modified
/// limb leads of Holter recorders; and leads whose position is not stated (`V`, `ECG1`, `MCL1`).
fn kind_of(name: &str) -> Option<SignalKind> {
    let name = name.trim();
    if let Ok(kind) = SignalKind::from_str(name) {
        return Some(kind);
    }
    let mut rest = name;
    let mut is_ecg = false;
    for prefix in ["ECG", "EKG", "LEAD"] {
        if let Some(tail) = without_prefix(rest, prefix) {
            rest = tail;
            is_ecg = true;
        }
    }
    match rest.to_ascii_uppercase().as_str() {
        "MLI" => Some(SignalKind::Ecg(Lead::I)),
        "MLIII" => Some(SignalKind::Ecg(Lead::III)),
        "V" | "MCL" | "MCL1" | "MCL6" | "CM5" => Some(SignalKind::Ecg(Lead::Unstated)),
        _ if is_ecg => Some(SignalKind::Ecg(rest.parse().unwrap_or(Lead::Unstated))),
        _ => None,
    }
}

/// What follows `prefix` as a word of its own or before a digit.
fn without_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let head = name.get(..prefix.len())?;
    let tail = &name[prefix.len()..];
    let separated = tail.chars().next().is_none_or(|c| !c.is_alphabetic());
    (head.eq_ignore_ascii_case(prefix) && separated)
        .then(|| tail.trim_start_matches([' ', '-', '_', ':', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::Wavelength;

    #[test]
    fn signals_are_known_by_their_names() {
        let ecg = |lead| Some(SignalKind::Ecg(lead));
        for (name, kind) in [
            ("MLII", ecg(Lead::II)),
            ("V1", ecg(Lead::V1)),
            ("i", ecg(Lead::I)),
            ("AVR", ecg(Lead::AVR)),
            ("ECG I", ecg(Lead::I)),
            ("ECG Lead II", ecg(Lead::II)),
            ("EKG-V5", ecg(Lead::V5)),
            ("lead aVF", ecg(Lead::AVF)),
            ("ECG", ecg(Lead::Unstated)),
            ("EKG", ecg(Lead::Unstated)),
            ("ECG2", ecg(Lead::Unstated)),
            ("V", ecg(Lead::Unstated)),
            ("MCL1", ecg(Lead::Unstated)),
            ("PLETH", Some(SignalKind::Ppg(Wavelength::Unstated))),
            ("PPG-red", Some(SignalKind::Ppg(Wavelength::Red))),
            ("ABP", Some(SignalKind::Abp)),
            ("acc-x", Some(SignalKind::Acceleration(ecg::Axis::X))),
            ("Leading", None),
            ("EEG Fpz-Cz", None),
            ("\u{e9}\u{e9}", None),
            ("", None),
        ] {
            assert_eq!(kind_of(name), kind, "{name}");
        }
    }

    #[test]
    fn dots_of_a_name_are_kept() {
        assert_eq!(record_path(Path::new("a/b.1")), Path::new("a/b.1"));
        assert_eq!(record_path(Path::new("a/b.1.hea")), Path::new("a/b.1"));
        assert_eq!(name_of(Path::new("a/b.1.hea")), "b.1");
        assert_eq!(
            with_suffix(Path::new("a/b.1"), "atr"),
            Path::new("a/b.1.atr")
        );
    }
}
