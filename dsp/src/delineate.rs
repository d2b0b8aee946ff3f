//! Delineation: where P, QRS and T begin, peak and end, beat by beat, on one lead.
//!
//! Takes a lead of any scale at 100 to 2000 Hz and the R peaks found on it; yields a [`Complex`]
//! for each R peak, in order. **A wave that is not there is `None`, not a guess**: no P in
//! fibrillation, or before a beat without one.
//!
//! The lead is brought to 125 Hz and 40 Hz by the linear phase low-pass of
//! [`resample`], aligned on the absolute index. Each beat is then judged by itself,
//! from a window of 2.3 s around it: a moving mean (Hann, one second) taken off, divided by the
//! mean height of its QRS complexes, R peaks marked. A small convolutional network gives each
//! sample a probability of background, P, QRS and T; ends are where it passes one half, between
//! samples. Last, the beats of the last eight seconds say whether there is an atrial rhythm at all
//! (`rhythm.rs`).
//!
//! **A complex depends on nothing but the signal around its beat and the beats of the last
//! [`MEMORY_SECONDS`]**: not on how the stream was cut, nor on where it began. It is known
//! [`LOOK_AHEAD_SECONDS`] after its R peak.
//!
//! The weights were fitted to the LUDB database (Kalyakulina et al., IEEE Access 8, 2020);
//! `dsp/training/delineate.py` is how.

mod decode;
mod network;
mod rhythm;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use ecg::{SampleIndex, SampleRate, SignalKind};

pub use ecg::Wave;
use pulp::{Arch, Simd, WithSimd};

use crate::Error;
use crate::resample::{self, ResamplePlan, Resampler};
use decode::{Span, waves};
use network::{LENGTH, N_INPUTS, Network, STRIDE};
use rhythm::{Atria, Rhythm};

/// A complex is known at most this much later than its R peak: half a window and the resampler.
pub const LOOK_AHEAD_SECONDS: f64 = (HALF as f64 + 1.0) / RATE_HZ + resample::HALF_SECONDS + 0.01;

/// A complex depends on no sample and no beat older than this before its R peak.
pub const MEMORY_SECONDS: f64 = rhythm::SECONDS + BACK_SECONDS + resample::HALF_SECONDS;

/// The window of a beat begins at most so long before its R peak.
pub(crate) const BACK_SECONDS: f64 = (HALF + STRIDE) as f64 / RATE_HZ;

/// The lowest rate of a lead that is delineated.
pub const MIN_RATE_HZ: f64 = 100.0;

/// The rate of the window.
pub(crate) const RATE_HZ: f64 = 125.0;
/// Samples from the start of the window to the R peak; it may be up to a stride more.
const HALF: usize = LENGTH / 2;
/// R peaks of the window later than this after the beat are left out: a detector may not have
/// told them yet.
const KNOWN: f64 = 88.0;
/// Half the span of the mean that is taken off, samples.
const MEAN_HALF: usize = 62;
/// Half the width of the mark of an R peak, samples.
const MARK_HALF: f64 = 4.0;
/// The height of a QRS is measured this far around its R peak, samples.
const QRS_HALF: usize = 8;
/// A faint P wave is believed this close to the usual distance from the R peak, seconds.
const FAINT_SECONDS: f64 = 0.04;
/// Larger samples are no ECG on any scale; they are taken for this.
const LARGEST: f32 = 1e12;
/// A lower QRS is none: what is left of a flat line.
const LOWEST_HEIGHT: f32 = 1e-12;

/// One beat and its waves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Complex {
    /// The R peak that it was looked for at.
    pub r_peak: SampleIndex,
    /// The P wave that precedes the QRS, if any.
    pub p: Option<Wave>,
    /// The QRS complex.
    pub qrs: Wave,
    /// The T wave, if it stands out.
    pub t: Option<Wave>,
}

/// Delineates one lead as it comes in.
///
/// For each block, in this order: [`beat`](Self::beat) for each R peak that the block settled,
/// [`push`](Self::push), [`take`](Self::take).
#[derive(Debug, Clone)]
pub struct Delineator {
    resampler: Resampler,
    resampled: Vec<f32>,
    track: Track,
    judge: Judge,
}

impl Delineator {
    /// A delineator for a lead at `rate`.
    ///
    /// # Errors
    /// [`Error::Coarse`] under [`MIN_RATE_HZ`].
    pub fn new(signal: SignalKind, rate: SampleRate) -> Result<Self, Error> {
        Self::with_judge(signal, rate, Judge::new(rate))
    }

