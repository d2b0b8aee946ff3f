//! Topics: `einthoven/v1/{device}/signal` for packets, `einthoven/v1/{device}/status` for presence; and, published by the
//! service, `einthoven/v1/{device}/alarm` for the alarms that are open.

use std::fmt;
use std::str::FromStr;

use ecg::DeviceId;

use crate::Error;

/// What every topic of this version of the wire format begins with.
const ROOT: &str = "einthoven/v1/";

/// What a topic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TopicKind {
    /// Packets.
    Signal,
    /// The retained [`Status`].
    Status,
}

impl TopicKind {
    /// The last level of the topic.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Status => "status",
        }
    }

    /// The subscription to this kind of topic of every device.
    pub fn filter(self) -> String {
        format!("{ROOT}+/{}", self.name())
    }

    /// The same subscription shared among the connections of `group`: each message goes to one of them.
    pub fn shared_filter(self, group: &str) -> String {
        format!("$share/{group}/{}", self.filter())
    }
}

/// The topic of one device.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// Whose it is.
    pub device: DeviceId,
    /// What it carries.
    pub kind: TopicKind,
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ROOT}{}/{}", self.device, self.kind.name())
    }
}

impl FromStr for Topic {
    type Err = Error;

    fn from_str(topic: &str) -> Result<Self, Error> {
        let refused = || Error::Topic(topic.chars().take(120).collect());
        let (device, kind) = topic
            .strip_prefix(ROOT)
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(refused)?;
        let kind = match kind {
            "signal" => TopicKind::Signal,
            "status" => TopicKind::Status,
            _ => return Err(refused()),
        };
        let device = device.parse().map_err(|_| refused())?;
        Ok(Self { device, kind })
    }
}

/// The topic of a device's open alarms: retained, published by the service, never received by it.
pub fn alarm_topic(device: &DeviceId) -> String {
    format!("{ROOT}{device}/alarm")
}

/// The filter for the topics of [`alarm_topic`].
pub fn every_alarm_topic() -> String {
    format!("{ROOT}+/alarm")
}

/// The device that a topic of [`alarm_topic`] is of.
pub fn device_of_alarm_topic(topic: &str) -> Option<DeviceId> {
    topic
        .strip_prefix(ROOT)?
        .strip_suffix("/alarm")?
        .parse()
        .ok()
}

/// Whether a device is connected, as it says itself or as its last will says for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the type's comment says it")]
pub enum Status {
    Online,
    Offline,
}

impl Status {
    /// The payload of a status message.
    pub fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }

    /// Reads the payload of a status message.
    ///
    /// # Errors
    /// [`Error::Status`] for anything but `online` and `offline`.
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        match payload {
            b"online" => Ok(Self::Online),
            b"offline" => Ok(Self::Offline),
            other => {
                let start = &other[..other.len().min(40)];
                Err(Error::Status(String::from_utf8_lossy(start).into_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_round_trip() {
        for text in ["einthoven/v1/w-1/signal", "einthoven/v1/Wearable_7/status"] {
            assert_eq!(text.parse::<Topic>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_topics_are_refused() {
        for bad in [
            "",
            "einthoven/v1/",
            "einthoven/v1/w/",
            "einthoven/v1//signal",
            "einthoven/v2/w/signal",
            "einthoven/v1/w/signal/",
            "einthoven/v1/w/x/signal",
            "einthoven/v1/w/Signal",
            "einthoven/v1/w/alarm",
            "einthoven/v1/w w/signal",
            "x/einthoven/v1/w/signal",
        ] {
            let error = bad.parse::<Topic>().unwrap_err();
            assert_eq!(error.reason(), "topic", "{bad:?}");
        }
    }

    #[test]
    fn filters_match_every_device() {
        assert_eq!(TopicKind::Signal.filter(), "einthoven/v1/+/signal");
        assert_eq!(
            TopicKind::Signal.shared_filter("g"),
            "$share/g/einthoven/v1/+/signal"
        );
    }

    #[test]
    fn alarms_have_a_topic_of_their_own() {
        let topic = alarm_topic(&"w-1".parse().unwrap());
        assert_eq!(topic, "einthoven/v1/w-1/alarm");
        assert_eq!(device_of_alarm_topic(&topic), Some("w-1".parse().unwrap()));
        assert_eq!(device_of_alarm_topic("einthoven/v1/w-1/status"), None);
    }

    #[test]
    fn status_is_one_of_two_words() {
        for status in [Status::Online, Status::Offline] {
            assert_eq!(Status::parse(status.name().as_bytes()).unwrap(), status);
        }
        for bad in [&b""[..], b"Online", b"online\n", &[0xff; 300]] {
            assert_eq!(Status::parse(bad).unwrap_err().reason(), "status");
        }
    }
}
