//! Rows one by one, through statements that each connection prepares once.

use sqlx::{SqliteConnection, SqlitePool};

use super::on_conflict;
use crate::Error;
use crate::database::{begin_write, hand_back};
use crate::outbox::{outbox_columns, outbox_values};
use crate::rows::Rows;

type Written = Result<(), sqlx::Error>;

pub(super) async fn write(pool: &SqlitePool, rows: &Rows<'_>) -> Result<(), Error> {
    let mut connection = pool.acquire().await?;
    let outcome = write_on(&mut connection, rows).await;
    hand_back(connection, outcome).await
}

async fn write_on(connection: &mut SqliteConnection, rows: &Rows<'_>) -> Result<(), Error> {
    let mut transaction = begin_write(connection).await?;
    let connection = &mut *transaction;
    devices(connection, rows).await?;
    records(connection, rows).await?;
    beats(connection, rows).await?;
    gaps(connection, rows).await?;
    alarms(connection, rows).await?;
    alarm_events(connection, rows).await?;
    strips(connection, rows).await?;
    suppressions(connection, rows).await?;
    findings(connection, rows).await?;
    baselines(connection, rows).await?;
    trends(connection, rows).await?;
    transaction.commit().await?;
    Ok(())
}

async fn devices(connection: &mut SqliteConnection, rows: &Rows<'_>) -> Written {
    for row in &rows.devices {
        sqlx::query(concat!(
            "INSERT INTO devices (device, first_seen, last_seen)
             VALUES ($1, $2, $3)",
            on_conflict!(devices)
        ))
        .bind(row.device)
        .bind(row.first)
        .bind(row.last)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn records(connection: &mut SqliteConnection, rows: &Rows<'_>) -> Written {
    for row in &rows.records {
        sqlx::query(concat!(
            "INSERT INTO records (device, boot, layout, base_rate_hz, anchor_index, anchor_utc,
                anchor_hz, durable_until, ended, started_utc, updated_utc)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            on_conflict!(records)
        ))
        .bind(row.device)
        .bind(row.boot)
        .bind(row.layout.as_str())
        .bind(row.base_rate_hz)
        .bind(row.anchor_index)
        .bind(row.anchor_utc)
        .bind(row.anchor_hz)
        .bind(row.durable_until)
        .bind(row.ended)
        .bind(row.started_utc)
        .bind(row.updated_utc)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn beats(connection: &mut SqliteConnection, rows: &Rows<'_>) -> Written {
    for row in &rows.beats {
        sqlx::query(concat!(
            "INSERT INTO beats (device, boot, r_peak, class, utc)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (device, boot, r_peak)",
            on_conflict!(beat)
        ))
        .bind(row.device)
        .bind(row.boot)
        .bind(row.r_peak)
        .bind(row.class)
        .bind(row.utc)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn gaps(connection: &mut SqliteConnection, rows: &Rows<'_>) -> Written {
    for row in &rows.gaps {
        sqlx::query(concat!(
            "INSERT INTO gaps (device, boot, start_index, end_index)
             VALUES ($1, $2, $3, $4)",
            on_conflict!(gaps)
        ))
        .bind(row.device)
        .bind(row.boot)
        .bind(row.start)
        .bind(row.end)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn alarms(connection: &mut SqliteConnection, rows: &Rows<'_>) -> Written {
    for row in &rows.events {
        let acknowledged = row.given_by.is_some();
        sqlx::query(concat!(
            "INSERT INTO alarms (alarm, device, boot, patient, condition, kind, priority, onset,
                state, step, updated_utc, raised_step, raised_utc, evidence,
                acknowledged_step, acknowledged_by, acknowledged_utc, stored_utc)
             VALUES ($1, $2, $3, (SELECT d.patient FROM devices d WHERE d.device = $2), $4, $5, $6,
                $7, $8, $9, $10, $9, $10, $11, $12, $13, $14, $15)",
            on_conflict!(alarms)
        ))
        .bind(row.alarm)
        .bind(row.device)
        .bind(row.boot)
        .bind(row.condition)
        .bind(row.kind)
        .bind(row.priority)
        .bind(row.onset)
        .bind(row.state)
        .bind(row.step)
        .bind(row.utc)
        .bind(row.evidence)
        .bind(acknowledged.then_some(row.step))
        .bind(row.given_by)
        .bind(acknowledged.then_some(row.utc))
        .bind(rows.at)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn alarm_events(connection: &mut SqliteConnection, rows: &Rows<'_>) -> Written {
    let mut news = Vec::new();
    for row in &rows.events {
        let stored = sqlx::query(concat!(
            "INSERT INTO alarm_events (event, alarm, device, boot, condition, kind, priority,
                state, onset, decided_at, utc, given_by, evidence)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            on_conflict!(alarm_events)
        ))
        .bind(row.event)
        .bind(row.alarm)
        .bind(row.device)
        .bind(row.boot)
        .bind(row.condition)
        .bind(row.kind)
        .bind(row.priority)
        .bind(row.state)
        .bind(row.onset)
        .bind(row.decided_at)
        .bind(row.utc)
        .bind(row.given_by)
        .bind(row.evidence)
        .execute(&mut *connection)
        .await?;
        if stored.rows_affected() > 0 {
            news.push(row);
        }
    }
    news.sort_by_key(|row| row.place);
    for row in news {
        sqlx::query(concat!(
            "INSERT INTO outbox (",
            outbox_columns!(),
            ") SELECT ",
            outbox_values!(),
            " WHERE e.event = $1 ON CONFLICT (message) DO NOTHING"
        ))
        .bind(row.event)
        .bind(rows.at)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn strips(connection: &mut SqliteConnection, rows: &Rows<'_>) -> Written {
    for row in &rows.strips {
        sqlx::query(concat!(
            "INSERT INTO strips (alarm, start_index, end_index, rate_hz, model_name,
                model_version, model_sha256, body, trust, novelty, withheld, findings)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
            on_conflict!(strips)
        ))
        .bind(row.alarm)
        .bind(row.start)
        .bind(row.end)
        .bind(row.rate_hz)
        .bind(row.model_name)
        .bind(row.model_version)
        .bind(row.model_sha256)
        .bind(row.body.as_slice())
        .bind(row.trust)
        .bind(row.novelty)
        .bind(row.withheld)
        .bind(row.findings)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn suppressions(connection: &mut SqliteConnection, rows: &Rows<'_>) -> Written {
    for row in &rows.suppressions {
        sqlx::query(concat!(
            "INSERT INTO suppressions (alarm, device, boot, condition, priority, onset, decided_at, utc,
                evidence, reason)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            on_conflict!(suppressions)
        ))
        .bind(row.alarm)
        .bind(row.device)
        .bind(row.boot)
        .bind(row.condition)
        .bind(row.priority)
        .bind(row.onset)
        .bind(row.decided_at)
        .bind(row.utc)
        .bind(row.evidence)
        .bind(row.reason)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn findings(connection: &mut SqliteConnection, rows: &Rows<'_>) -> Written {
    for row in &rows.findings {
        sqlx::query(concat!(
            "INSERT INTO findings (device, boot, source, name, onset, end_index, ended, start_utc, end_utc,
                text, snomed, probability, model_version, model_sha256, change, body)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
            on_conflict!(findings)
        ))
        .bind(row.device)
        .bind(row.boot)
        .bind(row.source)
        .bind(row.name)
        .bind(row.onset)
        .bind(row.end)
        .bind(row.ended)
        .bind(row.start_utc)
        .bind(row.end_utc)
        .bind(row.text)
        .bind(row.snomed)
        .bind(row.probability)
        .bind(row.model_version)
        .bind(row.model_sha256)
        .bind(row.change)
        .bind(row.body)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn baselines(connection: &mut SqliteConnection, rows: &Rows<'_>) -> Written {
    for row in &rows.baselines {
        sqlx::query(concat!(
            "INSERT INTO baselines (patient, body) VALUES ($1, $2)",
            on_conflict!(baselines)
        ))
        .bind(row.patient)
        .bind(row.body)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn trends(connection: &mut SqliteConnection, rows: &Rows<'_>) -> Written {
    for row in &rows.trends {
        sqlx::query(concat!(
            "INSERT INTO trends (device, boot, minute, start_utc, n_beats, n_pulses, n_rates,
                rate_sum, rate_min, rate_max, usable_seconds, unusable_seconds, gap_samples)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            on_conflict!(trends)
        ))
        .bind(row.device)
        .bind(row.boot)
        .bind(row.minute)
        .bind(row.start_utc)
        .bind(row.n_beats)
        .bind(row.n_pulses)
        .bind(row.n_rates)
        .bind(row.rate_sum)
        .bind(row.rate_min)
        .bind(row.rate_max)
        .bind(row.usable_seconds)
        .bind(row.unusable_seconds)
        .bind(row.gap_samples)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
