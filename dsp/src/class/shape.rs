//! What a beat looks like in one lead, in itself and next to the beats before it, as [`N`] numbers.
//!
//! Takes a lead, mV, 0.5 to 40 Hz, at any rate of 100 Hz and more; each beat is cut out of it at 125 Hz
//! from [`BEFORE_SECONDS`] before to [`AFTER_SECONDS`] after its R peak. The beats of the last
//! [`NEAR_SECONDS`], at most [`MOST`], vote which of them are alike, and the mean of these, the
//! **template**, is what the patient's beats usually look like. Every feature is a ratio, a
//! correlation or a duration: the gain of the lead and, for most, its polarity do not matter.

use std::collections::VecDeque;

use ecg::SampleRate;

use super::{MISSING, NEAR_SECONDS, median, single};

/// How many features there are.
pub const N: usize = 44;
/// Which of them say how well the QRS fits that of the beat before, and of the one before that.
pub(super) const LAST_FIT: usize = 10;
pub(super) const LAST_BUT_ONE_FIT: usize = 43;
/// The correlation of the P wave with the usual one.
pub(super) const P_WAVE: usize = 17;

/// What is looked at before the R peak, with the room for shifting.
pub const BEFORE_SECONDS: f64 = (PRE + SHIFT) as f64 / RATE_HZ;
/// What is looked at after the R peak, with the room for shifting.
pub const AFTER_SECONDS: f64 = (POST + SHIFT) as f64 / RATE_HZ;

const RATE_HZ: f64 = 125.0;
/// Samples of a beat before its R peak.
const PRE: usize = 38;
/// Samples of a beat from its R peak on.
const POST: usize = 50;
/// Beats are aligned by at most this.
const SHIFT: usize = 5;
/// The samples of a beat.
const LENGTH: usize = PRE + POST;
/// Those and the room on both sides.
const WIDE: usize = LENGTH + 2 * SHIFT;
/// The QRS, in samples of a beat.
const QRS: std::ops::Range<usize> = PRE - 13..PRE + 16;
/// As many shifts as there are, and one to make it a multiple of four.
const SHIFTS: usize = 2 * SHIFT + 2;
/// Beats before the one that is judged.
pub const MOST: usize = 20;

/// One lead, as far as it is at hand.
#[derive(Debug, Clone, Copy)]
pub struct Lead<'a> {
    /// Samples from `first` on, mV.
    pub samples: &'a [f32],
    /// Index of the first sample.
    pub first: u64,
    /// Samples per second.
    pub rate: SampleRate,
}

type Wide = [f32; WIDE];
type Strengths = [f32; SHIFTS];

impl Lead<'_> {
    /// The beat with its R peak `at` seconds; before the first and after the last sample these repeat.
    /// Where between two samples it looks does not depend on which sample is the first one.
    fn cut(&self, at: f64) -> Wide {
        let hz = self.rate.hz();
        let start = (at - BEFORE_SECONDS) * hz;
        let end = self.samples.len().saturating_sub(1);
        let sample = |index: u64| {
            let slot = usize::try_from(index.saturating_sub(self.first)).unwrap_or(end);
            self.samples[slot.min(end)]
        };
        let mut wide = [0.0; WIDE];
        let step = floor(hz / RATE_HZ);
        if (hz - step as f64 * RATE_HZ).abs() < 1e-9 && start >= 0.0 {
            // Whole steps: the same fraction all along.
            let whole = floor(start);
            let fraction = single(start - whole as f64);
            let between = |left: f32, right: f32| left + (right - left) * fraction;
            if let Some(there) = self.from(whole, (WIDE - 1) * step_by(step) + 2) {
                for (slot, k) in wide.iter_mut().zip((0..).step_by(step_by(step))) {
                    *slot = between(there[k], there[k + 1]);
                }
                return wide;
            }
            for (slot, index) in wide.iter_mut().zip((whole..).step_by(step_by(step))) {
                *slot = between(sample(index), sample(index + 1));
            }
            return wide;
        }
        for (k, slot) in wide.iter_mut().enumerate() {
            let position = (start + k as f64 * hz / RATE_HZ).max(0.0);
            let whole = floor(position);
            let left = sample(whole);
            *slot = left + (sample(whole + 1) - left) * single(position - whole as f64);
        }
        wide
    }

    /// So many samples from an index on, where all of them are at hand.
    fn from(&self, index: u64, n: usize) -> Option<&[f32]> {
        let slot = usize::try_from(index.checked_sub(self.first)?).ok()?;
        self.samples.get(slot..)?.get(..n)
    }
}

