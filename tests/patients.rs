//! What is asked of a patient: limits, what is proposed for them, and the days.

use std::time::Duration;

use ecg::simulate::Scenario;
use ecg::{
    AlarmEvent, AlarmId, AlarmKind, AlarmState, Anchor, Beat, BeatClass, BootId, Condition, Gap,
    Layout, Lead, Priority, RecordId, SampleIndex, SampleRate, SignalKind, SignalSpec, Trend, Utc,
};
use einthoven::wearable::Simulated;
use serde_json::{Value, json};
use store::{Batch, FindingRow, RecordUpdate, Store};

use crate::support::program::Service;
use crate::support::record::publish;
use crate::support::servers::{Database, Mosquitto};
use crate::support::wait_for;

/// Lets a simulated wearable send `seconds` that begin at `start`.
fn send(broker: &Mosquitto, device: &str, boot: u32, seconds: u32, start: Utc) {
    let scenario = Scenario::new(5, SampleRate::new(250.0).unwrap());
    let leads = [Lead::II, Lead::V1, Lead::V5];
    let mut wearable = Simulated::new(&scenario, &leads, BootId(boot), start).unwrap();
    let packets = (0..seconds).map(|_| wearable.second().unwrap().encode());
    publish(&broker.url(), device, packets.collect::<Vec<_>>());
}

#[test]
fn limits_of_a_patient_are_set_by_somebody_and_kept_over_a_restart() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let service = Service::run(dir.path(), &broker, &database, "");
    let now = einthoven::wall::utc;
    send(&broker, "w1", 1, 5, now().plus_seconds(-5.0));
    wait_for("the device", Duration::from_secs(20), || {
        (service.status("/api/v1/devices/w1") == 200).then_some(())
    });
    let path = "/api/v1/patients/p-1/limits";
    let put = |service: &Service, limits: Value| {
        service.send("PUT", path, &json!({"limits": limits, "by": "dr"}))
    };
    assert_eq!(service.status(path), 404);
    assert_eq!(put(&service, json!({})).0, 404);
    let (status, _) = service.send(
        "PUT",
        "/api/v1/devices/w1/patient",
        &json!({"patient": "p-1", "by": "dr"}),
    );
    assert_eq!(status, 200);
    assert_eq!(service.json(path)["own"]["low_bpm"], Value::Null);
    for (limits, expected) in [
        (json!({"off": ["asystole"]}), "off is asystole"),
        (json!({"off": ["no_data"]}), "off is no_data"),
        (json!({"off": ["hiccups"]}), "hiccups"),
        (json!({"low_bpm": 40}), "low_bpm is 40"),
        (
            json!({"extreme_bradycardia_bpm": 10}),
            "extreme_bradycardia_bpm is 10, where 20 to 50 is allowed",
        ),
        (
            json!({"extreme_tachycardia_bpm": 1e9}),
            "where 120 to 200 is allowed",
        ),
        (
            json!({"pause_seconds": 4}),
            "pause_seconds is 4, where less than asystole = 4 s is allowed",
        ),
        (json!({"asystole_seconds": 9}), "asystole_seconds"),
    ] {
        let (status, answer) = put(&service, limits);
        let message = answer["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(
            (status, message.contains(expected)),
            (422, true),
            "{answer}"
        );
    }
    let asked = json!({"pause_seconds": 2.3, "ventricular_per_minute": 20, "off": ["rate_trend"]});
    let (status, answer) = put(&service, asked);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["in_force"]["pause_seconds"], 2.3);
    assert_eq!(answer["in_force"]["low_bpm"], 50.0);
    // The rates alone by the device's route: the others stay.
    let rates = json!({"low_bpm": 45, "high_bpm": 130, "by": "nurse"});
    let (status, answer) = service.send("PUT", "/api/v1/devices/w1/limits", &rates);
    assert_eq!(
        (status, &answer["limits"]["pause_seconds"]),
        (200, &json!(2.3))
    );
    let changes = service.json(&format!("{path}/changes"));
    let [newest, first] = &changes["changes"].as_array().unwrap()[..] else {
        panic!("{changes}")
    };
    assert_eq!(
        (&newest["by"], &first["by"]),
        (&json!("nurse"), &json!("dr"))
    );
    assert_eq!(newest["before"], first["after"]);
    assert_eq!(newest["after"]["high_bpm"], 130.0);
    assert!(service.interrupt().success());

    let service = Service::run(dir.path(), &broker, &database, "");
    send(&broker, "w1", 2, 5, now().plus_seconds(-5.0));
    let limits = wait_for("the device", Duration::from_secs(20), || {
        let device = service.json("/api/v1/devices/w1");
        device["limits"]
            .is_object()
            .then(|| device["limits"].clone())
    });
    assert_eq!(limits["pause_seconds"], 2.3);
    assert_eq!(limits["high_bpm"], 130.0);
    assert_eq!(limits["off"], json!(["rate_trend"]));
    let described = service.json("/openapi.json");
    for (path, methods) in [
        ("conditions", &["get"][..]),
        ("patients/{patient}/limits", &["get", "put"]),
        ("patients/{patient}/limits/changes", &["get"]),
        ("patients/{patient}/limits/proposal", &["get"]),
        ("patients/{patient}/days", &["get"]),
        ("patients/{patient}/days/{day}", &["get"]),
    ] {
        for method in methods {
            let route = &described["paths"][format!("/api/v1/{path}")][method];
            assert!(route["responses"]["200"].is_object(), "{method} {path}");
        }
    }
    let table = service.json("/api/v1/conditions");
    let asystole = &table["conditions"][0];
    assert_eq!(asystole["condition"], "asystole");
    assert_eq!(asystole["can_be_off"], false);
}

