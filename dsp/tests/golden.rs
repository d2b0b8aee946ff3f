//! The filters against SciPy: `golden.py` made `golden.json`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use dsp::baseline::Baseline;
use dsp::diagnostic::Diagnostic;
use dsp::filter::Cascade;
use dsp::resample::{ResamplePlan, Resampler};
use ecg::{SampleIndex, SampleRate};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap())
        .collect()
}

#[test]
fn filters_agree_with_scipy() {
    let golden: Value = serde_json::from_str(include_str!("golden.json")).unwrap();
    let rate = golden["rate"].as_f64().unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let order = usize::try_from(case["order"].as_u64().unwrap()).unwrap();
        let corners = numbers(&case["corners"]);
        let kind = case["kind"].as_str().unwrap();
        let mut filter = match kind {
            "lowpass" => Cascade::lowpass(order, corners[0], rate),
            "highpass" => Cascade::highpass(order, corners[0], rate),
            "bandpass" => Cascade::bandpass(order, corners[0], corners[1], rate),
            _ => Cascade::notch(corners[0], order as f64, rate),
        }
        .unwrap();
        for (n, expected) in numbers(&case["impulse"]).iter().enumerate() {
            let found = filter.push(if n == 0 { 1.0 } else { 0.0 });
            assert!(
                (found - expected).abs() < 1e-9,
                "{kind} {order} at {n}: {found} {expected}"
            );
        }
        // SciPy orders its sections otherwise; the poles are the same ones.
        let poles = |sos: &[f64]| [sos[4], sos[5]];
        let mut ours: Vec<_> = filter.sos().iter().map(|section| poles(section)).collect();
        let mut theirs: Vec<_> = case["sos"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| poles(&numbers(s)))
            .collect();
        ours.sort_by(|a, b| a.partial_cmp(b).unwrap());
        theirs.sort_by(|a, b| a.partial_cmp(b).unwrap());
        if order % 2 == 0 || kind == "notch" {
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert!(
                    (ours[0] - theirs[0]).abs() < 1e-8 && (ours[1] - theirs[1]).abs() < 1e-8,
                    "{kind} {order}: {ours:?} {theirs:?}"
                );
            }
        }
    }
}

/// The whole of `x`, as the diagnostic path gives it.
fn diagnostic(x: &[f32], rate: SampleRate) -> Vec<f32> {
    let mut path = Diagnostic::new(rate, SampleIndex(0));
    let mut out = Vec::new();
    path.push(x, &mut out);
    path.finish(&mut out);
    out
}

/// The whole of `x`, as the monitor path gives it, at 250 Hz.
fn monitor(x: &[f32], rate: SampleRate) -> Vec<f32> {
    let shown = SampleRate::new(250.0).unwrap();
    let plan = Arc::new(ResamplePlan::new(rate, shown));
    let mut resampler = Resampler::new(plan, SampleIndex(0));
    let mut baseline = Baseline::new(shown, SampleIndex(0));
    let (mut resampled, mut out) = (Vec::new(), Vec::new());
    resampler.push(x, &mut resampled);
    resampler.finish(&mut resampled);
    baseline.push(&resampled, &mut out);
    baseline.finish(&mut out);
    out
}

#[test]
fn paths_agree_with_scipy() {
    let golden: Value = serde_json::from_str(include_str!("golden.json")).unwrap();
    let whole = |case: &Value, key: &str| usize::try_from(case[key].as_u64().unwrap()).unwrap();
    for case in golden["paths"].as_array().unwrap() {
        let hz = case["rate"].as_f64().unwrap();
        let rate = SampleRate::new(hz).unwrap();
        let (name, kind) = (
            case["path"].as_str().unwrap(),
            case["kind"].as_str().unwrap(),
        );
        let at = whole(case, "at");
        let x: Vec<f32> = (0..whole(case, "n"))
            .map(|n| f32::from(u8::from(n == at || n > at && kind == "step")))
            .collect();
        let y = if name == "monitor" {
            monitor(&x, rate)
        } else {
            diagnostic(&x, rate)
        };
        let first = whole(case, "first");
        for (n, expected) in numbers(&case["out"]).iter().enumerate() {
            let found = f64::from(y[first + n]);
            assert!(
                (found - expected).abs() < 1e-6,
                "{name} {kind} at {hz} Hz, {n}: {found} {expected}"
            );
        }
    }
}

