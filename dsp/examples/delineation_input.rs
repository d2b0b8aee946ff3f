//! What the delineator sees of a lead before windows are cut: for `dsp/training/delineate.py`.
//!
//! `delineation_input HZ < LEAD > OUT`: a lead as f32 (little-endian, about 1 mV high) in; out come the
//! number of samples at 125 Hz (u64), these (f32), and the R peaks in samples at 125 Hz (f64). As in
//! `einthoven evaluate delineate`, the detector hears the lead twice, and the second time counts.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use dsp::Mains;
use dsp::qrs::Qrs;
use dsp::resample::{ResamplePlan, Resampler};
use ecg::{Lead, SampleIndex, SampleRate, SignalKind};

fn main() -> Result<(), Box<dyn Error>> {
    let hz: f64 = std::env::args().nth(1).ok_or("no rate")?.parse()?;
    let (rate, window_rate) = (SampleRate::new(hz)?, SampleRate::new(125.0)?);
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let (words, _) = bytes.as_chunks::<4>();
    let lead: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();

    let mut qrs = Qrs::new(SignalKind::Ecg(Lead::II), rate, Mains::Auto)?;
    let mut peaks = VecDeque::new();
    qrs.push(&lead, false, &mut peaks);
    qrs.push(&lead, false, &mut peaks);
    qrs.finish(&mut peaks);

    let plan = Arc::new(ResamplePlan::new(rate, window_rate));
    let mut resampler = Resampler::new(plan, SampleIndex(0));
    let mut samples = Vec::new();
    resampler.push(&lead, &mut samples);
    resampler.finish(&mut samples);

    let mut out = (samples.len() as u64).to_le_bytes().to_vec();
    out.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
    let start = lead.len() as u64;
    for peak in peaks.iter().filter(|peak| peak.0 >= start) {
        out.extend(((peak.0 - start) as f64 * 125.0 / hz).to_le_bytes());
    }
    std::io::stdout().write_all(&out)?;
    Ok(())
}
