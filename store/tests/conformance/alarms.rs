//! Alarms: forward only, whose they are, and how they are listed.

use ecg::{AlarmState, Priority, Utc};
use store::{AlarmFilter, Batch, Error};

use crate::database::Database;
use crate::fixtures::{device, event, kept, patient, record, update};

pub(crate) async fn an_alarm_only_moves_forward(db: &Database) {
    use AlarmState::{Acknowledged, Active, Cleared, Latched};
    let store = &db.store;
    let orders: [[AlarmState; 3]; 6] = [
        [Active, Acknowledged, Cleared],
        [Active, Cleared, Acknowledged],
        [Acknowledged, Active, Cleared],
        [Acknowledged, Cleared, Active],
        [Cleared, Active, Acknowledged],
        [Cleared, Acknowledged, Active],
    ];
    for (k, order) in orders.into_iter().enumerate() {
        for at_once in [true, false] {
            let one = record("a", 2 * u32::try_from(k).unwrap() + u32::from(at_once));
            let events: Vec<_> = order.iter().map(|&state| event(&one, 40, state)).collect();
            if at_once {
                store
                    .commit(&Batch {
                        events: events.clone(),
                        ..Batch::default()
                    })
                    .await
                    .unwrap();
            } else {
                for event in &events {
                    store
                        .commit(&Batch {
                            events: vec![event.clone()],
                            ..Batch::default()
                        })
                        .await
                        .unwrap();
                }
            }
            let (row, stored) = store.alarm(events[0].alarm).await.unwrap().unwrap();
            let expected = [Active, Acknowledged, Cleared].map(|state| event(&one, 40, state));
            assert_eq!(stored, expected, "{order:?}");
            assert_eq!(row.state, Cleared, "{order:?}");
            assert_eq!(
                (row.raised, row.updated),
                (expected[0].utc, expected[2].utc),
                "{order:?}"
            );
            assert_eq!(row.evidence, expected[0].evidence, "{order:?}");
            assert_eq!(
                row.acknowledged_by.as_deref(),
                Some("Nurse Ada"),
                "{order:?}"
            );
            assert_eq!(row.acknowledged_at, Some(expected[1].utc), "{order:?}");
        }
    }
    // A latched alarm is acknowledged by clearing it.
    let one = record("b", 1);
    let mut cleared = event(&one, 40, Cleared);
    cleared.by = Some("Dr. Bo".to_owned());
    let events = vec![
        cleared.clone(),
        event(&one, 40, Latched),
        event(&one, 40, Active),
    ];
    store
        .commit(&Batch {
            events,
            ..Batch::default()
        })
        .await
        .unwrap();
    // Somebody else's later say does not change who it was.
    cleared.by = Some("Dr. Late".to_owned());
    cleared.utc = Utc(1);
    store
        .commit(&Batch {
            events: vec![cleared.clone()],
            ..Batch::default()
        })
        .await
        .unwrap();
    let (row, events) = store.alarm(cleared.alarm).await.unwrap().unwrap();
    assert_eq!(events.len(), 3);
    assert_eq!(row.acknowledged_by.as_deref(), Some("Dr. Bo"));
    assert_eq!(
        (row.updated, row.acknowledged_at),
        (events[2].utc, Some(events[2].utc))
    );
}

pub(crate) async fn an_alarm_keeps_its_patient(db: &Database) {
    let store = &db.store;
    let one = record("vest", 1);
    let (ann, bob) = (patient("ann"), patient("bob"));
    // Before the device was ever heard of.
    store
        .assign(&one.device, Some(&ann), "Nurse Ada", Utc(1))
        .await
        .unwrap();
    let row = store.device(&one.device).await.unwrap().unwrap();
    assert_eq!(
        (row.patient.as_ref(), row.first_seen, row.record.is_none()),
        (Some(&ann), None, true)
    );
    assert!(store.resume().await.unwrap().is_empty());

    let of_ann = event(&one, 10, AlarmState::Active);
    let commit = |events| Batch {
        records: vec![update(&one, 100, 9)],
        events,
        ..Batch::default()
    };
    store.commit(&commit(vec![of_ann.clone()])).await.unwrap();
    store
        .assign(&one.device, Some(&bob), "Nurse Ada", Utc(2))
        .await
        .unwrap();
    let of_bob = event(&one, 20, AlarmState::Active);
    let cleared = event(&one, 10, AlarmState::Cleared);
    store
        .commit(&commit(vec![cleared, of_ann.clone(), of_bob.clone()]))
        .await
        .unwrap();
    store
        .assign(&one.device, None, "Nurse Ada", Utc(3))
        .await
        .unwrap();

    for (patient, alarm) in [(&ann, of_ann.alarm), (&bob, of_bob.alarm)] {
        let filter = AlarmFilter {
            patient: Some(patient.clone()),
            ..AlarmFilter::default()
        };
        let alarms = store.alarms(&filter).await.unwrap();
        assert_eq!(
            alarms.iter().map(|row| row.alarm).collect::<Vec<_>>(),
            [alarm]
        );
        assert_eq!(alarms[0].patient.as_ref(), Some(patient));
    }
    let row = store.device(&one.device).await.unwrap().unwrap();
    assert_eq!((row.patient, row.first_seen), (None, Some(Utc(9))));
    assert_eq!(
        db.count("assignments WHERE changed_by = 'Nurse Ada'").await,
        3
    );
    let error = store
        .assign(&one.device, None, " ", Utc(4))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error:?}");
    assert_eq!(db.count("assignments").await, 3);
}

