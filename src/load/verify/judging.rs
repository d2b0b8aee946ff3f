//! One device against one possibility of what happened to it.

use std::collections::{BTreeMap, BTreeSet};

use ecg::{AlarmEvent, AlarmId, AlarmState, BootId, Condition, RecordId, SampleIndex, Trend, Utc};
use store::{Message, MessageKind};

use super::account::Account;
use super::{Accusation, Fault, Judged, SLACK_SECONDS};
use crate::config::Config;
use crate::load::expect::{Expected, Record, State, Step, is_judged};
use crate::load::link::Course;
use crate::load::publish::DeviceLog;
use crate::load::truth::happened;

/// How far the stored time of a beat may be from the device's clock, seconds: beyond that the clock would have jumped.
const UTC_SECONDS: f64 = 1.0;

/// One device against one possibility.
pub(super) struct Judging<'a> {
    pub(super) log: &'a DeviceLog,
    pub(super) course: &'a Course,
    pub(super) account: &'a Account,
    pub(super) config: &'a Config,
    pub(super) began: Utc,
    pub(super) judged: Judged,
}

impl Judging<'_> {
    fn accuse(
        &mut self,
        fault: Fault,
        what: &'static str,
        boot: Option<BootId>,
        at: impl Into<Option<u64>>,
        detail: impl Into<String>,
    ) {
        self.judged.accusations.push(Accusation {
            fault,
            what,
            device: self.log.device.clone(),
            boot,
            at: at.into(),
            detail: detail.into(),
        });
    }

    fn checked(&mut self, what: &'static str, n: usize) {
        *self.judged.checked.entry(what).or_default() += n as u64;
    }

    pub(super) fn judge(&mut self, expected: &Expected) {
        let ours: BTreeMap<BootId, u16> = (0..self.course.n_boots)
            .map(|k| (self.log.player.boot(k), k))
            .collect();
        if self.log.refused > 0 {
            let refused = format!("the broker refused {} of its packets", self.log.refused);
            self.accuse(Fault::Missing, "packet", None, None, refused);
        }
        for row in &self.account.records {
            let boot = row.record.boot;
            let known = ours
                .get(&boot)
                .is_some_and(|k| expected.records.contains_key(k));
            // Those of earlier plays are none of ours.
            if !known && row.started >= self.began {
                self.accuse(Fault::Unexpected, "record", Some(boot), None, "never sent");
            }
        }
        for (&boot, k) in &ours {
            match expected.records.get(k) {
                Some(record) => self.record(boot, record),
                None => self.record(boot, &Record::default()),
            }
        }
        let offline = self.events(|event| event.condition == Condition::DeviceOffline);
        let raised = offline
            .iter()
            .filter(|e| e.state == AlarmState::Active)
            .count();
        let most = self.log.disconnects as usize + 1;
        if raised > most {
            let detail = format!("raised {raised} times, where the connection ended {most} times");
            self.accuse(Fault::Unexpected, "device_offline", None, None, detail);
        }
    }

    fn events(&self, such: impl Fn(&AlarmEvent) -> bool) -> Vec<AlarmEvent> {
        let ours = |event: &&AlarmEvent| {
            let boot = event.record.boot;
            self.log
                .player
                .boot_number(boot, self.course.n_boots)
                .is_some()
                && such(event)
        };
        self.account.events.iter().filter(ours).cloned().collect()
    }

    fn record(&mut self, boot: BootId, expected: &Record) {
        let row = self
            .account
            .records
            .iter()
            .find(|row| row.record.boot == boot);
        let is_expected = expected.end > 0;
        let ended = row.is_some_and(|row| row.ended);
        match row {
            None if is_expected => self.accuse(Fault::Missing, "record", Some(boot), None, ""),
            Some(row) if is_expected => {
                let until = row.durable_until.0;
                if !row.ended {
                    let detail = format!("not closed, durable until {until} of {}", expected.end);
                    self.accuse(Fault::Missing, "end of record", Some(boot), until, detail);
                } else if until != expected.end {
                    let detail =
                        format!("durable until {until}, where {} is the end", expected.end);
                    self.accuse(Fault::Different, "end of record", Some(boot), until, detail);
                }
            }
            _ => {}
        }
        self.checked("record", usize::from(is_expected));
        self.beats(boot, expected);
        self.gaps(boot, expected);
        self.trends(boot, expected);
        self.steps(boot, expected);
        self.held_back(boot, expected);
        self.findings(boot, expected, ended);
        self.alarms(boot, expected, ended);
    }

    fn beats(&mut self, boot: BootId, expected: &Record) {
        let account = self.account;
        let mut stored = BTreeMap::new();
        for (record, beat, utc) in &account.beats {
            if record.boot == boot {
                stored.insert(beat.r_peak.0, (beat.class, *utc));
            }
        }
        self.checked("beat", expected.beats.len());
        for (&at, &(class, after)) in &expected.beats {
            let Some((found, utc)) = stored.remove(&at) else {
                self.accuse(Fault::Missing, "beat", Some(boot), at, "");
                continue;
            };
            if found != class {
                let letter =
                    |class: Option<ecg::BeatClass>| class.map_or('-', ecg::BeatClass::letter);
                let detail = format!("of class {}, where it is {}", letter(found), letter(class));
                self.accuse(Fault::Different, "class of beat", Some(boot), at, detail);
            }
            let off = (utc.0 - self.log.player.start.0 - after) as f64 * 1e-6;
            if off.abs() > UTC_SECONDS {
                let detail = format!("{off:.3} s from where it is by the device's clock");
                self.accuse(Fault::Different, "time of beat", Some(boot), at, detail);
            }
        }
        for at in stored.into_keys() {
            self.accuse(Fault::Unexpected, "beat", Some(boot), at, "");
        }
    }

    fn gaps(&mut self, boot: BootId, expected: &Record) {
        let account = self.account;
        let of = account.gaps.iter().filter(|(of, _)| *of == boot);
        let mut stored: BTreeMap<u64, u64> = of.map(|(_, gap)| (gap.start.0, gap.end.0)).collect();
        self.checked("gap", expected.gaps.len());
        for (&start, &end) in &expected.gaps {
            match stored.remove(&start) {
                None => {
                    let detail = format!("to {end}");
                    self.accuse(Fault::Missing, "gap", Some(boot), start, detail);
                }
                Some(found) if found != end => {
                    let detail = format!("to {found}, where {end} is its end");
                    self.accuse(Fault::Different, "gap", Some(boot), start, detail);
                }
                Some(_) => {}
            }
        }
        for (start, end) in stored {
            let detail = format!("to {end}");
            self.accuse(Fault::Unexpected, "gap", Some(boot), start, detail);
        }
    }

    fn trends(&mut self, boot: BootId, expected: &Record) {
        let account = self.account;
        let of = account
            .trends
            .iter()
            .filter(|trend| trend.record.boot == boot);
        let mut stored: BTreeMap<u64, &Trend> = of.map(|trend| (trend.minute, trend)).collect();
        self.checked("minute", expected.trends.len());
        for (&minute, trend) in &expected.trends {
            match stored.remove(&minute) {
                None => self.accuse(
                    Fault::Missing,
                    "minute",
                    Some(boot),
                    None,
                    minute.to_string(),
                ),
                Some(found) => {
                    if let Some(detail) = difference(found, trend) {
                        let detail = format!("{minute}: {detail}");
                        self.accuse(Fault::Different, "minute", Some(boot), None, detail);
                    }
                }
            }
        }
        for minute in stored.into_keys() {
            self.accuse(
                Fault::Unexpected,
                "minute",
                Some(boot),
                None,
                minute.to_string(),
            );
        }
    }

    /// Steps of the alarms that the device core judges, and their strips.
    fn steps(&mut self, boot: BootId, expected: &Record) {
        let account = self.account;
        let of = |event: &&AlarmEvent| event.record.boot == boot;
        // Whoever answers an alarm changes how it goes on.
        let by_people: BTreeSet<AlarmId> = account
            .events
            .iter()
            .filter(|event| event.by.is_some())
            .map(|event| event.alarm)
            .collect();
        let mut stored: BTreeSet<Step> = BTreeSet::new();
        let record = self.record_id(boot);
        for event in account.events.iter().filter(of) {
            let own = AlarmId::new(&record, event.condition, event.onset);
            if own != event.alarm {
                let detail = format!("{} {}, under a foreign id", event.condition, event.state);
                self.accuse(
                    Fault::Unexpected,
                    "alarm step",
                    Some(boot),
                    event.at.0,
                    detail,
                );
                continue;
            }
            let is_ours = is_judged(event.condition)
                && (event.state == AlarmState::Active || !by_people.contains(&event.alarm));
            if is_ours {
                stored.insert(Step::from(event));
            }
        }
        let id = |condition, onset| AlarmId::new(&record, condition, SampleIndex(onset));
        let expected_steps = expected.steps.iter().copied().filter(|step| {
            step.state == State::Active || !by_people.contains(&id(step.condition, step.onset))
        });
        let expected_steps: BTreeSet<Step> = expected_steps.collect();
        self.checked("alarm step", expected_steps.len());
        for step in expected_steps.difference(&stored) {
            self.accuse(
                Fault::Missing,
                "alarm step",
                Some(boot),
                step.at,
                said(step),
            );
        }
        for step in stored.difference(&expected_steps) {
            self.accuse(
                Fault::Unexpected,
                "alarm step",
                Some(boot),
                step.at,
                said(step),
            );
        }
        self.checked("strip", expected.strips.len());
        for &(condition, onset, at_end) in &expected.strips {
            let alarm = id(condition, onset);
            let (alarm, which) = if at_end {
                (alarm.at_end(), "end")
            } else {
                (alarm, "onset")
            };
            if !account.strips.contains(&alarm) {
                let detail = format!("of the {which} of {condition}");
                self.accuse(Fault::Missing, "strip", Some(boot), onset, detail);
            }
        }
    }

    fn held_back(&mut self, boot: BootId, expected: &Record) {
        let account = self.account;
        let of = account
            .held_back
            .iter()
            .filter(|held| held.record.boot == boot);
        let stored: BTreeSet<(Condition, u64, u64)> = of
            .map(|held| (held.condition, held.onset.0, held.at.0))
            .collect();
        self.checked("held back", expected.held_back.len());
        for (condition, onset, at) in expected.held_back.difference(&stored) {
            let detail = format!("{condition} since {onset}");
            self.accuse(Fault::Missing, "held back", Some(boot), *at, detail);
        }
        for (condition, onset, at) in stored.difference(&expected.held_back) {
            let detail = format!("{condition} since {onset}");
            self.accuse(Fault::Unexpected, "held back", Some(boot), *at, detail);
        }
    }

    fn findings(&mut self, boot: BootId, expected: &Record, ended: bool) {
        let account = self.account;
        let ends: BTreeSet<u64> = expected.windows.values().copied().collect();
        let mut n = 0;
        for row in account
            .findings
            .iter()
            .filter(|row| row.record.boot == boot)
        {
            n += 1;
            let (start, end) = (row.onset.0, row.end.0);
            // What a model says of a rhythm is of stretches that begin and end between windows.
            let is_window = expected.windows.contains_key(&start) && ends.contains(&end);
            let is_stretch = row.model.is_some() && start < end && end <= expected.end;
            if !(is_window || is_stretch) {
                let detail = format!("{} by {} to {end}, not of windows", row.name, row.source);
                self.accuse(Fault::Unexpected, "finding", Some(boot), start, detail);
            }
            if ended && !row.ended {
                let detail = format!("{} by {} goes on", row.name, row.source);
                self.accuse(Fault::Missing, "end of finding", Some(boot), start, detail);
            }
        }
        self.checked("finding", n);
    }

    /// Alarms as they stand, and the rules for those that the twin cannot know.
    fn alarms(&mut self, boot: BootId, expected: &Record, ended: bool) {
        use Condition::{ClockJump, DeviceOffline, LowBattery, NoData};
        let account = self.account;
        let mut last: BTreeMap<AlarmId, State> = BTreeMap::new();
        for event in account
            .events
            .iter()
            .filter(|event| event.record.boot == boot)
        {
            let state = State::from(event.state);
            last.entry(event.alarm)
                .and_modify(|known| *known = state.max(*known))
                .or_insert(state);
        }
        let mut n = 0;
        for row in account.alarms.iter().filter(|row| row.record.boot == boot) {
            n += 1;
            let (condition, onset) = (row.condition, row.onset.0);
            let stands = State::from(row.state);
            if last.get(&row.alarm) != Some(&stands) {
                let detail = format!("{condition} stands as {}, not as its last step", row.state);
                self.accuse(Fault::Different, "alarm", Some(boot), onset, detail);
            }
            if is_judged(condition) {
                continue;
            }
            let over = matches!(stands, State::Latched | State::Cleared);
            let outlives = matches!(condition, NoData | DeviceOffline | LowBattery);
            if ended && !over && !outlives {
                let detail = format!("{condition} is {} after the end of its record", row.state);
                self.accuse(Fault::Missing, "end of alarm", Some(boot), onset, detail);
            }
            if onset > expected.end {
                let detail = format!("{condition} after the end of its record");
                self.accuse(Fault::Unexpected, "alarm", Some(boot), onset, detail);
            }
            match condition {
                ClockJump | LowBattery => {
                    let detail = format!("{condition}: {}", row.evidence);
                    self.accuse(Fault::Unexpected, "alarm", Some(boot), onset, detail);
                }
                NoData if !self.was_silent(row.raised) => {
                    let detail = "no data, though data were sent";
                    self.accuse(Fault::Unexpected, "alarm", Some(boot), onset, detail);
                }
                _ => {}
            }
        }
        self.checked("alarm", n);
    }

    /// Whether the device had been silent for long enough at an instant.
    fn was_silent(&self, at: Utc) -> bool {
        let allowed = self.config.alarm.no_data.as_secs_f64() - SLACK_SECONDS.0;
        let (from, to) = (self.log.ended.plus_seconds(allowed), Utc(i64::MAX));
        let silences = self.log.silences.iter().map(|silence| {
            (
                silence.from.plus_seconds(allowed),
                silence.to.plus_seconds(SLACK_SECONDS.1),
            )
        });
        silences
            .chain([(from, to)])
            .any(|(from, to)| at >= from && at <= to)
    }

    pub(super) fn messages(&mut self, messages: &[Message]) {
        let mut by_id: BTreeMap<uuid::Uuid, usize> = BTreeMap::new();
        let mut told: BTreeMap<(AlarmId, &'static str, u32), usize> = BTreeMap::new();
        for message in messages {
            *by_id.entry(message.id).or_default() += 1;
            let key = (message.alarm, message.kind.name(), message.level);
            *told.entry(key).or_default() += 1;
        }
        let events = self.events(|_| true);
        self.checked("message", events.len());
        for event in &events {
            if by_id.remove(&event.id()).is_none() {
                self.judged.untold.push(event.clone());
            }
        }
        for message in messages {
            let boot = message.record.boot;
            let ours = self.log.player.boot_number(boot, self.course.n_boots);
            let causeless =
                message.kind != MessageKind::Escalated && by_id.contains_key(&message.id);
            if ours.is_some() && causeless {
                let detail = format!("{} {}", message.condition, message.kind.name());
                let at = message.onset.0;
                self.accuse(Fault::Unexpected, "message", Some(boot), at, detail);
            }
        }
        for ((alarm, kind, level), n) in told.into_iter().filter(|(_, n)| *n > 1) {
            let detail = format!("{kind} {level} of alarm {alarm}, {n} times");
            self.accuse(Fault::Twice, "message", None, None, detail);
        }
    }

    /// What must have alarmed by the truth of the simulator. No accusation: where the twin alarmed, that is one already.
    pub(super) fn truth(&mut self, n: usize, expected: &Expected) {
        for happened in happened(self.course, n, expected) {
            let boot = self.log.player.boot(happened.boot);
            let alarmed = self.account.events.iter().any(|event| {
                event.record.boot == boot
                    && event.state == AlarmState::Active
                    && happened.any_of.contains(&event.condition)
                    && happened.span.contains(&event.at.0)
            });
            let truth = self.judged.truth.entry(happened.what).or_default();
            truth.happened += 1;
            truth.alarmed += u64::from(alarmed);
            truth.not_by_twin += u64::from(!happened.by_twin);
        }
    }

    fn record_id(&self, boot: BootId) -> RecordId {
        RecordId {
            device: self.log.device.clone(),
            boot,
        }
    }
}

