//! Simulated pulse waves with labels, as `einthoven evaluate ppg-rhythm` takes them.
//!
//! `pulse_segments OUT.npz [PATIENTS [SEED]]`: twelve segments of 10 s at 100 Hz of each patient, at rest, about the house or in
//! much motion, in turn. Nobody was trained on them.

use std::error::Error;
use std::fs::File;
use std::io::{Cursor, Write};

use ecg::simulate::{Ectopy, Noise, Rhythm, Scenario, record};
use ecg::{BeatClass, SampleRate};
use infer::PulseLabel;
use npyz::WriterBuilder;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const HZ: f64 = 100.0;
/// Of one segment.
const SECONDS: f64 = 10.0;
/// Segments of a patient, after one that is passed over.
const EACH: usize = 12;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let out = args.next().ok_or("no file")?;
    let n: u64 = args.next().map_or(Ok(240), |n| n.parse())?;
    let seed: u64 = args.next().map_or(Ok(1), |seed| seed.parse())?;
    let (mut waves, mut labels) = (Vec::new(), Vec::new());
    for patient in 0..n {
        add(patient, seed, &mut waves, &mut labels)?;
    }
    let (n, n_samples) = (
        labels.len() as u64,
        waves.len() as u64 / labels.len() as u64,
    );
    let mut archive = ZipWriter::new(File::create(out)?);
    let mut member = |name: &str, bytes: &[u8]| {
        archive.start_file(name, SimpleFileOptions::default())?;
        archive.write_all(bytes)?;
        Ok::<(), Box<dyn Error>>(())
    };
    member("x.npy", &array(&waves, &[n, n_samples])?)?;
    member("y.npy", &array(&labels, &[n])?)?;
    archive.finish()?;
    Ok(())
}

fn array<T>(values: &[T], shape: &[u64]) -> Result<Vec<u8>, Box<dyn Error>>
where
    T: npyz::AutoSerialize + Copy,
{
    let mut bytes = Cursor::new(Vec::new());
    let options = npyz::WriteOptions::new().default_dtype().shape(shape);
    let mut writer = options.writer(&mut bytes).begin_nd()?;
    writer.extend(values.iter().copied())?;
    writer.finish()?;
    Ok(bytes.into_inner())
}

/// Adds the segments of a patient.
fn add(
    patient: u64,
    seed: u64,
    waves: &mut Vec<f32>,
    labels: &mut Vec<u8>,
) -> Result<(), Box<dyn Error>> {
    // Rates that are spread evenly, whoever comes.
    let spread = |low: f64, high: f64| low + (high - low) * (patient as f64 * 0.618_034).fract();
    let rhythm = match patient % 8 {
        0 => Rhythm::Sinus {
            bpm: spread(48.0, 110.0),
        },
        1 => Rhythm::Sinus {
            bpm: spread(55.0, 75.0),
        },
        2 | 3 => Rhythm::AtrialFibrillation {
            bpm: spread(60.0, 140.0),
        },
        4 => Rhythm::Ectopic {
            bpm: spread(60.0, 95.0),
            pattern: Ectopy::Single {
                per_minute: spread(6.0, 14.0),
            },
        },
        5 => Rhythm::Ectopic {
            bpm: spread(60.0, 95.0),
            pattern: if patient % 16 == 5 {
                Ectopy::Bigeminy
            } else {
                Ectopy::Couplets { per_minute: 6.0 }
            },
        },
        6 => Rhythm::Ectopic {
            bpm: spread(60.0, 95.0),
            pattern: Ectopy::Atrial {
                per_minute: spread(6.0, 14.0),
            },
        },
        _ => Rhythm::VentricularTachycardia {
            bpm: spread(130.0, 190.0),
        },
    };
    let noise = match patient / 8 % 3 {
        0 => Noise::REST,
        1 => Noise::AMBULATORY,
        _ => Noise {
            motion_per_minute: 10.0,
            ..Noise::AMBULATORY
        },
    };
    let scenario = Scenario {
        rhythms: vec![(rhythm, f64::INFINITY)],
        ppg_rate: Some(SampleRate::new(HZ)?),
        noise,
        ..Scenario::new(
            seed.wrapping_mul(1000).wrapping_add(patient),
            SampleRate::new(250.0)?,
        )
    };
    let segment = record(&scenario, SECONDS * (EACH + 1) as f64)?;
    let n_samples = 1000;
    for k in 1..=EACH {
        let (from, to) = (SECONDS * k as f64, SECONDS * (k + 1) as f64);
        let beats = segment.truth.beats.iter().filter(|beat| {
            let at = segment.rate.seconds(ecg::SampleCount(beat.r_peak.0));
            from <= at && at < to
        });
        let has = |class| beats.clone().any(|beat| beat.class == class);
        let label = match rhythm {
            Rhythm::AtrialFibrillation { .. } => PulseLabel::AtrialFibrillation,
            Rhythm::VentricularTachycardia { .. } => PulseLabel::VentricularTachycardia,
            _ if has(BeatClass::V) => PulseLabel::VentricularEctopy,
            _ if has(BeatClass::S) => PulseLabel::AtrialEctopy,
            _ => PulseLabel::Sinus,
        };
        let Some(wave) = segment.ppg.get(k * n_samples..(k + 1) * n_samples) else {
            continue;
        };
        waves.extend_from_slice(wave);
        labels.push(u8::try_from(label.index())?);
    }
    Ok(())
}
