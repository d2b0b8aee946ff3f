//! The handlers of pauses: less urgent messages of a device wait.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Json;
use ecg::{DeviceId, Utc};
use serde::Deserialize;
use store::Pause;
use utoipa::IntoParams;

use super::api::{Answer, Shared, body, device_id, find_device, person, query};
use super::error::Error;
use super::{Service, json};
use crate::live::LiveEvent;
use crate::wall::utc;

/// How long a pause may be, minutes.
const MINUTES: std::ops::RangeInclusive<u32> = 1..=30;

/// Holds messages of medium and low priority of a device back, instead of any pause before. High priority is never held
/// back. When the pause ends, messages of alarms that are still open go out in order; those of alarms that came and went
/// are skipped.
#[utoipa::path(put, path = "/api/v1/devices/{device}/pause", params(("device" = String, Path)),
    request_body = json::SetPause,
    responses((status = 200, body = json::Device), (status = 404, body = json::Failure),
        (status = 422, body = json::Failure)))]
pub(super) async fn begin(
    State(service): Shared,
    Path(name): Path<String>,
    asked: Result<Json<json::SetPause>, JsonRejection>,
) -> Answer<json::Device> {
    let device = device_id(&name)?;
    let asked = body(asked)?;
    let by = person(&asked.by)?;
    if !MINUTES.contains(&asked.minutes) {
        return Err(Error::Invalid(format!(
            "`minutes` is {}, where {} to {} are allowed",
            asked.minutes,
            MINUTES.start(),
            MINUTES.end()
        )));
    }
    let until = utc().plus_seconds(f64::from(asked.minutes) * 60.0);
    set(&service, &device, Some(until), by).await
}

/// Who ends a pause.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct End {
    /// A name, 1 to 64 characters.
    by: String,
}

/// Ends the pause of a device early.
#[utoipa::path(delete, path = "/api/v1/devices/{device}/pause", params(("device" = String, Path), End),
    responses((status = 200, body = json::Device), (status = 404, body = json::Failure),
        (status = 409, body = json::Failure), (status = 422, body = json::Failure)))]
pub(super) async fn end(
    State(service): Shared,
    Path(name): Path<String>,
    asked: Result<Query<End>, QueryRejection>,
) -> Answer<json::Device> {
    let device = device_id(&name)?;
    let asked = query(asked)?;
    let by = person(&asked.by)?;
    if service.outgoing.pause(&device, utc()).is_none() {
        find_device(service.running()?, &device).await?;
        return Err(Error::Conflict(format!("{device} is not paused")));
    }
    set(&service, &device, None, by).await
}

async fn set(
    service: &Service,
    device: &DeviceId,
    until: Option<Utc>,
    by: &str,
) -> Answer<json::Device> {
    let running = service.running()?;
    find_device(running, device).await?;
    let now = utc();
    let pause = until.map(|until| Pause {
        device: device.clone(),
        until,
        by: by.to_owned(),
        since: now,
    });
    let store = &running.store;
    store.pause(device, until.unwrap_or(now), by, now).await?;
    service.outgoing.set_pause(device, pause);
    service.outgoing.ring([device.clone()]);
    service.live.publish(LiveEvent::Pause {
        device: device.clone(),
        until,
        by: Some(by.to_owned()),
    });
    find_device(running, device).await.map(Json)
}
