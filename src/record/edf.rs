//! EDF and EDF+ files.
//!
//! ```text
//! 256 bytes    version, patient, recording, date, time, header bytes, reserved, records,
//!              seconds per record, signals
//! 256 bytes    per signal: label, transducer, unit, physical and digital range, filters,
//!              samples per record; field by field, not signal by signal
//! records      16-bit samples, little-endian, signal by signal
//! ```
//!
//! What the format calls a data record is a frame here. Patient and recording fields are not
//! read: they may name a person. Annotation signals are skipped; a discontinuous recording
//! (`EDF+D`) is refused, because its gaps are told only there.
//!
//! References: Kemp et al. 1992, Kemp & Olivan 2003; see [`record`](super).

use std::io::SeekFrom;
use std::path::Path;

use ecg::Utc;

use super::error::{Error, Fault};
use super::files::{Files, read_bytes};
use super::header::midnight;
use super::{Record, Signal, kind_of, name_of};

/// Length of the fixed part, and of each signal's part, bytes.
const PART: usize = 256;
/// The label of what is no signal.
const ANNOTATIONS: &str = "EDF Annotations";

/// Reads the file at `path`, of at most `max_samples`.
pub(super) fn open(files: &dyn Files, path: &Path, max_samples: u64) -> Result<Record, Error> {
    let (mut file, length) = files.open(path)?;
    let truncated = |needed| Error::Truncated {
        path: path.to_owned(),
        needed,
        found: length,
    };
    let fixed = read_bytes(&mut *file, path, PART as u64)?;
    if fixed.len() < PART {
        return Err(truncated(PART as u64));
    }
    let header = Header::parse(&fixed).map_err(|fault| fault.at(path))?;
    let parts = read_bytes(&mut *file, path, (header.n_signals * PART) as u64)?;
    let header_bytes = ((header.n_signals + 1) * PART) as u64;
    if parts.len() < header.n_signals * PART {
        return Err(truncated(header_bytes));
    }
    let columns = columns(&parts, &header).map_err(|fault| fault.at(path))?;

    let per_frame: u64 = columns.iter().map(|column| column.per_frame).sum();
    let n_frames = match header.n_frames {
        Some(n) => n,
        // -1 stands there while a recording is under way.
        None if per_frame > 0 => length.saturating_sub(header_bytes) / (per_frame * 2),
        None => 0,
    };
    let value = n_frames.saturating_mul(per_frame);
    if value > max_samples {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            what: "samples",
            value,
            limit: max_samples,
        });
    }
    let needed = header_bytes + value * 2;
    if needed > length {
        return Err(truncated(needed));
    }
    file.seek(SeekFrom::Start(header_bytes))
        .map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
    let data = read_bytes(&mut *file, path, value * 2)?;
    if (data.len() as u64) < value * 2 {
        return Err(truncated(needed));
    }
    Ok(Record {
        name: name_of(path),
        start: header.start,
        frame_hz: 1.0 / header.frame_seconds,
        n_frames,
        signals: take_columns(columns, &data),
        comments: Vec::new(),
    })
}

/// The fixed part, as far as it is used.
struct Header {
    start: Option<Utc>,
    n_frames: Option<u64>,
    frame_seconds: f64,
    n_signals: usize,
}

impl Header {
    /// Reads the first 256 bytes.
    fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let field = |from: usize, to: usize| text(bytes.get(from..to).unwrap_or_default());
        if field(0, 8) != "0" {
            return Err(Fault::malformed(format!(
                "version {:?}, where an EDF file has \"0\"",
                field(0, 8)
            )));
        }
        if field(192, 236).starts_with("EDF+D") {
            return Err(Fault::unsupported(
                "a discontinuous recording (EDF+D), where only continuous ones are read",
            ));
        }
        let n_signals: usize = number(&field(252, 256), "number of signals")?;
        if n_signals > Record::MAX_SIGNALS {
            return Err(Fault::malformed(format!(
                "{n_signals} signals, where at most {} are read",
                Record::MAX_SIGNALS
            )));
        }
        let n_frames: i64 = number(&field(236, 244), "number of data records")?;
        let frame_seconds: f64 = number(&field(244, 252), "duration of a data record")?;
        if !(frame_seconds >= 1e-4 && frame_seconds <= 1e5) {
            return Err(Fault::malformed(format!(
                "data records of {frame_seconds} s, where 0.0001 to 100000 s are read"
            )));
        }
        Ok(Self {
            start: start(&field(168, 176), &field(176, 184)),
            n_frames: u64::try_from(n_frames).ok(),
            frame_seconds,
            n_signals,
        })
    }
}

