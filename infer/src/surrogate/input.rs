//! What the model sees of a pulse: `[1, channel, sample]`, 2.56 s around its onset at 50 Hz.
//!
//! The reference is `training/einthoven_training/surrogate_data.py`. The channels are the wave, prepared as for
//! [`pulse_rhythm`]; the onsets of pulses, each 1 where it is and 0 a sample away; the interval before the
//! pulse and the one after it, s, throughout. Of a stretch of more than 10 s each pulse is seen in the window whose middle it is
//! nearest to.

use crate::PulseStretch;
use crate::pulse_rhythm::{self, N_SAMPLES, RATE_HZ};

/// Samples around an onset.
pub const N_AROUND: usize = 128;
/// The wave, onsets, the interval before, the interval after.
pub const N_CHANNELS: usize = 4;
/// Intervals are taken for no shorter or longer than this, s.
pub const INTERVALS: [f64; 2] = [0.3, 2.0];
/// The shortest stretch.
pub(super) const SECONDS: f64 = N_SAMPLES as f64 / RATE_HZ;

/// A pulse, as it is seen.
pub(super) struct Pulse {
    /// Its onset, s from the start of the stretch.
    pub(super) onset: f64,
    /// The interval before it, s.
    pub(super) before: f64,
    /// `[channel, sample]`.
    pub(super) seen: Vec<f32>,
}

/// The pulses of a stretch; `None` where it is too short. What is in none of its windows is left out.
pub(super) fn pulses(stretch: &PulseStretch) -> Option<Vec<Pulse>> {
    // Each begins so many seconds after the stretch.
    let windows: Vec<(f64, Vec<f32>)> = pulse_rhythm::windows(stretch.samples.len(), stretch.rate)
        .map(|window| {
            let start = window.end as f64 / stretch.rate.hz() - SECONDS;
            let seen = pulse_rhythm::input(&stretch.samples[window], stretch.rate);
            (start, seen)
        })
        .collect();
    if windows.is_empty() {
        return None;
    }
    let onsets: Vec<f64> = stretch
        .pulses
        .iter()
        .filter(|at| stretch.start <= **at && **at < stretch.end)
        .map(|at| stretch.base.seconds(at.since(stretch.start)))
        .collect();
    let seen_in = |onset: f64| {
        let off = |(start, _): &&(f64, _)| (onset - start - SECONDS / 2.0).abs();
        let nearest = windows.iter().min_by(|a, b| off(a).total_cmp(&off(b)));
        let (start, wave) = nearest?;
        let at = onset - start;
        if !(0.0..SECONDS).contains(&at) {
            return None;
        }
        let of_window = onsets.iter().map(|onset| onset - start);
        let inside: Vec<f64> = of_window.filter(|at| (0.0..SECONDS).contains(at)).collect();
        let between = intervals(&inside, at);
        Some(Pulse {
            onset,
            before: between.0,
            seen: seen(wave, &inside, at, between),
        })
    };
    Some(onsets.iter().filter_map(|onset| seen_in(*onset)).collect())
}

/// The intervals before and after the onset at `at`; the only one there is at the ends, a second without any.
fn intervals(onsets: &[f64], at: f64) -> (f64, f64) {
    let place = onsets.partition_point(|onset| *onset < at);
    let apart = |from: Option<usize>, to: usize| {
        let apart = onsets.get(to)? - onsets.get(from?)?;
        Some(apart.clamp(INTERVALS[0], INTERVALS[1]))
    };
    let before = apart(place.checked_sub(1), place);
    let after = apart(Some(place), place + 1);
    (
        before.or(after).unwrap_or(1.0),
        after.or(before).unwrap_or(1.0),
    )
}

/// What is seen of the pulse that begins at `at`; all in s of the window.
pub(super) fn seen(wave: &[f32], onsets: &[f64], at: f64, (before, after): (f64, f64)) -> Vec<f32> {
    let place = |k: usize| at * RATE_HZ + k as f64 - (N_AROUND / 2) as f64;
    #[expect(clippy::cast_possible_truncation, reason = "what tensors hold")]
    let narrow = |x: f64| x as f32;
    let mut seen = Vec::with_capacity(N_CHANNELS * N_AROUND);
    seen.extend((0..N_AROUND).map(|k| narrow(between_samples(wave, place(k)))));
    seen.extend((0..N_AROUND).map(|k| {
        let near = |onset: &f64| (1.0 - (place(k) - onset * RATE_HZ).abs()).max(0.0);
        narrow(onsets.iter().map(near).sum())
    }));
    seen.extend([narrow(before); N_AROUND]);
    seen.extend([narrow(after); N_AROUND]);
    seen
}

/// A signal between its samples, on the line from one to the next; zero where it is not.
pub(super) fn between_samples(samples: &[f32], place: f64) -> f64 {
    if !(place >= 0.0 && place <= samples.len().saturating_sub(1) as f64) {
        return 0.0;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the samples"
    )]
    let (k, part) = (place.floor() as usize, place.fract());
    let sample = |k: usize| samples.get(k).copied().map_or(0.0, f64::from);
    sample(k) * (1.0 - part) + sample(k + 1) * part
}
