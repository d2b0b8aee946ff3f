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
//! The weights are read once and shared; so are, by all wearables of a thread, the planes to work on. Each step
//! computes the span that [`READ`] depends on and no more, and reads nothing that a beat before left. A block of outputs stays in registers while
//! the inputs pass by: **sums are taken in the order of rows and taps whatever the block**, with
//! separate products and sums, so that every machine gets the same bits.
//!
//! Reference: the shape is that of Ronneberger et al. (MICCAI, 2015), in one dimension.

#![expect(
    clippy::inline_always,
    reason = "what is inlined takes on the instructions of the function that was dispatched to"
)]

use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use pulp::{Arch, Simd, WithSimd};

use crate::{Error, weights};

/// Samples in, samples out.
pub(super) const LENGTH: usize = 288;
/// Samples share their fate in groups of so many: three halvings.
pub(super) const STRIDE: usize = 8;
/// Background, P, QRS, T.
pub(super) const N_CLASSES: usize = 4;
/// Signal, R marks.
pub(super) const N_INPUTS: usize = 2;
/// The outputs that are computed: from the earliest P wave to the latest T wave (`decode.rs`).
pub(super) const READ: Range<usize> = 80..256;

/// Channels at each resolution, finest first.
const C: [usize; 4] = [8, 12, 16, 24];
/// Samples at each resolution.
const N: [usize; 4] = [LENGTH, LENGTH / 2, LENGTH / 4, LENGTH / 8];
/// The spans on the way up that [`READ`] depends on.
const UP: [Span; 4] = [(READ.start, READ.end), (39, 129), (18, 66), (8, 34)];

/// The span at the bottom that the first of them depends on: two taps of the dilated kernel to either side.
const BOTTOM: Span = (UP[3].0 - 4, N[3]);

/// From a sample to before another.
type Span = (usize, usize);

/// Zeros before a row, enough for the longest kernel.
const BEFORE: usize = 4;
/// Samples computed at once, at most: two vectors of the widest kind used.
const MAX_BLOCK: usize = 16;
/// Zeros after a row: a kernel, and the rest of a block.
const AFTER: usize = 4 + MAX_BLOCK;

/// A row of `n` samples between zeros has so many.
const fn stride(n: usize) -> usize {
    BEFORE + n + AFTER
}

/// A row at each resolution.
type Row0 = [f32; stride(N[0])];
type Row1 = [f32; stride(N[1])];
type Row2 = [f32; stride(N[2])];
type Row3 = [f32; stride(N[3])];

/// The planes of a pass, `[channel][sample]`: zeros around what each pass writes anew.
#[derive(Debug)]
struct Planes {
    rows: Vec<Row0>,
    /// What comes up from below, then what the way down came to at this resolution.
    joined: (Vec<Row0>, Vec<Row1>, Vec<Row2>),
    bottom: Vec<Row3>,
    /// On the way down, half as many samples as above.
    pooled: (Vec<Row1>, Vec<Row2>, Vec<Row3>),
    /// On the way up, before samples are repeated.
    risen: (Vec<Row0>, Vec<Row1>, Vec<Row2>, Vec<Row3>),
}

impl Planes {
    fn new() -> Self {
        fn rows<const N: usize>(n: usize) -> Vec<[f32; N]> {
            vec![[0.0; N]; n]
        }
        Self {
            rows: rows(N_INPUTS),
            joined: (rows(C[1] + C[0]), rows(C[2] + C[1]), rows(C[3] + C[2])),
            bottom: rows(C[3]),
            pooled: (rows(C[0]), rows(C[1]), rows(C[2])),
            risen: (rows(C[0]), rows(C[1]), rows(C[2]), rows(C[3])),
        }
    }
}

thread_local! {
    /// 110 kB for a few microseconds: too much to keep for each wearable, or to clear for each beat.
    static PLANES: RefCell<Planes> = RefCell::new(Planes::new());
}

