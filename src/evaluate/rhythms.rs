//! Rhythm marks against those of a reference: how much of the time and how many of the episodes of a rhythm are
//! marked, and how much of what is marked is there.
//!
//! * A rhythm lasts from its mark (`+`) to the next one, or to the end of the record.
//! * An episode is found if a mark of the same rhythm overlaps it; a marked one is there if an episode of the
//!   reference overlaps it. Time is counted where both say the same.
//! * The first five minutes do not count: episodes are cut there.
//!
//! After the statistics of EC57 for atrial fibrillation (duration and episode sensitivity and positive
//! predictivity), for rhythms that EC57 does not score. The reference puts a mark somewhere before the
//! first beat of the rhythm, ours stands right before its R peak, so that some time of short
//! episodes is lost.

use std::ops::{AddAssign, Range};

use dsp::ectopy::Rhythm;
use ecg::{SampleCount, SampleIndex, SampleRate};

use super::ec57::percent;
use crate::record::annotation::{Annotation, AnnotationCode};

/// How one rhythm was marked, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Marked {
    /// Episodes of the reference, and those of them that were found.
    pub episodes: (u64, u64),
    /// Episodes that were marked, and those of them that are there.
    pub marked: (u64, u64),
    /// Seconds of the reference.
    pub seconds: f64,
    /// Seconds marked.
    pub marked_seconds: f64,
    /// Seconds that both have.
    pub common_seconds: f64,
}

impl Marked {
    /// The spans of a rhythm that were `marked` against its `episodes` in the reference.
    pub fn of(
        episodes: &[Range<SampleIndex>],
        marked: &[Range<SampleIndex>],
        rate: SampleRate,
    ) -> Self {
        let seconds = |spans: &[Range<SampleIndex>]| {
            let samples = spans.iter().map(|span| span.end.since(span.start).0);
            rate.seconds(SampleCount(samples.sum()))
        };
        let met = |spans: &[Range<SampleIndex>], by: &[Range<SampleIndex>]| {
            let met = |span: &&Range<SampleIndex>| by.iter().any(|b| !both(span, b).is_empty());
            (spans.len() as u64, spans.iter().filter(met).count() as u64)
        };
        Self {
            episodes: met(episodes, marked),
            marked: met(marked, episodes),
            seconds: seconds(episodes),
            marked_seconds: seconds(marked),
            common_seconds: seconds(&common(episodes, marked)),
        }
    }

    /// Share of the episodes that were found, percent; `None` where there are none.
    pub fn se(&self) -> Option<f64> {
        percent(self.episodes.1, self.episodes.0)
    }

    /// Share of the marked episodes that are there, percent; `None` where none is marked.
    pub fn ppv(&self) -> Option<f64> {
        percent(self.marked.1, self.marked.0)
    }

    /// Share of the time that was found, percent.
    pub fn duration_se(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| 100.0 * self.common_seconds / self.seconds)
    }

    /// Share of the marked time that is there, percent.
    pub fn duration_ppv(&self) -> Option<f64> {
        (self.marked_seconds > 0.0).then(|| 100.0 * self.common_seconds / self.marked_seconds)
    }
}

impl AddAssign for Marked {
    fn add_assign(&mut self, other: Self) {
        self.episodes.0 += other.episodes.0;
        self.episodes.1 += other.episodes.1;
        self.marked.0 += other.marked.0;
        self.marked.1 += other.marked.1;
        self.seconds += other.seconds;
        self.marked_seconds += other.marked_seconds;
        self.common_seconds += other.common_seconds;
    }
}

/// Each rhythm of [`Rhythm::ALL`] in the marks of `test` against those of `reference`, from `start` to `end`.
pub fn compare(
    reference: &[Annotation],
    test: &[Annotation],
    rate: SampleRate,
    (start, end): (SampleIndex, SampleIndex),
) -> [Marked; Rhythm::ALL.len()] {
    Rhythm::ALL.map(|rhythm| {
        let of = |marks| spans(marks, rhythm.code(), start, end);
        Marked::of(&of(reference), &of(test), rate)
    })
}

