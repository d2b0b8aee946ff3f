//! Rows as arrays, one statement per table.

use sqlx::{PgConnection, PgPool};

use super::on_conflict;
use crate::Error;
use crate::outbox::{OutboxLock, outbox_columns, outbox_values};
use crate::rows::{EventLine, Rows};
use uuid::Uuid;

type Written = Result<(), sqlx::Error>;

/// One field of every row, as an array.
macro_rules! column {
    ($rows:expr, $field:ident) => {
        $rows.iter().map(|row| row.$field).collect::<Vec<_>>()
    };
}

pub(super) async fn write(pool: &PgPool, rows: &Rows<'_>) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    let connection = &mut *transaction;
    if !rows.devices.is_empty() {
        devices(connection, rows).await?;
        records(connection, rows).await?;
    }
    if !rows.beats.is_empty() {
        beats(connection, rows).await?;
    }
    if !rows.gaps.is_empty() {
        gaps(connection, rows).await?;
    }
    let mut news = Vec::new();
    if !rows.events.is_empty() {
        alarms(connection, rows).await?;
        news = alarm_events(connection, rows).await?;
    }
    if !rows.strips.is_empty() {
        strips(connection, rows).await?;
    }
    if !rows.suppressions.is_empty() {
        suppressions(connection, rows).await?;
    }
    if !rows.findings.is_empty() {
        findings(connection, rows).await?;
    }
    if !rows.baselines.is_empty() {
        baselines(connection, rows).await?;
    }
    if !rows.trends.is_empty() {
        trends(connection, rows).await?;
    }
    // Last, for it takes the lock that all writers of messages share: whoever has it waits for nobody.
    if !news.is_empty() {
        outbox(connection, news, rows).await?;
    }
    transaction.commit().await?;
    Ok(())
}

async fn devices(connection: &mut PgConnection, rows: &Rows<'_>) -> Written {
    let rows = &rows.devices;
    sqlx::query(concat!(
        "INSERT INTO devices (device, first_seen, last_seen)
         SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::bigint[])",
        on_conflict!(devices)
    ))
    .bind(column!(rows, device))
    .bind(column!(rows, first))
    .bind(column!(rows, last))
    .execute(connection)
    .await
    .map(drop)
}

async fn records(connection: &mut PgConnection, rows: &Rows<'_>) -> Written {
    let rows = &rows.records;
    let layouts: Vec<_> = rows.iter().map(|row| row.layout.as_str()).collect();
    sqlx::query(concat!(
        "INSERT INTO records (device, boot, layout, base_rate_hz, anchor_index, anchor_utc,
            anchor_hz, durable_until, ended, started_utc, updated_utc, origin_hz, origin_utc)
         SELECT r.*, r.base_rate_hz, r.anchor_utc - r.anchor_index / r.base_rate_hz * 1e6
         FROM UNNEST($1::text[], $2::bigint[], $3::text[], $4::float8[], $5::bigint[],
            $6::bigint[], $7::float8[], $8::bigint[], $9::boolean[], $10::bigint[], $11::bigint[])
         AS r (device, boot, layout, base_rate_hz, anchor_index, anchor_utc, anchor_hz, durable_until, ended,
            started_utc, updated_utc)",
        on_conflict!(records)
    ))
    .bind(column!(rows, device))
    .bind(column!(rows, boot))
    .bind(layouts)
    .bind(column!(rows, base_rate_hz))
    .bind(column!(rows, anchor_index))
    .bind(column!(rows, anchor_utc))
    .bind(column!(rows, anchor_hz))
    .bind(column!(rows, durable_until))
    .bind(column!(rows, ended))
    .bind(column!(rows, started_utc))
    .bind(column!(rows, updated_utc))
    .execute(connection)
    .await
    .map(drop)
}

async fn beats(connection: &mut PgConnection, rows: &Rows<'_>) -> Written {
    let rows = &rows.beats;
    sqlx::query(concat!(
        "INSERT INTO beats (device, boot, r_peak, class, utc, day)
         SELECT b.device, b.boot, b.r_peak, b.class, b.utc, beat_day(r.origin_utc, r.origin_hz, b.r_peak)
         FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[])
            AS b (device, boot, r_peak, class, utc)
         LEFT JOIN records r ON r.device = b.device COLLATE \"C\" AND r.boot = b.boot
         ON CONFLICT (device, boot, r_peak, day)",
        on_conflict!(beat)
    ))
    .bind(column!(rows, device))
    .bind(column!(rows, boot))
    .bind(column!(rows, r_peak))
    .bind(column!(rows, class))
    .bind(column!(rows, utc))
    .execute(connection)
    .await
    .map(drop)
}

