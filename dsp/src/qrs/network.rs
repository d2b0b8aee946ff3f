//! The two networks behind the detector: perceptrons with two hidden layers.
//!
//! ```text
//! sight            [125] >  32 > 16 > 1   first opinion, of one candidate on its own
//! sight + context  [168] > 128 > 32 > 1   log-odds, knowing the first opinions of those before
//! ```
//!
//! Rectified; the scaling of the inputs is folded into the first layers. A first opinion costs about 4,500
//! multiplications, a second one 26,000; only candidates that are not plain at first sight need one.

#![expect(
    clippy::inline_always,
    reason = "what is inlined takes on the instructions of the function that was dispatched to"
)]

use std::sync::{Arc, LazyLock};

use pulp::{Arch, Simd, WithSimd};

use crate::{Error, weights};

use super::context::N_CONTEXT;
use super::sight::N_SIGHT;

/// First opinions beyond this are final.
pub(super) const PLAIN: f32 = 5.0;

/// Weights `[in][OUT]` and biases of a layer.
#[derive(Debug, Clone)]
struct Layer<const OUT: usize> {
    weights: Vec<[f32; OUT]>,
    biases: [f32; OUT],
}

impl<const OUT: usize> Layer<OUT> {
    /// Takes `inputs * OUT` weights, then the biases, off the front of `values`.
    fn take(values: &mut &[f32], inputs: usize) -> Option<Self> {
        let (weights, rest) = values.split_at_checked(inputs * OUT)?;
        let (biases, rest) = rest.split_first_chunk::<OUT>()?;
        *values = rest;
        Some(Self {
            weights: weights.as_chunks::<OUT>().0.to_vec(),
            biases: *biases,
        })
    }

    #[inline(always)]
    fn run(&self, input: &[f32]) -> [f32; OUT] {
        let mut sums = self.biases;
        let mut from = 0;
        self.blocks::<32>(input, &mut sums, &mut from);
        self.blocks::<16>(input, &mut sums, &mut from);
        self.blocks::<1>(input, &mut sums, &mut from);
        sums
    }

    /// As many blocks of outputs as there are from `from` on; one stays in registers while the inputs pass by.
    #[inline(always)]
    fn blocks<const BLOCK: usize>(&self, input: &[f32], sums: &mut [f32; OUT], from: &mut usize) {
        while let Some(out) = sums[*from..].first_chunk_mut::<BLOCK>() {
            let mut block = *out;
            for (value, row) in input.iter().zip(&self.weights) {
                let Some(weights) = row[*from..].first_chunk::<BLOCK>() else {
                    break;
                };
                for (sum, weight) in block.iter_mut().zip(weights) {
                    *sum += value * weight;
                }
            }
            *out = block;
            *from += BLOCK;
        }
    }
}

/// One perceptron.
#[derive(Debug, Clone)]
struct Perceptron<const HIDDEN: usize, const NARROW: usize> {
    hidden: Layer<HIDDEN>,
    narrow: Layer<NARROW>,
    head: Layer<1>,
}

impl<const HIDDEN: usize, const NARROW: usize> Perceptron<HIDDEN, NARROW> {
    fn take(values: &mut &[f32], inputs: usize) -> Option<Self> {
        Some(Self {
            hidden: Layer::take(values, inputs)?,
            narrow: Layer::take(values, HIDDEN)?,
            head: Layer::take(values, NARROW)?,
        })
    }

    fn run(&self, input: &[f32]) -> f32 {
        Arch::new().dispatch(Pass {
            network: self,
            input,
        })
    }
}

/// One pass through a perceptron, for whatever vectors the machine has; the sums are taken in the same order on
/// every machine.
struct Pass<'a, const HIDDEN: usize, const NARROW: usize> {
    network: &'a Perceptron<HIDDEN, NARROW>,
    input: &'a [f32],
}

impl<const HIDDEN: usize, const NARROW: usize> WithSimd for Pass<'_, HIDDEN, NARROW> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let Perceptron {
            hidden,
            narrow,
            head,
        } = self.network;
        let hidden = hidden.run(self.input).map(|sum| sum.max(0.0));
        let narrow = narrow.run(&hidden).map(|sum| sum.max(0.0));
        head.run(&narrow)[0]
    }
}

/// The weights of both.
#[derive(Debug, Clone)]
pub struct Networks {
    first: Perceptron<32, 16>,
    second: Perceptron<128, 32>,
}

impl Networks {
    /// The networks that ship.
    pub fn shipped() -> Arc<Self> {
        static SHIPPED: LazyLock<Arc<Networks>> = LazyLock::new(|| {
            let networks = Networks::new(include_bytes!("weights.bin"));
            Arc::new(networks.expect("a test reads the weights that ship"))
        });
        Arc::clone(&SHIPPED)
    }

    /// From f32 values, little-endian: of each network, layer by layer, weights `[in][out]`, then biases.
    ///
    /// # Errors
    /// [`Error::Weights`] where the number of bytes is not that of the networks or a value is not
    /// finite.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        Self::from_values(&weights::values(bytes)?).ok_or(Error::Weights)
    }

    fn from_values(mut values: &[f32]) -> Option<Self> {
        let networks = Self {
            first: Perceptron::take(&mut values, N_SIGHT)?,
            second: Perceptron::take(&mut values, N_SIGHT + N_CONTEXT)?,
        };
        values.is_empty().then_some(networks)
    }

    /// The opinion that the `[N_SIGHT]` inputs give alone, as log-odds.
    pub(super) fn first(&self, input: &[f32]) -> f32 {
        self.first.run(input)
    }

    /// The log-odds that all inputs give, `[N_SIGHT + N_CONTEXT]`.
    pub(super) fn second(&self, input: &[f32]) -> f32 {
        self.second.run(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_that_ship_are_read() {
        let input = [0.5; N_SIGHT + N_CONTEXT];
        let networks = Networks::shipped();
        assert!(networks.first(&input[..N_SIGHT]).is_finite());
        assert!(networks.second(&input).is_finite());
    }

    #[test]
    fn a_layer_is_a_weighted_sum() {
        let mut values: &[f32] = &[1.0, 2.0, 3.0, 4.0, 0.5, -0.5];
        let layer = Layer::<2>::take(&mut values, 2).unwrap();
        assert!(values.is_empty());
        let [one, two] = layer.run(&[10.0, 1.0]);
        assert!((one - 13.5).abs() < 1e-6 && (two - 23.5).abs() < 1e-6);
    }

    #[test]
    fn blocks_do_not_change_the_sum() {
        const OUT: usize = 32 + 16 + 3;
        let values: Vec<f32> = (0..4 * OUT).map(|k| (k % 7) as f32 - 3.0).collect();
        let layer = Layer::<OUT>::take(&mut &values[..], 3).unwrap();
        let sums = layer.run(&[1.0, -2.0, 0.5]);
        for (k, sum) in sums.iter().enumerate() {
            let row = |i: usize| values[i * OUT + k];
            let expected = row(3) + row(0) - 2.0 * row(1) + 0.5 * row(2);
            assert!((sum - expected).abs() < 1e-6, "{k}");
        }
    }

    #[test]
    fn weights_of_another_size_are_refused() {
        let bytes = include_bytes!("weights.bin");
        assert!(Networks::new(&bytes[4..]).is_err());
        assert!(Networks::new(&bytes[1..]).is_err());
        let mut longer = bytes.to_vec();
        longer.extend([0; 4]);
        assert!(Networks::new(&longer).is_err());
        let mut wrong = bytes.to_vec();
        wrong[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(Networks::new(&wrong).is_err());
    }
}
