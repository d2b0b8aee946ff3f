//! The handlers of `/api/v1` and their description.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Json;
use ecg::{AlarmId, AlarmState, DeviceId};
use serde::Deserialize;
use store::{AlarmFilter, AlarmRow, PatientId};
use utoipa::{IntoParams, OpenApi};
use uuid::Uuid;

use super::error::Error;
use super::patients::{self, apply};
use super::{Running, Service, json};
use crate::live::{DeviceStatus, Undrawn};
use crate::stage::analyse::Wearer;
use crate::wall::{parse_rfc3339, rfc3339, utc};

pub(super) type Answer<T> = Result<Json<T>, Error>;
pub(super) type Shared = State<Arc<Service>>;

/// The description of the API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "einthoven",
        description = "Wearable ECG: devices, alarms, strips, trends. Not a medical device."
    ),
    paths(
        devices,
        device,
        set_limits,
        set_patient,
        twelve_lead,
        examine,
        surrogate,
        alarms,
        alarm,
        acknowledge,
        strip,
        end_strip,
        trends,
        findings,
        suppressed,
        super::pauses::begin,
        super::pauses::end,
        super::subscribers::list,
        super::subscribers::add,
        super::subscribers::one,
        super::subscribers::change,
        super::subscribers::remove,
        super::subscribers::deliveries,
        super::subscribers::retry_all,
        super::subscribers::retry,
        patients::conditions,
        patients::limits,
        patients::put_limits,
        patients::limit_changes,
        patients::proposal,
        patients::days,
        patients::day
    ),
    components(schemas(json::Failure, json::Ready, crate::delivery::Body<'static>))
)]
pub(super) struct Document;

/// Most rows in one answer.
const MOST: u32 = 1000;

pub(super) fn device_id(name: &str) -> Result<DeviceId, Error> {
    name.parse().map_err(|error: ecg::Error| refused(error))
}

pub(super) fn refused(error: impl std::fmt::Display) -> Error {
    Error::Invalid(error.to_string())
}

pub(super) fn person(name: &str) -> Result<&str, Error> {
    let length = name.chars().count();
    if name.trim().is_empty() || length > 64 || name.chars().any(char::is_control) {
        return Err(Error::Invalid(format!(
            "`by` has {length} characters, where a name of 1 to 64 printable ones is needed"
        )));
    }
    Ok(name.trim())
}

fn instant(text: Option<&str>) -> Result<Option<ecg::Utc>, Error> {
    text.map(parse_rfc3339).transpose().map_err(Error::Invalid)
}

pub(super) fn word<T: std::str::FromStr<Err = ecg::Error>>(
    text: Option<&str>,
) -> Result<Option<T>, Error> {
    text.map(str::parse)
        .transpose()
        .map_err(|error: ecg::Error| Error::Invalid(error.to_string()))
}

pub(super) fn body<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Error> {
    body.map(|Json(body)| body)
        .map_err(|rejection| Error::Invalid(rejection.body_text()))
}

pub(super) fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Error> {
    query
        .map(|Query(query)| query)
        .map_err(|rejection| Error::Invalid(rejection.body_text()))
}

fn alarm_id(text: &str) -> Result<AlarmId, Error> {
    text.parse::<Uuid>()
        .map(AlarmId)
        .map_err(|error| Error::Invalid(format!("alarm id {text:?}: {error}")))
}

/// Where to read on: what `alarms` gave as `next`.
fn cursor(text: &str) -> Result<(ecg::Utc, AlarmId), Error> {
    let (utc, id) = text.split_once('.').unwrap_or((text, ""));
    let utc = utc.parse().map_err(|_| {
        Error::Invalid(format!(
            "`before` is {text:?}, where what an answer gave as `next` is needed"
        ))
    })?;
    Ok((ecg::Utc(utc), alarm_id(id)?))
}

/// How many rows at most.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Error> {
    let limit = asked.unwrap_or(100);
    if limit == 0 || limit > MOST {
        return Err(Error::Invalid(format!(
            "`limit` is {limit}, where 1 to {MOST} are allowed"
        )));
    }
    Ok(limit)
}

async fn find_alarm(
    running: &Running,
    alarm: AlarmId,
) -> Result<(AlarmRow, Vec<ecg::AlarmEvent>), Error> {
    let found = running.store.alarm(alarm).await?;
    found.ok_or_else(|| Error::NotFound(format!("no alarm {alarm}")))
}

