//! The contracts of the chain, on synthetic signals: the cut, the start, gaps, delay and memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use dsp::{Chain, Config, Output, Trace};
use ecg::{
    Beat, BeatClass, Block, Gap, Layout, QualityReason, SampleCount, SampleIndex, SampleRate,
    SignalBlock, SignalKind, SignalSpec,
};
use proptest::prelude::*;

const BASE: f64 = 250.0;

/// What a record looks like at an instant, in seconds: three leads and a pulse wave.
struct Record {
    /// Instants of the R peaks.
    beats: Vec<f64>,
    hum: f64,
    /// The pulse wave points down in every second stretch of so many seconds.
    turns: f64,
    /// What the recorder makes of a lead, mV, at an instant.
    recorder: fn(&Record, f64, f64) -> f64,
}

impl Record {
    /// About `seconds` of a rhythm whose intervals wander between 0.55 and 1.1 s, a premature
    /// wide beat now and then.
    fn new(seconds: f64, seed: u64) -> Self {
        let mut state = seed;
        let mut at = 0.4;
        let mut beats = Vec::new();
        while at < seconds {
            beats.push(at);
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            at += 0.55 + 0.55 * ((state >> 33) as f64 / f64::from(1u32 << 31));
        }
        Self {
            beats,
            hum: 0.0,
            turns: f64::INFINITY,
            recorder: |_, _, mv| mv,
        }
    }

    fn near(&self, t: f64, before: f64, after: f64) -> impl Iterator<Item = f64> {
        let low = self.beats.partition_point(|beat| *beat < t - after);
        let high = self.beats.partition_point(|beat| *beat < t + before);
        self.beats[low..high].iter().map(move |beat| t - beat)
    }

    fn noise(t: f64) -> f64 {
        (t * 1234.5).sin() * (t * 987.1).cos() * 0.02
    }

    fn ecg(&self, t: f64, lead: usize) -> f64 {
        let wave = |t: f64, at: f64, width: f64| (-((t - at) / width).powi(2)).exp();
        let [p, r, s, w] = [
            [0.1, 1.2, -0.2, 0.25],
            [0.05, 0.4, -0.9, 0.1],
            [0.08, 1.0, -0.3, 0.3],
        ][lead % 3];
        let beats = self.near(t, 0.3, 0.6).map(|t| {
            p * wave(t, -0.16, 0.03)
                + r * wave(t, 0.0, 0.013)
                + s * wave(t, 0.03, 0.012)
                + w * wave(t, 0.28, 0.06)
        });
        let wander = 0.2 * (0.9 * t).sin();
        let mv = beats.sum::<f64>()
            + wander
            + Self::noise(t)
            + self.hum * (std::f64::consts::TAU * 50.0 * t).sin()
            + 3.0;
        (self.recorder)(self, t, mv)
    }

    fn ppg(&self, t: f64) -> f64 {
        let shape = |t: f64| {
            if t < 0.0 {
                0.0
            } else {
                (t / 0.12).powi(2) * (-t / 0.12).exp()
            }
        };
        let pulses: f64 = self.near(t, 0.0, 3.0).map(|t| shape(t - 0.25)).sum();
        let down = (t / self.turns) % 2.0 >= 1.0;
        let sign = if down { -1.0 } else { 1.0 };
        1000.0 + sign * (20.0 * pulses + 0.1 * Self::noise(t))
    }

    /// Walks for 10 s, rests for 10 s.
    fn acceleration(t: f64) -> f64 {
        let walks = (t / 10.0) % 2.0 >= 1.0;
        let step = (std::f64::consts::TAU * 1.8 * t).sin();
        0.9 + if walks { 0.4 * step } else { 0.0 }
    }

