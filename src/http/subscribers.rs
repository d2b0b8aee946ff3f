//! The handlers of webhooks: who is told, and what has not arrived.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use ecg::{Condition, Priority};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use store::{
    Backlog, Delivery, DeliveryState, MessageKind, Subscriber, SubscriberFilter, SubscriberSettings,
};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::api::{Answer, Shared, body, limit, person, query};
use super::error::Error;
use super::{Running, json};
use crate::delivery::Key;
use crate::wall::{rfc3339, utc};

/// The most subscribers: each has a worker and a label in the metrics.
const MOST: usize = 64;
/// The longest URL, bytes.
const URL: usize = 2048;
/// The most words in a list.
const WORDS: usize = 1000;

/// Who is to be told, and of what.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetSubscriber {
    /// For people, 1 to 64 characters.
    name: String,
    /// Where messages are posted to, `http` or `https`.
    url: String,
    /// The key that they are signed with: `whsec_` and the base64 of 24 to 64 bytes. Never shown again; where a subscriber
    /// is changed and none is given, the key stays.
    #[schema(value_type = Option<String>, write_only)]
    secret: Option<SecretString>,
    /// Of this priority or a higher one; `low` without it.
    #[serde(default)]
    least_priority: Option<String>,
    /// Of these conditions; of every condition where it is empty.
    #[serde(default)]
    conditions: Vec<String>,
    /// `raised`, `acknowledged`, `latched`, `cleared`, `escalated`; every kind where it is empty.
    #[serde(default)]
    kinds: Vec<String>,
    /// Of these devices; of every device where it is empty.
    #[serde(default)]
    devices: Vec<String>,
    /// Of these patients; of everybody, and of devices that nobody wears, where it is empty.
    #[serde(default)]
    patients: Vec<String>,
    /// Who sets it, 1 to 64 characters.
    by: String,
}

/// Who is told, and of what.
#[derive(Serialize, ToSchema)]
pub(super) struct SubscriberJson {
    id: String,
    name: String,
    url: String,
    least_priority: &'static str,
    conditions: Vec<String>,
    kinds: Vec<&'static str>,
    devices: Vec<String>,
    patients: Vec<String>,
    created: String,
    changed: String,
    changed_by: String,
    /// Messages that it is still to get.
    pending: i64,
    /// Messages that wait for the end of a pause.
    held: i64,
    /// Messages that were given up.
    dead: i64,
}

