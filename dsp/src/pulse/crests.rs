//! The upstrokes of a pulse wave, and what is measured of each to tell a pulse from a dicrotic wave or a movement.
//!
//! All measures are ratios, so neither the unit of the signal nor its level matters. They rest on the last
//! [`SPAN_SECONDS`] and on the [`LOOK_SECONDS`] after the upstroke's steepest point, never on what was decided before.

use std::collections::VecDeque;

use super::grid::HZ;

/// Measures of an upstroke.
pub const N_MEASURES: usize = 30;
/// How far back upstrokes are compared.
pub(super) const SPAN_SECONDS: f64 = 6.0;
/// How much of the wave after the steepest point is seen.
pub(super) const LOOK_SECONDS: f64 = LOOK as f64 / HZ;
/// The onset is at most this before the steepest point.
pub(super) const RISE_SECONDS: f64 = RISE as f64 / HZ;

const LOOK: u64 = 10;
const RISE: u64 = 6;
/// The steepest point is the steepest this far around.
const REACH: u64 = 5;
/// The foot is looked for this far before the steepest point.
const FOOT: u64 = 12;
const SPAN: u64 = 300;
/// What tells which way the wave points.
const LEAN: usize = 500;
/// What pulses depend on.
const MEMORY: u64 = 750;
const RING: usize = 1024;
/// Points of the form: from so many before the steepest point to [`LOOK`] after it.
const BEFORE: u64 = 10;
pub(super) const N_FORM: usize = 20;
const _: () = assert!(N_FORM as u64 == BEFORE + LOOK);
/// Upstrokes remembered at most: as close as they can be.
const MOST: usize = 64;
/// Lags of the correlation of the wave with itself, in steps of 40 ms: 0.28 to 1.6 s.
const LAGS: std::ops::RangeInclusive<usize> = 7..=40;
const N_STEPS: usize = 150;

/// An upstroke.
#[derive(Debug, Clone)]
pub(super) struct Upstroke {
    /// Its steepest point on the grid.
    pub(super) at: u64,
    /// The lowest point before it, and the highest after it.
    pub(super) foot: (u64, f32),
    pub(super) peak: (u64, f32),
    /// How much the wave rises in 40 ms there.
    pub(super) slope: f32,
    /// Where it is steepest, between samples of the grid.
    pub(super) steepest: f64,
    /// How likely it is a pulse: a logit.
    pub(super) opinion: f32,
    /// Zero mean, length one.
    form: [f32; N_FORM],
}

impl Upstroke {
    pub(super) fn rise(&self) -> f32 {
        self.peak.1 - self.foot.1
    }

    /// Where the steepest tangent meets the level of the foot, on the grid.
    pub(super) fn onset(&self, height: f32) -> f64 {
        let back = f64::from(2.0 * (height - self.foot.1) / self.slope);
        let most = (self.at - self.foot.0).min(RISE) as f64;
        self.at as f64 - back.clamp(0.0, most)
    }

    /// Adds its form to a sum.
    pub(super) fn add_to(&self, sum: &mut [f32; N_FORM]) {
        for (sum, point) in sum.iter_mut().zip(&self.form) {
            *sum += point;
        }
    }

    /// From -1 to 1 times the length of `other`.
    pub(super) fn likeness(&self, other: &[f32; N_FORM]) -> f32 {
        dot(&self.form, other)
    }
}

/// The wave of the last seconds and its upstrokes.
#[derive(Debug)]
pub(super) struct Wave {
    /// On the grid, at `index % RING`; NaN where the sensor was off.
    heights: Vec<f32>,
    /// How much it rises from the sample before to the one after, at the same place; NaN where there is none yet.
    slopes: Vec<f32>,
    next: u64,
    pub(super) upstrokes: VecDeque<Upstroke>,
}

impl Wave {
    pub(super) fn new() -> Self {
        Self {
            heights: vec![f32::NAN; RING],
            slopes: vec![f32::NAN; RING],
            next: 0,
            upstrokes: VecDeque::with_capacity(MOST + 1),
        }
    }

    pub(super) fn reset(&mut self, next: u64) {
        self.heights.fill(f32::NAN);
        self.slopes.fill(f32::NAN);
        self.next = next;
        self.upstrokes.clear();
    }

    /// The wave at `at`, one of the last [`RING`] samples.
    pub(super) fn height(&self, at: u64) -> f32 {
        self.heights[slot(at)]
    }

    pub(super) fn slope(&self, at: u64) -> f32 {
        self.slopes[slot(at)]
    }

    /// Whether the signal points down, of which the wave is `sign` times. It depends on nothing else.
    pub(super) fn points_down(&self, sign: f32) -> bool {
        let first = self.next.saturating_sub(LEAN as u64);
        // Each spans two samples.
        let mut slopes = [f32::NAN; LEAN / 2];
        for (slope, at) in slopes.iter_mut().zip((first..self.next).step_by(2)) {
            *slope = sign * self.slope(at);
        }
        ecg::points_down(&slopes)
    }