    /// The same with other `weights`, such as those of a cross-validation: f32, little-endian.
    ///
    /// # Errors
    /// [`Error::Coarse`] under [`MIN_RATE_HZ`], [`Error::Weights`] for weights that do not fit.
    pub fn with_weights(
        signal: SignalKind,
        rate: SampleRate,
        weights: &[u8],
    ) -> Result<Self, Error> {
        let network = Arc::new(Network::new(weights)?);
        Self::with_judge(signal, rate, Judge::with_network(rate, network))
    }

    fn with_judge(signal: SignalKind, rate: SampleRate, judge: Judge) -> Result<Self, Error> {
        let hz = rate.hz();
        if hz < MIN_RATE_HZ {
            return Err(Error::Coarse {
                signal,
                hz,
                limit: MIN_RATE_HZ,
            });
        }
        let plan = ResamplePlan::shared(rate, SampleRate::new(RATE_HZ)?);
        Ok(Self {
            resampler: Resampler::new(plan, SampleIndex(0)),
            resampled: Vec::with_capacity(LENGTH),
            track: Track::default(),
            judge,
        })
    }

    /// Begins a new segment at `start`, an index of this lead.
    pub fn reset(&mut self, start: SampleIndex) {
        self.resampler.reset(start);
        self.track.reset(self.resampler.next_index());
        self.judge.reset();
    }

    /// An R peak, later than the one before, at most [`qrs::LAG_SECONDS`](crate::qrs::LAG_SECONDS)
    /// before the end of the input. Others are passed over.
    pub fn beat(&mut self, at: SampleIndex) {
        self.judge.beat(at);
    }

    /// Takes samples in. With `off` the electrode is off and the samples mean nothing.
    pub fn push(&mut self, samples: &[f32], off: bool) {
        let mut clean = [0.0; LENGTH];
        for bite in samples.chunks(LENGTH) {
            let clean = &mut clean[..bite.len()];
            if !off {
                for (clean, sample) in clean.iter_mut().zip(bite) {
                    *clean = if sample.is_nan() { 0.0 } else { *sample };
                }
            }
            self.resampler.push(clean, &mut self.resampled);
            self.track.push(&self.resampled);
            self.resampled.clear();
        }
    }

    /// Appends every complex to `out` of which all is known.
    pub fn take(&mut self, out: &mut Vec<Complex>) {
        self.settle(self.track.end(), out);
        // a beat to come may be a detector's lag old, and so much of what is before its window
        let pending = self.judge.pending().map(|at| self.judge.window_start(at));
        let spare = self.track.end() - 2 * signed(LENGTH);
        self.track.forget(pending.unwrap_or(spare).min(spare));
    }

    /// Ends the segment: appends what is left to `out`, as if nothing followed.
    pub fn finish(&mut self, out: &mut Vec<Complex>) {
        self.resampler.finish(&mut self.resampled);
        self.track.push(&self.resampled);
        self.resampled.clear();
        self.settle(i64::MAX, out);
    }

    /// Delineates the beats whose windows end by `end`.
    fn settle(&mut self, end: i64, out: &mut Vec<Complex>) {
        while let Some(at) = self.judge.pending()
            && self.judge.window_start(at) + signed(LENGTH) <= end
        {
            out.extend(self.judge.next(&self.track).map(|judged| judged.complex));
        }
    }
}

/// The last samples of a signal by their index.
#[derive(Debug, Clone, Default)]
pub(crate) struct Track {
    samples: Vec<f32>,
    /// The index of the first one.
    first: i64,
}

impl Track {
    /// Samples are dropped no fewer at once.
    pub(crate) const SLACK: usize = 64;

    /// With room for `n` samples.
    pub(crate) fn with_capacity(n: usize) -> Self {
        Self {
            samples: Vec::with_capacity(n),
            first: 0,
        }
    }

    /// Begins anew at `start`.
    pub(crate) fn reset(&mut self, start: SampleIndex) {
        self.samples.clear();
        self.first = start.0.cast_signed();
    }

    pub(crate) fn push(&mut self, samples: &[f32]) {
        self.samples.extend_from_slice(samples);
    }

    pub(crate) fn extend(&mut self, samples: impl Iterator<Item = f32>) {
        self.samples.extend(samples);
    }

    /// Takes in `n` samples that mean nothing.
    pub(crate) fn push_none(&mut self, n: usize) {
        self.samples.resize(self.samples.len() + n, f32::NAN);
    }

