//! The outbox: what is to be told to others, in the order in which it became durable.
//!
//! **A message is written in the transaction of what it tells, once.** The sequence numbers of two messages are in the
//! order in which they became visible, for writers take turns; so whoever has read up to one has missed none before it.

use ecg::{AlarmId, AlarmKind, AlarmState, Anchor, DeviceId, Priority, RecordId, SampleIndex, Utc};
use sqlx::{PgConnection, SqliteConnection};
use uuid::Uuid;

use crate::alarms::{kind, record_id};
use crate::database::{in_transaction, read};
use crate::rows::{unsigned, unsigned32, word};
use crate::{Error, PatientId, Store};

/// What a message tells of its alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// It was raised.
    Raised,
    /// Somebody acknowledged it while the condition was present.
    Acknowledged,
    /// The condition is over, and nobody has acknowledged the alarm yet.
    Latched,
    /// It is over.
    Cleared,
    /// Nobody has acknowledged it in time.
    Escalated,
}

impl MessageKind {
    /// Every kind.
    pub const ALL: [MessageKind; 5] = [
        Self::Raised,
        Self::Acknowledged,
        Self::Latched,
        Self::Cleared,
        Self::Escalated,
    ];

    /// The word for it in rows and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Acknowledged => "acknowledged",
            Self::Latched => "latched",
            Self::Cleared => "cleared",
            Self::Escalated => "escalated",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Something that is to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its place in the outbox.
    pub seq: i64,
    /// The idempotency key: the id of the alarm event, or one computed from alarm and level.
    pub id: Uuid,
    /// The alarm.
    pub alarm: AlarmId,
    /// The record it was raised on.
    pub record: RecordId,
    /// Who wore the device when the alarm came in.
    pub patient: Option<PatientId>,
    /// What it tells.
    pub kind: MessageKind,
    /// How often the alarm was escalated, for [`MessageKind::Escalated`]; else 0.
    pub level: u32,
    /// What is wrong; text, so that a condition of a newer version does not stop the queue.
    pub condition: String,
    /// Whether the patient or the equipment is the matter.
    pub alarm_kind: AlarmKind,
    /// How soon somebody must act.
    pub priority: Priority,
    /// Where the alarm stood with this message.
    pub state: AlarmState,
    /// Where the condition began.
    pub onset: SampleIndex,
    /// When that was, as far as it is known.
    pub onset_utc: Option<Utc>,
    /// When the alarm was raised.
    pub raised: Utc,
    /// When what it tells happened.
    pub utc: Utc,
    /// When it was stored, by the clock of the service.
    pub stored: Utc,
    /// Who acknowledged, where that is what it tells.
    pub by: Option<String>,
    /// Why, with the numbers it rests on.
    pub evidence: String,
}

/// When an alarm of a priority that nobody acknowledged is escalated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EscalationRule {
    /// Of which priority.
    pub priority: Priority,
    /// Those that came in, or were escalated last, at this instant or before.
    pub before: Utc,
}

/// What all writers of messages do before they write one. The advisory lock ends with the transaction.
pub(crate) trait OutboxLock {
    const LOCK: &'static str;

    /// The statement for this connection.
    fn lock(&self) -> &'static str {
        Self::LOCK
    }
}

impl OutboxLock for PgConnection {
    // Any number that nothing else locks.
    const LOCK: &'static str = "SELECT pg_advisory_xact_lock(7309417745910001)";
}

impl OutboxLock for SqliteConnection {
    // A transaction that writes has the file to itself.
    const LOCK: &'static str = "SELECT 1";
}

/// The columns of `outbox` that a writer gives.
macro_rules! outbox_columns {
    () => {
        "message, alarm, device, boot, patient, kind, level, condition, alarm_kind, priority, state,
         onset, utc, raised_utc, stored_utc, given_by, evidence, anchor_index, anchor_utc, anchor_hz"
    };
}

/// The same columns for an event `e`; `$2` is when it is stored. To be continued with a condition.
macro_rules! outbox_values {
    () => {
        "e.event, e.alarm, e.device, e.boot, a.patient,
            CASE e.state WHEN 'active' THEN 'raised' ELSE e.state END, 0,
            e.condition, e.kind, e.priority, e.state,
            e.onset, e.utc, a.raised_utc, COALESCE(CAST($2 AS BIGINT), e.utc), e.given_by, e.evidence,
            r.anchor_index, r.anchor_utc, r.anchor_hz
         FROM alarm_events e
         JOIN alarms a ON a.alarm = e.alarm
         LEFT JOIN records r ON r.device = e.device AND r.boot = e.boot"
    };
}

