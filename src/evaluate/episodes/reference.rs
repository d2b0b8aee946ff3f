//! What happened, from annotated or simulated beats and rhythms, by the rules of the table of conditions.

use std::collections::BTreeMap;
use std::ops::Range;

use alarm::{Report, Said};
use dsp::rr::RateCounter;
use ecg::{Beat, BeatClass, Condition, RateSource, SampleIndex, SampleRate};

use super::super::ec57::Labels;
use super::super::rhythms;
use crate::record::annotation::Annotation;
use crate::rhythm::LEAST_EPISODE_SECONDS;
use crate::trends::{Burden, Drift};

/// A limit that an alarm comes this near to is as good as reached: beats a minute, and a share of a pause.
const NEAR_BPM: f32 = 5.0;
const NEAR_PAUSE: f64 = 0.95;
/// Beats of a ventricular tachycardia and of a run, at least.
const TACHYCARDIA: usize = 5;
const RUN: usize = 3;
/// The longest interval of a tachycardia: 100 a minute.
const FAST_SECONDS: f64 = 0.6;
/// Rates farther apart are not consecutive.
const STALE_SECONDS: f64 = 10.0;
/// Fibrillation of the atria that is interrupted for no longer, by beats of the ventricles, goes on.
const INTERRUPTED_SECONDS: f64 = 15.0;

/// What is known of a record; times in seconds of it.
pub(super) struct Facts {
    pub(super) rate: SampleRate,
    /// In order, with classes.
    pub(super) beats: Vec<Beat>,
    /// Ventricular flutter and fibrillation: no beats are to be found there.
    pub(super) vf: Vec<Range<f64>>,
    /// What is called ventricular tachycardia by whoever annotated, however short.
    pub(super) vt: Vec<Range<f64>>,
    /// Atrial fibrillation.
    pub(super) af: Vec<Range<f64>>,
    /// Atrial flutter.
    pub(super) flutter: Vec<Range<f64>>,
    /// Where nothing can be seen: no interval reaches across it.
    pub(super) blind: Vec<Range<f64>>,
}

/// Episodes of one condition.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Spans {
    /// To be found.
    pub(super) there: Vec<Range<f64>>,
    /// An alarm on these is true as well.
    pub(super) also: Vec<Range<f64>>,
    /// An alarm on these is neither true nor false.
    pub(super) aside: Vec<Range<f64>>,
}

/// What happened, by condition; nothing is known of those that are missing.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Reference {
    pub(super) of: BTreeMap<Condition, Spans>,
}

impl Facts {
    /// From the annotations of a record that ends at `end`.
    pub(super) fn annotated(marks: &[Annotation], rate: SampleRate, end: SampleIndex) -> Self {
        let labels = Labels::from_annotations(marks);
        let seconds = |span: &Range<SampleIndex>| {
            let at = |at: SampleIndex| at.min(end).0 as f64 / rate.hz();
            at(span.start)..at(span.end)
        };
        let marked = |code| -> Vec<Range<f64>> {
            let spans = rhythms::spans(marks, code, SampleIndex(0), end);
            spans.iter().map(seconds).collect()
        };
        let mut vf: Vec<_> = labels.flutter.iter().map(seconds).collect();
        vf.extend(marked("VFL"));
        Self {
            rate,
            vf: merged(vf, 0.0),
            vt: marked("VT"),
            af: marked("AFIB"),
            flutter: marked("AFL"),
            blind: labels.unreadable.iter().map(seconds).collect(),
            beats: labels.beats,
        }
    }

    fn at(&self, at: SampleIndex) -> f64 {
        at.0 as f64 / self.rate.hz()
    }

    /// Whether something between two beats was not seen, or was no beat.
    fn broken(&self, from: f64, to: f64) -> bool {
        let mut unseen = self.vf.iter().chain(&self.blind);
        unseen.any(|span| span.start < to && span.end > from)
    }

    /// Beats that follow each other, each series by itself.
    fn series(&self) -> Vec<&[Beat]> {
        let together = |a: &Beat, b: &Beat| !self.broken(self.at(a.r_peak), self.at(b.r_peak));
        self.beats.chunk_by(together).collect()
    }

