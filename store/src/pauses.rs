//! Who asked that less urgent messages of a device wait, and until when. Append-only.

use ecg::{DeviceId, Utc};

use crate::database::{in_transaction, read};
use crate::devices::named;
use crate::rows::word;
use crate::{Error, Store};

/// A pause in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Of which device.
    pub device: DeviceId,
    /// Until when.
    pub until: Utc,
    /// Who asked for it.
    pub by: String,
    /// When.
    pub since: Utc,
}

impl Store {
    /// Pauses a device until `until`, instead of any pause before; one that is over at once, `until` being `at`, ends the
    /// one in force. Kept for ever with `by`, who said so, and `at`.
    ///
    /// # Errors
    /// [`Error::Refused`] where nobody is named in `by`, else what the database says.
    pub async fn pause(
        &self,
        device: &DeviceId,
        until: Utc,
        by: &str,
        at: Utc,
    ) -> Result<(), Error> {
        let by = named(by)?;
        in_transaction!(self, connection => {
            sqlx::query("INSERT INTO pauses (device, until_utc, changed_by, utc) VALUES ($1, $2, $3, $4)")
                .bind(device.as_str())
                .bind(until.0)
                .bind(by)
                .bind(at.0)
                .execute(&mut *connection)
                .await?;
        });
        Ok(())
    }

    /// The pauses in force at `now`, by device.
    ///
    /// # Errors
    /// What the database says.
    pub async fn pauses(&self, now: Utc) -> Result<Vec<Pause>, Error> {
        let rows: Vec<(String, i64, String, i64)> = read!(self, pool => sqlx::query_as(
            "SELECT p.device, p.until_utc, p.changed_by, p.utc FROM pauses p
             WHERE p.until_utc > $1
                AND NOT EXISTS (SELECT 1 FROM pauses q WHERE q.device = p.device AND q.id > p.id)
             ORDER BY p.device",
        )
        .bind(now.0)
        .fetch_all(pool)
        .await)?;
        rows.into_iter()
            .map(|(device, until, by, since)| {
                Ok(Pause {
                    device: word(&device)?,
                    until: Utc(until),
                    by,
                    since: Utc(since),
                })
            })
            .collect()
    }
}
