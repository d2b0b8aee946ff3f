//! Variability against numpy and scipy; `hrv.py` writes the values.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use dsp::hrv;
use ecg::{Beat, SampleIndex, SampleRate};
use serde_json::Value;

#[test]
fn measures_agree_with_scipy() {
    let golden: Value = serde_json::from_str(include_str!("hrv.json")).unwrap();
    let rate = SampleRate::new(golden["hz"].as_f64().unwrap()).unwrap();
    for case in golden["cases"].as_array().unwrap() {
        let beat = |peak: &Value| Beat {
            r_peak: SampleIndex(peak.as_u64().unwrap()),
            class: None,
        };
        let beats: Vec<Beat> = case["peaks"].as_array().unwrap().iter().map(beat).collect();
        let found = hrv::measures(&beats, &[], rate).unwrap();
        assert_eq!(found.n_nn, beats.len() - 1);
        for (name, value) in [
            ("mean_nn_ms", Some(found.mean_nn_ms)),
            ("sdnn_ms", Some(found.sdnn_ms)),
            ("rmssd_ms", found.rmssd_ms),
            ("pnn50_percent", found.pnn50_percent),
            ("lf_ms2", found.lf_ms2),
            ("hf_ms2", found.hf_ms2),
            ("lf_hf", found.lf_hf),
            ("sample_entropy", found.sample_entropy),
        ] {
            let (value, expected) = (value.unwrap(), case[name].as_f64().unwrap());
            let error = (value - expected).abs() / expected.abs().max(1.0);
            assert!(error < 1e-9, "{name}: {value} {expected}");
        }
    }
}
