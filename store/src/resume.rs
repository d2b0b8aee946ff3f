//! What a restarted process needs to carry on.

use std::collections::BTreeMap;

use ecg::{
    AlarmEvent, Anchor, Beat, Condition, DeviceId, PatientLimits, RecordId, SampleIndex, Trend, Utc,
};

use crate::alarms::{EventColumns, event_columns, record_id};
use crate::database::read;
use crate::devices::latest_record;
use crate::findings::{Columns, finding_columns};
use crate::history::{MinuteColumns, beat, trend_columns};
use crate::limits::{LimitColumns, limit_columns};
use crate::rows::{unsigned, word};
use crate::{Error, FindingRow, PatientId, Store};

/// Episodes that ended so lately may yet go on.
pub const RECENT_SECONDS: f64 = 60.0;

/// An alarm that lies further back than this has got its strip, or will never get one: packets are not acknowledged before
/// the strips that they are in are stored. Strips that were removed because they are old are not made again.
const STRIP_SECONDS: f64 = 3600.0;
/// Ends of rhythms are looked for among alarms that were raised so many microseconds before the record was last updated at
/// most, and so many seconds before `durable_until`: what lies further back has its strip, or will never get one.
const ENDS: (i64, f64) = (86_400_000_000, 600.0);

/// The beats that are told of a record that is not over: of so many seconds before `durable_until`, and of so many where an
/// alarm stands that is about how many of them are ventricular.
const BEATS_SECONDS: (f64, f64) = (70.0, 440.0);

/// Where a device was left.
#[derive(Debug, Clone, PartialEq)]
pub struct Resume {
    /// The device.
    pub device: DeviceId,
    /// Its latest record.
    pub record: RecordId,
    /// Everything derived from samples before this one is stored.
    pub durable_until: SampleIndex,
    /// The record is over.
    pub ended: bool,
    /// How its samples lie in UTC.
    pub anchor: Anchor,
    /// The last minute stored of the record, to be carried on or left behind.
    pub trend: Option<Trend>,
    /// The latest step of each of the device's alarms that are not cleared, of whichever record,
    /// in the order in which they were raised.
    pub standing: Vec<AlarmEvent>,
    /// The raising step of each late alarm of the record, cleared or not, that has no strip yet.
    pub missing_strips: Vec<AlarmEvent>,
    /// The last step of each late rhythm of the record that has ended, where there is no strip of its
    /// [end](ecg::AlarmId::at_end) yet.
    pub missing_ends: Vec<AlarmEvent>,
    /// Episodes of findings of the record that are not over, or ended less than [`RECENT_SECONDS`] before
    /// `durable_until`.
    pub findings: Vec<FindingRow>,
    /// The last beats of a record that is not over, in order: those of the last minute at least, and of seven minutes
    /// where an alarm for many ventricular beats stands.
    pub beats: Vec<Beat>,
    /// From where on no beat of the record is missing: the end of its last gap, or its first beat.
    pub beats_since: Option<SampleIndex>,
    /// The wearer's own alarm limits.
    pub limits: PatientLimits,
    /// Who wears it.
    pub patient: Option<PatientId>,
}

