//! Whether a subscriber wants a message.

use store::{Message, SubscriberFilter};

/// Whether `filter` lets `message` through: each of its conditions must hold, and an empty list holds for everything.
pub fn lets_through(filter: &SubscriberFilter, message: &Message) -> bool {
    fn holds<T>(list: &[T], mut is: impl FnMut(&T) -> bool) -> bool {
        list.is_empty() || list.iter().any(&mut is)
    }
    message.priority >= filter.least_priority
        && holds(&filter.conditions, |name| *name == message.condition)
        && holds(&filter.kinds, |kind| *kind == message.kind)
        && holds(&filter.devices, |device| *device == message.record.device)
        && holds(&filter.patients, |patient| {
            Some(patient) == message.patient.as_ref()
        })
}

#[cfg(test)]
mod tests {
    use ecg::Priority;
    use store::MessageKind;

    use super::*;
    use crate::delivery::message::tests::message;

    /// Sets something in a filter.
    type Set = fn(&mut SubscriberFilter);

    #[test]
    fn every_condition_of_a_filter_must_hold() {
        let message = message();
        let check = |expected: bool, set: Set| {
            let mut filter = SubscriberFilter::default();
            set(&mut filter);
            assert_eq!(lets_through(&filter, &message), expected, "{filter:?}");
        };
        check(true, |_| {});
        check(true, |f| f.least_priority = Priority::High);
        check(true, |f| {
            f.conditions = vec!["pause".into(), "asystole".into()];
        });
        check(false, |f| f.conditions = vec!["pause".into()]);
        check(true, |f| f.kinds = vec![MessageKind::Raised]);
        check(false, |f| f.kinds = vec![MessageKind::Escalated]);
        check(true, |f| f.devices = vec!["vest-7".parse().unwrap()]);
        check(false, |f| f.devices = vec!["vest-8".parse().unwrap()]);
        check(true, |f| f.patients = vec!["p-17".parse().unwrap()]);
        check(false, |f| f.patients = vec!["p-18".parse().unwrap()]);
        check(false, |f| {
            f.devices = vec!["vest-7".parse().unwrap()];
            f.kinds = vec![MessageKind::Cleared];
        });
        let mut low = message.clone();
        (low.priority, low.patient) = (Priority::Low, None);
        let mut filter = SubscriberFilter::default();
        assert!(lets_through(&filter, &low));
        filter.least_priority = Priority::Medium;
        assert!(!lets_through(&filter, &low));
        filter.least_priority = Priority::Low;
        filter.patients = vec!["p-17".parse().unwrap()];
        assert!(
            !lets_through(&filter, &low),
            "a patient is asked for, and nobody wears it"
        );
    }
}
