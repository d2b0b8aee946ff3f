//! Which signal is listened to, second by second.
//!
//! Detectors run on every ECG lead; beats are taken from one lead at a time: the first in order of
//! preference that has been usable. Judged on the three whole seconds before, so that the choice
//! depends on them alone. A lead whose electrode was off in the last of them is out at once; one
//! that was flat, saturated or noisy is out after two of three. Where no lead is good, the least
//! bad one is listened to.

use std::collections::VecDeque;

use ecg::{Quality, QualityReason, SampleIndex, SampleRate};

use crate::quality::{boundary, second_of};

/// Seconds that the choice is based on.
pub(crate) const LOOK_BACK_SECONDS: u64 = 3;

/// From a beat of one signal to a beat of another, at least.
const APART_SECONDS: f64 = 0.25;

/// One signal to choose from.
#[derive(Debug)]
pub(crate) struct Choice {
    /// Which signal of the record it is.
    pub(crate) signal: usize,
    /// What its detector found and has not yet been taken or passed over, at the base rate.
    pub(crate) found: VecDeque<SampleIndex>,
    /// How bad each of the last seconds was, by `second % len`, with the second.
    verdicts: [(u64, u32); 4],
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
pub(crate) enum Taken {
    /// A beat or a pulse.
    Found(SampleIndex),
    /// From here on nothing can be seen for a while.
    Blind,
}

impl Selection {
    /// Of `signals`, the most preferred first.
    pub(crate) fn new(base: SampleRate, signals: &[usize]) -> Self {
        let choice = |signal: &usize| Choice {
            signal: *signal,
            found: VecDeque::with_capacity(16),
            verdicts: [(u64::MAX, 0); 4],
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
            choice.verdicts = [(u64::MAX, 0); 4];
        }
        self.current = 0;
        self.second = None;
        self.taken = start.0;
        self.last = None;
    }

    /// Notes how good a second of a signal was.
    pub(crate) fn judge(&mut self, signal: usize, quality: &Quality) {
        let badness = match quality.reason {
            QualityReason::LeadOff => 100,
            _ if quality.usable() => 0,
            QualityReason::Noisy => 9,
            QualityReason::Good | QualityReason::Flat | QualityReason::Saturated => 10,
        };
        // The index of a quality is at the base rate, its second the same for all signals.
        let second = second_of(quality.start.0, self.base);
        for choice in &mut self.choices {
            if choice.signal == signal {
                choice.verdicts[(second % 4) as usize] = (second, badness);
            }
        }
    }

    /// The choice for `second`, and whether its electrode was off just before.
    fn choose(&self, second: u64) -> (usize, bool) {
        let badness = |choice: &Choice| {
            let of = |back: u64| {
                second.checked_sub(back).map_or(0, |asked| {
                    let (held, badness) = choice.verdicts[(asked % 4) as usize];
                    if held == asked { badness } else { 0 }
                })
            };
            let sum = (1..=LOOK_BACK_SECONDS)
                .map(|back| of(back).min(10))
                .sum::<u32>();
            let off = of(1) >= 100;
            // One bad second of three is forgiven.
            let sum = if sum <= 10 { 0 } else { sum };
            (if off { 100 + sum } else { sum }, off)
        };
        let mut best = (0, u32::MAX, false);
        for (k, choice) in self.choices.iter().enumerate() {
            let (badness, off) = badness(choice);
            if badness < best.1 {
                best = (k, badness, off);
            }
        }
        (best.0, best.2)
    }

    /// Takes everything before `until`. All detectors have said everything before it, and every
    /// whole second before it has been judged.
    pub(crate) fn take(&mut self, until: SampleIndex, mut taken: impl FnMut(Taken)) {
        while self.taken < until.0 {
            let second = second_of(self.taken, self.base);
            if self.second != Some(second) {
                self.second = Some(second);
                let (current, off) = self.choose(second);
                self.current = current;
                if off {
                    taken(Taken::Blind);
                }
            }
            let stop = until.0.min(boundary(second + 1, self.base));
            for (k, choice) in self.choices.iter_mut().enumerate() {
                while let Some(at) = choice.found.front().copied()
                    && at.0 < stop
                {
                    choice.found.pop_front();
                    let apart = self.base.count(APART_SECONDS).0;
                    let clear = self.last.is_none_or(|(last, from)| {
                        at.0 > last && (from == k || at.0 - last >= apart)
                    });
                    if k == self.current && clear && at.0 >= self.taken {
                        self.last = Some((at.0, k));
                        taken(Taken::Found(at));
                    }
                }
            }
            self.taken = stop;
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let found = |choice: &Choice| choice.found.capacity() * size_of::<SampleIndex>();
        self.choices.capacity() * size_of::<Choice>()
            + self.choices.iter().map(found).sum::<usize>()
    }
}
