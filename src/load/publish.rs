//! The play: every device publishes its course over a connection of its own.
//!
//! Tasks, all ended by one token: one a device, beside the one that its [`Publisher`] has. Nothing is shared but counters.
//! Connections are opened at a bounded pace before the play begins; the phases of devices are spread over ten seconds:
//! wearables are not put on in the same one, and models are asked in a rhythm that begins with the device.
//!
//! What is remembered of a device is how many packets of its course were published and acknowledged, and when nothing was
//! acknowledged though something should have been.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ecg::{DeviceId, Utc};
use ingest::mqtt::{self, Publisher, PublisherConfig};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::link::{Course, Player};
use super::plan::Plan;
use super::script::Script;
use crate::wall;

/// Devices begin within so many seconds of signal: two hops of the models' windows.
const PHASES_SECONDS: f64 = 10.0;
/// How often a device that waits looks whether it is to end.
const LOOK: Duration = Duration::from_secs(1);
/// Connections that may be under way at once.
const CONNECTING: usize = 64;
/// How long the first connection of a device may take, all others included.
const CONNECT: Duration = Duration::from_secs(120);
/// How long acknowledgements are waited for at the end.
const LAST_ACKS: Duration = Duration::from_secs(60);
/// A device without acknowledgements for so long is noted as silent.
const SILENT: Duration = Duration::from_secs(5);

/// A play under way.
pub struct Load {
    state: Arc<State>,
    stop: CancellationToken,
    devices: JoinSet<DeviceLog>,
    plan: Plan,
    courses: Arc<[Arc<Course>]>,
    began: Utc,
    cpu_before: Option<f64>,
}

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Packets that will be published if nothing stops it.
    pub total: u64,
    /// Packets handed to the connections.
    pub published: u64,
    /// Packets that the broker has acknowledged.
    pub acked: u64,
    /// Devices that have ended.
    pub ended: u64,
    /// How late the latest packet was handed over, microseconds: by the generator itself, or because the broker was away.
    pub latest_us: u64,
}

/// Tells how far a play is.
#[derive(Clone)]
pub struct Watch(Arc<State>);

impl Watch {
    /// Packets that the broker has acknowledged.
    pub fn acked(&self) -> u64 {
        self.0.acked.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct State {
    published: AtomicU64,
    acked: AtomicU64,
    ended: AtomicU64,
    latest_us: AtomicU64,
}

/// What was played.
#[derive(Debug)]
pub struct Run {
    /// The plan.
    pub plan: Plan,
    /// The courses; devices share them.
    pub courses: Arc<[Arc<Course>]>,
    /// What came of each device.
    pub devices: Vec<DeviceLog>,
    /// When the first device began.
    pub began: Utc,
    /// When the last device ended.
    pub ended: Utc,
    /// CPU seconds of this process for the play, where that can be told.
    pub cpu_seconds: Option<f64>,
    /// How late the latest packet was handed over, seconds.
    pub latest_seconds: f64,
}

impl Run {
    /// Packets published.
    pub fn published(&self) -> u64 {
        self.devices.iter().map(|log| log.published as u64).sum()
    }

    /// Packets acknowledged by the broker.
    pub fn acked(&self) -> u64 {
        self.devices.iter().map(|log| log.acked as u64).sum()
    }
}

/// What came of a device.
#[derive(Debug, Clone)]
pub struct DeviceLog {
    /// Its name.
    pub device: DeviceId,
    /// The course it played.
    pub course: usize,
    /// Its boots and its clock.
    pub player: Player,
    /// Packets of the course that were published, from the first.
    pub published: usize,
    /// Of those, packets that the broker has acknowledged, from the first.
    pub acked: usize,
    /// Packets that the broker refused.
    pub refused: u64,
    /// When nothing was acknowledged for long.
    pub silences: Vec<Silence>,
    /// How often the connection broke, or a try to have one failed.
    pub disconnects: u32,
    /// When its last packet was acknowledged.
    pub ended: Utc,
    /// What ended it before its time.
    pub problem: Option<String>,
    /// When each packet was due; only of watched devices.
    pub due: Vec<Instant>,
}

/// A time without acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Silence {
    /// So many packets were acknowledged before it.
    pub after: usize,
    /// When it began.
    pub from: Utc,
    /// When it ended.
    pub to: Utc,
}

impl Silence {
    /// How long it was.
    pub fn seconds(&self) -> f64 {
        self.to.seconds_since(self.from)
    }
}

impl Load {
    /// Makes the signals, connects every device and begins.
    ///
    /// # Errors
    /// A plan that cannot be, and a broker that cannot be reached.
    pub async fn start(plan: Plan) -> Result<Self, Error> {
        Self::start_with(plan, |_, _| ()).await
    }

