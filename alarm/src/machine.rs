//! The life of alarms: raised, acknowledged, latched, cleared.
//!
//! **Give facts in any order, then say how far they are complete; out come events in the order of
//! the samples that decided them.** An event's `at` is the exact sample at which it became true
//! (for an asystole the last beat + 4 s), so the events depend on the facts alone, not on how
//! often or in which portions they were given.
//!
//! Contract of [`Machine::decided`]`(d)`: every beat, pulse, rate and gap that begins before `d`, and every
//! quality and ventricular second that ends at or before `d`, has been given. Beats and rates given later than that are
//! ignored; gaps and qualities count from the first undecided sample.
//!
//! The second still running has no quality yet. It is taken as usable, so an asystole is raised
//! 4 s after the last beat without waiting for it; if that second then turns out as off, saturated
//! or noisy on every ECG lead, the alarm ends at the second's end.
//!
//! After a restart: [`start`](Machine::start) 20 s before the last decided sample,
//! [`resume`](Machine::resume) with it and the alarms that stand, and give the facts from there
//! again. The events from then on are those that would have come without the restart.
//!
//! What is deliberately absent: clocks, timers, channels, and any memory longer than 20 s other
//! than the alarms that stand.

use ecg::{
    AlarmEvent, AlarmId, AlarmState, Anchor, Beat, Condition, DeviceId, Gap, Layout, Pulse,
    Quality, Rate, RecordId, SampleIndex, Suppression, Utc, Ventricular,
};

use crate::judge::Verdict;
use crate::memory::Memory;
use crate::pending::{Fact, Moment, Phase};
use crate::watch::{Watch, raised};
use crate::{Config, Error, InForce, Limits, definition};

/// What was judged elsewhere, such as an episode of atrial fibrillation or an empty battery.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What it is about.
    pub condition: Condition,
    /// The sample that decided it.
    pub at: SampleIndex,
    /// Whether it is so.
    pub said: Said,
}

/// Whether a condition is present.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// It is, since `onset`.
    Present {
        /// Where it began.
        onset: SampleIndex,
        /// Why, in one line with the numbers it rests on.
        evidence: String,
    },
    /// It is over.
    Absent {
        /// Why.
        evidence: String,
    },
}

/// What was held back last of a condition, and whether it still is.
#[derive(Debug, Clone, Copy, Default)]
struct HeldBack {
    alarm: Option<AlarmId>,
    goes_on: bool,
}

/// The alarms of one device.
#[derive(Debug, Clone)]
pub struct Machine {
    device: DeviceId,
    config: Config,
    limits: InForce,
    /// The last event of each alarm that is not cleared, in the order raised.
    standing: Vec<AlarmEvent>,
    record: Option<Watch>,
    /// The record that was open when the service stopped, until another begins or it goes on: its anchor and its end.
    left: Option<(RecordId, Anchor, SampleIndex)>,
    /// When something arrived last, in wall-clock time.
    arrival: Option<Utc>,
    /// What was held back and not fetched yet.
    suppressed: Vec<Suppression>,
    /// What was held back last, by condition.
    held_back: [HeldBack; Condition::ALL.len()],
}

impl Machine {
    /// How many latched alarms a device may have. One more, and the oldest of them is cleared with
    /// the evidence that it was, so that a device nobody looks after cannot fill the memory.
    pub const MAX_LATCHED: usize = 100;

    /// A machine for one device that has not sent anything yet. `config` should be
    /// [valid](Config::validate) and [accept](Config::accept) `limits`.
    pub fn new(device: DeviceId, config: &Config, limits: Limits) -> Self {
        Self {
            device,
            config: config.clone(),
            limits: config.in_force(limits),
            standing: Vec::new(),
            record: None,
            left: None,
            arrival: None,
            suppressed: Vec::new(),
            held_back: Default::default(),
        }
    }

    /// The device.
    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    /// The alarms that are not cleared, each by its last event, in the order raised.
    pub fn standing(&self) -> impl Iterator<Item = &AlarmEvent> {
        self.standing.iter()
    }

    /// The sample before which everything has been judged; `None` before the first record.
    pub fn position(&self) -> Option<SampleIndex> {
        self.record.as_ref().map(Watch::position)
    }

