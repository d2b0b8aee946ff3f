//! Beats per second through the delineator: one lead at 250 Hz, a beat each 0.8 s, with the filter
//! that brings it to 125 Hz.
//!
//! `cargo bench -p dsp --bench delineate`

use divan::Bencher;
use divan::counter::ItemsCount;
use dsp::delineate::Delineator;
use ecg::{Lead, SampleIndex, SampleRate, SignalKind};

const RATE: u64 = 250;
/// A second of samples.
const BLOCK: usize = 250;
const SECONDS: u64 = 600;
const PERIOD: u64 = 200;

fn main() {
    divan::main();
}

fn sample(n: u64) -> f32 {
    let phase = (n % PERIOD) as f32 - 100.0;
    let wave = |at: f32, width: f32| (-((phase - at) / width).powi(2)).exp();
    0.1 * wave(-40.0, 8.0) + wave(0.0, 4.0) + 0.2 * wave(60.0, 15.0)
}

#[divan::bench]
fn one_lead(bencher: Bencher<'_, '_>) {
    let samples: Vec<f32> = (0..SECONDS * RATE).map(sample).collect();
    let rate = SampleRate::new(RATE as f64).expect("within the limits");
    let kind = SignalKind::Ecg(Lead::II);
    bencher
        .counter(ItemsCount::new(SECONDS * RATE / PERIOD))
        .with_inputs(|| Delineator::new(kind, rate).expect("the rate will do"))
        .bench_values(|mut delineator| {
            let mut out = Vec::new();
            let mut beats = (0..)
                .map(|k| SampleIndex(PERIOD * k + PERIOD / 2))
                .peekable();
            for (k, block) in (1u64..).zip(samples.chunks(BLOCK)) {
                while let Some(beat) = beats.next_if(|beat| beat.0 + RATE / 2 < k * RATE) {
                    delineator.beat(beat);
                }
                delineator.push(block, false);
                delineator.take(&mut out);
                out.clear();
            }
            delineator
        });
}
