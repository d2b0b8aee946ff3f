//! What those on call rely on: migrations, readiness and liveness, standing by, rolling restarts.

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::program::{Service, config, einthoven};
use crate::support::servers::{Database, Mosquitto, free_port};
use crate::support::{record, wait_for};
use crate::twin;

/// Runs `einthoven migrate` `n` times at once on the database at `url`.
fn migrate(url: &str, n: usize) -> Vec<Output> {
    let start = |_| {
        einthoven()
            .arg("migrate")
            .env("EINTHOVEN__STORE__URL", url)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let started: Vec<_> = (0..n).map(start).collect();
    let end = |child: std::process::Child| child.wait_with_output().unwrap();
    started.into_iter().map(end).collect()
}

#[test]
fn eight_migrations_at_once_all_succeed() {
    let database = Database::create();
    let dir = tempfile::tempdir().unwrap();
    // An empty SQLite file several times, for the race is in its first moments.
    let files = (0..4).map(|k| format!("sqlite:{}", dir.path().join(format!("{k}.db")).display()));
    for url in std::iter::once(database.url()).chain(files) {
        for output in migrate(&url, 8) {
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{url}: {log}");
        }
    }
    let applied = database.query("SELECT count(*), count(DISTINCT version) FROM _sqlx_migrations");
    let (rows, versions) = applied[0].split_once('|').unwrap();
    assert_eq!(rows, versions);
}

#[test]
fn a_database_of_a_newer_version_is_refused_with_what_to_do() {
    let database = Database::create();
    assert!(migrate(&database.url(), 1)[0].status.success());
    database.query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (4711, 'later', true, '', 0)",
    );
    let refused = migrate(&database.url(), 1).remove(0);
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(
        text.contains("migration 4711") && text.contains("newer version"),
        "{text}"
    );
}

/// Starts a service with settings in a folder of its own.
fn start(dir: &std::path::Path, broker: &Mosquitto, database: &Database, more: &str) -> Service {
    start_on(dir, broker, &database.url(), more)
}

fn start_on(dir: &std::path::Path, broker: &Mosquitto, url: &str, more: &str) -> Service {
    let port = free_port();
    let dir = dir.join(port.to_string());
    std::fs::create_dir(&dir).unwrap();
    let path = config(&dir, &broker.url(), url, port, more);
    Service::start(einthoven().arg("run").arg("--config").arg(path), port)
}

/// How something stands that the service needs, and why.
fn check(service: &Service, name: &str) -> (String, String) {
    let ready = service.json("/readyz");
    let word = |key: &str| {
        let check = &ready["checks"][name];
        check[key].as_str().unwrap_or_default().to_owned()
    };
    (word("state"), word("reason"))
}

fn wait_state(service: &Service, name: &str, state: &str) {
    let what = format!("{name} to be {state}");
    wait_for(&what, Duration::from_secs(30), || {
        (check(service, name).0 == state).then_some(())
    });
}

/// Waits until it waits for another process.
fn wait_standby(service: &Service) {
    wait_for("a process to stand by", Duration::from_secs(30), || {
        check(service, "lease")
            .1
            .contains("standing by")
            .then_some(())
    });
}

/// Lets nobody connect to the database any more, and ends all connections.
fn shut(database: &Database) {
    let name = database.name();
    database.admin(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    database.admin(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    ));
}

