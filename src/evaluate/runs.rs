//! Run-by-run comparison of a test annotator with a reference, by the rules of EC57: were the couplets and runs
//! of ventricular ectopic beats found, and were those that were found there?
//!
//! * A run is a series of beats of class V or F without another beat between; where an annotator says that it
//!   cannot read the signal, a run ends. More than five beats are a long run, three to five a short one, two a couplet.
//! * Ventricular flutter and fibrillation (`[` to `]`) is a long run.
//! * For sensitivity, each run of the reference is held against the longest run that the test annotator has in
//!   the same time, from 150 ms before its first to 150 ms after its last beat; for positive predictivity, the
//!   other way round. Only beats in that time count.
//! * A couplet is found if it meets two beats or more, a short run if it meets three or more, a long run
//!   if it meets a long run. Run against run, the number of beats does not have to be the same.
//! * The first five minutes do not count, nor do beats in them.
//!
//! Reference: ANSI/AAMI EC57, run-by-run comparison.

use std::ops::{AddAssign, Range, RangeInclusive};

use ecg::{BeatClass, SampleIndex, SampleRate};

use super::ec57::{Config, Labels, percent};

/// Longer runs count as of this length.
const LONGEST: usize = 6;

/// How runs of one annotator met those of the other: `[reference length, test length]`, 0 to 5 and more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Runs {
    /// The runs of the reference.
    pub sensitivity: [[u64; LONGEST + 1]; LONGEST + 1],
    /// The runs of the test annotator.
    pub predictivity: [[u64; LONGEST + 1]; LONGEST + 1],
}

/// How runs of some lengths were found, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunCounts {
    /// Runs of the reference that were found.
    pub found: u64,
    /// Those that were missed.
    pub missed: u64,
    /// Runs of the test annotator that are there.
    pub right: u64,
    /// Those that are not.
    pub wrong: u64,
}

impl RunCounts {
    /// Sensitivity Se, percent; `None` where there was no run to find.
    pub fn se(&self) -> Option<f64> {
        percent(self.found, self.found + self.missed)
    }

    /// Positive predictivity +P, percent; `None` where none was found.
    pub fn ppv(&self) -> Option<f64> {
        percent(self.right, self.right + self.wrong)
    }
}

impl Runs {
    /// Two beats.
    pub fn couplets(&self) -> RunCounts {
        self.of(2..=2)
    }

    /// Three to five.
    pub fn short(&self) -> RunCounts {
        self.of(3..=5)
    }

    /// More.
    pub fn long(&self) -> RunCounts {
        self.of(LONGEST..=LONGEST)
    }

    /// Runs of these lengths, each of which must meet one of at least the shortest.
    fn of(&self, lengths: RangeInclusive<usize>) -> RunCounts {
        let enough = *lengths.start();
        let mut counts = RunCounts::default();
        for own in lengths {
            let met = |matrix: &[[u64; LONGEST + 1]; LONGEST + 1], reference: bool| {
                let cell = |other: usize| {
                    if reference {
                        matrix[own][other]
                    } else {
                        matrix[other][own]
                    }
                };
                let below: u64 = (0..enough).map(cell).sum();
                let above: u64 = (enough..=LONGEST).map(cell).sum();
                (above, below)
            };
            let (found, missed) = met(&self.sensitivity, true);
            let (right, wrong) = met(&self.predictivity, false);
            counts.found += found;
            counts.missed += missed;
            counts.right += right;
            counts.wrong += wrong;
        }
        counts
    }
}

impl AddAssign for Runs {
    fn add_assign(&mut self, other: Self) {
        let add = |sum: &mut [[u64; LONGEST + 1]; LONGEST + 1],
                   more: &[[u64; LONGEST + 1]; LONGEST + 1]| {
            for (sum, more) in sum.iter_mut().flatten().zip(more.iter().flatten()) {
                *sum += more;
            }
        };
        add(&mut self.sensitivity, &other.sensitivity);
        add(&mut self.predictivity, &other.predictivity);
    }
}

/// Compares the ventricular runs of `test` with those of `reference` on a record that ends at `end`.
pub fn compare(
    reference: &Labels,
    test: &Labels,
    rate: SampleRate,
    end: SampleIndex,
    config: &Config,
) -> Runs {
    let start = SampleIndex(rate.count(config.start).0);
    let window = rate.count(config.match_window);
    let (reference, test) = (Series::of(reference), Series::of(test));
    let mut runs = Runs::default();
    let around = |run: &Run| run.first.before(window)..run.last.after(window);
    for run in reference.runs(start, end) {
        runs.sensitivity[run.n][test.longest(&around(&run))] += 1;
    }
    for run in test.runs(start, end) {
        runs.predictivity[reference.longest(&around(&run))][run.n] += 1;
    }
    runs
}

