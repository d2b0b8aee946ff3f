//! The oracle: what must be in the database against what is.
//!
//! **Everything that is compared can fail**; what cannot be known exactly is held against a rule:
//!
//! | | must |
//! |---|---|
//! | beats, gaps, minutes, what was held back, steps of the alarms that the device core judges, their strips | be those of the twin, no more and no less |
//! | records | be there, be closed, and be durable up to where the twin ends |
//! | steps of other alarms | have the id of what they say, lie in their record, and be over where the record is |
//! | no data | be raised only while the device was silent, or after its end |
//! | device offline | be raised no more often than the connection broke or was closed |
//! | clock jump, low battery | never be raised |
//! | findings | begin and end with windows of the twin, those of models at least within the record, and be over where the record is |
//! | alarms | stand where their last step says |
//! | messages in the outbox | be one for each step |
//! | windows of watched devices | be read or left out, each told of once |
//! | what is retained on MQTT | be the open alarms |
//! | what the API lists of watched devices | be what is stored |
//!
//! Where nothing is certain, every possibility is tried, and the one that accuses least counts: packets that the broker did
//! not acknowledge may have arrived or not; a device that could not publish for as long as the service waits may have had
//! its record closed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use ecg::{
    AlarmEvent, AlarmId, AlarmState, BootId, Condition, DeviceId, RecordId, SampleIndex, Trend, Utc,
};
use futures::{StreamExt as _, TryStreamExt as _};
use store::{Message, MessageKind, Store};

mod account;
mod witness;

use account::{Account, Messages};
pub use witness::Witness;

use super::Ear;
use super::expect::{Expected, Record, State, Step, is_judged};
use super::link::Course;
use super::publish::{DeviceLog, Run};
use super::truth::happened;
use crate::config::Config;

/// Accusations that are kept; all are counted.
const MAX_KEPT: usize = 200_000;
/// Possibilities that are tried for a device.
const MAX_VARIANTS: usize = 48;
/// Devices that are read at once.
const AT_ONCE: usize = 4;
/// How far the stored time of a beat may be from the device's clock, seconds: beyond that the clock would have jumped.
const UTC_SECONDS: f64 = 1.0;
/// How much sooner than its time a silence may have been noticed, seconds, and how much later it may have ended for the
/// service, which reconnects too.
const SLACK_SECONDS: (f64, f64) = (2.5, 90.0);

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// An obligation is unmet.
    Missing,
    /// An effect is without cause.
    Unexpected,
    /// An effect is not as it must be.
    Different,
    /// An effect is there twice.
    Twice,
}

impl Fault {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Unexpected => "unexpected",
            Self::Different => "different",
            Self::Twice => "twice",
        }
    }
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq)]
pub struct Accusation {
    /// What is wrong.
    pub fault: Fault,
    /// With what: `beat`, `gap`, `alarm step` and so on.
    pub what: &'static str,
    /// Whose it is.
    pub device: DeviceId,
    /// Of which record.
    pub boot: Option<BootId>,
    /// At which sample.
    pub at: Option<u64>,
    /// In words.
    pub detail: String,
}

impl fmt::Display for Accusation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.fault.name(), self.what, self.device)?;
        if let Some(boot) = self.boot {
            write!(f, " boot {}", boot.0)?;
        }
        if let Some(at) = self.at {
            write!(f, " at {at}")?;
        }
        if self.detail.is_empty() {
            return Ok(());
        }
        write!(f, ", {}", self.detail)
    }
}

/// What the oracle says.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// What is not as it must be, device by device; [`Verdict::n_accusations`] counts those beyond the bound too.
    pub accusations: Vec<Accusation>,
    /// How many there are.
    pub n_accusations: u64,
    /// How many obligations were looked at, by kind.
    pub checked: BTreeMap<&'static str, u64>,
    /// Devices that were looked at.
    pub devices: usize,
    /// Devices for which more than one thing could have happened.
    pub uncertain: usize,
    /// What the service still had to do when it was judged, as far as [`settle`](crate::load::settle()) could tell.
    pub left: Option<String>,
    /// What must alarm by the truth of the simulator, by kind.
    pub truth: BTreeMap<&'static str, Truth>,
}

/// How often something happened that must alarm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Truth {
    /// How often it happened.
    pub happened: u64,
    /// How often there is an alarm of it in the database.
    pub alarmed: u64,
    /// How often the twin did not alarm either: a limit of the algorithms, not a loss.
    pub not_by_twin: u64,
}

