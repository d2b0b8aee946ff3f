//! One round of each fault: it happens, and is over.

use std::time::{Duration, Instant};

use einthoven::load::{Load, Plan};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::devices;
use super::scene::Scene;
use crate::support::proxy::Mode;
use crate::support::wait_for;

/// SIGKILL at any moment.
pub(crate) fn kill_service(scene: &mut Scene) {
    scene.end_service("KILL");
    scene.pass(0..500);
    scene.start_service();
}

/// SIGKILL while it starts, up to three times.
pub(crate) fn kill_starting(scene: &mut Scene) {
    for _ in 0..scene.rng.random_range(1..=3) {
        scene.end_service("KILL");
        scene.start_service();
        scene.pass(0..1500);
    }
    scene.end_service("KILL");
    scene.start_service();
}

/// SIGTERM, and SIGKILL while it still drains.
pub(crate) fn kill_draining(scene: &mut Scene) {
    crate::support::servers::send("TERM", scene.service().pid());
    scene.pass(0..300);
    scene.end_service("KILL");
    scene.start_service();
}

/// SIGTERM: it ends in order, and within its time.
pub(crate) fn term_service(scene: &mut Scene) {
    let (status, took) = scene.end_service("TERM");
    scene.expect_ended(status, took);
    scene.pass(0..500);
    scene.start_service();
}

/// SIGTERM while much waits for a slow database: it ends in order all the same, for what waits is the broker's.
pub(crate) fn term_backlog(scene: &mut Scene) {
    let (url, seed, boot) = (scene.devices_url(), scene.rng.random(), scene.rng.random());
    let packets: Vec<Vec<u8>> = devices::packets(seed, boot, 60)
        .iter()
        .map(ingest::Packet::encode)
        .collect();
    let send = |name: String| {
        let packets = packets.clone();
        let duration = Duration::from_secs(60);
        devices::flood(url.clone(), name, duration, packets.len(), move |k| {
            packets[k].clone()
        })
    };
    let database = scene.service_database.as_ref().expect("a network");
    database.set(Mode::Delay(Duration::from_millis(100)));
    let names: Vec<String> = (0..40).map(|k| format!("backlog-{boot}-{k}")).collect();
    let all = names.iter().cloned().map(send);
    scene.runtime.block_on(futures::future::join_all(all));
    wait_for("a backlog", Duration::from_secs(20), || {
        let waiting = scene.service().metric("channel_depth", &["\"deliveries\""]);
        (waiting > 200.0).then_some(())
    });
    let (status, took) = scene.end_service("TERM");
    scene.expect_ended(status, took);
    let database = scene.service_database.as_ref().expect("a network");
    database.set(Mode::Pass);
    scene.start_service();
    // What each of them found is what is found in the same signal in peace.
    let calm = format!("calm-{boot}");
    scene.runtime.block_on(send(calm.clone()));
    let record = |name: &str| ecg::RecordId {
        device: name.parse().unwrap(),
        boot: ecg::BootId(boot),
    };
    let pairs = names.iter().map(|name| (record(name), record(&calm)));
    scene.pairs.extend(pairs);
}

/// SIGTERM while the database cannot be reached, or does not answer: it ends in order all the same.
pub(crate) fn term_away(scene: &mut Scene) {
    let modes = [Mode::Cut, Mode::Freeze];
    let mode = modes[scene.rng.random_range(0..modes.len())];
    let database = scene.service_database.as_ref().expect("a network");
    database.set(mode);
    scene.pass(0..3000);
    let (status, took) = scene.end_service("TERM");
    scene.expect_ended(status, took);
    let database = scene.service_database.as_ref().expect("a network");
    database.set(Mode::Pass);
    scene.start_service();
}

/// A rolling restart: the new one starts while the old one drains.
pub(crate) fn roll_service(scene: &mut Scene) {
    scene.roll_service();
}

/// The broker is restarted as an operator would.
pub(crate) fn term_broker(scene: &mut Scene) {
    scene.broker.down();
    scene.pass(0..3000);
    scene.broker.up();
}

/// The broker crashes. What it acknowledged within `autosave_interval` before is lost, for Mosquitto acknowledges before it
/// saves; that is the broker's promise, not the service's, which keeps what it has been sent.
pub(crate) fn kill_broker(scene: &mut Scene) {
    scene.broker.kill();
    scene.pass(0..3000);
    scene.broker.up();
}

pub(crate) fn postgres_fast(scene: &mut Scene) {
    stop_postgres(scene, "INT");
}

pub(crate) fn postgres_immediate(scene: &mut Scene) {
    stop_postgres(scene, "QUIT");
}

pub(crate) fn postgres_kill(scene: &mut Scene) {
    stop_postgres(scene, "KILL");
}

fn stop_postgres(scene: &mut Scene, signal: &str) {
    scene.postgres.as_mut().expect("PostgreSQL").stop(signal);
    scene.pass(0..3000);
    scene.postgres.as_mut().expect("PostgreSQL").up();
}

