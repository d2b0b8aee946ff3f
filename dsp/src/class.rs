//! Which class a beat is of, in the words of EC57: N, S or V; Q where no lead shows it.
//!
//! Takes the beats as they are found and the trace of up to [`MAX_LEADS`] ECG leads (0.5 to 40 Hz,
//! linear phase); yields the class of each beat, in order, [`AFTER_SECONDS`] after its R peak, or at the end of
//! the segment. A class depends on the intervals and shapes of the beats of the last [`CONTEXT_SECONDS`]
//! and on what follows within [`AFTER_SECONDS`]: **not on how the stream was cut**. A beat is judged
//! against what the beats before it in the same lead look like, so gain and position of electrodes matter
//! little; and together with the last two beats where these look like it, because noise seldom makes the same
//! mistake twice.
//!
//! Fusion beats (F) are never told apart from V and N, and paced beats are not recognized.
//!
//! The features are in `rhythm.rs` and `shape.rs`, the trees in `model.rs`; `dsp/training/beats.py` is how these were
//! fitted, to the MIT-BIH Arrhythmia Database (Moody and Mark, IEEE EMB Magazine 20, 2001) and the
//! intervals of the `VitalDB` arrhythmia annotations. References: classes and their counting ANSI/AAMI EC57;
//! features relative to the patient's own beats, de Chazal et al., IEEE TBME 51 (2004).

mod model;
pub mod rhythm;
pub mod shape;

use std::collections::VecDeque;
use std::sync::Arc;

use ecg::{Beat, BeatClass, SampleCount, SampleIndex, SampleRate};

pub use model::Model;
pub use shape::Lead;
use shape::Look;

/// A beat has its class once this much after it is decided.
pub const AFTER_SECONDS: f64 = 1.2;

/// Beats up to this much before a beat matter for its class.
pub const CONTEXT_SECONDS: f64 = 13.2;

/// Beats that look alike and lie no further apart are judged together.
pub const VOTE_SECONDS: f64 = 2.0;

/// Whether a beat looks ventricular is judged next to beats up to this much before it, so that a vote of the beats before it
/// looks back no further than the context.
pub const NEAR_SECONDS: f64 = CONTEXT_SECONDS - VOTE_SECONDS;

/// The trace must reach this far back from a beat.
pub(crate) const MEMORY_SECONDS: f64 = NEAR_SECONDS + shape::BEFORE_SECONDS + 0.1;

/// Leads that are looked at: the first of a record.
pub const MAX_LEADS: usize = 3;

/// Stands for what cannot be told; below every feature.
pub const MISSING: f32 = -9.0;

/// Gives beats their classes.
#[derive(Debug)]
pub(crate) struct Classifier {
    model: Arc<Model>,
    base: SampleRate,
    after: SampleCount,
    context: SampleCount,
    /// The beats that matter for one to come, oldest first.
    beats: VecDeque<SampleIndex>,
    /// How many of them have their class.
    told: usize,
    /// What speaks for V in these, before the vote; nothing where no lead shows the beat.
    logits: VecDeque<Option<f32>>,
    /// Of each lead, the last of them that have their class as they look there.
    looks: Vec<VecDeque<Look>>,
    /// The beats in seconds, to work on.
    seconds: Vec<f64>,
}

impl Classifier {
    /// For positions at `base` and so many leads, at most [`MAX_LEADS`].
    pub(crate) fn new(model: Arc<Model>, base: SampleRate, n_leads: usize) -> Self {
        let looks = (0..n_leads.min(MAX_LEADS)).map(|_| VecDeque::with_capacity(shape::MOST));
        Self {
            model,
            base,
            after: base.count(AFTER_SECONDS),
            // A sample more, so that rounding leaves no beat of the context out.
            context: SampleCount(base.count(CONTEXT_SECONDS).0 + 1),
            beats: VecDeque::with_capacity(128),
            told: 0,
            logits: VecDeque::with_capacity(128),
            looks: looks.collect(),
            seconds: Vec::with_capacity(128),
        }
    }

    /// Begins a new segment.
    pub(crate) fn reset(&mut self) {
        self.beats.clear();
        self.told = 0;
        self.logits.clear();
        self.looks.iter_mut().for_each(VecDeque::clear);
    }

    /// The next beat.
    pub(crate) fn push(&mut self, beat: SampleIndex) {
        self.beats.push_back(beat);
    }

