//! How alarms get out: the pure parts, and what the stages and the API share of it.
//!
//! What is to be told is a [message](store::Message), durable with its event. [`stage::deliver`](crate::stage::deliver)
//! takes messages to webhooks, [`stage::escalate`](crate::stage::escalate) writes one where nobody answers,
//! [`stage::announce`](crate::stage::announce) keeps the open alarms of each device on MQTT.

mod backoff;
mod filter;
mod message;
mod pause;
mod signature;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ecg::{DeviceId, Utc};
use serde::{Deserialize, Serialize};
use store::Pause;
use tokio::sync::watch;

pub use backoff::{backoff, retry_after};
pub use filter::lets_through;
pub use message::Body;
pub use pause::{CAME_AND_WENT, holds, release};
pub use signature::Key;

/// Getting alarms out.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How long a receiver may take to answer.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// The pause after the first failed attempt. It doubles with each further one, with jitter.
    #[serde(with = "humantime_serde")]
    pub retry_min: Duration,
    /// The longest pause between two attempts, unless the receiver asks for more.
    #[serde(with = "humantime_serde")]
    pub retry_max: Duration,
    /// When a message that does not arrive is given up.
    #[serde(with = "humantime_serde")]
    pub dead_after: Duration,
    /// How long messages are kept that nobody waits for, given up ones included.
    #[serde(with = "humantime_serde")]
    pub retention: Duration,
    /// How often the database is looked at without a reason.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// Messages on their way to one subscriber at a time, each of another device.
    pub in_flight: usize,
    /// Whether the open alarms of each device are published over MQTT.
    pub mqtt: bool,
    /// What happens to alarms that nobody acknowledges.
    pub escalation: Escalation,
}

/// When alarms that nobody acknowledges are escalated.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Escalation {
    /// How long after a high-priority alarm came in, and after each level; 0 for never.
    #[serde(with = "humantime_serde")]
    pub high: Duration,
    /// The same for medium priority.
    #[serde(with = "humantime_serde")]
    pub medium: Duration,
    /// How often at most; 0 for never.
    pub levels: u32,
}

impl Config {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first that cannot be used, with its limits.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in [
            ("timeout", self.timeout),
            ("retry_min", self.retry_min),
            ("dead_after", self.dead_after),
            ("retention", self.retention),
            ("poll", self.poll),
        ] {
            if value.is_zero() {
                return Err(format!("delivery.{name} is 0, where more is needed"));
            }
        }
        if self.retry_min > self.retry_max {
            return Err(format!(
                "delivery.retry_min is {:?}, over delivery.retry_max, {:?}",
                self.retry_min, self.retry_max
            ));
        }
        if self.retention < self.dead_after {
            return Err(format!(
                "delivery.retention is {:?}, under delivery.dead_after, {:?}",
                self.retention, self.dead_after
            ));
        }
        if self.in_flight == 0 || self.in_flight > 256 {
            return Err(format!(
                "delivery.in_flight is {}, where 1 to 256 are allowed",
                self.in_flight
            ));
        }
        if self.escalation.levels > 100 {
            return Err(format!(
                "delivery.escalation.levels is {}, where at most 100 are allowed",
                self.escalation.levels
            ));
        }
        Ok(())
    }
}

/// What the stages and the API share: that there is news, of which devices, and who is paused.
#[derive(Debug)]
pub struct Outgoing {
    news: watch::Sender<u64>,
    /// How often what is to be delivered was changed by somebody else than the stage that delivers.
    reloads: AtomicU64,
    /// Devices whose set of open alarms has changed since it was published.
    devices: Mutex<BTreeSet<DeviceId>>,
    pauses: Mutex<HashMap<DeviceId, Pause>>,
}

impl Default for Outgoing {
    fn default() -> Self {
        Self {
            news: watch::channel(0).0,
            reloads: AtomicU64::new(0),
            devices: Mutex::default(),
            pauses: Mutex::default(),
        }
    }
}

