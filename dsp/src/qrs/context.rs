//! The candidates of the last seconds, and what they say about the next one.
//!
//! Which of them were beats is taken from their first opinions, which each rest on a stretch of
//! signal alone. So the context rests on signal alone as well, and there is no state to forget.

use super::sight::{N_FORM, octaves};

/// How far back candidates count.
pub(super) const CONTEXT_SECONDS: f64 = 6.0;
/// Inputs to the second network.
pub(super) const N_CONTEXT: usize = 43;

/// The middle part of the form, by which candidates are compared.
const CORE: std::ops::Range<usize> = 8..33;
const N_CORE: usize = 25;
/// The part of it that is 10 ms apart and may be shifted.
const SHIFTED: std::ops::Range<usize> = 5..20;
/// Where points of the form are 10 ms apart, from the first to the last difference.
const EDGES: std::ops::Range<usize> = 9..32;
const N_EDGES: usize = 22;
/// The part of them that may be shifted.
const SHIFTED_EDGES: std::ops::Range<usize> = 3..19;
/// Where the form bends with the QRS.
const BEND: std::ops::Range<usize> = 12..29;
/// Candidates kept: those of the last seconds, as close as crests can be.
const KEPT: usize = 48;
/// Beats and others looked at, of each kind.
const LOOKED_AT: usize = 8;
/// How far from the same distance after a beat an echo may be.
const ECHO_SECONDS: f64 = 0.07;
/// Two beats are no closer.
const REFRACTORY_SECONDS: f32 = 0.2;
/// The interval taken as usual while none is known.
const USUAL_SECONDS: f32 = 0.8;

/// A candidate as others are compared with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    at: u64,
    height: f32,
    /// The first opinion.
    opinion: f32,
    /// How little it says: one for even odds, near zero where it is plain.
    doubt: f32,
    /// Length one.
    core: [f32; N_CORE],
    /// What the length was, mV.
    size: f32,
    /// How sharply the lead bends in the middle, mV.
    bend: f32,
    /// Differences of the points in the middle; length one.
    edges: [f32; N_EDGES],
    /// What the length was, mV.
    steepness: f32,
}

impl Entry {
    const NONE: Self = Self {
        at: 0,
        height: 0.0,
        opinion: 0.0,
        doubt: 0.0,
        core: [0.0; N_CORE],
        size: 0.0,
        bend: 0.0,
        edges: [0.0; N_EDGES],
        steepness: 0.0,
    };
}

impl Entry {
    /// Of a crest of this `height` at `at` with this first `opinion` and `form`, `[N_FORM]` in heights.
    pub(super) fn new(at: u64, height: f32, opinion: f32, form: &[f32]) -> Self {
        debug_assert_eq!(form.len(), N_FORM);
        let (core, size) = core_of(form);
        let (edges, steepness) = edges_of(form);
        Self {
            at,
            height,
            opinion,
            doubt: (-0.5 * opinion.abs()).exp(),
            core,
            size: size * height,
            bend: bend_of(form) * height,
            edges,
            steepness: steepness * height,
        }
    }
}

/// The candidates of the last seconds.
#[derive(Debug)]
pub(super) struct Context {
    rate: f64,
    ring: Box<[Entry; KEPT]>,
    /// Candidates taken in.
    n: usize,
}

/// The middle of the form as if its length were one, and its length.
fn core_of(form: &[f32]) -> ([f32; N_CORE], f32) {
    let mut core = [0.0; N_CORE];
    core.copy_from_slice(&form[CORE]);
    let mean = core.iter().sum::<f32>() / N_CORE as f32;
    let mut power = 0.0;
    for value in &mut core {
        *value -= mean;
        power += *value * *value;
    }
    let size = power.sqrt() + 1e-6;
    (core.map(|value| value / size), size)
}

/// The differences of the form in the middle as if their length were one, and their length.
fn edges_of(form: &[f32]) -> ([f32; N_EDGES], f32) {
    let mut edges = [0.0; N_EDGES];
    for (edge, pair) in edges.iter_mut().zip(form[EDGES].windows(2)) {
        *edge = pair[1] - pair[0];
    }
    let length = edges.iter().map(|edge| edge * edge).sum::<f32>().sqrt() + 1e-6;
    (edges.map(|edge| edge / length), length)
}

