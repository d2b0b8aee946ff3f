//! Getting alarms out: messages once and in order, deliveries, escalations, pauses.

use ecg::{AlarmEvent, AlarmState, Condition, Priority, Utc};
use store::{
    Backlog, Batch, DeliveryState, Error, EscalationRule, Message, MessageKind, NewDelivery,
    Outcome, Store, SubscriberFilter, SubscriberSettings,
};
use uuid::Uuid;

use crate::database::Database;
use crate::fixtures::{device, event, full_batch, patient, record, update};

fn events(events: Vec<AlarmEvent>, at: i64) -> Batch {
    Batch {
        events,
        at: Some(Utc(at)),
        ..Batch::default()
    }
}

async fn all(store: &Store) -> Vec<Message> {
    store.messages_after(0, 1000).await.unwrap()
}

fn settings(secret: Option<&str>) -> SubscriberSettings {
    SubscriberSettings {
        name: "ward 3".into(),
        url: "https://pager.example/hook".into(),
        secret: secret.map(Into::into),
        filter: SubscriberFilter::default(),
        by: "Nurse Ada".into(),
    }
}

async fn subscriber(store: &Store, n: u128) -> Uuid {
    let id = Uuid::from_u128(n);
    let added = store.add_subscriber(id, &settings(Some("s")), Utc(1)).await;
    added.unwrap();
    id
}

pub(crate) async fn a_new_event_brings_one_message(db: &Database) {
    use AlarmState::Active;
    let store = &db.store;
    let mut batch = full_batch();
    batch.at = Some(Utc(77));
    let one = batch.records[0].record.clone();
    let ann = patient("ann");
    let assigned = store.assign(&one.device, Some(&ann), "x", Utc(1)).await;
    assigned.unwrap();
    store.commit(&batch).await.unwrap();
    let once = all(store).await;
    let ids: Vec<Uuid> = batch.events.iter().map(AlarmEvent::id).collect();
    assert_eq!(once.iter().map(|m| m.id).collect::<Vec<_>>(), ids);
    assert!(once.is_sorted_by_key(|message| message.seq));
    for (message, event) in once.iter().zip(&batch.events) {
        let kind = match event.state {
            Active => MessageKind::Raised,
            _ => MessageKind::Latched,
        };
        assert_eq!((message.kind, message.level), (kind, 0));
        assert_eq!(message.record, event.record);
        assert_eq!(message.patient.as_ref(), Some(&ann));
        assert_eq!(message.condition, event.condition.name());
        assert_eq!(message.priority, event.priority);
        assert_eq!(message.state, event.state);
        assert_eq!((message.utc, message.stored), (event.utc, Utc(77)));
        assert_eq!(message.raised, batch.events[0].utc);
        assert_eq!(message.evidence, event.evidence);
        let anchor = &batch.records[0].anchor;
        assert_eq!(message.onset_utc, Some(anchor.utc(event.onset)));
    }

    // Again, twice at once, by somebody else, and with something that is new.
    let mut again = batch.clone();
    again.append(batch.clone());
    db.another().await.commit(&again).await.unwrap();
    assert_eq!(all(store).await, once);
    again.events.push(event(&one, 900, Active));
    store.commit(&again).await.unwrap();
    let more = all(store).await;
    assert_eq!(more[..once.len()], once);
    assert_eq!(more.len(), once.len() + 1);

    // What was removed for its age does not come back.
    assert_eq!(store.sweep_outbox(Utc(78)).await.unwrap(), 3);
    store.commit(&again).await.unwrap();
    assert!(all(store).await.is_empty());
    assert!(store.newest_message().await.unwrap() == 0);

    // A batch that is refused brings none.
    let mut bad = events(vec![event(&one, 901, Active)], 80);
    bad.events[0].evidence = "a\0b".into();
    store.commit(&bad).await.unwrap_err();
    assert!(all(store).await.is_empty());
    // Without a record, nobody knows when the onset was.
    let unknown = event(&record("unknown", 1), 5, Active);
    store
        .commit(&Batch {
            events: vec![unknown.clone()],
            ..Batch::default()
        })
        .await
        .unwrap();
    let message = all(store).await.remove(0);
    assert_eq!((message.onset_utc, message.stored), (None, unknown.utc));
}