/// A convolution: weights for groups of `O` outputs, `[group, in, tap][O]`, and their biases.
#[derive(Debug, Clone)]
struct Layer<const K: usize, const DILATION: usize, const O: usize> {
    inputs: usize,
    weights: Vec<[[f32; O]; K]>,
    biases: Vec<[f32; O]>,
}

impl<const K: usize, const DILATION: usize, const O: usize> Layer<K, DILATION, O> {
    /// Takes weights `[out, in, tap]`, then the biases, off the front of `values`.
    fn take(values: &mut &[f32], inputs: usize, outputs: usize) -> Option<Self> {
        let (weights, rest) = values.split_at_checked(outputs * inputs * K)?;
        let (biases, rest) = rest.split_at_checked(outputs)?;
        *values = rest;
        let weight = |group: usize, input: usize, tap: usize, o: usize| {
            weights[((group * O + o) * inputs + input) * K + tap]
        };
        let groups =
            (0..outputs / O).flat_map(|group| (0..inputs).map(move |input| (group, input)));
        Some(Self {
            inputs,
            weights: groups
                .map(|(group, input)| {
                    std::array::from_fn(|tap| std::array::from_fn(|o| weight(group, input, tap, o)))
                })
                .collect(),
            biases: biases.as_chunks::<O>().0.to_vec(),
        })
    }

    /// `out = max(weights * input + biases, 0)` over `span`, `V` vectors at a time.
    #[inline(always)]
    fn run<S: Simd, const V: usize, const W: usize>(
        &self,
        simd: S,
        input: &[[f32; W]],
        out: &mut [[f32; W]],
        span: Span,
    ) {
        let block = V * S::F32_LANES;
        let zero = simd.splat_f32s(0.0);
        let kernels = self.weights.chunks_exact(self.inputs);
        let groups = kernels.zip(&self.biases).zip(out.as_chunks_mut::<O>().0);
        for ((kernels, biases), out) in groups {
            let mut at = span.0;
            while at < span.1 {
                let mut sums = biases.map(|bias| [simd.splat_f32s(bias); V]);
                for (row, kernel) in input.iter().zip(kernels) {
                    // Of a length that the compiler knows, so that it checks no bounds below.
                    let near = &row[BEFORE + at - K / 2 * DILATION..];
                    let near = &near[..(K - 1) * DILATION + block];
                    for tap in 0..K {
                        let samples = &near[tap * DILATION..][..block];
                        let samples = S::as_simd_f32s(samples).0;
                        for v in 0..V {
                            for o in 0..O {
                                let weight = simd.splat_f32s(kernel[tap][o]);
                                let product = simd.mul_f32s(weight, samples[v]);
                                sums[o][v] = simd.add_f32s(sums[o][v], product);
                            }
                        }
                    }
                }
                for (row, sums) in out.iter_mut().zip(sums) {
                    let mut rectified = [0.0; MAX_BLOCK];
                    let to = &mut row[BEFORE + at..][..block];
                    let whole = at + block <= span.1;
                    let there = if whole {
                        &mut *to
                    } else {
                        &mut rectified[..block]
                    };
                    let there = S::as_mut_simd_f32s(there).0;
                    for v in 0..V {
                        there[v] = simd.max_f32s(sums[v], zero);
                    }
                    if !whole {
                        to[..span.1 - at].copy_from_slice(&rectified[..span.1 - at]);
                    }
                }
                at += block;
            }
        }
    }
}

/// The network.
#[derive(Debug)]
pub(super) struct Network {
    down: (
        Layer<7, 1, 4>,
        Layer<5, 1, 4>,
        Layer<5, 1, 8>,
        Layer<5, 1, 8>,
    ),
    middle: Layer<5, 2, 8>,
    up: (Layer<3, 1, 4>, Layer<3, 1, 4>, Layer<3, 1, 4>),
    /// `[class][channel]` and the biases.
    head: ([[f32; C[0]]; N_CLASSES], [f32; N_CLASSES]),
}

