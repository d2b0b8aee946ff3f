//! The start is forgotten on real recordings too: MIT-BIH, where `$EINTHOVEN_DATA` has it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use std::path::{Path, PathBuf};

use dsp::{Chain, Config, Output};
use ecg::{Block, Layout, Lead, SampleIndex, SampleRate, SignalBlock, SignalKind, SignalSpec};

/// The records there, without extension.
fn records() -> Vec<PathBuf> {
    let data = std::env::var_os("EINTHOVEN_DATA").unwrap_or_else(|| "data".into());
    let folder = Path::new(&data).join("mitdb");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("skipped: no {}", folder.display());
        return Vec::new();
    };
    let mut records: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "dat"))
        .collect();
    records.sort();
    records
}

/// The first signal of a record in WFDB format 212, mV at the 200 adu/mV of the whole database.
fn first_signal(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    // The low nibble of the second byte holds the upper four of the first sample's twelve bits.
    let sample =
        |triple: &[u8]| i16::from_le_bytes([triple[0] << 4, triple[1] << 4 | triple[0] >> 4]) >> 4;
    bytes
        .chunks_exact(3)
        .map(|triple| (f32::from(sample(triple)) - 1024.0) / 200.0)
        .collect()
}

fn facts(samples: &[f32], start: usize) -> Vec<(u64, Output)> {
    let spec = SignalSpec {
        kind: SignalKind::Ecg(Lead::II),
        rate: SampleRate::new(360.0).unwrap(),
    };
    let layout = Layout::new(&[spec]).unwrap();
    let mut chain = Chain::new(&layout, &Config::default()).unwrap();
    let mut out = Vec::new();
    let mut at = start;
    for piece in samples[start..].chunks(1000) {
        let signals = vec![SignalBlock {
            samples: piece.to_vec(),
            lead_off: false,
        }];
        let block = Block {
            start: SampleIndex(at as u64),
            signals,
        };
        chain.push(&block, &mut out);
        at += piece.len();
    }
    chain.finish(&mut out);
    let mut facts: Vec<(u64, Output)> = out
        .into_iter()
        .filter_map(|output| match output {
            Output::Beat(beat) | Output::Class(beat) => Some((beat.r_peak.0, output)),
            Output::Rate(rate) => Some((rate.at.0, output)),
            Output::Quality(quality) => Some((quality.end.0, output)),
            Output::Ventricular(second) => Some((second.end.0, output)),
            _ => None,
        })
        .collect();
    // How late a class comes among other facts depends on the cut.
    facts.sort_by_key(|(at, output)| (*at, matches!(output, Output::Class(_))));
    facts
}

#[test]
fn what_is_said_does_not_depend_on_when_listening_began() {
    for record in records() {
        let samples = first_signal(&record);
        assert!(samples.iter().all(|mv| mv.abs() <= 10.3));
        // Ten minutes are enough to tell.
        let samples = &samples[..samples.len().min(216_000)];
        let whole = facts(samples, 0);
        assert!(whole.len() > 500, "{}", record.display());
        for start in [1, 12_345, 50_003, 100_001, 180_000] {
            let known = start as u64 + 9000;
            let later = |facts: &[(u64, Output)]| -> Vec<(u64, Output)> {
                facts
                    .iter()
                    .filter(|fact| fact.0 > known)
                    .cloned()
                    .collect()
            };
            assert_eq!(
                later(&whole),
                later(&facts(samples, start)),
                "{} from {start}",
                record.display()
            );
        }
    }
}
