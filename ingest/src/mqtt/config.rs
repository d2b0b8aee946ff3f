//! The broker and how to talk to it.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};

use crate::Error;

/// The version of MQTT to speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// MQTT 3.1.1. It has no receive maximum and no packet limit of the client's: limit both at the broker.
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5.
    #[default]
    #[serde(rename = "5")]
    V5,
}

/// Certificates for TLS. Not supported yet: setting it is an error rather than a connection in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate authorities to trust, PEM.
    pub ca_file: PathBuf,
}

/// The broker and how to talk to it.
///
/// The broker must keep what is not acknowledged: for Mosquitto `persistence true`,
/// `max_queued_messages 0` and `max_inflight_messages 0`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `mqtt://host:port`; the port is 1883 if left out.
    pub url: String,
    /// The name of the session that the broker keeps. One process at a time may use it; with several
    /// connections it is followed by `-1`, `-2`, ... for all but the first.
    pub client_id: String,
    /// The user to log in as, if the broker asks.
    pub username: Option<String>,
    /// The user's password.
    #[serde(serialize_with = "redacted")]
    pub password: Option<SecretString>,
    /// The version of MQTT.
    pub protocol: Protocol,
    /// How long the broker keeps the session while nobody is connected (MQTT 5; for 3.1.1 the broker
    /// decides). Longer than any outage that shall cost nothing.
    #[serde(with = "humantime_serde")]
    pub session_expiry: Duration,
    /// Messages that the broker may send ahead of their acknowledgement on each connection. MQTT 5 announces
    /// it; for 3.1.1 set it at the broker (Mosquitto: `max_inflight_messages`). MQTT itself allows 65,535.
    pub receive_maximum: u16,
    /// The largest MQTT packet. MQTT 5 announces it, and the broker drops larger ones; with 3.1.1 those end
    /// the connection, so set the broker's own limit (Mosquitto: `message_size_limit`).
    pub max_packet_bytes: u32,
    /// How much memory may wait on each connection for the pipeline to take it. What comes beyond is forgotten, and sent
    /// again by the broker over a new connection once what waits is dealt with.
    pub max_parked_bytes: usize,
    /// Pings are sent, and the broker missed, after this long.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// Connections. More than one share a subscription, for a connection has at most 65,535 messages in flight:
    /// enough for 4,000 devices. When this is changed from one to more, let the broker forget the old session.
    pub connections: u8,
    /// The name of the shared subscription, where there are several connections.
    pub share_group: String,
    /// The wait after the first failure to connect. It doubles with each further one, with jitter.
    #[serde(with = "humantime_serde")]
    pub reconnect_min: Duration,
    /// The longest wait between two attempts.
    #[serde(with = "humantime_serde")]
    pub reconnect_max: Duration,
    /// How long acknowledgements are still waited for and sent after shutdown has begun.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
    /// Place for TLS, which is not supported yet.
    pub tls: Option<Tls>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "mqtt://127.0.0.1:1883".to_owned(),
            client_id: "einthoven".to_owned(),
            username: None,
            password: None,
            protocol: Protocol::V5,
            session_expiry: Duration::from_hours(7 * 24),
            receive_maximum: u16::MAX,
            max_packet_bytes: 512 * 1024,
            max_parked_bytes: 64 * 1024 * 1024,
            keep_alive: Duration::from_secs(10),
            connections: 1,
            share_group: "einthoven".to_owned(),
            reconnect_min: Duration::from_millis(200),
            reconnect_max: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            tls: None,
        }
    }
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn redacted<S: Serializer>(
    password: &Option<SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match password {
        Some(_) => serializer.serialize_some("[redacted]"),
        None => serializer.serialize_none(),
    }
}

impl Config {
    /// Checks every setting, so that nothing is refused later than at start.
    ///
    /// # Errors
    /// [`Error::Config`] for the first that cannot be used.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |key, problem: &str| {
            let problem = problem.to_owned();
            Err(Error::Config { key, problem })
        };
        self.address()?;
        if self.tls.is_some() {
            return refuse("mqtt.tls", "TLS is not supported yet");
        }
        if !is_name(&self.client_id) {
            return refuse(
                "mqtt.client_id",
                "is empty, too long or has control characters",
            );
        }
        if self.username.is_none() && self.password.is_some() {
            return refuse("mqtt.password", "is set without mqtt.username");
        }
        if self.receive_maximum == 0 {
            return refuse("mqtt.receive_maximum", "is 0, where 1 to 65535 are allowed");
        }
        if self.max_packet_bytes < 1024 {
            return refuse("mqtt.max_packet_bytes", "is under 1024");
        }
        if self.connections == 0 {
            return refuse("mqtt.connections", "is 0, where 1 to 255 are allowed");
        }
        let is_shareable = |name: &str| is_name(name) && !name.contains(['/', '+', '#']);
        if !is_shareable(&self.share_group) {
            return refuse("mqtt.share_group", "is empty or holds '/', '+' or '#'");
        }
        check_keep_alive(self.keep_alive)?;
        if self.reconnect_min.is_zero() || self.reconnect_min > self.reconnect_max {
            return refuse("mqtt.reconnect_min", "is 0 or over mqtt.reconnect_max");
        }
        Ok(())
    }

    /// Host and port of the broker.
    pub(super) fn address(&self) -> Result<(String, u16), Error> {
        address(&self.url)
    }

    /// The client id of the `k`-th connection.
    pub(super) fn client_id(&self, k: u8) -> String {
        match k {
            0 => self.client_id.clone(),
            k => format!("{}-{k}", self.client_id),
        }
    }
}

