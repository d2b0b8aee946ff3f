//! From what a chain says to the stretches of a pulse wave that a rhythm is told from.
//!
//! As [`Collector`](super::Collector) does for the ECG: at each hop of the record's own clock the last [`PULSE_SPAN_SECONDS`]
//! of the PPG of the best quality, of at least [`PULSE_LEAST_SECONDS`]; **a stretch does not depend on how the stream was cut
//! into blocks, none straddles a gap, and none holds a second in which an accelerometer told of motion.** None is handed on where
//! the ECG can tell: where a lead of it was usable in half of the seconds.

use std::collections::VecDeque;

use dsp::Output;
use ecg::{Layout, Quality, QualityReason, SampleIndex, SampleRate, SignalKind};
use infer::PulseStretch;
use infer::pulse_rhythm::{N_SAMPLES, RATE_HZ, Remembered};

use super::kept::Kept;

/// The longest stretch.
pub const PULSE_SPAN_SECONDS: f64 = SPAN as f64 / RATE_HZ;
/// The shortest stretch that says anything.
pub const PULSE_LEAST_SECONDS: f64 = N_SAMPLES as f64 / RATE_HZ;

/// Signals that are kept: the first of a record.
const MAX_SIGNALS: usize = 3;
/// Samples of the longest stretch.
const SPAN: usize = 3 * N_SAMPLES;
/// Samples from one stretch to the next: 5 s.
const HOP: u64 = 250;
/// Facts are known this much after the samples at the latest, with much to spare.
const LAG: usize = 150;

/// Collects the stretches of one record.
#[derive(Debug)]
pub struct PulseCollector {
    base: SampleRate,
    /// The trace ends well below half of the rate that is left, or what folds back lies above the band of the model.
    kept: Kept<SignalKind, f32>,
    has_ecg: bool,
    pulses: VecDeque<SampleIndex>,
    quality: VecDeque<Quality>,
    decided: SampleIndex,
    /// The next stretch ends before this sample.
    hop: u64,
    /// What was said of the windows of this segment.
    said: Remembered,
}

impl PulseCollector {
    /// For records of `layout` whose chain has traces of `window_rate_hz`; `None` where that is no multiple of 50 Hz, or there
    /// is no PPG.
    pub fn new(layout: &Layout, window_rate_hz: f64) -> Option<Self> {
        let base = layout.base_rate();
        let ppg = layout.iter().enumerate().filter_map(|(k, signal)| {
            let is_ppg = matches!(signal.kind, SignalKind::Ppg(_));
            is_ppg.then_some((k, signal.kind))
        });
        let rates = (window_rate_hz, RATE_HZ);
        Some(Self {
            base,
            kept: Kept::new(base, rates, ppg, MAX_SIGNALS, SPAN + LAG)?,
            has_ecg: layout.has_ecg(),
            pulses: VecDeque::new(),
            quality: VecDeque::new(),
            decided: SampleIndex(0),
            hop: 0,
            said: Remembered::default(),
        })
    }

    /// Takes the next thing that the chain said.
    pub fn push(&mut self, output: &Output) {
        match output {
            Output::Pulse(pulse) => self.pulses.push_back(pulse.onset),
            Output::Quality(quality) => {
                if !matches!(quality.signal, SignalKind::Abp) {
                    self.quality.push_back(*quality);
                }
            }
            Output::Decided(at) => self.decided = *at,
            Output::Trace(trace) => self.trace(trace),
            _ => return,
        }
        self.forget();
    }

    /// The next stretch that ends at a hop, once all is known of it; to be asked after each push.
    pub fn next_stretch(&mut self) -> Option<PulseStretch> {
        while self.kept.runs() && self.knows(self.hop) {
            self.hop += HOP;
            if let Some(stretch) = self.stretch(self.hop - HOP) {
                return Some(stretch);
            }
        }
        None
    }

    /// Samples are missing from here on: what was collected is dropped.
    pub fn gap(&mut self) {
        self.kept.interrupt();
        self.pulses.clear();
        self.quality.clear();
        self.said = Remembered::default();
    }

    /// Bytes of state, stack and heap.
    pub fn state_bytes(&self) -> usize {
        size_of::<Self>()
            + self.kept.heap_bytes()
            + self.pulses.capacity() * size_of::<SampleIndex>()
            + self.quality.capacity() * size_of::<Quality>()
            + Remembered::MAX_BYTES
    }