    /// Hands on the classes of the beats that all is known of: beats are found up to `decided`, and the trace,
    /// `leads`, reaches to `seen`. With `ended` nothing more will come.
    pub(crate) fn settle<'a>(
        &mut self,
        (decided, seen, ended): (SampleIndex, SampleIndex, bool),
        leads: &(impl Iterator<Item = Lead<'a>> + Clone),
        mut told: impl FnMut(Beat),
    ) {
        let shown = self.base.count(shape::AFTER_SECONDS + 0.01);
        while let Some(&at) = self.beats.get(self.told) {
            if !ended && (at.0 + self.after.0 >= decided.0 || at.0 + shown.0 >= seen.0) {
                break;
            }
            while self.beats[0] < at.before(self.context) {
                self.beats.pop_front();
                self.logits.pop_front();
                self.told -= 1;
            }
            self.seconds.clear();
            let known = self
                .beats
                .iter()
                .take_while(|beat| beat.0 <= at.0 + self.after.0);
            self.seconds
                .extend(known.map(|beat| beat.0 as f64 / self.base.hz()));
            let (class, logit) = self.class(leads.clone());
            self.logits.push_back(logit);
            self.told += 1;
            told(Beat {
                r_peak: at,
                class: Some(class),
            });
        }
    }

    /// The class of the first beat that has none, and what speaks for V in it alone.
    fn class<'a>(&mut self, leads: impl Iterator<Item = Lead<'a>>) -> (BeatClass, Option<f32>) {
        let k = self.told;
        let rhythm = rhythm::features(&self.seconds, k, CONTEXT_SECONDS);
        let near = rhythm::features(&self.seconds, k, NEAR_SECONDS);
        let (at, n) = (self.seconds[k], shape::before(&self.seconds, k).len());
        let shapes = leads.zip(&mut self.looks).filter_map(|(lead, looks)| {
            let own = Look::of(&lead, at, looks)?;
            let row = shape::row(&own, looks.range(looks.len().saturating_sub(n)..));
            if looks.len() == shape::MOST {
                looks.pop_front();
            }
            looks.push_back(own);
            row
        });
        let Some(judged) = self.model.judge(&rhythm, &near, shapes) else {
            return (BeatClass::Q, None);
        };
        let before = [1, 2].map(|back| {
            let other = k.checked_sub(back)?;
            let close = self.seconds[k] - self.seconds[other] <= VOTE_SECONDS;
            self.logits[other].filter(|_| close)
        });
        let logit = Some(judged.v).filter(|v| v.is_finite());
        (self.model.class(&judged, before), logit)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.beats.capacity() * size_of::<SampleIndex>()
            + self.logits.capacity() * size_of::<Option<f32>>()
            + self.looks.iter().map(VecDeque::capacity).sum::<usize>() * size_of::<Look>()
            + self.seconds.capacity() * size_of::<f64>()
    }
}

/// Intervals, fractions and constants are well within the range of f32.
#[expect(clippy::cast_possible_truncation, reason = "rounding is meant")]
fn single(value: f64) -> f32 {
    value as f32
}

/// The middle of what is sorted; of two in the middle their mean.
fn median(sorted: &[f32]) -> f32 {
    let n = sorted.len();
    match sorted.get(n / 2) {
        Some(&high) if n.is_multiple_of(2) => f32::midpoint(sorted[n / 2 - 1], high),
        Some(&middle) => middle,
        None => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: f64 = 250.0;

    fn told(classifier: &mut Classifier, (decided, seen): (u64, u64), ended: bool) -> Vec<u64> {
        let flat = vec![0.0; 5000];
        let lead = Lead {
            samples: &flat,
            first: 0,
            rate: SampleRate::new(HZ).unwrap(),
        };
        let mut told = Vec::new();
        let until = (SampleIndex(decided), SampleIndex(seen), ended);
        classifier.settle(until, &std::iter::once(lead), |beat| {
            assert_eq!(beat.class, Some(BeatClass::Q), "a flat lead shows nothing");
            told.push(beat.r_peak.0);
        });
        told
    }

    #[test]
    fn a_class_waits_for_beats_trace_or_the_end() {
        let rate = SampleRate::new(HZ).unwrap();
        let mut classifier = Classifier::new(Model::shipped(), rate, 1);
        for beat in [1000, 1200, 1400] {
            classifier.push(SampleIndex(beat));
        }
        // 1.2 s are 300 samples; the shape ends 0.45 s after the R peak.
        assert_eq!(told(&mut classifier, (1300, 2000), false), [0; 0]);
        assert_eq!(told(&mut classifier, (1301, 1050), false), [0; 0]);
        assert_eq!(told(&mut classifier, (1301, 2000), false), [1000]);
        assert_eq!(told(&mut classifier, (1400, 2000), true), [1200, 1400]);
        classifier.reset();
        assert_eq!(told(&mut classifier, (9000, 9000), true), [0; 0]);
    }

    #[test]
    fn old_beats_are_dropped() {
        let rate = SampleRate::new(HZ).unwrap();
        let mut classifier = Classifier::new(Model::shipped(), rate, 1);
        let before = classifier.heap_bytes();
        for beat in 0..1000 {
            classifier.push(SampleIndex(beat * 200));
            told(&mut classifier, (beat * 200 + 100, beat * 200 + 100), false);
        }
        assert!(classifier.beats.len() < 20);
        assert_eq!(classifier.heap_bytes(), before);
    }
}
