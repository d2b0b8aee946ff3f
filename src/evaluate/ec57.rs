//! Beat-by-beat comparison of a test annotator with a reference, by the rules of EC57.
//!
//! * A reference beat and a test beat are a pair if they are at most 150 ms apart; each beat is in
//!   one pair at most.
//! * The first five minutes are for learning: beats there are paired, but not counted. A pair
//!   counts where its reference beat is.
//! * Ventricular flutter and fibrillation (`[` to `]` of the reference) are no matter of single
//!   beats: reference labels in them are left out, and so are test beats that remain unpaired.
//! * Where the test annotator says that it cannot read the signal (shutdown: `~` with subtype -1,
//!   until the next `~`), beats it lacks are missed like any other, and also tallied apart. Where
//!   the reference says so, test beats without a partner are tallied apart and are not errors,
//!   for nobody knows what was there.
//!
//! * Ventricular ectopic beats (VEB) are those of class V, supraventricular ones (SVEB) those of class S. A
//!   fusion or a beat that cannot be classified is hard to tell from V: a V there is no error. Nor is an S on a beat that
//!   cannot be classified. Marks without a beat are errors of their class.
//!
//! Reference: ANSI/AAMI EC57, beat-by-beat comparison; for the classes also de Chazal et al.,
//! IEEE TBME 51 (2004).

use std::ops::{AddAssign, Range};

use ecg::{Beat, BeatClass, SampleIndex, SampleRate};

use crate::record::annotation::{Annotation, AnnotationCode};

/// What is compared how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Config {
    /// Where counting begins, seconds from the start of the record.
    pub start: f64,
    /// How far apart the two beats of a pair may be, seconds.
    pub match_window: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            start: 300.0,
            match_window: 0.15,
        }
    }
}

/// What an annotator says about the beats of a record.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Labels {
    /// The beats, in order.
    pub beats: Vec<Beat>,
    /// Ventricular flutter or fibrillation.
    pub flutter: Vec<Range<SampleIndex>>,
    /// No signal is readable.
    pub unreadable: Vec<Range<SampleIndex>>,
}

impl Labels {
    /// Beats found by a detector that says nothing else.
    pub fn from_beats(mut beats: Vec<Beat>) -> Self {
        beats.sort_by_key(|beat| beat.r_peak);
        Self {
            beats,
            ..Self::default()
        }
    }

    /// Where the beats are.
    pub fn r_peaks(&self) -> Vec<SampleIndex> {
        self.beats.iter().map(|beat| beat.r_peak).collect()
    }

    /// The labels of an annotation file. A span that is never closed lasts to the end.
    pub fn from_annotations(annotations: &[Annotation]) -> Self {
        let mut labels = Self::default();
        let mut flutter = None;
        let mut unreadable = None;
        let close = |spans: &mut Vec<Range<SampleIndex>>, start: Option<SampleIndex>, end| {
            spans.extend(start.map(|start| start..end));
        };
        for annotation in annotations {
            let at = annotation.at;
            match annotation.code {
                AnnotationCode::FLUTTER_ONSET => {
                    flutter.get_or_insert(at);
                }
                AnnotationCode::FLUTTER_OFFSET => close(&mut labels.flutter, flutter.take(), at),
                AnnotationCode::QUALITY if annotation.subtype == -1 => {
                    unreadable.get_or_insert(at);
                }
                AnnotationCode::QUALITY => close(&mut labels.unreadable, unreadable.take(), at),
                code => labels.beats.extend(code.beat_class().map(|class| Beat {
                    r_peak: at,
                    class: Some(class),
                })),
            }
        }
        let end = SampleIndex(u64::MAX);
        close(&mut labels.flutter, flutter, end);
        close(&mut labels.unreadable, unreadable, end);
        labels.beats.sort_by_key(|beat| beat.r_peak);
        labels
    }
}

/// How often which reference class met which test class: `[reference, test]`.
///
/// Rows and columns 0 to 4 are N, S, V, F, Q. Row 5 (`O`) counts test beats without a reference
/// beat, row 6 (`X`) such beats where the reference is unreadable; column 5 (`o`) counts missed
/// beats, column 6 (`x`) beats missed in shutdown. A test beat without a class is in column `n`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Matrix {
    /// The counts.
    pub cells: [[u64; 7]; 7],
    /// How long the test annotator was in shutdown while beats were counted.
    pub shutdown_seconds: f64,
}