    /// The samples `start..end` (at the base rate) of every signal of `layout`.
    fn block(&self, layout: &Layout, start: u64, end: u64) -> Block {
        let signals = layout.iter().enumerate().map(|(k, signal)| {
            let base = layout.base_rate();
            let own = |at: u64| base.convert(SampleIndex(at), signal.rate).0;
            #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
            let samples = (own(start)..own(end))
                .map(|n| {
                    let t = n as f64 / signal.rate.hz();
                    let value = match signal.kind {
                        SignalKind::Ecg(_) => self.ecg(t, k),
                        SignalKind::Ppg(_) | SignalKind::Abp => self.ppg(t),
                        SignalKind::Acceleration(_) => Self::acceleration(t),
                    };
                    value as f32
                })
                .collect();
            SignalBlock {
                samples,
                lead_off: false,
            }
        });
        Block {
            start: SampleIndex(start),
            signals: signals.collect(),
        }
    }
}

fn layout(signals: &[(&str, f64)]) -> Layout {
    let spec = |(name, hz): &(&str, f64)| SignalSpec {
        kind: name.parse().unwrap(),
        rate: SampleRate::new(*hz).unwrap(),
    };
    Layout::new(&signals.iter().map(spec).collect::<Vec<_>>()).unwrap()
}

fn wearable() -> Layout {
    layout(&[
        ("II", BASE),
        ("V1", BASE),
        ("V5", BASE),
        ("PPG-green", 50.0),
    ])
}

/// With an accelerometer whose axes have rates of their own.
fn bracelet() -> Layout {
    layout(&[
        ("II", BASE),
        ("ACC-X", 31.25),
        ("PPG-green", 64.0),
        ("ACC-Y", 128.2),
        ("ACC-Z", 25.0),
    ])
}

fn chain(layout: &Layout) -> Chain {
    Chain::new(layout, &Config::default()).unwrap()
}

/// Everything but where the blocks were cut: facts in order, late facts and classes in theirs, windows, and the
/// trace in one piece.
fn content(out: &[Output]) -> ([Vec<Output>; 4], Option<Trace>) {
    let (mut facts, mut windows, mut trace) = (Vec::new(), Vec::new(), None::<Trace>);
    let (mut late, mut classes) = (Vec::new(), Vec::new());
    for output in out {
        match output {
            Output::Decided(_) | Output::Settled(_) => {}
            Output::Window(_) => windows.push(output.clone()),
            Output::Class(_) => classes.push(output.clone()),
            Output::Trace(piece) => match &mut trace {
                None => trace = Some(piece.clone()),
                Some(trace) => {
                    assert_eq!(trace.end, piece.start);
                    trace.end = piece.end;
                    for (all, more) in trace.signals.iter_mut().zip(&piece.signals) {
                        all.extend_from_slice(more);
                    }
                }
            },
            fact if fact.late_at().is_some() => late.push(fact.clone()),
            fact => facts.push(fact.clone()),
        }
    }
    ([facts, late, classes, windows], trace)
}

fn position(output: &Output) -> Option<u64> {
    match output {
        Output::Beat(beat) => Some(beat.r_peak.0),
        Output::Pulse(pulse) => Some(pulse.onset.0),
        Output::Rate(rate) => Some(rate.at.0),
        Output::Quality(quality) => Some(quality.end.0 - 1),
        Output::Ventricular(second) => Some(second.end.0 - 1),
        _ => None,
    }
}

fn beats(out: &[Output]) -> Vec<u64> {
    out.iter()
        .filter_map(|output| match output {
            Output::Beat(Beat { r_peak, .. }) => Some(r_peak.0),
            _ => None,
        })
        .collect()
}

fn classes(out: &[Output]) -> Vec<(u64, Option<BeatClass>)> {
    out.iter()
        .filter_map(|output| match output {
            Output::Class(Beat { r_peak, class }) => Some((r_peak.0, *class)),
            _ => None,
        })
        .collect()
}

/// Plays `start..end` in blocks of `step` samples.
fn play(record: &Record, layout: &Layout, start: u64, end: u64, step: u64) -> Vec<Output> {
    let mut chain = chain(layout);
    let mut out = Vec::new();
    let mut at = start;
    while at < end {
        let stop = end.min(at + step);
        chain.push(&record.block(layout, at, stop), &mut out);
        at = stop;
    }
    chain.finish(&mut out);
    out
}

