//! From features to a class: trees and a line.
//!
//! ```text
//! intervals --> 2 forests --> S, atrial fibrillation --> S: less where the rhythm fibrillates or the P wave is
//!                                                        the usual one
//! intervals --> forest -----> V --+--> V: forest + line, mean over leads, mean with the beats just before
//! shape of a lead ----------------+    where these look alike
//! ```
//!
//! Each forest is a sum of small regression trees: a logit. Three know nothing but intervals and were fitted to
//! hundreds of patients of whom there are no waveforms. **S is theirs**: so few patients with waveforms have
//! premature atrial beats that trees fitted to those learn the patients. V is judged lead by lead, so that one
//! lead or three will do, by a forest and, so that it stays sane beyond what that has seen, a linear model of the
//! standardized features and their absolute values. V goes before S.
//!
//! The file: `EBC2`; counts of rhythm and shape features (u16 each); limits for S and V, weights of fibrillation
//! and of the P wave in S, the fit from which beats are alike, and their weight in the vote (f32 each); forests S, V,
//! fibrillation, and the one of leads; then the line: first value, and of each feature of a shape and of what the forest V says mean, 1 / deviation, weight, and weight of the absolute value (f32 each). A forest: number of
//! trees (u16), and of each tree the number of splits (u8, at most 15), the splits (feature u8, limit f32, child at most the limit
//! i8, child above i8; a child under zero is leaf `-1 - child`) and one more leaves (f32 each). Little-endian.

use std::sync::{Arc, LazyLock};

use ecg::BeatClass;

use super::shape::{LAST_BUT_ONE_FIT, LAST_FIT, P_WAVE};
use super::{MISSING, rhythm, shape};
use crate::Error;

const MAGIC: &[u8] = b"EBC2";

/// A shape, and what the intervals say of V.
const N_ROW: usize = shape::N + 1;

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
    /// How well the QRS of two beats must fit for them to be alike, and what the other one weighs then.
    vote: [f32; 2],
    /// Intervals: S, V, fibrillation.
    rhythm: [Forest; 3],
    /// V in one lead.
    lead: Forest,
    line: Line,
}

/// A sum of trees.
#[derive(Debug, Default)]
struct Forest(Vec<Grove>);

/// Some trees of a forest, as many as a byte can number.
///
/// **Nothing is walked**, for a processor cannot guess the turns: a split that a row is above takes the leaves on its
/// other side away from its tree, and of the leaves that stay the first one is where a walk would end. The splits of
/// a feature are sorted, so that those that a row is above come first.
///
/// Reference: Lucchese et al., `QuickScorer` (SIGIR, 2015).
#[derive(Debug, Default)]
struct Grove {
    /// By feature, then by limit.
    splits: Vec<Split>,
    /// Where the splits of each feature end.
    ends: Vec<usize>,
    /// Of each tree, from left to right.
    leaves: Vec<[f32; MAX_LEAVES]>,
}

#[derive(Debug, Clone, Copy)]
struct Split {
    limit: f32,
    /// The leaves that a row above the limit can still come to, a bit for each, the first one lowest.
    above: u16,
    tree: u8,
}