/// Whoever follows the sequence misses nothing, though many write at once.
pub(crate) async fn a_reader_misses_no_message(db: &Database) {
    const WRITERS: usize = 4;
    const EACH: usize = 25;
    let mut tasks = tokio::task::JoinSet::new();
    for k in 0..WRITERS {
        let store = db.another().await;
        tasks.spawn(async move {
            let one = record(&format!("d{k}"), 1);
            for n in 0..EACH {
                let batch = events(vec![event(&one, n as u64, AlarmState::Active)], 1);
                while let Err(error) = store.commit(&batch).await {
                    assert!(error.is_transient(), "{error:?}");
                }
            }
            store.close().await;
        });
    }
    let mut read = Vec::new();
    let wanted = WRITERS * EACH;
    while read.len() < wanted {
        let writing = !tasks.is_empty();
        while tasks.try_join_next().is_some_and(|done| done.is_ok()) {}
        let last = read.last().map_or(0, |message: &Message| message.seq);
        let news = db.store.messages_after(last, 7).await.unwrap();
        assert!(writing || !news.is_empty(), "{} of {wanted}", read.len());
        read.extend(news);
    }
    assert_eq!(read.len(), wanted);
    assert_eq!(db.count("outbox").await, i64::try_from(wanted).unwrap());
}

#[expect(clippy::too_many_lines, reason = "one story")]
pub(crate) async fn who_nobody_answers_is_escalated_once(db: &Database) {
    use AlarmState::{Acknowledged, Active, Cleared, Latched};
    let store = &db.store;
    let one = record("a", 1);
    let of = |onset, condition, priority, state| {
        let mut event = event(&one, onset, state);
        event.alarm = ecg::AlarmId::new(&one, condition, event.onset);
        (event.condition, event.priority) = (condition, priority);
        event
    };
    let high = |onset, state| of(onset, Condition::Asystole, Priority::High, state);
    let medium = |onset, state| of(onset, Condition::Pause, Priority::Medium, state);
    let batch = vec![
        high(1, Active),
        high(2, Active),
        high(2, Acknowledged),
        high(3, Active),
        high(3, Latched),
        high(4, Active),
        high(4, Cleared),
        medium(5, Active),
        of(6, Condition::NoData, Priority::Low, Active),
    ];
    let n_events = batch.len();
    store.commit(&events(batch, 1000)).await.unwrap();
    let rules = |high, medium| {
        let rule = |priority, before| EscalationRule {
            priority,
            before: Utc(before),
        };
        [rule(Priority::High, high), rule(Priority::Medium, medium)]
    };
    assert!(
        store
            .escalate(&rules(999, 999), 2, Utc(1999))
            .await
            .unwrap()
            .is_empty()
    );
    // Two at the same time, and one after a restart.
    let other = db.another().await;
    let (first, second) = (rules(1000, 999), rules(1000, 999));
    let (first, second) = tokio::join!(
        store.escalate(&first, 2, Utc(2000)),
        other.escalate(&second, 2, Utc(2000))
    );
    let mut escalated: Vec<Message> = [first, second]
        .into_iter()
        .filter_map(Result::ok)
        .flatten()
        .collect();
    escalated.extend(
        store
            .escalate(&rules(1000, 999), 2, Utc(2001))
            .await
            .unwrap(),
    );
    let expected = [(high(1, Active), Active), (high(3, Active), Latched)];
    escalated.sort_by_key(|message| message.raised);
    assert_eq!(escalated.len(), 2, "{escalated:?}");
    for (message, (event, state)) in escalated.iter().zip(&expected) {
        assert_eq!((message.kind, message.level), (MessageKind::Escalated, 1));
        assert_eq!((message.alarm, message.state), (event.alarm, *state));
        assert_eq!(message.id, Uuid::new_v5(&event.alarm.0, b"escalated-1"));
        assert!(message.utc == Utc(2000) || message.utc == Utc(2001));
    }
    let (row, _) = store.alarm(expected[0].0.alarm).await.unwrap().unwrap();
    assert!(
        matches!(row.escalated, Some((1, Utc(2000 | 2001)))),
        "{row:?}"
    );
    // Later events of the alarm do not undo it; the next level counts from the last one.
    store
        .commit(&events(vec![high(1, Latched)], 2002))
        .await
        .unwrap();
    assert!(
        store
            .escalate(&rules(1999, 999), 2, Utc(2500))
            .await
            .unwrap()
            .is_empty()
    );
    store
        .commit(&events(vec![high(3, Cleared)], 2501))
        .await
        .unwrap();
    let next = store
        .escalate(&rules(2001, 1000), 2, Utc(3000))
        .await
        .unwrap();
    let mut told: Vec<_> = next.iter().map(|m| (m.priority, m.level)).collect();
    told.sort_unstable();
    assert_eq!(told, [(Priority::Medium, 1), (Priority::High, 2)]);
    // No third level, and low and ended ones never.
    assert_eq!(
        store
            .escalate(&rules(9000, 2000), 2, Utc(9000))
            .await
            .unwrap(),
        []
    );
    assert_eq!(
        db.count("outbox").await,
        i64::try_from(n_events + 2 + 4).unwrap()
    );
    let (row, _) = store.alarm(high(2, Active).alarm).await.unwrap().unwrap();
    assert_eq!(row.escalated, None);
}

