//! The whole chain of one record: blocks go in, facts come out.
//!
//! ```text
//!            +-> Qrs (one per lead) ----------> Fusion ---> RateCounter --> Beat, Rate
//!            +-> PulseDetector (one per PPG) -> Selection > RateCounter --> Pulse, Rate
//! Block -----+-> QualityMeter (one per signal) ---^----------------------> Quality
//!            +-> MotionMeter (one per axis) ------^ (of PPG)
//!            +-----------------------------------------> Meter ----------> Complex
//!            +-> Resampler, beats, quality ------------> Detector -------> Ventricular
//!            +-> Resampler (one per signal) -------------^
//!                    +-> Baseline (one per signal) -> Trail -------------> Trace, Window
//!                                                        +-> Classifier --> Class, of the beats of Fusion
//! ```
//!
//! Three contracts, each tested:
//!
//! 1. **How the stream is cut into blocks changes nothing.** Each kind of output comes in the same order
//!    with the same bits; only where [`Output::Decided`], [`Output::Settled`] and [`Output::Trace`] are cut
//!    follows the blocks.
//! 2. **The start is forgotten.** What is said of positions later than start plus
//!    [`Chain::MEMORY_SECONDS`] is what a chain started earlier says.
//! 3. **A gap resets everything.** Nothing reaches across it.

use std::collections::VecDeque;
use std::sync::Arc;

use ecg::{
    Beat, Block, Gap, Layout, Lead, Measurement, Pulse, Quality, QualityReason, Rate, RateSource,
    SampleIndex, SampleRate, SignalKind, Strip, Ventricular, Window,
};

use crate::baseline::Baseline;
use crate::class::{self, Classifier};
use crate::fusion::Fusion;
use crate::measure::{self, Meter};
use crate::motion::{Motion, MotionMeter};
use crate::pulse::{self, PulseDetector, Said};
use crate::qrs::{self, Candidate, Qrs};
use crate::quality::{QualityMeter, second_of};
use crate::resample::{ResamplePlan, Resampler};
use crate::rr::{self, RateCounter};
use crate::selection::{Selection, Taken};
use crate::ventricular::{self, Detector as Ventricles};
use crate::window::{Trace, Trail};
use crate::{Config, Error, delineate};

/// Longer blocks are taken in piece by piece.
const BITE_SECONDS: f64 = 1.0;

/// What a signal with a pulse scores at least, by its noise, where the sensor is not the matter.
const SENSOR_WORKS: f32 = 0.85;

/// Zeros stand for samples that mean nothing.
static SILENCE: [f32; 128] = [0.0; 128];

/// What a [`Chain`] says.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A beat of the ECG, at once and without a class.
    Beat(Beat),
    /// The same beat once more, when its class is known: [`Chain::CLASS_LAG_SECONDS`] later. Classes come
    /// in the order of the beats, one for each.
    Class(Beat),
    /// A pulse of the PPG.
    Pulse(Pulse),
    /// The rate as of a beat or a pulse, right after it.
    Rate(Rate),
    /// How usable a second of a signal was.
    Quality(Quality),
    /// Everything about positions before this one has been said: each beat, pulse, rate, and each
    /// quality and ventricular second that ends by here. Nothing said so far is about a later position, traces and windows
    /// aside. Late facts take longer, and classes come up to [`Chain::CLASS_LAG_SECONDS`] after it.
    Decided(SampleIndex),
    /// Every late fact ([`Output::late_at`]) about positions before this one has been said as well,
    /// and none about a later one. It follows [`Output::Decided`] at a fixed distance; at a gap and at the end it
    /// catches up.
    Settled(SampleIndex),
    /// What was measured of a beat; a late fact.
    Complex(Box<Measurement>),
    /// How likely ventricular tachycardia and fibrillation are as of a second.
    Ventricular(Ventricular),
    /// Filtered samples.
    Trace(Trace),
    /// A window for the models, at each hop.
    Window(Window),
}

impl Output {
    /// The position of a late fact, one that needs more signal than [`Output::Decided`] waits for;
    /// `None` for everything else. Late facts come in order, each as soon as the input is
    /// [`Chain::SETTLE_SECONDS`] past its position: neither earlier nor later.
    pub fn late_at(&self) -> Option<SampleIndex> {
        match self {
            Output::Complex(measurement) => Some(measurement.r_peak),
            Output::Beat(_)
            | Output::Class(_)
            | Output::Pulse(_)
            | Output::Rate(_)
            | Output::Quality(_)
            | Output::Ventricular(_)
            | Output::Decided(_)
            | Output::Settled(_)
            | Output::Trace(_)
            | Output::Window(_) => None,
        }
    }
}

