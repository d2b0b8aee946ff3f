//! What the quality meter measures of a lead: for `dsp/training/quality.py`.
//!
//! `quality_input HZ < LEADS > OUT`: any number of leads one after the other, each as its number of samples
//! (u64) and its samples (f32 mV, little-endian), in; out come for each the number of whole seconds and of
//! beats (u64), then for each second its score, 1 where a rule had the say (electrode off, flat,
//! saturated), what its score is made of (f32), then the beats in samples (f64).

use std::collections::VecDeque;
use std::error::Error;
use std::io::{Read as _, Write as _};

use dsp::Mains;
use dsp::qrs::Qrs;
use dsp::quality::QualityMeter;
use ecg::{Lead, QualityReason, SampleIndex, SampleRate, SignalKind};

fn main() -> Result<(), Box<dyn Error>> {
    let hz: f64 = std::env::args().nth(1).ok_or("no rate")?.parse()?;
    let rate = SampleRate::new(hz)?;
    let kind = SignalKind::Ecg(Lead::II);
    let mut meter = QualityMeter::new(kind, rate, rate)?;
    let mut qrs = Qrs::new(kind, rate, Mains::Auto)?;
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let mut rest = &bytes[..];
    let mut out = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let n = usize::try_from(u64::from_le_bytes(*head))?;
        let (lead, tail) = tail.split_at(4 * n);
        rest = tail;
        let (words, _) = lead.as_chunks::<4>();
        let lead: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();

        meter.reset(SampleIndex(0));
        let mut seconds: Vec<[f32; 8]> = Vec::new();
        for sample in &lead {
            let mut verdict = None;
            meter.push(&[*sample], false, |quality| verdict = Some(quality));
            if let Some(quality) = verdict {
                let ruled = !matches!(quality.reason, QualityReason::Good | QualityReason::Noisy);
                let found = meter.features();
                let row = [
                    quality.score,
                    f32::from(u8::from(ruled)),
                    found.noise_mv,
                    found.hiss,
                    found.jump,
                    found.turns,
                    found.drift,
                    found.range_mv,
                ];
                seconds.push(row);
            }
        }
        let mut peaks = VecDeque::new();
        qrs.reset(SampleIndex(0));
        qrs.push(&lead, false, &mut peaks);
        qrs.finish(&mut peaks);

        out.extend((seconds.len() as u64).to_le_bytes());
        out.extend((peaks.len() as u64).to_le_bytes());
        out.extend(
            seconds
                .iter()
                .flatten()
                .flat_map(|value| value.to_le_bytes()),
        );
        out.extend(peaks.iter().flat_map(|peak| (peak.0 as f64).to_le_bytes()));
    }
    std::io::stdout().write_all(&out)?;
    Ok(())
}
