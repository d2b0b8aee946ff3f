//! The MQTT client: deliveries out, acknowledgements in.
//!
//! **Contract.** Each message of every device is delivered at least once and acknowledged only when its
//! [`Ack`] is done. The session is persistent (clean start false), so whatever is not acknowledged when this
//! process dies, the broker sends again. PUBACKs leave each connection in the order of its messages.
//!
//! The poll loop never waits for the pipeline: that would starve the keep-alive, and the broker would drop the
//! connection. A delivery that does not fit in the channel is parked; nothing is acknowledged meanwhile,
//! so the broker stops at the receive maximum. What would make more than [`Config::max_parked_bytes`] wait is forgotten,
//! and so is all that comes after it: it is not acknowledged. The connection stays, and what waits is worked and acknowledged
//! as ever; once nothing waits any more, it is closed in order and opened again, and the broker sends what was forgotten, in
//! the same order. So memory is bounded, each turn gets as far as the bound, and nothing is lost.
//!
//! ```text
//! Connecting --subscribed--> Connected --error, overload worked off--> Waiting --backoff--> Connecting
//!                                |
//!                            shutdown: no new deliveries, but acknowledgements that become done
//!                                |     are still sent, for at most Config::drain
//!                                v
//!                             Stopped  (disconnected; the session stays)
//! ```
//!
//! Acks of a lost connection are ignored, for the broker sends their messages again. A broker may do that
//! without setting DUP and under new packet ids: duplicates are recognised by what is in the packets.

mod ack;
mod backoff;
mod config;
mod link;
mod listener;
mod monitor;
mod publisher;
mod retainer;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use ecg::DeviceId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{Error, Topic, TopicKind};
use ack::Ledger;
use backoff::Backoff;
use link::{Broken, Dial, Event, Requests};

pub use ack::Ack;
pub use config::{Config, Protocol, Tls};
pub use listener::{Heard, Listener};
use monitor::InFlight;
pub use monitor::{Counts, Loss, Monitor, State};
pub use publisher::{Progress, Publisher, PublisherConfig};
pub use retainer::Retainer;

/// A connection that ends sooner after it stood was of no use: the pauses between tries go on growing.
const STEADY: Duration = Duration::from_secs(5);

/// After an overload, so long without an acknowledgement that could be sent, and a new connection is to bring what the
/// pipeline needs to get on.
const STALLED: Duration = Duration::from_secs(6);

/// How long the goodbye may take once nothing is waited for any more.
const GOODBYE: Duration = Duration::from_secs(1);

/// A message of a device.
#[derive(Debug)]
pub struct Delivery {
    /// Whose it is.
    pub device: DeviceId,
    /// What it is.
    pub kind: TopicKind,
    /// The packet or status.
    pub payload: Bytes,
    /// When it came from the broker.
    pub received: std::time::Instant,
    /// To be called when everything derived from it is durable.
    pub ack: Ack,
}

/// Receives until shutdown: the messages of all devices go to `deliveries`.
///
/// An unreachable broker is no error: it is tried again for ever, and `monitor` says how things stand.
///
/// # Errors
/// [`Error::Config`] for settings that cannot be used; [`Error::Closed`] if nobody takes deliveries any more.
pub async fn run(
    config: Config,
    deliveries: mpsc::Sender<Delivery>,
    monitor: Arc<Monitor>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    config.check()?;
    monitor.begin(config.connections, config.receive_maximum);
    let mut connections = JoinSet::new();
    for number in 0..config.connections {
        let connection = Connection {
            number,
            address: config.address()?,
            config: config.clone(),
            deliveries: Some(deliveries.clone()),
            monitor: Arc::clone(&monitor),
            shutdown: shutdown.clone(),
            n_brief: 0,
            is_behind: false,
        };
        connections.spawn(connection.run());
    }
    drop(deliveries);
    // The first to end decides: the others are told and waited for.
    let mut outcome = Ok(());
    while let Some(ended) = connections.join_next().await {
        let ended = match ended {
            Ok(ended) => ended,
            Err(join) => std::panic::resume_unwind(join.into_panic()),
        };
        if ended.is_err() {
            outcome = ended;
            shutdown.cancel();
        }
    }
    outcome
}