/// Every statement takes a second or so more.
pub(crate) fn postgres_slow(scene: &mut Scene) {
    let delay = Duration::from_millis(scene.rng.random_range(100..800));
    let database = scene.service_database.as_ref().expect("a network");
    database.set(Mode::Delay(delay));
    scene.pass(3000..6000);
    let database = scene.service_database.as_ref().expect("a network");
    database.set(Mode::Pass);
}

/// The database is cut off without a word in the middle of a transaction, for ever; new connections reach it.
pub(crate) fn postgres_half_open(scene: &mut Scene) {
    let database = scene.service_database.as_ref().expect("a network");
    database.set(Mode::Delay(Duration::from_millis(300)));
    scene.pass(1500..2500);
    let database = scene.service_database.as_ref().expect("a network");
    database.set(Mode::Hole);
    scene.pass(500..1500);
    let database = scene.service_database.as_ref().expect("a network");
    database.set(Mode::Pass);
}

/// Some stretch of the network resets its connections for a while.
pub(crate) fn network_cut(scene: &mut Scene) {
    network(scene, Mode::Cut);
}

/// Some stretch of the network lets nothing pass for a while.
pub(crate) fn network_freeze(scene: &mut Scene) {
    network(scene, Mode::Freeze);
}

/// Some stretch of the network forgets its connections without a word.
pub(crate) fn network_half_open(scene: &mut Scene) {
    network(scene, Mode::Hole);
}

fn network(scene: &mut Scene, mode: Mode) {
    let k = scene.rng.random_range(0..3);
    let stretch = |scene: &Scene, mode: Mode| match (k, &scene.service_database) {
        (0, _) => scene.service_broker.set(mode),
        (1, Some(proxy)) => proxy.set(mode),
        _ => scene.devices_broker.set(mode),
    };
    stretch(scene, mode);
    scene.pass(300..4000);
    stretch(scene, Mode::Pass);
}

/// One device sends nonsense, as fast as the broker takes it.
pub(crate) fn nonsense(scene: &mut Scene) {
    let (url, seed) = (scene.devices_url(), scene.rng.random());
    let valid = devices::packets(seed, 1, 5);
    let mut rng = StdRng::seed_from_u64(seed);
    let duration = Duration::from_secs(4);
    let flood = devices::flood(url, "flood".to_owned(), duration, 40_000, move |k| {
        devices::nonsense(&mut rng, &valid, k)
    });
    let n = scene.runtime.block_on(flood);
    println!("nonsense: {n} packets");
}

/// One device sends its last packet again and again, more often than the broker may have in flight.
pub(crate) fn repeats(scene: &mut Scene) {
    let (url, seed) = (scene.devices_url(), scene.rng.random());
    let payloads: Vec<Vec<u8>> = devices::packets(seed, scene.rng.random(), 5)
        .iter()
        .map(ingest::Packet::encode)
        .collect();
    let duration = Duration::from_secs(15);
    let flood = devices::flood(url, "repeats".to_owned(), duration, 70_000, move |k| {
        payloads[k.min(4)].clone()
    });
    let n = scene.runtime.block_on(flood);
    println!("repeats: {n} packets");
}

/// One device starts anew with every packet.
pub(crate) fn reboots(scene: &mut Scene) {
    let (url, seed) = (scene.devices_url(), scene.rng.random());
    let mut packet = devices::packets(seed, 1, 1).remove(0);
    let first: u32 = scene.rng.random_range(0..u32::MAX / 2);
    let duration = Duration::from_secs(4);
    let flood = devices::flood(url, "reboots".to_owned(), duration, 10_000, move |k| {
        packet.boot = ecg::BootId(first + u32::try_from(k).unwrap());
        packet.encode()
    });
    let n = scene.runtime.block_on(flood);
    println!("reboots: {n} packets");
}

/// The clock of one device leaps by hours, back and forth; another sends the same with a good clock.
pub(crate) fn clocks(scene: &mut Scene) {
    let (url, seed) = (scene.devices_url(), scene.rng.random());
    let boot = scene.rng.random();
    let straight = devices::packets(seed, boot, 90);
    let leaping = devices::leaping(straight.clone(), seed);
    let record = |name: &str| ecg::RecordId {
        device: name.parse().unwrap(),
        boot: ecg::BootId(boot),
    };
    scene.runtime.block_on(async {
        for (name, packets) in [("leaps", &leaping), ("straight", &straight)] {
            let mut device = devices::connect(&url, name).await;
            for packet in packets {
                device.publish(packet.encode()).await.unwrap();
            }
            device.close().await.unwrap();
        }
    });
    scene.pairs.push((record("leaps"), record("straight")));
}

