#![expect(
    clippy::float_cmp,
    clippy::cast_possible_truncation,
    reason = "limb leads are compared to the last bit, after one rounding to f32"
)]

use super::*;
use crate::Manifest;
use ecg::{SampleIndex, SampleRate};
use proptest::prelude::*;

const N: usize = 2560;

fn window(leads: &[Lead], samples: Vec<f32>) -> Window {
    let n_samples = samples.len() / leads.len();
    Window {
        start: SampleIndex(500),
        end: SampleIndex(500 + n_samples as u64),
        rate: SampleRate::new(250.0).unwrap(),
        leads: leads.to_vec(),
        samples,
        n_samples,
    }
}

/// Smooth, different in each lead, never zero for long.
fn waves(leads: &[Lead]) -> Window {
    let samples =
        (0..leads.len() * N).map(|i| (i as f32 * 0.037).sin() + 0.3 * (i as f32 * 0.71).cos());
    window(leads, samples.collect())
}

fn shipped() -> Reconstructor {
    Reconstructor::new(Library::shipped().unwrap())
}

fn origins(twelve: &TwelveLead) -> String {
    let letters = twelve.origin.iter().map(|origin| match origin {
        LeadOrigin::Measured => 'M',
        LeadOrigin::Derived => 'D',
        LeadOrigin::Reconstructed => 'R',
        LeadOrigin::Absent => '-',
    });
    letters.collect()
}

/// I and II are as given; the other limb leads follow from them to the last bit.
fn assert_identities(twelve: &TwelveLead) {
    let row = |lead| twelve.lead(lead).unwrap();
    for k in 0..twelve.n_samples {
        let (i, ii) = (f64::from(row(Lead::I)[k]), f64::from(row(Lead::II)[k]));
        for (lead, follows) in [
            (Lead::III, ii - i),
            (Lead::AVR, -(i + ii) / 2.0),
            (Lead::AVL, i - ii / 2.0),
            (Lead::AVF, ii - i / 2.0),
        ] {
            if twelve.origin[lead.row().unwrap()] != LeadOrigin::Measured {
                assert_eq!(row(lead)[k], follows as f32, "{lead} at {k}");
            }
        }
    }
}

#[test]
fn origins_say_where_each_lead_comes_from() {
    use Lead::{AVF, AVL, AVR, I, II, III, Unstated, V1, V2, V5};
    for (leads, expected) in [
        (&[II, V1, V5][..], "RMRRRRMRRRMR"),
        (&[V5, II, V1], "RMRRRRMRRRMR"),
        (&[I, II, V1, V5], "MMDDDDMRRRMR"),
        // II is derived, and as good as measured for the model.
        (&[I, III, V1, V5], "MDMDDDMRRRMR"),
        (&[II, V1, V2, V5, Unstated], "RMRRRRMMRRMR"),
        (&[II, V1], "-M----M-----"),
        (&[AVR, AVL], "DDDMMD------"),
        (&[II, AVF], "DMDDDM------"),
        (&[I], "M-----------"),
        (&[Unstated], "------------"),
    ] {
        let window = waves(leads);
        let twelve = shipped().reconstruct(&window).unwrap();
        assert_eq!(origins(&twelve), expected, "{leads:?}");
        assert_eq!(twelve.model.is_some(), expected.contains('R'));
        assert_eq!((twelve.start, twelve.end), (window.start, window.end));
        for (k, lead) in leads
            .iter()
            .enumerate()
            .filter(|(_, lead)| **lead != Unstated)
        {
            assert_eq!(twelve.lead(*lead).unwrap(), window.lead(k));
        }
        if twelve.lead(I).is_some() && twelve.lead(II).is_some() {
            assert_identities(&twelve);
        }
        for lead in Lead::TWELVE
            .iter()
            .filter(|lead| twelve.lead(**lead).is_none())
        {
            let row = lead.row().unwrap();
            assert!(
                twelve.samples[row * N..][..N]
                    .iter()
                    .all(|&sample| sample == 0.0)
            );
        }
    }
}

#[test]
fn windows_of_another_shape_are_refused_and_can_still_be_derived() {
    let leads = [Lead::I, Lead::II, Lead::V1];
    let short = window(&leads, vec![0.5; 300]);
    let error = shipped().reconstruct(&short).unwrap_err().to_string();
    assert_eq!(error, "window refused: n_samples: expected 2560, found 100");
    assert_eq!(origins(&derive(&short).unwrap()), "MMDDDDM-----");

    let mut fast = waves(&leads);
    fast.rate = SampleRate::new(500.0).unwrap();
    let error = shipped().reconstruct(&fast).unwrap_err().to_string();
    assert_eq!(error, "window refused: rate: expected 250 Hz, found 500 Hz");

    let mut ragged = waves(&leads);
    ragged.samples.pop();
    assert!(matches!(
        derive(&ragged),
        Err(Error::Window {
            field: "samples",
            ..
        })
    ));
    let twice = waves(&[Lead::II, Lead::II]);
    assert!(matches!(
        derive(&twice),
        Err(Error::Window { field: "leads", .. })
    ));
    assert_eq!(
        origins(&derive(&window(&leads, vec![])).unwrap()),
        "MMDDDDM-----"
    );
}