impl Network {
    /// The network that ships.
    pub(super) fn shipped() -> Arc<Self> {
        static SHIPPED: LazyLock<Arc<Network>> = LazyLock::new(|| {
            Arc::new(Network::new(WEIGHTS).expect("a test reads the weights that ship"))
        });
        Arc::clone(&SHIPPED)
    }

    /// From f32 values, little-endian, layer by layer: weights `[out, in, tap]`, then biases.
    ///
    /// # Errors
    /// [`Error::Weights`] where the number of bytes is not that of this network or a value is
    /// not finite.
    pub(super) fn new(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_values(&weights::values(bytes)?).ok_or(Error::Weights)
    }

    fn from_values(mut values: &[f32]) -> Option<Self> {
        let v = &mut values;
        let down = (
            Layer::take(v, N_INPUTS, C[0])?,
            Layer::take(v, C[0], C[1])?,
            Layer::take(v, C[1], C[2])?,
            Layer::take(v, C[2], C[3])?,
        );
        let middle = Layer::take(v, C[3], C[3])?;
        let up = (
            Layer::take(v, C[3] + C[2], C[2])?,
            Layer::take(v, C[2] + C[1], C[1])?,
            Layer::take(v, C[1] + C[0], C[0])?,
        );
        let (weights, biases) = values.split_at_checked(C[0] * N_CLASSES)?;
        let head = (
            *weights.as_chunks().0.as_array()?,
            *biases.as_array::<N_CLASSES>()?,
        );
        Some(Self {
            down,
            middle,
            up,
            head,
        })
    }

    /// The probabilities of the classes, `[class][sample]`, for `[input][sample]`; zero outside [`READ`].
    pub(super) fn run(&self, input: &[[f32; LENGTH]; N_INPUTS]) -> [[f32; LENGTH]; N_CLASSES] {
        let mut classes = [[0.0; LENGTH]; N_CLASSES];
        PLANES.with_borrow_mut(|planes| {
            Arch::new().dispatch(Pass {
                network: self,
                input,
                planes,
                classes: &mut classes,
            });
        });
        classes
    }

    #[inline(always)]
    fn forward<S: Simd>(
        &self,
        simd: S,
        input: &[[f32; LENGTH]; N_INPUTS],
        planes: &mut Planes,
        classes: &mut [[f32; LENGTH]; N_CLASSES],
    ) {
        let Planes {
            rows,
            joined,
            bottom,
            pooled,
            risen,
        } = planes;
        for (row, input) in rows.iter_mut().zip(input) {
            row[BEFORE..][..LENGTH].copy_from_slice(input);
        }
        let (down, up) = (&self.down, &self.up);

        let passed = &mut joined.0[C[1]..];
        down.0.run::<_, 2, _>(simd, rows, passed, (0, N[0]));
        halve(passed, &mut pooled.0, N[1]);
        let passed = &mut joined.1[C[2]..];
        down.1.run::<_, 2, _>(simd, &pooled.0, passed, (0, N[1]));
        halve(passed, &mut pooled.1, N[2]);
        let passed = &mut joined.2[C[3]..];
        down.2.run::<_, 1, _>(simd, &pooled.1, passed, (0, N[2]));
        halve(passed, &mut pooled.2, N[3]);
        down.3.run::<_, 1, _>(simd, &pooled.2, bottom, BOTTOM);

        self.middle
            .run::<_, 1, _>(simd, bottom, &mut risen.3, UP[3]);
        double(&risen.3, &mut joined.2[..C[3]], UP[3]);
        up.0.run::<_, 2, _>(simd, &joined.2, &mut risen.2, UP[2]);
        double(&risen.2, &mut joined.1[..C[2]], UP[2]);
        up.1.run::<_, 2, _>(simd, &joined.1, &mut risen.1, UP[1]);
        double(&risen.1, &mut joined.0[..C[1]], UP[1]);
        up.2.run::<_, 2, _>(simd, &joined.0, &mut risen.0, UP[0]);

        for ((class, weights), bias) in classes.iter_mut().zip(&self.head.0).zip(self.head.1) {
            let class = &mut class[READ];
            class.fill(bias);
            for (row, weight) in risen.0.iter().zip(weights) {
                let row = &row[BEFORE + READ.start..BEFORE + READ.end];
                for (sum, sample) in class.iter_mut().zip(row) {
                    *sum += weight * sample;
                }
            }
        }
        softmax(classes);
    }
}

