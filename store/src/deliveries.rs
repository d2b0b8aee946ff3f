//! What subscribers have not got (yet). A message that arrived has no row.

use ecg::{AlarmId, DeviceId, Priority, Utc};
use uuid::Uuid;

use crate::database::{in_transaction, read};
use crate::outbox::{MessageColumns, message_columns};
use crate::rows::{text, unsigned32, word};
use crate::{Error, Message, MessageKind, Store};

/// Why a message has not arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// It is to be sent.
    Pending,
    /// Its device is paused.
    Held,
    /// It was given up.
    Dead,
    /// Its alarm came and went while the device was paused.
    Skipped,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [DeliveryState; 4] = [Self::Pending, Self::Held, Self::Dead, Self::Skipped];

    /// The word for it in rows and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Held => "held",
            Self::Dead => "dead",
            Self::Skipped => "skipped",
        }
    }

    /// The state of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// A message that a subscriber has not got.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// The priority of its alarm by now, or its own if that is higher.
    pub priority: Priority,
    /// Why it has not arrived.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When to try again.
    pub next: Utc,
    /// Since when it is to be sent.
    pub since: Utc,
    /// What happened last, or why it is not sent.
    pub reason: Option<String>,
}

/// A message that a subscriber is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// The message.
    pub seq: i64,
    /// Its device.
    pub device: DeviceId,
    /// [`DeliveryState::Pending`] or [`DeliveryState::Held`].
    pub state: DeliveryState,
}

/// What a decision about a message that is held needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The message.
    pub seq: i64,
    /// Its alarm.
    pub alarm: AlarmId,
    /// The device.
    pub device: DeviceId,
    /// What it tells.
    pub kind: MessageKind,
    /// The priority of its alarm by now.
    pub priority: Priority,
    /// Whether its alarm is not cleared.
    pub is_open: bool,
}

/// What an attempt has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// [`DeliveryState::Pending`] to try again, or [`DeliveryState::Dead`].
    pub state: DeliveryState,
    /// When to try again.
    pub next: Utc,
    /// What went wrong.
    pub reason: String,
}

/// How much a subscriber has not got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Who.
    pub subscriber: Uuid,
    /// To be sent.
    pub pending: i64,
    /// Waiting for the end of a pause.
    pub held: i64,
    /// Given up.
    pub dead: i64,
    /// When the oldest of those to be sent was stored.
    pub oldest: Option<Utc>,
}

/// The columns of [`DeliveryColumns`].
macro_rules! delivery_columns {
    () => {
        concat!(
            "SELECT d.state, d.attempts, d.next_utc, d.since_utc, d.reason, a.priority AS alarm_priority, ",
            message_columns!(),
            " FROM deliveries d JOIN outbox o ON o.seq = d.seq LEFT JOIN alarms a ON a.alarm = o.alarm
              WHERE d.subscriber = $1"
        )
    };
}

impl Store {
    /// Notes that `subscriber`, who had looked at every message up to `from`, has looked at those up to `to`, of which
    /// `rows` are to be delivered; false, and nothing is noted, if somebody else did or the subscriber is gone.
    ///
    /// # Errors
    /// What the database says.
    pub async fn fan_out(
        &self,
        subscriber: Uuid,
        from: i64,
        to: i64,
        rows: &[NewDelivery],
        now: Utc,
    ) -> Result<bool, Error> {
        let noted = in_transaction!(self, connection => {
            let moved = sqlx::query(
                "UPDATE subscribers SET read_until = $3 WHERE subscriber = $1 AND read_until = $2",
            )
            .bind(subscriber)
            .bind(from)
            .bind(to)
            .execute(&mut *connection)
            .await?;
            let noted = moved.rows_affected() > 0;
            for row in rows.iter().filter(|_| noted) {
                sqlx::query(
                    "INSERT INTO deliveries (subscriber, seq, device, state, next_utc, since_utc)
                     VALUES ($1, $2, $3, $4, $5, $5)
                     ON CONFLICT (subscriber, seq) DO NOTHING",
                )
                .bind(subscriber)
                .bind(row.seq)
                .bind(row.device.as_str())
                .bind(row.state.name())
                .bind(now.0)
                .execute(&mut *connection)
                .await?;
            }
            noted
        });
        Ok(noted)
    }