    /// Intervals of `least` seconds and more.
    fn pauses(&self, least: f64) -> Vec<Range<f64>> {
        let series = self.series().into_iter();
        let intervals = series.flat_map(|series| series.windows(2));
        let spans = intervals.map(|two| self.at(two[0].r_peak)..self.at(two[1].r_peak));
        spans
            .filter(|span| span.end - span.start >= least)
            .collect()
    }

    /// Where each `n` beats are such that their intervals satisfy `is`.
    fn where_beats(&self, n: usize, is: impl Fn(&[f64]) -> bool) -> Vec<Range<f64>> {
        let mut found = Vec::new();
        for series in self.series() {
            let at: Vec<f64> = series.iter().map(|beat| self.at(beat.r_peak)).collect();
            for beats in at.windows(n) {
                let intervals: Vec<f64> = beats.windows(2).map(|two| two[1] - two[0]).collect();
                if is(&intervals) {
                    found.push(beats[0]..beats[n - 1]);
                }
            }
        }
        merged(found, 0.0)
    }

    /// Rates as the service counts them.
    fn rates(&self) -> Vec<ecg::Rate> {
        let mut rates = Vec::new();
        for series in self.series() {
            let mut counter = RateCounter::new(RateSource::Ecg, self.rate);
            rates.extend(series.iter().filter_map(|beat| counter.push(beat.r_peak)));
        }
        rates
    }

    /// Where every rate is beyond a limit, for `least` seconds and more.
    fn beyond(&self, is: impl Fn(f32) -> bool, least: f64) -> Vec<Range<f64>> {
        let rates = self.rates();
        let together = |a: &ecg::Rate, b: &ecg::Rate| {
            is(a.bpm) == is(b.bpm) && self.at(b.at) - self.at(a.at) < STALE_SECONDS
        };
        let runs = rates
            .chunk_by(together)
            .filter(|run| run.first().is_some_and(|first| is(first.bpm)));
        let span = |run: &[ecg::Rate]| {
            let (first, last) = (run.first()?, run.last()?);
            Some(self.at(first.at)..self.at(last.at))
        };
        let spans = runs.filter_map(span);
        spans
            .filter(|span| span.end - span.start >= least)
            .collect()
    }

    /// Ventricular beats in a row, `least` and more, each interval shorter than `longest`.
    fn runs(&self, least: usize, longest: f64) -> Vec<Range<f64>> {
        let mut runs = Vec::new();
        for series in self.series() {
            let is = |beat: &Beat| matches!(beat.class, Some(BeatClass::V | BeatClass::F));
            let together = |a: &Beat, b: &Beat| {
                is(a) == is(b) && (!is(a) || self.at(b.r_peak) - self.at(a.r_peak) < longest)
            };
            for run in series.chunk_by(together) {
                if run.len() >= least && is(&run[0]) {
                    runs.push(self.at(run[0].r_peak)..self.at(run[run.len() - 1].r_peak));
                }
            }
        }
        runs
    }

    /// What is told of beats or rates one by one.
    fn told(&self, reports: impl Iterator<Item = Report>) -> Vec<Range<f64>> {
        let mut spans: Vec<Range<f64>> = Vec::new();
        let mut open: Option<f64> = None;
        let mut last = 0.0;
        for report in reports {
            last = self.at(report.at);
            match report.said {
                Said::Present { .. } => {
                    open.get_or_insert(last);
                }
                Said::Absent { .. } => spans.extend(open.take().map(|start| start..last)),
            }
        }
        spans.extend(open.map(|start| start..last));
        spans
    }
}

