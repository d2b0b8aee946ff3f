//! The device's side of MQTT: publishes packets until the broker has them.
//!
//! **Contract.** Every packet given to [`Publisher::publish`] reaches the broker at least once, in order, for
//! as long as the publisher lives; [`Publisher::close`] waits for the last acknowledgement. While the broker is
//! away `publish` waits for room, nothing is dropped. The retained status is `online` while connected
//! and `offline` after that, by last will if need be.
//!
//! After any error the client is dropped and a new one sends everything unacknowledged again: rumqttc's own
//! resending can run into packet ids that are taken (`CollisionTimeout`) and then makes no progress.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use ecg::DeviceId;
use secrecy::SecretString;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::backoff::Backoff;
use super::config::{Protocol, address, check_keep_alive};
use super::link::{Broken, Dial, Event, Requests};
use crate::{Error, Status, Topic, TopicKind};

/// How to publish as a device.
#[derive(Debug, Clone)]
pub struct PublisherConfig {
    /// `mqtt://host:port`.
    pub url: String,
    /// The user to log in as, if the broker asks.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<SecretString>,
    /// The version of MQTT.
    pub protocol: Protocol,
    /// Pings are sent, and the broker missed, after this long.
    pub keep_alive: Duration,
    /// Packets that may be unacknowledged.
    pub inflight: u16,
    /// How long the first connection may take before [`Publisher::connect`] gives up.
    pub connect_timeout: Duration,
    /// How long [`Publisher::close`] waits for acknowledgements.
    pub close_timeout: Duration,
    /// The longest wait between two attempts to reconnect.
    pub reconnect_max: Duration,
}

impl PublisherConfig {
    /// The usual settings for the broker at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            username: None,
            password: None,
            protocol: Protocol::V5,
            keep_alive: Duration::from_secs(30),
            inflight: 20,
            connect_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(30),
            reconnect_max: Duration::from_secs(10),
        }
    }
}

/// How far a publisher is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Connected at the moment.
    pub is_connected: bool,
    /// Connections that broke, and tries to have one: the broker may have taken one of which nothing was heard here.
    pub lost: u32,
    /// Packets that the broker has.
    pub acked: u64,
    /// Packets that the broker refused (MQTT 5 only), for example for lack of permission.
    pub refused: u64,
    /// What went wrong last.
    pub problem: Option<String>,
}

/// Publishes as one device. Dropping it breaks the connection, so that the broker publishes the last will.
#[derive(Debug)]
pub struct Publisher {
    packets: mpsc::Sender<Bytes>,
    published: u64,
    progress: watch::Receiver<Progress>,
    close_timeout: Duration,
    task: JoinHandle<()>,
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Publisher {
    /// Connects as `device`; the client id is the device's name.
    ///
    /// # Errors
    /// [`Error::Config`], or [`Error::Broker`] if there is no connection within the time for it.
    pub async fn connect(config: PublisherConfig, device: &DeviceId) -> Result<Self, Error> {
        let address = address(&config.url)?;
        check_keep_alive(config.keep_alive)?;
        let topic = |kind| Topic {
            device: device.clone(),
            kind,
        };
        let status_topic = topic(TopicKind::Status).to_string();
        let dial = Dial {
            address,
            client_id: device.to_string(),
            login: config.username.clone().map(|user| (user, config.password)),
            protocol: config.protocol,
            keep_alive: config.keep_alive,
            session_expiry: None,
            receive_maximum: 1,
            max_packet_bytes: 1024 * 1024,
            // Room to spare beyond the window, so that packet ids are seldom taken when they come round.
            inflight: config.inflight.clamp(1, 10_000) * 4,
            last_will: Some((status_topic.clone(), Status::Offline.name())),
        };
        let window = usize::from(config.inflight.clamp(1, 10_000));
        let (packets, incoming) = mpsc::channel(window);
        let (sender, mut progress) = watch::channel(Progress::default());
        let sending = Sending {
            signal_topic: topic(TopicKind::Signal).to_string(),
            status_topic,
            window,
            incoming: Some(incoming),
            unacked: BTreeMap::new(),
            next: 0,
            progress: sender,
        };
        let backoff = Backoff::new(Duration::from_millis(100), config.reconnect_max);
        let task = tokio::spawn(sending.run(dial, backoff));
        // From here on an error aborts the task.
        let publisher = Self {
            packets,
            published: 0,
            progress: progress.clone(),
            close_timeout: config.close_timeout,
            task,
        };
        let connected = progress.wait_for(|progress| progress.is_connected);
        if matches!(timeout(config.connect_timeout, connected).await, Ok(Ok(_))) {
            return Ok(publisher);
        }
        let problem = publisher.progress.borrow().problem.clone();
        Err(Error::Broker {
            broker: config.url,
            problem: problem.unwrap_or_else(|| "no answer".to_owned()),
        })
    }

    /// Publishes a packet with `QoS` 1, waiting while too many are unacknowledged.
    ///
    /// # Errors
    /// [`Error::Closed`] if the publisher's task is gone.
    pub async fn publish(&mut self, payload: impl Into<Bytes>) -> Result<(), Error> {
        let sent = self.packets.send(payload.into()).await;
        sent.map_err(|_| Error::Closed)?;
        self.published += 1;
        Ok(())
    }

    /// Packets given to [`publish`](Self::publish) so far.
    pub fn published(&self) -> u64 {
        self.published
    }

    /// Packets that the broker has acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.progress.borrow().acked
    }

