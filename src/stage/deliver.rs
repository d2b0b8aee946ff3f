//! Takes messages from the outbox to webhooks.
//!
//! **At least once, in order per device and subscriber.** A message of a device is not sent before the one before it has
//! arrived or was given up; messages that are held in a pause stand aside. Devices do not hold each other up, and neither
//! do subscribers: each has a worker. All that must not be forgotten is in the database, so a worker may end at any
//! moment: what was on its way is sent again, under the same id.
//!
//! ```text
//! outbox --filter--> pending --2xx--> (no row)
//!                    |  ^  |
//!              pause |  |  | 410, or in vain for delivery.dead_after
//!                    v  |  v
//!                   held   dead --retry--> pending
//!                    |
//!                    +---> skipped: the alarm came and went in the pause
//! ```

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ecg::{DeviceId, Utc};
use store::{Delivery, DeliveryState, Message, NewDelivery, Outcome, Store, Subscriber};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::delivery::{self, Body, Config, Key, Outgoing};
use crate::metrics::Metrics;
use crate::wall;

/// Messages looked at in one transaction.
const AT_ONCE: u32 = 200;
/// Devices whose first message is looked at.
const HEADS: u32 = 512;
/// How long to leave the database alone after an error.
const PAUSE: Duration = Duration::from_secs(1);
/// How long requests that are under way may take at the end.
const GOODBYE: Duration = Duration::from_millis(500);

/// What the stage works with.
#[derive(Clone)]
pub struct Deliver {
    /// How to try, and how often.
    pub config: Config,
    /// Where messages come from.
    pub store: Store,
    /// News, and who is paused.
    pub outgoing: Arc<Outgoing>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends it.
    pub shutdown: CancellationToken,
}

/// What receivers are reached through: certificates of this system, no redirects.
///
/// # Errors
/// TLS that cannot be set up: a defect.
pub fn client() -> Result<reqwest::Client, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls_native_certs::load_native_certs().certs {
        // One that cannot be read is of no use to anybody.
        roots.add(certificate).ok();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("einthoven/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(client)
}

impl Deliver {
    /// Runs until shutdown: one worker for each subscriber there is.
    pub async fn run(self) {
        let client = match client() {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(%error, "no HTTP client");
                return;
            }
        };
        let mut workers: HashMap<Uuid, (CancellationToken, JoinHandle<()>)> = HashMap::new();
        let mut news = self.outgoing.news();
        let mut is_failing = false;
        loop {
            news.mark_unchanged();
            let subscribers = self.store.subscribers();
            let Some(subscribers) = self.shutdown.run_until_cancelled(subscribers).await else {
                break;
            };
            match subscribers {
                Ok(subscribers) => {
                    is_failing = false;
                    let known: HashSet<Uuid> = subscribers.iter().map(|s| s.id).collect();
                    workers.retain(|id, (stop, task)| {
                        if !known.contains(id) {
                            stop.cancel();
                        }
                        // One that has ended by itself begins anew.
                        known.contains(id) && !task.is_finished()
                    });
                    for id in known {
                        workers.entry(id).or_insert_with(|| {
                            let stop = self.shutdown.child_token();
                            let worker = Worker {
                                id,
                                shared: self.clone(),
                                client: client.clone(),
                                under_way: JoinSet::new(),
                                busy: HashSet::new(),
                                heads: HashMap::new(),
                                is_cut: false,
                                loaded: None,
                                touched: BTreeSet::new(),
                                has_held: true,
                            };
                            (stop.clone(), tokio::spawn(worker.run(stop)))
                        });
                    }
                }
                Err(error) => {
                    if !is_failing {
                        tracing::warn!(%error, "subscribers not known, trying again");
                    }
                    is_failing = true;
                }
            }
            tokio::select! {
                () = rest(&mut news, self.config.poll) => {}
                () = self.shutdown.cancelled() => break,
            }
        }
        for (_, (_, task)) in workers {
            if let Err(error) = task.await {
                tracing::error!(%error, "delivery worker failed");
            }
        }
    }
}

