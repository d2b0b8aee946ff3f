//! Samples per second at 250 Hz, in packets of one second: through the whole chain with three leads, and
//! through QRS, RR and quality alone with one.
//!
//! `cargo bench -p dsp`

use divan::Bencher;
use divan::counter::ItemsCount;
use std::collections::VecDeque;

use dsp::pulse::{PulseDetector, Said};
use dsp::qrs::Qrs;
use dsp::quality::Features;
use dsp::quality::QualityMeter;
use dsp::rr::RateCounter;
use dsp::ventricular::{self, Detector};
use dsp::{Chain, Config, Mains};
use ecg::simulate::{Noise, Scenario, record};
use ecg::{
    Block, Layout, Lead, Quality, QualityReason, RateSource, SampleIndex, SampleRate, SignalBlock,
    SignalKind, SignalSpec, Wavelength,
};

const RATE: u64 = 250;
const SECONDS: u64 = 600;
const LEADS: [Lead; 3] = [Lead::II, Lead::V1, Lead::V5];

fn main() {
    divan::main();
}

fn layout() -> Layout {
    let rate = SampleRate::new(RATE as f64).expect("within the limits");
    let spec = |lead| SignalSpec {
        kind: SignalKind::Ecg(lead),
        rate,
    };
    Layout::new(&LEADS.map(spec)).expect("three different leads")
}

/// The quality meter alone, one lead.
#[divan::bench]
fn quality(bencher: Bencher<'_, '_>) {
    let rate = SampleRate::new(RATE as f64).expect("within the limits");
    let lead: Vec<f32> = (0..SECONDS).flat_map(|s| samples(s * RATE, 0)).collect();
    bencher
        .counter(ItemsCount::new(lead.len()))
        .with_inputs(|| {
            QualityMeter::new(SignalKind::Ecg(Lead::II), rate, rate).expect("a rate for it")
        })
        .bench_values(|mut meter| {
            let mut least = 1f32;
            for second in lead.chunks(250) {
                meter.push(second, false, |quality| least = least.min(quality.score));
            }
            least
        });
}

/// Pulses and how clear they are, and the quality meter, of one PPG; an item is a second of it.
#[divan::bench(args = [25, 100, 250])]
fn pulse(bencher: Bencher<'_, '_>, hz: u32) {
    let rate = SampleRate::new(f64::from(hz)).expect("within the limits");
    let scenario = Scenario {
        ppg_rate: Some(rate),
        noise: Noise::AMBULATORY,
        ..Scenario::new(1, SampleRate::new(100.0).expect("within the limits"))
    };
    let ppg = record(&scenario, SECONDS as f64).expect("it can be").ppg;
    let second = usize::try_from(hz).unwrap_or(1);
    bencher
        .counter(ItemsCount::new(SECONDS))
        .with_inputs(|| {
            let kind = SignalKind::Ppg(Wavelength::Green);
            let meter = QualityMeter::new(kind, rate, rate).expect("a rate for it");
            let detector = PulseDetector::new(kind, rate).expect("a rate for it");
            (detector, meter)
        })
        .bench_values(|(mut detector, mut meter)| {
            let (mut n, mut least) = (0, 1f32);
            for second in ppg.chunks(second) {
                detector.push(second, false, |said| {
                    n += u32::from(matches!(said, Said::Pulse(_)));
                });
                meter.push(second, false, |quality| least = least.min(quality.score));
            }
            (n, least)
        });
}

/// A beat each 0.8 s over some wander and noise.
fn samples(start: u64, lead: usize) -> Vec<f32> {
    let sample = |n: u64| {
        let t = n as f32 / RATE as f32;
        let phase = (n % 200) as f32 - 100.0;
        let beat = (-phase * phase / 12.0).exp() + 0.2 * (-(phase - 60.0).powi(2) / 300.0).exp();
        beat * (1.0 - 0.2 * lead as f32) + 0.1 * t.sin() + 0.02 * (t * 713.0).sin()
    };
    (start..start + RATE).map(sample).collect()
}

