//! The command line by itself: settings, exit codes, scores.

use std::process::Output;

use ecg::simulate::Scenario;
use ecg::{Lead, SampleRate};
use serde_json::Value;

use crate::support::program::{einthoven, succeed};
use crate::support::record;
use crate::support::servers::recordings;

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Writes settings, checks them, and returns exit code and message.
fn check_config(text: &str) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    std::fs::write(&path, text).unwrap();
    let output = einthoven()
        .arg("check-config")
        .arg("--config")
        .arg(path)
        .output()
        .unwrap();
    (output.status.code(), stderr(&output))
}

#[test]
fn bad_settings_name_file_and_key_and_exit_with_2() {
    for (text, wanted) in [
        ("[mqtt]\nurl = 7", "url"),
        ("[mqtt]\nno_such_key = 1", "no_such_key"),
        ("[no_such_part]\na = 1", "no_such_part"),
        ("[alarm.limits]\nlow_bpm = 120\nhigh_bpm = 50", "low"),
        ("[http]\nlisten = \"nowhere\"", "listen"),
        ("[mqtt\n", "bad.toml"),
    ] {
        let (code, message) = check_config(text);
        assert_eq!(code, Some(2), "{text}: {message}");
        assert!(message.contains("bad.toml"), "{text}: {message}");
        assert!(message.contains(wanted), "{text}: {message}");
    }
    let output = einthoven()
        .args(["check-config", "--config", "no/such/file.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no/such/file.toml"));

    let output = einthoven()
        .arg("check-config")
        .env("EINTHOVEN__HTTP__LISTEN", "x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("EINTHOVEN__HTTP__LISTEN"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn effective_settings_are_layered_and_hide_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("e.toml");
    std::fs::write(
        &path,
        "[store]\nurl = \"postgres://a:hunter2@b/c\"\n[http]\nlisten = \"127.0.0.1:1\"\n",
    )
    .unwrap();
    let output = succeed(
        einthoven()
            .arg("check-config")
            .arg("--config")
            .arg(&path)
            .env("EINTHOVEN__MQTT__PASSWORD", "swordfish")
            .env("EINTHOVEN__MQTT__USERNAME", "e")
            .env("EINTHOVEN__HTTP__LISTEN", "127.0.0.1:2"),
    );
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("127.0.0.1:2") && !text.contains("127.0.0.1:1,"),
        "{text}"
    );
    assert!(
        !text.contains("hunter2") && !text.contains("swordfish"),
        "{text}"
    );
}

/// `einthoven ... | head`: a reader who has seen enough.
#[test]
fn a_closed_pipe_ends_a_report_quietly() {
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let dir = tempfile::tempdir().unwrap();
    let scenario = Scenario::new(1, SampleRate::new(250.0).unwrap());
    let path = record::write(dir.path(), "r", &scenario, 10.0, &[Lead::II]);
    let (folder, path) = (dir.path().to_str().unwrap(), path.to_str().unwrap());
    for arguments in [
        &["check-config"][..],
        &["evaluate", "qrs", folder],
        &["evaluate", "beats", "--json", folder],
        &["evaluate", "delineate", folder],
        &["evaluate", "ventricular", folder],
        &["annotate", path, "--out", folder],
        &["--help"],
    ] {
        let mut command = einthoven();
        let output = command.args(arguments).stdout(closed()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(stderr(&output), "", "{arguments:?}");
    }
    let status = einthoven()
        .args(["annotate", "no-such-record"])
        .stderr(closed())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn an_unusable_model_is_named_at_start() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("broken.toml"), "name = \"broken\"").unwrap();
    let config = dir.path().join("e.toml");
    std::fs::write(
        &config,
        format!(
            "[store]\nurl = \"sqlite:{0}/e.db\"\n[http]\nlisten = \"127.0.0.1:0\"\n[infer]\nmodels = \"{0}\"\n",
            dir.path().display()
        ),
    )
    .unwrap();
    let output = einthoven()
        .arg("run")
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("broken.toml"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_occupied_port_says_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = tempfile::tempdir().unwrap();
    let output = einthoven()
        .args(["demo", "--port", &port, "--data"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains(&port) && stderr(&output).contains("--port 0"));
}

#[test]
fn unreadable_records_are_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("r.hea"),
        "r 1 250 1000\nr.dat 16 200 11 1024 0 0 0 II\n",
    )
    .unwrap();
    std::fs::write(dir.path().join("r.dat"), [0; 100]).unwrap();
    for record in ["r", "no-such-record"] {
        let output = einthoven()
            .arg("annotate")
            .arg(dir.path().join(record))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(record), "{}", stderr(&output));
    }
}

