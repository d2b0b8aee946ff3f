//! Corrections of the model for single patients: append-only, the newest in force, each can be taken back.

use ecg::Utc;

use crate::database::{in_transaction, read};
use crate::devices::named;
use crate::rows::{text, unsigned};
use crate::{Error, PatientId, Store};

/// The longest body that is kept, bytes.
const MAX_BODY: usize = 1 << 18;

/// A correction as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalibrationRow {
    /// Whose it is.
    pub patient: PatientId,
    /// Counts from 1 for each patient.
    pub version: u64,
    /// The recording that it was fitted on, and what came of it; `None` where this version takes those before it back.
    pub fitted: Option<(String, String)>,
    /// Who made it.
    pub by: String,
    /// When.
    pub utc: Utc,
}

#[derive(sqlx::FromRow)]
struct Columns {
    patient: String,
    version: i64,
    recording: Option<String>,
    body: Option<String>,
    changed_by: String,
    utc: i64,
}

impl Columns {
    fn read(self) -> Result<CalibrationRow, Error> {
        Ok(CalibrationRow {
            patient: PatientId::stored(&self.patient)?,
            version: unsigned("version", self.version)?,
            fitted: self.recording.zip(self.body),
            by: self.changed_by,
            utc: Utc(self.utc),
        })
    }
}

impl Store {
    /// The newest version of every patient who has one, those that take back included.
    ///
    /// # Errors
    /// What the database says.
    pub async fn calibrations(&self) -> Result<Vec<CalibrationRow>, Error> {
        let rows: Vec<Columns> = read!(self, pool => sqlx::query_as(
            "SELECT patient, version, recording, body, changed_by, utc FROM calibrations c
             WHERE version = (SELECT MAX(version) FROM calibrations l WHERE l.patient = c.patient)
             ORDER BY patient",
        )
        .fetch_all(pool)
        .await)?;
        rows.into_iter().map(Columns::read).collect()
    }

    /// The newest version of a patient, `None` if there never was one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn calibration(&self, patient: &PatientId) -> Result<Option<CalibrationRow>, Error> {
        let row: Option<Columns> = read!(self, pool => sqlx::query_as(
            "SELECT patient, version, recording, body, changed_by, utc FROM calibrations
             WHERE patient = $1 ORDER BY version DESC LIMIT 1",
        )
        .bind(patient.as_str())
        .fetch_optional(pool)
        .await)?;
        row.map(Columns::read).transpose()
    }

    /// Puts a correction in force for a patient, who becomes known by it, or, with `None`, takes back what is.
    /// `fitted` is the recording and what came of it. Kept for ever with `by`, who said so, and `at`.
    ///
    /// # Errors
    /// [`Error::Refused`] for a body of more than 256 KiB and where nobody is named in `by`; else what the database
    /// says.
    pub async fn calibrate(
        &self,
        patient: &PatientId,
        fitted: Option<(&str, &str)>,
        by: &str,
        at: Utc,
    ) -> Result<(), Error> {
        let by = named(by)?;
        let (recording, body) = fitted.unzip();
        let recording = recording
            .map(|name| text("name of the recording", name))
            .transpose()?;
        if let Some(body) = body.filter(|body| body.len() > MAX_BODY) {
            return Err(Error::Refused(format!(
                "calibration of {} bytes, where {MAX_BODY} are allowed",
                body.len()
            )));
        }
        in_transaction!(self, connection => {
            sqlx::query(
                "INSERT INTO patients (patient, created_utc) VALUES ($1, $2)
                 ON CONFLICT (patient) DO NOTHING",
            )
            .bind(patient.as_str())
            .bind(at.0)
            .execute(&mut *connection)
            .await?;
            sqlx::query(
                "INSERT INTO calibrations (patient, version, recording, body, changed_by, utc)
                 SELECT $1, COALESCE(MAX(version), 0) + 1, $2, $3, $4, $5
                 FROM calibrations WHERE patient = $1",
            )
            .bind(patient.as_str())
            .bind(recording)
            .bind(body)
            .bind(by)
            .bind(at.0)
            .execute(&mut *connection)
            .await?;
        });
        Ok(())
    }
}
