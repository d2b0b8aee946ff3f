//! Alarms as people ask for them: as they stand, newest first, and step by step.

use std::collections::BTreeSet;

use ecg::{
    AlarmEvent, AlarmId, AlarmKind, AlarmState, BootId, Condition, DeviceId, Priority, RecordId,
    SampleIndex, Utc,
};
use sqlx::{Database, Encode, QueryBuilder, Type};
use uuid::Uuid;

use crate::database::read;
use crate::rows::{unsigned, unsigned32, word};
use crate::{Error, PatientId, Store};

/// An alarm as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmRow {
    /// The alarm.
    pub alarm: AlarmId,
    /// The record it was raised on.
    pub record: RecordId,
    /// Who wore the device when the alarm came in, whoever wears it now.
    pub patient: Option<PatientId>,
    /// What is wrong.
    pub condition: Condition,
    /// Whether the patient or the equipment is the matter.
    pub kind: AlarmKind,
    /// How soon somebody must act.
    pub priority: Priority,
    /// The furthest state reached.
    pub state: AlarmState,
    /// Where the condition began.
    pub onset: SampleIndex,
    /// When it was raised.
    pub raised: Utc,
    /// When it reached its state.
    pub updated: Utc,
    /// Why it was raised.
    pub evidence: String,
    /// Who acknowledged it, if anybody has.
    pub acknowledged_by: Option<String>,
    /// When it was acknowledged.
    pub acknowledged_at: Option<Utc>,
    /// Whether there is a [strip](Store::strip).
    pub has_strip: bool,
    /// How often it was escalated because nobody acknowledged it, and when last.
    pub escalated: Option<(u32, Utc)>,
}

/// Which alarms to list; the default asks for the newest hundred.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmFilter {
    /// Of this device.
    pub device: Option<DeviceId>,
    /// Of this patient.
    pub patient: Option<PatientId>,
    /// In this state.
    pub state: Option<AlarmState>,
    /// Not cleared yet.
    pub open_only: bool,
    /// Of this priority.
    pub priority: Option<Priority>,
    /// Raised at this instant or later.
    pub since: Option<Utc>,
    /// Raised before this instant.
    pub until: Option<Utc>,
    /// Only what follows this alarm in the list: [`AlarmRow::raised`] and [`AlarmRow::alarm`] of
    /// the last one of the page before.
    pub before: Option<(Utc, AlarmId)>,
    /// The most alarms to return, at most [`AlarmFilter::MAX_LIMIT`].
    pub limit: u32,
}

impl AlarmFilter {
    /// The longest page.
    pub const MAX_LIMIT: u32 = 1000;
}

impl Default for AlarmFilter {
    fn default() -> Self {
        Self {
            device: None,
            patient: None,
            state: None,
            open_only: false,
            priority: None,
            since: None,
            until: None,
            before: None,
            limit: 100,
        }
    }
}

impl Store {
    /// The alarms that `filter` lets through, the newest first.
    ///
    /// # Errors
    /// [`Error::Refused`] for a limit that is too high, else what the database says.
    pub async fn alarms(&self, filter: &AlarmFilter) -> Result<Vec<AlarmRow>, Error> {
        if filter.limit > AlarmFilter::MAX_LIMIT {
            return Err(Error::Refused(format!(
                "limit {} is over {}",
                filter.limit,
                AlarmFilter::MAX_LIMIT
            )));
        }
        let rows: Vec<AlarmColumns> =
            read!(self, pool => select(filter).build_query_as().fetch_all(pool).await)?;
        rows.into_iter().map(AlarmColumns::read).collect()
    }

