//! Acknowledgements, in the order in which their messages came.
//!
//! MQTT wants PUBACKs in the order of their messages [MQTT-4.6.0-2], the pipeline finishes in any order. A
//! ledger per connection holds back what is done until everything before it is done too. A new
//! connection begins a new ledger: what is still owed to an old one reaches nobody, and the broker sends
//! those messages again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Notify;

/// The promise that everything derived from a message is durable. Dropping it instead of calling
/// [`done`](Ack::done) leaves the message with the broker, which sends it again after the next reconnect.
#[derive(Debug)]
#[must_use = "a message whose acknowledgement is dropped holds back all later ones of its connection"]
pub struct Ack(Option<Owed>);

#[derive(Debug)]
struct Owed {
    /// Gone with its connection.
    ledger: Weak<Ledger>,
    ticket: u64,
}

impl Ack {
    /// An acknowledgement that goes nowhere, for `QoS` 0 and for sources that need none.
    pub fn none() -> Self {
        Self(None)
    }

    /// The message is dealt with: the broker may forget it.
    pub fn done(self) {
        if let Some((ledger, ticket)) = self.owed() {
            ledger.finish(ticket);
        }
    }

    /// Whether the broker waits for it: over a connection that is lost, it does not, and sends the message again.
    pub fn is_owed(&self) -> bool {
        self.owed().is_some()
    }

    /// Whether nothing that is done on its connection can be acknowledged before it is.
    pub fn is_next(&self) -> bool {
        let owed = self.owed();
        owed.is_some_and(|(ledger, ticket)| ledger.lock().first == ticket)
    }

    fn owed(&self) -> Option<(Arc<Ledger>, u64)> {
        let owed = self.0.as_ref()?;
        Some((owed.ledger.upgrade()?, owed.ticket))
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        if let Some((ledger, _)) = self.owed() {
            ledger.lock().n_live -= 1;
            ledger.changed.notify_one();
        }
    }
}

/// What is owed on one connection.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    // Never held across an await: every use is a few assignments.
    entries: Mutex<Entries>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    /// The ticket of the front of the queue.
    first: u64,
    queue: VecDeque<Entry>,
    /// Acks neither done nor dropped.
    n_live: usize,
}

#[derive(Debug)]
struct Entry {
    pkid: u16,
    is_done: bool,
}

impl Ledger {
    /// Enters a message and hands out its acknowledgement.
    pub(super) fn enter(self: &Arc<Self>, pkid: u16) -> Ack {
        let mut entries = self.lock();
        let ticket = entries.first + entries.queue.len() as u64;
        let is_done = false;
        entries.queue.push_back(Entry { pkid, is_done });
        entries.n_live += 1;
        let ledger = Arc::downgrade(self);
        Ack(Some(Owed { ledger, ticket }))
    }

    /// Gives `send` the packet ids that are done and have only done ones before them, until it refuses one.
    pub(super) fn release(&self, mut send: impl FnMut(u16) -> bool) -> u64 {
        let mut entries = self.lock();
        let before = entries.first;
        while let Some(entry) = entries.queue.front() {
            if !entry.is_done || !send(entry.pkid) {
                break;
            }
            entries.queue.pop_front();
            entries.first += 1;
        }
        entries.first - before
    }

    /// How many messages the broker has sent and waits for.
    pub(super) fn len(&self) -> usize {
        self.lock().queue.len()
    }

    /// Whether nothing more can be released: the front is not done and nobody can make it so.
    pub(super) fn is_settled(&self) -> bool {
        let entries = self.lock();
        entries.n_live == 0 && entries.queue.front().is_none_or(|front| !front.is_done)
    }

    /// Completes when an acknowledgement was done or dropped.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn finish(&self, ticket: u64) {
        let mut entries = self.lock();
        let place = usize::try_from(ticket.saturating_sub(entries.first)).ok();
        if let Some(entry) = place.and_then(|place| entries.queue.get_mut(place)) {
            entry.is_done = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Whoever panicked while holding it had at most not yet pushed or popped.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn released(ledger: &Ledger) -> Vec<u16> {
        let mut sent = Vec::new();
        ledger.release(|pkid| {
            sent.push(pkid);
            true
        });
        sent
    }

    #[test]
    fn acks_leave_first_in_first_out() {
        let ledger = Arc::new(Ledger::default());
        let [a, b, c] = [7, 3, 9].map(|pkid| ledger.enter(pkid));
        assert!(a.is_next() && !b.is_next() && !Ack::none().is_next());
        b.done();
        assert!(released(&ledger).is_empty());
        a.done();
        assert_eq!(released(&ledger), [7, 3]);
        assert!(c.is_next());
        assert_eq!(ledger.release(|_| true), 0);
        c.done();
        assert_eq!(ledger.release(|_| false), 0);
        assert!(!ledger.is_settled());
        assert_eq!(ledger.len(), 1);
        assert_eq!(released(&ledger), [9]);
        assert!(ledger.is_settled());
        assert_eq!(ledger.len(), 0);
    }

    #[test]
    fn a_dropped_ack_holds_back_later_ones() {
        let ledger = Arc::new(Ledger::default());
        let [a, b] = [1, 2].map(|pkid| ledger.enter(pkid));
        b.done();
        drop(a);
        assert!(released(&ledger).is_empty());
        assert!(ledger.is_settled());
        Ack::none().done();
    }

    #[test]
    fn nothing_is_owed_to_a_connection_that_is_lost() {
        let ledger = Arc::new(Ledger::default());
        let [a, b] = [1, 2].map(|pkid| ledger.enter(pkid));
        assert!(a.is_owed() && !Ack::none().is_owed());
        drop(ledger);
        assert!(!a.is_owed());
        a.done();
        drop(b);
    }

    proptest! {
        #[test]
        fn any_order_of_finishing_keeps_the_order(order in Just((0..50_u16).collect::<Vec<_>>()).prop_shuffle()) {
            let ledger = Arc::new(Ledger::default());
            let mut acks: Vec<_> = (0..50).map(|pkid| Some(ledger.enter(pkid))).collect();
            let mut sent = Vec::new();
            for at in order {
                acks[usize::from(at)].take().unwrap().done();
                sent.extend(released(&ledger));
            }
            prop_assert_eq!(sent, (0..50).collect::<Vec<_>>());
        }
    }
}