impl Reference {
    /// What happened by these facts, with these numbers of alarms.
    pub(super) fn of(facts: &Facts, config: &alarm::Config) -> Self {
        let mut reference = Self::default();
        let mut put = |condition, there, also, aside: &[&[Range<f64>]]| {
            let aside = aside.concat();
            let spans = Spans { there, also, aside };
            reference.of.insert(condition, spans);
        };
        let vf = facts.vf.as_slice();
        for (condition, least) in [
            (Condition::Asystole, config.asystole),
            (Condition::Pause, config.pause),
        ] {
            let least = least.as_secs_f64();
            let nearly = facts.pauses(NEAR_PAUSE * least);
            put(condition, facts.pauses(least), nearly, &[vf]);
        }
        let mut fast = facts.runs(TACHYCARDIA, FAST_SECONDS);
        fast.sort_by(|a, b| a.start.total_cmp(&b.start));
        put(
            Condition::VentricularFibrillation,
            facts.vf.clone(),
            Vec::new(),
            &[&fast],
        );
        put(
            Condition::VentricularTachycardia,
            fast.clone(),
            facts.vt.clone(),
            &[vf],
        );
        put(
            Condition::VentricularRun,
            facts.runs(RUN, f64::INFINITY),
            facts.vt.clone(),
            &[vf],
        );

        let slow = config.extreme_bradycardia;
        // One pause among beats of any rate is none: the median is slow, too.
        let slowly = |bpm: f32| {
            let longest = 60.0 / f64::from(bpm);
            facts.where_beats(usize::from(slow.beats), |intervals| {
                let mean = intervals.iter().sum::<f64>() / intervals.len() as f64;
                let longer = intervals.iter().filter(|interval| **interval > longest);
                mean > longest && 2 * longer.count() > intervals.len()
            })
        };
        put(
            Condition::ExtremeBradycardia,
            slowly(slow.bpm),
            slowly(slow.bpm + NEAR_BPM),
            &[vf],
        );
        let rapid = config.extreme_tachycardia;
        let rapidly = |bpm: f32| {
            let mean = 60.0 / f64::from(bpm);
            facts.where_beats(usize::from(rapid.beats), |intervals| {
                intervals.iter().sum::<f64>() < mean * intervals.len() as f64
            })
        };
        put(
            Condition::ExtremeTachycardia,
            rapidly(rapid.bpm),
            rapidly(rapid.bpm - NEAR_BPM),
            &[vf],
        );
        let ward = config.in_force(config.limits);
        let (low, high) = (ward.low_bpm, ward.high_bpm);
        let delay = config.rate_delay.as_secs_f64();
        put(
            Condition::HighRate,
            facts.beyond(|bpm| bpm > high, delay),
            facts.beyond(|bpm| bpm > high - NEAR_BPM, 0.0),
            &[vf],
        );
        put(
            Condition::LowRate,
            facts.beyond(|bpm| bpm < low, delay),
            facts.beyond(|bpm| bpm < low + NEAR_BPM, 0.0),
            &[vf],
        );
        let fibrillation = merged(facts.af.clone(), INTERRUPTED_SECONDS);
        let long = |span: &&Range<f64>| span.end - span.start >= LEAST_EPISODE_SECONDS;
        put(
            Condition::AtrialFibrillation,
            fibrillation.iter().filter(long).cloned().collect(),
            facts.af.clone(),
            &[&facts.flutter],
        );
        let mut burden = Burden::default();
        let beats = facts.beats.iter().filter_map(|beat| {
            burden.beat(beat.r_peak, beat.class == Some(BeatClass::V), facts.rate)
        });
        let many = facts.told(beats);
        put(Condition::VentricularBurden, many, Vec::new(), &[vf]);
        let mut drift = Drift::default();
        let rates = facts.rates().into_iter();
        let drifts = facts.told(rates.filter_map(|r| drift.rate(r.at, r.bpm, facts.rate)));
        put(Condition::RateTrend, drifts, Vec::new(), &[]);
        reference
    }
}