    /// One alarm and its steps in the order in which it went through them, `None` if there is no
    /// such alarm.
    ///
    /// # Errors
    /// What the database says.
    pub async fn alarm(
        &self,
        alarm: AlarmId,
    ) -> Result<Option<(AlarmRow, Vec<AlarmEvent>)>, Error> {
        let row: Option<AlarmColumns> = read!(self, pool => sqlx::query_as(concat!(
            alarm_columns!(),
            " WHERE a.alarm = $1"
        ))
        .bind(alarm.0)
        .fetch_optional(pool)
        .await)?;
        let Some(row) = row else { return Ok(None) };
        let events: Vec<EventColumns> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT ",
            event_columns!(),
            " FROM alarm_events e WHERE e.alarm = $1
              ORDER BY CASE e.state WHEN 'active' THEN 0 WHEN 'acknowledged' THEN 1
                WHEN 'latched' THEN 2 ELSE 3 END"
        ))
        .bind(alarm.0)
        .fetch_all(pool)
        .await)?;
        let events = events
            .into_iter()
            .map(EventColumns::read)
            .collect::<Result<_, _>>()?;
        Ok(Some((row.read()?, events)))
    }

    /// The steps of every alarm of a device, alarm by alarm, each in the order in which it went through them.
    ///
    /// # Errors
    /// What the database says.
    pub async fn alarm_events(&self, device: &DeviceId) -> Result<Vec<AlarmEvent>, Error> {
        // By the alarms, which have an index for it.
        let rows: Vec<EventColumns> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT ",
            event_columns!(),
            " FROM alarms a JOIN alarm_events e ON e.alarm = a.alarm WHERE a.device = $1
              ORDER BY a.raised_utc, a.alarm, CASE e.state WHEN 'active' THEN 0
                WHEN 'acknowledged' THEN 1 WHEN 'latched' THEN 2 ELSE 3 END"
        ))
        .bind(device.as_str())
        .fetch_all(pool)
        .await)?;
        rows.into_iter().map(EventColumns::read).collect()
    }

    /// Which of these alarms, or [ends](AlarmId::at_end) of alarms, have a [strip](Store::strip).
    ///
    /// # Errors
    /// What the database says.
    pub async fn strips_among(&self, alarms: &[AlarmId]) -> Result<BTreeSet<AlarmId>, Error> {
        let mut found = BTreeSet::new();
        for some in alarms.chunks(STRIPS_AT_ONCE) {
            let rows: Vec<(Uuid,)> =
                read!(self, pool => strips_among(some).build_query_as().fetch_all(pool).await)?;
            found.extend(rows.into_iter().map(|(alarm,)| AlarmId(alarm)));
        }
        Ok(found)
    }
}

/// How many strips one question is about: far fewer than the parameters of a statement.
const STRIPS_AT_ONCE: usize = 500;

fn strips_among<DB>(alarms: &[AlarmId]) -> QueryBuilder<DB>
where
    DB: Database,
    Uuid: for<'q> Encode<'q, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new("SELECT alarm FROM strips WHERE alarm IN (");
    let mut list = query.separated(", ");
    for alarm in alarms {
        list.push_bind(alarm.0);
    }
    query.push(")");
    query
}

/// The columns of [`AlarmColumns`], of table `alarms a`.
macro_rules! alarm_columns {
    () => {
        "SELECT a.alarm, a.device, a.boot, a.patient, a.condition, a.kind, a.priority, a.state,
            a.onset, a.raised_utc, a.updated_utc, a.evidence, a.acknowledged_by, a.acknowledged_utc,
            EXISTS (SELECT 1 FROM strips s WHERE s.alarm = a.alarm) AS has_strip,
            a.escalated_level, a.escalated_utc
         FROM alarms a"
    };
}

/// The columns of [`EventColumns`], of table `alarm_events e`.
macro_rules! event_columns {
    () => {
        "e.alarm, e.device, e.boot, e.condition, e.kind, e.priority, e.state, e.onset,
         e.decided_at, e.utc, e.given_by, e.evidence"
    };
}

use alarm_columns;
pub(crate) use event_columns;