/// The row or column of beats without a partner.
const UNPAIRED: usize = 5;
/// The row or column of beats without a partner where there is nothing to be read.
const UNREADABLE: usize = 6;

/// QRS detection in numbers: does each beat have its mark, whatever the class?
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counts {
    /// Pairs.
    pub tp: u64,
    /// Missed beats, those in shutdown included.
    pub fn_: u64,
    /// Marks where no beat is.
    pub fp: u64,
    /// Beats missed in shutdown.
    pub missed_in_shutdown: u64,
    /// Marks without a beat where the reference is unreadable; not in `fp`.
    pub extra_in_unreadable: u64,
    /// How long the test annotator was in shutdown.
    pub shutdown_seconds: f64,
}

impl Counts {
    /// Sensitivity Se, percent; `None` where there was no beat to find.
    pub fn se(&self) -> Option<f64> {
        percent(self.tp, self.tp + self.fn_)
    }

    /// Positive predictivity +P, percent; `None` where nothing was marked.
    pub fn ppv(&self) -> Option<f64> {
        percent(self.tp, self.tp + self.fp)
    }

    /// Their harmonic mean F1, percent; `None` where there was neither a beat nor a mark.
    pub fn f1(&self) -> Option<f64> {
        percent(2 * self.tp, 2 * self.tp + self.fn_ + self.fp)
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.tp += other.tp;
        self.fn_ += other.fn_;
        self.fp += other.fp;
        self.missed_in_shutdown += other.missed_in_shutdown;
        self.extra_in_unreadable += other.extra_in_unreadable;
        self.shutdown_seconds += other.shutdown_seconds;
    }
}

pub(super) fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * part as f64 / whole as f64)
}

/// How one class of beats was told from the others, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ClassCounts {
    /// Beats of the class that were said to be of it.
    pub tp: u64,
    /// Those that were missed or said to be of another.
    pub fn_: u64,
    /// Beats of other classes, and marks without a beat, said to be of it.
    pub fp: u64,
    /// Beats of other classes said to be of others.
    pub tn: u64,
}

impl ClassCounts {
    /// Sensitivity Se, percent; `None` where there was no beat of the class.
    pub fn se(&self) -> Option<f64> {
        percent(self.tp, self.tp + self.fn_)
    }

    /// Positive predictivity +P, percent; `None` where nothing was said to be of the class.
    pub fn ppv(&self) -> Option<f64> {
        percent(self.tp, self.tp + self.fp)
    }

    /// False positive rate, percent; `None` where there was nothing else.
    pub fn fpr(&self) -> Option<f64> {
        percent(self.fp, self.fp + self.tn)
    }
}

impl AddAssign for ClassCounts {
    fn add_assign(&mut self, other: Self) {
        self.tp += other.tp;
        self.fn_ += other.fn_;
        self.fp += other.fp;
        self.tn += other.tn;
    }
}

impl Matrix {
    /// The counts of ventricular ectopic beats.
    pub fn veb(&self) -> ClassCounts {
        self.of(BeatClass::V, &[BeatClass::F, BeatClass::Q])
    }

    /// The counts of supraventricular ectopic beats.
    pub fn sveb(&self) -> ClassCounts {
        self.of(BeatClass::S, &[BeatClass::Q])
    }

    /// The counts of a class; to say it of a beat of the `forgiven` ones is no error.
    fn of(&self, wanted: BeatClass, forgiven: &[BeatClass]) -> ClassCounts {
        let own = wanted.index();
        let row: u64 = self.cells[own].iter().sum();
        let tp = self.cells[own][own];
        let others = |k: &usize| *k != own && !forgiven.iter().any(|class| class.index() == *k);
        let fp = (0..=UNPAIRED).filter(others).map(|k| self.cells[k][own]);
        let not_own = |k: usize| {
            let said = self.cells[k][..UNPAIRED].iter().enumerate();
            said.filter(|(at, _)| *at != own)
                .map(|(_, n)| n)
                .sum::<u64>()
        };
        ClassCounts {
            tp,
            fn_: row - tp,
            fp: fp.sum(),
            tn: (0..UNPAIRED).filter(|k| *k != own).map(not_own).sum(),
        }
    }

