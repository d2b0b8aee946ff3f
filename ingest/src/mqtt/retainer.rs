//! The service's own side of MQTT: keeps the retained message of each topic as it was set last.
//!
//! **Contract.** What was set last on a topic reaches the broker, retained, with `QoS` 1, for as long as the retainer
//! lives. Of what is set while the broker is away, or faster than it answers, only the newest is sent, and never an older
//! one after it. It has a connection of its own, so that nothing it does holds up the receiving of signals.
//!
//! At most one message of a topic is on its way at a time, and a new connection begins with all that is not acknowledged.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::backoff::Backoff;
use super::config::Config;
use super::link::{Broken, Dial, Event, Requests};
use super::publisher::Progress;
use crate::Error;

/// Topics that wait to be taken over by the task; it takes them at once, connected or not.
const WAITING: usize = 64;
/// Messages that may be unacknowledged.
const WINDOW: usize = 20;

/// Publishes retained messages, the newest of each topic.
#[derive(Debug)]
pub struct Retainer {
    set: mpsc::Sender<(String, Bytes)>,
    progress: watch::Receiver<Progress>,
    task: JoinHandle<()>,
}

impl Drop for Retainer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Retainer {
    /// Begins to connect to the broker of `config`, as its client id followed by `-alarms`.
    ///
    /// # Errors
    /// [`Error::Config`] for an address that cannot be used.
    pub fn start(config: &Config) -> Result<Self, Error> {
        let login = config.username.clone();
        let dial = Dial {
            address: config.address()?,
            client_id: format!("{}-alarms", config.client_id),
            login: login.map(|user| (user, config.password.clone())),
            protocol: config.protocol,
            keep_alive: config.keep_alive,
            session_expiry: None,
            receive_maximum: 1,
            max_packet_bytes: config.max_packet_bytes,
            // Room to spare beyond the window, so that packet ids are seldom taken when they come round.
            inflight: u16::try_from(4 * WINDOW).unwrap_or(u16::MAX),
            last_will: None,
        };
        let (set, incoming) = mpsc::channel(WAITING);
        let (sender, progress) = watch::channel(Progress::default());
        let keeping = Keeping {
            incoming: Some(incoming),
            wanted: BTreeMap::new(),
            version: 0,
            progress: sender,
        };
        let backoff = Backoff::new(config.reconnect_min, config.reconnect_max);
        let task = tokio::spawn(keeping.run(dial, backoff));
        Ok(Self {
            set,
            progress,
            task,
        })
    }

    /// Sets the retained message of a topic. Does not wait for the broker.
    ///
    /// # Errors
    /// [`Error::Closed`] if the task is gone.
    pub async fn set(&self, topic: String, payload: Bytes) -> Result<(), Error> {
        let sent = self.set.send((topic, payload)).await;
        sent.map_err(|_| Error::Closed)
    }

    /// How far it is, now and whenever that changes.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Waits until the broker has everything, for `limit` at most, and disconnects; true if it has.
    pub async fn close(mut self, limit: Duration) -> bool {
        // The end of the channel is what tells the task to finish.
        let (gone, _) = mpsc::channel(1);
        self.set = gone;
        timeout(limit, &mut self.task).await.is_ok()
    }
}

/// The task behind a [`Retainer`].
struct Keeping {
    /// `None` once everything was taken from it and no more will come.
    incoming: Option<mpsc::Receiver<(String, Bytes)>>,
    /// What the broker does not have yet, with a number that is its own.
    wanted: BTreeMap<String, (u64, Bytes)>,
    version: u64,
    progress: watch::Sender<Progress>,
}

/// What one connection has been given.
#[derive(Default)]
struct Handing {
    is_open: bool,
    /// Topics to look at.
    queue: VecDeque<String>,
    /// Handed over, but without a packet id yet.
    handed: VecDeque<(String, u64)>,
    /// By packet id.
    inflight: HashMap<u16, (String, u64)>,
    goodbye: bool,
}

impl Handing {
    fn is_under_way(&self, topic: &str) -> bool {
        let mut all = self.handed.iter().chain(self.inflight.values());
        all.any(|(known, _)| known == topic)
    }
}