async fn gaps(connection: &mut PgConnection, rows: &Rows<'_>) -> Written {
    let rows = &rows.gaps;
    sqlx::query(concat!(
        "INSERT INTO gaps (device, boot, start_index, end_index)
         SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])",
        on_conflict!(gaps)
    ))
    .bind(column!(rows, device))
    .bind(column!(rows, boot))
    .bind(column!(rows, start))
    .bind(column!(rows, end))
    .execute(connection)
    .await
    .map(drop)
}

/// One statement may touch a row once, so events of the same alarm go in turns: first the first
/// event of every alarm, which also locks every row in order of the ids, then the second of those
/// that have one, and so on.
async fn alarms(connection: &mut PgConnection, rows: &Rows<'_>) -> Written {
    let at = rows.at;
    let mut turns: Vec<Vec<&EventLine<'_>>> = Vec::new();
    for events in rows.events.chunk_by(|a, b| a.alarm == b.alarm) {
        for (turn, event) in events.iter().enumerate() {
            if turns.len() <= turn {
                turns.push(Vec::new());
            }
            turns[turn].push(event);
        }
    }
    for rows in turns {
        sqlx::query(concat!(
            "INSERT INTO alarms (alarm, device, boot, patient, condition, kind, priority, onset,
                state, step, updated_utc, raised_step, raised_utc, evidence,
                acknowledged_step, acknowledged_by, acknowledged_utc, stored_utc)
             SELECT e.alarm, e.device, e.boot,
                (SELECT d.patient FROM devices d WHERE d.device = e.device COLLATE \"C\"),
                e.condition, e.kind, e.priority, e.onset,
                e.state, e.step, e.utc, e.step, e.utc, e.evidence,
                CASE WHEN e.given_by IS NOT NULL THEN e.step END, e.given_by,
                CASE WHEN e.given_by IS NOT NULL THEN e.utc END, $13
             FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[],
                $7::bigint[], $8::text[], $9::smallint[], $10::bigint[], $11::text[], $12::text[])
             AS e (alarm, device, boot, condition, kind, priority, onset, state, step, utc,
                evidence, given_by)",
            on_conflict!(alarms)
        ))
        .bind(column!(rows, alarm))
        .bind(column!(rows, device))
        .bind(column!(rows, boot))
        .bind(column!(rows, condition))
        .bind(column!(rows, kind))
        .bind(column!(rows, priority))
        .bind(column!(rows, onset))
        .bind(column!(rows, state))
        .bind(column!(rows, step))
        .bind(column!(rows, utc))
        .bind(column!(rows, evidence))
        .bind(column!(rows, given_by))
        .bind(at)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// The events that were not there before, in the order of the batch.
async fn alarm_events(
    connection: &mut PgConnection,
    rows: &Rows<'_>,
) -> Result<Vec<Uuid>, sqlx::Error> {
    let rows = &rows.events;
    let mut news: Vec<Uuid> = sqlx::query_scalar(concat!(
        "INSERT INTO alarm_events (event, alarm, device, boot, condition, kind, priority, state,
            onset, decided_at, utc, given_by, evidence)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[],
            $6::text[], $7::text[], $8::text[], $9::bigint[], $10::bigint[], $11::bigint[],
            $12::text[], $13::text[])",
        on_conflict!(alarm_events),
        " RETURNING event"
    ))
    .bind(column!(rows, event))
    .bind(column!(rows, alarm))
    .bind(column!(rows, device))
    .bind(column!(rows, boot))
    .bind(column!(rows, condition))
    .bind(column!(rows, kind))
    .bind(column!(rows, priority))
    .bind(column!(rows, state))
    .bind(column!(rows, onset))
    .bind(column!(rows, decided_at))
    .bind(column!(rows, utc))
    .bind(column!(rows, given_by))
    .bind(column!(rows, evidence))
    .fetch_all(connection)
    .await?;
    let place = |event: &Uuid| {
        rows.iter()
            .find(|row| row.event == *event)
            .map(|row| row.place)
    };
    news.sort_by_key(place);
    Ok(news)
}

async fn outbox(connection: &mut PgConnection, news: Vec<Uuid>, rows: &Rows<'_>) -> Written {
    sqlx::query(PgConnection::LOCK)
        .execute(&mut *connection)
        .await?;
    sqlx::query(concat!(
        "INSERT INTO outbox (",
        outbox_columns!(),
        ") SELECT ",
        outbox_values!(),
        " JOIN UNNEST($1::uuid[]) WITH ORDINALITY AS n (event, place) ON n.event = e.event
          ORDER BY n.place ON CONFLICT (message) DO NOTHING"
    ))
    .bind(news)
    .bind(rows.at)
    .execute(connection)
    .await
    .map(drop)
}

