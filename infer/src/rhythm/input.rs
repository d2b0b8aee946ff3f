//! What the network sees of a stretch: `[1, 1, N_INPUT]`.
//!
//! ```text
//! wave      N_SAMPLES             the lead at 125 Hz, typical peak 1; 0 where there is nothing or it is unusable
//! steps     N_CHANNELS x N_STEPS  one value each 8 samples: there, quality, beat, RR, change of RR, V, S, P
//! features  2 x N_FEATURES        the numbers, 0 where unknown; then 1 where known
//! ```
//!
//! Everything ends with the stretch; what is before its start is 0. RR, its change, the classes and P are held from
//! the beat before to the beat that they belong to.

use ecg::{BeatClass, Lead, SampleIndex, SignalKind};

use super::features::{N_FEATURES, features, median};
use crate::Context;

/// Samples per second.
pub const RATE_HZ: f64 = 125.0;
/// The longest stretch, samples: 30.72 s.
pub const N_SAMPLES: usize = 3840;
/// Samples of a step.
const STEP: usize = 8;
const N_STEPS: usize = N_SAMPLES / STEP;
const N_CHANNELS: usize = 8;
/// Numbers in all.
pub const N_INPUT: usize = N_SAMPLES + N_CHANNELS * N_STEPS + 2 * N_FEATURES;

/// The size of a lead is the median of its peaks in pieces of about a second.
const PIECE: usize = 128;
/// Nothing is larger than this many typical peaks.
const MOST: f32 = 4.0;
/// Peaks below this, mV, are no signal.
const LEAST_MV: f32 = 0.01;
/// Intervals longer than this, seconds, say nothing.
const MAX_RR: f64 = 3.0;

/// The tensor for the newest of `samples`, mV, of `lead`, the last of which ends with the context, and its numbers.
pub fn input(lead: Lead, samples: &[f32], context: &Context) -> (Vec<f32>, [f32; N_FEATURES]) {
    let samples = &samples[samples.len().saturating_sub(N_SAMPLES)..];
    let mut values = vec![0.0; N_INPUT];
    let (wave, rest) = values.split_at_mut(N_SAMPLES);
    let (steps, numbers) = rest.split_at_mut(N_CHANNELS * N_STEPS);

    let first = N_SAMPLES - samples.len();
    for (value, sample) in wave[first..].iter_mut().zip(samples) {
        *value = if sample.is_finite() { *sample } else { 0.0 };
    }
    let mut channels = steps.chunks_exact_mut(N_STEPS);
    let mut channel = || channels.next().unwrap_or_default();
    let [there, quality, beat] = [channel(), channel(), channel()];
    let [rr, change, v, s, p] = [channel(), channel(), channel(), channel(), channel()];
    // From a position of the record to samples before the end, and to a place in the tensor.
    let place = |at: SampleIndex| {
        let before = context.rate.seconds(context.end.since(at)) * RATE_HZ;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative; what is beyond usize is before the tensor"
        )]
        let before = before.round() as usize;
        N_SAMPLES.saturating_sub(before)
    };

    there[first.div_ceil(STEP)..].fill(1.0);
    for second in &context.quality {
        if second.signal != SignalKind::Ecg(lead) {
            continue;
        }
        let (from, to) = (place(second.start), place(second.end).max(1));
        if from >= to {
            continue;
        }
        let score = if second.score.is_finite() {
            second.score
        } else {
            0.0
        };
        quality[from / STEP..to.div_ceil(STEP)].fill(score.clamp(0.0, 1.0));
        if !second.usable() {
            wave[from..to].fill(0.0);
            there[from / STEP..to.div_ceil(STEP)].fill(0.0);
        }
    }
    scale(wave);

    let step = |at: SampleIndex| (place(at) / STEP).min(N_STEPS - 1);
    let intervals: Vec<f64> = context
        .beats
        .windows(2)
        .map(|pair| context.rate.seconds(pair[1].r_peak.since(pair[0].r_peak)))
        .collect();
    let seen: Vec<f64> = intervals
        .iter()
        .copied()
        .filter(|rr| *rr <= MAX_RR)
        .collect();
    let middle = median(&seen);
    let mut measured = context.measurements.iter().peekable();
    let mut from = 0;
    for (k, at) in context.beats.iter().enumerate() {
        let to = step(at.r_peak);
        beat[to] = 1.0;
        let held = from.min(to)..=to;
        if let Some(now) = k.checked_sub(1).and_then(|k| intervals.get(k)) {
            let ratio = |a: f64, b: f64| {
                let within = a <= MAX_RR && b <= MAX_RR && a > 0.0 && b > 0.0;
                #[expect(clippy::cast_possible_truncation, reason = "between -1 and 1")]
                let ratio = (a / b).ln().clamp(-1.0, 1.0) as f32;
                if within && ratio.is_finite() {
                    ratio
                } else {
                    0.0
                }
            };
            rr[held.clone()].fill(ratio(*now, middle));
            if let Some(before) = k.checked_sub(2).and_then(|k| intervals.get(k)) {
                change[held.clone()].fill(ratio(*now, *before));
            }
        }
        v[held.clone()].fill(f32::from(u8::from(at.class == Some(BeatClass::V))));
        s[held.clone()].fill(f32::from(u8::from(at.class == Some(BeatClass::S))));
        while measured.next_if(|m| m.r_peak < at.r_peak).is_some() {}
        if let Some(m) = measured.next_if(|m| m.r_peak == at.r_peak) {
            p[held].fill(if m.p.is_some() { 1.0 } else { -1.0 });
        }
        from = (to + 1).min(N_STEPS - 1);
    }

    let known = features(lead, context);
    let (value, flag) = numbers.split_at_mut(N_FEATURES);
    for ((value, flag), number) in value.iter_mut().zip(flag).zip(known) {
        if number.is_finite() {
            (*value, *flag) = (number, 1.0);
        }
    }
    (values, known)
}

/// Brings a lead to a typical peak of 1 and clips it.
fn scale(wave: &mut [f32]) {
    let peak = |piece: &[f32]| {
        piece
            .iter()
            .fold(0.0f32, |peak, value| peak.max(value.abs()))
    };
    let peaks = wave.chunks_exact(PIECE).map(peak);
    let peaks: Vec<f64> = peaks.filter(|peak| *peak > 0.0).map(f64::from).collect();
    #[expect(clippy::cast_possible_truncation, reason = "a median of f32 values")]
    let typical = median(&peaks) as f32;
    if typical.is_nan() || typical <= LEAST_MV {
        wave.fill(0.0);
        return;
    }
    for value in wave {
        *value = (*value / typical).clamp(-MOST, MOST);
    }
}
