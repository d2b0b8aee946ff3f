//! The service: settings in, a running service out, and its orderly end.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use store::{Lease, Store};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::calibration;
use crate::config::Config;
use crate::delivery::Outgoing;
use crate::http::{self, Running, Service, Starting};
use crate::live::LiveBus;
use crate::metrics::Metrics;
use crate::ownership;
use crate::pipeline::{self, Known, Pipeline};
use crate::usual;
use crate::wall;

/// How often a process that stands by asks whether it is its turn.
const STANDBY: Duration = Duration::from_millis(250);

/// Pauses between tries to reach the database.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// A service that answers HTTP, and carries signals as soon as its database can be reached.
pub struct App {
    config: Config,
    service: Arc<Service>,
    starting: watch::Sender<Starting>,
    address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
    /// Ends the service.
    shutdown: CancellationToken,
    /// Ends HTTP, after the pipeline.
    http_shutdown: CancellationToken,
}

/// Why the service could not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address to listen on cannot be had.
    #[error("cannot listen on http://{address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A metric was declared twice.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// The database cannot be used, and waiting will not change that.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Models or MQTT settings cannot be used.
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// A part of the service ended that should not.
    #[error("{0}")]
    Failed(String),
    /// The stop took longer than it may. Nothing is lost: what was not acknowledged comes again from the broker.
    #[error(
        "not everything had ended within {0:?}; what is not acknowledged, the broker sends again"
    )]
    Drain(Duration),
}

impl App {
    /// Binds the HTTP address, so that its port is known and questions about readiness are answered.
    ///
    /// # Errors
    /// An address that cannot be had.
    pub async fn build(config: Config, shutdown: CancellationToken) -> Result<Self, Error> {
        let metrics = Arc::new(Metrics::new()?);
        let wanted = config.http.listen;
        let listen = |source| Error::Listen {
            address: wanted,
            source,
        };
        let listener = TcpListener::bind(wanted).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (starting, why) = watch::channel(Starting::Database("starting".to_owned()));
        let http_shutdown = CancellationToken::new();
        let service = Arc::new(Service {
            metrics,
            live: LiveBus::default(),
            running: OnceLock::new(),
            starting: why,
            watchdog: config.service.watchdog,
            alarm: config.alarm.clone(),
            changes: tokio::sync::Mutex::default(),
            shutdown: shutdown.clone(),
            outgoing: Arc::new(Outgoing::default()),
        });
        let router = http::router(Arc::clone(&service));
        let ended = http_shutdown.clone();
        let server = tokio::spawn(async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(ended.cancelled_owned())
                .await
        });
        Ok(Self {
            config,
            service,
            starting,
            address,
            server,
            shutdown,
            http_shutdown,
        })
    }

    /// Where HTTP is answered.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs until `shutdown` is cancelled, then ends in order: no new packets, what is under way
    /// becomes durable and is acknowledged, HTTP last.
    ///
    /// # Errors
    /// What made it end otherwise.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            config,
            service,
            starting,
            server,
            shutdown,
            http_shutdown,
            ..
        } = self;
        let drain = config.service.drain;
        let outcome = run_pipeline(config, &service, &starting, &shutdown, drain).await;
        shutdown.cancel();
        http_shutdown.cancel();
        if tokio::time::timeout(Duration::from_secs(2), server)
            .await
            .is_err()
        {
            tracing::debug!("http connections cut");
        }
        outcome
    }
}

async fn run_pipeline(
    config: Config,
    service: &Service,
    starting: &watch::Sender<Starting>,
    shutdown: &CancellationToken,
    drain: Duration,
) -> Result<(), Error> {
    let owner = Uuid::from_u128(rand::random());
    let opened = tokio::select! {
        opened = open(&config.store, owner, service, starting) => opened?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let (store, mut lease, known) = opened;
    starting.send_replace(Starting::Models);
    let calibrations = Arc::clone(&known.calibrations);
    let mut pipeline = Pipeline::start(
        config,
        store.clone(),
        known,
        Arc::clone(&service.metrics),
        service.live.clone(),
        Arc::clone(&service.outgoing),
        shutdown,
    )?;
    let (heartbeat, beats) = watch::channel(None);
    let running = Running {
        store: store.clone(),
        handle: pipeline.handle.clone(),
        broker: Arc::clone(&pipeline.broker),
        database: pipeline.database.clone(),
        heartbeat: beats,
        health: Arc::clone(&pipeline.health),
        outgoing: Arc::clone(&service.outgoing),
    };
    if service.running.set(running).is_err() {
        return Err(Error::Failed("the pipeline was started twice".into()));
    }
    tokio::spawn(calibration::follow(
        store.clone(),
        calibrations,
        pipeline.handle.clone(),
        shutdown.clone(),
    ));
    let (broker, health) = (Arc::clone(&pipeline.broker), Arc::clone(&pipeline.health));
    let mut refresh = tokio::time::interval(Duration::from_secs(1));
    let mut kept = Box::pin(ownership::keep(&store, &mut lease, owner, &heartbeat));
    loop {
        tokio::select! {
            // First, for after it tasks may end.
            biased;
            () = shutdown.cancelled() => break,
            why = pipeline.failed() => return Err(Error::Failed(why)),
            why = &mut kept => return Err(Error::Failed(why)),
            _ = refresh.tick() => {
                service.metrics.observe_broker(&broker);
                service.metrics.observe_health(&health, wall::instant());
                let is_writable = service.running.get().is_some_and(Running::is_writable);
                service.metrics.set_ready("database", is_writable);
                service.metrics.set_ready("broker", broker.ready().is_ok());
            }
        }
    }
    // The right to work on the database is kept until nothing more is written.
    drop(kept);
    tracing::info!("stopping");
    let started = wall::instant();
    health.stop();
    let is_drained = pipeline.drain(drain).await;
    lease.release().await;
    let seconds = started.elapsed().as_secs_f64();
    if is_drained {
        tracing::info!(seconds, "stopped");
        Ok(())
    } else {
        Err(Error::Drain(drain))
    }
}

/// Opens the database, waits until no other process works on it, and reads what a restart needs; as often as it takes.
async fn open(
    config: &store::Config,
    owner: Uuid,
    service: &Service,
    starting: &watch::Sender<Starting>,
) -> Result<(Store, Lease, Known), store::Error> {
    let mut pause = BACKOFF.0;
    let metrics = &service.metrics;
    loop {
        let attempt = async {
            let store = Store::open(config).await?;
            store.migrate().await?;
            metrics.set_ready("database", true);
            let mut lease = store.lease(owner).await?;
            let mut is_said = false;
            while !lease.take().await? {
                if !is_said {
                    tracing::info!("another process works on this database, standing by");
                    starting.send_replace(Starting::Standby);
                }
                is_said = true;
                tokio::time::sleep(STANDBY).await;
            }
            metrics.set_ready("lease", true);
            // Only now: what the process before has stored to its end is in it.
            let known = Known {
                resume: store.resume().await?,
                devices: store.devices().await?,
                calibrations: calibration::in_force(store.calibrations().await?),
                baselines: usual::read(store.baselines().await?),
                pauses: store.pauses(wall::utc()).await?,
            };
            Ok::<_, store::Error>((store, lease, known))
        };
        match attempt.await {
            Ok(opened) => return Ok(opened),
            Err(error) if error.is_transient() => {
                tracing::warn!(error = ?error, "database not reachable, trying again");
                metrics.set_ready("database", false);
                metrics.set_ready("lease", false);
                starting.send_replace(Starting::Database(error.explain()));
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}
