//! What a day of a patient is made of.

use std::ops::Range;

use ecg::{
    AlarmId, AlarmState, BeatClass, Condition, Gap, Priority, RecordId, SampleIndex, Suppression,
    Utc,
};
use store::{AlarmTimes, Batch, BeatCount, EpisodeSpan, FindingRow, HeldBack, Worn};

use crate::database::Database;
use crate::fixtures::{beat, device, event, finding, patient, record, trend, update};

const MINUTE: i64 = 60_000_000;

fn minutes(span: Range<i64>) -> Range<Utc> {
    Utc(span.start * MINUTE)..Utc(span.end * MINUTE)
}

fn worn(name: &str, span: Range<i64>) -> Worn {
    Worn {
        device: device(name),
        span: minutes(span),
    }
}

pub(crate) async fn a_patient_changes_devices(db: &Database) {
    let store = &db.store;
    let (p, q) = (patient("p"), patient("q"));
    assert_eq!(store.worn(&p, minutes(0..100)).await.unwrap(), []);
    for (name, who, minute) in [
        ("a", Some(&p), 10),
        ("b", Some(&q), 12),
        ("a", None, 20),
        ("b", Some(&p), 30),
        // Twice the same, and somebody else in between.
        ("b", Some(&p), 35),
        ("a", Some(&q), 40),
        ("a", Some(&p), 50),
    ] {
        store
            .assign(&device(name), who, "x", Utc(minute * MINUTE))
            .await
            .unwrap();
    }
    let of = async |who, span| store.worn(who, minutes(span)).await.unwrap();
    assert_eq!(
        of(&p, 0..100).await,
        [
            worn("a", 10..20),
            worn("b", 30..35),
            worn("b", 35..100),
            worn("a", 50..100)
        ]
    );
    assert_eq!(of(&p, 15..33).await, [worn("a", 15..20), worn("b", 30..33)]);
    assert_eq!(of(&p, 20..30).await, []);
    assert_eq!(of(&q, 0..100).await, [worn("b", 12..30), worn("a", 40..50)]);
    // A clock that went back: the later word counts.
    store
        .assign(&device("b"), None, "x", Utc(32 * MINUTE))
        .await
        .unwrap();
    assert_eq!(
        of(&p, 0..100).await,
        [worn("a", 10..20), worn("b", 30..35), worn("a", 50..100)]
    );
}

/// What device a saw in minutes 10 and 11, and a little of b.
fn seen(one: &RecordId) -> Batch {
    let other = record("b", 1);
    let raised = event(one, 500, AlarmState::Active);
    let acknowledged = event(one, 500, AlarmState::Acknowledged);
    let held_back = |onset, minute: i64| {
        let (onset, condition) = (SampleIndex(onset), Condition::VentricularTachycardia);
        Suppression {
            alarm: AlarmId::new(one, condition, onset),
            record: one.clone(),
            condition,
            priority: Priority::High,
            onset,
            at: onset,
            utc: Utc(minute * MINUTE),
            evidence: "probability 0.80".to_owned(),
            reason: "steady pulse of 70/min".to_owned(),
        }
    };
    let at = |record: &RecordId, r_peak: u64, class, minute: i64| {
        (
            record.clone(),
            beat(r_peak, class),
            Utc(minute * MINUTE + 5),
        )
    };
    let minute_of = |record, minute: i64| {
        let mut trend = trend(record, minute.cast_unsigned(), 60);
        trend.start = Utc(minute * MINUTE + 7);
        trend
    };
    let in_time = |onset, end, span: Range<i64>| FindingRow {
        start_utc: Utc(span.start * MINUTE),
        end_utc: Utc(span.end * MINUTE),
        ..finding(one, onset, end)
    };
    Batch {
        records: vec![update(one, 9000, 200 * MINUTE), update(&other, 1, 1)],
        beats: vec![
            at(one, 1, Some(BeatClass::N), 10),
            at(one, 2, Some(BeatClass::V), 10),
            at(one, 3, Some(BeatClass::V), 10),
            at(one, 4, None, 10),
            at(one, 5, Some(BeatClass::N), 11),
            at(one, 6, Some(BeatClass::N), 30),
            at(&other, 7, Some(BeatClass::S), 10),
        ],
        gaps: [(100, 200), (300, 400), (500, 600)]
            .map(|(start, end)| {
                let (start, end) = (SampleIndex(start), SampleIndex(end));
                (one.clone(), Gap { start, end })
            })
            .to_vec(),
        findings: vec![
            in_time(100, 200, 9..11),
            in_time(300, 400, 12..13),
            in_time(500, 600, 40..50),
        ],
        suppressions: vec![
            held_back(100, 12),
            held_back(200, 19),
            held_back(300, 20),
            Suppression {
                alarm: raised.alarm,
                condition: raised.condition,
                ..held_back(500, 15)
            },
        ],
        events: vec![raised, acknowledged],
        trends: vec![minute_of(one, 10), minute_of(one, 11), minute_of(&other, 9)],
        ..Batch::default()
    }
}

