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
//! samples. Last, the beats of the last ten seconds say whether there is an atrial rhythm at all
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
use std::sync::Arc;

use ecg::{SampleIndex, SampleRate, SignalKind};

use crate::Error;
use crate::resample::{self, ResamplePlan, Resampler};
use decode::{Span, waves};
use network::{LENGTH, N_INPUTS, Network, STRIDE};
use rhythm::{Atria, Rhythm};

/// A complex is known at most this much later than its R peak: half a window and the resampler.
pub const LOOK_AHEAD_SECONDS: f64 = (HALF as f64 + 1.0) / RATE_HZ + resample::HALF_SECONDS + 0.01;

/// A complex depends on no sample and no beat older than this before its R peak.
pub const MEMORY_SECONDS: f64 = rhythm::SECONDS + LENGTH as f64 / RATE_HZ;

/// The lowest rate of a lead that is delineated.
pub const MIN_RATE_HZ: f64 = 100.0;

/// The rate of the window.
const RATE_HZ: f64 = 125.0;
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

/// A wave. Positions are sample indices of the lead, with fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wave {
    /// Where it leaves the baseline.
    pub onset: f64,
    /// Where it is farthest from the line between its ends; of the QRS, the R peak as given.
    pub peak: f64,
    /// Where it is back.
    pub offset: f64,
}

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
    /// Input samples per sample of the window.
    ratio: f64,
    resampler: Resampler,
    network: Network,
    rhythm: Rhythm,
    /// The lead at 125 Hz; zero where the electrode is off.
    trail: VecDeque<f32>,
    /// The index of its first sample.
    first: i64,
    resampled: Vec<f32>,
    /// R peaks, oldest first, those delineated included as long as they matter.
    beats: VecDeque<SampleIndex>,
    /// How many of them are delineated.
    n_done: usize,
}

impl Delineator {
    /// A delineator for a lead at `rate`.
    ///
    /// # Errors
    /// [`Error::Coarse`] under [`MIN_RATE_HZ`].
    pub fn new(signal: SignalKind, rate: SampleRate) -> Result<Self, Error> {
        Self::with_weights(signal, rate, network::WEIGHTS)
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
        let hz = rate.hz();
        if hz < MIN_RATE_HZ {
            return Err(Error::Coarse {
                signal,
                hz,
                limit: MIN_RATE_HZ,
            });
        }
        let plan = ResamplePlan::new(rate, SampleRate::new(RATE_HZ)?);
        Ok(Self {
            ratio: hz / RATE_HZ,
            resampler: Resampler::new(Arc::new(plan), SampleIndex(0)),
            network: Network::new(weights)?,
            rhythm: Rhythm::default(),
            trail: VecDeque::with_capacity(4 * LENGTH),
            first: 0,
            resampled: Vec::with_capacity(LENGTH),
            beats: VecDeque::with_capacity(32),
            n_done: 0,
        })
    }

    /// Begins a new segment at `start`, an index of this lead.
    pub fn reset(&mut self, start: SampleIndex) {
        self.resampler.reset(start);
        self.rhythm = Rhythm::default();
        self.trail.clear();
        self.first = self.resampler.next_index().0.cast_signed();
        self.beats.clear();
        self.n_done = 0;
    }

    /// An R peak, later than the one before, at most [`qrs::LAG_SECONDS`](crate::qrs::LAG_SECONDS)
    /// before the end of the input. Others are passed over.
    pub fn beat(&mut self, at: SampleIndex) {
        if self.beats.back().is_none_or(|last| at > *last) {
            self.beats.push_back(at);
        }
    }

    /// Takes samples in. With `off` the electrode is off and the samples mean nothing.
    pub fn push(&mut self, samples: &[f32], off: bool) {
        let mut clean = [0.0; LENGTH];
        for bite in samples.chunks(LENGTH) {
            let clean = &mut clean[..bite.len()];
            if !off {
                for (clean, sample) in clean.iter_mut().zip(bite) {
                    let finite = if sample.is_nan() { 0.0 } else { *sample };
                    *clean = finite.clamp(-LARGEST, LARGEST);
                }
            }
            self.resampler.push(clean, &mut self.resampled);
            self.trail.extend(self.resampled.drain(..));
        }
    }

    /// Appends every complex to `out` of which all is known.
    pub fn take(&mut self, out: &mut Vec<Complex>) {
        let end = self.first + signed(self.trail.len());
        self.settle(end, out);
        // a beat to come may be a detector's lag old, and so much of what is before its window
        let next = self.beats.get(self.n_done).map(|at| self.window_start(*at));
        let kept = signed(4 * LENGTH);
        let needed = next.unwrap_or(end).min(end - kept / 2);
        while self.first < needed && self.trail.pop_front().is_some() {
            self.first += 1;
        }
    }

    /// Ends the segment: appends what is left to `out`, as if nothing followed.
    pub fn finish(&mut self, out: &mut Vec<Complex>) {
        self.resampler.finish(&mut self.resampled);
        self.trail.extend(self.resampled.drain(..));
        self.settle(i64::MAX, out);
    }