/// What can be told of a beat by itself.
#[derive(Debug, Clone, Copy, Default)]
struct Outline {
    /// From a tenth to nine tenths of all that the lead moves around the R peak, seconds.
    spread: f32,
    /// The same from a quarter to three.
    core: f32,
    /// From the first to the last steep sample, seconds.
    width: f32,
    /// How long the lead is more than half as high as at most, seconds.
    half: f32,
    /// From the lowest to the highest, mV.
    height: f32,
    /// Area under the QRS whatever its sign, mV s.
    area: f32,
    /// Signed area after the QRS, mV s.
    t: f32,
    /// Signed area of the QRS, mV s.
    q: f32,
    /// The highest or lowest value, mV.
    peak: f32,
    /// The P wave above what surrounds it, mV.
    p: f32,
    /// How the lead trembles beside the QRS, next to its steepest slope.
    noise: f32,
}

impl Outline {
    fn of(wide: &Wide) -> Self {
        let beat = &wide[SHIFT..SHIFT + LENGTH];
        let step = single(1.0 / RATE_HZ);
        let slope = |k: usize| (beat[k + 1] - beat[k]).abs();
        let mut sums = [0.0; 52];
        let mut sum = 0.0;
        for (slot, k) in sums.iter_mut().zip(PRE - 22..PRE + 30) {
            sum += slope(k);
            *slot = sum;
        }
        let reach = |share: f32| {
            let wanted = share * sum;
            let k = sums.partition_point(|sum| *sum < wanted).min(51);
            let before = if k == 0 { 0.0 } else { sums[k - 1] };
            k as f32 + (wanted - before) / (sums[k] - before).max(1e-9)
        };
        let steepest = (PRE - 18..PRE + 22).map(slope).fold(1e-6, f32::max);
        let steep = |k: &usize| slope(*k) > 0.25 * steepest;
        let (from, to) = (
            (PRE - 18..PRE + 22).find(steep),
            (PRE - 18..PRE + 22).rfind(steep),
        );
        let around = &beat[PRE - 15..PRE + 18];
        let high = around.iter().copied().fold(f32::MIN, f32::max);
        let low = around.iter().copied().fold(f32::MAX, f32::min);
        let near = &beat[PRE - 18..PRE + 22];
        let top = near.iter().fold(1e-6f32, |top, x| top.max(x.abs()));
        let peak = beat[PRE - 12..PRE + 13].iter().copied();
        let mean = |of: &[f32]| of.iter().sum::<f32>() / of.len() as f32;
        let p = &beat[PRE - 31..PRE - 9];
        let p_high = p[4..18].iter().copied().fold(f32::MIN, f32::max);
        let bend = |k: usize| (beat[k + 1] - 2.0 * beat[k] + beat[k - 1]).abs();
        let beside = (1..PRE - 15).chain(PRE + 25..LENGTH - 1);
        let n_beside = beside.clone().count() as f32;
        Self {
            spread: (reach(0.9) - reach(0.1)) * step,
            core: (reach(0.75) - reach(0.25)) * step,
            width: (to.unwrap_or(PRE) + 1 - from.unwrap_or(PRE)) as f32 * step,
            half: near.iter().filter(|x| x.abs() > 0.5 * top).count() as f32 * step,
            height: high - low,
            area: around.iter().map(|x| x.abs()).sum::<f32>() * step,
            t: beat[PRE + 22..].iter().sum::<f32>() * step,
            q: beat[PRE - 8..PRE + 9].iter().sum::<f32>() * step,
            peak: peak.fold(
                0.0,
                |peak: f32, x| if x.abs() > peak.abs() { x } else { peak },
            ),
            p: p_high - 0.5 * (mean(&p[..4]) + mean(&p[18..])),
            noise: beside.map(bend).sum::<f32>() / n_beside / steepest,
        }
    }
}