/// What a chain has learnt, shared by all of them.
#[derive(Debug, Clone)]
pub struct Models {
    /// Which candidates are beats.
    pub qrs: Arc<qrs::Networks>,
    /// The classes of beats.
    pub classes: Arc<class::Model>,
    /// Ventricular tachycardia and fibrillation.
    pub ventricular: Arc<ventricular::Model>,
    /// Which upstrokes are pulses, and which seconds are clear.
    pub pulse: Arc<pulse::Model>,
}

impl Default for Models {
    /// Those that ship.
    fn default() -> Self {
        Self {
            qrs: qrs::Networks::shipped(),
            classes: class::Model::shipped(),
            ventricular: ventricular::Model::shipped(),
            pulse: pulse::Model::shipped(),
        }
    }
}

/// Everything that is computed from the signals of one record.
#[derive(Debug)]
pub struct Chain {
    base: SampleRate,
    lag: ecg::SampleCount,
    settle_lag: ecg::SampleCount,
    paths: Vec<Path>,
    /// In which samples are taken in: how much the wearer moves is known before a pulse is judged.
    order: Vec<usize>,
    trail: Trail,
    ecg: Fusion,
    ppg: Selection,
    ecg_rate: RateCounter,
    ppg_rate: RateCounter,
    motion: Motion,
    meter: Meter,
    ventricles: Ventricles,
    classifier: Classifier,
    /// The signals that it looks at.
    class_leads: Vec<usize>,
    /// Said, but not yet due.
    held: Vec<Held>,
    /// Late facts, not yet due.
    late: Vec<Held>,
    /// Whether a segment is running; its state is cleared at the start of the next.
    running: bool,
    next: SampleIndex,
    decided: SampleIndex,
    settled: SampleIndex,
    /// Up to where that has been said.
    marked: (SampleIndex, SampleIndex),
}

/// An output that waits for everything before it.
#[derive(Debug)]
struct Held {
    at: SampleIndex,
    /// The order of outputs at the same position.
    rank: usize,
    output: Output,
}

/// The stages of one signal.
#[derive(Debug)]
struct Path {
    rate: SampleRate,
    detector: Detector,
    /// Acceleration has none.
    quality: Option<QualityMeter>,
    resampler: Resampler,
    baseline: Baseline,
    resampled: Vec<f32>,
    /// Samples of the trace that wait for those of other signals.
    ready: Vec<f32>,
    /// Pulses.
    found: VecDeque<Pulse>,
    /// Seconds, and how clear the pulses in them are.
    clarity: VecDeque<(u64, f32)>,
    /// Places where a beat may be.
    candidates: VecDeque<Candidate>,
}

#[derive(Debug)]
enum Detector {
    Qrs(Box<Qrs>),
    Pulse(Box<PulseDetector>),
    Motion(Box<MotionMeter>),
}

impl Chain {
    /// How far back anything reaches: the detector with its filters, then the rate or the class. A class
    /// that comes late keeps within it, so that a beat decided just before a restart gets the same one after it.
    pub const MEMORY_SECONDS: f64 = 25.0;

    /// [`Output::Decided`] follows the input at this distance.
    pub const LAG_SECONDS: f64 = qrs::LAG_SECONDS;

    /// [`Output::Settled`] follows the input at this distance: a wave after the beat, and the
    /// beat after it at 60 per minute, have been seen.
    pub const SETTLE_SECONDS: f64 = 1.5;

    /// How much later than other facts late facts are, about; they reach back
    /// [`Chain::MEMORY_SECONDS`] from their own position.
    pub const LATE_SECONDS: f64 = Self::SETTLE_SECONDS - Self::LAG_SECONDS + 0.01;

    /// When [`Output::Decided`] has passed a beat by this and the block at hand is done, its class has been said.
    pub const CLASS_LAG_SECONDS: f64 = class::AFTER_SECONDS;

    /// A chain for records of this `layout`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a configuration outside its limits, [`Error::Coarse`] for an ECG
    /// lead under [`qrs::MIN_RATE_HZ`].
    pub fn new(layout: &Layout, config: &Config) -> Result<Self, Error> {
        Self::with_models(layout, config, &Models::default())
    }