/// Runs only where the recordings are; prints a line where they are not.
#[test]
fn beats_of_real_records_score_as_documented() {
    let Some(mitdb) = recordings("mitdb") else {
        return;
    };
    let output = succeed(einthoven().args(["evaluate", "qrs", "--json"]).arg(mitdb));
    let score: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(score["task"], "qrs");
    assert_eq!(
        score["records"].as_u64().unwrap(),
        score["per_record"].as_array().unwrap().len() as u64
    );
    let gross = &score["gross"];
    assert!(gross["se"].as_f64().unwrap() >= 99.3, "{gross}");
    assert!(gross["ppv"].as_f64().unwrap() >= 99.3, "{gross}");
    assert!(gross["tp"].as_u64().unwrap() > 40_000, "{gross}");
}

/// Runs only where the recordings are; prints a line where they are not. The weights were fitted to these
/// records: what is checked is that they are applied as they were fitted.
#[test]
fn classes_of_real_records_are_told() {
    let Some(mitdb) = recordings("mitdb") else {
        return;
    };
    let output = succeed(
        einthoven()
            .args(["evaluate", "beats", "--json"])
            .arg(&mitdb),
    );
    let score: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(score["task"], "beats");
    let paced = |record: &Value| record["reason"] == "paced";
    assert_eq!(
        score["excluded"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|r| paced(r))
            .count(),
        4
    );
    let gross = &score["gross"];
    for (class, se, ppv) in [("veb", 90.0, 90.0), ("sveb", 70.0, 45.0)] {
        let figures = &gross[class];
        assert!(figures["se"].as_f64().unwrap() >= se, "{class}: {figures}");
        assert!(
            figures["ppv"].as_f64().unwrap() >= ppv,
            "{class}: {figures}"
        );
    }
    let at_least = |figures: &Value, least: [f64; 2], keys: [&str; 2]| {
        for (key, least) in keys.into_iter().zip(least) {
            assert!(figures[key].as_f64().unwrap() >= least, "{key} {figures}");
        }
    };
    let both = ["se", "ppv"];
    at_least(&gross["runs"]["couplets"], [70.0, 88.0], both);
    at_least(&gross["runs"]["short"], [70.0, 65.0], both);
    at_least(&gross["runs"]["long"], [70.0, 90.0], both);
    at_least(&gross["rhythms"]["B"], [90.0, 80.0], both);

    // The classes of the reference: what is missing is not for a classifier to find.
    let mut command = einthoven();
    command.args(["evaluate", "beats", "--json", "--annotator", "atr"]);
    let output = succeed(command.arg(&mitdb));
    let score: Value = serde_json::from_slice(&output.stdout).unwrap();
    let gross = &score["gross"];
    for length in ["couplets", "short", "long"] {
        at_least(&gross["runs"][length], [100.0, 100.0], both);
    }
    at_least(&gross["veb"], [100.0, 100.0], both);
    at_least(&gross["rhythms"]["B"], [98.0, 95.0], both);
    let time = ["duration_se", "duration_ppv"];
    at_least(&gross["rhythms"]["B"], [90.0, 90.0], time);
    at_least(&gross["rhythms"]["T"], [90.0, 75.0], time);
}

