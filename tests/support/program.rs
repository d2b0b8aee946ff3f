//! The program under test, as a process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::servers::{Database, Mosquitto, free_port};
use super::wait_for;

/// The binary.
pub(crate) fn einthoven() -> Command {
    Command::new(env!("CARGO_BIN_EXE_einthoven"))
}

/// Runs a command to its end and expects success.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A running `einthoven run` or `einthoven demo`.
pub(crate) struct Service {
    child: Child,
    base: String,
    log: Arc<Mutex<Vec<String>>>,
}

/// Settings of a service for tests: everything that is not the default.
pub(crate) fn config(
    dir: &Path,
    broker: &str,
    database: &str,
    port: u16,
    more: &str,
) -> std::path::PathBuf {
    let path = dir.join("einthoven.toml");
    let text = format!(
        "[mqtt]\nurl = \"{broker}\"\nclient_id = \"einthoven-test\"\nreconnect_min = \"100ms\"\n\
         reconnect_max = \"500ms\"\n\n\
         [store]\nurl = \"{database}\"\n\n[http]\nlisten = \"127.0.0.1:{port}\"\n\n{more}\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

impl Service {
    /// Starts `einthoven run` against a broker and a database, and waits until it is ready.
    pub(crate) fn run(dir: &Path, broker: &Mosquitto, database: &Database, more: &str) -> Self {
        let port = free_port();
        let path = config(dir, &broker.url(), &database.url(), port, more);
        let service = Self::start(einthoven().arg("run").arg("--config").arg(path), port);
        service.wait_ready();
        service
    }

    /// Starts a command that will answer HTTP on `port`.
    pub(crate) fn start(command: &mut Command, port: u16) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        for output in [
            child
                .stdout
                .take()
                .map(|out| Box::new(out) as Box<dyn std::io::Read + Send>),
            child
                .stderr
                .take()
                .map(|err| Box::new(err) as Box<dyn std::io::Read + Send>),
        ] {
            let (output, log) = (output.unwrap(), Arc::clone(&log));
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    log.lock().unwrap().push(line);
                }
            });
        }
        Self {
            child,
            base: format!("http://127.0.0.1:{port}"),
            log,
        }
    }

    /// Starts `einthoven demo --port 0` and learns its port from what it prints.
    pub(crate) fn demo(data: &Path) -> Self {
        let mut service = Self::start(
            einthoven()
                .args(["demo", "--port", "0", "--data"])
                .arg(data)
                // Off unless somebody asks: here it is to be seen.
                .env("EINTHOVEN__INFER__SURROGATE", "true"),
            0,
        );
        let log = Arc::clone(&service.log);
        service.base = wait_for("the demo's address", Duration::from_secs(20), || {
            let log = log.lock().unwrap();
            let line = log.iter().find(|line| line.contains("http://"))?;
            let address = &line[line.find("http://")?..];
            address.split_whitespace().next().map(str::to_owned)
        });
        service
    }

    /// Where it answers.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// What it has printed and logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    #[track_caller]
    pub(crate) fn wait_ready(&self) {
        let limit = Duration::from_secs(30);
        wait_for("readiness", limit, || {
            (self.status("/readyz") == 200).then_some(())
        });
    }

    /// The status of a GET; 0 where nobody answers.
    pub(crate) fn status(&self, path: &str) -> u16 {
        match ureq::get(format!("{}{path}", self.base)).call() {
            Ok(response) => response.status().as_u16(),
            Err(ureq::Error::StatusCode(code)) => code,
            Err(_) => 0,
        }
    }

    /// The body of a GET, whatever its status; empty where nobody answers.
    pub(crate) fn text(&self, path: &str) -> String {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        agent
            .get(format!("{}{path}", self.base))
            .call()
            .ok()
            .and_then(|mut response| response.body_mut().read_to_string().ok())
            .unwrap_or_default()
    }

    /// The JSON of a GET; null where there is none.
    pub(crate) fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap_or(Value::Null)
    }

    /// Sends JSON; status and answer.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let url = format!("{}{path}", self.base);
        let with_body = |request: ureq::RequestBuilder<ureq::typestate::WithBody>| {
            let request = request.header("content-type", "application/json");
            request.send(body.to_string())
        };
        let response = match method {
            "PUT" => with_body(agent.put(url)),
            "DELETE" => agent.delete(url).call(),
            _ => with_body(agent.post(url)),
        };
        let mut response = response.unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (
            response.status().as_u16(),
            serde_json::from_str(&text).unwrap_or(Value::Null),
        )
    }

    /// Listens to the live stream from now on: its lines, as they come.
    pub(crate) fn listen(&self, path: &str) -> Arc<Mutex<Vec<String>>> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let response = ureq::get(format!("{}{path}", self.base)).call().unwrap();
        let heard = Arc::clone(&lines);
        std::thread::spawn(move || {
            let reader = BufReader::new(response.into_body().into_reader());
            for line in reader.lines().map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        lines
    }

    /// The value of a metric, summed over its labels; `labels` must all be in the line.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        self.text("/metrics")
            .lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
                    && labels.iter().all(|label| line.contains(label))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end, for as long as that may take.
    #[track_caller]
    pub(crate) fn wait_end(&mut self, limit: Duration) -> ExitStatus {
        let child = &mut self.child;
        wait_for("the service to end", limit, || child.try_wait().unwrap())
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as Ctrl-C does; how it ended.
    #[track_caller]
    pub(crate) fn interrupt(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
        let child = &mut self.child;
        wait_for("the service to end", Duration::from_secs(20), || {
            child.try_wait().unwrap()
        })
    }

    /// Asks it to end, as a supervisor does.
    #[track_caller]
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(told.success());
    }

    /// Whether it has ended, and with success.
    pub(crate) fn ended_well(&mut self) -> bool {
        let status = self.child.try_wait().unwrap();
        status.is_some_and(|status| status.success())
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            println!("--- log of the service\n{}", self.log());
        }
    }
}
