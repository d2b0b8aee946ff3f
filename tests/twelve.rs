//! Twelve leads from fewer on the command line: windows, scores, calibrations.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use ecg::simulate::Scenario;
use ecg::{BootId, Lead, SampleRate};
use einthoven::wearable::Simulated;
use serde_json::{Value, json};

use crate::support::program::{Service, einthoven, succeed};
use crate::support::record::{self, publish};
use crate::support::servers::{Database, Mosquitto, recordings};
use crate::support::wait_for;

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn write(dir: &Path, name: &str, seed: u64, seconds: f64, leads: &[Lead]) -> PathBuf {
    let scenario = Scenario::new(seed, SampleRate::new(500.0).unwrap());
    record::write(dir, name, &scenario, seconds, leads)
}

/// Scores a folder and reads the answer.
fn score(arguments: &[&str]) -> Value {
    let output = succeed(
        einthoven()
            .args(["evaluate", "reconstruct", "--json"])
            .args(arguments),
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn windows_are_a_numpy_file_of_what_the_service_would_cut() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "long", 1, 31.0, &Lead::TWELVE);
    write(dir.path(), "ten", 2, 10.0, &[Lead::II, Lead::V1]);
    write(dir.path(), "short", 3, 5.0, &[Lead::II]);
    let out = dir.path().join("w.npy");
    let output = succeed(
        einthoven()
            .arg("windows")
            .arg(dir.path())
            .arg("--out")
            .arg(&out),
    );
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("short: 5.00 s, where a window needs at least 9.22 s")
            && said.ends_with("4 windows of 2 records, 1 records left out\n"),
        "{said}"
    );
    let bytes = std::fs::read(out).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]])) + 10;
    let text = String::from_utf8_lossy(&bytes[10..header]);
    assert!(header.is_multiple_of(64) && text.ends_with('\n'), "{text}");
    assert!(text.contains("'shape': (4,)"), "{text}");
    let row = 96 + 32 + 1 + 8 + 4 + 4 + 12 * 2560 * 4 + 12 * 2560;
    assert_eq!(bytes.len(), header + 4 * row);
    // The last one is of ten seconds: padded, and without lead I.
    let last = &bytes[header + 3 * row..];
    assert!(last.starts_with(b"ten\0"));
    let u32_at = |at: usize| u32::from_le_bytes(last[at..at + 4].try_into().unwrap());
    assert_eq!((u32_at(137), u32_at(141)), (30, 2530));
    assert!(f32::from_bits(u32_at(145)).is_nan());
    assert!(f32::from_bits(u32_at(145 + 2560 * 4)).is_finite());
}

