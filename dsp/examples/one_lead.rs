//! Runs QRS, rate and quality over a lead, again and again: for `tests/peers/speed.py`.
//!
//! `one_lead HZ ROUNDS < LEAD`: a lead, mV, as f32 (little-endian) in, passed so many times, each time from its start,
//! in blocks of one second as a stream brings them; out comes how many beats and usable seconds were found in all.

#![allow(clippy::print_stdout, reason = "a program that tells")]

use std::collections::VecDeque;
use std::error::Error;
use std::io::Read as _;

use dsp::Mains;
use dsp::qrs::Qrs;
use dsp::quality::QualityMeter;
use dsp::rr::RateCounter;
use ecg::{Lead, RateSource, SampleRate, SignalKind};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let rate = SampleRate::new(arguments.next().ok_or("no rate")?.parse()?)?;
    let rounds: usize = arguments.next().ok_or("no rounds")?.parse()?;
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let (words, _) = bytes.as_chunks::<4>();
    let lead: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();

    let kind = SignalKind::Ecg(Lead::II);
    let second = usize::try_from(rate.count(1.0).0)?;
    let (mut beats, mut usable, mut bpm) = (0, 0, 0.0);
    for _ in 0..rounds {
        let mut qrs = Qrs::new(kind, rate, Mains::Auto)?;
        let mut quality = QualityMeter::new(kind, rate, rate)?;
        let mut rates = RateCounter::new(RateSource::Ecg, rate);
        let mut peaks = VecDeque::new();
        for block in lead.chunks(second) {
            qrs.push(block, false, &mut peaks);
            quality.push(block, false, |quality| {
                usable += u32::from(quality.usable());
            });
            for peak in peaks.drain(..) {
                beats += 1;
                bpm = rates.push(peak).map_or(bpm, |rate| rate.bpm);
            }
        }
    }
    println!("{beats} beats, {usable} usable seconds, last rate {bpm:.0} bpm");
    Ok(())
}
