//! WFDB records: a header, the signal files it names, and the segments it is made of.

use std::collections::HashMap;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use super::error::{Error, Fault};
use super::files::{Files, read_bytes, read_up_to};
use super::format::Format;
use super::header::{self, Body, Header, SegmentLine, SignalLine};
use super::{Record, Signal, kind_of, name_of, with_suffix};

/// The longest header read, bytes.
const MAX_HEADER_BYTES: u64 = 4 << 20;
/// The file of signals without samples.
const NOWHERE: &str = "~";
/// One in so many of the most samples of a record may be in no file: for 2 GiB of samples, a
/// quarter of one, which is a day of three leads at 250 Hz.
const MISSING_PART: u64 = 8;

/// Reads records from somewhere, up to a size.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) files: &'a dyn Files,
    /// The most samples of all signals of a record together.
    pub(super) max_samples: u64,
}

impl Reader<'_> {
    /// Reads the record whose header file is `path`.
    pub(super) fn open(self, path: &Path) -> Result<Record, Error> {
        let header = self.read_header(path)?;
        match &header.body {
            Body::Signals(lines) => self.read_single(path, &header, lines),
            Body::Segments(segments) => self.read_segments(path, &header, segments),
        }
    }

    fn read_header(self, path: &Path) -> Result<Header, Error> {
        let bytes = read_up_to(self.files, path, MAX_HEADER_BYTES)?;
        header::parse(&String::from_utf8_lossy(&bytes)).map_err(|fault| fault.at(path))
    }

    /// A record of which all samples are in the signal files of its own header.
    fn read_single(
        self,
        path: &Path,
        header: &Header,
        lines: &[SignalLine],
    ) -> Result<Record, Error> {
        let mut signals: Vec<Signal> = lines
            .iter()
            .map(|line| Signal {
                name: line.name.clone(),
                kind: kind_of(&line.name),
                per_frame: line.per_frame,
                hz: header.frame_hz * line.per_frame as f64,
                gain: line.gain,
                baseline: line.baseline,
                units: line.units.clone(),
                samples: Vec::new(),
            })
            .collect();
        let files = signal_files(path, lines)?;

        let mut n_frames = header.n_frames;
        if n_frames.is_none() {
            for file in &files {
                let held = file.frames_held(self.files)?;
                n_frames = Some(n_frames.map_or(held, |least| least.min(held)));
            }
        }
        let n_frames = n_frames.unwrap_or(0);
        let skew = lines.iter().map(|line| line.skew).max().unwrap_or(0);
        self.check_size(
            path,
            n_frames.saturating_add(skew),
            lines.iter().map(|line| line.per_frame).sum(),
        )?;
        let nowhere = lines.iter().filter(|line| line.file == NOWHERE);
        self.check_missing(
            path,
            n_frames.saturating_add(skew),
            nowhere.map(|line| line.per_frame).sum(),
        )?;
        for file in files {
            file.read(self.files, n_frames, lines, &mut signals)?;
        }
        for signal in &mut signals {
            fill(signal, n_frames);
            signal.normalise();
        }
        Ok(Record {
            name: name_of(path),
            start: header.start,
            frame_hz: header.frame_hz,
            n_frames,
            signals,
            comments: header.comments.clone(),
        })
    }

    /// A record made of other records, one after the other.
    ///
    /// All must have the same signals with the same calibration ("fixed layout"); a gap between them
    /// is samples that are missing.
    fn read_segments(
        self,
        path: &Path,
        header: &Header,
        segments: &[SegmentLine],
    ) -> Result<Record, Error> {
        if segments.first().is_some_and(|first| first.n_frames == 0) {
            return Err(Fault::unsupported(
                "the segments have a variable layout, where only a fixed one is read",
            )
            .at(path));
        }
        let mut whole: Option<Record> = None;
        let (mut n_frames, mut n_missing) = (0_u64, 0_u64);
        for segment in segments {
            let start = n_frames;
            n_frames = n_frames.saturating_add(segment.n_frames);
            if let Some(name) = &segment.name {
                let path_of_segment = with_suffix(&path.with_file_name(name), "hea");
                let found = self.read_segment(&path_of_segment, segment.n_frames)?;
                let per_frame = found.signals.iter().map(|signal| signal.per_frame).sum();
                // Joining fills the gap before the segment.
                self.check_missing(path, n_missing, per_frame)?;
                self.check_size(path, n_frames, per_frame)?;
                let into = whole.get_or_insert_with(|| Record {
                    signals: found.signals.iter().map(without_samples).collect(),
                    ..found.clone()
                });
                join(into, start, &found).map_err(|fault| fault.at(&path_of_segment))?;
            } else {
                n_missing = n_missing.saturating_add(segment.n_frames);
            }
        }
        if header.n_frames.is_some_and(|promised| promised != n_frames) {
            return Err(Fault::malformed(format!(
                "the segments have {n_frames} samples, where the record line promises {}",
                header.n_frames.unwrap_or(0)
            ))
            .at(path));
        }
        let Some(mut whole) = whole else {
            return Err(Fault::malformed("every segment is a gap").at(path));
        };
        let per_frame = whole.signals.iter().map(|signal| signal.per_frame).sum();
        self.check_missing(path, n_missing, per_frame)?;
        self.check_size(path, n_frames, per_frame)?;
        for signal in &mut whole.signals {
            fill(signal, n_frames);
        }
        whole.name = name_of(path);
        whole.n_frames = n_frames;
        whole.start = header.start;
        whole.comments.clone_from(&header.comments);
        Ok(whole)
    }

    /// The record of one segment, which must not be made of segments again.
    fn read_segment(self, path: &Path, n_frames: u64) -> Result<Record, Error> {
        let header = self.read_header(path)?;
        let Body::Signals(lines) = &header.body else {
            return Err(Fault::unsupported("a segment that is itself made of segments").at(path));
        };
        let record = self.read_single(path, &header, lines)?;
        if record.n_frames != n_frames {
            return Err(Fault::malformed(format!(
                "the segment has {} samples, where its record promises {n_frames}",
                record.n_frames
            ))
            .at(path));
        }
        Ok(record)
    }

    /// Refuses what would not fit into memory, before anything is allocated for it.
    fn check_size(self, path: &Path, n_frames: u64, per_frame: u64) -> Result<(), Error> {
        check(path, "samples", n_frames, per_frame, self.max_samples)
    }

    /// Refuses a small file that asks for much memory: samples that no file holds.
    fn check_missing(self, path: &Path, n_frames: u64, per_frame: u64) -> Result<(), Error> {
        let limit = self.max_samples / MISSING_PART;
        check(path, "missing samples", n_frames, per_frame, limit)
    }
}