fn reopen(database: &Database) {
    let name = database.name();
    database.admin(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
}

#[test]
fn readiness_says_what_is_missing_and_a_database_away_is_no_reason_to_be_killed() {
    let (mut broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let settings = "[service]\nwatchdog = \"2s\"\n\n[pipeline]\nsilence = \"4s\"\n";
    let service = start(dir.path(), &broker, &database, settings);
    service.wait_ready();
    let ready = service.json("/readyz");
    assert_eq!(ready["ready"], true);
    for name in ["database", "lease", "models", "broker", "shards"] {
        assert_eq!(
            ready["checks"][name],
            serde_json::json!({"state": "ok"}),
            "{ready}"
        );
    }

    broker.down();
    wait_state(&service, "broker", "failing");
    let (_, why) = check(&service, "broker");
    assert!(why.starts_with("broker: "), "{why}");
    assert_eq!(service.status("/readyz"), 503);
    assert_eq!(service.status("/healthz"), 200);
    wait_for("the metric to follow", Duration::from_secs(10), || {
        (service.metric("service_ready", &["broker"]) == 0.0).then_some(())
    });
    broker.up();
    service.wait_ready();

    // Away while packets come: what waits for it is alive, for longer than the watchdog's patience.
    let record = record::write(
        dir.path(),
        "steady",
        &ecg::simulate::Scenario::new(3, ecg::SampleRate::new(250.0).unwrap()),
        40.0,
        &[ecg::Lead::II],
    );
    let mut replaying = twin::replay(&record, &broker, "steady", &["--speed", "4"]);
    wait_for("beats", Duration::from_secs(30), || {
        (service.metric("store_rows_total", &["beats"]) > 0.0).then_some(())
    });
    shut(&database);
    wait_state(&service, "database", "failing");
    assert_eq!(service.status("/readyz"), 503);
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        assert_eq!(
            service.status("/healthz"),
            200,
            "{}",
            service.text("/healthz")
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    reopen(&database);
    service.wait_ready();
    assert!(replaying.wait().unwrap().success());
    twin::wait_ended(&database, "steady", Duration::from_secs(60));
    assert_eq!(service.metric("store_refused_total", &[]), 0.0);
    assert!(service.interrupt().success());
    twin::expect_same(&twin::stored(&database, "steady"), &twin::offline(&record));
}

#[test]
fn a_second_process_stands_by_and_takes_over_when_the_first_is_killed() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let first = start(dir.path(), &broker, &database, "");
    first.wait_ready();
    let second = start(dir.path(), &broker, &database, "");
    wait_standby(&second);
    assert_eq!(second.status("/healthz"), 200);
    assert_eq!(second.status("/readyz"), 503);
    // The first has lost every connection, and takes the lease again.
    let name = database.name();
    database.admin(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    ));
    std::thread::sleep(Duration::from_secs(1));
    let holder = |service: &Service| check(service, "lease").0 == "ok";
    wait_for("one of them to work", Duration::from_secs(30), || {
        (first.status("/readyz") == 200 || holder(&second)).then_some(())
    });
    if first.status("/healthz") == 200 {
        first.kill();
    }
    let started = Instant::now();
    second.wait_ready();
    println!("takeover after a kill: {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(second.interrupt().success());
}

#[test]
fn a_second_process_on_an_sqlite_file_stands_by_too() {
    let broker = Mosquitto::start();
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("e.db").display());
    let mut first = start_on(dir.path(), &broker, &url, "");
    first.wait_ready();
    let second = start_on(dir.path(), &broker, &url, "");
    wait_standby(&second);
    first.terminate();
    first.wait_end(Duration::from_secs(30));
    assert!(first.ended_well());
    second.wait_ready();
    let third = start_on(dir.path(), &broker, &url, "");
    wait_standby(&third);
    second.kill();
    third.wait_ready();
    assert!(third.interrupt().success());
}

#[test]
fn two_services_with_one_client_id_do_not_fight() {
    let broker = Mosquitto::start();
    let (one, other) = (Database::create(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let first = start(dir.path(), &broker, &one, "");
    first.wait_ready();
    let second = start(dir.path(), &broker, &other, "");
    second.wait_ready();
    wait_for("the loss to be named", Duration::from_secs(20), || {
        let said = "another client may use the same client id";
        (first.log().contains(said) || second.log().contains(said)).then_some(())
    });
    // Half a second is the longest pause of these settings: they come to take turns at that.
    let before = first.metric("ingest_connects_total", &[]);
    std::thread::sleep(Duration::from_secs(4));
    let connects = first.metric("ingest_connects_total", &[]) - before;
    assert!(connects <= 12.0, "{connects}");
    assert!(second.interrupt().success());
    first.wait_ready();
}

#[test]
fn what_is_old_is_removed_by_the_running_service() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    assert!(migrate(&database.url(), 1)[0].status.success());
    // A year ago: beats in a partition and without one, minutes, an alarm that is over and one that is not.
    for sql in [
        "CREATE TABLE beats_20251126 PARTITION OF beats FOR VALUES FROM (20418) TO (20419)",
        "INSERT INTO devices (device) VALUES ('w')",
        "INSERT INTO beats SELECT 'w', 1, k, 'N', 1764115200000000 + k, 20418 FROM generate_series(1, 9000) k",
        "INSERT INTO beats SELECT 'w', 2, k, 'N', 1764115200000000 + k, -1 FROM generate_series(1, 9000) k",
        "INSERT INTO trends SELECT 'w', 1, k, 1764115200000000, 70, 0, 69, 4800, 60, 80, 60, 0, 0
         FROM generate_series(1, 5000) k",
        "INSERT INTO alarms (alarm, device, boot, condition, kind, priority, onset, state, step, updated_utc,
            raised_step, raised_utc, evidence)
         SELECT gen_random_uuid(), 'w', 1, 'asystole', 'physiological', 'high', k,
            CASE WHEN k = 1 THEN 'latched' ELSE 'cleared' END, CASE WHEN k = 1 THEN 2 ELSE 3 END,
            1764115200000000, 0, 1764115200000000, 'no QRS' FROM generate_series(1, 700) k",
        "INSERT INTO strips (alarm, start_index, end_index, rate_hz, body)
         SELECT alarm, 0, 2500, 250, '' FROM alarms",
    ] {
        database.query(sql);
    }
    let count = |from: &str| database.query(&format!("SELECT count(*) FROM {from}"))[0].clone();
    let off = start(dir.path(), &broker, &database, "");
    off.wait_ready();
    wait_for("a round", Duration::from_secs(20), || {
        (off.metric("retention_success_seconds", &[]) > 0.0).then_some(())
    });
    assert!(off.interrupt().success());
    assert_eq!(count("beats"), "18000");

    let settings =
        "[store.retention]\ndelete = true\nbeats = 30\ntrends = 90\nstrips = 100\nalarms = 200\n";
    let service = start(dir.path(), &broker, &database, settings);
    service.wait_ready();
    wait_for("a round", Duration::from_secs(60), || {
        (service.metric("retention_success_seconds", &[]) > 0.0).then_some(())
    });
    assert_eq!(count("beats"), "0");
    assert_eq!(count("trends"), "0");
    assert_eq!(count("alarms"), "1");
    assert_eq!(count("strips"), "1");
    assert_eq!(count("pg_class WHERE relname = 'beats_20251126'"), "0");
    assert_eq!(service.metric("retention_partitions_total", &[]), 1.0);
    assert_eq!(service.metric("retention_rows_total", &["beats"]), 9000.0);
    assert_eq!(service.metric("retention_rows_total", &["trends"]), 5000.0);
    assert_eq!(service.metric("retention_rows_total", &["strips"]), 699.0);
    assert_eq!(service.metric("retention_rows_total", &["alarms"]), 699.0);
    assert_eq!(service.metric("retention_partitions_missing", &[]), 0.0);
    assert_eq!(service.metric("retention_failures_total", &[]), 0.0);
    // Partitions for the week are there.
    let ahead = count("pg_class WHERE relname ~ '^beats_[0-9]{8}$' AND relkind = 'r'");
    assert!(ahead.parse::<u32>().unwrap() >= 8, "{ahead}");
    assert!(service.interrupt().success());
}

/// Terminated and started five times while devices send; each time the next one is there before the one before goes.
#[test]
fn rolling_restarts_lose_nothing() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let record = twin::eventful(dir.path());
    let expected = twin::offline(&record);
    let settings = twin::SETTINGS;
    let mut service = start(dir.path(), &broker, &database, settings);
    service.wait_ready();
    let devices = ["roll-1", "roll-2", "roll-3", "roll-4"];
    let mut replaying: Vec<_> = devices
        .iter()
        .map(|device| twin::replay(&record, &broker, device, &["--speed", "6"]))
        .collect();
    let (mut drains, mut outages) = (Vec::new(), Vec::new());
    for share in [15.0, 42.0, 70.0, 100.0, 130.0] {
        let sql = format!(
            "SELECT 1 FROM records WHERE device = 'roll-1' AND durable_until > {share} * base_rate_hz"
        );
        wait_for("the restart's moment", Duration::from_secs(120), || {
            (!database.query(&sql).is_empty()).then_some(())
        });
        let next = start(dir.path(), &broker, &database, settings);
        wait_standby(&next);
        let told = Instant::now();
        service.terminate();
        service.wait_end(Duration::from_secs(30));
        drains.push(told.elapsed().as_secs_f64());
        assert!(service.ended_well(), "{}", service.log());
        next.wait_ready();
        outages.push(told.elapsed().as_secs_f64());
        service = next;
    }
    println!("drains, s: {drains:.2?}; from SIGTERM to the next one ready, s: {outages:.2?}");
    assert!(drains.iter().all(|seconds| *seconds < 10.0), "{drains:?}");
    for replay in &mut replaying {
        assert!(replay.wait().unwrap().success());
    }
    for device in devices {
        twin::wait_ended(&database, device, Duration::from_secs(60));
    }
    wait_for("every packet acknowledged", Duration::from_secs(10), || {
        (service.metric("ingest_unacked_packets", &[]) == 0.0).then_some(())
    });
    assert!(service.interrupt().success());
    for device in devices {
        twin::expect_same(&twin::stored(&database, device), &expected);
    }
    let gaps = database.query("SELECT device, start_index, end_index FROM gaps");
    assert!(gaps.is_empty(), "{gaps:?}");
    let doubled = database
        .query("SELECT alarm, kind, level FROM outbox GROUP BY 1, 2, 3 HAVING count(*) > 1");
    assert!(doubled.is_empty(), "{doubled:?}");
}

