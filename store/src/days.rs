//! What a day of a patient is made of: who wore what when, and what each device saw in that time.
//!
//! Every query takes a span of time and reads no further: devices and times by `trends_by_time` and `beats_by_time`,
//! episodes by `findings_by_time` or the primary key for the records that have minutes in the span, alarms by
//! `alarms_by_patient`, what was held back by `suppressions_by_device`. A day of 86 400 beats is counted in 70 ms (PostgreSQL 15, 2 million beats in the table).

use std::ops::Range;

use ecg::{AlarmState, BeatClass, Condition, DeviceId, Gap, Priority, RecordId, SampleIndex, Utc};

use crate::database::read;
use crate::history::bound;
use crate::rows::{unsigned, unsigned32, word};
use crate::{Error, PatientId, Store};

/// A device while one patient wore it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worn {
    /// The device.
    pub device: DeviceId,
    /// From when to when.
    pub span: Range<Utc>,
}

/// How many beats of a class a device had in a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BeatCount {
    /// Minutes since 1970-01-01 UTC, whole.
    pub minute: i64,
    /// The class; `None` of those that nothing has classified.
    pub class: Option<BeatClass>,
    /// How many.
    pub n: u32,
}

/// An episode of a finding, in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpisodeSpan {
    /// What, in a word.
    pub name: String,
    /// What, for people.
    pub text: String,
    /// From when to when.
    pub span: Range<Utc>,
}

/// What became of an alarm, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlarmTimes {
    /// What was wrong.
    pub condition: Condition,
    /// How soon somebody had to act.
    pub priority: Priority,
    /// The furthest state reached.
    pub state: AlarmState,
    /// When it was raised.
    pub raised: Utc,
    /// When it was acknowledged, if it was.
    pub acknowledged: Option<Utc>,
}

/// How many alarms were held back and never raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldBack {
    /// What would have been wrong.
    pub condition: Condition,
    /// How soon somebody would have had to act.
    pub priority: Priority,
    /// How many.
    pub n: u32,
}

