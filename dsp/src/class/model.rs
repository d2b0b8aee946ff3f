//! From features to a class: trees and a line.
//!
//! ```text
//! intervals --> 3 forests --> S, V, atrial fibrillation --+--> S: less where the rhythm fibrillates or the P
//!                                                         |    wave is the usual one
//! shape of a lead, intervals -----------------------------+--> V: forest + line, mean over leads
//! ```
//!
//! Each forest is a sum of small regression trees: a logit. Three know nothing but intervals and were fitted to
//! hundreds of patients of whom there are no waveforms. **S is theirs**: so few patients with waveforms have
//! premature atrial beats that trees fitted to those learn the patients. V is judged lead by lead, so that one
//! lead or three will do, by a forest and, so that it stays sane beyond what that has seen, a linear model of the
//! standardized features and their absolute values. V goes before S.
//!
//! The file: `EBC1`; counts of rhythm and shape features (u16 each); limits for S and V, weights of fibrillation
//! and of the P wave in S (f32 each); forests S, V, fibrillation, and the one of leads; then the line: first value,
//! and of each feature mean, 1 / deviation, weight, and weight of the absolute value (f32 each). A forest: number of
//! trees (u16), and of each tree the number of splits (u8), the splits (feature u8, limit f32, child at most the limit
//! i8, child above i8; a child under zero is leaf `-1 - child`) and one more leaves (f32 each). Little-endian.

use std::sync::{Arc, LazyLock};

use ecg::BeatClass;

use super::{MISSING, rhythm, shape};
use crate::Error;

const MAGIC: &[u8] = b"EBC1";

/// What the forests of intervals say.
const N_SAID: usize = 3;

/// Rhythm, shape, said.
const N_ALL: usize = rhythm::N + shape::N + N_SAID;

/// The correlation of the P wave with the usual one, among the features of a shape.
const P_WAVE: usize = 17;

static SHIPPED: LazyLock<Arc<Model>> = LazyLock::new(|| {
    let bytes = include_bytes!("weights.bin");
    Arc::new(Model::new(bytes).expect("a test reads the very same bytes"))
});

/// Turns the features of a beat into its class.
#[derive(Debug)]
pub struct Model {
    /// Logits above which a beat is S or V.
    limits: [f32; 2],
    /// What fibrillation and a usual P wave take from S.
    weights: [f32; 2],
    /// Intervals: S, V, fibrillation.
    rhythm: [Forest; N_SAID],
    /// V in one lead.
    lead: Forest,
    line: Line,
}

/// A sum of trees.
#[derive(Debug, Default)]
struct Forest {
    splits: Vec<Split>,
    leaves: Vec<f32>,
    /// Where each tree begins in `splits`; its leaves begin as many trees later.
    trees: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Split {
    limit: f32,
    feature: u8,
    children: [i8; 2],
}

impl Model {
    /// The one that ships.
    pub fn shipped() -> Arc<Self> {
        Arc::clone(&SHIPPED)
    }

    /// A model from the bytes of its file.
    ///
    /// # Errors
    /// [`Error::Weights`] for anything else.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        Self::parse(bytes).ok_or(Error::Weights)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes.strip_prefix(MAGIC)?);
        let counts = (usize::from(reader.u16()?), usize::from(reader.u16()?));
        if counts != (rhythm::N, shape::N) {
            return None;
        }
        let numbers = [reader.f32()?, reader.f32()?, reader.f32()?, reader.f32()?];
        let model = Self {
            limits: [numbers[0], numbers[1]],
            weights: [numbers[2], numbers[3]],
            rhythm: [
                reader.forest(rhythm::N)?,
                reader.forest(rhythm::N)?,
                reader.forest(rhythm::N)?,
            ],
            lead: reader.forest(N_ALL)?,
            line: reader.line()?,
        };
        let whole = reader.0.is_empty() && numbers.iter().all(|number| number.is_finite());
        whole.then_some(model)
    }

