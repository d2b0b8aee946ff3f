//! A service among servers and networks that can fail, each of them this scene's own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ecg::{Condition, RecordId, SampleIndex};
use einthoven::load::Run;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use store::{AlarmFilter, Store};

use crate::support::clock::Clock;
use crate::support::disk::Disk;
use crate::support::program::{Service, config, einthoven};
use crate::support::proxy::Proxy;
use crate::support::servers::{Mosquitto, Postgres, free_port, send};
use crate::support::{slow, wait_for};

/// Which database keeps what the service finds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Postgres,
    Sqlite,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
        }
    }
}

/// Which disk is small enough to be filled.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Small {
    #[default]
    None,
    Database,
    Broker,
}

/// What a scene has that others have not.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Props {
    pub(crate) small: Small,
    /// Models take much longer.
    pub(crate) slow_models: bool,
    /// The clock of the service's machine can be set.
    pub(crate) clock: bool,
}

/// Where everything is, and how it has fared.
pub(crate) struct Scene {
    pub(crate) rng: StdRng,
    pub(crate) broker: Mosquitto,
    /// None where the database is a file.
    pub(crate) postgres: Option<Postgres>,
    /// From the service to the broker.
    pub(crate) service_broker: Proxy,
    /// From the devices to the broker.
    pub(crate) devices_broker: Proxy,
    /// From the service to its database, where there is a network.
    pub(crate) service_database: Option<Proxy>,
    pub(crate) service: Option<Service>,
    /// Where the database is, if it is a file, and that can be full.
    database_disk: Option<Disk>,
    /// Where its models are, if not those that ship.
    models: Option<tempfile::TempDir>,
    /// The clock of the service's machine, where it can be set.
    clock: Option<Clock>,
    /// What was not as it should be in a round.
    pub(crate) amiss: Vec<String>,
    /// What was played besides the load, to be judged with it.
    pub(crate) runs: Vec<Run>,
    /// Devices that sent the same, of which one had a bad clock; of these boots.
    pub(crate) pairs: Vec<(RecordId, RecordId)>,
    /// For what devices do.
    pub(crate) runtime: tokio::runtime::Runtime,
    /// Settings that are not the defaults, as TOML.
    settings: String,
    port: u16,
    /// Lines of the logs of services that have ended.
    logs: Vec<String>,
    dir: tempfile::TempDir,
}

/// So many filters make the model that completes leads take some twenty times longer.
const SLOW: usize = 20;
/// As long as a service may take to be ready again.
const READY: Duration = Duration::from_secs(60);

