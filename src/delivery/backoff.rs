//! How long to wait before the next attempt.

use std::time::Duration;

use ecg::Utc;
use uuid::Uuid;

/// The pause after the `attempt`-th failed attempt (from 1) of a message: from half the doubled pause to all of it. The
/// jitter depends on message and attempt alone, so that it can be foretold, and differs between messages.
pub fn backoff(message: Uuid, attempt: u32, min: Duration, max: Duration) -> Duration {
    let doubled = 2u32.saturating_pow(attempt.saturating_sub(1).min(31));
    let pause = min.saturating_mul(doubled).min(max);
    let (high, low) = message.as_u64_pair();
    let share = mixed(high ^ low.rotate_left(32) ^ u64::from(attempt)) as f64 / u64::MAX as f64;
    pause.mul_f64(0.5 + 0.5 * share)
}

/// The finaliser of `SplitMix64`: every bit of the input moves every bit of the output.
///
/// Reference: Steele, Lea & Flood, OOPSLA 2014, doi:10.1145/2660193.2660195.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What a receiver asks for in `Retry-After`: seconds, or an instant as HTTP writes it (RFC 9110, 10.2.3). `None` where
/// it cannot be read; nothing for an instant that has passed.
pub fn retry_after(value: &str, now: Utc) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    let micros = at.as_microsecond().saturating_sub(now.0);
    Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_with_jitter_of_their_own() {
        let (min, max) = (Duration::from_millis(100), Duration::from_secs(1));
        let message = Uuid::from_u128(7);
        for (attempt, most) in [
            (1, 100),
            (2, 200),
            (3, 400),
            (4, 800),
            (5, 1000),
            (999, 1000),
        ] {
            let pause = backoff(message, attempt, min, max);
            let most = Duration::from_millis(most);
            assert!(
                pause >= most / 2 && pause <= most,
                "{attempt}: {pause:?} of {most:?}"
            );
            assert_eq!(pause, backoff(message, attempt, min, max));
        }
        let pauses: std::collections::BTreeSet<_> = (0..100)
            .map(|k| backoff(Uuid::from_u128(k), 1, min, max))
            .collect();
        assert!(pauses.len() > 95, "{}", pauses.len());
        let mean = pauses.iter().sum::<Duration>() / 100;
        assert!((70..80).contains(&mean.as_millis()), "{mean:?}");
    }

    #[test]
    fn retry_after_is_seconds_or_an_instant() {
        let now = crate::wall::parse_rfc3339("1994-11-06T08:49:07Z").unwrap();
        let check = |value: &str, seconds: Option<u64>| {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(retry_after(value, now), expected, "{value:?}");
        };
        check("120", Some(120));
        check(" 0 ", Some(0));
        check("Sun, 06 Nov 1994 08:49:37 GMT", Some(30));
        check("Sun, 06 Nov 1994 08:00:00 GMT", Some(0));
        for bad in [
            "",
            "soon",
            "-5",
            "1.5",
            "99999999999999",
            "Sun, 99 Nov 1994",
        ] {
            check(bad, None);
        }
    }
}
