//! Somebody who walks: what an accelerometer beside the PPG keeps from being taken for a pulse.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use dsp::{Chain, Config, Output};
use ecg::simulate::{Noise, Rhythm, Scenario, record};
use ecg::{
    Axis, Block, Layout, Quality, QualityReason, SampleIndex, SampleRate, SignalBlock, SignalKind,
    SignalSpec, Wavelength,
};

const HZ: usize = 50;
/// Walks from this second to before that one.
const WALK: std::ops::Range<usize> = 60..120;

/// What the chain says of three minutes of a heart at 66 a minute, and 108 steps a minute in the second of them.
fn heard(seed: u64, accelerometer: bool, motion_g: f64) -> Vec<Output> {
    let rate = SampleRate::new(50.0).unwrap();
    let scenario = Scenario {
        ppg_rate: Some(rate),
        acceleration_rate: Some(rate),
        rhythms: vec![(Rhythm::Sinus { bpm: 66.0 }, f64::INFINITY)],
        noise: Noise {
            steps_per_minute: 108.0,
            ..Noise::REST
        },
        unrest: vec![(59.0, 0.0), (60.0, 1.0), (120.0, 1.0), (121.0, 0.0)],
        ..Scenario::new(seed, rate)
    };
    let segment = record(&scenario, 180.0).unwrap();
    let mut kinds = vec![SignalKind::Ppg(Wavelength::Green)];
    let mut waves = vec![&segment.ppg];
    if accelerometer {
        kinds.extend(Axis::ALL.map(SignalKind::Acceleration));
        waves.extend(&segment.acceleration);
    }
    let specs: Vec<SignalSpec> = kinds
        .iter()
        .map(|&kind| SignalSpec { kind, rate })
        .collect();
    let config = Config {
        motion_g,
        ..Config::default()
    };
    let mut chain = Chain::new(&Layout::new(&specs).unwrap(), &config).unwrap();
    let mut out = Vec::new();
    for second in 0..180 {
        let signals = waves.iter().map(|wave| SignalBlock {
            samples: wave[second * HZ..(second + 1) * HZ].to_vec(),
            lead_off: false,
        });
        let block = Block {
            start: SampleIndex((second * HZ) as u64),
            signals: signals.collect(),
        };
        chain.push(&block, &mut out);
    }
    chain.finish(&mut out);
    out
}

fn seconds(out: &[Output]) -> impl Iterator<Item = (usize, &Quality)> {
    out.iter().filter_map(|output| match output {
        Output::Quality(quality) => {
            let second = usize::try_from(quality.start.0).unwrap() / HZ;
            Some((second, quality))
        }
        _ => None,
    })
}

/// Seconds of the walk that are usable, and how many of the rates told in them are those of the steps.
fn walked(out: &[Output]) -> (usize, usize) {
    let walk = WALK.start + 2..WALK.end - 2;
    let usable: Vec<usize> = seconds(out)
        .filter(|(second, quality)| walk.contains(second) && quality.usable())
        .map(|(second, _)| second)
        .collect();
    let steps = out.iter().filter(|output| match output {
        Output::Rate(rate) => {
            let second = usize::try_from(rate.at.0).unwrap() / HZ;
            usable.contains(&second) && (rate.bpm - 108.0).abs() < 5.0
        }
        _ => false,
    });
    (usable.len(), steps.count())
}

#[test]
fn steps_are_not_taken_for_a_pulse() {
    let (mut alone, mut beside) = ((0, 0), (0, 0));
    for seed in 0..6 {
        let add = |sum: &mut (usize, usize), (usable, steps): (usize, usize)| {
            *sum = (sum.0 + usable, sum.1 + steps);
        };
        add(&mut alone, walked(&heard(seed, false, 0.15)));
        let out = heard(seed, true, 0.15);
        add(&mut beside, walked(&out));
        // Why is said, and rest is not disturbed.
        for (second, quality) in seconds(&out) {
            assert!(matches!(quality.signal, SignalKind::Ppg(_)));
            if (WALK.start + 2..WALK.end - 2).contains(&second) {
                assert!(quality.reason != QualityReason::Good, "{quality:?}");
            } else if !(WALK.start - 2..WALK.end + 8).contains(&second) && second > 8 {
                assert!(quality.usable(), "{quality:?}");
            }
        }
        let mut moved = seconds(&out).filter(|(_, q)| q.reason == QualityReason::Motion);
        assert!(moved.all(|(second, _)| (58..123).contains(&second)));
    }
    println!(
        "usable seconds of walks and rates of steps in them: {alone:?} without, {beside:?} with"
    );
    // Nothing in the wave tells steps from a pulse.
    assert!(alone.0 > 60 && alone.1 > 60, "{alone:?}");
    assert_eq!(beside, (0, 0));
}

#[test]
fn how_much_motion_is_too_much_is_a_setting() {
    let alone = heard(1, false, 0.15);
    let beside = heard(1, true, 10.0);
    let qualities = |out: &[Output]| -> Vec<Quality> {
        let all = seconds(out).map(|(_, quality)| *quality);
        all.collect()
    };
    // The score falls with motion, but no second changes sides.
    let sides = |out: &[Output]| -> Vec<bool> {
        let all = qualities(out);
        all.iter().map(Quality::usable).collect()
    };
    assert_eq!(sides(&alone), sides(&beside));
    let config = Config {
        motion_g: 0.0,
        ..Config::default()
    };
    let error = config.check().unwrap_err().to_string();
    assert!(
        error.contains("motion_g") && error.contains("0.01"),
        "{error}"
    );
}
