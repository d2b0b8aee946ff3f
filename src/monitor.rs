//! One device's core: blocks in sample order become beats, alarms, trends, strips and windows.
//!
//! **Synchronous and deterministic: the same blocks give the same effects, however they are
//! cut.** The service and the offline twin (`annotate`) both run exactly this.
//!
//! # Carrying on after a restart
//!
//! What is durable of a record is everything before its *watermark*, a position that the signal
//! chain had decided. A restarted service sees the last [`dsp::Chain::MEMORY_SECONDS`] before the
//! watermark, and [`dsp::Chain::LATE_SECONDS`] more, once more. [`Monitor::start`] with a [`Resume`] lets the chain and the alarm machine
//! build their memory on it and yields nothing before the watermark: what follows equals what an
//! uninterrupted run would have yielded.
//!
//! Rows of beats wait for their class and come [`dsp::Chain::CLASS_LAG_SECONDS`] after they are decided; those that
//! the watermark passed without are yielded after a restart, some of them a second time and the same, which
//! storing bears.
//!
//! Windows wait until everything that the chain says of them has been said: classes, measurements. Those that had
//! been read long before the watermark are not read once more.
//!
//! Late facts ([`Output::late_at`]) lag behind the watermark, by the same distance always but for
//! gaps and ends, where they catch up. So after a restart those are yielded that are as new as what lagged
//! at the watermark, unless a gap had let them catch up: none is lost and none is told twice.

use std::collections::BTreeMap;

use alarm::{Machine, Report};
use dsp::{Chain, Models, Output, Trace};
use ecg::{
    AlarmEvent, AlarmId, AlarmState, Anchor, Beat, BeatClass, Block, BootId, Gap, Layout, Lead,
    LeadOrigin, Measurement, Pulse, Quality, Rate, RateSource, RecordId, SampleCount, SampleIndex,
    SampleRate, SignalKind, Strip, StripSignal, Trend, TwelveLead, Utc, Window,
};
use infer::{PulseStretch, Stretch};
use store::{Batch, RecordUpdate, Resume};

use crate::rhythm::{Collector, PulseCollector};
use crate::trends::{Burden, Drift};
use crate::vitals::{self, Vitals};

/// A restart reads windows once more that end so long before the watermark; their answers may not have been durable.
const READ_AGAIN_SECONDS: f64 = 5.0;

/// Seconds of signal shown with an alarm.
pub const STRIP_SECONDS: f64 = 10.24;

/// What came of some blocks.
#[derive(Default)]
pub struct Effects {
    /// What must become durable, together.
    pub batch: Batch,
    /// Windows for the models, in order.
    pub windows: Vec<Known>,
    /// Stretches of the pulse wave for the models, in order.
    pub pulses: Vec<KnownPulse>,
    /// Strips of alarms, with the window to complete to twelve leads where there is a whole one.
    pub strips: Vec<AlarmStrip>,
    /// What a person watching now sees.
    pub live: Vec<Live>,
}

/// A window, and what is known with it.
pub struct Known {
    /// The boot it is from.
    pub boot: BootId,
    /// The window.
    pub window: Window,
    /// What the chain said of it and of the seconds before.
    pub stretch: Option<Stretch>,
}

/// A stretch of the pulse wave.
pub struct KnownPulse {
    /// The boot it is from.
    pub boot: BootId,
    /// The stretch.
    pub stretch: PulseStretch,
}

/// The measured signals around an alarm.
pub struct AlarmStrip {
    /// The alarm, or its [end](AlarmId::at_end).
    pub alarm: AlarmId,
    /// Measured signals only.
    pub strip: Strip,
    /// The same stretch as a model window, if it is long enough.
    pub window: Option<Known>,
}

/// Something to show at once and not to keep.
#[derive(Debug, Clone)]
pub enum Live {
    /// Filtered samples of every signal.
    Trace(Trace, Utc),
    /// A beat or pulse, and when it was.
    Beat(Utc),
    /// The heart rate.
    Rate(Rate),
    /// The quality of one second of one signal.
    Quality(Quality),
    /// What was measured of a beat, and when that was.
    Complex(Box<Measurement>, Utc),
    /// A pulse, with or without an ECG beside it.
    Pulse(Pulse),
    /// What the pulse says beyond its rate, and as of when.
    Vitals(Box<Vitals>, Utc),
}

