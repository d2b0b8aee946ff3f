//! What the pulse detector measures of a signal: for `dsp/training/pulse.py`.
//!
//! `pulse_measures HZ [WEIGHTS] < SIGNALS > OUT`: any number of signals one after the other, each as its number of samples
//! (u64) and its samples (f32, little-endian), in; out come for each the numbers of upstrokes and of seconds (u64), then for each
//! upstroke its second, what the weights say of it and its measures, and for each second its number and its measures (f32).

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use dsp::pulse::{Measured, Model, PulseDetector};
use ecg::{SampleRate, SignalKind};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rate = SampleRate::new(arguments.next().ok_or("no rate")?.parse()?)?;
    let model = match arguments.next() {
        Some(path) => Model::new(&std::fs::read(path)?)?,
        None => Model::silent(),
    };
    let model = Arc::new(model);
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let mut rest = &bytes[..];
    let mut out = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let n = usize::try_from(u64::from_le_bytes(*head))?;
        let (signal, tail) = tail.split_at(4 * n);
        rest = tail;
        let (words, _) = signal.as_chunks::<4>();
        let signal: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        // As a pressure, which is never turned over: what is learnt from points up.
        let mut detector = PulseDetector::with_model(SignalKind::Abp, rate, Arc::clone(&model))?;
        let (mut upstrokes, mut seconds) = (Vec::new(), Vec::new());
        detector.push_measured(
            &signal,
            false,
            |_| {},
            |measured| match measured {
                Measured::Upstroke(at, opinion, measures) => {
                    #[expect(clippy::cast_possible_truncation, reason = "records are short")]
                    upstrokes.extend([at as f32, opinion]);
                    upstrokes.extend(measures);
                }
                Measured::Second(second, measures) => {
                    seconds.push(second as f32);
                    seconds.extend(measures);
                }
            },
        );
        let rows = |values: &[f32], measures: usize| (values.len() / measures) as u64;
        out.extend(rows(&upstrokes, 2 + dsp::pulse::N_MEASURES).to_le_bytes());
        out.extend(rows(&seconds, 1 + dsp::pulse::N_CLARITY).to_le_bytes());
        for value in upstrokes.iter().chain(&seconds) {
            out.extend(value.to_le_bytes());
        }
    }
    std::io::stdout().write_all(&out)?;
    Ok(())
}
