//! The limits of patients' alarms: as they are, and every change of them.

use ecg::{PatientLimits, Utc};

use crate::database::{in_transaction, read};
use crate::devices::named;
use crate::rows::word;
use crate::{Error, PatientId, Store};

/// A change of a patient's limits.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitChange {
    /// Who made it.
    pub by: String,
    /// When.
    pub utc: Utc,
    /// As they were.
    pub before: PatientLimits,
    /// As they are from then on.
    pub after: PatientLimits,
}

/// The columns of [`LimitColumns`], of table `$table`.
macro_rules! limit_columns {
    ($table:literal) => {
        concat!(
            $table,
            ".low_bpm, ",
            $table,
            ".high_bpm, ",
            $table,
            ".extreme_bradycardia_bpm, ",
            $table,
            ".extreme_tachycardia_bpm, ",
            $table,
            ".pause_seconds, ",
            $table,
            ".rate_delay_seconds, ",
            $table,
            ".ventricular_per_minute, ",
            $table,
            ".st_elevation_mv, ",
            $table,
            ".st_depression_mv, ",
            $table,
            ".off_conditions"
        )
    };
}

pub(crate) use limit_columns;

/// The limits in a row.
#[derive(Debug, Clone, Default, sqlx::FromRow)]
pub(crate) struct LimitColumns {
    low_bpm: Option<f64>,
    high_bpm: Option<f64>,
    extreme_bradycardia_bpm: Option<f64>,
    extreme_tachycardia_bpm: Option<f64>,
    pause_seconds: Option<f64>,
    rate_delay_seconds: Option<f64>,
    ventricular_per_minute: Option<f64>,
    st_elevation_mv: Option<f64>,
    st_depression_mv: Option<f64>,
    off_conditions: Option<String>,
}

impl LimitColumns {
    fn new(limits: &PatientLimits) -> Self {
        let wide = |value: Option<f32>| value.map(f64::from);
        let off = limits.off;
        Self {
            low_bpm: wide(limits.low_bpm),
            high_bpm: wide(limits.high_bpm),
            extreme_bradycardia_bpm: wide(limits.extreme_bradycardia_bpm),
            extreme_tachycardia_bpm: wide(limits.extreme_tachycardia_bpm),
            pause_seconds: wide(limits.pause_seconds),
            rate_delay_seconds: wide(limits.rate_delay_seconds),
            ventricular_per_minute: wide(limits.ventricular_per_minute),
            st_elevation_mv: wide(limits.st_elevation_mv),
            st_depression_mv: wide(limits.st_depression_mv),
            off_conditions: (!off.is_empty()).then(|| off.to_string()),
        }
    }

    pub(crate) fn read(&self) -> Result<PatientLimits, Error> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "limits were an f32 before they were stored"
        )]
        let narrow = |value: Option<f64>| value.map(|value| value as f32);
        Ok(PatientLimits {
            low_bpm: narrow(self.low_bpm),
            high_bpm: narrow(self.high_bpm),
            extreme_bradycardia_bpm: narrow(self.extreme_bradycardia_bpm),
            extreme_tachycardia_bpm: narrow(self.extreme_tachycardia_bpm),
            pause_seconds: narrow(self.pause_seconds),
            rate_delay_seconds: narrow(self.rate_delay_seconds),
            ventricular_per_minute: narrow(self.ventricular_per_minute),
            st_elevation_mv: narrow(self.st_elevation_mv),
            st_depression_mv: narrow(self.st_depression_mv),
            off: match &self.off_conditions {
                Some(names) => word(names)?,
                None => ecg::Conditions::default(),
            },
        })
    }
}

#[derive(sqlx::FromRow)]
struct ChangeColumns {
    changed_by: String,
    utc: i64,
    #[sqlx(flatten)]
    after: LimitColumns,
}

