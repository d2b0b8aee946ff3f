//! What it costs to say what is in twelve leads: `cargo bench -p infer --bench classify`. One thread, the shipped
//! classifier; preparation also as a model at 500 Hz wants it.

use std::path::Path;

use ecg::{LeadOrigin, SampleIndex, SampleRate, TwelveLead};
use infer::{Classifier, Library};

fn main() {
    divan::main();
}

fn classifier(library: Result<Library, infer::Error>, name: &str) -> Classifier {
    let library = library.expect("its models load");
    let mut classifiers = library.classifiers().iter();
    let found = classifiers.find(|classifier| classifier.model().name == name);
    found.expect("it is there").clone()
}

fn shipped() -> Classifier {
    classifier(Library::shipped(), "superclass-12")
}

/// Twelve leads of a beating heart.
fn twelve() -> TwelveLead {
    let n = 2560;
    let bump = |t: f32, at: f32, width: f32| (-((t - at) / width).powi(2)).exp();
    let beat = |k: usize| {
        let t = (k % 200) as f32 / 250.0;
        bump(t, 0.3, 0.012) + 0.1 * bump(t, 0.14, 0.03) + 0.25 * bump(t, 0.55, 0.05)
    };
    TwelveLead {
        start: SampleIndex(0),
        end: SampleIndex(n as u64),
        rate: SampleRate::new(250.0).expect("a rate within the limits"),
        samples: (0..12 * n).map(beat).collect(),
        n_samples: n,
        origin: [LeadOrigin::Measured; 12],
        model: None,
        bands: Vec::new(),
        n_bands: 0,
        trust: None,
        withheld: None,
    }
}

/// A differential from twelve leads.
#[divan::bench]
fn classify(bencher: divan::Bencher<'_, '_>) {
    let (classifier, twelve) = (shipped(), twelve());
    bencher.bench_local(|| classifier.classify(divan::black_box(&twelve)));
}

/// What speaks for two labels: as many runs as there are leads and seconds, and one.
#[divan::bench]
fn explain(bencher: divan::Bencher<'_, '_>) {
    let (classifier, twelve) = (shipped(), twelve());
    bencher.bench_local(|| classifier.explain(divan::black_box(&twelve), &["mi", "cd"]));
}

/// The input of the shipped classifier.
#[divan::bench]
fn prepare(bencher: divan::Bencher<'_, '_>) {
    let (classifier, twelve) = (shipped(), twelve());
    bencher.bench_local(|| classifier.prepared(divan::black_box(&twelve)));
}

/// 500 Hz, notch, band-pass, running median, z-score.
#[divan::bench]
fn prepare_500_hz(bencher: divan::Bencher<'_, '_>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("training/golden");
    let (classifier, twelve) = (classifier(Library::load(&folder), "net1d-small"), twelve());
    bencher.bench_local(|| classifier.prepared(divan::black_box(&twelve)));
}