/// rumqttc refuses less than 5 s, MQTT has 16 bits for the seconds.
pub(super) fn check_keep_alive(keep_alive: Duration) -> Result<(), Error> {
    if (5..=65535).contains(&keep_alive.as_secs()) {
        return Ok(());
    }
    Err(Error::Config {
        key: "mqtt.keep_alive",
        problem: format!("{} s is outside 5 to 65535 s", keep_alive.as_secs()),
    })
}

/// Host and port of `mqtt://host:port`.
pub(super) fn address(url: &str) -> Result<(String, u16), Error> {
    let refuse = |problem: &str| Error::Config {
        key: "mqtt.url",
        problem: format!("{url:?} {problem}"),
    };
    if url.contains('@') {
        // Not repeated in the message: it may hold a password.
        return Err(Error::Config {
            key: "mqtt.url",
            problem: "holds a user; use mqtt.username and mqtt.password".to_owned(),
        });
    }
    if url.starts_with("mqtts://") || url.starts_with("ssl://") {
        return Err(refuse("asks for TLS, which is not supported yet"));
    }
    let rest = url
        .strip_prefix("mqtt://")
        .or_else(|| url.strip_prefix("tcp://"))
        .ok_or_else(|| refuse("does not begin with mqtt://"))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    // An IPv6 address stands in brackets, so that its colons are not the port's.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:%".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_host) {
        return Err(refuse("has no usable host"));
    }
    let port = match port {
        None => 1883,
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => return Err(refuse("has a port outside 1 to 65535")),
            Ok(port) => port,
        },
    };
    Ok((host.to_owned(), port))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 200 && !name.contains(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (url, host, port) in [
            ("mqtt://broker", "broker", 1883),
            ("mqtt://127.0.0.1:1884", "127.0.0.1", 1884),
            ("tcp://a.b-c:65535/", "a.b-c", 65535),
            ("mqtt://[::1]:1883", "[::1]", 1883),
            ("mqtt://[::1]", "[::1]", 1883),
        ] {
            assert_eq!(address(url).unwrap(), (host.to_owned(), port), "{url}");
        }
        for bad in [
            "",
            "broker",
            "http://b",
            "mqtts://b",
            "mqtt://",
            "mqtt://:1",
            "mqtt://b:0",
            "mqtt://b:65536",
            "mqtt://b:x",
            "mqtt://b/c",
            "mqtt://user:secret@b",
        ] {
            let error = address(bad).unwrap_err();
            assert_eq!(error.reason(), "config", "{bad}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn unusable_settings_are_named() {
        Config::default().check().unwrap();
        let check = |key: &str, change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.starts_with(&format!("mqtt.{key}: ")), "{error}");
        };
        check("url", |config| config.url = "mqtt//x".into());
        check("tls", |config| {
            config.tls = Some(Tls {
                ca_file: "ca.pem".into(),
            });
        });
        check("client_id", |config| config.client_id.clear());
        check("password", |config| config.password = Some("x".into()));
        check("receive_maximum", |config| config.receive_maximum = 0);
        check("max_packet_bytes", |config| config.max_packet_bytes = 0);
        check("connections", |config| config.connections = 0);
        check("share_group", |config| config.share_group = "a/b".into());
        check("keep_alive", |config| {
            config.keep_alive = Duration::from_secs(4);
        });
        check("reconnect_min", |config| {
            config.reconnect_min = Duration::ZERO;
        });
    }

    #[test]
    fn the_password_is_never_shown() {
        let config = Config {
            username: Some("u".into()),
            password: Some("hunter2".into()),
            ..Config::default()
        };
        let shown = format!("{config:?}") + &serde_json::to_string(&config).unwrap();
        assert!(!shown.contains("hunter2") && shown.contains("[redacted]"));
    }
}
