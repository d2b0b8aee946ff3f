use std::sync::{Arc, LazyLock};

use ecg::{SignalKind, Wavelength};
use proptest::prelude::*;

use super::input::{N_AROUND, N_CHANNELS};
use super::*;
use crate::Library;
use crate::pulse_rhythm::Remembered;

static MODEL: LazyLock<Arc<SurrogateModel>> =
    LazyLock::new(|| Library::shipped().unwrap().surrogate().unwrap().clone());

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// 10 s at 100 Hz.
fn wave() -> Vec<f32> {
    floats(include_bytes!(
        "../../training/golden/ppg-rhythm-1.input.f32"
    ))
}

/// A stretch at a base rate of 1000 Hz.
fn stretch(samples: Vec<f32>, hz: f64, pulses: &[f64]) -> PulseStretch {
    let [base, rate] = [1000.0, hz].map(|hz| SampleRate::new(hz).unwrap());
    let start = SampleIndex(7000);
    PulseStretch {
        signal: SignalKind::Ppg(Wavelength::Green),
        start,
        end: start.after(base.count(samples.len() as f64 / hz)),
        base,
        rate,
        samples,
        pulses: pulses
            .iter()
            .map(|seconds| start.after(base.count(*seconds)))
            .collect(),
        said: Remembered::default(),
    }
}

/// The pulses of the fixtures.
fn regular() -> Vec<f64> {
    (0..12).map(|k| 0.37 + 0.8 * f64::from(k)).collect()
}

/// Where a trace is highest within each second pulse's neighbourhood, s.
fn highest(trace: &Synthetic, from: f64, to: f64) -> f64 {
    let n = |seconds: f64| usize::try_from(trace.rate().count(seconds).0).unwrap();
    let part = &trace.millivolts()[n(from)..n(to)];
    let at = (0..part.len()).max_by(|a, b| part[*a].total_cmp(&part[*b]));
    from + at.unwrap() as f64 / trace.rate().hz()
}

/// The fixture was made by Python: see `write_golden` in `training/`.
#[test]
fn a_pulse_is_seen_as_python_sees_it() {
    let expected = floats(include_bytes!("../../training/golden/ppg-ecg-1.input.f32"));
    let pulses = input::pulses(&stretch(wave(), 100.0, &regular())).unwrap();
    assert_eq!(expected.len(), pulses.len() * N_CHANNELS * N_AROUND);
    for (pulse, expected) in pulses.iter().zip(expected.chunks(N_CHANNELS * N_AROUND)) {
        let pairs = pulse.seen.iter().zip(expected);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{worst:e} at {} s", pulse.onset);
    }
}

/// The fixture was made by onnxruntime.
#[test]
fn tract_agrees_with_onnxruntime() {
    let given = floats(include_bytes!("../../training/golden/ppg-ecg-1.input.f32"));
    let expected = floats(include_bytes!("../../training/golden/ppg-ecg-1.output.f32"));
    let rows = expected.chunks(2 * (1 + N_BEAT));
    assert_eq!(rows.len(), 12);
    for (given, expected) in given.chunks(N_CHANNELS * N_AROUND).zip(rows) {
        for (found, expected) in MODEL.ask(given).unwrap().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    }
}

#[test]
fn a_beat_is_drawn_before_each_pulse() {
    let stretch = stretch(wave(), 100.0, &regular());
    let arrival = f64::from(MODEL.form().arrival_seconds);
    for (beats, most) in [(Beats::Model, MOST_LATE + 0.01), (Beats::Template, 0.01)] {
        let trace = MODEL.draw(&stretch, beats).unwrap();
        assert_eq!(trace.millivolts().len(), 2500);
        assert_eq!((trace.start(), trace.end()), (stretch.start, stretch.end));
        assert_eq!(trace.model().name, "ppg-ecg-1");
        for onset in &regular()[1..] {
            let due = onset - arrival;
            let at = highest(&trace, due - 0.3, due + 0.3);
            assert!((at - due).abs() <= most, "{beats:?}: {at} for {due}");
        }
    }
}

#[test]
fn the_same_stretch_gives_the_same_trace_whatever_its_unit() {
    let [first, again] = [(); 2].map(|()| stretch(wave(), 100.0, &regular()));
    let draw = |stretch: &PulseStretch| MODEL.draw(stretch, Beats::Model).unwrap();
    assert_eq!(draw(&first), draw(&again));
    let scaled = wave().iter().map(|x| 3.0e-3 * x - 70.0).collect();
    let other = draw(&stretch(scaled, 100.0, &regular()));
    let first = draw(&first);
    let pairs = first.millivolts().iter().zip(other.millivolts());
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 0.02, "{worst} mV");
}