fn select<DB>(filter: &AlarmFilter) -> QueryBuilder<DB>
where
    DB: Database,
    String: for<'q> Encode<'q, DB> + Type<DB>,
    &'static str: for<'q> Encode<'q, DB> + Type<DB>,
    i64: for<'q> Encode<'q, DB> + Type<DB>,
    Uuid: for<'q> Encode<'q, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new(concat!(alarm_columns!(), " WHERE TRUE"));
    if let Some(device) = &filter.device {
        query.push(" AND a.device = ").push_bind(device.to_string());
    }
    if let Some(patient) = &filter.patient {
        query
            .push(" AND a.patient = ")
            .push_bind(patient.as_str().to_owned());
    }
    if let Some(state) = filter.state {
        query.push(" AND a.state = ").push_bind(state.name());
    }
    // Word for word the condition of the index of open alarms.
    if filter.open_only {
        query.push(" AND a.state <> 'cleared'");
    }
    if let Some(priority) = filter.priority {
        query.push(" AND a.priority = ").push_bind(priority.name());
    }
    if let Some(since) = filter.since {
        query.push(" AND a.raised_utc >= ").push_bind(since.0);
    }
    if let Some(until) = filter.until {
        query.push(" AND a.raised_utc < ").push_bind(until.0);
    }
    if let Some((raised, alarm)) = filter.before {
        query
            .push(" AND (a.raised_utc, a.alarm) < (")
            .push_bind(raised.0)
            .push(", ")
            .push_bind(alarm.0)
            .push(")");
    }
    query
        .push(" ORDER BY a.raised_utc DESC, a.alarm DESC LIMIT ")
        .push_bind(i64::from(filter.limit));
    query
}

#[derive(sqlx::FromRow)]
struct AlarmColumns {
    alarm: Uuid,
    device: String,
    boot: i64,
    patient: Option<String>,
    condition: String,
    kind: String,
    priority: String,
    state: String,
    onset: i64,
    raised_utc: i64,
    updated_utc: i64,
    evidence: String,
    acknowledged_by: Option<String>,
    acknowledged_utc: Option<i64>,
    has_strip: bool,
    escalated_level: i64,
    escalated_utc: Option<i64>,
}

impl AlarmColumns {
    fn read(self) -> Result<AlarmRow, Error> {
        Ok(AlarmRow {
            alarm: AlarmId(self.alarm),
            record: record_id(&self.device, self.boot)?,
            patient: self.patient.as_deref().map(PatientId::stored).transpose()?,
            condition: word(&self.condition)?,
            kind: kind(&self.kind)?,
            priority: word(&self.priority)?,
            state: word(&self.state)?,
            onset: SampleIndex(unsigned("onset", self.onset)?),
            raised: Utc(self.raised_utc),
            updated: Utc(self.updated_utc),
            evidence: self.evidence,
            acknowledged_by: self.acknowledged_by,
            acknowledged_at: self.acknowledged_utc.map(Utc),
            has_strip: self.has_strip,
            escalated: match self.escalated_utc {
                Some(at) => Some((unsigned32("level", self.escalated_level)?, Utc(at))),
                None => None,
            },
        })
    }
}

/// A row of `alarm_events`.
#[derive(sqlx::FromRow)]
pub(crate) struct EventColumns {
    alarm: Uuid,
    device: String,
    boot: i64,
    condition: String,
    kind: String,
    priority: String,
    state: String,
    onset: i64,
    decided_at: i64,
    utc: i64,
    given_by: Option<String>,
    evidence: String,
}

impl EventColumns {
    pub(crate) fn read(self) -> Result<AlarmEvent, Error> {
        Ok(AlarmEvent {
            alarm: AlarmId(self.alarm),
            record: record_id(&self.device, self.boot)?,
            condition: word(&self.condition)?,
            kind: kind(&self.kind)?,
            priority: word(&self.priority)?,
            state: word(&self.state)?,
            onset: SampleIndex(unsigned("onset", self.onset)?),
            at: SampleIndex(unsigned("deciding sample", self.decided_at)?),
            utc: Utc(self.utc),
            by: self.given_by,
            evidence: self.evidence,
        })
    }
}

/// The record that two columns name.
pub(crate) fn record_id(device: &str, boot: i64) -> Result<RecordId, Error> {
    Ok(RecordId {
        device: word(device)?,
        boot: BootId(unsigned32("boot", boot)?),
    })
}

pub(crate) fn kind(name: &str) -> Result<AlarmKind, Error> {
    [AlarmKind::Physiological, AlarmKind::Technical]
        .into_iter()
        .find(|kind| kind.name() == name)
        .ok_or_else(|| Error::Corrupt(format!("unknown alarm kind {name:?}")))
}
