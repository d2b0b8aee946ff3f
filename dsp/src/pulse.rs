//! Pulse onsets of a PPG.
//!
//! Upstrokes are found by the slope sum function: the rises of the low-passed signal, added up over
//! 0.17 s. A crest of it is a pulse if it reaches a part of what the last seconds hold; its
//! onset is the foot of that upstroke. Causal, chunk invariant; **each onset comes at most
//! [`LAG_SECONDS`] late** and depends on the last [`MEMORY_SECONDS`] only. The unit of the signal
//! does not matter; blood volume must point upwards.
//!
//! Reference: Zong et al., Computers in Cardiology 30, 2003, doi:10.1109/CIC.2003.1291140.

use std::collections::VecDeque;

use ecg::{Pulse, SampleIndex, SampleRate};

use crate::Error;
use crate::crest::{Crest, Crests};
use crate::filter::Cascade;

/// Every onset before `input - LAG_SECONDS` has been reported. It also bounds what is reported: an
/// onset is never earlier than this before the sample that settles it.
pub const LAG_SECONDS: f64 = 0.49;

/// Onsets depend on no sample older than this.
pub const MEMORY_SECONDS: f64 = LEARN_SECONDS + 3.0;

const LEARN_SECONDS: f64 = 6.0;
const LOWPASS_HZ: f64 = 8.0;
const RISE_SECONDS: f64 = 0.17;
/// An upstroke's crest is the highest this far around.
const REACH_SECONDS: f64 = 0.16;
/// The foot is looked for this far before the crest.
const FOOT_SECONDS: f64 = 0.27;
/// The part of a usual crest that a pulse reaches.
const PART: f32 = 0.4;
/// Crests remembered at most.
const MAX_CRESTS: usize = 32;

/// Finds the pulses of one PPG.
#[derive(Debug)]
pub struct PulseDetector {
    rate: f64,
    lowpass: Cascade,
    offset: Option<f64>,
    /// Group delay of the low-pass in samples.
    delay: u64,
    crests: Crests,
    /// The last low-passed values, at `index % len`; NaN where the sensor was off.
    ring: Vec<f32>,
    n_rise: u64,
    next: u64,
    /// The crests of the last seconds.
    known: VecDeque<Crest>,
    last: Option<u64>,
}

impl PulseDetector {
    /// A detector for a PPG at `rate`.
    ///
    /// # Errors
    /// None for rates of 25 Hz or more; those of [`Cascade::lowpass`] otherwise.
    pub fn new(rate: SampleRate) -> Result<Self, Error> {
        let hz = rate.hz();
        let count = |seconds: f64| usize::try_from(rate.count(seconds).0).unwrap_or(1).max(1);
        let lowpass = Cascade::lowpass(2, LOWPASS_HZ, hz)?;
        let kept = count(FOOT_SECONDS + REACH_SECONDS) + 4;
        Ok(Self {
            rate: hz,
            delay: rate.count(lowpass.group_delay(2.0, hz)).0,
            lowpass,
            offset: None,
            crests: Crests::new(count(REACH_SECONDS), 1),
            ring: vec![f32::NAN; kept.next_power_of_two()],
            n_rise: count(RISE_SECONDS) as u64,
            next: 0,
            known: VecDeque::with_capacity(MAX_CRESTS + 1),
            last: None,
        })
    }

    /// Begins a new segment at `start`, an index at this signal's rate.
    pub fn reset(&mut self, start: SampleIndex) {
        self.lowpass.reset();
        self.offset = None;
        self.crests.reset();
        self.ring.fill(f32::NAN);
        self.next = start.0;
        self.known.clear();
        self.last = None;
    }

    fn slot(&self, at: u64) -> usize {
        usize::try_from(at & (self.ring.len() as u64 - 1)).unwrap_or(0)
    }