/// A beat cut out of a lead, with what can be told of it by itself.
#[derive(Debug, Clone)]
pub(super) struct Look {
    wide: Wide,
    /// How strong it is where a QRS is laid over it, at each shift.
    strengths: Strengths,
    outline: Outline,
    /// How far it is from the beats before it, the last one first; squared.
    apart: [f32; MOST],
}

impl Look {
    /// Of the beat with its R peak `at` seconds after `others`, oldest first; `None` where nothing of the lead is
    /// at hand.
    pub(super) fn of(lead: &Lead<'_>, at: f64, others: &VecDeque<Look>) -> Option<Self> {
        if lead.samples.is_empty() {
            return None;
        }
        let wide = lead.cut(at);
        let mut apart = [0.0; MOST];
        for (slot, other) in apart.iter_mut().zip(others.iter().rev()) {
            *slot = apart_squared(&wide, &other.wide);
        }
        Some(Self {
            wide,
            strengths: strengths(&wide),
            outline: Outline::of(&wide),
            apart,
        })
    }
}

/// The features of beat `k` of `beats`, instants in seconds in order; `None` where the lead is flat.
pub fn features(lead: &Lead<'_>, beats: &[f64], k: usize) -> Option<[f32; N]> {
    let mut looks = VecDeque::with_capacity(MOST);
    for at in &beats[before(beats, k)] {
        looks.push_back(Look::of(lead, *at, &looks)?);
    }
    row(&Look::of(lead, beats[k], &looks)?, looks.iter())
}

/// The beats that beat `k` is compared with.
pub(super) fn before(beats: &[f64], k: usize) -> std::ops::Range<usize> {
    let first = beats[..k].partition_point(|at| *at < beats[k] - NEAR_SECONDS);
    first.max(k.saturating_sub(MOST))..k
}

/// The features of a beat after `others`, at most [`MOST`], oldest first; `None` where the lead is flat.
pub(super) fn row<'a>(own: &'a Look, others: impl Iterator<Item = &'a Look>) -> Option<[f32; N]> {
    let outline = &own.outline;
    // Less than a microvolt is no heart.
    if outline.height.is_nan() || outline.height < 1e-3 {
        return None;
    }
    let scale = outline.height;
    let mut row = [MISSING; N];
    row[0] = outline.spread;
    row[1] = outline.core;
    row[2] = outline.width;
    row[3] = outline.half;
    row[4] = outline.t / scale;
    row[5] = outline.q / scale;
    row[6] = outline.t * outline.peak.signum() / scale;
    row[7] = outline.area / scale;
    row[8] = outline.p / scale;
    row[9] = outline.noise;
    let (mut near, mut n) = ([own; MOST], 0);
    for (slot, other) in near.iter_mut().zip(others) {
        *slot = other;
        n += 1;
    }
    if n >= 2 {
        compare(&mut row, own, &near[..n]);
    }
    Some(row)
}

