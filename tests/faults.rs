//! Faults: whatever fails, an acknowledged packet is never without effect.
//!
//! A [scene](scene) is a service among servers and networks of its own, all of which can fail: processes are killed, stretches
//! of network are cut or fall silent, disks are full, devices send nonsense. Meanwhile a load is played, and when the faults
//! are over, its oracle ([`einthoven::load`]) holds the database against what was published: nothing may be missing, nothing may
//! be there without cause or twice. Besides, the service must be ready again, have its memory back, and have panicked never.
//!
//! Everything that is random follows from a seed. `tests/run` plays a few rounds of every fault; `tests/endure` plays as many
//! as it is told to, on both databases, and prints a table.
//!
//! One thing is promised less: a broker that crashes forgets what it has not saved, though it has acknowledged it. What a device
//! sent in the last `autosave_interval` is lost then, and is a gap; see [`rounds::kill_broker`].

mod devices;
mod play;
mod rounds;
mod scene;

use play::{Fault, Play, Row};
use scene::{Kind, Props, Small};

const BOTH: &[Kind] = &[Kind::Postgres, Kind::Sqlite];
const POSTGRES: &[Kind] = &[Kind::Postgres];

/// What every scene has.
const PROPS: Props = Props {
    small: Small::None,
    slow_models: false,
    clock: false,
};

/// A fault of the ordinary kind: on both databases, and nothing may be lost.
const ORDINARY: Fault = Fault {
    name: "",
    kinds: BOTH,
    props: PROPS,
    devices: 0,
    broker_loses: false,
    round: rounds::kill_service,
};

#[rustfmt::skip]
const FAULTS: &[Fault] = &[
    Fault { name: "service-kill", round: rounds::kill_service, ..ORDINARY },
    Fault { name: "service-kill-starting", round: rounds::kill_starting, ..ORDINARY },
    Fault { name: "service-kill-draining", round: rounds::kill_draining, ..ORDINARY },
    Fault { name: "service-term", round: rounds::term_service, ..ORDINARY },
    Fault { name: "service-term-backlog", round: rounds::term_backlog, kinds: POSTGRES, ..ORDINARY },
    Fault { name: "service-term-away", round: rounds::term_away, kinds: POSTGRES, ..ORDINARY },
    Fault { name: "service-roll", round: rounds::roll_service, ..ORDINARY },
    Fault { name: "broker-term", round: rounds::term_broker, ..ORDINARY },
    Fault { name: "broker-kill", round: rounds::kill_broker, broker_loses: true, ..ORDINARY },
    Fault { name: "postgres-fast", round: rounds::postgres_fast, kinds: POSTGRES, ..ORDINARY },
    Fault { name: "postgres-immediate", round: rounds::postgres_immediate, kinds: POSTGRES, ..ORDINARY },
    Fault { name: "postgres-kill", round: rounds::postgres_kill, kinds: POSTGRES, ..ORDINARY },
    Fault { name: "postgres-slow", round: rounds::postgres_slow, kinds: POSTGRES, ..ORDINARY },
    Fault { name: "postgres-half-open", round: rounds::postgres_half_open, kinds: POSTGRES, ..ORDINARY },
    Fault { name: "network-cut", round: rounds::network_cut, ..ORDINARY },
    Fault { name: "network-freeze", round: rounds::network_freeze, ..ORDINARY },
    Fault { name: "network-half-open", round: rounds::network_half_open, ..ORDINARY },
    Fault { name: "database-disk-full", round: rounds::database_disk, props: Props { small: Small::Database, ..PROPS }, ..ORDINARY },
    Fault { name: "broker-disk-full", round: rounds::broker_disk, props: Props { small: Small::Broker, ..PROPS }, ..ORDINARY },
    Fault { name: "device-clocks", round: rounds::clocks, ..ORDINARY },
    Fault { name: "device-nonsense", round: rounds::nonsense, ..ORDINARY },
    Fault { name: "device-repeats", round: rounds::repeats, ..ORDINARY },
    Fault { name: "device-reboots", round: rounds::reboots, ..ORDINARY },
    Fault { name: "device-hasty", round: rounds::hasty, ..ORDINARY },
    Fault { name: "machine-clock", round: rounds::machine_clock, props: Props { clock: true, ..PROPS }, ..ORDINARY },
    Fault { name: "models-slow", round: rounds::surge, props: Props { slow_models: true, ..PROPS }, devices: 1, ..ORDINARY },
    Fault { name: "stampede", round: rounds::stampede, devices: 1000, ..ORDINARY },
];

/// Plays some rounds of the named faults, one after the other, in one scene.
#[track_caller]
fn short(kind: Kind, seed: u64, faults: &[(&str, u32)]) {
    let faults: Vec<(&Fault, u32)> = faults
        .iter()
        .map(|(name, n)| {
            let fault = FAULTS.iter().find(|fault| fault.name == *name);
            (fault.unwrap_or_else(|| panic!("no fault {name}")), *n)
        })
        .collect();
    let row = Play::short(kind, seed).run(&faults);
    println!("{}\n{row}", Row::HEAD);
    row.expect_clean();
}

#[test]
fn the_service_may_be_killed_and_restarted_at_any_moment() {
    let faults = [
        ("service-kill", 3),
        ("service-kill-starting", 1),
        ("service-kill-draining", 1),
        ("service-term", 1),
        ("service-roll", 1),
    ];
    let with_network = [("service-term-backlog", 1), ("service-term-away", 2)];
    short(Kind::Postgres, 1, &[&faults[..], &with_network].concat());
    short(Kind::Sqlite, 2, &faults);
}

#[test]
fn the_database_may_crash_be_slow_and_fall_silent() {
    let faults = [
        ("postgres-fast", 1),
        ("postgres-immediate", 1),
        ("postgres-kill", 1),
        ("postgres-slow", 1),
        ("postgres-half-open", 1),
    ];
    short(Kind::Postgres, 3, &faults);
}

#[test]
fn networks_and_the_broker_may_fail() {
    let faults = [
        ("broker-term", 2),
        ("network-cut", 3),
        ("network-freeze", 2),
        ("network-half-open", 2),
    ];
    short(Kind::Postgres, 4, &faults);
}

#[test]
fn disks_may_be_full() {
    short(Kind::Sqlite, 5, &[("database-disk-full", 2)]);
    short(Kind::Postgres, 5, &[("database-disk-full", 2)]);
    short(Kind::Postgres, 6, &[("broker-disk-full", 1)]);
}

#[test]
fn devices_may_send_whatever_they_like() {
    let faults = [
        ("device-nonsense", 1),
        ("device-repeats", 1),
        ("device-reboots", 1),
        ("device-clocks", 1),
        ("device-hasty", 1),
    ];
    short(Kind::Postgres, 7, &faults);
}

#[test]
fn the_clock_of_the_machine_may_be_set() {
    short(Kind::Postgres, 11, &[("machine-clock", 2)]);
}

#[test]
fn models_may_take_twenty_times_longer() {
    short(Kind::Sqlite, 10, &[("models-slow", 1)]);
}

#[test]
fn many_devices_may_come_back_at_once() {
    short(Kind::Postgres, 8, &[("stampede", 1)]);
}

#[test]
fn a_broker_that_crashes_loses_what_it_had_not_saved_and_no_more() {
    short(Kind::Sqlite, 9, &[("broker-kill", 1)]);
}

/// What `tests/endure` runs; see there for its settings.
#[test]
#[ignore = "long: tests/endure runs it"]
fn for_long() {
    play::Long::from_environment().run(FAULTS);
}
