//! The models that are loaded, each checked against its manifest.
//!
//! Those that give leads take the same windows, because the windows of a device are cut once. Classifiers have theirs
//! made from them.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use ecg::{ModelRef, SampleRate};

use crate::manifest::{Manifest, Reconstruction, WindowShape};
use crate::model::{Plan, Runtime};
use crate::{Classifier, Error, Kind, PulseRhythmModel, RhythmModel, SurrogateModel};

/// The largest manifest that is read, in bytes.
const MAX_MANIFEST: u64 = 1 << 22;
/// The largest ONNX file that is read, in bytes.
const MAX_ONNX: u64 = 1 << 29;

/// What ships inside the binary: name of the manifest, manifest, ONNX file.
const SHIPPED: [(&str, &str, &[u8]); 5] = [
    (
        "superclass-12.toml",
        include_str!("../models/superclass-12.toml"),
        include_bytes!("../models/superclass-12.onnx"),
    ),
    (
        "vae-12.toml",
        include_str!("../models/vae-12.toml"),
        include_bytes!("../models/vae-12.onnx"),
    ),
    (
        "rhythm-1.toml",
        include_str!("../models/rhythm-1.toml"),
        include_bytes!("../models/rhythm-1.onnx"),
    ),
    (
        "ppg-rhythm-1.toml",
        include_str!("../models/ppg-rhythm-1.toml"),
        include_bytes!("../models/ppg-rhythm-1.onnx"),
    ),
    (
        "ppg-ecg-1.toml",
        include_str!("../models/ppg-ecg-1.toml"),
        include_bytes!("../models/ppg-ecg-1.onnx"),
    ),
];

/// A model that gives leads, and what its manifest says about it.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) about: ModelRef,
    pub(crate) form: Reconstruction,
    pub(crate) plan: Plan,
}

/// Models: those that give leads, which take the same windows, and classifiers.
#[derive(Debug, Clone, Default)]
pub struct Library {
    runtime: Runtime,
    manifests: Vec<Manifest>,
    reconstructing: Vec<Model>,
    classifiers: Vec<Classifier>,
    rhythm: Option<Arc<RhythmModel>>,
    pulse_rhythm: Option<Arc<PulseRhythmModel>>,
    surrogate: Option<Arc<SurrogateModel>>,
}

impl Library {
    /// A library without models: leads are derived, none is reconstructed. tract runs what is added.
    pub fn empty() -> Self {
        #[cfg(all(test, feature = "ort"))]
        if let Some(library) = std::env::var_os("ORT_DYLIB_PATH") {
            return Self::on(Runtime::OnnxRuntime(library.into()));
        }
        Self::default()
    }

    /// A library without models: what is added runs on this.
    pub fn on(runtime: Runtime) -> Self {
        Self {
            runtime,
            ..Self::default()
        }
    }

    /// The models inside the binary.
    ///
    /// # Errors
    /// As [`load`](Self::load), if the binary was built from files that do not fit each other.
    pub fn shipped() -> Result<Self, Error> {
        let mut library = Self::empty();
        library.add_shipped()?;
        Ok(library)
    }

    /// Adds the models inside the binary.
    ///
    /// # Errors
    /// As [`shipped`](Self::shipped).
    pub fn add_shipped(&mut self) -> Result<(), Error> {
        for (file, text, onnx) in SHIPPED {
            self.add(file, Manifest::parse(file, text)?, onnx)?;
        }
        Ok(())
    }

    /// Every model of a directory: each `*.toml` is a manifest, its ONNX file lies beside it.
    ///
    /// # Errors
    /// [`Error::Read`] for a file that cannot be read, [`Error::Toml`], [`Error::Manifest`] and
    /// [`Error::Onnx`] for one that is not what it should be; also if there is no manifest.
    pub fn load(directory: &Path) -> Result<Self, Error> {
        let mut library = Self::empty();
        library.add_folder(directory)?;
        Ok(library)
    }

    /// Adds every model of a directory.
    ///
    /// # Errors
    /// As [`load`](Self::load); the models before the one that failed stay.
    pub fn add_folder(&mut self, directory: &Path) -> Result<(), Error> {
        let read_error = |source| Error::Read {
            file: directory.display().to_string(),
            source,
        };
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(directory).map_err(read_error)? {
            let path = entry.map_err(read_error)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            return Err(Error::Manifest {
                file: directory.display().to_string(),
                field: "*.toml",
                expected: "at least one manifest".to_owned(),
                found: "none".to_owned(),
            });
        }
        paths.sort();
        for path in paths {
            let file = path.display().to_string();
            let text = read(&path, MAX_MANIFEST)?;
            let text = String::from_utf8(text).map_err(|error| Error::Read {
                file: file.clone(),
                source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
            })?;
            let manifest = Manifest::parse(&file, &text)?;
            let onnx = read(&directory.join(&manifest.onnx_file), MAX_ONNX)?;
            self.add(&file, manifest, &onnx)?;
        }
        Ok(())
    }

