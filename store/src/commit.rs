//! Writing a batch: one transaction, tables in one order, rows sorted by key.
//!
//! What a row does when it finds its key taken is said once, here, and is the same in both
//! databases; how the rows get there differs: PostgreSQL takes each table's rows as arrays in one
//! statement, SQLite, which has no round trips to save, one by one through a prepared statement.

mod postgres;
mod sqlite;

use crate::database::{Pools, in_time};
use crate::rows::Rows;
use crate::{Batch, Error, Store};

impl Store {
    /// Stores all of `batch`, or nothing.
    ///
    /// Once this returns `Ok`, all of it survives a crash. After an error, nothing of it is there,
    /// unless the connection broke while the database was confirming; committing the same batch
    /// again is right in either case.
    ///
    /// # Errors
    /// [`Error::Refused`] for a value that cannot be stored, before anything is written; else what
    /// the database says.
    pub async fn commit(&self, batch: &Batch) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let rows = Rows::new(batch)?;
        match &self.pools {
            Pools::Postgres(pool) => in_time(self.patience, postgres::write(pool, &rows)).await,
            Pools::Sqlite { write, .. } => Box::pin(sqlite::write(write, &rows)).await,
        }
    }
}

/// The end of an insertion into `$table`.
macro_rules! on_conflict {
    // After the key, which has the partition's day in PostgreSQL.
    (beat) => {
        " DO UPDATE SET class = excluded.class WHERE beats.class IS NULL AND excluded.class IS NOT NULL"
    };
    (gaps) => {
        " ON CONFLICT (device, boot, start_index) DO UPDATE SET end_index = excluded.end_index
          WHERE excluded.end_index > gaps.end_index"
    };
    (devices) => {
        " ON CONFLICT (device) DO UPDATE SET
            first_seen = CASE WHEN devices.first_seen <= excluded.first_seen
                THEN devices.first_seen ELSE excluded.first_seen END,
            last_seen = CASE WHEN devices.last_seen >= excluded.last_seen
                THEN devices.last_seen ELSE excluded.last_seen END"
    };
    (records) => {
        " ON CONFLICT (device, boot) DO UPDATE SET
            layout = excluded.layout,
            base_rate_hz = excluded.base_rate_hz,
            anchor_index = excluded.anchor_index,
            anchor_utc = excluded.anchor_utc,
            anchor_hz = excluded.anchor_hz,
            durable_until = excluded.durable_until,
            ended = excluded.ended,
            updated_utc = CASE WHEN records.updated_utc >= excluded.updated_utc
                THEN records.updated_utc ELSE excluded.updated_utc END
          WHERE excluded.durable_until >= records.durable_until"
    };
    // See the columns in the migration: a merge that comes out the same in any order.
    (alarms) => {
        " ON CONFLICT (alarm) DO UPDATE SET
            state = CASE WHEN excluded.step > alarms.step
                THEN excluded.state ELSE alarms.state END,
            priority = CASE WHEN excluded.step > alarms.step
                THEN excluded.priority ELSE alarms.priority END,
            updated_utc = CASE WHEN excluded.step > alarms.step
                THEN excluded.updated_utc ELSE alarms.updated_utc END,
            step = CASE WHEN excluded.step > alarms.step
                THEN excluded.step ELSE alarms.step END,
            raised_utc = CASE WHEN excluded.raised_step < alarms.raised_step
                THEN excluded.raised_utc ELSE alarms.raised_utc END,
            evidence = CASE WHEN excluded.raised_step < alarms.raised_step
                THEN excluded.evidence ELSE alarms.evidence END,
            raised_step = CASE WHEN excluded.raised_step < alarms.raised_step
                THEN excluded.raised_step ELSE alarms.raised_step END,
            acknowledged_by = CASE WHEN excluded.acknowledged_step < alarms.acknowledged_step
                OR alarms.acknowledged_step IS NULL
                THEN excluded.acknowledged_by ELSE alarms.acknowledged_by END,
            acknowledged_utc = CASE WHEN excluded.acknowledged_step < alarms.acknowledged_step
                OR alarms.acknowledged_step IS NULL
                THEN excluded.acknowledged_utc ELSE alarms.acknowledged_utc END,
            acknowledged_step = CASE WHEN excluded.acknowledged_step < alarms.acknowledged_step
                OR alarms.acknowledged_step IS NULL
                THEN excluded.acknowledged_step ELSE alarms.acknowledged_step END"
    };
    (alarm_events) => {
        " ON CONFLICT DO NOTHING"
    };
    (strips) => {
        " ON CONFLICT (alarm) DO NOTHING"
    };
    (suppressions) => {
        " ON CONFLICT (alarm) DO NOTHING"
    };
    (findings) => {
        " ON CONFLICT (device, boot, source, name, onset) DO UPDATE SET
            ended = CASE WHEN excluded.end_index >= findings.end_index
                THEN excluded.ended ELSE findings.ended END,
            end_utc = CASE WHEN excluded.end_index >= findings.end_index
                THEN excluded.end_utc ELSE findings.end_utc END,
            end_index = CASE WHEN excluded.end_index >= findings.end_index
                THEN excluded.end_index ELSE findings.end_index END,
            probability = CASE WHEN excluded.probability > findings.probability
                THEN excluded.probability ELSE findings.probability END"
    };
    (baselines) => {
        " ON CONFLICT (patient) DO NOTHING"
    };
    (trends) => {
        " ON CONFLICT (device, boot, minute) DO UPDATE SET
            start_utc = excluded.start_utc,
            n_beats = excluded.n_beats,
            n_pulses = excluded.n_pulses,
            n_rates = excluded.n_rates,
            rate_sum = excluded.rate_sum,
            rate_min = excluded.rate_min,
            rate_max = excluded.rate_max,
            usable_seconds = excluded.usable_seconds,
            unusable_seconds = excluded.unusable_seconds,
            gap_samples = excluded.gap_samples"
    };
}