    /// The index after the last sample.
    pub(crate) fn end(&self) -> i64 {
        self.first + signed(self.samples.len())
    }

    /// Drops what is before `index`, sooner or later.
    pub(crate) fn forget(&mut self, index: i64) {
        let n = usize::try_from(index - self.first).unwrap_or(0);
        let n = n.min(self.samples.len());
        if n >= Self::SLACK {
            self.samples.drain(..n);
            self.first += signed(n);
        }
    }

    /// The samples from index `from` on to before `to`, as far as they are there.
    pub(crate) fn span(&self, from: i64, to: i64) -> &[f32] {
        let slot = |index: i64| {
            let slot = usize::try_from(index - self.first).unwrap_or(0);
            slot.min(self.samples.len())
        };
        &self.samples[slot(from)..slot(to).max(slot(from))]
    }

    /// The window from `start` on; NaN where samples are missing.
    fn window(&self, start: i64) -> [f32; LENGTH] {
        let mut window = [f32::NAN; LENGTH];
        let there = self.span(start, start + signed(LENGTH));
        let skip = usize::try_from(self.first - start).unwrap_or(0).min(LENGTH);
        let n = there.len().min(LENGTH - skip);
        window[skip..][..n].copy_from_slice(&there[..n]);
        window
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.samples.capacity() * size_of::<f32>()
    }
}

/// A beat as judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judged {
    pub(crate) complex: Complex,
    /// What looks like a P wave, whether or not the rhythm has any.
    pub(crate) p_like: Option<Wave>,
    /// Whether there is no atrial rhythm to believe P waves in.
    pub(crate) astray: bool,
}

/// Delineates beat by beat, on whichever lead.
#[derive(Debug, Clone)]
pub(crate) struct Judge {
    /// Samples of the positions of R peaks per sample of the window.
    ratio: f64,
    network: Arc<Network>,
    rhythm: Rhythm,
    /// R peaks, oldest first, those delineated included as long as they matter.
    beats: VecDeque<SampleIndex>,
    /// How many of them are delineated.
    n_done: usize,
}

impl Judge {
    /// For R peaks whose positions count at `rate`.
    pub(crate) fn new(rate: SampleRate) -> Self {
        Self::with_network(rate, Network::shipped())
    }

    fn with_network(rate: SampleRate, network: Arc<Network>) -> Self {
        Self {
            ratio: rate.hz() / RATE_HZ,
            network,
            rhythm: Rhythm::default(),
            beats: VecDeque::with_capacity(32),
            n_done: 0,
        }
    }

    /// Begins a new segment.
    pub(crate) fn reset(&mut self) {
        self.rhythm = Rhythm::default();
        self.beats.clear();
        self.n_done = 0;
    }

    /// An R peak; one that is not later than the one before is passed over, which is `false`.
    pub(crate) fn beat(&mut self, at: SampleIndex) -> bool {
        let later = self.beats.back().is_none_or(|last| at > *last);
        if later {
            self.beats.push_back(at);
        }
        later
    }

    /// The R peak to delineate next.
    pub(crate) fn pending(&self) -> Option<SampleIndex> {
        self.beats.get(self.n_done).copied()
    }

    /// The R peaks around the one to delineate next.
    pub(crate) fn neighbours(&self) -> (Option<SampleIndex>, Option<SampleIndex>) {
        let before = self.n_done.checked_sub(1).and_then(|k| self.beats.get(k));
        (before.copied(), self.beats.get(self.n_done + 1).copied())
    }

    /// Delineates the next R peak on the lead whose last seconds are in `track`, at 125 Hz; `None`
    /// where the lead is flat or the electrode off.
    pub(crate) fn next(&mut self, track: &Track) -> Option<Judged> {
        let judged = self.delineate(self.pending()?, track);
        self.skip();
        judged
    }