    /// The manifests, in the order of loading.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.manifests.iter()
    }

    /// The classifiers, in the order of loading.
    pub fn classifiers(&self) -> &[Classifier] {
        &self.classifiers
    }

    /// The windows to cut: those that the models take that give leads, or what classifiers are best at; `None` without
    /// models.
    pub fn window(&self) -> Option<WindowShape> {
        let reconstructing = self.reconstructing.first();
        let classifying = self.classifiers.first();
        let window = reconstructing.map(|model| model.form.window);
        window.or_else(|| classifying.map(|_| windows()))
    }

    /// The model that names rhythms; the first, where there are several.
    pub fn rhythm(&self) -> Option<&Arc<RhythmModel>> {
        self.rhythm.as_ref()
    }

    /// The model that names the rhythms of pulse waves; the first, where there are several.
    pub fn pulse_rhythm(&self) -> Option<&Arc<PulseRhythmModel>> {
        self.pulse_rhythm.as_ref()
    }

    /// The model that draws a synthetic ECG from a pulse wave; the first, where there are several.
    pub fn surrogate(&self) -> Option<&Arc<SurrogateModel>> {
        self.surrogate.as_ref()
    }

    pub(crate) fn reconstructing(&self) -> impl Iterator<Item = &Model> {
        self.reconstructing.iter()
    }

    /// Adds a model; `file` names its manifest in errors.
    pub(crate) fn add(&mut self, file: &str, manifest: Manifest, onnx: &[u8]) -> Result<(), Error> {
        if self
            .manifests()
            .any(|other| other.model.name == manifest.model.name)
        {
            return Err(Error::Manifest {
                file: file.to_owned(),
                field: "name",
                expected: "a name of its own".to_owned(),
                found: format!("{} a second time", manifest.model.name),
            });
        }
        match &manifest.kind {
            Kind::Classify(form) => {
                let classifier = Classifier::new(&manifest, form, windows(), &self.runtime, onnx)?;
                self.classifiers.push(classifier);
            }
            Kind::Reconstruct(form) => {
                self.check_window(file, form.window)?;
                self.reconstructing.push(Model {
                    about: manifest.model.clone(),
                    form: form.clone(),
                    plan: Plan::build(&self.runtime, &manifest, onnx)?,
                });
            }
            Kind::Rhythm(form) => {
                let plan = Plan::build(&self.runtime, &manifest, onnx)?;
                let model = RhythmModel::new(manifest.model.clone(), form.clone(), plan);
                self.rhythm.get_or_insert_with(|| Arc::new(model));
            }
            Kind::PulseRhythm(form) => {
                let plan = Plan::build(&self.runtime, &manifest, onnx)?;
                let model = PulseRhythmModel::new(manifest.model.clone(), form.clone(), plan);
                self.pulse_rhythm.get_or_insert_with(|| Arc::new(model));
            }
            Kind::Surrogate(form) => {
                let plan = Plan::build(&self.runtime, &manifest, onnx)?;
                let model = SurrogateModel::new(manifest.model.clone(), form.clone(), plan);
                self.surrogate.get_or_insert_with(|| Arc::new(model));
            }
        }
        self.manifests.push(manifest);
        Ok(())
    }

    /// Refuses windows that are not those of the models here.
    fn check_window(&self, file: &str, window: WindowShape) -> Result<(), Error> {
        let describe = |window: WindowShape| format!("{} at {}", window.n_samples, window.rate);
        let others = self.reconstructing.first().map(|model| model.form.window);
        match others.filter(|other| *other != window) {
            Some(other) => Err(Error::Manifest {
                file: file.to_owned(),
                field: "window",
                expected: format!("{} as in the other models", describe(other)),
                found: describe(window),
            }),
            None => Ok(()),
        }
    }
}

/// The windows that the service cuts unless it is told otherwise: 10.24 s at 250 Hz.
fn windows() -> WindowShape {
    WindowShape {
        rate: SampleRate::new(250.0).expect("a rate within the limits"),
        n_samples: 2560,
    }
}