    /// A chain with other `models` than those that ship.
    ///
    /// # Errors
    /// Those of [`Chain::new`].
    pub fn with_models(layout: &Layout, config: &Config, models: &Models) -> Result<Self, Error> {
        config.check()?;
        let base = layout.base_rate();
        let window_rate = SampleRate::new(config.window.rate_hz)?;
        let mut paths = Vec::with_capacity(layout.len());
        for signal in layout.iter() {
            let plan = ResamplePlan::shared(signal.rate, window_rate);
            let detector = match signal.kind {
                SignalKind::Ecg(_) => {
                    let networks = Arc::clone(&models.qrs);
                    let mains = config.mains;
                    let qrs = Qrs::with_networks(signal.kind, signal.rate, mains, networks)?;
                    Detector::Qrs(Box::new(qrs))
                }
                SignalKind::Ppg(_) | SignalKind::Abp => {
                    let model = Arc::clone(&models.pulse);
                    let detector = PulseDetector::with_model(signal.kind, signal.rate, model)?;
                    Detector::Pulse(Box::new(detector))
                }
                SignalKind::Acceleration(_) => {
                    Detector::Motion(Box::new(MotionMeter::new(signal.rate)?))
                }
            };
            let quality = || QualityMeter::new(signal.kind, signal.rate, base);
            paths.push(Path {
                rate: signal.rate,
                detector,
                quality: signal.kind.is_vital().then(quality).transpose()?,
                resampler: Resampler::new(plan, SampleIndex(0)),
                baseline: Baseline::new(window_rate, SampleIndex(0)),
                resampled: Vec::new(),
                ready: Vec::new(),
                found: VecDeque::with_capacity(8),
                clarity: VecDeque::with_capacity(4),
                candidates: VecDeque::with_capacity(8),
            });
        }
        let mut order: Vec<usize> = (0..layout.len()).collect();
        order.sort_by_key(|k| layout[*k].kind.is_vital());
        let (ecg, ppg) = preferences(layout);
        let mut class_leads = ecg.clone();
        class_leads.truncate(class::MAX_LEADS);
        let leads = ecg
            .iter()
            .filter_map(|k| Some((*k, layout[*k].kind.lead()?)));
        let weights = Arc::clone(&models.ventricular);
        let ventricles = Ventricles::new(weights, base, window_rate, leads)?;
        Ok(Self {
            base,
            lag: base.count(Self::LAG_SECONDS),
            settle_lag: base.count(Self::SETTLE_SECONDS),
            paths,
            order,
            trail: Trail::new(layout, window_rate, &config.window),
            ecg: Fusion::new(base, &ecg),
            ppg: Selection::new(base, &ppg),
            ecg_rate: RateCounter::new(RateSource::Ecg, base),
            ppg_rate: RateCounter::new(RateSource::Ppg, base),
            motion: Motion::new(config.motion_g),
            meter: Meter::new(layout, window_rate, &ecg)?,
            ventricles,
            classifier: Classifier::new(Arc::clone(&models.classes), base, class_leads.len()),
            class_leads,
            held: Vec::with_capacity(32),
            late: Vec::with_capacity(32),
            running: false,
            next: SampleIndex(0),
            decided: SampleIndex(0),
            settled: SampleIndex(0),
            marked: Default::default(),
        })
    }

    /// Takes a block in and appends what it settles to `out`.
    ///
    /// Blocks are contiguous; the first one, and the first one after a gap, says where the
    /// segment starts. A block that starts later than the last one ended is treated as if the gap between them had
    /// been announced. One that starts earlier, or does not have the signals of the layout, is passed over.
    pub fn push(&mut self, block: &Block, out: &mut Vec<Output>) {
        if block.signals.len() != self.paths.len() || block.start < self.next {
            return;
        }
        if self.running && block.start > self.next {
            let gap = Gap {
                start: self.next,
                end: block.start,
            };
            self.gap(gap, out);
        }
        if block.n_samples().0 == 0 {
            return;
        }
        if !self.running {
            self.start(block.start);
        }
        // What a late fact needs is kept for the last seconds only, so long blocks are taken in bites.
        let bite = self.base.count(BITE_SECONDS);
        let end = block.end();
        while self.next < end {
            self.bite(block, self.next.after(bite).min(end), out);
        }
        self.mark(out);
        self.show(false, out);
    }