/// A tree has no more leaves.
const MAX_LEAVES: usize = 16;
/// A grove has no more trees.
const MAX_TREES: usize = 256;

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

    /// One that has learned nothing and finds every beat N: for training, which needs features before there are weights
    /// for them.
    pub fn silent() -> Self {
        Self {
            limits: [0.0; 2],
            weights: [0.0; 2],
            vote: [0.0; 2],
            rhythm: Default::default(),
            lead: Forest::default(),
            line: Line::default(),
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes.strip_prefix(MAGIC)?);
        let counts = (usize::from(reader.u16()?), usize::from(reader.u16()?));
        if counts != (rhythm::N, shape::N) {
            return None;
        }
        let mut numbers = [0.0; 6];
        for number in &mut numbers {
            *number = reader.f32()?;
        }
        let model = Self {
            limits: [numbers[0], numbers[1]],
            weights: [numbers[2], numbers[3]],
            vote: [numbers[4], numbers[5]],
            rhythm: [
                reader.forest(rhythm::N)?,
                reader.forest(rhythm::N)?,
                reader.forest(rhythm::N)?,
            ],
            lead: reader.forest(N_ROW)?,
            line: reader.line()?,
        };
        let whole = reader.0.is_empty() && numbers.iter().all(|number| number.is_finite());
        whole.then_some(model)
    }

    /// What speaks for S and V in a beat with these intervals, of the whole context and of what is near, and these shapes, one
    /// for each lead that shows the beat. Where none does, nothing can be said.
    pub(super) fn judge(
        &self,
        context: &[f32; rhythm::N],
        near: &[f32; rhythm::N],
        shapes: impl Iterator<Item = [f32; shape::N]>,
    ) -> Option<Judged> {
        let [s, v, fibrillates] = &self.rhythm;
        let mut row = [0.0; N_ROW];
        row[shape::N] = v.sum(near);
        let (mut v, mut p, mut fits, mut n) = (0.0, 0.0, [0.0; 2], 0.0);
        for shape in shapes {
            row[..shape::N].copy_from_slice(&shape);
            v += self.lead.sum(&row) + self.line.sum(&row);
            // Where it is not known, the P wave says nothing.
            let wave = shape[P_WAVE];
            p += if wave <= MISSING {
                0.0
            } else {
                wave.clamp(-0.5, 1.0)
            };
            fits[0] += shape[LAST_FIT];
            fits[1] += shape[LAST_BUT_ONE_FIT];
            n += 1.0;
        }
        (n > 0.5).then(|| {
            let fibrillates = (fibrillates.sum(context) + 1.0).max(0.0);
            Judged {
                s: s.sum(context) - self.weights[0] * fibrillates - self.weights[1] * p / n,
                v: v / n,
                fits: fits.map(|fit| fit / n),
            }
        })
    }

    /// The class of a beat: those `before` it, the last and the last but one, have their say in V where they are alike.
    pub(super) fn class(&self, beat: &Judged, before: [Option<f32>; 2]) -> BeatClass {
        let [alike, weight] = self.vote;
        let (mut v, mut n) = (beat.v, 1.0);
        for (fit, other) in beat.fits.iter().zip(before) {
            if let Some(other) = other.filter(|_| *fit > alike) {
                v += weight * other;
                n += weight;
            }
        }
        if v > n * self.limits[1] {
            BeatClass::V
        } else if beat.s > self.limits[0] {
            BeatClass::S
        } else {
            BeatClass::N
        }
    }
}

/// What a beat looks like by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    /// What speaks for S, a logit.
    s: f32,
    /// What speaks for V, a logit.
    pub(super) v: f32,
    /// How well the QRS fits that of the last beat and of the last but one, mean over leads.
    fits: [f32; 2],
}

/// A weighted sum of standardized features and their absolute values.
#[derive(Debug, Default)]
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
        self.0.iter().fold(0.0, |sum, grove| grove.add(sum, row))
    }
}

impl Grove {
    /// Adds what each tree makes of a row to `sum`, in the order of the trees.
    fn add(&self, sum: f32, row: &[f32]) -> f32 {
        let mut left = [u16::MAX; MAX_TREES];
        let mut start = 0;
        for (x, end) in row.iter().zip(&self.ends) {
            // Where the feature is no number it is above nothing.
            let splits = self.splits[start..*end].iter();
            for split in splits.take_while(|split| *x > split.limit) {
                left[usize::from(split.tree)] &= split.above;
            }
            start = *end;
        }
        let leaf = |(leaves, left): (&[f32; MAX_LEAVES], &u16)| {
            leaves[left.trailing_zeros() as usize % MAX_LEAVES]
        };
        self.leaves
            .iter()
            .zip(&left)
            .map(leaf)
            .fold(sum, |sum, leaf| sum + leaf)
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
        let mut terms = Vec::with_capacity(N_ROW);
        for _ in 0..N_ROW {
            terms.push([self.f32()?, self.f32()?, self.f32()?, self.f32()?]);
        }
        let finite = first.is_finite() && terms.as_flattened().iter().all(|x| x.is_finite());
        finite.then_some(Line { first, terms })
    }

    /// The next forest, over `n_features`.
    fn forest(&mut self, n_features: usize) -> Option<Forest> {
        let mut n_trees = usize::from(self.u16()?);
        let mut forest = Forest::default();
        while n_trees > 0 {
            let n = n_trees.min(MAX_TREES);
            forest.0.push(self.grove(n, n_features)?);
            n_trees -= n;
        }
        Some(forest)
    }

    fn grove(&mut self, n_trees: usize, n_features: usize) -> Option<Grove> {
        let mut grove = Grove::default();
        let mut splits = Vec::new();
        for tree in 0..n_trees {
            let tree = u8::try_from(tree).ok()?;
            grove.leaves.push(self.tree(|feature, limit, above| {
                splits.push((feature, Split { limit, above, tree }));
            })?);
        }
        let by_feature =
            |a: &(u8, Split), b: &(u8, Split)| a.0.cmp(&b.0).then(a.1.limit.total_cmp(&b.1.limit));
        splits.sort_by(by_feature);
        let end = |feature| splits.partition_point(|split| usize::from(split.0) <= feature);
        grove.ends = (0..n_features).map(end).collect();
        grove.splits = splits.into_iter().map(|(_, split)| split).collect();
        let known = grove.ends.last().copied() == Some(grove.splits.len());
        known.then_some(grove)
    }

