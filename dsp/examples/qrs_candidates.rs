//! What the QRS detector sees of each candidate of a lead: for `dsp/training/qrs.py`.
//!
//! `qrs_candidates HZ [WEIGHTS] < LEAD > OUT`: a lead, mV, as f32 (little-endian) in, NaN where the
//! electrode is off, infinity where a new segment begins; out come, for each candidate, its middle and
//! its R peak in samples, the log-odds, and all inputs of the networks, all f32.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use dsp::Mains;
use dsp::qrs::{Candidate, Networks, Qrs};
use ecg::{Lead, SampleIndex, SampleRate, SignalKind};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let hz: f64 = arguments.next().ok_or("no rate")?.parse()?;
    let networks = match arguments.next() {
        Some(weights) => Arc::new(Networks::new(&std::fs::read(weights)?)?),
        None => Networks::shipped(),
    };
    let (signal, rate) = (SignalKind::Ecg(Lead::II), SampleRate::new(hz)?);
    let mut qrs = Qrs::with_networks(signal, rate, Mains::Auto, networks)?.thorough();
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let (words, _) = bytes.as_chunks::<4>();
    let lead: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();

    let mut out = Vec::new();
    let mut tell = |candidate: Candidate, inputs: &[f32]| {
        let head = [
            candidate.middle.0 as f32,
            candidate.r_peak.0 as f32,
            candidate.log_odds,
        ];
        for value in head.iter().chain(inputs) {
            out.extend(value.to_le_bytes());
        }
    };
    let mut at = 0;
    for segment in lead.split_inclusive(|value| value.is_infinite()) {
        let next = at + segment.len() as u64;
        let segment = match segment {
            [segment @ .., last] if last.is_infinite() => segment,
            all => all,
        };
        qrs.reset(SampleIndex(at));
        qrs.candidates(segment, false, &mut tell);
        qrs.finish_candidates(&mut tell);
        at = next;
    }
    std::io::stdout().write_all(&out)?;
    Ok(())
}
