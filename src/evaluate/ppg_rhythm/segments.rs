//! Segments of a pulse wave with labels: an `.npz` file with `x`, [segment, sample], and `y`, [segment].

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use ecg::SampleRate;
use infer::PulseLabel;
use infer::pulse_rhythm::{N_SAMPLES, RATE_HZ};
use npyz::{NpyFile, Order};
use zip::ZipArchive;

/// No segment is longer, samples; three minutes at 500 Hz.
const LONGEST: u64 = 90_000;

/// A file that is none of segments.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no archive.
    #[error("{} is no .npz file", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: zip::result::ZipError,
    },
    /// An array is missing, or is not what it should be.
    #[error("{}: {array}: expected {expected}, found {found}", path.display())]
    Array {
        /// The file.
        path: PathBuf,
        /// The array.
        array: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The model failed on a segment.
    #[error("{}: the model failed", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: infer::Error,
    },
}

/// The segments of a file.
#[derive(Debug)]
pub struct Segments {
    n_samples: usize,
    samples: Vec<f32>,
    labels: Vec<PulseLabel>,
}

impl Segments {
    /// Reads a file whose waves are at `rate`.
    ///
    /// # Errors
    /// [`Error`] for whatever is wrong with it.
    pub fn read(path: &Path, rate: SampleRate) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let archive = ZipArchive::new(BufReader::new(file)).map_err(|source| Error::Archive {
            path: path.to_owned(),
            source,
        })?;
        let mut arrays = Arrays { path, archive };
        let (n, n_samples, samples) = arrays.waves(rate)?;
        let labels = arrays.labels(n)?;
        Ok(Self {
            n_samples,
            samples,
            labels,
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The wave of one.
    pub fn samples(&self, k: usize) -> &[f32] {
        &self.samples[k * self.n_samples..][..self.n_samples]
    }

    /// The label of one.
    pub fn label(&self, k: usize) -> PulseLabel {
        self.labels[k]
    }
}

struct Arrays<'a> {
    path: &'a Path,
    archive: ZipArchive<BufReader<File>>,
}

impl Arrays<'_> {
    fn refuse(&self, array: &'static str, expected: impl Into<String>, found: String) -> Error {
        Error::Array {
            path: self.path.to_owned(),
            array,
            expected: expected.into(),
            found,
        }
    }

    /// The waves, one after the other; how many, and how long each is.
    fn waves(&mut self, rate: SampleRate) -> Result<(usize, usize, Vec<f32>), Error> {
        let array = self.array("x")?;
        let least = (N_SAMPLES as f64 / RATE_HZ * rate.hz()).ceil();
        let (shape, samples) = (array.shape, array.values);
        let [n, n_samples] = *shape else {
            let found = format!("shape {shape:?}");
            return Err(self.refuse("x", "[segment, sample]", found));
        };
        if n == 0 || n_samples as f64 + 0.5 < least || n_samples > LONGEST {
            let expected = format!("segments of {least} to {LONGEST} samples at {rate}");
            let found = format!("shape {shape:?}");
            return Err(self.refuse("x", expected, found));
        }
        let Ok(n_samples) = usize::try_from(n_samples) else {
            let found = format!("shape {shape:?}");
            return Err(self.refuse("x", "[segment, sample]", found));
        };
        if let Some(at) = samples.iter().position(|x| !x.is_finite()) {
            let found = format!("{} in segment {}", samples[at], at / n_samples);
            return Err(self.refuse("x", "numbers", found));
        }
        #[expect(clippy::cast_possible_truncation, reason = "as precise as a wave is")]
        let samples: Vec<f32> = samples.into_iter().map(|x| x as f32).collect();
        if let Some(at) = samples.iter().position(|x| !x.is_finite()) {
            let found = format!("one beyond them in segment {}", at / n_samples);
            return Err(self.refuse("x", "numbers of single precision", found));
        }
        Ok((samples.len() / n_samples, n_samples, samples))
    }

