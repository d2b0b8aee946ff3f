//! What was found in the signals: beats, gaps and trends.

use std::ops::Range;

use ecg::{Beat, DeviceId, Gap, RecordId, SampleIndex, Trend, Utc};

use crate::alarms::record_id;
use crate::database::read;
use crate::rows::{unsigned, unsigned32, word};
use crate::{Error, Store};

impl Store {
    /// The beats of a record whose R peak is in `span`, in order, with their UTC as it was
    /// estimated when they were stored.
    ///
    /// # Errors
    /// What the database says.
    pub async fn beats(
        &self,
        record: &RecordId,
        span: Range<SampleIndex>,
    ) -> Result<Vec<(Beat, Utc)>, Error> {
        let rows: Vec<(i64, Option<String>, i64)> = read!(self, pool => sqlx::query_as(
            "SELECT r_peak, class, utc FROM beats
             WHERE device = $1 AND boot = $2 AND r_peak >= $3 AND r_peak < $4
             ORDER BY r_peak",
        )
        .bind(record.device.as_str())
        .bind(i64::from(record.boot.0))
        .bind(bound(span.start))
        .bind(bound(span.end))
        .fetch_all(pool)
        .await)?;
        rows.into_iter()
            .map(|(r_peak, class, utc)| Ok((beat(r_peak, class.as_deref())?, Utc(utc))))
            .collect()
    }

    /// The beats of a device, over all its records, whose estimated UTC is in `span`, by time.
    ///
    /// # Errors
    /// What the database says.
    pub async fn beats_of_device(
        &self,
        device: &DeviceId,
        span: Range<Utc>,
    ) -> Result<Vec<(RecordId, Beat, Utc)>, Error> {
        let rows: Vec<(String, i64, i64, Option<String>, i64)> = read!(self, pool => sqlx::query_as(
            "SELECT device, boot, r_peak, class, utc FROM beats
             WHERE device = $1 AND utc >= $2 AND utc < $3
             ORDER BY utc, boot, r_peak",
        )
        .bind(device.as_str())
        .bind(span.start.0)
        .bind(span.end.0)
        .fetch_all(pool)
        .await)?;
        rows.into_iter()
            .map(|(device, boot, r_peak, class, utc)| {
                let beat = beat(r_peak, class.as_deref())?;
                Ok((record_id(&device, boot)?, beat, Utc(utc)))
            })
            .collect()
    }

    /// The gaps of a record, in order.
    ///
    /// # Errors
    /// What the database says.
    pub async fn gaps(&self, record: &RecordId) -> Result<Vec<Gap>, Error> {
        let rows: Vec<(i64, i64)> = read!(self, pool => sqlx::query_as(
            "SELECT start_index, end_index FROM gaps
             WHERE device = $1 AND boot = $2 ORDER BY start_index",
        )
        .bind(record.device.as_str())
        .bind(i64::from(record.boot.0))
        .fetch_all(pool)
        .await)?;
        rows.into_iter()
            .map(|(start, end)| {
                Ok(Gap {
                    start: SampleIndex(unsigned("gap start", start)?),
                    end: SampleIndex(unsigned("gap end", end)?),
                })
            })
            .collect()
    }

    /// The minutes of a device, over all its records, that start in `span`, by time.
    ///
    /// # Errors
    /// What the database says.
    pub async fn trends(&self, device: &DeviceId, span: Range<Utc>) -> Result<Vec<Trend>, Error> {
        let rows: Vec<MinuteColumns> = read!(self, pool => sqlx::query_as(concat!(
            "SELECT ",
            trend_columns!(),
            " FROM trends t WHERE t.device = $1 AND t.start_utc >= $2 AND t.start_utc < $3
              ORDER BY t.start_utc, t.boot, t.minute"
        ))
        .bind(device.as_str())
        .bind(span.start.0)
        .bind(span.end.0)
        .fetch_all(pool)
        .await)?;
        rows.into_iter().map(MinuteColumns::read).collect()
    }
}

/// The columns of [`MinuteColumns`], of table `trends t`.
macro_rules! trend_columns {
    () => {
        "t.device, t.boot, t.minute, t.start_utc, t.n_beats, t.n_pulses, t.n_rates, t.rate_sum,
         t.rate_min, t.rate_max, t.usable_seconds, t.unusable_seconds, t.gap_samples"
    };
}

pub(crate) use trend_columns;

/// The end of a span, which may lie beyond every row.
pub(crate) fn bound(index: SampleIndex) -> i64 {
    i64::try_from(index.0).unwrap_or(i64::MAX)
}

pub(crate) fn beat(r_peak: i64, class: Option<&str>) -> Result<Beat, Error> {
    Ok(Beat {
        r_peak: SampleIndex(unsigned("R peak", r_peak)?),
        class: class.map(word).transpose()?,
    })
}

/// A row of `trends`.
#[derive(sqlx::FromRow)]
pub(crate) struct MinuteColumns {
    device: String,
    boot: i64,
    minute: i64,
    start_utc: i64,
    n_beats: i64,
    n_pulses: i64,
    n_rates: i64,
    rate_sum: f64,
    rate_min: Option<f64>,
    rate_max: Option<f64>,
    usable_seconds: i64,
    unusable_seconds: i64,
    gap_samples: i64,
}

impl MinuteColumns {
    pub(crate) fn read(self) -> Result<Trend, Error> {
        let record = record_id(&self.device, self.boot)?;
        let minute = unsigned("minute", self.minute)?;
        let empty = Trend::new(record, minute, Utc(self.start_utc));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rates were an f32 before they were stored"
        )]
        Ok(Trend {
            n_beats: unsigned32("number of beats", self.n_beats)?,
            n_pulses: unsigned32("number of pulses", self.n_pulses)?,
            n_rates: unsigned32("number of rates", self.n_rates)?,
            rate_sum: self.rate_sum,
            rate_min: self.rate_min.map_or(empty.rate_min, |bpm| bpm as f32),
            rate_max: self.rate_max.map_or(empty.rate_max, |bpm| bpm as f32),
            usable_seconds: unsigned32("usable seconds", self.usable_seconds)?,
            unusable_seconds: unsigned32("unusable seconds", self.unusable_seconds)?,
            gap_samples: unsigned("gap samples", self.gap_samples)?,
            ..empty
        })
    }
}