/// How sharply the form bends around its middle: the sum of its second differences.
fn bend_of(form: &[f32]) -> f32 {
    let bends = form[BEND].windows(3);
    bends.map(|w| (w[0] - 2.0 * w[1] + w[2]).abs()).sum()
}

fn product(a: &[f32; N_CORE], b: &[f32; N_CORE]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Context {
    /// For candidates at `rate` Hz.
    pub(super) fn new(rate: f64) -> Self {
        Self {
            rate,
            ring: Box::new([Entry::NONE; KEPT]),
            n: 0,
        }
    }

    pub(super) fn reset(&mut self) {
        self.n = 0;
    }

    /// The height of the highest of each of the last `N` half seconds before `at`, highest first.
    pub(super) fn halves<const N: usize>(&self, at: u64) -> [f32; N] {
        let mut halves = [0.0f32; N];
        for entry in self.latest() {
            let back = ((at - entry.at) as f64 / (0.5 * self.rate)).floor();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a small count"
            )]
            let back = back as usize;
            if back >= N {
                break;
            }
            halves[back] = halves[back].max(entry.height);
        }
        halves.sort_unstable_by(|a, b| b.total_cmp(a));
        halves
    }

    /// Candidates, the latest first.
    fn latest(&self) -> impl Iterator<Item = &Entry> {
        let n = self.n;
        (1..=n.min(KEPT)).map(move |back| &self.ring[(n - back) % KEPT])
    }

    /// The mean doubt about the candidates of the last seconds before `at`.
    pub(super) fn doubt(&self, at: u64) -> f32 {
        let reach = CONTEXT_SECONDS * self.rate;
        let recent = self.latest();
        let recent = recent.take_while(|entry| (at - entry.at) as f64 <= reach);
        let (mut n, mut sum) = (1.0, 0.0);
        for entry in recent {
            n += 1.0;
            sum += entry.doubt;
        }
        sum / n
    }

    /// Takes a candidate in.
    pub(super) fn push(&mut self, entry: Entry) {
        self.ring[self.n % KEPT] = entry;
        self.n += 1;
    }

    /// Fills `out`, `[N_CONTEXT]`, with what the candidates before say about `new`.
    #[expect(clippy::cast_possible_truncation, reason = "seconds are f32 here")]
    pub(super) fn describe(&self, new: &Entry, out: &mut [f32]) {
        let back = |entry: &Entry| ((new.at - entry.at) as f64 / self.rate) as f32;
        let mut beats: [(&Entry, f32); LOOKED_AT] = [(&Entry::NONE, 0.0); LOOKED_AT];
        let mut others = beats;
        let (mut n_beats, mut n_others, mut n) = (0usize, 0usize, 0usize);
        let (mut doubt, mut between, mut loudest) = (0.0, (-12.0f32, 3.0f32), 0.0f32);
        for entry in self.latest() {
            let since = back(entry);
            if f64::from(since) > CONTEXT_SECONDS {
                break;
            }
            n += 1;
            doubt += entry.doubt;
            if entry.opinion > 0.0 {
                if let Some(last) = n_beats.checked_sub(1).map(|last| &mut beats[last])
                    && since - last.1 < REFRACTORY_SECONDS
                {
                    if entry.opinion > last.0.opinion {
                        *last = (entry, since);
                    }
                } else if n_beats < LOOKED_AT {
                    beats[n_beats] = (entry, since);
                    n_beats += 1;
                }
            } else {
                loudest = loudest.max(entry.height);
                if n_beats == 0 && entry.opinion > between.0 {
                    between = (entry.opinion, since);
                }
                if n_others < LOOKED_AT {
                    others[n_others] = (entry, since);
                    n_others += 1;
                }
            }
        }
        let (beats, others) = (&beats[..n_beats], &others[..n_others]);
        let rhythm = Rhythm::new(beats);
        let like_beats = Likeness::new(new, beats);
        let like_others = Likeness::new(new, others);
        let heights = Heights::new(beats);
        let first = beats.first();
        let since = |k: usize| beats.get(k).map_or(3.0, |(_, since)| since.min(3.0));
        let ratio = |a: f32, b: f32| (a / b).log2().clamp(-2.0, 2.0);
        let last = self.latest().next();
        let echo = self.echo(new, beats);
        let usual = Template::new(new, beats, SHIFTED, |entry| (&entry.core, entry.size));
        let steep = Template::new(new, beats, SHIFTED_EDGES, |entry| {
            (&entry.edges, entry.steepness)
        });
        let noise = Template::new(new, others, SHIFTED_EDGES, |entry| {
            (&entry.edges, entry.steepness)
        });
        let (bend, loudest_bend) = bends(beats, others);
        let coherence = first.map_or(0.0, |(last, _)| Likeness::new(last, &beats[1..]).mean);
        let inputs = [
            new.opinion.clamp(-12.0, 12.0) / 4.0,
            since(0),
            n_beats as f32 / 8.0,
            rhythm.usual,
            ratio(since(0), rhythm.usual),
            ratio(since(1), rhythm.usual),
            ratio(rhythm.last, rhythm.usual),
            first.map_or(0.0, |(beat, _)| octaves(new.height, beat.height)),
            octaves(new.height, heights.middle),
            octaves(new.height, heights.low),
            octaves(new.height, heights.high),
            first.map_or(0.0, |(beat, _)| product(&beat.core, &new.core)),
            like_beats.mean,
            like_beats.most,
            like_others.most,
            like_others.mean,
            between.0.max(-12.0) / 4.0,
            between.1.min(3.0),
            rhythm.unrest,
            doubt / (n as f32 + 1.0),
            n as f32 / (4.0 + 4.0 * n_beats as f32),
            first.map_or(0.0, |(beat, _)| beat.opinion.min(12.0) / 4.0),
            coherence,
            octaves(loudest, heights.middle),
            last.map_or(3.0, |last| back(last).min(3.0)),
            last.map_or(0.0, |last| octaves(new.height, last.height)),
            octaves(new.height, echo.middle),
            octaves(new.height, echo.high),
            echo.share,
            echo.likeness,
            usual.likeness,
            usual.shifted,
            usual.agreement,
            usual.gain,
            steep.likeness,
            steep.shifted,
            steep.agreement,
            steep.gain,
            noise.shifted,
            noise.gain,
            octaves(new.bend, new.height),
            octaves(new.bend, bend),
            octaves(new.bend, loudest_bend),
        ];
        out.copy_from_slice(&inputs);
    }

    /// What followed the beats before the last one as late as `new` follows the last one. A T wave
    /// has its like after every beat, a premature beat has not.
    fn echo(&self, new: &Entry, beats: &[(&Entry, f32)]) -> Echo {
        let mut heights = [0.0; LOOKED_AT];
        let (mut likeness, mut found) = (0.0, 0usize);
        let Some(((last, _), before)) = beats.split_first() else {
            return Echo::default();
        };
        let reach = ECHO_SECONDS * self.rate;
        for (height, (beat, _)) in heights.iter_mut().zip(before) {
            let expected = beat.at + (new.at - last.at);
            let near = self
                .latest()
                .filter(|e| e.at.abs_diff(expected) as f64 <= reach);
            if let Some(entry) = near.max_by(|a, b| a.height.total_cmp(&b.height)) {
                *height = entry.height;
                likeness += product(&entry.core, &new.core);
                found += 1;
            }
        }
        let heights = &mut heights[..before.len()];
        heights.sort_unstable_by(f32::total_cmp);
        let at = |k: usize| heights.get(k).copied().unwrap_or(0.0);
        Echo {
            middle: at(before.len() / 2),
            high: at(before.len().saturating_sub(1)),
            share: found as f32 / before.len().max(1) as f32,
            likeness: likeness / found.max(1) as f32,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.ring)
    }
}