#[test]
fn every_beat_and_pulse_is_found_in_its_place() {
    let record = Record::new(60.0, 7);
    for hz in [100.0, 128.0, 250.0, 360.0, 500.0, 1000.0, 2000.0] {
        let layout = layout(&[("II", hz), ("PPG", 125.0)]);
        let end = SampleRate::new(hz).unwrap().count(60.0).0;
        let out = play(&record, &layout, 0, end, 1000);
        let mut found = beats(&out);
        found.retain(|at| (*at as f64) < 59.8 * hz);
        let expected: Vec<f64> = record.beats.iter().copied().filter(|t| *t < 59.8).collect();
        assert_eq!(found.len(), expected.len(), "{hz}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (*found as f64 / hz - expected).abs() < 0.011,
                "{hz}: {found} {expected}"
            );
        }
        let mut onsets: Vec<f64> = out
            .iter()
            .filter_map(|output| match output {
                Output::Pulse(pulse) => Some(pulse.onset.0 as f64 / hz),
                _ => None,
            })
            .collect();
        let expected: Vec<f64> = record
            .beats
            .iter()
            .map(|t| t + 0.25)
            .filter(|t| *t < 59.0)
            .collect();
        onsets.retain(|t| *t < 59.1);
        let hits = expected
            .iter()
            .filter(|t| onsets.iter().any(|onset| (onset - **t).abs() < 0.08))
            .count();
        assert!(
            hits + 1 >= expected.len(),
            "{hz}: {hits} of {}",
            expected.len()
        );
        assert!(onsets.len() <= expected.len() + 2, "{hz}: {}", onsets.len());
    }
}

/// A spike of 4 ms and 1 mV, `lead` seconds before each beat.
fn paced(record: &Record, t: f64, lead: f64) -> f64 {
    let near = |back: f64| (back + lead).abs() < 0.002;
    if record.near(t, 0.3, 0.0).any(near) {
        1.0
    } else {
        0.0
    }
}

#[test]
fn what_recorders_do_costs_no_beat() {
    type Recorder = fn(&Record, f64, f64) -> f64;
    let recorders: [(&str, Recorder); 7] = [
        ("mirrored", |_, _, mv| -mv),
        ("steps of the baseline", |_, t, mv| {
            mv + if (t / 7.0) % 2.0 < 1.0 { 2.0 } else { 0.0 }
        }),
        ("saturation", |_, _, mv| mv.clamp(2.75, 3.4)),
        ("coarse steps of the converter", |_, _, mv| {
            (mv * 20.0).round() / 20.0
        }),
        ("atria paced", |record, t, mv| mv + paced(record, t, 0.17)),
        ("ventricles paced", |record, t, mv| {
            mv + paced(record, t, 0.03)
        }),
        ("a tenth of the gain", |_, _, mv| 0.1 * mv),
    ];
    for (name, recorder) in recorders {
        let mut record = Record::new(60.0, 7);
        record.recorder = recorder;
        let out = play(&record, &layout(&[("II", BASE)]), 0, 15000, 250);
        let found = beats(&out);
        let met = |t: &&f64| {
            found
                .iter()
                .any(|at| (*at as f64 / BASE - **t).abs() < 0.06)
        };
        // A step of more than a QRS may hide the one that it falls on.
        let seen = |t: &f64| *t < 59.8 && (!name.starts_with("steps") || (t + 0.2) % 7.0 > 0.4);
        let expected: Vec<f64> = record.beats.iter().copied().filter(seen).collect();
        let n_met = expected.iter().filter(met).count();
        assert!(
            n_met + 1 >= expected.len(),
            "{name}: {n_met} of {}",
            expected.len()
        );
        assert!(
            found.len() <= record.beats.len() + 2,
            "{name}: {} found",
            found.len()
        );
    }
}