/// Sets something in a filter.
type Set = fn(&mut AlarmFilter);

pub(crate) async fn the_steps_and_strips_of_a_device(db: &Database) {
    use AlarmState::{Active, Cleared, Latched};
    let store = &db.store;
    let (one, again, other) = (record("a", 1), record("a", 2), record("b", 1));
    let first = [Active, Latched, Cleared].map(|state| event(&one, 40, state));
    let second = event(&again, 40, Active);
    let mut batch = Batch::default();
    batch.events.extend(first.iter().rev().cloned());
    batch
        .events
        .extend([second.clone(), event(&other, 40, Active)]);
    let ended = first[0].alarm.at_end();
    batch.strips.extend([kept(second.alarm, 9), kept(ended, 9)]);
    store.commit(&batch).await.unwrap();

    let stored = store.alarm_events(&device("a")).await.unwrap();
    assert_eq!(stored.len(), 4);
    let of = |alarm| {
        let of = stored.iter().filter(|event| event.alarm == alarm);
        of.cloned().collect::<Vec<_>>()
    };
    assert_eq!(of(first[0].alarm), first);
    assert_eq!(of(second.alarm), std::slice::from_ref(&second));
    assert_eq!(store.alarm_events(&device("z")).await.unwrap(), []);

    // Far more than one statement takes.
    let mut asked = vec![first[0].alarm; 1200];
    asked.extend([ended, second.alarm]);
    let found = store.strips_among(&asked).await.unwrap();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), {
        let mut both = vec![ended, second.alarm];
        both.sort();
        both
    });
    assert!(store.strips_among(&[]).await.unwrap().is_empty());
}

pub(crate) async fn filters_and_pages(db: &Database) {
    let store = &db.store;
    let mut batch = Batch::default();
    for k in 0..60u64 {
        let one = record(["a", "b", "c"][(k % 3) as usize], 1);
        // Pairs that were raised at the same instant.
        let mut raised = event(&one, k, AlarmState::Active);
        raised.utc = Utc((k / 2).cast_signed());
        raised.priority = if k % 5 == 0 {
            Priority::Low
        } else {
            Priority::High
        };
        if k % 4 == 0 {
            let mut cleared = event(&one, k, AlarmState::Cleared);
            cleared.priority = raised.priority;
            batch.events.push(cleared);
        }
        batch.events.push(raised);
    }
    store.commit(&batch).await.unwrap();
    let all = store.alarms(&AlarmFilter::default()).await.unwrap();
    assert_eq!(all.len(), 60);
    assert!(all.is_sorted_by(|x, y| (x.raised, x.alarm) > (y.raised, y.alarm)));

    let mut filter = AlarmFilter {
        limit: 7,
        ..AlarmFilter::default()
    };
    let mut paged = Vec::new();
    loop {
        let page = store.alarms(&filter).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.before = Some((last.raised, last.alarm));
        paged.extend(page);
    }
    assert_eq!(paged, all);

    let filters: [(Set, usize); 9] = [
        (|f| f.device = Some(device("b")), 20),
        (|f| f.device = Some(device("z")), 0),
        (|f| f.patient = Some(patient("z")), 0),
        (|f| f.state = Some(AlarmState::Cleared), 15),
        (|f| f.open_only = true, 45),
        (|f| f.priority = Some(Priority::Low), 12),
        (|f| (f.since, f.until) = (Some(Utc(10)), Some(Utc(12))), 4),
        (
            |f| {
                f.open_only = true;
                f.device = Some(device("a"));
                f.priority = Some(Priority::High);
                (f.since, f.until) = (Some(Utc(0)), Some(Utc(99)));
            },
            12,
        ),
        (|f| f.limit = 0, 0),
    ];
    for (set, expected) in filters {
        let mut filter = AlarmFilter::default();
        set(&mut filter);
        let alarms = store.alarms(&filter).await.unwrap();
        assert_eq!(alarms.len(), expected, "{filter:?}");
    }
    let error = store
        .alarms(&AlarmFilter {
            limit: 1001,
            ..AlarmFilter::default()
        })
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("limit 1001 is over 1000"),
        "{error}"
    );
}

pub(crate) async fn text_of_any_length_and_script(db: &Database) {
    let store = &db.store;
    let one = record("a", 1);
    for (k, text) in [
        "",
        "心臓 🫀 «é» '; DROP TABLE alarms; --",
        &"ß".repeat(100_000),
    ]
    .into_iter()
    .enumerate()
    {
        let mut event = event(&one, k as u64, AlarmState::Acknowledged);
        event.by = Some(text.to_owned());
        event.evidence = text.to_owned();
        store
            .commit(&Batch {
                events: vec![event.clone()],
                ..Batch::default()
            })
            .await
            .unwrap();
        let (row, events) = store.alarm(event.alarm).await.unwrap().unwrap();
        assert_eq!(
            (row.evidence.as_str(), row.acknowledged_by.as_deref()),
            (text, Some(text))
        );
        assert_eq!(events, [event]);
    }
    let mut event = event(&one, 9, AlarmState::Active);
    event.evidence = String::from("a\0b");
    let error = store
        .commit(&Batch {
            events: vec![event],
            ..Batch::default()
        })
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "refused: evidence has a NUL character at byte 1"
    );
}
