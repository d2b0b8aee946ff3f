//! Devices, their records, and the pseudonymous patients who wear them.

use std::fmt;
use std::str::FromStr;

use ecg::{Anchor, DeviceId, Layout, PatientLimits, RecordId, SampleIndex, Utc};

use crate::alarms::record_id;
use crate::database::{in_transaction, read};
use crate::limits::{LimitColumns, limit_columns};
use crate::rows::{parse_layout, text, unsigned, word};
use crate::{Error, Store};

/// The pseudonym of a patient: 1 to 64 characters of `A-Z a-z 0-9 _ -`.
///
/// Its debug form hides it, so that it does not come into a log by accident.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PatientId(String);

impl PatientId {
    /// The longest pseudonym accepted.
    pub const MAX_LEN: usize = 64;

    /// The pseudonym.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One that was stored.
    pub(crate) fn stored(id: &str) -> Result<Self, Error> {
        id.parse().map_err(|error| match error {
            Error::Refused(why) => Error::Corrupt(why),
            other => other,
        })
    }
}

impl FromStr for PatientId {
    type Err = Error;

    fn from_str(id: &str) -> Result<Self, Error> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if id.is_empty() || id.len() > Self::MAX_LEN || !id.bytes().all(allowed) {
            let shown: String = id.chars().take(80).collect();
            return Err(Error::Refused(format!(
                "patient id {shown:?} is not 1 to 64 characters of A-Z, a-z, 0-9, '_' and '-'"
            )));
        }
        Ok(Self(id.to_owned()))
    }
}

impl fmt::Display for PatientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PatientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PatientId(..)")
    }
}

/// A device as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceRow {
    /// The device.
    pub device: DeviceId,
    /// Who wears it.
    pub patient: Option<PatientId>,
    /// The wearer's own alarm limits.
    pub limits: PatientLimits,
    /// When it was first heard of, `None` if it was only assigned.
    pub first_seen: Option<Utc>,
    /// When it was last heard of.
    pub last_seen: Option<Utc>,
    /// Its latest record.
    pub record: Option<RecordRow>,
}

/// A record as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordRow {
    /// The record.
    pub record: RecordId,
    /// Its signals.
    pub layout: Layout,
    /// How its samples lie in UTC.
    pub anchor: Anchor,
    /// Everything derived from samples before this one is stored.
    pub durable_until: SampleIndex,
    /// It is over.
    pub ended: bool,
    /// When it was first heard of.
    pub started: Utc,
    /// When it was last heard of.
    pub updated: Utc,
}

/// Selects the latest record `r` of each device `d`, to be continued with a join or a condition.
macro_rules! latest_record {
    () => {
        "r.device = d.device AND r.boot = (
            SELECT l.boot FROM records l WHERE l.device = d.device
            ORDER BY l.updated_utc DESC, l.started_utc DESC, l.boot DESC LIMIT 1)"
    };
}

/// The columns of [`DeviceColumns`].
macro_rules! device_columns {
    () => {
        concat!(
            "SELECT d.device, d.patient, d.first_seen, d.last_seen, ",
            limit_columns!("p"),
            ",
                r.boot, r.layout, r.anchor_index, r.anchor_utc, r.anchor_hz, r.durable_until,
                r.ended, r.started_utc, r.updated_utc
             FROM devices d
             LEFT JOIN patients p ON p.patient = d.patient
             LEFT JOIN records r ON ",
            latest_record!()
        )
    };
}

pub(crate) use latest_record;