#[test]
fn decided_keeps_its_promise() {
    let record = Record::new(40.0, 3);
    let layout = wearable();
    let mut chain = chain(&layout);
    let (mut decided, mut settled, mut end) = (0, 0, 1000);
    let (mut last, mut last_late) = (0, 0);
    for step in [1, 1, 3, 250, 17, 600, 1, 250, 99, 4000, 5, 2000] {
        let mut out = Vec::new();
        chain.push(&record.block(&layout, end, end + step), &mut out);
        end += step;
        for output in &out {
            match output {
                Output::Decided(at) => {
                    assert!(at.0 > decided && last < at.0);
                    decided = at.0;
                    assert!((end - decided) as f64 <= 0.5 * BASE);
                }
                Output::Settled(at) => {
                    assert!(at.0 > settled && last_late < at.0 && at.0 <= decided);
                    settled = at.0;
                    assert!((end - settled) as f64 <= Chain::SETTLE_SECONDS * BASE + 1.0);
                }
                late if late.late_at().is_some() => {
                    let at = late.late_at().map_or(0, |at| at.0);
                    assert!(at >= settled && at >= last_late, "{late:?} after {settled}");
                    last_late = at;
                }
                other => {
                    if let Some(at) = position(other) {
                        assert!(at >= decided && at >= last, "{other:?} after {decided}");
                        last = at;
                    }
                }
            }
        }
    }
    let mut out = Vec::new();
    chain.finish(&mut out);
    assert!(out.contains(&Output::Decided(SampleIndex(end))));
    assert!(out.contains(&Output::Settled(SampleIndex(end))));
}

#[test]
fn every_beat_gets_a_class_in_time() {
    let record = Record::new(60.0, 4);
    let layout = wearable();
    let mut chain = chain(&layout);
    let (mut out, mut decided) = (Vec::new(), 0);
    for start in (0..60 * 250).step_by(50) {
        chain.push(&record.block(&layout, start, start + 50), &mut out);
        if let Some(Output::Decided(at)) = out.iter().rfind(|o| matches!(o, Output::Decided(_))) {
            decided = at.0;
        }
        let classes = classes(&out);
        let lag = SampleRate::new(BASE)
            .unwrap()
            .count(Chain::CLASS_LAG_SECONDS)
            .0;
        let due = beats(&out).iter().filter(|at| **at + lag < decided).count();
        assert_eq!(classes.len(), due, "at {start}");
    }
    chain.finish(&mut out);
    let classes = classes(&out);
    let at: Vec<u64> = classes.iter().map(|(at, _)| *at).collect();
    assert_eq!(at, beats(&out));
    assert!(classes.iter().all(|(_, class)| class.is_some()));
}

#[test]
fn nothing_straddles_a_gap() {
    let record = Record::new(60.0, 5);
    let layout = wearable();
    let gap = Gap {
        start: SampleIndex(5000),
        end: SampleIndex(6003),
    };
    let mut joined = Vec::new();
    let mut running = chain(&layout);
    running.push(&record.block(&layout, 0, 5000), &mut joined);
    running.gap(gap, &mut joined);
    let after_gap = joined.len();
    // A block from before the gap comes too late.
    running.push(&record.block(&layout, 4000, 5500), &mut joined);
    assert_eq!(joined.len(), after_gap);
    assert!(running.strip(gap.start, 5.0).is_some());
    running.push(&record.block(&layout, 6003, 11000), &mut joined);
    running.finish(&mut joined);
    let mut apart = play(&record, &layout, 0, 5000, 5000);
    assert_eq!(apart.len(), after_gap);
    apart.extend(play(&record, &layout, 6003, 11000, 5000));
    assert_eq!(joined, apart);

    // A gap that nobody announced is the same.
    let mut jumped = Vec::new();
    let mut running = chain(&layout);
    running.push(&record.block(&layout, 0, 5000), &mut jumped);
    running.push(&record.block(&layout, 6003, 11000), &mut jumped);
    running.finish(&mut jumped);
    assert_eq!(joined, jumped);
}