    /// The counts of QRS detection.
    pub fn qrs(&self) -> Counts {
        let classes = || self.cells[..UNPAIRED].iter();
        let missed_in_shutdown = classes().map(|row| row[UNREADABLE]).sum();
        Counts {
            tp: classes().flat_map(|row| &row[..UNPAIRED]).sum(),
            fn_: classes().map(|row| row[UNPAIRED]).sum::<u64>() + missed_in_shutdown,
            fp: self.cells[UNPAIRED].iter().sum(),
            missed_in_shutdown,
            extra_in_unreadable: self.cells[UNREADABLE].iter().sum(),
            shutdown_seconds: self.shutdown_seconds,
        }
    }
}

/// Compares `test` with `reference` on a record of the given rate that ends at `end`.
pub fn compare(
    reference: &Labels,
    test: &Labels,
    rate: SampleRate,
    end: SampleIndex,
    config: &Config,
) -> Matrix {
    compare_where(reference, test, rate, end, config, |_| true)
}

/// The same, counting only what is at `seconds` for which `part` is true.
pub fn compare_where(
    reference: &Labels,
    test: &Labels,
    rate: SampleRate,
    end: SampleIndex,
    config: &Config,
    part: impl Fn(f64) -> bool,
) -> Matrix {
    let start = SampleIndex(rate.count(config.start).0);
    let counted = |at: SampleIndex| at >= start && at < end && part(at.0 as f64 / rate.hz());
    let outside_flutter = |beat: &&Beat| !covers(&reference.flutter, beat.r_peak);
    let labelled: Vec<&Beat> = reference.beats.iter().filter(outside_flutter).collect();
    let marked: Vec<&Beat> = test.beats.iter().collect();

    let mut matrix = Matrix::default();
    for pair in pairs(&labelled, &marked, rate.count(config.match_window).0) {
        match pair {
            (Some(label), Some(mark)) if counted(label.r_peak) => {
                matrix.cells[class(label)][class(mark)] += 1;
            }
            (Some(label), None) if counted(label.r_peak) => {
                let shutdown = covers(&test.unreadable, label.r_peak);
                let column = if shutdown { UNREADABLE } else { UNPAIRED };
                matrix.cells[class(label)][column] += 1;
            }
            (None, Some(mark))
                if counted(mark.r_peak) && !covers(&reference.flutter, mark.r_peak) =>
            {
                let unreadable = covers(&reference.unreadable, mark.r_peak);
                let row = if unreadable { UNREADABLE } else { UNPAIRED };
                matrix.cells[row][class(mark)] += 1;
            }
            _ => {}
        }
    }
    for span in &test.unreadable {
        let counted = span.end.min(end).since(span.start.max(start));
        matrix.shutdown_seconds += rate.seconds(counted);
    }
    matrix
}

fn covers(spans: &[Range<SampleIndex>], at: SampleIndex) -> bool {
    spans.iter().any(|span| span.contains(&at))
}

/// The row or column of a beat; one without a class counts as N.
fn class(beat: &Beat) -> usize {
    beat.class.unwrap_or(BeatClass::N).index()
}

/// A reference beat and the test beat it is paired with, or one of them alone.
type Pair<'a> = (Option<&'a Beat>, Option<&'a Beat>);

