//! What the facts of the last 20 s say, without any alarm in mind.
//!
//! Invariant: everything here can be rebuilt by replaying the last 20 s of facts. What needs a
//! longer memory, namely that an alarm stands, is not here but in the machine.
//!
//! A **stretch** is ECG without a break. A break is a gap, a second in which no ECG lead could be
//! judged, or, for what is counted from beat to beat, an interval as long as an asystole. Nothing
//! is ever counted across one.
//!
//! A lead can be judged if its quality is usable, or if it is flat with the electrodes on: a flat
//! line is an asystole until proven otherwise. The second still running has no quality yet and is
//! taken as one that can be judged; if it turns out otherwise, the stretch begins anew at its end.

use std::collections::VecDeque;

use ecg::{Layout, Quality, QualityReason, Rate, RateSource, SampleCount, SampleIndex, SampleRate};
use ecg::{SignalKind, SignalKind::Ecg};

use crate::config::{Config, MEMORY_SECONDS, RATE_STALE_SECONDS};
use crate::pulse::SECONDS as PULSE_SECONDS;
use crate::suspicion::{Kind, Suspicion};

/// An alarm that has been held back for longer than this, and is raised after all, began so long before: what it was before
/// may be forgotten.
pub(crate) const HELD_BACK_SECONDS: f64 = 14.0;

/// Pulses are kept for so long; what is asked of them reaches back no further.
pub(crate) const PULSES_SECONDS: f64 = 14.0;

/// The durations of [`Config`] in samples of the record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spans {
    pub(crate) asystole: SampleCount,
    pub(crate) rate_stale: SampleCount,
    pub(crate) leads_off: SampleCount,
    pub(crate) unusable_signal: SampleCount,
}

impl Spans {
    fn new(config: &Config, rate: SampleRate) -> Self {
        let count = |duration: std::time::Duration| rate.count(duration.as_secs_f64());
        Self {
            asystole: count(config.asystole),
            rate_stale: rate.count(RATE_STALE_SECONDS),
            leads_off: count(config.leads_off),
            unusable_signal: count(config.unusable_signal),
        }
    }
}

/// The latest word on one signal; none after a gap.
#[derive(Debug, Clone)]
pub(crate) struct Signal {
    pub(crate) kind: SignalKind,
    pub(crate) latest: Option<Quality>,
    /// Where the run of seconds began that were all off.
    off_since: Option<SampleIndex>,
    /// Where the run of seconds began none of which could be judged.
    unjudged_since: Option<SampleIndex>,
    /// Of a signal with a pulse, the last seconds.
    heard: VecDeque<Heard>,
}

/// A second of a signal with a pulse.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    /// How far its pulses can be relied on.
    pub(crate) score: f32,
    /// How well the sensor works: a pulse that is lost is not clear, and the sensor not to blame.
    pub(crate) sensor: f32,
    /// No change at all.
    pub(crate) flat: bool,
}

impl Signal {
    fn judged(&self, quality: &Quality) -> bool {
        match quality.reason {
            QualityReason::LeadOff => false,
            QualityReason::Flat => quality.usable() || matches!(self.kind, Ecg(_)),
            _ => quality.usable(),
        }
    }

    fn learn(&mut self, quality: Quality) {
        // One sample of slack: seconds of a fractional rate are rounded to samples.
        let follows = self
            .latest
            .is_some_and(|latest| quality.start.0 <= latest.end.0.saturating_add(1));
        let run = |holds: bool, since: Option<SampleIndex>| {
            holds.then(|| since.filter(|_| follows).unwrap_or(quality.start))
        };
        if self.kind.has_pulse() {
            if !follows {
                self.heard.clear();
            }
            if self.heard.len() >= PULSE_SECONDS {
                self.heard.pop_front();
            }
            self.heard.push_back(Heard {
                score: quality.score,
                sensor: match quality.reason {
                    QualityReason::Unclear | QualityReason::Motion => 1.0,
                    _ => quality.score,
                },
                flat: quality.reason == QualityReason::Flat,
            });
        }
        self.off_since = run(quality.reason == QualityReason::LeadOff, self.off_since);
        self.unjudged_since = run(!self.judged(&quality), self.unjudged_since);
        self.latest = Some(quality);
    }

    fn forget(&mut self) {
        self.latest = None;
        self.off_since = None;
        self.unjudged_since = None;
        self.heard.clear();
    }

    /// Whether the last `n` seconds heard that end by `at`, and there must be so many, could be used.
    pub(crate) fn was_usable(&self, at: SampleIndex, n: usize, rate: SampleRate) -> bool {
        let Some(latest) = self.latest else {
            return false;
        };
        let before = |k: usize| latest.end.before(rate.count(k as f64)) <= at;
        let heard = self.heard.iter().rev().enumerate();
        let before = heard.filter(|(k, _)| before(*k)).take(n);
        before
            .filter(|(_, heard)| heard.score >= Quality::USABLE)
            .count()
            == n
    }

    /// The share of the last seconds of which `counts` is true.
    pub(crate) fn share(&self, counts: impl Fn(&Heard) -> bool) -> f64 {
        let counted = self.heard.iter().filter(|heard| counts(heard)).count();
        counted as f64 / PULSE_SECONDS as f64
    }
}