    /// How far it is, now and whenever that changes.
    pub fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Waits until the broker has answered for every packet published.
    ///
    /// # Errors
    /// [`Error::Unacked`] if it refused any, or if the publisher's task is gone.
    pub async fn wait_all(&mut self) -> Result<(), Error> {
        let published = self.published;
        let answered = |progress: &Progress| progress.acked + progress.refused >= published;
        let answered = self.progress.wait_for(answered).await.is_ok();
        let acked = self.acked();
        if answered && acked >= published {
            return Ok(());
        }
        Err(Error::Unacked(published.saturating_sub(acked)))
    }

    /// Waits for every acknowledgement, publishes `offline` and disconnects.
    ///
    /// # Errors
    /// [`Error::Unacked`] if the broker refused packets or did not answer for all of them in time.
    pub async fn close(mut self) -> Result<(), Error> {
        // The end of the channel is what tells the task to finish.
        let (gone, _) = mpsc::channel(1);
        self.packets = gone;
        let ended = timeout(self.close_timeout, &mut self.task).await;
        let missing = self.published.saturating_sub(self.acked());
        if ended.is_ok() && missing == 0 {
            Ok(())
        } else {
            Err(Error::Unacked(missing))
        }
    }
}

/// The task behind a [`Publisher`].
struct Sending {
    signal_topic: String,
    status_topic: String,
    window: usize,
    /// `None` once the publisher is closing and everything was taken from it.
    incoming: Option<mpsc::Receiver<Bytes>>,
    /// Packets the broker does not have yet, by the order in which they were published.
    unacked: BTreeMap<u64, Bytes>,
    next: u64,
    progress: watch::Sender<Progress>,
}

/// What was handed to a connection, in its order.
#[derive(Clone, Copy)]
enum Handed {
    Packet(u64),
    Online,
    Offline,
}