struct Connection {
    number: u8,
    address: (String, u16),
    config: Config,
    /// Dropped when shutdown begins, so that the pipeline sees the end.
    deliveries: Option<mpsc::Sender<Delivery>>,
    monitor: Arc<Monitor>,
    shutdown: CancellationToken,
    /// Connections on end that stood for less than [`STEADY`].
    n_brief: u32,
    /// The last connection ended for more than may wait, and this one has not stood for [`STEADY`] yet: the broker keeps
    /// packets.
    is_behind: bool,
}

/// How a session ended.
enum Ended {
    Lost(Loss, String),
    Shutdown,
    /// The receiver of deliveries is gone.
    Closed,
}

/// What wakes the loop of a session.
enum Wake {
    Event(Result<Event, Broken>),
    /// An acknowledgement was done or dropped.
    Ack,
    /// A parked delivery went into the channel.
    Room,
    Closed,
    Shutdown,
    Deadline,
    /// What had come before an overload is dealt with.
    WorkedOff,
    /// It has stood for long enough to have brought what an overload had left with the broker.
    Steady,
}

/// One connection as it stands.
struct Session {
    requests: Requests,
    ledger: Arc<Ledger>,
    parked: Parked,
    /// The broker had kept what was not acknowledged.
    is_resumed: bool,
    /// When it was subscribed.
    stands_since: Option<Instant>,
    /// Once shutdown has begun: when to stop waiting.
    deadline: Option<Instant>,
    said_goodbye: bool,
    /// Once more than may wait has come.
    over: Option<Over>,
}

/// More has come than may wait: what comes is forgotten.
struct Over {
    /// When something was acknowledged last, or handed to the pipeline.
    progress: Instant,
    /// Something was acknowledged: the next connection begins further on.
    has_acked: bool,
}

/// Deliveries that did not fit in the channel, in order.
#[derive(Default)]
struct Parked {
    queue: VecDeque<Delivery>,
    n_bytes: usize,
}

impl Connection {
    async fn run(mut self) -> Result<(), Error> {
        let mut backoff = Backoff::new(self.config.reconnect_min, self.config.reconnect_max);
        loop {
            self.monitor.set(self.number, State::Connecting);
            let (loss, problem) = match self.session(&mut backoff).await {
                Ended::Lost(loss, problem) => (loss, problem),
                Ended::Shutdown => break,
                Ended::Closed => {
                    self.monitor.set(self.number, State::Stopped);
                    return Err(Error::Closed);
                }
            };
            self.monitor.count_loss(loss);
            // Many brokers do not say that they have given the session to another.
            let problem = match loss {
                Loss::Network if self.n_brief >= 3 => {
                    format!("{problem}, again soon: another client may use the same client id")
                }
                _ => problem,
            };
            if self.shutdown.is_cancelled() {
                break;
            }
            let wait = match loss {
                // Two that take the session from each other in turns would carry nothing.
                Loss::TakenOver => self.config.reconnect_max,
                // There is nothing to be waited for: something was acknowledged, or nothing has been for long.
                Loss::Overload => Duration::ZERO,
                _ => backoff.wait(),
            };
            let (host, port) = &self.address;
            tracing::warn!(
                connection = self.number,
                broker = %format_args!("{host}:{port}"),
                reason = loss.name(),
                problem,
                wait_ms = wait.as_millis(),
                "broker connection lost"
            );
            self.monitor.set(self.number, State::Waiting { problem });
            tokio::select! {
                () = sleep(wait) => {}
                () = self.shutdown.cancelled() => break,
            }
        }
        self.monitor.set(self.number, State::Stopped);
        Ok(())
    }

