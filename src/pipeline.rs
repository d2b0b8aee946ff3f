//! Every channel and task of the service, in the order of a sample's way. Read this first.
//!
//! | channel | from -> to | bound | when full |
//! |---|---|---|---|
//! | deliveries | MQTT client -> route | 1,024 packets | the client parks packets and withholds acks; the broker holds the rest |
//! | shard inbox | route -> shard | 256 packets a shard | route waits |
//! | model mailbox | shard -> inference threads | one live window a device | one that waited is read without its twelve leads; newest wins, the displaced one is counted; strips of alarms are never shed |
//! | answers | inference threads -> shard | what is in the mailboxes | cannot be |
//! | commits | shards -> persist | 1,024 commits | the shard waits |
//! | committed | persist -> shard | as many as a shard may have out | cannot be |
//! | commands | API -> shard | 64 | the request waits |
//! | live bus | shards, persist -> subscribers | 4,096 events | slow subscribers miss events and are told how many |
//! | outgoing | persist, escalate, API -> deliver, announce | the word that there is news | news is news; the database has the rest |
//!
//! Behind persist, and never in its way: `deliver` takes messages from the database to webhooks, `escalate` writes those
//! that nobody's silence makes, `announce` keeps open alarms on MQTT, over a connection of its own, `retain` removes what is
//! old.
//!
//! Nothing goes upstream but acks. Beats and alarms do not pass the models.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ecg::{AlarmId, DeviceId, SampleRate};
use infer::surrogate::{Beats, SurrogateModel};
use infer::{Library, Pool, PoolConfig, Reader, Reconstructor, When};
use ingest::mqtt::Retainer;
use store::Store;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::delivery::Outgoing;
use crate::health::{Health, Stage};
use crate::live::{DeviceStatus, LatestSynthetic, LatestTwelve, LiveBus, Undrawn};
use crate::metrics::Metrics;
use crate::stage::analyse::{COMMITS_OUT, Calibrations, Command, Inbox, Shard, Shared, Wearer};
use crate::stage::announce::Announce;
use crate::stage::deliver::Deliver;
use crate::stage::escalate::Escalate;
use crate::stage::persist::{Commit, Persist};
use crate::stage::retain::Retain;
use crate::stage::route::{self, Backlog};
use crate::usual::Baselines;
use crate::wall;

const DELIVERIES: usize = 1024;
const SHARD_INBOX: usize = 256;
const COMMITS: usize = 1024;
const COMMANDS: usize = 64;

/// The running pipeline.
pub struct Pipeline {
    /// Questions and orders to the shards.
    pub handle: Handle,
    /// Whether the broker can be reached, and why not.
    pub broker: Arc<ingest::mqtt::Monitor>,
    /// Why the database cannot be written, if it cannot.
    pub database: watch::Receiver<Option<String>>,
    /// Whether every stage gets on.
    pub health: Arc<Health>,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
    mqtt: JoinHandle<Result<(), ingest::Error>>,
    give_up: CancellationToken,
}

/// What the database knows at start.
#[derive(Default)]
pub struct Known {
    /// What a restart carries on.
    pub resume: Vec<store::Resume>,
    /// Every device and who wears it.
    pub devices: Vec<store::DeviceRow>,
    /// The corrections of the model in force, by patient.
    pub calibrations: Calibrations,
    /// What is usual for patients, by patient.
    pub baselines: Baselines,
    /// Whose messages are paused.
    pub pauses: Vec<store::Pause>,
}

