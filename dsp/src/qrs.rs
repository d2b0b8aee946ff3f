//! Streaming QRS detector for one lead.
//!
//! Takes an ECG lead, mV, 100 to 2000 Hz; yields R peaks as indices of the input, group delay
//! removed, in order, at least 180 ms apart. **Each beat is final and comes at most
//! [`LAG_SECONDS`] late**; there is no search-back (see `decision.rs`). What is found depends
//! on the last [`MEMORY_SECONDS`] of signal only. Nothing is found where the electrode is off.

use std::collections::VecDeque;

use ecg::{SampleIndex, SampleRate, SignalKind};

use crate::Error;
use crate::config::Mains;
use crate::crest::{Crest, Crests};
use crate::decision::Rules;
use crate::envelope::Envelope;
use crate::relay::{EPOCH_SECONDS, Relay};

/// Every beat before `input - LAG_SECONDS` has been reported.
pub const LAG_SECONDS: f64 = 0.49;

/// Beats depend on no sample older than this: four epochs of the decider, one for its alignment,
/// and the filters.
pub const MEMORY_SECONDS: f64 = 5.0 * EPOCH_SECONDS + 0.5;

/// The lowest rate at which beats are looked for.
pub const MIN_RATE_HZ: f64 = 100.0;

/// A crest of the envelope is the highest point this far around.
const REACH_SECONDS: f64 = 0.14;
/// How far past a crest the decision looks.
const LOOK_AHEAD_SECONDS: f64 = 0.3;
/// The R peak lies this close to the crest.
const R_SECONDS: f64 = 0.09;
/// Samples kept for finding the R peak.
const KEPT_SECONDS: f64 = 0.8;
/// Two R peaks are no closer.
const APART_SECONDS: f64 = 0.18;

/// Finds the beats of one lead.
#[derive(Debug)]
pub struct Qrs {
    rate: f64,
    envelope: Envelope,
    crests: Crests,
    relay: Relay<Rules>,
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
    last_peak: Option<u64>,
}

impl Qrs {
    /// A detector for a lead at `rate`.
    ///
    /// # Errors
    /// [`Error::Coarse`] under [`MIN_RATE_HZ`].
    pub fn new(signal: SignalKind, rate: SampleRate, mains: Mains) -> Result<Self, Error> {
        let hz = rate.hz();
        if hz < MIN_RATE_HZ {
            return Err(Error::Coarse {
                signal,
                hz,
                limit: MIN_RATE_HZ,
            });
        }
        let decimation = samples(hz / 250.0 - 0.5).max(1);
        let inner = hz / decimation as f64;
        let envelope = Envelope::new(inner, mains)?;
        let look_ahead = samples(LOOK_AHEAD_SECONDS * inner);
        let inner_ahead = usize::try_from(look_ahead).unwrap_or(1) + 8;
        let reach = usize::try_from(samples(REACH_SECONDS * inner)).unwrap_or(1);
        let kept = usize::try_from(samples(KEPT_SECONDS * hz)).unwrap_or(1);
        Ok(Self {
            rate: hz,
            delay: envelope.delay() * hz - (decimation - 1) as f64 / 2.0,
            envelope,
            crests: Crests::new(reach, reach + inner_ahead),
            relay: Relay::new(inner),
            waiting: Vec::with_capacity(8),
            look_ahead,
            decimation,
            sum: 0.0,
            n_sum: 0,
            next: 0,
            ring: vec![f32::NAN; kept.next_power_of_two()],
            last_peak: None,
        })
    }

    /// Begins a new segment at `start`, an index at this lead's rate.
    pub fn reset(&mut self, start: SampleIndex) {
        self.envelope.reset();
        self.crests.reset();
        self.relay.reset(start.0 / self.decimation);
        self.waiting.clear();
        self.sum = 0.0;
        self.n_sum = 0;
        self.next = start.0;
        self.ring.fill(f32::NAN);
        self.last_peak = None;
    }

    /// Takes samples in and appends the R peaks that they settle to `peaks`. With `off` the
    /// electrode is off and the samples mean nothing.
    pub fn push(&mut self, samples: &[f32], off: bool, peaks: &mut VecDeque<SampleIndex>) {
        for sample in samples {
            let good = !off && sample.is_finite();
            let value = if good { *sample } else { f32::NAN };
            let slot = self.slot(self.next);
            self.ring[slot] = value;
            let phase = self.next % self.decimation;
            if phase == 0 {
                self.sum = 0.0;
                self.n_sum = 0;
            }
            self.sum += value;
            self.n_sum += 1;
            self.next += 1;
            if phase + 1 == self.decimation && self.n_sum == self.decimation {
                let mean = self.sum / self.decimation as f32;
                self.step((self.next - 1) / self.decimation, mean, peaks);
            }
        }
    }