/// Every device known since the service started, or with an alarm that stands.
#[utoipa::path(get, path = "/api/v1/devices", responses((status = 200, body = json::Devices)))]
pub(super) async fn devices(State(service): Shared) -> Answer<json::Devices> {
    let statuses = all_devices(service.running()?).await?;
    let device = |status| json::Device::from(status).paused(&service.outgoing);
    Ok(Json(json::Devices {
        devices: statuses.iter().map(device).collect(),
    }))
}

async fn all_devices(running: &Running) -> Result<Vec<DeviceStatus>, Error> {
    running.handle.devices().await.ok_or_else(busy)
}

/// What a shard that does not answer means.
fn busy() -> Error {
    Error::NotReady("everything waits for the database, or the service is stopping".into())
}

pub(super) async fn find_device(running: &Running, id: &DeviceId) -> Result<json::Device, Error> {
    let statuses = all_devices(running).await?;
    statuses
        .iter()
        .find(|status| status.device == *id)
        .map(|status| json::Device::from(status).paused(&running.outgoing))
        .ok_or_else(|| Error::NotFound(format!("no device {id}")))
}

/// One device.
#[utoipa::path(get, path = "/api/v1/devices/{device}", params(("device" = String, Path)),
    responses((status = 200, body = json::Device), (status = 404, body = json::Failure)))]
pub(super) async fn device(
    State(service): Shared,
    Path(name): Path<String>,
) -> Answer<json::Device> {
    find_device(service.running()?, &device_id(&name)?)
        .await
        .map(Json)
}

/// Sets the rate limits of the patient who wears a device, and leaves the patient's other limits as they are. They are
/// kept, with who set them.
#[utoipa::path(put, path = "/api/v1/devices/{device}/limits", params(("device" = String, Path)),
    request_body = json::SetLimits,
    responses((status = 200, body = json::Device), (status = 404, body = json::Failure),
        (status = 409, body = json::Failure), (status = 422, body = json::Failure)))]
pub(super) async fn set_limits(
    State(service): Shared,
    Path(name): Path<String>,
    limits: Result<Json<json::SetLimits>, JsonRejection>,
) -> Answer<json::Device> {
    let running = service.running()?;
    let device = device_id(&name)?;
    let limits = body(limits)?;
    let by = person(&limits.by)?;
    let rates = (limits.low_bpm, limits.high_bpm);
    alarm::Limits::new(rates.0, rates.1).map_err(refused)?;
    let _one_at_a_time = service.changes.lock().await;
    let Some(patient) = find_device(running, &device).await?.patient else {
        return Err(Error::Conflict(format!(
            "no patient wears {device}: limits belong to patients, so say who does first"
        )));
    };
    let patient: PatientId = patient.parse().map_err(refused)?;
    running
        .store
        .set_rate_limits(&patient, rates, by, utc())
        .await?;
    // The patient may wear several devices.
    apply(&service, running, &patient).await?;
    find_device(running, &device).await.map(Json)
}

/// Says who wears a device, by a pseudonym.
#[utoipa::path(put, path = "/api/v1/devices/{device}/patient", params(("device" = String, Path)),
    request_body = json::SetPatient,
    responses((status = 200, body = json::Device), (status = 404, body = json::Failure),
        (status = 422, body = json::Failure)))]
pub(super) async fn set_patient(
    State(service): Shared,
    Path(name): Path<String>,
    patient: Result<Json<json::SetPatient>, JsonRejection>,
) -> Answer<json::Device> {
    let running = service.running()?;
    let device = device_id(&name)?;
    let asked = body(patient)?;
    let by = person(&asked.by)?;
    let patient: PatientId = asked.patient.parse().map_err(refused)?;
    find_device(running, &device).await?;
    let _one_at_a_time = service.changes.lock().await;
    running
        .store
        .assign(&device, Some(&patient), by, utc())
        .await?;
    let limits = running.store.limits(&patient).await?.unwrap_or_default();
    let calibration = running.store.calibration(&patient).await?;
    let baseline = running.store.baseline(&patient).await?;
    let wearer = Wearer {
        calibration: calibration.as_ref().and_then(crate::calibration::read),
        baseline: baseline.as_deref().and_then(crate::usual::parse),
        patient: patient.to_string(),
        limits: crate::limits::own(limits, &service.alarm),
    };
    running.handle.set_patient(device.clone(), wearer).await;
    find_device(running, &device).await.map(Json)
}

