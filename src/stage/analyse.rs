//! One shard: the owner of some devices. Packets in; rows, windows and live events out.
//!
//! Everything a device has is owned here and touched by one task, so there are no locks. Signal
//! processing runs in the task itself (about 0.1 ms a packet); models run on threads of their own.

mod equipment;
mod owned;
mod seldom;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ecg::{AlarmId, BootId, DeviceId, Strip, Utc, Window};
use infer::{Error, Job, Outcome, Pool, PulseReading, Reader, Reading, Said, Task, WindowTask};
use ingest::mqtt::{Ack, Delivery};
use ingest::{ClockEvent, Packet, Status, TopicKind};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::persist::{Commit, Committed};
use super::route::Backlog;
use crate::device::{Receipt, Sent};
use crate::findings::{Noted, Step, to_json};
use crate::health::Stage;
use crate::live::{DeviceStatus, LatestWindow, LiveBus, LiveEvent, ReadingOutcome, Undrawn};
use crate::metrics::Metrics;
use crate::monitor::{AlarmStrip, Effects, Known, KnownPulse, complete};
use crate::wall;

use owned::Owned;
pub use owned::Wearer;
use seldom::Seldom;

/// What one shard may have under way.
pub const COMMITS_OUT: usize = 256;

/// How often time passes for devices that send nothing.
const TICK: Duration = Duration::from_millis(500);
/// The broker may send no more, and nothing has come for so long: it will not, before something is acknowledged.
const STARVED: Duration = Duration::from_secs(3);
/// A shard that has not listened for longer than this could not: then silence is no device's.
const DEAF: Duration = Duration::from_secs(1);

/// Settings of the shards.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How many shards own the devices; 0 means one for each core.
    pub shards: usize,
    /// After so long without data a device counts as offline.
    #[serde(with = "humantime_serde")]
    pub offline_after: Duration,
    /// After so long without data a device's record is closed: the last beats are told and
    /// everything is acknowledged. Data that comes later starts with cold filters.
    #[serde(with = "humantime_serde")]
    pub silence: Duration,
    /// Whether packets stay unacknowledged as long as a restart needs them to warm up on. Without it they
    /// are acknowledged as soon as what was derived from them is durable, and after a crash the filters
    /// start cold: beats of the seconds after may be missed, and rows that waited for their class are lost.
    pub warm_up: bool,
    /// After so long without data a device is dropped from memory, unless an alarm stands.
    #[serde(with = "humantime_serde")]
    pub forget_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shards: 0,
            offline_after: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            warm_up: true,
            forget_after: Duration::from_hours(24),
        }
    }
}

/// A question or an order from the API.
pub enum Command {
    /// Do you answer?
    Ping(oneshot::Sender<()>),
    /// How is every device of this shard?
    Devices(oneshot::Sender<Vec<DeviceStatus>>),
    /// The newest window of a device that was read.
    LatestWindow(DeviceId, oneshot::Sender<Option<LatestWindow>>),
    /// The newest 10 s of the pulse wave of a device without ECG, and when they began.
    LatestPulse(
        DeviceId,
        oneshot::Sender<Result<(infer::PulseStretch, Utc), Undrawn>>,
    ),
    /// Acknowledge an alarm; answered when that is durable.
    Acknowledge {
        /// The device it stands on.
        device: DeviceId,
        /// The alarm.
        alarm: AlarmId,
        /// Who acknowledges.
        by: String,
        /// The answer.
        reply: oneshot::Sender<Result<oneshot::Receiver<()>, alarm::Error>>,
    },
    /// Use these limits for a device from now on.
    Limits(DeviceId, alarm::Limits),
    /// A device is worn by this patient from now on, with these limits.
    Patient(DeviceId, Wearer),
    /// These are the corrections of the model in force, by patient.
    Calibrations(Calibrations),
}

/// Corrections of the model, by patient.
pub type Calibrations = Arc<HashMap<String, Arc<infer::Calibration>>>;

/// What a model said of a window.
struct Answer {
    device: DeviceId,
    at: Asked,
    about: About,
    outcome: Outcome,
}

/// What an answer is to: what was read, and when it was given to the models.
#[derive(Clone, Copy)]
struct Asked {
    whence: Sent,
    sent: Instant,
}

