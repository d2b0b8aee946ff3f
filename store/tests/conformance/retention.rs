//! Removing what is old, and nothing else.

use std::path::Path;

use ecg::{AlarmEvent, AlarmState, RecordId, SampleIndex, Utc};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use sqlx::{Connection, PgConnection};
use store::{Batch, Kept, Store};

use crate::database::{Database, postgres};
use crate::fixtures::{
    ALL, beat, event, everything, finding, full_batch, held_back, kept, record, to, trend, update,
};

const DAY: i64 = 86_400_000_000;

/// Something of everything, at `utc`.
fn batch(record: &RecordId, utc: i64, state: Option<AlarmState>) -> Batch {
    let mut minute = trend(record, 1, 3);
    minute.start = Utc(utc);
    let mut episode = finding(record, 500, 3060);
    (episode.start_utc, episode.end_utc, episode.ended) = (Utc(utc), Utc(utc), true);
    let mut suppressed = held_back(record, 900);
    suppressed.utc = Utc(utc);
    let at = |mut event: AlarmEvent| {
        event.utc = Utc(utc);
        event
    };
    let raised = at(event(record, 500, AlarmState::Active));
    let alarm = raised.alarm;
    let mut events = vec![raised];
    events.extend(state.map(|state| at(event(record, 500, state))));
    let mut start = update(record, 5000, utc);
    start.anchor.index = SampleIndex(300);
    Batch {
        records: vec![start],
        beats: vec![(record.clone(), beat(300, None), Utc(utc))],
        gaps: vec![(
            record.clone(),
            ecg::Gap {
                start: SampleIndex(200),
                end: SampleIndex(300),
            },
        )],
        strips: vec![kept(alarm, 100), kept(alarm.at_end(), 100)],
        findings: vec![episode],
        suppressions: vec![suppressed],
        events,
        trends: vec![minute],
        at: Some(Utc(utc)),
        ..Batch::default()
    }
}

async fn n_beats(db: &Database, record: &RecordId) -> usize {
    let beats = db.store.beats_of_device(&record.device, ALL).await.unwrap();
    beats.len()
}

/// Removes what is older, as the service does.
async fn remove_all(store: &Store, before: Utc) {
    store.drop_partitions(before).await.unwrap();
    for kept in Kept::ALL {
        for device in store.devices_due(kept, before).await.unwrap() {
            while store.remove(kept, &device, before, 2).await.unwrap() > 0 {}
        }
        assert_eq!(store.devices_due(kept, before).await.unwrap(), []);
    }
    store.shrink().await.unwrap();
}

pub(crate) async fn what_is_old_goes_and_what_is_young_stays(db: &Database) {
    let now = 2_000 * DAY;
    let (old, young) = (record("old", 1), record("young", 2));
    db.store
        .prepare_partitions(Utc(now - 3 * DAY))
        .await
        .unwrap();
    for (record, utc) in [(&old, now - 3 * DAY), (&young, now)] {
        let batch = batch(record, utc, Some(AlarmState::Cleared));
        db.store.commit(&batch).await.unwrap();
    }
    let before = Utc(now - DAY);
    let kept = everything(&db.store, &young).await;
    assert_eq!(db.count("strips").await, 4);
    // Somebody may still be told of it.
    remove_all(&db.store, before).await;
    assert_eq!(db.count("alarms").await, 2);
    assert_eq!(db.count("strips").await, 2);
    db.store.sweep_outbox(before).await.unwrap();
    remove_all(&db.store, before).await;
    for table in [
        "beats",
        "trends",
        "gaps",
        "findings",
        "suppressions",
        "alarms",
    ] {
        assert_eq!(db.count(table).await, 1, "{table}");
    }
    assert_eq!(db.count("alarm_events").await, 2);
    assert_eq!(db.count("strips").await, 2);
    // Devices and records stay, and what is young is as it was.
    assert_eq!(db.count("records").await, 2);
    let resume = db.store.resume().await.unwrap();
    assert!(resume.iter().all(|resume| resume.missing_strips.is_empty()));
    db.execute("DELETE FROM records WHERE device = 'old'")
        .await
        .unwrap();
    db.execute("DELETE FROM devices WHERE device = 'old'")
        .await
        .unwrap();
    // The list of alarms had the old one in it.
    drop(kept);
    let before = everything(&db.store, &young).await;
    db.store
        .commit(&batch(&young, now, Some(AlarmState::Cleared)))
        .await
        .unwrap();
    assert_eq!(everything(&db.store, &young).await, before);
}