/// The beat beside those before it.
fn compare(row: &mut [f32; N], own: &Look, others: &[&Look]) {
    let n = others.len();
    let outline = &own.outline;
    let beat = &own.wide[SHIFT..SHIFT + LENGTH];
    let qrs = Centred::of(&beat[QRS]);

    // How well it fits each of them, where it fits best.
    let mut fits = [0.0; MOST];
    for (slot, other) in fits.iter_mut().zip(others) {
        *slot = qrs.best(&other.wide, &other.strengths).0;
    }
    row[LAST_FIT] = fits[n - 1];
    row[LAST_BUT_ONE_FIT] = fits[n - 2];
    row[11] = fits[..n].iter().filter(|fit| **fit > 0.9).count() as f32 / n as f32;

    let (template, alike) = template(others);
    let (fit, shift) = qrs.best(&template, &strengths(&template));
    let usual = &template[shift..shift + LENGTH];
    row[13] = fit;
    row[14] = shift.abs_diff(SHIFT) as f32 / single(RATE_HZ);
    row[15] = correlation(beat, usual);
    row[16] = correlation(&beat[PRE + 18..], &usual[PRE + 18..]);
    let p = Products::of(&beat[..PRE - 9], &usual[..PRE - 9]);
    row[P_WAVE] = p.correlation();
    row[18] = p.slant();
    row[19] = difference(beat, usual);
    row[20] = difference(&beat[QRS], &usual[QRS]);

    let mut usual = Columns::new();
    for (other, _) in others.iter().zip(alike).filter(|(_, alike)| *alike) {
        let o = &other.outline;
        usual.push([
            o.spread, o.core, o.width, o.height, o.area, o.t, o.q, o.peak,
        ]);
    }
    usual.sort();
    let [spread, core, width, height, area, t, q, peak] = std::array::from_fn(|k| usual.median(k));
    let ratio = |own: f32, usual: f32| ((own + 1e-3) / (usual + 1e-3)).ln();
    row[21] = spread;
    row[22] = ratio(outline.spread, spread);
    row[23] = ratio(outline.core, core);
    row[24] = ratio(outline.width, width);
    row[25] = ratio(outline.height, height);
    row[26] = ratio(outline.area, area);
    let height = height + 1e-3;
    row[27] = (outline.t - t) / height;
    row[28] = (outline.q - q) / height;
    row[29] = (outline.peak - peak) / height;

    // What the usual beat is like, noise averaged out.
    let clean = Outline::of(&template);
    let scale = clean.height + 1e-3;
    row[30] = clean.p / scale;
    row[31] = clean.half;
    row[32] = clean.area / scale;
    row[33] = clean.t * clean.peak.signum() / scale;
    row[34] = clean.q.abs() / scale;
    row[35] = clean.core;

    // All beats: how well this one fits, how wide they are, how much they tremble, how far from the usual one.
    let usual = Apart::from(&template[SHIFT..SHIFT + LENGTH][QRS]);
    let mut all = Columns::new();
    for (other, fit) in others.iter().zip(fits) {
        let (o, own) = (&other.outline, &other.wide[SHIFT..SHIFT + LENGTH]);
        all.push([fit, o.spread, o.noise, usual.difference(&own[QRS])]);
    }
    all.sort();
    row[12] = all.median(0);
    row[39] = all.median(2);

    // The narrowest beats may be the normal ones even where they are few.
    let narrow = all.rows[n / 4][1];
    row[36] = ratio(outline.spread, narrow);
    let (mut areas, mut fit) = (Columns::new(), 0.0);
    for (other, own) in others.iter().zip(fits) {
        let other = &other.outline;
        if other.spread <= narrow {
            areas.push([other.area / (other.height + 1e-3)]);
            fit += own;
        }
    }
    areas.sort();
    row[37] = (outline.area / (outline.height + 1e-3) / (areas.median(0) + 1e-3)).ln();
    row[38] = fit / areas.n.max(1) as f32;

    // Beside how much the beats before it differ among themselves.
    row[40] = ((row[20] + 0.02) / (all.rows[n / 3][3] + 0.02)).ln();
    row[41] = ((row[20] + 0.02) / (all.rows[3 * n / 4][3] + 0.02)).ln();
    let middle = all.median(1);
    let mut off = Columns::new();
    for other in others {
        off.push([(other.outline.spread - middle).abs()]);
    }
    off.sort();
    row[42] = (outline.spread - middle) / (off.median(0) + 0.008);
}

/// Numbers of up to [`MOST`] beats, `[beat][what]`, each column to be sorted by itself, all of them at once.
struct Columns<const WHAT: usize> {
    rows: [[f32; WHAT]; MOST],
    n: usize,
}