impl Verdict {
    /// Whether every obligation is met and no effect is without cause.
    pub fn is_clean(&self) -> bool {
        self.n_accusations == 0 && self.devices > 0
    }

    /// How many accusations there are of each fault and kind.
    pub fn summary(&self) -> BTreeMap<(Fault, &'static str), u64> {
        let mut summary = BTreeMap::new();
        for accusation in &self.accusations {
            *summary
                .entry((accusation.fault, accusation.what))
                .or_default() += 1;
        }
        summary
    }

    fn accuse(&mut self, accusations: Vec<Accusation>) {
        self.n_accusations += accusations.len() as u64;
        let room = MAX_KEPT.saturating_sub(self.accusations.len());
        self.accusations.extend(accusations.into_iter().take(room));
    }
}

/// Holds what is stored, and what `witness` can tell, against what was published. `config` holds the service's settings.
///
/// # Errors
/// What the database says.
pub async fn verify(
    store: &Store,
    run: &Run,
    config: &Config,
    witness: Witness<'_>,
) -> Result<Verdict, store::Error> {
    let twins = Arc::new(Twins::new(run, config));
    let mut verdict = Verdict::default();
    // First, so that each of them must have its step; those of steps that come meanwhile are read at the end.
    let messages = Messages::read(store, run, i64::MIN).await?;
    let mut unheard = Vec::new();
    {
        let judged = futures::stream::iter(&run.devices).map(async |log| {
            let account = Account::read(store, &log.device).await?;
            let judged = twins.judge(log, &account, &messages, witness.ear).await;
            Ok::<_, store::Error>(judged)
        });
        let mut judged = judged.buffered(AT_ONCE);
        while let Some(Judged {
            accusations,
            checked,
            n_variants,
            untold,
            truth,
        }) = judged.try_next().await?
        {
            unheard.extend(untold);
            for (what, of) in truth {
                let sum: &mut Truth = verdict.truth.entry(what).or_default();
                sum.happened += of.happened;
                sum.alarmed += of.alarmed;
                sum.not_by_twin += of.not_by_twin;
            }
            verdict.devices += 1;
            verdict.uncertain += usize::from(n_variants > 1);
            for (what, n) in checked {
                *verdict.checked.entry(what).or_default() += n;
            }
            verdict.accuse(accusations);
        }
    }
    if !unheard.is_empty() {
        let later = Messages::read(store, run, messages.last).await?;
        unheard.retain(|event| !later.tells(event));
        verdict.accuse(unheard.iter().map(without_message).collect());
    }
    if let Some(ear) = witness.ear.filter(|_| config.delivery.mqtt) {
        let devices = run.devices.iter().map(|log| &log.device);
        verdict.accuse(witness::retained(store, devices, ear).await?);
        verdict
            .checked
            .insert("device on MQTT", run.devices.len() as u64);
    }
    if let Some(api) = witness.api {
        for log in run.devices.iter().filter(|log| !log.due.is_empty()) {
            let (n, accusations) = witness::shown(store, &log.device, api).await?;
            *verdict.checked.entry("alarm in the API").or_default() += n;
            verdict.accuse(accusations);
        }
    }
    let strangers = strangers(store, run).await?;
    verdict.accuse(strangers);
    Ok(verdict)
}

fn without_message(event: &AlarmEvent) -> Accusation {
    Accusation {
        fault: Fault::Missing,
        what: "message",
        device: event.record.device.clone(),
        boot: Some(event.record.boot),
        at: Some(event.at.0),
        detail: format!("{} {}", event.condition, event.state),
    }
}

/// Devices of this play's names that were heard of and did not play.
async fn strangers(store: &Store, run: &Run) -> Result<Vec<Accusation>, store::Error> {
    let known: BTreeSet<&DeviceId> = run.devices.iter().map(|log| &log.device).collect();
    let prefix = format!("{}-", run.plan.prefix);
    let devices = store.devices().await?.into_iter();
    let strange = devices.filter(|row| {
        row.device.as_str().starts_with(&prefix)
            && !known.contains(&row.device)
            && row.last_seen.is_some_and(|seen| seen >= run.began)
    });
    let accuse = |row: store::DeviceRow| Accusation {
        fault: Fault::Unexpected,
        what: "device",
        device: row.device,
        boot: None,
        at: None,
        detail: "heard of, though nothing was published as it".to_owned(),
    };
    Ok(strange.map(accuse).collect())
}