impl SubscriberJson {
    fn new(subscriber: &Subscriber, backlog: &[Backlog]) -> Self {
        let backlog = backlog
            .iter()
            .find(|known| known.subscriber == subscriber.id);
        let filter = &subscriber.filter;
        Self {
            id: subscriber.id.to_string(),
            name: subscriber.name.clone(),
            url: subscriber.url.clone(),
            least_priority: filter.least_priority.name(),
            conditions: filter.conditions.clone(),
            kinds: filter.kinds.iter().map(|kind| kind.name()).collect(),
            devices: filter.devices.iter().map(ToString::to_string).collect(),
            patients: filter.patients.iter().map(ToString::to_string).collect(),
            created: rfc3339(subscriber.created),
            changed: rfc3339(subscriber.changed),
            changed_by: subscriber.changed_by.clone(),
            pending: backlog.map_or(0, |backlog| backlog.pending),
            held: backlog.map_or(0, |backlog| backlog.held),
            dead: backlog.map_or(0, |backlog| backlog.dead),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct Subscribers {
    subscribers: Vec<SubscriberJson>,
}

/// A message that a subscriber has not got.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryJson {
    /// The message: its `webhook-id`.
    message: String,
    /// `raised` and so on.
    kind: &'static str,
    alarm: String,
    device: String,
    condition: String,
    priority: &'static str,
    /// `pending`, `held`, `dead` or `skipped`.
    state: &'static str,
    attempts: u32,
    /// When what it tells happened.
    at: String,
    /// Since when it is to be sent.
    since: String,
    /// When it is tried next; null where it is not.
    next: Option<String>,
    /// What happened last, or why it is not sent.
    reason: Option<String>,
}

impl From<&Delivery> for DeliveryJson {
    fn from(delivery: &Delivery) -> Self {
        let message = &delivery.message;
        let is_pending = delivery.state == DeliveryState::Pending;
        Self {
            message: message.id.to_string(),
            kind: message.kind.name(),
            alarm: message.alarm.to_string(),
            device: message.record.device.to_string(),
            condition: message.condition.clone(),
            priority: message.priority.name(),
            state: delivery.state.name(),
            attempts: delivery.attempts,
            at: rfc3339(message.utc),
            since: rfc3339(delivery.since),
            next: is_pending.then(|| rfc3339(delivery.next)),
            reason: delivery.reason.clone(),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct Deliveries {
    deliveries: Vec<DeliveryJson>,
}

/// How many messages are tried again.
#[derive(Serialize, ToSchema)]
pub(super) struct Retried {
    messages: u64,
}

/// The words of a list, each as it must be.
fn words<T>(what: &str, list: &[String]) -> Result<Vec<T>, Error>
where
    T: FromStr<Err: Display>,
{
    if list.len() > WORDS {
        return Err(Error::Invalid(format!(
            "`{what}` has {} entries, where {WORDS} are allowed",
            list.len()
        )));
    }
    list.iter()
        .map(|word| {
            word.parse()
                .map_err(|error| Error::Invalid(format!("`{what}`: {error}")))
        })
        .collect()
}

fn kinds(list: &[String]) -> Result<Vec<MessageKind>, Error> {
    list.iter()
        .map(|name| {
            MessageKind::named(name).ok_or_else(|| {
                let known = MessageKind::ALL.map(MessageKind::name).join(", ");
                Error::Invalid(format!("`kinds`: {name:?} is none of {known}"))
            })
        })
        .collect()
}

/// Checks a URL that messages are to be posted to.
fn url(text: &str) -> Result<String, Error> {
    let refuse = |why: &str| Err(Error::Invalid(format!("`url` {why}")));
    if text.len() > URL {
        return refuse(&format!(
            "has {} bytes, where {URL} are allowed",
            text.len()
        ));
    }
    let Ok(url) = text.parse::<reqwest::Url>() else {
        return refuse("is no URL");
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse(&format!(
            "begins with {:?}, where http or https is needed",
            url.scheme()
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("holds a user or password: receivers know messages by their signature");
    }
    if url.fragment().is_some() {
        return refuse("has a fragment, which is not sent");
    }
    Ok(url.to_string())
}

fn settings(asked: SetSubscriber) -> Result<SubscriberSettings, Error> {
    let by = person(&asked.by)?.to_owned();
    let name = person(&asked.name)
        .map_err(|_| Error::Invalid("`name` is not 1 to 64 printable characters".to_owned()))?;
    if let Some(secret) = &asked.secret {
        Key::read(secret).map_err(Error::Invalid)?;
    }
    let least_priority = asked
        .least_priority
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|error: ecg::Error| Error::Invalid(format!("`least_priority`: {error}")))?;
    let conditions: Vec<Condition> = words("conditions", &asked.conditions)?;
    Ok(SubscriberSettings {
        name: name.to_owned(),
        url: url(&asked.url)?,
        secret: asked.secret,
        filter: SubscriberFilter {
            least_priority: least_priority.unwrap_or(Priority::Low),
            conditions: conditions.iter().map(ToString::to_string).collect(),
            kinds: kinds(&asked.kinds)?,
            devices: words("devices", &asked.devices)?,
            patients: words("patients", &asked.patients)?,
        },
        by,
    })
}

fn id(text: &str) -> Result<Uuid, Error> {
    text.parse()
        .map_err(|error| Error::Invalid(format!("id {text:?}: {error}")))
}

async fn find(running: &Running, id: Uuid) -> Result<SubscriberJson, Error> {
    let found = running.store.subscriber(id).await?;
    let found = found.ok_or_else(|| missing(id))?;
    Ok(SubscriberJson::new(&found, &running.store.backlog().await?))
}

fn missing(id: Uuid) -> Error {
    Error::NotFound(format!("no subscriber {id}"))
}

/// Every subscriber.
#[utoipa::path(get, path = "/api/v1/subscribers", responses((status = 200, body = Subscribers)))]
pub(super) async fn list(State(service): Shared) -> Answer<Subscribers> {
    let store = &service.running()?.store;
    let (subscribers, backlog) = (store.subscribers().await?, store.backlog().await?);
    Ok(Json(Subscribers {
        subscribers: subscribers
            .iter()
            .map(|subscriber| SubscriberJson::new(subscriber, &backlog))
            .collect(),
    }))
}

/// Adds a subscriber, who is told of what happens from now on.
#[utoipa::path(post, path = "/api/v1/subscribers", request_body = SetSubscriber,
    responses((status = 201, body = SubscriberJson), (status = 409, body = json::Failure),
        (status = 422, body = json::Failure)))]
pub(super) async fn add(
    State(service): Shared,
    asked: Result<Json<SetSubscriber>, JsonRejection>,
) -> Result<(StatusCode, Json<SubscriberJson>), Error> {
    let running = service.running()?;
    let settings = settings(body(asked)?)?;
    if settings.secret.is_none() {
        return Err(Error::Invalid("`secret` is missing".into()));
    }
    let known = running.store.subscribers().await?.len();
    if known >= MOST {
        return Err(Error::Conflict(format!(
            "there are {known} subscribers, where {MOST} are allowed"
        )));
    }
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    running.store.add_subscriber(id, &settings, utc()).await?;
    service.outgoing.reload();
    Ok((StatusCode::CREATED, Json(find(running, id).await?)))
}

/// One subscriber.
#[utoipa::path(get, path = "/api/v1/subscribers/{id}", params(("id" = String, Path)),
    responses((status = 200, body = SubscriberJson), (status = 404, body = json::Failure)))]
pub(super) async fn one(
    State(service): Shared,
    Path(subscriber): Path<String>,
) -> Answer<SubscriberJson> {
    find(service.running()?, id(&subscriber)?).await.map(Json)
}

/// Changes a subscriber: everything but the secret is set anew. What was already to be delivered stays so.
#[utoipa::path(put, path = "/api/v1/subscribers/{id}", params(("id" = String, Path)),
    request_body = SetSubscriber,
    responses((status = 200, body = SubscriberJson), (status = 404, body = json::Failure),
        (status = 422, body = json::Failure)))]
