//! The service against its offline twin: what a record says does not depend on how it travelled.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use ecg::simulate::{Ectopy, Rhythm, Scenario};
use ecg::{Lead, SampleRate};
use einthoven::record::annotation::{self, Annotation, Annotations};
use serde_json::Value;

use crate::support::program::{Service, einthoven, succeed};
use crate::support::servers::{Database, Mosquitto, recordings};
use crate::support::{record, wait_for};

/// A device counts as silent soon, so that tests end soon.
pub(crate) const SETTINGS: &str = "[pipeline]\nsilence = \"4s\"\n";

/// The boot id that replays of these tests use.
const BOOT: u32 = 7;

/// What the monitor does not judge: the twin shows windows to no model, some of which may be left out when a record is
/// played fast, and no device says anything of itself to it.
const ELSEWHERE: &str = "'no_data', 'device_offline', 'overloaded', 'clock_jump', 'low_battery', \
    'atrial_fibrillation', 'av_block', 'st_change', 'ventricular_run', 'new_finding'";

/// What is found in a record.
#[derive(Debug, PartialEq)]
pub(crate) struct Found {
    /// R peaks and classes, in order.
    beats: Vec<(u64, String)>,
    /// Condition, state, onset and deciding sample of every alarm event but those that come from [`ELSEWHERE`].
    events: Vec<String>,
}

/// What the offline twin finds.
pub(crate) fn offline(record: &Path) -> Found {
    let out = tempfile::tempdir().unwrap();
    succeed(
        einthoven()
            .arg("annotate")
            .arg(record)
            .arg("--out")
            .arg(out.path()),
    );
    let stem = out.path().join(record.file_name().unwrap());
    let annotations = Annotations::read(&annotation::path(&stem, "ein")).unwrap();
    let beats = annotations
        .list
        .iter()
        .filter(|a| a.code.is_qrs())
        .map(|a| (a.at.0, class_of(a)))
        .collect();
    let lines = std::fs::read_to_string(stem.with_extension("jsonl")).unwrap();
    let mut events: Vec<String> = lines
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            let word = |key: &str| event[key].as_str().unwrap().to_owned();
            let (condition, state) = (word("condition"), word("state"));
            format!(
                "{condition}|{state}|{}|{}",
                event["onset_sample"], event["sample"]
            )
        })
        .collect();
    events.sort();
    Found { beats, events }
}

/// The letter of a beat's class.
fn class_of(annotation: &Annotation) -> String {
    let class = annotation.code.beat_class().unwrap();
    class.letter().to_string()
}

/// What the database holds of a device.
pub(crate) fn stored(database: &Database, device: &str) -> Found {
    let beats = database
        .query(&format!(
            "SELECT r_peak, class FROM beats WHERE device = '{device}' AND boot = {BOOT} ORDER BY r_peak"
        ))
        .iter()
        .map(|row| {
            let (r_peak, class) = row.split_once('|').unwrap();
            (r_peak.parse().unwrap(), class.to_owned())
        })
        .collect();
    let mut events = database.query(&format!(
        "SELECT condition, state, onset, decided_at FROM alarm_events \
         WHERE device = '{device}' AND boot = {BOOT} AND condition NOT IN ({ELSEWHERE})"
    ));
    events.sort();
    Found { beats, events }
}

/// The strips of a device: condition and onset of the alarm, span, model and the bytes of every signal.
fn strips(database: &Database, device: &str) -> Vec<String> {
    database.query(&format!(
        "SELECT condition, onset, start_index, end_index, rate_hz, model_sha256, md5(body) \
         FROM strips JOIN alarms USING (alarm) \
         WHERE device = '{device}' AND boot = {BOOT} AND condition NOT IN ({ELSEWHERE}) \
         ORDER BY condition, onset"
    ))
}

/// Trends without their UTC, which depends on when the replay began.
fn trends(database: &Database, device: &str) -> Vec<String> {
    database.query(&format!(
        "SELECT minute, n_beats, n_rates, round(rate_sum::numeric, 6), rate_min, rate_max, \
         usable_seconds, unusable_seconds, gap_samples FROM trends \
         WHERE device = '{device}' AND boot = {BOOT} ORDER BY minute"
    ))
}

