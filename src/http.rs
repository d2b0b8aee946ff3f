//! The API, the live stream and the page. Reads only, but for acknowledgements, limits and who wears what.
//!
//! Everything a person sees here was durable before: alarms are announced by the stage that
//! committed them. Traces and rates are shown as they come.

mod api;
mod error;
mod json;
mod live;
mod page;
mod patients;
mod pauses;
mod subscribers;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post, put};
use store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;

use crate::delivery::Outgoing;
use crate::health::Health;
use crate::live::LiveBus;
use crate::metrics::Metrics;
use crate::pipeline::Handle;
use crate::wall;

/// What requests are answered with.
pub struct Service {
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The live stream.
    pub live: LiveBus,
    /// Set once the database and the pipeline stand.
    pub running: OnceLock<Running>,
    /// What the start waits for, until `running` is set.
    pub starting: watch::Receiver<Starting>,
    /// How long a stage may not get on; 0 for ever.
    pub watchdog: Duration,
    /// What is alarmed on, and the limits of a patient who has none of their own.
    pub alarm: alarm::Config,
    /// Held while limits or wearers change, so that the shards learn of changes in the order in which they are stored.
    pub changes: tokio::sync::Mutex<()>,
    /// Ends the live streams.
    pub shutdown: CancellationToken,
    /// Who is told that there is news for subscribers, and who is paused.
    pub outgoing: Arc<Outgoing>,
}

/// What exists once the service has started.
pub struct Running {
    /// The database.
    pub store: Store,
    /// The shards.
    pub handle: Handle,
    /// Whether the broker can be reached.
    pub broker: Arc<ingest::mqtt::Monitor>,
    /// Why what was found cannot be written, if it cannot.
    pub database: watch::Receiver<Option<String>>,
    /// The same of a row that is written every few seconds.
    pub heartbeat: watch::Receiver<Option<String>>,
    /// Whether every stage gets on.
    pub health: Arc<Health>,
    /// As in [`Service`].
    pub outgoing: Arc<Outgoing>,
}

/// What the start waits for.
#[derive(Debug, Clone)]
pub enum Starting {
    /// The database, and why it cannot be used.
    Database(String),
    /// The process that works on the database.
    Standby,
    /// The models, which are being loaded.
    Models,
}

impl std::fmt::Display for Starting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Database(why) => f.write_str(why),
            Self::Standby => f.write_str("another process works on this database; standing by"),
            Self::Models => f.write_str("loading the models"),
        }
    }
}

impl Running {
    /// Whether the database takes what it is given.
    pub fn is_writable(&self) -> bool {
        self.database.borrow().is_none() && self.heartbeat.borrow().is_none()
    }
}

impl Service {
    /// What has started, or the error that says why it has not.
    fn running(&self) -> Result<&Running, error::Error> {
        self.running
            .get()
            .ok_or_else(|| error::Error::NotReady(self.starting.borrow().to_string()))
    }
}

/// The routes.
pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route(
            "/openapi.json",
            get(async || Json(api::Document::openapi())),
        )
        .route("/api/v1/devices", get(api::devices))
        .route("/api/v1/devices/{device}", get(api::device))
        .route("/api/v1/devices/{device}/limits", put(api::set_limits))
        .route("/api/v1/devices/{device}/patient", put(api::set_patient))
        .route(
            "/api/v1/devices/{device}/twelve-lead",
            get(api::twelve_lead),
        )
        .route(
            "/api/v1/devices/{device}/twelve-lead/findings",
            get(api::examine),
        )
        .route("/api/v1/devices/{device}/surrogate", get(api::surrogate))
        .route("/api/v1/alarms", get(api::alarms))
        .route("/api/v1/alarms/{alarm}", get(api::alarm))
        .route("/api/v1/alarms/{alarm}/acknowledge", post(api::acknowledge))
        .route("/api/v1/devices/{device}/findings", get(api::findings))
        .route("/api/v1/devices/{device}/suppressed", get(api::suppressed))
        .route("/api/v1/strips/{alarm}", get(api::strip))
        .route("/api/v1/strips/{alarm}/end", get(api::end_strip))
        .route("/api/v1/trends", get(api::trends))
        .route("/api/v1/live", get(live::stream))
        .route(
            "/api/v1/devices/{device}/pause",
            put(pauses::begin).delete(pauses::end),
        )
        .route(
            "/api/v1/subscribers",
            get(subscribers::list).post(subscribers::add),
        )
        .route(
            "/api/v1/subscribers/{id}",
            get(subscribers::one)
                .put(subscribers::change)
                .delete(subscribers::remove),
        )
        .route(
            "/api/v1/subscribers/{id}/deliveries",
            get(subscribers::deliveries),
        )
        .route(
            "/api/v1/subscribers/{id}/deliveries/retry",
            post(subscribers::retry_all),
        )
        .route(
            "/api/v1/subscribers/{id}/deliveries/{message}/retry",
            post(subscribers::retry),
        )
        .route("/api/v1/conditions", get(patients::conditions))
        .route(
            "/api/v1/patients/{patient}/limits",
            get(patients::limits).put(patients::put_limits),
        )
        .route(
            "/api/v1/patients/{patient}/limits/changes",
            get(patients::limit_changes),
        )
        .route(
            "/api/v1/patients/{patient}/limits/proposal",
            get(patients::proposal),
        )
        .route("/api/v1/patients/{patient}/days", get(patients::days))
        .route("/api/v1/patients/{patient}/days/{day}", get(patients::day))
        .fallback(page::file)
        .layer(middleware::from_fn_with_state(Arc::clone(&service), count))
        .layer(middleware::from_fn(secure))
        .with_state(service)
}

