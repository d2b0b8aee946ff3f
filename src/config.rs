//! The settings of the service: every crate's own, composed, and layered.
//!
//! Weakest first: the commented defaults that are compiled in (`deploy/config/default.toml`), the
//! file of `--config`, environment variables (`EINTHOVEN__STORE__URL` sets `store.url`), and what
//! the command line says.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::delivery;
use crate::stage::{analyse, persist};

/// The commented defaults, as compiled in.
pub const DEFAULTS: &str = include_str!("../deploy/config/default.toml");

/// The prefix of environment variables; `__` stands for a dot.
const PREFIX: &str = "EINTHOVEN__";

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The broker.
    pub mqtt: ingest::mqtt::Config,
    /// What packets may be.
    pub packet: ingest::Limits,
    /// How long missing packets are waited for.
    pub resequence: ingest::resequence::Config,
    /// How far device clocks are believed.
    pub clock: ingest::clock::Config,
    /// The signal chain.
    pub dsp: dsp::Config,
    /// The models.
    pub infer: Infer,
    /// The alarms.
    pub alarm: alarm::Config,
    /// The database.
    pub store: store::Config,
    /// Shards and timeouts.
    pub pipeline: analyse::Config,
    /// Transactions.
    pub persist: persist::Config,
    /// The API and the page.
    pub http: Http,
    /// Starting and stopping.
    pub service: Service,
    /// Getting alarms out.
    pub delivery: delivery::Config,
}

/// The models.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Infer {
    /// Threads for the models; 0 means one for each core.
    pub threads: usize,
    /// How long a live window may wait for a thread before it is read without its twelve leads.
    #[serde(with = "humantime_serde")]
    pub late: Duration,
    /// By how much these threads are nicer than the rest of the process, 0 to 19 (Linux).
    pub nice: u8,
    /// A folder with models to use instead of those shipped; empty for none.
    pub models: std::path::PathBuf,
    /// Whether a synthetic ECG may be drawn of the pulse wave of a device without ECG, when somebody asks for it.
    pub surrogate: bool,
    /// Limits of statements on measured values.
    pub limits: infer::statements::Limits,
}

/// The API and the page.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where to listen.
    pub listen: SocketAddr,
}

/// Starting and stopping.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// How long a stop may take: what is under way becomes durable and is acknowledged.
    #[serde(with = "humantime_serde")]
    pub drain: Duration,
    /// How long a stage may have something to do without getting on until `/healthz` fails; 0 for ever.
    #[serde(with = "humantime_serde")]
    pub watchdog: Duration,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file that is missing or unreadable.
    #[error("configuration file {path}: {reason}")]
    File {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// A key that is unknown, missing, or of the wrong type or value.
    #[error("configuration: {0}")]
    Key(String),
}