    /// The last samples, as many as pulses remember, and the index of the first.
    pub(super) fn last(&self) -> (u64, Vec<f32>) {
        let first = self.next.saturating_sub(MEMORY);
        (
            first,
            (first..self.next).map(|at| self.height(at)).collect(),
        )
    }

    /// The sample after the last.
    pub(super) fn end(&self) -> u64 {
        self.next
    }

    /// Takes a sample in; the upstroke that it completes, not yet among those that are remembered, with its measures.
    pub(super) fn push(&mut self, height: f32) -> Option<(Upstroke, [f32; N_MEASURES])> {
        let k = self.next;
        self.next += 1;
        self.heights[slot(k)] = height;
        self.slopes[slot(k)] = f32::NAN;
        if let Some(before) = k.checked_sub(2) {
            self.slopes[slot(k - 1)] = height - self.height(before);
        }
        let at = k.checked_sub(LOOK)?;
        let upstroke = self.upstroke(at)?;
        while self
            .upstrokes
            .front()
            .is_some_and(|old| at - old.at > SPAN || self.upstrokes.len() >= MOST)
        {
            self.upstrokes.pop_front();
        }
        let measures = self.measures(&upstroke);
        Some((upstroke, measures))
    }

    /// The upstroke whose steepest point is `at`.
    fn upstroke(&self, at: u64) -> Option<Upstroke> {
        let slope = self.slope(at);
        let earlier = at.checked_sub(FOOT.max(BEFORE) + 1)?;
        let steepest = slope > 0.0
            && (at - REACH..at).all(|other| self.slope(other) < slope)
            && (at + 1..=at + REACH).all(|other| self.slope(other) <= slope);
        // The sensor was on all along.
        let on = || (earlier..=at + LOOK).all(|other| !self.height(other).is_nan());
        if !steepest || !on() {
            return None;
        }
        let mut foot = (at, self.height(at));
        for before in (at - FOOT..at).rev() {
            let height = self.height(before);
            if height < foot.1 {
                foot = (before, height);
            }
        }
        let mut peak = (at, self.height(at));
        for after in at + 1..=at + LOOK {
            let height = self.height(after);
            if height > peak.1 {
                peak = (after, height);
            }
        }
        let mut form = [0.0; N_FORM];
        for (point, at) in form.iter_mut().zip(at - BEFORE..) {
            *point = self.height(at);
        }
        let mean = form.iter().sum::<f32>() / N_FORM as f32;
        let centred = form.map(|point| point - mean);
        let length = dot(&centred, &centred).sqrt().max(f32::MIN_POSITIVE);
        Some(Upstroke {
            at,
            foot,
            peak,
            slope,
            steepest: at as f64 + summit(self.slope(at - 1), slope, self.slope(at + 1)),
            opinion: 0.0,
            form: centred.map(|point| point / length),
        })
    }