/// A device, judged.
#[derive(Debug, Default)]
struct Judged {
    accusations: Vec<Accusation>,
    checked: BTreeMap<&'static str, u64>,
    n_variants: usize,
    /// Steps without a message so far.
    untold: Vec<AlarmEvent>,
    truth: BTreeMap<&'static str, Truth>,
}

/// What could have happened: packets, and after which of them the record was closed for silence.
type Variant = (usize, Vec<usize>);

/// The twins of a play, each run once.
struct Twins<'a> {
    run: &'a Run,
    config: Arc<Config>,
    known: std::sync::Mutex<HashMap<(usize, Variant), Arc<Expected>>>,
}

impl<'a> Twins<'a> {
    fn new(run: &'a Run, config: &Config) -> Self {
        Self {
            run,
            config: Arc::new(config.clone()),
            known: std::sync::Mutex::default(),
        }
    }

    async fn expected(&self, course: usize, variant: &Variant) -> Arc<Expected> {
        let key = (course, variant.clone());
        let locked = || {
            self.known
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        if let Some(known) = locked().get(&key) {
            return Arc::clone(known);
        }
        let of: Arc<Course> = Arc::clone(&self.run.courses[course]);
        let (config, (n, silent)) = (Arc::clone(&self.config), variant.clone());
        let twin = move || Expected::new(&of, n, &silent, &config);
        let expected = tokio::task::spawn_blocking(twin).await.unwrap_or_default();
        let expected = Arc::new(expected);
        locked().insert(key, Arc::clone(&expected));
        expected
    }

    /// What could have happened to a device, the likeliest first.
    fn variants(&self, log: &DeviceLog) -> Vec<Variant> {
        let long = self.config.pipeline.silence.as_secs_f64() - SLACK_SECONDS.0;
        let mut silent: Vec<Vec<usize>> = vec![Vec::new()];
        for silence in log.silences.iter().filter(|s| s.seconds() >= long) {
            // The last packets before it may have come after it.
            for back in 0..3 {
                let mut more = silent.clone();
                for variant in &mut more {
                    variant.push(silence.after.saturating_sub(back));
                }
                silent.extend(more);
                silent.truncate(MAX_VARIANTS);
            }
        }
        let published = (log.acked..=log.published).rev();
        let variants = published.flat_map(|n| silent.iter().map(move |silent| (n, silent.clone())));
        variants.take(MAX_VARIANTS).collect()
    }

    async fn judge(
        &self,
        log: &DeviceLog,
        account: &Account,
        messages: &Messages,
        ear: Option<&Ear>,
    ) -> Judged {
        let variants = self.variants(log);
        let n_variants = variants.len();
        let mut best: Option<Judged> = None;
        for variant in variants {
            let expected = self.expected(log.course, &variant).await;
            let course = &self.run.courses[log.course];
            let mut judging = Judging {
                log,
                course,
                account,
                config: &self.config,
                began: self.run.began,
                judged: Judged::default(),
            };
            judging.judge(&expected);
            judging.messages(messages.of.get(&log.device).map_or(&[][..], |of| of));
            judging.truth(variant.0, &expected);
            let ear = ear.filter(|ear| !log.due.is_empty() && ear.missed_nothing());
            if let Some(ear) = ear {
                let (n, accusations) = witness::readings(log, &expected, ear);
                judging.judged.checked.insert("reading", n);
                judging.judged.accusations.extend(accusations);
            }
            let judged = judging.judged;
            let is_better = |best: &Judged| judged.accusations.len() < best.accusations.len();
            if best.as_ref().is_none_or(is_better) {
                best = Some(judged);
            }
            if best
                .as_ref()
                .is_some_and(|best| best.accusations.is_empty())
            {
                break;
            }
        }
        let mut judged = best.unwrap_or_default();
        judged.n_variants = n_variants;
        judged
    }
}

/// One device against one possibility.
struct Judging<'a> {
    log: &'a DeviceLog,
    course: &'a Course,
    account: &'a Account,
    config: &'a Config,
    began: Utc,
    judged: Judged,
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

    fn judge(&mut self, expected: &Expected) {
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

    fn messages(&mut self, messages: &[Message]) {
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
    fn truth(&mut self, n: usize, expected: &Expected) {
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