/// The monitor of one device.
pub struct Monitor {
    config: dsp::Config,
    models: Models,
    machine: Machine,
    open: Option<OpenRecord>,
    /// The record that was closed last, and its newest minute: the same boot may go on within it.
    closed: Option<(RecordId, Trend)>,
    outputs: Vec<Output>,
    events: Vec<AlarmEvent>,
}

/// The record that is being received.
struct OpenRecord {
    id: RecordId,
    layout: Layout,
    rate: SampleRate,
    anchor: Anchor,
    chain: Chain,
    /// Everything before it has been yielded.
    decided: SampleIndex,
    /// Nothing before it is yielded: it is durable already.
    resume_at: SampleIndex,
    /// No late fact before it is yielded.
    late_from: SampleIndex,
    /// The minutes that facts were added to since the last commit; at least the newest one.
    trends: BTreeMap<u64, Trend>,
    /// Alarms, and ends of rhythms, whose strip the trace has not reached yet.
    wanted: Vec<(AlarmId, SampleIndex)>,
    /// What the chain said of late; `None` for a record without ECG.
    collector: Option<Collector>,
    /// What the chain said of the pulse of late; `None` for a record without PPG.
    pulses: Option<PulseCollector>,
    /// Windows of which not everything has been said yet, and the strips that they are of.
    waiting: Vec<(Window, Option<(AlarmId, Strip)>)>,
    burden: Burden,
    /// Beats before it are in it.
    counted_until: SampleIndex,
    drift: Drift,
    /// What the pulse says; `None` for a record without one.
    vitals: Option<vitals::Collector>,
}

impl Monitor {
    /// A monitor for the device of `machine`, with no record yet.
    pub fn new(config: dsp::Config, machine: Machine) -> Self {
        Self::with_models(config, Models::default(), machine)
    }

