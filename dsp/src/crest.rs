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
    /// Crests stand out over `reach` samples on either side.
    pub(crate) fn new(reach: usize) -> Self {
        Self {
            reach,
            ring: vec![0.0; (2 * reach + 2).next_power_of_two()],
            best: None,
            seen: 0,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.best = None;
        self.seen = 0;
    }

    fn slot(&self, at: u64) -> usize {
        // Both are far below the limits of either type: the mask keeps a few bits.
        usize::try_from(at & (self.ring.len() as u64 - 1)).unwrap_or(0)
    }

    /// Takes in the value at index `at`; returns the crest that it completes, `reach` samples late.
    #[inline]
    pub(crate) fn push(&mut self, at: u64, value: f32) -> Option<Crest> {
        let slot = self.slot(at);
        self.ring[slot] = value;
        self.seen += 1;
        match self.best {
            Some(best) if value <= best.height => {
                if at - best.at < self.reach as u64 {
                    return None;
                }
            }
            _ => {
                self.best = Some(Crest { at, height: value });
                return None;
            }
        }
        let best = self.best.take()?;
        let past = (self.seen - 1 - self.reach).min(self.reach) as u64;
        let stands_out = (1..=past).all(|back| self.ring[self.slot(best.at - back)] < best.height);
        (stands_out && best.height > 0.0).then_some(best)
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
        ) {
            let mut crests = Crests::new(reach);
            let found: Vec<u64> = values
                .iter()
                .enumerate()
                .filter_map(|(n, v)| crests.push(start + n as u64, *v))
                .map(|crest| crest.at - start)
                .collect();
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
