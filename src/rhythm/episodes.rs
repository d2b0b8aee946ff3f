//! From decisions to episodes of atrial fibrillation.
//!
//! A decision is about a stretch of up to half a minute, so it is taken to say what the rhythm was in its **middle**, and
//! of the half before it where nothing was decided before. Fibrillation begins with a decision at or above the
//! probability `enter` of the model and ends with [`CALM`] decisions in a row below `leave`; it is dated back half
//! a hop before the first and ends half a hop after the last decision of it. Decisions that are too noisy
//! neither begin nor end it, for [`NOISY_SECONDS`] at most. What lasts less than [`LEAST_EPISODE_SECONDS`] is no
//! episode, as is usual; a gap ends one.

use ecg::{SampleCount, SampleIndex, SampleRate};
use infer::{
    PulseLabel, PulseRhythmDecision, PulseRhythmForm, RhythmDecision, RhythmForm, RhythmLabel,
};

use super::HOP_SECONDS;

/// An episode lasts at least so long.
pub const LEAST_EPISODE_SECONDS: f64 = 30.0;
/// So many decisions in a row end an episode.
const CALM: u32 = 2;
/// An episode does not outlast noise of more than this.
const NOISY_SECONDS: f64 = 60.0;

/// One episode of atrial fibrillation, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Episode {
    /// Where it begins.
    pub onset: SampleIndex,
    /// Up to where it is known to last.
    pub offset: SampleIndex,
    /// The mean of the probabilities that were decided in it.
    pub probability: f32,
}

/// What becomes of an episode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// It has lasted long enough to be one; it goes on.
    Began(Episode),
    /// It is over.
    Ended(Episode),
}

/// What a decision means for fibrillation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The first sample of the stretch.
    pub start: SampleIndex,
    /// The first sample after it.
    pub end: SampleIndex,
    /// How likely it is.
    pub probability: f32,
    /// Whether nothing can be told.
    pub is_noisy: bool,
}

impl From<&RhythmDecision> for Verdict {
    fn from(decision: &RhythmDecision) -> Self {
        Self {
            start: decision.start,
            end: decision.end,
            probability: decision.probability(RhythmLabel::AtrialFibrillation),
            is_noisy: decision.label == RhythmLabel::Noisy,
        }
    }
}

/// What is not usable says nothing of fibrillation, neither for it nor against.
impl From<&PulseRhythmDecision> for Verdict {
    fn from(decision: &PulseRhythmDecision) -> Self {
        let probability = decision.probability(PulseLabel::AtrialFibrillation);
        Self {
            start: decision.start,
            end: decision.end,
            probability: if decision.is_usable { probability } else { 0.0 },
            is_noisy: !decision.is_usable,
        }
    }
}

/// Between which probabilities fibrillation begins and ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// It begins at or above this one.
    pub enter: f32,
    /// It ends below this one.
    pub leave: f32,
}

impl From<&RhythmForm> for Limits {
    fn from(form: &RhythmForm) -> Self {
        Self {
            enter: form.enter,
            leave: form.leave,
        }
    }
}

impl From<&PulseRhythmForm> for Limits {
    fn from(form: &PulseRhythmForm) -> Self {
        Self {
            enter: form.enter,
            leave: form.leave,
        }
    }
}

/// The episodes of one record.
#[derive(Debug)]
pub struct Episodes {
    rate: SampleRate,
    limits: Limits,
    /// Whether something was decided of the segment.
    going: bool,
    open: Option<Open>,
}

/// What may become an episode.
#[derive(Debug)]
struct Open {
    onset: SampleIndex,
    offset: SampleIndex,
    /// The end of the last stretch that it was seen in.
    seen: SampleIndex,
    sum: f64,
    n: u32,
    calm: u32,
    /// Whether it was told.
    told: bool,
}

impl Open {
    fn episode(&self) -> Episode {
        #[expect(clippy::cast_possible_truncation, reason = "a mean of probabilities")]
        let probability = (self.sum / f64::from(self.n.max(1))) as f32;
        Episode {
            onset: self.onset,
            offset: self.offset,
            probability,
        }
    }
}

impl Episodes {
    /// For positions at `rate` and decisions of a model with these limits.
    pub fn new(rate: SampleRate, limits: impl Into<Limits>) -> Self {
        Self {
            rate,
            limits: limits.into(),
            going: false,
            open: None,
        }
    }

    /// The episode that goes on, once it is one.
    pub fn current(&self) -> Option<Episode> {
        self.open
            .as_ref()
            .filter(|open| open.told)
            .map(Open::episode)
    }

    /// Takes the next decision; what changes is appended to `out`.
    pub fn push(&mut self, decision: impl Into<Verdict>, out: &mut Vec<Change>) {
        let decision: Verdict = decision.into();
        let half_hop = self.rate.count(HOP_SECONDS / 2.0);
        let length = decision.end.since(decision.start);
        let middle = decision.start.after(SampleCount(length.0 / 2));
        let p = decision.probability;
        let first = !std::mem::replace(&mut self.going, true);
        let Some(open) = &mut self.open else {
            if p >= self.limits.enter {
                let onset = middle.before(half_hop).max(decision.start);
                self.open = Some(Open {
                    onset: if first { decision.start } else { onset },
                    offset: middle.after(half_hop).min(decision.end),
                    seen: decision.end,
                    sum: f64::from(p),
                    n: 1,
                    calm: 0,
                    told: false,
                });
            }
            return;
        };
        if p >= self.limits.leave {
            open.offset = open.offset.max(middle.after(half_hop).min(decision.end));
            open.seen = decision.end;
            open.sum += f64::from(p);
            open.n += 1;
            open.calm = 0;
            let lasted = self.rate.seconds(open.offset.since(open.onset));
            if !open.told && lasted >= LEAST_EPISODE_SECONDS {
                open.told = true;
                out.push(Change::Began(open.episode()));
            }
            return;
        }
        let since = self.rate.seconds(decision.end.since(open.seen));
        if decision.is_noisy && since < NOISY_SECONDS {
            return;
        }
        open.calm += 1;
        if open.calm >= CALM || decision.is_noisy {
            self.close(out);
        }
    }

    /// The segment ended, by a gap or with the record: what was seen last is taken to have lasted to the end of its stretch.
    pub fn end(&mut self, out: &mut Vec<Change>) {
        self.going = false;
        if let Some(open) = &mut self.open {
            if open.calm == 0 {
                open.offset = open.seen;
            }
            let lasted = self.rate.seconds(open.offset.since(open.onset));
            if !open.told && lasted >= LEAST_EPISODE_SECONDS {
                open.told = true;
                out.push(Change::Began(open.episode()));
            }
        }
        self.close(out);
    }

    fn close(&mut self, out: &mut Vec<Change>) {
        if let Some(open) = self.open.take()
            && open.told
        {
            out.push(Change::Ended(open.episode()));
        }
    }
}
