//! This machine's clock, as it is shown to a process: set ahead and back.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the library may be that answers a process that asks for the time.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

/// A clock that can be set. The monotonic one cannot, as on a real machine.
pub(crate) struct Clock {
    library: &'static Path,
    dir: tempfile::TempDir,
}

impl Clock {
    /// One that goes right; `None` where there is no library for it.
    pub(crate) fn find() -> Option<Self> {
        let mut libraries = LIBRARIES.iter().map(Path::new);
        let clock = Self {
            library: libraries.find(|path| path.exists())?,
            dir: tempfile::tempdir().unwrap(),
        };
        clock.set(0);
        Some(clock)
    }

    /// Lets a command live by it.
    pub(crate) fn lend(&self, command: &mut Command) {
        command.env("LD_PRELOAD", self.library);
        command.env("FAKETIME_TIMESTAMP_FILE", self.file());
        for (key, value) in [
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ] {
            command.env(key, value);
        }
    }

    /// Sets it so many seconds ahead.
    pub(crate) fn set(&self, seconds: i64) {
        // At once, for it is read at any moment.
        let new = self.dir.path().join("new");
        std::fs::write(&new, format!("{seconds:+}s\n")).unwrap();
        std::fs::rename(new, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("clock")
    }
}