/// One device sends a hundred times real time.
pub(crate) fn hasty(scene: &mut Scene) {
    let plan = Plan {
        speed: 100.0,
        seed: scene.rng.random(),
        prefix: format!("hasty{}", scene.runs.len()),
        ..Plan::new(scene.devices_url(), 1, 400)
    };
    let run = scene.runtime.block_on(async {
        let load = Load::start(plan).await.unwrap();
        load.finished().await
    });
    scene.runs.push(run);
}

/// A thousand devices lose their connections at once, and all come back.
pub(crate) fn stampede(scene: &mut Scene) {
    scene.devices_broker.set(Mode::Cut);
    scene.pass(100..1500);
    scene.devices_broker.set(Mode::Pass);
}

/// The disk under the database fills up, and has room again. A server that has ended for that is started again.
pub(crate) fn database_disk(scene: &mut Scene) {
    let Some(disk) = scene.small_disk() else {
        return;
    };
    disk.fill();
    scene.pass(2000..5000);
    scene.small_disk().expect("as before").free();
    if let Some(server) = &mut scene.postgres {
        server.up();
    }
}

/// Models take so long that a few more devices are too many for them, for half a minute. The twelve leads are given up, said
/// aloud, and nothing else; when it is over, it is over by itself.
pub(crate) fn surge(scene: &mut Scene) {
    let seen = |scene: &Scene| {
        let metric = |name, labels: &[&str]| scene.service().metric(name, labels);
        Seen {
            read: metric("infer_windows_total", &[]),
            given_up: metric("infer_withheld_windows_total", &["\"overloaded\""])
                + metric("infer_shed_windows_total", &[]),
            told: metric("alarm_events_total", &["\"overloaded\"", "\"active\""]),
            alarms: metric("alarm_latency_seconds_count", &[]),
            soon: metric("alarm_latency_seconds_bucket", &["le=\"5.12\""]),
        }
    };
    let before = seen(scene);
    let plan = Plan {
        speed: 10.0,
        seed: scene.rng.random(),
        prefix: format!("surge{}", scene.runs.len()),
        scripts: 8,
        ..Plan::new(scene.devices_url(), 16, 300)
    };
    let run = scene.runtime.block_on(async {
        let load = Load::start(plan).await.unwrap();
        load.finished().await
    });
    scene.runs.push(run);
    let after = seen(scene);
    let (alarms, soon) = (after.alarms - before.alarms, after.soon - before.soon);
    println!(
        "models: {} windows without twelve leads, told {} times; {soon} of {alarms} alarms durable within 5.12 s",
        after.given_up - before.given_up,
        after.told - before.told,
    );
    if after.given_up <= before.given_up || after.told <= before.told {
        let amiss = "the models were not too slow, or nobody was told";
        scene.amiss.push(amiss.to_owned());
    }
    if alarms < 10.0 || soon < 0.95 * alarms {
        let amiss = format!("{soon} of {alarms} alarms were durable within 5.12 s");
        scene.amiss.push(amiss);
    }
    // A minute of signal without a window left out, and what was told is over; the models are as slow as before. Then every
    // window is read for a while more. What else this machine has to do may put that off, and no more.
    println!("overloaded: {:?}", scene.overloaded());
    let (began, mut peace, mut at_peace) = (Instant::now(), Instant::now(), seen(scene));
    loop {
        let (now, is_told) = (seen(scene), !scene.overloaded().is_empty());
        if is_told || now.given_up > at_peace.given_up {
            (peace, at_peace) = (Instant::now(), now);
        } else if peace.elapsed() > Duration::from_secs(10) && now.read > at_peace.read {
            break;
        }
        if began.elapsed() > Duration::from_secs(240) {
            let amiss = if is_told {
                "the overload is not over"
            } else {
                "twelve leads are given up in peace"
            };
            scene.amiss.push(amiss.to_owned());
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let over = peace.saturating_duration_since(began);
    println!("over after {:.0} s", over.as_secs_f64());
}

/// What the models had read and left out, and how soon alarms were durable.
struct Seen {
    read: f64,
    given_up: f64,
    told: f64,
    alarms: f64,
    soon: f64,
}

/// The clock of the service's machine is set an hour ahead, and back.
pub(crate) fn machine_clock(scene: &mut Scene) {
    let hour = 3600;
    if !scene.set_clock(hour) {
        println!("not run with a clock that is set: libfaketime is not there");
        return;
    }
    scene.pass(3000..6000);
    scene.set_clock(0);
    scene.pass(1000..3000);
    let n = scene.count_in_logs("the clock of this machine was set");
    if n < 2 {
        scene
            .amiss
            .push(format!("the clock was seen to be set {n} times"));
    }
}

/// The disk under the broker fills up, and has room again; the broker is not restarted meanwhile.
pub(crate) fn broker_disk(scene: &mut Scene) {
    let Some(disk) = scene.broker.disk() else {
        return;
    };
    disk.fill();
    scene.pass(2000..5000);
    scene.broker.disk().expect("as before").free();
}
