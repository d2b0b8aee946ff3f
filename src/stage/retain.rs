//! Removes what is older than the settings say, in steps that commits never wait for long for, and makes partitions ahead.
//!
//! Only the process that holds the lease of the database runs it. Whatever fails is tried again at the next round:
//! nothing depends on it but room on the disk.

use std::sync::Arc;
use std::time::Duration;

use store::{Kept, Retention, Store};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::wall;

/// From one round to the next.
const ROUND: Duration = Duration::from_secs(3600);
/// The same after a round that failed.
const AGAIN: Duration = Duration::from_secs(60);
/// Rows removed in one transaction at most.
const STEP: u32 = 2000;
/// The shortest pause between two steps; a pause is as long as the step before it, so that half of the time is left to
/// others.
const PAUSE: Duration = Duration::from_millis(5);

/// What the stage works with.
pub struct Retain {
    /// How long rows are kept.
    pub config: Retention,
    /// Where they are.
    pub store: Store,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends it.
    pub shutdown: CancellationToken,
}

impl Retain {
    /// Runs until shutdown.
    pub async fn run(self) {
        if !self.config.delete {
            tracing::info!("nothing is ever removed from the database (store.retention.delete)");
        }
        let shutdown = self.shutdown.clone();
        let rounds = async {
            loop {
                let pause = match self.round().await {
                    Ok(()) => {
                        let now = wall::utc().0 as f64 / 1e6;
                        self.metrics.retention_success.set(now);
                        ROUND
                    }
                    Err(error) => {
                        self.metrics.retention_failures.inc();
                        tracing::warn!(error = ?error, "old rows not removed, trying again");
                        AGAIN
                    }
                };
                tokio::time::sleep(pause).await;
            }
        };
        tokio::select! {
            () = rounds => {}
            () = shutdown.cancelled() => {}
        }
    }

    async fn round(&self) -> Result<(), store::Error> {
        let now = wall::utc();
        let missing = self.store.prepare_partitions(now).await?;
        self.metrics
            .partitions_missing
            .set(i64::try_from(missing).unwrap_or(i64::MAX));
        if !self.config.delete {
            return Ok(());
        }
        for kept in Kept::ALL {
            let Some(days) = self.config.days(kept) else {
                continue;
            };
            let before = now.plus_seconds(-f64::from(days) * 86_400.0);
            if kept == Kept::Beats {
                let dropped = self.store.drop_partitions(before).await?;
                self.metrics.retention_partitions.inc_by(dropped);
                if dropped > 0 {
                    tracing::info!(dropped, "days of old beats dropped");
                }
            }
            let mut removed = 0;
            for device in self.store.devices_due(kept, before).await? {
                loop {
                    let started = wall::instant();
                    let n = self.store.remove(kept, &device, before, STEP).await?;
                    self.metrics
                        .retention_rows
                        .with_label_values(&[kept.name()])
                        .inc_by(n);
                    removed += n;
                    tokio::time::sleep(started.elapsed().max(PAUSE)).await;
                    if n == 0 {
                        break;
                    }
                }
            }
            if removed > 0 {
                tracing::info!(table = kept.name(), removed, "old rows removed");
                self.store.shrink().await?;
            }
        }
        Ok(())
    }
}
