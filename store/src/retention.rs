//! Removing what is old, in small steps.
//!
//! **What is younger than its limit is never removed, and nothing that an open alarm or a message needs.** Every step
//! is a transaction of its own with a bounded number of rows, so that commits wait for one of them at most. A step may be
//! repeated or left out at any moment.
//!
//! Beats are by far the most rows. In PostgreSQL they lie in one partition per day, so that a day is dropped and not deleted
//! row by row. The day of a beat is computed from its record's first anchor and its sample, and so is the same whenever
//! the beat is stored; its estimated UTC need not be. A partition is dropped when every beat in it is old enough by that
//! UTC too. Beats of days that have no partition go to `beats_default`, and are deleted as the rows of other tables are.

use std::time::Duration;

use ecg::{AlarmId, DeviceId, Utc};
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::database::{Pools, in_transaction, read};
use crate::rows::word;
use crate::{Error, Store};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// How long a change of partitions may wait for those who write. Meanwhile others wait behind it.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// For how many days ahead there are partitions.
pub const DAYS_AHEAD: i64 = 7;

/// What has a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kept {
    /// Beats.
    Beats,
    /// Minutes.
    Trends,
    /// Samples that never came.
    Gaps,
    /// Episodes of findings that are over.
    Findings,
    /// Alarms that were held back.
    Suppressions,
    /// The signals around alarms that are cleared.
    Strips,
    /// Alarms that are cleared, with their events and strips.
    Alarms,
}

impl Kept {
    /// Everything that has a limit.
    pub const ALL: [Self; 7] = [
        Self::Beats,
        Self::Trends,
        Self::Gaps,
        Self::Findings,
        Self::Suppressions,
        Self::Strips,
        Self::Alarms,
    ];

    /// The word for it in settings and labels.
    pub fn name(self) -> &'static str {
        match self {
            Self::Beats => "beats",
            Self::Trends => "trends",
            Self::Gaps => "gaps",
            Self::Findings => "findings",
            Self::Suppressions => "suppressions",
            Self::Strips => "strips",
            Self::Alarms => "alarms",
        }
    }
}

/// The rows of one device that are older than `$2`, as a FROM and WHERE; `$1` is the device, or the column that names it.
/// Each reads an index that begins with the device.
macro_rules! old {
    (beats, $table:literal, $device:literal) => {
        concat!(" FROM ", $table, " o WHERE o.device = ", $device, " AND o.utc < $2")
    };
    (trends, $device:literal) => {
        concat!(" FROM trends o WHERE o.device = ", $device, " AND o.start_utc < $2")
    };
    // A gap has no time of its own; its record says how samples lie in UTC.
    (gaps, $device:literal) => {
        concat!(
            " FROM gaps o JOIN records r ON r.device = o.device AND r.boot = o.boot WHERE o.device = ",
            $device,
            " AND r.anchor_utc + (o.end_index - r.anchor_index) / r.anchor_hz * 1e6 < $2"
        )
    };
    (findings, $device:literal) => {
        concat!(
            " FROM findings o WHERE o.device = ",
            $device,
            " AND o.start_utc < $2 AND o.end_utc < $2 AND o.ended"
        )
    };
    (suppressions, $device:literal) => {
        concat!(
            " FROM suppressions o WHERE o.device = ",
            $device,
            " AND o.utc < $2 AND NOT EXISTS (
                SELECT 1 FROM alarms a WHERE a.alarm = o.alarm AND a.state <> 'cleared')"
        )
    };
    (strips, $device:literal) => {
        concat!(
            " FROM alarms o JOIN strips s ON s.alarm = o.alarm WHERE o.device = ",
            $device,
            " AND o.raised_utc < $2 AND o.updated_utc < $2 AND COALESCE(o.stored_utc, o.raised_utc) < $2
                AND o.state = 'cleared'"
        )
    };
    // A message says what it has to say by itself, but whoever gets it may ask for the alarm.
    (alarms, $device:literal) => {
        concat!(
            " FROM alarms o WHERE o.device = ",
            $device,
            " AND o.raised_utc < $2 AND o.updated_utc < $2 AND COALESCE(o.stored_utc, o.raised_utc) < $2
                AND o.state = 'cleared' AND NOT EXISTS (SELECT 1 FROM outbox m WHERE m.alarm = o.alarm)"
        )
    };
}

/// The devices that have any such rows. The limit keeps the planner from reading a whole table instead of one
/// index entry per device.
macro_rules! due {
    ($($old:tt)*) => {
        concat!(
            "SELECT d.device FROM devices d WHERE CAST($1 AS BIGINT) = 0 AND (SELECT 1",
            old!($($old)*),
            " LIMIT 1) = 1 ORDER BY d.device"
        )
    };
}