    /// The leaves of the next tree, from left to right; `split` hears the feature and the limit of each of its splits,
    /// and which leaves stay above it. Children come after their parents, and each has one parent.
    fn tree(&mut self, mut split: impl FnMut(u8, f32, u16)) -> Option<[f32; MAX_LEAVES]> {
        let n = usize::from(self.u8()?);
        if n == 0 || n >= MAX_LEAVES {
            return None;
        }
        let mut splits = [(0, 0.0, [0i8; 2]); MAX_LEAVES - 1];
        for slot in &mut splits[..n] {
            *slot = (self.u8()?, self.f32()?, self.take()?.map(u8::cast_signed));
        }
        // How many leaves there are under each split, from the last one back.
        let mut sizes = [1usize; MAX_LEAVES - 1];
        let mut n_parents = [0; 2 * MAX_LEAVES];
        for (at, (_, limit, children)) in splits[..n].iter().enumerate().rev() {
            let mut size = 0;
            for child in children {
                let node = usize::from(child.unsigned_abs());
                let (slot, below) = if *child < 0 {
                    (MAX_LEAVES + node - 1, 1)
                } else if node > at && node < n {
                    (node, sizes[node])
                } else {
                    return None;
                };
                *n_parents.get_mut(slot)? += 1;
                size += below;
            }
            sizes[at] = size;
            if limit.is_nan() {
                return None;
            }
        }
        let ones = |slots: &[i32]| slots.iter().all(|n| *n == 1);
        if !ones(&n_parents[1..n]) || !ones(&n_parents[MAX_LEAVES..=MAX_LEAVES + n]) {
            return None;
        }
        // The first leaf under each split, from the root on, which puts the leaves in order.
        let mut first = [0; MAX_LEAVES - 1];
        let mut places = [0; MAX_LEAVES];
        for (at, (feature, limit, children)) in splits[..n].iter().enumerate() {
            let mut place = first[at];
            for (side, child) in children.iter().enumerate() {
                let node = usize::from(child.unsigned_abs());
                let size = if *child < 0 {
                    places[node - 1] = place;
                    1
                } else {
                    first[node] = place;
                    sizes[node]
                };
                if side == 0 {
                    let below = ((1u32 << size) - 1) << place;
                    split(*feature, *limit, !u16::try_from(below).ok()?);
                }
                place += size;
            }
        }
        let mut leaves = [0.0; MAX_LEAVES];
        for place in &places[..=n] {
            leaves[*place] = self.f32()?;
        }
        leaves.iter().all(|leaf| leaf.is_finite()).then_some(leaves)
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
        let numbers = [0.0, 0.0, weights[0], weights[1], 0.9, 0.6];
        bytes.extend(numbers.map(f32::to_le_bytes).as_flattened());
        for (feature, limit) in splits {
            bytes.extend(1u16.to_le_bytes());
            bytes.extend([1, feature]);
            bytes.extend(limit.to_le_bytes());
            bytes.extend([-1i8, -2].map(i8::cast_unsigned));
            bytes.extend([-1.0f32, 1.0].map(f32::to_le_bytes).as_flattened());
        }
        bytes.extend(0f32.to_le_bytes());
        for _ in 0..N_ROW {
            let term: [f32; 4] = [0.0, 1.0, 0.0, 0.0];
            bytes.extend(term.map(f32::to_le_bytes).as_flattened());
        }
        bytes
    }

    fn class(model: &Model, rhythm: &[f32; rhythm::N], leads: &[(f32, f32)]) -> BeatClass {
        let shape = |&(first, p): &(f32, f32)| {
            let mut shape = [0.0; shape::N];
            shape[0] = first;
            shape[P_WAVE] = p;
            shape
        };
        match model.judge(rhythm, rhythm, leads.iter().map(shape)) {
            Some(judged) => model.class(&judged, [None; 2]),
            None => BeatClass::Q,
        }
    }

