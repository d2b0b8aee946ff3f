//! Something that may happen thousands of times a second and is worth a line in the log, though not thousands.

use std::time::{Duration, Instant};

/// From one line to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets one line through a second, with the number of those that were not let through before it.
#[derive(Debug, Default)]
pub(super) struct Seldom {
    last: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// Whether it is to be told that it happens now: how often it has happened since it was told last.
    pub(super) fn tell(&mut self, now: Instant) -> Option<u64> {
        let soon = |last: Instant| now.saturating_duration_since(last) < PAUSE;
        if self.last.is_some_and(soon) {
            self.untold += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_says_how_many_there_were() {
        let mut seldom = Seldom::default();
        let begin = crate::wall::instant();
        let told: Vec<(u64, u64)> = (0..3000)
            .filter_map(|ms| Some((ms, seldom.tell(begin + Duration::from_millis(ms))?)))
            .collect();
        assert_eq!(told, [(0, 0), (1000, 999), (2000, 999)]);
    }
}
