//! Devices, records and patients: how far, whose, within which limits.

use ecg::{AlarmState, BeatClass, Condition, PatientLimits, RecordId, SampleIndex, Utc};
use store::{Batch, Error, FindingRow, LimitChange};

use crate::database::Database;
use crate::fixtures::{beat, event, finding, kept, patient, record, trend, update};

pub(crate) async fn an_older_update_changes_nothing(db: &Database) {
    let one = record("a", u32::MAX);
    let mut ended = update(&one, 900, 30);
    ended.ended = true;
    for update in [update(&one, 500, 10), ended, update(&one, 700, 20)] {
        let batch = Batch {
            records: vec![update],
            ..Batch::default()
        };
        db.store.commit(&batch).await.unwrap();
    }
    let device = db.store.device(&one.device).await.unwrap().unwrap();
    assert_eq!(
        (device.first_seen, device.last_seen),
        (Some(Utc(10)), Some(Utc(30)))
    );
    let row = device.record.unwrap();
    assert_eq!(row.record, one);
    assert_eq!((row.durable_until, row.ended), (SampleIndex(900), true));
    assert_eq!((row.started, row.updated), (Utc(10), Utc(30)));
}

#[expect(
    clippy::too_many_lines,
    reason = "everything that a device is resumed with, at once"
)]
pub(crate) async fn resume_tells_where_each_device_was_left(db: &Database) {
    use AlarmState::{Acknowledged, Active, Cleared};
    let store = &db.store;
    assert!(store.resume().await.unwrap().is_empty());
    let (old, new, quiet) = (record("b", 9), record("b", 3), record("a", 1));
    let mut ended = update(&old, 9000, 100);
    ended.ended = true;
    let with_strip = event(&new, 70, Active);
    let ended_at = |record: &RecordId, onset, end| FindingRow {
        ended: true,
        ..finding(record, onset, end)
    };
    // The record reaches 400 samples at 250 Hz, so this cannot be more than a minute ago.
    let mut long_over = ended_at(&quiet, 0, 1);
    long_over.record = quiet.clone();
    let ventricular = beat(120, Some(BeatClass::V));
    let ordinary = beat(300, Some(BeatClass::N));
    let batch = Batch {
        records: vec![ended, update(&new, 400, 200), update(&quiet, 5, 50)],
        events: vec![
            // Open on the record before: still standing, but no strip will ever come.
            event(&old, 10, Active),
            // Over: the strip may still be owed.
            event(&new, 30, Active),
            event(&new, 30, Cleared),
            event(&new, 50, Active),
            event(&new, 50, Acknowledged),
            with_strip.clone(),
        ],
        strips: vec![kept(with_strip.alarm, 4)],
        findings: vec![
            ended_at(&new, 100, 300),
            finding(&new, 350, 400),
            finding(&old, 10, 9000),
            long_over.clone(),
        ],
        trends: vec![trend(&old, 150, 9), trend(&new, 0, 60), trend(&new, 1, 7)],
        beats: vec![
            (new.clone(), ventricular, Utc(1)),
            (new.clone(), ordinary, Utc(2)),
            (old.clone(), ordinary, Utc(0)),
        ],
        ..Batch::default()
    };
    store.commit(&batch).await.unwrap();
    store
        .assign(&old.device, Some(&patient("p")), "x", Utc(1))
        .await
        .unwrap();
    store
        .set_rate_limits(&patient("p"), (45.0, 130.5), "x", Utc(1))
        .await
        .unwrap();

    let resume = store.resume().await.unwrap();
    assert_eq!(
        resume.iter().map(|r| r.device.as_str()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    let [a, b] = &resume[..] else { unreachable!() };
    assert_eq!(
        (&a.record, a.durable_until, a.ended),
        (&quiet, SampleIndex(5), false)
    );
    assert!(a.trend.is_none() && a.standing.is_empty() && a.missing_strips.is_empty());
    assert_eq!((&a.patient, a.limits), (&None, PatientLimits::default()));

    assert_eq!(
        (&b.record, b.durable_until, b.ended),
        (&new, SampleIndex(400), false)
    );
    assert_eq!(b.anchor, update(&new, 400, 200).anchor);
    assert_eq!(b.trend, Some(trend(&new, 1, 7)));
    let beats = [ventricular, ordinary];
    assert_eq!(
        (&b.beats[..], b.beats_since),
        (&beats[..], Some(SampleIndex(120)))
    );
    assert_eq!((a.beats.len(), a.beats_since), (0, None));
    assert_eq!(
        b.standing,
        [
            event(&old, 10, Active),
            event(&new, 50, Acknowledged),
            with_strip
        ]
    );
    assert_eq!(
        b.findings,
        [ended_at(&new, 100, 300), finding(&new, 350, 400)]
    );
    assert_eq!(
        b.missing_strips,
        [event(&new, 30, Active), event(&new, 50, Active)]
    );
    assert_eq!(b.missing_ends, [event(&new, 30, Cleared)]);
    assert_eq!(
        (&b.patient, b.limits),
        (&Some(patient("p")), rates(45.0, 130.5))
    );
    assert_eq!(store.records(&old.device).await.unwrap().len(), 2);

    // What is usual for a patient is told once.
    let baseline = |body: &str| Batch {
        baselines: vec![(patient("p"), body.to_owned())],
        ..Batch::default()
    };
    assert_eq!(store.baseline(&patient("p")).await.unwrap(), None);
    store.commit(&baseline("{}")).await.unwrap();
    store.commit(&baseline("[]")).await.unwrap();
    let kept = store.baseline(&patient("p")).await.unwrap();
    assert_eq!(kept.as_deref(), Some("{}"));
    let all = store.baselines().await.unwrap();
    assert_eq!(all, [(patient("p"), "{}".to_owned())]);
}

fn rates(low: f32, high: f32) -> PatientLimits {
    PatientLimits {
        low_bpm: Some(low),
        high_bpm: Some(high),
        ..PatientLimits::default()
    }
}

pub(crate) async fn limits_are_kept_with_every_change(db: &Database) {
    let store = &db.store;
    let p = patient("p");
    assert_eq!(store.limits(&p).await.unwrap(), None);
    assert_eq!(store.limit_changes(&p, 10).await.unwrap(), []);
    let all = PatientLimits {
        extreme_bradycardia_bpm: Some(32.5),
        extreme_tachycardia_bpm: Some(160.0),
        pause_seconds: Some(2.3),
        rate_delay_seconds: Some(8.0),
        ventricular_per_minute: Some(25.0),
        st_elevation_mv: Some(0.05),
        st_depression_mv: Some(0.03),
        off: [Condition::Pause, Condition::HighRate]
            .into_iter()
            .collect(),
        ..rates(40.5, 140.1)
    };
    store.set_limits(&p, &all, "Dr. Bo", Utc(5)).await.unwrap();
    assert_eq!(store.limits(&p).await.unwrap(), Some(all));
    // The rates alone, and the rest stays.
    let slower = PatientLimits {
        low_bpm: Some(35.0),
        high_bpm: Some(130.0),
        ..all
    };
    store
        .set_rate_limits(&p, (35.0, 130.0), "Dr. Cy", Utc(4))
        .await
        .unwrap();
    assert_eq!(store.limits(&p).await.unwrap(), Some(slower));
    let none = PatientLimits::default();
    store.set_limits(&p, &none, "Dr. Bo", Utc(7)).await.unwrap();
    store
        .set_limits(&patient("q"), &all, "Dr. Bo", Utc(8))
        .await
        .unwrap();
    let changes = store.limit_changes(&p, 10).await.unwrap();
    let change = |by: &str, utc, before, after| LimitChange {
        by: by.to_owned(),
        utc: Utc(utc),
        before,
        after,
    };
    assert_eq!(
        changes,
        [
            change("Dr. Bo", 7, slower, none),
            change("Dr. Cy", 4, all, slower),
            change("Dr. Bo", 5, none, all),
        ]
    );
    assert_eq!(store.limit_changes(&p, 2).await.unwrap(), changes[..2]);
    // An empty device carries them to the start.
    let one = record("a", 1);
    store
        .assign(&one.device, Some(&patient("q")), "x", Utc(1))
        .await
        .unwrap();
    let row = store.device(&one.device).await.unwrap().unwrap();
    assert_eq!(row.limits, all);
}

pub(crate) async fn limits_that_silence_what_kills_are_refused(db: &Database) {
    let store = &db.store;
    let p = patient("p");
    let kept = rates(40.5, 140.1);
    store.set_limits(&p, &kept, "Dr. Bo", Utc(5)).await.unwrap();
    let none = PatientLimits::default();
    let bad = [
        rates(10.0, 100.0),
        rates(100.0, 100.0),
        rates(50.0, 301.0),
        rates(f32::NAN, 100.0),
        rates(50.0, f32::NAN),
        PatientLimits {
            low_bpm: Some(50.0),
            ..none
        },
        PatientLimits {
            extreme_bradycardia_bpm: Some(10.0),
            ..none
        },
        PatientLimits {
            extreme_tachycardia_bpm: Some(250.0),
            ..none
        },
        PatientLimits {
            off: [Condition::Asystole].into_iter().collect(),
            ..none
        },
        PatientLimits {
            off: [Condition::Pause, Condition::ExtremeTachycardia]
                .into_iter()
                .collect(),
            ..none
        },
    ];
    for limits in bad {
        let error = store
            .set_limits(&p, &limits, "Dr. Bo", Utc(6))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{limits:?}: {error:?}");
    }
    for assignment in [
        "low_bpm = 10",
        "low_bpm = NULL",
        "high_bpm = 40",
        "high_bpm = 1000",
        "extreme_bradycardia_bpm = 51",
        "extreme_tachycardia_bpm = 119",
        "off_conditions = 'pause ventricular_fibrillation'",
        "patient = 'Jane Doe'",
    ] {
        let error = db
            .execute(&format!("UPDATE patients SET {assignment}"))
            .await
            .unwrap_err();
        let sqlx::Error::Database(error) = error else {
            panic!("{error:?}")
        };
        assert_eq!(
            error.kind(),
            sqlx::error::ErrorKind::CheckViolation,
            "{assignment}"
        );
    }
    for by in ["", " ", "a\0b"] {
        let error = store.set_limits(&p, &none, by, Utc(6)).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{by:?}: {error:?}");
    }
    assert_eq!(store.limits(&p).await.unwrap(), Some(kept));
    assert_eq!(db.count("limit_changes WHERE patient = 'p'").await, 1);
}

pub(crate) async fn calibrations_are_versions_that_can_be_taken_back(db: &Database) {
    let store = &db.store;
    let p = patient("p");
    assert_eq!(store.calibration(&p).await.unwrap(), None);
    for (fitted, at) in [
        (Some(("ecg-1", "{\"weights\":[]}")), 5),
        (Some(("ecg-2", "{}")), 6),
        (None, 7),
    ] {
        store
            .calibrate(&p, fitted, "Dr. Bo", Utc(at))
            .await
            .unwrap();
        let row = store.calibration(&p).await.unwrap().unwrap();
        let fitted = fitted.map(|(name, body)| (name.to_owned(), body.to_owned()));
        assert_eq!((row.version, row.fitted), (at.cast_unsigned() - 4, fitted));
        assert_eq!((row.by.as_str(), row.utc), ("Dr. Bo", Utc(at)));
    }
    let other = patient("q");
    let fitted = Some(("ecg-9", "{}"));
    store.calibrate(&other, fitted, "x", Utc(8)).await.unwrap();
    let newest = store.calibrations().await.unwrap();
    let said: Vec<_> = newest
        .iter()
        .map(|row| (row.patient.as_str(), row.version, row.fitted.is_some()))
        .collect();
    assert_eq!(said, [("p", 3, false), ("q", 1, true)]);
    assert_eq!(db.count("calibrations").await, 4);
    let long = "x".repeat((1 << 18) + 1);
    for (fitted, by) in [
        (Some(("ecg", long.as_str())), "x"),
        (Some(("e\0g", "{}")), "x"),
        (None, " "),
    ] {
        let error = store.calibrate(&p, fitted, by, Utc(9)).await.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error:?}");
    }
}