/// The columns of [`MessageColumns`], of table `outbox o`.
macro_rules! message_columns {
    () => {
        "o.seq, o.message, o.alarm, o.device, o.boot, o.patient, o.kind, o.level, o.condition,
         o.alarm_kind, o.priority, o.state AS alarm_state, o.onset, o.utc, o.raised_utc, o.stored_utc, o.given_by,
         o.evidence, o.anchor_index, o.anchor_utc, o.anchor_hz"
    };
}

pub(crate) use {message_columns, outbox_columns, outbox_values};

impl Store {
    /// Messages after `seq`, in their order, `limit` at most.
    ///
    /// # Errors
    /// What the database says.
    pub async fn messages_after(&self, seq: i64, limit: u32) -> Result<Vec<Message>, Error> {
        let rows: Vec<MessageColumns> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT ",
            message_columns!(),
            " FROM outbox o WHERE o.seq > $1 ORDER BY o.seq LIMIT $2"
        ))
        .bind(seq)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await)?;
        rows.into_iter().map(MessageColumns::read).collect()
    }

    /// Writes a message for each alarm that `rules` apply to, that is not acknowledged, neither cleared, and was
    /// escalated less than `levels` times; what was escalated, each with device, priority and level. Once for an alarm
    /// and level, however often it is called and by how many.
    ///
    /// # Errors
    /// What the database says.
    pub async fn escalate(
        &self,
        rules: &[EscalationRule],
        levels: u32,
        now: Utc,
    ) -> Result<Vec<Message>, Error> {
        let mut due: Vec<(Uuid, i64, i64)> = Vec::new();
        for rule in rules {
            let found: Vec<(Uuid, i64)> = read!(self, pool => sqlx::query_as(
                "SELECT alarm, escalated_level FROM alarms
                 WHERE state <> 'cleared' AND state IN ('active', 'latched')
                    AND acknowledged_utc IS NULL AND escalated_level < $1 AND priority = $2
                    AND COALESCE(escalated_utc, stored_utc, raised_utc) <= $3
                 ORDER BY raised_utc LIMIT 100",
            )
            .bind(i64::from(levels))
            .bind(rule.priority.name())
            .bind(rule.before.0)
            .fetch_all(pool)
            .await)?;
            due.extend(
                found
                    .into_iter()
                    .map(|(alarm, level)| (alarm, level, rule.before.0)),
            );
        }
        if due.is_empty() {
            return Ok(Vec::new());
        }
        // In the order in which commits lock alarms.
        due.sort_unstable();
        let mut news = Vec::new();
        in_transaction!(self, connection => {
            let mut moved = Vec::new();
            for &(alarm, level, before) in &due {
                // Looked at again, for somebody may just have acknowledged it.
                let updated = sqlx::query(
                    "UPDATE alarms SET escalated_level = $2 + 1, escalated_utc = $3
                     WHERE alarm = $1 AND escalated_level = $2 AND state IN ('active', 'latched')
                        AND acknowledged_utc IS NULL
                        AND COALESCE(escalated_utc, stored_utc, raised_utc) <= $4",
                )
                .bind(alarm)
                .bind(level)
                .bind(now.0)
                .bind(before)
                .execute(&mut *connection)
                .await?;
                if updated.rows_affected() > 0 {
                    moved.push((alarm, level + 1));
                }
            }
            sqlx::query(connection.lock()).execute(&mut *connection).await?;
            for (alarm, level) in moved {
                let message = escalation(AlarmId(alarm), level);
                sqlx::query(concat!(
                    "INSERT INTO outbox (",
                    outbox_columns!(),
                    ") SELECT $1, a.alarm, a.device, a.boot, a.patient, 'escalated', a.escalated_level,
                        a.condition, a.kind, a.priority, a.state, a.onset, a.escalated_utc, a.raised_utc,
                        a.escalated_utc, NULL, a.evidence, r.anchor_index, r.anchor_utc, r.anchor_hz
                     FROM alarms a LEFT JOIN records r ON r.device = a.device AND r.boot = a.boot
                     WHERE a.alarm = $2"
                ))
                .bind(message)
                .bind(alarm)
                .execute(&mut *connection)
                .await?;
                let row: MessageColumns = sqlx::query_as(concat!(
                    "SELECT ",
                    message_columns!(),
                    " FROM outbox o WHERE o.message = $1"
                ))
                .bind(message)
                .fetch_one(&mut *connection)
                .await?;
                news.push(row);
            }
        });
        news.into_iter().map(MessageColumns::read).collect()
    }

    /// The place of the newest message; 0 before the first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn newest_message(&self) -> Result<i64, Error> {
        let newest: Option<i64> = read!(self, pool =>
            sqlx::query_scalar("SELECT MAX(seq) FROM outbox").fetch_one(pool).await)?;
        Ok(newest.unwrap_or(0))
    }

    /// Removes messages stored before `before` that every subscriber has looked at and none waits for, and with them
    /// what was given up or skipped; how many messages.
    ///
    /// # Errors
    /// What the database says.
    pub async fn sweep_outbox(&self, before: Utc) -> Result<u64, Error> {
        let removed = in_transaction!(self, connection => {
            sqlx::query(
                "DELETE FROM deliveries WHERE state IN ('dead', 'skipped')
                 AND seq IN (SELECT seq FROM outbox WHERE stored_utc < $1)",
            )
            .bind(before.0)
            .execute(&mut *connection)
            .await?;
            sqlx::query(
                "DELETE FROM outbox WHERE stored_utc < $1
                 AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.seq = outbox.seq)
                 AND NOT EXISTS (SELECT 1 FROM subscribers s WHERE s.read_until < outbox.seq)",
            )
            .bind(before.0)
            .execute(&mut *connection)
            .await?
            .rows_affected()
        });
        Ok(removed)
    }

    /// The devices of alarms that are not cleared, and of those that were changed at `since` or later.
    ///
    /// # Errors
    /// What the database says.
    pub async fn devices_with_alarms(&self, since: Utc) -> Result<Vec<DeviceId>, Error> {
        let names: Vec<String> = read!(self, pool => sqlx::query_scalar(
            "SELECT DISTINCT device FROM alarms WHERE state <> 'cleared' OR updated_utc >= $1",
        )
        .bind(since.0)
        .fetch_all(pool)
        .await)?;
        names.iter().map(|name| word(name)).collect()
    }
}