fn check(
    path: &Path,
    what: &'static str,
    n_frames: u64,
    per_frame: u64,
    limit: u64,
) -> Result<(), Error> {
    let value = n_frames.saturating_mul(per_frame);
    if value > limit {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            what,
            value,
            limit,
        });
    }
    Ok(())
}

/// One signal file: its signals are interleaved frame by frame.
struct SignalFile {
    path: PathBuf,
    format: Format,
    offset: u64,
    /// Positions in the header of the signals it holds.
    members: Vec<usize>,
    /// Samples of all members in one frame.
    per_frame: u64,
}

/// The files that the signal lines name, each once. Signals of a file named `~` have no samples.
fn signal_files(header: &Path, lines: &[SignalLine]) -> Result<Vec<SignalFile>, Error> {
    let mut files: Vec<SignalFile> = Vec::new();
    let mut by_name: HashMap<&str, usize> = HashMap::new();
    for (k, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.file != NOWHERE)
    {
        let at = *by_name.entry(&line.file).or_insert(files.len());
        if at == files.len() {
            files.push(SignalFile {
                path: header.with_file_name(&line.file),
                format: line.format,
                offset: line.offset.unwrap_or(0),
                members: Vec::new(),
                per_frame: 0,
            });
        }
        let file = &mut files[at];
        // The offset may be given with the first signal of a file only.
        if line.format != file.format || line.offset.is_some_and(|offset| offset != file.offset) {
            return Err(Fault::malformed(format!(
                "the signals in {} differ in format or byte offset",
                line.file
            ))
            .at(header));
        }
        file.members.push(k);
        file.per_frame += line.per_frame;
    }
    Ok(files)
}

