//! Whether the classifiers of a folder give here what they gave where they were exported, and how long they take:
//! `cargo run --release -p infer --example parity -- FOLDER`.
//!
//! Beside `NAME.onnx` and `NAME.toml` lies `NAME.output.f32`: what the exporter's runtime made of sample `k` of lead
//! `l` being `(k * (7 + l) % 401 - 200) / 100`, as `einthoven_training.net1d` writes it. Fails above 1e-4 of the largest
//! output.

#![expect(clippy::disallowed_methods, reason = "a stopwatch")]
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("which folder?")?;
    let folder = Path::new(&folder);
    let start = Instant::now();
    let library = infer::Library::load(folder)?;
    println!("loaded in {:.1} s", start.elapsed().as_secs_f64());
    for (classifier, manifest) in library.classifiers().iter().zip(library.manifests()) {
        let n = classifier.form().input.n_samples;
        let value = |k: usize| ((k % n * (7 + k / n) % 401) as f32 - 200.0) / 100.0;
        let given: Vec<f32> = (0..classifier.form().leads.len() * n).map(value).collect();
        let found = classifier.logits(&given)?;
        let start = Instant::now();
        let runs = 10;
        for _ in 0..runs {
            classifier.logits(&given)?;
        }
        let ms = start.elapsed().as_secs_f64() * 1e3 / f64::from(runs);
        let name = &manifest.model.name;
        let file = Path::new(&manifest.onnx_file).with_extension("output.f32");
        let bytes = std::fs::read(folder.join(&file))?;
        let (words, _) = bytes.as_chunks::<4>();
        if words.len() != found.len() {
            return Err(format!(
                "{}: {} values of {}",
                file.display(),
                words.len(),
                found.len()
            )
            .into());
        }
        let expected = words.iter().map(|word| f32::from_le_bytes(*word));
        let largest = expected.clone().map(f32::abs).fold(0.0, f32::max);
        let pairs = found.iter().zip(expected);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
        println!("{name}: off by {worst:.1e} of the largest output, {ms:.1} ms a window");
        if worst.is_nan() || worst > 1e-4 {
            return Err("they differ".into());
        }
    }
    Ok(())
}
