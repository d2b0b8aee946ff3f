//! The breath of simulated patients, told from their PPG.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the table of the documentation")]

use dsp::respiration::Respiration;
use dsp::{Chain, Config, Output};
use ecg::simulate::{Noise, Rhythm, Scenario, record};
use ecg::{
    Block, Layout, SampleIndex, SampleRate, SignalBlock, SignalKind, SignalSpec, Wavelength,
};

/// What is told in the windows of two minutes of a patient who breathes so often: how far off each is, `None` where nothing is
/// told, and the quality.
fn errors(seed: u64, breaths: f64, bpm: f64, noise: Noise) -> Vec<(Option<f64>, f32)> {
    let rate = SampleRate::new(100.0).unwrap();
    let scenario = Scenario {
        ppg_rate: Some(rate),
        noise,
        breaths_per_minute: Some(breaths),
        rhythms: vec![(Rhythm::Sinus { bpm }, f64::INFINITY)],
        ..Scenario::new(seed, rate)
    };
    let segment = record(&scenario, 120.0).unwrap();
    let spec = SignalSpec {
        kind: SignalKind::Ppg(Wavelength::Green),
        rate,
    };
    let layout = Layout::new(&[spec]).unwrap();
    let mut chain = Chain::new(&layout, &Config::default()).unwrap();
    let mut respiration = Respiration::new(SampleIndex(0), rate);
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    for (second, samples) in (0..).zip(segment.ppg.chunks(100)) {
        let signals = vec![SignalBlock {
            samples: samples.to_vec(),
            lead_off: false,
        }];
        let start = SampleIndex(second * 100);
        chain.push(&Block { start, signals }, &mut out);
        for output in out.drain(..) {
            match output {
                Output::Pulse(pulse) => respiration.pulse(&pulse),
                Output::Decided(until) => respiration.decided(until, |told| {
                    let found = told.per_minute.map(f64::from);
                    errors.push((found.map(|found| (found - breaths).abs()), told.quality));
                }),
                _ => {}
            }
        }
    }
    errors
}

/// The median, and what nine in ten are below.
fn quantiles(errors: impl Iterator<Item = f64>) -> (usize, f64, f64) {
    let mut errors: Vec<f64> = errors.collect();
    errors.sort_by(f64::total_cmp);
    let n = errors.len();
    (n, errors[n / 2], errors[n * 9 / 10])
}

#[test]
fn the_breath_of_simulated_patients_is_told() {
    for (noise, least, most) in [(Noise::REST, 0.5, 0.3), (Noise::AMBULATORY, 0.1, 1.0)] {
        for breaths in [8.0, 12.0, 16.0, 20.0, 24.0, 30.0] {
            let patients = (0..6).flat_map(|seed| [64.0, 80.0, 100.0].map(|bpm| (seed, bpm)));
            let windows: Vec<(Option<f64>, f32)> = patients
                .flat_map(|(seed, bpm)| errors(seed, breaths, bpm, noise))
                .collect();
            let (n, median, ninety) = quantiles(windows.iter().filter_map(|(error, _)| *error));
            let share = n as f64 / windows.len() as f64;
            println!("{breaths}: told {share:.2}, error {median:.2}, 90 % {ninety:.2}");
            assert!(n > 0 && median < 0.3, "{breaths}: {median}");
            // 30 a minute are near half of a pulse of 64.
            assert!(share > least || breaths > 24.0, "{breaths}: {share}");
            assert!(ninety < most || breaths > 20.0, "{breaths}: {ninety}");
        }
    }
}