/// What was given to the models.
enum About {
    /// A window, and the alarm whose strip it is; `None` for a live one.
    Window(Arc<Window>, Option<(AlarmId, Strip)>),
    /// A stretch of the pulse wave.
    Pulse,
}

/// What the shards share.
pub struct Shared {
    /// Settings of every crate.
    pub config: crate::config::Config,
    /// What the models have to do.
    pub models: Stage,
    /// The models' threads.
    pub pool: Pool,
    /// What they run.
    pub reader: Arc<Reader>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Who watches.
    pub live: LiveBus,
    /// What waits to be given to the shards.
    pub backlog: Arc<Backlog>,
    /// How the broker stands.
    pub broker: Arc<ingest::mqtt::Monitor>,
    /// The process is ending.
    pub shutdown: CancellationToken,
}

/// One shard.
pub struct Shard {
    index: usize,
    shared: Arc<Shared>,
    /// What it is doing.
    stage: Stage,
    devices: HashMap<DeviceId, Owned>,
    /// Who wears what, of devices that have not been heard of since the start.
    wearers: HashMap<DeviceId, Wearer>,
    commits: mpsc::Sender<Commit>,
    /// What has become durable; room for [`COMMITS_OUT`].
    committed: mpsc::Receiver<Committed>,
    commits_out: usize,
    answers: mpsc::UnboundedSender<Answer>,
    answered: Option<mpsc::UnboundedReceiver<Answer>>,
    /// When time passed last.
    ticked: Instant,
    /// When a packet was taken last...
    heard: Instant,
    /// ...and when that one had come.
    heard_until: Instant,
    /// How late packets were heard when time passed last.
    late: Duration,
    /// Whether this machine's clock is set.
    clock: wall::Watch,
    /// Packets that are none.
    refused: Seldom,
}

/// The ends of the channels that a shard listens to.
pub struct Inbox {
    /// Packets of its devices.
    pub deliveries: mpsc::Receiver<Delivery>,
    /// The API.
    pub commands: mpsc::Receiver<Command>,
}

impl Shard {
    /// The `index`-th shard, owning the devices of `resume` that are its.
    pub fn new(
        index: usize,
        shared: Arc<Shared>,
        stage: Stage,
        commits: mpsc::Sender<Commit>,
        committed: mpsc::Receiver<Committed>,
        resume: Vec<store::Resume>,
        wearers: HashMap<DeviceId, Wearer>,
    ) -> Self {
        // Unbounded, but bounded by what is in it: at most two live windows a device are with the
        // models, and strips only of alarms that are unacked.
        let (answers, answered) = mpsc::unbounded_channel();
        let mut shard = Self {
            index,
            shared,
            stage,
            devices: HashMap::new(),
            wearers,
            commits,
            committed,
            commits_out: 0,
            answers,
            answered: Some(answered),
            ticked: wall::instant(),
            heard: wall::instant(),
            heard_until: wall::instant(),
            late: Duration::ZERO,
            clock: wall::Watch::new(wall::utc(), wall::instant()),
            refused: Seldom::default(),
        };
        for resume in resume {
            let id = resume.device.clone();
            let wearer = shard.wearers.get(&id);
            let owned = Owned::new(id.clone(), &shard.shared.config, wearer, Some(resume));
            shard.devices.insert(id, owned);
        }
        shard
    }

