use std::sync::{Arc, LazyLock};

use ecg::{Beat, BeatClass, Quality, QualityReason, SampleRate, SignalKind};
use proptest::prelude::*;

use super::*;
use crate::Library;

static MODEL: LazyLock<Arc<RhythmModel>> =
    LazyLock::new(|| Library::shipped().unwrap().rhythm().unwrap().clone());

fn shipped() -> &'static RhythmModel {
    &MODEL
}

fn context(seconds: u64, peaks: &[u64]) -> Context {
    let rate = SampleRate::new(250.0).unwrap();
    Context {
        start: SampleIndex(0),
        end: SampleIndex(seconds * 250),
        rate,
        leads: vec![Lead::II],
        beats: peaks
            .iter()
            .map(|at| Beat {
                r_peak: SampleIndex(*at),
                class: Some(BeatClass::N),
            })
            .collect(),
        measurements: Vec::new(),
        quality: (0..seconds)
            .map(|second| Quality {
                signal: SignalKind::Ecg(Lead::II),
                start: SampleIndex(second * 250),
                end: SampleIndex(second * 250 + 250),
                score: 1.0,
                reason: QualityReason::Good,
            })
            .collect(),
    }
}

fn number(numbers: &[f32; N_FEATURES], name: &str) -> f32 {
    numbers[NAMES.iter().position(|other| *other == name).unwrap()]
}

/// The fixture was made by onnxruntime: see `write_golden` in `training/`.
#[test]
fn tract_agrees_with_onnxruntime() {
    let floats = |bytes: &[u8]| -> Vec<f32> {
        let (words, _) = bytes.as_chunks::<4>();
        words.iter().map(|word| f32::from_le_bytes(*word)).collect()
    };
    let input = floats(include_bytes!("../../training/golden/rhythm-1.input.f32"));
    let expected = floats(include_bytes!("../../training/golden/rhythm-1.output.f32"));
    let outputs = shipped().plan.run(&input).unwrap();
    assert_eq!(outputs[0].len(), 4);
    for (found, expected) in outputs[0].iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{found} {expected}");
    }
}

#[test]
fn numbers_of_a_regular_rhythm() {
    let peaks: Vec<u64> = (0..20).map(|k| 100 + 250 * k).collect();
    let numbers = features(Lead::II, &context(20, &peaks));
    for (name, expected) in [
        ("seconds", 20.0),
        ("usable", 1.0),
        ("rate", 60.0),
        ("rr_cv", 0.0),
        ("rr_alike", 1.0),
        ("premature", 0.0),
        ("nn", 1.0),
        ("halves", 0.0),
        ("measured", 0.0),
    ] {
        let found = number(&numbers, name);
        assert!((found - expected).abs() < 1e-6, "{name}: {found}");
    }
    assert!(number(&numbers, "p").is_nan());
}

#[test]
fn ectopic_beats_do_not_make_normal_ones_irregular() {
    // Every fourth beat comes early, with a pause after it.
    let early = |k: u64| if k % 4 == 3 { 80 } else { 0 };
    let peaks: Vec<u64> = (0..28).map(|k| 100 + 250 * k - early(k)).collect();
    let mut context = context(30, &peaks);
    for beat in context.beats.iter_mut().skip(3).step_by(4) {
        beat.class = Some(BeatClass::V);
    }
    let numbers = features(Lead::II, &context);
    assert!(number(&numbers, "rr_cv") > 0.2);
    assert!(number(&numbers, "nn_cv") < 1e-6);
    assert!((number(&numbers, "v") - 0.25).abs() < 1e-6);
}

#[test]
fn the_tensor_ends_with_the_stretch() {
    let context = context(10, &[1000, 1250, 1500]);
    let samples: Vec<f32> = (0..1250).map(|k| 0.001 * (k % 125) as f32).collect();
    let (values, _) = input(Lead::II, &samples, &context);
    assert_eq!(values.len(), N_INPUT);
    assert!(values[..N_SAMPLES - 1250].iter().all(|value| *value == 0.0));
    assert!((values[N_SAMPLES - 1] - 1.0).abs() < 1e-6);
    let beats = &values[N_SAMPLES + 2 * 480..N_SAMPLES + 3 * 480];
    let places: Vec<usize> = (0..480).filter(|k| beats[*k] > 0.5).collect();
    // 6, 5 and 4 s before the end, in steps of 8 samples at 125 Hz.
    assert_eq!(places, [386, 401, 417]);
}

#[test]
fn seconds_that_are_not_usable_are_not_shown() {
    let mut context = context(10, &[]);
    context.quality[9].score = 0.1;
    let (values, _) = input(Lead::II, &[0.5; 1250], &context);
    assert!(values[N_SAMPLES - 125..N_SAMPLES].iter().all(|v| *v == 0.0));
    assert!((values[N_SAMPLES - 126] - 1.0).abs() < 1e-6);
}

#[test]
fn a_finding_says_what_it_rests_on() {
    let peaks: Vec<u64> = (0..25).map(|k| 100 + 250 * k).collect();
    let context = context(30, &peaks);
    let model = shipped();
    let decision = RhythmDecision {
        start: context.start,
        end: context.end,
        lead: Lead::II,
        probabilities: [0.1, 0.8, 0.1, 0.0],
        label: RhythmLabel::AtrialFibrillation,
        numbers: features(Lead::II, &context),
    };
    let finding = model.finding(&decision, &context).unwrap();
    assert_eq!(finding.label.snomed, Some(164889003));
    assert_eq!(finding.probability, Some(0.8));
    assert_eq!(finding.evidence.text, "regular RR (CV 0.00), 60/min");
    assert_eq!(finding.evidence.beats.len(), 25);
    let unsure = RhythmDecision {
        probabilities: [0.3, 0.4, 0.3, 0.0],
        ..decision.clone()
    };
    assert_eq!(model.finding(&unsure, &context), None);
    let noisy = RhythmDecision {
        label: RhythmLabel::Noisy,
        ..decision
    };
    assert_eq!(model.finding(&noisy, &context), None);
}

#[test]
fn nothing_at_all_is_decided_too() {
    let empty = Context {
        end: SampleIndex(0),
        quality: Vec::new(),
        ..context(0, &[])
    };
    let decision = shipped().decide(Lead::II, &[], &empty).unwrap();
    assert!((decision.probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_makes_it_panic_or_say_what_is_no_probability(
        samples in prop::collection::vec(prop_oneof![
            Just(f32::NAN), Just(f32::INFINITY), Just(f32::MAX), -5.0f32..5.0,
        ], 0..5000),
        mut peaks in prop::collection::vec(0u64..9000, 0..200),
        (start, end) in (0u64..8000, 0u64..8000),
        score in prop_oneof![Just(f32::NAN), 0.0f32..1.0],
    ) {
        peaks.sort_unstable();
        let mut context = context(30, &peaks);
        (context.start, context.end) = (SampleIndex(start), SampleIndex(end));
        context.quality.iter_mut().for_each(|quality| quality.score = score);
        let decision = shipped().decide(Lead::II, &samples, &context).unwrap();
        let within = |p: &f32| (0.0..=1.0).contains(p);
        prop_assert!(decision.probabilities.iter().all(within));
        shipped().finding(&decision, &context);
    }
}
