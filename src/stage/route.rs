//! Gives each device's packets to the shard that owns it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ecg::DeviceId;
use ingest::mqtt::Delivery;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::health::Stage;
use crate::wall;

/// Which of `n_shards` owns `device`. The same for the life of the process.
pub fn shard_of(device: &DeviceId, n_shards: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    device.hash(&mut hasher);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the remainder is below a usize"
    )]
    let shard = (hasher.finish() % n_shards.max(1) as u64) as usize;
    shard
}

/// Since when a full shard has kept packets from all shards. While it does, that nothing arrives says nothing of a device.
#[derive(Debug, Default)]
pub struct Jam(Mutex<Option<Instant>>);

impl Jam {
    /// Since when there has been one, if there is one now.
    pub fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// Routes until the source closes. A full shard makes everything behind it wait: the MQTT client
/// then withholds acks, and the broker holds the rest.
pub async fn run(
    mut deliveries: mpsc::Receiver<Delivery>,
    shards: Vec<mpsc::Sender<Delivery>>,
    jam: Arc<Jam>,
    stage: Stage,
) {
    while let Some(delivery) = deliveries.recv().await {
        let shard = shard_of(&delivery.device, shards.len());
        let full = match shards[shard].try_send(delivery) {
            Ok(()) => continue,
            Err(TrySendError::Full(delivery)) => delivery,
            // The shard has stopped: the process is ending, and what is unacked comes again.
            Err(TrySendError::Closed(_)) => return,
        };
        stage.waiting();
        jam.set(Some(wall::instant()));
        let sent = shards[shard].send(full).await;
        jam.set(None);
        if sent.is_err() {
            return;
        }
        stage.idle();
    }
}