impl Store {
    /// The alarm limits of a patient, `None` if there is no such patient.
    ///
    /// # Errors
    /// What the database says.
    pub async fn limits(&self, patient: &PatientId) -> Result<Option<PatientLimits>, Error> {
        let row: Option<LimitColumns> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT ",
            limit_columns!("p"),
            " FROM patients p WHERE p.patient = $1"
        ))
        .bind(patient.as_str())
        .fetch_optional(pool)
        .await)?;
        row.map(|row| row.read()).transpose()
    }

    /// Replaces the alarm limits of a patient, who becomes known by it; what is absent is as on the ward from then on.
    /// Kept for ever with `by`, who said so, and `at`.
    ///
    /// # Errors
    /// [`Error::Refused`] for limits that the columns do not allow, and where nobody is named in `by`; else what the
    /// database says.
    pub async fn set_limits(
        &self,
        patient: &PatientId,
        limits: &PatientLimits,
        by: &str,
        at: Utc,
    ) -> Result<(), Error> {
        let by = named(by)?;
        let columns = LimitColumns::new(limits);
        in_transaction!(self, connection => {
            sqlx::query(
                "INSERT INTO patients (patient, created_utc, low_bpm, high_bpm, extreme_bradycardia_bpm,
                    extreme_tachycardia_bpm, pause_seconds, rate_delay_seconds, ventricular_per_minute,
                    st_elevation_mv, st_depression_mv, off_conditions)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
                 ON CONFLICT (patient) DO UPDATE SET
                    low_bpm = excluded.low_bpm,
                    high_bpm = excluded.high_bpm,
                    extreme_bradycardia_bpm = excluded.extreme_bradycardia_bpm,
                    extreme_tachycardia_bpm = excluded.extreme_tachycardia_bpm,
                    pause_seconds = excluded.pause_seconds,
                    rate_delay_seconds = excluded.rate_delay_seconds,
                    ventricular_per_minute = excluded.ventricular_per_minute,
                    st_elevation_mv = excluded.st_elevation_mv,
                    st_depression_mv = excluded.st_depression_mv,
                    off_conditions = excluded.off_conditions",
            )
            .bind(patient.as_str())
            .bind(at.0)
            .bind(columns.low_bpm)
            .bind(columns.high_bpm)
            .bind(columns.extreme_bradycardia_bpm)
            .bind(columns.extreme_tachycardia_bpm)
            .bind(columns.pause_seconds)
            .bind(columns.rate_delay_seconds)
            .bind(columns.ventricular_per_minute)
            .bind(columns.st_elevation_mv)
            .bind(columns.st_depression_mv)
            .bind(columns.off_conditions.clone())
            .execute(&mut *connection)
            .await?;
            sqlx::query(limits_changed!())
                .bind(patient.as_str())
                .bind(by)
                .bind(at.0)
                .execute(&mut *connection)
                .await?;
        });
        Ok(())
    }

    /// Replaces the rate limits of a patient, low and high in beats per minute, and leaves the others as they are;
    /// otherwise as [`set_limits`](Self::set_limits).
    ///
    /// # Errors
    /// As there.
    pub async fn set_rate_limits(
        &self,
        patient: &PatientId,
        (low_bpm, high_bpm): (f32, f32),
        by: &str,
        at: Utc,
    ) -> Result<(), Error> {
        let by = named(by)?;
        in_transaction!(self, connection => {
            sqlx::query(
                "INSERT INTO patients (patient, created_utc, low_bpm, high_bpm) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (patient) DO UPDATE SET low_bpm = excluded.low_bpm, high_bpm = excluded.high_bpm",
            )
            .bind(patient.as_str())
            .bind(at.0)
            .bind(f64::from(low_bpm))
            .bind(f64::from(high_bpm))
            .execute(&mut *connection)
            .await?;
            sqlx::query(limits_changed!())
                .bind(patient.as_str())
                .bind(by)
                .bind(at.0)
                .execute(&mut *connection)
                .await?;
        });
        Ok(())
    }

    /// The last changes of a patient's limits, the newest first, at most `limit`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn limit_changes(
        &self,
        patient: &PatientId,
        limit: u32,
    ) -> Result<Vec<LimitChange>, Error> {
        // One more, for what was before the oldest.
        let rows: Vec<ChangeColumns> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT c.changed_by, c.utc, ",
            limit_columns!("c"),
            " FROM limit_changes c WHERE c.patient = $1 ORDER BY c.id DESC LIMIT $2"
        ))
        .bind(patient.as_str())
        .bind(i64::from(limit) + 1)
        .fetch_all(pool)
        .await)?;
        let states: Vec<PatientLimits> = rows
            .iter()
            .map(|row| row.after.read())
            .collect::<Result<_, _>>()?;
        let changes = rows.into_iter().enumerate().map(|(k, row)| LimitChange {
            by: row.changed_by,
            utc: Utc(row.utc),
            before: states.get(k + 1).copied().unwrap_or_default(),
            after: states[k],
        });
        Ok(changes.take(limit as usize).collect())
    }
}

/// Notes the limits of a patient as they are now among the changes.
macro_rules! limits_changed {
    () => {
        concat!(
            "INSERT INTO limit_changes (patient, changed_by, utc, low_bpm, high_bpm, extreme_bradycardia_bpm,
                extreme_tachycardia_bpm, pause_seconds, rate_delay_seconds, ventricular_per_minute,
                st_elevation_mv, st_depression_mv, off_conditions)
             SELECT p.patient, $2, $3, ",
            limit_columns!("p"),
            " FROM patients p WHERE p.patient = $1"
        )
    };
}

use limits_changed;