    /// A record begins, or is picked up, at `at`. An earlier one that was not ended ends.
    pub fn start(
        &mut self,
        record: RecordId,
        layout: &Layout,
        anchor: Anchor,
        at: SampleIndex,
        out: &mut Vec<AlarmEvent>,
    ) {
        if let Some(position) = self.position() {
            self.end(position, out);
        }
        let memory = Memory::new(&self.config, layout, at);
        self.left = None;
        self.record = Some(Watch::new(record, anchor, memory, at));
        self.end_foreign(out);
    }

    /// Takes over after a restart, following [`start`](Self::start): `standing` are the last events
    /// of the alarms that are not cleared, of this record or earlier ones of the device, in the
    /// order raised. Facts up to `at`, or up to the latest of these events if that is later, only
    /// build memory. What stands from an earlier record ends thereafter.
    pub fn resume(&mut self, at: SampleIndex, standing: Vec<AlarmEvent>) {
        self.standing = standing;
        self.standing
            .retain(|event| event.state != AlarmState::Cleared);
        if let Some(watch) = &mut self.record {
            let latest = self
                .standing
                .iter()
                .filter(|event| event.record == watch.id)
                .map(|event| event.at)
                .max();
            watch.known_until = Some(latest.map_or(at, |latest| latest.max(at)));
        }
    }

    /// After a restart, before anything of the device has come: `record` was open and judged up to `at`. Should nothing come,
    /// that is told as of any other record.
    pub fn left(&mut self, record: RecordId, anchor: Anchor, at: SampleIndex) {
        self.left = Some((record, anchor, at));
    }

    /// A newer estimate of the device's clock, for the UTC of events to come.
    pub fn anchor(&mut self, anchor: Anchor) {
        if let Some(watch) = &mut self.record {
            watch.anchor = anchor;
        }
    }