/// What cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model that cannot be used.
    #[error(transparent)]
    Models(#[from] infer::Error),
    /// Windows that the models do not take.
    #[error("{0}")]
    Window(String),
    /// Synthetic traces are switched on, and none of the models draws them.
    #[error("infer.surrogate is on, and no model draws synthetic traces")]
    Surrogate,
    /// MQTT settings that cannot be used.
    #[error(transparent)]
    Ingest(#[from] ingest::Error),
}

/// The models that the settings ask for.
///
/// # Errors
/// A folder or model that cannot be used.
pub fn library(config: &crate::config::Infer) -> Result<Library, infer::Error> {
    if config.models.as_os_str().is_empty() {
        Library::shipped()
    } else {
        Library::load(&config.models)
    }
}

/// What completes leads with the models that the settings ask for.
///
/// # Errors
/// A folder or model that cannot be used.
pub fn reconstructor(config: &crate::config::Infer) -> Result<Reconstructor, infer::Error> {
    library(config).map(Reconstructor::new)
}

/// What reads windows, after a check that the chain cuts those that the models take.
///
/// # Errors
/// Models that cannot be used, and windows that they do not take.
pub fn reader(config: &Config) -> Result<Reader, Error> {
    let reader = Reader::new(library(&config.infer)?, config.infer.limits.clone())?;
    let window = &config.dsp.window;
    if let Some(shape) = reader.reconstructor().window() {
        let cut = SampleRate::new(window.rate_hz)
            .ok()
            .map(|rate| (rate, rate.count(window.seconds).0));
        if cut != Some((shape.rate, shape.n_samples as u64)) {
            return Err(Error::Window(format!(
                "dsp.window is {} s at {} Hz, where the models take {} samples at {}",
                window.seconds, window.rate_hz, shape.n_samples, shape.rate
            )));
        }
    }
    Ok(reader)
}

/// What draws synthetic traces, where the settings want them.
fn surrogate(
    config: &crate::config::Infer,
    library: &Library,
) -> Result<Option<Arc<SurrogateModel>>, Error> {
    if !config.surrogate {
        return Ok(None);
    }
    let model = library.surrogate().ok_or(Error::Surrogate)?;
    Ok(Some(Arc::clone(model)))
}

/// `n`, or the number of cores for 0.
fn or_cores(n: usize) -> usize {
    match n {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        n => n,
    }
}

/// Who wears what, by shard.
fn wearers(
    devices: Vec<store::DeviceRow>,
    calibrations: &Calibrations,
    baselines: &Baselines,
    config: &alarm::Config,
    n_shards: usize,
) -> Vec<HashMap<DeviceId, Wearer>> {
    let mut wearers_of = vec![HashMap::new(); n_shards];
    for row in devices {
        let Some(patient) = row.patient else { continue };
        let wearer = Wearer {
            calibration: calibrations.get(patient.as_str()).cloned(),
            baseline: baselines.get(patient.as_str()).cloned(),
            patient: patient.to_string(),
            limits: crate::limits::own(row.limits, config),
        };
        wearers_of[route::shard_of(&row.device, n_shards)].insert(row.device, wearer);
    }
    wearers_of
}

impl Pipeline {
    /// Starts every task. Packets flow once the broker can be reached.
    ///
    /// # Errors
    /// Settings or models that cannot be used; nothing runs then.
    #[expect(
        clippy::too_many_lines,
        reason = "the whole wiring, in the order of a sample's way"
    )]
    pub fn start(
        config: Config,
        store: Store,
        known: Known,
        metrics: Arc<Metrics>,
        live: LiveBus,
        outgoing: Arc<Outgoing>,
        shutdown: &CancellationToken,
    ) -> Result<Self, Error> {
        let reader = Arc::new(reader(&config)?);
        let started = wall::instant();
        let pool_config = PoolConfig {
            threads: or_cores(config.infer.threads),
            late: config.infer.late,
            nice: config.infer.nice,
        };
        let clock = move || started.elapsed();
        let pool = Pool::new(&pool_config, Arc::clone(&reader), clock)?;
        let n_shards = or_cores(config.pipeline.shards);

        let Known {
            resume,
            devices,
            calibrations,
            baselines,
            pauses,
        } = known;
        for pause in pauses {
            outgoing.set_pause(&pause.device.clone(), Some(pause));
        }
        for event in resume.iter().flat_map(|resume| &resume.standing) {
            metrics
                .standing
                .with_label_values(&[event.priority.name()])
                .inc();
        }
        let mut resume_of: Vec<Vec<store::Resume>> = (0..n_shards).map(|_| Vec::new()).collect();
        for resume in resume {
            resume_of[route::shard_of(&resume.device, n_shards)].push(resume);
        }
        let wearers_of = wearers(devices, &calibrations, &baselines, &config.alarm, n_shards);

        let surrogate = surrogate(&config.infer, reader.reconstructor().library())?;
        let drain = config.service.drain;
        let mqtt_config = ingest::mqtt::Config {
            drain,
            ..config.mqtt.clone()
        };
        let persist_config = config.persist.clone();
        let retention = config.store.retention.clone();
        let delivery = Delivering {
            config: config.delivery.clone(),
            store: store.clone(),
            outgoing: Arc::clone(&outgoing),
            live: live.clone(),
            metrics: Arc::clone(&metrics),
        };
        let retainer = delivery.config.mqtt.then(|| Retainer::start(&config.mqtt));
        let retainer = retainer.transpose()?;
        let backlog = Arc::new(Backlog::default());
        let broker = Arc::new(ingest::mqtt::Monitor::default());
        let mut health = Health::default();
        let models = Stage::new("models");
        health.watch(models.clone());
        let shared = Arc::new(Shared {
            config,
            models,
            pool,
            reader: Arc::clone(&reader),
            metrics: Arc::clone(&metrics),
            live: live.clone(),
            backlog: Arc::clone(&backlog),
            broker: Arc::clone(&broker),
            shutdown: shutdown.clone(),
        });
        let mut tasks = Vec::new();

        // 1. MQTT client -> route
        let (delivered, deliveries) = mpsc::channel(DELIVERIES);
        let delivered_to_route = delivered.clone();
        let mqtt = ingest::mqtt::run(
            mqtt_config,
            delivered,
            Arc::clone(&broker),
            // Its own end, should it fail, is not the service's.
            shutdown.child_token(),
        );
        let mqtt = tokio::spawn(mqtt);

        // 2. route -> shards -> persist
        let routing = Stage::new("route");
        health.watch(routing.clone());
        health.input("deliveries", &delivered_to_route);
        drop(delivered_to_route);
        let (commits, to_commit) = mpsc::channel::<Commit>(COMMITS);
        let (mut inboxes, mut commands, mut committed) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (resume, wearers)) in resume_of.into_iter().zip(wearers_of).enumerate() {
            let (to_shard, deliveries) = mpsc::channel(SHARD_INBOX);
            let (to_command, commands_in) = mpsc::channel(COMMANDS);
            let (to_answer, committed_in) = mpsc::channel(COMMITS_OUT);
            let stage = Stage::new(format!("shard {index}"));
            health.watch(stage.clone());
            health.input(&format!("shard {index} packets"), &to_shard);
            health.input(&format!("shard {index} commands"), &to_command);
            let (commits, shared) = (commits.clone(), Arc::clone(&shared));
            let shard = Shard::new(index, shared, stage, commits, committed_in, resume, wearers);
            let inbox = Inbox {
                deliveries,
                commands: commands_in,
            };
            tasks.push(("shard", tokio::spawn(shard.run(inbox))));
            inboxes.push(to_shard);
            commands.push(to_command);
            committed.push(to_answer);
        }
        let persisting = Stage::new("persist");
        health.watch(persisting.clone());
        health.input("commits", &commits);
        drop(commits);
        let route = route::run(deliveries, inboxes, backlog, routing, shutdown.clone());
        tasks.push(("route", tokio::spawn(route)));

        // 3. persist -> database, and back to the shards, which acknowledge
        let (writable, database) = watch::channel(None);
        let give_up = CancellationToken::new();
        let persist = Persist {
            config: persist_config,
            store,
            commits: to_commit,
            committed,
            live,
            health: writable,
            stage: persisting,
            metrics,
            give_up: give_up.clone(),
            outgoing,
        };
        tasks.push(("persist", tokio::spawn(persist.run())));

        // 4. database, without what is old
        let retain = Retain {
            config: retention,
            store: delivery.store.clone(),
            metrics: Arc::clone(&delivery.metrics),
            shutdown: shutdown.clone(),
        };
        tasks.push(("retain", tokio::spawn(retain.run())));

        // 5. database -> webhooks, MQTT
        delivery.start(retainer, shutdown, &mut tasks);

        let handle = Handle {
            commands: commands.into(),
            reader,
            surrogate,
        };
        Ok(Self {
            handle,
            broker,
            database,
            health: Arc::new(health),
            tasks,
            mqtt,
            give_up,
        })
    }

    /// Waits until a task ends that should not: the name of it, and why.
    pub async fn failed(&mut self) -> String {
        let tasks = self.tasks.iter_mut().map(|(name, task)| {
            Box::pin(async move {
                match task.await {
                    Ok(()) => format!("task {name} ended"),
                    Err(error) => format!("task {name} failed: {error}"),
                }
            })
        });
        let mqtt = &mut self.mqtt;
        tokio::select! {
            (why, ..) = futures::future::select_all(tasks) => why,
            outcome = mqtt => match outcome {
                Ok(Ok(())) => "mqtt client ended".to_owned(),
                Ok(Err(error)) => format!("mqtt client failed: {error}"),
                Err(error) => format!("mqtt client failed: {error}"),
            },
        }
    }

    /// After `shutdown` was cancelled: waits until what the shards had found by then is durable and acknowledged, for
    /// half of `limit` at most, and until every task has ended, for `limit` at most. True if they all have. What was not worked
    /// or is not durable by then is left to the broker.
    pub async fn drain(self, limit: Duration) -> bool {
        let Self {
            tasks,
            mqtt,
            give_up,
            ..
        } = self;
        let all = async {
            for (name, task) in tasks {
                if let Err(error) = task.await {
                    tracing::error!(%error, name, "task failed while stopping");
                }
            }
            if let Err(error) = mqtt.await {
                tracing::error!(%error, "mqtt client failed while stopping");
            }
        };
        let mut all = std::pin::pin!(all);
        let half = limit / 2;
        if tokio::time::timeout(half, &mut all).await.is_ok() {
            return true;
        }
        // What a slow database has not taken by now is left to the broker too, so that there is time for the goodbyes.
        give_up.cancel();
        tokio::time::timeout(half, all).await.is_ok()
    }
}