    fn trace(&mut self, trace: &dsp::Trace) {
        if self.kept.push(trace, |sample| sample) {
            self.drop_facts(trace.start);
            self.said = Remembered::default();
            self.hop = (self.kept.first() / HOP + 1) * HOP;
        }
    }

    /// Whether everything is known before the sample of number `end`.
    fn knows(&self, end: u64) -> bool {
        self.decided >= self.kept.position(end) && self.kept.end() >= end
    }

    /// What is known before the sample of number `end`.
    fn stretch(&self, end: u64) -> Option<PulseStretch> {
        let until = self.kept.position(end);
        let moved =
            |quality: &&Quality| quality.reason == QualityReason::Motion && quality.start < until;
        let moved = self.quality.iter().filter(moved).map(|quality| quality.end);
        let still = moved.max().map_or(0, |at| self.kept.number(at));
        let first = self.kept.first().max(end.saturating_sub(SPAN as u64));
        let first = first.max(still);
        let n = usize::try_from(end.checked_sub(first)?).ok()?;
        if n < N_SAMPLES {
            return None;
        }
        let (from, to) = (self.kept.position(first), until);
        let of = |is: fn(SignalKind) -> bool| {
            let seconds = self.quality.iter();
            seconds.filter(move |q| is(q.signal) && q.start >= from && q.end <= to)
        };
        if self.has_ecg {
            let seconds = self.base.seconds(to.since(from));
            let mut usable: Vec<SampleIndex> = of(|kind| kind.lead().is_some())
                .filter(|quality| quality.usable())
                .map(|quality| quality.start)
                .collect();
            usable.sort_unstable();
            usable.dedup();
            if 2.0 * usable.len() as f64 >= seconds.floor() {
                return None;
            }
        }
        let score = |signal: SignalKind| -> f32 {
            of(|kind| matches!(kind, SignalKind::Ppg(_)))
                .filter(|quality| quality.signal == signal)
                .map(|quality| if quality.usable() { quality.score } else { 0.0 })
                .sum()
        };
        self.cut(first, end, score)
    }

    /// The newest 10 s of which all is known, and the share of their seconds in which the signal is usable: for those who look
    /// at it, whether or not there is an ECG. Unlike a [stretch](Self::next_stretch) it depends on when it is asked for.
    pub fn newest(&self) -> Option<(PulseStretch, f64)> {
        let known = self.kept.number(self.decided);
        let beyond = u64::from(self.kept.position(known) > self.decided);
        let end = self.kept.end().min(known.checked_sub(beyond)?);
        let first = end.checked_sub(N_SAMPLES as u64)?;
        if !self.kept.runs() || first < self.kept.first() {
            return None;
        }
        let (from, to) = (self.kept.position(first), self.kept.position(end));
        let share = |signal: SignalKind| {
            let inside = |q: &&Quality| q.signal == signal && q.start >= from && q.end <= to;
            let seconds = self.quality.iter().filter(inside);
            let usable = seconds.clone().filter(|quality| quality.usable()).count();
            usable as f64 / seconds.count().max(1) as f64
        };
        #[expect(clippy::cast_possible_truncation, reason = "a share")]
        let stretch = self.cut(first, end, |signal| share(signal) as f32)?;
        let usable = share(stretch.signal);
        Some((stretch, usable))
    }

    /// The samples of these numbers of the signal with the highest score.
    fn cut(&self, first: u64, end: u64, score: impl Fn(SignalKind) -> f32) -> Option<PulseStretch> {
        let n = usize::try_from(end.checked_sub(first)?).ok()?;
        let (from, to) = (self.kept.position(first), self.kept.position(end));
        let (signal, samples) = self.kept.best(first, n, score)?;
        let pulses = self.pulses.iter().copied();
        Some(PulseStretch {
            signal,
            start: from,
            end: to,
            base: self.base,
            rate: self.kept.rate(),
            samples: samples.collect(),
            pulses: pulses.filter(|at| from <= *at && *at < to).collect(),
            said: self.said.clone(),
        })
    }

    /// Drops what no stretch to come reaches back to.
    fn forget(&mut self) {
        if let Some(start) = self.kept.forget() {
            self.drop_facts(start);
        }
    }

