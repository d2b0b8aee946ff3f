//! What is asked of a patient, whichever device is worn: limits, what is proposed for them, days.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Json;
use serde::Deserialize;
use store::PatientId;
use utoipa::IntoParams;

use super::api::{Answer, Shared, body, limit, person, query, refused};
use super::error::Error;
use super::{Running, Service};
use crate::day::{Day, first_minutes};
use crate::limits::{check, own};
use crate::proposal::{FULL_MINUTES, is_usable, propose};
use crate::wall::{parse_day, utc};

pub(super) mod json;

/// The alarm limits of a known patient, as they are stored.
async fn stored(running: &Running, patient: &PatientId) -> Result<ecg::PatientLimits, Error> {
    let limits = running.store.limits(patient).await?;
    limits.ok_or_else(|| Error::NotFound(format!("no patient {patient}")))
}

/// Lets every device of a patient use the limits that are stored now; what they are.
pub(super) async fn apply(
    service: &Service,
    running: &Running,
    patient: &PatientId,
) -> Result<json::PatientLimits, Error> {
    let limits = own(stored(running, patient).await?, &service.alarm);
    for row in running.store.devices().await? {
        if row.patient.as_ref() == Some(patient) {
            running.handle.set_limits(row.device, limits).await;
        }
    }
    Ok(json::PatientLimits::new(patient, limits, &service.alarm))
}

/// The alarm limits of a patient: the own ones, and what is in force.
#[utoipa::path(get, path = "/api/v1/patients/{patient}/limits", params(("patient" = String, Path)),
    responses((status = 200, body = json::PatientLimits), (status = 404, body = super::json::Failure)))]
pub(super) async fn limits(
    State(service): Shared,
    Path(name): Path<String>,
) -> Answer<json::PatientLimits> {
    let running = service.running()?;
    let patient: PatientId = name.parse().map_err(refused)?;
    let limits = own(stored(running, &patient).await?, &service.alarm);
    Ok(Json(json::PatientLimits::new(
        &patient,
        limits,
        &service.alarm,
    )))
}

/// Replaces the alarm limits of a patient: what is absent is as on the ward from then on. They hold from the next sample
/// that is not judged yet, on every device the patient wears, and are kept with who set them.
#[utoipa::path(put, path = "/api/v1/patients/{patient}/limits", params(("patient" = String, Path)),
    request_body = json::PutLimits,
    responses((status = 200, body = json::PatientLimits), (status = 404, body = super::json::Failure),
        (status = 422, body = super::json::Failure)))]
pub(super) async fn put_limits(
    State(service): Shared,
    Path(name): Path<String>,
    asked: Result<Json<json::PutLimits>, JsonRejection>,
) -> Answer<json::PatientLimits> {
    let running = service.running()?;
    let patient: PatientId = name.parse().map_err(refused)?;
    let asked = body(asked)?;
    let by = person(&asked.by)?;
    let limits = check(asked.limits.read()?, &service.alarm).map_err(refused)?;
    let _one_at_a_time = service.changes.lock().await;
    stored(running, &patient).await?;
    running
        .store
        .set_limits(&patient, limits.asked(), by, utc())
        .await?;
    apply(&service, running, &patient).await.map(Json)
}

/// How many changes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeQuery {
    /// At most so many, 100 without it, 1000 at most.
    limit: Option<u32>,
}

/// Every change of a patient's limits: who, when, before and after; the newest first.
#[utoipa::path(get, path = "/api/v1/patients/{patient}/limits/changes",
    params(("patient" = String, Path), ChangeQuery),
    responses((status = 200, body = json::LimitChanges), (status = 404, body = super::json::Failure),
        (status = 422, body = super::json::Failure)))]
pub(super) async fn limit_changes(
    State(service): Shared,
    Path(name): Path<String>,
    asked: Result<Query<ChangeQuery>, QueryRejection>,
) -> Answer<json::LimitChanges> {
    let running = service.running()?;
    let patient: PatientId = name.parse().map_err(refused)?;
    let most = limit(query(asked)?.limit)?;
    stored(running, &patient).await?;
    let changes = running.store.limit_changes(&patient, most).await?;
    Ok(Json(json::LimitChanges {
        changes: changes.iter().map(json::LimitChange::from).collect(),
    }))
}

/// The table of conditions: what is alarmed on, how urgently, when it begins and ends, and from what it is told.
#[utoipa::path(get, path = "/api/v1/conditions", responses((status = 200, body = json::Conditions)))]
pub(super) async fn conditions() -> Json<json::Conditions> {
    Json(json::Conditions {
        conditions: alarm::table().iter().map(json::Condition::from).collect(),
    })
}

