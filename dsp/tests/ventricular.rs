//! None of the simulator's ventricular fibrillations is missed: patients, gains, noises and onsets that the weights were
//! not fitted to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the table of the documentation")]

use dsp::{Chain, Config, Output};
use ecg::simulate::{Noise, Rhythm, Scenario, record};
use ecg::{
    Block, Layout, Lead, SampleIndex, SampleRate, SignalBlock, SignalKind, SignalSpec, Ventricular,
};

const HZ: f64 = 250.0;
const LIKELY: f32 = 0.5;

/// What is told of `seconds` of a scenario on these leads, everything `gain` times as high.
fn told(scenario: &Scenario, seconds: f64, leads: &[Lead], gain: f32) -> Vec<Ventricular> {
    let segment = record(scenario, seconds).unwrap();
    let spec = |lead: &Lead| SignalSpec {
        kind: SignalKind::Ecg(*lead),
        rate: scenario.rate,
    };
    let layout = Layout::new(&leads.iter().map(spec).collect::<Vec<_>>()).unwrap();
    let mut chain = Chain::new(&layout, &Config::default()).unwrap();
    let signals = leads.iter().map(|lead| SignalBlock {
        samples: segment
            .lead(*lead)
            .unwrap()
            .iter()
            .map(|mv| gain * mv)
            .collect(),
        lead_off: false,
    });
    let block = Block {
        start: SampleIndex(0),
        signals: signals.collect(),
    };
    let mut out = Vec::new();
    chain.push(&block, &mut out);
    chain.finish(&mut out);
    out.into_iter()
        .filter_map(|output| match output {
            Output::Ventricular(second) => Some(second),
            _ => None,
        })
        .collect()
}

#[test]
fn no_simulated_fibrillation_is_missed() {
    let noises = [
        ("none", Noise::NONE),
        ("rest", Noise::REST),
        ("ambulatory", Noise::AMBULATORY),
    ];
    let (mut n, mut missed, mut early, mut latest) = (0, Vec::new(), 0, 0.0f64);
    for (name, noise) in noises {
        let mut delays = Vec::new();
        for gain in [0.25, 0.5, 1.0, 2.0] {
            for seed in 0..12u32 {
                let onset = 11.0 + 0.37 * f64::from(seed);
                let scenario = Scenario {
                    rhythms: vec![
                        (
                            Rhythm::Sinus {
                                bpm: 55.0 + 6.0 * f64::from(seed),
                            },
                            onset,
                        ),
                        (Rhythm::VentricularFibrillation, 20.0),
                    ],
                    noise,
                    ..Scenario::new(u64::from(seed), SampleRate::new(HZ).unwrap())
                };
                let leads = [Lead::II, Lead::V1, Lead::V5];
                let leads = &leads[..if seed % 3 == 0 { 1 } else { 3 }];
                let seconds = told(&scenario, onset + 15.0, leads, gain);
                let likely = seconds.iter().filter(|second| second.vf >= LIKELY);
                let into = likely.map(|second| second.end.0 as f64 / HZ - onset);
                early += into.clone().filter(|into| *into <= 0.0).count();
                n += 1;
                match into.clone().find(|into| *into > 0.0) {
                    Some(delay) if delay <= 8.0 => delays.push(delay),
                    other => missed.push((name, gain, seed, other)),
                }
            }
        }
        delays.sort_by(f64::total_cmp);
        latest = latest.max(delays.last().copied().unwrap_or(0.0));
        let median = delays.get(delays.len() / 2);
        println!(
            "{name}: found {}, median {median:?} s, last {:?} s",
            delays.len(),
            delays.last()
        );
    }
    println!(
        "{n} fibrillations, {} missed, {early} seconds before the onset",
        missed.len()
    );
    assert!(missed.is_empty(), "{missed:?}");
    assert!(early <= n / 50, "{early} seconds before the onset");
}

/// What is no fibrillation, for six minutes of each.
#[test]
fn other_rhythms_of_the_simulator_are_told_apart() {
    let rhythms = [
        Rhythm::Sinus { bpm: 45.0 },
        Rhythm::Sinus { bpm: 72.0 },
        Rhythm::Sinus { bpm: 130.0 },
        Rhythm::AtrialFibrillation { bpm: 110.0 },
        Rhythm::Asystole,
    ];
    for (k, rhythm) in rhythms.into_iter().enumerate() {
        let scenario = Scenario {
            rhythms: vec![(Rhythm::Sinus { bpm: 70.0 }, 20.0), (rhythm, 340.0)],
            noise: Noise::AMBULATORY,
            ..Scenario::new(50 + k as u64, SampleRate::new(HZ).unwrap())
        };
        let seconds = told(&scenario, 360.0, &[Lead::II, Lead::V1, Lead::V5], 1.0);
        let n = seconds
            .iter()
            .filter(|s| s.vf >= LIKELY || s.vt >= LIKELY)
            .count();
        println!("{rhythm:?}: {n} of {} seconds", seconds.len());
        assert!(n <= 3, "{rhythm:?}: {n}");
    }
}