    fn drop_facts(&mut self, start: SampleIndex) {
        while self.pulses.pop_front_if(|at| *at < start).is_some() {}
        while self
            .quality
            .pop_front_if(|quality| quality.start < start)
            .is_some()
        {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dsp::{Chain, Config};
    use ecg::simulate::{Noise, Rhythm, Scenario, record};
    use ecg::{Block, Gap, Lead, SignalBlock, SignalSpec, Wavelength};

    const HZ: usize = 250;
    const PPG: SignalKind = SignalKind::Ppg(Wavelength::Green);

    fn rate() -> SampleRate {
        SampleRate::new(HZ as f64).unwrap()
    }

    fn spec(kind: SignalKind) -> SignalSpec {
        SignalSpec { kind, rate: rate() }
    }

    /// Lead II and pulse wave of a simulated heart.
    fn heart(seconds: f64) -> [Vec<f32>; 2] {
        let scenario = Scenario {
            rhythms: vec![(Rhythm::AtrialFibrillation { bpm: 90.0 }, f64::INFINITY)],
            ppg_rate: Some(rate()),
            noise: Noise::REST,
            ..Scenario::new(11, rate())
        };
        let segment = record(&scenario, seconds).unwrap();
        [segment.lead(Lead::II).unwrap().to_vec(), segment.ppg]
    }

    /// The stretches of signals of these kinds, given in blocks of these lengths again and again, without the samples of
    /// `hole`.
    fn stretches(
        kinds: &[SignalKind],
        signals: &[Vec<f32>],
        lengths: &[usize],
        hole: std::ops::Range<usize>,
    ) -> Vec<PulseStretch> {
        let layout = Layout::new(&kinds.iter().copied().map(spec).collect::<Vec<_>>()).unwrap();
        let mut chain = Chain::new(&layout, &Config::default()).unwrap();
        let mut collector = PulseCollector::new(&layout, HZ as f64).unwrap();
        let (mut outputs, mut found) = (Vec::new(), Vec::new());
        let mut take = |outputs: &mut Vec<Output>, gap: bool| {
            for output in outputs.drain(..) {
                collector.push(&output);
                found.extend(std::iter::from_fn(|| collector.next_stretch()));
            }
            if gap {
                collector.gap();
            }
            assert!(collector.state_bytes() < 24 * 1024);
        };
        let (mut start, n) = (0, signals[0].len());
        let mut lengths = lengths.iter().cycle();
        while start < n {
            if start == hole.start && !hole.is_empty() {
                let [from, to] = [hole.start, hole.end].map(|at| SampleIndex(at as u64));
                chain.gap(
                    Gap {
                        start: from,
                        end: to,
                    },
                    &mut outputs,
                );
                take(&mut outputs, true);
                start = hole.end;
            }
            let stop = if start < hole.start { hole.start } else { n };
            let end = (start + lengths.next().unwrap()).min(stop);
            let signal = |samples: &Vec<f32>| SignalBlock {
                samples: samples[start..end].to_vec(),
                lead_off: false,
            };
            let block = Block {
                start: SampleIndex(start as u64),
                signals: signals.iter().map(signal).collect(),
            };
            chain.push(&block, &mut outputs);
            take(&mut outputs, false);
            start = end;
        }
        chain.finish(&mut outputs);
        take(&mut outputs, false);
        found
    }

    #[test]
    fn how_the_stream_is_cut_changes_no_stretch_and_none_straddles_a_gap() {
        let [_, ppg] = heart(75.0);
        let given = [ppg];
        for hole in [0..0, 42 * HZ..43 * HZ] {
            let of = |lengths: &[usize]| stretches(&[PPG], &given, lengths, hole.clone());
            let whole = of(&[HZ]);
            for lengths in [&[7, 250, 1, 613][..], &[77], &[900]] {
                assert_eq!(of(lengths), whole, "{lengths:?}");
            }
            let seconds = |at: SampleIndex| at.0 / HZ as u64;
            let spans: Vec<_> = whole
                .iter()
                .map(|stretch| (seconds(stretch.start), seconds(stretch.end)))
                .collect();
            let mut expected: Vec<(u64, u64)> = (2u64..=15)
                .map(|k| ((5 * k).saturating_sub(30), 5 * k))
                .collect();
            if !hole.is_empty() {
                expected.retain(|(_, end)| *end <= 42 || *end >= 53);
                for (start, _) in expected.iter_mut().filter(|(_, end)| *end > 42) {
                    *start = (*start).max(43);
                }
            }
            assert_eq!(spans, expected);
            for stretch in &whole {
                let n = usize::try_from(stretch.end.since(stretch.start).0).unwrap() / 5;
                assert_eq!(stretch.samples.len(), n);
                assert!(stretch.pulses.len() as f64 > n as f64 / 50.0 * 0.9);
            }
        }
    }

    #[test]
    fn no_stretch_holds_motion() {
        let [_, ppg] = heart(75.0);
        let kinds = [PPG, SignalKind::Acceleration(ecg::Axis::Z)];
        let moves = |n: usize| (30 * HZ..36 * HZ).contains(&n);
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let step = |n: usize| (0.08 * n as f64).sin() as f32;
        let z = |n: usize| 1.0 + if moves(n) { 0.5 * step(n) } else { 0.0 };
        let z: Vec<f32> = (0..ppg.len()).map(z).collect();
        let spans: Vec<_> = stretches(&kinds, &[ppg, z], &[HZ], 0..0)
            .iter()
            .map(|stretch| (stretch.start.0 / HZ as u64, stretch.end.0 / HZ as u64))
            .collect();
        let before = (2u64..=6).map(|k| ((5 * k).saturating_sub(30), 5 * k));
        // What is left after it is ten seconds at least.
        let after = [(36, 50), (36, 55), (36, 60), (36, 65), (40, 70), (45, 75)];
        assert_eq!(spans, before.chain(after).collect::<Vec<_>>());
    }

    #[test]
    fn the_newest_pulse_wave_is_there_for_who_looks_at_it() {
        let [_, ppg] = heart(30.0);
        let layout = Layout::new(&[spec(PPG)]).unwrap();
        let mut chain = Chain::new(&layout, &Config::default()).unwrap();
        let mut collector = PulseCollector::new(&layout, HZ as f64).unwrap();
        let mut outputs = Vec::new();
        for (second, samples) in ppg.chunks(HZ).enumerate() {
            let block = Block {
                start: SampleIndex((second * HZ) as u64),
                signals: vec![SignalBlock {
                    samples: samples.to_vec(),
                    lead_off: false,
                }],
            };
            chain.push(&block, &mut outputs);
            for output in outputs.drain(..) {
                collector.push(&output);
                while collector.next_stretch().is_some() {}
            }
            let newest = collector.newest();
            assert!(newest.is_none() || second >= 10, "after {second} s");
            assert!(newest.is_some() || second <= 12, "after {second} s");
            let Some((stretch, usable)) = newest else {
                continue;
            };
            assert_eq!(stretch.samples.len(), N_SAMPLES);
            let late = block.end().since(stretch.end).0;
            assert!(stretch.end <= block.end() && late < 500, "{late} samples");
            assert!(stretch.pulses.len() > 8, "{:?}", stretch.pulses);
            assert!(second < 14 || usable > 0.8, "{usable}");
        }
        collector.gap();
        assert!(collector.newest().is_none());
    }

    #[test]
    fn the_pulse_is_asked_where_the_ecg_cannot_tell() {
        let [lead, ppg] = heart(60.0);
        let kinds = [SignalKind::Ecg(Lead::II), PPG];
        let of = |lead: Vec<f32>| stretches(&kinds, &[lead, ppg.clone()], &[HZ], 0..0);
        assert_eq!(of(lead.clone()), []);
        let flat = vec![0.0; lead.len()];
        assert_eq!(of(flat).len(), 11);
        // Lost after half a minute: the pulse is asked once most of its stretch is without.
        let mut lost = lead;
        lost[30 * HZ..].fill(0.0);
        let ends: Vec<u64> = of(lost).iter().map(|s| s.end.0 / HZ as u64).collect();
        assert!(
            ends.first().is_some_and(|end| (45..=55).contains(end)),
            "{ends:?}"
        );
        assert_eq!(ends.last(), Some(&60));
    }

    #[test]
    fn records_without_a_pulse_wave_have_none() {
        let layout = |kind| Layout::new(&[spec(kind)]).unwrap();
        let none = |kind, hz| PulseCollector::new(&layout(kind), hz).is_none();
        assert!(none(SignalKind::Ecg(Lead::II), 250.0));
        assert!(none(SignalKind::Abp, 250.0));
        assert!(none(PPG, 125.0) && none(PPG, 40.0));
        assert!(!none(PPG, 250.0) && !none(PPG, 50.0));
    }
}