    /// What tells a pulse: how an upstroke compares with those of the last seconds and with the wave around it.
    fn measures(&self, own: &Upstroke) -> [f32; N_MEASURES] {
        let at = own.at;
        let (slope, rise) = (own.slope, own.rise());
        let mut slopes: Vec<f32> = self.upstrokes.iter().map(|u| u.slope).collect();
        let mut rises: Vec<f32> = self.upstrokes.iter().map(Upstroke::rise).collect();
        slopes.push(slope);
        rises.push(rise);
        slopes.sort_unstable_by(f32::total_cmp);
        rises.sort_unstable_by(f32::total_cmp);
        let quantile = |sorted: &[f32], share: f32| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a place in a short list"
            )]
            let place = (share * (sorted.len() - 1) as f32).round() as usize;
            sorted[place]
        };
        let usual = quantile(&slopes, 0.8);
        let range = |from: u64, to: u64| {
            (from..=to).fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), at| {
                let height = self.height(at);
                (low.min(height), high.max(height))
            })
        };
        let (low, high) = range(at.saturating_sub(60), at + LOOK);
        let (_, before) = range(at.saturating_sub(30), own.foot.0);
        let (low_after, _) = range(own.peak.0, at + LOOK);
        // The steepest upstroke from so many to so many samples before, and how long ago it was.
        let steepest = |from: u64, to: u64| {
            let mut within = self
                .upstrokes
                .iter()
                .filter(|u| (to..=from).contains(&(at - u.at)));
            let most = within.clone().map(|u| u.slope).fold(0.0, f32::max);
            let last = within.rfind(|u| u.slope >= most);
            (log(most / slope), last.map_or(2.0, |u| seconds(at - u.at)))
        };
        let since = |part: f32| {
            let last = self.upstrokes.iter().rfind(|u| u.slope >= part * slope);
            last.map_or(3.0, |u| seconds(at - u.at))
        };
        let (recent, recent_ago) = steepest(22, 0);
        let (earlier, earlier_ago) = steepest(50, 23);
        let after = (at + REACH + 1..at + LOOK)
            .map(|at| self.slope(at))
            .fold(0.0, f32::max);
        let (period, height) = self.period(at);
        let echo = |k: u64| {
            let ago = at.saturating_sub(k * period);
            let near = ago.saturating_sub(4)..=ago + 4;
            near.map(|at| self.slope(at)).fold(0.0, f32::max) / slope
        };
        let (like_mean, likest) = self.likeness(own, 0.6 * usual);
        let above = |at: u64| self.slope(at) > 0.5 * slope;
        let width = (at..=at + LOOK).take_while(|at| above(*at)).count()
            + (at - FOOT..at).rev().take_while(|at| above(*at)).count();
        let roughness = self.roughness(at.saturating_sub(100), at + LOOK);
        let span = seconds((at - self.upstrokes.front().map_or(at, |first| first.at)).max(25));
        let of = |part: f32, whole: f32| part / whole.max(f32::MIN_POSITIVE);
        [
            log(slope / usual),
            log(rise / quantile(&rises, 0.8)),
            log(slope / quantile(&slopes, 1.0)),
            log(rise / quantile(&rises, 1.0)),
            log(slope / quantile(&slopes, 0.5)),
            log(rise / quantile(&rises, 0.5)),
            recent,
            recent_ago,
            earlier,
            earlier_ago,
            after / slope,
            of(own.foot.1 - low, high - low),
            of(own.peak.1 - low, high - low),
            of(before - own.foot.1, rise),
            since(0.4),
            since(0.7),
            since(1.0),
            seconds(period),
            height,
            echo(1),
            echo(2),
            since(0.6) / seconds(period),
            seconds(own.peak.0 - own.foot.0),
            width as f32,
            like_mean,
            likest,
            roughness,
            of(own.peak.1 - low_after, rise),
            self.upstrokes.len() as f32 / span,
            of(rise, slope),
        ]
    }

    /// How much an upstroke is like the mean of those that are steeper than `least`, and like the likest of them.
    fn likeness(&self, own: &Upstroke, least: f32) -> (f32, f32) {
        let mut mean = [0.0; N_FORM];
        let mut likest = -1.0f32;
        for other in self.upstrokes.iter().filter(|other| other.slope >= least) {
            other.add_to(&mut mean);
            likest = likest.max(own.likeness(&other.form));
        }
        let length = dot(&mean, &mean).sqrt().max(f32::MIN_POSITIVE);
        (own.likeness(&mean) / length, likest)
    }

    /// How much slopes change from `from` to before `to` against how great they are.
    pub(super) fn roughness(&self, from: u64, to: u64) -> f32 {
        let (mut rough, mut smooth) = (0.0, 0.0);
        for at in from..to {
            let (a, b) = (self.slope(at), self.slope(at + 1));
            if !(a + b).is_nan() {
                rough += (a - b).abs();
                smooth += a.abs();
            }
        }
        rough / smooth.max(f32::MIN_POSITIVE)
    }

    /// The lag at which the wave before `at` is most like itself, on the grid, and how much, -1 to 1.
    pub(super) fn period(&self, at: u64) -> (u64, f32) {
        let mut steps = [0.0; N_STEPS];
        let first = at.saturating_sub(2 * N_STEPS as u64);
        for (step, k) in steps.iter_mut().zip(0..) {
            let slope = self.slope(first + 2 * k + 1);
            *step = if slope.is_nan() { 0.0 } else { slope };
        }
        // The power of what comes before each step.
        let mut power = [0.0; N_STEPS + 1];
        for (k, step) in steps.iter().enumerate() {
            power[k + 1] = power[k] + step * step;
        }
        let mut best = (*LAGS.start(), -1.0f32);
        let correlation = |lag: usize| {
            let both = power[N_STEPS - lag] * (power[N_STEPS] - power[lag]);
            let alike = dot(&steps[..N_STEPS - lag], &steps[lag..]);
            (alike / both.max(0.0).sqrt().max(f32::MIN_POSITIVE)).clamp(-1.0, 1.0)
        };
        for lag in LAGS {
            let value = correlation(lag);
            // Of a period and twice that, the shorter one, unless the longer is clearly better.
            if value > best.1 + if lag > best.0 + 3 { 0.05 } else { 0.0 } {
                best = (lag, value);
            }
        }
        (2 * best.0 as u64, best.1)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        (self.heights.capacity() + self.slopes.capacity()) * size_of::<f32>()
            + self.upstrokes.capacity() * size_of::<Upstroke>()
    }
}

/// How far from the middle of three values the parabola through them is highest; the middle one is the highest of them.
fn summit(before: f32, middle: f32, after: f32) -> f64 {
    let bend = f64::from(2.0 * middle - before - after);
    if bend > 0.0 {
        (0.5 * f64::from(after - before) / bend).clamp(-0.5, 0.5)
    } else {
        0.0
    }
}

fn slot(at: u64) -> usize {
    usize::try_from(at % RING as u64).unwrap_or(0)
}

/// As [`HZ`], for what is measured.
const RATE: f32 = 50.0;

/// Samples of the grid in seconds.
pub(super) fn seconds(n: u64) -> f32 {
    n as f32 / RATE
}

/// The natural logarithm, of what is hardly anything -6.
pub(super) fn log(ratio: f32) -> f32 {
    ratio.max(0.0025).ln()
}

/// The sum of products, in eight parts at once.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0f32; 8];
    for (a, b) in a.iter().zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}
