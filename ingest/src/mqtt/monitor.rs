//! What the MQTT client reports about itself: counters, and how each connection stands.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

/// How a connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Trying to connect.
    Connecting,
    /// Connected and subscribed.
    Connected {
        /// The broker had kept the session.
        session_present: bool,
    },
    /// Waiting before the next attempt.
    Waiting {
        /// Why the last one failed or ended.
        problem: String,
    },
    /// Shut down.
    Stopped,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The broker cannot be reached, closed the connection or fell silent.
    Network,
    /// The broker refused the connection, for example the login.
    Refused,
    /// The broker refused the subscription.
    Subscription,
    /// More was waiting for the pipeline than may wait; the broker keeps the rest.
    Overload,
    /// Another client has connected under the same client id.
    TakenOver,
}

impl Loss {
    /// Every reason.
    pub const ALL: [Loss; 5] = [
        Self::Network,
        Self::Refused,
        Self::Subscription,
        Self::Overload,
        Self::TakenOver,
    ];

    /// The word for it in labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Refused => "refused",
            Self::Subscription => "subscription",
            Self::Overload => "overload",
            Self::TakenOver => "taken_over",
        }
    }
}

/// With so much of what the broker may send unacknowledged, it may be sending no more.
const NEARLY_ALL: f64 = 0.95;

/// Counters and states of all connections together, shared with whoever shows them.
#[derive(Debug)]
pub struct Monitor {
    pub(super) messages: AtomicU64,
    pub(super) payload_bytes: AtomicU64,
    pub(super) refused_topics: AtomicU64,
    pub(super) acked: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) parked: AtomicU64,
    losses: [AtomicU64; Loss::ALL.len()],
    states: watch::Sender<Vec<State>>,
    // Never held across an await: every use is an assignment or a sum.
    in_flight: Mutex<AllInFlight>,
}

/// What the broker has sent over one connection and waits for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InFlight {
    pub(super) n_unacked: usize,
    /// More came than may wait, and what comes is forgotten.
    pub(super) is_over: bool,
    /// More came than may wait before, and the broker has hardly had time to send that again.
    pub(super) is_behind: bool,
    /// When the oldest message came that waits for the pipeline to take it.
    pub(super) waits_since: Option<Instant>,
}

#[derive(Debug, Default)]
struct AllInFlight {
    /// So many at most on one connection.
    most: u16,
    of: Vec<InFlight>,
}

/// The counters of a [`Monitor`] at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages received, redelivered ones included.
    pub messages: u64,
    /// Their payload.
    pub payload_bytes: u64,
    /// Messages on a topic that is none of ours: acknowledged and dropped.
    pub refused_topics: u64,
    /// Acknowledgements handed to the connection.
    pub acked: u64,
    /// Connections made.
    pub connects: u64,
    /// Messages that wait for the pipeline at the moment.
    pub parked: u64,
    /// Messages that the broker has sent, over connections that stand, and that are not acknowledged at the moment.
    pub unacked: u64,
    /// Connections ended or failed, in the order of [`Loss::ALL`].
    pub losses: [u64; Loss::ALL.len()],
}

impl Default for Monitor {
    fn default() -> Self {
        Self {
            messages: AtomicU64::new(0),
            payload_bytes: AtomicU64::new(0),
            refused_topics: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            connects: AtomicU64::new(0),
            parked: AtomicU64::new(0),
            losses: Default::default(),
            states: watch::Sender::new(Vec::new()),
            in_flight: Mutex::default(),
        }
    }
}

impl Monitor {
    /// The counters now.
    pub fn counts(&self) -> Counts {
        Counts {
            messages: self.messages.load(Relaxed),
            payload_bytes: self.payload_bytes.load(Relaxed),
            refused_topics: self.refused_topics.load(Relaxed),
            acked: self.acked.load(Relaxed),
            connects: self.connects.load(Relaxed),
            parked: self.parked.load(Relaxed),
            unacked: self.n_unacked(),
            losses: std::array::from_fn(|k| self.losses[k].load(Relaxed)),
        }
    }