#[expect(clippy::too_many_lines, reason = "one story")]
pub(crate) async fn deliveries_are_in_order_per_device(db: &Database) {
    let store = &db.store;
    let (a, b) = (record("a", 1), record("b", 1));
    let old = event(&a, 0, AlarmState::Active);
    store.commit(&events(vec![old], 1)).await.unwrap();
    let id = subscriber(store, 1).await;
    let from = store.subscriber(id).await.unwrap().unwrap().read_until;
    assert_eq!(
        store.messages_after(from, 9).await.unwrap(),
        [],
        "news only"
    );
    let news = vec![
        event(&a, 1, AlarmState::Active),
        event(&b, 2, AlarmState::Active),
        event(&a, 3, AlarmState::Active),
    ];
    store.commit(&events(news, 2)).await.unwrap();
    let messages = store.messages_after(from, 9).await.unwrap();
    let rows: Vec<NewDelivery> = messages
        .iter()
        .map(|message| NewDelivery {
            seq: message.seq,
            device: message.record.device.clone(),
            state: DeliveryState::Pending,
        })
        .collect();
    let to = messages[2].seq;
    assert!(store.fan_out(id, from, to, &rows, Utc(5)).await.unwrap());
    assert!(
        !store.fan_out(id, from, to, &rows, Utc(5)).await.unwrap(),
        "once"
    );
    assert!(
        !store
            .fan_out(Uuid::from_u128(9), 0, to, &rows, Utc(5))
            .await
            .unwrap()
    );

    let heads = || async {
        let heads = store.heads(id, 9).await.unwrap();
        heads
            .iter()
            .map(|head| head.message.seq)
            .collect::<Vec<_>>()
    };
    let [first, second, third] = [0, 1, 2].map(|k| messages[k].seq);
    assert_eq!(heads().await, [first, second]);
    let head = store.head(id, &a.device).await.unwrap().unwrap();
    assert_eq!(head.message.seq, first);
    assert_eq!(store.head(id, &device("c")).await.unwrap(), None);
    // A message that failed waits, and everything of its device with it.
    let again = |state, next| Outcome {
        state,
        next: Utc(next),
        reason: "500".into(),
    };
    store
        .failed(id, first, &again(DeliveryState::Pending, 90))
        .await
        .unwrap();
    assert_eq!(heads().await, [second, first]);
    let head = store.heads(id, 9).await.unwrap().remove(1);
    assert_eq!((head.attempts, head.next, head.since), (1, Utc(90), Utc(5)));
    assert_eq!(head.reason.as_deref(), Some("500"));
    assert_eq!(head.message, messages[0]);
    store.delivered(id, second).await.unwrap();
    assert_eq!(heads().await, [first]);
    // Given up, it holds nobody up.
    store
        .failed(id, first, &again(DeliveryState::Dead, 91))
        .await
        .unwrap();
    assert_eq!(heads().await, [third]);
    let backlog = Backlog {
        subscriber: id,
        pending: 1,
        held: 0,
        dead: 1,
        oldest: Some(messages[2].stored),
    };
    assert_eq!(store.backlog().await.unwrap(), [backlog]);
    let dead = store
        .deliveries(id, Some(DeliveryState::Dead), 9)
        .await
        .unwrap();
    assert_eq!(
        dead.iter().map(|d| d.message.seq).collect::<Vec<_>>(),
        [first]
    );
    assert_eq!(store.deliveries(id, None, 9).await.unwrap().len(), 2);
    // Neither is swept while it is young, nor what is pending ever.
    assert_eq!(store.sweep_outbox(Utc(2)).await.unwrap(), 1);
    assert_eq!(
        store
            .retry(id, Some(messages[1].id), Utc(100))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        store
            .retry(id, Some(messages[0].id), Utc(100))
            .await
            .unwrap(),
        1
    );
    assert_eq!(store.retry(id, None, Utc(100)).await.unwrap(), 0);
    assert_eq!(heads().await, [first]);
    let head = store.heads(id, 9).await.unwrap().remove(0);
    assert_eq!((head.attempts, head.since), (0, Utc(100)));
    assert_eq!(
        store.sweep_outbox(Utc(1000)).await.unwrap(),
        1,
        "the one delivered"
    );
    assert!(store.remove_subscriber(id).await.unwrap());
    assert!(!store.remove_subscriber(id).await.unwrap());
    assert_eq!(db.count("deliveries").await, 0);
    assert_eq!(store.sweep_outbox(Utc(1000)).await.unwrap(), 2);
}