impl<const WHAT: usize> Columns<WHAT> {
    fn new() -> Self {
        Self {
            rows: [[f32::INFINITY; WHAT]; MOST],
            n: 0,
        }
    }

    /// Those of one more beat.
    fn push(&mut self, row: [f32; WHAT]) {
        self.rows[self.n] = row;
        self.n += 1;
    }

    /// Sorts, with what is not there after all else. The order of comparisons does not depend on the numbers.
    fn sort(&mut self) {
        for &(a, b) in &SORTING {
            let (low, high) = (self.rows[a], self.rows[b]);
            for k in 0..WHAT {
                let (low, high) = (low[k], high[k]);
                self.rows[a][k] = if low < high { low } else { high };
                self.rows[b][k] = if low < high { high } else { low };
            }
        }
    }

    /// The middle of a sorted column.
    fn median(&self, column: usize) -> f32 {
        let mut sorted = [0.0; MOST];
        for (slot, row) in sorted.iter_mut().zip(&self.rows[..self.n]) {
            *slot = row[column];
        }
        median(&sorted[..self.n])
    }
}

/// Which to compare and to put in order, one pair after the other, so that [`MOST`] numbers are sorted.
///
/// Reference: Batcher (AFIPS, 1968), as Knuth has it (The Art of Computer Programming 3, 5.2.2, algorithm M).
static SORTING: [(usize, usize); 103] = {
    let (mut pairs, mut n) = ([(0, 0); 103], 0);
    let mut merged = 1;
    while merged < MOST {
        let mut apart = merged;
        while apart > 0 {
            let mut a = apart % merged;
            while a + apart < MOST {
                let end = a + apart;
                while a < end && a + apart < MOST {
                    if a / (2 * merged) == (a + apart) / (2 * merged) {
                        pairs[n] = (a, a + apart);
                        n += 1;
                    }
                    a += 1;
                }
                a = end + apart;
            }
            apart /= 2;
        }
        merged *= 2;
    }
    assert!(n == pairs.len());
    pairs
};

/// The mean of the beats that are most alike, and which these are: the half nearest to the beat that is
/// nearest to half of the others.
fn template(others: &[&Look]) -> (Wide, [bool; MOST]) {
    let n = others.len();
    let mut apart = [[f32::INFINITY; MOST]; MOST];
    for (k, other) in others.iter().enumerate() {
        apart[k][k] = 0.0;
        for (back, distance) in (0..k).rev().zip(other.apart) {
            apart[k][back] = distance;
            apart[back][k] = distance;
        }
    }
    let mut best = (f32::INFINITY, 0);
    for (k, row) in apart[..n].iter().enumerate() {
        // Whether its middle is lower at all is told sooner than what it is.
        if row.iter().filter(|apart| **apart < best.0).count() > n / 2 {
            let mut row = *row;
            let (_, middle, _) = row[..n].select_nth_unstable_by(n / 2, f32::total_cmp);
            best = (*middle, k);
        }
    }
    let (limit, centre) = best;
    let mut alike = [false; MOST];
    let mut mean = [0.0; WIDE];
    let mut n_alike = 0.0;
    for (k, other) in others.iter().enumerate() {
        if apart[centre][k] <= limit {
            alike[k] = true;
            n_alike += 1.0;
            for (slot, x) in mean.iter_mut().zip(&other.wide) {
                *slot += x;
            }
        }
    }
    if n_alike > 0.0 {
        for slot in &mut mean {
            *slot /= n_alike;
        }
    }
    (mean, alike)
}

/// A QRS without its mean.
struct Centred {
    values: [f32; QRS.end - QRS.start],
    norm: f32,
}

impl Centred {
    fn of(samples: &[f32]) -> Self {
        let mut values = [0.0; QRS.end - QRS.start];
        let mean = samples.iter().sum::<f32>() / samples.len() as f32;
        for (slot, sample) in values.iter_mut().zip(samples) {
            *slot = sample - mean;
        }
        let norm = values.iter().map(|x| x * x).sum::<f32>().sqrt();
        Self { values, norm }
    }