/// Nothing in here is left half done by a panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outgoing {
    /// Says that there is news in the database, of these devices.
    pub fn ring(&self, devices: impl IntoIterator<Item = DeviceId>) {
        locked(&self.devices).extend(devices);
        self.news.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Says that deliveries or subscribers were changed by hand.
    pub fn reload(&self) {
        self.reloads.fetch_add(1, Ordering::Relaxed);
        self.ring([]);
    }

    /// How often [`Outgoing::reload`] was called.
    pub fn reloads(&self) -> u64 {
        self.reloads.load(Ordering::Relaxed)
    }

    /// Changes whenever there is news.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// The devices whose open alarms have changed since this was asked last.
    pub fn take_devices(&self) -> BTreeSet<DeviceId> {
        std::mem::take(&mut locked(&self.devices))
    }

    /// Notes a pause that is durable, or its end.
    pub fn set_pause(&self, device: &DeviceId, pause: Option<Pause>) {
        let mut pauses = locked(&self.pauses);
        match pause {
            Some(pause) => drop(pauses.insert(device.clone(), pause)),
            None => drop(pauses.remove(device)),
        }
    }

    /// The pause of a device in force at `now`.
    pub fn pause(&self, device: &DeviceId, now: Utc) -> Option<Pause> {
        let pauses = locked(&self.pauses);
        pauses
            .get(device)
            .filter(|pause| pause.until > now)
            .cloned()
    }

    /// When the next of the pauses in force ends.
    pub fn next_end(&self, now: Utc) -> Option<Utc> {
        let pauses = locked(&self.pauses);
        let ends = pauses.values().map(|pause| pause.until);
        ends.filter(|until| *until > now).min()
    }

    /// The devices whose pause is over at `now`; each is told once.
    pub fn ended(&self, now: Utc) -> Vec<DeviceId> {
        let mut pauses = locked(&self.pauses);
        let over = pauses.values().filter(|pause| pause.until <= now);
        let over: Vec<DeviceId> = over.map(|pause| pause.device.clone()).collect();
        for device in &over {
            pauses.remove(device);
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_be_used_are_named_with_their_limit() {
        type Set = fn(&mut Config);
        let usual = crate::config::Config::load(None, [], &[]).unwrap().delivery;
        usual.check().unwrap();
        let check = |why: &str, set: Set| {
            let mut config = usual.clone();
            set(&mut config);
            let error = config.check().unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        check("delivery.timeout is 0", |c| c.timeout = Duration::ZERO);
        check("over delivery.retry_max", |c| {
            c.retry_min = Duration::from_secs(301);
        });
        check("under delivery.dead_after", |c| {
            c.retention = Duration::from_secs(1);
        });
        check("is 0, where 1 to 256", |c| c.in_flight = 0);
        check("levels is 101", |c| c.escalation.levels = 101);
    }

    #[test]
    fn pauses_end_and_are_told_of_once() {
        let outgoing = Outgoing::default();
        let device: DeviceId = "a".parse().unwrap();
        let pause = Pause {
            device: device.clone(),
            until: Utc(10),
            by: "Ada".into(),
            since: Utc(1),
        };
        outgoing.set_pause(&device, Some(pause.clone()));
        assert_eq!(outgoing.pause(&device, Utc(9)), Some(pause));
        assert_eq!(outgoing.next_end(Utc(9)), Some(Utc(10)));
        assert_eq!(outgoing.pause(&device, Utc(10)), None);
        assert_eq!(outgoing.ended(Utc(9)), []);
        assert_eq!(outgoing.ended(Utc(10)), std::slice::from_ref(&device));
        assert_eq!(outgoing.ended(Utc(10)), []);
    }

    #[test]
    fn news_wakes_and_names_devices_once() {
        let outgoing = Outgoing::default();
        let news = outgoing.news();
        assert!(!news.has_changed().unwrap());
        let device: DeviceId = "a".parse().unwrap();
        outgoing.ring([device.clone(), device.clone()]);
        assert!(news.has_changed().unwrap());
        assert_eq!(outgoing.take_devices(), BTreeSet::from([device]));
        assert!(outgoing.take_devices().is_empty());
    }
}