/// Deletes at most `$3` of them.
macro_rules! delete {
    ($table:literal, $key:literal, $picked:literal, $($old:tt)*) => {
        concat!(
            "DELETE FROM ", $table, " WHERE (", $key, ") IN (SELECT ", $picked, old!($($old)*), " LIMIT $3)"
        )
    };
}

impl Store {
    /// The devices that have rows older than `before` that may be removed.
    ///
    /// # Errors
    /// What the database says.
    pub async fn devices_due(&self, kept: Kept, before: Utc) -> Result<Vec<DeviceId>, Error> {
        let is_postgres = matches!(self.pools, Pools::Postgres(_));
        let sql = match kept {
            Kept::Beats if is_postgres => due!(beats, "beats_default", "d.device"),
            Kept::Beats => due!(beats, "beats", "d.device"),
            Kept::Trends => due!(trends, "d.device"),
            Kept::Gaps => due!(gaps, "d.device"),
            Kept::Findings => due!(findings, "d.device"),
            Kept::Suppressions => due!(suppressions, "d.device"),
            Kept::Strips => due!(strips, "d.device"),
            Kept::Alarms => due!(alarms, "d.device"),
        };
        let names: Vec<String> = read!(self, pool => sqlx::query_scalar(sql)
            .bind(0_i64)
            .bind(before.0)
            .fetch_all(pool)
            .await)?;
        names.iter().map(|name| word(name)).collect()
    }

    /// Removes rows of a device that are older than `before`, at most `most` of them (alarms and strips: a tenth, for they
    /// are large); how many it were. None, when there are none left.
    ///
    /// # Errors
    /// What the database says.
    pub async fn remove(
        &self,
        kept: Kept,
        device: &DeviceId,
        before: Utc,
        most: u32,
    ) -> Result<u64, Error> {
        let is_postgres = matches!(self.pools, Pools::Postgres(_));
        let sql = match kept {
            Kept::Beats if is_postgres => delete!(
                "beats_default",
                "device, boot, r_peak",
                "o.device, o.boot, o.r_peak",
                beats,
                "beats_default",
                "$1"
            ),
            Kept::Beats => delete!(
                "beats",
                "device, boot, r_peak",
                "o.device, o.boot, o.r_peak",
                beats,
                "beats",
                "$1"
            ),
            Kept::Trends => delete!(
                "trends",
                "device, boot, minute",
                "o.device, o.boot, o.minute",
                trends,
                "$1"
            ),
            Kept::Gaps => delete!(
                "gaps",
                "device, boot, start_index",
                "o.device, o.boot, o.start_index",
                gaps,
                "$1"
            ),
            Kept::Findings => delete!(
                "findings",
                "device, boot, source, name, onset",
                "o.device, o.boot, o.source, o.name, o.onset",
                findings,
                "$1"
            ),
            Kept::Suppressions => delete!("suppressions", "alarm", "o.alarm", suppressions, "$1"),
            Kept::Strips | Kept::Alarms => {
                return self
                    .remove_alarms(kept, device, before, most / 10 + 1)
                    .await;
            }
        };
        let removed = in_transaction!(self, connection => {
            sqlx::query(sql)
                .bind(device.as_str())
                .bind(before.0)
                .bind(i64::from(most))
                .execute(&mut *connection)
                .await?
                .rows_affected()
        });
        Ok(removed)
    }

    /// The same of strips, or of alarms with all that is theirs.
    async fn remove_alarms(
        &self,
        kept: Kept,
        device: &DeviceId,
        before: Utc,
        most: u32,
    ) -> Result<u64, Error> {
        let sql = match kept {
            Kept::Strips => concat!("SELECT o.alarm", old!(strips, "$1"), " LIMIT $3"),
            _ => concat!("SELECT o.alarm", old!(alarms, "$1"), " LIMIT $3"),
        };
        let removed = in_transaction!(self, connection => {
            let mut removed = 0;
            let alarms: Vec<Uuid> = sqlx::query_scalar(sql)
                .bind(device.as_str())
                .bind(before.0)
                .bind(i64::from(most))
                .fetch_all(&mut *connection)
                .await?;
            for alarm in alarms {
                removed += 1;
                for strip in [AlarmId(alarm), AlarmId(alarm).at_end()] {
                    sqlx::query("DELETE FROM strips WHERE alarm = $1")
                        .bind(strip.0)
                        .execute(&mut *connection)
                        .await?;
                }
                if kept == Kept::Alarms {
                    for sql in [
                        "DELETE FROM alarm_events WHERE alarm = $1",
                        "DELETE FROM alarms WHERE alarm = $1",
                    ] {
                        sqlx::query(sql).bind(alarm).execute(&mut *connection).await?;
                    }
                }
            }
            removed
        });
        Ok(removed)
    }

