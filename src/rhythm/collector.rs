//! From what a chain says to the stretches that a rhythm is told from.

use std::collections::VecDeque;

use dsp::Output;
use ecg::{
    Beat, Intervals, Layout, Lead, Levels, Measurement, Quality, SampleIndex, SampleRate,
    SignalKind, Values, Wave,
};
use infer::rhythm::{N_SAMPLES, RATE_HZ};
use infer::{Context, Stretch};

use super::kept::Kept;

/// The longest stretch.
pub const SPAN_SECONDS: f64 = N_SAMPLES as f64 / RATE_HZ;
/// The shortest stretch that says anything.
pub const LEAST_SECONDS: f64 = 9.0;
/// From one stretch to the next.
pub const HOP_SECONDS: f64 = HOP as f64 / RATE_HZ;
/// Leads that are kept: the first of a record.
pub const MAX_LEADS: usize = 3;

/// Samples from one stretch to the next.
const HOP: u64 = 625;
/// Facts are known this much after the samples at the latest, with much to spare.
const LAG: usize = 375;
/// Microvolts in a millivolt.
const UV: f32 = 1000.0;

/// Collects the stretches of one record.
#[derive(Debug)]
pub struct Collector {
    base: SampleRate,
    /// Every lead of the record.
    measured: Vec<Lead>,
    /// In microvolts.
    kept: Kept<Lead, i16>,
    beats: VecDeque<Beat>,
    /// How many of them have their class.
    n_told: usize,
    measurements: VecDeque<Measured>,
    quality: VecDeque<Quality>,
    decided: SampleIndex,
    settled: SampleIndex,
    /// The next stretch ends before this sample.
    hop: u64,
}

impl Collector {
    /// For records of `layout` whose chain has windows of `window_rate_hz`; `None` where that is no multiple of 125 Hz, or
    /// there is no ECG.
    pub fn new(layout: &Layout, window_rate_hz: f64) -> Option<Self> {
        let base = layout.base_rate();
        let signals = layout.iter().enumerate();
        let leads = signals.filter_map(|(k, signal)| Some((k, signal.kind.lead()?)));
        let rates = (window_rate_hz, RATE_HZ);
        Some(Self {
            base,
            measured: leads.clone().map(|(_, lead)| lead).collect(),
            kept: Kept::new(base, rates, leads, MAX_LEADS, N_SAMPLES + LAG)?,
            beats: VecDeque::new(),
            n_told: 0,
            measurements: VecDeque::new(),
            quality: VecDeque::new(),
            decided: SampleIndex(0),
            settled: SampleIndex(0),
            hop: 0,
        })
    }

    /// Takes the next thing that the chain said.
    pub fn push(&mut self, output: &Output) {
        match output {
            Output::Beat(beat) => self.beats.push_back(*beat),
            Output::Class(beat) => {
                if let Some(kept) = self.beats.get_mut(self.n_told)
                    && kept.r_peak == beat.r_peak
                {
                    kept.class = beat.class;
                    self.n_told += 1;
                }
            }
            Output::Complex(measurement) => self.measurements.push_back(Measured::of(measurement)),
            Output::Quality(quality) => {
                if quality.signal.lead().is_some() {
                    self.quality.push_back(*quality);
                }
            }
            Output::Decided(at) => self.decided = *at,
            Output::Settled(at) => self.settled = *at,
            Output::Trace(trace) => self.trace(trace),
            Output::Pulse(_) | Output::Rate(_) | Output::Window(_) | Output::Ventricular(_) => {
                return;
            }
        }
        self.forget();
    }

    /// The next stretch that ends at a hop, once all is known of it; to be asked after each push.
    pub fn next_stretch(&mut self) -> Option<Stretch> {
        while self.kept.runs() && self.knows(self.kept.position(self.hop)) {
            self.hop += HOP;
            if let Some(stretch) = self.stretch(self.hop - HOP) {
                return Some(stretch);
            }
        }
        None
    }

    /// Whether everything is known that the chain says of what is before `end`.
    pub fn knows(&self, end: SampleIndex) -> bool {
        let next = self.beats.get(self.n_told);
        let told = next.is_none_or(|beat| beat.r_peak >= end);
        let kept = self.kept.end() >= self.kept.number(end);
        told && self.decided >= end && self.settled >= end && kept
    }

    /// What is known before `end`; `None` if that is too little.
    pub fn until(&self, end: SampleIndex) -> Option<Stretch> {
        self.stretch(self.kept.number(end).min(self.kept.end()))
    }

