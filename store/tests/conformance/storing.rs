//! Batches: all or nothing, once, from all sides, and what is refused.

use ecg::{AlarmId, AlarmState, BeatClass, Gap, SampleIndex, Utc};
use store::{AlarmFilter, Batch, Error, FindingRow, RecordUpdate};

use crate::database::Database;
use crate::fixtures::{
    ALL, beat, device, event, everything, finding, full_batch, held_back, kept, record, to, trend,
    update,
};

pub(crate) async fn a_batch_committed_twice_is_stored_once(db: &Database) {
    let batch = full_batch();
    let record = &batch.records[0].record;
    db.store.commit(&batch).await.unwrap();
    let once = everything(&db.store, record).await;
    db.store.commit(&batch).await.unwrap();
    assert_eq!(everything(&db.store, record).await, once);
    // Nor does it matter that both halves come at once.
    let mut twice = batch.clone();
    twice.append(batch.clone());
    assert_eq!(twice.n_rows(), 2 * batch.n_rows());
    db.another().await.commit(&twice).await.unwrap();
    assert_eq!(everything(&db.store, record).await, once);
    db.store.commit(&Batch::default()).await.unwrap();
    db.store.ping().await.unwrap();
}

pub(crate) async fn everything_comes_back_as_it_went_in(db: &Database) {
    let store = &db.store;
    let batch = full_batch();
    let RecordUpdate {
        record,
        layout,
        anchor,
        ..
    } = &batch.records[0];
    store.commit(&batch).await.unwrap();

    let devices = store.devices().await.unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(
        store.device(&record.device).await.unwrap().unwrap(),
        devices[0]
    );
    assert_eq!(store.device(&device("other")).await.unwrap(), None);
    let row = devices[0].record.as_ref().unwrap();
    assert_eq!(
        (&row.record, &row.layout, &row.anchor),
        (record, layout, anchor)
    );
    assert_eq!((row.durable_until, row.ended), (SampleIndex(5000), false));
    assert_eq!(
        (row.started, row.updated),
        (Utc(20_000_000), Utc(20_000_000))
    );
    assert_eq!(devices[0].first_seen, Some(Utc(20_000_000)));

    let beats: Vec<_> = batch
        .beats
        .iter()
        .map(|(_, beat, utc)| (*beat, *utc))
        .collect();
    assert_eq!(store.beats(record, to(u64::MAX)).await.unwrap(), beats);
    assert_eq!(store.beats(record, to(400)).await.unwrap(), beats[..1]);
    assert_eq!(
        store
            .beats_of_device(&record.device, Utc(3)..Utc(5))
            .await
            .unwrap(),
        batch.beats[2..4]
    );
    assert_eq!(store.gaps(record).await.unwrap(), [batch.gaps[0].1]);
    assert_eq!(
        store.trends(&record.device, ALL).await.unwrap(),
        batch.trends
    );
    assert_eq!(
        store
            .trends(&record.device, Utc(1)..Utc(60_000_001))
            .await
            .unwrap(),
        batch.trends[1..]
    );

    let (row, events) = store.alarm(batch.events[0].alarm).await.unwrap().unwrap();
    assert_eq!(events, batch.events);
    assert_eq!(row.state, AlarmState::Latched);
    assert_eq!((row.raised, row.updated), (events[0].utc, events[1].utc));
    assert_eq!(row.evidence, events[0].evidence);
    assert!(row.has_strip);
    assert_eq!(store.alarm(AlarmId(uuid::Uuid::nil())).await.unwrap(), None);

    let there = &batch.strips[0].strip;
    let back = store.strip(batch.strips[0].alarm).await.unwrap().unwrap();
    assert_eq!(back.findings, batch.strips[0].findings);
    let back = back.strip;
    let found = store.findings(&record.device, ALL, 10).await.unwrap();
    assert_eq!(found, batch.findings);
    let held_back = store.suppressions(&record.device, ALL, 10).await.unwrap();
    assert!(held_back.iter().eq(batch.suppressions.iter().rev()));
    let newest = store.suppressions(&record.device, ALL, 1).await.unwrap();
    assert_eq!(newest, batch.suppressions[1..]);
    let before = Utc(i64::MIN)..batch.findings[0].start_utc;
    let none = store.findings(&record.device, before, 10).await.unwrap();
    assert!(none.is_empty());
    assert_eq!(
        (back.start, back.end, back.rate, &back.model),
        (there.start, there.end, there.rate, &there.model)
    );
    assert_eq!((back.trust, back.withheld), (there.trust, there.withheld));
    for (a, b) in there.signals.iter().zip(&back.signals) {
        assert_eq!(
            (a.kind, a.origin, a.samples.len()),
            (b.kind, b.origin, b.samples.len())
        );
        for (a, b) in a.samples.iter().zip(&b.samples) {
            assert!((a - b).abs() <= 0.000501, "{a} {b}");
        }
        assert_eq!(a.band, b.band);
    }
    assert_eq!(store.strip(AlarmId(uuid::Uuid::nil())).await.unwrap(), None);
}