/// What the stages behind persist work with.
struct Delivering {
    config: crate::delivery::Config,
    store: Store,
    outgoing: Arc<Outgoing>,
    live: LiveBus,
    metrics: Arc<Metrics>,
}

impl Delivering {
    fn start(
        self,
        retainer: Option<Retainer>,
        shutdown: &CancellationToken,
        tasks: &mut Vec<(&'static str, JoinHandle<()>)>,
    ) {
        let deliver = Deliver {
            config: self.config.clone(),
            store: self.store.clone(),
            outgoing: Arc::clone(&self.outgoing),
            metrics: Arc::clone(&self.metrics),
            shutdown: shutdown.clone(),
        };
        tasks.push(("deliver", tokio::spawn(deliver.run())));
        if let Some(retainer) = retainer {
            let announce = Announce {
                store: self.store.clone(),
                outgoing: Arc::clone(&self.outgoing),
                retainer,
                retention: self.config.retention,
                metrics: Arc::clone(&self.metrics),
                shutdown: shutdown.clone(),
            };
            tasks.push(("announce", tokio::spawn(announce.run())));
        }
        let escalate = Escalate {
            config: self.config,
            store: self.store,
            outgoing: self.outgoing,
            live: self.live,
            metrics: self.metrics,
            shutdown: shutdown.clone(),
        };
        tasks.push(("escalate", tokio::spawn(escalate.run())));
    }
}

/// The API's way to the shards. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    commands: Arc<[mpsc::Sender<Command>]>,
    reader: Arc<Reader>,
    /// What draws synthetic traces, where that is switched on.
    surrogate: Option<Arc<SurrogateModel>>,
}

