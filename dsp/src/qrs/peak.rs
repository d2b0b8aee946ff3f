//! Looks for the R peak of a complex: the extremum of the lead near its middle, smoothed over 20 ms against
//! noise, measured from the straight line under the complex.

use super::{R_SECONDS, index, samples};
use crate::crest::slot;

/// The search, with room to work in.
#[derive(Debug)]
pub(super) struct Peak {
    /// Samples that are looked at to either side of the middle.
    reach: usize,
    /// Beyond them, those that the line is drawn through.
    rim: usize,
    /// Samples are smoothed over so many to either side, no more than the rim.
    half: usize,
    /// How far along the line each of those looked at is, from 0 to 1.
    along: Vec<f32>,
    /// The samples with their rims, zero where there is none; and whether there is one, as 1 or 0.
    values: Vec<f32>,
    there: Vec<f32>,
    /// Sums over those around each that is looked at.
    sums: Vec<f32>,
    counts: Vec<f32>,
}

impl Peak {
    pub(super) fn new(hz: f64) -> Self {
        let count = |seconds: f64| index(samples(seconds * hz));
        let (reach, rim) = (count(R_SECONDS), count(0.05));
        let n = 2 * reach;
        Self {
            reach,
            rim,
            half: count(0.008),
            along: (0..n).map(|k| k as f32 / n.max(1) as f32).collect(),
            values: vec![0.0; n + 2 * rim],
            there: vec![0.0; n + 2 * rim],
            sums: vec![0.0; n],
            counts: vec![0.0; n],
        }
    }

    /// The index of the R peak; `None` where there are no good samples. `ring` holds the samples before `next`.
    pub(super) fn find(&mut self, middle: u64, ring: &[f32], next: u64) -> Option<u64> {
        // Nothing is before the first sample of a record.
        let cut = self.reach.saturating_sub(index(middle));
        let n = 2 * self.reach - cut;
        let low = middle - (self.reach - cut) as u64;
        self.read(low, n, ring, next);
        let mean = |from: usize| {
            let rim = from..from + self.rim;
            let count = self.there[rim.clone()].iter().sum::<f32>();
            (count > 0.0).then(|| self.values[rim].iter().sum::<f32>() / count)
        };
        let (before, after) = match (mean(0), mean(self.rim + n)) {
            (Some(before), Some(after)) => (before, after),
            (Some(only), None) | (None, Some(only)) => (only, only),
            (None, None) => return None,
        };
        self.smooth(n);
        let (heights, counts) = (&mut self.sums[..n], &self.counts[..n]);
        for ((height, count), along) in heights.iter_mut().zip(counts).zip(&self.along) {
            let value = *height / count - before - (after - before) * along;
            // R before S or Q where they are much alike, so that the peak does not hop.
            *height = if value > 0.0 { 1.25 * value } else { -value };
        }
        let mut best: Option<(f32, usize)> = None;
        let there = &self.there[self.rim..];
        for (k, (height, there)) in heights.iter().zip(there).enumerate() {
            if *there > 0.0 && best.is_none_or(|(most, _)| *height > most) {
                best = Some((*height, k));
            }
        }
        best.map(|(_, k)| low + k as u64)
    }

    /// Takes `n` samples from `low` on and the rims beside them out of the ring.
    fn read(&mut self, low: u64, n: usize, ring: &[f32], next: u64) {
        let (values, there) = (&mut self.values, &mut self.there);
        values.fill(0.0);
        there.fill(0.0);
        let rim = self.rim as u64;
        let oldest = next.saturating_sub(ring.len() as u64);
        let from = low.saturating_sub(rim).max(oldest);
        let until = (low + n as u64 + rim).min(next);
        let skipped = index((from + rim).saturating_sub(low));
        let pairs = values.iter_mut().zip(there).skip(skipped);
        for (at, (value, there)) in (from..until).zip(pairs) {
            let sample = ring[slot(at, ring)];
            if !sample.is_nan() {
                (*value, *there) = (sample, 1.0);
            }
        }
    }

    /// Adds up what is around each of the `n` samples, each sum in the order of time.
    fn smooth(&mut self, n: usize) {
        let (sums, counts) = (&mut self.sums[..n], &mut self.counts[..n]);
        sums.fill(0.0);
        counts.fill(0.0);
        for from in self.rim - self.half..=self.rim + self.half {
            for (sum, value) in sums.iter_mut().zip(&self.values[from..]) {
                *sum += value;
            }
            for (count, there) in counts.iter_mut().zip(&self.there[from..]) {
                *count += there;
            }
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let floats = [
            &self.along,
            &self.values,
            &self.there,
            &self.sums,
            &self.counts,
        ];
        floats.map(Vec::capacity).iter().sum::<usize>() * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crest::keep;
    use proptest::prelude::*;

    /// [`Peak::find`] sample by sample; `lead` begins at index zero.
    fn slow_peak(lead: &[f32], middle: u64, hz: f64) -> Option<u64> {
        let count = |seconds: f64| samples(seconds * hz);
        let (reach, rim, half) = (count(R_SECONDS), count(0.05), count(0.008));
        let at = |at: u64| lead.get(index(at)).copied().filter(|v| !v.is_nan());
        let mean = |from: u64, to: u64| {
            let there: Vec<f32> = (from..to).filter_map(at).collect();
            (!there.is_empty()).then(|| there.iter().sum::<f32>() / there.len() as f32)
        };
        let (low, high) = (middle.saturating_sub(reach), middle + reach);
        let before = mean(low.saturating_sub(rim), low);
        let after = mean(high, high + rim);
        let (before, after) = (before.or(after)?, after.or(before)?);
        let mut best: Option<(f32, u64)> = None;
        for k in (low..high).filter(|k| at(*k).is_some()) {
            let along = (k - low) as f32 / (2 * reach) as f32;
            let value = mean(k.saturating_sub(half), k + half + 1).unwrap();
            let value = value - before - (after - before) * along;
            let height = if value > 0.0 { 1.25 * value } else { -value };
            if best.is_none_or(|(most, _)| height > most) {
                best = Some((height, k));
            }
        }
        best.map(|(_, at)| at)
    }

    proptest! {
        #[test]
        fn an_r_peak_is_what_a_slow_search_finds(
            values in prop::collection::vec(prop_oneof![4 => -5.0f32..5.0, 1 => Just(f32::NAN)], 1..250),
            middle in 0u64..250,
            hz in prop::sample::select(vec![100.0, 250.0, 360.0]),
        ) {
            let mut ring = vec![f32::NAN; 256];
            keep(&mut ring, 0, &values);
            let found = Peak::new(hz).find(middle, &ring, values.len() as u64);
            prop_assert_eq!(found, slow_peak(&values, middle, hz));
        }
    }
}