    /// Runs until `shutdown`, or the packets' source is closed; then waits for what it has sent out to become durable.
    ///
    /// **After `shutdown` nothing more is worked**: what waits in the inbox and what the models still read is not
    /// acknowledged, so the next process is sent it, and no time passes, for a silence is no device's then.
    pub async fn run(mut self, mut inbox: Inbox) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let Some(mut answered) = self.answered.take() else {
            return;
        };
        let shutdown = self.shared.shutdown.clone();
        loop {
            self.stage.idle();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(committed) = self.committed.recv() => self.committed(committed),
                Some(answer) = answered.recv() => self.answer(answer).await,
                Some(command) = inbox.commands.recv() => self.command(command).await,
                _ = ticks.tick() => self.tick(&inbox.deliveries).await,
                delivery = inbox.deliveries.recv() => match delivery {
                    Some(delivery) => self.delivery(delivery).await,
                    None => break,
                },
            }
        }
        drop(inbox);
        drop(answered);
        self.stage.waiting();
        while self.commits_out > 0
            && let Some(committed) = self.committed.recv().await
        {
            self.committed(committed);
        }
        self.stage.idle();
        // What they hold stays with the broker. Before the models' threads are waited for.
        self.devices.clear();
    }

    async fn delivery(&mut self, delivery: Delivery) {
        self.stage.working();
        self.heard_until = delivery.received;
        if delivery.kind == TopicKind::Status {
            self.presence(delivery).await;
            return;
        }
        let (now, arrived) = self.now();
        self.heard = arrived;
        let Shared {
            config, metrics, ..
        } = &*self.shared;
        metrics.packets.inc();
        let id = delivery.device;
        let packet = match Packet::parse(&delivery.payload, &config.packet) {
            Ok(packet) => packet,
            Err(error) => {
                let n_bytes = delivery.payload.len();
                if let Some(n_before) = self.refused.tell(arrived) {
                    tracing::warn!(device = %id, %error, n_bytes, n_before, "packet refused");
                }
                metrics
                    .lost_packets
                    .with_label_values(&[error.reason()])
                    .inc();
                delivery.ack.done();
                return;
            }
        };
        let wearer = self.wearers.get(&id);
        let owned = self
            .devices
            .entry(id.clone())
            .or_insert_with(|| Owned::new(id.clone(), config, wearer, None));
        let mut effects = Effects::default();
        let (receipt, released) = owned.device.packet(packet, delivery.ack, now, &mut effects);
        owned.hear(&receipt, &mut effects);
        if receipt.blocks > 0 {
            owned.silent = false;
        }
        if !owned.online && receipt.lost.is_none() {
            owned.online = true;
            metrics.devices_online.inc();
        }
        count(metrics, &receipt);
        acknowledge(released);
        metrics.dsp_seconds.inc_by(arrived.elapsed().as_secs_f64());
        self.carry_out(&id, effects, arrived, None).await;
    }

    /// A device, or the broker for it, says whether it is there. That it is, follows from its data as well; so a message
    /// lost in a crash is made up for, and needs to be kept no longer.
    async fn presence(&mut self, delivery: Delivery) {
        let arrived = wall::instant();
        let id = delivery.device;
        let status = Status::parse(&delivery.payload);
        delivery.ack.done();
        match (status, self.devices.get_mut(&id)) {
            (Ok(status), Some(owned)) => {
                let mut effects = Effects::default();
                owned.presence(status, &mut effects);
                self.carry_out(&id, effects, arrived, None).await;
            }
            (Ok(_), None) => {}
            (Err(error), _) => tracing::warn!(device = %id, %error, "status refused"),
        }
    }

    /// Sends out what came of a device's packet.
    async fn carry_out(
        &mut self,
        id: &DeviceId,
        mut effects: Effects,
        arrived: Instant,
        waiting: Option<oneshot::Sender<()>>,
    ) {
        let metrics = Arc::clone(&self.shared.metrics);
        metrics.beats.inc_by(effects.batch.beats.len() as u64);
        if let Some(owned) = self.devices.get_mut(id) {
            owned.show(id, &mut effects.live, &self.shared.live);
        }
        for known in std::mem::take(&mut effects.windows) {
            self.read(id, known, None);
        }
        for known in std::mem::take(&mut effects.pulses) {
            self.read_pulse(id, known);
        }
        self.complete_strips(id, &mut effects);
        if let Some(owned) = self.devices.get_mut(id)
            && effects.batch.records.iter().any(|update| update.ended)
        {
            let mut steps = Vec::new();
            owned.course.end(&mut steps);
            let rows = steps.into_iter().map(|(_, row)| row);
            effects.batch.findings.extend(rows);
        }
        if !effects.batch.is_empty() {
            self.commit(id, effects.batch, arrived, None, waiting).await;
        }
    }

    /// Hands strips to the models; those without a whole window are kept as they are.
    fn complete_strips(&mut self, id: &DeviceId, effects: &mut Effects) {
        for AlarmStrip {
            alarm,
            strip,
            window,
        } in std::mem::take(&mut effects.strips)
        {
            match window {
                Some(known) => self.read(id, known, Some((alarm, strip))),
                None => effects.batch.strips.push(store::AlarmStrip {
                    alarm,
                    strip,
                    findings: None,
                }),
            }
        }
    }

    async fn commit(
        &mut self,
        id: &DeviceId,
        batch: store::Batch,
        arrived: Instant,
        answers: Option<Sent>,
        waiting: Option<oneshot::Sender<()>>,
    ) {
        // Wait for answers rather than have more commits out than they have room: many devices may fall silent at once.
        while self.commits_out >= COMMITS_OUT {
            self.stage.waiting();
            match self.committed.recv().await {
                Some(committed) => self.committed(committed),
                None => return,
            }
        }
        let device = id.clone();
        let commit = Commit {
            shard: self.index,
            device,
            batch,
            arrived,
            answers,
            waiting,
        };
        self.stage.waiting();
        if self.commits.send(commit).await.is_ok() {
            self.commits_out += 1;
        }
        self.stage.working();
    }

    /// Hands a window to the models. Strips of alarms are never shed.
    fn read(&mut self, id: &DeviceId, known: Known, strip: Option<(AlarmId, Strip)>) {
        let Some(owned) = self.devices.get_mut(id) else {
            return;
        };
        let Known {
            boot,
            window,
            stretch,
        } = known;
        let (start, window) = (window.start, Arc::new(window));
        let whence = Sent::new(boot, start, strip.is_some());
        owned.device.sent_to_models(whence);
        let job = if strip.is_some() {
            Job::Keep
        } else if owned.is_due(boot, window.end) {
            Job::Due
        } else {
            Job::Live
        };
        let task = Task::Window(WindowTask {
            window: Arc::clone(&window),
            calibration: owned.calibration.clone(),
            stretch,
        });
        self.submit(id, task, job, whence, About::Window(window, strip));
    }

    /// Hands a stretch of the pulse wave to the models.
    fn read_pulse(&mut self, id: &DeviceId, known: KnownPulse) {
        let Some(owned) = self.devices.get_mut(id) else {
            return;
        };
        let KnownPulse { boot, stretch } = known;
        let whence = Sent::new(boot, stretch.start, false);
        owned.device.sent_to_models(whence);
        let task = Task::Pulse(stretch);
        self.submit(id, task, Job::Live, whence, About::Pulse);
    }

    /// Gives a task to the models, whose answer comes to this shard.
    fn submit(&self, id: &DeviceId, task: Task, job: Job, whence: Sent, about: About) {
        let (answers, device, sent) = (self.answers.clone(), id.clone(), wall::instant());
        let models = self.shared.models.clone();
        models.given();
        self.shared
            .pool
            .submit(id.clone(), task, job, move |outcome| {
                models.done();
                let answer = Answer {
                    device,
                    at: Asked { whence, sent },
                    about,
                    outcome,
                };
                // The shard may have stopped; what is unacked comes again.
                answers.send(answer).ok();
            });
    }

    /// Takes what the models said.
    async fn answer(&mut self, answer: Answer) {
        self.stage.working();
        let Answer {
            device,
            at,
            about,
            outcome,
        } = answer;
        let said = match outcome {
            Outcome::Done(said) => Some(*said),
            Outcome::Shed => None,
        };
        match about {
            About::Window(window, strip) => {
                let read = said.and_then(|said| said.map(Said::into_window).transpose());
                self.answer_window(&device, at, window, strip, read).await;
            }
            About::Pulse => {
                let read = said.and_then(|said| said.map(Said::into_pulse).transpose());
                self.answer_pulse(&device, at, read).await;
            }
        }
    }

    /// Takes what was read from a window, if it was: shows it and notes its findings, or completes the strip of an alarm.
    async fn answer_window(
        &mut self,
        id: &DeviceId,
        at: Asked,
        window: Arc<Window>,
        strip: Option<(AlarmId, Strip)>,
        read: Option<Result<Reading, Error>>,
    ) {
        let metrics = Arc::clone(&self.shared.metrics);
        let Asked { whence, sent } = at;
        let boot = whence.boot;
        let left_out = if let Some(read) = &read {
            read.as_ref().is_ok_and(Reading::is_partial)
        } else {
            metrics.shed_windows.inc();
            true
        };
        let reading = match read {
            Some(Ok(reading)) => {
                metrics.windows.inc();
                metrics.infer_seconds.observe(sent.elapsed().as_secs_f64());
                for error in &reading.failures {
                    metrics.failed_windows.inc();
                    tracing::warn!(device = %id, %error, "a model failed on a window");
                }
                Some(reading)
            }
            Some(Err(error)) => {
                metrics.failed_windows.inc();
                tracing::warn!(device = %id, %error, "window refused by the models");
                None
            }
            None => None,
        };
        let withheld = reading.as_ref().and_then(|reading| reading.twelve.withheld);
        if let Some(reason) = withheld {
            metrics
                .withheld_windows
                .with_label_values(&[reason.name()])
                .inc();
        }
        if let Some((alarm, strip)) = strip {
            let strip = match &reading {
                Some(reading) => complete(strip, &reading.twelve),
                None => strip,
            };
            let kept = store::AlarmStrip {
                alarm,
                strip,
                findings: reading.map(|reading| to_json(reading.all())),
            };
            let batch = store::Batch {
                strips: vec![kept],
                ..Default::default()
            };
            // Packets are released when the strip is durable, not before.
            self.commit(id, batch, sent, Some(whence), None).await;
            return;
        }
        self.tell(id, boot, &window, reading.as_ref(), left_out);
        let Some(owned) = self.devices.get_mut(id) else {
            return;
        };
        let library = self.shared.reader.reconstructor().library();
        let form = library.rhythm().map(|model| model.form());
        let mut effects = Effects::default();
        owned.hear_of_window(boot, whence.start, left_out, &mut effects);
        let noted = reading.map(|reading| owned.note(boot, window, reading, form));
        self.keep(id, at, noted.unwrap_or_default(), effects).await;
    }

    /// Takes what was read from a stretch of the pulse wave, if it was, and notes what was found.
    async fn answer_pulse(
        &mut self,
        id: &DeviceId,
        at: Asked,
        read: Option<Result<PulseReading, Error>>,
    ) {
        let (outcome, reading) = match read {
            Some(Ok(reading)) => {
                let outcome = match &reading.decision {
                    Some(decision) if decision.is_usable => "usable",
                    Some(_) => "unusable",
                    None => "unasked",
                };
                (outcome, Some(reading))
            }
            Some(Err(error)) => {
                tracing::warn!(device = %id, %error, "the model of pulse waves failed");
                ("failed", None)
            }
            None => ("shed", None),
        };
        let pulses = &self.shared.metrics.pulses;
        pulses.with_label_values(&[outcome]).inc();
        let Some(owned) = self.devices.get_mut(id) else {
            return;
        };
        let library = self.shared.reader.reconstructor().library();
        let form = library.pulse_rhythm().map(|model| model.form());
        let noted = reading.map(|reading| owned.note_pulse(at.whence.boot, &reading, form));
        let noted = noted.unwrap_or_default();
        self.keep(id, at, noted, Effects::default()).await;
    }

    /// Lets alarms follow from what was noted of a task, and makes all of it durable; then its packets are released.
    async fn keep(&mut self, id: &DeviceId, at: Asked, noted: Noted, mut effects: Effects) {
        let metrics = Arc::clone(&self.shared.metrics);
        let Asked { whence, sent } = at;
        let Some(owned) = self.devices.get_mut(id) else {
            return;
        };
        let Noted {
            steps,
            baseline,
            reports,
        } = noted;
        for report in reports {
            owned.device.monitor().report(report, &mut effects);
        }
        for (_, row) in steps.iter().filter(|(step, _)| *step == Step::Began) {
            let labels = [row.source.as_str(), row.name.as_str()];
            metrics.findings.with_label_values(&labels).inc();
        }
        let patient = owned.patient();
        self.complete_strips(id, &mut effects);
        let mut batch = effects.batch;
        batch.findings.extend(steps.into_iter().map(|(_, row)| row));
        batch.baselines.extend(patient.zip(baseline));
        if batch.is_empty() {
            if let Some(owned) = self.devices.get_mut(id) {
                acknowledge(owned.device.answered(whence));
            }
            return;
        }
        self.commit(id, batch, sent, Some(whence), None).await;
    }

    /// Tells whoever watches that the models are done with a window.
    fn tell(
        &self,
        device: &DeviceId,
        boot: BootId,
        window: &Window,
        reading: Option<&Reading>,
        left_out: bool,
    ) {
        let live = &self.shared.live;
        let outcome = match reading {
            Some(reading) => ReadingOutcome::Read(reading.all().count()),
            None if left_out => ReadingOutcome::LeftOut,
            None => ReadingOutcome::Failed,
        };
        if live.is_watched(device) {
            live.publish(LiveEvent::Reading {
                device: device.clone(),
                boot,
                start: window.start,
                end: window.end,
                outcome,
            });
        }
    }

    fn committed(&mut self, committed: Committed) {
        self.commits_out = self.commits_out.saturating_sub(1);
        let Some(owned) = self.devices.get_mut(&committed.device) else {
            return;
        };
        let mut released = Vec::new();
        for mark in committed.marks {
            released.extend(owned.device.committed(mark));
        }
        if let Some(whence) = committed.answers {
            released.extend(owned.device.answered(whence));
        }
        acknowledge(released);
    }

    /// Lets time pass: no-data alarms, silence, offline; up to when all that came has been worked, for what waits in the inbox
    /// or before it may be of any device.
    async fn tick(&mut self, inbox: &mpsc::Receiver<Delivery>) {
        self.stage.working();
        let (now, arrived) = self.now();
        let oldest = |owned: &Owned| owned.device.oldest_held();
        let oldest = self.devices.values().filter_map(oldest).min();
        let age = |at: Utc| Duration::try_from_secs_f64(now.seconds_since(at)).ok();
        self.stage.set_oldest(
            oldest
                .and_then(age)
                .and_then(|age| arrived.checked_sub(age)),
        );
        let config = self.shared.config.pipeline.clone();
        let starved = self.starved(arrived);
        if starved > STARVED {
            let all = self.devices.values_mut();
            let room = all.flat_map(|owned| owned.device.make_room());
            acknowledge(room.collect());
        }
        if starved > 3 * STARVED {
            self.make_way(starved > 6 * STARVED, now, arrived).await;
        }
        let deaf = self.deaf(arrived).as_secs_f64();
        let heard = now.plus_seconds(-self.late(inbox, arrived).as_secs_f64());
        let ids: Vec<DeviceId> = self.devices.keys().cloned().collect();
        for id in ids {
            if self.shared.shutdown.is_cancelled() {
                return;
            }
            let Some(owned) = self.devices.get_mut(&id) else {
                continue;
            };
            if deaf > 0.0 {
                owned.device.unheard(deaf);
            }
            let mut effects = Effects::default();
            owned.device.monitor().tick(heard, &mut effects);
            let quiet = owned
                .device
                .last_arrival()
                .map(|last| heard.seconds_since(last));
            if quiet.is_some_and(|quiet| quiet > config.silence.as_secs_f64()) && !owned.silent {
                owned.silent = true;
                let receipt = owned.device.silence(now, &mut effects);
                count(&self.shared.metrics, &receipt);
                tracing::info!(device = %id, "device silent, record closed");
            }
            if owned.online && quiet.is_none_or(|q| q > config.offline_after.as_secs_f64()) {
                owned.online = false;
                owned.rate = None;
                self.shared.metrics.devices_online.dec();
                let status = owned.status(&id);
                self.shared
                    .live
                    .publish(LiveEvent::Status(Box::new(status)));
            }
            let forget = quiet.is_some_and(|quiet| quiet > config.forget_after.as_secs_f64())
                && owned.device.n_held() == 0
                && owned.device.view().n_standing() == 0;
            self.carry_out(&id, effects, arrived, None).await;
            if forget {
                self.devices.remove(&id);
            }
        }
    }

    /// For how long, since time passed last, packets could not have arrived whatever devices sent: the shard waited for the
    /// database, or the broker may send no more before some are acknowledged.
    fn deaf(&mut self, now: Instant) -> Duration {
        let last = std::mem::replace(&mut self.ticked, now);
        let waited = now.saturating_duration_since(last);
        if waited > TICK + DEAF || self.shared.broker.is_held_back() {
            waited
        } else {
            Duration::ZERO
        }
    }

    /// How long packets that have come wait before this shard has worked them: so late it may hear of any device.
    fn late(&mut self, inbox: &mpsc::Receiver<Delivery>, now: Instant) -> Duration {
        // In the order of their way, so that none is missed that goes on meanwhile.
        let parked = self.shared.broker.waits_since();
        let routed = self.shared.backlog.since();
        let here = (!inbox.is_empty()).then_some(self.heard_until);
        let since = [parked, routed, here].into_iter().flatten().min();
        let late = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        // The last of many may be between two of the places just now.
        late.max(std::mem::replace(&mut self.late, late))
    }

    /// Closes the record whose packet all acknowledgements wait for, and which can become durable in no other way, for the
    /// broker keeps what follows it. In the last resort that a packet is missing before it makes no difference.
    async fn make_way(&mut self, last_resort: bool, now: Utc, arrived: Instant) {
        let mut all = self.devices.iter_mut();
        let Some((id, owned)) = all.find(|(_, owned)| owned.device.holds_next()) else {
            return;
        };
        let id = id.clone();
        tracing::warn!(device = %id, "the broker waits for a packet of a record, which is closed");
        let mut effects = Effects::default();
        if last_resort {
            let receipt = owned.device.silence(now, &mut effects);
            count(&self.shared.metrics, &receipt);
        } else {
            owned.device.close(now, &mut effects);
        }
        self.carry_out(&id, effects, arrived, None).await;
    }

    /// The present. If this machine's clock was set, what counts from arrivals is set with it.
    fn now(&mut self) -> (Utc, Instant) {
        let (now, instant) = (wall::utc(), wall::instant());
        if let Some(seconds) = self.clock.look(now, instant) {
            tracing::warn!(
                shard = self.index,
                seconds,
                "the clock of this machine was set"
            );
            for owned in self.devices.values_mut() {
                owned.device.clock_set(seconds);
            }
        }
        (now, instant)
    }

    /// For how long the broker may have waited for acknowledgements, and this shard for packets of the broker.
    fn starved(&self, now: Instant) -> Duration {
        if self.shared.broker.waits_for_acks() && self.shared.backlog.since().is_none() {
            now.saturating_duration_since(self.heard)
        } else {
            Duration::ZERO
        }
    }

    /// Uses these corrections from the next window on.
    fn calibrate(&mut self, of: &Calibrations) {
        for wearer in self.wearers.values_mut() {
            wearer.calibration = of.get(&wearer.patient).cloned();
        }
        for owned in self.devices.values_mut() {
            let patient = owned.patient.as_ref();
            owned.calibration = patient.and_then(|patient| of.get(patient).cloned());
        }
    }

    async fn command(&mut self, command: Command) {
        self.stage.working();
        match command {
            Command::Ping(reply) => {
                reply.send(()).ok();
            }
            Command::Devices(reply) => {
                let all = self
                    .devices
                    .iter()
                    .map(|(id, owned)| owned.status(id))
                    .collect();
                reply.send(all).ok();
            }
            Command::LatestWindow(id, reply) => {
                reply
                    .send(self.devices.get(&id).and_then(|owned| owned.latest.clone()))
                    .ok();
            }
            Command::LatestPulse(id, reply) => {
                let owned = self.devices.get(&id).ok_or(Undrawn::NoDevice);
                reply.send(owned.and_then(Owned::newest_pulse)).ok();
            }
            Command::Acknowledge {
                device: id,
                alarm,
                by,
                reply,
            } => {
                let mut effects = Effects::default();
                let outcome = match self.devices.get_mut(&id) {
                    Some(owned) => {
                        owned
                            .device
                            .monitor()
                            .acknowledge(alarm, &by, wall::utc(), &mut effects)
                    }
                    None => Err(alarm::Error::NotOpen(alarm)),
                };
                match outcome {
                    Ok(()) => {
                        let (done, durable) = oneshot::channel();
                        reply.send(Ok(durable)).ok();
                        self.carry_out(&id, effects, wall::instant(), Some(done))
                            .await;
                    }
                    Err(error) => {
                        reply.send(Err(error)).ok();
                    }
                }
            }
            Command::Limits(id, limits) => {
                if let Some(owned) = self.devices.get_mut(&id) {
                    owned.set_limits(limits);
                }
                if let Some(wearer) = self.wearers.get_mut(&id) {
                    wearer.limits = limits;
                }
            }
            Command::Patient(id, wearer) => {
                if let Some(owned) = self.devices.get_mut(&id) {
                    owned.patient = Some(wearer.patient.clone());
                    owned.set_limits(wearer.limits);
                    owned.calibration.clone_from(&wearer.calibration);
                    owned.course.set_usual(wearer.baseline.clone());
                }
                self.wearers.insert(id, wearer);
            }
            Command::Calibrations(of) => self.calibrate(&of),
        }
    }
}