#[test]
fn reconstruction_is_scored_against_what_was_recorded() {
    let dir = tempfile::tempdir().unwrap();
    for seed in 1..=3 {
        write(dir.path(), &format!("r{seed}"), seed, 10.0, &Lead::TWELVE);
    }
    write(dir.path(), "few", 9, 10.0, &[Lead::II, Lead::V1, Lead::V5]);
    let folder = dir.path().to_str().unwrap();
    let report = score(&[folder]);
    assert_eq!(report["task"], "reconstruct");
    assert_eq!(report["observed"], serde_json::json!(["II", "V1", "V5"]));
    assert_eq!(report["records"], 3);
    assert_eq!(report["excluded"][0]["record"], "few");
    assert_eq!(report["per_lead"].as_object().unwrap().len(), 9);
    let withheld: u64 = report["withheld"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!(withheld, 0, "{report}");
    // A simulated dipole is no torso, so this is only a floor.
    assert!(
        report["missing"]["mean_r"].as_f64().unwrap() > 0.5,
        "{report}"
    );
    assert!(report["missing"]["rmse_mv"].as_f64().unwrap() > 0.0);
    assert!(report["baseline"]["least_squares"]["mean_r"].is_f64());
    assert!(report["ms_per_window"].as_f64().unwrap() > 0.0);
    // What follows from I and II is exact to the converter's step of 2.5 uV.
    let report = score(&[folder, "--observed", "I,II,V1,V5"]);
    for lead in ["III", "aVR", "aVL", "aVF"] {
        let r = report["per_lead"][lead]["r"].as_f64().unwrap();
        assert!(r > 0.999, "{lead}: {r}");
        assert_eq!(report["per_lead"][lead]["coverage90"], Value::Null);
    }
    let table = succeed(einthoven().args(["evaluate", "reconstruct", folder]));
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("observed II, V1, V5") && table.contains("without few:"),
        "{table}"
    );

    let output = einthoven()
        .args(["evaluate", "reconstruct", folder, "--observed", "V1,V5"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("no model starts from V1, V5 alone"), "{said}");
}

/// The shipped model on recordings that it was not trained on, where they are there: better than least squares on
/// every lead, with bands that hold what they say.
#[test]
fn the_shipped_model_beats_least_squares_on_patients_it_has_not_seen() {
    let Some(dir) = recordings("ptbxl") else {
        return;
    };
    let report = score(&[dir.to_str().unwrap(), "--folds", "9"]);
    let number = |value: &Value| value.as_f64().unwrap();
    for (lead, scores) in report["per_lead"].as_object().unwrap() {
        let linear = &scores["least_squares"];
        assert!(number(&scores["r"]) > number(&linear["mean_r"]), "{lead}");
        assert!(
            number(&scores["rmse_mv"]) < number(&linear["rmse_mv"]),
            "{lead}"
        );
        assert!(number(&scores["coverage90"]) >= 0.8, "{lead}");
    }
    let gained = number(&report["missing"]["mean_r"])
        - number(&report["baseline"]["least_squares"]["mean_r"]);
    assert!(gained > 0.05, "{gained}");
}

#[test]
fn a_calibration_is_stored_as_a_version_and_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("e.toml");
    let url = format!("sqlite:{}/e.db", dir.path().display());
    std::fs::write(&config, format!("[store]\nurl = \"{url}\"\n")).unwrap();
    let calibrate = |arguments: &[&str]| {
        einthoven()
            .args(["calibrate", "--patient", "p-1", "--config"])
            .arg(&config)
            .args(arguments)
            .output()
            .unwrap()
    };
    let path = write(dir.path(), "ecg", 4, 10.0, &Lead::TWELVE);
    let said = |output: Output| {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let path = path.to_str().unwrap();
    assert_eq!(
        said(calibrate(&[path])),
        "p-1: calibrated on ecg, version 1\n"
    );
    assert_eq!(
        said(calibrate(&[path])),
        "p-1: calibrated on ecg, version 2\n"
    );
    let reverted = said(calibrate(&["--revert"]));
    assert_eq!(reverted, "p-1: no calibration from version 3 on\n");

    // III where aVL should be: the limb leads contradict each other.
    let swapped = dir.path().join("ecg.hea");
    let text = std::fs::read_to_string(&swapped).unwrap();
    std::fs::write(
        dir.path().join("swapped.hea"),
        text.replace(" III\n", " x\n")
            .replace(" aVL\n", " III\n")
            .replace(" x\n", " aVL\n")
            .replacen("ecg ", "swapped ", 1),
    )
    .unwrap();
    let few = write(dir.path(), "few", 5, 10.0, &[Lead::II, Lead::V1, Lead::V5]);
    for (record, wanted) in [
        (dir.path().join("swapped"), "are electrodes swapped?"),
        (few, "lead I is not in the recording"),
        (dir.path().join("nothing"), "nothing"),
    ] {
        let output = calibrate(&[record.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{wanted}");
        assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
    }
}

/// How high V2 of the newest twelve leads of a device is, uV, once they are of this boot.
fn height_of_v2(service: &Service, broker: &Mosquitto, boot: u32) -> i64 {
    let scenario = Scenario::new(4, SampleRate::new(500.0).unwrap());
    let leads = [Lead::II, Lead::V1, Lead::V5];
    let start = einthoven::wall::utc().plus_seconds(-20.0);
    let mut wearable = Simulated::new(&scenario, &leads, BootId(boot), start).unwrap();
    let packets = (0..20).map(|_| wearable.second().unwrap().encode());
    publish(&broker.url(), "vest", packets.collect());
    wait_for("twelve leads of the boot", Duration::from_secs(20), || {
        if service.status("/api/v1/devices/vest/twelve-lead") != 200 {
            return None;
        }
        let strip = service.json("/api/v1/devices/vest/twelve-lead");
        let begins: jiff::Timestamp = strip["start"].as_str()?.parse().ok()?;
        let signals = strip["signals"].as_array()?;
        let v2 = signals.iter().find(|signal| signal["name"] == "V2")?;
        assert_eq!(v2["origin"], "reconstructed");
        let samples = v2["samples"].as_array()?.iter().filter_map(Value::as_i64);
        let (low, high) = samples.fold((i64::MAX, i64::MIN), |(low, high), uv| {
            (low.min(uv), high.max(uv))
        });
        (begins.as_microsecond() >= start.0 - 1_000_000).then_some(high - low)
    })
}

#[test]
fn a_running_service_uses_a_calibration_and_lets_go_of_it() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let service = Service::run(dir.path(), &broker, &database, "");
    let plain = height_of_v2(&service, &broker, 1);
    let asked = json!({"patient": "p-1", "by": "Nurse Ada"});
    let (status, _) = service.send("PUT", "/api/v1/devices/vest/patient", &asked);
    assert_eq!(status, 200);

    // A recording of the patient, made with V2 at twice its size.
    let path = write(dir.path(), "ecg", 4, 10.0, &Lead::TWELVE);
    let header = std::fs::read_to_string(path.with_extension("hea")).unwrap();
    let lines: Vec<String> = header
        .lines()
        .map(|line| {
            if line.ends_with(" V2") {
                line.replace("400(0)", "200(0)")
            } else {
                line.to_owned()
            }
        })
        .collect();
    std::fs::write(path.with_extension("hea"), lines.join("\n") + "\n").unwrap();
    let config = dir.path().join("einthoven.toml");
    let calibrate = |arguments: &[&str]| {
        succeed(
            einthoven()
                .args(["calibrate", "--patient", "p-1", "--config"])
                .arg(&config)
                .args(arguments),
        );
    };
    calibrate(&[path.to_str().unwrap()]);
    let mut boot = 1;
    let mut until = |what: &str, wanted: &dyn Fn(i64) -> bool| {
        wait_for(what, Duration::from_secs(60), || {
            boot += 1;
            wanted(height_of_v2(&service, &broker, boot)).then_some(())
        });
    };
    until("the calibration in use", &|height| {
        (height - plain).abs() * 10 > plain
    });
    calibrate(&["--revert"]);
    until("the model as it ships", &|height| {
        (height - plain).abs() * 50 < plain
    });
}
