//! What must come of a course: the offline twin over the packets in the order in which they were published.
//!
//! **The twin is the service's own [`Device`], with the service's settings, and sees the very bytes.** It shows windows to no
//! model, lets no time pass but that of packets, and keeps what the device core says must become durable. Everything in it
//! is named by record and sample; ids of alarms are computed for each device that plays the course.

use std::collections::{BTreeMap, BTreeSet};

use ecg::{
    AlarmEvent, AlarmId, AlarmState, BeatClass, BootId, Condition, DeviceId, Priority, RecordId,
    SampleIndex, Suppression, Trend, Utc,
};
use ingest::Packet;

use super::link::{Course, Player};
use crate::config::Config;
use crate::device::Device;
use crate::monitor::{Effects, Live, Monitor};

/// What must be found, start by start of the device.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// By the number of the start; those of which nothing was kept have none.
    pub records: BTreeMap<u16, Record>,
    /// What a person who watches would be told, in order.
    pub told: Vec<Told>,
}

/// What must be found of one start.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Class and time of each beat, by R peak. Times are microseconds after the device's first sample.
    pub beats: BTreeMap<u64, (Option<BeatClass>, i64)>,
    /// The end of each gap, by start.
    pub gaps: BTreeMap<u64, u64>,
    /// Steps of alarms.
    pub steps: BTreeSet<Step>,
    /// What was held back: condition, onset, deciding sample.
    pub held_back: BTreeSet<(Condition, u64, u64)>,
    /// Strips: condition and onset of the alarm, and whether it is the one of its end.
    pub strips: BTreeSet<(Condition, u64, bool)>,
    /// The minutes.
    pub trends: BTreeMap<u64, Trend>,
    /// Everything before it is durable in the end.
    pub end: u64,
    /// Where each window begins, and where it ends.
    pub windows: BTreeMap<u64, u64>,
}

/// A step of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// What is wrong.
    pub condition: Condition,
    /// Where it began.
    pub onset: u64,
    /// The step.
    pub state: State,
    /// The sample that decided it.
    pub at: u64,
    /// The priority.
    pub priority: Priority,
}

/// A state of an alarm, ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As [`AlarmState::Active`].
    Active,
    /// As [`AlarmState::Acknowledged`].
    Acknowledged,
    /// As [`AlarmState::Latched`].
    Latched,
    /// As [`AlarmState::Cleared`].
    Cleared,
}

impl From<AlarmState> for State {
    fn from(state: AlarmState) -> Self {
        match state {
            AlarmState::Active => Self::Active,
            AlarmState::Acknowledged => Self::Acknowledged,
            AlarmState::Latched => Self::Latched,
            AlarmState::Cleared => Self::Cleared,
        }
    }
}

impl From<&AlarmEvent> for Step {
    fn from(event: &AlarmEvent) -> Self {
        Self {
            condition: event.condition,
            onset: event.onset.0,
            state: event.state.into(),
            at: event.at.0,
            priority: event.priority,
        }
    }
}

/// Something that is told at once, and the packet that completes what it rests on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Told {
    /// Its place among the packets published; one past the last for what only silence completes.
    pub packet: usize,
    /// The start.
    pub boot: u16,
    /// What.
    pub what: What,
}

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum What {
    /// A beat, so many microseconds after the device's first sample.
    Beat(i64),
    /// An alarm is raised: condition and onset.
    Raised(Condition, u64),
    /// A window can be read: start and end.
    Window(u64, u64),
}

/// Whether a condition is judged by the device core alone: not by models that may be overloaded, by what the device says of
/// itself or by arrival.
pub fn is_judged(condition: Condition) -> bool {
    match condition {
        // From beats and rates.
        Condition::RateTrend | Condition::VentricularBurden => true,
        Condition::NoData => false,
        other => !alarm::is_reported(other),
    }
}

/// Whoever plays for the twin.
const PLAYER: Player = Player {
    boots: 0,
    start: Utc(1_700_000_000_000_000),
};

impl Expected {
    /// What must come of the first `n` packets of a course, if the record is closed for silence after each number of packets
    /// in `silent_after` and after the last.
    pub fn new(course: &Course, n: usize, silent_after: &[usize], config: &Config) -> Self {
        Twin::new(course, config).run(n, silent_after, config)
    }
}

/// The twin of a device that plays a course.
struct Twin<'a> {
    course: &'a Course,
    id: DeviceId,
    device: Device<()>,
    expected: Expected,
    /// By boot id.
    boots: BTreeMap<u32, u16>,
    /// Alarms, and ends of alarms, that have a strip.
    strips: BTreeSet<AlarmId>,
}