#[divan::bench]
fn three_leads(bencher: Bencher<'_, '_>) {
    let layout = layout();
    let block = |second: u64| Block {
        start: SampleIndex(second * RATE),
        signals: (0..LEADS.len())
            .map(|lead| SignalBlock {
                samples: samples(second * RATE, lead),
                lead_off: false,
            })
            .collect(),
    };
    let blocks: Vec<Block> = (0..SECONDS).map(block).collect();
    bencher
        .counter(ItemsCount::new(SECONDS * RATE * LEADS.len() as u64))
        .with_inputs(|| Chain::new(&layout, &Config::default()).expect("the defaults are valid"))
        .bench_values(|mut chain| {
            let mut out = Vec::new();
            for block in &blocks {
                out.clear();
                chain.push(block, &mut out);
            }
            chain
        });
}

/// The ventricular detector alone, three leads.
#[divan::bench]
fn ventricles(bencher: Bencher<'_, '_>) {
    let rate = SampleRate::new(RATE as f64).expect("within the limits");
    let leads: Vec<Vec<f32>> = (0..LEADS.len())
        .map(|lead| (0..SECONDS).flat_map(|s| samples(s * RATE, lead)).collect())
        .collect();
    let detector = || {
        let model = ventricular::Model::shipped();
        let leads = LEADS.into_iter().enumerate();
        let mut detector = Detector::new(model, rate, rate, leads).expect("a rate for it");
        detector.reset(SampleIndex(0));
        detector
    };
    bencher
        .counter(ItemsCount::new(SECONDS * RATE * LEADS.len() as u64))
        .with_inputs(detector)
        .bench_values(|mut detector| {
            let mut most = 0f32;
            for second in 0..SECONDS {
                let [start, end] = [second, second + 1].map(|second| SampleIndex(second * RATE));
                for (k, lead) in leads.iter().enumerate() {
                    let part = usize::try_from(second * RATE).unwrap_or(0)..;
                    detector.push(k, start, &lead[part][..250]);
                    let quality = Quality {
                        signal: SignalKind::Ecg(LEADS[k]),
                        start,
                        end,
                        score: 1.0,
                        reason: QualityReason::Good,
                    };
                    detector.judge(k, &quality, Features::default());
                }
                for beat in (start.0..end.0).filter(|n| n % 200 == 100) {
                    detector.beat(SampleIndex(beat));
                }
                detector.take(end, |told| most = most.max(told.vt));
            }
            most
        });
}

/// QRS, RR and quality of one lead: what others call a detector.
#[divan::bench]
fn one_lead_to_beats(bencher: Bencher<'_, '_>) {
    let kind = SignalKind::Ecg(Lead::II);
    let rate = SampleRate::new(RATE as f64).expect("within the limits");
    let blocks: Vec<Vec<f32>> = (0..SECONDS).map(|s| samples(s * RATE, 0)).collect();
    bencher
        .counter(ItemsCount::new(SECONDS * RATE))
        .with_inputs(|| {
            (
                Qrs::new(kind, rate, Mains::Auto).expect("the rate is enough"),
                QualityMeter::new(kind, rate, rate).expect("the rate is enough"),
                RateCounter::new(RateSource::Ecg, rate),
            )
        })
        .bench_values(|(mut qrs, mut quality, mut rates)| {
            let (mut peaks, mut usable, mut sum) = (VecDeque::new(), 0, 0.0);
            for block in &blocks {
                qrs.push(block, false, &mut peaks);
                quality.push(block, false, |quality| {
                    usable += u32::from(quality.usable());
                });
                let told = peaks.drain(..).filter_map(|peak| rates.push(peak));
                sum += told.map(|rate| rate.bpm).sum::<f32>();
            }
            (usable, sum)
        });
}