pub(super) async fn change(
    State(service): Shared,
    Path(subscriber): Path<String>,
    asked: Result<Json<SetSubscriber>, JsonRejection>,
) -> Answer<SubscriberJson> {
    let running = service.running()?;
    let id = id(&subscriber)?;
    let settings = settings(body(asked)?)?;
    if !running
        .store
        .change_subscriber(id, &settings, utc())
        .await?
    {
        return Err(missing(id));
    }
    service.outgoing.reload();
    find(running, id).await.map(Json)
}

/// Removes a subscriber with everything that it has not got.
#[utoipa::path(delete, path = "/api/v1/subscribers/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = json::Failure)))]
pub(super) async fn remove(
    State(service): Shared,
    Path(subscriber): Path<String>,
) -> Result<StatusCode, Error> {
    let id = id(&subscriber)?;
    if !service.running()?.store.remove_subscriber(id).await? {
        return Err(missing(id));
    }
    service.outgoing.reload();
    Ok(StatusCode::NO_CONTENT)
}

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct DeliveryQuery {
    /// `pending`, `held`, `dead` or `skipped`; all of them without it.
    state: Option<String>,
    /// At most so many, 100 without it, 1000 at most.
    limit: Option<u32>,
}

/// What a subscriber has not got, the newest first.
#[utoipa::path(get, path = "/api/v1/subscribers/{id}/deliveries",
    params(("id" = String, Path), DeliveryQuery),
    responses((status = 200, body = Deliveries), (status = 404, body = json::Failure),
        (status = 422, body = json::Failure)))]