pub(crate) async fn what_is_held_knows_its_alarm(db: &Database) {
    use AlarmState::{Active, Cleared};
    let store = &db.store;
    let id = subscriber(store, 1).await;
    let a = record("a", 1);
    let news = vec![
        event(&a, 1, Active),
        event(&a, 2, Active),
        event(&a, 1, Cleared),
    ];
    store.commit(&events(news, 2)).await.unwrap();
    let messages = all(store).await;
    let rows: Vec<NewDelivery> = messages
        .iter()
        .map(|message| NewDelivery {
            seq: message.seq,
            device: device("a"),
            state: DeliveryState::Held,
        })
        .collect();
    let to = messages[2].seq;
    assert!(store.fan_out(id, 0, to, &rows, Utc(5)).await.unwrap());
    assert_eq!(store.heads(id, 9).await.unwrap(), []);
    let held = store.held(id).await.unwrap();
    let told: Vec<_> = held.iter().map(|held| (held.kind, held.is_open)).collect();
    assert_eq!(
        told,
        [
            (MessageKind::Raised, false),
            (MessageKind::Raised, true),
            (MessageKind::Cleared, false)
        ]
    );
    assert!(
        held.iter()
            .all(|held| held.priority == Priority::High && held.device == device("a"))
    );
    let moves = [
        (held[0].seq, DeliveryState::Skipped, Some("came and went")),
        (held[1].seq, DeliveryState::Pending, None),
        (held[2].seq, DeliveryState::Skipped, Some("came and went")),
    ];
    store.settle(id, &moves, Utc(50)).await.unwrap();
    let heads = store.heads(id, 9).await.unwrap();
    assert_eq!(
        (heads.len(), heads[0].message.seq, heads[0].next),
        (1, held[1].seq, Utc(50))
    );
    assert_eq!(heads[0].priority, Priority::High);
    let skipped = store
        .deliveries(id, Some(DeliveryState::Skipped), 9)
        .await
        .unwrap();
    assert_eq!(skipped.len(), 2);
    assert_eq!(skipped[0].reason.as_deref(), Some("came and went"));
}

