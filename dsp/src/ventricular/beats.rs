//! What the last beats say: how fast and regular they are, and in one lead how broad, how like each other and how like the
//! usual ones.

use crate::class::MISSING;
use crate::resample::dot;

/// Measures of intervals.
pub(super) const N_RHYTHM: usize = 11;
/// Measures of the beats of a lead.
pub(super) const N_SHAPE: usize = 12;

/// Beats of a possible run: five, so four intervals.
const RUN: usize = 5;
/// What is recent; beats before that are the usual ones.
const RECENT_SECONDS: f64 = 5.0;
/// Points of a look, and how far apart they are.
const POINTS: usize = 24;
const SPACING_SECONDS: f64 = 0.016;
/// What shapes are kept in: half the room.
const UNIT: f32 = 1.0 / 32_000.0;
/// A beat is shown whole this long after its R peak.
pub(super) const AFTER_SECONDS: f64 = 0.2;

/// Intervals up to the beats at `seconds`, the last ones before `end`.
pub(super) fn rhythm(
    seconds: &(impl DoubleEndedIterator<Item = f64> + Clone),
    end: f64,
) -> [f32; N_RHYTHM] {
    let mut row = [MISSING; N_RHYTHM];
    // The last intervals, newest first.
    let mut intervals = [0.0; 64];
    let mut n = 0;
    let mut later: Option<f64> = None;
    let (mut n_near, mut n_eight) = (0, 0);
    for at in seconds.clone().rev() {
        if let Some(later) = later
            && n < intervals.len()
        {
            intervals[n] = single(later - at);
            n += 1;
        }
        if end - at <= 4.0 {
            n_near = n;
        }
        if end - at <= 8.0 {
            n_eight = n;
        }
        later = Some(at);
    }
    let intervals = &intervals[..n];
    let last = seconds.clone().next_back();
    row[0] = last.map_or(MISSING, |last| single(end - last));
    row[1] = seconds.clone().filter(|at| end - at <= 4.0).count() as f32;
    let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
    let spread = |part: &[f32]| {
        let mean = mean(part);
        let square = part.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
        (square / part.len() as f32).sqrt() / mean
    };
    if n >= RUN - 1 {
        row[2] = mean(&intervals[..RUN - 1]);
        row[3] = spread(&intervals[..RUN - 1]);
    }
    // The fastest five beats of the last eight seconds.
    let runs = intervals[..n_eight].windows(RUN - 1);
    if let Some(run) = runs.min_by(|a, b| mean(a).total_cmp(&mean(b))) {
        row[4] = mean(run);
        row[5] = spread(run);
    }
    // And of the last four.
    let runs = intervals[..n_near].windows(RUN - 1);
    if let Some(run) = runs.min_by(|a, b| mean(a).total_cmp(&mean(b))) {
        row[6] = mean(run);
    }
    // How many intervals on end are those of a tachycardia, the most.
    let (mut most, mut length) = (0, 0);
    for interval in &intervals[..n_eight] {
        length = if *interval < 0.6 { length + 1 } else { 0 };
        most = most.max(length);
    }
    row[7] = most as f32;
    // The interval that was usual before.
    let usual = median(&intervals[n_near..]);
    row[8] = usual.unwrap_or(MISSING);
    if let Some(usual) = usual
        && row[4] > 0.0
    {
        row[9] = row[4] / usual;
    }
    row[10] = median(&intervals[..n_eight]).unwrap_or(MISSING);
    row
}

fn median(values: &[f32]) -> Option<f32> {
    let mut sorted = [0.0; 64];
    let sorted = sorted.get_mut(..values.len())?;
    sorted.copy_from_slice(values);
    sorted.sort_by(f32::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// What a beat looks like in a lead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Its R peak, seconds.
    pub(super) at: f64,
    /// Its complex, mean zero and length one, in units of [`UNIT`].
    shape: [i16; POINTS],
    /// From the lowest to the highest point, mV.
    height: f32,
    /// The share of the points that are far from the mean.
    width: f32,
    /// The steepest step of the complex next to its height.
    steep: f32,
}

impl Look {
    /// The complex of the beat at `at` seconds in samples at `hz`, the first of which is at `first` seconds;
    /// `None` where it is not there.
    pub(super) fn of(samples: &[f32], hz: f64, first: f64, at: f64) -> Option<Self> {
        let mut shape = [0.0; POINTS];
        let from = at - first - SPACING_SECONDS * (POINTS as f64 - 1.0) / 2.0;
        for (k, point) in shape.iter_mut().enumerate() {
            let place = (from + SPACING_SECONDS * k as f64) * hz;
            if place < 0.0 {
                return None;
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "rounding down is meant"
            )]
            let index = place as usize;
            let along = single(place - index as f64);
            let (a, b) = (samples.get(index)?, samples.get(index + 1)?);
            *point = a + along * (b - a);
        }
        let mean = shape.iter().sum::<f32>() / POINTS as f32;
        let shape = shape.map(|x| x - mean);
        let (low, high) = shape.iter().fold((0.0f32, 0.0f32), |(low, high), x| {
            (low.min(*x), high.max(*x))
        });
        let height = high - low;
        let top = high.max(-low);
        let far = shape.iter().filter(|x| x.abs() > 0.4 * top).count();
        let steepest = shape
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).abs())
            .fold(0.0, f32::max);
        let length = dot(&shape, &shape).sqrt().max(1e-6);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "no part is longer than the whole"
        )]
        let shape = shape.map(|x| (x / length / UNIT) as i16);
        Some(Self {
            at,
            shape,
            height,
            width: far as f32 / POINTS as f32,
            steep: steepest / height.max(1e-6),
        })
    }

    fn shape(&self) -> [f32; POINTS] {
        self.shape.map(|x| UNIT * f32::from(x))
    }
}

