//! Throwaway Mosquitto and PostgreSQL databases.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::disk::Disk;
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
    /// Where it keeps what it must not lose, if not in the folder.
    disk: Option<Disk>,
}

impl Mosquitto {
    /// Starts it on a free port.
    pub(crate) fn start() -> Self {
        Self::start_on(None)
    }

    /// The same, with its memory on a disk of its own.
    pub(crate) fn start_on(disk: Option<Disk>) -> Self {
        let mut broker = Self {
            child: None,
            port: free_port(),
            dir: tempfile::tempdir().unwrap(),
            disk,
        };
        broker.up();
        broker
    }

    /// Starts it again after [`Mosquitto::down`], on the same port.
    pub(crate) fn up(&mut self) {
        let config = self.dir.path().join("mosquitto.conf");
        let folder = self.dir.path().display();
        let kept = self.disk.as_ref().map_or(self.dir.path(), Disk::path);
        let kept = kept.display();
        let text = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\nmax_inflight_messages 0\n\
             max_queued_messages 0\npersistence true\npersistence_location {kept}/\n\
             autosave_interval 10\nlog_dest file {folder}/log\n",
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

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
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

    /// The disk with what it keeps.
    pub(crate) fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// The port of [`Mosquitto::url`].
    pub(crate) fn port(&self) -> u16 {
        self.port
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

/// A PostgreSQL server of this test's own, which may be stopped, and which keeps what it has committed: unlike the one that
/// tests share, it waits for the disk.
pub(crate) struct Postgres {
    child: Option<Child>,
    port: u16,
    dir: tempfile::TempDir,
    /// Where its data are, if not in the folder.
    disk: Option<Disk>,
}

impl Postgres {
    /// Starts it on a free port with an empty database, its data on a disk of their own if there is one.
    pub(crate) fn start_on(disk: Option<Disk>) -> Self {
        // A new cluster takes seconds to make, and a moment to copy.
        static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
        let template = TEMPLATE.get_or_init(|| {
            let template = folder_of_owner();
            let mut command = as_owner("initdb");
            command.arg("--pgdata").arg(template.path().join("data"));
            command.args(["--username=postgres", "--auth=trust", "--encoding=UTF8"]);
            let output = command.args(["--locale=C", "--no-sync"]).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "initdb: {told}");
            template
        });
        let dir = folder_of_owner();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(template.path().join("data"))
            .arg(disk.as_ref().map_or(dir.path(), Disk::path).join("data"))
            .status();
        assert!(copied.unwrap().success());
        let mut server = Self {
            child: None,
            port: free_port(),
            dir,
            disk,
        };
        server.up();
        server
    }

    /// The disk with its data.
    pub(crate) fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Starts it again, and waits until it answers.
    pub(crate) fn up(&mut self) {
        // After a crash its processes may take a moment to see that they are orphans; until then it does not start.
        wait_for("PostgreSQL", Duration::from_secs(30), || {
            let running = self.child.as_mut().map(|child| child.try_wait().unwrap());
            if !matches!(running, Some(None)) {
                self.spawn();
            }
            psql_says(&self.url(), "SELECT 1").ok()
        });
    }

    fn spawn(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let mut command = as_owner("postgres");
        let data = self.disk.as_ref().map_or(self.dir.path(), Disk::path);
        command.arg("-D").arg(data.join("data"));
        if self.disk.is_some() {
            // Little of the log of transactions is kept, so that what is in the way of the disk is not only that.
            command.args(["-c", "max_wal_size=32MB", "-c", "min_wal_size=32MB"]);
        }
        command.args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "max_connections=50",
            "shared_buffers=32MB",
        ] {
            command.args(["-c", setting]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Sends a signal to the server (INT: a fast shutdown, QUIT: an immediate one, KILL) and waits for its end.
    pub(crate) fn stop(&mut self, signal: &str) {
        if let Some(mut child) = self.child.take() {
            send(signal, child.id());
            child.wait().unwrap();
        }
    }

    /// The database on it.
    pub(crate) fn url(&self) -> String {
        Self::url_at(self.port)
    }

    /// The same through another port.
    pub(crate) fn url_at(port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    }

    /// The port of [`Postgres::url`].
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop("QUIT");
    }
}

/// Sends a signal to a process.
#[track_caller]
pub(crate) fn send(signal: &str, pid: u32) {
    let sent = Command::new("kill")
        .args([&format!("-{signal}"), &pid.to_string()])
        .status();
    assert!(sent.unwrap().success(), "{signal} to {pid}");
}

/// One of PostgreSQL's programs; it refuses to run as root.
fn as_owner(program: &str) -> Command {
    let program = Path::new(&provided("EINTHOVEN_TEST_POSTGRES_BIN")).join(program);
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
        command.arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}

/// A folder that whoever runs PostgreSQL may write to.
fn folder_of_owner() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    if is_root() {
        let given = Command::new("chown")
            .arg("postgres:")
            .arg(dir.path())
            .status();
        assert!(given.unwrap().success());
    }
    dir
}

#[track_caller]
fn psql(url: &str, sql: &str) -> Vec<String> {
    match psql_says(url, sql) {
        Ok(rows) => rows,
        Err(error) => panic!("{sql}: {error}"),
    }
}

fn psql_says(url: &str, sql: &str) -> Result<Vec<String>, String> {
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
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let rows = String::from_utf8(output.stdout).unwrap();
    Ok(rows.lines().map(str::to_owned).collect())
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