/// Where several signals stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Together {
    /// All of them are in the state asked for, since this sample.
    All(SampleIndex),
    /// At least one is known not to be.
    NotAll,
    /// Nothing speaks against it, but not all are known.
    Unknown,
}

/// Why the present stretch began where it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    Start,
    Gap,
    Unusable,
}

/// What the facts say.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    pub(crate) rate: SampleRate,
    pub(crate) spans: Spans,
    pub(crate) has_ecg: bool,
    pub(crate) signals: Vec<Signal>,
    /// Where the present stretch of ECG began, and why not earlier.
    pub(crate) since: SampleIndex,
    pub(crate) because: Break,
    /// The end of the gap we are in.
    pub(crate) gap_until: Option<SampleIndex>,
    /// The last beats of the stretch, as many as the longest count of the configuration.
    beats: VecDeque<SampleIndex>,
    max_beats: usize,
    /// No ECG lead could be judged in the last second known, or there is none.
    ecg_lost: bool,
    /// The rates of the stretch, of the source that counts, at most 20 s of them.
    rates: VecDeque<Rate>,
    /// The last rate that counted, in whichever stretch.
    pub(crate) last_rate: Option<Rate>,
    /// The pulses of the last seconds.
    pub(crate) pulses: VecDeque<SampleIndex>,
    /// The amplitude of each, in the unit of its signal.
    pub(crate) amplitudes: VecDeque<f32>,
    /// Of ventricular tachycardia and of fibrillation, each with the probability that it takes.
    suspicions: [(f32, Suspicion); 2],
}

impl Memory {
    pub(crate) fn new(config: &Config, layout: &Layout, at: SampleIndex) -> Self {
        let rate = layout.base_rate();
        let max_beats = config
            .extreme_bradycardia
            .beats
            .max(config.extreme_tachycardia.beats);
        Self {
            rate,
            spans: Spans::new(config, rate),
            has_ecg: layout.has_ecg(),
            signals: layout
                .iter()
                .filter(|spec| spec.kind.is_vital())
                .map(|spec| Signal {
                    kind: spec.kind,
                    latest: None,
                    off_since: None,
                    unjudged_since: None,
                    heard: VecDeque::new(),
                })
                .collect(),
            since: at,
            because: Break::Start,
            gap_until: None,
            beats: VecDeque::new(),
            max_beats: usize::from(max_beats),
            ecg_lost: !layout.has_ecg(),
            rates: VecDeque::new(),
            last_rate: None,
            pulses: VecDeque::new(),
            amplitudes: VecDeque::new(),
            suspicions: [
                config.ventricular_tachycardia,
                config.ventricular_fibrillation,
            ]
            .map(|limit| (limit, Suspicion::default())),
        }
    }

    /// Notes one signal's second; [`settle`](Self::settle) follows once all of the moment are in.
    pub(crate) fn quality(&mut self, quality: Quality) {
        if let Some(signal) = self.signals.iter_mut().find(|s| s.kind == quality.signal) {
            signal.learn(quality);
        }
    }

    /// Draws the conclusions of the seconds that ended at `at`.
    pub(crate) fn settle(&mut self, at: SampleIndex) {
        if self.has_ecg {
            self.ecg_lost = matches!(
                self.unjudged(|kind| kind.lead().is_some()),
                Together::All(_)
            );
            if self.ecg_lost {
                self.break_off(at, Break::Unusable);
            }
        }
        let source = self.source();
        let unheard = source == RateSource::Ppg
            && matches!(self.unjudged(SignalKind::has_pulse), Together::All(_));
        self.rates.retain(|rate| rate.source == source && !unheard);
    }

    pub(crate) fn gap_start(&mut self, at: SampleIndex, end: SampleIndex) {
        self.gap_until = Some(self.gap_until.map_or(end, |until| until.max(end)));
        self.break_off(at, Break::Gap);
        self.rates.clear();
        self.signals.iter_mut().for_each(Signal::forget);
        self.pulses.clear();
        self.amplitudes.clear();
        for (_, suspicion) in &mut self.suspicions {
            *suspicion = Suspicion::default();
        }
        self.ecg_lost = !self.has_ecg;
    }

    pub(crate) fn gap_end(&mut self, at: SampleIndex) {
        if self.gap_until.is_some_and(|until| until <= at) {
            self.gap_until = None;
            self.since = at;
        }
    }

    pub(crate) fn beat(&mut self, at: SampleIndex) {
        if self.gap_until.is_some() {
            return;
        }
        if at.since(self.interval_start()) >= self.spans.asystole {
            self.beats.clear();
            self.rates.retain(|rate| rate.source == RateSource::Ppg);
        }
        if self.beats.len() == self.max_beats {
            self.beats.pop_front();
        }
        self.beats.push_back(at);
    }