/// One signal of the file, annotations included, in the order in which a record holds them.
struct Column {
    per_frame: u64,
    /// `None` for annotations.
    signal: Option<Signal>,
}

/// Reads the parts of the header that describe the signals.
fn columns(parts: &[u8], header: &Header) -> Result<Vec<Column>, Fault> {
    let n = header.n_signals;
    // Widths of the fields; all signals' first fields come first, then all second ones, ...
    let field = |k: usize, before: usize, width: usize| {
        let from = before * n + width * k;
        text(parts.get(from..from + width).unwrap_or_default())
    };
    (0..n)
        .map(|k| {
            let name = field(k, 0, 16);
            let per_frame: u32 = number(&field(k, 216, 8), "samples per data record")?;
            let per_frame = u64::from(per_frame);
            if name == ANNOTATIONS {
                return Ok(Column {
                    per_frame,
                    signal: None,
                });
            }
            let physical: [f64; 2] = [
                number(&field(k, 104, 8), "physical minimum")?,
                number(&field(k, 112, 8), "physical maximum")?,
            ];
            let digital: [i16; 2] = [
                number(&field(k, 120, 8), "digital minimum")?,
                number(&field(k, 128, 8), "digital maximum")?,
            ];
            let (gain, baseline) = calibration(physical, digital)
                .ok_or_else(|| Fault::malformed(format!(
                    "signal {name:?} maps the digital range {digital:?} to the physical range {physical:?}"
                )))?;
            Ok(Column {
                per_frame,
                signal: Some(Signal {
                    kind: kind_of(&name),
                    name,
                    per_frame,
                    hz: per_frame as f64 / header.frame_seconds,
                    gain,
                    baseline,
                    units: field(k, 96, 8),
                    samples: Vec::new(),
                }),
            })
        })
        .collect()
}

/// adu per unit and the adu of zero, `None` where the ranges give none that can be calculated with.
fn calibration(physical: [f64; 2], digital: [i16; 2]) -> Option<(f64, i32)> {
    let [low, high] = digital.map(f64::from);
    let gain = (high - low) / (physical[1] - physical[0]);
    let baseline = (low - physical[0] * gain).round();
    let sound = gain.is_finite()
        && (1e-9..=1e12).contains(&gain.abs())
        && baseline.abs() <= f64::from(i32::MAX);
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    sound.then_some((gain, baseline as i32))
}

/// Deals out the samples of all data records; `data` holds whole ones.
fn take_columns(columns: Vec<Column>, data: &[u8]) -> Vec<Signal> {
    let width: usize = columns.iter().map(bytes_per_frame).sum();
    let mut from = 0;
    let mut signals = Vec::new();
    for column in columns {
        let to = from + bytes_per_frame(&column);
        if let Some(mut signal) = column.signal {
            if to > from {
                signal.samples = data
                    .chunks_exact(width)
                    .flat_map(|frame| frame[from..to].as_chunks().0)
                    .map(|&pair| i32::from(i16::from_le_bytes(pair)))
                    .collect();
            }
            signal.normalise();
            signals.push(signal);
        }
        from = to;
    }
    signals
}

fn bytes_per_frame(column: &Column) -> usize {
    usize::try_from(column.per_frame * 2).unwrap_or(usize::MAX)
}

/// A field: padded with blanks, ASCII by the format, often Latin-1 in truth.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .trim_matches([' ', '\0'])
        .to_owned()
}

fn number<T: std::str::FromStr>(field: &str, what: &str) -> Result<T, Fault> {
    field
        .parse()
        .map_err(|_| Fault::malformed(format!("{what} {field:?} is no such number")))
}