#[test]
fn without_pulses_nothing_is_drawn_and_a_short_stretch_is_refused() {
    let flat = MODEL.draw(&stretch(wave(), 100.0, &[]), Beats::Model);
    assert!(flat.unwrap().millivolts().iter().all(|x| *x == 0.0));
    let short = MODEL.draw(&stretch(vec![0.0; 999], 100.0, &[1.0]), Beats::Model);
    assert!(matches!(short, Err(Error::Window { .. })));
}

#[test]
fn of_a_long_stretch_every_pulse_is_drawn() {
    let long = wave().repeat(3);
    let onsets: Vec<f64> = (0..37).map(|k| 0.37 + 0.8 * f64::from(k)).collect();
    let pulses = input::pulses(&stretch(long, 100.0, &onsets)).unwrap();
    assert_eq!(pulses.len(), onsets.len());
    for pulse in &pulses[1..] {
        assert!((pulse.before - 0.8).abs() < 1e-9);
        assert!((pulse.seen[N_AROUND + N_AROUND / 2] - 1.0).abs() < 1e-6);
    }
}

#[test]
fn a_fast_beat_is_shorter_and_fades_into_the_next() {
    let beat = |at, interval| lay::Beat {
        at,
        interval,
        samples: vec![1.0; N_BEAT],
    };
    let width = |interval| {
        let trace = lay::lay(&[beat(2.0, interval)], 4.0);
        trace.iter().filter(|x| **x > 0.5).count() as f64 / RATE_HZ
    };
    // 0.852 s between the middles of its fading ends, all but 0.12 s of which stretch.
    assert!((width(1.0) - 0.852).abs() < 0.01, "{}", width(1.0));
    assert!((width(0.49) - (0.12 + 0.7 * 0.732)).abs() < 0.01);
    let both = lay::lay(&[beat(2.0, 0.6), beat(2.5, 0.5)], 4.0);
    assert!(both.iter().all(|x| *x <= 1.0 + 1e-6));
    let between = &both[500..625];
    assert!(between.iter().all(|x| *x > 0.6), "{between:?}");
    // Beats beyond the ends of a trace are cut.
    assert_eq!(lay::lay(&[beat(-0.1, 1.0), beat(1.1, 1.0)], 1.0).len(), 250);
}

#[test]
fn a_manifest_outside_its_limits_is_refused() {
    let text = include_str!("../../models/ppg-ecg-1.toml");
    for (from, to, field) in [
        ("n_samples = 128", "n_samples = 64", "input.n_samples"),
        ("n_samples = 116", "n_samples = 115", "output.n_samples"),
        ("channels = 4", "channels = 2", "input.channels"),
        ("before = 40", "before = 4", "output.before"),
        ("rate_hz = 50.0", "rate_hz = 25.0", "input.rate_hz"),
        ("rate_hz = 125.0", "rate_hz = 25.0", "output.rate_hz"),
        ("clip = 6.0", "clip = 7.0", "input.clip"),
        (
            "arrival_seconds = 0.25",
            "arrival_seconds = nan",
            "output.arrival_seconds",
        ),
        ("[0.5, 8.0]", "[0.5, 9.0]", "input.band_hz"),
        ("[1, wave", "[2, wave", "input.layout"),
        ("[1, model", "[2, model", "output.layout"),
    ] {
        let other = text.replacen(from, to, 1);
        assert_ne!(other, text, "{from}");
        match crate::Manifest::parse("m.toml", &other) {
            Err(Error::Manifest { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{to}: {other:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_samples_and_pulses_give_millivolts(
        samples in proptest::collection::vec(proptest::num::f32::ANY, 400..1200),
        hz in 40.0..130.0f64,
        pulses in proptest::collection::vec(0u64..40_000, 0..30),
    ) {
        let mut stretch = stretch(samples, hz, &[]);
        stretch.pulses = pulses.into_iter().map(SampleIndex).collect();
        stretch.pulses.sort_unstable();
        if let Ok(trace) = MODEL.draw(&stretch, Beats::Model) {
            prop_assert!(trace.millivolts().iter().all(|x| x.is_finite()));
        }
    }
}
