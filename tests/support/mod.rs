//! Servers, services and records for the tests.

pub(crate) mod clock;
pub(crate) mod disk;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod receiver;
pub(crate) mod record;
pub(crate) mod servers;
pub(crate) mod slow;

use std::time::{Duration, Instant};

/// Waits until `check` gives a value; fails, saying `what`, after `limit`.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