    /// The same; `prepared` is told how much of the preparation is done, of how much.
    ///
    /// # Errors
    /// As [`Load::start`].
    pub async fn start_with(
        plan: Plan,
        prepared: impl Fn(usize, usize) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        plan.check()?;
        let steps = plan.n_scripts() + plan.devices;
        let done = Arc::new(AtomicU64::new(0));
        let step: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            prepared(usize::try_from(done).unwrap_or(steps), steps);
        });
        let courses = {
            let (plan, step) = (plan.clone(), Arc::clone(&step));
            let made = tokio::task::spawn_blocking(move || courses(&plan, &*step)).await;
            made.map_err(|error| Error::Signals(error.to_string()))??
        };
        let publishers = connect(&plan, step).await?;
        Ok(Self::play(plan, courses, publishers))
    }

    fn play(plan: Plan, courses: Arc<[Arc<Course>]>, publishers: Vec<Publisher>) -> Self {
        let state = Arc::new(State::default());
        let stop = CancellationToken::new();
        let (begin, began) = (wall::instant(), wall::utc());
        // The last sample is taken when it is sent: a device that is faster than time starts in the past.
        let seconds = f64::from(plan.seconds);
        let ahead = (seconds / plan.speed - seconds).min(0.0);
        let nonce: u32 = rand::random();
        let cpu_before = cpu_seconds();
        let mut devices = JoinSet::new();
        for (k, publisher) in publishers.into_iter().enumerate() {
            let Some(device) = plan.device(k) else {
                continue;
            };
            let course = k % courses.len();
            // Spread over the second, as evenly for some of them as for all.
            let phase = PHASES_SECONDS * (k as f64 * 0.618_033_988_749_894_9).fract();
            let boots = nonce.wrapping_add(u32::try_from(k).unwrap_or(0).wrapping_mul(0x85eb_ca6b));
            let start = began.plus_seconds(ahead + phase / plan.speed);
            let playing = Playing {
                publisher: Some(publisher),
                begin,
                phase,
                speed: plan.speed,
                course: Arc::clone(&courses[course]),
                state: Arc::clone(&state),
                stop: stop.clone(),
                last_ack: (begin, began, 0),
                log: DeviceLog {
                    device,
                    course,
                    player: Player { boots, start },
                    published: 0,
                    acked: 0,
                    refused: 0,
                    silences: Vec::new(),
                    disconnects: 0,
                    ended: began,
                    problem: None,
                    due: Vec::new(),
                },
                is_watched: k < plan.watched,
            };
            devices.spawn(playing.run());
        }
        Self {
            state,
            stop,
            devices,
            plan,
            courses,
            began,
            cpu_before,
        }
    }

    /// The courses that are played.
    pub fn courses(&self) -> &[Arc<Course>] {
        &self.courses
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let n = self.courses.len();
        let of = |k: usize| self.courses[k % n].sent.len() as u64;
        Progress {
            total: (0..self.plan.devices).map(of).sum(),
            published: self.state.published.load(Ordering::Relaxed),
            acked: self.state.acked.load(Ordering::Relaxed),
            ended: self.state.ended.load(Ordering::Relaxed),
            latest_us: self.state.latest_us.load(Ordering::Relaxed),
        }
    }

    /// Lets devices end before their time: each waits for the acknowledgements of what it has published.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// The same from elsewhere: cancelling it is [`Load::stop`].
    pub fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// How far it is, to be asked while [`Load::finished`] waits.
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.state))
    }

    /// Waits until every device has ended.
    pub async fn finished(mut self) -> Run {
        let mut devices = Vec::with_capacity(self.plan.devices);
        while let Some(ended) = self.devices.join_next().await {
            match ended {
                Ok(log) => devices.push(log),
                Err(error) => tracing::error!(%error, "task of a device failed"),
            }
        }
        devices.sort_by(|a, b| a.device.cmp(&b.device));
        let cpu_seconds = self.cpu_before.zip(cpu_seconds());
        Run {
            plan: self.plan,
            courses: self.courses,
            devices,
            began: self.began,
            ended: wall::utc(),
            cpu_seconds: cpu_seconds.map(|(before, after)| after - before),
            latest_seconds: self.state.latest_us.load(Ordering::Relaxed) as f64 * 1e-6,
        }
    }
}