/// The newest twelve leads of a device, those that a model made marked as such.
#[utoipa::path(get, path = "/api/v1/devices/{device}/twelve-lead", params(("device" = String, Path)),
    responses((status = 200, body = json::Strip), (status = 404, body = json::Failure)))]
pub(super) async fn twelve_lead(
    State(service): Shared,
    Path(name): Path<String>,
) -> Answer<json::Strip> {
    let device = device_id(&name)?;
    let handle = &service.running()?.handle;
    let latest = handle.twelve_lead(device.clone()).await.ok_or_else(busy)?;
    let latest =
        latest.ok_or_else(|| Error::NotFound(format!("no twelve leads of {device} yet")))?;
    Ok(Json(json::Strip::latest(&latest)))
}

/// What is found in the newest twelve leads of a device, by every classifier, those that run on request too, and what each
/// of them looked at: how much its probability falls without a lead, and without a part of the window.
#[utoipa::path(get, path = "/api/v1/devices/{device}/twelve-lead/findings", params(("device" = String, Path)),
    responses((status = 200, body = json::Findings), (status = 404, body = json::Failure)))]
pub(super) async fn examine(
    State(service): Shared,
    Path(name): Path<String>,
) -> Answer<json::Findings> {
    let device = device_id(&name)?;
    let handle = &service.running()?.handle;
    let found = handle.examine(device.clone()).await.ok_or_else(busy)?;
    let found = found.ok_or_else(|| Error::NotFound(format!("no twelve leads of {device} yet")))?;
    Ok(Json(json::Findings::new(&found)))
}

/// What a model draws of the newest 10 s of the pulse wave of a device without ECG. Synthetic: it is no ECG, nothing was
/// measured on it, and nothing else in the service knows it. 404 where there is none to come (no such device, no PPG, switched
/// off), 409 where there is none now.
#[utoipa::path(get, path = "/api/v1/devices/{device}/surrogate", params(("device" = String, Path)),
    responses((status = 200, body = json::Synthetic), (status = 404, body = json::Failure),
        (status = 409, body = json::Failure)))]
pub(super) async fn surrogate(
    State(service): Shared,
    Path(name): Path<String>,
) -> Answer<json::Synthetic> {
    let device = device_id(&name)?;
    let handle = &service.running()?.handle;
    let drawn = handle.synthetic(device.clone()).await.ok_or_else(busy)?;
    let drawn = drawn.map_err(|undrawn| {
        let why = format!("nothing is drawn of {device}: {undrawn}");
        match undrawn {
            Undrawn::Off | Undrawn::NoDevice | Undrawn::NoPulse => Error::NotFound(why),
            Undrawn::Measured | Undrawn::TooShort | Undrawn::Unusable | Undrawn::Failed => {
                Error::Conflict(why)
            }
        }
    })?;
    Ok(Json(json::Synthetic::new(&device, &drawn)))
}

/// Which alarms.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct AlarmQuery {
    /// Of this device only.
    device: Option<String>,
    /// Of this patient only.
    patient: Option<String>,
    /// In this state only.
    state: Option<String>,
    /// Only those that are not cleared.
    #[serde(default)]
    open: bool,
    /// Of this priority only.
    priority: Option<String>,
    /// Raised at or after this instant, RFC 3339.
    since: Option<String>,
    /// Raised before this instant, RFC 3339.
    until: Option<String>,
    /// At most so many, 100 without it, 1000 at most.
    limit: Option<u32>,
    /// Reads on: what the answer before gave as `next`.
    before: Option<String>,
}

/// Alarms, newest first.
#[utoipa::path(get, path = "/api/v1/alarms", params(AlarmQuery),
    responses((status = 200, body = json::Alarms), (status = 422, body = json::Failure)))]