pub(super) async fn deliveries(
    State(service): Shared,
    Path(subscriber): Path<String>,
    asked: Result<Query<DeliveryQuery>, QueryRejection>,
) -> Answer<Deliveries> {
    let running = service.running()?;
    let id = id(&subscriber)?;
    let asked = query(asked)?;
    let limit = limit(asked.limit)?;
    let state = |name: String| {
        DeliveryState::named(&name).ok_or_else(|| {
            let known = DeliveryState::ALL.map(DeliveryState::name).join(", ");
            Error::Invalid(format!("`state` is {name:?}, none of {known}"))
        })
    };
    let state = asked.state.map(state).transpose()?;
    find(running, id).await?;
    let rows = running.store.deliveries(id, state, limit).await?;
    Ok(Json(Deliveries {
        deliveries: rows.iter().map(DeliveryJson::from).collect(),
    }))
}

/// Tries everything again that was given up.
#[utoipa::path(post, path = "/api/v1/subscribers/{id}/deliveries/retry",
    params(("id" = String, Path)),
    responses((status = 200, body = Retried), (status = 404, body = json::Failure)))]
pub(super) async fn retry_all(
    State(service): Shared,
    Path(subscriber): Path<String>,
) -> Answer<Retried> {
    let running = service.running()?;
    let id = id(&subscriber)?;
    find(running, id).await?;
    let messages = running.store.retry(id, None, utc()).await?;
    service.outgoing.reload();
    Ok(Json(Retried { messages }))
}

/// Tries one message again that was given up.
#[utoipa::path(post, path = "/api/v1/subscribers/{id}/deliveries/{message}/retry",
    params(("id" = String, Path), ("message" = String, Path)),
    responses((status = 200, body = Retried), (status = 404, body = json::Failure),
        (status = 409, body = json::Failure)))]
pub(super) async fn retry(
    State(service): Shared,
    Path((subscriber, message)): Path<(String, String)>,
) -> Answer<Retried> {
    let running = service.running()?;
    let (subscriber, message) = (id(&subscriber)?, id(&message)?);
    find(running, subscriber).await?;
    let messages = running
        .store
        .retry(subscriber, Some(message), utc())
        .await?;
    if messages == 0 {
        return Err(Error::Conflict(format!(
            "message {message} is not one that was given up"
        )));
    }
    service.outgoing.reload();
    Ok(Json(Retried { messages }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_named_with_its_limit() {
        let good = serde_json::json!({
            "name": "pager", "url": "https://pager.example/hook", "by": "Ada",
            "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        });
        let read = |value: serde_json::Value| {
            let asked: SetSubscriber = serde_json::from_value(value).unwrap();
            settings(asked).map_err(|error| error.to_string())
        };
        let settings = read(good.clone()).unwrap();
        assert_eq!(settings.filter, SubscriberFilter::default());
        for (key, value, why) in [
            ("url", serde_json::json!("ftp://x/"), "\"ftp\""),
            ("url", serde_json::json!("http://a:b@x/"), "password"),
            ("url", serde_json::json!("pager"), "no URL"),
            ("url", serde_json::json!("http://x/#a"), "fragment"),
            (
                "url",
                serde_json::json!(format!("http://x/{}", "y".repeat(3000))),
                "3009 bytes, where 2048",
            ),
            ("secret", serde_json::json!("hunter2"), "whsec_"),
            ("name", serde_json::json!(""), "`name`"),
            ("by", serde_json::json!(" "), "`by`"),
            ("least_priority", serde_json::json!("urgent"), "urgent"),
            ("conditions", serde_json::json!(["sorrow"]), "sorrow"),
            (
                "kinds",
                serde_json::json!(["born"]),
                "\"born\" is none of raised",
            ),
            ("devices", serde_json::json!(["a b"]), "a b"),
            ("patients", serde_json::json!(["Jane Doe"]), "Jane Doe"),
        ] {
            let mut bad = good.clone();
            bad[key] = value;
            let error = read(bad).unwrap_err();
            assert!(
                error.contains(why) && !error.contains("hunter2"),
                "{key}: {error}"
            );
        }
    }
}
