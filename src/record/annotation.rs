//! WFDB annotation files in the MIT format: what an annotator says, and where.
//!
//! ```text
//! word  = code << 10 | interval     little-endian, interval in samples since the annotation before
//! SKIP  59: the next four bytes are a longer interval, high half first
//! NUM   60, SUB 61, CHN 62: the low ten bits are a field of the annotation before; NUM and CHN
//!       hold for all that follow, SUB for that one only
//! AUX   63: the low ten bits count the bytes of text that follow, padded to an even number
//! 0         end
//! ```
//!
//! An annotation's position is in samples of the record, whatever resolution the file has: one
//! that states its own (a first note `## time resolution: 360`) gives it in
//! [`Annotations::resolution_hz`].
//!
//! Reference: WFDB Applications Guide, annot(5).

mod code;

use std::path::{Path, PathBuf};

use ecg::SampleIndex;

use super::error::{Error, Fault};
use super::files::{Disk, read_up_to};
use super::{record_path, with_suffix};

pub use code::AnnotationCode;

/// One label at one sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// The sample it speaks of.
    pub at: SampleIndex,
    /// What it says.
    pub code: AnnotationCode,
    /// What kind of it; its meaning depends on the code.
    pub subtype: i8,
    /// Which signal it speaks of.
    pub signal: u8,
    /// A number whose meaning depends on the annotator.
    pub num: i8,
    /// Text, such as `(AFIB` with a change of rhythm; empty where there is none.
    pub aux: String,
}

impl Annotation {
    /// An annotation of the first signal with nothing but position and code.
    pub fn new(at: SampleIndex, code: AnnotationCode) -> Self {
        Self {
            at,
            code,
            subtype: 0,
            signal: 0,
            num: 0,
            aux: String::new(),
        }
    }
}

/// An annotation file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Annotations {
    /// In order of position.
    pub list: Vec<Annotation>,
    /// Samples per second in which the file counts, where it says so.
    pub resolution_hz: Option<f64>,
}

/// The file of `annotator` beside the record at `record`, for example `100.atr`.
pub fn path(record: &Path, annotator: &str) -> PathBuf {
    with_suffix(&record_path(record), annotator)
}

const SKIP: u8 = 59;
const NUM: u8 = 60;
const SUB: u8 = 61;
const CHN: u8 = 62;
const AUX: u8 = 63;
/// The longest interval that fits into a word, samples.
const MAX_INTERVAL: u16 = 1023;
/// The last position that readers with 32-bit time can follow.
const MAX_POSITION: u32 = i32::MAX.cast_unsigned();
/// The longest text that WFDB's own reader takes, bytes.
const MAX_AUX: u16 = 255;
/// The largest file read: 64 million beats.
const MAX_BYTES: u64 = 128 << 20;
/// How the note begins that states the resolution.
const RESOLUTION: &str = "## time resolution: ";

impl Annotations {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Where it cannot be read or is no annotation file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let bytes = read_up_to(&Disk, path, MAX_BYTES)?;
        Self::parse(&bytes).map_err(|fault| fault.at(path))
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// Where they are no annotation file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        decode(bytes)
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// For a position over 2^31 - 1 or a text over 255 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, Fault> {
        encode(self)
    }

    /// Writes the file at `path`, replacing one that is there.
    ///
    /// # Errors
    /// Where it cannot be written, and for a position over 2^31 - 1 or a text over 255 bytes.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let bytes = self.encode().map_err(|fault| fault.at(path))?;
        std::fs::write(path, bytes).map_err(|source| Error::Write {
            path: path.to_owned(),
            source,
        })
    }
}

/// Reads the words of `bytes` in turn.
struct Words<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Fault> {
        let from = self.at;
        self.at = from.saturating_add(n);
        self.bytes.get(from..self.at).ok_or_else(|| {
            Fault::malformed(format!(
                "annotations end at byte {}, in the middle of one",
                self.bytes.len()
            ))
        })
    }

    fn word(&mut self) -> Result<u16, Fault> {
        let pair = self.take(2)?;
        Ok(u16::from_le_bytes([pair[0], pair[1]]))
    }
}