pub(crate) async fn a_failed_batch_leaves_nothing(db: &Database) {
    let store = &db.store;
    // The last table written refuses, after all the others took their rows.
    let sabotage = if db.server.is_some() {
        "ALTER TABLE trends ADD CHECK (n_beats < 5)"
    } else {
        "CREATE TRIGGER few BEFORE INSERT ON trends WHEN NEW.n_beats >= 5
         BEGIN SELECT RAISE(ABORT, 'too many'); END"
    };
    db.execute(sabotage).await.unwrap();
    let batch = full_batch();
    let error = store.commit(&batch).await.unwrap_err();
    assert!(!error.is_transient(), "{error:?}");
    for table in [
        "devices",
        "records",
        "beats",
        "gaps",
        "alarms",
        "alarm_events",
        "strips",
        "findings",
        "trends",
    ] {
        assert_eq!(db.count(table).await, 0, "{table}");
    }
    // And the store goes on as before.
    store
        .commit(&Batch {
            trends: Vec::new(),
            ..batch
        })
        .await
        .unwrap();
    assert_eq!(db.count("beats").await, 19);
}

#[expect(
    clippy::too_many_lines,
    reason = "one batch with everything in it twice"
)]
pub(crate) async fn what_is_twice_in_a_batch_is_merged(db: &Database) {
    let one = record("a", 1);
    let gap = |end| {
        let span = Gap {
            start: SampleIndex(10),
            end: SampleIndex(end),
        };
        (one.clone(), span)
    };
    let raised = event(&one, 5, AlarmState::Active);
    let mut other = raised.clone();
    other.evidence = String::from("another story");
    let mut longest = finding(&one, 7, 5127);
    longest.ended = true;
    longest.probability = Some(0.5);
    let batch = Batch {
        records: vec![update(&one, 300, 3), update(&one, 200, 2)],
        beats: vec![
            (one.clone(), beat(50, None), Utc(1)),
            (one.clone(), beat(50, Some(BeatClass::S)), Utc(2)),
            (one.clone(), beat(50, Some(BeatClass::V)), Utc(3)),
        ],
        gaps: vec![gap(20), gap(30), gap(25)],
        events: vec![raised.clone(), other],
        strips: vec![kept(raised.alarm, 10), kept(raised.alarm, 20)],
        findings: vec![
            finding(&one, 7, 2567),
            longest.clone(),
            finding(&one, 7, 3000),
        ],
        suppressions: vec![held_back(&one, 500), held_back(&one, 500)],
        baselines: Vec::new(),
        trends: vec![trend(&one, 0, 5), trend(&one, 0, 3)],
        at: None,
    };
    // All at once, and one after the other.
    for (store, how) in [(&db.store, "at once"), (&db.another().await, "one by one")] {
        if how == "at once" {
            store.commit(&batch).await.unwrap();
        } else {
            for table in [
                "suppressions",
                "alarm_events",
                "alarms",
                "beats",
                "gaps",
                "strips",
                "findings",
                "trends",
                "records",
                "devices",
            ] {
                db.execute(&format!("DELETE FROM {table}")).await.unwrap();
            }
            for update in batch.records.clone() {
                store
                    .commit(&Batch {
                        records: vec![update],
                        ..Batch::default()
                    })
                    .await
                    .unwrap();
            }
            for k in 0..3 {
                let part = Batch {
                    beats: batch.beats[k..=k].to_vec(),
                    gaps: batch.gaps[k..=k].to_vec(),
                    events: batch.events.get(k).cloned().into_iter().collect(),
                    suppressions: batch.suppressions.get(k).cloned().into_iter().collect(),
                    strips: batch.strips.get(k).cloned().into_iter().collect(),
                    findings: batch.findings[k..=k].to_vec(),
                    trends: batch.trends.get(k).cloned().into_iter().collect(),
                    ..Batch::default()
                };
                store.commit(&part).await.unwrap();
            }
        }
        let device = store.device(&one.device).await.unwrap().unwrap();
        let row = device.record.unwrap();
        assert_eq!(
            (row.durable_until, row.anchor.utc),
            (SampleIndex(300), Utc(3)),
            "{how}"
        );
        assert_eq!(device.first_seen, Some(Utc(2)), "{how}");
        assert_eq!(
            store.beats(&one, to(100)).await.unwrap(),
            [(beat(50, Some(BeatClass::S)), Utc(1))],
            "{how}"
        );
        assert_eq!(store.gaps(&one).await.unwrap(), [gap(30).1], "{how}");
        let (row, events) = store.alarm(raised.alarm).await.unwrap().unwrap();
        assert_eq!(
            (events, row.evidence),
            (vec![raised.clone()], raised.evidence.clone()),
            "{how}"
        );
        let held_back_there = store.suppressions(&one.device, ALL, 10).await.unwrap();
        assert_eq!(held_back_there, batch.suppressions[..1], "{how}");
        let found = store.findings(&one.device, ALL, 10).await.unwrap();
        let merged = FindingRow {
            probability: Some(0.75),
            ..longest.clone()
        };
        assert_eq!(found, [merged], "{how}");
        let strip = store.strip(raised.alarm).await.unwrap().unwrap().strip;
        assert_eq!(strip.signals[0].samples.len(), 10, "{how}");
        assert_eq!(
            store.trends(&one.device, ALL).await.unwrap(),
            [trend(&one, 0, 3)],
            "{how}"
        );
    }
}

