//! The baseline as a running median, taken away: SciPy's `medfilt`, with zeros beyond the ends.

use ecg::SampleRate;

/// Takes away the running median over a span.
#[derive(Debug, Clone, Copy)]
pub(super) struct Baseline {
    /// Odd, samples.
    width: usize,
}

impl Baseline {
    /// A median over the odd number of samples that follows what is in `seconds`.
    pub(super) fn design(seconds: f64, rate: SampleRate) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "floor, as published; a manifest allows a few seconds"
        )]
        let width = (seconds * rate.hz()) as usize + 1;
        Self { width: width | 1 }
    }

    /// Takes it from a signal of numbers, in place; `sorted` is room to work in.
    pub(super) fn run(self, signal: &mut [f64], sorted: &mut Vec<f64>) {
        let (n, half) = (signal.len(), self.width / 2);
        let given = signal.to_vec();
        let at = |k: usize| {
            let inside = k.checked_sub(half).and_then(|k| given.get(k));
            inside.copied().unwrap_or(0.0)
        };
        sorted.clear();
        sorted.extend((0..self.width).map(at));
        sorted.sort_by(f64::total_cmp);
        let place = |sorted: &[f64], x: f64| sorted.partition_point(|y| y.total_cmp(&x).is_lt());
        for (k, x) in signal.iter_mut().enumerate() {
            *x -= sorted[half];
            if k + 1 < n {
                sorted.remove(place(sorted, at(k)));
                let next = at(k + self.width);
                sorted.insert(place(sorted, next), next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Slow and obvious.
    fn reference(signal: &[f64], width: usize) -> Vec<f64> {
        let half = width / 2;
        let median = |k: usize| {
            let span = (0..width).map(|j| (k + j).checked_sub(half));
            let at = |k: Option<usize>| k.and_then(|k| signal.get(k)).copied().unwrap_or(0.0);
            let mut span: Vec<f64> = span.map(at).collect();
            span.sort_by(f64::total_cmp);
            span[half]
        };
        (0..signal.len()).map(|k| signal[k] - median(k)).collect()
    }

    proptest! {
        #[test]
        fn the_median_is_that_of_the_span(signal in proptest::collection::vec(-5.0..5.0f64, 0..60), seconds in 0.01..0.5f64) {
            let baseline = Baseline::design(seconds, SampleRate::new(100.0).unwrap());
            let mut found = signal.clone();
            baseline.run(&mut found, &mut Vec::new());
            prop_assert_eq!(found, reference(&signal, baseline.width));
        }
    }

    #[test]
    fn the_width_is_odd() {
        for (seconds, hz, width) in [(0.4, 500.0, 201), (0.4, 250.0, 101), (0.01, 100.0, 3)] {
            let baseline = Baseline::design(seconds, SampleRate::new(hz).unwrap());
            assert_eq!(baseline.width, width);
        }
    }
}
