//! A newcomer's first run: the demo, and its page in a real browser.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::program::Service;
use crate::support::servers::provided;
use crate::support::wait_for;

#[test]
fn the_demo_shows_live_devices_and_raises_the_asystole() {
    let data = tempfile::tempdir().unwrap();
    let service = Service::demo(data.path());
    wait_for("four live devices", Duration::from_secs(30), || {
        let devices = service.json("/api/v1/devices");
        let live = devices["devices"]
            .as_array()?
            .iter()
            .filter(|device| device["online"] == true && device["bpm"].is_number())
            .count();
        (live >= 4).then_some(())
    });
    let alarm = wait_for("the asystole", Duration::from_secs(60), || {
        let alarms = service.json("/api/v1/alarms?device=demo-asystole&priority=high");
        alarms["alarms"]
            .as_array()?
            .iter()
            .find(|a| a["condition"] == "asystole")
            .cloned()
    });
    assert_eq!(alarm["state"], "active", "{alarm}");
    let id = alarm["id"].as_str().unwrap();

    // Its onset is the last beat, four seconds before.
    let detail = service.json(&format!("/api/v1/alarms/{id}"));
    let instant =
        |key: &str| einthoven::wall::parse_rfc3339(detail[key].as_str().unwrap()).unwrap();
    let seconds = instant("raised").seconds_since(instant("onset"));
    assert!((3.9..=4.1).contains(&seconds), "{detail}");

    // In the metrics.
    let labels = [
        "condition=\"asystole\"",
        "priority=\"high\"",
        "state=\"active\"",
    ];
    assert!(service.metric("alarm_events_total", &labels) >= 1.0);
    assert!(service.metric("alarm_latency_seconds_count", &[]) >= 1.0);

    // In the database, with nothing between.
    let file = data.path().join("einthoven.db");
    let rows = runtime().block_on(async {
        let store = store::Store::open(&store::Config::new(format!("sqlite:{}", file.display())))
            .await
            .unwrap();
        store
            .alarm(ecg::AlarmId(id.parse().unwrap()))
            .await
            .unwrap()
    });
    let (row, events) = rows.unwrap();
    assert_eq!(row.condition, ecg::Condition::Asystole);
    // The sample that decided it is 4 s after the last beat, and the alarm can be decided half a second later.
    let seconds = (events[0].at.0 - events[0].onset.0) as f64 / 250.0;
    assert!((3.99..=4.5).contains(&seconds), "{seconds}");

    // Acknowledged, it ends with the condition.
    let path = format!("/api/v1/alarms/{id}/acknowledge");
    let (status, answer) = service.send("POST", &path, &serde_json::json!({"by": "nurse"}));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["acknowledged_by"], "nurse");
    let (status, answer) = service.send("POST", &path, &serde_json::json!({"by": "nurse"}));
    assert_eq!(status, 409, "{answer}");
    let (status, _) = service.send("POST", &path, &serde_json::json!({"by": ""}));
    assert_eq!(status, 422);
    wait_for("the alarm to clear", Duration::from_secs(30), || {
        (service.json(&format!("/api/v1/alarms/{id}"))["state"] == "cleared").then_some(())
    });
    assert!(service.interrupt().success());
}

#[test]
fn the_page_shows_traces_an_alarm_and_takes_an_acknowledgement() {
    let data = tempfile::tempdir().unwrap();
    let shots = data.path().join("shots");
    std::fs::create_dir(&shots).unwrap();
    let service = Service::demo(data.path());
    yesterday(&data.path().join("einthoven.db"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/page.mjs");
    let output = Command::new(provided("EINTHOVEN_TEST_NODE"))
        .arg(script)
        .arg(service.base())
        .arg(provided("EINTHOVEN_TEST_CHROMIUM"))
        .arg(&shots)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(shots.join("page.png").exists());
    assert!(service.interrupt().success());
}

/// Three hours of yesterday on another device, so that limits can be proposed to the patient of the first one.
fn yesterday(file: &Path) {
    let hours = |hours: f64| einthoven::wall::utc().plus_seconds(3600.0 * hours);
    let batch = crate::patients::minutes("yesterday", hours(-24.0), 180);
    let device = "yesterday".parse().unwrap();
    let patient = "patient-sinus".parse().unwrap();
    runtime().block_on(async {
        let url = format!("sqlite:{}", file.display());
        let store = store::Store::open(&store::Config::new(url)).await.unwrap();
        let (from, to) = (hours(-25.0), hours(-20.0));
        store
            .assign(&device, Some(&patient), "dr", from)
            .await
            .unwrap();
        store.assign(&device, None, "dr", to).await.unwrap();
        store.commit(&batch).await.unwrap();
        store.close().await;
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}