pub(crate) fn replay(record: &Path, broker: &Mosquitto, device: &str, more: &[&str]) -> Child {
    einthoven()
        .arg("replay")
        .arg(record)
        .args([
            "--broker",
            &broker.url(),
            "--device",
            device,
            "--boot",
            &BOOT.to_string(),
        ])
        .args(more)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until everything of the device's record is durable and acknowledged.
pub(crate) fn wait_ended(database: &Database, device: &str, limit: Duration) {
    let sql =
        format!("SELECT 1 FROM records WHERE device = '{device}' AND boot = {BOOT} AND ended");
    wait_for("the end of the record", limit, || {
        (!database.query(&sql).is_empty()).then_some(())
    });
}

/// Replays a record into a running service and returns what it stored.
fn online(
    record: &Path,
    service: &Service,
    servers: &Servers,
    device: &str,
    more: &[&str],
) -> Found {
    let mut replaying = replay(record, &servers.broker, device, more);
    assert!(replaying.wait().unwrap().success());
    wait_ended(&servers.database, device, Duration::from_secs(60));
    wait_for("every packet acknowledged", Duration::from_secs(10), || {
        (service.metric("ingest_unacked_packets", &[]) == 0.0).then_some(())
    });
    stored(&servers.database, device)
}

struct Servers {
    broker: Mosquitto,
    database: Database,
    dir: tempfile::TempDir,
}

fn servers() -> Servers {
    Servers {
        broker: Mosquitto::start(),
        database: Database::create(),
        dir: tempfile::tempdir().unwrap(),
    }
}

/// Three minutes with something to alarm on.
pub(crate) fn eventful(dir: &Path) -> PathBuf {
    let scenario = Scenario {
        rhythms: vec![
            (Rhythm::Sinus { bpm: 70.0 }, 40.0),
            (Rhythm::Asystole, 8.0),
            (
                Rhythm::Ectopic {
                    bpm: 75.0,
                    pattern: Ectopy::Single { per_minute: 10.0 },
                },
                40.0,
            ),
            (Rhythm::VentricularTachycardia { bpm: 180.0 }, 15.0),
            (Rhythm::AtrialFibrillation { bpm: 90.0 }, 40.0),
            (
                Rhythm::Pause {
                    bpm: 60.0,
                    seconds: 3.5,
                },
                20.0,
            ),
            (Rhythm::Sinus { bpm: 64.0 }, 30.0),
        ],
        ..Scenario::new(11, SampleRate::new(250.0).unwrap())
    };
    record::write(
        dir,
        "eventful",
        &scenario,
        180.0,
        &[Lead::II, Lead::V1, Lead::V5],
    )
}

#[track_caller]
pub(crate) fn expect_same(online: &Found, offline: &Found) {
    assert!(!offline.beats.is_empty());
    assert_eq!(online.events, offline.events);
    assert_eq!(online.beats.len(), offline.beats.len());
    assert_eq!(online.beats, offline.beats);
}

#[test]
fn the_service_finds_what_the_twin_finds_over_a_good_link_and_a_bad_one() {
    let servers = servers();
    let record = eventful(servers.dir.path());
    let twin = offline(&record);
    assert!(
        twin.events
            .iter()
            .any(|event| event.starts_with("asystole|active")),
        "{twin:?}"
    );

    let service = Service::run(
        servers.dir.path(),
        &servers.broker,
        &servers.database,
        SETTINGS,
    );
    expect_same(
        &online(&record, &service, &servers, "good", &["--speed", "20"]),
        &twin,
    );

    // Out of order within the horizon of two seconds, and 1 % twice.
    let bad = ["--speed", "20", "--shuffle", "2", "--duplicate", "0.01"];
    expect_same(&online(&record, &service, &servers, "bad", &bad), &twin);
    assert!(service.metric("ingest_lost_packets_total", &["duplicate"]) > 0.0);
    assert_eq!(service.metric("resequence_gap_samples_total", &[]), 0.0);

    // Every alarm has its strip, and the asystole's shows twelve leads that say where they come from.
    let missing = servers.database.query(
        "SELECT alarm FROM alarms LEFT JOIN strips USING (alarm) WHERE strips.alarm IS NULL AND condition <> 'no_data'",
    );
    assert!(missing.is_empty(), "{missing:?}");
    let alarms = service.json("/api/v1/alarms?device=good&priority=high");
    let alarm = alarms["alarms"]
        .as_array()
        .unwrap()
        .iter()
        .find(|alarm| alarm["condition"] == "asystole")
        .unwrap();
    let strip = service.json(alarm["strip"].as_str().unwrap());
    let origins: Vec<(&str, &str)> = strip["signals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|signal| {
            (
                signal["name"].as_str().unwrap(),
                signal["origin"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(origins.len(), 12, "{origins:?}");
    for measured in ["II", "V1", "V5"] {
        assert!(origins.contains(&(measured, "measured")), "{origins:?}");
    }
    for reconstructed in ["I", "V2", "V6"] {
        assert!(
            origins.contains(&(reconstructed, "reconstructed")),
            "{origins:?}"
        );
    }
    assert!(
        strip["model"]["sha256"]
            .as_str()
            .is_some_and(|hash| hash.len() == 64),
        "{strip}"
    );
}

#[test]
fn lost_packets_are_gaps_and_everything_else_is_kept() {
    let servers = servers();
    let record = eventful(servers.dir.path());
    let service = Service::run(
        servers.dir.path(),
        &servers.broker,
        &servers.database,
        SETTINGS,
    );
    let found = online(
        &record,
        &service,
        &servers,
        "lossy",
        &["--speed", "20", "--lose", "0.05"],
    );
    let gaps = servers
        .database
        .query("SELECT start_index, end_index FROM gaps WHERE device = 'lossy' ORDER BY 1");
    assert!(!gaps.is_empty());
    for gap in &gaps {
        let (start, end) = gap.split_once('|').unwrap();
        let (start, end): (u64, u64) = (start.parse().unwrap(), end.parse().unwrap());
        assert!(end > start && (end - start) % 250 == 0, "{gap}");
        assert!(
            !found.beats.iter().any(|(at, _)| (start..end).contains(at)),
            "a beat in a gap"
        );
    }
    let twin = offline(&record);
    // A class may differ after a gap: it looks further back than a beat.
    let known: BTreeSet<u64> = twin.beats.iter().map(|(at, _)| *at).collect();
    let kept = found.beats.iter().filter(|(at, _)| known.contains(at));
    let kept = kept.count();
    assert!(
        kept * 10 > twin.beats.len() * 8,
        "{kept} of {}",
        twin.beats.len()
    );
}

/// Kills the service while a record is replayed, as often as `kills` says, and starts it again.
fn killed(record: &Path, servers: &Servers, device: &str, speed: &str, kills: &[f64]) -> Found {
    let mut replaying = replay(record, &servers.broker, device, &["--speed", speed]);
    let mut service = Service::run(
        servers.dir.path(),
        &servers.broker,
        &servers.database,
        SETTINGS,
    );
    for &share in kills {
        // By what is durable, not by the clock, so that the kill is in the middle on any machine.
        let sql = format!(
            "SELECT 1 FROM records WHERE device = '{device}' AND durable_until > {share} * base_rate_hz"
        );
        wait_for("the kill's moment", Duration::from_secs(120), || {
            (!servers.database.query(&sql).is_empty()).then_some(())
        });
        assert!(
            replaying.try_wait().unwrap().is_none(),
            "the replay ended before the kill"
        );
        service.kill();
        std::thread::sleep(Duration::from_millis(300));
        service = Service::run(
            servers.dir.path(),
            &servers.broker,
            &servers.database,
            SETTINGS,
        );
    }
    assert!(replaying.wait().unwrap().success());
    wait_ended(&servers.database, device, Duration::from_secs(60));
    wait_for("every packet acknowledged", Duration::from_secs(10), || {
        (service.metric("ingest_unacked_packets", &[]) == 0.0).then_some(())
    });
    assert!(service.interrupt().success());
    stored(&servers.database, device)
}

#[test]
fn a_kill_in_the_middle_changes_nothing() {
    let servers = servers();
    let record = eventful(servers.dir.path());
    let twin = offline(&record);
    let service = Service::run(
        servers.dir.path(),
        &servers.broker,
        &servers.database,
        SETTINGS,
    );
    let found = online(&record, &service, &servers, "whole", &["--speed", "20"]);
    expect_same(&found, &twin);
    assert!(service.interrupt().success());

    // During the asystole, within a strip, and late.
    let found = killed(&record, &servers, "killed", "15", &[45.0, 92.0, 150.0]);
    expect_same(&found, &twin);
    let whole = strips(&servers.database, "whole");
    assert!(!whole.is_empty());
    assert_eq!(strips(&servers.database, "killed"), whole);
    assert_eq!(
        trends(&servers.database, "killed"),
        trends(&servers.database, "whole")
    );
}

/// Runs only where the recordings are; prints a line where they are not.
#[test]
fn a_real_record_is_the_same_online_shuffled_killed_and_offline() {
    let Some(mitdb) = recordings("mitdb") else {
        return;
    };
    let servers = servers();
    let record = mitdb.join("101");
    let twin = offline(&record);
    assert!(twin.beats.len() > 1500, "{}", twin.beats.len());

    let service = Service::run(
        servers.dir.path(),
        &servers.broker,
        &servers.database,
        SETTINGS,
    );
    expect_same(
        &online(&record, &service, &servers, "r101", &["--speed", "60"]),
        &twin,
    );
    let bad = ["--speed", "60", "--shuffle", "2", "--duplicate", "0.01"];
    expect_same(
        &online(&record, &service, &servers, "r101-bad", &bad),
        &twin,
    );
    assert!(service.interrupt().success());
    expect_same(
        &killed(&record, &servers, "r101-killed", "60", &[900.0]),
        &twin,
    );
}

/// Runs only where the recordings are; prints a line where they are not.
#[test]
fn a_real_record_with_alarms_is_the_same_after_kills() {
    let Some(mitdb) = recordings("mitdb") else {
        return;
    };
    let servers = servers();
    let record = mitdb.join("201");
    let twin = offline(&record);
    assert!(twin.events.len() > 10, "{}", twin.events.len());

    let service = Service::run(
        servers.dir.path(),
        &servers.broker,
        &servers.database,
        SETTINGS,
    );
    let found = online(&record, &service, &servers, "whole", &["--speed", "60"]);
    expect_same(&found, &twin);
    assert!(service.interrupt().success());
    let found = killed(&record, &servers, "killed", "60", &[400.0, 1100.0]);
    expect_same(&found, &twin);
    let whole = strips(&servers.database, "whole");
    assert!(whole.len() > 5, "{}", whole.len());
    assert_eq!(strips(&servers.database, "killed"), whole);
}