/// What the `looks` of the beats of a lead, oldest first, say at `end` seconds.
pub(super) fn shape<'a>(
    looks: impl DoubleEndedIterator<Item = &'a Look> + Clone,
    end: f64,
) -> [f32; N_SHAPE] {
    let mut row = [MISSING; N_SHAPE];
    let mut last: [Option<&Look>; RUN] = [None; RUN];
    for (slot, look) in last.iter_mut().zip(looks.clone().rev()) {
        *slot = Some(look).filter(|look| end - look.at <= RECENT_SECONDS);
    }
    let last = last.iter().flatten();
    let n = last.clone().count() as f32;
    row[0] = n;
    if n < 2.0 {
        return row;
    }
    let of = |value: fn(&Look) -> f32| last.clone().map(|look| value(look)).sum::<f32>() / n;
    row[1] = of(|look| look.width);
    row[2] = of(|look| look.steep);
    let height = of(|look| look.height);
    row[3] = height.clamp(1e-3, 100.0).ln();
    let spread = last
        .clone()
        .map(|look| (look.height - height).abs())
        .sum::<f32>()
        / n;
    row[4] = spread / height.max(1e-6);
    // Each next to the one before.
    let (mut fit, mut worst) = (0.0, 1.0f32);
    for (a, b) in last.clone().zip(last.clone().skip(1)) {
        let product = dot(&a.shape(), &b.shape());
        fit += product;
        worst = worst.min(product);
    }
    row[5] = fit / (n - 1.0);
    row[6] = worst;
    // Next to the usual ones.
    let usual = looks.filter(|look| end - look.at > RECENT_SECONDS);
    let mut mean = [0.0; POINTS];
    let (mut n_usual, mut width, mut steep, mut tall) = (0.0, 0.0, 0.0, 0.0);
    for look in usual {
        for (mean, x) in mean.iter_mut().zip(look.shape()) {
            *mean += x;
        }
        n_usual += 1.0;
        width += look.width;
        steep += look.steep;
        tall += look.height;
    }
    if n_usual < 2.0 {
        return row;
    }
    let length = dot(&mean, &mean).sqrt();
    // How alike the usual ones are.
    row[7] = length / n_usual;
    row[8] = last
        .clone()
        .map(|look| dot(&look.shape(), &mean))
        .sum::<f32>()
        / (n * length.max(1e-6));
    row[9] = row[1] - width / n_usual;
    row[10] = row[2] - steep / n_usual;
    row[11] = (height * n_usual / tall.max(1e-6)).clamp(0.01, 100.0).ln();
    row
}

#[expect(clippy::cast_possible_truncation, reason = "seconds and parts of them")]
fn single(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_five_beats_are_a_run() {
        let beats = [0.0, 0.8, 1.6, 2.4, 3.2, 3.6, 4.0, 4.4, 4.8, 5.6, 6.4];
        let row = rhythm(&beats.into_iter(), 7.0);
        assert!(
            (row[0] - 0.6).abs() < 1e-5 && (row[1] - 7.0).abs() < 1e-5,
            "{row:?}"
        );
        // The last four intervals, and the fastest: five beats 0.4 s apart.
        assert!(
            (row[2] - 0.6).abs() < 1e-5 && (row[4] - 0.4).abs() < 1e-5,
            "{row:?}"
        );
        assert!(row[5] < 1e-5 && (row[7] - 4.0).abs() < 1e-5, "{row:?}");
        assert!(
            (row[8] - 0.8).abs() < 1e-5 && (row[9] - 0.5).abs() < 1e-5,
            "{row:?}"
        );
        let none = rhythm(&std::iter::empty(), 7.0);
        assert!(
            (none[0] - MISSING).abs() < 1e-5 && none[1].abs() < 1e-5,
            "{none:?}"
        );
        // More intervals than there is room for.
        let many = rhythm(&(0..200).map(|k| 0.18 * f64::from(k)), 36.0);
        assert!((many[10] - 0.18).abs() < 1e-3, "{many:?}");
    }

    #[test]
    fn broad_beats_among_narrow_ones_are_unlike_them() {
        let hz = 62.5;
        let wave = |t: f64, at: f64, width: f64| (-((t - at) / width).powi(2)).exp();
        let narrow: Vec<f64> = (0..8).map(|k| 0.5 + f64::from(k)).collect();
        let broad: Vec<f64> = (0..6).map(|k| 9.0 + 0.4 * f64::from(k)).collect();
        let sample = |n: i32| {
            let t = f64::from(n) / hz;
            let usual = narrow.iter().map(|at| wave(t, *at, 0.02)).sum::<f64>();
            single(usual - broad.iter().map(|at| 2.0 * wave(t, *at, 0.08)).sum::<f64>())
        };
        let samples: Vec<f32> = (0..800).map(sample).collect();
        let look = |at: &f64| Look::of(&samples, hz, 0.0, *at);
        let looks: Vec<Look> = narrow.iter().chain(&broad).filter_map(look).collect();
        assert_eq!(looks.len(), 14);
        let row = shape(looks.iter(), 11.2);
        assert!(
            row[5] > 0.95 && row[8] < 0.2 && row[9] > 0.2 && row[11] > 0.5,
            "{row:?}"
        );
        let calm = shape(looks[..8].iter(), 8.0);
        assert!(calm[8] > 0.95 && calm[9].abs() < 0.05, "{calm:?}");
        assert!(Look::of(&samples, hz, 0.0, 0.1).is_none());
        assert!(Look::of(&samples, hz, 0.0, 12.75).is_none());
    }
}