const HZ: u64 = 250;

/// A day's worth of minutes of a device with one lead, from `start` on, as the service writes them: 61 beats a minute at
/// night and 75 by day, every minute one ventricular beat, two seconds of each minute unusable.
pub(crate) fn minutes(device: &str, start: Utc, n: u64) -> Batch {
    let record = RecordId {
        device: device.parse().unwrap(),
        boot: BootId(1),
    };
    let anchor = Anchor {
        index: SampleIndex(0),
        utc: start,
        hz: HZ as f64,
    };
    let spec = SignalSpec {
        kind: SignalKind::Ecg(Lead::II),
        rate: SampleRate::new(HZ as f64).unwrap(),
    };
    let mut batch = Batch::default();
    batch.records.push(RecordUpdate {
        record: record.clone(),
        layout: Layout::new(&[spec]).unwrap(),
        anchor,
        durable_until: SampleIndex(n * 60 * HZ),
        ended: true,
        seen: anchor.utc(SampleIndex(n * 60 * HZ)),
    });
    for minute in 0..n {
        let first = minute * 60 * HZ;
        let bpm = if minute < n / 2 { 61_u32 } else { 75 };
        let mut trend = Trend::new(record.clone(), minute, anchor.utc(SampleIndex(first)));
        (trend.n_beats, trend.n_rates) = (bpm, bpm);
        trend.rate_sum = f64::from(bpm) * f64::from(bpm);
        (trend.rate_min, trend.rate_max) = (bpm as f32 - 5.0, bpm as f32 + 5.0);
        (trend.usable_seconds, trend.unusable_seconds) = (58, 2);
        batch.trends.push(trend);
        for k in 0..u64::from(bpm) {
            let r_peak = SampleIndex(first + k * 60 * HZ / u64::from(bpm));
            let class = Some(if k == 7 { BeatClass::V } else { BeatClass::N });
            let utc = anchor.utc(r_peak);
            batch
                .beats
                .push((record.clone(), Beat { r_peak, class }, utc));
        }
    }
    let (start, end) = (SampleIndex(1000), SampleIndex(1000 + 3 * HZ));
    batch.gaps.push((record, Gap { start, end }));
    batch
}

fn fibrillation(record: &RecordId, start: Utc, seconds: f64) -> FindingRow {
    FindingRow {
        record: record.clone(),
        source: "rhythm-1".into(),
        name: "atrial_fibrillation".into(),
        onset: SampleIndex(start.0.unsigned_abs() / 1_000_000),
        end: SampleIndex(start.0.unsigned_abs()),
        ended: true,
        start_utc: start,
        end_utc: start.plus_seconds(seconds),
        text: "Atrial fibrillation".into(),
        snomed: None,
        probability: Some(0.9),
        model: None,
        change: None,
        body: "{}".into(),
    }
}

/// What patient p-1 wore: from 20 h of the last of February device a, from 6 h of the first of March device b, for 20 h.
fn wear(database: &Database) {
    let midnight = einthoven::wall::parse_day("2026-03-01").unwrap();
    let hours = |hours: f64| midnight.plus_seconds(3600.0 * hours);
    let p: store::PatientId = "p-1".parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = Store::open(&store::Config::new(database.url()))
            .await
            .unwrap();
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        store.assign(&a, Some(&p), "dr", hours(-4.0)).await.unwrap();
        let mut batch = minutes("a", hours(-4.0), 600);
        let record = batch.records[0].record.clone();
        batch
            .findings
            .push(fibrillation(&record, hours(-0.5), 3600.0));
        batch
            .findings
            .push(fibrillation(&record, hours(3.0), 720.0));
        let raised = AlarmEvent {
            alarm: AlarmId::new(&record, Condition::Pause, SampleIndex(9)),
            record: record.clone(),
            condition: Condition::Pause,
            kind: AlarmKind::Physiological,
            priority: Priority::Medium,
            state: AlarmState::Active,
            onset: SampleIndex(9),
            at: SampleIndex(900),
            utc: hours(1.0),
            by: None,
            evidence: "no QRS for 3.0 s".into(),
        };
        batch.events.push(AlarmEvent {
            state: AlarmState::Acknowledged,
            utc: hours(1.0).plus_seconds(42.0),
            by: Some("nurse".into()),
            ..raised.clone()
        });
        batch.events.push(raised);
        store.commit(&batch).await.unwrap();
        store.assign(&a, None, "dr", hours(6.0)).await.unwrap();
        store.assign(&b, Some(&p), "dr", hours(6.0)).await.unwrap();
        store.commit(&minutes("b", hours(6.0), 1200)).await.unwrap();
        store.close().await;
    });
}

