//! The network behind the delineation: a small U-Net, in plain loops.
//!
//! ```text
//! [2, 288] > 8 -----------------------------------> 8 > 4 classes
//!             > 12, 1/2 -----------------------> 12
//!                       > 16, 1/4 ---------> 16
//!                                 > 24, 1/8 ^
//! ```
//!
//! Each step down is a maximum over pairs and a convolution, each step up repeats samples, joins
//! what the way down had at that resolution, and convolves; all rectified, batch normalisation
//! folded into the weights. Zeros stand beyond the edges. An output sees about 0.55 s to either side.
//!
//! Reference: the shape is that of Ronneberger et al. (MICCAI, 2015), in one dimension.

use crate::Error;

/// Samples in, samples out.
pub(super) const LENGTH: usize = 288;
/// Samples share their fate in groups of so many: three halvings.
pub(super) const STRIDE: usize = 8;
/// Background, P, QRS, T.
pub(super) const N_CLASSES: usize = 4;
/// Signal, R marks.
pub(super) const N_INPUTS: usize = 2;

/// Zeros on either side of a row, enough for the longest kernel.
const PAD: usize = 4;

/// Rows of samples between zeros: `[channel, PAD + n + PAD]`.
#[derive(Debug, Clone)]
struct Plane {
    n: usize,
    data: Vec<f32>,
}

impl Plane {
    fn new(channels: usize, n: usize) -> Self {
        Self {
            n,
            data: vec![0.0; channels * (n + 2 * PAD)],
        }
    }

    fn rows(&self) -> std::slice::ChunksExact<'_, f32> {
        self.data.chunks_exact(self.n + 2 * PAD)
    }

    fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let n = self.n;
        let rows = self.data.chunks_exact_mut(n + 2 * PAD);
        rows.map(move |row| &mut row[PAD..PAD + n])
    }
}

/// Weights `[out, in, K]` and biases `[out]` of a convolution.
#[derive(Debug, Clone)]
struct Layer<const K: usize, const DILATION: usize> {
    weights: Vec<[f32; K]>,
    biases: Vec<f32>,
}

impl<const K: usize, const DILATION: usize> Layer<K, DILATION> {
    /// Takes `outputs * inputs * K` weights, then the biases, off the front of `values`.
    fn take(values: &mut &[f32], inputs: usize, outputs: usize) -> Option<Self> {
        let (weights, rest) = values.split_at_checked(outputs * inputs * K)?;
        let (biases, rest) = rest.split_at_checked(outputs)?;
        *values = rest;
        Some(Self {
            weights: weights.as_chunks::<K>().0.to_vec(),
            biases: biases.to_vec(),
        })
    }

    /// `out = act(weights * input + biases)`, as long as `input`.
    fn run(&self, input: &Plane, out: &mut Plane, act: impl Fn(f32) -> f32) {
        let n = input.n;
        let first = PAD - K / 2 * DILATION;
        let inputs = self.weights.len() / self.biases.len();
        let kernels = self.weights.chunks_exact(inputs);
        for ((out, kernels), bias) in out.rows_mut().zip(kernels).zip(&self.biases) {
            out.fill(*bias);
            for (row, kernel) in input.rows().zip(kernels) {
                let taps: [&[f32]; K] = std::array::from_fn(|k| &row[first + k * DILATION..][..n]);
                for (at, out) in out.iter_mut().enumerate() {
                    let mut sum = *out;
                    for k in 0..K {
                        sum += kernel[k] * taps[k][at];
                    }
                    *out = sum;
                }
            }
            for value in out {
                *value = act(*value);
            }
        }
    }
}

/// The network with the planes that it computes in.
#[derive(Debug, Clone)]
pub(super) struct Network {
    down: (Layer<7, 1>, Layer<5, 1>, Layer<5, 1>, Layer<5, 1>),
    middle: Layer<5, 2>,
    up: (Layer<3, 1>, Layer<3, 1>, Layer<3, 1>),
    head: Layer<1, 1>,
    input: Plane,
    /// What the way down came to at each resolution, finest first.
    kept: [Plane; 4],
    /// Those of the way up.
    risen: [Plane; 4],
    pooled: [Plane; 3],
    joined: [Plane; 3],
    output: Plane,
}

