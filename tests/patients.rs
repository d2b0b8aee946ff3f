//! What is asked of a patient: limits, what is proposed for them, and the days.

use std::time::Duration;

use ecg::simulate::Scenario;
use ecg::{BootId, Lead, SampleRate, Utc};
use einthoven::wearable::Simulated;
use serde_json::json;

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
    let put = |service: &Service, limits: serde_json::Value| {
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
    assert_eq!(
        service.json(path)["own"]["low_bpm"],
        serde_json::Value::Null
    );
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
    let table = service.json("/api/v1/conditions");
    let asystole = &table["conditions"][0];
    assert_eq!(asystole["condition"], "asystole");
    assert_eq!(asystole["can_be_off"], false);
}
