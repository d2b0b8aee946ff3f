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
//! fibrillation, and the one of leads; then the line: first value, and of each feature of a shape and of what the forest V says mean, 1 / deviation, weight, and weight of the absolute value (f32 each). Forests
//! are held as `forest.rs` says. Little-endian.

use std::sync::{Arc, LazyLock};

use ecg::BeatClass;

use super::shape::{LAST_BUT_ONE_FIT, LAST_FIT, P_WAVE};
use super::{MISSING, rhythm, shape};
use crate::Error;
use crate::forest::{Forest, Reader};

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
            line: Line::read(&mut reader)?,
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
    /// The line over all features.
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let first = reader.f32()?;
        let mut terms = Vec::with_capacity(N_ROW);
        for _ in 0..N_ROW {
            terms.push([reader.f32()?, reader.f32()?, reader.f32()?, reader.f32()?]);
        }
        let finite = first.is_finite() && terms.as_flattened().iter().all(|x| x.is_finite());
        finite.then_some(Self { first, terms })
    }

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

    #[test]
    fn the_shipped_model_is_sound() {
        assert!(Model::new(include_bytes!("weights.bin")).is_ok());
    }
}