    /// The highest correlation with `other`, of these `strengths`, and the shift where it is; [`SHIFT`] is none.
    fn best(&self, other: &Wide, strengths: &Strengths) -> (f32, usize) {
        // The mean of the other one drops out of the product, for these values have none.
        let span = &other[QRS.start..QRS.end + SHIFTS];
        let mut products = [0.0; SHIFTS];
        for (value, near) in self.values.iter().zip(span.windows(SHIFTS)) {
            for (product, near) in products.iter_mut().zip(near) {
                *product += value * near;
            }
        }
        for (product, strength) in products.iter_mut().zip(strengths) {
            *product /= self.norm * strength + 1e-9;
        }
        let mut best = (-1.0, SHIFT);
        for (shift, fit) in products[..=2 * SHIFT].iter().enumerate() {
            if *fit > best.0 {
                best = (*fit, shift);
            }
        }
        best
    }
}

/// The root of the sum of squares, without the mean, of what a QRS is laid over at each shift.
fn strengths(of: &Wide) -> Strengths {
    let span = &of[QRS.start..QRS.end + SHIFTS];
    let n = QRS.end - QRS.start;
    let mut sum: f32 = span[..n].iter().sum();
    let mut squares: f32 = span[..n].iter().map(|x| x * x).sum();
    let mut powers = [0.0; SHIFTS];
    for (power, (old, new)) in powers.iter_mut().zip(span.iter().zip(&span[n..])) {
        *power = squares - sum * sum / n as f32;
        sum += new - old;
        squares += new * new - old * old;
    }
    powers.map(|power: f32| power.max(0.0).sqrt())
}

/// The squared distance of every second sample of two beats, in four lanes.
fn apart_squared(a: &Wide, b: &Wide) -> f32 {
    let span = SHIFT..SHIFT + LENGTH;
    let ((a, _), (b, _)) = (a[span.clone()].as_chunks::<8>(), b[span].as_chunks::<8>());
    let mut lanes = [0.0; 4];
    for (a, b) in a.iter().zip(b) {
        for (k, lane) in lanes.iter_mut().enumerate() {
            let apart = a[2 * k] - b[2 * k];
            *lane += apart * apart;
        }
    }
    lanes.iter().sum()
}

/// Sums of products of two stretches without their means.
struct Products {
    aa: f32,
    ab: f32,
    bb: f32,
}

impl Products {
    fn of(a: &[f32], b: &[f32]) -> Self {
        let n = a.len() as f32;
        let (mean_a, mean_b) = (a.iter().sum::<f32>() / n, b.iter().sum::<f32>() / n);
        let (aa, ab, bb) = a
            .iter()
            .zip(b)
            .fold((0.0, 0.0, 0.0), |(aa, ab, bb), (a, b)| {
                let (a, b) = (a - mean_a, b - mean_b);
                (aa + a * a, ab + a * b, bb + b * b)
            });
        Self { aa, ab, bb }
    }

    fn correlation(&self) -> f32 {
        self.ab / ((self.aa * self.bb).sqrt() + 1e-6)
    }

    /// How much of `b` there is in `a`.
    fn slant(&self) -> f32 {
        (self.ab / (self.bb + 1e-4)).clamp(-5.0, 5.0)
    }
}

fn correlation(a: &[f32], b: &[f32]) -> f32 {
    Products::of(a, b).correlation()
}

/// A stretch that others are compared with.
struct Apart<'a> {
    usual: &'a [f32],
    size: f32,
}

impl<'a> Apart<'a> {
    fn from(usual: &'a [f32]) -> Self {
        let size = usual.iter().map(|b| b * b).sum();
        Self { usual, size }
    }

    /// The difference of `a` from it, next to its size.
    fn difference(&self, a: &[f32]) -> f32 {
        let apart = a.iter().zip(self.usual).map(|(a, b)| (a - b) * (a - b));
        (apart.sum::<f32>() / (self.size + 1e-6)).sqrt()
    }
}

/// The difference from `b`, next to the size of `b`.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    Apart::from(b).difference(a)
}

