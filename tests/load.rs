//! Load with an oracle: a service that does all it must is not accused of anything, and whatever is wrong in its database is
//! found.

use std::time::Duration;

use einthoven::config::Config;
use einthoven::load::Fault::{self, Different, Missing, Twice, Unexpected};
use einthoven::load::verify::Truth;
use einthoven::load::{Api, Bad, Ear, Load, Plan, Run, Verdict, Witness, settle, verify};
use serde_json::Value;
use store::Store;

use crate::support::program::{Service, config, einthoven};
use crate::support::servers::{Database, Mosquitto, free_port};
use crate::support::wait_for;

/// A device counts as silent soon, so that tests end soon.
const SETTINGS: &str = "[pipeline]\nsilence = \"4s\"\n";
/// How long the service may take to be done with what was played.
const SETTLE: Duration = Duration::from_secs(60);

/// As bad as links are.
const BAD: Bad = Bad {
    lose: 0.02,
    duplicate: 0.02,
    shuffle: 2,
    jitter: 2.5,
    reboots: 30.0,
    drift_ppm: 100.0,
};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// The settings of a service that [`config`] wrote.
fn settings(dir: &std::path::Path) -> Config {
    Config::load(Some(&dir.join("einthoven.toml")), [], &[]).unwrap()
}

/// A service of a test's own, and what it stands on.
struct Stand {
    service: Service,
    api: Api,
    settings: Config,
    database: Database,
    broker: Mosquitto,
    dir: tempfile::TempDir,
}

impl Stand {
    /// Starts it with these settings, over the defaults.
    fn with(more: &str) -> Self {
        Self::with_mqtt(more, &[])
    }

    /// The same with some settings of `mqtt`.
    fn with_mqtt(more: &str, mqtt: &[(&str, &str)]) -> Self {
        let broker = Mosquitto::start();
        let database = Database::create();
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let path = config(dir.path(), &broker.url(), &database.url(), port, more);
        let mut command = einthoven();
        for (key, value) in mqtt {
            command.env(format!("EINTHOVEN__MQTT__{key}"), value);
        }
        let service = Service::start(command.arg("run").arg("--config").arg(path), port);
        service.wait_ready();
        Self {
            api: Api::new(service.base()).unwrap(),
            settings: settings(dir.path()),
            service,
            database,
            broker,
            dir,
        }
    }

    /// So many devices that send so many seconds.
    fn plan(&self, devices: usize, seconds: u32) -> Plan {
        Plan::new(self.broker.url(), devices, seconds)
    }

    /// Kills the service and starts it again.
    fn after_a_kill(self) -> Self {
        self.service.kill();
        std::thread::sleep(Duration::from_secs(1));
        let service = Service::run(self.dir.path(), &self.broker, &self.database, SETTINGS);
        Self {
            api: Api::new(service.base()).unwrap(),
            service,
            ..self
        }
    }

    /// What the oracle says of a play, with the API as a witness, once the service is done with it.
    async fn judged(&self, run: &Run, ear: Option<&Ear>) -> Verdict {
        let witness = Witness {
            ear,
            api: Some(&self.api),
        };
        let store = Store::open(&self.settings.store).await.unwrap();
        let left = settle(&store, run, witness.api, SETTLE).await.unwrap();
        assert_eq!(left, None);
        let verdict = verify(&store, run, &self.settings, witness).await.unwrap();
        store.close().await;
        verdict
    }
}

#[track_caller]
fn expect_clean(verdict: &Verdict) {
    let first: Vec<String> = verdict
        .accusations
        .iter()
        .take(20)
        .map(ToString::to_string)
        .collect();
    assert!(verdict.is_clean(), "{:#?}\n{first:#?}", verdict.summary());
}