impl Sending {
    async fn run(mut self, dial: Dial, mut backoff: Backoff) {
        loop {
            let ended = self.session(dial.clone(), &mut backoff).await;
            let problem = match ended {
                Ok(()) => return,
                Err(Broken::Lost(problem) | Broken::Refused(problem)) => problem,
                Err(Broken::TakenOver) => "another client uses the same client id".to_owned(),
            };
            tracing::debug!(problem, "publisher connection lost");
            self.progress.send_modify(|progress| {
                progress.is_connected = false;
                progress.lost += 1;
                progress.problem = Some(problem);
            });
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// One connection from beginning to end; `Ok` once all is sent and said.
    async fn session(&mut self, dial: Dial, backoff: &mut Backoff) -> Result<(), Broken> {
        let (requests, mut link) = dial.open();
        let mut connection = Handing {
            resend: self.unacked.keys().copied().collect(),
            ..Handing::default()
        };
        loop {
            let mut poll = pin!(link.poll());
            let event = loop {
                if connection.is_open {
                    self.resend(&mut connection, &requests);
                    self.finish(&mut connection, &requests);
                }
                let has_room = connection.is_open
                    && connection.resend.is_empty()
                    && self.unacked.len() < self.window;
                tokio::select! {
                    event = &mut poll => break event?,
                    packet = receive(self.incoming.as_mut()), if has_room => match packet {
                        None => self.incoming = None,
                        Some(payload) => {
                            self.unacked.insert(self.next, payload);
                            connection.resend.push_back(self.next);
                            self.next += 1;
                        }
                    },
                }
            };
            match event {
                Event::Connected { .. } => {
                    backoff.reset();
                    connection.is_open = true;
                    let online = Bytes::from_static(Status::Online.name().as_bytes());
                    if requests.publish(&self.status_topic, online, true) {
                        connection.handed.push_back(Handed::Online);
                    }
                    self.progress
                        .send_modify(|progress| progress.is_connected = true);
                }
                Event::Published(pkid) => {
                    if let Some(handed) = connection.handed.pop_front() {
                        connection.inflight.insert(pkid, handed);
                    }
                }
                Event::PubAcked { pkid, refusal } => match connection.inflight.remove(&pkid) {
                    Some(Handed::Packet(number)) => self.answered(number, refusal),
                    Some(Handed::Offline) => connection.goodbye = Goodbye::Offline,
                    Some(Handed::Online) | None => {}
                },
                Event::Disconnected => return Ok(()),
                Event::Message { .. } | Event::Subscribed(_) | Event::Other => {}
            }
        }
    }

    /// Hands over what is not yet with this connection, as far as there is room.
    fn resend(&self, connection: &mut Handing, requests: &Requests) {
        while let Some(&number) = connection.resend.front() {
            if let Some(payload) = self.unacked.get(&number) {
                if !requests.publish(&self.signal_topic, payload.clone(), false) {
                    return;
                }
                connection.handed.push_back(Handed::Packet(number));
            }
            connection.resend.pop_front();
        }
    }

    /// Says goodbye once everything is acknowledged: first the status, then the disconnect.
    fn finish(&self, connection: &mut Handing, requests: &Requests) {
        if self.incoming.is_some() || !self.unacked.is_empty() {
            return;
        }
        match connection.goodbye {
            Goodbye::NotYet => {
                let offline = Bytes::from_static(Status::Offline.name().as_bytes());
                if requests.publish(&self.status_topic, offline, true) {
                    connection.handed.push_back(Handed::Offline);
                    connection.goodbye = Goodbye::Asked;
                }
            }
            Goodbye::Offline if requests.disconnect() => connection.goodbye = Goodbye::Said,
            Goodbye::Asked | Goodbye::Offline | Goodbye::Said => {}
        }
    }

    fn answered(&mut self, number: u64, refusal: Option<String>) {
        if self.unacked.remove(&number).is_none() {
            return;
        }
        self.progress.send_modify(|progress| match refusal {
            None => progress.acked += 1,
            Some(reason) => {
                progress.refused += 1;
                progress.problem = Some(format!("packet refused: {reason}"));
            }
        });
    }
}

/// What one connection has been given.
#[derive(Default)]
struct Handing {
    is_open: bool,
    /// Packets to hand over.
    resend: VecDeque<u64>,
    /// Handed over, but without a packet id yet.
    handed: VecDeque<Handed>,
    /// By packet id.
    inflight: HashMap<u16, Handed>,
    goodbye: Goodbye,
}

/// The steps of a goodbye, each taken once.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    #[default]
    NotYet,
    /// `offline` is handed over.
    Asked,
    /// The broker has it.
    Offline,
    /// The disconnect is handed over.
    Said,
}

/// The next packet, `None` when there will be none; waits for ever if that was said already.
async fn receive(incoming: Option<&mut mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match incoming {
        Some(incoming) => incoming.recv().await,
        None => std::future::pending().await,
    }
}