pub(crate) async fn an_open_alarm_keeps_its_rows(db: &Database) {
    let now = 2_000 * DAY;
    for (k, state) in [
        None,
        Some(AlarmState::Acknowledged),
        Some(AlarmState::Latched),
    ]
    .into_iter()
    .enumerate()
    {
        let record = record(&format!("open-{k}"), 1);
        let batch = batch(&record, now - 300 * DAY, state);
        db.store.commit(&batch).await.unwrap();
    }
    db.store.sweep_outbox(Utc(now)).await.unwrap();
    remove_all(&db.store, Utc(now)).await;
    assert_eq!(db.count("alarms").await, 3);
    assert_eq!(db.count("alarm_events").await, 5);
    assert_eq!(db.count("strips").await, 6);
    // What was held back and raised later explains an alarm that stands: other conditions went.
    let standing = db.store.resume().await.unwrap();
    assert!(standing.iter().all(|resume| resume.standing.len() == 1));
}

/// Whatever the times, what is left is what is not older than the limit.
pub(crate) async fn nothing_young_is_ever_removed(db: &Database) {
    let times = prop::collection::vec((0..6u32, 0..40i64, any::<bool>()), 1..40);
    let mut runner = TestRunner::new(Cases {
        cases: 6,
        failure_persistence: None,
        ..Cases::default()
    });
    let mut cases = Vec::new();
    for _ in 0..6 {
        let tree = times.new_tree(&mut runner).unwrap();
        cases.push(proptest::strategy::ValueTree::current(&tree));
    }
    for (case, rows) in cases.into_iter().enumerate() {
        let base = (3_000 + 100 * i64::try_from(case).unwrap()) * DAY;
        for day in [0, 8, 16, 24] {
            db.store
                .prepare_partitions(Utc(base + day * DAY))
                .await
                .unwrap();
        }
        let before = Utc(base + 20 * DAY + 7);
        let mut young = 0;
        for (k, (device, day, is_odd)) in rows.iter().enumerate() {
            let boot = u32::try_from(case * 1000 + k).unwrap();
            let utc = base + day * DAY + if *is_odd { 6 } else { 7 };
            let record = record(&format!("d-{device}"), boot);
            db.store
                .commit(&batch(&record, utc, Some(AlarmState::Cleared)))
                .await
                .unwrap();
            young += i64::from(utc >= before.0);
        }
        db.store.sweep_outbox(Utc(base + 50 * DAY)).await.unwrap();
        remove_all(&db.store, before).await;
        for (table, column) in [
            ("beats", "utc"),
            ("trends", "start_utc"),
            ("findings", "end_utc"),
            ("suppressions", "utc"),
            ("alarms", "raised_utc"),
        ] {
            let stays = format!("{table} WHERE {column} >= {}", before.0);
            assert_eq!(db.count(&stays).await, young, "{table} of case {case}");
            // Partitions go a day at a time.
            let whole = if table == "beats" { DAY } else { 0 };
            let old = format!("{table} WHERE {column} < {}", before.0 - whole);
            assert_eq!(db.count(&old).await, 0, "{table} of case {case}");
        }
        remove_all(&db.store, Utc(base + 60 * DAY)).await;
        assert_eq!(db.count("beats").await, 0);
    }
}