impl<'a> Twin<'a> {
    fn new(course: &'a Course, config: &Config) -> Self {
        let id: DeviceId = "twin".parse().expect("a valid name");
        let limits = alarm::Limits::default();
        let machine = alarm::Machine::new(id.clone(), &config.alarm, limits);
        let monitor = Monitor::new(config.dsp.clone(), machine);
        let (resequence, clock) = (&config.resequence, &config.clock);
        let warm_up = config.pipeline.warm_up;
        Self {
            course,
            device: Device::new(id.clone(), resequence, clock, warm_up, monitor, None),
            id,
            expected: Expected::default(),
            boots: (0..course.n_boots).map(|k| (PLAYER.boot(k).0, k)).collect(),
            strips: BTreeSet::new(),
        }
    }

    fn run(mut self, n: usize, silent_after: &[usize], config: &Config) -> Expected {
        let mut now = PLAYER.start;
        let mut effects = Effects::default();
        let sent = &self.course.sent[..n.min(self.course.sent.len())];
        for (k, one) in sent.iter().enumerate() {
            now = PLAYER.start.plus_seconds(one.due);
            let payload = self.course.payload(one, &PLAYER);
            if let Ok(packet) = Packet::parse(&payload, &config.packet) {
                self.device.packet(packet, (), now, &mut effects);
            }
            self.take(k, &mut effects);
            if silent_after.contains(&(k + 1)) {
                self.device.silence(now, &mut effects);
                self.take(k + 1, &mut effects);
            }
        }
        self.device.silence(now, &mut effects);
        self.take(sent.len(), &mut effects);
        self.finish()
    }

    fn record(&mut self, boot: BootId) -> &mut Record {
        let k = self.boots.get(&boot.0).copied().unwrap_or(u16::MAX);
        self.expected.records.entry(k).or_default()
    }

    /// Takes what came of a packet.
    fn take(&mut self, packet: usize, effects: &mut Effects) {
        let Effects {
            batch,
            windows,
            // Shown to models alone, as windows are; nobody is told that they were read.
            pulses: _,
            strips,
            live,
        } = std::mem::take(effects);
        let boot = self.device.view().record().map(|record| record.boot);
        let boot = boot.and_then(|boot| self.boots.get(&boot.0).copied());
        let told = |what| Told {
            packet,
            boot: boot.unwrap_or(u16::MAX),
            what,
        };
        for live in live {
            if let Live::Beat(at) = live {
                let what = What::Beat(at.0 - PLAYER.start.0);
                self.expected.told.push(told(what));
            }
        }
        for (RecordId { boot, .. }, beat, utc) in batch.beats {
            let value = (beat.class, utc.0 - PLAYER.start.0);
            self.record(boot)
                .beats
                .entry(beat.r_peak.0)
                .or_insert(value);
        }
        for (record, gap) in batch.gaps {
            self.record(record.boot).gaps.insert(gap.start.0, gap.end.0);
        }
        for event in &batch.events {
            self.step(packet, event);
        }
        for Suppression {
            record,
            condition,
            onset,
            at,
            ..
        } in batch.suppressions
        {
            let held = (condition, onset.0, at.0);
            self.record(record.boot).held_back.insert(held);
        }
        for trend in batch.trends {
            self.record(trend.record.boot)
                .trends
                .insert(trend.minute, trend);
        }
        for update in batch.records {
            self.record(update.record.boot).end = update.durable_until.0;
        }
        for known in windows {
            let (start, end) = (known.window.start.0, known.window.end.0);
            self.record(known.boot).windows.insert(start, end);
            let boot = self.boots.get(&known.boot.0).copied().unwrap_or(u16::MAX);
            let what = What::Window(start, end);
            self.expected.told.push(Told { packet, boot, what });
        }
        self.strips.extend(strips.iter().map(|strip| strip.alarm));
    }

    fn step(&mut self, packet: usize, event: &AlarmEvent) {
        let boot = event.record.boot;
        self.record(boot).steps.insert(Step::from(event));
        if event.state == AlarmState::Active {
            let boot = self.boots.get(&boot.0).copied().unwrap_or(u16::MAX);
            let what = What::Raised(event.condition, event.onset.0);
            self.expected.told.push(Told { packet, boot, what });
        }
    }