    /// Takes in what a block holds from `next` on to before `until`.
    fn bite(&mut self, block: &Block, until: SampleIndex, out: &mut Vec<Output>) {
        for &k in &self.order {
            let (path, signal) = (&mut self.paths[k], &block.signals[k]);
            let own = |at: SampleIndex| {
                let first = self.base.convert(block.start, path.rate);
                let n = self.base.convert(at, path.rate).since(first).0;
                usize::try_from(n).map_or(usize::MAX, |n| n.min(signal.samples.len()))
            };
            let to = if until == block.end() {
                signal.samples.len()
            } else {
                own(until)
            };
            let samples = &signal.samples[own(self.next).min(to)..to];
            let (ecg, ppg, held) = (&mut self.ecg, &mut self.ppg, &mut self.held);
            let (meter, trail) = (&mut self.meter, &mut self.trail);
            let ventricles = &mut self.ventricles;
            let motion = &mut self.motion;
            path.detect(samples, signal.lead_off, |second, power| {
                motion.hear(second, power);
            });
            let (clarity, base) = (&mut path.clarity, self.base);
            if let Some(judge) = &mut path.quality {
                judge.push_measured(samples, signal.lead_off, |quality, features| {
                    let quality = motion.weigh(cleared(quality, clarity, base), base);
                    ecg.judge(k, &quality);
                    ppg.judge(k, &quality);
                    meter.judge(k, &quality);
                    trail.judge(k, &quality);
                    ventricles.judge(k, &quality, features);
                    held.push(Held {
                        at: SampleIndex(quality.end.0 - 1),
                        rank: 4 + k,
                        output: Output::Quality(quality),
                    });
                });
            }
            meter.push(k, samples, signal.lead_off);
            path.trace(samples, signal.lead_off, |first, samples| {
                meter.push_window(k, first, samples);
                ventricles.push(k, first, samples);
            });
        }
        self.next = until;
        self.decide(self.next.before(self.lag), out);
        self.settle(self.next.before(self.settle_lag), out);
    }

    /// Samples are missing: ends the segment before the gap and appends all that is still to be
    /// said of it to `out`. The next block starts anew.
    pub fn gap(&mut self, gap: Gap, out: &mut Vec<Output>) {
        self.finish(out);
        self.next = self.next.max(gap.end);
    }

    /// The record ends: appends all that is still to be said to `out`.
    pub fn finish(&mut self, out: &mut Vec<Output>) {
        if !self.running {
            return;
        }
        let (meter, ventricles) = (&mut self.meter, &mut self.ventricles);
        for (k, path) in self.paths.iter_mut().enumerate() {
            path.finish(|first, samples| {
                meter.push_window(k, first, samples);
                ventricles.push(k, first, samples);
            });
        }
        meter.finish();
        self.decide(self.next, out);
        self.settle(self.next, out);
        self.mark(out);
        self.show(true, out);
        self.running = false;
    }

    /// Up to `seconds` of every signal before `end`, as in [`Output::Trace`]: at most one window,
    /// less after a start or a gap; `None` while the trace has not reached `end`, and when that is
    /// so long ago that it is gone.
    pub fn strip(&self, end: SampleIndex, seconds: f64) -> Option<Strip> {
        self.trail.strip(end, seconds)
    }

    /// The position that the trace has reached: the latest end that a strip can have.
    pub fn trace_end(&self) -> SampleIndex {
        self.trail.end()
    }

    /// The window that ends at `end`; `None` where the trace has not reached it, has left it
    /// behind, or began too late, and for records without ECG.
    pub fn window_at(&self, end: SampleIndex) -> Option<Window> {
        self.trail.window_at(end)
    }

    /// What [`Output::Ventricular`] is told from.
    pub fn ventricles(&self) -> &Ventricles {
        &self.ventricles
    }

    /// The memory that this chain holds, stack and heap.
    pub fn state_bytes(&self) -> usize {
        self.state_parts().iter().map(|(_, bytes)| bytes).sum()
    }