/// Whether a message may be sent. One that came after now, and was never tried, is from before the clock was set back.
fn is_due(head: &Delivery, now: Utc) -> bool {
    head.next <= now || (head.attempts == 0 && head.since > now)
}

/// Waits for news, or as long as that.
async fn rest(news: &mut watch::Receiver<u64>, limit: Duration) {
    // The sender lives as long as the service; without it there is only the poll.
    match tokio::time::timeout(limit, news.changed()).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(_)) => tokio::time::sleep(limit).await,
    }
}

/// Delivers to one subscriber.
struct Worker {
    id: Uuid,
    shared: Deliver,
    client: reqwest::Client,
    under_way: JoinSet<Sent>,
    /// Devices with a message on its way.
    busy: HashSet<DeviceId>,
    /// The first message of each device, as far as it is known.
    heads: HashMap<DeviceId, Delivery>,
    /// Whether there are more than were asked for.
    is_cut: bool,
    /// When all of them were asked for, and what [`Outgoing::reloads`] said then.
    loaded: Option<(tokio::time::Instant, u64)>,
    /// Devices whose first message may be another one by now.
    touched: BTreeSet<DeviceId>,
    /// Whether messages may be held.
    has_held: bool,
}

/// A message that was sent, and what came of it.
struct Sent {
    delivery: Delivery,
    answer: Answer,
}

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// The receiver has it.
    Delivered,
    /// The receiver wants no more of it (410).
    Gone,
    /// The receiver said something else, and perhaps when to come again.
    Refused(u16, Option<Duration>),
    /// The receiver did not answer in time.
    Timeout,
    /// There is no connection, and why.
    Unreachable(String),
}

impl Answer {
    /// The word for it in labels.
    fn name(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Gone => "gone",
            Self::Refused(..) => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable(_) => "unreachable",
        }
    }

    /// What to do after the `attempt`-th failure of a message that was to be sent since `since`; `None` if it arrived.
    fn outcome(
        &self,
        message: Uuid,
        attempt: u32,
        since: Utc,
        now: Utc,
        config: &Config,
    ) -> Option<Outcome> {
        let (reason, asked) = match self {
            Self::Delivered => return None,
            Self::Gone => ("the receiver answered 410".to_owned(), None),
            Self::Refused(status, asked) => (format!("the receiver answered {status}"), *asked),
            Self::Timeout => (format!("no answer within {:?}", config.timeout), None),
            Self::Unreachable(why) => (why.clone(), None),
        };
        let given_up = since.plus_seconds(config.dead_after.as_secs_f64());
        if *self == Self::Gone || now >= given_up {
            return Some(Outcome {
                state: DeliveryState::Dead,
                next: now,
                reason,
            });
        }
        let pause = delivery::backoff(message, attempt, config.retry_min, config.retry_max);
        let pause = pause.max(asked.unwrap_or_default());
        // The last attempt is made when its time is up, not long after.
        let next = now.plus_seconds(pause.as_secs_f64()).min(given_up);
        Some(Outcome {
            state: DeliveryState::Pending,
            next,
            reason,
        })
    }
}

impl Worker {
    async fn run(mut self, stop: CancellationToken) {
        let mut news = self.shared.outgoing.news();
        let mut is_failing = false;
        loop {
            news.mark_unchanged();
            let Some(step) = stop.run_until_cancelled(self.step()).await else {
                break;
            };
            let limit = match step {
                Ok(None) => return,
                Ok(Some(wait)) => {
                    is_failing = false;
                    wait.min(self.shared.config.poll)
                }
                Err(error) => {
                    if !is_failing {
                        tracing::warn!(%error, subscriber = %self.id, "delivery waits for the database");
                    }
                    is_failing = true;
                    PAUSE
                }
            };
            tokio::select! {
                Some(sent) = self.under_way.join_next() => self.note(sent, &stop).await,
                () = rest(&mut news, limit) => {}
                () = stop.cancelled() => break,
            }
        }
        // What is on its way may still arrive; else it is sent again after the restart.
        let all = async {
            while let Some(sent) = self.under_way.join_next().await {
                self.note(sent, &stop).await;
            }
        };
        tokio::time::timeout(GOODBYE, all).await.ok();
    }