/// What passes of a wave of `wave` Hz, and how much later it comes out, s: sine and cosine fitted
/// to the middle of the output.
fn response(name: &str, hz: f64, wave: f64) -> (f64, f64) {
    let rate = SampleRate::new(hz).unwrap();
    let turn = std::f64::consts::TAU * wave;
    // Whole periods are fitted, after the baseline has settled.
    let seconds = (6.0 / wave).ceil().max(6.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small"
    )]
    let x: Vec<f32> = (0..((seconds + 50.0) * hz) as usize)
        .map(|n| (turn * n as f64 / hz).sin() as f32)
        .collect();
    let (y, out_hz) = match name {
        "monitor" => (monitor(&x, rate), 250.0),
        _ => (diagnostic(&x, rate), hz),
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small"
    )]
    let (from, n) = (
        (40.0 * out_hz) as usize,
        ((seconds * wave).floor() / wave * out_hz).round() as usize,
    );
    let (mut s, mut c) = (0.0, 0.0);
    for (n, y) in y.iter().enumerate().skip(from).take(n) {
        let angle = turn * n as f64 / out_hz;
        s += 2.0 * f64::from(*y) * angle.sin();
        c += 2.0 * f64::from(*y) * angle.cos();
    }
    let (s, c) = (s / n as f64, c / n as f64);
    (s.hypot(c), -c.atan2(s) / turn)
}

/// Where the gain passes a half of the power, between `low` and `high` Hz.
fn corner(name: &str, hz: f64, mut low: f64, mut high: f64) -> f64 {
    let rising = response(name, hz, high).0 > 0.7;
    for _ in 0..11 {
        let middle = f64::midpoint(low, high);
        if (response(name, hz, middle).0 < 0.5f64.sqrt()) == rising {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// The rows of the table in `docs/filters.md`, by measurement: the code, not its design, is asked.
fn table() -> Vec<String> {
    let mut rows = Vec::new();
    for name in ["diagnostic", "monitor"] {
        for hz in [250.0, 360.0, 500.0, 1000.0] {
            let (low, high) = match name {
                "monitor" => (corner(name, hz, 0.1, 2.0), corner(name, hz, 30.0, 60.0)),
                _ => (
                    corner(name, hz, 0.02, 0.2),
                    corner(name, hz, 60.0, 0.45 * hz.min(400.0)),
                ),
            };
            // A fifth of an octave apart.
            let inner: Vec<f64> = (0..60)
                .map(|k| 1.0 * 2f64.powf(f64::from(k) / 5.0))
                .take_while(|wave| *wave <= 0.7 * high)
                .map(|wave| response(name, hz, wave).0)
                .collect();
            let least = inner.iter().copied().fold(f64::MAX, f64::min);
            let most = inner.iter().copied().fold(0.0, f64::max);
            let mains: Vec<String> = [50.0, 60.0]
                .map(|wave| format!("{:.3}", response(name, hz, wave).0))
                .to_vec();
            // No minus zero.
            let late = |wave: f64| (1e4 * response(name, hz, wave).1).round() / 10.0 + 0.0;
            rows.push(format!(
                "| {name} | {hz} | {low:.2} | {high:.1} | {least:.3} to {most:.3} | {} | {} | {:.1} | {:.1} |",
                mains[0],
                mains[1],
                late(1.0),
                late(10.0),
            ));
        }
    }
    rows
}

#[test]
fn the_documented_responses_are_those_of_the_code() {
    let rows = table();
    let documented = include_str!("../../docs/filters.md");
    for row in &rows {
        assert!(
            documented.contains(row),
            "docs/filters.md lacks a row of\n{rows:#?}"
        );
    }
}
