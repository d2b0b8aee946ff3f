//! What was found in the signals, episode by episode.

use std::ops::Range;

use ecg::{Change, DeviceId, RecordId, SampleIndex, Utc};

use crate::alarms::record_id;
use crate::database::read;
use crate::rows::{unsigned, word};
use crate::{Error, PatientId, Store};

/// The longest body that is kept, bytes.
pub(crate) const MAX_BODY: usize = 1 << 18;

/// An episode of a finding. Record, source, name and onset tell it from every other.
#[derive(Debug, Clone, PartialEq)]
pub struct FindingRow {
    /// The record.
    pub record: RecordId,
    /// Who says so: `rule`, or the name of a model.
    pub source: String,
    /// What, in a word.
    pub name: String,
    /// The first sample of the first window that says so.
    pub onset: SampleIndex,
    /// The first sample after the last one.
    pub end: SampleIndex,
    /// Whether it is over.
    pub ended: bool,
    /// When the onset was.
    pub start_utc: Utc,
    /// When the end was.
    pub end_utc: Utc,
    /// What, for people.
    pub text: String,
    /// The concept of SNOMED CT.
    pub snomed: Option<u64>,
    /// The highest calibrated probability of the episode; `None` for a rule.
    pub probability: Option<f32>,
    /// Version and SHA-256 of the model.
    pub model: Option<(String, String)>,
    /// Against what is usual for the patient, at the onset.
    pub change: Option<Change>,
    /// The finding of the first window with its evidence: JSON, as the API gives it.
    pub body: String,
}

/// The columns of [`Columns`], of table `findings f`.
macro_rules! finding_columns {
    () => {
        "f.device, f.boot, f.source, f.name, f.onset, f.end_index, f.ended, f.start_utc, f.end_utc, f.text,
         f.snomed, f.probability, f.model_version, f.model_sha256, f.change, f.body"
    };
}

pub(crate) use finding_columns;

#[derive(sqlx::FromRow)]
pub(crate) struct Columns {
    device: String,
    boot: i64,
    source: String,
    name: String,
    onset: i64,
    end_index: i64,
    ended: bool,
    start_utc: i64,
    end_utc: i64,
    text: String,
    snomed: Option<i64>,
    probability: Option<f64>,
    model_version: Option<String>,
    model_sha256: Option<String>,
    change: Option<String>,
    body: String,
}

impl Columns {
    pub(crate) fn read(self) -> Result<FindingRow, Error> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it was an f32 before it was stored"
        )]
        let probability = self.probability.map(|p| p as f32);
        Ok(FindingRow {
            record: record_id(&self.device, self.boot)?,
            source: self.source,
            name: self.name,
            onset: SampleIndex(unsigned("onset", self.onset)?),
            end: SampleIndex(unsigned("end", self.end_index)?),
            ended: self.ended,
            start_utc: Utc(self.start_utc),
            end_utc: Utc(self.end_utc),
            text: self.text,
            snomed: self
                .snomed
                .map(|code| unsigned("SNOMED CT concept", code))
                .transpose()?,
            probability,
            model: self.model_version.zip(self.model_sha256),
            change: self.change.as_deref().map(word).transpose()?,
            body: self.body,
        })
    }
}

impl Store {
    /// The episodes of a device, over all its records, that overlap `span`, the newest first, at most `limit`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn findings(
        &self,
        device: &DeviceId,
        span: Range<Utc>,
        limit: u32,
    ) -> Result<Vec<FindingRow>, Error> {
        let rows: Vec<Columns> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT ",
            finding_columns!(),
            " FROM findings f WHERE f.device = $1 AND f.end_utc >= $2 AND f.start_utc < $3
              ORDER BY f.start_utc DESC, f.source, f.name, f.boot, f.onset LIMIT $4"
        ))
        .bind(device.as_str())
        .bind(span.start.0)
        .bind(span.end.0)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await)?;
        rows.into_iter().map(Columns::read).collect()
    }

    /// What is usual for every patient of whom that is known, as JSON.
    ///
    /// # Errors
    /// What the database says.
    pub async fn baselines(&self) -> Result<Vec<(PatientId, String)>, Error> {
        let rows: Vec<(String, String)> = read!(self, pool => sqlx::query_as(
            "SELECT patient, body FROM baselines ORDER BY patient",
        )
        .fetch_all(pool)
        .await)?;
        rows.into_iter()
            .map(|(patient, body)| Ok((PatientId::stored(&patient)?, body)))
            .collect()
    }

    /// What is usual for a patient, as JSON; `None` while that is not known.
    ///
    /// # Errors
    /// What the database says.
    pub async fn baseline(&self, patient: &PatientId) -> Result<Option<String>, Error> {
        let row: Option<(String,)> = read!(self, pool => sqlx::query_as(
            "SELECT body FROM baselines WHERE patient = $1",
        )
        .bind(patient.as_str())
        .fetch_optional(pool)
        .await)?;
        Ok(row.map(|(body,)| body))
    }
}