    /// Other limits for the patient, from the next undecided sample on. What stands and is switched off by them ends
    /// there.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = self.config.in_force(limits);
        if let Some(watch) = &mut self.record {
            watch.rejudge = true;
        }
    }

    /// The limits in force.
    pub fn limits(&self) -> InForce {
        self.limits
    }

    /// A beat was found in the ECG.
    pub fn beat(&mut self, beat: &Beat) {
        self.give((beat.r_peak, Phase::Beat), Fact::Beat);
    }

    /// A pulse was found in the PPG or the arterial pressure.
    pub fn pulse(&mut self, pulse: &Pulse) {
        self.give((pulse.onset, Phase::Beat), Fact::Pulse(pulse.amplitude));
    }

    /// How likely ventricular tachycardia and fibrillation are as of a second.
    pub fn ventricular(&mut self, second: &Ventricular) {
        self.give((second.end, Phase::Ventricular), Fact::Ventricular(*second));
    }

    /// The rate is known anew.
    pub fn rate(&mut self, rate: &Rate) {
        self.give((rate.at, Phase::Beat), Fact::Rate(*rate));
    }

    /// A second of a signal was judged.
    pub fn quality(&mut self, quality: &Quality) {
        if let Some(watch) = self.running() {
            let moment = (quality.end, Phase::Quality).max(watch.cursor);
            watch.pending.insert(moment, Fact::Quality(*quality));
        }
    }

    /// Samples are missing.
    pub fn gap(&mut self, gap: Gap) {
        if let Some(watch) = self.running() {
            let start = (gap.start, Phase::Gap).max(watch.cursor);
            let end = (gap.end, Phase::Gap).max(start);
            watch.pending.insert(start, Fact::GapStart(end.0));
            watch.pending.insert(end, Fact::GapEnd);
        }
    }

    /// Something was judged elsewhere: by the models, by the device itself, by the wall clock. Of conditions that are judged
    /// here, of those that are switched off for the patient, and before the first record, nothing comes of it. One that gives way to a greater condition which is announced
    /// at that moment is not raised.
    pub fn report(&mut self, report: Report, out: &mut Vec<AlarmEvent>) {
        let Report {
            condition,
            at,
            said,
        } = report;
        if !is_reported(condition) {
            return;
        }
        let open = self.open(condition);
        match (open, said) {
            (None, Said::Present { .. }) if self.limits.off.contains(condition) => {}
            (None, Said::Present { onset, evidence }) => {
                let mut greater = definition(condition).yields_to.iter();
                let Some(watch) = &self.record else { return };
                if greater.any(|&greater| self.announced(greater)) {
                    return;
                }
                let priority = definition(condition).priority;
                let event = watch.raised(condition, onset, at.max(onset), priority, evidence);
                self.standing.push(event.clone());
                out.push(event);
            }
            (Some(place), Said::Absent { evidence }) => self.close_at(place, at, evidence, out),
            (Some(_), Said::Present { .. }) | (None, Said::Absent { .. }) => {}
        }
    }

    /// What was held back since this was asked last, in the order in which it was due.
    pub fn take_suppressed(&mut self) -> Vec<Suppression> {
        std::mem::take(&mut self.suppressed)
    }

    /// All facts before `until` have been given: judges up to there.
    pub fn decided(&mut self, until: SampleIndex, out: &mut Vec<AlarmEvent>) {
        self.advance((until, Phase::Due), out);
        self.end_silence(out);
    }

    /// The record is over at `at`: what it alarmed on cannot be judged any more and ends there,
    /// except that nothing arrives.
    pub fn end(&mut self, at: SampleIndex, out: &mut Vec<AlarmEvent>) {
        if self.running().is_none() {
            return;
        }
        self.advance((at, Phase::Due), out);
        let Some(watch) = self.running() else { return };
        watch.ended = true;
        watch.known_until = None;
        watch.pending.clear();
        self.end_foreign(out);
        for condition in Condition::ALL {
            if !outlives_record(condition)
                && let Some(place) = self.open(condition)
            {
                self.close(place, "the record ended".into(), out);
            }
        }
    }

    /// Something arrived from the device.
    pub fn arrival(&mut self, now: Utc) {
        self.arrival = self.arrival.max(Some(now));
    }

    /// The clock that tells of arrivals was set by so many seconds, positive if ahead: the silence counts on.
    pub fn clock_set(&mut self, seconds: f64) {
        self.arrival = self.arrival.map(|last| last.plus_seconds(seconds));
    }

    /// Wall-clock time passes. The silence counts from the last arrival, or from the first tick if
    /// there was none; its alarm begins at the last sample known and is dated to the instant at
    /// which it was due. It ends when later samples are decided on.
    pub fn tick(&mut self, now: Utc, out: &mut Vec<AlarmEvent>) {
        let silent_since = *self.arrival.get_or_insert(now);
        let allowed = self.config.no_data.as_secs_f64();
        if now.seconds_since(silent_since) < allowed || self.open(Condition::NoData).is_some() {
            return;
        }
        let (record, anchor, at) = match (&self.record, &self.left) {
            (Some(watch), _) => (&watch.id, watch.anchor, watch.position()),
            (None, Some((record, anchor, at))) => (record, *anchor, *at),
            (None, None) => return,
        };
        let priority = definition(Condition::NoData).priority;
        let evidence = format!("nothing received for {allowed:.0} s");
        let event = AlarmEvent {
            utc: silent_since.plus_seconds(allowed),
            ..raised(record, anchor, Condition::NoData, at, priority, evidence)
        };
        self.standing.push(event.clone());
        out.push(event);
    }

    /// Somebody, `by` name, has seen the alarm.
    ///
    /// # Errors
    /// [`Error::NotOpen`] if it is unknown or cleared, [`Error::AlreadyAcknowledged`].
    pub fn acknowledge(
        &mut self,
        alarm: AlarmId,
        by: &str,
        now: Utc,
        out: &mut Vec<AlarmEvent>,
    ) -> Result<(), Error> {
        let place = self
            .standing
            .iter()
            .position(|event| event.alarm == alarm)
            .ok_or(Error::NotOpen(alarm))?;
        let last = &self.standing[place];
        let state = match last.state {
            AlarmState::Active => AlarmState::Acknowledged,
            AlarmState::Latched => AlarmState::Cleared,
            AlarmState::Acknowledged | AlarmState::Cleared => {
                return Err(Error::AlreadyAcknowledged(alarm));
            }
        };
        let event = AlarmEvent {
            state,
            at: self.position_on(last),
            utc: now,
            by: Some(by.to_owned()),
            evidence: "acknowledged".into(),
            ..last.clone()
        };
        self.put(place, event, out);
        Ok(())
    }

    fn running(&mut self) -> Option<&mut Watch> {
        self.record.as_mut().filter(|watch| !watch.ended)
    }

    /// Puts a fact in its place, unless its moment is past.
    fn give(&mut self, moment: Moment, fact: Fact) {
        if let Some(watch) = self.running()
            && moment > watch.cursor
        {
            watch.pending.insert(moment, fact);
        }
    }

    /// Lets everything up to and including `limit` take effect, moment by moment.
    fn advance(&mut self, limit: Moment, out: &mut Vec<AlarmEvent>) {
        loop {
            let (config, limits) = (&self.config, self.limits);
            let Some(watch) = self.record.as_mut().filter(|watch| !watch.ended) else {
                return;
            };
            if watch.cursor >= limit {
                return;
            }
            let now = watch.rejudge.then_some(watch.cursor);
            let due = watch
                .judge(config, limits)
                .next_due(watch.cursor.1 < Phase::Due)
                .map(|at| (at, Phase::Due));
            let next = [now, due, watch.pending.first()]
                .into_iter()
                .flatten()
                .min()
                .filter(|next| *next <= limit);
            let Some(next) = next else {
                watch.cursor = limit;
                return;
            };
            watch.cursor = next;
            watch.rejudge = false;
            watch.learn(next);
            if let Some(known) = watch.known_until {
                if next <= (known, Phase::Due) {
                    continue;
                }
                watch.known_until = None;
                self.end_foreign(out);
            }
            self.judge(out);
        }
    }

    /// Compares each condition with its alarm, most severe first.
    fn judge(&mut self, out: &mut Vec<AlarmEvent>) {
        for condition in Condition::ALL {
            let Some(watch) = &self.record else { return };
            let open = self.open(condition);
            let greater = definition(condition)
                .yields_to
                .iter()
                .find(|&&greater| self.announced(greater));
            let verdict = match greater {
                _ if self.limits.off.contains(condition) => {
                    Verdict::Absent("switched off for the patient".into())
                }
                Some(greater) => Verdict::Absent(format!("{greater} is announced instead")),
                None => watch
                    .judge(&self.config, self.limits)
                    .verdict(condition, open.map(|place| self.standing[place].priority)),
            };
            if !matches!(verdict, Verdict::HeldBack { .. }) {
                self.held_back[condition as usize].goes_on = false;
            }
            match (open, verdict) {
                (Some(place), Verdict::Absent(why)) => self.close(place, why, out),
                (Some(place), Verdict::Present { priority, .. })
                    if self.standing[place].priority == priority => {}
                (
                    _,
                    Verdict::Present {
                        onset,
                        priority,
                        evidence,
                    },
                ) => {
                    let event = watch.raised(condition, onset, watch.cursor.0, priority, evidence);
                    // An alarm never changes its priority: one ends and another begins.
                    if let Some(place) = open {
                        self.close(place, format!("now of {priority} priority"), out);
                    }
                    self.standing.push(event.clone());
                    out.push(event);
                }
                (
                    None,
                    Verdict::HeldBack {
                        onset,
                        evidence,
                        reason,
                    },
                ) => self.hold_back(condition, onset, evidence, reason),
                // What was raised with good reason stands until it is over.
                (Some(_), Verdict::HeldBack { .. })
                | (_, Verdict::Unchanged)
                | (None, Verdict::Absent(_)) => {}
            }
        }
    }

    /// Notes once that an alarm was not raised, and why.
    fn hold_back(
        &mut self,
        condition: Condition,
        onset: SampleIndex,
        evidence: String,
        reason: String,
    ) {
        let Some(watch) = &self.record else { return };
        let alarm = AlarmId::new(&watch.id, condition, onset);
        let held_back = &mut self.held_back[condition as usize];
        let is_known = held_back.goes_on || held_back.alarm == Some(alarm);
        held_back.goes_on = true;
        if is_known {
            return;
        }
        held_back.alarm = Some(alarm);
        let at = watch.cursor.0;
        self.suppressed.push(Suppression {
            alarm,
            record: watch.id.clone(),
            condition,
            priority: definition(condition).priority,
            onset,
            at,
            utc: watch.anchor.utc(at),
            evidence,
            reason,
        });
    }

    /// Where the alarm of `condition` is among those that stand, if the condition is present.
    fn open(&self, condition: Condition) -> Option<usize> {
        self.standing
            .iter()
            .position(|event| event.condition == condition && is_present(event))
    }

    /// Whether `condition` is present such that lesser ones give way to it.
    fn announced(&self, condition: Condition) -> bool {
        self.open(condition)
            .is_some_and(|place| self.standing[place].priority == definition(condition).priority)
    }

    /// The condition of an open alarm is over.
    fn close(&mut self, place: usize, why: String, out: &mut Vec<AlarmEvent>) {
        self.close_at(place, self.position_on(&self.standing[place]), why, out);
    }

    /// The same, decided at a sample.
    fn close_at(&mut self, place: usize, at: SampleIndex, why: String, out: &mut Vec<AlarmEvent>) {
        let last = &self.standing[place];
        let latches = definition(last.condition).latching && last.state == AlarmState::Active;
        let at = at.max(last.at);
        let event = AlarmEvent {
            state: if latches {
                AlarmState::Latched
            } else {
                AlarmState::Cleared
            },
            at,
            utc: match &self.record {
                Some(watch) if watch.id == last.record => watch.anchor.utc(at),
                _ => last.utc,
            },
            by: None,
            evidence: why,
            ..last.clone()
        };
        self.put(place, event, out);
        if latches {
            self.bound_latched(out);
        }
    }

    fn bound_latched(&mut self, out: &mut Vec<AlarmEvent>) {
        let latched = |event: &&AlarmEvent| event.state == AlarmState::Latched;
        if self.standing.iter().filter(latched).count() <= Self::MAX_LATCHED {
            return;
        }
        if let Some(place) = self.standing.iter().position(|event| latched(&event)) {
            let last = &self.standing[place];
            let event = AlarmEvent {
                state: AlarmState::Cleared,
                at: self.position_on(last),
                evidence: format!(
                    "never acknowledged; {} later ones are latched",
                    Self::MAX_LATCHED
                ),
                ..last.clone()
            };
            self.put(place, event, out);
        }
    }

    /// What stands as present from an earlier record has ended with it.
    fn end_foreign(&mut self, out: &mut Vec<AlarmEvent>) {
        let Some(watch) = &self.record else { return };
        let id = watch.id.clone();
        while let Some(place) = self.standing.iter().position(|event| {
            event.record != id && !outlives_record(event.condition) && is_present(event)
        }) {
            self.close(place, "the record ended".into(), out);
        }
    }

    /// Samples beyond the last one known before the silence end it.
    fn end_silence(&mut self, out: &mut Vec<AlarmEvent>) {
        let Some(place) = self.open(Condition::NoData) else {
            return;
        };
        let Some(watch) = self.record.as_ref() else {
            return;
        };
        let last = &self.standing[place];
        let heard = watch.id != last.record || watch.cursor.0 > last.onset;
        if watch.ended || watch.known_until.is_some() || !heard {
            return;
        }
        let event = AlarmEvent {
            state: AlarmState::Cleared,
            utc: self.arrival.unwrap_or(last.utc).max(last.utc),
            by: None,
            evidence: "data arrive again".into(),
            ..last.clone()
        };
        self.put(place, event, out);
    }

    /// The sample at which a step of the alarm is decided now.
    fn position_on(&self, last: &AlarmEvent) -> SampleIndex {
        match &self.record {
            Some(watch) if watch.id == last.record => watch.position().max(last.at),
            _ => last.at,
        }
    }

    /// Makes `event` the last of the alarm at `place`.
    fn put(&mut self, place: usize, event: AlarmEvent, out: &mut Vec<AlarmEvent>) {
        out.push(event.clone());
        if event.state == AlarmState::Cleared {
            self.standing.remove(place);
        } else {
            self.standing[place] = event;
        }
    }
}

/// What is [told](Machine::report) to the machine, not judged by it.
pub fn is_reported(condition: Condition) -> bool {
    use Condition::{
        AtrialFibrillation, AvBlock, ClockJump, DeviceOffline, LowBattery, NewFinding, Overloaded,
        RateTrend, StChange, VentricularBurden, VentricularRun,
    };
    matches!(
        condition,
        AtrialFibrillation
            | AvBlock
            | ClockJump
            | DeviceOffline
            | LowBattery
            | NewFinding
            | Overloaded
            | RateTrend
            | StChange
            | VentricularBurden
            | VentricularRun
    )
}

/// What is a matter of the device, not of one of its records.
fn outlives_record(condition: Condition) -> bool {
    use Condition::{DeviceOffline, LowBattery, NoData};
    matches!(condition, NoData | DeviceOffline | LowBattery)
}

fn is_present(event: &AlarmEvent) -> bool {
    matches!(event.state, AlarmState::Active | AlarmState::Acknowledged)
}
