//! The filters against SciPy: `golden.py` made `golden.json`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use dsp::filter::Cascade;
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
