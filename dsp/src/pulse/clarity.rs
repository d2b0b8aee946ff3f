//! How far the pulses of the last seconds can be relied on.

use std::ops::Range;

use super::crests::{N_FORM, SPAN_SECONDS, Upstroke, Wave, log, seconds};
use super::grid::HZ;

/// Measures of a second.
pub const N_CLARITY: usize = 22;

/// Samples that are looked at.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small whole number"
)]
const SPAN: u64 = (SPAN_SECONDS * HZ) as u64;

/// What is measured of the second that ends before `end`, on the grid, and of those before it.
///
/// **How regular the pulses are is not among it**, so that a heart in fibrillation is not taken for motion; how like each
/// other they are, and whether one was hard to tell, is.
pub(super) fn measures(wave: &Wave, end: u64) -> [f32; N_CLARITY] {
    let start = end.saturating_sub(SPAN);
    let all = || {
        wave.upstrokes
            .iter()
            .filter(move |u| u.at >= start && u.at < end)
    };
    let late = |part: u64| all().filter(move |u| u.at + part >= end);
    let pulses: Vec<&Upstroke> = all().filter(|u| u.opinion > 0.0).collect();
    // One for even odds, nearly nothing where it is plain.
    let doubt = |u: &Upstroke| 1.0 / (0.5 * u.opinion).cosh().powi(2);
    let sum = |part: u64| late(part).map(doubt).sum::<f32>();
    let most = |part: u64| late(part).map(doubt).fold(0.0, f32::max);
    let n_late = |part: u64| late(part).filter(|u| u.opinion > 0.0).count() as f32;

    let mut mean = [0.0; N_FORM];
    for pulse in &pulses {
        pulse.add_to(&mut mean);
    }
    let length = mean
        .iter()
        .map(|x| x * x)
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    let likeness: Vec<f32> = pulses.iter().map(|p| p.likeness(&mean) / length).collect();
    let n = pulses.len().max(1) as f32;
    let average = likeness.iter().sum::<f32>() / n;
    let least = likeness.iter().copied().fold(1.0, f32::min);
    let least_late = (pulses.iter().zip(&likeness))
        .filter(|(p, _)| p.at + 100 >= end)
        .map(|(_, l)| *l)
        .fold(1.0, f32::min);

    let mut rises: Vec<f32> = pulses.iter().map(|p| p.rise()).collect();
    rises.sort_unstable_by(f32::total_cmp);
    let usual = rises.get(rises.len() / 2).copied().unwrap_or(0.0);
    let spread = |low: usize, high: usize| match rises.len() {
        0 => -6.0,
        n => log(rises[n * low / 10] / rises[(n - 1) * high / 10]),
    };
    let other = all()
        .filter(|u| u.opinion <= 0.0)
        .map(Upstroke::rise)
        .fold(0.0, f32::max);

    let (mut count, mut total, mut low, mut high) = (0.0f32, 0.0, f32::INFINITY, f32::NEG_INFINITY);
    let (mut still, mut longest) = (0u32, 0u32);
    for at in start..end {
        let height = wave.height(at);
        if height.is_nan() {
            continue;
        }
        count += 1.0;
        total += height;
        low = low.min(height);
        high = high.max(height);
        if wave.slope(at).abs() <= 0.003 * usual {
            still += 1;
            longest = longest.max(still);
        } else {
            still = 0;
        }
    }
    let skewness = skewness(wave, start..end, total / count.max(1.0), high - low);
    let (_, alike) = wave.period(end.saturating_sub(1));
    let last = pulses.last().map_or(3.0, |p| seconds(end - p.at));
    [
        sum(50),
        sum(100),
        sum(SPAN),
        most(50),
        most(150),
        average,
        least,
        least_late,
        spread(2, 8),
        spread(0, 10),
        log(other / usual.max(f32::MIN_POSITIVE)),
        log((high - low) / usual.max(f32::MIN_POSITIVE)),
        skewness,
        wave.roughness(start, end.saturating_sub(1)),
        longest as f32,
        alike,
        last,
        n_late(150),
        n,
        count,
        all().count() as f32,
        log(usual / (total / count.max(1.0)).abs().max(f32::MIN_POSITIVE)),
    ]
}

/// The skewness of the wave, whose mean is `level` and whose range is `range`.
fn skewness(wave: &Wave, span: Range<u64>, level: f32, range: f32) -> f32 {
    let (mut n, mut second, mut third) = (0.0f32, 0.0f32, 0.0f32);
    for at in span {
        let x = (wave.height(at) - level) / range.max(f32::MIN_POSITIVE);
        if !x.is_nan() {
            n += 1.0;
            second += x * x;
            third += x * x * x;
        }
    }
    let n = n.max(1.0);
    third / n / (second / n).max(1e-6).powf(1.5)
}