    fn labels(&mut self, n: usize) -> Result<Vec<PulseLabel>, Error> {
        let array = self.array("y")?;
        let one_each = matches!(*array.shape, [_] | [_, 1]);
        if !one_each || array.values.len() != n {
            let (expected, found) = (format!("[{n}]"), format!("shape {:?}", array.shape));
            return Err(self.refuse("y", expected, found));
        }
        let mut labels = Vec::with_capacity(n);
        for (k, value) in array.values.iter().enumerate() {
            let label = PulseLabel::ALL
                .into_iter()
                .find(|label| (label.index() as f64 - value).abs() < 1e-9);
            let Some(label) = label else {
                let found = format!("{value} for segment {k}");
                return Err(self.refuse("y", "labels from 0 to 5", found));
            };
            labels.push(label);
        }
        Ok(labels)
    }

    /// An array of numbers, whatever their type.
    fn array(&mut self, name: &'static str) -> Result<Array, Error> {
        let path = self.path.to_owned();
        let unreadable = |source| Error::Read {
            path: path.clone(),
            source,
        };
        let member = format!("{name}.npy");
        if self.archive.index_for_name(&member).is_none() {
            let names: Vec<&str> = self.archive.file_names().collect();
            let found = format!("{names:?}");
            return Err(self.refuse(name, "an array of that name", found));
        }
        let entry = self
            .archive
            .by_name(&member)
            .map_err(|source| Error::Archive {
                path: path.clone(),
                source,
            })?;
        let file = NpyFile::new(BufReader::new(entry)).map_err(unreadable)?;
        let shape = file.shape().to_vec();
        let (order, kind) = (file.order(), file.dtype().descr());
        let values = numbers(file).map(|values| values.map_err(unreadable));
        if order != Order::C && shape.len() > 1 {
            let found = "columns first".to_owned();
            return Err(self.refuse(name, "rows first", found));
        }
        let Some(values) = values else {
            return Err(self.refuse(name, "numbers", kind));
        };
        Ok(Array {
            shape,
            values: values?,
        })
    }
}

struct Array {
    shape: Vec<u64>,
    values: Vec<f64>,
}