fn relu(value: f32) -> f32 {
    value.max(0.0)
}

impl Network {
    /// From f32 values, little-endian, layer by layer: weights `[out, in, tap]`, then biases.
    ///
    /// # Errors
    /// [`Error::Weights`] where the number of bytes is not that of this network or a value is
    /// not finite.
    pub(super) fn new(bytes: &[u8]) -> Result<Self, Error> {
        let (words, rest) = bytes.as_chunks::<4>();
        let values: Vec<f32> = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        if !rest.is_empty() || values.iter().any(|value| !value.is_finite()) {
            return Err(Error::Weights);
        }
        Self::from_values(&values).ok_or(Error::Weights)
    }

    fn from_values(mut values: &[f32]) -> Option<Self> {
        const C: [usize; 4] = [8, 12, 16, 24];
        let n = [LENGTH, LENGTH / 2, LENGTH / 4, LENGTH / 8];
        let v = &mut values;
        let network = Self {
            down: (
                Layer::take(v, N_INPUTS, C[0])?,
                Layer::take(v, C[0], C[1])?,
                Layer::take(v, C[1], C[2])?,
                Layer::take(v, C[2], C[3])?,
            ),
            middle: Layer::take(v, C[3], C[3])?,
            up: (
                Layer::take(v, C[3] + C[2], C[2])?,
                Layer::take(v, C[2] + C[1], C[1])?,
                Layer::take(v, C[1] + C[0], C[0])?,
            ),
            head: Layer::take(v, C[0], N_CLASSES)?,
            input: Plane::new(N_INPUTS, n[0]),
            kept: std::array::from_fn(|k| Plane::new(C[k], n[k])),
            risen: std::array::from_fn(|k| Plane::new(C[k], n[k])),
            pooled: std::array::from_fn(|k| Plane::new(C[k], n[k + 1])),
            joined: std::array::from_fn(|k| Plane::new(C[k + 1] + C[k], n[k])),
            output: Plane::new(N_CLASSES, n[0]),
        };
        values.is_empty().then_some(network)
    }

    /// The probabilities of the classes, `[class][sample]`, for `[input][sample]`.
    pub(super) fn run(
        &mut self,
        input: &[[f32; LENGTH]; N_INPUTS],
    ) -> Box<[[f32; LENGTH]; N_CLASSES]> {
        for (row, input) in self.input.rows_mut().zip(input) {
            row.copy_from_slice(input);
        }
        let (kept, risen) = (&mut self.kept, &mut self.risen);
        self.down.0.run(&self.input, &mut kept[0], relu);
        halve(&kept[0], &mut self.pooled[0]);
        self.down.1.run(&self.pooled[0], &mut kept[1], relu);
        halve(&kept[1], &mut self.pooled[1]);
        self.down.2.run(&self.pooled[1], &mut kept[2], relu);
        halve(&kept[2], &mut self.pooled[2]);
        self.down.3.run(&self.pooled[2], &mut kept[3], relu);
        self.middle.run(&kept[3], &mut risen[3], relu);
        join(&risen[3], &kept[2], &mut self.joined[2]);
        self.up.0.run(&self.joined[2], &mut risen[2], relu);
        join(&risen[2], &kept[1], &mut self.joined[1]);
        self.up.1.run(&self.joined[1], &mut risen[1], relu);
        join(&risen[1], &kept[0], &mut self.joined[0]);
        self.up.2.run(&self.joined[0], &mut risen[0], relu);
        self.head.run(&risen[0], &mut self.output, |value| value);

        let mut classes = Box::new([[0.0; LENGTH]; N_CLASSES]);
        for (class, row) in classes.iter_mut().zip(self.output.rows_mut()) {
            class.copy_from_slice(row);
        }
        softmax(&mut classes);
        classes
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let planes = [&self.input, &self.output];
        let planes = planes.into_iter().chain(&self.kept).chain(&self.risen);
        let planes = planes.chain(&self.pooled).chain(&self.joined);
        let planes: usize = planes.map(|plane| size_of_val(&*plane.data)).sum();
        planes + WEIGHTS.len()
    }
}

