//! Throwaway Mosquitto and PostgreSQL databases.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::wait_for;

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The value of a variable that `tests/run` sets.
#[track_caller]
pub(crate) fn provided(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run tests/run"))
}

/// A Mosquitto of this test's own, with the settings of `deploy/mosquitto`.
pub(crate) struct Mosquitto {
    child: Option<Child>,
    port: u16,
    dir: tempfile::TempDir,
}

impl Mosquitto {
    /// Starts it on a free port.
    pub(crate) fn start() -> Self {
        let mut broker = Self {
            child: None,
            port: free_port(),
            dir: tempfile::tempdir().unwrap(),
        };
        broker.up();
        broker
    }

    /// Starts it again after [`Mosquitto::down`], on the same port.
    pub(crate) fn up(&mut self) {
        let config = self.dir.path().join("mosquitto.conf");
        let folder = self.dir.path().display();
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\n\
             max_queued_messages 0\npersistence true\npersistence_location {folder}/\n\
             autosave_interval 1\nlog_dest file {folder}/log\n",
            self.port
        );
        // As root it drops to a user of its own, who must be able to write here.
        let text = if is_root() {
            format!("user root\n{text}")
        } else {
            text
        };
        std::fs::write(&config, text).unwrap();
        let program = provided("EINTHOVEN_TEST_MOSQUITTO");
        let child = Command::new(&program)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        self.child = Some(child);
        let port = self.port;
        wait_for("mosquitto", Duration::from_secs(10), || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }

    /// Stops it as an operator would.
    pub(crate) fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = child.id().to_string();
            let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
            assert!(told.success());
            child.wait().unwrap();
        }
    }

    /// Loses what it kept, while it is down.
    pub(crate) fn forget(&self) {
        std::fs::remove_file(self.dir.path().join("mosquitto.db")).unwrap();
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    String::from_utf8_lossy(&id.stdout).trim() == "0"
}

/// A database of this test's own on the server of `tests/run`; dropped with it.
pub(crate) struct Database {
    admin: String,
    name: String,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Database {
    /// Creates it.
    pub(crate) fn create() -> Self {
        let admin = provided("EINTHOVEN_TEST_POSTGRES");
        let k = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("einthoven_{}_{k}", std::process::id());
        psql(&admin, &format!("CREATE DATABASE {name}"));
        Self { admin, name }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        let (server, _) = self.admin.rsplit_once('/').unwrap();
        format!("{server}/{}", self.name)
    }

    /// Its name on the server.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs a statement over another database of the server.
    pub(crate) fn admin(&self, sql: &str) {
        psql(&self.admin, sql);
    }

    /// The rows of a query, columns separated by `|`.
    pub(crate) fn query(&self, sql: &str) -> Vec<String> {
        psql(&self.url(), sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        Command::new("psql")
            .args(["-X", "-q", "-c", &sql, &self.admin])
            .status()
            .ok();
    }
}

#[track_caller]
fn psql(url: &str, sql: &str) -> Vec<String> {
    let output = Command::new("psql")
        .args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            sql,
            url,
        ])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{sql}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Where a set of recordings is, if it is here; says so if it is not.
pub(crate) fn recordings(set: &str) -> Option<PathBuf> {
    let root = std::env::var("EINTHOVEN_DATA").ok()?;
    let path = Path::new(&root).join(set);
    if path.is_dir() {
        return Some(path);
    }
    println!("not run on {set}: {} is not there", path.display());
    None
}