    /// Takes samples in and appends the pulses that they settle to `pulses`. With `off` the
    /// sensor is off and the samples mean nothing.
    pub fn push(&mut self, samples: &[f32], off: bool, pulses: &mut VecDeque<Pulse>) {
        for sample in samples {
            let at = self.next;
            self.next += 1;
            let slot = self.slot(at);
            if off || !sample.is_finite() {
                self.offset = None;
                self.ring[slot] = f32::NAN;
            } else {
                let value = f64::from(*sample);
                if self.offset.is_none() {
                    self.lowpass.reset();
                }
                let offset = *self.offset.get_or_insert(value);
                #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
                let value = self.lowpass.push(value - offset) as f32;
                self.ring[slot] = value;
            }
            let rise = self.rise(at);
            let mut crest = None;
            self.crests.push(at, &[rise], |found| crest = Some(found));
            if let Some(crest) = crest {
                self.decide(crest, pulses);
            }
        }
    }

    /// The rises over the last [`RISE_SECONDS`], added up.
    fn rise(&self, at: u64) -> f32 {
        let mut sum = 0.0;
        let mut later = self.ring[self.slot(at)];
        for back in 1..=self.n_rise.min(at) {
            let earlier = self.ring[self.slot(at - back)];
            // A comparison with NaN is false: nothing rises out of nowhere.
            if later > earlier {
                sum += later - earlier;
            }
            later = earlier;
        }
        sum
    }

    fn decide(&mut self, crest: Crest, pulses: &mut VecDeque<Pulse>) {
        let learn = LEARN_SECONDS * self.rate;
        while self
            .known
            .front()
            .is_some_and(|old| (crest.at - old.at) as f64 > learn || self.known.len() >= MAX_CRESTS)
        {
            self.known.pop_front();
        }
        self.known.push_back(crest);
        let mut heights = [0f32; MAX_CRESTS];
        let n = self.known.len();
        for (height, known) in heights.iter_mut().zip(&self.known) {
            *height = known.height;
        }
        let heights = &mut heights[..n];
        heights.sort_unstable_by(f32::total_cmp);
        // Every pulse has one high crest and at most one low one, its dicrotic wave.
        if crest.height < PART * heights[(n - 1) * 2 / 3] {
            return;
        }
        let Some(foot) = self.foot(crest.at) else {
            return;
        };
        if self.last.is_none_or(|last| foot > last) {
            self.last = Some(foot);
            pulses.extend(self.measure(foot));
        }
    }

    /// The pulse with this foot, an index of the low-passed signal; `None` where nothing rises from it.
    fn measure(&self, foot: u64) -> Option<Pulse> {
        let height = |at: u64| self.ring[self.slot(at)];
        let level = height(foot);
        let mut peak = (level, foot);
        for at in foot + 1..self.next {
            let value = height(at);
            // A comparison with NaN is false.
            if value > peak.0 {
                peak = (value, at);
            }
        }
        let amplitude = peak.0 - level;
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let offset = self.offset.unwrap_or_default() as f32;
        (amplitude > 0.0).then(|| Pulse {
            onset: SampleIndex(foot.saturating_sub(self.delay)),
            peak: SampleIndex(peak.1.saturating_sub(self.delay)),
            level: level + offset,
            amplitude,
        })
    }

    /// The lowest point before the crest, the latest of equals; `None` where the sensor was off.
    fn foot(&self, crest: u64) -> Option<u64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small positive number"
        )]
        let reach = (FOOT_SECONDS * self.rate) as u64;
        let mut lowest: Option<(f32, u64)> = None;
        for at in crest.saturating_sub(reach)..=crest {
            let value = self.ring[self.slot(at)];
            if !value.is_nan() && lowest.is_none_or(|(least, _)| value <= least) {
                lowest = Some((value, at));
            }
        }
        lowest.map(|(_, at)| at)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.lowpass.heap_bytes()
            + self.crests.heap_bytes()
            + size_of_val(&*self.ring)
            + self.known.capacity() * size_of::<Crest>()
    }
}