#[test]
fn over_bad_links_every_acknowledged_packet_has_its_effect() {
    let stand = Stand::with(SETTINGS);
    let plan = Plan {
        speed: 10.0,
        bad: BAD,
        watched: 6,
        ..stand.plan(30, 300)
    };
    runtime().block_on(async {
        let ear = Ear::open(&plan, Some(&stand.api)).await.unwrap();
        let run = Load::start(plan).await.unwrap().finished().await;
        assert_eq!(run.published(), run.acked());
        let verdict = stand.judged(&run, Some(&ear)).await;
        expect_clean(&verdict);
        // There was something to find, of everything.
        let kinds = [
            "beat",
            "gap",
            "minute",
            "record",
            "alarm step",
            "strip",
            "message",
            "finding",
            "reading",
            "alarm in the API",
            "device on MQTT",
        ];
        for kind in kinds {
            assert!(verdict.checked[kind] > 10, "{kind}: {:?}", verdict.checked);
        }
        let all = verdict.truth.values();
        let sum = |of: fn(&Truth) -> u64| all.clone().map(of).sum::<u64>();
        assert!(sum(|truth| truth.happened) > 10, "{:?}", verdict.truth);
        assert_eq!(
            sum(|truth| truth.alarmed) + sum(|truth| truth.not_by_twin),
            sum(|truth| truth.happened)
        );
        let latencies = einthoven::load::measure(&run, &stand.settings, &ear);
        for latency in &latencies {
            assert!(latency.histogram.len() > 10, "{latency:?}");
            // It takes less than ten seconds, also on a busy machine.
            assert!(latency.quantile_ms(0.5) < 10_000.0, "{latency:?}");
        }
        assert_eq!(latencies.len(), 4);
    });
}