impl Config {
    /// The settings of all layers. `overrides` are dotted keys from the command line.
    ///
    /// # Errors
    /// [`Error`], naming the file or layer and the key.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: &[(&str, String)],
    ) -> Result<Self, Error> {
        use config::{ConfigBuilder, File, FileFormat::Toml, builder::DefaultState};
        let mut layers =
            ConfigBuilder::<DefaultState>::default().add_source(File::from_str(DEFAULTS, Toml));
        let settings = |layers: &ConfigBuilder<DefaultState>| {
            let built = layers.build_cloned().map_err(|error| explain(&error))?;
            built
                .try_deserialize::<Self>()
                .map_err(|error| explain(&error))
        };
        // Each layer is tried as it is added, so that an error can name the layer it came in with.
        // Settings that must agree with each other are checked when all are there.
        let mut file_problem = None;
        if let Some(path) = file {
            let refuse = |reason| Error::File {
                path: path.display().to_string(),
                reason,
            };
            let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
            layers = layers.add_source(File::from_str(&text, Toml));
            let so_far = settings(&layers).map_err(refuse)?.check().err();
            file_problem = so_far.map(|problem| (problem.clone(), refuse(problem)));
        }
        for (name, value) in environment {
            let Some(key) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let refuse = |reason| Error::Key(format!("environment variable {name}: {reason}"));
            let key = key.to_ascii_lowercase().replace("__", ".");
            layers = layers
                .set_override(&key, value)
                .map_err(|error| refuse(explain(&error)))?;
            settings(&layers).map_err(refuse)?;
        }
        for (key, value) in overrides {
            layers = layers
                .set_override(*key, value.clone())
                .map_err(|error| Error::Key(format!("{key}: {}", explain(&error))))?;
        }
        let refuse = |problem| match file_problem {
            // It came in with the file, and nothing after it has mended it.
            Some((known, error)) if known == problem => error,
            _ => Error::Key(problem),
        };
        settings(&layers).and_then(Self::check).map_err(refuse)
    }

    /// Checks what the types cannot: ranges, and settings that belong together.
    fn check(self) -> Result<Self, String> {
        self.mqtt.check().map_err(|error| error.to_string())?;
        self.dsp.check().map_err(|error| format!("dsp: {error}"))?;
        self.alarm
            .validate()
            .map_err(|error| format!("alarm: {error}"))?;
        self.delivery.check()?;
        self.store.retention.check()?;
        if self.persist.most == 0 {
            return Err("persist.most is 0, where at least 1 is needed".into());
        }
        if self.pipeline.shards > 1024 || self.infer.threads > 1024 {
            return Err(format!(
                "pipeline.shards is {} and infer.threads is {}, where at most 1024 are allowed",
                self.pipeline.shards, self.infer.threads
            ));
        }
        if self.infer.nice > 19 {
            let nice = self.infer.nice;
            return Err(format!("infer.nice is {nice}, where at most 19 is allowed"));
        }
        Ok(self)
    }

    /// The effective settings as TOML, secrets hidden.
    ///
    /// # Errors
    /// A setting that TOML cannot say: a defect.
    pub fn effective(&self) -> Result<String, toml::ser::Error> {
        let mut text = String::new();
        let mut section = |name: &str, value: Result<toml::Table, toml::ser::Error>| {
            let table = toml::Table::from_iter([(name.to_owned(), value?.into())]);
            text += &toml::to_string(&table)?;
            text.push('\n');
            Ok::<_, toml::ser::Error>(())
        };
        section("mqtt", toml::Table::try_from(&self.mqtt))?;
        section("packet", toml::Table::try_from(&self.packet))?;
        section("resequence", toml::Table::try_from(&self.resequence))?;
        section("clock", toml::Table::try_from(&self.clock))?;
        section("dsp", toml::Table::try_from(&self.dsp))?;
        section("infer", toml::Table::try_from(&self.infer))?;
        section("alarm", toml::Table::try_from(&self.alarm))?;
        section(
            "store",
            toml::Table::try_from(StoreShown::from(&self.store)),
        )?;
        section("pipeline", toml::Table::try_from(&self.pipeline))?;
        section("persist", toml::Table::try_from(&self.persist))?;
        section("http", toml::Table::try_from(&self.http))?;
        section("service", toml::Table::try_from(&self.service))?;
        section("delivery", toml::Table::try_from(&self.delivery))?;
        Ok(text)
    }
}

/// The database's settings without its URL, which may hold a password.
#[derive(Serialize)]
struct StoreShown {
    url: &'static str,
    max_connections: u32,
    #[serde(with = "humantime_serde")]
    acquire_timeout: Duration,
    #[serde(with = "humantime_serde")]
    transaction_timeout: Duration,
    #[serde(with = "humantime_serde")]
    busy_timeout: Duration,
    retention: store::Retention,
}

impl From<&store::Config> for StoreShown {
    fn from(config: &store::Config) -> Self {
        Self {
            url: "[redacted]",
            max_connections: config.max_connections.get(),
            acquire_timeout: config.acquire_timeout,
            transaction_timeout: config.transaction_timeout,
            busy_timeout: config.busy_timeout,
            retention: config.retention.clone(),
        }
    }
}

/// The message with the key, on one line.
fn explain(error: &config::ConfigError) -> String {
    error
        .to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
