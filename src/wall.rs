//! The one place where the program reads a clock; everything below takes time as an argument.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ecg::Utc;

/// The present UTC by this machine's clock.
pub fn utc() -> Utc {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where time enters the program"
    )]
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Utc(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// The present by the monotonic clock, for durations.
pub fn instant() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where time enters the program"
    )]
    Instant::now()
}

/// A clock that is off by less than this was not set: it drifted, or was led.
const SET_SECONDS: f64 = 1.0;

/// Notices when this machine's clock is set. Time itself goes on as the monotonic clock says.
#[derive(Debug, Clone, Copy)]
pub struct Watch(Utc, Instant);

impl Watch {
    /// From two clocks that were read together.
    pub fn new(utc: Utc, instant: Instant) -> Self {
        Self(utc, instant)
    }

    /// By how many seconds the clock was set since it was looked last, if it was; positive if ahead. A machine that slept
    /// looks as if its clock had been set by as long.
    pub fn look(&mut self, utc: Utc, instant: Instant) -> Option<f64> {
        let Self(utc_before, before) = std::mem::replace(self, Self(utc, instant));
        let passed = instant.saturating_duration_since(before).as_secs_f64();
        let set_by = utc.seconds_since(utc_before) - passed;
        (set_by.abs() > SET_SECONDS).then_some(set_by)
    }
}

/// `utc` as RFC 3339 with microseconds; the empty string outside the years 0 to 9999.
pub fn rfc3339(utc: Utc) -> String {
    jiff::Timestamp::from_microsecond(utc.0)
        .map(|at| format!("{at:.6}"))
        .unwrap_or_default()
}

/// Reads an RFC 3339 instant.
///
/// # Errors
/// The reason, naming the text.
pub fn parse_rfc3339(text: &str) -> Result<Utc, String> {
    text.parse::<jiff::Timestamp>()
        .map(|at| Utc(at.as_microsecond()))
        .map_err(|error| format!("{text:?} is no RFC 3339 instant: {error}"))
}

/// The midnight, UTC, with which a day such as `2026-11-26` begins.
///
/// # Errors
/// The reason, naming the text.
pub fn parse_day(text: &str) -> Result<Utc, String> {
    let day = text
        .parse::<jiff::civil::Date>()
        .ok()
        .filter(|_| text.len() == "2026-11-26".len());
    day.and_then(|day| jiff::tz::TimeZone::UTC.to_timestamp(day.into()).ok())
        .map(|at| Utc(at.as_microsecond()))
        .ok_or_else(|| format!("{text:?} is no day, where one such as 2026-11-26 is needed"))
}

/// The day in which an instant is, UTC; the empty string outside the years 0 to 9999.
pub fn day(utc: Utc) -> String {
    rfc3339(utc).get(..10).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_noticed_once() {
        let (utc, began) = (Utc(1_700_000_000_000_000), instant());
        let mut watch = Watch::new(utc, began);
        let mut look = |seconds: f64, off: f64| {
            let now = began + std::time::Duration::from_secs_f64(seconds);
            watch.look(utc.plus_seconds(seconds + off), now)
        };
        assert_eq!(look(10.0, 0.0), None);
        // Led by NTP.
        assert_eq!(look(20.0, 0.005), None);
        let near = |set_by: Option<f64>, seconds: f64| (set_by.unwrap() - seconds).abs() < 0.01;
        assert!(near(look(21.0, 3600.0), 3600.0));
        assert_eq!(look(30.0, 3600.0), None);
        assert!(near(look(30.5, -5.0), -3605.0));
        assert_eq!(look(31.0, -5.0), None);
    }

    #[test]
    fn instants_are_written_and_read() {
        let at = Utc(1_700_000_000_123_456);
        assert_eq!(rfc3339(at), "2023-11-14T22:13:20.123456Z");
        assert_eq!(parse_rfc3339(&rfc3339(at)).unwrap(), at);
        assert_eq!(day(at), "2023-11-14");
        let midnight = parse_day("2023-11-14").unwrap();
        assert_eq!(rfc3339(midnight), "2023-11-14T00:00:00.000000Z");
        for bad in ["2023-02-30", "2023-11-14T00:00", "today", "20231114", ""] {
            assert!(parse_day(bad).unwrap_err().contains(bad), "{bad}");
        }
        assert!(
            parse_rfc3339("yesterday")
                .unwrap_err()
                .contains("yesterday")
        );
    }
}