fn count(metrics: &Metrics, receipt: &Receipt) {
    metrics.blocks.inc_by(receipt.blocks);
    metrics.samples.inc_by(receipt.samples);
    metrics.gap_samples.inc_by(receipt.gap_samples);
    if let Some(reason) = receipt.lost {
        metrics.lost_packets.with_label_values(&[reason]).inc();
    }
    if let Some(event) = &receipt.clock_event {
        metrics
            .clock_events
            .with_label_values(&[match event {
                ClockEvent::Jump { .. } => "jump",
                ClockEvent::Lie { .. } => "lie",
                ClockEvent::Recovered => "recovered",
            }])
            .inc();
    }
}

/// Sends acks to the broker.
fn acknowledge(acks: Vec<Ack>) {
    for ack in acks {
        ack.done();
    }
}

#[cfg(test)]
mod tests {
    use ecg::simulate::Scenario;
    use ecg::{Lead, SampleRate};

    use super::*;
    use crate::wearable::Simulated;

    /// A shard without models whose devices are silent after 10 ms; and where its commits go.
    fn shard() -> (Shard, mpsc::Receiver<Commit>) {
        let silence = ("pipeline.silence", "10ms".to_owned());
        let config = crate::config::Config::load(None, std::iter::empty(), &[silence]).unwrap();
        let reader = Reader::new(infer::Library::empty(), config.infer.limits.clone()).unwrap();
        let reader = Arc::new(reader);
        let pool_config = infer::PoolConfig {
            threads: 1,
            late: config.infer.late,
            nice: 0,
        };
        let shared = Shared {
            config,
            models: Stage::new("models"),
            pool: Pool::new(&pool_config, Arc::clone(&reader), || Duration::ZERO).unwrap(),
            reader,
            metrics: Arc::new(Metrics::new().unwrap()),
            live: LiveBus::default(),
            backlog: Arc::default(),
            broker: Arc::default(),
            shutdown: CancellationToken::new(),
        };
        let (commits, to_commit) = mpsc::channel(64);
        let (_, committed) = mpsc::channel(COMMITS_OUT);
        let stage = Stage::new("shard 0");
        let (resume, wearers) = (Vec::new(), HashMap::new());
        let shared = Arc::new(shared);
        let shard = Shard::new(0, shared, stage, commits, committed, resume, wearers);
        (shard, to_commit)
    }