#[test]
fn a_day_sums_up_what_a_patient_wore() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let service = Service::run(dir.path(), &broker, &database, "");
    wear(&database);
    let day = service.json("/api/v1/patients/p-1/days/2026-03-01");
    assert_eq!(day["devices"][0]["device"], "a", "{day}");
    assert_eq!(day["devices"][1]["from"], "2026-03-01T06:00:00.000000Z");
    assert_eq!(day["signal"]["hours"], 24.0);
    assert_eq!(day["signal"]["usable_share"], 0.97);
    // The gap of a was the day before.
    assert_eq!(
        (&day["signal"]["gaps"], &day["signal"]["gap_seconds"]),
        (&json!(1), &json!(3.0))
    );
    // 1 h of a at 61, 5 h at 75; 10 h of b at 61, 8 h at 75.
    let beats = 60 * (11 * 61 + 13 * 75);
    assert_eq!(day["beats"]["total"], beats);
    assert_eq!(day["beats"]["by_class"]["V"], 1440);
    let rate = &day["rate"];
    assert_eq!(
        (&rate["min_bpm"], &rate["max_bpm"]),
        (&json!(56.0), &json!(80.0))
    );
    assert_eq!(rate["min_at"], "2026-03-01T00:00:00.000000Z");
    let af = &day["findings"][0];
    assert_eq!(af["name"], "atrial_fibrillation");
    assert_eq!(
        (&af["episodes"], &af["seconds"]),
        (&json!(2), &json!(2520.0))
    );
    assert_eq!(
        (&af["longest_seconds"], &af["burden_percent"]),
        (&json!(1800.0), &json!(2.92))
    );
    let pause = &day["alarms"]["by_condition"][0];
    assert_eq!(pause["condition"], "pause");
    assert_eq!(pause["by_state"]["acknowledged"], 1);
    assert_eq!(day["alarms"]["median_seconds_to_acknowledge"], 42.0);

    // Two hours east, the day begins two hours earlier.
    let east = service.json("/api/v1/patients/p-1/days/2026-03-01?tz=120");
    assert_eq!(east["from"], "2026-02-28T22:00:00.000000Z");
    assert_eq!(east["findings"][0]["seconds"], 4320.0);
    let days = service.json("/api/v1/patients/p-1/days?from=2026-02-28&to=2026-03-02");
    let hours: Vec<&Value> = days["days"]
        .as_array()
        .unwrap()
        .iter()
        .map(|day| &day["signal"]["hours"])
        .collect();
    assert_eq!(hours, [4.0, 24.0, 2.0]);
    for (path, status) in [
        ("days/2026-02-30", 422),
        ("days/today", 422),
        ("days/2026-03-01?tz=900", 422),
        ("days/2026-03-01?no=1", 422),
        ("days?from=2026-03-01", 422),
        ("days?from=2026-03-02&to=2026-03-01", 422),
        ("days?from=2026-03-01&to=2026-04-01", 422),
        ("days?from=2026-03-01&to=2026-03-31", 200),
    ] {
        assert_eq!(
            service.status(&format!("/api/v1/patients/p-1/{path}")),
            status,
            "{path}"
        );
    }
    assert_eq!(service.status("/api/v1/patients/p-2/days/2026-03-01"), 404);
}

#[test]
fn limits_are_proposed_from_the_first_day_and_nothing_more() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let service = Service::run(dir.path(), &broker, &database, "");
    wear(&database);
    // Nothing is applied by being proposed.
    let path = "/api/v1/patients/p-1/limits";
    let proposal = service.json(&format!("{path}/proposal"));
    let based_on = &proposal["based_on"];
    assert_eq!(
        (&based_on["minutes"], &based_on["complete"]),
        (&json!(1440), &json!(true))
    );
    assert_eq!(based_on["from"], "2026-02-28T20:00:00.000000Z");
    assert_eq!(proposal["limits"]["low_bpm"], 50.0, "{proposal}");
    assert_eq!(proposal["limits"]["high_bpm"], 100.0);
    assert_eq!(proposal["limits"]["ventricular_per_minute"], 10.0);
    assert_eq!(proposal["why"].as_array().unwrap().len(), 4);
    assert_eq!(proposal["current"]["own"]["low_bpm"], Value::Null);
    assert_eq!(database.query("SELECT count(*) FROM limit_changes"), ["0"]);
    let confirmed = json!({"limits": proposal["limits"], "by": "Dr. Bo"});
    let (status, answer) = service.send("PUT", path, &confirmed);
    assert_eq!(
        (status, &answer["own"]),
        (200, &proposal["limits"]),
        "{answer}"
    );
    assert_eq!(service.status("/api/v1/patients/p-2/limits/proposal"), 404);
}