/// Goes through both lists in order of time and decides about the earlier beat of each.
///
/// With `r` and `t` the first reference and test beat not yet decided on, `r'` and `t'` those
/// after them:
///
/// 1. `r` is more than a window before `t`: `r` is missed.
/// 2. `t` is more than a window before `r`: `t` is extra.
/// 3. They are within a window, but `t` is nearer to `r'`, and `r'` has no nearer mark in `t'`:
///    `t` belongs to `r'`, and `r` is missed.
/// 4. They are within a window, but `r` is nearer to `t'`, and `t'` has no nearer beat in `r'`:
///    `r` belongs to `t'`, and `t` is extra.
/// 5. Otherwise they are a pair.
///
/// The second halves of 3 and 4 matter where beats are close together. Take r 0, t 100, r' 190,
/// t' 195 ms: t is nearer to r' (90 ms) than to r, but t' is nearer still (5 ms). Giving t up for
/// r' would leave r missed and t extra, where two pairs within the window are there to be had.
fn pairs<'a>(reference: &[&'a Beat], test: &[&'a Beat], window: u64) -> Vec<Pair<'a>> {
    let apart = |a: &Beat, b: &Beat| a.r_peak.0.abs_diff(b.r_peak.0);
    let mut pairs = Vec::with_capacity(reference.len().max(test.len()));
    let (mut i, mut j) = (0, 0);
    while let (Some(&r), Some(&t)) = (reference.get(i), test.get(j)) {
        let (next_r, next_t) = (reference.get(i + 1), test.get(j + 1));
        let distance = apart(r, t);
        let next_to_next = next_r.zip(next_t).map(|(r, t)| apart(r, t));
        let free_within =
            |near: u64| near < distance && next_to_next.is_none_or(|best| best >= near);
        let r_missed = if distance > window {
            // Cases 1 and 2
            Some(r.r_peak < t.r_peak)
        } else if next_r.is_some_and(|next| free_within(apart(next, t))) {
            Some(true) // Case 3
        } else if next_t.is_some_and(|next| free_within(apart(r, next))) {
            Some(false) // Case 4
        } else {
            None // Case 5
        };
        pairs.push((
            (r_missed != Some(false)).then_some(r),
            (r_missed != Some(true)).then_some(t),
        ));
        i += usize::from(r_missed != Some(false));
        j += usize::from(r_missed != Some(true));
    }
    pairs.extend(reference[i..].iter().map(|&r| (Some(r), None)));
    pairs.extend(test[j..].iter().map(|&t| (None, Some(t))));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One sample a millisecond.
    fn rate() -> SampleRate {
        SampleRate::new(1000.0).unwrap()
    }

    fn labels(beats: &[u64]) -> Labels {
        Labels::from_beats(
            beats
                .iter()
                .map(|&at| Beat {
                    r_peak: SampleIndex(at),
                    class: None,
                })
                .collect(),
        )
    }

    fn compare_from(start: f64, reference: &Labels, test: &Labels) -> Counts {
        let config = Config {
            start,
            ..Config::default()
        };
        compare(reference, test, rate(), SampleIndex(1_000_000), &config).qrs()
    }

    fn check(reference: &[u64], test: &[u64], (tp, fn_, fp): (u64, u64, u64)) {
        let counts = compare_from(0.0, &labels(reference), &labels(test));
        assert_eq!(
            (counts.tp, counts.fn_, counts.fp),
            (tp, fn_, fp),
            "{reference:?} {test:?}"
        );
    }

    #[test]
    fn each_case() {
        check(&[0, 1000], &[1000], (1, 1, 0)); // 1
        check(&[1000], &[0, 1000], (1, 0, 1)); // 2
        check(&[1000, 1190], &[1120], (1, 1, 0)); // 3: nearer to the second
        check(&[1000], &[900, 1010], (1, 0, 1)); // 4: the second is nearer
        check(&[1000, 2000], &[1150, 1850], (2, 0, 0)); // 5: the window includes its end
        check(&[1000], &[1151], (0, 1, 1));
        check(&[1000, 1190], &[1100, 1195], (2, 0, 0)); // the example of the comment
        check(&[1100, 1195], &[1000, 1190], (2, 0, 0)); // and turned round
        check(&[], &[5], (0, 0, 1));
        check(&[5], &[], (0, 1, 0));
        check(&[], &[], (0, 0, 0));
    }

    #[test]
    fn classes_are_counted_as_ec57_says() {
        // [reference, test]; the columns are n s v f q o x.
        let matrix = Matrix {
            cells: [
                [900, 5, 7, 0, 1, 2, 0],
                [10, 30, 3, 0, 0, 1, 0],
                [4, 2, 80, 0, 0, 3, 1],
                [6, 1, 9, 0, 0, 0, 0],
                [2, 4, 5, 0, 0, 0, 0],
                [8, 1, 2, 0, 0, 0, 0],
                [3, 9, 9, 0, 0, 0, 0],
            ],
            shutdown_seconds: 0.0,
        };
        let veb = matrix.veb();
        assert_eq!((veb.tp, veb.fn_, veb.fp), (80, 10, 7 + 3 + 2));
        assert_eq!(veb.tn, 900 + 5 + 1 + 10 + 30 + 6 + 1 + 2 + 4);
        assert_eq!(veb.se(), Some(100.0 * 80.0 / 90.0));
        let sveb = matrix.sveb();
        assert_eq!((sveb.tp, sveb.fn_, sveb.fp), (30, 14, 5 + 2 + 1 + 1));
        assert_eq!(sveb.tn, 900 + 7 + 1 + 4 + 80 + 6 + 9 + 2 + 5);
        assert_eq!(ClassCounts::default().fpr(), None);
    }

    #[test]
    fn the_learning_period_does_not_count() {
        let reference = labels(&[100, 299_950, 300_050, 400_000]);
        let test = labels(&[200, 299_990, 300_010, 500_000]);
        let counts = compare_from(300.0, &reference, &test);
        assert_eq!((counts.tp, counts.fn_, counts.fp), (1, 1, 1));
        // A pair across the border counts where its reference beat is.
        let late = compare_from(300.0, &labels(&[300_010]), &labels(&[299_990]));
        assert_eq!((late.tp, late.fn_, late.fp), (1, 0, 0));
        let early = compare_from(300.0, &labels(&[299_990]), &labels(&[300_010]));
        assert_eq!((early.tp, early.fn_, early.fp), (0, 0, 0));
    }

    #[test]
    fn flutter_and_unreadable_signals_are_kept_apart() {
        let at = |at, symbol| {
            Annotation::new(
                SampleIndex(at),
                AnnotationCode::from_symbol(symbol).unwrap(),
            )
        };
        let quality = |when, subtype| Annotation {
            subtype,
            ..at(when, '~')
        };
        let reference = Labels::from_annotations(&[
            at(1000, 'N'),
            at(1500, '['),
            at(1700, '!'),
            at(1900, 'V'),
            at(2500, ']'),
            at(3000, 'V'),
            quality(4000, -1),
            quality(5000, 0),
            at(6000, 'A'),
            at(7000, '/'),
            at(8000, '+'),
        ]);
        assert_eq!(reference.beats.len(), 5);
        let test = Labels::from_annotations(&[
            at(1000, 'N'),
            at(2000, 'N'),
            at(3000, 'V'),
            at(4500, 'N'),
            at(5500, 'N'),
            quality(5800, -1),
        ]);
        let config = Config {
            start: 0.0,
            ..Config::default()
        };
        let matrix = compare(&reference, &test, rate(), SampleIndex(10_000), &config);
        let mut expected = Matrix {
            shutdown_seconds: 4.2,
            ..Matrix::default()
        };
        expected.cells[0][0] = 1; // N at 1000
        expected.cells[2][2] = 1; // V at 3000
        expected.cells[UNREADABLE][0] = 1; // 4500
        expected.cells[UNPAIRED][0] = 1; // 5500
        expected.cells[1][UNREADABLE] = 1; // A at 6000
        expected.cells[4][UNREADABLE] = 1; // paced at 7000
        assert_eq!(matrix, expected);
        let counts = matrix.qrs();
        assert_eq!((counts.tp, counts.fn_, counts.fp), (2, 2, 1));
        assert_eq!(
            (counts.missed_in_shutdown, counts.extra_in_unreadable),
            (2, 1)
        );
        assert_eq!(
            (counts.se(), counts.ppv()),
            (Some(50.0), Some(100.0 * 2.0 / 3.0))
        );
        assert_eq!(Counts::default().se(), None);
    }

    proptest! {
        #[test]
        fn each_beat_is_counted_once(
            reference in prop::collection::btree_set(0u64..3000, 0..20),
            test in prop::collection::btree_set(0u64..3000, 0..20),
        ) {
            let (reference, test): (Vec<u64>, Vec<u64>) = (reference.into_iter().collect(), test.into_iter().collect());
            let counts = compare_from(0.0, &labels(&reference), &labels(&test));
            prop_assert_eq!(counts.tp + counts.fn_, reference.len() as u64);
            prop_assert_eq!(counts.tp + counts.fp, test.len() as u64);
            let back = compare_from(0.0, &labels(&test), &labels(&reference));
            prop_assert_eq!(back.tp, counts.tp);
        }

        #[test]
        fn beats_a_refractory_period_apart_are_paired_as_often_as_possible(
            steps in prop::collection::vec((301u64..900, -150i64..=150, any::<bool>(), any::<bool>()), 0..30),
        ) {
            // Beats over two windows apart have only one partner to choose from.
            let (mut reference, mut test, mut pairs, mut at) = (vec![], vec![], 0, 1000);
            for (step, off, has_beat, has_mark) in steps {
                at += step + 150;
                if has_beat { reference.push(at); }
                if has_mark { test.push(at.checked_add_signed(off).unwrap()); }
                pairs += u64::from(has_beat && has_mark);
            }
            prop_assert_eq!(compare_from(0.0, &labels(&reference), &labels(&test)).tp, pairs);
        }
    }
}