/// Every course of a plan.
fn courses(plan: &Plan, step: &(dyn Fn() + Send + Sync)) -> Result<Arc<[Arc<Course>]>, Error> {
    let scripts = Script::all(plan, step)?;
    let course = |(k, script)| Arc::new(Course::new(plan, Arc::new(script), k));
    Ok(scripts.into_iter().enumerate().map(course).collect())
}

/// A connection for every device.
async fn connect(plan: &Plan, step: Arc<dyn Fn() + Send + Sync>) -> Result<Vec<Publisher>, Error> {
    let room = Arc::new(Semaphore::new(CONNECTING));
    let mut tasks = JoinSet::new();
    for k in 0..plan.devices {
        let Some(device) = plan.device(k) else {
            continue;
        };
        let config = PublisherConfig {
            connect_timeout: CONNECT,
            close_timeout: LAST_ACKS,
            reconnect_max: Duration::from_secs(2),
            // Small, so that what the broker has not is known closely.
            inflight: 10,
            ..PublisherConfig::new(&plan.broker)
        };
        let (room, step) = (Arc::clone(&room), Arc::clone(&step));
        tasks.spawn(async move {
            let permit = room.acquire().await;
            let publisher = Publisher::connect(config, &device).await;
            drop(permit);
            step();
            (k, publisher)
        });
    }
    let mut publishers = Vec::with_capacity(plan.devices);
    while let Some(done) = tasks.join_next().await {
        if let Ok((k, publisher)) = done {
            publishers.push((k, publisher?));
        }
    }
    publishers.sort_by_key(|(k, _)| *k);
    Ok(publishers.into_iter().map(|(_, one)| one).collect())
}

/// A device that plays.
struct Playing {
    /// `None` once it is closing.
    publisher: Option<Publisher>,
    begin: Instant,
    phase: f64,
    speed: f64,
    course: Arc<Course>,
    state: Arc<State>,
    stop: CancellationToken,
    /// When the newest acknowledgement came, and how many there were by then.
    last_ack: (Instant, Utc, u64),
    log: DeviceLog,
    is_watched: bool,
}

