//! What must not hurt: each is an error or a count, and a healthy device beside it is untouched.

use std::time::Duration;

use ecg::simulate::Scenario;
use ecg::{BootId, Lead, SampleRate, Utc};
use einthoven::wearable::Simulated;

use crate::support::program::{Service, config, einthoven};
use crate::support::record::publish;
use crate::support::servers::{Database, Mosquitto, free_port};
use crate::support::wait_for;

fn now() -> Utc {
    einthoven::wall::utc()
}

/// Packets of a simulated wearable, `seconds` of them, ending now.
fn packets(seed: u64, boot: u32, seconds: u32, start: Utc) -> Vec<ingest::Packet> {
    let scenario = Scenario::new(seed, SampleRate::new(250.0).unwrap());
    let leads = [Lead::II, Lead::V1, Lead::V5];
    let mut wearable = Simulated::new(&scenario, &leads, BootId(boot), start).unwrap();
    (0..seconds).map(|_| wearable.second().unwrap()).collect()
}

fn encoded(packets: &[ingest::Packet]) -> Vec<Vec<u8>> {
    packets.iter().map(ingest::Packet::encode).collect()
}

fn lost(service: &Service) -> f64 {
    service.metric("ingest_lost_packets_total", &[])
}

#[test]
fn malformed_packets_are_counted_acked_and_disturb_nobody() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let mut service = Service::run(dir.path(), &broker, &database, "");

    let good = packets(1, 1, 30, now().plus_seconds(-30.0));
    let sample = good[0].encode();
    let json = String::from_utf8(good[0].encode_json()).unwrap();
    let mut bad: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"hello".to_vec(),
        b"{".to_vec(),
        b"{\"version\": 1}".to_vec(),
        vec![0xff; 1000],
        sample[..sample.len() / 2].to_vec(),
        vec![0x0a; 300_000],
        json.replace("\"II\"", "\"V9\"").into_bytes(),
        json.replace("\"II\"", "\"V1\"").into_bytes(),
        json.replace("250", "1e9").into_bytes(),
        json.replace("\"gain\":400", "\"gain\":NaN").into_bytes(),
        json.replace("\"version\":1", "\"version\":9").into_bytes(),
    ];
    bad.extend((1..40).map(|k| sample[..sample.len() * k / 41].to_vec()));
    let n_bad = bad.len() as f64;

    publish(&broker.url(), "vandal", bad);
    publish(&broker.url(), "healthy", encoded(&good));
    wait_for("every bad packet counted", Duration::from_secs(20), || {
        (lost(&service) >= n_bad).then_some(())
    });
    assert_eq!(lost(&service), n_bad);
    wait_for(
        "the healthy device's beats",
        Duration::from_secs(20),
        || {
            let rows = database.query("SELECT count(*) FROM beats WHERE device = 'healthy'");
            (rows[0].parse::<u32>().unwrap() > 20).then_some(())
        },
    );
    assert_eq!(service.metric("resequence_gap_samples_total", &[]), 0.0);
    assert!(service.is_alive());
}

#[test]
fn a_device_that_lies_about_its_clock_keeps_its_beats() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let service = Service::run(dir.path(), &broker, &database, "");
    let before = now();
    publish(
        &broker.url(),
        "liar",
        encoded(&packets(2, 1, 30, Utc(i64::MAX / 2))),
    );
    wait_for("its beats", Duration::from_secs(20), || {
        let rows = database.query("SELECT count(*) FROM beats WHERE device = 'liar'");
        (rows[0].parse::<u32>().unwrap() > 20).then_some(())
    });
    assert!(service.metric("ingest_clock_events_total", &["lie"]) >= 1.0);
    let rows = database.query("SELECT max(utc) FROM beats WHERE device = 'liar'");
    let newest = Utc(rows[0].parse().unwrap());
    assert!(newest.seconds_since(before).abs() < 120.0, "{newest:?}");
}

#[test]
fn a_reboot_starts_a_new_record_and_loses_nothing() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let service = Service::run(
        dir.path(),
        &broker,
        &database,
        "[pipeline]\nsilence = \"3s\"\n",
    );
    let mut payloads = encoded(&packets(3, 1, 20, now().plus_seconds(-40.0)));
    payloads.extend(encoded(&packets(4, 2, 20, now().plus_seconds(-20.0))));
    publish(&broker.url(), "rebooter", payloads);
    wait_for("both records ended", Duration::from_secs(30), || {
        let rows =
            database.query("SELECT boot, durable_until FROM records WHERE ended ORDER BY boot");
        (rows.len() == 2).then_some(())
    });
    for boot in [1, 2] {
        let sql = format!("SELECT count(*) FROM beats WHERE device = 'rebooter' AND boot = {boot}");
        assert!(
            database.query(&sql)[0].parse::<u32>().unwrap() >= 15,
            "boot {boot}"
        );
    }
    wait_for("every packet acknowledged", Duration::from_secs(10), || {
        (service.metric("ingest_unacked_packets", &[]) == 0.0).then_some(())
    });
}