impl Scene {
    /// Everything up and ready.
    pub(crate) fn start(kind: Kind, seed: u64, settings: &str, props: Props) -> Self {
        let small = props.small;
        let broker = match small {
            Small::Broker => Mosquitto::start_on(Disk::small(16)),
            _ => Mosquitto::start(),
        };
        let mut database_disk = match (small, kind) {
            (Small::Database, Kind::Sqlite) => Disk::small(48),
            // Empty it takes 40 MiB, with the log of its transactions twice that.
            (Small::Database, Kind::Postgres) => Disk::small(160),
            _ => None,
        };
        let postgres = match kind {
            Kind::Postgres => Some(Postgres::start_on(database_disk.take())),
            Kind::Sqlite => None,
        };
        let mut scene = Self {
            rng: StdRng::seed_from_u64(seed),
            service_broker: Proxy::start(broker.port()),
            devices_broker: Proxy::start(broker.port()),
            service_database: postgres.as_ref().map(|server| Proxy::start(server.port())),
            broker,
            postgres,
            service: None,
            database_disk,
            models: props.slow_models.then(|| {
                let dir = tempfile::tempdir().unwrap();
                slow::models(dir.path(), SLOW);
                dir
            }),
            clock: props.clock.then(Clock::find).flatten(),
            amiss: Vec::new(),
            runs: Vec::new(),
            pairs: Vec::new(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap(),
            settings: settings.to_owned(),
            port: free_port(),
            logs: Vec::new(),
            dir: tempfile::tempdir().unwrap(),
        };
        scene.start_service();
        scene.wait_ready();
        scene
    }

    /// The service's settings.
    pub(crate) fn settings_file(&self) -> PathBuf {
        self.dir.path().join("einthoven.toml")
    }

    /// The disk under the database, if it can be full.
    pub(crate) fn small_disk(&self) -> Option<&Disk> {
        let server = self.postgres.as_ref();
        let of_server = server.and_then(Postgres::disk);
        self.database_disk.as_ref().or(of_server)
    }

    /// The SQLite file.
    fn sqlite(&self) -> PathBuf {
        let dir = self
            .database_disk
            .as_ref()
            .map_or(self.dir.path(), Disk::path);
        dir.join("einthoven.db")
    }

    /// The database as the service reaches it.
    fn database_url(&self) -> String {
        match &self.service_database {
            Some(proxy) => Postgres::url_at(proxy.port()),
            None => format!("sqlite://{}", self.sqlite().display()),
        }
    }

    /// The database, whatever happens to the network.
    pub(crate) fn direct_url(&self) -> String {
        match &self.postgres {
            Some(server) => server.url(),
            None => self.database_url(),
        }
    }

    /// The broker as devices reach it.
    pub(crate) fn devices_url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.devices_broker.port())
    }

    /// Starts the service, and does not wait for it.
    pub(crate) fn start_service(&mut self) {
        let broker = format!("mqtt://127.0.0.1:{}", self.service_broker.port());
        let url = self.database_url();
        let path = config(self.dir.path(), &broker, &url, self.port, &self.settings);
        let mut command = einthoven();
        // What is cut without a word is to be noticed soon.
        command.env("EINTHOVEN__MQTT__KEEP_ALIVE", "5s");
        command.env("EINTHOVEN__STORE__TRANSACTION_TIMEOUT", "8s");
        if let Some(clock) = &self.clock {
            clock.lend(&mut command);
        }
        if let Some(models) = &self.models {
            command.env("EINTHOVEN__INFER__MODELS", models.path());
        }
        let service = Service::start(command.arg("run").arg("--config").arg(path), self.port);
        self.service = Some(service);
    }

    pub(crate) fn service(&self) -> &Service {
        self.service.as_ref().expect("a service between the rounds")
    }

    /// Waits until the service takes packets again; how long that took. Fails if it has ended instead.
    pub(crate) fn wait_ready(&mut self) -> Duration {
        let began = Instant::now();
        let service = self.service.as_mut().expect("a service to wait for");
        wait_for("readiness", READY, || {
            assert!(service.is_alive(), "the service ended by itself");
            (service.status("/readyz") == 200).then_some(())
        });
        began.elapsed()
    }

    /// Ends the service by a signal, and keeps its log. How it ended, and how long that took.
    pub(crate) fn end_service(&mut self, signal: &str) -> (std::process::ExitStatus, Duration) {
        let mut service = self.service.take().expect("a service to end");
        let began = Instant::now();
        send(signal, service.pid());
        let status = service.wait_end(Duration::from_secs(60));
        self.keep_log(&service);
        (status, began.elapsed())
    }

    /// Tells the service to end, starts another, and waits for the end of the first.
    pub(crate) fn roll_service(&mut self) {
        let mut old = self.service.take().expect("a service to replace");
        send("TERM", old.pid());
        // Both answer HTTP for a moment.
        self.port = free_port();
        self.start_service();
        let began = Instant::now();
        let status = old.wait_end(Duration::from_secs(60));
        self.keep_log(&old);
        self.expect_ended(status, began.elapsed());
    }

    /// Expects that a service has ended in order after SIGTERM.
    #[track_caller]
    pub(crate) fn expect_ended(&self, status: std::process::ExitStatus, took: Duration) {
        let log = self.logs[self.logs.len().saturating_sub(20)..].join("\n");
        assert!(status.success(), "{status} after {took:?}\n{log}");
        assert!(took < Duration::from_secs(8), "{took:?}\n{log}");
        println!("ended in {:.2} s", took.as_secs_f64());
    }

    fn keep_log(&mut self, service: &Service) {
        // Its last lines may still be on their way.
        std::thread::sleep(Duration::from_millis(20));
        self.logs.extend(service.log().lines().map(str::to_owned));
    }

    /// How many lines with these words services of this scene have logged.
    pub(crate) fn count_in_logs(&self, words: &str) -> usize {
        let now = self.service.as_ref().map(Service::log).unwrap_or_default();
        let lines = self.logs.iter().map(String::as_str).chain(now.lines());
        lines.filter(|line| line.contains(words)).count()
    }

    /// Sets the clock that the service reads so many seconds ahead of this machine's; false where that cannot be.
    pub(crate) fn set_clock(&self, seconds: i64) -> bool {
        self.clock
            .as_ref()
            .inspect(|clock| clock.set(seconds))
            .is_some()
    }

    /// What is wrong otherwise, once everything is over.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        let mut complaints = std::mem::take(&mut self.amiss);
        for path in ["/healthz", "/readyz"] {
            let status = self.service().status(path);
            if status != 200 {
                complaints.push(format!("{path} says {status}"));
            }
        }
        let config = store::Config::new(self.direct_url());
        let beats = self.runtime.block_on(async {
            let store = Store::open(&config).await?;
            let mut beats = Vec::new();
            for (a, b) in &self.pairs {
                let always = || SampleIndex(0)..SampleIndex(1 << 52);
                let of = |found: Vec<(ecg::Beat, ecg::Utc)>| -> Vec<ecg::Beat> {
                    found.into_iter().map(|(beat, _)| beat).collect()
                };
                let (found, wanted) = (
                    store.beats(a, always()).await?,
                    store.beats(b, always()).await?,
                );
                beats.push((of(found), of(wanted)));
            }
            store.close().await;
            Ok::<_, store::Error>(beats)
        });
        for ((a, _), (found, wanted)) in self.pairs.iter().zip(beats.unwrap()) {
            if found != wanted || wanted.is_empty() {
                complaints.push(format!(
                    "{}: {} beats, where the same signal with a good clock has {}",
                    a.device,
                    found.len(),
                    wanted.len()
                ));
            }
        }
        complaints
    }

    /// Of which devices it is told that there is too much load for their models.
    pub(crate) fn overloaded(&self) -> Vec<ecg::DeviceId> {
        let config = store::Config::new(self.direct_url());
        let filter = AlarmFilter {
            open_only: true,
            limit: AlarmFilter::MAX_LIMIT,
            ..AlarmFilter::default()
        };
        let open = self.runtime.block_on(async {
            let store = Store::open(&config).await?;
            let open = store.alarms(&filter).await;
            store.close().await;
            open
        });
        let open = open.unwrap();
        let open = open.into_iter();
        let overloaded = open.filter(|alarm| alarm.condition == Condition::Overloaded);
        overloaded.map(|alarm| alarm.record.device).collect()
    }

    /// Lets some time pass, never the same.
    pub(crate) fn pass(&mut self, milliseconds: std::ops::Range<u64>) {
        let milliseconds = self.rng.random_range(milliseconds);
        std::thread::sleep(Duration::from_millis(milliseconds));
    }

    /// The service's resident memory, MiB.
    pub(crate) fn resident_mib(&self) -> f64 {
        let path = format!("/proc/{}/status", self.service().pid());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib: f64 = line
            .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap();
        kib / 1024.0
    }
}