/// Spans in order; those no further apart than `gap` are one.
pub(super) fn merged(mut spans: Vec<Range<f64>>, gap: f64) -> Vec<Range<f64>> {
    spans.sort_by(|a, b| a.start.total_cmp(&b.start));
    let mut one: Vec<Range<f64>> = Vec::with_capacity(spans.len());
    for span in spans {
        match one.last_mut() {
            Some(last) if span.start - last.end <= gap => last.end = last.end.max(span.end),
            _ => one.push(span),
        }
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::annotation::AnnotationCode;

    fn facts(beats: &[(f64, char)]) -> Facts {
        let rate = SampleRate::new(100.0).unwrap();
        let beat = |&(at, class): &(f64, char)| Beat {
            r_peak: SampleIndex(rate.count(at).0),
            class: class.to_string().parse().ok(),
        };
        Facts {
            rate,
            beats: beats.iter().map(beat).collect(),
            vf: Vec::new(),
            vt: Vec::new(),
            af: Vec::new(),
            flutter: Vec::new(),
            blind: Vec::new(),
        }
    }

    /// Beats at these intervals after one at 1 s.
    fn at(intervals: &[(usize, f64, char)]) -> Vec<(f64, char)> {
        let mut beats = vec![(1.0, 'N')];
        for &(n, interval, class) in intervals {
            for _ in 0..n {
                let (last, _) = beats[beats.len() - 1];
                beats.push((last + interval, class));
            }
        }
        beats
    }

    #[test]
    fn pauses_are_not_counted_across_what_is_no_pause() {
        let mut facts = facts(&[(1.0, 'N'), (2.0, 'N'), (6.5, 'N'), (9.6, 'N'), (15.0, 'N')]);
        facts.vf = vec![10.0..14.0];
        let of = Reference::of(&facts, &alarm::Config::default()).of;
        assert_eq!(of[&Condition::Asystole].there, [2.0..6.5]);
        assert_eq!(of[&Condition::Pause].there, [2.0..6.5, 6.5..9.6]);
        assert_eq!(of[&Condition::Asystole].aside, [10.0..14.0]);
        let fibrillation = &of[&Condition::VentricularFibrillation];
        assert_eq!(fibrillation.there, [10.0..14.0]);
    }

    #[test]
    fn runs_of_ventricular_beats_are_tachycardias_if_fast_and_long() {
        let beats = at(&[
            (3, 0.8, 'N'),
            (4, 0.4, 'V'),
            (3, 0.8, 'N'),
            (6, 0.4, 'V'),
            (3, 0.8, 'N'),
            (6, 0.8, 'V'),
            (2, 0.8, 'N'),
        ]);
        let of = Reference::of(&facts(&beats), &alarm::Config::default()).of;
        assert_eq!(of[&Condition::VentricularRun].there.len(), 3);
        assert_eq!(of[&Condition::VentricularTachycardia].there.len(), 1);
    }

    #[test]
    fn rates_are_beyond_limits_for_long_enough() {
        let beats = at(&[
            (60, 0.8, 'N'),
            (60, 0.4, 'N'),
            (60, 0.8, 'N'),
            (12, 1.6, 'N'),
        ]);
        let of = Reference::of(&facts(&beats), &alarm::Config::default()).of;
        assert_eq!(of[&Condition::HighRate].there.len(), 1);
        assert_eq!(of[&Condition::ExtremeTachycardia].there.len(), 1);
        assert_eq!(of[&Condition::ExtremeBradycardia].there.len(), 1);
        assert_eq!(of[&Condition::LowRate].there.len(), 1);
        assert!(of[&Condition::Asystole].also.is_empty());
    }

    #[test]
    fn fibrillation_goes_on_over_a_short_run_and_flutter_stands_aside() {
        let mark = |at: u64, aux: &str| Annotation {
            aux: aux.to_owned(),
            ..Annotation::new(SampleIndex(at * 100), AnnotationCode::RHYTHM)
        };
        let marks = [
            mark(0, "(N"),
            mark(10, "(AFIB"),
            mark(30, "(VT"),
            mark(34, "(AFIB"),
            mark(50, "(AFL"),
            mark(90, "(AFIB"),
            mark(100, "(N"),
        ];
        let rate = SampleRate::new(100.0).unwrap();
        let facts = Facts::annotated(&marks, rate, SampleIndex(20_000));
        let of = Reference::of(&facts, &alarm::Config::default()).of;
        let af = &of[&Condition::AtrialFibrillation];
        assert_eq!(af.there, [10.0..50.0]);
        assert_eq!((af.also.len(), af.aside.as_slice()), (3, &[50.0..90.0][..]));
        let tachycardia = &of[&Condition::VentricularTachycardia];
        assert_eq!(tachycardia.also, [30.0..34.0]);
    }
}