    /// Sees to it that there are partitions for beats of today and some days ahead; how many days have none. Without one,
    /// beats go to the default partition. SQLite has no partitions.
    ///
    /// # Errors
    /// What the database says.
    pub async fn prepare_partitions(&self, now: Utc) -> Result<u64, Error> {
        let Pools::Postgres(pool) = &self.pools else {
            return Ok(0);
        };
        let today = now.0.div_euclid(DAY);
        let mut missing = 0;
        for day in today - 1..=today + DAYS_AHEAD {
            missing += u64::from(!prepare(pool, day).await?);
        }
        Ok(missing)
    }

    /// Drops the partitions in which every beat is older than `before`; how many.
    ///
    /// # Errors
    /// What the database says.
    pub async fn drop_partitions(&self, before: Utc) -> Result<u64, Error> {
        let Pools::Postgres(pool) = &self.pools else {
            return Ok(0);
        };
        let mut dropped = 0;
        for (name, day) in partitions(pool).await? {
            if (day + 1) * DAY <= before.0 {
                dropped += u64::from(drop_if_old(pool, &name, before).await?);
            }
        }
        Ok(dropped)
    }

    /// Gives some of the room of removed rows back to the system, where it is not kept for new ones: SQLite only, and only
    /// files that were made by this version or later, or vacuumed since.
    ///
    /// # Errors
    /// What the database says.
    pub async fn shrink(&self) -> Result<(), Error> {
        if let Pools::Sqlite { write, .. } = &self.pools {
            sqlx::query("PRAGMA incremental_vacuum(2000)")
                .execute(write)
                .await?;
        }
        Ok(())
    }
}

/// Every partition of beats but the default one, with its day since 1970-01-01, oldest first.
async fn partitions(pool: &PgPool) -> Result<Vec<(String, i64)>, Error> {
    let names: Vec<(String, i32)> = sqlx::query_as(
        "SELECT c.relname::text, to_date(right(c.relname, 8), 'YYYYMMDD') - DATE '1970-01-01'
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'beats'::regclass AND c.relname ~ '^beats_[0-9]{8}$'
         ORDER BY c.relname",
    )
    .fetch_all(pool)
    .await?;
    let days = names.into_iter().map(|(name, day)| (name, i64::from(day)));
    Ok(days.collect())
}

/// Makes a day's partition, if there is none; false if it cannot be had at the moment.
async fn prepare(pool: &PgPool, day: i64) -> Result<bool, Error> {
    let (name, exists): (String, bool) = sqlx::query_as(
        "SELECT n.name, to_regclass(n.name) IS NOT NULL
         FROM (SELECT 'beats_' || to_char(DATE '1970-01-01' + $1::int, 'YYYYMMDD')) AS n (name)",
    )
    .bind(i32::try_from(day).unwrap_or(i32::MAX))
    .fetch_one(pool)
    .await?;
    if exists {
        return Ok(true);
    }
    let mut transaction = pool.begin().await?;
    for sql in [
        format!("SET LOCAL lock_timeout = {}", LOCK_TIMEOUT.as_millis()),
        // Made by itself and attached, so that those who write other partitions do not wait.
        format!("CREATE TABLE {name} (LIKE beats INCLUDING ALL)"),
        format!(
            "ALTER TABLE beats ATTACH PARTITION {name} FOR VALUES FROM ({day}) TO ({})",
            day + 1
        ),
    ] {
        let done = sqlx::query(AssertSqlSafe(sql))
            .execute(&mut *transaction)
            .await;
        if let Err(error) = done {
            let code = match &error {
                sqlx::Error::Database(error) => error.code(),
                _ => None,
            };
            // 1. Somebody holds a lock. 2. Beats of that day are in the default partition already.
            // 3. Another process has just made it.
            if code.is_some_and(|code| ["55P03", "23514", "42P07"].contains(&&*code)) {
                transaction.rollback().await?;
                return Ok(false);
            }
            return Err(error.into());
        }
    }
    transaction.commit().await?;
    Ok(true)
}

/// Drops a partition, unless there are younger beats in it, by their estimated UTC; whether it did.
async fn drop_if_old(pool: &PgPool, name: &str, before: Utc) -> Result<bool, Error> {
    let mut transaction = pool.begin().await?;
    for sql in [
        format!("SET LOCAL lock_timeout = {}", LOCK_TIMEOUT.as_millis()),
        // Nobody writes to it from here on.
        format!("LOCK TABLE {name} IN SHARE MODE"),
    ] {
        sqlx::query(AssertSqlSafe(sql))
            .execute(&mut *transaction)
            .await?;
    }
    let young: Option<i32> = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT 1 FROM devices d WHERE
            (SELECT 1 FROM {name} b WHERE b.device = d.device AND b.utc >= $1 LIMIT 1) = 1 LIMIT 1"
    )))
    .bind(before.0)
    .fetch_optional(&mut *transaction)
    .await?;
    if young.is_some() {
        transaction.rollback().await?;
        return Ok(false);
    }
    sqlx::query(AssertSqlSafe(format!("DROP TABLE {name}")))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(true)
}