/// Limits from what is usual for the patient: how they rest on the first day of signal, one line each. They are only
/// proposed: they hold when somebody puts them as limits.
#[utoipa::path(get, path = "/api/v1/patients/{patient}/limits/proposal", params(("patient" = String, Path)),
    responses((status = 200, body = json::Proposal), (status = 404, body = super::json::Failure)))]
pub(super) async fn proposal(
    State(service): Shared,
    Path(name): Path<String>,
) -> Answer<json::Proposal> {
    let running = service.running()?;
    let patient: PatientId = name.parse().map_err(refused)?;
    let limits = own(stored(running, &patient).await?, &service.alarm);
    let store = &running.store;
    let minutes = first_minutes(store, &patient, utc(), FULL_MINUTES, is_usable).await?;
    let usual = store.baseline(&patient).await?;
    let usual = usual.as_deref().and_then(crate::usual::parse);
    let proposal = propose(
        minutes.values(),
        usual.as_deref(),
        limits.asked(),
        &service.alarm.in_force(limits),
        &service.alarm.in_force(alarm::Limits::default()),
    );
    Ok(Json(json::Proposal::new(
        &minutes,
        proposal,
        json::PatientLimits::new(&patient, limits, &service.alarm),
    )))
}

/// Whose days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct DayQuery {
    /// The minutes by which local time is ahead of UTC, -840 to 840; 0 without it.
    #[serde(default)]
    tz: i64,
}

/// Which days.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct DaysQuery {
    /// The first day, such as `2026-11-26`.
    from: String,
    /// The last day; at most 31 of them.
    to: String,
    /// The minutes by which local time is ahead of UTC, -840 to 840; 0 without it.
    #[serde(default)]
    tz: i64,
}

const DAY_SECONDS: f64 = 86_400.0;
const MOST_DAYS: f64 = 31.0;

/// A day that begins at `midnight` of local time, taken for UTC.
async fn day_of(
    running: &Running,
    patient: &PatientId,
    midnight: ecg::Utc,
    tz: i64,
) -> Result<json::Day, Error> {
    let start = midnight.plus_seconds(-60.0 * tz as f64);
    let span = start..start.plus_seconds(DAY_SECONDS);
    let day = Day::read(&running.store, patient, span).await?;
    Ok(json::Day::new(midnight, &day))
}

fn checked_tz(tz: i64) -> Result<i64, Error> {
    if (-840..=840).contains(&tz) {
        return Ok(tz);
    }
    Err(Error::Invalid(format!(
        "`tz` is {tz}, where -840 to 840 minutes are allowed"
    )))
}

/// A day of a patient in numbers: signal, rates, beats, findings and alarms, whatever devices were worn.
#[utoipa::path(get, path = "/api/v1/patients/{patient}/days/{day}",
    params(("patient" = String, Path), ("day" = String, Path, description = "Such as `2026-11-26`"), DayQuery),
    responses((status = 200, body = json::Day), (status = 404, body = super::json::Failure),
        (status = 422, body = super::json::Failure)))]
pub(super) async fn day(
    State(service): Shared,
    Path((name, day)): Path<(String, String)>,
    asked: Result<Query<DayQuery>, QueryRejection>,
) -> Answer<json::Day> {
    let running = service.running()?;
    let patient: PatientId = name.parse().map_err(refused)?;
    let midnight = parse_day(&day).map_err(Error::Invalid)?;
    let tz = checked_tz(query(asked)?.tz)?;
    stored(running, &patient).await?;
    day_of(running, &patient, midnight, tz).await.map(Json)
}

/// Days of a patient in numbers, the oldest first.
#[utoipa::path(get, path = "/api/v1/patients/{patient}/days", params(("patient" = String, Path), DaysQuery),
    responses((status = 200, body = json::Days), (status = 404, body = super::json::Failure),
        (status = 422, body = super::json::Failure)))]
pub(super) async fn days(
    State(service): Shared,
    Path(name): Path<String>,
    asked: Result<Query<DaysQuery>, QueryRejection>,
) -> Answer<json::Days> {
    let running = service.running()?;
    let patient: PatientId = name.parse().map_err(refused)?;
    let asked = query(asked)?;
    let from = parse_day(&asked.from).map_err(Error::Invalid)?;
    let to = parse_day(&asked.to).map_err(Error::Invalid)?;
    let tz = checked_tz(asked.tz)?;
    let n_days = to.seconds_since(from) / DAY_SECONDS + 1.0;
    if n_days < 1.0 || n_days > MOST_DAYS {
        return Err(Error::Invalid(format!(
            "`from` to `to` are {n_days:.0} days, where 1 to {MOST_DAYS} are allowed"
        )));
    }
    stored(running, &patient).await?;
    let mut days = Vec::new();
    let mut midnight = from;
    while midnight <= to {
        days.push(day_of(running, &patient, midnight, tz).await?);
        midnight = midnight.plus_seconds(DAY_SECONDS);
    }
    Ok(Json(json::Days { days }))
}