/// The id of the message that `alarm` was escalated for the `level`-th time.
fn escalation(alarm: AlarmId, level: i64) -> Uuid {
    Uuid::new_v5(&alarm.0, format!("escalated-{level}").as_bytes())
}

/// A row of `outbox`.
#[derive(sqlx::FromRow)]
pub(crate) struct MessageColumns {
    seq: i64,
    message: Uuid,
    alarm: Uuid,
    device: String,
    boot: i64,
    patient: Option<String>,
    kind: String,
    level: i64,
    condition: String,
    alarm_kind: String,
    priority: String,
    alarm_state: String,
    onset: i64,
    utc: i64,
    raised_utc: i64,
    stored_utc: i64,
    given_by: Option<String>,
    evidence: String,
    anchor_index: Option<i64>,
    anchor_utc: Option<i64>,
    anchor_hz: Option<f64>,
}

impl MessageColumns {
    pub(crate) fn read(self) -> Result<Message, Error> {
        let onset = SampleIndex(unsigned("onset", self.onset)?);
        let anchor = match (self.anchor_index, self.anchor_utc, self.anchor_hz) {
            (Some(index), Some(utc), Some(hz)) => Some(Anchor {
                index: SampleIndex(unsigned("anchor", index)?),
                utc: Utc(utc),
                hz,
            }),
            _ => None,
        };
        Ok(Message {
            seq: self.seq,
            id: self.message,
            alarm: AlarmId(self.alarm),
            record: record_id(&self.device, self.boot)?,
            patient: self.patient.as_deref().map(PatientId::stored).transpose()?,
            kind: MessageKind::named(&self.kind)
                .ok_or_else(|| Error::Corrupt(format!("unknown message kind {:?}", self.kind)))?,
            level: unsigned32("level", self.level)?,
            condition: self.condition,
            alarm_kind: kind(&self.alarm_kind)?,
            priority: word(&self.priority)?,
            state: word(&self.alarm_state)?,
            onset,
            onset_utc: anchor.map(|anchor| anchor.utc(onset)),
            raised: Utc(self.raised_utc),
            utc: Utc(self.utc),
            stored: Utc(self.stored_utc),
            by: self.given_by,
            evidence: self.evidence,
        })
    }
}