    /// The memory that this chain holds, stack and heap, by what it is for; models and resampling plans, which it
    /// shares with others, not counted.
    pub fn state_parts(&self) -> Vec<(&'static str, usize)> {
        let paths = |of: fn(&Path) -> usize| self.paths.iter().map(of).sum::<usize>();
        let held = (self.held.capacity() + self.late.capacity()) * size_of::<Held>();
        let small = self.ecg.heap_bytes()
            + self.ppg.heap_bytes()
            + self.ecg_rate.heap_bytes()
            + self.ppg_rate.heap_bytes()
            + self.motion.heap_bytes();
        vec![
            ("chain", size_of::<Self>() + small + held),
            ("detectors", paths(|path| path.detector.heap_bytes())),
            ("resamplers", paths(|path| path.resampler.heap_bytes())),
            ("baselines", paths(|path| path.baseline.heap_bytes())),
            (
                "paths",
                self.paths.capacity() * size_of::<Path>()
                    + self.order.capacity() * size_of::<usize>()
                    + paths(Path::heap_bytes),
            ),
            ("trail", self.trail.heap_bytes()),
            ("measurements", self.meter.heap_bytes()),
            ("ventricles", self.ventricles.heap_bytes()),
            (
                "classes",
                self.classifier.heap_bytes() + self.class_leads.capacity() * size_of::<usize>(),
            ),
        ]
    }

    /// Begins a segment.
    fn start(&mut self, start: SampleIndex) {
        self.running = true;
        self.next = start;
        self.decided = self.decided.max(start);
        self.settled = self.settled.max(start);
        self.marked = (self.decided, self.settled);
        self.ecg.reset(start);
        self.ppg.reset(start);
        self.ecg_rate.interrupt();
        self.ppg_rate.interrupt();
        self.motion.reset();
        self.meter.reset();
        self.ventricles.reset(start);
        self.classifier.reset();
        let mut first = SampleIndex(0);
        for (k, path) in self.paths.iter_mut().enumerate() {
            path.start(self.base, start);
            first = path.resampler.next_index();
            let own = self.base.convert(start, path.rate);
            self.meter.reset_signal(k, own, first);
        }
        // Rates that do not divide evenly may start a sample apart: the first path sets the pace.
        if let Some(path) = self.paths.first() {
            first = path.resampler.next_index();
        }
        self.trail.reset(first);
    }

    /// Says everything about positions before `until`.
    fn decide(&mut self, until: SampleIndex, out: &mut Vec<Output>) {
        if until <= self.decided {
            return;
        }
        self.decided = until;
        for (k, path) in self.paths.iter_mut().enumerate() {
            let (rate, base) = (path.rate, self.base);
            let found = path.found.drain(..).map(|pulse| Pulse {
                onset: rate.convert(pulse.onset, base),
                steepest: pulse.steepest * base.hz() / rate.hz(),
                peak: rate.convert(pulse.peak, base),
                ..pulse
            });
            if let Some(choice) = self.ppg.choices.iter_mut().find(|c| c.signal == k) {
                choice.found.extend(found);
            }
            let candidates = path.candidates.drain(..).map(|candidate| Candidate {
                middle: rate.convert(candidate.middle, base),
                r_peak: rate.convert(candidate.r_peak, base),
                ..candidate
            });
            self.ecg.hear(k, candidates);
        }
        let (held, rate) = (&mut self.held, &mut self.ecg_rate);
        let meter = &mut self.meter;
        let (classifier, ventricles) = (&mut self.classifier, &mut self.ventricles);
        self.ecg.take(until, |taken| match taken {
            Taken::Blind => {
                rate.interrupt();
                meter.interrupt();
            }
            Taken::Found(at) => {
                meter.beat(at);
                classifier.push(at);
                ventricles.beat(at);
                let beat = Output::Beat(Beat {
                    r_peak: at,
                    class: None,
                });
                hold(held, at, 0, beat, rate.push(at));
            }
        });
        let rate = &mut self.ppg_rate;
        self.ppg.take(until, |taken| match taken {
            Taken::Blind => rate.interrupt(),
            Taken::Found(pulse) => {
                let at = pulse.onset;
                hold(held, at, 2, Output::Pulse(pulse), rate.push(at));
            }
        });
        // After the qualities of the same second.
        let rank = 4 + self.paths.len();
        self.ventricles.take(until, |second| {
            held.push(Held {
                at: SampleIndex(second.end.0 - 1),
                rank,
                output: Output::Ventricular(second),
            });
        });
        self.held.sort_by_key(|held| (held.at, held.rank));
        let due = self.held.partition_point(|held| held.at < until);
        out.extend(self.held.drain(..due).map(|held| held.output));
    }

