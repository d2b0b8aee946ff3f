//! What a decision on the rhythm of a pulse wave costs: `cargo bench -p infer --bench pulse_rhythm`. One thread, the shipped
//! model.

use std::sync::Arc;

use ecg::{SampleIndex, SampleRate, SignalKind, Wavelength};
use infer::pulse_rhythm::Remembered;
use infer::{Library, PulseRhythmModel, PulseStretch};

fn main() {
    divan::main();
}

fn model() -> Arc<PulseRhythmModel> {
    let library = Library::shipped().expect("the shipped models load");
    let model = library.pulse_rhythm();
    Arc::clone(model.expect("a model of pulse waves ships"))
}

/// The first seconds of pulses at 50 Hz, irregular at about 90 a minute.
fn stretch(seconds: u64, said: Remembered) -> PulseStretch {
    let rate = SampleRate::new(50.0).expect("a rate within the limits");
    let n = 50 * seconds;
    let peaks: Vec<u64> = (0..2 * seconds).map(|k| 33 * k + 8 * (k * k % 5)).collect();
    let bump = |at: u64, peak: u64| (-((at as f32 - peak as f32) / 6.0).powi(2)).exp();
    let sample = |at: u64| peaks.iter().map(|peak| bump(at, *peak)).sum();
    PulseStretch {
        signal: SignalKind::Ppg(Wavelength::Green),
        start: SampleIndex(0),
        end: SampleIndex(n),
        base: rate,
        rate,
        samples: (0..n).map(sample).collect(),
        pulses: Vec::new(),
        said,
    }
}

/// A stretch of which nothing was said before.
#[divan::bench(args = [10, 30])]
fn first(bencher: divan::Bencher<'_, '_>, seconds: u64) {
    let model = model();
    bencher
        .counter(divan::counter::ItemsCount::new(1u32))
        .with_inputs(|| stretch(seconds, Remembered::default()))
        .bench_local_values(|stretch| model.decide(&stretch));
}

/// Half a minute of which all but the last 5 s was there at the decision before, as a service asks.
#[divan::bench]
fn next(bencher: divan::Bencher<'_, '_>) {
    let model = model();
    bencher
        .counter(divan::counter::ItemsCount::new(1u32))
        .with_inputs(|| {
            let said = Remembered::default();
            let before = model.decide(&stretch(25, said.clone()));
            before.expect("25 s can be decided on");
            stretch(30, said)
        })
        .bench_local_values(|stretch| model.decide(&stretch));
}
