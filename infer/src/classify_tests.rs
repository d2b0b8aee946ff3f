#![expect(
    clippy::float_cmp,
    reason = "heights come out as they went in, and what is not seen does not matter"
)]

use super::*;
use crate::Library;
use ecg::{SampleIndex, SampleRate};
use sha2::{Digest, Sha256};

/// A classifier whose logit of a label is four times the height of a lead, less 4: see `write_tallest` in `training/`.
const TEXT: &str = include_str!("../training/golden/tallest.toml");
const ONNX: &[u8] = include_bytes!("../training/golden/tallest.onnx");
const N: usize = 2560;

fn load(text: &str, onnx: &[u8]) -> Result<Classifier, Error> {
    let manifest = Manifest::parse("m.toml", text)?;
    let sha256 = format!("{:x}", Sha256::digest(onnx));
    let text = text.replace(&manifest.model.sha256, &sha256);
    let mut library = Library::empty();
    library.add("m.toml", Manifest::parse("m.toml", &text)?, onnx)?;
    Ok(library.classifiers()[0].clone())
}

fn tallest() -> Classifier {
    load(TEXT, ONNX).unwrap()
}

/// Twelve measured leads of a spike each second: of `mv` in V1, at 4.6 s, of 0.9 mV in II, else of 0.1 mV.
fn spikes(mv: f32) -> TwelveLead {
    let mut samples = vec![0.0; 12 * N];
    for lead in Lead::TWELVE {
        let row = lead.row().unwrap();
        let (height, at) = match lead {
            Lead::V1 => (mv, 1150),
            Lead::II => (0.9, 100),
            _ => (0.1, 2000),
        };
        samples[row * N + at] = height;
    }
    TwelveLead {
        start: SampleIndex(700),
        end: SampleIndex(700 + N as u64),
        rate: SampleRate::new(250.0).unwrap(),
        samples,
        n_samples: N,
        origin: [LeadOrigin::Measured; 12],
        model: None,
        bands: Vec::new(),
        n_bands: 0,
        trust: None,
        withheld: None,
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

#[track_caller]
fn near(a: f32, b: f32) {
    assert!((a - b).abs() < 1e-5, "{a} is not {b}");
}

#[test]
fn the_differential_is_calibrated_and_ranked() {
    let diagnosis = tallest().classify(&spikes(1.5)).unwrap();
    let names: Vec<&str> = diagnosis
        .probabilities
        .iter()
        .map(|(label, _)| &*label.name)
        .collect();
    assert_eq!(names, ["tall_v1", "even", "tall_ii"]);
    near(diagnosis.probabilities[0].1, sigmoid(4.0 * 1.5 - 4.0));
    near(diagnosis.probabilities[1].1, 0.5);
    near(diagnosis.probabilities[2].1, sigmoid(4.0 * 0.9 - 4.0));
    assert_eq!(diagnosis.embedding[6], 1.5);
    assert_eq!(diagnosis.conformal.len(), 3);
    assert_eq!(diagnosis.refused, None);
}

#[test]
fn reconstructed_chest_leads_have_a_calibration_of_their_own() {
    let mut twelve = spikes(1.5);
    twelve.origin[Lead::AVL.row().unwrap()] = LeadOrigin::Reconstructed;
    let p = |twelve: &TwelveLead| tallest().classify(twelve).unwrap().probabilities[0].1;
    near(p(&twelve), sigmoid(2.0));
    twelve.origin[Lead::V4.row().unwrap()] = LeadOrigin::Reconstructed;
    near(p(&twelve), sigmoid(1.0));
}

#[test]
fn a_finding_says_what_speaks_for_it() {
    let (classifier, twelve) = (tallest(), spikes(1.5));
    let diagnosis = classifier.classify(&twelve).unwrap();
    let findings = classifier.findings(&diagnosis, &twelve);
    let names: Vec<&str> = findings
        .iter()
        .map(|finding| &*finding.label.name)
        .collect();
    assert_eq!(names, ["tall_v1", "even"]);
    let finding = &findings[0];
    assert_eq!((finding.start, finding.end), (twelve.start, twelve.end));
    assert_eq!(finding.source, Source::Model(classifier.model().clone()));
    assert_eq!(finding.leads.len(), 12);
    assert_eq!(
        finding.evidence.text,
        "Tall in V1 0.88; 90 % set: Tall in V1, Nothing to say, Tall in II; next: Nothing to say 0.50; \
         nearest: tallest/V1 (tall_v1)"
    );
    let values: Vec<_> = finding
        .evidence
        .values
        .iter()
        .map(|v| (v.name, v.limit))
        .collect();
    assert_eq!(
        values,
        [
            ("tall_v1", Some(Limit::Above(0.5))),
            ("even", Some(Limit::Above(0.5))),
            ("tall_ii", Some(Limit::Below(0.5))),
        ]
    );
    // What is less probable than it, not what is more.
    assert!(
        findings[1]
            .evidence
            .text
            .contains("next: Tall in II 0.40; nearest")
    );
    let nearest = &finding.evidence.prototypes;
    assert_eq!((nearest.len(), &*nearest[0].recording), (2, "tallest/V1"));
    assert!(nearest[0].distance < nearest[1].distance);
}

#[test]
fn an_explanation_points_at_the_lead_and_the_second() {
    let (classifier, twelve) = (tallest(), spikes(1.5));
    let explained = classifier
        .explain(&twelve, &["tall_v1", "none", "even"])
        .unwrap();
    let [v1, none, even] = <[_; 3]>::try_from(explained).unwrap();
    assert_eq!(none, Attribution::default());
    assert_eq!((v1.leads.len(), v1.parts.len()), (12, 10));
    let fall = sigmoid(2.0) - sigmoid(-4.0);
    for (lead, found) in &v1.leads {
        near(*found, if *lead == Lead::V1 { fall } else { 0.0 });
    }
    // At sample 1150 of the window is sample 1120 of its middle.
    for (part, found) in v1.parts.iter().enumerate() {
        near(*found, if part == 4 { fall } else { 0.0 });
    }
    assert!(even.leads.iter().all(|(_, fall)| *fall == 0.0));
    assert_eq!(classifier.explain(&twelve, &["tall_v1"]).unwrap(), [v1]);
}

#[test]
fn nothing_is_said_of_what_means_nothing() {
    let classifier = tallest();
    let check = |change: &dyn Fn(&mut TwelveLead), expected| {
        let mut twelve = spikes(1.5);
        change(&mut twelve);
        let diagnosis = classifier.classify(&twelve).unwrap();
        assert_eq!(diagnosis.refused, Some(expected));
        assert!(diagnosis.probabilities.is_empty() && diagnosis.embedding.is_empty());
        assert!(classifier.findings(&diagnosis, &twelve).is_empty());
        let explained = classifier.explain(&twelve, &["tall_v1"]).unwrap();
        assert_eq!(explained, [Attribution::default()]);
    };
    let v3 = Lead::V3.row().unwrap();
    check(
        &|twelve| twelve.withheld = Some(Withheld::Unfamiliar),
        Refused::Withheld(Withheld::Unfamiliar),
    );
    check(
        &|twelve| twelve.origin[v3] = LeadOrigin::Absent,
        Refused::Absent(Lead::V3),
    );
    check(
        &|twelve| twelve.samples[v3 * N..][..N].fill(1.0),
        Refused::Unusable(Lead::V3),
    );
    check(
        &|twelve| twelve.samples[v3 * N + 7] = f32::NAN,
        Refused::Unusable(Lead::V3),
    );
    check(
        &|twelve| twelve.samples[v3 * N + 7] = f32::INFINITY,
        Refused::Unusable(Lead::V3),
    );
    assert_eq!(Refused::Absent(Lead::V3).to_string(), "lead V3 is absent");
}

#[test]
fn outputs_become_logits_and_what_is_no_answer_is_an_error() {
    let p = |activation: &str, mv: f32| {
        let activation = format!("activation = \"{activation}\"");
        let classifier =
            load(&TEXT.replace("activation = \"sigmoid\"", &activation), ONNX).unwrap();
        let diagnosis = classifier.classify(&spikes(mv))?;
        let mut probabilities = diagnosis.probabilities.into_iter();
        let tall = probabilities.find(|(label, _)| label.name == "tall_v1");
        Ok::<f32, Error>(tall.unwrap().1)
    };
    let softmax = 2f32.exp() / (2f32.exp() + (-0.4f32).exp() + 1.0);
    near(p("softmax", 1.5).unwrap(), softmax);
    // The outputs are 1, 0 and -0.4, which is no probability.
    match p("none", 1.25) {
        Err(Error::Classify { model, reason }) => {
            assert_eq!(model, "tallest");
            assert!(
                reason.contains("-0.4") && reason.contains("tall_ii"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
    near(logits(Activation::None, vec![0.8])[0], 4f32.ln());
    assert!(
        logits(Activation::None, vec![0.0, 1.0])
            .iter()
            .all(|x| x.is_finite())
    );
    // Heights so large that the answer has no number.
    assert!(matches!(
        p("sigmoid", f32::MAX),
        Err(Error::Classify { .. })
    ));
}

#[test]
fn a_manifest_that_does_not_fit_the_file_is_refused() {
    for (from, to, field) in [
        ("n_samples = 2500", "n_samples = 2400", "input"),
        ("[1, lead, sample]", "[1, sample, lead]", "input"),
        ("\"V5\", \"V6\"]", "\"V5\"]", "input"),
        ("embedding = 12", "", "output"),
        (
            "name = \"even\"",
            "name = \"odd\"\ntext = \"\"\nthreshold = 0.1\ncalibration = [1.0, 0.0]\n[[labels]]\nname = \"even\"",
            "labels.text",
        ),
    ] {
        let (text, _) = TEXT.split_once("[[prototypes]]").unwrap();
        let text = text.replacen(from, to, 1);
        match load(&text, ONNX) {
            Err(Error::Manifest { field: named, .. }) => assert_eq!(named, field, "{to}"),
            other => panic!("{to}: {other:?}"),
        }
    }
    let more = format!(
        "{TEXT}\n[[labels]]\nname = \"x\"\ntext = \"X\"\nthreshold = 0.1\ncalibration = [1.0, 0.0]\n"
    );
    assert!(matches!(
        load(&more, ONNX),
        Err(Error::Manifest {
            field: "output",
            ..
        })
    ));
}

#[test]
fn corrupt_files_are_errors_or_another_model_never_a_panic() {
    for length in 0..ONNX.len() {
        drop(load(TEXT, &ONNX[..length]));
    }
    for position in 0..ONNX.len() {
        for mask in [0x01, 0x55, 0xff] {
            let mut flipped = ONNX.to_vec();
            flipped[position] ^= mask;
            if let Ok(classifier) = load(TEXT, &flipped) {
                drop(classifier.classify(&spikes(1.5)));
            }
        }
    }
    let bytes = TEXT.as_bytes();
    for position in 0..bytes.len() {
        for byte in [b'0', b'"', b'[', b'-', 0xff] {
            let mut flipped = bytes.to_vec();
            flipped[position] = byte;
            if let Ok(text) = String::from_utf8(flipped)
                && let Ok(manifest) = Manifest::parse("m.toml", &text)
            {
                drop(Library::empty().add("m.toml", manifest, ONNX));
            }
        }
    }
}

#[test]
fn a_library_names_each_classifier_once_and_keeps_windows_for_it() {
    let mut library = Library::empty();
    assert_eq!(library.window(), None);
    library
        .add("m.toml", Manifest::parse("m.toml", TEXT).unwrap(), ONNX)
        .unwrap();
    assert_eq!(library.window().map(|window| window.n_samples), Some(N));
    assert_eq!(library.classifiers()[0].when(), When::Window);
    assert_eq!(library.manifests().count(), 1);
    let again = library.add("m.toml", Manifest::parse("m.toml", TEXT).unwrap(), ONNX);
    assert!(matches!(again, Err(Error::Manifest { field: "name", .. })));
}

/// The architecture of a published model, narrow, with random weights: see `net1d.py` in `training/`.
#[test]
fn tract_agrees_with_onnxruntime() {
    let text = include_str!("../training/golden/net1d-small.toml");
    let onnx = include_bytes!("../training/golden/net1d-small.onnx");
    let output = include_bytes!("../training/golden/net1d-small.output.f32");
    let classifier = load(text, onnx).unwrap();
    assert_eq!(classifier.when(), When::Alarm);
    let given = |k: usize| ((k % 5000 * (7 + k / 5000) % 401) as f32 - 200.0) / 100.0;
    let given: Vec<f32> = (0..12 * 5000).map(given).collect();
    let found = classifier.logits(&given).unwrap();
    let (words, _) = output.as_chunks::<4>();
    assert_eq!((found.len(), words.len()), (150, 150));
    let expected = words.iter().map(|word| f32::from_le_bytes(*word));
    let largest = expected.clone().map(f32::abs).fold(0.0, f32::max);
    let pairs = found.iter().zip(expected);
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4 * largest, "{worst:e} of {largest}");
    assert!(classifier.logits(&given[1..]).is_err());
    // From a window to the end: all is random, but calibrated to be said.
    let diagnosis = classifier.classify(&spikes(1.5)).unwrap();
    assert_eq!(diagnosis.probabilities.len(), 150);
    let findings = classifier.findings(&diagnosis, &spikes(1.5));
    assert!(
        findings
            .iter()
            .all(|finding| finding.evidence.values.len() == 10)
    );
}

#[test]
fn a_folder_of_models_is_loaded() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("training/golden");
    let library = Library::load(&folder).unwrap();
    let when = |classifier: &Classifier| (classifier.model().name.clone(), classifier.when());
    let loaded: Vec<_> = library.classifiers().iter().map(when).collect();
    let expected = [("net1d-small", When::Alarm), ("tallest", When::Window)];
    assert_eq!(loaded, expected.map(|(name, when)| (name.to_owned(), when)));
}

#[test]
fn a_model_may_take_samples_before_leads() {
    let form = TEXT
        .replace("[1, lead, sample]", "[1, sample, lead]")
        .replace("n_samples = 2500", "n_samples = 2");
    let manifest = Manifest::parse("m.toml", &form).unwrap();
    let form = manifest.classification().unwrap();
    assert_eq!(tensor::shapes(&manifest.kind).input, [1, 2, 12]);
    let values: Vec<f32> = (0..24u8).map(f32::from).collect();
    let laid = tensor::lay(form, &values);
    assert_eq!(laid[..4], [0.0, 2.0, 4.0, 6.0]);
    assert_eq!(laid[12..15], [1.0, 3.0, 5.0]);
}

fn shipped() -> Classifier {
    let library = Library::shipped().unwrap();
    let mut classifiers = library.classifiers().iter();
    let found = classifiers.find(|classifier| classifier.model().name == "superclass-12");
    found.unwrap().clone()
}

fn thousandths(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<2>();
    let words = words.iter().map(|word| i16::from_le_bytes(*word));
    words.map(|word| f32::from(word) / 1000.0).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// How far apart, relative to the largest.
fn apart(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().copied().map(f32::abs).fold(0.0, f32::max);
    let pairs = found.iter().zip(expected);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest
}

/// The fixtures were made by onnxruntime: see `write_golden` in `training/`. The second is a window from beginning to
/// end, with another resampler.
#[test]
fn the_shipped_classifier_gives_what_it_gave_where_it_was_trained() {
    let classifier = shipped();
    let input = thousandths(include_bytes!("../training/golden/superclass-12.input.i16"));
    let expected = floats(include_bytes!(
        "../training/golden/superclass-12.output.f32"
    ));
    let output = classifier.run(&input).unwrap();
    let found = [output.logits, output.embedding].concat();
    let off = apart(&found, &expected);
    assert!(off < 1e-4, "{off:e}");

    let mut twelve = spikes(1.5);
    twelve.samples = thousandths(include_bytes!(
        "../training/golden/superclass-12.window.i16"
    ));
    let expected = floats(include_bytes!(
        "../training/golden/superclass-12.window.f32"
    ));
    let output = classifier
        .run(&classifier.prepare.run(&twelve).values)
        .unwrap();
    let found = [output.logits, output.embedding].concat();
    let off = apart(&found, &expected);
    assert!(off < 2e-3, "{off:e}");
    let diagnosis = classifier.classify(&twelve).unwrap();
    assert_eq!(diagnosis.embedding.len(), 64);
    assert_eq!(diagnosis.probabilities.len(), 5);
    let findings = classifier.findings(&diagnosis, &twelve);
    assert!(!findings.is_empty());
    let label = &*findings[0].label.name;
    let explained = &classifier.explain(&twelve, &[label]).unwrap()[0];
    assert_eq!((explained.leads.len(), explained.parts.len()), (12, 10));
    assert!(explained.leads.iter().any(|(_, fall)| *fall > 0.0));
}