pub(super) async fn alarms(
    State(service): Shared,
    asked: Result<Query<AlarmQuery>, QueryRejection>,
) -> Answer<json::Alarms> {
    let asked = query(asked)?;
    let limit = limit(asked.limit)?;
    let filter = AlarmFilter {
        device: asked.device.as_deref().map(device_id).transpose()?,
        patient: asked
            .patient
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(refused)?,
        state: word(asked.state.as_deref())?,
        open_only: asked.open,
        priority: word(asked.priority.as_deref())?,
        since: instant(asked.since.as_deref())?,
        until: instant(asked.until.as_deref())?,
        limit,
        before: asked.before.as_deref().map(cursor).transpose()?,
    };
    let rows = service.running()?.store.alarms(&filter).await?;
    let next = (rows.len() == limit as usize)
        .then(|| {
            rows.last()
                .map(|row| format!("{}.{}", row.raised.0, row.alarm))
        })
        .flatten();
    Ok(Json(json::Alarms {
        alarms: rows
            .iter()
            .map(|row| json::Alarm::new(row).paused(&service.outgoing))
            .collect(),
        next,
    }))
}

/// One alarm with its life so far.
#[utoipa::path(get, path = "/api/v1/alarms/{alarm}", params(("alarm" = String, Path)),
    responses((status = 200, body = json::AlarmDetail), (status = 404, body = json::Failure)))]
pub(super) async fn alarm(
    State(service): Shared,
    Path(id): Path<String>,
) -> Answer<json::AlarmDetail> {
    let running = service.running()?;
    let (row, events) = find_alarm(running, alarm_id(&id)?).await?;
    let records = running.store.records(&row.record.device).await?;
    let onset = records
        .iter()
        .find(|known| known.record == row.record)
        .map(|known| rfc3339(known.anchor.utc(row.onset)));
    let events = events
        .into_iter()
        .map(|event| json::AlarmStep {
            state: event.state.name(),
            at: rfc3339(event.utc),
            by: event.by,
            evidence: event.evidence,
        })
        .collect();
    Ok(Json(json::AlarmDetail {
        alarm: json::Alarm::new(&row).paused(&service.outgoing),
        onset,
        events,
    }))
}

/// Acknowledges an alarm. The answer comes when that is durable.
#[utoipa::path(post, path = "/api/v1/alarms/{alarm}/acknowledge", params(("alarm" = String, Path)),
    request_body = json::Acknowledge,
    responses((status = 200, body = json::Alarm), (status = 404, body = json::Failure),
        (status = 409, body = json::Failure), (status = 422, body = json::Failure)))]
pub(super) async fn acknowledge(
    State(service): Shared,
    Path(id): Path<String>,
    who: Result<Json<json::Acknowledge>, JsonRejection>,
) -> Answer<json::Alarm> {
    let running = service.running()?;
    let id = alarm_id(&id)?;
    let who = body(who)?;
    let by = person(&who.by)?.to_owned();
    let (row, _) = find_alarm(running, id).await?;
    match running.handle.acknowledge(row.record.device, id, by).await {
        Some(Ok(())) => {}
        Some(Err(error)) => return Err(Error::Conflict(error.to_string())),
        None => return Err(busy()),
    }
    let (row, _) = find_alarm(running, id).await?;
    Ok(Json(json::Alarm::new(&row).paused(&service.outgoing)))
}

/// The signals around an alarm: measured, derived and reconstructed leads, each marked.
#[utoipa::path(get, path = "/api/v1/strips/{alarm}", params(("alarm" = String, Path)),
    responses((status = 200, body = json::Strip), (status = 404, body = json::Failure)))]
pub(super) async fn strip(State(service): Shared, Path(id): Path<String>) -> Answer<json::Strip> {
    let running = service.running()?;
    let id = alarm_id(&id)?;
    let (row, _) = find_alarm(running, id).await?;
    let strip = running.store.strip(id).await?;
    let strip = strip.ok_or_else(|| Error::NotFound(format!("no strip of alarm {id} yet")))?;
    Ok(Json(json::Strip::of_alarm(&row, row.raised, &strip)))
}

/// The signals at the end of a rhythm that an alarm was about.
#[utoipa::path(get, path = "/api/v1/strips/{alarm}/end", params(("alarm" = String, Path)),
    responses((status = 200, body = json::Strip), (status = 404, body = json::Failure)))]