    /// Strips to the records of their alarms.
    fn finish(mut self) -> Expected {
        for (&boot, k) in &self.boots {
            let record = RecordId {
                device: self.id.clone(),
                boot: BootId(boot),
            };
            let Some(expected) = self.expected.records.get_mut(k) else {
                continue;
            };
            for step in &expected.steps {
                let alarm = AlarmId::new(&record, step.condition, SampleIndex(step.onset));
                for (id, end) in [(alarm, false), (alarm.at_end(), true)] {
                    if self.strips.contains(&id) {
                        expected.strips.insert((step.condition, step.onset, end));
                    }
                }
            }
        }
        self.expected
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::load::plan::{Bad, Plan};
    use crate::load::script::Script;
    use crate::load::truth::happened;

    fn course(mix: &str, seconds: u32, bad: Bad) -> Course {
        let plan = Plan {
            mix: mix.parse().unwrap(),
            bad,
            ..Plan::new("mqtt://127.0.0.1:1", 1, seconds)
        };
        let script = Script::new(&plan, 0).unwrap();
        Course::new(&plan, Arc::new(script), 0)
    }

    fn settings() -> Config {
        Config::load(None, [], &[]).unwrap()
    }

    fn all(course: &Course) -> Expected {
        Expected::new(course, course.sent.len(), &[], &settings())
    }

    #[test]
    fn a_good_link_leaves_nothing_to_be_desired() {
        let course = course("asystole", 90, Bad::default());
        let expected = all(&course);
        let record = &expected.records[&0];
        assert_eq!((expected.records.len(), record.end), (1, 90 * 250));
        assert!(record.gaps.is_empty() && record.beats.len() > 60);
        assert_eq!(record.trends.len(), 2);
        let raised = record
            .steps
            .iter()
            .find(|step| step.condition == Condition::Asystole && step.state == State::Active)
            .unwrap();
        assert!(
            record
                .strips
                .contains(&(Condition::Asystole, raised.onset, false))
        );
        let happened = happened(&course, course.sent.len(), &expected);
        assert!(happened[0].by_twin && happened[0].what == "asystole");
        assert!(happened[0].span.contains(&raised.at));
        // Of what is told, nothing comes before the packet that it rests on.
        for told in &expected.told {
            let end = (told.packet as u64 + 1) * 250;
            match told.what {
                What::Beat(after) => assert!(after < i64::try_from(end).unwrap() * 4000),
                What::Window(start, window_end) => assert!(start < window_end && window_end <= end),
                What::Raised(_, onset) => assert!(onset < end),
            }
        }
    }

    #[test]
    fn a_pulse_without_ecg_is_expected_as_anything_else() {
        let lost = course("ppg-lost", 120, Bad::default());
        let expected = all(&lost);
        let record = &expected.records[&0];
        assert!(record.beats.is_empty() && record.windows.is_empty());
        assert!(record.trends[&0].n_pulses > 40 && record.trends[&1].n_rates > 10);
        let raised = |condition| {
            let raised = |step: &&Step| step.condition == condition && step.state == State::Active;
            record.steps.iter().find(raised)
        };
        assert!(raised(Condition::Asystole).is_none());
        let raised = raised(Condition::PulseLost).unwrap();
        assert_eq!(raised.at, raised.onset + 6 * 250);
        let strip = (Condition::PulseLost, raised.onset, false);
        assert!(record.strips.contains(&strip));
        let told = |told: &&Told| matches!(told.what, What::Beat(_));
        assert!(expected.told.iter().filter(told).count() > 60);
        let what = happened(&lost, lost.sent.len(), &expected);
        assert!(what[0].by_twin && what[0].what == "pulse lost", "{what:?}");

        let fast = course("ppg", 180, Bad::default());
        let expected = all(&fast);
        let what = happened(&fast, fast.sent.len(), &expected);
        assert!(
            what.iter()
                .any(|one| one.what == "sinus tachycardia" && one.by_twin)
        );
    }

    #[test]
    fn losses_and_reboots_are_expected_and_the_same_again() {
        let bad = Bad {
            lose: 0.04,
            duplicate: 0.04,
            shuffle: 2,
            jitter: 2.5,
            reboots: 60.0,
            drift_ppm: 200.0,
        };
        let course = course("normal,vt", 300, bad);
        let (expected, again) = (all(&course), all(&course));
        assert!(expected.records.len() > 2);
        assert_eq!(expected.told, again.told);
        for (k, record) in &expected.records {
            assert_eq!(record.beats, again.records[k].beats);
            assert_eq!(record.steps, again.records[k].steps);
            for beat in record.beats.keys() {
                let hole = record.gaps.range(..=beat).next_back();
                assert!(hole.is_none_or(|(_, end)| end <= beat));
            }
        }
        assert!(
            expected
                .records
                .values()
                .any(|record| !record.gaps.is_empty())
        );
        // What comes of the first packets is the beginning of what comes of all.
        let some = Expected::new(&course, 100, &[], &settings());
        let last = *some.records.keys().next_back().unwrap();
        for (k, record) in some.records.iter().filter(|(k, _)| **k < last) {
            assert_eq!(record.beats, expected.records[k].beats);
        }
    }

    #[test]
    fn a_silence_in_the_middle_costs_what_cold_filters_cost() {
        let course = course("normal", 60, Bad::default());
        let whole = all(&course);
        let broken = Expected::new(&course, 60, &[30], &settings());
        let beats = |expected: &Expected| expected.records[&0].beats.len();
        assert!(beats(&broken) <= beats(&whole) && beats(&broken) + 8 > beats(&whole));
        assert_ne!(broken.records[&0].beats, whole.records[&0].beats);
    }
}
