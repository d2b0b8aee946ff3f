//! A receiver of webhooks, as small as HTTP allows: it checks every signature and remembers every request.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use super::wait_for;

/// The key that messages are signed with, as it is given to the service.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// This status.
    Answer(u16),
    /// Nothing, for as long as this is so; then the connection is closed.
    Hang,
}

/// A request that was signed as it should be.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) body: Value,
    /// What it was answered; 0 for nothing.
    pub(crate) status: u16,
}

impl Request {
    pub(crate) fn word(&self, key: &str) -> &str {
        self.body["data"][key].as_str().unwrap_or_default()
    }

    pub(crate) fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap_or_default()
    }
}

#[derive(Default)]
struct Shared {
    mode: Mutex<Option<Mode>>,
    seen: Mutex<Vec<Request>>,
    /// What was wrong with requests.
    wrong: Mutex<Vec<String>>,
}

/// The receiver. Its thread ends with the process.
pub(crate) struct Receiver {
    port: u16,
    shared: Arc<Shared>,
}

impl Receiver {
    /// Listens on a port, 0 for any.
    pub(crate) fn start(port: u16, mode: Mode) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        *shared.mode.lock().unwrap() = Some(mode);
        let receiver = Self {
            port,
            shared: Arc::clone(&shared),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(&shared, &stream));
            }
        });
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// Answers otherwise from now on.
    pub(crate) fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = Some(mode);
    }

    /// Every request so far; fails if one was not signed as it should be.
    #[track_caller]
    pub(crate) fn seen(&self) -> Vec<Request> {
        let wrong = self.shared.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{wrong:?}");
        self.shared.seen.lock().unwrap().clone()
    }

    /// The messages that were taken, each once, in the order in which they came.
    #[track_caller]
    pub(crate) fn taken(&self) -> Vec<Request> {
        let mut taken: Vec<Request> = Vec::new();
        for request in self.seen() {
            let is_known = taken.iter().any(|known| known.id == request.id);
            if request.status == 200 && !is_known {
                taken.push(request);
            }
        }
        taken
    }

    /// Waits for a request that is as wanted.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, wanted: impl Fn(&Request) -> bool) -> Request {
        wait_for(what, Duration::from_secs(30), || {
            self.seen().into_iter().find(|request| wanted(request))
        })
    }
}

fn serve(shared: &Shared, mut stream: &TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut headers = std::collections::HashMap::new();
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let is_post = line.starts_with("POST /hook ");
    loop {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.trim_end().split_once(": ") {
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
    }
    let header = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let length: usize = header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    if reader.read_exact(&mut body).is_err() {
        return;
    }
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    if !is_post || header("webhook-signature") != signature(&id, &timestamp, &body) {
        let wrong = format!("{headers:?} {}", String::from_utf8_lossy(&body));
        shared.wrong.lock().unwrap().push(wrong);
    }
    let mode = shared.mode.lock().unwrap().unwrap();
    let status = match mode {
        Mode::Answer(status) => status,
        Mode::Hang => 0,
    };
    let body = serde_json::from_slice(&body).unwrap();
    let request = Request { id, body, status };
    shared.seen.lock().unwrap().push(request);
    match mode {
        Mode::Answer(status) => {
            let head =
                format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).ok();
        }
        Mode::Hang => {
            while *shared.mode.lock().unwrap() == Some(Mode::Hang) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// What the specification asks a receiver to compute.
fn signature(id: &str, timestamp: &str, body: &[u8]) -> String {
    let key = STANDARD
        .decode(SECRET.strip_prefix("whsec_").unwrap())
        .unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}