    /// The class of a beat with these features, its shape in each lead that shows it. Where none does, the
    /// beat cannot be classified: Q.
    pub fn classify(
        &self,
        rhythm: &[f32; rhythm::N],
        shapes: impl Iterator<Item = [f32; shape::N]>,
    ) -> BeatClass {
        let said = self.rhythm.each_ref().map(|forest| forest.sum(rhythm));
        let mut row = [0.0; N_ALL];
        row[..rhythm::N].copy_from_slice(rhythm);
        row[rhythm::N + shape::N..].copy_from_slice(&said);
        let (mut v, mut p, mut n) = (0.0, 0.0, 0.0);
        for shape in shapes {
            row[rhythm::N..rhythm::N + shape::N].copy_from_slice(&shape);
            v += self.lead.sum(&row) + self.line.sum(&row);
            // Where it is not known, the P wave says nothing.
            let wave = shape[P_WAVE];
            p += if wave <= MISSING {
                0.0
            } else {
                wave.clamp(-0.5, 1.0)
            };
            n += 1.0;
        }
        let s = said[0] - self.weights[0] * (said[2] + 1.0).max(0.0) - self.weights[1] * p / n;
        if n < 0.5 {
            BeatClass::Q
        } else if v > n * self.limits[1] {
            BeatClass::V
        } else if s > self.limits[0] {
            BeatClass::S
        } else {
            BeatClass::N
        }
    }
}

/// A weighted sum of standardized features and their absolute values.
#[derive(Debug)]
struct Line {
    first: f32,
    /// Mean, 1 / deviation, weight, weight of the absolute value.
    terms: Vec<[f32; 4]>,
}

impl Line {
    fn sum(&self, row: &[f32]) -> f32 {
        let term = |(x, [mean, scale, weight, absolute]): (&f32, &[f32; 4])| {
            let x = if *x <= MISSING {
                0.0
            } else {
                x.clamp(-12.0, 12.0)
            };
            let x = ((x - mean) * scale).clamp(-4.0, 4.0);
            weight * x + absolute * x.abs()
        };
        self.first + row.iter().zip(&self.terms).map(term).sum::<f32>()
    }
}

impl Forest {
    fn sum(&self, row: &[f32]) -> f32 {
        let mut sum = 0.0;
        for (k, start) in self.trees.iter().enumerate() {
            let mut at = 0usize;
            sum += loop {
                let split = self.splits[start + at];
                let above = row[usize::from(split.feature)] > split.limit;
                let child = split.children[usize::from(above)];
                if child < 0 {
                    break self.leaves[start + k + usize::from(child.unsigned_abs()) - 1];
                }
                at = usize::from(child.unsigned_abs());
            };
        }
        sum
    }
}

