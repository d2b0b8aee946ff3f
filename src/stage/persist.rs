//! Makes what the shards found durable: many commits, one transaction.
//!
//! Never drops a commit because of a database that is away: it retries with growing pauses, the
//! channel fills, the shards wait, and the broker holds the packets. Only a commit that the
//! database refuses for good is dropped, alone, counted and logged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ecg::{AlarmState, DeviceId};
use store::{Batch, Store};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::delivery::Outgoing;
use crate::device::{Sent, Watermark};
use crate::health::Stage;
use crate::live::{LiveBus, LiveEvent};
use crate::metrics::Metrics;
use crate::wall;

/// Rows of one device that must become durable together.
pub struct Commit {
    /// Which shard asks.
    pub shard: usize,
    /// Whose rows.
    pub device: DeviceId,
    /// The rows.
    pub batch: Batch,
    /// When the packet arrived that they come from.
    pub arrived: Instant,
    /// What was in flight that this commit makes durable.
    pub answers: Option<Sent>,
    /// Who waits for it.
    pub waiting: Option<oneshot::Sender<()>>,
}

/// The answer to a [`Commit`].
pub struct Committed {
    /// Whose rows.
    pub device: DeviceId,
    /// How far its records are durable now, in order.
    pub marks: Vec<Watermark>,
    /// As in the commit.
    pub answers: Option<Sent>,
}

/// When to close a transaction.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How long rows wait for company. Alarms do not wait.
    #[serde(with = "humantime_serde")]
    pub gather: Duration,
    /// Commits in one transaction at most.
    pub most: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            gather: Duration::from_millis(100),
            most: 2000,
        }
    }
}

/// Pauses between tries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What the stage works with.
pub struct Persist {
    /// When to close a transaction.
    pub config: Config,
    /// Where rows go.
    pub store: Store,
    /// Where commits come from.
    pub commits: mpsc::Receiver<Commit>,
    /// Where answers go, by shard. Each has room for every commit its shard may have out.
    pub committed: Vec<mpsc::Sender<Committed>>,
    /// Alarms are announced once they are durable.
    pub live: LiveBus,
    /// Why the database cannot be written, if it cannot.
    pub health: watch::Sender<Option<String>>,
    /// What it is doing.
    pub stage: Stage,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends the waiting for the database: what is not durable then stays unacked, and comes again.
    pub give_up: CancellationToken,
    /// Who takes alarms further, once they are durable.
    pub outgoing: Arc<Outgoing>,
}

impl Persist {
    /// Runs until every shard has stopped.
    pub async fn run(mut self) {
        let mut gathered = Vec::new();
        while let Some(first) = self.commits.recv().await {
            if self.give_up.is_cancelled() {
                return;
            }
            self.stage.set_oldest(Some(first.arrived));
            gathered.push(first);
            self.gather(&mut gathered).await;
            self.stage.working();
            let done = self.make_durable(&gathered).await;
            if !done {
                return;
            }
            self.answer(&mut gathered);
            self.stage.set_oldest(None);
            self.stage.idle();
        }
    }

    /// Waits for more commits, but not while an alarm or a person waits.
    async fn gather(&mut self, gathered: &mut Vec<Commit>) {
        let urgent = |commit: &Commit| !commit.batch.events.is_empty() || commit.waiting.is_some();
        let deadline = tokio::time::Instant::now() + self.config.gather;
        while gathered.len() < self.config.most && !gathered.iter().any(urgent) {
            match tokio::time::timeout_at(deadline, self.commits.recv()).await {
                Ok(Some(commit)) => gathered.push(commit),
                Ok(None) | Err(_) => return,
            }
        }
        // What is already waiting goes along.
        while gathered.len() < self.config.most
            && let Ok(commit) = self.commits.try_recv()
        {
            gathered.push(commit);
        }
    }

    /// Commits until it is done; false if the service gives up first.
    async fn make_durable(&self, gathered: &[Commit]) -> bool {
        let mut batch = Batch::default();
        for commit in gathered {
            batch.append(commit.batch.clone());
        }
        batch.at = Some(wall::utc());
        match self.commit(&batch).await {
            Ok(()) => true,
            Err(GaveUp) if self.give_up.is_cancelled() => false,
            Err(GaveUp) => {
                // The database refuses something in it for good: find out whose it is.
                for commit in gathered {
                    let mut alone = commit.batch.clone();
                    alone.at = batch.at;
                    if self.commit(&alone).await.is_ok() {
                        continue;
                    }
                    if self.give_up.is_cancelled() {
                        return false;
                    }
                    self.metrics.store_refused.inc();
                    tracing::error!(device = %commit.device, "rows refused by the database and dropped");
                }
                true
            }
        }
    }