    /// The first message of each device that is to be sent to a subscriber, those to be tried first at the beginning.
    ///
    /// # Errors
    /// What the database says.
    pub async fn heads(&self, subscriber: Uuid, limit: u32) -> Result<Vec<Delivery>, Error> {
        let rows: Vec<DeliveryColumns> = read!(self, pool => sqlx::query_as(concat!(
            delivery_columns!(),
            " AND d.state = 'pending' AND NOT EXISTS (
                SELECT 1 FROM deliveries x WHERE x.subscriber = d.subscriber AND x.device = d.device
                    AND x.state = 'pending' AND x.seq < d.seq)
              ORDER BY d.next_utc, d.seq LIMIT $2"
        ))
        .bind(subscriber)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await)?;
        rows.into_iter().map(DeliveryColumns::read).collect()
    }

    /// The first message of one device that is to be sent to a subscriber.
    ///
    /// # Errors
    /// What the database says.
    pub async fn head(
        &self,
        subscriber: Uuid,
        device: &DeviceId,
    ) -> Result<Option<Delivery>, Error> {
        let row: Option<DeliveryColumns> = read!(self, pool => sqlx::query_as(concat!(
            delivery_columns!(),
            " AND d.device = $2 AND d.state = 'pending' ORDER BY d.seq LIMIT 1"
        ))
        .bind(subscriber)
        .bind(device.as_str())
        .fetch_optional(pool)
        .await)?;
        row.map(DeliveryColumns::read).transpose()
    }

    /// The messages of a subscriber that are held, in order, each with how its alarm stands.
    ///
    /// # Errors
    /// What the database says.
    pub async fn held(&self, subscriber: Uuid) -> Result<Vec<Held>, Error> {
        let rows: Vec<(i64, Uuid, String, String, String, bool)> = read!(self, pool => sqlx::query_as(
            "SELECT d.seq, o.alarm, o.device, o.kind, a.priority, a.state <> 'cleared'
             FROM deliveries d JOIN outbox o ON o.seq = d.seq JOIN alarms a ON a.alarm = o.alarm
             WHERE d.subscriber = $1 AND d.state = 'held' ORDER BY d.seq",
        )
        .bind(subscriber)
        .fetch_all(pool)
        .await)?;
        rows.into_iter()
            .map(|(seq, alarm, device, kind, priority, is_open)| {
                Ok(Held {
                    seq,
                    alarm: AlarmId(alarm),
                    device: word(&device)?,
                    kind: MessageKind::named(&kind)
                        .ok_or_else(|| Error::Corrupt(format!("unknown message kind {kind:?}")))?,
                    priority: word(&priority)?,
                    is_open,
                })
            })
            .collect()
    }

    /// Moves messages of a subscriber to other states, all or none; those to be sent may be tried at `now`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn settle(
        &self,
        subscriber: Uuid,
        moves: &[(i64, DeliveryState, Option<&str>)],
        now: Utc,
    ) -> Result<(), Error> {
        in_transaction!(self, connection => {
            for &(seq, state, reason) in moves {
                sqlx::query(
                    "UPDATE deliveries SET state = $3, reason = $4, next_utc = $5, since_utc = $5
                     WHERE subscriber = $1 AND seq = $2",
                )
                .bind(subscriber)
                .bind(seq)
                .bind(state.name())
                .bind(reason)
                .bind(now.0)
                .execute(&mut *connection)
                .await?;
            }
        });
        Ok(())
    }

    /// Notes that a message has arrived.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delivered(&self, subscriber: Uuid, seq: i64) -> Result<(), Error> {
        in_transaction!(self, connection => {
            sqlx::query("DELETE FROM deliveries WHERE subscriber = $1 AND seq = $2")
                .bind(subscriber)
                .bind(seq)
                .execute(&mut *connection)
                .await?;
        });
        Ok(())
    }

    /// Notes that an attempt has failed.
    ///
    /// # Errors
    /// What the database says.
    pub async fn failed(&self, subscriber: Uuid, seq: i64, outcome: &Outcome) -> Result<(), Error> {
        // What a receiver answered may hold anything.
        let reason = text("reason", &outcome.reason).unwrap_or("an answer with a NUL character");
        in_transaction!(self, connection => {
            sqlx::query(
                "UPDATE deliveries SET attempts = attempts + 1, state = $3, next_utc = $4, reason = $5
                 WHERE subscriber = $1 AND seq = $2",
            )
            .bind(subscriber)
            .bind(seq)
            .bind(outcome.state.name())
            .bind(outcome.next.0)
            .bind(reason)
            .execute(&mut *connection)
            .await?;
        });
        Ok(())
    }

    /// What a subscriber has not got, the newest first, all of it or in one state.
    ///
    /// # Errors
    /// What the database says.
    pub async fn deliveries(
        &self,
        subscriber: Uuid,
        state: Option<DeliveryState>,
        limit: u32,
    ) -> Result<Vec<Delivery>, Error> {
        let rows: Vec<DeliveryColumns> = read!(self, pool => sqlx::query_as(concat!(
            delivery_columns!(),
            " AND ($2 = '' OR d.state = $2) ORDER BY d.seq DESC LIMIT $3"
        ))
        .bind(subscriber)
        .bind(state.map_or("", DeliveryState::name))
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await)?;
        rows.into_iter().map(DeliveryColumns::read).collect()
    }

    /// Lets what was given up be tried again, one message or all of a subscriber; how many.
    ///
    /// # Errors
    /// What the database says.
    pub async fn retry(
        &self,
        subscriber: Uuid,
        message: Option<Uuid>,
        now: Utc,
    ) -> Result<u64, Error> {
        let n = in_transaction!(self, connection => {
            sqlx::query(
                "UPDATE deliveries SET state = 'pending', attempts = 0, next_utc = $2, since_utc = $2
                 WHERE subscriber = $1 AND state = 'dead'
                    AND seq IN (SELECT seq FROM outbox WHERE $3 OR message = $4)",
            )
            .bind(subscriber)
            .bind(now.0)
            .bind(message.is_none())
            .bind(message.unwrap_or_default())
            .execute(&mut *connection)
            .await?
            .rows_affected()
        });
        Ok(n)
    }

    /// How much each subscriber has not got; those who have everything too.
    ///
    /// # Errors
    /// What the database says.
    pub async fn backlog(&self) -> Result<Vec<Backlog>, Error> {
        let rows: Vec<(Uuid, i64, i64, i64, Option<i64>)> = read!(self, pool => sqlx::query_as(
            "SELECT s.subscriber, COUNT(CASE WHEN d.state = 'pending' THEN 1 END),
                COUNT(CASE WHEN d.state = 'held' THEN 1 END), COUNT(CASE WHEN d.state = 'dead' THEN 1 END),
                MIN(CASE WHEN d.state = 'pending' THEN o.stored_utc END)
             FROM subscribers s LEFT JOIN deliveries d ON d.subscriber = s.subscriber
                LEFT JOIN outbox o ON o.seq = d.seq
             GROUP BY s.subscriber",
        )
        .fetch_all(pool)
        .await)?;
        let backlog =
            |(subscriber, pending, held, dead, oldest): (_, _, _, _, Option<i64>)| Backlog {
                subscriber,
                pending,
                held,
                dead,
                oldest: oldest.map(Utc),
            };
        Ok(rows.into_iter().map(backlog).collect())
    }
}

#[derive(sqlx::FromRow)]
struct DeliveryColumns {
    state: String,
    attempts: i64,
    next_utc: i64,
    since_utc: i64,
    reason: Option<String>,
    alarm_priority: Option<String>,
    #[sqlx(flatten)]
    message: MessageColumns,
}

impl DeliveryColumns {
    fn read(self) -> Result<Delivery, Error> {
        let message = self.message.read()?;
        let by_now = self.alarm_priority.as_deref().map(word).transpose()?;
        Ok(Delivery {
            priority: by_now.map_or(message.priority, |by_now: Priority| {
                by_now.max(message.priority)
            }),
            message,
            state: DeliveryState::named(&self.state)
                .ok_or_else(|| Error::Corrupt(format!("unknown delivery {:?}", self.state)))?,
            attempts: unsigned32("attempts", self.attempts)?,
            next: Utc(self.next_utc),
            since: Utc(self.since_utc),
            reason: self.reason,
        })
    }
}
