//! What a pause holds back, and what becomes of that when it ends.
//!
//! **No high-priority alarm is ever held back**, neither one that was less when it was raised. What was held goes out in
//! order if its alarm is still open, or if the raise had been told before: who heard of an alarm hears of its end. Else
//! it is skipped, with a reason.

use std::collections::HashSet;

use ecg::{DeviceId, Priority};
use store::{DeliveryState, Held, MessageKind};

/// Why a message was skipped.
pub const CAME_AND_WENT: &str = "the alarm came and went while the device was paused";

/// Whether a message of an alarm of this priority waits while its device is paused.
pub fn holds(priority: Priority) -> bool {
    priority < Priority::High
}

/// What becomes of held messages, given in order: where each that need not wait any more goes.
pub fn release(
    held: &[Held],
    is_paused: impl Fn(&DeviceId) -> bool,
) -> Vec<(i64, DeliveryState, Option<&'static str>)> {
    let unheard: HashSet<_> = held
        .iter()
        .filter(|held| held.kind == MessageKind::Raised)
        .map(|held| held.alarm)
        .collect();
    let fate = |held: &Held| {
        if holds(held.priority) && is_paused(&held.device) {
            return None;
        }
        Some(
            if held.is_open || !unheard.contains(&held.alarm) || !holds(held.priority) {
                (held.seq, DeliveryState::Pending, None)
            } else {
                (held.seq, DeliveryState::Skipped, Some(CAME_AND_WENT))
            },
        )
    };
    held.iter().filter_map(fate).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use ecg::AlarmId;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Raise(Priority),
        /// The n-th alarm that is open.
        Upgrade(usize),
        Clear(usize),
        Pause,
        Resume,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let priority = prop_oneof![
            Just(Priority::Low),
            Just(Priority::Medium),
            Just(Priority::High)
        ];
        let step = prop_oneof![
            3 => priority.prop_map(Step::Raise),
            1 => (0..8usize).prop_map(Step::Upgrade),
            2 => (0..8usize).prop_map(Step::Clear),
            1 => Just(Step::Pause),
            1 => Just(Step::Resume),
        ];
        prop::collection::vec(step, 1..60)
    }

    /// One device and one subscriber, with the rows that the database would have.
    #[derive(Default)]
    struct Model {
        paused: bool,
        /// Priority and whether it is open, by alarm.
        alarms: BTreeMap<u128, (Priority, bool)>,
        /// Alarm, kind and state, by sequence.
        rows: BTreeMap<i64, (u128, MessageKind, DeliveryState)>,
        sent: Vec<(u128, MessageKind)>,
    }

    impl Model {
        fn tell(&mut self, alarm: u128, kind: MessageKind) {
            let seq = i64::try_from(self.rows.len()).unwrap() + 1;
            let state = if self.paused && holds(self.alarms[&alarm].0) {
                DeliveryState::Held
            } else {
                DeliveryState::Pending
            };
            self.rows.insert(seq, (alarm, kind, state));
        }

        fn dispatch(&mut self) {
            let held: Vec<Held> = self
                .rows
                .iter()
                .filter(|(_, row)| row.2 == DeliveryState::Held)
                .map(|(&seq, &(alarm, kind, _))| Held {
                    seq,
                    alarm: AlarmId(Uuid::from_u128(alarm)),
                    device: "a".parse().unwrap(),
                    kind,
                    priority: self.alarms[&alarm].0,
                    is_open: self.alarms[&alarm].1,
                })
                .collect();
            for (seq, state, reason) in release(&held, |_| self.paused) {
                assert_eq!(state == DeliveryState::Skipped, reason.is_some());
                self.rows.get_mut(&seq).unwrap().2 = state;
            }
            let pending: Vec<i64> = self
                .rows
                .iter()
                .filter(|(_, row)| row.2 == DeliveryState::Pending)
                .map(|(&seq, _)| seq)
                .collect();
            for seq in pending {
                let row = self.rows.get_mut(&seq).unwrap();
                // Not a state of the database: there it has no row any more.
                row.2 = DeliveryState::Dead;
                self.sent.push((row.0, row.1));
            }
        }
    }

    proptest! {
        #[test]
        fn no_high_alarm_is_open_and_untold(steps in steps()) {
            let mut model = Model::default();
            for step in steps {
                let nth = |model: &Model, n: usize| {
                    let open: Vec<u128> = model.alarms.iter().filter(|(_, a)| a.1).map(|(&id, _)| id).collect();
                    open.get(n % open.len().max(1)).copied()
                };
                match step {
                    Step::Raise(priority) => {
                        let alarm = model.alarms.len() as u128;
                        model.alarms.insert(alarm, (priority, true));
                        model.tell(alarm, MessageKind::Raised);
                    }
                    Step::Upgrade(n) => {
                        if let Some(alarm) = nth(&model, n) {
                            model.alarms.get_mut(&alarm).unwrap().0 = Priority::High;
                            model.tell(alarm, MessageKind::Escalated);
                        }
                    }
                    Step::Clear(n) => {
                        if let Some(alarm) = nth(&model, n) {
                            model.alarms.get_mut(&alarm).unwrap().1 = false;
                            model.tell(alarm, MessageKind::Cleared);
                        }
                    }
                    Step::Pause => model.paused = true,
                    Step::Resume => model.paused = false,
                }
                model.dispatch();
                for (&alarm, &(priority, is_open)) in &model.alarms {
                    let told = model.sent.contains(&(alarm, MessageKind::Raised));
                    prop_assert!(told || !is_open || (model.paused && priority < Priority::High));
                }
            }
            model.paused = false;
            model.dispatch();
            for (&seq, &(alarm, kind, state)) in &model.rows {
                prop_assert_ne!(state, DeliveryState::Held, "{} waits for ever", seq);
                // Only an alarm that is over and was never told of is skipped, and then all of it.
                if state == DeliveryState::Skipped {
                    prop_assert!(!model.alarms[&alarm].1);
                    prop_assert!(!model.sent.iter().any(|(told, _)| *told == alarm), "{} {:?}", alarm, kind);
                }
            }
            // Nobody hears of the end of what they have not heard of before.
            for (at, &(alarm, kind)) in model.sent.iter().enumerate() {
                if kind != MessageKind::Raised {
                    prop_assert!(model.sent[..at].contains(&(alarm, MessageKind::Raised)));
                }
            }
        }
    }
}