/// The larger one of each pair.
fn halve(from: &Plane, to: &mut Plane) {
    let n = from.n;
    for (to, from) in to.rows_mut().zip(from.rows()) {
        for (to, pair) in to.iter_mut().zip(from[PAD..PAD + n].as_chunks::<2>().0) {
            *to = pair[0].max(pair[1]);
        }
    }
}

/// The rows of `coarse`, each sample twice, then those of `fine`.
fn join(coarse: &Plane, fine: &Plane, to: &mut Plane) {
    let coarse_rows = coarse.data.len() / (coarse.n + 2 * PAD);
    let (n_coarse, n_fine) = (coarse.n, fine.n);
    let mut rows = to.rows_mut();
    for (from, to) in coarse.rows().zip(rows.by_ref().take(coarse_rows)) {
        let from = &from[PAD..PAD + n_coarse];
        for (pair, value) in to.as_chunks_mut::<2>().0.iter_mut().zip(from) {
            *pair = [*value; 2];
        }
    }
    for (from, to) in fine.rows().zip(rows) {
        to.copy_from_slice(&from[PAD..PAD + n_fine]);
    }
}

/// From scores to probabilities, over the classes of each sample.
fn softmax(classes: &mut [[f32; LENGTH]; N_CLASSES]) {
    for at in 0..LENGTH {
        let top = classes.iter().fold(f32::MIN, |top, row| top.max(row[at]));
        let mut sum = 0.0;
        for row in classes.iter_mut() {
            row[at] = (row[at] - top).exp();
            sum += row[at];
        }
        for row in classes.iter_mut() {
            row[at] /= sum;
        }
    }
}

/// The weights that ship.
pub(super) static WEIGHTS: &[u8] = include_bytes!("weights.bin");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_is_the_sum_over_taps_and_rows() {
        let mut values: &[f32] = &[1.0, 2.0, 3.0, 0.0, 0.0, -1.0, 0.5];
        let layer = Layer::<3, 2>::take(&mut values, 2, 1).unwrap();
        assert!(values.is_empty());
        let mut input = Plane::new(2, 4);
        for (k, row) in input.rows_mut().enumerate() {
            row.copy_from_slice([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]][k].as_slice());
        }
        let mut out = Plane::new(1, 4);
        layer.run(&input, &mut out, |value| value);
        // taps at -2, 0, +2 with zeros beyond: 2 x0 + 3 x2 - y2 + 0.5, and so on
        let expected = [2.0 + 9.0 - 7.0, 4.0 + 12.0 - 8.0, 1.0 + 6.0, 2.0 + 8.0].map(|v| v + 0.5);
        assert_eq!(out.rows_mut().next().unwrap(), expected);
    }

    #[test]
    fn halves_and_joins() {
        let mut fine = Plane::new(1, 4);
        fine.rows_mut()
            .for_each(|row| row.copy_from_slice(&[1.0, -2.0, 0.0, 3.0]));
        let mut coarse = Plane::new(1, 2);
        halve(&fine, &mut coarse);
        assert_eq!(coarse.rows_mut().next().unwrap(), [1.0, 3.0]);
        let mut both = Plane::new(2, 4);
        join(&coarse, &fine, &mut both);
        let rows: Vec<Vec<f32>> = both.rows_mut().map(|row| row.to_vec()).collect();
        assert_eq!(rows, [[1.0, 1.0, 3.0, 3.0], [1.0, -2.0, 0.0, 3.0]]);
    }

    #[test]
    fn probabilities_sum_to_one() {
        let mut network = Network::new(WEIGHTS).unwrap();
        let mut input = [[0.0; LENGTH]; N_INPUTS];
        input[0][140] = 1.0;
        input[1][140] = 1.0;
        let classes = network.run(&input);
        for at in 0..LENGTH {
            let sum: f32 = classes.iter().map(|row| row[at]).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum} at {at}");
        }
        assert_eq!(classes, network.run(&input));
    }

    #[test]
    fn weights_of_another_size_are_refused() {
        let bytes = WEIGHTS;
        assert!(Network::new(&bytes[..bytes.len() - 4]).is_err());
        assert!(Network::new(&bytes[1..]).is_err());
        let mut longer = bytes.to_vec();
        longer.extend([0; 4]);
        assert!(Network::new(&longer).is_err());
        let mut wrong = bytes.to_vec();
        wrong[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(Network::new(&wrong).is_err());
    }
}