impl Handle {
    /// How every device is, ordered by name; `None` if a shard does not answer in time, because the
    /// database cannot be written and everything waits for it.
    pub async fn devices(&self) -> Option<Vec<DeviceStatus>> {
        let mut all = Vec::new();
        for shard in self.commands.iter() {
            let (reply, answer) = oneshot::channel();
            all.extend(ask(shard, Command::Devices(reply), answer).await?);
        }
        all.sort_by(|a, b| a.device.cmp(&b.device));
        Some(all)
    }

    /// How many shards do not answer within `patience`.
    pub async fn unanswered(&self, patience: Duration) -> usize {
        let asked = self.commands.iter().map(|shard| async move {
            let (reply, answer) = oneshot::channel();
            let asked = ask(shard, Command::Ping(reply), answer);
            let answer = tokio::time::timeout(patience, asked).await;
            answer.ok().flatten().is_none()
        });
        let unanswered = futures::future::join_all(asked).await;
        unanswered.into_iter().filter(|is_so| *is_so).count()
    }

    /// The newest twelve leads of a device; the outer `None` as in [`Handle::devices`].
    pub async fn twelve_lead(&self, device: DeviceId) -> Option<Option<LatestTwelve>> {
        let (reply, answer) = oneshot::channel();
        let shard = self.shard(&device);
        let latest = ask(shard, Command::LatestWindow(device, reply), answer).await?;
        let Some(latest) = latest else {
            return Some(None);
        };
        let reader = Arc::clone(&self.reader);
        let completed = tokio::task::spawn_blocking(move || {
            let calibration = latest.calibration.as_deref();
            let completed = reader
                .reconstructor()
                .reconstruct(&latest.window, calibration);
            let leads = completed
                .inspect_err(|error| tracing::warn!(%error, "a model failed on request"))
                .or_else(|error| error.leads().cloned().ok_or(()))
                .ok()?;
            Some(LatestTwelve {
                leads,
                start: latest.start,
                findings: latest.findings,
            })
        });
        completed.await.ok()
    }