#[test]
fn an_electrode_that_falls_off_hands_over() {
    let record = Record::new(60.0, 11);
    let layout = layout(&[("II", BASE), ("V1", BASE)]);
    let mut chain = chain(&layout);
    let mut out = Vec::new();
    for second in 0..60u64 {
        let mut block = record.block(&layout, second * 250, second * 250 + 250);
        block.signals[0].lead_off = (20..30).contains(&second);
        block.signals[1].lead_off = (40..50).contains(&second);
        if block.signals[0].lead_off {
            block.signals[0].samples.fill(5.0);
        }
        chain.push(&block, &mut out);
    }
    chain.finish(&mut out);
    let found = beats(&out);
    let missed = record.beats.iter().filter(|t| {
        **t < 59.8
            && !found
                .iter()
                .any(|at| (*at as f64 / BASE - **t).abs() < 0.05)
    });
    let missed: Vec<f64> = missed.copied().collect();
    // Only while the change is being noticed.
    assert!(
        missed.iter().all(|t| (19.9..21.0).contains(t)),
        "{missed:?}"
    );
    assert_eq!(
        found.len() + missed.len(),
        record.beats.iter().filter(|t| **t < 59.8).count()
    );

    let off = |output: &Output| matches!(output, Output::Quality(q) if q.reason == QualityReason::LeadOff);
    assert_eq!(out.iter().filter(|output| off(output)).count(), 20);
}

#[test]
fn no_beat_where_every_electrode_is_off() {
    let record = Record::new(30.0, 2);
    let layout = layout(&[("II", BASE)]);
    let mut chain = chain(&layout);
    let mut out = Vec::new();
    for second in 0..30u64 {
        let mut block = record.block(&layout, second * 250, second * 250 + 250);
        block.signals[0].lead_off = (10..20).contains(&second);
        chain.push(&block, &mut out);
    }
    let found = beats(&out);
    assert!(!found.iter().any(|at| (2500..5000).contains(at)));
    assert!(found.iter().any(|at| *at < 2500) && found.iter().any(|at| *at >= 5000));
    // No interval reaches across.
    let slow = |output: &Output| matches!(output, Output::Rate(rate) if rate.bpm < 50.0);
    assert!(!out.iter().any(slow));
}

#[test]
fn a_flat_line_has_no_beats_and_says_so() {
    let record = Record {
        beats: Record::new(20.0, 4).beats,
        hum: 0.0,
        ..Record::new(0.0, 0)
    };
    let layout = layout(&[("II", BASE)]);
    let mut chain = chain(&layout);
    let mut out = Vec::new();
    chain.push(&record.block(&layout, 0, 5000), &mut out);
    let level = 3.0;
    let signals = vec![SignalBlock {
        samples: vec![level; 5000],
        lead_off: false,
    }];
    chain.push(
        &Block {
            start: SampleIndex(5000),
            signals,
        },
        &mut out,
    );
    assert!(beats(&out).iter().all(|at| *at < 5030), "{:?}", beats(&out));
    let flat =
        |output: &Output| matches!(output, Output::Quality(q) if q.reason == QualityReason::Flat);
    assert!(out.iter().filter(|output| flat(output)).count() >= 18);
}

