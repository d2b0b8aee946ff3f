//! `windows`: recordings as the models are shown them, in a file for training.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use color_eyre::eyre::{WrapErr as _, eyre};
use ecg::Lead;

use super::{Failure, WindowsArgs, answer, progress};
use crate::record::Record;
use crate::record::collection::{self, Entry};
use crate::windows::{Cut, Cutter};

/// Bytes of a name in the file.
const NAME_BYTES: usize = 96;
/// Bytes of a patient in the file.
const PATIENT_BYTES: usize = 32;
/// Bytes of the header of the file: as many as numpy would align it to, with room for the count.
const HEADER_BYTES: usize = 512;

/// Cuts every recording of a folder.
pub(super) fn run(args: &WindowsArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let refuse = |reason: String| Failure::usage(color_eyre::Report::msg(reason));
    if let Some(gain) = args.gain.filter(|gain| !gain.is_normal() || *gain <= 0.0) {
        return Err(refuse(format!("--gain {gain}: not a positive number")));
    }
    let cutter = Cutter::new(&config.dsp, args.hop).map_err(refuse)?;
    let entries = collection::recordings(&args.dir).map_err(Failure::usage)?;
    let mut file = NumpyFile::create(&args.out, cutter.n_samples())
        .wrap_err_with(|| format!("cannot write {}", args.out.display()))?;
    let bar = progress("records");
    bar.set_length(entries.len() as u64);
    let (mut n_records, mut left_out) = (0, Vec::new());
    for entry in &entries {
        bar.inc(1);
        match cut(entry, args.gain, &cutter) {
            Ok(cuts) => {
                n_records += 1;
                for cut in &cuts {
                    file.push(entry, cut)
                        .wrap_err_with(|| format!("cannot write {}", args.out.display()))?;
                }
            }
            Err(reason) => left_out.push(format!("{}: {reason}\n", entry.name)),
        }
    }
    bar.finish_and_clear();
    let n_windows = file
        .finish()
        .wrap_err_with(|| format!("cannot write {}", args.out.display()))?;
    answer(left_out.concat())?;
    answer(format_args!(
        "{n_windows} windows of {n_records} records, {} records left out\n",
        left_out.len()
    ))?;
    if n_windows == 0 {
        return Err(eyre!("{}: no windows", args.dir.display()).into());
    }
    Ok(())
}

fn cut(entry: &Entry, gain: Option<f64>, cutter: &Cutter) -> Result<Vec<Cut>, String> {
    if let Some(reason) = &entry.unfit {
        return Err(reason.clone());
    }
    let mut record = Record::open(&entry.path).map_err(|error| error.to_string())?;
    if let Some(gain) = gain {
        for signal in &mut record.signals {
            signal.gain = gain;
            signal.baseline = 0;
        }
    }
    cutter.cut::<&str>(record, &[])
}

/// A numpy file, format 1.0, of a structured array that grows: the header is written again at the end.
struct NumpyFile {
    file: BufWriter<File>,
    n_samples: usize,
    n_windows: usize,
}

impl NumpyFile {
    fn create(path: &Path, n_samples: usize) -> std::io::Result<Self> {
        let mut windows = Self {
            file: BufWriter::new(File::create(path)?),
            n_samples,
            n_windows: 0,
        };
        windows.header()?;
        Ok(windows)
    }

    fn header(&mut self) -> std::io::Result<()> {
        let (n, n_samples) = (self.n_windows, self.n_samples);
        let text = format!(
            "{{'descr': [('record', '|S{NAME_BYTES}'), ('patient', '|S{PATIENT_BYTES}'), ('fold', '|u1'), \
             ('start', '<u8'), ('first', '<u4'), ('last', '<u4'), ('samples', '<f4', (12, {n_samples})), \
             ('usable', '|b1', (12, {n_samples}))], 'fortran_order': False, 'shape': ({n},), }}"
        );
        let room = HEADER_BYTES - 10;
        #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
        let length = (room as u16).to_le_bytes();
        self.file.write_all(b"\x93NUMPY\x01\x00")?;
        self.file.write_all(&length)?;
        writeln!(self.file, "{text:<width$}", width = room - 1)
    }

    fn push(&mut self, entry: &Entry, cut: &Cut) -> std::io::Result<()> {
        let window = &cut.window;
        let mut row = Vec::new();
        row.extend(fixed::<NAME_BYTES>(&entry.name)?);
        row.extend(fixed::<PATIENT_BYTES>(
            entry.patient.as_deref().unwrap_or(""),
        )?);
        row.push(entry.fold.unwrap_or(0));
        row.extend(window.start.0.to_le_bytes());
        for end in [cut.real.start, cut.real.end] {
            row.extend(u32::try_from(end).unwrap_or(u32::MAX).to_le_bytes());
        }
        let place = |lead| window.leads.iter().position(|there| *there == lead);
        for lead in Lead::TWELVE.map(place) {
            for k in 0..self.n_samples {
                let sample = lead.map_or(f32::NAN, |lead| window.lead(lead)[k]);
                row.extend(sample.to_le_bytes());
            }
        }
        for lead in Lead::TWELVE.map(place) {
            let mut usable = vec![u8::from(lead.is_some()); self.n_samples];
            for hole in &window.unusable {
                if Some(hole.lead) == lead {
                    usable[hole.samples.clone()].fill(0);
                }
            }
            row.extend(usable);
        }
        self.n_windows += 1;
        self.file.write_all(&row)
    }

    /// Completes the file and says how many windows it has.
    fn finish(mut self) -> std::io::Result<usize> {
        self.file.seek(SeekFrom::Start(0))?;
        self.header()?;
        self.file.flush()?;
        Ok(self.n_windows)
    }
}

/// A text as numpy keeps bytes of a fixed length.
fn fixed<const N: usize>(text: &str) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let room = bytes.get_mut(..text.len()).ok_or_else(|| {
        let reason = format!(
            "name {text:?} has {} bytes, where {N} are allowed",
            text.len()
        );
        std::io::Error::new(std::io::ErrorKind::InvalidInput, reason)
    })?;
    room.copy_from_slice(text.as_bytes());
    Ok(bytes)
}
