//! Streaming QRS detector for one lead.
//!
//! Takes an ECG lead, mV, 100 to 2000 Hz; yields R peaks as indices of the input, group delay
//! removed, in order, at least 180 ms apart. **Each beat is final and comes at most
//! [`LAG_SECONDS`] late**; there is no second look. What is found depends on the last
//! [`MEMORY_SECONDS`] of signal only. Nothing is found where the electrode is off.
//!
//! ```text
//! lead --> envelope --> crests --> sight --> first opinion --> context --> log-odds
//! ```
//!
//! A crest of the envelope of the QRS band is a candidate. A small network forms a first opinion of
//! it from what can be seen around it. Most candidates are plain then; of the others a larger
//! network decides, knowing the candidates before with the first opinions of them. Neither
//! depends on what was decided before, so there is nothing that has to be forgotten. The networks
//! were fitted by `dsp/training/qrs.py`.

mod context;
mod network;
mod peak;
mod sight;

use std::collections::VecDeque;
use std::sync::Arc;

use ecg::{SampleIndex, SampleRate, SignalKind};

pub use network::Networks;

use crate::Error;
use crate::config::Mains;
use crate::crest::{Crest, Crests, keep, slot};
use crate::envelope::Envelope;
use context::{CONTEXT_SECONDS, Context, Entry, N_CONTEXT};
use network::PLAIN;
use peak::Peak;
use sight::{N_FORM, N_HALVES, N_SIGHT};

/// Every candidate whose complex has its middle before `input - SETTLED_SECONDS` has been reported.
pub const SETTLED_SECONDS: f64 = 0.3;

/// Every beat before `input - LAG_SECONDS` has been reported.
pub const LAG_SECONDS: f64 = 0.49;

/// Beats depend on no sample older than this: the context, what the opinions in it rest on, and
/// the filters.
pub const MEMORY_SECONDS: f64 = CONTEXT_SECONDS + 0.5 * N_HALVES as f64 + 0.5;

/// The lowest rate at which beats are looked for.
pub const MIN_RATE_HZ: f64 = 100.0;

/// Crests lower than this are no candidates, mV of the band-passed lead.
const FLOOR: f32 = 0.01;
/// A crest of the envelope is the highest point this far around.
const REACH_SECONDS: f64 = 0.14;
/// How far past a crest the decision looks.
const LOOK_AHEAD_SECONDS: f64 = 0.22;
/// The R peak lies this close to the crest.
pub(crate) const R_SECONDS: f64 = 0.09;
/// Samples kept for finding the R peak.
const KEPT_SECONDS: f64 = 0.6;
/// Two R peaks are no closer.
pub(crate) const APART_SECONDS: f64 = 0.18;
/// The R peak of a candidate less likely than this is not looked for.
const HOPELESS: f32 = -5.0;
/// Samples taken in at once.
const BITE: usize = 64;

/// Samples of the decimated lead from one end of a bend to the other, at most.
const MOST_BENT: usize = 16;
/// Sharper bends, mV, are no ECG.
const MOST_SHARP: f32 = 1e6;

/// A place where a beat may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The middle of the complex, to within some 20 ms, as an index of the input.
    pub middle: SampleIndex,
    /// The R peak; the middle again where a beat is out of the question.
    pub r_peak: SampleIndex,
    /// The natural logarithm of the odds that it is a beat.
    pub log_odds: f32,
    /// How little this lead has said of late, from 0, where each candidate was plain at first sight, to 1.
    pub doubt: f32,
}

/// Finds the beats of one lead.
#[derive(Debug)]
pub struct Qrs {
    rate: f64,
    inner_rate: f64,
    envelope: Envelope,
    crests: Crests,
    networks: Arc<Networks>,
    /// Whether the context of plain candidates is told too.
    thorough: bool,
    context: Context,
    /// Crests not yet decided, oldest first.
    waiting: Vec<Crest>,
    look_ahead: u64,
    /// Input samples to one of the envelope.
    decimation: u64,
    sum: f32,
    n_sum: u64,
    /// From a crest to its QRS, in input samples.
    delay: f64,
    /// Index of the next input sample.
    next: u64,
    /// The last input samples, at `index % len`; NaN where there is nothing to be seen.
    ring: Vec<f32>,
    /// The same, decimated.
    inner: Vec<f32>,
    /// Every `stride`th sample of the envelope, at `index / stride % len`.
    sparse: Vec<f32>,
    /// How sharply the lead bends, at the same places.
    bends: Vec<f32>,
    /// Samples from one end of a bend to its middle.
    bend_half: usize,
    /// Bends since the last of these places.
    bend_sum: f32,
    /// The last samples of the decimated lead.
    recent: [f32; MOST_BENT],
    stride: u64,
    /// Room to work in.
    lead: Vec<f32>,
    inputs: Vec<f32>,
    peak: Peak,
    last_peak: Option<u64>,
}