impl Playing {
    async fn run(mut self) -> DeviceLog {
        let course = Arc::clone(&self.course);
        let Some(publisher) = self.publisher.take() else {
            return self.log;
        };
        let mut publisher = publisher;
        let mut progress = publisher.watch();
        for sent in &course.sent {
            let seconds = (self.phase + sent.due) / self.speed;
            let due = self.begin + Duration::from_secs_f64(seconds.max(0.0));
            if !self.wait(due, &mut progress).await {
                break;
            }
            let payload = course.payload(sent, &self.log.player);
            if !self.publish(&mut publisher, payload, &mut progress).await {
                break;
            }
            if self.is_watched {
                self.log.due.push(due);
            }
            let late = wall::instant().saturating_duration_since(due).as_micros();
            let late = u64::try_from(late).unwrap_or(u64::MAX);
            self.state.latest_us.fetch_max(late, Ordering::Relaxed);
            self.state.published.fetch_add(1, Ordering::Relaxed);
        }
        self.close(publisher, progress).await
    }

    /// Waits for an instant, and takes note of acknowledgements now and then; false if it is to end.
    ///
    /// Being woken for each acknowledgement, or by a token that thousands wait for, would cost as much as publishing.
    async fn wait(&mut self, due: Instant, progress: &mut watch::Receiver<mqtt::Progress>) -> bool {
        loop {
            let now = wall::instant();
            self.note(progress);
            if self.stop.is_cancelled() {
                return false;
            }
            if now >= due {
                return true;
            }
            tokio::time::sleep_until(due.min(now + LOOK).into()).await;
        }
    }

    /// Hands a packet over, which takes long while the broker is away; false if it is to end.
    async fn publish(
        &mut self,
        publisher: &mut Publisher,
        payload: Vec<u8>,
        progress: &mut watch::Receiver<mqtt::Progress>,
    ) -> bool {
        let mut handed = pin!(publisher.publish(payload));
        loop {
            let stop = self.stop.clone();
            tokio::select! {
                biased;
                handed = &mut handed => {
                    if let Err(error) = handed {
                        self.log.problem = Some(error.to_string());
                        return false;
                    }
                    self.log.published += 1;
                    return true;
                }
                Ok(()) = progress.changed() => self.take(progress),
                () = stop.cancelled() => return false,
            }
        }
    }

    /// Takes note of acknowledgements, and of how long there were none.
    fn note(&mut self, progress: &mut watch::Receiver<mqtt::Progress>) {
        if matches!(progress.has_changed(), Ok(true)) {
            self.take(progress);
        }
    }

    fn take(&mut self, progress: &mut watch::Receiver<mqtt::Progress>) {
        let (acked, refused, lost) = {
            let progress = progress.borrow_and_update();
            (progress.acked, progress.refused, progress.lost)
        };
        self.log.refused = refused;
        self.log.disconnects = lost;
        let (instant, from, before) = self.last_ack;
        if acked == before {
            return;
        }
        self.state
            .acked
            .fetch_add(acked - before, Ordering::Relaxed);
        let (now, to) = (wall::instant(), wall::utc());
        if now.saturating_duration_since(instant) > SILENT {
            self.log.silences.push(Silence {
                after: usize::try_from(before).unwrap_or(usize::MAX),
                from,
                to,
            });
        }
        self.last_ack = (now, to, acked);
        self.log.acked = usize::try_from(acked).unwrap_or(usize::MAX);
        self.log.ended = to;
    }

    /// Waits for the last acknowledgements and says goodbye.
    async fn close(
        mut self,
        publisher: Publisher,
        mut progress: watch::Receiver<mqtt::Progress>,
    ) -> DeviceLog {
        {
            let mut closed = pin!(publisher.close());
            loop {
                tokio::select! {
                    closed = &mut closed => {
                        if let Err(error) = closed {
                            self.log.problem = Some(error.to_string());
                        }
                        break;
                    }
                    Ok(()) = progress.changed() => self.take(&mut progress),
                }
            }
        }
        self.take(&mut progress);
        self.state.ended.fetch_add(1, Ordering::Relaxed);
        self.log
    }
}

/// CPU seconds of this process so far, where the system tells.
pub fn cpu_seconds() -> Option<f64> {
    // Ticks of 10 ms in user and kernel mode; the name before them may hold spaces, but ends with a parenthesis.
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
}