/// A whole file of at most `limit` bytes.
fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .and_then(|_| {
            if bytes.len() as u64 > limit {
                let reason = format!("longer than {limit} bytes");
                return Err(std::io::Error::new(
                    std::io::ErrorKind::FileTooLarge,
                    reason,
                ));
            }
            Ok(())
        })
        .map_err(|source| Error::Read {
            file: path.display().to_string(),
            source,
        })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};

    const FILE: &str = SHIPPED[1].0;
    const TEXT: &str = SHIPPED[1].1;
    const ONNX: &[u8] = SHIPPED[1].2;

    fn add(text: &str, onnx: &[u8]) -> Result<(), Error> {
        // With the right hash, so that what is tested comes after that check.
        let manifest = Manifest::parse(FILE, text).unwrap();
        let sha256 = format!("{:x}", Sha256::digest(onnx));
        let text = text.replace(&manifest.model.sha256, &sha256);
        Library::empty().add(FILE, Manifest::parse(FILE, &text).unwrap(), onnx)
    }

    #[test]
    fn the_shipped_models_load_from_the_binary_and_from_their_directory() {
        let shipped = Library::shipped().unwrap();
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
        let loaded = Library::load(&directory).unwrap();
        let names = |library: &Library| {
            let mut names: Vec<_> = library.manifests().cloned().collect();
            names.sort_by(|a, b| a.model.name.cmp(&b.model.name));
            names
        };
        assert_eq!(names(&shipped), names(&loaded));
        assert_eq!(shipped.rhythm().unwrap().model().name, "rhythm-1");
        let pulses = shipped.pulse_rhythm().unwrap();
        assert_eq!(pulses.model().name, "ppg-rhythm-1");
        assert_eq!(shipped.surrogate().unwrap().model().name, "ppg-ecg-1");
        assert_eq!(shipped.window().unwrap().n_samples, 2560);
    }

    #[test]
    fn a_directory_without_models_is_an_error_with_its_name() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let error = Library::load(&directory).unwrap_err().to_string();
        assert!(
            error.contains("src") && error.contains("manifest"),
            "{error}"
        );
        assert!(matches!(
            Library::load(&directory.join("absent")),
            Err(Error::Read { .. })
        ));
    }

    #[test]
    fn an_onnx_file_that_does_not_fit_its_manifest_is_refused() {
        let hash = Library::empty()
            .add(FILE, Manifest::parse(FILE, TEXT).unwrap(), b"other")
            .unwrap_err()
            .to_string();
        assert!(
            hash.contains("vae-12.onnx: onnx.sha256: expected"),
            "{hash}"
        );

        add(TEXT, ONNX).unwrap();
        for (from, to, field) in [
            ("n_samples = 2560", "n_samples = 1280", "input"),
            ("n_bands = 160", "n_bands = 80", "output"),
        ] {
            match add(&TEXT.replace(from, to), ONNX) {
                Err(Error::Manifest { field: named, .. }) => assert_eq!(named, field),
                other => panic!("{to}: {other:?}"),
            }
        }
    }

    #[test]
    fn corrupt_onnx_files_are_errors_or_another_model_never_a_panic() {
        let step = ONNX.len() / 60;
        for length in (0..ONNX.len() - 16).step_by(step) {
            assert!(add(TEXT, &ONNX[..length]).is_err(), "{length} bytes");
        }
        // Most flips hit a weight and leave a valid file; those at the head hit the graph.
        let flip = |position: &usize| {
            let mut flipped = ONNX.to_vec();
            flipped[*position] ^= 0x55;
            add(TEXT, &flipped).is_err()
        };
        let head = (0..256).filter(flip).count();
        assert!(head > 20, "{head}");
        for position in (256..ONNX.len()).step_by(step) {
            flip(&position);
        }
    }

    #[test]
    fn models_of_one_library_take_the_same_windows_and_have_their_own_names() {
        let mut library = Library::shipped().unwrap();
        let same = library.add(FILE, Manifest::parse(FILE, TEXT).unwrap(), ONNX);
        assert!(matches!(same, Err(Error::Manifest { field: "name", .. })));
        let text = TEXT
            .replace("rate_hz = 250.0", "rate_hz = 500.0")
            .replace("name = \"vae-12\"", "name = \"other\"");
        let other = library.add(FILE, Manifest::parse(FILE, &text).unwrap(), ONNX);
        assert!(matches!(
            other,
            Err(Error::Manifest {
                field: "window",
                ..
            })
        ));
    }
}