/// The instant that `dd.mm.yy` and `hh.mm.ss` name; years 85 to 99 are of the last century.
fn start(date: &str, time: &str) -> Option<Utc> {
    let three = |text: &str| -> Option<[i64; 3]> {
        let parts: Result<Vec<i64>, _> = text.split('.').map(str::parse).collect();
        parts.ok()?.try_into().ok()
    };
    let [day, month, year] = three(date)?;
    let [hours, minutes, seconds] = three(time)?;
    let century = if year >= 85 { 1900 } else { 2000 };
    let clock = (0..24).contains(&hours) && (0..60).contains(&minutes);
    if !clock || !(0..100).contains(&year) || !(0..60).contains(&seconds) {
        return None;
    }
    let midnight = midnight(century + year, month, day)?;
    Some(midnight.plus_seconds((hours * 3600 + minutes * 60 + seconds) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::{Lead, SignalKind};
    use proptest::prelude::*;

    /// An EDF+ file of two data records of half a second: II in uV with a range turned upside
    /// down, annotations, and a respiration of another rate.
    fn file() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |width: usize, text: &str| bytes.extend(format!("{text:<width$}").bytes());
        for (width, text) in [
            (8, "0"),
            (80, "X X X X"),
            (80, "Startdate X X X X"),
            (8, "02.01.70"),
            (8, "00.00.01"),
            (8, "1024"),
            (44, "EDF+C"),
            (8, "2"),
            (8, "0.5"),
            (4, "3"),
        ] {
            put(width, text);
        }
        for (width, texts) in [
            (16, ["ECG II", ANNOTATIONS, "Resp"]),
            (80, [""; 3]),
            (8, ["uV", "", "%"]),
            (8, ["1000", "-1", "-100"]),
            (8, ["-1000", "1", "100"]),
            (8, ["-2000", "-32768", "-100"]),
            (8, ["2000", "32767", "100"]),
            (80, [""; 3]),
            (8, ["50", "4", "10"]),
            (32, [""; 3]),
        ] {
            for text in texts {
                put(width, text);
            }
        }
        for frame in 0..2_i16 {
            for k in 0..50 {
                bytes.extend((frame * 50 + k).to_le_bytes());
            }
            bytes.extend([b'+', b'0', 20, 20, 0, 0, 0, 0]);
            for k in 0..10 {
                bytes.extend((1000 + frame * 10 + k).to_le_bytes());
            }
        }
        bytes
    }

    fn open_bytes(name: &str, bytes: &[u8]) -> Result<Record, Error> {
        let folder = std::env::temp_dir().join(format!("einthoven-edf-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.edf"));
        std::fs::write(&path, bytes).unwrap();
        let record = Record::open(&path);
        std::fs::remove_file(&path).unwrap();
        record
    }

    #[test]
    fn a_file_with_everything() {
        let record = open_bytes("whole", &file()).unwrap();
        assert_eq!((record.frame_hz, record.n_frames), (2.0, 2));
        let second_of_january = midnight(2070, 1, 2).unwrap();
        assert_eq!(record.start, Some(second_of_january.plus_seconds(1.0)));
        let [lead, resp] = &record.signals[..] else {
            panic!("two signals")
        };
        assert_eq!(lead.kind, Some(SignalKind::Ecg(Lead::II)));
        assert_eq!((lead.hz, lead.gain, lead.baseline), (100.0, 2000.0, 0));
        assert_eq!(lead.samples, (0..100).map(|k| -k).collect::<Vec<_>>());
        assert_eq!((resp.kind, resp.hz, resp.units.as_str()), (None, 20.0, "%"));
        assert_eq!(resp.samples, (1000..1020).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let with = |at: usize, text: &str| {
            let mut bytes = file();
            bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
            bytes
        };
        for (bytes, said) in [
            (with(0, "1"), "version \"1\""),
            (with(192, "EDF+D"), "discontinuous"),
            (with(252, "999 "), "999 signals, where at most 512"),
            (with(252, "-1  "), "number of signals \"-1\""),
            (with(236, "3       "), "needed"),
            (with(244, "0       "), "data records of 0 s"),
            (with(236, "99999999"), "samples, where at most"),
            (
                with(256 + 3 * 112, "1000 "),
                "\"ECG II\" maps the digital range",
            ),
            (
                file()[..300].to_vec(),
                "300 bytes, where its header promises 1024",
            ),
            (
                file()[..100].to_vec(),
                "100 bytes, where its header promises 256",
            ),
        ] {
            let error = open_bytes("wrong", &bytes).unwrap_err().to_string();
            assert!(
                error.contains(said) || said == "needed" && error.contains("promises 1408"),
                "{error}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn no_bytes_panic(changes in prop::collection::vec((0usize..1280, prop::sample::select(b" 0123456789-.+eE\xb5\0".to_vec())), 0..12), cut in 0usize..1400) {
            let mut bytes = file();
            for (at, byte) in changes {
                bytes[at] = byte;
            }
            bytes.truncate(cut);
            if let Ok(record) = open_bytes(&format!("fuzz-{cut}"), &bytes) {
                for signal in &record.signals {
                    prop_assert_eq!(signal.samples.len() as u64, record.n_frames * signal.per_frame);
                }
            }
        }
    }
}