async fn strips(connection: &mut PgConnection, rows: &Rows<'_>) -> Written {
    let rows = &rows.strips;
    let bodies: Vec<_> = rows.iter().map(|row| row.body.as_slice()).collect();
    sqlx::query(concat!(
        "INSERT INTO strips (alarm, start_index, end_index, rate_hz, model_name, model_version,
            model_sha256, body, trust, novelty, withheld, findings)
         SELECT * FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[], $4::float8[], $5::text[],
            $6::text[], $7::text[], $8::bytea[], $9::float8[], $10::float8[], $11::text[], $12::text[])",
        on_conflict!(strips)
    ))
    .bind(column!(rows, alarm))
    .bind(column!(rows, start))
    .bind(column!(rows, end))
    .bind(column!(rows, rate_hz))
    .bind(column!(rows, model_name))
    .bind(column!(rows, model_version))
    .bind(column!(rows, model_sha256))
    .bind(bodies)
    .bind(column!(rows, trust))
    .bind(column!(rows, novelty))
    .bind(column!(rows, withheld))
    .bind(column!(rows, findings))
    .execute(connection)
    .await
    .map(drop)
}

async fn suppressions(connection: &mut PgConnection, rows: &Rows<'_>) -> Written {
    let rows = &rows.suppressions;
    sqlx::query(concat!(
        "INSERT INTO suppressions (alarm, device, boot, condition, priority, onset, decided_at, utc, evidence, reason)
         SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[],
            $7::bigint[], $8::bigint[], $9::text[], $10::text[])",
        on_conflict!(suppressions)
    ))
    .bind(column!(rows, alarm))
    .bind(column!(rows, device))
    .bind(column!(rows, boot))
    .bind(column!(rows, condition))
    .bind(column!(rows, priority))
    .bind(column!(rows, onset))
    .bind(column!(rows, decided_at))
    .bind(column!(rows, utc))
    .bind(column!(rows, evidence))
    .bind(column!(rows, reason))
    .execute(connection)
    .await
    .map(drop)
}

async fn findings(connection: &mut PgConnection, rows: &Rows<'_>) -> Written {
    let rows = &rows.findings;
    sqlx::query(concat!(
        "INSERT INTO findings (device, boot, source, name, onset, end_index, ended, start_utc, end_utc, text,
            snomed, probability, model_version, model_sha256, change, body)
         SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[],
            $7::boolean[], $8::bigint[], $9::bigint[], $10::text[], $11::bigint[], $12::float8[],
            $13::text[], $14::text[], $15::text[], $16::text[])",
        on_conflict!(findings)
    ))
    .bind(column!(rows, device))
    .bind(column!(rows, boot))
    .bind(column!(rows, source))
    .bind(column!(rows, name))
    .bind(column!(rows, onset))
    .bind(column!(rows, end))
    .bind(column!(rows, ended))
    .bind(column!(rows, start_utc))
    .bind(column!(rows, end_utc))
    .bind(column!(rows, text))
    .bind(column!(rows, snomed))
    .bind(column!(rows, probability))
    .bind(column!(rows, model_version))
    .bind(column!(rows, model_sha256))
    .bind(column!(rows, change))
    .bind(column!(rows, body))
    .execute(connection)
    .await
    .map(drop)
}

async fn baselines(connection: &mut PgConnection, rows: &Rows<'_>) -> Written {
    let rows = &rows.baselines;
    sqlx::query(concat!(
        "INSERT INTO baselines (patient, body) SELECT * FROM UNNEST($1::text[], $2::text[])",
        on_conflict!(baselines)
    ))
    .bind(column!(rows, patient))
    .bind(column!(rows, body))
    .execute(connection)
    .await
    .map(drop)
}

async fn trends(connection: &mut PgConnection, rows: &Rows<'_>) -> Written {
    let rows = &rows.trends;
    sqlx::query(concat!(
        "INSERT INTO trends (device, boot, minute, start_utc, n_beats, n_pulses, n_rates, rate_sum,
            rate_min, rate_max, usable_seconds, unusable_seconds, gap_samples)
         SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[],
            $6::bigint[], $7::bigint[], $8::float8[], $9::float8[], $10::float8[], $11::bigint[],
            $12::bigint[], $13::bigint[])",
        on_conflict!(trends)
    ))
    .bind(column!(rows, device))
    .bind(column!(rows, boot))
    .bind(column!(rows, minute))
    .bind(column!(rows, start_utc))
    .bind(column!(rows, n_beats))
    .bind(column!(rows, n_pulses))
    .bind(column!(rows, n_rates))
    .bind(column!(rows, rate_sum))
    .bind(column!(rows, rate_min))
    .bind(column!(rows, rate_max))
    .bind(column!(rows, usable_seconds))
    .bind(column!(rows, unusable_seconds))
    .bind(column!(rows, gap_samples))
    .execute(connection)
    .await
    .map(drop)
}