pub(super) async fn end_strip(
    State(service): Shared,
    Path(id): Path<String>,
) -> Answer<json::Strip> {
    let running = service.running()?;
    let id = alarm_id(&id)?;
    let (row, events) = find_alarm(running, id).await?;
    let over =
        |event: &&ecg::AlarmEvent| matches!(event.state, AlarmState::Latched | AlarmState::Cleared);
    let end = events.iter().find(over).map(|event| event.utc);
    let strip = running.store.strip(id.at_end()).await?;
    let (end, strip) = end
        .zip(strip)
        .ok_or_else(|| Error::NotFound(format!("no strip of the end of alarm {id} yet")))?;
    Ok(Json(json::Strip::of_alarm(&row, end, &strip)))
}

/// Which episodes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct FindingQuery {
    /// That end at or after this instant, RFC 3339.
    since: Option<String>,
    /// That begin before this instant, RFC 3339.
    until: Option<String>,
    /// At most so many, 100 without it, 1000 at most.
    limit: Option<u32>,
}

impl FindingQuery {
    /// The span that is asked for, and the most rows.
    fn span(&self) -> Result<(std::ops::Range<ecg::Utc>, u32), Error> {
        let since = instant(self.since.as_deref())?.unwrap_or(ecg::Utc(i64::MIN));
        let until = instant(self.until.as_deref())?.unwrap_or(ecg::Utc(i64::MAX));
        Ok((since..until, limit(self.limit)?))
    }
}

/// What was found in the signals of a device, episode by episode, the newest first.
#[utoipa::path(get, path = "/api/v1/devices/{device}/findings", params(("device" = String, Path), FindingQuery),
    responses((status = 200, body = json::Episodes), (status = 422, body = json::Failure)))]
pub(super) async fn findings(
    State(service): Shared,
    Path(name): Path<String>,
    asked: Result<Query<FindingQuery>, QueryRejection>,
) -> Answer<json::Episodes> {
    let device = device_id(&name)?;
    let (span, limit) = query(asked)?.span()?;
    let store = &service.running()?.store;
    let rows = store.findings(&device, span, limit).await?;
    Ok(Json(json::Episodes {
        episodes: rows.iter().map(json::Episode::from).collect(),
    }))
}

/// Alarms of a device that were not raised although their rule was met, the newest first, and why.
#[utoipa::path(get, path = "/api/v1/devices/{device}/suppressed", params(("device" = String, Path), FindingQuery),
    responses((status = 200, body = json::Suppressed), (status = 422, body = json::Failure)))]
pub(super) async fn suppressed(
    State(service): Shared,
    Path(name): Path<String>,
    asked: Result<Query<FindingQuery>, QueryRejection>,
) -> Answer<json::Suppressed> {
    let device = device_id(&name)?;
    let (span, limit) = query(asked)?.span()?;
    let store = &service.running()?.store;
    let rows = store.suppressions(&device, span, limit).await?;
    Ok(Json(json::Suppressed {
        alarms: rows.iter().map(json::HeldBack::from).collect(),
    }))
}

/// Which minutes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct TrendQuery {
    /// Of this device.
    device: String,
    /// From this instant on, RFC 3339; the last 24 hours without it.
    from: Option<String>,
    /// Before this instant, RFC 3339; now without it.
    to: Option<String>,
}

/// Minutes of a device, oldest first.
#[utoipa::path(get, path = "/api/v1/trends", params(TrendQuery),
    responses((status = 200, body = json::Trends), (status = 422, body = json::Failure)))]
pub(super) async fn trends(
    State(service): Shared,
    asked: Result<Query<TrendQuery>, QueryRejection>,
) -> Answer<json::Trends> {
    let asked = query(asked)?;
    let device = device_id(&asked.device)?;
    let to = instant(asked.to.as_deref())?.unwrap_or_else(utc);
    let from = instant(asked.from.as_deref())?.unwrap_or(to.plus_seconds(-86_400.0));
    let seconds = to.seconds_since(from);
    if seconds < 0.0 || seconds > 32.0 * 86_400.0 {
        return Err(Error::Invalid(format!(
            "`from` to `to` are {seconds} s, where 0 to 32 days are allowed"
        )));
    }
    let minutes = service.running()?.store.trends(&device, from..to).await?;
    Ok(Json(json::Trends {
        trends: minutes.iter().map(json::Trend::from).collect(),
    }))
}