/// Candidates at the same distance after earlier beats.
#[derive(Default)]
struct Echo {
    /// Of their heights.
    middle: f32,
    high: f32,
    /// Of the beats, those that had one.
    share: f32,
    /// Mean.
    likeness: f32,
}

/// Intervals between beats, in seconds.
struct Rhythm {
    usual: f32,
    last: f32,
    /// How much they differ from one to the next, over the usual one.
    unrest: f32,
}

impl Rhythm {
    fn new(beats: &[(&Entry, f32)]) -> Self {
        let mut intervals = [0.0; LOOKED_AT];
        let n = beats.len().saturating_sub(1);
        for (interval, pair) in intervals.iter_mut().zip(beats.windows(2)) {
            *interval = pair[1].1 - pair[0].1;
        }
        let intervals = &mut intervals[..n];
        let last = intervals.first().copied().unwrap_or(USUAL_SECONDS);
        let steps = intervals.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        let unrest = steps.sum::<f32>() / n.max(2) as f32;
        intervals.sort_unstable_by(f32::total_cmp);
        let usual = intervals.get(n / 2).copied().unwrap_or(USUAL_SECONDS);
        Self {
            usual,
            last,
            unrest: (unrest / usual).min(2.0),
        }
    }
}

/// The mean form of the beats, noise averaged out, and how the new one compares.
struct Template {
    likeness: f32,
    /// The highest likeness up to 20 ms earlier or later.
    shifted: f32,
    /// How alike the beats are among themselves: one where they are the same.
    agreement: f32,
    /// How much of it there is in the new one, beside how much there is in the beats; octaves.
    gain: f32,
}