    /// The memory that it holds, stack and heap, the weights included.
    pub fn state_bytes(&self) -> usize {
        size_of::<Self>()
            + self.network.heap_bytes()
            + (self.trail.capacity() + self.resampled.capacity()) * size_of::<f32>()
            + self.beats.capacity() * size_of::<SampleIndex>()
    }

    /// Delineates the beats whose windows end by `end`.
    fn settle(&mut self, end: i64, out: &mut Vec<Complex>) {
        while let Some(&at) = self.beats.get(self.n_done) {
            if self.window_start(at) + signed(LENGTH) > end {
                return;
            }
            out.extend(self.delineate(at));
            self.n_done += 1;
            // the one before the next beat is all that a window can hold of older ones that counts
            while self.n_done > 16 {
                self.beats.pop_front();
                self.n_done -= 1;
            }
        }
    }

    /// The beat at `at`; `None` where the lead is flat or the electrode off.
    fn delineate(&mut self, at: SampleIndex) -> Option<Complex> {
        let start = self.window_start(at);
        let place = |at: SampleIndex| at.0 as f64 / self.ratio - start as f64;
        let r = place(at);
        let known = |place: &f64| *place >= 0.0 && *place <= r + KNOWN;
        let peaks: Vec<f64> = self
            .beats
            .iter()
            .map(|at| place(*at))
            .filter(known)
            .collect();
        let before = peaks.iter().copied().rfind(|peak| *peak < r);
        let after = peaks.iter().copied().find(|peak| *peak > r);

        let raw: [f32; LENGTH] = std::array::from_fn(|k| {
            let slot = usize::try_from(start - self.first + signed(k)).ok();
            let sample = slot.and_then(|slot| self.trail.get(slot));
            sample.copied().unwrap_or(f32::NAN)
        });
        let input = prepare(&raw, &peaks)?;
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
        let p = match self.rhythm.push(seconds, spans.p.as_ref().map(pr)) {
            Atria::Unknown => spans.p,
            Atria::Astray => None,
            Atria::Lead(usual) => spans.p.or_else(|| {
                let near = |p: &Span| (pr(p) - usual).abs() <= FAINT_SECONDS;
                spans.faint_p.filter(near)
            }),
        };
        let (qrs, peak) = (wave(spans.qrs), at.0 as f64);
        Some(Complex {
            r_peak: at,
            p: p.map(wave),
            qrs: Wave {
                onset: qrs.onset.min(peak),
                peak,
                offset: qrs.offset.max(peak),
            },
            t: spans.t.map(wave),
        })
    }

    /// The index of the first sample of the window of a beat, a multiple of the stride.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an index of 2^53 samples is out of reach"
    )]
    fn window_start(&self, at: SampleIndex) -> i64 {
        let strides = (at.0 as f64 / self.ratio - HALF as f64) / STRIDE as f64;
        strides.floor() as i64 * signed(STRIDE)
    }
}

/// A count as an index.
fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What the network sees: the signal, and the marks of its R peaks. `None` without a QRS that
/// has a height. Samples that are NaN are missing, and seen as zero.
fn prepare(raw: &[f32; LENGTH], peaks: &[f64]) -> Option<[[f32; LENGTH]; N_INPUTS]> {
    let heights = peaks.iter().map(|peak| {
        let near =
            (0..LENGTH).filter(|k| (*k as f64 - (peak + 0.5).floor()).abs() <= QRS_HALF as f64);
        let (low, high) = near
            .map(|k| raw[k])
            .filter(|value| !value.is_nan())
            .fold((f32::MAX, f32::MIN), |(low, high), v| {
                (low.min(v), high.max(v))
            });
        (high - low).max(0.0)
    });
    let height = heights.sum::<f32>() / peaks.len().max(1) as f32;
    if height.is_nan() || height < LOWEST_HEIGHT {
        return None;
    }
    let valid: [f32; LENGTH] = raw.map(|value| if value.is_nan() { 0.0 } else { 1.0 });
    let scaled: [f32; LENGTH] = raw.map(|value| if value.is_nan() { 0.0 } else { value / height });
    let weights: [f32; 2 * MEAN_HALF + 1] = std::array::from_fn(|k| {
        let phase = (k + 1) as f64 / (MEAN_HALF + 1) as f64 * std::f64::consts::PI;
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let weight = (0.5 - 0.5 * phase.cos()) as f32;
        weight
    });
    let mut signal = [0.0; LENGTH];
    for (at, out) in signal.iter_mut().enumerate() {
        let from = at.saturating_sub(MEAN_HALF);
        let to = (at + MEAN_HALF + 1).min(LENGTH);
        let weights = &weights[from + MEAN_HALF - at..];
        let (mut sum, mut total) = (0.0, 0.0);
        for ((value, valid), weight) in scaled[from..to].iter().zip(&valid[from..to]).zip(weights) {
            sum += value * weight;
            total += valid * weight;
        }
        *out = (scaled[at] - sum / total.max(1e-6)) * valid[at];
    }
    let mut marks = [0.0; LENGTH];
    for (at, mark) in marks.iter_mut().enumerate() {
        let nearest = peaks.iter().map(|peak| (at as f64 - peak).abs());
        let nearest = nearest.fold(MARK_HALF, f64::min);
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let height = (1.0 - nearest / MARK_HALF) as f32;
        *mark = height;
    }
    Some([signal, marks])
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
