//! What is asked of a patient, whichever device is worn: limits.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::response::Json;
use serde::Deserialize;
use store::PatientId;
use utoipa::IntoParams;

use super::api::{Answer, Shared, body, limit, person, query, refused};
use super::error::Error;
use super::{Running, Service};
use crate::limits::{check, own};
use crate::wall::utc;

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