    /// Passes over the next R peak: there is no lead to delineate it on.
    pub(crate) fn skip(&mut self) {
        self.n_done += 1;
        // the one before the next beat is all that a window can hold of older ones that counts
        while self.n_done > 16 {
            self.beats.pop_front();
            self.n_done -= 1;
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.beats.capacity() * size_of::<SampleIndex>() + self.rhythm.heap_bytes()
    }

    fn delineate(&mut self, at: SampleIndex, track: &Track) -> Option<Judged> {
        let start = self.window_start(at);
        let place = |at: SampleIndex| at.0 as f64 / self.ratio - start as f64;
        let r = place(at);
        let known = |place: &f64| *place >= 0.0 && *place <= r + KNOWN;
        let peaks = self.beats.iter().map(|at| place(*at)).filter(known);
        let peaks: Vec<f64> = peaks.collect();
        let before = peaks.iter().copied().rfind(|peak| *peak < r);
        let after = peaks.iter().copied().find(|peak| *peak > r);

        let input = prepare(&track.window(start), &peaks)?;
        let classes = self.network.run(&input);
        let spans = waves(&input[0], &classes, r, before, after);
        let position = |k: f64| (k + start as f64) * self.ratio;
        let wave = |span: Span| Wave {
            onset: position(span.onset),
            peak: position(span.peak),
            offset: position(span.offset),
        };
        let seconds = at.0 as f64 / (self.ratio * RATE_HZ);
        let pr = |p: &Span| (r - p.onset) / RATE_HZ;
        let atria = self.rhythm.push(seconds, spans.p.as_ref().map(pr));
        let p = match atria {
            Atria::Unknown => spans.p,
            Atria::Astray => None,
            Atria::Lead(usual) => spans.p.or_else(|| {
                let near = |p: &Span| (pr(p) - usual).abs() <= FAINT_SECONDS;
                spans.faint_p.filter(near)
            }),
        };
        let (qrs, peak) = (wave(spans.qrs), at.0 as f64);
        Some(Judged {
            complex: Complex {
                r_peak: at,
                p: p.map(wave),
                qrs: Wave {
                    onset: qrs.onset.min(peak),
                    peak,
                    offset: qrs.offset.max(peak),
                },
                t: spans.t.map(wave),
            },
            p_like: spans.p.map(wave),
            astray: atria == Atria::Astray,
        })
    }

    /// The index of the first sample of the window of a beat, a multiple of the stride.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an index of 2^53 samples is out of reach"
    )]
    pub(crate) fn window_start(&self, at: SampleIndex) -> i64 {
        let strides = (at.0 as f64 / self.ratio - HALF as f64) / STRIDE as f64;
        strides.floor() as i64 * signed(STRIDE)
    }
}

/// A count as an index.
fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The weights of the mean that is taken off: a Hann window.
static HANN: LazyLock<[f32; 2 * MEAN_HALF + 1]> = LazyLock::new(|| {
    std::array::from_fn(|k| {
        let phase = (k + 1) as f64 / (MEAN_HALF + 1) as f64 * std::f64::consts::PI;
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let weight = (0.5 - 0.5 * phase.cos()) as f32;
        weight
    })
});

/// Their sum around each sample of a window that has all its samples.
static WHOLE: LazyLock<[f32; LENGTH]> = LazyLock::new(|| hann_sums(&[1.0; LENGTH]));

/// What the network sees: the signal, and the marks of its R peaks. `None` without a QRS that
/// has a height. Samples that are NaN are missing, and seen as zero.
fn prepare(raw: &[f32; LENGTH], peaks: &[f64]) -> Option<[[f32; LENGTH]; N_INPUTS]> {
    let raw = raw.map(|value| value.clamp(-LARGEST, LARGEST));
    let heights = peaks.iter().map(|peak| {
        let near = &raw[around((peak + 0.5).floor(), QRS_HALF as f64)];
        let (low, high) = near
            .iter()
            .filter(|value| !value.is_nan())
            .fold((f32::MAX, f32::MIN), |(low, high), v| {
                (low.min(*v), high.max(*v))
            });
        (high - low).max(0.0)
    });
    let height = heights.sum::<f32>() / peaks.len().max(1) as f32;
    if height.is_nan() || height < LOWEST_HEIGHT {
        return None;
    }
    let mut signal = raw.map(|value| if value.is_nan() { 0.0 } else { value / height });
    let sums = hann_sums(&signal);
    let gaps = raw.iter().any(|value| value.is_nan());
    let valid = raw.map(|value| if value.is_nan() { 0.0 } else { 1.0 });
    let totals = if gaps { hann_sums(&valid) } else { *WHOLE };
    for (((value, valid), sum), total) in signal.iter_mut().zip(valid).zip(sums).zip(totals) {
        *value = (*value - sum / total.max(1e-6)) * valid;
    }
    let mut marks = [0f32; LENGTH];
    for peak in peaks {
        for at in around(*peak, MARK_HALF) {
            #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
            let height = (1.0 - (at as f64 - peak).abs() / MARK_HALF) as f32;
            marks[at] = height.max(marks[at]);
        }
    }
    Some([signal, marks])
}