pub(crate) async fn subscribers_come_back_and_keep_their_secret(db: &Database) {
    use secrecy::ExposeSecret;
    let store = &db.store;
    let id = Uuid::from_u128(7);
    let error = store
        .add_subscriber(id, &settings(None), Utc(3))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    store
        .add_subscriber(id, &settings(Some("hush")), Utc(3))
        .await
        .unwrap();
    let mut changed = settings(None);
    changed.name = "ward 4".into();
    changed.filter = SubscriberFilter {
        least_priority: Priority::Medium,
        conditions: vec!["asystole".into(), "pause".into()],
        kinds: vec![MessageKind::Raised, MessageKind::Escalated],
        devices: vec![device("a"), device("b")],
        patients: vec![patient("p")],
    };
    assert!(store.change_subscriber(id, &changed, Utc(4)).await.unwrap());
    assert!(
        !store
            .change_subscriber(Uuid::from_u128(8), &changed, Utc(4))
            .await
            .unwrap()
    );
    let found = store.subscriber(id).await.unwrap().unwrap();
    assert_eq!(
        (found.name.as_str(), &found.filter),
        ("ward 4", &changed.filter)
    );
    assert_eq!((found.created, found.changed), (Utc(3), Utc(4)));
    assert_eq!(found.secret.expose_secret(), "hush");
    assert!(!format!("{found:?}").contains("hush"));
    let other = settings(Some("hush hush"));
    store.change_subscriber(id, &other, Utc(5)).await.unwrap();
    let found = store.subscribers().await.unwrap().remove(0);
    assert_eq!(found.secret.expose_secret(), "hush hush");
    assert_eq!(found.filter, SubscriberFilter::default());
}

pub(crate) async fn the_last_pause_of_a_device_is_in_force(db: &Database) {
    let store = &db.store;
    let (a, b) = (device("a"), device("b"));
    assert_eq!(store.pauses(Utc(0)).await.unwrap(), []);
    store.pause(&a, Utc(100), "Ada", Utc(10)).await.unwrap();
    store.pause(&b, Utc(200), "Bo", Utc(10)).await.unwrap();
    store.pause(&a, Utc(60), "Cy", Utc(20)).await.unwrap();
    let pauses = store.pauses(Utc(59)).await.unwrap();
    let told: Vec<_> = pauses
        .iter()
        .map(|p| (p.device.as_str(), p.until, p.by.as_str()))
        .collect();
    assert_eq!(told, [("a", Utc(60), "Cy"), ("b", Utc(200), "Bo")]);
    assert_eq!(
        store.pauses(Utc(60)).await.unwrap().len(),
        1,
        "the longer one before is over too"
    );
    store.pause(&b, Utc(70), "Dee", Utc(70)).await.unwrap();
    assert_eq!(store.pauses(Utc(70)).await.unwrap(), []);
    assert!(store.pause(&b, Utc(70), " ", Utc(70)).await.is_err());
    assert_eq!(db.count("pauses").await, 4);
}

pub(crate) async fn devices_with_alarms_are_found(db: &Database) {
    let store = &db.store;
    let one = record("a", 1);
    store
        .commit(&Batch {
            records: vec![update(&one, 9, 9)],
            ..Batch::default()
        })
        .await
        .unwrap();
    assert_eq!(store.devices_with_alarms(Utc(0)).await.unwrap(), []);
    let (open, over) = (
        event(&one, 1, AlarmState::Active),
        event(&record("b", 1), 1, AlarmState::Cleared),
    );
    store
        .commit(&events(vec![open, over.clone()], 1))
        .await
        .unwrap();
    assert_eq!(
        store.devices_with_alarms(Utc(i64::MAX)).await.unwrap(),
        [device("a")]
    );
    let mut both = store.devices_with_alarms(over.utc).await.unwrap();
    both.sort();
    assert_eq!(both, [device("a"), device("b")]);
}
