//! Keeps the open alarms of each device on MQTT: retained on `einthoven/v1/{device}/alarm`, a JSON array, empty where
//! there are none.
//!
//! What is published is read from the database after the commit, so nothing is told that could be lost. It is a state and
//! no event: of changes in quick succession the last is published.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ecg::DeviceId;
use ingest::mqtt::{Progress, Retainer};
use store::{AlarmFilter, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::delivery::Outgoing;
use crate::http;
use crate::metrics::Metrics;
use crate::wall;

/// How long to leave the database alone after an error.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the broker may take at the end.
const GOODBYE: Duration = Duration::from_millis(500);

/// What the stage works with.
pub struct Announce {
    /// Where alarms are.
    pub store: Store,
    /// Whose have changed.
    pub outgoing: Arc<Outgoing>,
    /// Where they go.
    pub retainer: Retainer,
    /// Alarms that ended this long ago may still be shown as open by the broker, after an outage.
    pub retention: Duration,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends it.
    pub shutdown: CancellationToken,
}

impl Announce {
    /// Runs until shutdown.
    pub async fn run(self) {
        let mut news = self.outgoing.news();
        let mut progress = self.retainer.watch();
        let mut known = Known::default();
        let mut dirty = BTreeSet::new();
        // After a start, and whenever the broker was away, for it may have lost what it had.
        let (mut everything, mut was_connected) = (true, false);
        loop {
            news.mark_unchanged();
            let is_connected = progress.borrow_and_update().is_connected;
            everything |= is_connected && !was_connected;
            was_connected = is_connected;
            let published = self.publish(&mut dirty, &mut everything);
            let Some(done) = self.shutdown.run_until_cancelled(published).await else {
                break;
            };
            if let Err(error) = &done {
                tracing::warn!(%error, "open alarms not published, trying again");
            }
            let again = async {
                match done {
                    Ok(()) => std::future::pending().await,
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            };
            tokio::select! {
                changed = news.changed() => if changed.is_err() { break },
                changed = progress.changed() => if changed.is_err() { break },
                () = again => {}
                () = self.shutdown.cancelled() => break,
            }
            known.count(&progress, &self.metrics);
        }
        self.retainer.close(GOODBYE).await;
    }

    /// Publishes the open alarms of every device with changes, or of all where that is asked for; what fails stays to be
    /// done.
    async fn publish(
        &self,
        dirty: &mut BTreeSet<DeviceId>,
        everything: &mut bool,
    ) -> Result<(), store::Error> {
        if *everything {
            let since = wall::utc().plus_seconds(-self.retention.as_secs_f64());
            dirty.extend(self.store.devices_with_alarms(since).await?);
            *everything = false;
        }
        dirty.extend(self.outgoing.take_devices());
        while let Some(device) = dirty.first().cloned() {
            let filter = AlarmFilter {
                device: Some(device.clone()),
                open_only: true,
                limit: AlarmFilter::MAX_LIMIT,
                ..AlarmFilter::default()
            };
            let alarms = self.store.alarms(&filter).await?;
            let payload = http::open_alarms(&alarms, &self.outgoing);
            let topic = ingest::alarm_topic(&device);
            if self.retainer.set(topic, payload.into()).await.is_err() {
                tracing::error!("the task that publishes open alarms is gone");
            }
            dirty.remove(&device);
        }
        Ok(())
    }
}

/// What was counted already.
#[derive(Default)]
struct Known {
    acked: u64,
    refused: u64,
}

impl Known {
    fn count(&mut self, progress: &watch::Receiver<Progress>, metrics: &Metrics) {
        let now = progress.borrow();
        metrics.announced.inc_by(now.acked - self.acked);
        metrics.announce_failures.inc_by(now.refused - self.refused);
        (self.acked, self.refused) = (now.acked, now.refused);
    }
}