/// Where the rhythm of a code (`AFIB`, `B`) is marked, as far as it is between `start` and `end`.
pub fn spans(
    annotations: &[Annotation],
    code: &str,
    start: SampleIndex,
    end: SampleIndex,
) -> Vec<Range<SampleIndex>> {
    let of_rhythm = |a: &&Annotation| a.code == AnnotationCode::RHYTHM;
    let marks: Vec<&Annotation> = annotations.iter().filter(of_rhythm).collect();
    let until = marks.iter().skip(1).map(|mark| mark.at).chain([end]);
    let wanted = |mark: &Annotation| mark.aux.strip_prefix('(') == Some(code);
    let spans = marks.iter().zip(until).filter(|(mark, _)| wanted(mark));
    spans
        .map(|(mark, until)| both(&(mark.at..until), &(start..end)))
        .filter(|span| !span.is_empty())
        .collect()
}

/// What is in both.
pub fn common(a: &[Range<SampleIndex>], b: &[Range<SampleIndex>]) -> Vec<Range<SampleIndex>> {
    let all = a.iter().flat_map(|a| b.iter().map(|b| both(a, b)));
    all.filter(|span| !span.is_empty()).collect()
}

fn both(a: &Range<SampleIndex>, b: &Range<SampleIndex>) -> Range<SampleIndex> {
    a.start.max(b.start)..a.end.min(b.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(list: &[(u64, &str)]) -> Vec<Annotation> {
        let mark = |&(at, aux): &(u64, &str)| Annotation {
            aux: aux.into(),
            ..Annotation::new(SampleIndex(at), AnnotationCode::RHYTHM)
        };
        list.iter().map(mark).collect()
    }

    #[test]
    fn episodes_and_time() {
        let reference = marks(&[
            (0, "(N"),
            (1000, "(B"),
            (3000, "(N"),
            (5000, "(B"),
            (6000, "(VT"),
            (7000, "(N"),
            (9000, "(AB"),
        ]);
        let test = marks(&[
            (0, "(N"),
            (2000, "(B"),
            (4000, "(N"),
            (7500, "(VT"),
            (8000, "(N"),
        ]);
        let rate = SampleRate::new(1000.0).unwrap();
        let span = (SampleIndex(500), SampleIndex(10_000));
        let found = compare(&reference, &test, rate, span);
        let of = |rhythm| found[Rhythm::ALL.iter().position(|r| *r == rhythm).unwrap()];
        let bigeminy = of(Rhythm::VentricularBigeminy);
        assert_eq!((bigeminy.episodes, bigeminy.marked), ((2, 1), (1, 1)));
        assert_eq!((bigeminy.se(), bigeminy.ppv()), (Some(50.0), Some(100.0)));
        assert_eq!(bigeminy.duration_se(), Some(100.0 / 3.0));
        assert_eq!(bigeminy.duration_ppv(), Some(50.0));
        let tachycardia = of(Rhythm::VentricularTachycardia);
        assert_eq!(
            (tachycardia.se(), tachycardia.ppv()),
            (Some(0.0), Some(0.0))
        );
        let atrial = of(Rhythm::AtrialBigeminy);
        assert_eq!((atrial.episodes, atrial.seconds), ((1, 0), 1.0));
        assert_eq!(atrial.duration_ppv(), None);
        // Cut where counting begins; nothing after the end.
        let late = (SampleIndex(2500), SampleIndex(4500));
        let [_, _, _, bigeminy, ..] = compare(&reference, &test, rate, late);
        let times = (bigeminy.seconds, bigeminy.common_seconds);
        assert_eq!((times, bigeminy.marked_seconds), ((0.5, 0.5), 1.5));
    }
}