/// What is left of a file.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn f32(&mut self) -> Option<f32> {
        self.take().map(f32::from_le_bytes)
    }

    /// The line over all features.
    fn line(&mut self) -> Option<Line> {
        let first = self.f32()?;
        let mut terms = Vec::with_capacity(N_ALL);
        for _ in 0..N_ALL {
            terms.push([self.f32()?, self.f32()?, self.f32()?, self.f32()?]);
        }
        let finite = first.is_finite() && terms.as_flattened().iter().all(|x| x.is_finite());
        finite.then_some(Line { first, terms })
    }

    /// The next forest, over `n_features`. Children come after their parents, so that every walk ends.
    fn forest(&mut self, n_features: usize) -> Option<Forest> {
        let n_trees = self.u16()?;
        let mut forest = Forest::default();
        for _ in 0..n_trees {
            let n = i8::try_from(self.u8()?).ok().filter(|n| *n > 0)?;
            forest.trees.push(forest.splits.len());
            for at in 0..n {
                let feature = self.u8()?;
                let limit = self.f32()?;
                let children = self.take::<2>()?.map(u8::cast_signed);
                let sound =
                    |child: &i8| *child < n && (*child > at || *child < 0 && *child >= -n - 1);
                if usize::from(feature) >= n_features
                    || limit.is_nan()
                    || !children.iter().all(sound)
                {
                    return None;
                }
                forest.splits.push(Split {
                    limit,
                    feature,
                    children,
                });
            }
            for _ in 0..=n {
                forest.leaves.push(self.f32()?);
            }
        }
        let finite = forest.leaves.iter().all(|leaf| leaf.is_finite());
        finite.then_some(forest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose forests are one tree each: `feature > limit` gives 1, else -1. The line has no weights.
    fn file(splits: [(u8, f32); 4], weights: [f32; 2]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for n in [rhythm::N, shape::N] {
            bytes.extend(u16::try_from(n).unwrap().to_le_bytes());
        }
        let numbers = [0.0, 0.0, weights[0], weights[1]];
        bytes.extend(numbers.map(f32::to_le_bytes).as_flattened());
        for (feature, limit) in splits {
            bytes.extend(1u16.to_le_bytes());
            bytes.extend([1, feature]);
            bytes.extend(limit.to_le_bytes());
            bytes.extend([-1i8, -2].map(i8::cast_unsigned));
            bytes.extend([-1.0f32, 1.0].map(f32::to_le_bytes).as_flattened());
        }
        bytes.extend(0f32.to_le_bytes());
        for _ in 0..N_ALL {
            let term: [f32; 4] = [0.0, 1.0, 0.0, 0.0];
            bytes.extend(term.map(f32::to_le_bytes).as_flattened());
        }
        bytes
    }

    const SHAPED: u8 = 24;

    fn class(model: &Model, rhythm: &[f32; rhythm::N], leads: &[(f32, f32)]) -> BeatClass {
        let shape = |&(first, p): &(f32, f32)| {
            let mut shape = [0.0; shape::N];
            shape[0] = first;
            shape[P_WAVE] = p;
            shape
        };
        model.classify(rhythm, leads.iter().map(shape))
    }

    #[test]
    fn leads_are_averaged_and_v_goes_before_s() {
        // S where the intervals say so, V where the first feature of the shape is above 2.
        let trees = [(3, 0.5), (0, 9.0), (4, 9.0), (SHAPED, 2.0)];
        let model = Model::new(&file(trees, [0.0, 0.0])).unwrap();
        let mut rhythm = [0.0; rhythm::N];
        let (usual, odd) = ((1.0, 0.0), (3.0, 0.0));
        assert_eq!(class(&model, &rhythm, &[usual]), BeatClass::N);
        assert_eq!(class(&model, &rhythm, &[odd]), BeatClass::V);
        assert_eq!(class(&model, &rhythm, &[odd, usual]), BeatClass::N);
        assert_eq!(class(&model, &rhythm, &[odd, usual, odd]), BeatClass::V);
        assert_eq!(class(&model, &rhythm, &[]), BeatClass::Q);
        rhythm[3] = 1.0;
        assert_eq!(class(&model, &rhythm, &[usual]), BeatClass::S);
        assert_eq!(class(&model, &rhythm, &[odd]), BeatClass::V);
    }

    #[test]
    fn a_usual_p_wave_and_fibrillation_speak_against_s() {
        let trees = [(3, 0.5), (0, 9.0), (4, 0.5), (SHAPED, 2.0)];
        let model = Model::new(&file(trees, [0.6, 1.5])).unwrap();
        let mut rhythm = [0.0; rhythm::N];
        rhythm[3] = 1.0;
        assert_eq!(class(&model, &rhythm, &[(1.0, 0.0)]), BeatClass::S);
        assert_eq!(class(&model, &rhythm, &[(1.0, 0.9)]), BeatClass::N);
        assert_eq!(
            class(&model, &rhythm, &[(1.0, 0.9), (1.0, -0.2)]),
            BeatClass::S
        );
        assert_eq!(class(&model, &rhythm, &[(1.0, MISSING)]), BeatClass::S);
        rhythm[4] = 1.0;
        assert_eq!(class(&model, &rhythm, &[(1.0, 0.0)]), BeatClass::N);
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let whole = file([(0, 0.0); 4], [0.0; 2]);
        assert!(Model::new(&whole).is_ok());
        for end in 0..whole.len() {
            assert!(Model::new(&whole[..end]).is_err(), "{end}");
        }
        let mut long = whole.clone();
        long.push(0);
        assert!(Model::new(&long).is_err());
        for bad in [(200, 0.0), (0, f32::NAN)] {
            let trees = [bad, (0, 0.0), (0, 0.0), (0, 0.0)];
            assert!(Model::new(&file(trees, [0.0; 2])).is_err());
        }
        assert!(Model::new(&file([(0, 0.0); 4], [f32::NAN, 0.0])).is_err());
        // A child that does not come after its parent would never end.
        let mut endless = whole;
        let child = 4 + 4 + 16 + 2 + 1 + 1 + 4;
        endless[child] = 0;
        assert!(Model::new(&endless).is_err());
    }

    #[test]
    fn the_shipped_model_is_sound() {
        assert!(Model::new(include_bytes!("weights.bin")).is_ok());
    }
}