#[test]
fn output_that_is_no_number_leaves_the_measured_leads() {
    let mut broken = waves(&[Lead::II, Lead::V1, Lead::V5]);
    broken.samples[N + 7] = f32::NAN;
    let error = shipped().reconstruct(&broken).unwrap_err();
    assert!(
        matches!(
            error,
            Error::NotFinite {
                lead: Lead::I,
                sample: 5,
                ..
            }
        ),
        "{error}"
    );
    let twelve = error.into_leads().unwrap();
    assert_eq!(origins(&twelve), "-M----M---M-");
    assert!(twelve.model.is_none());
}

#[test]
fn the_model_that_observes_most_is_chosen() {
    let text = include_str!("../models/linear-3to12.toml");
    let onnx = include_bytes!("../models/linear-3to12.onnx");
    // The same weights under other names: with one observed lead less, and before the full one.
    let fewer = text.replace("\"linear-3to12\"", "\"fewer\"").replace(
        "observed = [\"II\", \"V1\", \"V5\"]",
        "observed = [\"II\", \"V1\"]",
    );
    let mut library = Library::empty();
    for (file, text) in [("fewer.toml", fewer.as_str()), ("full.toml", text)] {
        library
            .add(file, Manifest::parse(file, text).unwrap(), onnx)
            .unwrap();
    }
    let reconstructor = Reconstructor::new(library);
    for (leads, name) in [
        (&[Lead::II, Lead::V1, Lead::V5][..], "linear-3to12"),
        (&[Lead::II, Lead::V1], "fewer"),
    ] {
        let twelve = reconstructor.reconstruct(&waves(leads)).unwrap();
        assert_eq!(twelve.model.unwrap().name, name);
    }
    let none = reconstructor
        .reconstruct(&waves(&[Lead::V1, Lead::V5]))
        .unwrap();
    assert_eq!(none.model, None);
}

/// The fixture was made by onnxruntime: see `write_golden` in `training/`.
#[test]
fn tract_agrees_with_onnxruntime() {
    let input = include_bytes!("../training/golden/linear-3to12.input.i16");
    let output = include_bytes!("../training/golden/linear-3to12.output.f32");
    let (input, _) = input.as_chunks::<2>();
    let (output, _) = output.as_chunks::<4>();
    let samples = input
        .iter()
        .map(|bytes| f32::from(i16::from_le_bytes(*bytes)) / 1000.0);
    let window = window(&[Lead::II, Lead::V1, Lead::V5], samples.collect());
    let twelve = shipped().reconstruct(&window).unwrap();

    let kept: Vec<usize> = (0..N)
        .filter(|k| k % 8 == 0 || *k < 4 || *k >= N - 4)
        .collect();
    assert_eq!(output.len(), 5 * kept.len());
    let given = [Lead::I, Lead::V2, Lead::V3, Lead::V4, Lead::V6];
    for (lead, expected) in given.into_iter().zip(output.chunks_exact(kept.len())) {
        let found = twelve.lead(lead).unwrap();
        for (&k, bytes) in kept.iter().zip(expected) {
            let expected = f32::from_le_bytes(*bytes);
            assert!(
                (found[k] - expected).abs() <= 1e-5,
                "{lead} at {k}: {} {expected}",
                found[k]
            );
        }
    }
}

proptest! {
    #[test]
    fn any_two_limb_leads_give_the_others(
        a in 0usize..6, step in 1usize..6,
        i in prop::collection::vec(-5.0f32..5.0, 20), ii in prop::collection::vec(-5.0f32..5.0, 20),
    ) {
        let rows = [a, (a + step) % 6];
        let truth = |row: usize, k: usize| {
            (AXES[row].0 * f64::from(i[k]) + AXES[row].1 * f64::from(ii[k])) as f32
        };
        let samples = rows.iter().flat_map(|&row| (0..20).map(move |k| truth(row, k)));
        let twelve = derive(&window(&rows.map(|row| Lead::TWELVE[row]), samples.collect())).unwrap();
        for row in 0..6 {
            let expected = if rows.contains(&row) { LeadOrigin::Measured } else { LeadOrigin::Derived };
            prop_assert_eq!(twelve.origin[row], expected);
            for k in 0..20 {
                let found = twelve.samples[row * 20 + k];
                prop_assert!((found - truth(row, k)).abs() < 1e-5);
            }
        }
        assert_identities(&twelve);
    }
}
