//! Crests of a curve: samples higher than everything within a fixed distance on both sides.
//!
//! Which samples are crests depends on the samples around them alone, never on the crests before:
//! two runs that began at different times agree from one distance after the later start.

/// A crest.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Crest {
    /// Absolute index of the sample.
    pub(crate) at: u64,
    /// Its value.
    pub(crate) height: f32,
}

/// Where a ring, as long as a power of two, keeps an index.
#[inline]
pub(crate) fn slot(at: u64, ring: &[f32]) -> usize {
    // It is far below the limits of either type: the mask keeps a few bits.
    usize::try_from(at & (ring.len() as u64 - 1)).unwrap_or(0)
}

/// Puts values, no more than it can hold, into a ring, the first of them at index `first`.
#[inline]
pub(crate) fn keep(ring: &mut [f32], first: u64, values: &[f32]) {
    let from = slot(first, ring);
    let (early, late) = values.split_at(values.len().min(ring.len() - from));
    ring[from..][..early.len()].copy_from_slice(early);
    ring[..late.len()].copy_from_slice(late);
}

/// Finds the crests of a curve that is nowhere negative.
#[derive(Debug)]
pub(crate) struct Crests {
    reach: usize,
    /// The last values, at `index % len`.
    ring: Vec<f32>,
    /// The highest value since the last verdict.
    best: Option<Crest>,
    /// Samples seen since the reset.
    seen: usize,
}

impl Crests {
    /// Crests stand out over `reach` samples on either side. There is room for `bite` values at once.
    pub(crate) fn new(reach: usize, bite: usize) -> Self {
        Self {
            reach,
            ring: vec![0.0; (2 * reach + 1 + bite).next_power_of_two()],
            best: None,
            seen: 0,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.best = None;
        self.seen = 0;
    }

    /// Takes in values, no more than there is room for at once, the first of them at index `first`; hands on the
    /// crests that they complete, `reach` samples late.
    pub(crate) fn push(&mut self, first: u64, values: &[f32], mut found: impl FnMut(Crest)) {
        keep(&mut self.ring, first, values);
        let index = |at: u64| usize::try_from(at - first).unwrap_or(usize::MAX);
        let mut k = 0;
        while k < values.len() {
            let Some(best) = self.best else {
                self.best = Some(Crest {
                    at: first + k as u64,
                    height: values[k],
                });
                k += 1;
                continue;
            };
            let verdict = index(best.at + self.reach as u64);
            let until = values.len().min(verdict.saturating_add(1));
            let higher = values[k..until].iter().position(|v| *v > best.height);
            if let Some(n) = higher {
                k += n;
                self.best = None;
            } else {
                k = until;
                if verdict < values.len() {
                    let seen = self.seen + verdict;
                    let past = (seen - self.reach).min(self.reach) as u64;
                    let back = |back: u64| self.ring[slot(best.at - back, &self.ring)];
                    if best.height > 0.0 && (1..=past).all(|k| back(k) < best.height) {
                        found(best);
                    }
                    self.best = None;
                }
            }
        }
        self.seen += values.len();
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.ring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn crests_are_what_a_slow_search_finds(
            values in prop::collection::vec(0.0f32..1.0, 1..400),
            reach in 1usize..20,
            start in 0u64..1000,
            bite in 1usize..70,
        ) {
            let mut crests = Crests::new(reach, bite);
            let mut found = Vec::new();
            for (n, values) in values.chunks(bite).enumerate() {
                let first = start + (n * bite) as u64;
                crests.push(first, values, |crest| found.push(crest.at - start));
            }
            let expected: Vec<u64> = (0..values.len().saturating_sub(reach))
                .filter(|&n| {
                    let low = n.saturating_sub(reach);
                    values[n] > 0.0
                        && values[low..n].iter().all(|v| *v < values[n])
                        && values[n + 1..=n + reach].iter().all(|v| *v <= values[n])
                })
                .map(|n| n as u64)
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
