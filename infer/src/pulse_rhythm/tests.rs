use std::sync::{Arc, LazyLock};

use ecg::Wavelength;
use proptest::prelude::*;

use super::*;
use crate::Library;

static MODEL: LazyLock<Arc<PulseRhythmModel>> =
    LazyLock::new(|| Library::shipped().unwrap().pulse_rhythm().unwrap().clone());

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

fn given() -> Vec<f32> {
    floats(include_bytes!(
        "../../training/golden/ppg-rhythm-1.input.f32"
    ))
}

fn rate(hz: f64) -> SampleRate {
    SampleRate::new(hz).unwrap()
}

/// A stretch at a base rate that is its own.
fn stretch(samples: Vec<f32>, hz: f64, pulses: &[f64]) -> PulseStretch {
    PulseStretch {
        signal: SignalKind::Ppg(Wavelength::Green),
        start: SampleIndex(0),
        end: SampleIndex(samples.len() as u64),
        base: rate(hz),
        rate: rate(hz),
        samples,
        pulses: pulses
            .iter()
            .map(|seconds| SampleIndex(0).after(rate(hz).count(*seconds)))
            .collect(),
        said: Remembered::default(),
    }
}

/// Pulses of a usual shape that begin at these seconds, at 100 Hz.
fn pulses(at: &[f64], seconds: f64) -> Vec<f32> {
    let shape = |x: f64| {
        let bell = |middle: f64, width: f64| (-((x - middle) / width).powi(2) / 2.0).exp();
        if x < 0.0 {
            0.0
        } else {
            (x / 0.04).min(1.0) * (bell(0.16, 0.07) + 0.45 * bell(0.4, 0.12))
                + 0.2 * (-x / 0.4).exp()
        }
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds of samples"
    )]
    let n = (seconds * 100.0) as usize;
    #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
    let sample = |k: usize| {
        let t = k as f64 / 100.0;
        at.iter().map(|at| shape(t - at)).sum::<f64>() as f32
    };
    (0..n).map(sample).collect()
}

/// The fixture was made by SciPy: see `write_golden` in `training/`.
#[test]
fn a_wave_comes_out_as_python_prepares_it() {
    let expected = floats(include_bytes!(
        "../../training/golden/ppg-rhythm-1.prepared.f32"
    ));
    let found = input(&given(), rate(100.0));
    assert_eq!(found.len(), N_SAMPLES);
    let pairs = found.iter().zip(&expected);
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 1e-4, "{worst:e} deviations");
}

/// The fixture was made by onnxruntime.
#[test]
fn tract_agrees_with_onnxruntime() {
    let prepared = floats(include_bytes!(
        "../../training/golden/ppg-rhythm-1.prepared.f32"
    ));
    let expected = floats(include_bytes!(
        "../../training/golden/ppg-rhythm-1.output.f32"
    ));
    let outputs = MODEL.plan.run(&prepared).unwrap();
    assert_eq!(outputs[0].len(), 7);
    for (found, expected) in outputs[0].iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
}

#[test]
fn unit_offset_and_rate_do_not_matter() {
    let given = given();
    let first = input(&given, rate(100.0));
    let other: Vec<f32> = given.iter().map(|x| 3.0e-3 * x - 70.0).collect();
    let twice: Vec<f32> = given
        .iter()
        .zip(given.iter().skip(1).chain(given.last()))
        .flat_map(|(a, b)| [*a, f32::midpoint(*a, *b)])
        .collect();
    for (other, limit) in [
        (input(&other, rate(100.0)), 2e-3),
        // A line between two samples is no sinc, and the ends are held elsewhere.
        (input(&twice, rate(200.0)), 0.1),
    ] {
        let pairs = first.iter().zip(&other);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < limit, "{worst}");
    }
}

#[test]
fn a_wave_that_points_down_is_turned_over() {
    let at: Vec<f64> = (0..14).map(|k| 0.4 + 0.72 * f64::from(k)).collect();
    let up = pulses(&at, 10.0);
    let down: Vec<f32> = up.iter().map(|x| 5e4 - 100.0 * x).collect();
    let (up, down) = (input(&up, rate(100.0)), input(&down, rate(100.0)));
    let pairs = up.iter().zip(&down);
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 2e-3, "{worst}");
}

#[test]
fn windows_lie_five_seconds_apart_from_the_end_on() {
    let of = |n, hz| input::windows(n, rate(hz)).collect::<Vec<_>>();
    assert_eq!(of(2100, 100.0), [1100..2100, 600..1600, 100..1100]);
    assert_eq!(of(999, 100.0), []);
    // 62.5 Hz: 5 s are 312.5 samples.
    assert_eq!(of(940, 62.5), [315..940, 2..627]);
}