/// The day of a beat is that of its record, whatever its UTC is taken for when it is stored again.
#[tokio::test]
async fn a_beat_stored_again_with_another_utc_is_stored_once() {
    let Some(db) = postgres().await else { return };
    let now = 20_000 * DAY;
    db.store.prepare_partitions(Utc(now)).await.unwrap();
    let record = record("w", 1);
    // Just before midnight, and an hour of estimate later just after it.
    let mut first = Batch {
        records: vec![update(&record, 0, now + DAY - 1000)],
        beats: vec![(record.clone(), beat(10, None), Utc(now + DAY - 1000))],
        ..Batch::default()
    };
    first.records[0].anchor.index = SampleIndex(10);
    db.store.commit(&first).await.unwrap();
    let mut again = first.clone();
    again.records[0].anchor.utc = Utc(now + DAY + 3_600_000_000);
    again.records[0].anchor.hz = 249.9;
    again.beats = vec![(
        record.clone(),
        beat(10, Some(ecg::BeatClass::V)),
        Utc(now + DAY + 3_600_000_000),
    )];
    db.store.commit(&again).await.unwrap();
    let beats = db.store.beats(&record, to(100)).await.unwrap();
    assert_eq!(
        beats,
        [(beat(10, Some(ecg::BeatClass::V)), Utc(now + DAY - 1000))]
    );
    assert_eq!(db.count("beats_default").await, 0);

    // By its day it is old, by its UTC it is not: its partition stays.
    let young = Utc(now + DAY - 2000);
    db.execute(&format!("UPDATE beats SET utc = {}", now + DAY + 5))
        .await
        .unwrap();
    assert_eq!(
        db.store.drop_partitions(Utc(now + DAY + 5)).await.unwrap(),
        1
    );
    assert_eq!(n_beats(&db, &record).await, 1);
    assert_eq!(db.store.drop_partitions(young).await.unwrap(), 0);
    assert_eq!(
        db.store.drop_partitions(Utc(now + DAY + 6)).await.unwrap(),
        1
    );
    assert_eq!(n_beats(&db, &record).await, 0);
    db.end().await;
}

/// A device may say that it has run since before the big bang.
pub(crate) async fn absurd_positions_are_kept_like_others(db: &Database) {
    let record = record("w", 1);
    let far = i64::MAX.cast_unsigned() - 10;
    let mut batch = Batch {
        records: vec![update(&record, far, 5)],
        beats: vec![
            (record.clone(), beat(0, None), Utc(1)),
            (record.clone(), beat(far, None), Utc(2)),
        ],
        ..Batch::default()
    };
    db.store.commit(&batch).await.unwrap();
    batch.records[0].anchor.index = SampleIndex(3);
    db.store.commit(&batch).await.unwrap();
    assert_eq!(db.count("beats").await, 2);
    remove_all(&db.store, Utc(2)).await;
    assert_eq!(db.count("beats").await, 1);
}

/// Without a partition beats are kept all the same, and go when they are old.
#[tokio::test]
async fn beats_without_a_partition_go_to_the_default_one() {
    let Some(db) = postgres().await else { return };
    let now = 10_000 * DAY;
    let record = record("w", 1);
    let batch = batch(&record, now, None);
    db.store.commit(&batch).await.unwrap();
    db.store.commit(&batch).await.unwrap();
    assert_eq!(db.count("beats_default").await, 1);
    // That day cannot have one any more; the others can.
    assert_eq!(db.store.prepare_partitions(Utc(now)).await.unwrap(), 1);
    assert_eq!(db.store.prepare_partitions(Utc(now)).await.unwrap(), 1);
    db.store.commit(&batch).await.unwrap();
    assert_eq!(db.count("beats").await, 1);
    remove_all(&db.store, Utc(now + 1)).await;
    assert_eq!(db.count("beats").await, 0);
    db.end().await;
}

/// A reader who holds a partition is not waited for.
#[tokio::test]
async fn who_reads_a_partition_makes_its_end_wait_and_not_commits() {
    let Some(db) = postgres().await else { return };
    let now = 10_000 * DAY;
    db.store.prepare_partitions(Utc(now)).await.unwrap();
    let record = record("w", 1);
    db.store.commit(&batch(&record, now, None)).await.unwrap();
    let mut reader = PgConnection::connect(&db.url).await.unwrap();
    let mut reading = reader.begin().await.unwrap();
    sqlx::query("SELECT COUNT(*) FROM beats")
        .execute(&mut *reading)
        .await
        .unwrap();
    let dropping = db.store.drop_partitions(Utc(now + 30 * DAY));
    let limit = std::time::Duration::from_secs(3);
    let dropped = tokio::time::timeout(limit, dropping).await.unwrap();
    let error = dropped.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    db.store
        .commit(&batch(&record, now + 1, None))
        .await
        .unwrap();
    reading.rollback().await.unwrap();
    assert!(db.store.drop_partitions(Utc(now + 30 * DAY)).await.unwrap() > 0);
    db.end().await;
}

