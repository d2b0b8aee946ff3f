//! The service: settings in, a running service out, and its orderly end.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use store::Store;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::calibration;
use crate::config::Config;
use crate::delivery::Outgoing;
use crate::http::{self, Running, Service};
use crate::live::LiveBus;
use crate::metrics::Metrics;
use crate::pipeline::{self, Known, Pipeline};
use crate::usual;
use crate::wall;

/// Pauses between tries to reach the database.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// A service that answers HTTP, and carries signals as soon as its database can be reached.
pub struct App {
    config: Config,
    service: Arc<Service>,
    starting: watch::Sender<String>,
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
    /// The stop took longer than it may; what was not durable comes again from the broker.
    #[error("not everything was durable within {0:?}; the broker sends it again")]
    Drain(Duration),
}

impl App {
    /// Binds the HTTP address, so that its port is known and questions about readiness are answered.
    ///
    /// # Errors
    /// An address that cannot be had.
    pub async fn build(config: Config, shutdown: CancellationToken) -> Result<Self, Error> {
        let metrics = Arc::new(Metrics::new()?);
        metrics.started.set(wall::utc().0 as f64 / 1e6);
        let wanted = config.http.listen;
        let listen = |source| Error::Listen {
            address: wanted,
            source,
        };
        let listener = TcpListener::bind(wanted).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let (starting, why) = watch::channel("starting".to_owned());
        let http_shutdown = CancellationToken::new();
        let service = Arc::new(Service {
            metrics,
            live: LiveBus::default(),
            running: OnceLock::new(),
            starting: why,
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
    starting: &watch::Sender<String>,
    shutdown: &CancellationToken,
    drain: Duration,
) -> Result<(), Error> {
    let opened = tokio::select! {
        opened = open_store(&config.store, starting) => opened?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let (store, known) = opened;
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
    let running = Running {
        store: store.clone(),
        handle: pipeline.handle.clone(),
        broker: Arc::clone(&pipeline.broker),
        database: pipeline.database.clone(),
        outgoing: Arc::clone(&service.outgoing),
    };
    if service.running.set(running).is_err() {
        return Err(Error::Failed("the pipeline was started twice".into()));
    }
    tokio::spawn(calibration::follow(
        store,
        calibrations,
        pipeline.handle.clone(),
        shutdown.clone(),
    ));
    let broker = Arc::clone(&pipeline.broker);
    let mut refresh = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            // First, for after it tasks may end.
            biased;
            () = shutdown.cancelled() => break,
            why = pipeline.failed() => return Err(Error::Failed(why)),
            _ = refresh.tick() => service.metrics.observe_broker(&broker),
        }
    }
    tracing::info!("stopping");
    if pipeline.drain(drain).await {
        Ok(())
    } else {
        Err(Error::Drain(drain))
    }
}

/// Opens the database, as often as it takes, and reads what a restart needs.
async fn open_store(
    config: &store::Config,
    starting: &watch::Sender<String>,
) -> Result<(Store, Known), store::Error> {
    let mut pause = BACKOFF.0;
    loop {
        let attempt = async {
            let store = Store::open(config).await?;
            store.migrate().await?;
            let known = Known {
                resume: store.resume().await?,
                devices: store.devices().await?,
                calibrations: calibration::in_force(store.calibrations().await?),
                baselines: usual::read(store.baselines().await?),
                pauses: store.pauses(wall::utc()).await?,
            };
            Ok::<_, store::Error>((store, known))
        };
        match attempt.await {
            Ok(opened) => return Ok(opened),
            Err(error) if error.is_transient() => {
                tracing::warn!(error = ?error, "database not reachable, trying again");
                starting.send_replace(error.to_string());
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(BACKOFF.1);
    }
}
