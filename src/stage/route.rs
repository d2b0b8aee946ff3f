//! Gives each device's packets to the shard that owns it.

use std::hash::{DefaultHasher, Hash, Hasher};

use ecg::DeviceId;
use ingest::mqtt::Delivery;
use tokio::sync::mpsc;

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

/// Routes until the source closes. A full shard makes everything behind it wait: the MQTT client
/// then withholds acks, and the broker holds the rest.
pub async fn run(mut deliveries: mpsc::Receiver<Delivery>, shards: Vec<mpsc::Sender<Delivery>>) {
    while let Some(delivery) = deliveries.recv().await {
        let shard = shard_of(&delivery.device, shards.len());
        if shards[shard].send(delivery).await.is_err() {
            // The shard has stopped: the process is ending, and what is unacked comes again.
            return;
        }
    }
}