    fn dial(&self) -> Dial {
        let seconds = self.config.session_expiry.as_secs();
        Dial {
            address: self.address.clone(),
            client_id: self.config.client_id(self.number),
            login: self
                .config
                .username
                .clone()
                .map(|user| (user, self.config.password.clone())),
            protocol: self.config.protocol,
            keep_alive: self.config.keep_alive,
            session_expiry: Some(u32::try_from(seconds).unwrap_or(u32::MAX)),
            receive_maximum: self.config.receive_maximum,
            max_packet_bytes: self.config.max_packet_bytes,
            inflight: 1,
            last_will: None,
        }
    }

    /// The packets that this connection subscribes to.
    fn signals(&self) -> String {
        match self.config.connections {
            1 => TopicKind::Signal.filter(),
            _ => TopicKind::Signal.shared_filter(&self.config.share_group),
        }
    }

    /// The states of devices that it subscribes to. A shared subscription does not bring those that are retained, and they are
    /// few: the first connection has them for itself. They are not to be kept: the newest is retained, and comes with each
    /// subscription; older ones, sent again after a reconnect, would tell of what is over.
    fn presence(&self) -> Vec<String> {
        let first = (self.number == 0).then(|| TopicKind::Status.filter());
        first.into_iter().collect()
    }

    /// One connection from beginning to end.
    async fn session(&mut self, backoff: &mut Backoff) -> Ended {
        let (requests, mut link) = self.dial().open();
        let mut session = Session {
            requests,
            ledger: Arc::new(Ledger::default()),
            parked: Parked::default(),
            is_resumed: false,
            stands_since: None,
            deadline: None,
            said_goodbye: false,
            over: None,
        };
        let ended = 'session: loop {
            // A poll that has begun is always finished: dropping it could lose an acknowledgement.
            let mut poll = pin!(link.poll());
            let event = loop {
                self.send_acks(&mut session);
                self.note(&session);
                let worked_off = session.worked_off();
                let deadline = session.deadline;
                let stands_since = session
                    .stands_since
                    .filter(|_| self.is_behind && session.over.is_none());
                let steady = stands_since.map(|since| since + STEADY);
                let wake = tokio::select! {
                    event = &mut poll => Wake::Event(event),
                    () = session.ledger.changed() => Wake::Ack,
                    room = room(self.deliveries.as_ref()), if !session.parked.queue.is_empty() => match room {
                        Some(room) => {
                            if let Some(delivery) = session.parked.take(&self.monitor) {
                                room.send(delivery);
                            }
                            session.get_on(false);
                            Wake::Room
                        }
                        None => Wake::Closed,
                    },
                    () = self.shutdown.cancelled(), if deadline.is_none() => Wake::Shutdown,
                    () = at(deadline) => Wake::Deadline,
                    () = at(worked_off) => Wake::WorkedOff,
                    () = at(steady) => Wake::Steady,
                };
                match wake {
                    Wake::Event(event) => break event,
                    Wake::Ack | Wake::Room => {}
                    Wake::Steady => self.is_behind = false,
                    Wake::Closed => break 'session Ended::Closed,
                    Wake::Shutdown => {
                        self.deliveries = None;
                        session.parked.forget(&self.monitor);
                        session.deadline = Some(Instant::now() + self.config.drain);
                    }
                    Wake::Deadline if session.said_goodbye => break 'session self.parted(&session),
                    // What was acknowledged is written first.
                    Wake::Deadline | Wake::WorkedOff => session.say_goodbye(),
                }
            };
            if let Err(ended) = self.handle(event, &mut session) {
                break ended;
            }
        };
        session.parked.forget(&self.monitor);
        self.is_behind = session.over.is_some();
        let in_flight = InFlight {
            is_behind: self.is_behind,
            ..InFlight::default()
        };
        self.monitor.note(self.number, in_flight);
        match session.stands_since.map(|since| since.elapsed()) {
            // As it should.
            _ if session.over.is_some() => {}
            Some(stood) if stood < STEADY => self.n_brief += 1,
            Some(_) => {
                self.n_brief = 0;
                backoff.reset();
            }
            None => {}
        }
        ended
    }

    /// Deals with what happened on the connection; an error ends it.
    fn handle(&self, event: Result<Event, Broken>, session: &mut Session) -> Result<(), Ended> {
        match event {
            Ok(Event::Connected { session_present }) => {
                session.is_resumed = session_present;
                if !session
                    .requests
                    .subscribe(&[self.signals()], &self.presence())
                {
                    let problem = "the subscription could not be sent".to_owned();
                    return Err(Ended::Lost(Loss::Subscription, problem));
                }
                Ok(())
            }
            Ok(Event::Subscribed(Ok(()))) => {
                let session_present = session.is_resumed;
                session.stands_since = Some(Instant::now());
                self.monitor.connects.fetch_add(1, Relaxed);
                tracing::info!(
                    connection = self.number,
                    session_present,
                    "broker connected"
                );
                self.monitor
                    .set(self.number, State::Connected { session_present });
                Ok(())
            }
            Ok(Event::Subscribed(Err(code))) => {
                let problem = format!("subscription refused: {code}");
                Err(Ended::Lost(Loss::Subscription, problem))
            }
            Ok(Event::Message {
                topic,
                payload,
                pkid,
            }) if session.deadline.is_none() && session.over.is_none() => {
                if let Some(delivery) = self.delivery(&session.ledger, &topic, payload, pkid) {
                    self.hand_over(delivery, session)?;
                }
                Ok(())
            }
            // After the goodbye the broker closes the connection.
            Ok(Event::Disconnected) | Err(_) if session.said_goodbye => Err(self.parted(session)),
            Ok(_) => Ok(()),
            Err(Broken::Lost(problem)) => Err(Ended::Lost(Loss::Network, problem)),
            Err(Broken::TakenOver) => {
                let problem = "another client uses the same client id".to_owned();
                Err(Ended::Lost(Loss::TakenOver, problem))
            }
            Err(Broken::Refused(code)) => {
                let problem = format!("connection refused: {code}");
                Err(Ended::Lost(Loss::Refused, problem))
            }
        }
    }

    /// Enters a message in the ledger; `None` if its topic is none of ours.
    fn delivery(
        &self,
        ledger: &Arc<Ledger>,
        topic: &[u8],
        payload: Bytes,
        pkid: u16,
    ) -> Option<Delivery> {
        let ack = match pkid {
            0 => Ack::none(),
            pkid => ledger.enter(pkid),
        };
        self.monitor.messages.fetch_add(1, Relaxed);
        let n_bytes = payload.len() as u64;
        self.monitor.payload_bytes.fetch_add(n_bytes, Relaxed);
        let topic = std::str::from_utf8(topic).unwrap_or_default();
        let Ok(Topic { device, kind }) = topic.parse() else {
            self.monitor.refused_topics.fetch_add(1, Relaxed);
            ack.done();
            return None;
        };
        Some(Delivery {
            device,
            kind,
            payload,
            received: Instant::now().into_std(),
            ack,
        })
    }

    /// What it means that the goodbye was said.
    fn parted(&self, session: &Session) -> Ended {
        if session.over.is_some() && !self.shutdown.is_cancelled() {
            let problem = format!("over {} bytes waited", self.config.max_parked_bytes);
            return Ended::Lost(Loss::Overload, problem);
        }
        Ended::Shutdown
    }

    /// Sends a delivery on, or parks it behind those that wait already; one too many is dropped, and with it its
    /// acknowledgement, which keeps back those of all later ones.
    fn hand_over(&self, delivery: Delivery, session: &mut Session) -> Result<(), Ended> {
        let parked = &mut session.parked;
        let Some(deliveries) = &self.deliveries else {
            return Ok(());
        };
        let delivery = if parked.queue.is_empty() {
            match deliveries.try_send(delivery) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(delivery)) => delivery,
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(Ended::Closed),
            }
        } else {
            delivery
        };
        if parked.n_bytes + Parked::bytes(&delivery) > self.config.max_parked_bytes {
            let (n_parked, n_bytes) = (parked.queue.len(), parked.n_bytes);
            tracing::warn!(
                connection = self.number,
                n_parked,
                n_bytes,
                "the pipeline is behind, the broker keeps the rest"
            );
            session.over = Some(Over {
                progress: Instant::now(),
                has_acked: false,
            });
            return Ok(());
        }
        parked.put(delivery, &self.monitor);
        Ok(())
    }

    /// Notes what the broker waits for.
    fn note(&self, session: &Session) {
        let in_flight = InFlight {
            n_unacked: session.ledger.len(),
            is_over: session.over.is_some(),
            is_behind: self.is_behind,
            waits_since: session.parked.since(),
        };
        self.monitor.note(self.number, in_flight);
    }

    /// Sends the acknowledgements whose turn has come, and after shutdown, the last of them, the goodbye.
    fn send_acks(&self, session: &mut Session) {
        let requests = &session.requests;
        let n_sent = session.ledger.release(|pkid| requests.ack(pkid));
        self.monitor.acked.fetch_add(n_sent, Relaxed);
        if n_sent > 0 {
            session.get_on(true);
        }
        if session.deadline.is_some() && !session.said_goodbye && session.ledger.is_settled() {
            session.say_goodbye();
        }
    }
}