fn decode(bytes: &[u8]) -> Result<Annotations, Fault> {
    let mut words = Words { bytes, at: 0 };
    let mut list: Vec<Annotation> = Vec::new();
    let mut at = 0_i64;
    // Hold for all annotations that follow.
    let (mut signal, mut num) = (0, 0);
    // Files cut after a whole annotation are taken as complete, as WFDB does.
    while words.at < bytes.len() {
        let from = words.at;
        let word = words.word()?;
        if word == 0 {
            break;
        }
        let (code, low) = ((word >> 10) as u8, word & 0x3ff);
        // The fields are signed or unsigned bytes, stored in ten bits.
        let [byte, _] = low.to_le_bytes();
        match code {
            SKIP => {
                let (high, low) = (words.word()?, words.word()?);
                let interval = (u32::from(high) << 16 | u32::from(low)).cast_signed();
                at = at.saturating_add(i64::from(interval));
            }
            NUM | SUB | CHN | AUX => {
                let aux = if code == AUX {
                    let text = words.take(usize::from(low))?;
                    // The padding may be missing at the very end.
                    words.at += usize::from(low % 2);
                    Some(text)
                } else {
                    None
                };
                let last = list.last_mut().ok_or_else(|| {
                    Fault::malformed(format!(
                        "code {code} at byte {from} adds to an annotation, but is the first"
                    ))
                })?;
                match code {
                    NUM => {
                        num = byte.cast_signed();
                        last.num = num;
                    }
                    SUB => last.subtype = byte.cast_signed(),
                    CHN => {
                        signal = byte;
                        last.signal = signal;
                    }
                    _ => last.aux = text(aux.unwrap_or_default()),
                }
            }
            // No label, only time that passes.
            0 => at = at.saturating_add(i64::from(low)),
            _ => {
                at = at.saturating_add(i64::from(low));
                let code = AnnotationCode::new(code).ok_or_else(|| {
                    Fault::malformed(format!(
                        "annotation code {code} at byte {from}, where 1 to {} are defined",
                        AnnotationCode::MAX
                    ))
                })?;
                let position = u64::try_from(at).map_err(|_| {
                    Fault::malformed(format!(
                        "the annotation at byte {from} is {} samples before the record",
                        at.unsigned_abs()
                    ))
                })?;
                list.push(Annotation {
                    signal,
                    num,
                    ..Annotation::new(SampleIndex(position), code)
                });
            }
        }
    }
    let resolution_hz = take_resolution(&mut list);
    list.sort_by_key(|annotation| annotation.at);
    Ok(Annotations {
        list,
        resolution_hz,
    })
}

/// The text of an aux field, without the zeros that C programs put behind it.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .trim_end_matches('\0')
        .to_owned()
}

/// Takes the note that states the resolution out of `list`.
fn take_resolution(list: &mut Vec<Annotation>) -> Option<f64> {
    let at = list.iter().position(|annotation| {
        annotation.at == SampleIndex(0)
            && annotation.code == AnnotationCode::NOTE
            && annotation.aux.starts_with(RESOLUTION)
    })?;
    let hz: f64 = list[at].aux[RESOLUTION.len()..].trim().parse().ok()?;
    (hz.is_finite() && hz > 0.0).then(|| {
        list.remove(at);
        hz
    })
}

fn encode(annotations: &Annotations) -> Result<Vec<u8>, Fault> {
    let note = annotations.resolution_hz.map(|hz| Annotation {
        aux: format!("{RESOLUTION}{hz}"),
        ..Annotation::new(SampleIndex(0), AnnotationCode::NOTE)
    });
    let mut in_order: Vec<&Annotation> = annotations.list.iter().collect();
    in_order.sort_by_key(|annotation| annotation.at);

    let mut writer = Writer::default();
    for annotation in note.iter().chain(in_order) {
        writer.put(annotation)?;
    }
    writer.word(0, 0);
    Ok(writer.bytes)
}

/// The bytes so far, and what later annotations inherit.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    at: u32,
    signal: u8,
    num: i8,
}

impl Writer {
    fn word(&mut self, code: u8, low: u16) {
        let word = u16::from(code) << 10 | low & 0x3ff;
        self.bytes.extend(word.to_le_bytes());
    }

    /// Appends `annotation`, which is not before the last one.
    fn put(&mut self, annotation: &Annotation) -> Result<(), Fault> {
        // The databases of PhysioNet end rhythms in a zero, and programs compare with that.
        let ended = format!("{}\0", annotation.aux);
        let text = match annotation.code {
            AnnotationCode::RHYTHM if (2..=usize::from(MAX_AUX)).contains(&ended.len()) => &ended,
            _ => &annotation.aux,
        };
        let position = u32::try_from(annotation.at.0)
            .ok()
            .filter(|&position| position <= MAX_POSITION)
            .ok_or_else(|| {
                Fault::unsupported(format!(
                    "an annotation at sample {}, where {MAX_POSITION} is the last that fits",
                    annotation.at
                ))
            })?;
        let aux = text.as_bytes();
        let aux_length = u16::try_from(aux.len())
            .ok()
            .filter(|&length| length <= MAX_AUX)
            .ok_or_else(|| {
                Fault::unsupported(format!(
                    "an annotation with {} bytes of text, where {MAX_AUX} fit",
                    aux.len()
                ))
            })?;
        let interval = position - self.at;
        self.at = position;
        let code = annotation.code.number();
        match u16::try_from(interval) {
            Ok(short) if short <= MAX_INTERVAL => self.word(code, short),
            _ => {
                self.word(SKIP, 0);
                let [a, b, c, d] = interval.to_le_bytes();
                self.bytes.extend([c, d, a, b]);
                self.word(code, 0);
            }
        }
        if annotation.subtype != 0 {
            self.word(SUB, u16::from(annotation.subtype.cast_unsigned()));
        }
        if annotation.signal != self.signal {
            self.signal = annotation.signal;
            self.word(CHN, u16::from(annotation.signal));
        }
        if annotation.num != self.num {
            self.num = annotation.num;
            self.word(NUM, u16::from(annotation.num.cast_unsigned()));
        }
        if aux_length > 0 {
            self.word(AUX, aux_length);
            self.bytes.extend(aux);
            self.bytes.resize(self.bytes.len().next_multiple_of(2), 0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