    /// How each connection stands, now and whenever it changes; empty before the start.
    pub fn watch(&self) -> watch::Receiver<Vec<State>> {
        self.states.subscribe()
    }

    /// Whether every connection stands.
    ///
    /// # Errors
    /// Why not, in words for people.
    pub fn ready(&self) -> Result<(), String> {
        let states = self.states.borrow();
        if states.is_empty() {
            return Err("broker: not started".to_owned());
        }
        for state in states.iter() {
            match state {
                State::Connected { .. } => {}
                State::Connecting => return Err("broker: connecting".to_owned()),
                State::Waiting { problem } => return Err(format!("broker: {problem}")),
                State::Stopped => return Err("broker: shut down".to_owned()),
            }
        }
        Ok(())
    }

    /// Whether the broker keeps packets, whoever sent them: it waits for acknowledgements, or more came than may wait and it has
    /// hardly had time to send the rest. Then that nothing is heard of a device says nothing of the device.
    pub fn is_held_back(&self) -> bool {
        let is_behind = self.in_flight().of.iter().any(|one| one.is_behind);
        is_behind || self.waits_for_acks()
    }

    /// Whether about as much is unacknowledged on some connection as the broker may send over it, or more came than may wait:
    /// without an acknowledgement nothing more comes.
    pub fn waits_for_acks(&self) -> bool {
        let in_flight = self.in_flight();
        let nearly_all = NEARLY_ALL * f64::from(in_flight.most);
        let mut of = in_flight.of.iter();
        of.any(|one| one.is_over || one.n_unacked as f64 >= nearly_all)
    }

    /// When the oldest of the messages came that wait for the pipeline to take them.
    pub fn waits_since(&self) -> Option<Instant> {
        let in_flight = self.in_flight();
        in_flight.of.iter().filter_map(|one| one.waits_since).min()
    }

    pub(super) fn begin(&self, n_connections: u8, receive_maximum: u16) {
        let states = vec![State::Connecting; usize::from(n_connections)];
        *self.in_flight() = AllInFlight {
            most: receive_maximum,
            of: vec![InFlight::default(); states.len()],
        };
        self.states.send_replace(states);
    }

    /// Notes what a connection has not acknowledged.
    pub(super) fn note(&self, connection: u8, in_flight: InFlight) {
        if let Some(of) = self.in_flight().of.get_mut(usize::from(connection)) {
            *of = in_flight;
        }
    }

    fn n_unacked(&self) -> u64 {
        self.in_flight()
            .of
            .iter()
            .map(|of| of.n_unacked as u64)
            .sum()
    }

    fn in_flight(&self) -> MutexGuard<'_, AllInFlight> {
        // Whoever panicked while holding it had at most not yet assigned.
        self.in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, connection: u8, state: State) {
        self.states.send_if_modified(|states| {
            let slot = states.get_mut(usize::from(connection));
            slot.is_some_and(|slot| {
                let is_new = *slot != state;
                *slot = state;
                is_new
            })
        });
    }

    pub(super) fn count_loss(&self, loss: Loss) {
        self.losses[loss as usize].fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_at_its_limit_holds_back() {
        let monitor = Monitor::default();
        assert!(!monitor.is_held_back());
        monitor.begin(2, 100);
        let of = |n_unacked, is_over| InFlight {
            n_unacked,
            is_over,
            ..InFlight::default()
        };
        monitor.note(0, of(94, false));
        monitor.note(1, of(94, false));
        assert_eq!(monitor.counts().unacked, 188);
        assert!(!monitor.is_held_back());
        monitor.note(1, of(95, false));
        assert!(monitor.is_held_back());
        // A new connection begins with nothing.
        monitor.note(1, InFlight::default());
        monitor.note(7, of(1000, true));
        assert!(!monitor.is_held_back());
        monitor.note(1, of(3, true));
        assert!(monitor.is_held_back() && monitor.waits_for_acks());
        // The next connection of it: acknowledgements bring nothing, the broker has more all the same.
        monitor.note(
            1,
            InFlight {
                is_behind: true,
                ..InFlight::default()
            },
        );
        assert!(monitor.is_held_back() && !monitor.waits_for_acks());
    }
}
