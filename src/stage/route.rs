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

/// What waits to be given to the shards. A full one keeps packets from all, and one that is a little too slow keeps them longer and
/// longer: that nothing has arrived of a device since then says nothing of the device.
#[derive(Debug, Default)]
pub struct Backlog(Mutex<Option<Instant>>);

impl Backlog {
    /// All that came before is with the shards; `None` if nothing waits.
    pub fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, since: Option<Instant>) {
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
    backlog: Arc<Backlog>,
    stage: Stage,
    shutdown: CancellationToken,
) {
    let handing_on = hand_on(&mut deliveries, &shards, &backlog, &stage);
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
    backlog: &Backlog,
    stage: &Stage,
) {
    while let Some(delivery) = deliveries.recv().await {
        let shard = shard_of(&delivery.device, shards.len());
        let received = delivery.received;
        match shards[shard].try_send(delivery) {
            Ok(()) => {}
            Err(TrySendError::Full(delivery)) => {
                stage.waiting();
                backlog.set(Some(received));
                if shards[shard].send(delivery).await.is_err() {
                    return;
                }
                stage.idle();
            }
            // The shard has stopped: the process is ending, and what is unacked comes again.
            Err(TrySendError::Closed(_)) => return,
        }
        backlog.set((!deliveries.is_empty()).then_some(received));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingest::TopicKind;
    use ingest::mqtt::Ack;

    use crate::wall;

    fn delivery(number: u8) -> Delivery {
        Delivery {
            device: "w".parse().unwrap(),
            kind: TopicKind::Signal,
            payload: vec![number].into(),
            received: wall::instant(),
            ack: Ack::none(),
        }
    }

    #[tokio::test]
    async fn after_shutdown_nothing_is_handed_on_and_the_client_may_finish() {
        let (client, deliveries) = mpsc::channel(8);
        let (to_shard, mut shard) = mpsc::channel(2);
        let shutdown = CancellationToken::new();
        let (backlog, stage) = (Arc::default(), Stage::new("route"));
        let route = run(deliveries, vec![to_shard], backlog, stage, shutdown.clone());
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
    async fn what_waits_is_as_old_as_what_a_slow_shard_takes() {
        let (client, deliveries) = mpsc::channel(8);
        let (to_shard, mut shard) = mpsc::channel(1);
        let (backlog, stage) = (Arc::new(Backlog::default()), Stage::new("route"));
        let shutdown = CancellationToken::new();
        let all: Vec<Delivery> = (0..6).map(delivery).collect();
        let received: Vec<Instant> = all.iter().map(|one| one.received).collect();
        for one in all {
            client.send(one).await.unwrap();
        }
        let shards = vec![to_shard];
        let route = run(deliveries, shards, Arc::clone(&backlog), stage, shutdown);
        let route = tokio::spawn(route);
        for next in &received[1..] {
            // The shard has one, the router holds the next, and gets on whenever the shard does.
            while backlog.since() != Some(*next) {
                tokio::task::yield_now().await;
            }
            shard.recv().await.unwrap();
        }
        while backlog.since().is_some() {
            tokio::task::yield_now().await;
        }
        drop(client);
        route.await.unwrap();
    }

    #[tokio::test]
    async fn a_shard_that_stops_by_itself_ends_it() {
        let (client, deliveries) = mpsc::channel(8);
        let (to_shard, shard) = mpsc::channel(2);
        drop(shard);
        client.send(delivery(0)).await.unwrap();
        let (backlog, stage) = (Arc::default(), Stage::new("route"));
        run(
            deliveries,
            vec![to_shard],
            backlog,
            stage,
            CancellationToken::new(),
        )
        .await;
        assert!(client.is_closed());
    }
}
