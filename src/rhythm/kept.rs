//! The last samples of some signals of a trace, at a lower rate, numbered from the start of the record.

use std::collections::VecDeque;

use ecg::{SampleIndex, SampleRate};

/// The last samples of signals of a kind `K`, kept as `T`.
#[derive(Debug)]
pub(super) struct Kept<K, T> {
    base: SampleRate,
    rate: SampleRate,
    /// Each so many-th sample of the trace is kept.
    every: u64,
    /// Place in the layout, what it is, its samples.
    signals: Vec<(usize, K, VecDeque<T>)>,
    /// So many are needed; more are dropped.
    needed: usize,
    /// Number of the next sample of the trace; `None` at the start of a segment.
    next: Option<u64>,
    /// Number of the first sample that is kept.
    first: u64,
}

impl<K: Copy, T: Copy> Kept<K, T> {
    /// Of the first `most` of these places in the layout, at `rate_hz`, which the trace's rate must be a multiple of; `needed` samples
    /// of each. `None` where it is not, or there is no signal.
    pub(super) fn new(
        base: SampleRate,
        (window_rate_hz, rate_hz): (f64, f64),
        signals: impl Iterator<Item = (usize, K)>,
        most: usize,
        needed: usize,
    ) -> Option<Self> {
        let every = window_rate_hz / rate_hz;
        if !(every >= 1.0 && every.fract() == 0.0) {
            return None;
        }
        // A second more comes before the oldest samples are dropped.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a small number"
        )]
        let room = needed + 2 * rate_hz as usize;
        let empty = |(k, kind)| (k, kind, VecDeque::with_capacity(room));
        let signals: Vec<_> = signals.take(most).map(empty).collect();
        if signals.is_empty() {
            return None;
        }
        Some(Self {
            base,
            rate: SampleRate::new(rate_hz).ok()?,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a whole number, at least 1"
            )]
            every: every as u64,
            signals,
            needed,
            next: None,
            first: 0,
        })
    }

    /// Takes in what follows, each sample as `keep` makes it; says whether a segment begins with it, before which nothing
    /// matters.
    pub(super) fn push(&mut self, trace: &dsp::Trace, keep: impl Fn(f32) -> T) -> bool {
        let expected = self
            .next
            .map(|next| trace.rate.convert(SampleIndex(next), self.base));
        let (next, begins) = match (self.next, expected) {
            // A sample of either rate more or less is rounding.
            (Some(next), Some(at)) if trace.start.since(at).0 <= 1 => (next, false),
            _ => {
                self.interrupt();
                let next = index_at(trace.start, self.base, trace.rate);
                self.first = next.div_ceil(self.every);
                (next, true)
            }
        };
        let n = trace.signals.first().map_or(0, Vec::len);
        for (k, _, samples) in &mut self.signals {
            let Some(signal) = trace.signals.get(*k) else {
                continue;
            };
            let numbered = (next..).zip(signal);
            let kept = numbered.filter(|(index, _)| index.is_multiple_of(self.every));
            samples.extend(kept.map(|(_, sample)| keep(*sample)));
        }
        self.next = Some(next + n as u64);
        begins
    }

    /// Samples are missing from here on: what was kept is dropped.
    pub(super) fn interrupt(&mut self) {
        for (_, _, samples) in &mut self.signals {
            samples.clear();
        }
        self.next = None;
    }

    /// Drops what is not needed any more; the position of the first sample that is left, where something was dropped.
    pub(super) fn forget(&mut self) -> Option<SampleIndex> {
        let excess = self.len().saturating_sub(self.needed);
        if excess == 0 {
            return None;
        }
        for (_, _, samples) in &mut self.signals {
            samples.drain(..excess.min(samples.len()));
        }
        self.first += excess as u64;
        Some(self.position(self.first))
    }

    /// Whether a segment is running.
    pub(super) fn runs(&self) -> bool {
        self.next.is_some()
    }

    /// Their rate.
    pub(super) fn rate(&self) -> SampleRate {
        self.rate
    }

    /// The number of the first sample.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// The number of the sample after the last.
    pub(super) fn end(&self) -> u64 {
        self.first + self.len() as u64
    }

    /// The number of the first sample that is not before `at`.
    pub(super) fn number(&self, at: SampleIndex) -> u64 {
        index_at(at, self.base, self.rate)
    }

    /// The position of a sample in the record.
    pub(super) fn position(&self, number: u64) -> SampleIndex {
        self.rate.convert(SampleIndex(number), self.base)
    }

    /// The signal with the highest score, the first of equals, and its `n` samples from number `first` on.
    pub(super) fn best(
        &self,
        first: u64,
        n: usize,
        score: impl Fn(K) -> f32,
    ) -> Option<(K, impl Iterator<Item = T>)> {
        let skip = usize::try_from(first.checked_sub(self.first)?).ok()?;
        let (_, kind, samples) = self.signals.iter().reduce(|best, other| {
            if score(other.1) > score(best.1) {
                other
            } else {
                best
            }
        })?;
        Some((*kind, samples.iter().skip(skip).take(n).copied()))
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let samples =
            |(_, _, samples): &(usize, K, VecDeque<T>)| samples.capacity() * size_of::<T>();
        self.signals.iter().map(samples).sum()
    }

    fn len(&self) -> usize {
        let first = self.signals.first();
        first.map_or(0, |(_, _, samples)| samples.len())
    }
}

/// The number of the first sample at `rate` that is not before `at`.
fn index_at(at: SampleIndex, base: SampleRate, rate: SampleRate) -> u64 {
    let index = base.convert(at, rate);
    let early = rate.convert(index, base) < at;
    index.0 + u64::from(early)
}