    /// One sample of the decimated lead; NaN where the electrode is off.
    #[inline]
    fn step(&mut self, index: u64, mean: f32, peaks: &mut VecDeque<SampleIndex>) {
        let value = (!mean.is_nan()).then_some(mean);
        let envelope = self.envelope.push(index, value);
        if let Some(crest) = self.crests.push(index, envelope) {
            self.waiting.push(crest);
        }
        if let Some(crest) = self.waiting.first()
            && index >= crest.at + self.look_ahead
        {
            self.decide(index, peaks);
        }
    }

    /// Decides the oldest crest, the envelope being known up to `newest`.
    fn decide(&mut self, newest: u64, peaks: &mut VecDeque<SampleIndex>) {
        let crest = self.waiting.remove(0);
        // The flank of the crest itself is lower than what stands beyond its reach.
        let after = self
            .crests
            .highest(crest.at + 1, newest.min(crest.at + self.look_ahead));
        if !self.relay.decide(crest, after) {
            return;
        }
        let Some(peak) = self.r_peak(crest) else {
            return;
        };
        let apart = samples(APART_SECONDS * self.rate);
        if self.last_peak.is_none_or(|last| peak >= last + apart) {
            self.last_peak = Some(peak);
            peaks.push_back(SampleIndex(peak));
        }
    }

    /// Ends the segment: decides the crests that still wait, as if silence followed.
    pub fn finish(&mut self, peaks: &mut VecDeque<SampleIndex>) {
        let end = self.next / self.decimation;
        for index in end..=end + self.look_ahead {
            if let Some(crest) = self.crests.push(index, 0.0) {
                self.waiting.push(crest);
            }
        }
        while !self.waiting.is_empty() {
            self.decide(end + self.look_ahead, peaks);
        }
    }

    fn slot(&self, at: u64) -> usize {
        usize::try_from(at & (self.ring.len() as u64 - 1)).unwrap_or(0)
    }

    /// The extremum of the lead near the crest: smoothed over 20 ms against noise, measured from the straight
    /// line under the complex. `None` where there are no good samples.
    fn r_peak(&self, crest: Crest) -> Option<u64> {
        let centre = samples((crest.at * self.decimation) as f64 - self.delay);
        let reach = samples(R_SECONDS * self.rate);
        let rim = samples(0.05 * self.rate);
        let half = samples(0.008 * self.rate);
        let oldest = self.next.saturating_sub(self.ring.len() as u64);
        let mean = |from: u64, to: u64| {
            let (mut sum, mut n) = (0.0, 0);
            for at in from.max(oldest)..to.min(self.next) {
                let value = self.ring[self.slot(at)];
                if !value.is_nan() {
                    sum += value;
                    n += 1;
                }
            }
            (n > 0).then(|| sum / n as f32)
        };
        let (low, high) = (centre.saturating_sub(reach), centre + reach);
        let before = mean(low.saturating_sub(rim), low);
        let after = mean(high, high + rim);
        let (before, after) = match (before, after) {
            (Some(before), Some(after)) => (before, after),
            (Some(only), None) | (None, Some(only)) => (only, only),
            (None, None) => return None,
        };
        let mut best: Option<(f32, u64)> = None;
        for at in low.max(oldest)..high.min(self.next) {
            if self.ring[self.slot(at)].is_nan() {
                continue;
            }
            let along = (at - low) as f32 / (2 * reach).max(1) as f32;
            let Some(value) = mean(at.saturating_sub(half), at + half + 1) else {
                continue;
            };
            let height = value - before - (after - before) * along;
            // R before S or Q where they are much alike, so that the peak does not hop.
            let height = if height > 0.0 { 1.25 * height } else { -height };
            if best.is_none_or(|(most, _)| height > most) {
                best = Some((height, at));
            }
        }
        best.map(|(_, at)| at)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.envelope.heap_bytes()
            + self.crests.heap_bytes()
            + self.waiting.capacity() * size_of::<Crest>()
            + size_of_val(&*self.ring)
    }
}

/// The nearest count; zero for a negative one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate, which is what a count wants"
)]
fn samples(value: f64) -> u64 {
    value.round() as u64
}
