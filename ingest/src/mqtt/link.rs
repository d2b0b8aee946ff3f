//! One connection to a broker, the same for both versions of MQTT.
//!
//! rumqttc has one set of types for 3.1.1 and another for 5. This is the only file that knows. A link
//! lives as long as its connection: after an error it is dropped and a new one is opened, so nothing of
//! an old connection (packet ids, half-sent requests, collisions) reaches the next.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::{QoS, v5};
use secrecy::{ExposeSecret, SecretString};

use super::config::Protocol;

/// Requests that may wait to be written.
const REQUESTS: usize = 1024;
/// How long the broker may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to connect.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    pub(super) address: (String, u16),
    pub(super) client_id: String,
    pub(super) login: Option<(String, Option<SecretString>)>,
    pub(super) protocol: Protocol,
    pub(super) keep_alive: Duration,
    /// Seconds that the broker keeps the session; `None` to begin a new one and forget it at the end.
    pub(super) session_expiry: Option<u32>,
    pub(super) receive_maximum: u16,
    pub(super) max_packet_bytes: u32,
    /// Publishes that may be unacknowledged.
    pub(super) inflight: u16,
    /// Topic and payload to publish, retained, when the connection breaks.
    pub(super) last_will: Option<(String, &'static str)>,
}

/// What happens on a connection.
#[derive(Debug)]
pub(super) enum Event {
    Connected {
        session_present: bool,
    },
    Message {
        topic: Bytes,
        payload: Bytes,
        /// 0 for `QoS` 0, which is not acknowledged.
        pkid: u16,
    },
    /// The subscription stands, or why it does not.
    Subscribed(Result<(), String>),
    /// The next of the publishes asked for is on its way under this packet id.
    Published(u16),
    /// The broker has it, or why it does not want it.
    PubAcked {
        pkid: u16,
        refusal: Option<String>,
    },
    /// The goodbye is written.
    Disconnected,
    /// A ping, an ack of ours written.
    Other,
}

/// Why a connection is over.
#[derive(Debug)]
pub(super) enum Broken {
    /// The broker said no.
    Refused(String),
    /// It could not be reached, closed the connection or fell silent.
    Lost(String),
    /// Another client has connected under the same name. Only MQTT 5 says so.
    TakenOver,
}

/// The reading side: must be polled for anything to happen.
pub(super) struct Link {
    eventloop: EventLoop,
    /// A healthy connection reports something, if only a ping, at least this often.
    silence: Duration,
}

enum EventLoop {
    V4(Box<rumqttc::EventLoop>),
    V5(Box<rumqttc::v5::EventLoop>),
}