    pub(crate) fn rate(&mut self, rate: Rate) {
        if self.gap_until.is_some() || rate.source != self.source() || !rate.bpm.is_finite() {
            return;
        }
        let kept = rate.at.before(self.rate.count(MEMORY_SECONDS));
        while self.rates.front().is_some_and(|first| first.at < kept) {
            self.rates.pop_front();
        }
        self.rates.push_back(rate);
        self.last_rate = Some(rate);
    }

    pub(crate) fn add_pulse(&mut self, at: SampleIndex, amplitude: f32) {
        if self.gap_until.is_some() {
            return;
        }
        let kept = at.before(self.rate.count(PULSES_SECONDS));
        while self.pulses.front().is_some_and(|first| *first < kept) {
            self.pulses.pop_front();
            self.amplitudes.pop_front();
        }
        self.pulses.push_back(at);
        self.amplitudes.push_back(amplitude);
    }

    /// What is suspected of a kind.
    pub(crate) fn suspicion(&self, kind: Kind) -> &Suspicion {
        &self.suspicions[kind as usize].1
    }

    pub(crate) fn suspicion_mut(&mut self, kind: Kind) -> &mut Suspicion {
        &mut self.suspicions[kind as usize].1
    }

    /// The probability that an alarm of a kind takes.
    pub(crate) fn ventricular_limit(&self, kind: Kind) -> f32 {
        self.suspicions[kind as usize].0
    }

    fn break_off(&mut self, at: SampleIndex, because: Break) {
        self.since = at;
        self.because = because;
        self.beats.clear();
        self.rates.retain(|rate| rate.source == RateSource::Ppg);
    }

    /// Whether no ECG can be judged, so that the pulse is all there is.
    pub(crate) fn listens_to_pulse(&self) -> bool {
        self.source() == RateSource::Ppg
    }

    /// Rates of the PPG count only while the ECG cannot be judged.
    fn source(&self) -> RateSource {
        if self.ecg_lost {
            RateSource::Ppg
        } else {
            RateSource::Ecg
        }
    }

    /// The last beats of the stretch, oldest first.
    pub(crate) fn beats(&self) -> impl Iterator<Item = SampleIndex> + Clone {
        self.beats.iter().copied()
    }

    /// The last beat of the stretch.
    pub(crate) fn last_beat(&self) -> Option<SampleIndex> {
        self.beats.back().copied()
    }

    /// From where time without a beat counts: the last beat, or the beginning of the stretch.
    pub(crate) fn interval_start(&self) -> SampleIndex {
        self.last_beat().unwrap_or(self.since)
    }

    /// The last `n` beats, if the stretch has so many.
    pub(crate) fn last_beats(
        &self,
        n: u8,
    ) -> Option<impl DoubleEndedIterator<Item = SampleIndex> + Clone> {
        let skipped = self.beats.len().checked_sub(usize::from(n))?;
        Some(self.beats.iter().skip(skipped).copied())
    }

    /// Where the run of last rates began for all of which `beyond` holds.
    pub(crate) fn rates_since(&self, beyond: impl Fn(f32) -> bool) -> Option<SampleIndex> {
        self.rates
            .iter()
            .rev()
            .take_while(|rate| beyond(rate.bpm))
            .last()
            .map(|rate| rate.at)
    }

    /// When the last rate is not believed any longer.
    pub(crate) fn rate_expires(&self) -> Option<SampleIndex> {
        self.last_rate
            .map(|rate| rate.at.after(self.spans.rate_stale))
    }

    /// Whether the signals that are `of` a kind are all off; `None` if the record has none.
    pub(crate) fn off(&self, of: impl Fn(SignalKind) -> bool) -> Option<Together> {
        let mut group = self.signals.iter().filter(|s| of(s.kind)).peekable();
        group.peek()?;
        Some(together(group.map(|s| (s.latest.is_some(), s.off_since))))
    }

    /// Whether none of the signals that are `of` a kind can be judged.
    pub(crate) fn unjudged(&self, of: impl Fn(SignalKind) -> bool) -> Together {
        let group = self.signals.iter().filter(|s| of(s.kind));
        together(group.map(|s| (s.latest.is_some(), s.unjudged_since)))
    }

    /// The signals with the latest word on each: `"II noisy, V1 lead_off"`.
    pub(crate) fn reasons(&self, of: impl Fn(SignalKind) -> bool) -> String {
        let words: Vec<String> = self
            .signals
            .iter()
            .filter(|s| of(s.kind))
            .filter_map(|s| Some(format!("{} {}", s.kind, s.latest?.reason)))
            .collect();
        words.join(", ")
    }

    /// The span from `earlier` to `later` in seconds.
    pub(crate) fn seconds(&self, earlier: SampleIndex, later: SampleIndex) -> f64 {
        self.rate.seconds(later.since(earlier))
    }
}

/// All since the last of them joined. No signals at all is [`Together::Unknown`].
fn together(signals: impl Iterator<Item = (bool, Option<SampleIndex>)>) -> Together {
    let mut all = None;
    let mut unknown = false;
    for (known, since) in signals {
        match since {
            Some(since) => all = all.max(Some(since)),
            None if known => return Together::NotAll,
            None => unknown = true,
        }
    }
    all.filter(|_| !unknown)
        .map_or(Together::Unknown, Together::All)
}