#[test]
fn the_command_says_that_all_is_well_on_sqlite_too() {
    let broker = Mosquitto::start();
    let dir = tempfile::tempdir().unwrap();
    let (port, url) = (free_port(), dir.path().join("e.db"));
    let url = format!("sqlite:{}", url.display());
    let path = config(dir.path(), &broker.url(), &url, port, SETTINGS);
    let service = Service::start(einthoven().arg("run").arg("--config").arg(&path), port);
    service.wait_ready();
    let output = einthoven()
        .args([
            "load",
            "--devices",
            "12",
            "--seconds",
            "200",
            "--speed",
            "10",
        ])
        .args(["--lose", "0.02", "--duplicate", "0.02", "--jitter", "2.5"])
        .args(["--shuffle", "2", "--reboots", "30", "--drift", "100"])
        .args(["--broker", &broker.url(), "--api", service.base(), "--json"])
        .arg("--config")
        .arg(&path)
        .output()
        .unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{said:#}");
    assert_eq!(said["verdict"]["clean"], true, "{said:#}");
    assert_eq!(said["acknowledged"], said["published"]);
    assert_eq!(said["latencies_ms"].as_array().unwrap().len(), 4);

    // What the service was not told, it cannot have done.
    let output = einthoven()
        .args([
            "load",
            "--devices",
            "1",
            "--seconds",
            "5",
            "--prefix",
            "lone",
        ])
        .args(["--settle", "1", "--broker", &broker.url(), "--store"])
        .arg(format!("sqlite:{}", dir.path().join("other.db").display()))
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[test]
fn a_kill_is_no_reason_for_an_accusation() {
    let stand = Stand::with(SETTINGS);
    let plan = Plan {
        speed: 8.0,
        bad: Bad {
            reboots: 0.0,
            ..BAD
        },
        ..stand.plan(12, 240)
    };
    assert!((0..12).any(|k| !plan.mix.kind(k).has_ecg()));
    let runtime = runtime();
    let load = runtime.block_on(Load::start(plan)).unwrap();
    let total = load.progress().total;
    wait_for("the kill's moment", SETTLE, || {
        (load.progress().acked * 3 > total).then_some(())
    });
    let stand = stand.after_a_kill();
    let run = runtime.block_on(load.finished());
    expect_clean(&runtime.block_on(stand.judged(&run, None)));
}

#[test]
fn while_the_database_is_away_no_device_is_silent() {
    let stand = Stand::with(SETTINGS);
    let plan = Plan {
        speed: 10.0,
        watched: 3,
        ..stand.plan(30, 300)
    };
    let runtime = runtime();
    let ear = runtime
        .block_on(Ear::open(&plan, Some(&stand.api)))
        .unwrap();
    let load = runtime.block_on(Load::start(plan)).unwrap();
    let total = load.progress().total;
    wait_for("the middle", SETTLE, || {
        (load.progress().acked * 5 > total).then_some(())
    });
    // Much longer than a silence, and than no data.
    stand
        .database
        .query("BEGIN; LOCK TABLE records; SELECT pg_sleep(15); COMMIT");
    let run = runtime.block_on(load.finished());
    expect_clean(&runtime.block_on(stand.judged(&run, Some(&ear))));
}

#[test]
fn a_broker_that_may_send_little_is_given_room() {
    // A restart would need some 330 packets to warm up on, and the broker may send 200.
    let stand = Stand::with_mqtt(SETTINGS, &[("RECEIVE_MAXIMUM", "200")]);
    let plan = Plan {
        speed: 10.0,
        ..stand.plan(12, 60)
    };
    let runtime = runtime();
    let run = runtime.block_on(async { Load::start(plan).await.unwrap().finished().await });
    expect_clean(&runtime.block_on(stand.judged(&run, None)));
}

#[test]
fn what_may_wait_in_memory_is_bounded_by_bytes() {
    let stand = Stand::with_mqtt(SETTINGS, &[("MAX_PARKED_BYTES", "100000")]);
    let plan = Plan {
        speed: 20.0,
        scripts: 8,
        ..stand.plan(40, 400)
    };
    let runtime = runtime();
    let load = runtime.block_on(Load::start(plan)).unwrap();
    let total = load.progress().total;
    wait_for("the middle", SETTLE, || {
        (load.progress().acked * 5 > total).then_some(())
    });
    let overloads = || {
        let lost = "ingest_disconnects_total";
        stand.service.metric(lost, &["overload"])
    };
    // A slow machine may be behind already.
    let before = overloads();
    let locked = std::thread::scope(|scope| {
        let sql = "BEGIN; LOCK TABLE records; SELECT pg_sleep(10); COMMIT";
        let locking = scope.spawn(|| stand.database.query(sql));
        let mut most = 0.0_f64;
        while !locking.is_finished() {
            let parked = stand.service.metric("ingest_parked_messages", &[]);
            most = most.max(parked);
            // What is over is forgotten, not asked for again and again: once where something was acknowledged, and once
            // after 6 s.
            assert!(overloads() <= before + 2.0);
            std::thread::sleep(Duration::from_millis(200));
        }
        locking.join().unwrap();
        most
    });
    let run = runtime.block_on(load.finished());
    expect_clean(&runtime.block_on(stand.judged(&run, None)));
    // A packet is of some 900 bytes.
    assert!((20.0..300.0).contains(&locked), "{locked}");
    assert!(overloads() >= 1.0);
}

#[test]
fn many_devices_of_one_shard_fall_silent_at_once() {
    let stand = Stand::with("[pipeline]\nsilence = \"4s\"\nshards = 1\n");
    let plan = Plan {
        speed: 10.0,
        scripts: 8,
        ..stand.plan(400, 20)
    };
    runtime().block_on(async {
        for prefix in ["once", "again"] {
            let plan = Plan {
                prefix: prefix.to_owned(),
                ..plan.clone()
            };
            let run = Load::start(plan).await.unwrap().finished().await;
            expect_clean(&stand.judged(&run, None).await);
        }
    });
}

/// The tables that are damaged.
const TABLES: [&str; 10] = [
    "records",
    "beats",
    "gaps",
    "trends",
    "alarms",
    "alarm_events",
    "strips",
    "suppressions",
    "findings",
    "outbox",
];

/// What is done to the database, and what must be found then. `%table` is the condition for one row of that table, `%judged`
/// that for alarms that the device core judges, `%early` an instant at which every device was sending.
const DAMAGES: [(&str, Fault, &str); 27] = [
    ("DELETE FROM beats WHERE %beats", Missing, "beat"),
    (
        "INSERT INTO beats (device, boot, r_peak, class, utc, day)
            SELECT device, boot, r_peak + 7, class, utc, day FROM beats WHERE %beats",
        Unexpected,
        "beat",
    ),
    (
        "UPDATE beats SET class = 'Q' WHERE %beats",
        Different,
        "class of beat",
    ),
    (
        "UPDATE beats SET utc = utc + 2000000 WHERE %beats",
        Different,
        "time of beat",
    ),
    ("DELETE FROM gaps WHERE %gaps", Missing, "gap"),
    (
        "UPDATE gaps SET end_index = end_index + 1 WHERE %gaps",
        Different,
        "gap",
    ),
    (
        "INSERT INTO gaps SELECT device, boot, start_index + 1, end_index FROM gaps WHERE %gaps",
        Unexpected,
        "gap",
    ),
    ("DELETE FROM trends WHERE %trends", Missing, "minute"),
    (
        "UPDATE trends SET n_beats = n_beats + 1 WHERE %trends",
        Different,
        "minute",
    ),
    (
        "INSERT INTO trends SELECT device, boot, 999, start_utc, n_beats, n_pulses, n_rates, rate_sum, rate_min, \
         rate_max, usable_seconds, unusable_seconds, gap_samples FROM trends WHERE %trends",
        Unexpected,
        "minute",
    ),
    (
        "DELETE FROM alarm_events WHERE event = (SELECT event FROM alarm_events WHERE %judged LIMIT 1)",
        Missing,
        "alarm step",
    ),
    (
        "UPDATE alarm_events SET decided_at = decided_at + 1 \
         WHERE event = (SELECT event FROM alarm_events WHERE %judged LIMIT 1)",
        Missing,
        "alarm step",
    ),
    // The same alarm once more, under another id.
    (
        "WITH twice AS (INSERT INTO alarms (alarm, device, boot, condition, kind, priority, onset, state, step, \
         updated_utc, raised_step, raised_utc, evidence) SELECT gen_random_uuid(), device, boot, condition, kind, priority, \
         onset, state, step, updated_utc, raised_step, raised_utc, evidence FROM alarms WHERE %judged LIMIT 1 RETURNING *) \
         INSERT INTO alarm_events SELECT gen_random_uuid(), alarm, device, boot, condition, kind, priority, 'active', onset, \
         onset, raised_utc, NULL, evidence FROM twice",
        Unexpected,
        "alarm step",
    ),
    (
        "UPDATE alarms SET state = 'cleared' WHERE alarm = (SELECT alarm FROM alarms WHERE state = 'latched' LIMIT 1)",
        Different,
        "alarm",
    ),
    (
        "UPDATE alarms SET condition = 'clock_jump' WHERE alarm = (SELECT alarm FROM alarms WHERE %judged LIMIT 1)",
        Unexpected,
        "alarm",
    ),
    (
        "UPDATE alarms SET condition = 'no_data', raised_utc = %early \
         WHERE alarm = (SELECT alarm FROM alarms WHERE %judged LIMIT 1)",
        Unexpected,
        "alarm",
    ),
    (
        "DELETE FROM strips WHERE alarm = (SELECT alarm FROM strips JOIN alarms USING (alarm) WHERE %judged LIMIT 1)",
        Missing,
        "strip",
    ),
    ("DELETE FROM outbox WHERE %outbox", Missing, "message"),
    (
        "UPDATE outbox SET message = gen_random_uuid() WHERE %outbox",
        Unexpected,
        "message",
    ),
    (
        "INSERT INTO outbox (message, alarm, device, boot, kind, level, condition, alarm_kind, priority, state, onset, utc, \
         raised_utc, stored_utc, evidence) SELECT gen_random_uuid(), alarm, device, boot, kind, level, condition, alarm_kind, \
         priority, state, onset, utc, raised_utc, stored_utc, evidence FROM outbox WHERE %outbox",
        Twice,
        "message",
    ),
    (
        "UPDATE records SET durable_until = durable_until - 1 WHERE %records",
        Different,
        "end of record",
    ),
    (
        "UPDATE records SET ended = FALSE WHERE %records",
        Missing,
        "end of record",
    ),
    ("DELETE FROM records WHERE %records", Missing, "record"),
    (
        "INSERT INTO records SELECT device, 12345, layout, base_rate_hz, anchor_index, anchor_utc, anchor_hz, durable_until, \
         ended, started_utc, updated_utc, origin_utc, origin_hz FROM records WHERE %records",
        Unexpected,
        "record",
    ),
    (
        "UPDATE findings SET onset = onset + 3 WHERE ctid = (SELECT ctid FROM findings WHERE source = 'rule' LIMIT 1)",
        Unexpected,
        "finding",
    ),
    (
        "UPDATE findings SET ended = FALSE WHERE %findings",
        Missing,
        "end of finding",
    ),
    (
        "INSERT INTO suppressions SELECT gen_random_uuid(), device, boot, condition, priority, onset, onset, raised_utc, \
         evidence, 'none' FROM alarms WHERE %alarms",
        Unexpected,
        "held back",
    ),
];

#[test]
fn whatever_is_wrong_is_found() {
    let stand = Stand::with(SETTINGS);
    let plan = Plan {
        speed: 10.0,
        bad: Bad { lose: 0.03, ..BAD },
        mix: "asystole,vt,vf,noisy".parse().unwrap(),
        ..stand.plan(8, 150)
    };
    let runtime = runtime();
    let run = runtime.block_on(async { Load::start(plan).await.unwrap().finished().await });
    expect_clean(&runtime.block_on(stand.judged(&run, None)));
    let Stand {
        service,
        settings,
        database,
        ..
    } = stand;
    assert!(service.interrupt().success());

    for table in TABLES {
        database.query(&format!("CREATE TABLE whole_{table} AS TABLE {table}"));
    }
    let verdict = || {
        runtime.block_on(async {
            let store = Store::open(&settings.store).await.unwrap();
            let verdict = verify(&store, &run, &settings, Witness::default()).await;
            store.close().await;
            verdict.unwrap()
        })
    };
    for (damage, fault, what) in DAMAGES {
        let early = (run.began.0 + 5_000_000).to_string();
        let judged =
            "condition IN ('asystole', 'ventricular_tachycardia', 'ventricular_fibrillation')";
        let mut sql = damage.replace("%judged", judged).replace("%early", &early);
        for table in TABLES {
            // What is missing of a record is told gap by gap: one with few is taken.
            let which = match table {
                "records" => {
                    "ORDER BY (SELECT count(*) FROM gaps WHERE gaps.device = records.device AND gaps.boot = records.boot), \
                     durable_until DESC LIMIT 1"
                }
                _ => "LIMIT 1 OFFSET 3",
            };
            let row = format!("ctid = (SELECT ctid FROM {table} {which})");
            sql = sql.replace(&format!("%{table}"), &row);
        }
        database.query(&sql);
        let verdict = verdict();
        assert!(
            verdict.summary().contains_key(&(fault, what)),
            "{damage}: {:?}",
            verdict.summary()
        );
        // And not of much else.
        assert!(
            verdict.n_accusations <= 4,
            "{damage}: {:#?}",
            verdict.accusations
        );
        database.query(&format!("TRUNCATE {} CASCADE", TABLES.join(", ")));
        for table in TABLES {
            let values = "OVERRIDING SYSTEM VALUE";
            database.query(&format!("INSERT INTO {table} {values} TABLE whole_{table}"));
        }
    }
    database.query(
        "INSERT INTO devices SELECT 'load-99999', patient, first_seen, last_seen FROM devices LIMIT 1",
    );
    let strangers = verdict();
    assert_eq!(strangers.n_accusations, 1);
    assert!(strangers.summary().contains_key(&(Unexpected, "device")));
}
