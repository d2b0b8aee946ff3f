//! The wait between attempts to connect: doubling, with jitter, so that many clients do not come back at once.

use std::time::Duration;

use rand::Rng;

/// The waits after failures in a row.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        let next = min;
        Self { min, max, next }
    }

    /// How long to wait this time: from half the doubled wait to all of it.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = self.next.saturating_mul(2).min(self.max);
        wait.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// It worked: begin anew.
    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        let mut check = |millis| {
            let (wait, most) = (backoff.wait(), Duration::from_millis(millis));
            assert!(wait >= most / 2 && wait <= most, "{wait:?} of {most:?}");
        };
        for millis in [100, 200, 350, 350] {
            check(millis);
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }
}