/// A device's open alarms as they are published over MQTT: what the API says of each.
pub(crate) fn open_alarms(rows: &[store::AlarmRow], outgoing: &Outgoing) -> String {
    let alarms: Vec<_> = rows
        .iter()
        .map(|row| json::Alarm::new(row).paused(outgoing))
        .collect();
    serde_json::to_string(&alarms).expect("text and numbers become JSON")
}

/// Counts requests by route, never by path.
async fn count(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "page".to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    service
        .metrics
        .requests
        .with_label_values(&[&route, response.status().as_str()])
        .inc();
    response
}

/// Lets browsers run only what the page ships.
async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    if let Some(running) = service.running.get() {
        // As it is now, for whoever waits for nothing to be left.
        service.metrics.observe_unacked(&running.broker);
    }
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        service.metrics.text(),
    )
}

/// Alive means: what has something to do gets on with it, or waits for the database. Otherwise starting again may help.
async fn healthz(State(service): State<Arc<Service>>) -> Response {
    let stuck = match service.running.get() {
        Some(running) if !service.watchdog.is_zero() => {
            running.health.stuck(wall::instant(), service.watchdog)
        }
        _ => Vec::new(),
    };
    if stuck.is_empty() {
        "ok\n".into_response()
    } else {
        tracing::error!(?stuck, "not alive");
        let text = format!("{}\n", stuck.join("\n"));
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}

/// How long shards may take to answer.
const SHARD_PATIENCE: Duration = Duration::from_secs(1);

/// Ready means: packets are taken and what they say is kept. Otherwise the answer says what is missing.
async fn readyz(State(service): State<Arc<Service>>) -> Response {
    use json::Check;
    let waiting = || Check::not("waiting", "not started");
    let mut checks = match service.running.get() {
        None => {
            let mut checks = json::Checks {
                database: Check::ok(),
                lease: waiting(),
                models: waiting(),
                broker: waiting(),
                shards: waiting(),
            };
            let starting = service.starting.borrow();
            let check = Check::not("waiting", starting.to_string());
            match &*starting {
                Starting::Database(_) => checks.database = check,
                Starting::Standby => checks.lease = check,
                Starting::Models => (checks.lease, checks.models) = (Check::ok(), check),
            }
            checks
        }
        Some(running) => {
            let problem = running.database.borrow().clone();
            let problem = problem.or_else(|| running.heartbeat.borrow().clone());
            let shards = running.handle.unanswered(SHARD_PATIENCE).await;
            json::Checks {
                database: problem.map_or_else(Check::ok, |why| Check::not("failing", why)),
                lease: Check::ok(),
                models: Check::ok(),
                broker: match running.broker.ready() {
                    Ok(()) => Check::ok(),
                    Err(why) => Check::not("failing", why),
                },
                shards: match shards {
                    0 => Check::ok(),
                    n => Check::not(
                        "failing",
                        format!("{n} do not answer within {SHARD_PATIENCE:?}"),
                    ),
                },
            }
        }
    };
    if service.shutdown.is_cancelled() {
        checks.broker = Check::not("stopping", "the service is stopping");
    }
    let ready = checks.all_ok();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(json::Ready { ready, checks })).into_response()
}