/// Runs only where the recordings are; prints a line where they are not.
#[test]
fn beats_of_real_records_are_found_under_recorded_noise() {
    let (Some(mitdb), Some(nstdb)) = (recordings("mitdb"), recordings("nstdb")) else {
        return;
    };
    let evaluate = |channel: &str, snr: &str| {
        let output = succeed(
            einthoven()
                .args(["evaluate", "qrs", "--json", "--channel", channel])
                .args(["--snr", snr, "--noise"])
                .arg(nstdb.join("118e06"))
                .arg(&mitdb),
        );
        let score: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(score["excluded"], serde_json::json!([]));
        let gross = &score["gross"];
        // half of the counted minutes are noisy
        let beats = |of: &Value| of["tp"].as_f64().unwrap() + of["fn"].as_f64().unwrap();
        let share = beats(&gross["noisy"]) / beats(gross);
        assert!((share - 0.53).abs() < 0.03, "{gross}");
        gross["noisy"]["f1"].as_f64().unwrap()
    };
    let (much, some, none) = (evaluate("0", "6"), evaluate("0", "12"), evaluate("0", "60"));
    assert!(
        none >= 99.3 && some >= 94.0 && much >= 80.0,
        "{some} {much}"
    );
    assert!(none > some && some > much, "{none} {some} {much}");
}

/// The annotation files of another detector are scored like our own beats.
#[test]
fn annotation_files_are_scored_in_place_of_the_chain() {
    let Some(mitdb) = recordings("mitdb") else {
        return;
    };
    let evaluate = |annotator: &str| {
        let mut command = einthoven();
        let arguments = ["evaluate", "qrs", "--json", "--annotator", annotator];
        let output = succeed(command.args(arguments).arg(&mitdb));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let gross = &evaluate("atr")["gross"];
    assert_eq!((&gross["se"], &gross["f1"]), (&100.0.into(), &100.0.into()));
    let none = evaluate("xqrs");
    assert_eq!(none["records"], 0);
    let reason = none["excluded"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("no .xqrs file"), "{reason}");
}

#[test]
fn noise_that_cannot_be_used_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let header = "e 1 100 1000\ne.dat 16 200 11 0 0 0 0 II\n";
    std::fs::write(dir.path().join("e.dat"), [0; 2000]).unwrap();
    for (comment, expected) in [
        ("", "no noise"),
        (
            "# Created by `nst' from records 118 and em (SNR = 6 dB)\n",
            "118",
        ),
    ] {
        std::fs::write(dir.path().join("e.hea"), format!("{header}{comment}")).unwrap();
        let mut command = einthoven();
        command.args(["evaluate", "qrs", "--snr", "6", "--noise"]);
        let output = command.arg(dir.path().join("e")).arg(dir.path()).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    }
}

/// Runs only where the recordings are; prints a line where they are not.
#[test]
fn waves_of_real_records_are_delineated_as_documented() {
    let Some(ludb) = recordings("ludb") else {
        return;
    };
    let output = succeed(
        einthoven()
            .args(["evaluate", "delineate", "--json"])
            .arg(ludb),
    );
    let score: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(score["task"], "delineate");
    assert!(score["per_lead"]["V6"]["qrs"].is_object(), "{score}");
    for (wave, least, onset_sd, offset_sd) in [
        ("p", 97.0, 11.0, 10.0),
        ("qrs", 99.0, 7.0, 8.0),
        ("t", 99.0, 16.0, 15.0),
    ] {
        let figures = &score[wave];
        let figure = |key: &str| figures[key].as_f64().unwrap();
        assert!(figure("se") >= least, "{wave}: {figures}");
        assert!(figure("ppv") >= least, "{wave}: {figures}");
        assert!(figure("onset_sd_ms") <= onset_sd, "{wave}: {figures}");
        assert!(figure("offset_sd_ms") <= offset_sd, "{wave}: {figures}");
    }
}