/// The samples of a window no further than `half` from a place.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate"
)]
fn around(place: f64, half: f64) -> Range<usize> {
    let end = LENGTH.min((place + half + 1.0).floor() as usize);
    end.min((place - half).ceil() as usize)..end
}

/// The sum over the Hann window around each sample, with zeros beyond the ends.
fn hann_sums(samples: &[f32; LENGTH]) -> [f32; LENGTH] {
    let mut padded = [0.0; LENGTH + 2 * MEAN_HALF];
    padded[MEAN_HALF..][..LENGTH].copy_from_slice(samples);
    let mut out = [0.0; LENGTH];
    Arch::new().dispatch(HannSums(&padded, &mut out));
    out
}

/// [`hann_sums`], for whatever vectors the machine has; each sum in the order of its samples.
struct HannSums<'a>(&'a [f32; LENGTH + 2 * MEAN_HALF], &'a mut [f32; LENGTH]);

impl WithSimd for HannSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        const BLOCK: usize = 32;
        let Self(padded, out) = self;
        for (k, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            let near = padded[k * BLOCK..].windows(BLOCK);
            let mut sums = [0.0; BLOCK];
            for (samples, weight) in near.zip(HANN.iter()) {
                for (sum, sample) in sums.iter_mut().zip(samples) {
                    *sum += sample * weight;
                }
            }
            *out = sums;
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times of a few seconds as samples"
)]
mod tests {
    use ecg::Lead;
    use proptest::prelude::*;

    use super::*;

    const HZ: f64 = 250.0;

    /// `seconds` of beats 0.8 s apart, the first at 1 s, and their R peaks. P from 0.21 s to
    /// 0.09 s before R, T from 0.16 s to 0.4 s after it: raised cosines.
    fn rhythm(seconds: f64, p_height: f64) -> (Vec<f32>, Vec<SampleIndex>) {
        let hump = |t: f64, from: f64, to: f64| {
            if t > from && t < to {
                let phase = (t - from) / (to - from) * std::f64::consts::TAU;
                0.5 - 0.5 * phase.cos()
            } else {
                0.0
            }
        };
        let n = (seconds * HZ) as usize;
        let sample = |k: usize| {
            let t = (k as f64 / HZ - 1.0 + 0.4).rem_euclid(0.8) - 0.4;
            let wave = p_height * hump(t, -0.21, -0.09) - 0.1 * hump(t, -0.04, -0.01)
                + hump(t, -0.025, 0.025)
                - 0.2 * hump(t, 0.01, 0.05);
            (wave + 0.3 * hump(t, 0.16, 0.4)) as f32
        };
        let beats = (0..).map(|k| 1.0 + 0.8 * f64::from(k));
        let beats = beats.take_while(|at| *at < seconds - 0.1);
        let index = |at: f64| SampleIndex((at * HZ).round() as u64);
        ((0..n).map(sample).collect(), beats.map(index).collect())
    }

    fn delineator() -> Delineator {
        Delineator::new(SignalKind::Ecg(Lead::II), SampleRate::new(HZ).unwrap()).unwrap()
    }

    /// Plays `samples` from `start` on in blocks of `sizes`, a beat told 0.45 s after its R peak.
    fn play(samples: &[f32], beats: &[SampleIndex], start: usize, sizes: &[usize]) -> Vec<Complex> {
        let mut delineator = delineator();
        delineator.reset(SampleIndex(start as u64));
        let lag = (0.45 * HZ) as u64;
        let mut told = beats.partition_point(|beat| beat.0 < start as u64 + 25);
        let (mut at, mut out) = (start, Vec::new());
        for size in sizes.iter().cycle() {
            let end = (at + size).min(samples.len());
            let known = beats.partition_point(|beat| beat.0 + lag < end as u64);
            while told < known {
                delineator.beat(beats[told]);
                told += 1;
            }
            delineator.push(&samples[at..end], false);
            delineator.take(&mut out);
            at = end;
            if at == samples.len() {
                break;
            }
        }
        beats[told..].iter().for_each(|beat| delineator.beat(*beat));
        delineator.finish(&mut out);
        out
    }