    /// The same, with other models of the signal chain than those that ship.
    pub fn with_models(config: dsp::Config, models: Models, machine: Machine) -> Self {
        Self {
            config,
            models,
            machine,
            open: None,
            closed: None,
            outputs: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The alarm machine, to acknowledge alarms, set limits and let time pass.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The layout of the record being received.
    pub fn layout(&self) -> Option<&Layout> {
        self.open.as_ref().map(|open| &open.layout)
    }

    /// The record being received.
    pub fn record(&self) -> Option<&RecordId> {
        self.open.as_ref().map(|open| &open.id)
    }

    /// The newest 10 s of the pulse wave, when they began, and the share of their seconds in which it is usable: for those who
    /// look at it. `None` without a PPG, and until there are as many.
    pub fn newest_pulse(&self) -> Option<(PulseStretch, Utc, f64)> {
        let open = self.open.as_ref()?;
        let (stretch, usable) = open.pulses.as_ref()?.newest()?;
        let start = open.anchor.utc(stretch.start);
        Some((stretch, start, usable))
    }

    /// The clock estimate of the record being received.
    pub fn anchor(&self) -> Option<Anchor> {
        self.open.as_ref().map(|open| open.anchor)
    }

    /// How many seconds are decided after `at`; infinitely many without a record.
    pub fn seconds_after(&self, at: SampleIndex) -> f64 {
        let after = |open: &OpenRecord| open.rate.seconds(open.decided.since(at));
        self.open.as_ref().map_or(f64::INFINITY, after)
    }

    /// How many alarms stand.
    pub fn n_standing(&self) -> usize {
        self.machine.standing().count()
    }

    /// The earliest sample that a strip still to come may show; packets from there on are needed again
    /// should the service stop now.
    pub fn strip_floor(&self) -> Option<SampleIndex> {
        let open = self.open.as_ref()?;
        let span = open.rate.count(STRIP_SECONDS);
        let wanted = open.wanted.iter().map(|(_, end)| end.before(span));
        let waiting = open.waiting.iter().filter(|(_, strip)| strip.is_some());
        wanted.chain(waiting.map(|(window, _)| window.start)).min()
    }

    /// Bytes of state.
    pub fn state_bytes(&self) -> usize {
        size_of::<Self>()
            + self.open.as_ref().map_or(0, |open| {
                let collected = open.collector.as_ref().map_or(0, Collector::state_bytes);
                let trends = open.burden.heap_bytes() + open.drift.heap_bytes();
                let vitals = open.vitals.as_ref();
                let vitals = vitals.map_or(0, vitals::Collector::heap_bytes);
                let pulses = open.pulses.as_ref().map_or(0, PulseCollector::state_bytes);
                open.chain.state_bytes() + collected + pulses + trends + vitals
            })
    }

    /// Opens a record at `at`. `resume` is what is durable of the device, on the first record after a restart.
    ///
    /// # Errors
    /// A layout the signal chain refuses; nothing is open then.
    pub fn start(
        &mut self,
        id: RecordId,
        layout: &Layout,
        anchor: Anchor,
        at: SampleIndex,
        resume: Option<&Resume>,
        effects: &mut Effects,
    ) -> Result<(), dsp::Error> {
        let chain = Chain::with_models(layout, &self.config, &self.models)?;
        let rate = layout.base_rate();
        let resume = resume.filter(|resume| resume.record == id);
        let resume_at = resume.map_or(at, |resume| resume.durable_until);
        let standing = self.machine.standing().cloned().collect();
        self.machine
            .start(id.clone(), layout, anchor, at, &mut self.events);
        if resume.is_some() {
            self.machine.resume(resume_at, standing);
        }
        let (mut burden, mut counted_until) = (Burden::default(), SampleIndex(0));
        if let Some(resume) = resume.filter(|resume| !resume.ended) {
            // What is stored with its class for certain is not counted twice.
            counted_until = resume_at.before(rate.count(Chain::CLASS_LAG_SECONDS));
            let counted = resume
                .beats
                .partition_point(|beat| beat.r_peak < counted_until);
            burden.set_limit(ventricular_per_minute(&self.machine.limits()));
            burden.resume(resume.beats_since, &resume.beats[..counted], rate);
        }
        let closed = self.closed.take().filter(|(closed, _)| *closed == id);
        let trends = resume
            .and_then(|resume| resume.trend.clone())
            .or(closed.map(|(_, minute)| minute));
        let onsets = resume.map_or(&[][..], |resume| &resume.missing_strips);
        let ends = resume.map_or(&[][..], |resume| &resume.missing_ends);
        let onsets = onsets.iter().map(|event| (event.alarm, event));
        let ends = ends.iter().map(|event| (event.alarm.at_end(), event));
        self.open = Some(OpenRecord {
            rate,
            anchor,
            chain,
            decided: at,
            resume_at,
            late_from: resume_at.before(SampleCount(
                rate.count(Chain::SETTLE_SECONDS).0 - rate.count(Chain::LAG_SECONDS).0,
            )),
            trends: trends
                .into_iter()
                .map(|trend| (trend.minute, trend))
                .collect(),
            wanted: onsets
                .chain(ends)
                .filter(|(_, event)| event.record == id)
                .map(|(alarm, event)| (alarm, event.at))
                .collect(),
            collector: Collector::new(layout, self.config.window.rate_hz),
            pulses: PulseCollector::new(layout, self.config.window.rate_hz),
            waiting: Vec::new(),
            burden,
            counted_until,
            drift: Drift::default(),
            vitals: vitals::Collector::new(layout, at),
            layout: layout.clone(),
            id,
        });
        self.take_events(effects);
        Ok(())
    }

    /// Takes the next samples of the open record; `seen` is when they arrived. Without an open record it does nothing.
    pub fn block(&mut self, block: &Block, anchor: Anchor, seen: Utc, effects: &mut Effects) {
        let Some(open) = &mut self.open else { return };
        open.anchor = anchor;
        self.machine.anchor(anchor);
        open.chain.push(block, &mut self.outputs);
        self.absorb(effects);
        self.cut_strips(false, effects);
        self.progress(seen, false, effects);
    }

    /// Takes note that samples never came.
    pub fn gap(&mut self, gap: Gap, seen: Utc, effects: &mut Effects) {
        let Some(open) = &mut self.open else { return };
        if gap.end <= open.resume_at {
            // All before the gap was said with it.
            open.late_from = open.resume_at;
        }
        open.chain.gap(gap, &mut self.outputs);
        self.absorb(effects);
        let Some(open) = &mut self.open else { return };
        open.burden.gap(gap.end);
        if let Some(vitals) = &mut open.vitals {
            vitals.gap(gap);
        }
        self.machine.gap(gap);
        self.machine.decided(gap.end, &mut self.events);
        if gap.end > open.resume_at {
            effects.batch.gaps.push((open.id.clone(), gap));
            open.trend(gap.start).gap_samples += gap.end.since(gap.start).0;
        }
        open.decided = gap.end;
        self.take_events(effects);
        // The next block overwrites what is before the gap.
        self.cut_strips(true, effects);
        if let Some(open) = &mut self.open {
            open.hand_on(true, effects);
        }
        self.progress(seen, false, effects);
    }

    /// Closes the open record: the device started anew, or has been silent for long.
    pub fn end(&mut self, seen: Utc, effects: &mut Effects) {
        let Some(open) = &mut self.open else { return };
        open.chain.finish(&mut self.outputs);
        self.absorb(effects);
        let Some(open) = &mut self.open else { return };
        self.machine.end(open.decided, &mut self.events);
        self.take_events(effects);
        self.cut_strips(true, effects);
        if let Some(open) = &mut self.open {
            open.hand_on(true, effects);
        }
        self.progress(seen, true, effects);
        if let Some(mut open) = self.open.take() {
            let newest = open.trends.pop_last();
            self.closed = newest.map(|(_, minute)| (open.id, minute));
        }
    }

    /// Lets wall-clock time pass: nothing arriving is a condition too.
    pub fn tick(&mut self, now: Utc, effects: &mut Effects) {
        self.machine.tick(now, &mut self.events);
        self.take_events(effects);
    }

    /// Notes that data of the device arrived.
    pub fn arrival(&mut self, now: Utc) {
        self.machine.arrival(now);
    }

    /// The clock that tells of arrivals was set by so many seconds.
    pub fn clock_set(&mut self, seconds: f64) {
        self.machine.clock_set(seconds);
    }

    /// Tells the alarm machine what was judged elsewhere, by the models or by the device itself.
    pub fn report(&mut self, report: Report, effects: &mut Effects) {
        self.machine.report(report, &mut self.events);
        self.take_events(effects);
        // What was judged elsewhere comes late; no block need come after it.
        self.cut_strips(false, effects);
        if let Some(open) = &mut self.open {
            open.hand_on(false, effects);
        }
    }

    /// Acknowledges an alarm.
    ///
    /// # Errors
    /// An alarm that is unknown here, cleared, or acknowledged already.
    pub fn acknowledge(
        &mut self,
        alarm: AlarmId,
        by: &str,
        now: Utc,
        effects: &mut Effects,
    ) -> Result<(), alarm::Error> {
        self.machine.acknowledge(alarm, by, now, &mut self.events)?;
        self.take_events(effects);
        Ok(())
    }

    /// Turns what the chain put out into facts for the alarm machine, rows, and things to show.
    fn absorb(&mut self, effects: &mut Effects) {
        let Some(open) = &mut self.open else { return };
        let events = &mut self.events;
        let limits = self.machine.limits();
        open.burden.set_limit(ventricular_per_minute(&limits));
        for output in self.outputs.drain(..) {
            if let Some(collector) = &mut open.collector {
                collector.push(&output);
            }
            if let Some(known) = open.vitals.as_mut().and_then(|vitals| vitals.push(&output)) {
                let utc = open.anchor.utc(known.at);
                effects.live.push(Live::Vitals(Box::new(known), utc));
            }
            open.take_pulses(&output, effects);
            let told = open.builds_up(&output);
            if output.late_at().is_some_and(|at| at < open.late_from) {
                continue;
            }
            if let Some(report) = told.filter(|report| report.at >= open.late_from) {
                self.machine.report(report, events);
            }
            match output {
                Output::Beat(beat) => {
                    self.machine.beat(&beat);
                    if beat.r_peak >= open.resume_at {
                        open.add_beat(beat, effects);
                    }
                }
                Output::Class(beat) => {
                    // A beat decided before the watermark may have had no class then.
                    let lag = open.rate.count(Chain::CLASS_LAG_SECONDS);
                    if beat.r_peak >= open.resume_at.before(lag) {
                        open.add_class(beat, effects);
                    }
                }
                Output::Pulse(pulse) => {
                    self.machine.pulse(&pulse);
                    if pulse.onset >= open.resume_at {
                        open.add_pulse(pulse, effects);
                    }
                }
                Output::Rate(rate) => {
                    self.machine.rate(&rate);
                    if rate.at >= open.resume_at {
                        open.add_rate(rate, effects);
                    }
                }
                Output::Quality(quality) => {
                    self.machine.quality(&quality);
                    if quality.end > open.resume_at {
                        open.add_quality(quality, effects);
                    }
                }
                Output::Complex(measurement) => {
                    let utc = open.anchor.utc(measurement.r_peak);
                    effects.live.push(Live::Complex(measurement, utc));
                }
                Output::Trace(trace) => {
                    let utc = open.anchor.utc(trace.start);
                    effects.live.push(Live::Trace(trace, utc));
                }
                Output::Window(window) => {
                    let patience = open.rate.count(READ_AGAIN_SECONDS);
                    if window.end >= open.resume_at.before(patience) {
                        open.waiting.push((window, None));
                    }
                }
                Output::Decided(position) => {
                    self.machine.decided(position, events);
                    open.decided = position;
                }
                Output::Ventricular(second) => self.machine.ventricular(&second),
                Output::Settled(_) => {}
            }
            open.hand_on(false, effects);
        }
        self.take_events(effects);
    }

    /// Moves new alarm events into the batch and notes which strips they want.
    fn take_events(&mut self, effects: &mut Effects) {
        let held_back = self.machine.take_suppressed();
        effects.batch.suppressions.extend(held_back);
        for event in self.events.drain(..) {
            if let Some(open) = &mut self.open
                && event.record == open.id
            {
                // An end that somebody's acknowledgement made is none.
                let ended = matches!(event.state, AlarmState::Latched | AlarmState::Cleared)
                    && event.by.is_none();
                if event.state == AlarmState::Active {
                    open.wanted.push((event.alarm, event.at));
                } else if ended && event.condition.is_rhythm() {
                    open.wanted.push((event.alarm.at_end(), event.at));
                }
            }
            effects.batch.events.push(event);
        }
    }

    /// Cuts the strips that the trace has reached; at the `last` chance, as much of them as there is.
    fn cut_strips(&mut self, last: bool, effects: &mut Effects) {
        let Some(open) = &mut self.open else { return };
        let (chain, waiting) = (&open.chain, &mut open.waiting);
        open.wanted.retain(|&(alarm, end)| {
            let newest = chain.trace_end();
            let mut end = if last { end.min(newest) } else { end };
            let mut strip = chain.strip(end, STRIP_SECONDS);
            if strip.is_none() && newest > end {
                // It is gone, as after a burst of packets: the newest signals are better than none.
                end = newest;
                strip = chain.strip(end, STRIP_SECONDS);
            }
            match strip {
                Some(strip) => {
                    match chain.window_at(end) {
                        Some(window) => waiting.push((window, Some((alarm, strip)))),
                        None => effects.strips.push(AlarmStrip {
                            alarm,
                            strip,
                            window: None,
                        }),
                    }
                    false
                }
                None => !last && newest < end,
            }
        });
    }

    /// Writes down how far the record is decided.
    fn progress(&mut self, seen: Utc, ended: bool, effects: &mut Effects) {
        let Some(open) = &mut self.open else { return };
        let newest = open.trends.last_key_value().map(|(minute, _)| *minute);
        effects.batch.trends.extend(open.trends.values().cloned());
        open.trends.retain(|minute, _| Some(*minute) == newest);
        effects.batch.records.push(RecordUpdate {
            record: open.id.clone(),
            layout: open.layout.clone(),
            anchor: open.anchor,
            durable_until: open.decided.max(open.resume_at),
            ended,
            seen,
        });
    }
}

impl OpenRecord {
    /// The minute that `position` belongs to.
    fn trend(&mut self, position: SampleIndex) -> &mut Trend {
        let per_minute = self.rate.count(60.0).0.max(1);
        let minute = position.0 / per_minute;
        let start = self.anchor.utc(SampleIndex(minute * per_minute));
        self.trends
            .entry(minute)
            .or_insert_with(|| Trend::new(self.id.clone(), minute, start))
    }

    /// Hands on the windows of which everything has been said; at the `last` chance, before what was collected is
    /// dropped, all of them.
    fn hand_on(&mut self, last: bool, effects: &mut Effects) {
        if self.waiting.is_empty() && !last {
            return;
        }
        let boot = self.id.boot;
        let collector = self.collector.as_mut();
        let known = |window: &Window| {
            let knows = |collector: &Collector| collector.knows(window.end);
            last || collector.as_deref().is_none_or(knows)
        };
        let ready = self.waiting.extract_if(.., |(window, _)| known(window));
        for (window, strip) in ready {
            let stretch = collector.as_deref().and_then(|c| c.until(window.end));
            let known = Known {
                boot,
                window,
                stretch,
            };
            match strip {
                None => effects.windows.push(known),
                Some((alarm, strip)) => effects.strips.push(AlarmStrip {
                    alarm,
                    strip,
                    window: Some(known),
                }),
            }
        }
        if let Some(collector) = collector.filter(|_| last) {
            collector.gap();
        }
        if let Some(pulses) = self.pulses.as_mut().filter(|_| last) {
            pulses.gap();
        }
    }

    /// Hands on the stretches of the pulse wave that `output` completes.
    fn take_pulses(&mut self, output: &Output, effects: &mut Effects) {
        let Some(pulses) = &mut self.pulses else {
            return;
        };
        pulses.push(output);
        let patience = self.rate.count(READ_AGAIN_SECONDS);
        let again = self.resume_at.before(patience);
        let boot = self.id.boot;
        let stretches = std::iter::from_fn(|| pulses.next_stretch());
        let new = stretches.filter(|stretch| stretch.end >= again);
        effects
            .pulses
            .extend(new.map(|stretch| KnownPulse { boot, stretch }));
    }

    fn add_beat(&mut self, beat: Beat, effects: &mut Effects) {
        self.trend(beat.r_peak).n_beats += 1;
        effects.live.push(Live::Beat(self.anchor.utc(beat.r_peak)));
    }

    /// What builds up over minutes, as of the next thing that the chain says.
    fn builds_up(&mut self, output: &Output) -> Option<Report> {
        match output {
            Output::Class(beat) if beat.r_peak >= self.counted_until => {
                let ventricular = beat.class == Some(BeatClass::V);
                self.burden.beat(beat.r_peak, ventricular, self.rate)
            }
            Output::Rate(rate) if rate.source == RateSource::Ecg || !self.layout.has_ecg() => {
                self.drift.rate(rate.at, rate.bpm, self.rate)
            }
            _ => None,
        }
    }

    /// The row of a beat waits for its class.
    fn add_class(&mut self, beat: Beat, effects: &mut Effects) {
        let utc = self.anchor.utc(beat.r_peak);
        effects.batch.beats.push((self.id.clone(), beat, utc));
    }

    fn add_pulse(&mut self, pulse: Pulse, effects: &mut Effects) {
        self.trend(pulse.onset).n_pulses += 1;
        effects.live.push(Live::Pulse(pulse));
        if !self.layout.has_ecg() {
            effects.live.push(Live::Beat(self.anchor.utc(pulse.onset)));
        }
    }

    fn add_rate(&mut self, rate: Rate, effects: &mut Effects) {
        let trend = self.trend(rate.at);
        trend.n_rates += 1;
        trend.rate_sum += f64::from(rate.bpm);
        trend.rate_min = trend.rate_min.min(rate.bpm);
        trend.rate_max = trend.rate_max.max(rate.bpm);
        effects.live.push(Live::Rate(rate));
    }

    fn add_quality(&mut self, quality: Quality, effects: &mut Effects) {
        let trend = self.trend(quality.start);
        if quality.usable() {
            trend.usable_seconds += 1;
        } else {
            trend.unusable_seconds += 1;
        }
        effects.live.push(Live::Quality(quality));
    }
}

/// How many ventricular beats in a minute are not too many.
fn ventricular_per_minute(limits: &alarm::InForce) -> f32 {
    if limits.off.contains(ecg::Condition::VentricularBurden) {
        // So that it is told again when it is switched on.
        f32::INFINITY
    } else {
        limits.ventricular_per_minute
    }
}

/// The measured strip with the leads that it lacks; signals that are no leads stay.
pub fn complete(strip: Strip, leads: &TwelveLead) -> Strip {
    let mut signals: Vec<StripSignal> = Lead::TWELVE
        .into_iter()
        .enumerate()
        .filter(|&(row, _)| leads.origin[row] != LeadOrigin::Absent)
        .filter_map(|(row, lead)| {
            let samples = leads.lead(lead)?.to_vec();
            Some(StripSignal {
                kind: SignalKind::Ecg(lead),
                origin: leads.origin[row],
                samples,
                band: leads.band(lead).map_or_else(Vec::new, <[f32]>::to_vec),
            })
        })
        .collect();
    let n_samples = signals.first().map_or(0, |signal| signal.samples.len());
    for signal in strip.signals {
        let known = signals.iter().any(|other| other.kind == signal.kind);
        if !known && (n_samples == 0 || signal.samples.len() == n_samples) {
            signals.push(signal);
        }
    }
    Strip {
        start: leads.start,
        end: leads.end,
        rate: leads.rate,
        signals,
        model: leads.model.clone(),
        trust: leads.trust,
        withheld: leads.withheld,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::simulate::{self, Rhythm, Scenario};
    use ecg::{SignalBlock, SignalSpec};

    const HZ: usize = 250;

    /// What a minute of fibrillation on three leads makes known, cut into blocks of so many samples, with a gap in it.
    fn known(n: usize) -> Vec<(Window, Option<Stretch>)> {
        let rate = SampleRate::new(HZ as f64).unwrap();
        let mut scenario = Scenario::new(7, rate);
        scenario.rhythms = vec![(Rhythm::AtrialFibrillation { bpm: 95.0 }, f64::INFINITY)];
        let segment = simulate::record(&scenario, 60.0).unwrap();
        let leads = [Lead::II, Lead::V1, Lead::V5];
        let spec = |lead| SignalSpec {
            kind: SignalKind::Ecg(lead),
            rate,
        };
        let layout = Layout::new(&leads.map(spec)).unwrap();
        let id = RecordId {
            device: "vest".parse().unwrap(),
            boot: BootId(1),
        };
        let limits = alarm::Limits::new(40.0, 150.0).unwrap();
        let machine = Machine::new(id.device.clone(), &alarm::Config::default(), limits);
        let mut monitor = Monitor::new(dsp::Config::default(), machine);
        let anchor = Anchor {
            index: SampleIndex(0),
            utc: Utc(0),
            hz: HZ as f64,
        };
        let mut effects = Effects::default();
        let started = monitor.start(id, &layout, anchor, SampleIndex(0), None, &mut effects);
        started.unwrap();
        let gap = 33 * HZ..35 * HZ;
        let mut at = 0;
        while at < segment.n_samples {
            if at == gap.start {
                let [start, end] = [gap.start, gap.end].map(|at| SampleIndex(at as u64));
                monitor.gap(Gap { start, end }, Utc(0), &mut effects);
                at = gap.end;
            }
            let stop = if at < gap.start {
                gap.start
            } else {
                segment.n_samples
            };
            let end = (at + n).min(stop);
            let signal = |lead| SignalBlock {
                samples: segment.lead(lead).unwrap()[at..end].to_vec(),
                lead_off: false,
            };
            let block = Block {
                start: SampleIndex(at as u64),
                signals: leads.map(signal).into(),
            };
            monitor.block(&block, anchor, Utc(0), &mut effects);
            at = end;
        }
        monitor.end(Utc(0), &mut effects);
        let windows = effects.windows.into_iter();
        windows.map(|known| (known.window, known.stretch)).collect()
    }

    #[test]
    fn what_is_known_of_a_window_does_not_depend_on_the_blocks() {
        let seconds = known(HZ);
        assert_eq!(seconds.len(), 7);
        assert!(known(77) == seconds);
        // All at once.
        assert!(known(60 * HZ) == seconds);
        for (window, stretch) in &seconds {
            let context = &stretch.as_ref().unwrap().context;
            assert_eq!(context.end, window.end);
            // All of the window is known, nothing from before the gap, and half a minute at most.
            assert!(context.start <= window.start);
            let after_gap = window.start.0 >= 35 * HZ as u64;
            assert_eq!(context.start.0 >= 35 * HZ as u64, after_gap);
            assert!(context.end.since(context.start).0 <= 31 * HZ as u64);
            let classed = context.beats.iter().filter(|beat| beat.class.is_some());
            assert!(classed.count() >= context.beats.len() - 1);
            assert!(context.measurements.len() * 10 >= context.beats.len() * 7);
        }
    }

    #[test]
    fn a_rhythm_has_a_strip_where_it_was_told_and_one_where_it_ended() {
        let rate = SampleRate::new(HZ as f64).unwrap();
        let mut scenario = Scenario::new(7, rate);
        scenario.rhythms = vec![
            (Rhythm::Sinus { bpm: 75.0 }, 20.0),
            (Rhythm::Asystole, 8.0),
            (Rhythm::Sinus { bpm: 75.0 }, f64::INFINITY),
        ];
        let segment = simulate::record(&scenario, 45.0).unwrap();
        let spec = SignalSpec {
            kind: SignalKind::Ecg(Lead::II),
            rate,
        };
        let layout = Layout::new(&[spec]).unwrap();
        let id = RecordId {
            device: "vest".parse().unwrap(),
            boot: BootId(1),
        };
        let limits = alarm::Limits::new(40.0, 150.0).unwrap();
        let machine = Machine::new(id.device.clone(), &alarm::Config::default(), limits);
        let mut monitor = Monitor::new(dsp::Config::default(), machine);
        let anchor = Anchor {
            index: SampleIndex(0),
            utc: Utc(0),
            hz: HZ as f64,
        };
        let mut effects = Effects::default();
        let started = monitor.start(id, &layout, anchor, SampleIndex(0), None, &mut effects);
        started.unwrap();
        for (second, samples) in (0..).zip(segment.lead(Lead::II).unwrap().chunks(HZ)) {
            let block = Block {
                start: SampleIndex(second * HZ as u64),
                signals: vec![SignalBlock {
                    samples: samples.to_vec(),
                    lead_off: false,
                }],
            };
            monitor.block(&block, anchor, Utc(0), &mut effects);
        }
        let raised = |event: &&AlarmEvent| event.condition == ecg::Condition::Asystole;
        let asystole: Vec<&AlarmEvent> = effects.batch.events.iter().filter(raised).collect();
        let [active, latched] = asystole[..] else {
            panic!("{asystole:?}");
        };
        let of = |alarm| effects.strips.iter().find(|strip| strip.alarm == alarm);
        assert_eq!(of(active.alarm).unwrap().strip.end, active.at);
        assert_eq!(of(active.alarm.at_end()).unwrap().strip.end, latched.at);
    }
}