impl Store {
    /// What a patient wore in `span`, by beginning and device. A device is worn from an assignment to its next one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn worn(&self, patient: &PatientId, span: Range<Utc>) -> Result<Vec<Worn>, Error> {
        let rows: Vec<(String, i64, Option<i64>)> = read!(self, pool => sqlx::query_as(
            "SELECT s.device, s.start_utc, s.end_utc FROM (
                SELECT a.device, a.patient, a.utc AS start_utc,
                    LEAD(a.utc) OVER (PARTITION BY a.device ORDER BY a.id) AS end_utc
                FROM assignments a
                WHERE a.device IN (SELECT w.device FROM assignments w WHERE w.patient = $1)
             ) s
             WHERE s.patient = $1 AND s.start_utc < $3 AND (s.end_utc IS NULL OR s.end_utc > $2)
             ORDER BY s.start_utc, s.device",
        )
        .bind(patient.as_str())
        .bind(span.start.0)
        .bind(span.end.0)
        .fetch_all(pool)
        .await)?;
        let worn = rows.into_iter().map(|(device, start, end)| {
            let start = Utc(start).max(span.start);
            let end = end.map_or(span.end, |end| Utc(end).min(span.end));
            Ok(Worn {
                device: word(&device)?,
                span: start..end,
            })
        });
        // The clock may have gone back between two assignments.
        worn.filter(|worn| !matches!(worn, Ok(worn) if worn.span.is_empty()))
            .collect()
    }

    /// When the first minute of a device that starts in `span` starts; `None` if there is none.
    ///
    /// # Errors
    /// What the database says.
    pub async fn first_minute(
        &self,
        device: &DeviceId,
        span: Range<Utc>,
    ) -> Result<Option<Utc>, Error> {
        let (first,): (Option<i64>,) = read!(self, pool => sqlx::query_as(
            "SELECT MIN(start_utc) FROM trends WHERE device = $1 AND start_utc >= $2 AND start_utc < $3",
        )
        .bind(device.as_str())
        .bind(span.start.0)
        .bind(span.end.0)
        .fetch_one(pool)
        .await)?;
        Ok(first.map(Utc))
    }

    /// How many beats a device had in `span`, minute by minute and class by class.
    ///
    /// # Errors
    /// What the database says.
    pub async fn beats_by_minute(
        &self,
        device: &DeviceId,
        span: Range<Utc>,
    ) -> Result<Vec<BeatCount>, Error> {
        let rows: Vec<(i64, Option<String>, i64)> = read!(self, pool => sqlx::query_as(
            "SELECT utc / 60000000 AS minute, class, COUNT(*) FROM beats
             WHERE device = $1 AND utc >= $2 AND utc < $3
             GROUP BY utc / 60000000, class ORDER BY utc / 60000000, class",
        )
        .bind(device.as_str())
        .bind(span.start.0)
        .bind(span.end.0)
        .fetch_all(pool)
        .await)?;
        let counts = rows.into_iter().map(|(minute, class, n)| {
            Ok(BeatCount {
                minute,
                class: class.as_deref().map(word).transpose()?,
                n: unsigned32("number of beats", n)?,
            })
        });
        counts.collect()
    }

    /// The gaps of a record that overlap `span`, in order.
    ///
    /// # Errors
    /// What the database says.
    pub async fn gaps_in(
        &self,
        record: &RecordId,
        span: Range<SampleIndex>,
    ) -> Result<Vec<Gap>, Error> {
        let rows: Vec<(i64, i64)> = read!(self, pool => sqlx::query_as(
            "SELECT start_index, end_index FROM gaps
             WHERE device = $1 AND boot = $2 AND end_index > $3 AND start_index < $4
             ORDER BY start_index",
        )
        .bind(record.device.as_str())
        .bind(i64::from(record.boot.0))
        .bind(bound(span.start))
        .bind(bound(span.end))
        .fetch_all(pool)
        .await)?;
        let gaps = rows.into_iter().map(|(start, end)| {
            Ok(Gap {
                start: SampleIndex(unsigned("gap start", start)?),
                end: SampleIndex(unsigned("gap end", end)?),
            })
        });
        gaps.collect()
    }

    /// The episodes of findings of a device that overlap `span`, by time, of the records that have a minute in it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn episode_spans(
        &self,
        device: &DeviceId,
        span: Range<Utc>,
    ) -> Result<Vec<EpisodeSpan>, Error> {
        let rows: Vec<(String, String, i64, i64)> = read!(self, pool => sqlx::query_as(
            "SELECT f.name, f.text, f.start_utc, f.end_utc FROM findings f
             WHERE f.device = $1 AND f.boot IN (
                SELECT t.boot FROM trends t WHERE t.device = $1 AND t.start_utc >= $2 - 60000000 AND t.start_utc < $3)
             AND f.end_utc > $2 AND f.start_utc < $3
             ORDER BY f.start_utc, f.name, f.source, f.boot",
        )
        .bind(device.as_str())
        .bind(span.start.0)
        .bind(span.end.0)
        .fetch_all(pool)
        .await)?;
        let spans = rows
            .into_iter()
            .map(|(name, text, start, end)| EpisodeSpan {
                name,
                text,
                span: Utc(start)..Utc(end),
            });
        Ok(spans.collect())
    }

    /// What became of the alarms that were raised in `span` for a patient, by time.
    ///
    /// # Errors
    /// What the database says.
    pub async fn alarm_times(
        &self,
        patient: &PatientId,
        span: Range<Utc>,
    ) -> Result<Vec<AlarmTimes>, Error> {
        let rows: Vec<(String, String, String, i64, Option<i64>)> = read!(self, pool => sqlx::query_as(
            "SELECT a.condition, a.priority, a.state, a.raised_utc, a.acknowledged_utc FROM alarms a
             WHERE a.patient = $1 AND a.raised_utc >= $2 AND a.raised_utc < $3
             ORDER BY a.raised_utc, a.alarm",
        )
        .bind(patient.as_str())
        .bind(span.start.0)
        .bind(span.end.0)
        .fetch_all(pool)
        .await)?;
        let alarms = rows
            .into_iter()
            .map(|(condition, priority, state, raised, acknowledged)| {
                Ok(AlarmTimes {
                    condition: word(&condition)?,
                    priority: word(&priority)?,
                    state: word(&state)?,
                    raised: Utc(raised),
                    acknowledged: acknowledged.map(Utc),
                })
            });
        alarms.collect()
    }

    /// How many alarms of a device were held back in `span` and not raised later after all, by condition and priority.
    ///
    /// # Errors
    /// What the database says.
    pub async fn held_back(
        &self,
        device: &DeviceId,
        span: Range<Utc>,
    ) -> Result<Vec<HeldBack>, Error> {
        let rows: Vec<(String, String, i64)> = read!(self, pool => sqlx::query_as(
            "SELECT s.condition, s.priority, COUNT(*) FROM suppressions s
             WHERE s.device = $1 AND s.utc >= $2 AND s.utc < $3
                AND NOT EXISTS (SELECT 1 FROM alarms a WHERE a.alarm = s.alarm)
             GROUP BY s.condition, s.priority ORDER BY s.condition, s.priority",
        )
        .bind(device.as_str())
        .bind(span.start.0)
        .bind(span.end.0)
        .fetch_all(pool)
        .await)?;
        let counts = rows.into_iter().map(|(condition, priority, n)| {
            Ok(HeldBack {
                condition: word(&condition)?,
                priority: word(&priority)?,
                n: unsigned32("number of alarms held back", n)?,
            })
        });
        counts.collect()
    }
}