    /// Samples are missing from here on: what was collected is dropped.
    pub fn gap(&mut self) {
        self.kept.interrupt();
        self.beats.clear();
        self.n_told = 0;
        self.measurements.clear();
        self.quality.clear();
    }

    /// The stretch up to where the record, or a segment of it, ended; after everything that the chain said of it.
    pub fn last(&self) -> Option<Stretch> {
        self.stretch(self.kept.end())
    }

    /// Bytes of state, stack and heap.
    pub fn state_bytes(&self) -> usize {
        size_of::<Self>()
            + self.kept.heap_bytes()
            + self.beats.capacity() * size_of::<Beat>()
            + self.measurements.capacity() * size_of::<Measured>()
            + self
                .measurements
                .iter()
                .map(|m| size_of_val(&*m.levels))
                .sum::<usize>()
            + self.quality.capacity() * size_of::<Quality>()
    }

    fn trace(&mut self, trace: &dsp::Trace) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it saturates, and NaN is 0"
        )]
        let microvolts = |sample: f32| (sample * UV).round() as i16;
        if self.kept.push(trace, microvolts) {
            self.drop_facts(trace.start);
            self.hop = (self.kept.first() / HOP + 1) * HOP;
        }
    }

    /// What is known before the sample of number `end`.
    fn stretch(&self, end: u64) -> Option<Stretch> {
        let first = self.kept.first().max(end.saturating_sub(N_SAMPLES as u64));
        let n = usize::try_from(end.checked_sub(first)?).ok()?;
        if (n as f64) < LEAST_SECONDS * RATE_HZ {
            return None;
        }
        let context = Context {
            start: self.kept.position(first),
            end: self.kept.position(end),
            rate: self.base,
            leads: self.measured.clone(),
            beats: self.beats.iter().copied().collect(),
            measurements: self.measurements.iter().map(Measured::whole).collect(),
            quality: self.quality.iter().copied().collect(),
        };
        // All that is kept reaches further.
        let (start, end) = (context.start, context.end);
        let context = context.within(start, end);
        let score = |lead: Lead| -> f32 {
            let seconds = context.quality.iter();
            let of_lead = seconds.filter(|q| q.signal == SignalKind::Ecg(lead));
            of_lead
                .map(|q| if q.usable() { q.score } else { 0.0 })
                .sum()
        };
        let (lead, samples) = self.kept.best(first, n, score)?;
        Some(Stretch {
            lead,
            samples: samples.map(|uv| f32::from(uv) / UV).collect(),
            context,
        })
    }

    /// Drops what no stretch to come reaches back to.
    fn forget(&mut self) {
        if let Some(start) = self.kept.forget() {
            self.drop_facts(start);
        }
    }

    fn drop_facts(&mut self, start: SampleIndex) {
        while self
            .beats
            .pop_front_if(|beat| beat.r_peak < start)
            .is_some()
        {
            self.n_told = self.n_told.saturating_sub(1);
        }
        while self
            .measurements
            .pop_front_if(|m| m.r_peak < start)
            .is_some()
        {}
        while self
            .quality
            .pop_front_if(|quality| quality.start < start)
            .is_some()
        {}
    }
}

/// What is kept of a measured beat: all but the medians.
#[derive(Debug, Clone)]
struct Measured {
    r_peak: SampleIndex,
    lead: Lead,
    p: Option<Wave>,
    qrs: Wave,
    t: Option<Wave>,
    intervals: Intervals,
    axis_degrees: Option<f32>,
    levels: Box<[Levels]>,
}

impl Measured {
    fn of(measurement: &Measurement) -> Self {
        Self {
            r_peak: measurement.r_peak,
            lead: measurement.lead,
            p: measurement.p,
            qrs: measurement.qrs,
            t: measurement.t,
            intervals: measurement.values.intervals,
            axis_degrees: measurement.values.axis_degrees,
            levels: measurement.values.levels.as_slice().into(),
        }
    }

    /// The measurement, without medians.
    fn whole(&self) -> Measurement {
        Measurement {
            r_peak: self.r_peak,
            lead: self.lead,
            p: self.p,
            qrs: self.qrs,
            t: self.t,
            values: Values {
                intervals: self.intervals,
                axis_degrees: self.axis_degrees,
                levels: self.levels.to_vec(),
            },
            median: Values {
                intervals: Intervals::default(),
                axis_degrees: None,
                levels: Vec::new(),
            },
            n_beats: 1,
        }
    }
}
