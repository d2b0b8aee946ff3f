//! The high-pass of the window path: a two-second weighted mean is subtracted.
//!
//! The weights are symmetric, so no wave is bent: -6 dB near 0.5 Hz, nothing left at zero, and the
//! delay is compensated. The mean moves slowly, so it is computed at nodes about 25 times a second,
//! **at multiples of the spacing in the absolute index**, and drawn straight between them. Every
//! output depends on a fixed span of input: not on the cut, not on the start. At the ends of a
//! segment the first and the last sample are taken to repeat.

use ecg::{SampleIndex, SampleRate};

/// Half the span of the weighted mean in seconds.
const HALF_SECONDS: f64 = 0.92;
/// Nodes computed side by side, at most.
const BATCH: usize = 16;

/// Removes the baseline of one signal at the window rate.
#[derive(Debug)]
pub struct Baseline {
    /// Samples from node to node.
    spacing: usize,
    /// Weights of the samples around a node, `2 * spacing - 1` of them.
    fine: Vec<f32>,
    /// Weights of the nodes around a node.
    coarse: Vec<f32>,
    /// How far along from a node to the next each sample is, from 0 to 1.
    along: Vec<f32>,
    /// Samples from the first one still needed: `spacing` before the node next to be drawn from.
    recent: Vec<f32>,
    /// The last nodes, as many as `coarse`, and room for those to come.
    nodes: Vec<f32>,
    /// Samples of this segment, with those that repeat the first one to fill up to a node.
    seen: usize,
    /// How many of them only repeat the first one.
    padding: usize,
    /// Nodes computed in this segment.
    n_nodes: usize,
    /// The mean at the node last drawn to.
    mean: f32,
    /// Outputs of this segment so far.
    n_out: usize,
}

impl Baseline {
    /// For a signal at `rate` whose first sample has the index `start`.
    pub fn new(rate: SampleRate, start: SampleIndex) -> Self {
        let spacing = whole(rate.hz() / 25.0).max(1);
        let reach = whole(HALF_SECONDS * rate.hz() / spacing as f64).max(1);
        let mut baseline = Self {
            spacing,
            fine: hann(spacing),
            coarse: hann(reach + 1),
            along: (0..spacing).map(|k| k as f32 / spacing as f32).collect(),
            recent: Vec::with_capacity((reach + 4 + BATCH) * spacing),
            nodes: vec![0.0; 2 * reach + 1 + BATCH],
            seen: 0,
            padding: 0,
            n_nodes: 0,
            mean: 0.0,
            n_out: 0,
        };
        baseline.reset(start);
        baseline
    }

    /// Begins a new segment at `start`.
    pub fn reset(&mut self, start: SampleIndex) {
        self.recent.clear();
        self.seen = 0;
        self.padding = usize::try_from(start.0 % self.spacing as u64).unwrap_or(0);
        self.n_nodes = 0;
        self.mean = 0.0;
        self.n_out = 0;
    }

    /// How much later than its sample an output is known, in samples.
    pub fn delay(&self) -> usize {
        (self.coarse.len() / 2 + 2) * self.spacing
    }

    /// Takes samples in and appends what they complete to `out`.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        let Some(&first) = samples.first() else {
            return;
        };
        if self.seen == 0 {
            self.nodes.fill(first);
            // Sample `i` of `recent` is at i - spacing from the segment's first node.
            self.recent.resize(self.spacing + self.padding, first);
            self.seen = self.padding;
        }
        for bite in samples.chunks((BATCH - 1) * self.spacing) {
            self.recent.extend_from_slice(bite);
            let before = self.seen / self.spacing;
            self.seen += bite.len();
            self.draw(self.seen / self.spacing - before, out);
        }
    }

    /// Computes the next `n` nodes, the last of them up to two spacings before the newest sample, and draws to
    /// those that these complete.
    fn draw(&mut self, n: usize, out: &mut Vec<f32>) {
        let kept = self.coarse.len();
        let last = self.recent.len() - self.seen % self.spacing;
        for (k, node) in self.nodes[kept..][..n].iter_mut().enumerate() {
            let end = last - (n - 1 - k) * self.spacing;
            *node = weigh(&self.fine, &self.recent[end - self.fine.len()..end]);
        }
        // Each sum in the order of its nodes; all of them side by side.
        let mut means = [-0.0; BATCH];
        for (weight, nodes) in self.coarse.iter().zip(self.nodes[1..].windows(BATCH)) {
            for (mean, node) in means.iter_mut().zip(nodes) {
                *mean += weight * node;
            }
        }
        let mut drawn = 0;
        for mean in &means[..n] {
            self.n_nodes += 1;
            let reach = kept / 2;
            if self.n_nodes <= reach {
                continue;
            }
            let from = self.mean;
            self.mean = *mean;
            if self.n_nodes == reach + 1 {
                continue;
            }
            // The samples from the node before the last to the last.
            let skip = if self.n_out == 0 { self.padding } else { 0 };
            let samples = self.recent[drawn + self.spacing..].iter().zip(&self.along);
            let level = |along: &f32| from + (mean - from) * along;
            out.extend(
                samples
                    .skip(skip)
                    .map(|(sample, along)| sample - level(along)),
            );
            self.n_out += self.spacing - skip;
            drawn += self.spacing;
        }
        self.recent.drain(..drawn);
        self.nodes.copy_within(n..n + kept, 0);
    }

    /// Ends the segment: appends the outputs up to its last sample.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let Some(&last) = self.recent.last() else {
            return;
        };
        let (before, total) = (out.len(), self.seen - self.padding);
        let missing = total - self.n_out;
        while out.len() - before < missing {
            self.push(&[last], out);
        }
        out.truncate(before + missing);
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let rows = [
            &self.fine,
            &self.coarse,
            &self.along,
            &self.recent,
            &self.nodes,
        ];
        rows.map(Vec::capacity).iter().sum::<usize>() * size_of::<f32>()
    }
}