impl Template {
    /// Of what `form` takes from an entry, with its size.
    fn new<const N: usize>(
        new: &Entry,
        beats: &[(&Entry, f32)],
        inner: std::ops::Range<usize>,
        form: impl Fn(&Entry) -> (&[f32; N], f32),
    ) -> Self {
        let mut mean = [0.0; N];
        for (beat, _) in beats {
            for (sum, value) in mean.iter_mut().zip(form(beat).0) {
                *sum += value;
            }
        }
        let length = mean.iter().map(|value| value * value).sum::<f32>().sqrt();
        if beats.is_empty() || length < 1e-3 {
            return Self {
                likeness: 0.0,
                shifted: 0.0,
                agreement: 0.0,
                gain: -6.0,
            };
        }
        let mean = mean.map(|value| value / length);
        let product = |a: &[f32; N]| a.iter().zip(&mean).map(|(a, b)| a * b).sum::<f32>();
        let (own, size) = form(new);
        let likeness = product(own);
        let amounts = beats.iter().map(|(beat, _)| {
            let (form, size) = form(beat);
            product(form) * size
        });
        let amount = amounts.sum::<f32>() / beats.len() as f32;
        let shifted = (inner.start - 2..=inner.start + 2)
            .map(|from| correlation(&mean[inner.clone()], &own[from..from + inner.len()]));
        Self {
            likeness,
            shifted: shifted.fold(-1.0, f32::max),
            agreement: length / beats.len() as f32,
            gain: octaves((likeness * size).max(0.0), amount.max(0.0)),
        }
    }
}

fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len() as f32;
    let (mean_a, mean_b) = (a.iter().sum::<f32>() / n, b.iter().sum::<f32>() / n);
    let (mut aa, mut ab, mut bb) = (1e-9, 0.0, 1e-9);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        aa += a * a;
        ab += a * b;
        bb += b * b;
    }
    ab / (aa * bb).sqrt()
}

/// How sharply the beats bend, in the middle, and the sharpest of the others, mV.
fn bends(beats: &[(&Entry, f32)], others: &[(&Entry, f32)]) -> (f32, f32) {
    let mut values = [0.0; LOOKED_AT];
    for (value, (beat, _)) in values.iter_mut().zip(beats) {
        *value = beat.bend;
    }
    let values = &mut values[..beats.len()];
    values.sort_unstable_by(f32::total_cmp);
    let middle = values.get(beats.len() / 2).copied().unwrap_or(0.0);
    let sharpest = others
        .iter()
        .map(|(other, _)| other.bend)
        .fold(0.0, f32::max);
    (middle, sharpest)
}

/// How alike the forms are, one for the same form.
struct Likeness {
    mean: f32,
    most: f32,
}

impl Likeness {
    fn new(of: &Entry, others: &[(&Entry, f32)]) -> Self {
        let (mut sum, mut most) = (0.0, -1.0f32);
        for (other, _) in others {
            let product = product(&other.core, &of.core);
            sum += product;
            most = most.max(product);
        }
        Self {
            mean: sum / others.len().max(1) as f32,
            most,
        }
    }
}

struct Heights {
    low: f32,
    middle: f32,
    high: f32,
}

impl Heights {
    fn new(beats: &[(&Entry, f32)]) -> Self {
        let mut heights = [0.0; LOOKED_AT];
        for (height, (beat, _)) in heights.iter_mut().zip(beats) {
            *height = beat.height;
        }
        let heights = &mut heights[..beats.len()];
        heights.sort_unstable_by(f32::total_cmp);
        let at = |k: usize| heights.get(k).copied().unwrap_or(0.0);
        Self {
            low: at(0),
            middle: at(beats.len() / 2),
            high: at(beats.len().saturating_sub(1)),
        }
    }
}