#[test]
fn windows_end_on_the_hop_and_strips_where_asked() {
    let record = Record::new(40.0, 9);
    let layout = wearable();
    let mut chain = chain(&layout);
    let mut out = Vec::new();
    chain.push(&record.block(&layout, 1130, 8000), &mut out);
    let ([_, _, _, windows], trace) = content(&out);
    let trace = trace.unwrap();
    assert_eq!(trace.start, SampleIndex(1130));
    let reached = trace.end;
    assert!((8000 - reached.0) as f64 <= 1.2 * BASE, "{reached}");
    let ends: Vec<u64> = windows
        .iter()
        .filter_map(|output| match output {
            Output::Window(window) => {
                assert_eq!((window.n_samples, window.leads.len()), (2560, 3));
                let from = usize::try_from(window.start.0 - 1130).unwrap();
                for k in 0..3 {
                    assert_eq!(window.lead(k), &trace.signals[k][from..from + 2560]);
                }
                Some(window.end.0)
            }
            _ => None,
        })
        .collect();
    assert_eq!(ends, [3750, 5000, 6250, 7500]);
    let Some(Output::Window(last)) = windows.last() else {
        unreachable!()
    };
    assert_eq!(chain.window_at(SampleIndex(7500)).as_ref(), Some(last));
    assert!(chain.window_at(SampleIndex(7333)).is_some());
    assert!(chain.window_at(SampleIndex(3689)).is_none());

    assert!(
        chain
            .strip(reached.after(ecg::SampleCount(1)), 5.0)
            .is_none()
    );
    let strip = chain.strip(reached, 60.0).unwrap();
    assert_eq!(strip.end.since(strip.start).0, 2560);
    assert_eq!(strip.signals.len(), 4);
    let strip = chain.strip(SampleIndex(7001), 4.0).unwrap();
    assert_eq!((strip.start.0, strip.end.0), (6001, 7001));
    assert_eq!(
        strip.signals[2].samples[..],
        trace.signals[2][6001 - 1130..7001 - 1130]
    );
}

/// Windows say where a lead means nothing, whatever the cut; the seconds around it are not touched.
#[test]
fn windows_say_which_seconds_mean_nothing() {
    let record = Record::new(40.0, 9);
    let layout = layout(&[("II", BASE), ("V1", BASE)]);
    let windows = |step: u64| -> Vec<ecg::Window> {
        let mut chain = chain(&layout);
        let mut out = Vec::new();
        for start in (0..10_000).step_by(usize::try_from(step).unwrap()) {
            let mut block = record.block(&layout, start, (start + step).min(10_000));
            block.signals[1].lead_off = (4250..4750).contains(&start);
            chain.push(&block, &mut out);
        }
        out.into_iter()
            .filter_map(|output| match output {
                Output::Window(window) => Some(window),
                _ => None,
            })
            .collect()
    };
    let whole = windows(250);
    assert_eq!(whole, windows(50));
    let mut seen = 0;
    for window in &whole {
        let off = (4250u64, 4750);
        for hole in &window.unusable {
            let at = |sample: usize| window.start.0 + sample as u64;
            let (from, to) = (at(hole.samples.start), at(hole.samples.end));
            // The quality meter takes a moment to trust an electrode again.
            assert_eq!(hole.lead, 1);
            assert!(from >= off.0 && to <= off.1 + 500, "{from} to {to}");
            seen += hole.samples.len();
        }
        let covered = |sample: u64| {
            let at = usize::try_from(sample - window.start.0).unwrap();
            window
                .unusable
                .iter()
                .any(|hole| hole.samples.contains(&at))
        };
        for sample in (off.0.max(window.start.0)..off.1.min(window.end.0)).step_by(10) {
            assert!(covered(sample), "{sample}");
        }
    }
    assert!(seen >= 2 * 500, "{seen}");
}

#[test]
fn a_wearable_fits_in_memory() {
    for hz in [250.0, 360.0, 499.0, 500.0] {
        let layout = layout(&[("II", hz), ("V1", hz), ("V5", hz)]);
        let mut chain = chain(&layout);
        let record = Record::new(30.0, 1);
        let rate = SampleRate::new(hz).unwrap();
        let mut out = Vec::new();
        for second in 0..30 {
            let [start, end] = [second, second + 1].map(|s| rate.count(f64::from(s)).0);
            chain.push(&record.block(&layout, start, end), &mut out);
        }
        let bytes = chain.state_bytes();
        println!("{hz} Hz: {bytes} bytes, {:?}", chain.state_parts());
        assert!(bytes <= 256 * 1024, "{hz} Hz: {bytes}");
    }
}