/// A Hann window of `2 * half - 1` positive weights that sum to one.
fn hann(half: usize) -> Vec<f32> {
    let weight = |k: usize| {
        let x = (k as f64 + 1.0) / half as f64 - 1.0;
        0.5 + 0.5 * (std::f64::consts::PI * x).cos()
    };
    let sum: f64 = (0..2 * half - 1).map(weight).sum();
    #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
    (0..2 * half - 1)
        .map(|k| (weight(k) / sum) as f32)
        .collect()
}

fn weigh(weights: &[f32], values: &[f32]) -> f32 {
    weights.iter().zip(values).map(|(w, v)| w * v).sum()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small positive number"
)]
fn whole(value: f64) -> usize {
    value.round() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filtered(start: u64, x: &[f32]) -> Vec<f32> {
        let rate = SampleRate::new(250.0).unwrap();
        let mut baseline = Baseline::new(rate, SampleIndex(start));
        let mut out = Vec::new();
        baseline.push(x, &mut out);
        baseline.finish(&mut out);
        assert_eq!(out.len(), x.len());
        out
    }

    #[test]
    fn slow_waves_go_and_fast_ones_stay_in_place() {
        for (hz, gain, tolerance) in [
            (0.0, 0.0, 1e-3),
            (0.2, 0.0, 0.2),
            (0.5, 0.5, 0.1),
            (1.0, 1.0, 0.06),
            (5.0, 1.0, 0.03),
        ] {
            let x: Vec<f32> = (0..5000)
                .map(|n| (std::f32::consts::TAU * hz * n as f32 / 250.0).cos())
                .collect();
            let y = filtered(0, &x);
            let (mut xy, mut xx) = (0.0, 0.0);
            for n in 1000..4000 {
                xy += x[n] * y[n];
                xx += x[n] * x[n];
            }
            assert!((xy / xx - gain).abs() < tolerance, "{hz} Hz: {}", xy / xx);
        }
    }

    #[test]
    fn a_segment_keeps_its_length_and_the_start_is_forgotten() {
        let x: Vec<f32> = (0..3000)
            .map(|n| (n as f32 * 0.05).sin() + n as f32 * 0.01)
            .collect();
        for n in [1, 2, 9, 10, 11, 250, 481] {
            assert_eq!(filtered(3, &x[..n]).len(), n);
        }
        let whole = filtered(1000, &x);
        let later = filtered(1213, &x[213..]);
        assert_eq!(whole[213 + 500..2000], later[500..2000 - 213]);
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing(cuts in prop::collection::vec(1usize..400, 1..12), start in 0u64..1000) {
            let n: usize = cuts.iter().sum();
            let x: Vec<f32> = (0..n).map(|i| ((i * i) as f32 * 0.013).sin()).collect();
            let mut baseline = Baseline::new(SampleRate::new(250.0).unwrap(), SampleIndex(start));
            let mut out = Vec::new();
            let mut rest = &x[..];
            for cut in cuts {
                let (piece, later) = rest.split_at(cut);
                baseline.push(piece, &mut out);
                rest = later;
            }
            baseline.finish(&mut out);
            prop_assert_eq!(out, filtered(start, &x));
        }
    }
}