impl Keeping {
    async fn run(mut self, dial: Dial, mut backoff: Backoff) {
        loop {
            let ended = self.session(dial.clone(), &mut backoff).await;
            let problem = match ended {
                Ok(()) => return,
                Err(Broken::Lost(problem) | Broken::Refused(problem)) => problem,
                Err(Broken::TakenOver) => "another client uses the same client id".to_owned(),
            };
            let was_connected = self.progress.borrow().is_connected;
            if was_connected || self.progress.borrow().problem.is_none() {
                tracing::warn!(problem, "no connection to publish open alarms on");
            }
            self.progress.send_modify(|progress| {
                progress.is_connected = false;
                progress.problem = Some(problem);
            });
            // What is set meanwhile replaces what waits.
            let mut wait = pin!(tokio::time::sleep(backoff.wait()));
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    set = receive(self.incoming.as_mut()) => self.take(set, None),
                }
            }
        }
    }

    /// One connection from beginning to end; `Ok` once all is published and no more will come.
    async fn session(&mut self, dial: Dial, backoff: &mut Backoff) -> Result<(), Broken> {
        let (requests, mut link) = dial.open();
        let mut connection = Handing {
            queue: self.wanted.keys().cloned().collect(),
            ..Handing::default()
        };
        loop {
            let mut poll = pin!(link.poll());
            let event = loop {
                if connection.is_open {
                    self.hand_over(&mut connection, &requests);
                    if self.incoming.is_none() && self.wanted.is_empty() && !connection.goodbye {
                        connection.goodbye = requests.disconnect();
                    }
                }
                tokio::select! {
                    event = &mut poll => break event?,
                    set = receive(self.incoming.as_mut()) => self.take(set, Some(&mut connection)),
                }
            };
            match event {
                Event::Connected { .. } => {
                    backoff.reset();
                    connection.is_open = true;
                    self.progress.send_modify(|progress| {
                        progress.is_connected = true;
                        progress.problem = None;
                    });
                }
                Event::Published(pkid) => {
                    if let Some(handed) = connection.handed.pop_front() {
                        connection.inflight.insert(pkid, handed);
                    }
                }
                Event::PubAcked { pkid, refusal } => {
                    if let Some((topic, version)) = connection.inflight.remove(&pkid) {
                        self.answered(topic, version, refusal, &mut connection);
                    }
                }
                Event::Disconnected => return Ok(()),
                Event::Message { .. } | Event::Subscribed(_) | Event::Other => {}
            }
        }
    }

    /// Takes over what was set.
    fn take(&mut self, set: Option<(String, Bytes)>, connection: Option<&mut Handing>) {
        let Some((topic, payload)) = set else {
            self.incoming = None;
            return;
        };
        self.version += 1;
        if let Some(connection) = connection
            && !connection.queue.contains(&topic)
        {
            connection.queue.push_back(topic.clone());
        }
        self.wanted.insert(topic, (self.version, payload));
    }

    /// Hands over what waits, as far as there is room and nothing of the same topic is under way.
    fn hand_over(&self, connection: &mut Handing, requests: &Requests) {
        for _ in 0..connection.queue.len() {
            if connection.handed.len() + connection.inflight.len() >= WINDOW {
                return;
            }
            let Some(topic) = connection.queue.pop_front() else {
                return;
            };
            let Some((version, payload)) = self.wanted.get(&topic) else {
                continue;
            };
            if connection.is_under_way(&topic) {
                // It comes up again with the answer.
                continue;
            }
            if !requests.publish(&topic, payload.clone(), true) {
                connection.queue.push_front(topic);
                return;
            }
            connection.handed.push_back((topic, *version));
        }
    }

    fn answered(
        &mut self,
        topic: String,
        version: u64,
        refusal: Option<String>,
        connection: &mut Handing,
    ) {
        match self.wanted.get(&topic) {
            // A refusal is final: the broker would say the same again.
            Some((newest, _)) if *newest == version => drop(self.wanted.remove(&topic)),
            Some(_) => connection.queue.push_back(topic),
            None => {}
        }
        self.progress.send_modify(|progress| match refusal {
            None => progress.acked += 1,
            Some(reason) => {
                progress.refused += 1;
                progress.problem = Some(format!("message refused: {reason}"));
            }
        });
    }
}

/// What is set next, `None` when there will be none; waits for ever if that was said already.
async fn receive(
    incoming: Option<&mut mpsc::Receiver<(String, Bytes)>>,
) -> Option<(String, Bytes)> {
    match incoming {
        Some(incoming) => incoming.recv().await,
        None => std::future::pending().await,
    }
}