pub(crate) async fn what_no_column_holds_is_refused(db: &Database) {
    let one = record("a", 1);
    let over = SampleIndex(1 << 63);
    let mut bad_anchor = update(&one, 0, 0);
    bad_anchor.anchor.hz = f64::NAN;
    let mut far_anchor = update(&one, 0, 0);
    far_anchor.anchor.index = over;
    let mut far_event = event(&one, 0, AlarmState::Active);
    far_event.at = over;
    let mut bad_trend = trend(&one, 0, 1);
    bad_trend.rate_sum = f64::NAN;
    let mut unlikely = finding(&one, 0, 1);
    unlikely.probability = Some(1.5);
    let mut wordy = finding(&one, 0, 1);
    wordy.body = "x".repeat(300_000);
    let mut bad_strip = kept(far_event.alarm, 3);
    bad_strip.strip.signals[1].samples[2] = f32::INFINITY;
    let early = SampleIndex(7);
    let gap = |start, end| (one.clone(), Gap { start, end });
    let with = |fill: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::default();
        fill(&mut batch);
        batch
    };
    for (mut batch, named) in [
        (
            with(&|b| b.records.push(bad_anchor.clone())),
            "NaN samples per second",
        ),
        (
            with(&|b| b.records.push(far_anchor.clone())),
            "anchor 9223372036854775808 is over",
        ),
        (
            with(&|b| b.records.push(update(&one, u64::MAX, 0))),
            "18446744073709551615 is over",
        ),
        (
            with(&|b| b.beats.push((one.clone(), beat(over.0, None), Utc(0)))),
            "R peak 9223372036854775808 is over",
        ),
        (
            with(&|b| b.gaps.push(gap(early, over))),
            "gap end 9223372036854775808 is over",
        ),
        (with(&|b| b.gaps.push(gap(early, early))), "ends at 7"),
        (
            with(&|b| b.events.push(far_event.clone())),
            "deciding sample 9223372036854775808 is over",
        ),
        (with(&|b| b.trends.push(bad_trend.clone())), "not finite"),
        (
            with(&|b| b.strips.push(bad_strip.clone())),
            "sample 2 of III is inf",
        ),
        (
            with(&|b| b.findings.push(finding(&one, 9, 8))),
            "ends at 8, before it",
        ),
        (
            with(&|b| b.findings.push(unlikely.clone())),
            "probability 1.5",
        ),
        (
            with(&|b| b.findings.push(wordy.clone())),
            "300000 bytes, where 262144 are allowed",
        ),
    ] {
        batch.beats.push((one.clone(), beat(1, None), Utc(0)));
        let error = db.store.commit(&batch).await.unwrap_err();
        assert!(
            matches!(error, Error::Refused(_)) && !error.is_transient(),
            "{error:?}"
        );
        assert!(error.to_string().contains(named), "{error}");
    }
    assert_eq!(db.count("beats").await, 0);
    // A range that ends beyond every row is none of these.
    assert!(
        db.store
            .beats(&one, SampleIndex(0)..over)
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn a_damaged_row_is_an_error(db: &Database) {
    let store = &db.store;
    let batch = full_batch();
    store.commit(&batch).await.unwrap();
    let alarm = batch.strips[0].alarm;
    let bytes = |hex: &str| {
        if db.server.is_some() {
            format!("'\\x{hex}'::bytea")
        } else {
            format!("x'{hex}'")
        }
    };
    for body in ["", "00", "01", "02789c", "01789c0300000000", "01ffffffff"] {
        db.execute(&format!("UPDATE strips SET body = {}", bytes(body)))
            .await
            .unwrap();
        let error = store.strip(alarm).await.unwrap_err();
        assert!(matches!(error, Error::Corrupt(_)), "{body}: {error:?}");
        assert!(error.to_string().contains(&alarm.to_string()), "{error}");
    }
    db.execute("UPDATE alarms SET condition = 'boredom'")
        .await
        .unwrap();
    let error = store.alarm(alarm).await.unwrap_err();
    assert!(error.to_string().contains("boredom"), "{error}");
    db.execute("UPDATE records SET layout = 'II'")
        .await
        .unwrap();
    assert!(matches!(store.devices().await, Err(Error::Corrupt(_))));
}

pub(crate) async fn commits_from_all_sides(db: &Database) {
    let other = db.another().await;
    let mut tasks = tokio::task::JoinSet::new();
    for side in 0..8u64 {
        let store = if side % 2 == 0 {
            db.store.clone()
        } else {
            other.clone()
        };
        tasks.spawn(async move {
            for round in 0..10 {
                let mut batch = Batch::default();
                // Every side touches every row, each from another end.
                for k in 0..12u64 {
                    let k = (k * [1, 5, 7, 11][(side % 4) as usize] + side) % 12;
                    let one = record(&format!("d{k}"), 1);
                    batch.records.push(update(&one, round, round.cast_signed()));
                    batch.beats.push((one.clone(), beat(round, None), Utc(0)));
                    batch.trends.push(trend(&one, 0, 1));
                    let state = AlarmState::ALL[((side + k) % 4) as usize];
                    batch.events.push(event(&one, round, state));
                }
                let mut tries = 0;
                while let Err(error) = store.commit(&batch).await {
                    tries += 1;
                    assert!(error.is_transient() && tries < 5, "{error:?}");
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(db.count("beats").await, 120);
    assert_eq!(db.count("alarm_events").await, 480);
    let alarms = db
        .store
        .alarms(&AlarmFilter {
            limit: 1000,
            ..AlarmFilter::default()
        })
        .await
        .unwrap();
    assert_eq!(alarms.len(), 120);
    for row in alarms {
        assert_eq!(row.state, AlarmState::Cleared);
        assert_eq!(row.evidence, "no QRS for 4.0 s, step 0");
        assert_eq!(row.acknowledged_by.as_deref(), Some("Nurse Ada"));
    }
    other.close().await;
}