#[test]
fn a_window_is_asked_once_and_nothing_depends_on_that() {
    let wave: Vec<f32> = given().repeat(4);
    let part = |from: usize, to: usize| {
        let mut part = stretch(wave[from..to].to_vec(), 100.0, &[]);
        part.start = SampleIndex(from as u64);
        part.end = SampleIndex(to as u64);
        part
    };
    let said = Remembered::default();
    for end in (1000..=wave.len()).step_by(500) {
        let alone = part(end.saturating_sub(3000), end);
        let shared = PulseStretch {
            said: said.clone(),
            ..alone.clone()
        };
        assert_eq!(
            MODEL.decide(&shared).unwrap(),
            MODEL.decide(&alone).unwrap()
        );
    }
    // What is remembered is taken without a look at the wave.
    let mut flat = part(1000, 4000);
    let known = MODEL.decide(&flat).unwrap();
    flat.samples.fill(0.0);
    assert!(
        !MODEL
            .decide(&PulseStretch {
                said: Remembered::default(),
                ..flat.clone()
            })
            .unwrap()
            .is_usable
    );
    assert_eq!(
        MODEL
            .decide(&PulseStretch {
                said: said.clone(),
                ..flat.clone()
            })
            .unwrap(),
        known
    );
    // Of this signal alone.
    flat.signal = SignalKind::Ppg(Wavelength::Red);
    assert!(
        !MODEL
            .decide(&PulseStretch { said, ..flat })
            .unwrap()
            .is_usable
    );
}

#[test]
fn what_is_flat_or_no_number_is_unusable_and_no_fibrillation() {
    for samples in [
        vec![0.0; 1000],
        vec![1.0e5; 1000],
        vec![f32::NAN; 1000],
        vec![f32::INFINITY; 1000],
    ] {
        match MODEL.decide(&stretch(samples, 100.0, &[])) {
            Ok(decision) => {
                assert!(!decision.is_usable);
                assert!((decision.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            }
            Err(Error::Window { field, .. }) => assert_eq!(field, "samples"),
            other => panic!("{other:?}"),
        }
    }
    let short = MODEL.decide(&stretch(vec![0.0; 999], 100.0, &[]));
    assert!(matches!(short, Err(Error::Window { .. })));
}

#[test]
fn a_regular_pulse_is_sinus_and_an_irregular_one_fibrillation() {
    let regular: Vec<f64> = (0..40).map(|k| -1.0 + 0.8 * f64::from(k)).collect();
    let mut irregular = vec![-1.0];
    for k in 0..50u32 {
        let rr = 0.46 + 0.6 * f64::from(k * k * 7 % 11) / 11.0;
        irregular.push(irregular[irregular.len() - 1] + rr);
    }
    let decide = |at: &[f64]| {
        let stretch = stretch(pulses(at, 30.0), 100.0, at.get(2..30).unwrap());
        let decision = MODEL.decide(&stretch).unwrap();
        let finding = MODEL.finding(&decision, &stretch);
        (decision, finding)
    };
    let (decision, finding) = decide(&regular);
    assert_eq!(decision.label, PulseLabel::Sinus);
    assert!(decision.is_usable && decision.probability(PulseLabel::AtrialFibrillation) < 0.1);
    let finding = finding.unwrap();
    assert_eq!(finding.label.name, "pulse_sinus_rhythm");
    assert_eq!(
        finding.evidence.text,
        "regular pulse intervals (CV 0.00), 75/min, PPG-green"
    );
    let (decision, finding) = decide(&irregular);
    assert_eq!(decision.label, PulseLabel::AtrialFibrillation);
    let finding = finding.unwrap();
    assert_eq!(finding.label, PULSE_FIBRILLATION);
    assert!(
        finding
            .evidence
            .text
            .starts_with("irregular pulse intervals")
    );
    // What is not usable says nothing, however likely.
    let hidden = PulseRhythmDecision {
        is_usable: false,
        ..decision
    };
    let stretch = stretch(pulses(&irregular, 30.0), 100.0, &[]);
    assert_eq!(MODEL.finding(&hidden, &stretch), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_samples_give_probabilities(
        samples in proptest::collection::vec(proptest::num::f32::ANY, 500..1200),
        hz in 50.0..130.0f64,
    ) {
        if let Ok(decision) = MODEL.decide(&stretch(samples, hz, &[])) {
            prop_assert!(decision.probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
            prop_assert!((0.0..=1.0).contains(&decision.usable));
        }
    }
}
