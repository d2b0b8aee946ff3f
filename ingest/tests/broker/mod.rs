//! A throwaway Mosquitto on a free port, gone with everything it kept when it is dropped.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) struct Broker {
    pub(crate) port: u16,
    folder: PathBuf,
    process: Child,
}

/// A port that nobody listens on at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")])
        .map(|folder| folder.join("mosquitto"))
        .find(|program| program.is_file())
        .expect("these tests need the Mosquitto broker: no `mosquitto` in PATH or /usr/sbin")
}

impl Broker {
    pub(crate) fn start() -> Self {
        let port = free_port();
        let folder =
            std::env::temp_dir().join(format!("ingest-mqtt-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n\
             persistence_location {}/\nautosave_interval 1\nautosave_on_changes true\nmax_inflight_messages 0\n\
             max_queued_messages 0\nset_tcp_nodelay true\n{}",
            folder.display(),
            // As root it would change to a user who cannot write here.
            if is_root() { "user root\n" } else { "" },
        );
        std::fs::write(folder.join("mosquitto.conf"), config).unwrap();
        let process = spawn(&folder, port);
        Self {
            port,
            folder,
            process,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Ends it as an administrator would; it writes down what it has.
    pub(crate) fn stop(&mut self) {
        let pid = self.process.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(killed.success());
        self.process.wait().unwrap();
    }

    pub(crate) fn resume(&mut self) {
        self.process = spawn(&self.folder, self.port);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
        std::fs::remove_dir_all(&self.folder).ok();
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout == b"0\n")
}

fn spawn(folder: &Path, port: u16) -> Child {
    let mut process = Command::new(program())
        .arg("-c")
        .arg(folder.join("mosquitto.conf"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("mosquitto starts");
    for _ in 0..500 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return process;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    process.kill().ok();
    process.wait().ok();
    panic!("mosquitto does not listen on port {port} after 10 s");
}
