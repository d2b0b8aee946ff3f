use dsp::{Chain, Config, Output};
use ecg::simulate::{Ectopy, Rhythm, Scenario, record};
use ecg::{
    Block, Gap, Layout, Lead, SampleCount, SampleIndex, SampleRate, SignalBlock, SignalKind,
    SignalSpec,
};
use infer::rhythm::N_FEATURES;
use infer::{Library, RhythmDecision, RhythmForm, RhythmLabel, Stretch};

use super::*;

const RATE_HZ: f64 = 250.0;

fn rate() -> SampleRate {
    SampleRate::new(RATE_HZ).unwrap()
}

fn layout(leads: &[Lead]) -> Layout {
    let signal = |lead: &Lead| SignalSpec {
        kind: SignalKind::Ecg(*lead),
        rate: rate(),
    };
    Layout::new(&leads.iter().map(signal).collect::<Vec<_>>()).unwrap()
}

/// Leads of a simulated heart, `[lead, sample]`.
fn heart(seed: u64, rhythm: Rhythm, seconds: f64, leads: &[Lead]) -> Vec<Vec<f32>> {
    let scenario = Scenario {
        rhythms: vec![(rhythm, f64::INFINITY)],
        ..Scenario::new(seed, rate())
    };
    let segment = record(&scenario, seconds).unwrap();
    let of = |lead: &Lead| segment.lead(*lead).unwrap().to_vec();
    leads.iter().map(of).collect()
}

fn block(samples: &[Vec<f32>], start: usize, end: usize) -> Block {
    let signal = |lead: &Vec<f32>| SignalBlock {
        samples: lead[start..end].to_vec(),
        lead_off: false,
    };
    Block {
        start: SampleIndex(start as u64),
        signals: samples.iter().map(signal).collect(),
    }
}

/// Gives a collector an output, and keeps the stretches that it completes.
fn take(collector: &mut Collector, output: &Output, found: &mut Vec<Stretch>) {
    collector.push(output);
    found.extend(std::iter::from_fn(|| collector.next_stretch()));
}

/// The stretches of a record that is given in blocks of these lengths, again and again.
fn stretches(leads: &[Lead], samples: &[Vec<f32>], lengths: &[usize]) -> Vec<Stretch> {
    let layout = layout(leads);
    let mut chain = Chain::new(&layout, &Config::default()).unwrap();
    let mut collector = Collector::new(&layout, RATE_HZ).unwrap();
    let (mut outputs, mut found) = (Vec::new(), Vec::new());
    let mut push = |outputs: &mut Vec<Output>| {
        outputs
            .drain(..)
            .for_each(|output| take(&mut collector, &output, &mut found));
        assert!(
            collector.state_bytes() < 96 * 1024,
            "{}",
            collector.state_bytes()
        );
    };
    let (mut start, n) = (0, samples[0].len());
    for length in lengths.iter().cycle() {
        let end = (start + length).min(n);
        chain.push(&block(samples, start, end), &mut outputs);
        push(&mut outputs);
        start = end;
        if start == n {
            break;
        }
    }
    chain.finish(&mut outputs);
    push(&mut outputs);
    found
}

#[test]
fn how_the_stream_is_cut_changes_no_stretch() {
    let leads = [Lead::II, Lead::V1, Lead::V5];
    let samples = heart(3, Rhythm::AtrialFibrillation { bpm: 95.0 }, 62.0, &leads);
    let whole = stretches(&leads, &samples, &[250]);
    let ends: Vec<u64> = whole.iter().map(|s| s.context.end.0 / 250).collect();
    assert_eq!(ends, [10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60]);
    assert_eq!(whole[10].samples.len(), 3840);
    assert!(
        whole
            .iter()
            .all(|s| s.context.beats.iter().all(|beat| beat.class.is_some()))
    );
    for lengths in [&[7, 250, 1, 613][..], &[77], &[900]] {
        assert_eq!(stretches(&leads, &samples, lengths), whole, "{lengths:?}");
    }
}

#[test]
fn no_stretch_straddles_a_gap() {
    let leads = [Lead::II];
    let samples = heart(5, Rhythm::Sinus { bpm: 70.0 }, 60.0, &leads);
    for told in [true, false] {
        let layout = layout(&leads);
        let mut chain = Chain::new(&layout, &Config::default()).unwrap();
        let mut collector = Collector::new(&layout, RATE_HZ).unwrap();
        let (mut outputs, mut found) = (Vec::new(), Vec::new());
        let (gap_start, gap_end) = (6000, 6500);
        for start in (0..15_000).step_by(250) {
            if (gap_start..gap_end).contains(&start) {
                continue;
            }
            if start == gap_end && told {
                let gap = Gap {
                    start: SampleIndex(gap_start as u64),
                    end: SampleIndex(gap_end as u64),
                };
                chain.gap(gap, &mut outputs);
                outputs
                    .drain(..)
                    .for_each(|output| take(&mut collector, &output, &mut found));
                collector.gap();
            }
            chain.push(&block(&samples, start, start + 250), &mut outputs);
            outputs
                .drain(..)
                .for_each(|output| take(&mut collector, &output, &mut found));
        }
        chain.finish(&mut outputs);
        outputs
            .drain(..)
            .for_each(|output| take(&mut collector, &output, &mut found));
        let spans: Vec<(u64, u64)> = found
            .iter()
            .map(|s| (s.context.start.0, s.context.end.0))
            .collect();
        let expected = [2500, 3750, 5000].map(|end| (0, end));
        let after = [8750, 10_000, 11_250, 12_500, 13_750].map(|end| (6500, end));
        assert_eq!(spans[..3], expected, "told: {told}");
        let after: Vec<_> = after
            .into_iter()
            .filter(|(start, end)| end - start >= 2250)
            .collect();
        assert_eq!(spans[3..3 + after.len()], after, "told: {told}");
    }
}