#[test]
fn the_state_of_everything_is_in_the_metrics() {
    let (broker, database) = (Mosquitto::start(), Database::create());
    let dir = tempfile::tempdir().unwrap();
    let service = start(dir.path(), &broker, &database, "");
    service.wait_ready();
    wait_for("a second to pass", Duration::from_secs(10), || {
        let is_ready = service.metric("service_ready", &["broker"]) == 1.0;
        (is_ready && service.text("/metrics").contains("stage_oldest_seconds{")).then_some(())
    });
    let text = service.text("/metrics");
    for name in [
        "channel_depth{channel=\"commits\"}",
        "channel_capacity{channel=\"deliveries\"} 1024",
        "stage_busy_seconds_total{stage=\"shard 0\"}",
        "stage_waiting_seconds_total{stage=\"persist\"}",
        "stage_stalled_seconds{stage=\"models\"} 0",
        "service_ready{check=\"lease\"} 1",
        "service_ready{check=\"database\"} 1",
        "service_ready{check=\"broker\"} 1",
        "ingest_connections 1",
        "ingest_acked_total",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
    // Every line is one that Prometheus can read: no name twice.
    let mut helps: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("# TYPE"))
        .collect();
    let n = helps.len();
    helps.sort_unstable();
    helps.dedup();
    assert_eq!(helps.len(), n);
    assert_ne!(service.json("/openapi.json"), Value::Null);
}
