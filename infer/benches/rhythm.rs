//! What a decision on the rhythm costs: `cargo bench -p infer --bench rhythm`. One thread, the shipped model.

use ecg::{Beat, BeatClass, Lead, Quality, QualityReason, SampleIndex, SampleRate, SignalKind};
use infer::rhythm::{N_SAMPLES, RATE_HZ};
use infer::{Context, Library};

fn main() {
    divan::main();
}

/// Half a minute of lead II, irregular at about 90 beats a minute.
#[divan::bench]
fn decide(bencher: divan::Bencher<'_, '_>) {
    let library = Library::shipped().expect("the shipped models load");
    let model = library.rhythm().expect("a rhythm model ships");
    let rate = SampleRate::new(250.0).expect("a rate within the limits");
    let n = N_SAMPLES as u64;
    let peaks: Vec<u64> = (0..45u64)
        .map(|k| 100 + 165 * k + 40 * (k * k % 5))
        .collect();
    let bump = |at: u64, peak: u64| (-((at as f32 - peak as f32 / 2.0) / 3.0).powi(2)).exp();
    let sample = |at: u64| peaks.iter().map(|peak| bump(at, *peak)).sum();
    let samples: Vec<f32> = (0..n).map(sample).collect();
    let seconds = rate.count(n as f64 / RATE_HZ).0 / 250;
    let context = Context {
        start: SampleIndex(0),
        end: SampleIndex(2 * n),
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
                start: SampleIndex(250 * second),
                end: SampleIndex(250 * (second + 1)),
                score: 1.0,
                reason: QualityReason::Good,
            })
            .collect(),
    };
    bencher
        .counter(divan::counter::ItemsCount::new(1u32))
        .bench_local(|| model.decide(Lead::II, divan::black_box(&samples), &context));
}