impl Session {
    /// Notes that something was handed to the pipeline or acknowledged.
    fn get_on(&mut self, has_acked: bool) {
        if let Some(over) = &mut self.over {
            over.progress = Instant::now();
            over.has_acked |= has_acked;
        }
    }

    /// After an overload: when the connection is to be left for a new one, if nothing happens before.
    fn worked_off(&self) -> Option<Instant> {
        let over = self.over.as_ref()?;
        let is_open = self.deadline.is_none() && self.parked.queue.is_empty();
        let patience = if over.has_acked {
            Duration::ZERO
        } else {
            STALLED
        };
        is_open.then(|| over.progress + patience)
    }

    fn say_goodbye(&mut self) {
        self.said_goodbye = self.requests.disconnect();
        self.deadline = Some(Instant::now() + GOODBYE);
    }
}

impl Parked {
    /// What a delivery takes while it waits.
    fn bytes(delivery: &Delivery) -> usize {
        size_of::<Delivery>() + delivery.device.as_str().len() + delivery.payload.len()
    }

    /// When the oldest came.
    fn since(&self) -> Option<std::time::Instant> {
        self.queue.front().map(|delivery| delivery.received)
    }

    fn put(&mut self, delivery: Delivery, monitor: &Monitor) {
        self.n_bytes += Self::bytes(&delivery);
        self.queue.push_back(delivery);
        monitor.parked.fetch_add(1, Relaxed);
    }

    fn take(&mut self, monitor: &Monitor) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        self.n_bytes -= Self::bytes(&delivery);
        monitor.parked.fetch_sub(1, Relaxed);
        Some(delivery)
    }

    /// Leaves what is parked to the broker.
    fn forget(&mut self, monitor: &Monitor) {
        let n_parked = self.queue.len() as u64;
        monitor.parked.fetch_sub(n_parked, Relaxed);
        *self = Self::default();
    }
}

/// Waits for an instant; for ever where there is none.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// Room for one delivery, `None` if the receiver is gone.
async fn room(deliveries: Option<&mpsc::Sender<Delivery>>) -> Option<mpsc::Permit<'_, Delivery>> {
    deliveries?.reserve().await.ok()
}