    /// Says every late fact about positions before `until`.
    fn settle(&mut self, until: SampleIndex, out: &mut Vec<Output>) {
        if until <= self.settled {
            return;
        }
        self.settled = until;
        let late = &mut self.late;
        self.meter.take(until, |measurement| {
            late.push(Held {
                at: measurement.r_peak,
                rank: 0,
                output: Output::Complex(Box::new(measurement)),
            });
        });
        self.late.sort_by_key(|held| (held.at, held.rank));
        let due = self.late.partition_point(|held| held.at < until);
        out.extend(self.late.drain(..due).map(|held| held.output));
    }

    /// Says how far everything has been said, where that is farther than before.
    fn mark(&mut self, out: &mut Vec<Output>) {
        let now = (self.decided, self.settled);
        if now.0 > self.marked.0 {
            out.push(Output::Decided(now.0));
        }
        if now.1 > self.marked.1 {
            out.push(Output::Settled(now.1));
        }
        self.marked = now;
    }

    /// Shows the samples that all signals have ready, a second at a time, and says the classes that
    /// can be told from them. With `ended` no more will come.
    fn show(&mut self, ended: bool, out: &mut Vec<Output>) {
        loop {
            let n = self.paths.iter().map(|path| path.ready.len()).min();
            let n = n.unwrap_or(0).min(self.trail.second());
            if n == 0 {
                break;
            }
            let take = |path: &mut Path| path.ready.drain(..n).collect();
            let signals = self.paths.iter_mut().map(take).collect();
            let before = out.len();
            let trace = self
                .trail
                .push(signals, |window| out.push(Output::Window(window)));
            out.insert(before, Output::Trace(trace));
            self.classify(false, out);
        }
        self.classify(ended, out);
    }

    /// Says the classes that can be told.
    fn classify(&mut self, ended: bool, out: &mut Vec<Output>) {
        let trail = &self.trail;
        let leads = self.class_leads.iter().map(|k| trail.lead(*k));
        self.classifier
            .settle((self.decided, trail.end(), ended), &leads, |beat| {
                out.push(Output::Class(beat));
            });
    }
}

/// Holds a beat or a pulse and the rate as of it.
fn hold(held: &mut Vec<Held>, at: SampleIndex, rank: usize, output: Output, rate: Option<Rate>) {
    held.push(Held { at, rank, output });
    held.extend(rate.map(|rate| Held {
        at,
        rank: rank + 1,
        output: Output::Rate(rate),
    }));
}

/// The ECG leads of a layout, best for beats first: II, I, V5, then as they come; and the signals with a pulse: pressure,
/// then as they come.
fn preferences(layout: &Layout) -> (Vec<usize>, Vec<usize>) {
    let of = |is: fn(SignalKind) -> bool| {
        let signals = layout.iter().enumerate();
        signals
            .filter(move |(_, signal)| is(signal.kind))
            .map(|(k, _)| k)
            .collect::<Vec<_>>()
    };
    let mut ecg = of(|kind| kind.lead().is_some());
    ecg.sort_by_key(|k| match layout[*k].kind.lead() {
        Some(Lead::II) => 0,
        Some(Lead::I) => 1,
        Some(Lead::V5) => 2,
        _ => 3,
    });
    // A pressure in an artery moves less with the patient than light on the skin.
    let mut pulse = of(SignalKind::has_pulse);
    pulse.sort_by_key(|k| layout[*k].kind != SignalKind::Abp);
    (ecg, pulse)
}

/// The quality of a second of a PPG or an arterial pressure whose pulses cannot be told is no better than they are clear.
fn cleared(mut quality: Quality, clarity: &mut VecDeque<(u64, f32)>, base: SampleRate) -> Quality {
    let second = second_of(quality.start.0, base);
    while let Some((judged, score)) = clarity.pop_front_if(|(judged, _)| *judged <= second) {
        if judged == second && quality.usable() && score < Quality::USABLE {
            quality.reason = if quality.score >= SENSOR_WORKS {
                QualityReason::Unclear
            } else {
                QualityReason::Noisy
            };
            quality.score = score;
        }
    }
    quality
}