impl Qrs {
    /// A detector for a lead at `rate`.
    ///
    /// # Errors
    /// [`Error::Coarse`] under [`MIN_RATE_HZ`].
    pub fn new(signal: SignalKind, rate: SampleRate, mains: Mains) -> Result<Self, Error> {
        Self::with_networks(signal, rate, mains, Networks::shipped())
    }

    /// The same with other `networks` than those that ship.
    ///
    /// # Errors
    /// Those of [`Qrs::new`].
    pub fn with_networks(
        signal: SignalKind,
        rate: SampleRate,
        mains: Mains,
        networks: Arc<Networks>,
    ) -> Result<Self, Error> {
        let hz = rate.hz();
        if hz < MIN_RATE_HZ {
            return Err(Error::Coarse {
                signal,
                hz,
                limit: MIN_RATE_HZ,
            });
        }
        let decimation = samples(hz / 280.0).max(1);
        let inner_rate = hz / decimation as f64;
        let envelope = Envelope::new(inner_rate, mains)?;
        let room = |seconds: f64, rate: f64| {
            let n = usize::try_from(samples(seconds * rate)).unwrap_or(1) + 8;
            n.next_power_of_two()
        };
        let reach = usize::try_from(samples(REACH_SECONDS * inner_rate)).unwrap_or(1);
        let stride = samples(inner_rate / 125.0).max(1);
        let bite = BITE as f64 / inner_rate;
        let inner_kept = sight::BEFORE_SECONDS + LOOK_AHEAD_SECONDS + 0.12 + bite;
        let sparse_kept = sight::ENVELOPE_SECONDS + LOOK_AHEAD_SECONDS + 0.05 + bite;
        let bends_kept = sparse_kept + envelope.delay();
        let n_bends = room(bends_kept, inner_rate / stride as f64);
        Ok(Self {
            rate: hz,
            inner_rate,
            delay: envelope.delay() * hz - (decimation - 1) as f64 / 2.0,
            envelope,
            crests: Crests::new(reach, BITE),
            networks,
            thorough: false,
            context: Context::new(inner_rate),
            waiting: Vec::with_capacity(8),
            look_ahead: samples(LOOK_AHEAD_SECONDS * inner_rate),
            decimation,
            sum: 0.0,
            n_sum: 0,
            next: 0,
            ring: vec![f32::NAN; room(KEPT_SECONDS + BITE as f64 / hz, hz)],
            inner: vec![f32::NAN; room(inner_kept, inner_rate)],
            sparse: vec![0.0; room(sparse_kept, inner_rate / stride as f64)],
            bends: vec![0.0; n_bends],
            bend_half: index(samples(sight::BEND_SECONDS * inner_rate)).clamp(1, MOST_BENT / 2),
            bend_sum: 0.0,
            recent: [f32::NAN; MOST_BENT],
            stride,
            lead: Vec::with_capacity(room(inner_kept, inner_rate).max(n_bends)),
            inputs: vec![0.0; N_SIGHT + N_CONTEXT],
            peak: Peak::new(hz),
            last_peak: None,
        })
    }

    /// The same, and what the networks were told of a candidate is complete even where the first opinion is
    /// final, as it has to be for fitting them.
    #[must_use]
    pub fn thorough(mut self) -> Self {
        self.thorough = true;
        self
    }

    /// Begins a new segment at `start`, an index at this lead's rate.
    pub fn reset(&mut self, start: SampleIndex) {
        self.envelope.reset();
        self.crests.reset();
        self.context.reset();
        self.waiting.clear();
        self.sum = 0.0;
        self.n_sum = 0;
        self.next = start.0;
        self.ring.fill(f32::NAN);
        self.inner.fill(f32::NAN);
        self.sparse.fill(0.0);
        self.bends.fill(0.0);
        self.bend_sum = 0.0;
        self.recent.fill(f32::NAN);
        self.last_peak = None;
    }

    /// Takes samples in and appends the R peaks that they settle to `peaks`. With `off` the
    /// electrode is off and the samples mean nothing.
    pub fn push(&mut self, samples: &[f32], off: bool, peaks: &mut VecDeque<SampleIndex>) {
        let mut last = self.last_peak;
        let apart = self.apart();
        self.candidates(samples, off, |candidate, _| {
            peaks.extend(beat(candidate, apart, &mut last));
        });
        self.last_peak = last;
    }