/// One pass through the network, for whatever vectors the machine has.
struct Pass<'a> {
    network: &'a Network,
    input: &'a [[f32; LENGTH]; N_INPUTS],
    planes: &'a mut Planes,
    classes: &'a mut [[f32; LENGTH]; N_CLASSES],
}

impl WithSimd for Pass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            network,
            input,
            planes,
            classes,
        } = self;
        network.forward(simd, input, planes, classes);
    }
}

/// The larger one of each pair.
#[inline(always)]
fn halve<const F: usize, const S: usize>(from: &[[f32; F]], to: &mut [[f32; S]], n: usize) {
    for (to, from) in to.iter_mut().zip(from) {
        let pairs = from[BEFORE..].as_chunks::<2>().0;
        for (to, [a, b]) in to[BEFORE..][..n].iter_mut().zip(pairs) {
            *to = a.max(*b);
        }
    }
}

/// Each sample of `span` twice.
#[inline(always)]
fn double<const F: usize, const S: usize>(from: &[[f32; F]], to: &mut [[f32; S]], span: Span) {
    for (to, from) in to.iter_mut().zip(from) {
        let pairs = to[BEFORE + 2 * span.0..].as_chunks_mut::<2>().0;
        for (pair, value) in pairs.iter_mut().zip(&from[BEFORE..][span.0..span.1]) {
            *pair = [*value; 2];
        }
    }
}

/// From scores to probabilities, over the classes of each sample of [`READ`].
#[inline(always)]
fn softmax(classes: &mut [[f32; LENGTH]; N_CLASSES]) {
    const BLOCK: usize = 8;
    for at in READ.step_by(BLOCK) {
        let mut block: [[f32; BLOCK]; N_CLASSES] = [[0.0; _]; _];
        for (block, row) in block.iter_mut().zip(classes.iter()) {
            block.copy_from_slice(&row[at..at + BLOCK]);
        }
        let mut top = block[0];
        for row in &block[1..] {
            for (top, value) in top.iter_mut().zip(row) {
                *top = top.max(*value);
            }
        }
        let mut sum = [0.0; BLOCK];
        for row in &mut block {
            for ((value, top), sum) in row.iter_mut().zip(top).zip(&mut sum) {
                *value = exp(*value - top);
                *sum += *value;
            }
        }
        for (row, block) in classes.iter_mut().zip(&block) {
            for ((to, value), sum) in row[at..at + BLOCK].iter_mut().zip(block).zip(sum) {
                *to = value / sum;
            }
        }
    }
}

