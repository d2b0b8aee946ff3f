//! The live stream as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use ecg::DeviceId;
use futures::Stream;
use serde::Deserialize;
use tokio::sync::broadcast::error::RecvError;

use super::error::Error;
use super::{Service, json};
use crate::live::LiveEvent;

/// Which devices to watch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Watch {
    /// Device names, comma-separated; all without it.
    #[serde(default)]
    devices: Option<String>,
}

/// Counts itself while it lives.
struct Subscriber(Arc<Service>);

impl Subscriber {
    fn new(service: Arc<Service>) -> Self {
        service.metrics.live_subscribers.inc();
        Self(service)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.0.metrics.live_subscribers.dec();
    }
}

/// Streams traces, beats, readings of windows, statuses and alarms until the client goes or the service stops.
pub(super) async fn stream(
    State(service): State<Arc<Service>>,
    Query(watch): Query<Watch>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Error> {
    let only = watch
        .devices
        .map(|names| {
            names
                .split(',')
                .map(str::parse)
                .collect::<Result<Vec<DeviceId>, _>>()
        })
        .transpose()
        .map_err(|error| Error::Invalid(error.to_string()))?;
    service.running()?;
    let events = service.live.subscribe(only.as_deref());
    let state = (events, Subscriber::new(service), only);
    let stream = futures::stream::unfold(state, async |(mut events, subscriber, only)| {
        loop {
            let shutdown = subscriber.0.shutdown.clone();
            let received = tokio::select! {
                received = events.recv() => received,
                () = shutdown.cancelled() => return None,
            };
            let event = match received {
                Ok(event) => render(&subscriber.0, &event, only.as_deref()).await,
                Err(RecvError::Lagged(skipped)) => {
                    subscriber.0.metrics.live_lagged.inc_by(skipped);
                    Event::default()
                        .event("lagged")
                        .json_data(json::Lagged { skipped })
                        .ok()
                }
                Err(RecvError::Closed) => return None,
            };
            if let Some(event) = event {
                return Some((Ok(event), (events, subscriber, only)));
            }
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

/// The event as it goes out; `None` if it is not watched.
async fn render(service: &Service, event: &LiveEvent, only: Option<&[DeviceId]>) -> Option<Event> {
    let watched = |device: &DeviceId| only.is_none_or(|only| only.contains(device));
    if !watched(event.device()) {
        return None;
    }
    let named = |name: &str| Event::default().event(name);
    match event {
        LiveEvent::Trace {
            device,
            start,
            rate,
            signals,
        } => named("trace").json_data(json::Trace::new(device, *start, *rate, signals)),
        LiveEvent::Beat { device, at } => named("beat").json_data(json::Beat::new(device, *at)),
        LiveEvent::Reading {
            device,
            boot,
            start,
            end,
            outcome,
        } => named("reading").json_data(json::Reading::new(device, *boot, *start..*end, *outcome)),
        LiveEvent::Status(status) => {
            named("status").json_data(json::Device::from(status.as_ref()).paused(&service.outgoing))
        }
        LiveEvent::Alarm { alarm, .. } => {
            // Looked up, so that what is shown is what is stored.
            let store = &service.running().ok()?.store;
            let (alarm, _) = store.alarm(*alarm).await.ok()??;
            named("alarm").json_data(json::Alarm::new(&alarm).paused(&service.outgoing))
        }
        LiveEvent::Escalated {
            device,
            alarm,
            level,
            at,
        } => named("escalation").json_data(json::Escalated::new(device, *alarm, *level, *at)),
        LiveEvent::Pause { device, until, by } => {
            named("pause").json_data(json::Paused::new(device, *until, by.as_deref()))
        }
    }
    .ok()
}