    /// Ends the segment: decides the crests that still wait, as if silence followed.
    pub fn finish(&mut self, peaks: &mut VecDeque<SampleIndex>) {
        let mut last = self.last_peak;
        let apart = self.apart();
        self.finish_candidates(|candidate, _| peaks.extend(beat(candidate, apart, &mut last)));
        self.last_peak = last;
    }

    fn apart(&self) -> u64 {
        samples(APART_SECONDS * self.rate)
    }

    /// As [`push`](Self::push), but hands on every candidate, likely or not, with what the
    /// networks were told of it; what the second one would have been is left over from another
    /// candidate unless it was asked or the detector is [`thorough`](Self::thorough).
    pub fn candidates(
        &mut self,
        samples: &[f32],
        off: bool,
        mut found: impl FnMut(Candidate, &[f32]),
    ) {
        for bite in samples.chunks(BITE) {
            let mut means = [0.0; BITE];
            let (first, n) = self.take(bite, off, &mut means);
            let mut envelope = [0.0; BITE];
            self.envelope.push(first, &means[..n], &mut envelope[..n]);
            self.follow(first, &means[..n], &envelope[..n]);
            while let Some(candidate) = self.due(first + n as u64) {
                found(candidate, &self.inputs);
            }
        }
    }

    /// As [`finish`](Self::finish), for candidates.
    pub fn finish_candidates(&mut self, mut found: impl FnMut(Candidate, &[f32])) {
        let end = self.next / self.decimation;
        let (mut next, last) = (end, end + self.look_ahead);
        while next <= last {
            let n = usize::try_from(last + 1 - next).map_or(BITE, |n| n.min(BITE));
            self.follow(next, &[f32::NAN; BITE][..n], &[0.0; BITE][..n]);
            next += n as u64;
        }
        while let Some(candidate) = self.due(u64::MAX) {
            found(candidate, &self.inputs);
        }
    }

    /// Takes in at most [`BITE`] samples and puts the decimated lead into `means`: the index of the first of
    /// them, and how many.
    fn take(&mut self, samples: &[f32], off: bool, means: &mut [f32; BITE]) -> (u64, usize) {
        let mut clean = [f32::NAN; BITE];
        let clean = &mut clean[..samples.len()];
        if !off {
            for (clean, sample) in clean.iter_mut().zip(samples) {
                *clean = if sample.is_finite() {
                    *sample
                } else {
                    f32::NAN
                };
            }
        }
        keep(&mut self.ring, self.next, clean);
        let at = self.next;
        self.next += samples.len() as u64;
        if self.decimation == 1 {
            means[..clean.len()].copy_from_slice(clean);
            return (at, clean.len());
        }
        let mut phase = at % self.decimation;
        // One that was begun counts if all of it has been seen.
        let begun = phase > 0 && self.n_sum == phase;
        let first = at / self.decimation + u64::from(phase > 0 && !begun);
        let mut n = 0;
        for value in clean {
            if phase == 0 {
                self.sum = 0.0;
                self.n_sum = 0;
            }
            self.sum += *value;
            self.n_sum += 1;
            phase += 1;
            if phase == self.decimation {
                phase = 0;
                if self.n_sum == self.decimation {
                    means[n] = self.sum / self.decimation as f32;
                    n += 1;
                }
            }
        }
        (first, n)
    }

    /// Notes the next samples, at most [`BITE`], of the decimated lead, NaN where the electrode is off, and of its
    /// envelope, and the crests that these complete.
    fn follow(&mut self, first: u64, means: &[f32], envelope: &[f32]) {
        keep(&mut self.inner, first, means);
        let skipped = (self.stride - first % self.stride) % self.stride;
        let sparse = envelope.iter().skip(index(skipped));
        let sparse = sparse.step_by(index(self.stride));
        for (at, value) in (first.div_ceil(self.stride)..).zip(sparse) {
            let sparse = slot(at, &self.sparse);
            self.sparse[sparse] = *value;
        }
        self.bend(first, means);
        let waiting = &mut self.waiting;
        self.crests.push(first, envelope, |crest| {
            if crest.height >= FLOOR {
                waiting.push(crest);
            }
        });
    }

