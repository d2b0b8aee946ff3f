//! One integration test binary over the real program: real broker, real database, real browser.
//!
//! * [`demo`]: the first run of a newcomer, and the page in a browser;
//! * [`twin`]: the service against its offline twin, with a bad link and with SIGKILL;
//! * [`bad_input`]: what must not hurt;
//! * [`delivery`]: alarms get out, to webhooks and over MQTT, whatever fails;
//! * [`faults`]: processes killed, networks cut, disks full, devices gone mad, and nothing lost;
//! * [`commands`]: the command line by itself;
//! * [`holter`]: ectopic beats and heart rate variability in what `annotate` writes;
//! * [`findings`]: what is found in the signals, again from the strip alone;
//! * [`patients`]: limits, proposals and days of patients;
//! * [`operation`]: migrations, readiness, standing by, rolling restarts;
//! * [`hostile`]: files and packets that a fuzzer found worth keeping;
//! * [`load`]: the oracle of `einthoven load`, and that it finds whatever is wrong.
//!
//! `tests/run` provides the servers; see its comment.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::float_cmp,
    reason = "a test ends where something is not as it should be, waits for real processes, says \
              what it leaves out, and counts with whole numbers"
)]

mod bad_input;
mod commands;
mod delivery;
mod demo;
mod faults;
mod findings;
mod holter;
mod hostile;
mod load;
mod operation;
mod patients;
mod support;
mod twelve;
mod twin;
