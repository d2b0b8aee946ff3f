//! Webhooks: who is told, of what, and how far that is.

use ecg::{DeviceId, Priority, Utc};
use secrecy::{ExposeSecret, SecretString};
use uuid::Uuid;

use crate::database::{in_transaction, read};
use crate::devices::named;
use crate::rows::{text, word};
use crate::{Error, MessageKind, PatientId, Store};

/// Which messages a subscriber wants. Empty lists let everything through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberFilter {
    /// Of this priority or a higher one.
    pub least_priority: Priority,
    /// Of these conditions.
    pub conditions: Vec<String>,
    /// Of these kinds.
    pub kinds: Vec<MessageKind>,
    /// Of these devices.
    pub devices: Vec<DeviceId>,
    /// Of these patients.
    pub patients: Vec<PatientId>,
}

impl Default for SubscriberFilter {
    fn default() -> Self {
        Self {
            least_priority: Priority::Low,
            conditions: Vec::new(),
            kinds: Vec::new(),
            devices: Vec::new(),
            patients: Vec::new(),
        }
    }
}

/// What can be set of a subscriber.
#[derive(Debug, Clone)]
pub struct SubscriberSettings {
    /// For people.
    pub name: String,
    /// Where messages are posted to.
    pub url: String,
    /// The key that they are signed with; `None` keeps the one there is.
    pub secret: Option<SecretString>,
    /// Which messages.
    pub filter: SubscriberFilter,
    /// Who sets it.
    pub by: String,
}

/// A webhook.
#[derive(Debug, Clone)]
pub struct Subscriber {
    /// Its id.
    pub id: Uuid,
    /// For people.
    pub name: String,
    /// Where messages are posted to.
    pub url: String,
    /// The key that they are signed with.
    pub secret: SecretString,
    /// Which messages.
    pub filter: SubscriberFilter,
    /// When it was made.
    pub created: Utc,
    /// When it was last changed.
    pub changed: Utc,
    /// By whom.
    pub changed_by: String,
    /// Every message up to this one was looked at.
    pub read_until: i64,
}

/// The columns of [`Columns`].
macro_rules! columns {
    () => {
        "SELECT subscriber, name, url, secret, least_priority, conditions, kinds, devices, patients, created_utc,
            changed_utc, changed_by, read_until
         FROM subscribers"
    };
}