/// The exponential of a value of at most zero, to 2e-7 of itself: the same bits on every machine, which a
/// system's mathematical library does not promise.
#[inline(always)]
fn exp(value: f32) -> f32 {
    // A sum with 1.5 * 2^23 is rounded to a whole number, which is left in its lowest bits.
    const MAGIC: f32 = 12_582_912.0;
    // ln 2 in two parts, the first with few digits.
    const LN2: (f32, f32) = (0.693_359_375, -2.121_944_4e-4);
    let value = value.max(-80.0);
    let shifted = value * std::f32::consts::LOG2_E + MAGIC;
    let whole = shifted - MAGIC;
    let rest = value - whole * LN2.0 - whole * LN2.1;
    let series = [
        1.0 / 5040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    let mut sum: f32 = series[0];
    for term in &series[1..] {
        sum = sum * rest + term;
    }
    sum * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

/// The weights that ship.
pub(super) static WEIGHTS: &[u8] = include_bytes!("weights.bin");

// Each span on the way up holds what the next finer one needs of it: a tap to either side, halved.
const _: () = {
    let mut k = 0;
    while k < 3 {
        assert!(2 * UP[k + 1].0 < UP[k].0 && UP[k].1 < 2 * UP[k + 1].1);
        k += 1;
    }
    assert!(READ.start.is_multiple_of(8) && READ.end.is_multiple_of(8));
};

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of samples between zeros.
    fn row<const S: usize>(samples: &[f32]) -> [f32; S] {
        let mut row = [0.0; S];
        row[BEFORE..][..samples.len()].copy_from_slice(samples);
        row
    }

    #[test]
    fn a_convolution_is_the_sum_over_taps_and_rows() {
        let mut values: &[f32] = &[1.0, 2.0, 3.0, 0.0, 0.0, -1.0, 0.5];
        let layer = Layer::<3, 2, 1>::take(&mut values, 2, 1).unwrap();
        assert!(values.is_empty());
        let input: [[f32; 40]; 2] = [row(&[1.0, 2.0, 3.0, 4.0]), row(&[5.0, 6.0, 7.0, 8.0])];
        let mut out = [[0.0; 40]];
        layer.run::<_, 1, _>(pulp::Scalar, &input, &mut out, (0, 4));
        // taps at -2, 0, +2 with zeros beyond: 2 x0 + 3 x2 - y2 + 0.5, and so on
        let expected = [2.0 + 9.0 - 7.0, 4.0 + 12.0 - 8.0, 1.0 + 6.0, 2.0 + 8.0].map(|v| v + 0.5);
        assert_eq!(out, [row(&expected)]);
    }

    #[test]
    fn the_machine_changes_nothing() {
        let network = Network::shipped();
        let mut input = [[0.0; LENGTH]; N_INPUTS];
        for (k, value) in input.as_flattened_mut().iter_mut().enumerate() {
            *value = (0.37 * k as f32).sin() * (0.011 * k as f32).cos();
        }
        let mut classes = [[0.0; LENGTH]; N_CLASSES];
        network.forward(pulp::Scalar, &input, &mut Planes::new(), &mut classes);
        assert_eq!(network.run(&input), classes);
    }

    #[test]
    fn the_pass_before_leaves_nothing() {
        let network = Network::shipped();
        let input = |scale: f32| {
            let mut input = [[0.0; LENGTH]; N_INPUTS];
            for (k, value) in input.as_flattened_mut().iter_mut().enumerate() {
                *value = scale * (0.37 * k as f32).sin();
            }
            input
        };
        let fresh = std::thread::spawn({
            let (network, input) = (Arc::clone(&network), input(1.0));
            move || network.run(&input)
        });
        network.run(&input(-1e30));
        network.run(&input(f32::NAN));
        assert_eq!(network.run(&input(1.0)), fresh.join().unwrap());
    }

    #[test]
    fn halves_and_doubles() {
        let fine: [[f32; 40]; 1] = [row(&[1.0, -2.0, 0.0, 3.0])];
        let mut coarse = [[0.0; 40]];
        halve(&fine, &mut coarse, 2);
        assert_eq!(coarse, [row(&[1.0, 3.0])]);
        let mut twice = [[0.0; 40]];
        double(&coarse, &mut twice, (0, 2));
        assert_eq!(twice, [row(&[1.0, 1.0, 3.0, 3.0])]);
    }

    #[test]
    fn the_exponential_is_one() {
        for k in 0..8000 {
            let value = -0.01 * k as f32;
            let error = f64::from(exp(value)) / f64::from(value).exp() - 1.0;
            assert!(error.abs() < 3e-7, "{value}: {error}");
        }
        assert!(exp(f32::MIN) < 1e-34);
    }

    #[test]
    fn probabilities_sum_to_one() {
        let network = Network::shipped();
        let mut input = [[0.0; LENGTH]; N_INPUTS];
        input[0][140] = 1.0;
        input[1][140] = 1.0;
        let classes = network.run(&input);
        for at in READ {
            let sum: f32 = classes.iter().map(|row| row[at]).sum();
            assert!((sum - 1.0).abs() < 1e-5, "{sum} at {at}");
        }
        // the QRS is where the mark is
        assert!(classes[2][140] > 0.9, "{}", classes[2][140]);
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