/// What an annotator says, as far as it matters for runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    FlutterEnd,
    /// A beat of another kind, or nothing can be read from here on.
    Other,
    Ectopic,
    FlutterStart,
}

/// Some beats in a row.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: SampleIndex,
    last: SampleIndex,
    n: usize,
}

/// What an annotator says, in order.
struct Series<'a> {
    marks: Vec<(SampleIndex, Mark)>,
    flutter: &'a [Range<SampleIndex>],
}

impl<'a> Series<'a> {
    fn of(labels: &'a Labels) -> Self {
        let beats = labels.beats.iter().map(|beat| {
            let ectopic = matches!(beat.class, Some(BeatClass::V | BeatClass::F));
            let mark = if ectopic { Mark::Ectopic } else { Mark::Other };
            (beat.r_peak, mark)
        });
        let unreadable = labels
            .unreadable
            .iter()
            .map(|span| (span.start, Mark::Other));
        let flutter = labels.flutter.iter();
        let flutter = flutter.flat_map(|span| {
            [
                (span.start, Mark::FlutterStart),
                (span.end, Mark::FlutterEnd),
            ]
        });
        let mut marks: Vec<_> = beats.chain(unreadable).chain(flutter).collect();
        marks.sort_unstable();
        Self {
            marks,
            flutter: &labels.flutter,
        }
    }

    /// The runs from `start` to before `end`.
    fn runs(&self, start: SampleIndex, end: SampleIndex) -> Vec<Run> {
        let mut runs = Vec::new();
        let flutters = |at: SampleIndex| self.flutter.iter().any(|span| span.contains(&at));
        let long = |at| Run {
            first: at,
            last: at,
            n: LONGEST,
        };
        let mut run = flutters(start).then(|| long(start));
        let from = self.marks.partition_point(|(at, _)| *at < start);
        let to = self.marks.partition_point(|(at, _)| *at < end);
        for &(at, mark) in &self.marks[from.min(to)..to] {
            match (mark, &mut run) {
                (Mark::Ectopic, Some(run)) => {
                    run.n = (run.n + 1).min(LONGEST);
                    run.last = at;
                }
                (Mark::Ectopic, None) => run = Some(Run { n: 1, ..long(at) }),
                (Mark::FlutterStart, Some(run)) => {
                    run.n = LONGEST;
                    run.last = at;
                }
                (Mark::FlutterStart, None) => run = Some(long(at)),
                (Mark::FlutterEnd, Some(run)) => run.last = at,
                (Mark::FlutterEnd, None) => {}
                (Mark::Other, _) => runs.extend(run.take()),
            }
        }
        if let Some(mut run) = run {
            if flutters(end) {
                run.last = end;
            }
            runs.push(run);
        }
        runs
    }

