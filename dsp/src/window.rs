//! The last seconds of every signal at the window rate: what people see and models are shown.
//!
//! Windows end at multiples of the hop in the absolute index and lie within one segment:
//! **no window straddles a gap**. The trail keeps one window and some more, so that a
//! strip can still be cut a few seconds after its end has passed.

use std::collections::VecDeque;

use ecg::{
    Layout, Lead, LeadOrigin, Quality, SampleIndex, SampleRate, SignalKind, Strip, StripSignal,
    Unusable, Window,
};

use crate::class;
use crate::config::WindowConfig;

/// How much longer than a window the trail is.
const SLACK_SECONDS: f64 = 4.0;

/// How long the trail is at least: the class of a beat looks back so far, and comes up to its lag and one
/// step of a second after the trace has passed its beat by half a second.
const LEAST_SECONDS: f64 = class::MEMORY_SECONDS + class::AFTER_SECONDS + 0.6;

/// There is room for one part in so many more, which come before the oldest samples are dropped.
const SPARE: usize = 4;

/// Filtered samples of every signal of a record as they become known, at the window rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    /// Position in the record of the first sample.
    pub start: SampleIndex,
    /// Position in the record after the last sample.
    pub end: SampleIndex,
    /// Sampling rate of `signals`.
    pub rate: SampleRate,
    /// `[signal, sample]` in the layout's order, each in the unit of its [`SignalKind`].
    pub signals: Vec<Vec<f32>>,
}

/// The trail of a record.
#[derive(Debug)]
pub(crate) struct Trail {
    base: SampleRate,
    rate: SampleRate,
    kinds: Vec<SignalKind>,
    n_window: usize,
    hop: u64,
    n_kept: usize,
    /// `[signal, sample]`, the samples from `first` to `next`.
    signals: Vec<Vec<f32>>,
    first: u64,
    next: u64,
    /// Seconds of signals that are not usable, in the order of their ends: signal, start, end.
    unusable: VecDeque<(usize, SampleIndex, SampleIndex)>,
}

impl Trail {
    pub(crate) fn new(layout: &Layout, rate: SampleRate, config: &WindowConfig) -> Self {
        let count = |seconds: f64| usize::try_from(rate.count(seconds).0).unwrap_or(1).max(1);
        let n_window = count(config.seconds);
        let n_kept = (n_window + count(SLACK_SECONDS)).max(count(LEAST_SECONDS));
        let capacity = n_kept + n_kept / SPARE;
        Self {
            base: layout.base_rate(),
            rate,
            kinds: layout.iter().map(|signal| signal.kind).collect(),
            n_window,
            hop: count(config.hop_seconds) as u64,
            n_kept,
            signals: layout
                .iter()
                .map(|_| Vec::with_capacity(capacity))
                .collect(),
            first: 0,
            next: 0,
            unusable: VecDeque::new(),
        }
    }

    /// Begins a new segment whose first sample has the `start` at the window rate.
    pub(crate) fn reset(&mut self, start: SampleIndex) {
        for signal in &mut self.signals {
            signal.clear();
        }
        self.first = start.0;
        self.next = start.0;
        self.unusable.clear();
    }

    /// Takes note of a second of signal `k`. Seconds are judged before the trace has passed them.
    pub(crate) fn judge(&mut self, k: usize, quality: &Quality) {
        let first = self.position(self.first);
        while self
            .unusable
            .front()
            .is_some_and(|(_, _, end)| *end <= first)
        {
            self.unusable.pop_front();
        }
        if !quality.usable() {
            self.unusable.push_back((k, quality.start, quality.end));
        }
    }

    /// The position in the record of a sample at the window rate.
    fn position(&self, index: u64) -> SampleIndex {
        self.rate.convert(SampleIndex(index), self.base)
    }

    /// Takes in the next samples of every signal, all equally many, and hands on the windows that
    /// they complete.
    pub(crate) fn push(&mut self, signals: Vec<Vec<f32>>, mut window: impl FnMut(Window)) -> Trace {
        let start = self.next;
        let n = signals.first().map_or(0, Vec::len);
        let mut done = 0;
        while done < n {
            let to_hop = usize::try_from(self.hop - self.next % self.hop).unwrap_or(usize::MAX);
            let step = to_hop.min(n - done).min(self.n_kept / SPARE + 1);
            for (kept, new) in self.signals.iter_mut().zip(&signals) {
                if kept.len() + step > kept.capacity() {
                    let excess = kept.len().saturating_sub(self.n_kept);
                    kept.drain(..excess);
                }
                kept.extend_from_slice(&new[done..done + step]);
            }
            done += step;
            self.next += step as u64;
            let held = self.signals.first().map_or(0, Vec::len);
            self.first = self.next - held as u64;
            if self.next.is_multiple_of(self.hop)
                && let Some(cut) = self.window(self.next)
            {
                window(cut);
            }
        }
        Trace {
            start: self.position(start),
            end: self.position(self.next),
            rate: self.rate,
            signals,
        }
    }

