//! Which PPG signal is listened to, second by second.
//!
//! Detectors run on every signal; pulses are taken from one at a time: the first in order of
//! preference that has been usable. Judged on the three whole seconds before, so that the choice
//! depends on them alone. A signal whose sensor was off in the last of them is out at once; one
//! that was flat, saturated or noisy is out after two of three. Where none is good, the least
//! bad one is listened to.

use std::collections::VecDeque;

use ecg::{Pulse, Quality, QualityReason, SampleIndex, SampleRate};

use crate::quality::{boundary, second_of};

/// Seconds that the choice is based on.
pub(crate) const LOOK_BACK_SECONDS: u64 = 3;

/// From a beat of one signal to a beat of another, at least.
const APART_SECONDS: f64 = 0.25;

/// How bad the last seconds of a signal were.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    /// Seconds and their badness, oldest first.
    list: VecDeque<(u64, u32)>,
}

impl Verdicts {
    pub(crate) fn clear(&mut self) {
        self.list.clear();
    }

    /// Notes how good a second was. Seconds come in order.
    pub(crate) fn note(&mut self, second: u64, quality: &Quality) {
        let badness = match quality.reason {
            QualityReason::LeadOff => 100,
            _ if quality.usable() => 0,
            QualityReason::Noisy | QualityReason::Unclear | QualityReason::Motion => 9,
            QualityReason::Good | QualityReason::Flat | QualityReason::Saturated => 10,
        };
        self.list.push_back((second, badness));
    }

    /// How bad the signal is to be taken for in `second`, zero for usable, and whether its
    /// electrode was off just before. Seconds are asked for in order; a second not judged was good.
    pub(crate) fn badness(&mut self, second: u64) -> (u32, bool) {
        while let Some((oldest, _)) = self.list.front()
            && oldest + LOOK_BACK_SECONDS < second
        {
            self.list.pop_front();
        }
        let before = self.list.iter().filter(|(judged, _)| *judged < second);
        let sum = before.map(|(_, badness)| *badness.min(&10)).sum::<u32>();
        let last = self.list.iter().find(|(judged, _)| judged + 1 == second);
        let off = last.is_some_and(|(_, badness)| *badness >= 100);
        // One bad second of three is forgiven.
        let sum = if sum <= 10 { 0 } else { sum };
        (if off { 100 + sum } else { sum }, off)
    }

    /// Whether the second before `second` was judged not to be usable.
    fn was_bad(&self, second: u64) -> bool {
        let last = self.list.iter().find(|(judged, _)| judged + 1 == second);
        last.is_some_and(|(_, badness)| *badness > 0)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.list.capacity() * size_of::<(u64, u32)>()
    }
}

/// One signal to choose from.
#[derive(Debug)]
pub(crate) struct Choice {
    /// Which signal of the record it is.
    pub(crate) signal: usize,
    /// What its detector found and has not yet been taken or passed over, at the base rate.
    pub(crate) found: VecDeque<Pulse>,
    verdicts: Verdicts,
}

/// Takes what was found from one signal at a time.
#[derive(Debug)]
pub(crate) struct Selection {
    base: SampleRate,
    /// In order of preference.
    pub(crate) choices: Vec<Choice>,
    current: usize,
    /// The second that `current` was chosen for.
    second: Option<u64>,
    /// Everything before it has been taken.
    taken: u64,
    last: Option<(u64, usize)>,
}

/// What is taken.
pub(crate) enum Taken<T> {
    /// A beat or a pulse.
    Found(T),
    /// What was seen just before is not to be relied on: no interval reaches back over it.
    Blind,
}

impl Selection {
    /// Of `signals`, the most preferred first.
    pub(crate) fn new(base: SampleRate, signals: &[usize]) -> Self {
        let choice = |signal: &usize| Choice {
            signal: *signal,
            found: VecDeque::with_capacity(16),
            verdicts: Verdicts::default(),
        };
        Self {
            base,
            choices: signals.iter().map(choice).collect(),
            current: 0,
            second: None,
            taken: 0,
            last: None,
        }
    }

    /// Begins a new segment at `start`.
    pub(crate) fn reset(&mut self, start: SampleIndex) {
        for choice in &mut self.choices {
            choice.found.clear();
            choice.verdicts.clear();
        }
        self.current = 0;
        self.second = None;
        self.taken = start.0;
        self.last = None;
    }

    /// Notes how good a second of a signal was.
    pub(crate) fn judge(&mut self, signal: usize, quality: &Quality) {
        // The index of a quality is at the base rate, its second the same for all signals.
        let second = second_of(quality.start.0, self.base);
        for choice in self.choices.iter_mut().filter(|c| c.signal == signal) {
            choice.verdicts.note(second, quality);
        }
    }

    /// The choice for `second`, and whether it could not be used just before.
    fn choose(&mut self, second: u64) -> (usize, bool) {
        let mut best = (0, u32::MAX);
        for (k, choice) in self.choices.iter_mut().enumerate() {
            let (badness, _) = choice.verdicts.badness(second);
            if badness < best.1 {
                best = (k, badness);
            }
        }
        let chosen = self.choices.get(best.0);
        let bad = chosen.is_some_and(|choice| choice.verdicts.was_bad(second));
        (best.0, bad)
    }

    /// Takes everything before `until`. All detectors have said everything before it, and every
    /// whole second before it has been judged.
    pub(crate) fn take(&mut self, until: SampleIndex, mut taken: impl FnMut(Taken<Pulse>)) {
        while self.taken < until.0 {
            let second = second_of(self.taken, self.base);
            if self.second != Some(second) {
                self.second = Some(second);
                let (current, bad) = self.choose(second);
                self.current = current;
                if bad {
                    taken(Taken::Blind);
                }
            }
            let stop = until.0.min(boundary(second + 1, self.base));
            for (k, choice) in self.choices.iter_mut().enumerate() {
                while let Some(pulse) = choice.found.pop_front_if(|pulse| pulse.onset.0 < stop) {
                    let at = pulse.onset;
                    let apart = self.base.count(APART_SECONDS).0;
                    let clear = self.last.is_none_or(|(last, from)| {
                        at.0 > last && (from == k || at.0 - last >= apart)
                    });
                    if k == self.current && clear && at.0 >= self.taken {
                        self.last = Some((at.0, k));
                        taken(Taken::Found(pulse));
                    }
                }
            }
            self.taken = stop;
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let found = |choice: &Choice| {
            choice.found.capacity() * size_of::<Pulse>() + choice.verdicts.heap_bytes()
        };
        self.choices.capacity() * size_of::<Choice>()
            + self.choices.iter().map(found).sum::<usize>()
    }
}
