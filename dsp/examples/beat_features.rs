//! What the classifier of beats sees: for `dsp/training/beats.py`.
//!
//! `beat_features HZ LEADS < SAMPLES > OUT`: ECG leads one after the other as f32 (little-endian, mV) in; out
//! come the number of beats (u64), the beats in seconds (f64), then of each beat the features of its rhythm, first
//! next to the whole context, then to what is near, and, lead by lead, of its shape (f32; NaN where the lead does not show it). The beats are those of the
//! whole chain, the leads its trace.
//!
//! `beat_features beats < BEATS > OUT`: beats in seconds (f64) in, both sets of features of the rhythm of each out.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use dsp::class::{CONTEXT_SECONDS, Lead, Model, NEAR_SECONDS, rhythm, shape};
use dsp::{Chain, Config, Models, Output};
use ecg::{Block, Layout, SampleIndex, SampleRate, SignalBlock, SignalKind, SignalSpec};

fn main() -> Result<(), Box<dyn Error>> {
    let mode = std::env::args().nth(1).ok_or("no rate")?;
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes)?;
    let mut out = Vec::new();
    if mode == "beats" {
        let (words, _) = bytes.as_chunks::<8>();
        let beats: Vec<f64> = words.iter().map(|word| f64::from_le_bytes(*word)).collect();
        for k in 0..beats.len() {
            rhythms(&beats, k, &mut out);
        }
    } else {
        let n: usize = std::env::args().nth(2).ok_or("no leads")?.parse()?;
        let (words, _) = bytes.as_chunks::<4>();
        let samples: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        record(&samples, mode.parse()?, n, &mut out)?;
    }
    std::io::stdout().write_all(&out)?;
    Ok(())
}

fn rhythms(beats: &[f64], k: usize, out: &mut Vec<u8>) {
    for context in [CONTEXT_SECONDS, NEAR_SECONDS] {
        let row = rhythm::features(beats, k, context);
        out.extend(row.map(f32::to_le_bytes).as_flattened());
    }
}

fn record(samples: &[f32], hz: f64, n: usize, out: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
    let rate = SampleRate::new(hz)?;
    let spec = |lead: &ecg::Lead| SignalSpec {
        kind: SignalKind::Ecg(*lead),
        rate,
    };
    let layout = Layout::new(
        &[ecg::Lead::II, ecg::Lead::V1, ecg::Lead::V3][..n]
            .iter()
            .map(spec)
            .collect::<Vec<_>>(),
    )?;
    let models = Models {
        classes: Arc::new(Model::silent()),
        ..Models::default()
    };
    let mut chain = Chain::with_models(&layout, &Config::default(), &models)?;
    let per_lead = samples.len() / n;
    let mut outputs = Vec::new();
    for start in (0..per_lead).step_by(360) {
        let end = (start + 360).min(per_lead);
        let signals = samples.chunks_exact(per_lead).map(|lead| SignalBlock {
            samples: lead[start..end].to_vec(),
            lead_off: false,
        });
        let block = Block {
            start: SampleIndex(start as u64),
            signals: signals.collect(),
        };
        chain.push(&block, &mut outputs);
    }
    chain.finish(&mut outputs);
    let (mut beats, mut traces, mut trace_rate) = (Vec::new(), vec![Vec::new(); n], rate);
    for output in outputs {
        match output {
            Output::Beat(beat) => beats.push(beat.r_peak.0 as f64 / hz),
            Output::Trace(trace) => {
                trace_rate = trace.rate;
                for (all, new) in traces.iter_mut().zip(trace.signals) {
                    all.extend(new);
                }
            }
            _ => {}
        }
    }
    out.extend((beats.len() as u64).to_le_bytes());
    out.extend(beats.iter().flat_map(|at| at.to_le_bytes()));
    for k in 0..beats.len() {
        rhythms(&beats, k, out);
        for samples in &traces {
            let lead = Lead {
                samples,
                first: 0,
                rate: trace_rate,
            };
            let row = shape::features(&lead, &beats, k).unwrap_or([f32::NAN; shape::N]);
            out.extend(row.map(f32::to_le_bytes).as_flattened());
        }
    }
    Ok(())
}