/// A step in words.
fn said(step: &Step) -> String {
    let Step {
        condition,
        onset,
        state,
        priority,
        ..
    } = step;
    let state = match state {
        State::Active => "active",
        State::Acknowledged => "acknowledged",
        State::Latched => "latched",
        State::Cleared => "cleared",
    };
    format!("{condition} since {onset} {state}, {priority} priority")
}

/// How two minutes differ, if they do.
fn difference(found: &Trend, expected: &Trend) -> Option<String> {
    let numbers = |trend: &Trend| {
        [
            ("beats", f64::from(trend.n_beats)),
            ("pulses", f64::from(trend.n_pulses)),
            ("rates", f64::from(trend.n_rates)),
            ("sum of rates", trend.rate_sum),
            ("lowest rate", f64::from(trend.rate_min)),
            ("highest rate", f64::from(trend.rate_max)),
            ("usable seconds", f64::from(trend.usable_seconds)),
            ("unusable seconds", f64::from(trend.unusable_seconds)),
            ("samples of gaps", trend.gap_samples as f64),
        ]
    };
    let different = |((what, found), (_, expected)): ((&str, f64), (&str, f64))| {
        let same = found.total_cmp(&expected).is_eq()
            || (found - expected).abs() <= 1e-6 * expected.abs().max(1.0);
        (!same).then(|| format!("{found} {what}, where there are {expected}"))
    };
    let all = numbers(found).into_iter().zip(numbers(expected));
    let all: Vec<String> = all.filter_map(different).collect();
    (!all.is_empty()).then(|| all.join("; "))
}