    /// What is drawn of the newest pulse wave of a device without ECG; the outer `None` as in [`Handle::devices`].
    pub async fn synthetic(&self, device: DeviceId) -> Option<Result<LatestSynthetic, Undrawn>> {
        let Some(model) = self.surrogate.clone() else {
            return Some(Err(Undrawn::Off));
        };
        let (reply, answer) = oneshot::channel();
        let shard = self.shard(&device);
        let (stretch, start) = match ask(shard, Command::LatestPulse(device, reply), answer).await?
        {
            Ok(latest) => latest,
            Err(undrawn) => return Some(Err(undrawn)),
        };
        let drawn = tokio::task::spawn_blocking(move || {
            let trace = model.draw(&stretch, Beats::Model).map_err(|error| {
                tracing::warn!(%error, "a model failed on request");
                Undrawn::Failed
            })?;
            Ok(LatestSynthetic {
                trace,
                signal: stretch.signal,
                start,
            })
        });
        drawn.await.ok()
    }

    /// What is found in the newest twelve leads of a device, by every classifier, those that run on request too, each
    /// with what it looked at; the outer `None` as in [`Handle::devices`], the inner one where there are no leads yet.
    pub async fn examine(&self, device: DeviceId) -> Option<Option<Vec<ecg::Finding>>> {
        let Some(latest) = self.twelve_lead(device).await? else {
            return Some(None);
        };
        let reader = Arc::clone(&self.reader);
        let examined = tokio::task::spawn_blocking(move || {
            let by_classifier = |finding: &ecg::Finding| {
                let library = reader.reconstructor().library();
                let mut classifiers = library.classifiers().iter();
                classifiers.any(|c| finding.source == ecg::Source::Model(c.model().clone()))
            };
            let others = latest.findings.iter().filter(|f| !by_classifier(f));
            let mut findings: Vec<ecg::Finding> = others.cloned().collect();
            let mut failures = Vec::new();
            reader.classify(&latest.leads, When::Request, &mut findings, &mut failures);
            for error in failures {
                tracing::warn!(%error, "a classifier failed on request");
            }
            findings
        });
        examined.await.ok().map(Some)
    }

    /// Acknowledges an alarm, and returns once that is durable; `None` as in [`Handle::devices`], or if the
    /// service is stopping.
    ///
    /// # Errors
    /// An alarm that is unknown, cleared, or acknowledged already.
    pub async fn acknowledge(
        &self,
        device: DeviceId,
        alarm: AlarmId,
        by: String,
    ) -> Option<Result<(), alarm::Error>> {
        let (reply, answer) = oneshot::channel();
        let shard = self.shard(&device);
        let command = Command::Acknowledge {
            device: device.clone(),
            alarm,
            by,
            reply,
        };
        match ask(shard, command, answer).await? {
            Ok(durable) => durable.await.ok().map(Ok),
            Err(error) => Some(Err(error)),
        }
    }

    /// Lets a device's alarms use `limits` from now on.
    pub async fn set_limits(&self, device: DeviceId, limits: alarm::Limits) {
        // A shard that has stopped reads the limits from the database when it starts again.
        self.shard(&device)
            .send(Command::Limits(device, limits))
            .await
            .ok();
    }

    /// Notes who wears a device from now on.
    pub async fn set_patient(&self, device: DeviceId, wearer: Wearer) {
        // As above.
        self.shard(&device)
            .send(Command::Patient(device, wearer))
            .await
            .ok();
    }

    /// Uses these corrections of the model from now on.
    pub async fn set_calibrations(&self, calibrations: &Calibrations) {
        for shard in self.commands.iter() {
            // As above.
            let command = Command::Calibrations(Arc::clone(calibrations));
            shard.send(command).await.ok();
        }
    }

    fn shard(&self, device: &DeviceId) -> &mpsc::Sender<Command> {
        &self.commands[route::shard_of(device, self.commands.len())]
    }
}

/// How long a request waits for a shard.
const PATIENCE: Duration = Duration::from_secs(3);

async fn ask<T>(
    shard: &mpsc::Sender<Command>,
    command: Command,
    answer: oneshot::Receiver<T>,
) -> Option<T> {
    let asked = async {
        shard.send(command).await.ok()?;
        answer.await.ok()
    };
    tokio::time::timeout(PATIENCE, asked).await.ok()?
}