    /// What a device sends first, received now.
    fn first_of(device: &str) -> Delivery {
        let scenario = Scenario::new(1, SampleRate::new(250.0).unwrap());
        let mut wearable = Simulated::new(&scenario, &[Lead::II], BootId(1), wall::utc()).unwrap();
        Delivery {
            device: device.parse().unwrap(),
            kind: TopicKind::Signal,
            payload: wearable.second().unwrap().encode().into(),
            received: wall::instant(),
            ack: Ack::none(),
        }
    }

    #[tokio::test]
    async fn what_waits_makes_no_device_silent() {
        let (mut shard, _commits) = shard();
        let (to_shard, mut inbox) = mpsc::channel(1);
        let is_silent = |shard: &Shard| shard.devices[&"a".parse().unwrap()].silent;
        let first = first_of("a");
        let received = first.received;
        shard.delivery(first).await;
        // Longer than a silence; but what has come since then may be of any device.
        std::thread::sleep(Duration::from_millis(30));
        to_shard.send(first_of("b")).await.unwrap();
        shard.tick(&inbox).await;
        assert!(!is_silent(&shard));
        // The shard is too slow for what waits before it, and gets on all the time.
        let next = inbox.recv().await.unwrap();
        shard.delivery(next).await;
        shard.shared.backlog.set(Some(received));
        shard.tick(&inbox).await;
        assert!(!is_silent(&shard));
        // Nothing waits any more, and nothing has come.
        shard.shared.backlog.set(None);
        for _ in 0..100 {
            shard.tick(&inbox).await;
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(is_silent(&shard));
    }
}