    /// Looks at what is new and what is due, and sends what may be sent: how long there is nothing else to do, or `None`
    /// once the subscriber is gone.
    async fn step(&mut self) -> Result<Option<Duration>, store::Error> {
        let store = self.shared.store.clone();
        let outgoing = Arc::clone(&self.shared.outgoing);
        let Some(subscriber) = store.subscriber(self.id).await? else {
            return Ok(None);
        };
        self.read_outbox(&subscriber).await?;

        let now = wall::utc();
        let is_paused = |device: &DeviceId| outgoing.pause(device, now).is_some();
        if self.has_held {
            let held = store.held(self.id).await?;
            let moves = delivery::release(&held, is_paused);
            if !moves.is_empty() {
                store.settle(self.id, &moves, now).await?;
                self.loaded = None;
            }
            self.has_held = held.len() > moves.len();
        }
        self.load_heads(now).await?;

        // What was being tried when the pause began waits too.
        let holds = |head: &&Delivery| {
            delivery::holds(head.priority)
                && !self.busy.contains(&head.message.record.device)
                && is_paused(&head.message.record.device)
        };
        let moves: Vec<_> = self
            .heads
            .values()
            .filter(holds)
            .map(|head| (head.message.seq, DeliveryState::Held, None))
            .collect();
        if !moves.is_empty() {
            store.settle(self.id, &moves, now).await?;
            (self.has_held, self.loaded) = (true, None);
            // What stood behind them may be due.
            return Ok(Some(Duration::ZERO));
        }

        let idle = self.heads.values();
        let idle = idle.filter(|head| !self.busy.contains(&head.message.record.device));
        let (mut due, later): (Vec<&Delivery>, Vec<&Delivery>) =
            idle.partition(|head| is_due(head, now));
        let next = later.into_iter().map(|head| head.next);
        let next = next.chain(outgoing.next_end(now)).min();
        due.sort_by_key(|head| (std::cmp::Reverse(head.priority), head.message.seq));
        let room = self.shared.config.in_flight;
        due.truncate(room.saturating_sub(self.under_way.len()));
        for head in due.into_iter().cloned().collect::<Vec<_>>() {
            self.send(head, &subscriber);
        }
        let wait = next.map_or(Duration::MAX, |next| {
            Duration::from_secs_f64(next.seconds_since(now).clamp(0.001, 3600.0))
        });
        Ok(Some(wait))
    }

    /// Learns the first message of each device: of those with changes, or, now and then, of all of them. Asking for all
    /// takes the longer the more is pending, asking for one does not.
    async fn load_heads(&mut self, now: Utc) -> Result<(), store::Error> {
        let store = &self.shared.store;
        let reloads = self.shared.outgoing.reloads();
        let is_fresh = self
            .loaded
            .is_some_and(|(at, seen)| at.elapsed() < self.shared.config.poll && seen == reloads);
        let is_idle_and_due =
            |head: &Delivery| is_due(head, now) && !self.busy.contains(&head.message.record.device);
        let has_all = !self.is_cut || self.heads.values().any(is_idle_and_due);
        if !is_fresh || !has_all {
            let heads = store.heads(self.id, HEADS).await?;
            self.is_cut = heads.len() == HEADS as usize;
            let device = |head: &Delivery| head.message.record.device.clone();
            self.heads = heads
                .into_iter()
                .map(|head| (device(&head), head))
                .collect();
            self.touched.clear();
            self.loaded = Some((tokio::time::Instant::now(), reloads));
        }
        while let Some(device) = self.touched.first().cloned() {
            match store.head(self.id, &device).await? {
                Some(head) => drop(self.heads.insert(device.clone(), head)),
                None => drop(self.heads.remove(&device)),
            }
            self.touched.remove(&device);
        }
        Ok(())
    }