    /// The length of the longest run in `span`, its end included, counting only beats in it.
    fn longest(&self, span: &Range<SampleIndex>) -> usize {
        let overlaps = |f: &Range<SampleIndex>| f.start <= span.end && f.end > span.start;
        if self.flutter.iter().any(overlaps) {
            return LONGEST;
        }
        let from = self.marks.partition_point(|(at, _)| *at < span.start);
        let within = self.marks[from..].iter();
        let within = within.take_while(|(at, _)| *at <= span.end);
        let (mut longest, mut n) = (0, 0);
        for (_, mark) in within {
            n = if *mark == Mark::Ectopic { n + 1 } else { 0 };
            longest = longest.max(n);
        }
        longest.min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::annotation::{Annotation, AnnotationCode};
    use proptest::prelude::*;

    /// Annotations half a second apart, one a letter; a space is nothing, `~` the start of what cannot be
    /// read and `=` its end.
    fn labels(letters: &str) -> Labels {
        let annotation = |(n, letter): (u64, char)| {
            let (symbol, subtype) = match letter {
                ' ' => return None,
                '~' => ('~', -1),
                '=' => ('~', 0),
                _ => (letter, 0),
            };
            Some(Annotation {
                subtype,
                ..Annotation::new(SampleIndex(500 * n), AnnotationCode::from_symbol(symbol)?)
            })
        };
        let list: Vec<_> = (0..).zip(letters.chars()).filter_map(annotation).collect();
        Labels::from_annotations(&list)
    }

    fn compare_from(start: f64, reference: &str, test: &str) -> Runs {
        let rate = SampleRate::new(1000.0).unwrap();
        let end = SampleIndex(500 * reference.chars().count() as u64);
        let config = Config {
            start,
            ..Config::default()
        };
        compare(&labels(reference), &labels(test), rate, end, &config)
    }

    /// Cells that are not zero: reference length, test length, count.
    fn cells(matrix: &[[u64; 7]; 7]) -> Vec<(usize, usize, u64)> {
        let cells = matrix
            .iter()
            .enumerate()
            .flat_map(|(r, row)| row.iter().enumerate().map(move |(t, count)| (r, t, *count)));
        cells.filter(|(_, _, count)| *count > 0).collect()
    }

    fn check(
        reference: &str,
        test: &str,
        sensitivity: &[(usize, usize, u64)],
        predictivity: &[(usize, usize, u64)],
    ) {
        let runs = compare_from(0.0, reference, test);
        assert_eq!(cells(&runs.sensitivity), sensitivity, "{reference} {test}");
        assert_eq!(
            cells(&runs.predictivity),
            predictivity,
            "{reference} {test}"
        );
    }

    #[test]
    fn runs_meet_the_longest_run_in_their_time() {
        check("NVVN", "NVVN", &[(2, 2, 1)], &[(2, 2, 1)]);
        check("NVVN", "NNVN", &[(2, 1, 1)], &[(1, 1, 1)]);
        check("NVVN", "NNNN", &[(2, 0, 1)], &[]);
        check("NNNN", "VNVV", &[], &[(0, 1, 1), (0, 2, 1)]);
        check("NVVVVVVVN", "NVVVVVVVN", &[(6, 6, 1)], &[(6, 6, 1)]);
        // Two parts of a run: the longer one counts, and both are there.
        check(
            "NVVVVVVN",
            "NVVNVVVN",
            &[(6, 3, 1)],
            &[(2, 2, 1), (3, 3, 1)],
        );
        // Only what is within the time of the other counts.
        check("NVVNNN", "VVVVVV", &[(2, 2, 1)], &[(2, 6, 1)]);
        check("NFVSVN", "NVVVVN", &[(1, 1, 1), (2, 2, 1)], &[(2, 4, 1)]);
        check("NVQVN", "NV VN", &[(1, 1, 2)], &[(1, 2, 1)]);
        check("", "", &[], &[]);
    }

    #[test]
    fn flutter_is_a_long_run_and_shutdown_ends_one() {
        check(
            "NV[!!]VN",
            "NVNVNNVN",
            &[(6, 1, 1)],
            &[(1, 1, 2), (6, 1, 1)],
        );
        check("N[!!]NN", "NVVVNNN", &[(6, 3, 1)], &[(6, 3, 1)]);
        check("NN[!!!!", "NNNNVVN", &[(6, 2, 1)], &[(6, 2, 1)]);
        check("NVVVVN", "NVV~VVN", &[(4, 2, 1)], &[(1, 2, 1), (2, 2, 1)]);
    }

    #[test]
    fn the_learning_period_does_not_count() {
        let runs = compare_from(1.0, "VVVVNVVN", "VVVVNVVN");
        assert_eq!(cells(&runs.sensitivity), [(2, 2, 2)]);
        let late = compare_from(1.0, "[!!!]NVVN", "VVVVVNVVN");
        assert_eq!(cells(&late.sensitivity), [(2, 2, 1), (6, 3, 1)]);
    }

    #[test]
    fn counts_by_length() {
        let mut runs = compare_from(
            0.0,
            "NVVN VVNN VVVN VVVVVVVN VVN VVVN",
            "NVVN NVVV NVVN VVVVVVVN VVV NVVV",
        );
        let couplets = runs.couplets();
        assert_eq!((couplets.found, couplets.missed), (2, 1));
        let short = runs.short();
        assert_eq!((short.found, short.missed), (0, 2));
        assert_eq!((short.right, short.wrong), (0, 3));
        assert_eq!(runs.long().se(), Some(100.0));
        assert_eq!(couplets.se(), Some(200.0 / 3.0));
        assert_eq!(Runs::default().couplets().ppv(), None);
        runs += runs;
        assert_eq!((runs.long().right, runs.couplets().found), (2, 4));
    }

    fn letters() -> impl Strategy<Value = String> {
        let letter = prop::sample::select(vec![
            'N', 'V', 'V', 'V', 'F', 'S', 'Q', ' ', '~', '=', '[', ']',
        ]);
        prop::collection::vec(letter, 0..60).prop_map(|letters| letters.into_iter().collect())
    }

    proptest! {
        #[test]
        fn turned_round_the_matrices_change_places(reference in letters(), test in letters()) {
            // Of the same length, for the record ends with the reference.
            let n = reference.chars().count().min(test.chars().count());
            let cut = |letters: &str| letters.chars().take(n).collect::<String>();
            let (reference, test) = (cut(&reference), cut(&test));
            let there = compare_from(0.0, &reference, &test);
            let back = compare_from(0.0, &test, &reference);
            for r in 0..=LONGEST {
                for t in 0..=LONGEST {
                    prop_assert_eq!(there.sensitivity[r][t], back.predictivity[t][r]);
                }
            }
            // A run has all of itself in its time.
            let own = compare_from(0.0, &reference, &reference);
            let met_itself = (0..=LONGEST).all(|r| (0..r).all(|t| own.sensitivity[r][t] == 0));
            prop_assert!(met_itself, "{:?}", own);
        }
    }
}