#[test]
fn a_broker_and_a_database_that_are_down_at_start_are_waited_for() {
    let mut broker = Mosquitto::start();
    broker.down();
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();

    // The database is not there: the service says so and goes on trying.
    let nowhere = format!("postgres://postgres@127.0.0.1:{}/none", free_port());
    let path = config(dir.path(), &broker.url(), &nowhere, port, "");
    let service = Service::start(einthoven().arg("run").arg("--config").arg(path), port);
    wait_for("an answer", Duration::from_secs(20), || {
        let ready = service.json("/readyz");
        let why = ready["checks"]["database"]["reason"].as_str()?;
        (ready["ready"] == false && why.contains("not available")).then_some(())
    });
    assert_eq!(service.status("/healthz"), 200);
    assert_eq!(service.status("/api/v1/devices"), 503);
    assert!(service.interrupt().success());

    // The broker is not there: ready only when it is.
    let database = Database::create();
    let path = config(dir.path(), &broker.url(), &database.url(), port, "");
    let service = Service::start(einthoven().arg("run").arg("--config").arg(path), port);
    wait_for("the database", Duration::from_secs(20), || {
        (service.json("/readyz")["checks"]["database"]["state"] == "ok").then_some(())
    });
    assert_ne!(service.json("/readyz")["checks"]["broker"]["state"], "ok");
    broker.up();
    service.wait_ready();
}

#[test]
fn the_api_refuses_what_it_cannot_use_and_says_why() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let service = Service::run(dir.path(), &broker, &database, "");
    publish(
        &broker.url(),
        "w1",
        encoded(&packets(5, 1, 5, now().plus_seconds(-5.0))),
    );
    wait_for("the device", Duration::from_secs(20), || {
        (service.status("/api/v1/devices/w1") == 200).then_some(())
    });
    for (path, status) in [
        ("/api/v1/devices/nobody", 404),
        ("/api/v1/devices/no%20body", 422),
        ("/api/v1/alarms?limit=0", 422),
        ("/api/v1/alarms?state=excited", 422),
        ("/api/v1/alarms?since=yesterday", 422),
        ("/api/v1/alarms?no_such=1", 422),
        ("/api/v1/alarms/not-an-id", 422),
        ("/api/v1/alarms/00000000-0000-0000-0000-000000000000", 404),
        ("/api/v1/strips/00000000-0000-0000-0000-000000000000", 404),
        ("/api/v1/trends", 422),
        ("/api/v1/devices/nobody/twelve-lead", 404),
        ("/no-such-page", 404),
    ] {
        assert_eq!(service.status(path), status, "{path}");
    }
    let limits =
        |low: f64, high: f64| serde_json::json!({"low_bpm": low, "high_bpm": high, "by": "dr"});
    let (status, answer) = service.send("PUT", "/api/v1/devices/w1/limits", &limits(40.0, 130.0));
    assert_eq!(status, 409, "{answer}");
    let patient = serde_json::json!({"patient": "p-1", "by": "dr"});
    let (status, answer) = service.send("PUT", "/api/v1/devices/w1/patient", &patient);
    assert_eq!(
        (status, &answer["patient"]),
        (200, &"p-1".into()),
        "{answer}"
    );
    let (status, answer) = service.send("PUT", "/api/v1/devices/w1/limits", &limits(40.0, 130.0));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["limits"]["high_bpm"], 130.0);
    for (low, high) in [(130.0, 40.0), (-1.0, 100.0), (40.0, 1000.0)] {
        let (status, answer) = service.send("PUT", "/api/v1/devices/w1/limits", &limits(low, high));
        assert_eq!(status, 422, "{answer}");
        assert!(
            answer["error"]["message"]
                .as_str()
                .is_some_and(|m| m.contains("bpm")),
            "{answer}"
        );
    }
    assert_eq!(database.query("SELECT count(*) FROM limit_changes"), ["1"]);
    assert!(service.json("/openapi.json")["paths"]["/api/v1/alarms"].is_object());
}
