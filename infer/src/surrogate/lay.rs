//! Beats, one after the other, as a trace.
//!
//! A beat of the model is [`N_BEAT`] samples at [`BEAT_RATE_HZ`], [`BEFORE`] of them before the R peak, as it is at an interval
//! of a second. Within 60 ms of the R peak it is laid as it is; the rest is stretched by the square root of the interval before
//! the beat, as QT is by Bazett. Where two beats meet, one fades into the other.

use super::input::{INTERVALS, between_samples};

/// The rate of a trace.
pub const RATE_HZ: f64 = 250.0;
/// The rate of a beat.
pub const BEAT_RATE_HZ: f64 = 125.0;
/// Samples of a beat.
pub const N_BEAT: usize = 116;
/// Those of them that are before the R peak.
pub const BEFORE: usize = 40;

/// What is not stretched, s from the R peak.
const RIGID: f64 = 0.06;
/// Over how many samples of a beat it fades at its ends.
const FADE: f64 = 8.0;

/// A beat to be laid.
pub(super) struct Beat {
    /// Where its R peak belongs, s.
    pub(super) at: f64,
    /// The interval before it, s.
    pub(super) interval: f64,
    /// [`N_BEAT`] samples, mV.
    pub(super) samples: Vec<f32>,
}

/// A trace of so many seconds, mV at [`RATE_HZ`].
pub(super) fn lay(beats: &[Beat], seconds: f64) -> Vec<f32> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the length of a stretch in memory; negative ones saturate"
    )]
    let index = |at: f64| (at * RATE_HZ).ceil() as usize;
    let n = index(seconds);
    let mut sums = vec![(0.0, 0.0); n];
    for beat in beats {
        let stretch = beat.interval.clamp(INTERVALS[0], INTERVALS[1]).sqrt();
        let off = |samples: usize| RIGID + (samples as f64 / BEAT_RATE_HZ - RIGID) * stretch;
        let (first, last) = (beat.at - off(BEFORE), beat.at + off(N_BEAT - 1 - BEFORE));
        for (k, (sum, weights)) in (sums.iter_mut().enumerate())
            .take(index(last))
            .skip(index(first))
        {
            let from = k as f64 / RATE_HZ - beat.at;
            let rigid = from.clamp(-RIGID, RIGID);
            let place = (rigid + (from - rigid) / stretch) * BEAT_RATE_HZ + BEFORE as f64;
            let end = (N_BEAT - 1) as f64 - place;
            let weight = (place.min(end) / FADE).clamp(0.0, 1.0);
            *sum += weight * between_samples(&beat.samples, place);
            *weights += weight;
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
    let sample = |(sum, weights): (f64, f64)| (sum / weights.max(1.0)) as f32;
    sums.into_iter().map(sample).collect()
}
