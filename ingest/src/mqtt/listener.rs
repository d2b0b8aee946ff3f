//! Listens to topics: for those who want to know what the service publishes.
//!
//! **Contract.** Every message of the topics that the broker hands out while there is a connection is told, in its order;
//! a new connection subscribes again, and so begins with what is retained. Nothing is kept by the
//! broker meanwhile. Who listens too slowly makes the broker wait.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::backoff::Backoff;
use super::config::address;
use super::link::{Broken, Dial, Event};
use super::publisher::PublisherConfig;
use crate::Error;

/// Messages that may wait to be taken.
const WAITING: usize = 1024;

/// A message, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// On which topic.
    pub topic: String,
    /// What.
    pub payload: Bytes,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Listener {
    messages: mpsc::Receiver<Heard>,
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener {
    /// Connects as `client_id` and subscribes to `filters`.
    ///
    /// # Errors
    /// [`Error::Config`], or [`Error::Broker`] if the subscription does not stand within the time for it.
    pub async fn connect(
        config: PublisherConfig,
        client_id: &str,
        filters: &[String],
    ) -> Result<Self, Error> {
        let dial = Dial {
            address: address(&config.url)?,
            client_id: client_id.to_owned(),
            login: config.username.clone().map(|user| (user, config.password)),
            protocol: config.protocol,
            keep_alive: config.keep_alive,
            session_expiry: None,
            receive_maximum: config.inflight,
            max_packet_bytes: 1024 * 1024,
            inflight: 1,
            last_will: None,
        };
        let (sender, messages) = mpsc::channel(WAITING);
        let (stands, mut standing) = watch::channel(Err("no answer".to_owned()));
        let backoff = Backoff::new(Duration::from_millis(100), config.reconnect_max);
        let filters = filters.to_vec();
        let task = tokio::spawn(run(dial, filters, sender, stands, backoff));
        let listener = Self { messages, task };
        let subscribed = standing.wait_for(Result::is_ok);
        if matches!(timeout(config.connect_timeout, subscribed).await, Ok(Ok(_))) {
            return Ok(listener);
        }
        let problem = standing.borrow().clone().err().unwrap_or_default();
        let broker = config.url;
        Err(Error::Broker { broker, problem })
    }

    /// The next message; `None` if there will be none.
    pub async fn next(&mut self) -> Option<Heard> {
        self.messages.recv().await
    }
}

async fn run(
    dial: Dial,
    filters: Vec<String>,
    messages: mpsc::Sender<Heard>,
    stands: watch::Sender<Result<(), String>>,
    mut backoff: Backoff,
) {
    loop {
        let ended = session(dial.clone(), &filters, &messages, &stands, &mut backoff).await;
        let problem = match ended {
            Ok(()) => return,
            Err(Broken::Lost(problem) | Broken::Refused(problem)) => problem,
            Err(Broken::TakenOver) => "another client has taken its name".to_owned(),
        };
        tracing::debug!(problem, "listener's connection lost");
        drop(stands.send_replace(Err(problem)));
        tokio::time::sleep(backoff.wait()).await;
    }
}

/// One connection from beginning to end; `Ok` once nobody listens any more.
async fn session(
    dial: Dial,
    filters: &[String],
    messages: &mpsc::Sender<Heard>,
    stands: &watch::Sender<Result<(), String>>,
    backoff: &mut Backoff,
) -> Result<(), Broken> {
    let (requests, mut link) = dial.open();
    loop {
        let event = pin!(link.poll()).await?;
        match event {
            Event::Connected { .. } => {
                backoff.reset();
                requests.subscribe(filters, &[]);
            }
            Event::Subscribed(Ok(())) => {
                drop(stands.send_replace(Ok(())));
            }
            Event::Subscribed(Err(problem)) => return Err(Broken::Refused(problem)),
            Event::Message {
                topic,
                payload,
                pkid,
            } => {
                let topic = String::from_utf8_lossy(&topic).into_owned();
                if messages.send(Heard { topic, payload }).await.is_err() {
                    return Ok(());
                }
                if pkid != 0 {
                    requests.ack(pkid);
                }
            }
            _ => {}
        }
    }
}
