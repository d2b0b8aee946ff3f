//! What a decision on the rhythm of a pulse wave costs: `cargo bench -p infer --bench pulse_rhythm`. One thread, the shipped
//! model.

use ecg::{SampleIndex, SampleRate, SignalKind, Wavelength};
use infer::{Library, PulseStretch};

fn main() {
    divan::main();
}

/// So many seconds of pulses at 50 Hz, irregular at about 90 a minute.
#[divan::bench(args = [10, 30])]
fn decide(bencher: divan::Bencher<'_, '_>, seconds: u64) {
    let library = Library::shipped().expect("the shipped models load");
    let model = library
        .pulse_rhythm()
        .expect("a model of pulse waves ships");
    let rate = SampleRate::new(50.0).expect("a rate within the limits");
    let n = 50 * seconds;
    let peaks: Vec<u64> = (0..2 * seconds).map(|k| 33 * k + 8 * (k * k % 5)).collect();
    let bump = |at: u64, peak: u64| (-((at as f32 - peak as f32) / 6.0).powi(2)).exp();
    let sample = |at: u64| peaks.iter().map(|peak| bump(at, *peak)).sum();
    let stretch = PulseStretch {
        signal: SignalKind::Ppg(Wavelength::Green),
        start: SampleIndex(0),
        end: SampleIndex(n),
        base: rate,
        rate,
        samples: (0..n).map(sample).collect(),
        pulses: Vec::new(),
    };
    bencher
        .counter(divan::counter::ItemsCount::new(1u32))
        .bench_local(|| model.decide(divan::black_box(&stretch)));
}