fn step_by(step: u64) -> usize {
    usize::try_from(step).unwrap_or(1).max(1)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate, and the position is not negative"
)]
fn floor(position: f64) -> u64 {
    position as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate() -> SampleRate {
        SampleRate::new(250.0).unwrap()
    }

    /// A beat a second; those in `wide` are twice as wide and upside down.
    fn lead(wide: &[usize], gain: f32) -> Vec<f32> {
        let bell = |t: f64, width: f64| (-(t / width).powi(2)).exp();
        let value = |n: i32| {
            let t = f64::from(n) / 250.0;
            let k = t.round();
            let odd = wide.iter().any(|at| (*at as f64 - k).abs() < 0.1);
            let t = t - k;
            if odd {
                -1.3 * bell(t, 0.045)
            } else {
                bell(t, 0.015) + 0.15 * bell(t + 0.16, 0.02) + 0.3 * bell(t - 0.3, 0.05)
            }
        };
        (0..3000).map(|n| single(value(n)) * gain).collect()
    }

    fn row(samples: &[f32], k: usize) -> [f32; N] {
        let lead = Lead {
            samples,
            first: 0,
            rate: rate(),
        };
        let beats: Vec<f64> = (0..12).map(f64::from).collect();
        features(&lead, &beats, k).unwrap()
    }

    #[test]
    fn a_usual_beat_is_like_the_others_and_a_wide_one_is_not() {
        let samples = lead(&[9], 1.0);
        let (usual, wide) = (row(&samples, 8), row(&samples, 9));
        assert!(usual[13] > 0.999 && usual[20] < 0.01 && usual[22].abs() < 0.01);
        assert!(wide[13] < 0.5 && wide[20] > 1.0 && wide[22] > 0.3);
        assert!(
            wide[P_WAVE] < 0.5 && usual[P_WAVE] > 0.99,
            "the P wave is missing"
        );
        assert!(wide[LAST_FIT] < 0.5 && wide[LAST_BUT_ONE_FIT] < 0.5);
    }

    #[test]
    fn fits_to_the_last_two_beats_are_told_apart() {
        let row = row(&lead(&[7, 9], 1.0), 9);
        assert!(row[LAST_FIT] < 0.5 && row[LAST_BUT_ONE_FIT] > 0.999);
    }

    #[test]
    fn one_odd_beat_does_not_become_the_template() {
        let samples = lead(&[4, 6, 8], 1.0);
        assert!(row(&samples, 9)[13] > 0.999);
        assert!(row(&samples, 8)[13] < 0.5);
    }

    #[test]
    fn each_column_is_sorted_by_itself() {
        for n in 0..=MOST {
            let value = |k: usize, column: usize| ((k * 7 + column * 5) % 11) as f32 - 4.0;
            let mut columns = Columns::new();
            for k in 0..n {
                columns.push([value(k, 0), value(k, 1), value(k, 2)]);
            }
            columns.sort();
            for column in 0..3 {
                let mut sorted: Vec<f32> = (0..n).map(|k| value(k, column)).collect();
                sorted.sort_by(f32::total_cmp);
                let rows = columns.rows[..n].iter().map(|row| row[column]);
                assert!(rows.eq(sorted.iter().copied()), "{n}");
                assert!((columns.median(column) - median(&sorted)).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn gain_does_not_matter() {
        for (a, b) in row(&lead(&[9], 1.0), 9)
            .iter()
            .zip(row(&lead(&[9], 3.0), 9))
        {
            assert!((a - b).abs() < 0.02 * a.abs().max(1.0), "{a} {b}");
        }
    }

    #[test]
    fn a_flat_lead_says_nothing() {
        let flat = vec![0.0; 3000];
        let lead = Lead {
            samples: &flat,
            first: 0,
            rate: rate(),
        };
        assert!(features(&lead, &[1.0, 2.0, 3.0], 2).is_none());
        assert!(
            features(
                &Lead {
                    samples: &[],
                    ..lead
                },
                &[1.0],
                0
            )
            .is_none()
        );
    }
}
