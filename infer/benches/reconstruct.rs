//! What a window costs: `cargo bench -p infer`. One thread, the shipped model.

use ecg::{Lead, SampleIndex, Window};
use infer::{Library, Reconstructor};

fn main() {
    divan::main();
}

/// Three leads of a beating heart, from II, V1 and V5 to twelve.
#[divan::bench]
fn three_leads(bencher: divan::Bencher<'_, '_>) {
    let reconstructor = Reconstructor::new(Library::shipped().expect("the shipped model loads"));
    let shape = reconstructor.window().expect("a model ships");
    let n = shape.n_samples;
    let bump = |t: f32, at: f32, width: f32| (-((t - at) / width).powi(2)).exp();
    let beat = |k: usize| {
        let t = (k % 200) as f32 / 250.0;
        bump(t, 0.3, 0.012) + 0.1 * bump(t, 0.14, 0.03) + 0.25 * bump(t, 0.55, 0.05)
    };
    let window = Window {
        start: SampleIndex(0),
        end: SampleIndex(n as u64),
        rate: shape.rate,
        leads: vec![Lead::II, Lead::V1, Lead::V5],
        samples: (0..3 * n).map(beat).collect(),
        n_samples: n,
        unusable: Vec::new(),
    };
    bencher
        .counter(divan::counter::ItemsCount::new(1u32))
        .bench_local(|| reconstructor.reconstruct(divan::black_box(&window), None));
}