impl SignalFile {
    /// Whole frames between the offset and the end of the file.
    fn frames_held(&self, files: &dyn Files) -> Result<u64, Error> {
        let (_, length) = files.open(&self.path)?;
        let bytes = length.saturating_sub(self.offset);
        Ok(self.format.samples_in(bytes) / self.per_frame)
    }

    /// Reads `n_frames` into the members among `signals`; those with a skew are read that much
    /// later, and are missing at the end what the file no longer holds.
    fn read(
        &self,
        files: &dyn Files,
        n_frames: u64,
        lines: &[SignalLine],
        signals: &mut [Signal],
    ) -> Result<(), Error> {
        let (mut file, length) = files.open(&self.path)?;
        let bytes = |frames: u64| {
            frames
                .checked_mul(self.per_frame)
                .and_then(|samples| self.format.bytes(samples))
        };
        let needed = bytes(n_frames).and_then(|needed| needed.checked_add(self.offset));
        let truncated = |found| Error::Truncated {
            path: self.path.clone(),
            needed: needed.unwrap_or(u64::MAX),
            found,
        };
        if needed.is_none_or(|needed| needed > length) {
            return Err(truncated(length));
        }
        let skew = self.members.iter().map(|&k| lines[k].skew).max();
        let held = self.format.samples_in(length - self.offset) / self.per_frame;
        let read = n_frames.saturating_add(skew.unwrap_or(0)).min(held);

        file.seek(SeekFrom::Start(self.offset))
            .map_err(|source| Error::Read {
                path: self.path.clone(),
                source,
            })?;
        let data = read_bytes(&mut *file, &self.path, bytes(read).unwrap_or(0))?;

        // Which signal each sample of a frame belongs to, and how many of its first to leave out.
        let mut owners = Vec::new();
        let mut early = vec![0; signals.len()];
        for &k in &self.members {
            owners.extend((0..lines[k].per_frame).map(|_| k));
            early[k] = lines[k].skew * lines[k].per_frame;
            let whole = usize::try_from(n_frames * lines[k].per_frame).unwrap_or(0);
            signals[k].samples.reserve_exact(whole);
        }
        let mut sums: Vec<i32> = lines.iter().map(|line| line.initial).collect();
        let mut owner = owners.iter().cycle();
        self.format.decode(&data, read * self.per_frame, |adu| {
            let Some(&k) = owner.next() else { return };
            let adu = if self.format == Format::F8 {
                sums[k] = sums[k].saturating_add(adu);
                sums[k]
            } else {
                adu
            };
            if early[k] > 0 {
                early[k] -= 1;
            } else if (signals[k].samples.len() as u64) < n_frames * lines[k].per_frame {
                signals[k].samples.push(adu);
            }
        });
        for &k in &self.members {
            let whole = n_frames * lines[k].per_frame;
            if lines[k].skew == 0 && (signals[k].samples.len() as u64) < whole {
                // The file shrank while it was read.
                return Err(truncated(self.offset + data.len() as u64));
            }
        }
        Ok(())
    }
}

fn without_samples(signal: &Signal) -> Signal {
    Signal {
        samples: Vec::new(),
        ..signal.clone()
    }
}

/// Appends `segment`, which begins at frame `start`, to `whole`.
fn join(whole: &mut Record, start: u64, segment: &Record) -> Result<(), Fault> {
    let calibration = |signal: &Signal| (signal.per_frame, signal.gain, signal.baseline);
    let alike = (whole.frame_hz, whole.signals.len()) == (segment.frame_hz, segment.signals.len())
        && whole.signals.iter().zip(&segment.signals).all(|(a, b)| {
            calibration(a) == calibration(b) && a.name == b.name && a.units == b.units
        });
    if !alike {
        return Err(Fault::unsupported(
            "the segment differs from those before it in its signals or their calibration",
        ));
    }
    for (into, from) in whole.signals.iter_mut().zip(&segment.signals) {
        fill(into, start);
        into.samples.extend_from_slice(&from.samples);
    }
    Ok(())
}

/// Marks as missing what `signal` lacks of `n_frames`; the caller has checked the size.
fn fill(signal: &mut Signal, n_frames: u64) {
    let whole = usize::try_from(n_frames * signal.per_frame).unwrap_or(usize::MAX);
    signal.samples.resize(whole, Signal::MISSING);
}

#[cfg(test)]
mod tests;