    /// Notes how sharply the lead bends at the next samples, at most [`BITE`], of the decimated lead.
    fn bend(&mut self, first: u64, means: &[f32]) {
        let (mut near, half) = ([0.0; MOST_BENT + BITE], self.bend_half);
        let near = &mut near[..MOST_BENT + means.len()];
        near[..MOST_BENT].copy_from_slice(&self.recent);
        near[MOST_BENT..].copy_from_slice(means);
        self.recent.copy_from_slice(&near[means.len()..]);
        let mut bends = [0.0; BITE];
        let middles = &near[MOST_BENT - half..];
        let begins = &near[MOST_BENT - 2 * half..];
        for (((bend, end), middle), begin) in bends.iter_mut().zip(means).zip(middles).zip(begins) {
            let value = (end - 2.0 * middle + begin).abs();
            // NaN, where the electrode is off, is no bend.
            *bend = if value < MOST_SHARP { value } else { 0.0 };
        }
        for (at, bend) in (first..).zip(&bends[..means.len()]) {
            self.bend_sum += bend;
            if at.is_multiple_of(self.stride) {
                let sparse = slot(at / self.stride, &self.bends);
                self.bends[sparse] = std::mem::take(&mut self.bend_sum) / self.stride as f32;
            }
        }
    }

    /// The next candidate whose time has come before `end`.
    fn due(&mut self, end: u64) -> Option<Candidate> {
        let crest = *self.waiting.first()?;
        if end <= crest.at + self.look_ahead {
            return None;
        }
        self.waiting.remove(0);
        Some(self.decide(crest))
    }

    /// What can be said of a crest.
    fn decide(&mut self, crest: Crest) -> Candidate {
        self.look(crest);
        let networks = &self.networks;
        let (sight, context) = self.inputs.split_at_mut(N_SIGHT);
        let opinion = networks.first(sight);
        let entry = Entry::new(crest.at, crest.height, opinion, &sight[..N_FORM]);
        let plain = opinion.abs() > PLAIN;
        if !plain || self.thorough {
            self.context.describe(&entry, context);
        }
        let doubt = self.context.doubt(crest.at);
        self.context.push(entry);
        let mut log_odds = if plain {
            opinion
        } else {
            networks.second(&self.inputs)
        };
        let middle = self.middle(crest);
        let mut r_peak = middle;
        if log_odds > HOPELESS {
            match self.peak.find(middle, &self.ring, self.next) {
                Some(peak) => r_peak = peak,
                None => log_odds = f32::NEG_INFINITY,
            }
        }
        Candidate {
            middle: SampleIndex(middle),
            r_peak: SampleIndex(r_peak),
            log_odds,
            doubt,
        }
    }

    /// The middle of the complex of a crest, in input samples.
    fn middle(&self, crest: Crest) -> u64 {
        samples((crest.at * self.decimation) as f64 - self.delay)
    }

    /// Fills the inputs with what can be seen around a crest.
    fn look(&mut self, crest: Crest) {
        let (form, rest) = self.inputs.split_at_mut(N_FORM);
        let (envelope, rest) = rest.split_at_mut(sight::N_ENVELOPE);
        let (bends, rest) = rest.split_at_mut(sight::N_ENVELOPE + 1);
        let (halves, moves) = rest.split_at_mut(N_HALVES);

        let middle = crest.at as f64 - self.delay / self.decimation as f64;
        let low = samples(middle - sight::BEFORE_SECONDS * self.inner_rate);
        let high = samples(middle + sight::AFTER_SECONDS * self.inner_rate);
        read(&self.inner, low, high, &mut self.lead);
        sight::form(&mut self.lead, middle - low as f64, self.inner_rate, form);
        sight::finish_form(crest, form, &mut moves[..3]);

        for (k, out) in envelope.iter_mut().enumerate() {
            let at = crest.at as f64 + sight::envelope_offset(k) * self.inner_rate;
            let at = at / self.stride as f64;
            *out = if at <= -0.5 {
                0.0
            } else {
                self.sparse[slot(samples(at), &self.sparse)]
            };
        }
        sight::all_octaves(envelope, crest.height);
        let stride = self.stride as f64;
        let centre = (middle + self.bend_half as f64) / stride + 0.5;
        let low = samples(centre - (sight::ENVELOPE_SECONDS + 0.03) * self.inner_rate / stride);
        let high = samples(centre + (sight::AFTER_SECONDS - 0.02) * self.inner_rate / stride);
        read(&self.bends, low, high, &mut self.lead);
        let centre = centre - low as f64;
        sight::bends(&self.lead, centre, self.inner_rate / stride, crest, bends);
        halves.copy_from_slice(&self.context.halves::<N_HALVES>(crest.at));
        sight::all_octaves(halves, crest.height);
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let floats = [
            &self.ring,
            &self.inner,
            &self.sparse,
            &self.bends,
            &self.lead,
            &self.inputs,
        ];
        self.envelope.heap_bytes()
            + self.crests.heap_bytes()
            + self.context.heap_bytes()
            + self.peak.heap_bytes()
            + self.waiting.capacity() * size_of::<Crest>()
            + floats
                .map(|row| row.capacity() * size_of::<f32>())
                .iter()
                .sum::<usize>()
    }
}

