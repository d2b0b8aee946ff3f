//! What is measured of beats whose truth is known: those of the simulator, and synthetic ones.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use dsp::{Chain, Config, Output};
use ecg::simulate::{self, Scenario};
use ecg::{
    Block, Layout, Lead, Levels, Measurement, SampleIndex, SampleRate, SignalBlock, SignalKind,
    SignalSpec,
};

/// The measurements of leads, `[lead, sample]`.
fn measure(leads: &[(Lead, Vec<f32>)], hz: f64) -> Vec<Measurement> {
    let rate = SampleRate::new(hz).unwrap();
    let spec = |(lead, _): &(Lead, Vec<f32>)| SignalSpec {
        kind: SignalKind::Ecg(*lead),
        rate,
    };
    let layout = Layout::new(&leads.iter().map(spec).collect::<Vec<_>>()).unwrap();
    let signals = leads.iter().map(|(_, samples)| SignalBlock {
        samples: samples.clone(),
        lead_off: false,
    });
    let block = Block {
        start: SampleIndex(0),
        signals: signals.collect(),
    };
    let mut chain = Chain::new(&layout, &Config::default()).unwrap();
    let mut out = Vec::new();
    chain.push(&block, &mut out);
    chain.finish(&mut out);
    let measured = out.into_iter().filter_map(|output| match output {
        Output::Complex(measurement) => Some(*measurement),
        _ => None,
    });
    measured.collect()
}

#[test]
fn intervals_are_those_of_the_simulator() {
    for (seed, hz) in [(1, 250.0), (2, 500.0), (3, 360.0), (4, 499.0)] {
        let scenario = Scenario::new(seed, SampleRate::new(hz).unwrap());
        let played = simulate::record(&scenario, 40.0).unwrap();
        let lead = |lead| (lead, played.lead(lead).unwrap().to_vec());
        let found = measure(&[lead(Lead::II), lead(Lead::V1), lead(Lead::V5)], hz);
        let ms = |from: SampleIndex, to: SampleIndex| 1e3 * to.since(from).0 as f64 / hz;
        let (mut n, mut errors) = (0, [0.0; 3]);
        for found in &found {
            let near = |at: SampleIndex| (at.0 as f64 - found.r_peak.0 as f64).abs() < 0.03 * hz;
            let truth = played.truth.beats.iter().find(|beat| near(beat.r_peak));
            let Some((truth, p)) = truth.and_then(|truth| Some((truth, truth.p?))) else {
                continue;
            };
            let intervals = &found.values.intervals;
            let (Some(pr), Some(qrs), Some(qt)) =
                (intervals.pr_ms, intervals.qrs_ms, intervals.qt_ms)
            else {
                continue;
            };
            n += 1;
            for (error, (found, truth)) in errors.iter_mut().zip([
                (pr, ms(p.onset, truth.qrs.onset)),
                (qrs, ms(truth.qrs.onset, truth.qrs.offset)),
                (qt, ms(truth.qrs.onset, truth.t.offset)),
            ]) {
                *error += f64::from(found) - truth;
            }
        }
        let means = errors.map(|error| error / f64::from(n));
        println!("seed {seed}: {n} beats, PR, QRS, QT off by {means:.1?} ms on average");
        assert!(n > 40, "seed {seed}: {n}");
        for (mean, limit) in means.iter().zip([20.0, 20.0, 35.0]) {
            assert!(mean.abs() < limit, "seed {seed}: {means:?}");
        }
    }
}

/// Beats each 0.9 s: P of 0.1 mV, Q, R of 1.5 mV, S, an ST segment of 0.2 mV, T on it; wander of 0.5 mV peak to peak.
fn beat(t: f64) -> f64 {
    let phase = (t + 0.45).rem_euclid(0.9) - 0.45;
    let wave = |at: f64, width: f64| (-((phase - at) / width).powi(2)).exp();
    let rise = |at: f64, width: f64| 0.5 * (1.0 + ((phase - at) / width).tanh());
    0.1 * wave(-0.16, 0.02) - 0.15 * wave(-0.022, 0.006) + 1.5 * wave(0.0, 0.008)
        - 0.3 * wave(0.024, 0.007)
        + 0.2 * rise(0.04, 0.004) * (1.0 - rise(0.34, 0.02))
        + 0.3 * wave(0.27, 0.035)
}

/// Of leads II and I of which the latter is 0.4 of the former: atan2((1 - 0.4 / 2) * 2 / sqrt(3), 0.4).
const AXIS_DEGREES: f64 = 66.587;

fn wander(t: f64) -> f64 {
    0.25 * (std::f64::consts::TAU * 0.22 * t).sin() + 1.7
}

fn lead(hz: f64, scale: f64) -> Vec<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
    let sample = |n: i32| {
        let t = f64::from(n) / hz;
        (scale * beat(t) + wander(t)) as f32
    };
    (0..20_000).map(sample).collect()
}

#[test]
fn levels_and_axis_are_those_of_the_signal() {
    for hz in [250.0, 500.0] {
        let leads = [(Lead::II, 1.0), (Lead::I, 0.4), (Lead::V1, -0.5)];
        let found = measure(&leads.map(|(name, scale)| (name, lead(hz, scale))), hz);
        let close = |value: Option<f32>, expected: f64, within: f64| {
            value.is_some_and(|value| (f64::from(value) - expected).abs() < within)
        };
        for found in found.iter().skip(8) {
            let levels = &found.median.levels;
            let [ii, i, v1] = [levels[0], levels[1], levels[2]];
            let checks = [
                close(ii.p_mv, 0.1, 0.03),
                close(ii.q_mv, -0.14, 0.04),
                close(ii.r_mv, 1.5, 0.05),
                close(ii.s_mv, -0.29, 0.06),
                close(ii.t_mv, 0.48, 0.05),
                close(ii.st_j60_mv, 0.2, 0.04),
                close(ii.st_j80_mv, 0.2, 0.04),
                close(i.st_j60_mv, 0.08, 0.03),
                close(v1.st_j60_mv, -0.1, 0.03),
                close(v1.q_mv, -0.75, 0.05),
                // (II - I / 2) / (sqrt(3) / 2) up, I to the left
                close(found.median.axis_degrees, AXIS_DEGREES, 1.0),
            ];
            assert!(
                checks.iter().all(|check| *check),
                "{hz} Hz: {checks:?} {:?}",
                found.median
            );
            assert_eq!(found.n_beats, 8);
        }
        assert!(found.len() > 40, "{}", found.len());
    }
}

#[test]
fn the_axis_needs_two_limb_leads() {
    let leads = [(Lead::II, lead(250.0, 1.0)), (Lead::V1, lead(250.0, -0.5))];
    let found = measure(&leads, 250.0);
    assert!(
        found
            .iter()
            .all(|found| found.values.axis_degrees.is_none())
    );
}

#[test]
fn what_no_heart_can_do_is_absent() {
    // A lead in the wrong unit: a thousand times too large.
    let leads = [
        (Lead::II, lead(250.0, 1.0)),
        (Lead::V5, lead(250.0, 1000.0)),
    ];
    for found in measure(&leads, 250.0) {
        let Levels {
            r_mv, st_j60_mv, ..
        } = found.values.levels[1];
        assert_eq!((r_mv, st_j60_mv), (None, None), "{found:?}");
    }
}