/// The writing side. Each method says whether there was room for the request.
pub(super) enum Requests {
    V4(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

impl Dial {
    /// A link that will connect when it is polled.
    pub(super) fn open(self) -> (Requests, Link) {
        let silence = 2 * self.keep_alive + CONNECT_TIMEOUT;
        let (requests, eventloop) = match self.protocol {
            Protocol::V311 => self.open_v4(),
            Protocol::V5 => self.open_v5(),
        };
        (requests, Link { eventloop, silence })
    }

    fn login(&self) -> Option<(String, String)> {
        let (user, password) = self.login.as_ref()?;
        let password = password
            .as_ref()
            .map_or("", |secret| secret.expose_secret());
        Some((user.clone(), password.to_owned()))
    }

    fn open_v4(self) -> (Requests, EventLoop) {
        let (host, port) = self.address.clone();
        let mut options = rumqttc::MqttOptions::new(self.client_id.clone(), host, port);
        let max_packet_bytes = usize::try_from(self.max_packet_bytes).unwrap_or(usize::MAX);
        options
            .set_keep_alive(self.keep_alive)
            .set_clean_session(self.session_expiry.is_none())
            .set_manual_acks(true)
            .set_inflight(self.inflight.max(1))
            .set_max_packet_size(max_packet_bytes, max_packet_bytes);
        if let Some((user, password)) = self.login() {
            options.set_credentials(user, password);
        }
        if let Some((topic, payload)) = self.last_will {
            let qos = rumqttc::QoS::AtLeastOnce;
            options.set_last_will(rumqttc::LastWill::new(topic, payload, qos, true));
        }
        let (client, mut eventloop) = rumqttc::AsyncClient::new(options, REQUESTS);
        eventloop.set_network_options(network_options());
        (Requests::V4(client), EventLoop::V4(Box::new(eventloop)))
    }

    fn open_v5(self) -> (Requests, EventLoop) {
        let (host, port) = self.address.clone();
        let mut options = rumqttc::v5::MqttOptions::new(self.client_id.clone(), host, port);
        options
            .set_keep_alive(self.keep_alive)
            .set_clean_start(self.session_expiry.is_none())
            .set_session_expiry_interval(self.session_expiry)
            .set_receive_maximum(Some(self.receive_maximum.max(1)))
            .set_max_packet_size(Some(self.max_packet_bytes))
            .set_manual_acks(true)
            .set_outgoing_inflight_upper_limit(self.inflight.max(1))
            .set_network_options(network_options())
            .set_connection_timeout(CONNECT_TIMEOUT.as_secs());
        if let Some((user, password)) = self.login() {
            options.set_credentials(user, password);
        }
        if let Some((topic, payload)) = self.last_will {
            let will = v5::LastWill::new(topic, payload, QoS::AtLeastOnce, true, None);
            options.set_last_will(will);
        }
        let (client, eventloop) = rumqttc::v5::AsyncClient::new(options, REQUESTS);
        (Requests::V5(client), EventLoop::V5(Box::new(eventloop)))
    }
}

fn network_options() -> rumqttc::NetworkOptions {
    let mut options = rumqttc::NetworkOptions::new();
    options.set_tcp_nodelay(true);
    options.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
    options
}

impl Requests {
    /// Asks for messages: for those of `kept` with `QoS` 1, so that the broker keeps them until they are acknowledged, for
    /// those of `fleeting` with `QoS` 0.
    pub(super) fn subscribe(&self, kept: &[String], fleeting: &[String]) -> bool {
        let kept = kept.iter().map(|path| (path, true));
        let all = kept.chain(fleeting.iter().map(|path| (path, false)));
        match self {
            Self::V4(client) => {
                let filter = |(path, kept): (&String, bool)| {
                    let qos = if kept {
                        rumqttc::QoS::AtLeastOnce
                    } else {
                        rumqttc::QoS::AtMostOnce
                    };
                    rumqttc::SubscribeFilter::new(path.clone(), qos)
                };
                client.try_subscribe_many(all.map(filter)).is_ok()
            }
            Self::V5(client) => {
                let filter = |(path, kept): (&String, bool)| {
                    let qos = if kept {
                        QoS::AtLeastOnce
                    } else {
                        QoS::AtMostOnce
                    };
                    v5::Filter::new(path.clone(), qos)
                };
                client.try_subscribe_many(all.map(filter)).is_ok()
            }
        }
    }

    pub(super) fn ack(&self, pkid: u16) -> bool {
        // Of the message that is acknowledged, only QoS and packet id matter.
        match self {
            Self::V4(client) => {
                let mut message = v4::Publish::new("", rumqttc::QoS::AtLeastOnce, Vec::new());
                message.pkid = pkid;
                client.try_ack(&message).is_ok()
            }
            Self::V5(client) => {
                let mut message = v5::Publish::new("", QoS::AtLeastOnce, Bytes::new(), None);
                message.pkid = pkid;
                client.try_ack(&message).is_ok()
            }
        }
    }

    /// Publishes with `QoS` 1.
    pub(super) fn publish(&self, topic: &str, payload: Bytes, retain: bool) -> bool {
        match self {
            Self::V4(client) => client
                .try_publish(topic, rumqttc::QoS::AtLeastOnce, retain, payload)
                .is_ok(),
            Self::V5(client) => client
                .try_publish(topic, QoS::AtLeastOnce, retain, payload)
                .is_ok(),
        }
    }

    pub(super) fn disconnect(&self) -> bool {
        match self {
            Self::V4(client) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        }
    }
}

impl Link {
    /// What happens next. Dropping the future may lose a request, so poll it to its end.
    pub(super) async fn poll(&mut self) -> Result<Event, Broken> {
        let poll = async {
            match &mut self.eventloop {
                EventLoop::V4(eventloop) => eventloop.poll().await.map(event_v4).map_err(broken_v4),
                EventLoop::V5(eventloop) => eventloop.poll().await.map(event_v5).map_err(broken_v5),
            }
        };
        match tokio::time::timeout(self.silence, poll).await {
            Ok(event) => event,
            Err(_) => Err(Broken::Lost(format!(
                "nothing heard for {} s",
                self.silence.as_secs()
            ))),
        }
    }
}

fn broken_v4(error: rumqttc::ConnectionError) -> Broken {
    match error {
        rumqttc::ConnectionError::ConnectionRefused(code) => Broken::Refused(format!("{code:?}")),
        rumqttc::ConnectionError::Io(error) => Broken::Lost(error.to_string()),
        other => Broken::Lost(other.to_string()),
    }
}

fn broken_v5(error: rumqttc::v5::ConnectionError) -> Broken {
    match error {
        rumqttc::v5::ConnectionError::ConnectionRefused(code) => {
            Broken::Refused(format!("{code:?}"))
        }
        rumqttc::v5::ConnectionError::Io(error) => Broken::Lost(error.to_string()),
        rumqttc::v5::ConnectionError::MqttState(rumqttc::v5::StateError::ServerDisconnect {
            reason_code: v5::DisconnectReasonCode::SessionTakenOver,
            ..
        }) => Broken::TakenOver,
        other => Broken::Lost(other.to_string()),
    }
}

fn event_v4(event: rumqttc::Event) -> Event {
    use rumqttc::{Event as V4, Outgoing, Packet};
    match event {
        V4::Incoming(Packet::ConnAck(connack)) => Event::Connected {
            session_present: connack.session_present,
        },
        V4::Incoming(Packet::Publish(publish)) => Event::Message {
            topic: Bytes::from(publish.topic),
            payload: publish.payload,
            pkid: publish.pkid,
        },
        V4::Incoming(Packet::SubAck(suback)) => {
            let refused = |code: &&v4::SubscribeReasonCode| {
                !matches!(code, v4::SubscribeReasonCode::Success(_))
            };
            let refusal = suback.return_codes.iter().find(refused);
            Event::Subscribed(refusal.map_or(Ok(()), |code| Err(format!("{code:?}"))))
        }
        V4::Incoming(Packet::PubAck(puback)) => Event::PubAcked {
            pkid: puback.pkid,
            refusal: None,
        },
        V4::Outgoing(Outgoing::Publish(pkid)) => Event::Published(pkid),
        V4::Outgoing(Outgoing::Disconnect) => Event::Disconnected,
        _ => Event::Other,
    }
}

fn event_v5(event: rumqttc::v5::Event) -> Event {
    use rumqttc::Outgoing;
    use rumqttc::v5::Event as V5;
    use v5::{Packet, PubAckReason};
    match event {
        V5::Incoming(Packet::ConnAck(connack)) => Event::Connected {
            session_present: connack.session_present,
        },
        V5::Incoming(Packet::Publish(publish)) => Event::Message {
            topic: publish.topic,
            payload: publish.payload,
            pkid: publish.pkid,
        },
        V5::Incoming(Packet::SubAck(suback)) => {
            let refused = |code: &&v5::SubscribeReasonCode| {
                !matches!(code, v5::SubscribeReasonCode::Success(_))
            };
            let refusal = suback.return_codes.iter().find(refused);
            Event::Subscribed(refusal.map_or(Ok(()), |code| Err(format!("{code:?}"))))
        }
        V5::Incoming(Packet::PubAck(puback)) => Event::PubAcked {
            pkid: puback.pkid,
            refusal: match puback.reason {
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers => None,
                reason => Some(format!("{reason:?}")),
            },
        },
        V5::Outgoing(Outgoing::Publish(pkid)) => Event::Published(pkid),
        V5::Outgoing(Outgoing::Disconnect) => Event::Disconnected,
        _ => Event::Other,
    }
}