impl Path {
    fn start(&mut self, base: SampleRate, start: SampleIndex) {
        let own = base.convert(start, self.rate);
        match &mut self.detector {
            Detector::Qrs(qrs) => qrs.reset(own),
            Detector::Pulse(pulse) => pulse.reset(own),
            Detector::Motion(motion) => motion.reset(own),
        }
        if let Some(quality) = &mut self.quality {
            quality.reset(own);
        }
        self.clarity.clear();
        self.resampler.reset(own);
        self.baseline.reset(self.resampler.next_index());
        self.ready.clear();
        self.found.clear();
        self.candidates.clear();
    }

    /// Keeps what is found; `moved` is told the power of motion by the second.
    fn detect(&mut self, samples: &[f32], off: bool, moved: impl FnMut(u64, f64)) {
        match &mut self.detector {
            Detector::Qrs(qrs) => qrs.candidates(samples, off, |candidate, _| {
                self.candidates.push_back(candidate);
            }),
            Detector::Pulse(pulse) => pulse.push(samples, off, |said| match said {
                Said::Pulse(pulse) => self.found.push_back(pulse),
                Said::Clarity(second, clarity) => self.clarity.push_back((second, clarity)),
            }),
            Detector::Motion(motion) => motion.push(samples, off, moved),
        }
    }

    /// Takes in samples for the trace; `resampled` sees them at the window rate, and the index of the first.
    fn trace(
        &mut self,
        samples: &[f32],
        off: bool,
        mut resampled: impl FnMut(SampleIndex, &[f32]),
    ) {
        for bite in samples.chunks(SILENCE.len()) {
            let bite = if off { &SILENCE[..bite.len()] } else { bite };
            let first = self.resampler.next_index();
            self.resampler.push(bite, &mut self.resampled);
            resampled(first, &self.resampled);
            self.baseline.push(&self.resampled, &mut self.ready);
            self.resampled.clear();
        }
    }

    fn finish(&mut self, mut resampled: impl FnMut(SampleIndex, &[f32])) {
        if let Detector::Qrs(qrs) = &mut self.detector {
            qrs.finish_candidates(|candidate, _| self.candidates.push_back(candidate));
        }
        let first = self.resampler.next_index();
        self.resampler.finish(&mut self.resampled);
        resampled(first, &self.resampled);
        self.baseline.push(&self.resampled, &mut self.ready);
        self.resampled.clear();
        self.baseline.finish(&mut self.ready);
    }

    fn heap_bytes(&self) -> usize {
        (self.resampled.capacity() + self.ready.capacity()) * size_of::<f32>()
            + self.found.capacity() * size_of::<Pulse>()
            + self.clarity.capacity() * size_of::<(u64, f32)>()
            + self.candidates.capacity() * size_of::<Candidate>()
    }
}

impl Detector {
    fn heap_bytes(&self) -> usize {
        match self {
            Detector::Qrs(qrs) => size_of::<Qrs>() + qrs.heap_bytes(),
            Detector::Pulse(pulse) => size_of::<PulseDetector>() + pulse.heap_bytes(),
            Detector::Motion(motion) => size_of::<MotionMeter>() + motion.heap_bytes(),
        }
    }
}

// The longest memories are those of the rate and of the class; their parts add up. The windows reach back two seconds only.
const _: () = assert!(qrs::MEMORY_SECONDS + rr::WINDOW_SECONDS <= Chain::MEMORY_SECONDS);
const _: () = assert!(
    qrs::MEMORY_SECONDS + class::CONTEXT_SECONDS + class::AFTER_SECONDS <= Chain::MEMORY_SECONDS
);
const _: () = assert!(pulse::MEMORY_SECONDS + rr::WINDOW_SECONDS <= Chain::MEMORY_SECONDS);
const _: () = assert!(pulse::LAG_SECONDS <= Chain::LAG_SECONDS);
const _: () = assert!(qrs::MEMORY_SECONDS + delineate::MEMORY_SECONDS <= Chain::MEMORY_SECONDS);
const _: () = assert!(qrs::MEMORY_SECONDS + measure::MEMORY_SECONDS <= Chain::MEMORY_SECONDS);
const _: () = assert!(qrs::MEMORY_SECONDS + ventricular::CONTEXT_SECONDS <= Chain::MEMORY_SECONDS);
const _: () = assert!(delineate::LOOK_AHEAD_SECONDS <= Chain::SETTLE_SECONDS);
const _: () = assert!(Chain::LAG_SECONDS + measure::NEXT_SECONDS < Chain::SETTLE_SECONDS);
