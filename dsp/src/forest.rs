//! Sums of small regression trees, and how files hold them.
//!
//! A forest in a file: number of trees (u16), and of each tree the number of splits (u8, at most 15), the splits
//! (feature u8, limit f32, child at most the limit i8, child above i8; a child under zero is leaf `-1 - child`) and one
//! more leaves (f32 each). Little-endian.

/// A sum of trees.
#[derive(Debug, Default)]
pub(crate) struct Forest(Vec<Grove>);

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

impl Forest {
    /// What the trees make of a row.
    pub(crate) fn sum(&self, row: &[f32]) -> f32 {
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
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl Reader<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn f32(&mut self) -> Option<f32> {
        self.take().map(f32::from_le_bytes)
    }

    /// The next forest, over `n_features`.
    pub(crate) fn forest(&mut self, n_features: usize) -> Option<Forest> {
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
}