/// The R peak of a candidate that counts, where it is far enough from the last.
fn beat(candidate: Candidate, apart: u64, last: &mut Option<u64>) -> Option<SampleIndex> {
    let peak = candidate.r_peak;
    let clear = last.is_none_or(|last| peak.0 >= last + apart);
    (candidate.log_odds > 0.0 && clear).then(|| {
        *last = Some(peak.0);
        peak
    })
}

/// Fills `out` with what a ring holds from index `low` to `high`.
fn read(ring: &[f32], low: u64, high: u64, out: &mut Vec<f32>) {
    let from = slot(low, ring);
    let n = index(high + 1 - low).min(ring.len());
    let early = n.min(ring.len() - from);
    out.clear();
    out.extend_from_slice(&ring[from..from + early]);
    out.extend_from_slice(&ring[..n - early]);
}

/// A count as an index.
fn index(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The nearest count; zero for a negative one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate, which is what a count wants"
)]
fn samples(value: f64) -> u64 {
    // What `round` does, without a call.
    let whole = value as i64;
    whole
        .saturating_add(i64::from(value - whole as f64 >= 0.5))
        .max(0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::Lead;
    use proptest::prelude::*;

    fn detector(hz: f64) -> Qrs {
        let rate = SampleRate::new(hz).unwrap();
        Qrs::new(SignalKind::Ecg(Lead::II), rate, Mains::Auto).unwrap()
    }

    /// A beat each 0.8 s, with a T wave.
    #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
    fn lead(hz: f64, seconds: f64) -> Vec<f32> {
        let wave = |t: f64, width: f64| (-(t / width).powi(2)).exp();
        (0..samples(hz * seconds))
            .map(|n| {
                let t = (n as f64 / hz) % 0.8 - 0.3;
                (wave(t, 0.013) + 0.2 * wave(t - 0.28, 0.06)) as f32
            })
            .collect()
    }

    #[test]
    fn candidates_are_settled_in_time() {
        for hz in [100.0, 128.0, 250.0, 360.0, 499.0, 500.0, 1000.0, 2000.0] {
            let mut qrs = detector(hz);
            qrs.reset(SampleIndex(0));
            for (n, sample) in lead(hz, 10.0).iter().enumerate() {
                qrs.candidates(&[*sample], false, |candidate, _| {
                    let late = (n as u64 - candidate.middle.0) as f64 / hz;
                    assert!(late <= SETTLED_SECONDS, "{hz}: {late}");
                    let off = candidate.r_peak.0.abs_diff(candidate.middle.0) as f64 / hz;
                    assert!(off <= R_SECONDS + 1.0 / hz, "{hz}: {off}");
                });
            }
        }
    }

    #[test]
    fn detection_resumes_within_two_seconds_of_leads_on() {
        for hz in [128.0, 250.0, 500.0] {
            let mut qrs = detector(hz);
            qrs.reset(SampleIndex(0));
            let lead = lead(hz, 30.0);
            let (off, on) = (lead.len() / 3, lead.len() / 2);
            let mut peaks = VecDeque::new();
            qrs.push(&lead[..off], false, &mut peaks);
            qrs.push(&vec![5.0; on - off], true, &mut peaks);
            qrs.push(&lead[on..], false, &mut peaks);
            let hole = off as u64..on as u64;
            assert!(!peaks.iter().any(|peak| hole.contains(&peak.0)), "{hz}");
            let resumed = peaks.iter().find(|peak| peak.0 >= hole.end).unwrap();
            assert!(((resumed.0 - hole.end) as f64) < 2.0 * hz, "{hz}");
        }
    }

    proptest! {
        #[test]
        fn any_finite_input_has_finite_odds(
            values in prop::collection::vec(prop_oneof![
                -5.0f32..5.0, Just(f32::MAX), Just(f32::MIN), Just(f32::MIN_POSITIVE), Just(0.0)
            ], 300..3000),
        ) {
            let mut qrs = detector(250.0);
            qrs.reset(SampleIndex(0));
            let mut last = 0;
            let mut check = |candidate: Candidate, inputs: &[f32]| {
                assert!(!candidate.log_odds.is_nan());
                assert!(inputs.iter().all(|value| value.is_finite()), "{inputs:?}");
                assert!(candidate.middle.0 >= last);
                last = candidate.middle.0;
            };
            qrs.candidates(&values, false, &mut check);
            qrs.finish_candidates(&mut check);
        }
    }
}