#[test]
fn other_rates_and_no_ecg_have_no_collector() {
    let leads = layout(&[Lead::II]);
    for hz in [100.0, 0.0, f64::NAN, 200.0] {
        assert!(Collector::new(&leads, hz).is_none(), "{hz}");
    }
    assert!(Collector::new(&leads, 500.0).is_some());
}

/// How often a rhythm is called what in stretches of some hearts.
fn called(rhythm: Rhythm) -> [usize; 4] {
    let library = Library::shipped().unwrap();
    let model = library.rhythm().unwrap();
    let mut counts = [0; 4];
    for seed in 1..5 {
        let leads = [Lead::II];
        let samples = heart(seed, rhythm, 61.0, &leads);
        for stretch in stretches(&leads, &samples, &[250]).iter().skip(4) {
            let said = model.decide(stretch.lead, &stretch.samples, &stretch.context);
            counts[said.unwrap().label.index()] += 1;
        }
    }
    counts
}

#[test]
fn fibrillation_is_told_from_ectopy_and_from_breathing() {
    let n: usize = 4 * 7;
    let fibrillation = RhythmLabel::AtrialFibrillation.index();
    for bpm in [70.0, 110.0] {
        let counts = called(Rhythm::AtrialFibrillation { bpm });
        assert!(counts[fibrillation] * 10 >= n * 8, "{bpm}: {counts:?}");
    }
    for rhythm in [
        Rhythm::Sinus { bpm: 50.0 },
        Rhythm::Sinus { bpm: 75.0 },
        Rhythm::Sinus { bpm: 130.0 },
        Rhythm::Ectopic {
            bpm: 75.0,
            pattern: Ectopy::Bigeminy,
        },
        Rhythm::Ectopic {
            bpm: 75.0,
            pattern: Ectopy::Single { per_minute: 12.0 },
        },
    ] {
        let counts = called(rhythm);
        assert!(counts[fibrillation] * 20 <= n, "{rhythm:?}: {counts:?}");
    }
}

const FORM: RhythmForm = RhythmForm {
    temperature: 1.0,
    bias: [0.0; 4],
    enter: 0.5,
    leave: 0.35,
};

/// The episodes, seconds, of decisions each 5 s with these probabilities of fibrillation; 2 is noise.
fn episodes(probabilities: &[f32]) -> Vec<(f64, f64)> {
    let mut episodes = Episodes::new(rate(), &FORM);
    let mut changes = Vec::new();
    for (k, p) in probabilities.iter().enumerate() {
        let end = SampleIndex((k as u64 + 2) * 1250);
        let noisy = *p > 1.0;
        let p = if noisy { 0.1 } else { *p };
        episodes.push(
            &RhythmDecision {
                start: end.before(SampleCount(7680)),
                end,
                lead: Lead::II,
                probabilities: [1.0 - p, p, 0.0, 0.0],
                label: if noisy {
                    RhythmLabel::Noisy
                } else {
                    RhythmLabel::Sinus
                },
                numbers: [0.0; N_FEATURES],
            },
            &mut changes,
        );
    }
    episodes.end(&mut changes);
    let began = changes
        .iter()
        .filter(|change| matches!(change, Change::Began(_)));
    let n_began = began.count();
    let ended: Vec<(f64, f64)> = changes
        .iter()
        .filter_map(|change| match change {
            Change::Ended(episode) => Some((
                episode.onset.0 as f64 / RATE_HZ,
                episode.offset.0 as f64 / RATE_HZ,
            )),
            Change::Began(_) => None,
        })
        .collect();
    assert_eq!(n_began, ended.len());
    ended
}

#[test]
fn episodes_have_an_onset_an_offset_and_half_a_minute() {
    // From the start of the record to its end.
    assert_eq!(episodes(&[0.9; 11]), [(0.0, 60.0)]);
    // In between: from the middle of the first stretch to that of the last, half a hop more at each end.
    let mut inside = vec![0.1; 30];
    inside[10..18].fill(0.9);
    assert_eq!(episodes(&inside), [(42.14, 82.14)]);
    // One calm decision does not end it; two do.
    inside[13] = 0.1;
    assert_eq!(episodes(&inside).len(), 1);
    inside[14] = 0.1;
    assert_eq!(episodes(&inside), []);
    // What is too noisy to tell does not either.
    inside[13..15].fill(2.0);
    assert_eq!(episodes(&inside), [(42.14, 82.14)]);
    // Too short.
    let mut short = vec![0.1; 30];
    short[10..15].fill(0.9);
    assert_eq!(episodes(&short), []);
    // What is above neither limit does not begin one, but goes on.
    assert_eq!(episodes(&[0.4; 20]), []);
    let mut fading = vec![0.4; 20];
    fading[0] = 0.6;
    assert_eq!(episodes(&fading), [(0.0, 105.0)]);
}