pub(crate) async fn a_day_is_read_from_what_a_device_saw(db: &Database) {
    let store = &db.store;
    let (one, p) = (record("a", 1), patient("p"));
    store
        .assign(&one.device, Some(&p), "x", Utc(1))
        .await
        .unwrap();
    let batch = seen(&one);
    store.commit(&batch).await.unwrap();
    let span = minutes(10..20);

    let first = async |span| {
        store
            .first_minute(&one.device, minutes(span))
            .await
            .unwrap()
    };
    assert_eq!(first(0..100).await, Some(Utc(10 * MINUTE + 7)));
    assert_eq!(first(11..100).await, Some(Utc(11 * MINUTE + 7)));
    assert_eq!(first(12..100).await, None);

    let count = |minute, class, n| BeatCount { minute, class, n };
    let mut counts = store
        .beats_by_minute(&one.device, span.clone())
        .await
        .unwrap();
    // Where no class comes in the order is up to the database.
    counts.sort_by_key(|count| (count.minute, count.class.map(BeatClass::index)));
    assert_eq!(
        counts,
        [
            count(10, None, 1),
            count(10, Some(BeatClass::N), 1),
            count(10, Some(BeatClass::V), 2),
            count(11, Some(BeatClass::N), 1),
        ]
    );

    let gaps = async |from, to| {
        let span = SampleIndex(from)..SampleIndex(to);
        let gaps = store.gaps_in(&one, span).await.unwrap();
        gaps.iter().map(|gap| gap.start.0).collect::<Vec<_>>()
    };
    assert_eq!(gaps(0, u64::MAX).await, [100, 300, 500]);
    assert_eq!(gaps(199, 301).await, [100, 300]);
    assert_eq!(gaps(200, 300).await, [0; 0]);

    let episodes = store
        .episode_spans(&one.device, span.clone())
        .await
        .unwrap();
    let episode = |span| EpisodeSpan {
        name: "atrial_fibrillation".to_owned(),
        text: "Atrial fibrillation".to_owned(),
        span: minutes(span),
    };
    assert_eq!(episodes, [episode(9..11), episode(12..13)]);

    let [raised, acknowledged] = &batch.events[..] else {
        unreachable!()
    };
    let alarms = store.alarm_times(&p, minutes(0..100)).await.unwrap();
    let times = AlarmTimes {
        condition: raised.condition,
        priority: Priority::High,
        state: AlarmState::Acknowledged,
        raised: raised.utc,
        acknowledged: Some(acknowledged.utc),
    };
    assert_eq!(alarms, [times]);
    let nobody = store
        .alarm_times(&patient("q"), minutes(0..100))
        .await
        .unwrap();
    assert_eq!(nobody, []);
    let held_back = store.held_back(&one.device, span.clone()).await.unwrap();
    let never = HeldBack {
        condition: Condition::VentricularTachycardia,
        priority: Priority::High,
        n: 2,
    };
    assert_eq!(held_back, [never]);
    let before = Utc(0)..raised.utc;
    assert_eq!(store.alarm_times(&p, before).await.unwrap(), []);
}