    #[test]
    fn leads_are_averaged_and_v_goes_before_s() {
        // S where the intervals say so, V where the first feature of the shape is above 2.
        let trees = [(3, 0.5), (0, 9.0), (4, 9.0), (0, 2.0)];
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
    fn beats_that_are_alike_are_judged_together() {
        let trees = [(3, 0.5), (0, 9.0), (4, 9.0), (0, 2.0)];
        let model = Model::new(&file(trees, [0.0, 0.0])).unwrap();
        let beat = |v, fits| Judged { s: -1.0, v, fits };
        let check = |beat, before, class| assert_eq!(model.class(&beat, before), class);
        let (own, before) = (beat(-1.0, [0.95, 0.5]), [Some(2.0), Some(2.0)]);
        check(own, [None; 2], BeatClass::N);
        // -1 + 0.6 * 2 is above the limit of 0.
        check(own, before, BeatClass::V);
        check(own, [None, Some(2.0)], BeatClass::N);
        check(beat(-1.0, [0.9, 0.5]), before, BeatClass::N);
        check(beat(1.0, [0.5, 0.95]), [None, Some(-2.0)], BeatClass::N);
        check(beat(1.0, [MISSING; 2]), [Some(-2.0); 2], BeatClass::V);
    }

    #[test]
    fn what_has_learned_nothing_finds_n() {
        let row = [0.0; shape::N];
        let judged = Model::silent().judge(&[1.0; rhythm::N], &[1.0; rhythm::N], [row].into_iter());
        let class = Model::silent().class(&judged.unwrap(), [None; 2]);
        assert_eq!(class, BeatClass::N);
    }

    #[test]
    fn a_usual_p_wave_and_fibrillation_speak_against_s() {
        let trees = [(3, 0.5), (0, 9.0), (4, 0.5), (0, 2.0)];
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
        // A child that does not come after its parent, is none, or has two parents.
        let child = 4 + 4 + 24 + 2 + 1 + 1 + 4;
        for bad in [0, 1, 127, -2, -3, -17, -128i8] {
            let mut wrong = whole.clone();
            wrong[child] = bad.cast_unsigned();
            assert!(Model::new(&wrong).is_err(), "{bad}");
        }
        for n in [0, 2, 16, 255] {
            let mut wrong = whole.clone();
            wrong[child - 6] = n;
            assert!(Model::new(&wrong).is_err(), "{n} splits");
        }
    }

    /// Trees grown at random, over three features: features, limits and children, then leaves.
    fn grown(n_trees: u16, random: &mut impl FnMut(usize) -> usize) -> Vec<Grown> {
        let tree = |_| {
            let n = 1 + random(MAX_LEAVES - 1);
            let mut splits: Vec<(u8, f32, [i8; 2])> = Vec::new();
            // The children of which it is not known yet where they lead.
            let mut open = Vec::new();
            for at in 0..n {
                if !open.is_empty() {
                    let (parent, side): (usize, usize) = open.swap_remove(random(open.len()));
                    splits[parent].2[side] = i8::try_from(at).unwrap();
                }
                let limit = random(9) as f32 / 4.0 - 1.0;
                splits.push((u8::try_from(random(3)).unwrap(), limit, [0; 2]));
                open.extend([(at, 0), (at, 1)]);
            }
            for leaf in 0..=n {
                let (parent, side) = open.swap_remove(random(open.len()));
                splits[parent].2[side] = -1 - i8::try_from(leaf).unwrap();
            }
            let leaves = (0..=n).map(|_| random(1000) as f32 / 7.0).collect();
            (splits, leaves)
        };
        (0..n_trees).map(tree).collect()
    }

    type Grown = (Vec<(u8, f32, [i8; 2])>, Vec<f32>);

    #[test]
    fn a_forest_says_what_walks_through_its_trees_come_to() {
        let mut state = 1u64;
        let mut random = |below: usize| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            usize::try_from(state >> 33).unwrap() % below
        };
        for n_trees in [0, 1, 2, 255, 256, 257, 600] {
            let trees = grown(n_trees, &mut random);
            let mut bytes = n_trees.to_le_bytes().to_vec();
            for (splits, leaves) in &trees {
                bytes.push(u8::try_from(splits.len()).unwrap());
                for (feature, limit, children) in splits {
                    bytes.push(*feature);
                    bytes.extend(limit.to_le_bytes());
                    bytes.extend(children.map(i8::cast_unsigned));
                }
                bytes.extend(leaves.iter().flat_map(|leaf| leaf.to_le_bytes()));
            }
            assert!(n_trees == 0 || Reader(&bytes).forest(2).is_none());
            let mut reader = Reader(&bytes);
            let forest = reader.forest(3).unwrap();
            assert!(reader.0.is_empty());
            for _ in 0..200 {
                // On the limits, between them, and what is no number.
                let value = |x| {
                    if x == 25 {
                        f32::NAN
                    } else {
                        x as f32 / 8.0 - 1.5
                    }
                };
                let row = [0; 3].map(|_| value(random(26)));
                let mut sum = 0.0f32;
                for (splits, leaves) in &trees {
                    let mut at = 0;
                    sum += loop {
                        let (feature, limit, children) = splits[at];
                        let above = row[usize::from(feature)] > limit;
                        let child = children[usize::from(above)];
                        if child < 0 {
                            break leaves[usize::from(child.unsigned_abs()) - 1];
                        }
                        at = usize::from(child.unsigned_abs());
                    };
                }
                assert_eq!(forest.sum(&row).to_bits(), sum.to_bits());
            }
        }
    }

    #[test]
    fn the_shipped_model_is_sound() {
        assert!(Model::new(include_bytes!("weights.bin")).is_ok());
    }
}