/// A database of the version before, with beats in it, is converted and loses nothing.
#[tokio::test]
async fn beats_from_before_partitions_are_kept() {
    let Some(db) = postgres().await else { return };
    db.execute("DROP SCHEMA public CASCADE").await.unwrap();
    db.execute("CREATE SCHEMA public").await.unwrap();
    let mut connection = PgConnection::connect(&db.url).await.unwrap();
    let migrator = sqlx::migrate::Migrator::new(Path::new("migrations/postgres"))
        .await
        .unwrap();
    migrator.run_to(6, &mut connection).await.unwrap();
    // 2026-01-01, three days of it, and beats whose record is not known.
    let base: i64 = 20_454 * DAY;
    for sql in [
        "INSERT INTO devices (device) VALUES ('w')".to_owned(),
        format!(
            "INSERT INTO records (device, boot, layout, base_rate_hz, anchor_index, anchor_utc, anchor_hz,
                durable_until, ended, started_utc, updated_utc)
             VALUES ('w', 1, 'II@250', 250, 2500, {}, 250.01, 70000000, false, {base}, {base})",
            base + 10_000_000
        ),
        "INSERT INTO beats (device, boot, r_peak, class, utc)
         SELECT 'w', 1, k * 2500, CASE WHEN k % 2 = 0 THEN 'N' END, 1767225600000000 + k::bigint * 10000000
         FROM generate_series(0, 25919) k"
            .to_owned(),
        "INSERT INTO beats (device, boot, r_peak, utc) VALUES ('w', 2, 7, 1)".to_owned(),
    ] {
        db.execute(&sql).await.unwrap();
    }
    db.store.migrate().await.unwrap();
    assert_eq!(db.count("beats").await, 25_921);
    assert_eq!(db.count("beats_default").await, 1);
    for day in ["20260101", "20260102", "20260103"] {
        assert_eq!(db.count(&format!("beats_{day}")).await, 8640, "{day}");
    }
    // Stored again, after a crash perhaps: once.
    let record = record("w", 1);
    let again = Batch {
        records: vec![update(&record, 70_000_000, base + 259_200_000_000)],
        beats: (0..25_920)
            .map(|k| {
                (
                    record.clone(),
                    beat(k * 2500, Some(ecg::BeatClass::N)),
                    Utc(base),
                )
            })
            .collect(),
        ..Batch::default()
    };
    db.store.commit(&again).await.unwrap();
    assert_eq!(db.count("beats").await, 25_921);
    assert_eq!(db.count("beats WHERE class = 'N'").await, 25_920);
    db.end().await;
}

pub(crate) async fn one_process_at_a_time_has_the_lease(db: &Database) {
    let other = db.another().await;
    let (me, you) = (uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2));
    let mut mine = db.store.lease(me).await.unwrap();
    assert!(mine.take().await.unwrap());
    assert!(mine.take().await.unwrap());
    let mut yours = other.lease(you).await.unwrap();
    assert!(!yours.take().await.unwrap());
    // A connection of the same owner that is stuck somewhere does not stand in its way.
    if db.server.is_some() {
        let mut new = db.store.lease(me).await.unwrap();
        let mut is_mine = false;
        for _ in 0..50 {
            is_mine = is_mine || new.take().await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert!(is_mine);
        assert!(mine.take().await.is_err());
        assert!(!yours.take().await.unwrap());
        mine = new;
    }
    mine.release().await;
    let mut is_yours = false;
    for _ in 0..50 {
        is_yours = is_yours || yours.take().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(is_yours);
    db.store.heartbeat(Utc(1)).await.unwrap();
    db.store.heartbeat(Utc(2)).await.unwrap();
    assert_eq!(db.count("heartbeat WHERE utc = 2").await, 1);
    other.close().await;
}

pub(crate) async fn removed_rows_give_their_room_back(db: &Database) {
    if db.server.is_some() {
        return;
    }
    let mut big = full_batch();
    let one = record("vest-1", 7);
    big.beats = (0..40_000)
        .map(|k| (one.clone(), beat(k * 10, None), Utc(1)))
        .collect();
    db.store.commit(&big).await.unwrap();
    let pages = db
        .count("pragma_freelist_count WHERE freelist_count > 100")
        .await;
    assert_eq!(pages, 0);
    remove_all(&db.store, Utc(100)).await;
    let pages = db
        .count("pragma_freelist_count WHERE freelist_count > 100")
        .await;
    assert_eq!(pages, 0, "pages are kept though they are free");
}