/// The values of an array; `None` where they are no numbers.
fn numbers<R: Read>(file: NpyFile<R>) -> Option<std::io::Result<Vec<f64>>> {
    macro_rules! or_as {
        ($file:ident, $($kind:ty => $value:expr),+) => {{
            $(let $file = match $file.try_data::<$kind>() {
                Ok(values) => {
                    let values = values.map(|value| value.map($value));
                    return Some(values.collect());
                }
                Err(other) => other,
            };)+
            drop($file);
        }};
    }
    #[expect(clippy::cast_precision_loss, reason = "labels and samples are small")]
    {
        or_as!(
            file,
            f32 => f64::from, f64 => |x: f64| x, half::f16 => f64::from,
            i64 => |x: i64| x as f64, i32 => f64::from, i16 => f64::from, i8 => f64::from,
            u64 => |x: u64| x as f64, u32 => f64::from, u16 => f64::from, u8 => f64::from
        );
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use npyz::WriterBuilder;
    use std::io::Write;
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    /// An array as a file.
    pub(crate) fn npy<T: npyz::Serialize + npyz::AutoSerialize + Copy>(
        values: &[T],
        shape: &[u64],
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        let options = npyz::WriteOptions::new().default_dtype().shape(shape);
        let mut writer = options.writer(&mut bytes).begin_nd().unwrap();
        writer.extend(values.iter().copied()).unwrap();
        writer.finish().unwrap();
        bytes
    }

    /// Writes a file of these members.
    pub(crate) fn write(path: &Path, members: &[(&str, Vec<u8>)]) {
        let mut writer = ZipWriter::new(File::create(path).unwrap());
        for (name, bytes) in members {
            let options = SimpleFileOptions::default();
            writer.start_file(*name, options).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap();
    }

    /// What reading a file of these members gives.
    fn read(members: &[(&str, Vec<u8>)]) -> Result<Segments, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segments.npz");
        write(&path, members);
        Segments::read(&path, SampleRate::new(100.0).unwrap())
    }

    #[test]
    fn waves_and_labels_of_any_type_of_number() {
        let labels = npy(&[5i64, 0], &[2]);
        let wave: Vec<f64> = (0..2000).map(f64::from).collect();
        let single: Vec<f32> = (0..2000u16).map(f32::from).collect();
        let half: Vec<half::f16> = single.iter().map(|x| half::f16::from_f32(*x)).collect();
        for x in [
            npy(&wave, &[2, 1000]),
            npy(&single, &[2, 1000]),
            npy(&half, &[2, 1000]),
        ] {
            let segments = read(&[("x.npy", x), ("y.npy", labels.clone())]).unwrap();
            assert_eq!((segments.len(), segments.is_empty()), (2, false));
            assert!((segments.samples(1)[3] - 1003.0).abs() < 0.6);
            assert_eq!(segments.label(0), PulseLabel::AtrialFibrillation);
            assert_eq!(segments.label(1), PulseLabel::Sinus);
        }
        let floats = npy(&[5.0f32, 2.0], &[2, 1]);
        let segments = read(&[("x.npy", npy(&wave, &[2, 1000])), ("y.npy", floats)]).unwrap();
        assert_eq!(segments.label(1), PulseLabel::AtrialEctopy);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let x = || ("x.npy", npy(&[0.5f32; 2000], &[2, 1000]));
        let y = || ("y.npy", npy(&[0u8, 5], &[2]));
        let mut holed = [0.5f32; 2000];
        holed[1500] = f32::NAN;
        for (members, wanted) in [
            (vec![x()], "y: expected an array of that name"),
            (vec![y()], "x: expected an array of that name"),
            (
                vec![("x.npy", npy(&holed, &[2, 1000])), y()],
                "NaN in segment 1",
            ),
            (
                vec![("x.npy", npy(&[0.5f32; 2000], &[4, 500])), y()],
                "samples at 100",
            ),
            (
                vec![("x.npy", npy(&[0.5f32; 2000], &[2000])), y()],
                "[segment, sample]",
            ),
            (
                vec![x(), ("y.npy", npy(&[0u8, 5, 5], &[3]))],
                "y: expected [2], found shape [3]",
            ),
            (
                vec![x(), ("y.npy", npy(&[0i8, 6], &[2]))],
                "6 for segment 1",
            ),
            (
                vec![x(), ("y.npy", npy(&[-1i32, 5], &[2]))],
                "-1 for segment 0",
            ),
            (vec![x(), ("y.npy", b"nothing".to_vec())], "cannot read"),
        ] {
            let error = read(&members).unwrap_err().to_string();
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("no.npz");
        let read = || Segments::read(&path, SampleRate::new(100.0).unwrap());
        assert!(matches!(read(), Err(Error::Read { .. })));
        std::fs::write(&path, "no archive").unwrap();
        assert!(matches!(read(), Err(Error::Archive { .. })));
    }

    #[test]
    fn no_cut_of_a_file_does_harm() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segments.npz");
        let mut bytes = std::io::Cursor::new(Vec::new());
        let mut writer = ZipWriter::new(&mut bytes);
        for (name, array) in [
            ("x.npy", npy(&[0.5f32; 1000], &[1, 1000])),
            ("y.npy", npy(&[0u8], &[1])),
        ] {
            writer
                .start_file(name, SimpleFileOptions::default())
                .unwrap();
            writer.write_all(&array).unwrap();
        }
        writer.finish().unwrap();
        let bytes = bytes.into_inner();
        for length in (0..bytes.len()).step_by(7) {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(Segments::read(&path, SampleRate::new(100.0).unwrap()).is_err());
        }
        for at in (0..bytes.len()).step_by(5) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x55;
            std::fs::write(&path, &flipped).unwrap();
            drop(Segments::read(&path, SampleRate::new(100.0).unwrap()));
        }
    }
}
