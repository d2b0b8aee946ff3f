//! What one second of twelve leads at 250 Hz, with a PPG at 100 Hz, costs: a load test simulates thousands of devices.

use divan::Bencher;
use ecg::simulate::{Noise, Rhythm, Scenario, Simulator};
use ecg::{SampleCount, SampleRate};

fn main() {
    divan::main();
}

fn second(bencher: Bencher<'_, '_>, rhythm: Rhythm, noise: Noise) {
    let rate = SampleRate::new(250.0).expect("a valid rate");
    let scenario = Scenario {
        rhythms: vec![(rhythm, f64::INFINITY)],
        noise,
        ppg_rate: Some(SampleRate::new(100.0).expect("a valid rate")),
        ..Scenario::new(1, rate)
    };
    let mut simulator = Simulator::new(&scenario).expect("a valid scenario");
    bencher.bench_local(|| simulator.advance(SampleCount(250)));
}

#[divan::bench]
fn sinus_without_noise(bencher: Bencher<'_, '_>) {
    second(bencher, Rhythm::Sinus { bpm: 75.0 }, Noise::NONE);
}

#[divan::bench]
fn sinus_at_rest(bencher: Bencher<'_, '_>) {
    second(bencher, Rhythm::Sinus { bpm: 75.0 }, Noise::REST);
}

#[divan::bench]
fn atrial_fibrillation_ambulatory(bencher: Bencher<'_, '_>) {
    let rhythm = Rhythm::AtrialFibrillation { bpm: 110.0 };
    second(bencher, rhythm, Noise::AMBULATORY);
}

#[divan::bench]
fn ventricular_fibrillation_ambulatory(bencher: Bencher<'_, '_>) {
    second(bencher, Rhythm::VentricularFibrillation, Noise::AMBULATORY);
}