    /// Makes deliveries of the messages that the subscriber has not been looked at for.
    async fn read_outbox(&mut self, subscriber: &Subscriber) -> Result<(), store::Error> {
        let store = &self.shared.store;
        let mut from = subscriber.read_until;
        loop {
            let messages = store.messages_after(from, AT_ONCE).await?;
            let Some(last) = messages.last() else {
                return Ok(());
            };
            let now = wall::utc();
            let row = |message: &Message| {
                let device = &message.record.device;
                let is_paused = self.shared.outgoing.pause(device, now).is_some();
                NewDelivery {
                    seq: message.seq,
                    device: device.clone(),
                    state: if is_paused && delivery::holds(message.priority) {
                        DeliveryState::Held
                    } else {
                        DeliveryState::Pending
                    },
                }
            };
            let wanted = |message: &&Message| delivery::lets_through(&subscriber.filter, message);
            let rows: Vec<NewDelivery> = messages.iter().filter(wanted).map(row).collect();
            if !store.fan_out(self.id, from, last.seq, &rows, now).await? {
                return Ok(());
            }
            from = last.seq;
            for row in rows {
                self.has_held |= row.state == DeliveryState::Held;
                self.touched.insert(row.device);
            }
        }
    }

    fn send(&mut self, delivery: Delivery, subscriber: &Subscriber) {
        let key = match Key::read(&subscriber.secret) {
            Ok(key) => key,
            // Checked when it was given.
            Err(error) => {
                tracing::error!(error, subscriber = %self.id, "secret in the database cannot be used");
                return;
            }
        };
        let message = &delivery.message;
        let body = Body::from(message).bytes();
        let timestamp = wall::utc().0.div_euclid(1_000_000);
        let request = self
            .client
            .post(&subscriber.url)
            .timeout(self.shared.config.timeout)
            .header("content-type", "application/json")
            .header("webhook-id", message.id.to_string())
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", key.sign(message.id, timestamp, &body))
            .body(body);
        self.busy.insert(message.record.device.clone());
        self.under_way.spawn(async move {
            let answer = ask(request).await;
            Sent { delivery, answer }
        });
    }

    /// Writes down what came of an attempt, however often that takes.
    async fn note(&mut self, sent: Result<Sent, tokio::task::JoinError>, stop: &CancellationToken) {
        let Sent { delivery, answer } = match sent {
            Ok(sent) => sent,
            Err(error) => {
                // Nothing in it panics. Which device it was is lost with it, so all of them are looked at again.
                tracing::error!(%error, subscriber = %self.id, "a request failed");
                self.under_way.abort_all();
                self.busy.clear();
                self.loaded = None;
                return;
            }
        };
        let metrics = &self.shared.metrics;
        metrics
            .delivery_attempts
            .with_label_values(&[answer.name()])
            .inc();
        let Delivery { message, .. } = &delivery;
        let now = wall::utc();
        let attempt = delivery.attempts.saturating_add(1);
        let config = &self.shared.config;
        let outcome = answer.outcome(message.id, attempt, delivery.since, now, config);
        if let Some(outcome) = &outcome {
            let (subscriber, reason, id) = (self.id, &outcome.reason, message.id);
            if outcome.state == DeliveryState::Dead {
                tracing::error!(%subscriber, message = %id, reason, attempt, "message given up");
            } else if attempt == 1 {
                tracing::warn!(%subscriber, message = %id, reason, "message not delivered, trying again");
            }
        } else {
            let latency = now.seconds_since(message.stored);
            metrics.delivery_latency.observe(latency.max(0.0));
        }
        loop {
            let store = &self.shared.store;
            let noted = match &outcome {
                None => store.delivered(self.id, message.seq).await,
                Some(outcome) => store.failed(self.id, message.seq, outcome).await,
            };
            match noted {
                Ok(()) => break,
                // It stays as it was, and is sent again.
                Err(error) if !error.is_transient() || stop.is_cancelled() => {
                    tracing::error!(%error, subscriber = %self.id, "delivery not noted");
                    tokio::time::sleep(PAUSE).await;
                    break;
                }
                Err(_) => tokio::time::sleep(PAUSE / 5).await,
            }
        }
        self.busy.remove(&message.record.device);
        self.touched.insert(message.record.device.clone());
    }
}

