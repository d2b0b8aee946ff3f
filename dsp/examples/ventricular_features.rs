//! What the ventricular detector sees: for `dsp/training/ventricular.py`.
//!
//! `ventricular_features HZ LEADS < SAMPLES > OUT`: ECG leads one after the other as f32 (little-endian, mV; NaN where the
//! electrode is off) in; out come, of each second told, its end in seconds (f64) and lead by lead its measures (f32;
//! NaN where the lead has no say). The way there is the whole chain, in blocks of a second.
//!
//! `ventricular_features simulate SEED RHYTHM GAIN NOISE > SAMPLES`: twelve seconds of sinus rhythm and then
//! 24 of a rhythm of the simulator, leads II, V1 and V5 at 250 Hz.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use dsp::ventricular::{Model, N};
use dsp::{Chain, Config, Models, Output};
use ecg::simulate::{Ectopy, Noise, Rhythm, Scenario};
use ecg::{Block, Layout, Lead, SampleIndex, SampleRate, SignalBlock, SignalKind, SignalSpec};

const LEADS: [Lead; 3] = [Lead::II, Lead::V1, Lead::V5];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut out = Vec::new();
    if arguments.first().is_some_and(|mode| mode == "simulate") {
        simulate(&arguments[1..], &mut out)?;
    } else {
        let [hz, n, ..] = &arguments[..] else {
            return Err("no rate and number of leads".into());
        };
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        let (words, _) = bytes.as_chunks::<4>();
        let samples: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        measure(&samples, hz.parse()?, n.parse()?, &mut out)?;
    }
    std::io::stdout().write_all(&out)?;
    Ok(())
}

fn measure(samples: &[f32], hz: f64, n: usize, out: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
    let rate = SampleRate::new(hz)?;
    let spec = |lead: &Lead| SignalSpec {
        kind: SignalKind::Ecg(*lead),
        rate,
    };
    let layout = Layout::new(&LEADS[..n].iter().map(spec).collect::<Vec<_>>())?;
    let models = Models {
        ventricular: Arc::new(Model::silent()),
        ..Models::default()
    };
    let mut chain = Chain::with_models(&layout, &Config::default(), &models)?;
    let per_lead = samples.len() / n;
    let mut outputs = Vec::new();
    // A second is told half a second after one of these ends, so that no two are told at once.
    let second = rate.count(1.0).0;
    let mut start = 0;
    while start < per_lead as u64 {
        let end = (start + second).min(per_lead as u64);
        let part = usize::try_from(start)?..usize::try_from(end)?;
        let signals = samples.chunks_exact(per_lead).map(|lead| SignalBlock {
            samples: lead[part.clone()].to_vec(),
            lead_off: lead[part.clone()].iter().all(|x| x.is_nan()),
        });
        let block = Block {
            start: SampleIndex(start),
            signals: signals.collect(),
        };
        chain.push(&block, &mut outputs);
        told(&chain, &mut outputs, n, hz, out);
        start = end;
    }
    // The last two seconds, one at a time: nothing follows.
    let silence = |start: u64| Block {
        start: SampleIndex(start),
        signals: (0..n)
            .map(|_| SignalBlock {
                samples: vec![0.0; usize::try_from(second).unwrap_or(0)],
                lead_off: true,
            })
            .collect(),
    };
    for _ in 0..2 {
        chain.push(&silence(start), &mut outputs);
        told(&chain, &mut outputs, n, hz, out);
        start += second;
    }
    Ok(())
}

fn told(chain: &Chain, outputs: &mut Vec<Output>, n: usize, hz: f64, out: &mut Vec<u8>) {
    for output in outputs.drain(..) {
        let Output::Ventricular(second) = output else {
            continue;
        };
        out.extend((second.end.0 as f64 / hz).to_le_bytes());
        for row in chain.ventricles().rows().take(n) {
            let row = row.copied().unwrap_or([f32::NAN; N]);
            out.extend(row.map(f32::to_le_bytes).as_flattened());
        }
    }
}

fn rhythm_of(name: &str) -> Result<Rhythm, Box<dyn Error>> {
    Ok(match name {
        "vf" => Rhythm::VentricularFibrillation,
        "asystole" => Rhythm::Asystole,
        "af" => Rhythm::AtrialFibrillation { bpm: 110.0 },
        "single" => Rhythm::Ectopic {
            bpm: 75.0,
            pattern: Ectopy::Single { per_minute: 10.0 },
        },
        "bigeminy" => Rhythm::Ectopic {
            bpm: 75.0,
            pattern: Ectopy::Bigeminy,
        },
        _ => match name.split_at_checked(2) {
            Some(("vt", bpm)) => Rhythm::VentricularTachycardia { bpm: bpm.parse()? },
            Some(("sr", bpm)) => Rhythm::Sinus { bpm: bpm.parse()? },
            _ => return Err("no such rhythm".into()),
        },
    })
}

fn simulate(arguments: &[String], out: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
    let [seed, rhythm, gain, noise] = arguments else {
        return Err("seed, rhythm, gain and noise".into());
    };
    let (rhythm, gain): (_, f32) = (rhythm_of(rhythm)?, gain.parse()?);
    let noise = match noise.as_str() {
        "none" => Noise::NONE,
        "rest" => Noise::REST,
        _ => Noise::AMBULATORY,
    };
    let scenario = Scenario {
        rhythms: vec![(Rhythm::Sinus { bpm: 72.0 }, 12.0), (rhythm, 24.0)],
        noise,
        ..Scenario::new(seed.parse()?, SampleRate::new(250.0)?)
    };
    let segment = ecg::simulate::record(&scenario, 36.0)?;
    for lead in LEADS {
        let samples = segment.lead(lead).ok_or("a lead of twelve")?;
        out.extend(samples.iter().flat_map(|x| (gain * x).to_le_bytes()));
    }
    Ok(())
}