/// The measurements among outputs.
fn complexes(out: &[Output]) -> Vec<ecg::Measurement> {
    out.iter()
        .filter_map(|output| match output {
            Output::Complex(measurement) => Some((**measurement).clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn every_beat_is_measured() {
    let record = Record::new(40.0, 7);
    for signals in [
        &[("II", 250.0), ("V1", 250.0), ("V5", 250.0)][..],
        &[("PPG", 125.0), ("I", 500.0), ("II", 500.0)],
        &[("II", 360.0)],
    ] {
        let layout = layout(signals);
        let base = layout.base_rate();
        let out = play(&record, &layout, 0, base.count(40.0).0, base.count(1.0).0);
        let found = complexes(&out);
        let peaks: Vec<u64> = found.iter().map(|found| found.r_peak.0).collect();
        assert_eq!(peaks, beats(&out), "{signals:?}");
        // The intervals wander about so much that not every P wave is believed.
        let n_p = found.iter().filter(|found| found.p.is_some()).count();
        assert!(2 * n_p > found.len(), "{n_p} of {}", found.len());
        for found in &found[3..found.len() - 1] {
            let hz = base.hz();
            let ms = |from: f64, to: f64| 1e3 * (to - from) / hz;
            // T and P run into each other where beats follow fast.
            if found.values.intervals.rr_ms > Some(800.0) {
                let p_to_r = found.p.map(|p| ms(p.peak, found.qrs.peak));
                assert!(
                    p_to_r.is_none_or(|ms| (ms - 160.0).abs() < 15.0),
                    "{found:?}"
                );
            }
            let r_to_t = ms(found.qrs.peak, found.t.unwrap().peak);
            assert!((r_to_t - 280.0).abs() < 20.0, "{found:?}");
            let intervals = found.median.intervals;
            assert!((intervals.qrs_ms.unwrap() - 80.0).abs() < 30.0, "{found:?}");
            let qt = intervals.qt_ms.unwrap();
            let rr = intervals.rr_ms.unwrap() / 1e3;
            assert!((intervals.qtc_bazett_ms.unwrap() - qt / rr.sqrt()).abs() < 0.1);
            let ecg_leads = layout.iter().filter_map(|signal| signal.kind.lead());
            let leads: Vec<_> = found
                .values
                .levels
                .iter()
                .map(|levels| levels.lead)
                .collect();
            assert_eq!(leads, ecg_leads.collect::<Vec<_>>());
        }
    }
}

#[test]
fn every_second_is_told_in_time() {
    let record = Record::new(30.0, 4);
    for signals in [
        &[("II", 250.0), ("V1", 250.0), ("V5", 250.0)][..],
        &[("PPG", 125.0), ("I", 500.0)],
        &[("II", 360.0)],
        &[("II", 100.0)],
    ] {
        let layout = layout(signals);
        let base = layout.base_rate();
        let mut chain = chain(&layout);
        let (mut out, step) = (Vec::new(), base.count(0.1).0);
        let start = base.count(7.3).0;
        for at in (start..base.count(27.3).0).step_by(usize::try_from(step).unwrap()) {
            chain.push(&record.block(&layout, at, at + step), &mut out);
            let ends = out.iter().filter_map(|output| match output {
                Output::Ventricular(second) => Some(base.seconds(SampleCount(second.end.0))),
                _ => None,
            });
            let ends: Vec<f64> = ends.collect();
            // The first whole stretch of four seconds ends at 12 s.
            let now = base.seconds(SampleCount(at + step));
            let expected = (12..40).map(f64::from);
            let lag = base.seconds(base.count(Chain::LAG_SECONDS));
            let expected = expected.filter(|end| *end <= now - lag + 1e-9);
            assert_eq!(ends, expected.collect::<Vec<f64>>(), "{signals:?} at {now}");
        }
    }
}

#[test]
fn nothing_is_measured_on_a_lead_that_is_off() {
    let record = Record::new(40.0, 11);
    let layout = layout(&[("I", BASE), ("II", BASE)]);
    let mut chain = chain(&layout);
    let mut out = Vec::new();
    for second in 0..40u64 {
        let mut block = record.block(&layout, second * 250, second * 250 + 250);
        block.signals[1].lead_off = (20..30).contains(&second);
        chain.push(&block, &mut out);
    }
    chain.finish(&mut out);
    for found in complexes(&out) {
        let off = (5000..7500).contains(&found.r_peak.0);
        let levels = &found.values.levels;
        assert_eq!(levels[1].r_mv.is_none(), off, "{found:?}");
        assert_eq!(found.values.axis_degrees.is_none(), off, "{found:?}");
        let lead = if off { ecg::Lead::I } else { ecg::Lead::II };
        // The seconds after count too when a lead is chosen.
        assert!(
            found.lead == lead || (7500..8500).contains(&found.r_peak.0),
            "{found:?}"
        );
    }
}

#[test]
fn impossible_chains_are_refused() {
    let layout = layout(&[("II", 60.0)]);
    let message = Chain::new(&layout, &Config::default())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("60 Hz") && message.contains("100 Hz"),
        "{message}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn cutting_changes_nothing(seed in 0u64..1000, start in 0u64..10_000, cuts in prop::collection::vec(1u64..700, 5..30), hum in prop::bool::ANY, moves in prop::bool::ANY) {
        let mut record = Record::new(140.0, seed);
        record.hum = if hum { 0.1 } else { 0.0 };
        let layout = if moves { bracelet() } else { wearable() };
        let end = start + cuts.iter().sum::<u64>();
        let whole = play(&record, &layout, start, end, 100_000);
        let mut chain = chain(&layout);
        let mut pieces = Vec::new();
        let mut at = start;
        for cut in cuts {
            chain.push(&record.block(&layout, at, at + cut), &mut pieces);
            at += cut;
        }
        chain.finish(&mut pieces);
        prop_assert_eq!(content(&whole), content(&pieces));
    }

    #[test]
    fn the_start_is_forgotten(
        seed in 0u64..1000,
        late in 1u64..4000,
        hum in prop::bool::ANY,
        turns in prop::sample::select(vec![f64::INFINITY, 11.0, 29.0]),
        moves in prop::bool::ANY,
    ) {
        let mut record = Record::new(70.0, seed);
        record.hum = if hum { 0.1 } else { 0.0 };
        record.turns = turns;
        let layout = if moves { bracelet() } else { wearable() };
        let end = 60 * 250;
        let first = play(&record, &layout, 0, end, 500);
        let later = play(&record, &layout, late, end, 500);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
        let known = late + (Chain::MEMORY_SECONDS * BASE) as u64;
        let facts = |out: &[Output]| -> Vec<Output> {
            out.iter().filter(|o| position(o).is_some_and(|at| at > known)).cloned().collect()
        };
        let late_facts = |out: &[Output]| -> Vec<Output> {
            let after = |o: &&Output| o.late_at().is_some_and(|at| at.0 > known);
            out.iter().filter(after).cloned().collect()
        };
        prop_assert!(late_facts(&later).len() > 10);
        let second = |o: &&Output| matches!(o, Output::Ventricular(_));
        prop_assert!(facts(&later).iter().filter(second).count() > 10);
        prop_assert!(late_facts(&first) == late_facts(&later));
        prop_assert_eq!(facts(&first), facts(&later));
        // Classes that a watermark has passed are wanted again after a restart.
        let lag = SampleRate::new(BASE).unwrap().count(Chain::CLASS_LAG_SECONDS).0;
        let classes = |out: &[Output]| -> Vec<(u64, Option<BeatClass>)> {
            classes(out).into_iter().filter(|(at, _)| *at + lag > known).collect()
        };
        prop_assert!(!classes(&first).is_empty());
        prop_assert_eq!(classes(&first), classes(&later));
        let windows = |out: &[Output]| -> Vec<Output> {
            let late = |o: &&Output| matches!(o, Output::Window(w) if w.start.0 > late + 750);
            out.iter().filter(late).cloned().collect()
        };
        prop_assert_eq!(windows(&first), windows(&later));
    }
}