impl Store {
    /// Where every device was left, by name. For the start: what is committed meanwhile may be in
    /// one part of the answer and not in another.
    ///
    /// # Errors
    /// What the database says.
    pub async fn resume(&self) -> Result<Vec<Resume>, Error> {
        let rows: Vec<Latest> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT d.device, d.patient, ",
            limit_columns!("p"),
            ", r.boot, r.durable_until, r.ended,
                r.anchor_index, r.anchor_utc, r.anchor_hz
             FROM devices d
             JOIN records r ON ",
            latest_record!(),
            " LEFT JOIN patients p ON p.patient = d.patient
              ORDER BY d.device"
        ))
        .fetch_all(pool)
        .await)?;
        let mut devices = BTreeMap::new();
        for row in rows {
            let resume = row.read()?;
            devices.insert(resume.device.clone(), resume);
        }

        let minutes: Vec<MinuteColumns> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT ",
            trend_columns!(),
            " FROM devices d
              JOIN records r ON ",
            latest_record!(),
            " JOIN trends t ON t.device = r.device AND t.boot = r.boot AND t.minute = (
                SELECT MAX(m.minute) FROM trends m WHERE m.device = r.device AND m.boot = r.boot)"
        ))
        .fetch_all(pool)
        .await)?;
        for minute in minutes {
            let trend = minute.read()?;
            if let Some(resume) = devices.get_mut(&trend.record.device) {
                resume.trend = Some(trend);
            }
        }

        let standing: Vec<EventColumns> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT ",
            event_columns!(),
            " FROM alarms a
              JOIN alarm_events e ON e.alarm = a.alarm AND e.state = a.state
              WHERE a.state <> 'cleared'
              ORDER BY a.raised_utc, a.alarm"
        ))
        .fetch_all(pool)
        .await)?;
        for event in standing {
            let event = event.read()?;
            if let Some(resume) = devices.get_mut(&event.record.device) {
                resume.standing.push(event);
            }
        }

        let missing: Vec<EventColumns> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT ",
            event_columns!(),
            " FROM devices d
              JOIN records r ON ",
            latest_record!(),
            " JOIN alarm_events e ON e.device = r.device AND e.boot = r.boot
                AND e.state = 'active'
              WHERE e.decided_at >= r.durable_until - $1 * r.base_rate_hz
                AND NOT EXISTS (SELECT 1 FROM strips s WHERE s.alarm = e.alarm)
              ORDER BY e.utc, e.alarm"
        ))
        .bind(STRIP_SECONDS)
        .fetch_all(pool)
        .await)?;
        for event in missing {
            let event = event.read()?;
            if let Some(resume) = devices.get_mut(&event.record.device) {
                resume.missing_strips.push(event);
            }
        }

        self.ends(&mut devices).await?;

        let findings: Vec<Columns> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT ",
            finding_columns!(),
            " FROM devices d
              JOIN records r ON ",
            latest_record!(),
            " JOIN findings f ON f.device = r.device AND f.boot = r.boot
              WHERE NOT f.ended OR f.end_index >= r.durable_until - $1 * r.base_rate_hz
              ORDER BY f.onset, f.source, f.name"
        ))
        .bind(RECENT_SECONDS)
        .fetch_all(pool)
        .await)?;
        for row in findings {
            let row = row.read()?;
            if let Some(resume) = devices.get_mut(&row.record.device) {
                resume.findings.push(row);
            }
        }
        self.beats_of_late(&mut devices).await?;
        Ok(devices.into_values().collect())
    }

    /// The ends of rhythms whose strips are missing.
    async fn ends(&self, devices: &mut BTreeMap<DeviceId, Resume>) -> Result<(), Error> {
        let ends: Vec<EventColumns> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT ",
            event_columns!(),
            " FROM devices d
              JOIN records r ON ",
            latest_record!(),
            " JOIN alarms a ON a.device = r.device AND a.boot = r.boot
                AND a.state IN ('latched', 'cleared') AND a.raised_utc >= r.updated_utc - $1
              JOIN alarm_events e ON e.alarm = a.alarm
                AND e.state IN ('latched', 'cleared') AND e.given_by IS NULL
              WHERE NOT r.ended AND e.decided_at >= r.durable_until - $2 * r.base_rate_hz
              ORDER BY e.utc, e.alarm"
        ))
        .bind(ENDS.0)
        .bind(ENDS.1)
        .fetch_all(pool)
        .await)?;
        let ends = ends.into_iter().map(EventColumns::read);
        let ends = ends.collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<_> = ends.iter().map(|event| event.alarm.at_end()).collect();
        let known = self.strips_among(&ids).await?;
        for event in ends {
            let missing = event.condition.is_rhythm() && !known.contains(&event.alarm.at_end());
            if let Some(resume) = devices.get_mut(&event.record.device)
                && missing
            {
                resume.missing_ends.push(event);
            }
        }
        Ok(())
    }

    /// The last beats.
    async fn beats_of_late(&self, devices: &mut BTreeMap<DeviceId, Resume>) -> Result<(), Error> {
        let beats: Vec<(String, i64, Option<String>)> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT r.device, b.r_peak, b.class
             FROM devices d
             JOIN records r ON ",
            latest_record!(),
            " JOIN beats b ON b.device = r.device AND b.boot = r.boot
                AND b.r_peak >= r.durable_until - CAST(r.base_rate_hz * CASE WHEN EXISTS (
                    SELECT 1 FROM alarms a WHERE a.device = r.device AND a.boot = r.boot
                        AND a.condition = $3 AND a.state <> 'cleared') THEN $2 ELSE $1 END AS BIGINT)
              WHERE NOT r.ended
              ORDER BY r.device, b.r_peak"
        ))
        .bind(BEATS_SECONDS.0)
        .bind(BEATS_SECONDS.1)
        .bind(Condition::VentricularBurden.name())
        .fetch_all(pool)
        .await)?;
        for (device, r_peak, class) in beats {
            if let Some(resume) = devices.get_mut(&word::<DeviceId>(&device)?) {
                resume.beats.push(beat(r_peak, class.as_deref())?);
            }
        }

        let since: Vec<(String, Option<i64>)> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT r.device, COALESCE(
                (SELECT MAX(g.end_index) FROM gaps g WHERE g.device = r.device AND g.boot = r.boot),
                (SELECT MIN(b.r_peak) FROM beats b WHERE b.device = r.device AND b.boot = r.boot))
             FROM devices d
             JOIN records r ON ",
            latest_record!(),
            " WHERE NOT r.ended"
        ))
        .fetch_all(pool)
        .await)?;
        for (device, since) in since {
            if let Some(resume) = devices.get_mut(&word::<DeviceId>(&device)?) {
                let since = since.map(|since| unsigned("since", since)).transpose()?;
                resume.beats_since = since.map(SampleIndex);
            }
        }
        Ok(())
    }
}

#[derive(sqlx::FromRow)]
struct Latest {
    device: String,
    patient: Option<String>,
    #[sqlx(flatten)]
    limits: LimitColumns,
    boot: i64,
    durable_until: i64,
    ended: bool,
    anchor_index: i64,
    anchor_utc: i64,
    anchor_hz: f64,
}

impl Latest {
    fn read(self) -> Result<Resume, Error> {
        let record = record_id(&self.device, self.boot)?;
        Ok(Resume {
            device: record.device.clone(),
            record,
            durable_until: SampleIndex(unsigned("durable until", self.durable_until)?),
            ended: self.ended,
            anchor: Anchor {
                index: SampleIndex(unsigned("anchor", self.anchor_index)?),
                utc: Utc(self.anchor_utc),
                hz: self.anchor_hz,
            },
            trend: None,
            standing: Vec::new(),
            missing_strips: Vec::new(),
            missing_ends: Vec::new(),
            findings: Vec::new(),
            beats: Vec::new(),
            beats_since: None,
            limits: self.limits.read()?,
            patient: self.patient.as_deref().map(PatientId::stored).transpose()?,
        })
    }
}
