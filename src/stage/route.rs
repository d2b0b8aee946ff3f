//! Gives each device's packets to the shard that owns it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ecg::DeviceId;
use ingest::mqtt::Delivery;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

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

/// Routes until the source closes, or until `shutdown`. A full shard makes everything behind it wait: the MQTT client
/// then withholds acks, and the broker holds the rest.
///
/// **After `shutdown` nothing is handed on.** What no shard has is not acknowledged, and nothing that came after it on its
/// connection is; so the broker sends it to the next process, in the same order.
pub async fn run(
    mut deliveries: mpsc::Receiver<Delivery>,
    shards: Vec<mpsc::Sender<Delivery>>,
    jam: Arc<Jam>,
    stage: Stage,
    shutdown: CancellationToken,
) {
    let handing_on = hand_on(&mut deliveries, &shards, &jam, &stage);
    shutdown.run_until_cancelled(handing_on).await;
    if shutdown.is_cancelled() {
        // Until the client has seen it too: that nobody takes its packets any more would be a failure.
        while deliveries.recv().await.is_some() {}
    }
}

/// Routes until the source closes or a shard has stopped.
async fn hand_on(
    deliveries: &mut mpsc::Receiver<Delivery>,
    shards: &[mpsc::Sender<Delivery>],
    jam: &Jam,
    stage: &Stage,
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

#[cfg(test)]
mod tests {
    use super::*;
    use ingest::TopicKind;
    use ingest::mqtt::Ack;

    fn delivery(number: u8) -> Delivery {
        Delivery {
            device: "w".parse().unwrap(),
            kind: TopicKind::Signal,
            payload: vec![number].into(),
            ack: Ack::none(),
        }
    }

    #[tokio::test]
    async fn after_shutdown_nothing_is_handed_on_and_the_client_may_finish() {
        let (client, deliveries) = mpsc::channel(8);
        let (to_shard, mut shard) = mpsc::channel(2);
        let shutdown = CancellationToken::new();
        let (jam, stage) = (Arc::default(), Stage::new("route"));
        let route = run(deliveries, vec![to_shard], jam, stage, shutdown.clone());
        let route = tokio::spawn(route);
        for number in 0..5 {
            client.send(delivery(number)).await.unwrap();
        }
        while shard.len() < 2 {
            tokio::task::yield_now().await;
        }
        // The third waits for room when the end comes, two are behind it.
        shutdown.cancel();
        client.send(delivery(5)).await.unwrap();
        drop(client);
        route.await.unwrap();
        let mut numbers = Vec::new();
        while let Some(delivery) = shard.recv().await {
            numbers.push(delivery.payload[0]);
        }
        assert_eq!(numbers, [0, 1]);
    }

    #[tokio::test]
    async fn a_shard_that_stops_by_itself_ends_it() {
        let (client, deliveries) = mpsc::channel(8);
        let (to_shard, shard) = mpsc::channel(2);
        drop(shard);
        client.send(delivery(0)).await.unwrap();
        let (jam, stage) = (Arc::default(), Stage::new("route"));
        run(
            deliveries,
            vec![to_shard],
            jam,
            stage,
            CancellationToken::new(),
        )
        .await;
        assert!(client.is_closed());
    }
}