    /// Commits one batch, trying again as long as that may help.
    async fn commit(&self, batch: &Batch) -> Result<(), GaveUp> {
        let mut pause = BACKOFF.0;
        loop {
            let started = wall::instant();
            self.stage.database();
            let committed = self.store.commit(batch);
            let Some(committed) = self.give_up.run_until_cancelled(committed).await else {
                // It may be durable or not; storing it again stores it once.
                tracing::warn!(
                    "the database has not answered in time, the rows are left to the next process"
                );
                return Err(GaveUp);
            };
            match committed {
                Ok(()) => {
                    self.metrics
                        .commit_seconds
                        .observe(started.elapsed().as_secs_f64());
                    self.metrics.commits.inc();
                    self.count_rows(batch);
                    self.set_health(None);
                    self.stage.working();
                    return Ok(());
                }
                Err(error) if error.blames_rows() => {
                    tracing::error!(error = ?error, "database refused rows");
                    return Err(GaveUp);
                }
                Err(error) => {
                    self.metrics.store_failures.inc();
                    if self.set_health(Some(error.explain())) {
                        tracing::warn!(error = ?error, "database not writable, trying again");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(BACKOFF.1),
                () = self.give_up.cancelled() => return Err(GaveUp),
            }
        }
    }

    /// Notes whether the database can be written; true if that is news.
    fn set_health(&self, problem: Option<String>) -> bool {
        self.health.send_if_modified(|known| {
            let news = known.is_some() != problem.is_some();
            *known = problem;
            news
        })
    }

    fn count_rows(&self, batch: &Batch) {
        for (table, n) in [
            ("records", batch.records.len()),
            ("beats", batch.beats.len()),
            ("gaps", batch.gaps.len()),
            ("alarm_events", batch.events.len()),
            ("suppressions", batch.suppressions.len()),
            ("strips", batch.strips.len()),
            ("trends", batch.trends.len()),
        ] {
            self.metrics
                .rows
                .with_label_values(&[table])
                .inc_by(n as u64);
        }
    }

    /// Tells shards, waiting people and live subscribers.
    fn answer(&self, gathered: &mut Vec<Commit>) {
        let changed =
            |commit: &&Commit| !commit.batch.events.is_empty() || !commit.batch.strips.is_empty();
        let changed = gathered.iter().filter(changed);
        let devices: Vec<DeviceId> = changed.map(|commit| commit.device.clone()).collect();
        if !devices.is_empty() {
            self.outgoing.ring(devices);
        }
        for commit in gathered.drain(..) {
            for event in &commit.batch.events {
                self.metrics
                    .alarm_events
                    .with_label_values(&[
                        event.condition.name(),
                        event.priority.name(),
                        event.state.name(),
                    ])
                    .inc();
                let standing = self
                    .metrics
                    .standing
                    .with_label_values(&[event.priority.name()]);
                match event.state {
                    AlarmState::Active => {
                        standing.inc();
                        self.metrics
                            .alarm_latency
                            .observe(commit.arrived.elapsed().as_secs_f64());
                    }
                    AlarmState::Cleared => standing.dec(),
                    AlarmState::Acknowledged | AlarmState::Latched => {}
                }
                self.live.publish(LiveEvent::Alarm {
                    device: event.record.device.clone(),
                    alarm: event.alarm,
                });
            }
            // A strip that comes after its alarm is news of the alarm.
            for store::AlarmStrip { alarm, .. } in &commit.batch.strips {
                self.live.publish(LiveEvent::Alarm {
                    device: commit.device.clone(),
                    alarm: *alarm,
                });
            }
            if let Some(waiting) = commit.waiting {
                // Whoever waited may have gone.
                waiting.send(()).ok();
            }
            let marks = commit
                .batch
                .records
                .iter()
                .map(|update| Watermark {
                    boot: update.record.boot,
                    durable_until: update.durable_until,
                    ended: update.ended,
                })
                .collect();
            let answer = Committed {
                device: commit.device,
                marks,
                answers: commit.answers,
            };
            match self.committed[commit.shard].try_send(answer) {
                Ok(()) => {}
                Err(TrySendError::Closed(_)) => {
                    tracing::debug!(shard = commit.shard, "shard gone before its answer");
                }
                // It bounds its commits by the channel's size; one that lost an answer would wait for it for ever.
                Err(TrySendError::Full(_)) => {
                    tracing::error!(shard = commit.shard, "no room for the answer to a commit");
                }
            }
        }
    }
}

/// The database refuses the batch for good, or the service is ending.
struct GaveUp;
