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

use ecg::{AlarmEvent, BootId, DeviceId};
use futures::{StreamExt as _, TryStreamExt as _};
use store::Store;

mod account;
mod judging;
mod witness;

use account::{Account, Messages};
use judging::Judging;
pub use witness::Witness;

use super::Ear;
use super::expect::Expected;
use super::link::Course;
use super::publish::{DeviceLog, Run};
use crate::config::Config;

/// Accusations that are kept; all are counted.
const MAX_KEPT: usize = 200_000;
/// Possibilities that are tried for a device.
const MAX_VARIANTS: usize = 48;
/// Devices that are read at once.
const AT_ONCE: usize = 4;
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
