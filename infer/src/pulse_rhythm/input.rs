//! What the model sees of a pulse wave: 10 s at 50 Hz, 0.5 to 8 Hz without delay, in typical deviations, upwards.
//!
//! The reference is `training/einthoven_training/ppg_prepare.py`. Neither the unit nor the offset of the wave matters, nor
//! which way it points: by its slopes alone ([`ecg::points_down`]) it is turned over. A
//! stretch that is longer is cut into windows of 10 s each 5 s, from its end on; what the model sees of each is a function of
//! its samples alone.

use std::ops::Range;

use ecg::SampleRate;

use crate::prepare::resample::Resampler;
use crate::prepare::zero_phase::ZeroPhase;

/// The rate of what the model sees.
pub const RATE_HZ: f64 = 50.0;
/// How many samples it sees.
pub const N_SAMPLES: usize = 500;
/// The band, whose edges are at half of the power when the filter has run once.
pub const BAND_HZ: [f64; 2] = [0.5, 8.0];
/// Values lie within so many deviations.
pub const CLIP: f64 = 6.0;

/// From one window to the next, samples.
const HOP: usize = 250;
/// From the median of absolute values to the deviation of a normal distribution.
const TYPICAL: f64 = 1.4826;
/// What a wave swings by, as a share of its largest value; less is a flat line with rounding on it.
const LEAST: f64 = 1e-6;

/// Where the windows of a wave of `n` samples at `rate` lie, the last of them first; none if it is shorter than one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some hundred samples"
)]
pub(crate) fn windows(n: usize, rate: SampleRate) -> impl Iterator<Item = Range<usize>> {
    let own = move |samples: usize| samples as f64 * rate.hz() / RATE_HZ;
    let length = own(N_SAMPLES).ceil() as usize;
    (0..)
        .map_while(move |k: usize| n.checked_sub(own(k * HOP).round() as usize))
        .map_while(move |end| Some(end.checked_sub(length)?..end))
}

/// What the model sees of a window of 10 s at `rate`. Samples that are no number are taken for the mean of the others; a
/// flat window is zeros.
#[expect(clippy::missing_panics_doc, reason = "it cannot panic")]
pub fn input(window: &[f32], rate: SampleRate) -> Vec<f32> {
    let Some((level, largest)) = level(window) else {
        return vec![0.0; N_SAMPLES];
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "from -2 to 2, as precise as the samples"
    )]
    let around = |x: &f32| {
        if x.is_finite() && largest > 0.0 {
            ((f64::from(*x) - level) / largest) as f32
        } else {
            0.0
        }
    };
    let own: Vec<f32> = window.iter().map(around).collect();
    let model_rate = SampleRate::new(RATE_HZ).expect("a rate within the limits");
    let resampler = Resampler::design(rate, model_rate, own.len());
    let mut wave = Vec::new();
    resampler.run(&own, &mut Vec::new(), &mut wave);
    // A window of more than 10 s, if by less than a sample.
    wave.drain(..wave.len().saturating_sub(N_SAMPLES));
    ZeroPhase::band(BAND_HZ, model_rate).run(&mut wave, &mut Vec::new());
    let mut seen = scaled(&wave);
    let slopes: Vec<f32> = seen.windows(2).map(|pair| pair[1] - pair[0]).collect();
    if ecg::points_down(&slopes) {
        for x in &mut seen {
            *x = -*x;
        }
    }
    seen
}

/// The mean and the largest absolute value of the samples that are numbers; `None` where none is.
fn level(samples: &[f32]) -> Option<(f64, f64)> {
    let finite = || samples.iter().filter(|x| x.is_finite());
    let n = finite().count();
    let sum: f64 = finite().map(|x| f64::from(*x)).sum();
    let largest = finite().fold(0.0f32, |most, x| most.max(x.abs()));
    (n > 0).then(|| (sum / n as f64, f64::from(largest)))
}

/// In typical deviations, clipped.
fn scaled(window: &[f64]) -> Vec<f32> {
    let mut sizes: Vec<f64> = window.iter().map(|x| x.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let half = sizes.len() / 2;
    let median = f64::midpoint(sizes[half - 1], sizes[half]);
    let scale = TYPICAL * median;
    if scale <= LEAST {
        return vec![0.0; window.len()];
    }
    #[expect(clippy::cast_possible_truncation, reason = "what tensors hold")]
    let value = |x: &f64| (x / scale).clamp(-CLIP, CLIP) as f32;
    window.iter().map(value).collect()
}