    /// The `n` samples of signal `k` before index `end`.
    fn span(&self, k: usize, end: u64, n: usize) -> Option<&[f32]> {
        let end = usize::try_from(end.checked_sub(self.first)?).ok()?;
        self.signals[k].get(end.checked_sub(n)?..end)
    }

    fn window(&self, end: u64) -> Option<Window> {
        let leads: Vec<Lead> = self.leads().map(|(_, lead)| lead).collect();
        if leads.is_empty() {
            return None;
        }
        let start = end.checked_sub(self.n_window as u64)?;
        let mut samples = Vec::with_capacity(leads.len() * self.n_window);
        let mut unusable = Vec::new();
        for (lead, (k, _)) in self.leads().enumerate() {
            samples.extend_from_slice(self.span(k, end, self.n_window)?);
            let within = |at: SampleIndex| {
                let index = self.base.convert(at, self.rate).0.clamp(start, end);
                usize::try_from(index - start).unwrap_or(0)
            };
            let seconds = self.unusable.iter().filter(|(signal, ..)| *signal == k);
            let seconds = seconds.map(|&(_, from, to)| within(from)..within(to));
            unusable.extend(
                seconds
                    .filter(|samples| !samples.is_empty())
                    .map(|samples| Unusable { lead, samples }),
            );
        }
        Some(Window {
            start: self.position(start),
            end: self.position(end),
            rate: self.rate,
            leads,
            samples,
            n_samples: self.n_window,
            unusable,
        })
    }

    /// The ECG leads, each with its place among the signals.
    fn leads(&self) -> impl Iterator<Item = (usize, Lead)> {
        let lead = |(k, kind): (usize, &SignalKind)| Some((k, kind.lead()?));
        self.kinds.iter().enumerate().filter_map(lead)
    }

    /// The index at the window rate up to which the trail shows what lies before `end`, `None`
    /// while it does not.
    fn reached(&self, end: SampleIndex) -> Option<u64> {
        let index = self.base.convert(end, self.rate).0;
        (index <= self.next && self.position(self.next) >= self.position(index)).then_some(index)
    }

    /// The window that ends at `end`.
    pub(crate) fn window_at(&self, end: SampleIndex) -> Option<Window> {
        self.window(self.reached(end)?)
    }

    /// Up to `seconds` of every signal before `end`, at most one window.
    pub(crate) fn strip(&self, end: SampleIndex, seconds: f64) -> Option<Strip> {
        let index = self.reached(end)?;
        let available = usize::try_from(index.checked_sub(self.first)?).ok()?;
        let wanted = usize::try_from(self.rate.count(seconds).0).unwrap_or(usize::MAX);
        let n = wanted.min(self.n_window).min(available);
        if n == 0 {
            return None;
        }
        let mut signals = Vec::with_capacity(self.kinds.len());
        for (k, kind) in self.kinds.iter().enumerate() {
            signals.push(StripSignal {
                kind: *kind,
                origin: LeadOrigin::Measured,
                samples: self.span(k, index, n)?.to_vec(),
                band: Vec::new(),
            });
        }
        Some(Strip {
            start: self.position(index - n as u64),
            end: self.position(index),
            rate: self.rate,
            signals,
            model: None,
            trust: None,
            withheld: None,
        })
    }

    /// What is kept of signal `k`.
    pub(crate) fn lead(&self, k: usize) -> class::Lead<'_> {
        class::Lead {
            samples: &self.signals[k],
            first: self.first,
            rate: self.rate,
        }
    }

    /// Samples in a second.
    pub(crate) fn second(&self) -> usize {
        usize::try_from(self.rate.count(1.0).0).unwrap_or(1).max(1)
    }

    /// The position that the trace has reached.
    pub(crate) fn end(&self) -> SampleIndex {
        self.position(self.next)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let samples: usize = self.signals.iter().map(Vec::capacity).sum();
        samples * size_of::<f32>()
            + self.signals.capacity() * size_of::<Vec<f32>>()
            + size_of_val(&*self.kinds)
            + self.unusable.capacity() * size_of::<(usize, SampleIndex, SampleIndex)>()
    }
}