/// Sends a request and reads the head of the answer.
async fn ask(request: reqwest::RequestBuilder) -> Answer {
    match request.send().await {
        Ok(response) => {
            let status = response.status();
            let asked = response
                .headers()
                .get(reqwest::header::RETRY_AFTER)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| delivery::retry_after(value, wall::utc()));
            match status.as_u16() {
                _ if status.is_success() => Answer::Delivered,
                410 => Answer::Gone,
                code => Answer::Refused(code, asked),
            }
        }
        Err(error) if error.is_timeout() => Answer::Timeout,
        Err(error) => Answer::Unreachable(why(&error.without_url())),
    }
}

/// The error and its causes, which name no URL, for that may hold a password.
fn why(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text.chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::Mutex;

    use super::*;
    use crate::config::Config as Settings;

    fn config() -> Config {
        Settings::load(None, [], &[]).unwrap().delivery
    }

    #[test]
    fn a_client_can_be_made_and_names_why_nobody_answers() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let client = client().unwrap();
            let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = taken.local_addr().unwrap().port();
            drop(taken);
            let url = format!("http://127.0.0.1:{port}/?token=hunter2");
            let answer = ask(client.post(url)).await;
            let Answer::Unreachable(why) = &answer else {
                panic!("{answer:?}");
            };
            assert!(why.contains("refused") && !why.contains("hunter2"), "{why}");
        });
    }

    #[test]
    fn failures_are_tried_again_until_their_time_is_up() {
        let config = config();
        let id = Uuid::from_u128(3);
        let at = |seconds: f64| Utc(0).plus_seconds(seconds);
        let outcome = |answer: Answer, attempt, now: f64| {
            answer.outcome(id, attempt, at(0.0), at(now), &config)
        };
        assert_eq!(outcome(Answer::Delivered, 1, 1.0), None);
        let dead = outcome(Answer::Gone, 1, 1.0).unwrap();
        assert_eq!(dead.state, DeliveryState::Dead);
        let pause = |answer: Answer, attempt, now: f64| {
            let outcome = outcome(answer, attempt, now).unwrap();
            assert_eq!(outcome.state, DeliveryState::Pending, "{outcome:?}");
            outcome.next.seconds_since(at(now))
        };
        assert!((0.5..=1.0).contains(&pause(Answer::Timeout, 1, 9.0)));
        assert!((150.0..=300.0).contains(&pause(Answer::Refused(500, None), 30, 9.0)));
        // What the receiver asks for, but not beyond the end.
        let asked = |seconds| Answer::Refused(429, Some(Duration::from_secs(seconds)));
        assert!((pause(asked(1000), 1, 0.0) - 1000.0).abs() < 1e-6);
        assert!(pause(asked(0), 1, 0.0) >= 0.5);
        let day = 24.0 * 3600.0;
        assert!((pause(asked(1000), 1, day - 10.0) - 10.0).abs() < 1e-6);
        let dead = outcome(Answer::Timeout, 9, day).unwrap();
        assert_eq!(dead.state, DeliveryState::Dead);
        assert!(dead.reason.contains("no answer within 10s"), "{dead:?}");
    }

    /// Alarm and type of each message that came.
    type Told = Arc<Mutex<Vec<(String, String)>>>;

    /// Listens as receivers do, answers 204 and remembers.
    fn receiver() -> (String, Told) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut bytes = Vec::new();
                let body = loop {
                    let mut more = [0; 4096];
                    let n = stream.read(&mut more).unwrap();
                    bytes.extend(&more[..n]);
                    let text = String::from_utf8_lossy(&bytes);
                    if let Some((_, body)) = text.split_once("\r\n\r\n")
                        && let Ok(body) = serde_json::from_str::<serde_json::Value>(body)
                    {
                        break body;
                    }
                };
                let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
                let told = (word(&body["data"]["id"]), word(&body["type"]));
                heard.lock().unwrap().push(told);
                let answer = b"HTTP/1.1 204 x\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).unwrap();
            }
        });
        (url, told)
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one story")]
    fn what_is_open_when_a_pause_times_out_is_told_then() {
        use ecg::{AlarmEvent, AlarmKind, AlarmState, Condition, Priority, SampleIndex};
        let record = ecg::RecordId {
            device: "vest".parse().unwrap(),
            boot: ecg::BootId(1),
        };
        let event = |onset, condition, priority, state| AlarmEvent {
            alarm: ecg::AlarmId::new(&record, condition, SampleIndex(onset)),
            record: record.clone(),
            condition,
            kind: AlarmKind::Physiological,
            priority,
            state,
            onset: SampleIndex(onset),
            at: SampleIndex(onset + 1),
            utc: Utc(1),
            by: None,
            evidence: "x".into(),
        };
        let medium = |onset, state| event(onset, Condition::Pause, Priority::Medium, state);
        let high = event(9, Condition::Asystole, Priority::High, AlarmState::Active);
        let open = medium(1, AlarmState::Active);
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/e.db", folder.path().display());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let store = Store::open(&store::Config::new(url)).await.unwrap();
            store.migrate().await.unwrap();
            let (url, told) = receiver();
            let id = Uuid::from_u128(1);
            let settings = store::SubscriberSettings {
                name: "x".into(),
                url,
                secret: Some("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()),
                filter: store::SubscriberFilter::default(),
                by: "x".into(),
            };
            store.add_subscriber(id, &settings, Utc(1)).await.unwrap();
            let outgoing = Arc::new(Outgoing::default());
            let until = wall::utc().plus_seconds(3.0);
            let pause = store::Pause {
                device: record.device.clone(),
                until,
                by: "x".into(),
                since: Utc(1),
            };
            outgoing.set_pause(&record.device, Some(pause));
            let shutdown = CancellationToken::new();
            let deliver = Deliver {
                // Nothing but news and the end of the pause wakes it.
                config: Config {
                    poll: Duration::from_secs(600),
                    ..config()
                },
                store: store.clone(),
                outgoing: Arc::clone(&outgoing),
                metrics: Arc::new(Metrics::new().unwrap()),
                shutdown: shutdown.clone(),
            };
            let stage = tokio::spawn(deliver.run());
            let gone = [AlarmState::Active, AlarmState::Cleared].map(|state| medium(5, state));
            let batch = store::Batch {
                events: [vec![open.clone()], gone.to_vec(), vec![high.clone()]].concat(),
                at: Some(wall::utc()),
                ..store::Batch::default()
            };
            store.commit(&batch).await.unwrap();
            outgoing.ring([record.device.clone()]);

            let wait = async |n: usize| {
                while told.lock().unwrap().len() < n {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                told.lock().unwrap().clone()
            };
            let raised = |alarm: ecg::AlarmId| (alarm.to_string(), "alarm.raised".to_owned());
            let limit = Duration::from_secs(20);
            let urgent = tokio::time::timeout(limit, wait(1)).await.unwrap();
            assert_eq!(urgent, [raised(high.alarm)]);
            assert!(wall::utc() < until, "told after the pause");
            let all = tokio::time::timeout(limit, wait(2)).await.unwrap();
            assert!(wall::utc() >= until, "told within the pause");
            assert_eq!(all, [raised(high.alarm), raised(open.alarm)]);
            let left = async {
                loop {
                    let left = store.deliveries(id, None, 9).await.unwrap();
                    if left.len() <= 2 {
                        return left;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            let left = tokio::time::timeout(limit, left).await.unwrap();
            shutdown.cancel();
            stage.await.unwrap();
            let left: Vec<_> = left
                .iter()
                .map(|left| (left.message.alarm, left.state, left.reason.as_deref()))
                .collect();
            let skipped = (
                gone[0].alarm,
                DeliveryState::Skipped,
                Some(delivery::CAME_AND_WENT),
            );
            assert_eq!(left, [skipped, skipped]);
            store.close().await;
        });
    }
}