impl Store {
    /// Every device, by name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn devices(&self) -> Result<Vec<DeviceRow>, Error> {
        let rows: Vec<DeviceColumns> = read!(self, pool => sqlx::query_as(concat!(
            device_columns!(),
            " ORDER BY d.device"
        ))
        .fetch_all(pool)
        .await)?;
        rows.into_iter().map(DeviceColumns::read).collect()
    }

    /// One device, `None` if it was never heard of or assigned.
    ///
    /// # Errors
    /// What the database says.
    pub async fn device(&self, device: &DeviceId) -> Result<Option<DeviceRow>, Error> {
        let row: Option<DeviceColumns> = read!(self, pool => sqlx::query_as(concat!(
            device_columns!(),
            " WHERE d.device = $1"
        ))
        .bind(device.as_str())
        .fetch_optional(pool)
        .await)?;
        row.map(DeviceColumns::read).transpose()
    }

    /// The records of a device, the latest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn records(&self, device: &DeviceId) -> Result<Vec<RecordRow>, Error> {
        let rows: Vec<RecordColumns> = read!(self, pool => sqlx::query_as(
            "SELECT device, boot, layout, anchor_index, anchor_utc, anchor_hz, durable_until,
                ended, started_utc, updated_utc
             FROM records WHERE device = $1
             ORDER BY updated_utc DESC, started_utc DESC, boot DESC",
        )
        .bind(device.as_str())
        .fetch_all(pool)
        .await)?;
        rows.into_iter().map(RecordColumns::read).collect()
    }

    /// Says who wears a device from now on, or, with `None`, that nobody does. Device and patient
    /// become known by it if they were not. Kept for ever with `by`, who said so, and `at`.
    ///
    /// Alarms that came in before stay with whom they were raised for.
    ///
    /// # Errors
    /// [`Error::Refused`] where nobody is named in `by`, else what the database says.
    pub async fn assign(
        &self,
        device: &DeviceId,
        patient: Option<&PatientId>,
        by: &str,
        at: Utc,
    ) -> Result<(), Error> {
        let by = named(by)?;
        let patient = patient.map(PatientId::as_str);
        in_transaction!(self, connection => {
            if let Some(patient) = patient {
                sqlx::query(
                    "INSERT INTO patients (patient, created_utc) VALUES ($1, $2)
                     ON CONFLICT (patient) DO NOTHING",
                )
                .bind(patient)
                .bind(at.0)
                .execute(&mut *connection)
                .await?;
            }
            sqlx::query(
                "INSERT INTO devices (device, patient) VALUES ($1, $2)
                 ON CONFLICT (device) DO UPDATE SET patient = excluded.patient",
            )
            .bind(device.as_str())
            .bind(patient)
            .execute(&mut *connection)
            .await?;
            sqlx::query(
                "INSERT INTO assignments (device, patient, changed_by, utc)
                 VALUES ($1, $2, $3, $4)",
            )
            .bind(device.as_str())
            .bind(patient)
            .bind(by)
            .bind(at.0)
            .execute(&mut *connection)
            .await?;
        });
        Ok(())
    }
}

/// Who made a change, which has to be somebody.
pub(crate) fn named(by: &str) -> Result<&str, Error> {
    if by.trim().is_empty() {
        return Err(Error::Refused("nobody is named for the change".to_owned()));
    }
    text("name of who made the change", by)
}

#[derive(sqlx::FromRow)]
struct DeviceColumns {
    device: String,
    patient: Option<String>,
    first_seen: Option<i64>,
    last_seen: Option<i64>,
    #[sqlx(flatten)]
    limits: LimitColumns,
    boot: Option<i64>,
    layout: Option<String>,
    anchor_index: Option<i64>,
    anchor_utc: Option<i64>,
    anchor_hz: Option<f64>,
    durable_until: Option<i64>,
    ended: Option<bool>,
    started_utc: Option<i64>,
    updated_utc: Option<i64>,
}

impl DeviceColumns {
    fn read(self) -> Result<DeviceRow, Error> {
        let record = self.record().map(RecordColumns::read).transpose()?;
        Ok(DeviceRow {
            device: word(&self.device)?,
            patient: self.patient.as_deref().map(PatientId::stored).transpose()?,
            limits: self.limits.read()?,
            first_seen: self.first_seen.map(Utc),
            last_seen: self.last_seen.map(Utc),
            record,
        })
    }

    /// The columns of the record, which are all there or none.
    fn record(&self) -> Option<RecordColumns> {
        Some(RecordColumns {
            device: self.device.clone(),
            boot: self.boot?,
            layout: self.layout.clone()?,
            anchor_index: self.anchor_index?,
            anchor_utc: self.anchor_utc?,
            anchor_hz: self.anchor_hz?,
            durable_until: self.durable_until?,
            ended: self.ended?,
            started_utc: self.started_utc?,
            updated_utc: self.updated_utc?,
        })
    }
}

#[derive(sqlx::FromRow)]
struct RecordColumns {
    device: String,
    boot: i64,
    layout: String,
    anchor_index: i64,
    anchor_utc: i64,
    anchor_hz: f64,
    durable_until: i64,
    ended: bool,
    started_utc: i64,
    updated_utc: i64,
}

impl RecordColumns {
    fn read(self) -> Result<RecordRow, Error> {
        Ok(RecordRow {
            record: record_id(&self.device, self.boot)?,
            layout: parse_layout(&self.layout)?,
            anchor: Anchor {
                index: SampleIndex(unsigned("anchor", self.anchor_index)?),
                utc: Utc(self.anchor_utc),
                hz: self.anchor_hz,
            },
            durable_until: SampleIndex(unsigned("durable until", self.durable_until)?),
            ended: self.ended,
            started: Utc(self.started_utc),
            updated: Utc(self.updated_utc),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patients_are_pseudonyms_that_do_not_show_in_logs() {
        for good in ["p", "Ward_3-b", &"x".repeat(64)] {
            assert_eq!(good.parse::<PatientId>().unwrap().as_str(), good);
        }
        for bad in ["", "Jane Doe", "é", "a/b", &"x".repeat(65)] {
            let error = bad.parse::<PatientId>().unwrap_err();
            assert!(matches!(error, Error::Refused(_)), "{bad:?}");
        }
        let patient: PatientId = "p17".parse().unwrap();
        assert!(!format!("{patient:?}").contains("p17"));
    }
}