impl Store {
    /// Every subscriber, the oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn subscribers(&self) -> Result<Vec<Subscriber>, Error> {
        let rows: Vec<Columns> = read!(self, pool => sqlx::query_as(concat!(
            columns!(),
            " ORDER BY created_utc, subscriber"
        ))
        .fetch_all(pool)
        .await)?;
        rows.into_iter().map(Columns::read).collect()
    }

    /// One subscriber.
    ///
    /// # Errors
    /// What the database says.
    pub async fn subscriber(&self, id: Uuid) -> Result<Option<Subscriber>, Error> {
        let row: Option<Columns> = read!(self, pool => sqlx::query_as(concat!(
            columns!(),
            " WHERE subscriber = $1"
        ))
        .bind(id)
        .fetch_optional(pool)
        .await)?;
        row.map(Columns::read).transpose()
    }

    /// Adds a subscriber, who is told of what is stored from now on.
    ///
    /// # Errors
    /// [`Error::Refused`] where nobody is named or a secret is missing, else what the database says.
    pub async fn add_subscriber(
        &self,
        id: Uuid,
        settings: &SubscriberSettings,
        at: Utc,
    ) -> Result<(), Error> {
        let by = named(&settings.by)?;
        let secret = settings.secret.as_ref();
        let secret =
            secret.ok_or_else(|| Error::Refused("a subscriber without a secret".to_owned()))?;
        let words = Words::of(&settings.filter);
        in_transaction!(self, connection => {
            sqlx::query(
                "INSERT INTO subscribers (subscriber, name, url, secret, least_priority, conditions, kinds, devices,
                    patients, created_utc, changed_utc, changed_by, read_until)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $11,
                    (SELECT COALESCE(MAX(seq), 0) FROM outbox))",
            )
            .bind(id)
            .bind(text("name", &settings.name)?)
            .bind(text("url", &settings.url)?)
            .bind(text("secret", secret.expose_secret())?)
            .bind(settings.filter.least_priority.name())
            .bind(&words.conditions)
            .bind(&words.kinds)
            .bind(&words.devices)
            .bind(&words.patients)
            .bind(at.0)
            .bind(by)
            .execute(&mut *connection)
            .await?;
        });
        Ok(())
    }

    /// Changes a subscriber; false if there is none. What is already to be delivered stays so.
    ///
    /// # Errors
    /// [`Error::Refused`] where nobody is named, else what the database says.
    pub async fn change_subscriber(
        &self,
        id: Uuid,
        settings: &SubscriberSettings,
        at: Utc,
    ) -> Result<bool, Error> {
        let by = named(&settings.by)?;
        let words = Words::of(&settings.filter);
        let secret = settings.secret.as_ref().map(ExposeSecret::expose_secret);
        let found = in_transaction!(self, connection => {
            let changed = sqlx::query(
                "UPDATE subscribers SET name = $2, url = $3, secret = COALESCE($4, secret), least_priority = $5,
                    conditions = $6, kinds = $7, devices = $8, patients = $9, changed_utc = $10, changed_by = $11
                 WHERE subscriber = $1",
            )
            .bind(id)
            .bind(text("name", &settings.name)?)
            .bind(text("url", &settings.url)?)
            .bind(secret.map(|secret| text("secret", secret)).transpose()?)
            .bind(settings.filter.least_priority.name())
            .bind(&words.conditions)
            .bind(&words.kinds)
            .bind(&words.devices)
            .bind(&words.patients)
            .bind(at.0)
            .bind(by)
            .execute(&mut *connection)
            .await?;
            changed.rows_affected() > 0
        });
        Ok(found)
    }

    /// Removes a subscriber with all that is still to be delivered; false if there is none.
    ///
    /// # Errors
    /// What the database says.
    pub async fn remove_subscriber(&self, id: Uuid) -> Result<bool, Error> {
        let found = in_transaction!(self, connection => {
            let removed = sqlx::query("DELETE FROM subscribers WHERE subscriber = $1")
                .bind(id)
                .execute(&mut *connection)
                .await?;
            removed.rows_affected() > 0
        });
        Ok(found)
    }
}

/// The lists of a filter as columns hold them. None of the words can hold a space.
struct Words {
    conditions: String,
    kinds: String,
    devices: String,
    patients: String,
}

impl Words {
    fn of(filter: &SubscriberFilter) -> Self {
        let devices: Vec<_> = filter.devices.iter().map(DeviceId::as_str).collect();
        let patients: Vec<_> = filter.patients.iter().map(PatientId::as_str).collect();
        let kinds: Vec<_> = filter.kinds.iter().map(|kind| kind.name()).collect();
        Self {
            conditions: filter.conditions.join(" "),
            kinds: kinds.join(" "),
            devices: devices.join(" "),
            patients: patients.join(" "),
        }
    }
}

#[derive(sqlx::FromRow)]
struct Columns {
    subscriber: Uuid,
    name: String,
    url: String,
    secret: String,
    least_priority: String,
    conditions: String,
    kinds: String,
    devices: String,
    patients: String,
    created_utc: i64,
    changed_utc: i64,
    changed_by: String,
    read_until: i64,
}

impl Columns {
    fn read(self) -> Result<Subscriber, Error> {
        let kind = |name: &str| {
            MessageKind::named(name)
                .ok_or_else(|| Error::Corrupt(format!("unknown message kind {name:?}")))
        };
        Ok(Subscriber {
            id: self.subscriber,
            name: self.name,
            url: self.url,
            secret: self.secret.into(),
            filter: SubscriberFilter {
                least_priority: word(&self.least_priority)?,
                conditions: self
                    .conditions
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect(),
                kinds: self
                    .kinds
                    .split_whitespace()
                    .map(kind)
                    .collect::<Result<_, _>>()?,
                devices: self
                    .devices
                    .split_whitespace()
                    .map(word)
                    .collect::<Result<_, _>>()?,
                patients: self
                    .patients
                    .split_whitespace()
                    .map(PatientId::stored)
                    .collect::<Result<_, _>>()?,
            },
            created: Utc(self.created_utc),
            changed: Utc(self.changed_utc),
            changed_by: self.changed_by,
            read_until: self.read_until,
        })
    }
}