    #[test]
    fn around_a_place_are_the_samples_no_further() {
        for place in [
            -20.0, -4.0, -0.5, 0.0, 3.75, 140.0, 140.3, 286.5, 295.0, 400.0,
        ] {
            for half in [MARK_HALF, QRS_HALF as f64] {
                let near = |k: &usize| (*k as f64 - place).abs() <= half;
                let expected: Vec<usize> = (0..LENGTH).filter(near).collect();
                assert_eq!(around(place, half).collect::<Vec<_>>(), expected, "{place}");
            }
        }
    }

    #[test]
    fn finds_the_waves_of_a_steady_rhythm() {
        let (samples, beats) = rhythm(12.0, 0.15);
        let found = play(&samples, &beats, 0, &[250]);
        assert_eq!(found.len(), beats.len());
        for complex in &found[1..found.len() - 1] {
            let from_r = |at: f64| (at - complex.r_peak.0 as f64) / HZ;
            let (p, t) = (complex.p.unwrap(), complex.t.unwrap());
            for (at, expected, within) in [
                (p.onset, -0.21, 0.03),
                (p.peak, -0.15, 0.01),
                (p.offset, -0.09, 0.03),
                (complex.qrs.onset, -0.035, 0.02),
                (complex.qrs.peak, 0.0, 1e-9),
                (complex.qrs.offset, 0.045, 0.03),
                (t.onset, 0.16, 0.05),
                (t.peak, 0.28, 0.02),
                (t.offset, 0.4, 0.05),
            ] {
                assert!(
                    (from_r(at) - expected).abs() < within,
                    "{expected}: {complex:?}"
                );
            }
        }
    }

    #[test]
    fn a_rhythm_without_p_waves_has_none() {
        let (samples, beats) = rhythm(12.0, 0.0);
        let found = play(&samples, &beats, 0, &[250]);
        assert!(found.iter().all(|complex| complex.p.is_none()));
    }

    #[test]
    fn scale_and_offset_do_not_matter() {
        let (samples, beats) = rhythm(8.0, 0.15);
        let other: Vec<f32> = samples.iter().map(|mv| 1024.0 * mv + 512.0).collect();
        let pair = |samples: &[f32]| play(samples, &beats, 0, &[100]);
        for (a, b) in pair(&samples).iter().zip(pair(&other)) {
            assert!((a.qrs.onset - b.qrs.onset).abs() < 0.5);
            assert!((a.t.unwrap().offset - b.t.unwrap().offset).abs() < 0.5);
        }
    }

    #[test]
    fn comes_in_time() {
        let (samples, beats) = rhythm(4.0, 0.15);
        let mut delineator = delineator();
        let mut out = Vec::new();
        let end = beats[1].0 as f64 + LOOK_AHEAD_SECONDS * HZ;
        beats[..3].iter().for_each(|beat| delineator.beat(*beat));
        delineator.push(&samples[..end.ceil() as usize], false);
        delineator.take(&mut out);
        assert_eq!(out.len(), 2);
    }

    #[test]
    fn nothing_is_said_of_a_flat_line() {
        let (_, beats) = rhythm(8.0, 0.0);
        assert_eq!(play(&[0.5; 2000], &beats, 0, &[250]), []);
        assert_eq!(play(&[f32::NAN; 2000], &beats, 0, &[250]), []);
    }

    #[test]
    fn the_start_is_forgotten() {
        let (samples, beats) = rhythm(40.0, 0.15);
        let later = (10.0 * HZ) as usize + 3;
        let settled = later as f64 + MEMORY_SECONDS * HZ;
        let after = |start| {
            let mut found = play(&samples, &beats, start, &[250]);
            found.retain(|complex| complex.r_peak.0 as f64 > settled);
            found
        };
        assert!(after(0).len() > 10);
        assert_eq!(after(0), after(later));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn the_cut_changes_nothing(sizes in prop::collection::vec(1..700usize, 1..6)) {
            let (samples, beats) = rhythm(12.0, 0.15);
            prop_assert_eq!(
                play(&samples, &beats, 0, &sizes),
                play(&samples, &beats, 0, &[50])
            );
        }

        #[test]
        fn nothing_is_infinite(samples in prop::collection::vec(any::<f32>(), 1500)) {
            let beats: Vec<_> = (1..7).map(|k| SampleIndex(200 * k)).collect();
            for complex in play(&samples, &beats, 0, &[250]) {
                let waves = [complex.p, Some(complex.qrs), complex.t];
                for wave in waves.into_iter().flatten() {
                    prop_assert!(wave.onset.is_finite() && wave.offset.is_finite());
                    prop_assert!(wave.onset <= wave.peak && wave.peak <= wave.offset);
                }
            }
        }
    }
}
