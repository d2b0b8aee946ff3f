//! Alarms get out: to webhooks, over MQTT, escalated, paused; across failures, crashes and restarts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use ecg::simulate::{Rhythm, Scenario};
use ecg::{Lead, SampleRate};
use serde_json::{Value, json};

use crate::support::program::{Service, einthoven};
use crate::support::receiver::{Mode, Receiver, SECRET};
use crate::support::servers::{Database, Mosquitto, free_port};
use crate::support::{record, wait_for};

/// An hour of failures within seconds.
const FAST: &str = "[pipeline]\nsilence = \"4s\"\n\n[delivery]\ntimeout = \"2s\"\nretry_min = \"20ms\"\n\
                    retry_max = \"200ms\"\npoll = \"1s\"\n";

struct Servers {
    broker: Mosquitto,
    database: Database,
    dir: tempfile::TempDir,
}

impl Servers {
    fn start() -> Self {
        Self {
            broker: Mosquitto::start(),
            database: Database::create(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn run(&self, settings: &str) -> Service {
        Service::run(self.dir.path(), &self.broker, &self.database, settings)
    }

    /// Plays a record as `device` and returns at once.
    fn replay(&self, record: &Path, device: &str, boot: u32, speed: &str) -> std::process::Child {
        einthoven()
            .arg("replay")
            .arg(record)
            .args(["--broker", &self.broker.url(), "--device", device])
            .args(["--boot", &boot.to_string(), "--speed", speed])
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn play(&self, record: &Path, device: &str, boot: u32) {
        let mut replaying = self.replay(record, device, boot, "20");
        assert!(replaying.wait().unwrap().success());
        // Its end is told after all that is in it.
        let sql =
            format!("SELECT 1 FROM records WHERE device = '{device}' AND boot = {boot} AND ended");
        wait_for("the end of the record", Duration::from_secs(60), || {
            (!self.database.query(&sql).is_empty()).then_some(())
        });
    }

    fn one(&self, sql: &str) -> String {
        self.database.query(sql).join("\n")
    }

    /// Each event has one message and each message one event or escalation.
    #[track_caller]
    fn expect_outbox_matches(&self) {
        let odd = self.database.query(
            "SELECT COALESCE(message, event) FROM outbox FULL JOIN alarm_events ON message = event
             WHERE (message IS NULL OR event IS NULL) AND COALESCE(outbox.kind, '') <> 'escalated'",
        );
        assert!(odd.is_empty(), "{odd:?}");
    }

    /// The messages of a device that a subscriber without a filter is to get, in order.
    fn messages(&self, device: &str) -> Vec<String> {
        self.database.query(&format!(
            "SELECT message FROM outbox WHERE device = '{device}' ORDER BY seq"
        ))
    }
}

fn scenario(dir: &Path, name: &str, rhythms: Vec<(Rhythm, f64)>) -> PathBuf {
    let seconds = rhythms.iter().map(|(_, seconds)| seconds).sum();
    let scenario = Scenario {
        rhythms,
        ..Scenario::new(11, SampleRate::new(250.0).unwrap())
    };
    record::write(dir, name, &scenario, seconds, &[Lead::II, Lead::V1])
}

fn sinus(bpm: f64) -> Rhythm {
    Rhythm::Sinus { bpm }
}

/// An asystole that ends: raised, then latched.
fn asystole(dir: &Path) -> PathBuf {
    let rhythms = vec![
        (sinus(70.0), 20.0),
        (Rhythm::Asystole, 8.0),
        (sinus(70.0), 20.0),
    ];
    scenario(dir, "asystole", rhythms)
}

fn subscribe(service: &Service, url: &str, more: &Value) -> String {
    let mut body = json!({"name": "test", "url": url, "secret": SECRET, "by": "Ada"});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let (status, answer) = service.send("POST", "/api/v1/subscribers", &body);
    assert_eq!(status, 201, "{answer}");
    assert!(!answer.to_string().contains("MfKQ"), "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

fn is_idle(service: &Service, id: &str) -> Option<()> {
    let subscriber = service.json(&format!("/api/v1/subscribers/{id}"));
    (subscriber["pending"] == 0).then_some(())
}

/// Of each device, messages were tried in the order of the outbox, none before the one before it was taken.
#[track_caller]
fn expect_order(receiver: &Receiver, servers: &Servers, devices: &[&str]) {
    let seen = receiver.seen();
    for device in devices {
        let wanted = servers.messages(device);
        let taken: Vec<String> = receiver
            .taken()
            .into_iter()
            .filter(|request| request.word("device") == *device)
            .map(|request| request.id)
            .collect();
        assert!(!wanted.is_empty());
        assert_eq!(taken, wanted, "{device}");
        let mut last = 0;
        for request in seen.iter().filter(|r| r.word("device") == *device) {
            let at = wanted.iter().position(|id| *id == request.id).unwrap();
            assert!(at >= last, "{device}: {at} after {last}");
            last = at;
        }
    }
}

#[test]
fn a_killed_service_delivers_the_same_message_again() {
    let servers = Servers::start();
    let record = asystole(servers.dir.path());
    let receiver = Receiver::start(0, Mode::Hang);
    let service = servers.run(FAST);
    let id = subscribe(&service, &receiver.url(), &json!({}));
    let mut replaying = servers.replay(&record, "vest", 7, "10");
    let first = receiver.wait("a message on its way", |_| true);
    // While the receiver has the message and the service does not know it.
    service.kill();
    assert_eq!(servers.messages("vest")[0], first.id);
    servers.expect_outbox_matches();
    let service = servers.run(FAST);
    wait_for("the same message again", Duration::from_secs(20), || {
        let again = receiver.seen();
        (again.len() > 1 && again.iter().all(|seen| seen.id == first.id)).then_some(())
    });
    service.kill();
    // While it is told that it is wrong, and while it waits to try again.
    receiver.set(Mode::Answer(503));
    let service = servers.run(FAST);
    receiver.wait("a refusal", |request| request.status == 503);
    service.kill();
    receiver.set(Mode::Answer(200));
    let service = servers.run(FAST);
    assert!(replaying.wait().unwrap().success());
    wait_for(
        "the asystole to be latched",
        Duration::from_secs(30),
        || {
            let sql =
                "SELECT 1 FROM alarm_events WHERE condition = 'asystole' AND state = 'latched'";
            (!servers.database.query(sql).is_empty()).then_some(())
        },
    );
    let latched = receiver.wait("the last message", |request| {
        request.kind() == "alarm.latched"
    });
    wait_for("everything delivered", Duration::from_secs(20), || {
        is_idle(&service, &id)
    });

    let asystole = "FROM alarm_events WHERE condition = 'asystole'";
    assert_eq!(
        servers.one(&format!("SELECT COUNT(*) {asystole} AND state = 'active'")),
        "1"
    );
    servers.expect_outbox_matches();
    expect_order(&receiver, &servers, &["vest"]);
    let raised = receiver.taken().remove(0);
    assert_eq!(raised.id, first.id);
    assert_eq!(raised.body, first.body);
    let raised = receiver.wait("the asystole", |request| {
        request.kind() == "alarm.raised" && request.word("condition") == "asystole"
    });
    assert_eq!(raised.word("id"), latched.word("id"));
    assert!(raised.word("onset") < raised.word("raised"));
    assert!(raised.word("evidence").contains("no QRS"), "{raised:?}");
}

#[test]
fn kills_in_between_cost_no_message_and_make_none_twice() {
    let servers = Servers::start();
    let record = scenario(
        servers.dir.path(),
        "eventful",
        vec![
            (sinus(70.0), 20.0),
            (Rhythm::Asystole, 8.0),
            (sinus(130.0), 30.0),
            (Rhythm::VentricularTachycardia { bpm: 180.0 }, 15.0),
            (sinus(70.0), 25.0),
        ],
    );
    let receiver = Receiver::start(0, Mode::Answer(200));
    let mut service = servers.run(FAST);
    let id = subscribe(&service, &receiver.url(), &json!({}));
    let mut replaying = servers.replay(&record, "vest", 7, "8");
    for pause in [1.5, 1.2, 0.9, 1.7, 1.1] {
        std::thread::sleep(Duration::from_secs_f64(pause));
        service.kill();
        service = servers.run(FAST);
    }
    assert!(replaying.wait().unwrap().success());
    let sql = "SELECT 1 FROM records WHERE device = 'vest' AND ended";
    wait_for("the end of the record", Duration::from_secs(60), || {
        (!servers.database.query(sql).is_empty()).then_some(())
    });
    wait_for("everything delivered", Duration::from_secs(20), || {
        is_idle(&service, &id)
    });
    servers.expect_outbox_matches();
    expect_order(&receiver, &servers, &["vest"]);
    assert!(receiver.taken().len() >= 5, "{}", receiver.taken().len());
}

#[test]
fn a_receiver_that_was_away_gets_everything_in_order() {
    let servers = Servers::start();
    let record = asystole(servers.dir.path());
    let service = servers.run(FAST);
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/hook");
    let id = subscribe(&service, &url, &json!({}));
    let others = Receiver::start(0, Mode::Answer(200));
    let other = subscribe(
        &service,
        &others.url(),
        &json!({"conditions": ["asystole"], "kinds": ["raised"]}),
    );
    // Nobody listens, then what listens is broken; more comes meanwhile.
    servers.play(&record, "one", 7);
    wait_for("refused connections", Duration::from_secs(20), || {
        (service.metric("delivery_attempts_total", &["unreachable"]) >= 10.0).then_some(())
    });
    let receiver = Receiver::start(port, Mode::Answer(500));
    servers.play(&record, "two", 7);
    servers.play(&record, "one", 8);
    wait_for("refusals", Duration::from_secs(20), || {
        (receiver.seen().len() >= 20).then_some(())
    });
    assert!(receiver.taken().is_empty());
    let waiting = service.json(&format!(
        "/api/v1/subscribers/{id}/deliveries?state=pending"
    ));
    let waiting = waiting["deliveries"].as_array().unwrap();
    assert!(waiting.iter().any(|d| d["attempts"].as_u64() > Some(3)
        && d["reason"] == "the receiver answered 500"), "{waiting:?}");
    // Meanwhile the other subscriber has had all that it wants.
    let taken = others.taken();
    assert_eq!(taken.len(), 3, "{taken:?}");
    is_idle(&service, &other).expect("nobody holds the other up");

    receiver.set(Mode::Answer(200));
    wait_for("everything delivered", Duration::from_secs(30), || {
        is_idle(&service, &id)
    });
    expect_order(&receiver, &servers, &["one", "two"]);
    let latency = service.metric("delivery_latency_seconds_count", &[]);
    assert!(latency >= (receiver.taken().len() + 3) as f64, "{latency}");
    assert!(service.metric("delivery_attempts_total", &["refused"]) >= 20.0);
    servers.expect_outbox_matches();
}

#[test]
fn what_was_given_up_is_shown_and_can_be_tried_again() {
    let servers = Servers::start();
    let record = asystole(servers.dir.path());
    let service = servers.run(FAST);
    let receiver = Receiver::start(0, Mode::Answer(410));
    let only = json!({"conditions": ["asystole"], "least_priority": "high"});
    let id = subscribe(&service, &receiver.url(), &only);
    servers.play(&record, "vest", 7);
    let base = format!("/api/v1/subscribers/{id}");
    let dead = wait_for("two dead letters", Duration::from_secs(20), || {
        let dead = service.json(&format!("{base}/deliveries?state=dead"));
        let dead = dead["deliveries"].as_array()?.clone();
        (dead.len() == 2).then_some(dead)
    });
    assert_eq!(
        (&dead[0]["kind"], &dead[1]["kind"]),
        (&json!("latched"), &json!("raised"))
    );
    assert_eq!(
        (&dead[0]["attempts"], &dead[0]["next"]),
        (&json!(1), &Value::Null)
    );
    wait_for("the gauge", Duration::from_secs(10), || {
        (service.metric("delivery_dead", &[&id]) == 2.0).then_some(())
    });
    receiver.set(Mode::Answer(204));
    let message = dead[1]["message"].as_str().unwrap();
    let retry = format!("{base}/deliveries/{message}/retry");
    assert_eq!(
        service.send("POST", &retry, &json!({})),
        (200, json!({"messages": 1}))
    );
    receiver.wait("the raise", |request| {
        request.status == 204 && request.id == message
    });
    wait_for("its row to go", Duration::from_secs(10), || {
        is_idle(&service, &id)
    });
    assert_eq!(service.send("POST", &retry, &json!({})).0, 409);
    let all = format!("{base}/deliveries/retry");
    assert_eq!(
        service.send("POST", &all, &json!({})),
        (200, json!({"messages": 1}))
    );
    receiver.wait("the rest", |request| {
        request.status == 204 && request.kind() == "alarm.latched"
    });

    // The rest of the API.
    let list = service.json("/api/v1/subscribers");
    assert_eq!(list["subscribers"][0]["least_priority"], "high", "{list}");
    let change = json!({"name": "renamed", "url": receiver.url(), "by": "Bo"});
    let (status, changed) = service.send("PUT", &base, &change);
    assert_eq!(
        (status, &changed["name"]),
        (200, &json!("renamed")),
        "{changed}"
    );
    assert_eq!(changed["least_priority"], "low");
    for (body, why) in [
        (
            json!({"name": "x", "url": "ftp://x", "secret": SECRET, "by": "Ada"}),
            "ftp",
        ),
        (
            json!({"name": "x", "url": "http://x", "by": "Ada"}),
            "`secret` is missing",
        ),
        (
            json!({"name": "x", "url": "http://x", "secret": "hunter2", "by": "Ada"}),
            "whsec_",
        ),
    ] {
        let (status, answer) = service.send("POST", "/api/v1/subscribers", &body);
        let text = answer.to_string();
        assert!(
            status == 422 && text.contains(why) && !text.contains("hunter2"),
            "{text}"
        );
    }
    assert!(!service.log().contains("MfKQ"));
    assert_eq!(service.send("DELETE", &base, &Value::Null).0, 204);
    assert_eq!(service.status(&base), 404);
    assert_eq!(service.status("/api/v1/subscribers/x"), 422);
}

/// Waits for a live event with this text in its data.
#[track_caller]
fn hear(lines: &Mutex<Vec<String>>, event: &str, text: &str) {
    let event = format!("event: {event}");
    wait_for(&event, Duration::from_secs(10), || {
        let lines = lines.lock().unwrap();
        let mut pairs = lines.windows(2);
        pairs
            .any(|pair| pair[0] == event && pair[1].contains(text))
            .then_some(())
    });
}

/// What a subscriber who comes now is given of a topic at once.
fn retained(broker: &Mosquitto, topic: &str) -> Option<Value> {
    let url = broker.url();
    let (host, port) = url
        .strip_prefix("mqtt://")
        .unwrap()
        .split_once(':')
        .unwrap();
    let options = rumqttc::MqttOptions::new("late", host, port.parse().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (client, mut events) = rumqttc::AsyncClient::new(options, 8);
        let qos = rumqttc::QoS::AtLeastOnce;
        client.subscribe(topic, qos).await.unwrap();
        let message = async {
            loop {
                let event = events.poll().await.ok()?;
                if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) = event {
                    // One that was set just now may come before that which was kept.
                    if publish.retain {
                        return serde_json::from_slice(&publish.payload).ok();
                    }
                }
            }
        };
        let limit = Duration::from_secs(1);
        tokio::time::timeout(limit, message).await.ok().flatten()
    })
}

#[test]
fn the_open_alarms_of_a_device_are_retained_on_mqtt() {
    let mut servers = Servers::start();
    let record = asystole(servers.dir.path());
    let service = servers.run(FAST);
    let topic = "einthoven/v1/vest/alarm";
    assert_eq!(retained(&servers.broker, topic), None);
    servers.play(&record, "vest", 7);
    let states = |set: &Value| -> BTreeMap<String, String> {
        let alarms = set.as_array().unwrap();
        let word = |alarm: &Value, key: &str| alarm[key].as_str().unwrap().to_owned();
        alarms
            .iter()
            .map(|a| (word(a, "condition"), word(a, "state")))
            .collect()
    };
    let id = wait_for("the latched asystole", Duration::from_secs(20), || {
        let set = retained(&servers.broker, topic)?;
        (states(&set).get("asystole")? == "latched").then_some(())?;
        let alarms = set.as_array()?;
        let alarm = alarms
            .iter()
            .find(|alarm| alarm["condition"] == "asystole")?;
        alarm["id"].as_str().map(str::to_owned)
    });
    // Acknowledged while the broker is away.
    servers.broker.down();
    let path = format!("/api/v1/alarms/{id}/acknowledge");
    assert_eq!(service.send("POST", &path, &json!({"by": "Ada"})).0, 200);
    servers.broker.up();
    wait_for("the set without it", Duration::from_secs(20), || {
        let set = retained(&servers.broker, topic)?;
        (!states(&set).contains_key("asystole")).then_some(())
    });
    assert!(service.metric("delivery_mqtt_published_total", &[]) >= 2.0);
    assert_eq!(service.metric("delivery_mqtt_failures_total", &[]), 0.0);

    // What a dead service left behind is put right by the next.
    servers.play(&record, "vest", 8);
    wait_for("the second asystole", Duration::from_secs(20), || {
        let set = retained(&servers.broker, topic)?;
        (states(&set).get("asystole")? == "latched").then_some(())
    });
    // Nor does it matter that the broker loses everything.
    servers.broker.down();
    servers.broker.forget();
    servers.broker.up();
    wait_for("the same again", Duration::from_secs(20), || {
        let set = retained(&servers.broker, topic)?;
        (states(&set).get("asystole")? == "latched").then_some(())
    });
    service.kill();
    servers
        .database
        .query("UPDATE alarms SET state = 'cleared', step = 3");
    let _service = servers.run(FAST);
    wait_for("the empty set", Duration::from_secs(20), || {
        (retained(&servers.broker, topic)? == json!([])).then_some(())
    });
}

#[test]
fn an_alarm_that_nobody_acknowledges_is_escalated_once_a_level() {
    let servers = Servers::start();
    let record = asystole(servers.dir.path());
    let settings =
        format!("{FAST}\n[delivery.escalation]\nhigh = \"3s\"\nmedium = \"0s\"\nlevels = 2\n");
    let service = servers.run(&settings);
    let receiver = Receiver::start(0, Mode::Answer(200));
    subscribe(&service, &receiver.url(), &json!({"kinds": ["escalated"]}));
    let live = service.listen("/api/v1/live?devices=vest");
    let mut replaying = servers.replay(&record, "vest", 7, "20");
    let first = receiver.wait("the first level", |_| true);
    hear(&live, "escalation", "\"level\":1");
    hear(&live, "alarm", "\"escalated_level\":1");
    assert_eq!(first.kind(), "alarm.escalated");
    assert_eq!(first.body["data"]["escalated_level"], 1);
    assert_eq!(first.word("priority"), "high");
    assert!(
        ["active", "latched"].contains(&first.word("state")),
        "{first:?}"
    );
    assert_eq!(service.metric("delivery_escalations_total", &["high"]), 1.0);
    // A restart neither forgets the second level nor repeats the first.
    service.kill();
    let service = servers.run(&settings);
    assert!(replaying.wait().unwrap().success());
    let second = receiver.wait("the second level", |request| request.id != first.id);
    assert_eq!(second.body["data"]["escalated_level"], 2);
    let id = first.word("id");
    let alarm = service.json(&format!("/api/v1/alarms/{id}"));
    assert_eq!(alarm["escalated_level"], 2, "{alarm}");
    assert!(alarm["escalated_at"].is_string(), "{alarm}");
    service.kill();
    let service = servers.run(&settings);
    std::thread::sleep(Duration::from_secs(5));
    let ids: BTreeSet<String> = receiver.seen().into_iter().map(|seen| seen.id).collect();
    assert_eq!(ids, BTreeSet::from([first.id.clone(), second.id.clone()]));
    let alarm_id: uuid::Uuid = id.parse().unwrap();
    let named = |level: u32| uuid::Uuid::new_v5(&alarm_id, format!("escalated-{level}").as_bytes());
    assert_eq!(
        (first.id, second.id),
        (named(1).to_string(), named(2).to_string())
    );
    servers.expect_outbox_matches();

    // One that is acknowledged in time is not escalated.
    let mut replaying = servers.replay(&record, "other", 7, "20");
    let other = wait_for("another asystole", Duration::from_secs(20), || {
        let alarms = service.json("/api/v1/alarms?device=other&priority=high");
        alarms["alarms"][0]["id"].as_str().map(str::to_owned)
    });
    let path = format!("/api/v1/alarms/{other}/acknowledge");
    assert_eq!(service.send("POST", &path, &json!({"by": "Ada"})).0, 200);
    assert!(replaying.wait().unwrap().success());
    std::thread::sleep(Duration::from_secs(4));
    let sql = "SELECT COUNT(*) FROM outbox WHERE kind = 'escalated' AND device = 'other'";
    assert_eq!(servers.one(sql), "0");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn a_pause_holds_back_what_is_not_of_high_priority() {
    let servers = Servers::start();
    let calm = scenario(servers.dir.path(), "calm", vec![(sinus(70.0), 12.0)]);
    let wild = scenario(
        servers.dir.path(),
        "wild",
        vec![
            (sinus(130.0), 30.0),
            (Rhythm::Asystole, 8.0),
            (sinus(70.0), 25.0),
            (sinus(130.0), 600.0),
        ],
    );
    let service = servers.run(FAST);
    let receiver = Receiver::start(0, Mode::Answer(200));
    let filter = json!({"conditions": ["asystole", "high_rate"]});
    let id = subscribe(&service, &receiver.url(), &filter);
    servers.play(&calm, "vest", 7);
    let pause = "/api/v1/devices/vest/pause";
    for minutes in [0, 31] {
        let (status, answer) =
            service.send("PUT", pause, &json!({"minutes": minutes, "by": "Ada"}));
        assert!(
            status == 422 && answer.to_string().contains("1 to 30"),
            "{answer}"
        );
    }
    let live = service.listen("/api/v1/live?devices=vest");
    let (status, device) = service.send("PUT", pause, &json!({"minutes": 30, "by": "Ada"}));
    hear(&live, "pause", "\"by\":\"Ada\"");
    assert_eq!(
        (status, &device["paused_by"]),
        (200, &json!("Ada")),
        "{device}"
    );
    let mut replaying = servers.replay(&wild, "vest", 8, "20");
    receiver.wait("the asystole", |request| {
        request.word("condition") == "asystole"
    });
    wait_for("a second high rate", Duration::from_secs(20), || {
        let sql = "SELECT state FROM alarms WHERE condition = 'high_rate' ORDER BY raised_utc";
        (servers.database.query(sql) == ["cleared", "active"]).then_some(())
    });
    let held = |state: &str| {
        let list = service.json(&format!(
            "/api/v1/subscribers/{id}/deliveries?state={state}"
        ));
        list["deliveries"].as_array().unwrap().clone()
    };
    wait_for("everything else delivered", Duration::from_secs(20), || {
        is_idle(&service, &id)
    });
    assert!(held("held").len() >= 3, "{:?}", held("held"));
    assert!(held("held").iter().all(|d| d["priority"] == "medium"));
    assert!(
        receiver
            .seen()
            .iter()
            .all(|seen| seen.word("priority") == "high")
    );
    // Shown as always, and marked.
    let alarms = service.json("/api/v1/alarms?device=vest&open=true");
    for alarm in alarms["alarms"].as_array().unwrap() {
        assert_eq!(alarm["paused"], alarm["priority"] != "high", "{alarm}");
    }
    // A restart does not end it.
    assert!(service.interrupt().success());
    let service = servers.run(FAST);
    std::thread::sleep(Duration::from_secs(2));
    assert!(
        receiver
            .seen()
            .iter()
            .all(|seen| seen.word("priority") == "high")
    );
    assert_eq!(
        service.send("DELETE", pause, &Value::Null).0,
        422,
        "somebody has to say so"
    );
    let (status, device) = service.send("DELETE", &format!("{pause}?by=Bo"), &Value::Null);
    assert_eq!(
        (status, &device["paused_until"]),
        (200, &Value::Null),
        "{device}"
    );
    assert_eq!(
        service
            .send("DELETE", &format!("{pause}?by=Bo"), &Value::Null)
            .0,
        409
    );

    wait_for("everything settled", Duration::from_secs(20), || {
        let subscriber = service.json(&format!("/api/v1/subscribers/{id}"));
        (subscriber["pending"] == 0 && subscriber["held"] == 0).then_some(())
    });
    // Of the two high rates the first came and went, the second is still there.
    let of = |state: &str| {
        servers.database.query(&format!(
            "SELECT message FROM outbox o JOIN alarms a USING (alarm)
             WHERE o.condition = 'high_rate' AND a.state {state} ORDER BY seq"
        ))
    };
    let taken: Vec<String> = receiver
        .taken()
        .into_iter()
        .filter(|request| request.word("condition") == "high_rate")
        .map(|request| request.id)
        .collect();
    assert_eq!(taken, of("<> 'cleared'"));
    assert!(!taken.is_empty());
    let list = service.json(&format!(
        "/api/v1/subscribers/{id}/deliveries?state=skipped"
    ));
    let list = list["deliveries"].as_array().unwrap();
    let skipped: BTreeSet<&str> = list.iter().filter_map(|d| d["message"].as_str()).collect();
    assert_eq!(
        skipped,
        of("= 'cleared'").iter().map(String::as_str).collect()
    );
    assert!(!skipped.is_empty());
    assert!(
        list.iter()
            .all(|d| d["reason"].as_str().unwrap().contains("came and went"))
    );
    replaying.kill().unwrap();
    replaying.wait().unwrap();

    // An alarm that becomes urgent in a pause is told of at once.
    let (status, _) = service.send("PUT", pause, &json!({"minutes": 30, "by": "Cy"}));
    assert_eq!(status, 200);
    let mut replaying = servers.replay(&wild, "vest", 9, "20");
    let held = wait_for("a third high rate", Duration::from_secs(20), || {
        let list = service.json(&format!("/api/v1/subscribers/{id}/deliveries?state=held"));
        Some(list["deliveries"][0]["message"].as_str()?.to_owned())
    });
    servers
        .database
        .query("UPDATE alarms SET priority = 'high' WHERE condition = 'high_rate'");
    receiver.wait("it", |request| request.id == held);
    assert!(service.json("/api/v1/devices/vest")["paused_until"].is_string());
    replaying.kill().unwrap();
    replaying.wait().unwrap();
    let audit = servers
        .database
        .query("SELECT changed_by FROM pauses ORDER BY id");
    assert_eq!(audit, ["Ada", "Bo", "Cy"]);
}
