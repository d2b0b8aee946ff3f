//! Alarms that were held back.

use std::ops::Range;

use ecg::{AlarmId, DeviceId, SampleIndex, Suppression, Utc};
use uuid::Uuid;

use crate::alarms::record_id;
use crate::database::read;
use crate::rows::{unsigned, word};
use crate::{Error, Store};

#[derive(sqlx::FromRow)]
struct Columns {
    alarm: Uuid,
    device: String,
    boot: i64,
    condition: String,
    priority: String,
    onset: i64,
    decided_at: i64,
    utc: i64,
    evidence: String,
    reason: String,
}

impl Columns {
    fn read(self) -> Result<Suppression, Error> {
        Ok(Suppression {
            alarm: AlarmId(self.alarm),
            record: record_id(&self.device, self.boot)?,
            condition: word(&self.condition)?,
            priority: word(&self.priority)?,
            onset: SampleIndex(unsigned("onset", self.onset)?),
            at: SampleIndex(unsigned("deciding sample", self.decided_at)?),
            utc: Utc(self.utc),
            evidence: self.evidence,
            reason: self.reason,
        })
    }
}

impl Store {
    /// The alarms of a device that were held back in `span`, the newest first, at most `limit`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn suppressions(
        &self,
        device: &DeviceId,
        span: Range<Utc>,
        limit: u32,
    ) -> Result<Vec<Suppression>, Error> {
        let rows: Vec<Columns> = read!(self, pool => sqlx::query_as(
            "SELECT alarm, device, boot, condition, priority, onset, decided_at, utc, evidence, reason
             FROM suppressions WHERE device = $1 AND utc >= $2 AND utc < $3
             ORDER BY utc DESC, alarm LIMIT $4",
        )
        .bind(device.as_str())
        .bind(span.start.0)
        .bind(span.end.0)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await)?;
        rows.into_iter().map(Columns::read).collect()
    }
}