pub(crate) use on_conflict;

#[cfg(test)]
mod tests {
    use ecg::{
        Anchor, Beat, BootId, Layout, Lead, RecordId, SampleIndex, SampleRate, SignalKind,
        SignalSpec, Utc,
    };

    use super::*;
    use crate::{Config, RecordUpdate};

    #[tokio::test]
    async fn a_full_disk_passes() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(format!("sqlite://{}/e.db", dir.path().display()));
        let store = Store::open(&config).await.unwrap();
        store.migrate().await.unwrap();
        let record = RecordId {
            device: "vest-7".parse().unwrap(),
            boot: BootId(1),
        };
        let lead = SignalSpec {
            kind: SignalKind::Ecg(Lead::II),
            rate: SampleRate::new(250.0).unwrap(),
        };
        let mut batch = Batch::default();
        batch.records.push(RecordUpdate {
            record: record.clone(),
            layout: Layout::new(&[lead]).unwrap(),
            anchor: Anchor {
                index: SampleIndex(0),
                utc: Utc(0),
                hz: 250.0,
            },
            durable_until: SampleIndex(1_000_000),
            ended: false,
            seen: Utc(0),
        });
        batch.beats = (0..5000)
            .map(|k| {
                let r_peak = SampleIndex(200 * k);
                let beat = Beat {
                    r_peak,
                    class: None,
                };
                (record.clone(), beat, Utc(0))
            })
            .collect();

        let Pools::Sqlite { write, .. } = &store.pools else {
            unreachable!("the URL says SQLite")
        };
        // Of this connection, which is the only one that writes.
        let full = "PRAGMA max_page_count = 1";
        sqlx::query(full).execute(write).await.unwrap();
        let error = store.commit(&batch).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        // There is room again, for whoever comes anew.
        store.commit(&batch).await.unwrap();
        let all = SampleIndex(0)..SampleIndex(1_000_000);
        assert_eq!(store.beats(&record, all).await.unwrap().len(), 5000);
    }
}
