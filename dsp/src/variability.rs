//! Pulse rate variability: that of the intervals from pulse to pulse, over stretches of minutes.
//!
//! It is **not heart rate variability**. A pulse comes later after a beat that fills the heart less, by milliseconds that breath
//! and position move, and where it rises most steeply, which intervals are measured between, is known to some milliseconds. A beat that moves
//! no blood has no pulse. So the names here are those of pulses (PP), and values of the two are not to be mixed.
//!
//! Not a stage of the chain: five minutes are longer than anything there may remember. [`Variability`] takes the pulses of
//! a record as they come, and is complete five minutes after a start; [`stretches`] takes those of a whole record. **The same
//! pulses give the same measures**, however they came.
//!
//! An interval is compared with the median of those around it, five to either side, as in [`crate::hrv`]. One is
//! used if it is 300 to 2000 ms long and within 20 % of that median. Of the others, in this order:
//!
//! 1. **Missed**: it is as long as two or three usual ones, within 20 %: a pulse between was not seen, or not felt.
//! 2. **Extra**: it and the one after it are as long as one usual interval together: the pulse between them is none.
//! 3. **Premature**: it is shorter than usual; the one after it, its pause, is left out as well, however long.
//! 4. **Odd**: anything else.
//!
//! Nothing reaches across a [`Gap`]. With fewer than 30 intervals, or where those that are used fill less than 60 % of the time,
//! nothing is said: in atrial fibrillation few of them are alike.
//!
//! References: Task Force of the ESC and NASPE, Circulation 93, 1996 (the measures); Schäfer & Vagedes, Int J Cardiol
//! 166, 2013, doi:10.1016/j.ijcard.2012.03.119 (how far pulse and heart rate variability agree).

use std::collections::VecDeque;

use ecg::{Gap, Pulse, SampleIndex, SampleRate};

use crate::hrv::{STRETCH_SECONDS, deviation, differences, mean, median};

/// Pulse intervals, ms.
const PP_MS: (f64, f64) = (300.0, 2000.0);
/// How far an interval may be from the median around it, and how many to either side that is of.
const SPREAD: f64 = 0.2;
const AROUND: usize = 5;
/// With fewer intervals nothing is said.
const FEWEST: usize = 30;
/// With a smaller share of the time in them nothing is said.
const LEAST_SHARE: f64 = 0.6;
/// Pulses that are remembered at most: four a second.
const MOST: usize = 1200;

/// The variability of one stretch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measures {
    /// How long the stretch is, seconds.
    pub seconds: f64,
    /// The share of it that the intervals fill which are used, 0.6 to 1.
    pub used: f64,
    /// Its pulses.
    pub n_pulses: usize,
    /// The intervals that are used.
    pub n_pp: usize,
    /// Premature pulses, left out with their pauses.
    pub n_premature: usize,
    /// Intervals in which pulses were missed.
    pub n_missed: usize,
    /// Pulses that are none.
    pub n_extra: usize,
    /// Other intervals that were left out.
    pub n_odd: usize,
    /// Mean of the intervals, ms.
    pub mean_pp_ms: f64,
    /// Their standard deviation (of a sample), ms.
    pub sdpp_ms: f64,
    /// Root mean square of the differences of intervals that share a pulse, ms.
    pub rmssd_ms: Option<f64>,
    /// Share of these differences beyond 50 ms, percent.
    pub ppp50_percent: Option<f64>,
}

/// What an interval between pulses is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// One like those around it.
    Used,
    /// Between its ends pulses were missed.
    Missed,
    /// It ends, or begins, with a pulse that is none.
    Extra,
    /// It ends with a premature pulse.
    Premature,
    /// It follows one.
    Pause,
    /// Something else, or it reaches across a gap.
    Odd,
}

/// What each of these intervals is taken for; milliseconds, `None` for one that reaches across a gap.
pub(crate) fn marks(intervals: &[Option<f64>]) -> Vec<Mark> {
    let usual = |k: usize| {
        let around = &intervals[k.saturating_sub(AROUND)..intervals.len().min(k + AROUND + 1)];
        median(&around.iter().filter_map(|ms| *ms).collect::<Vec<_>>())
    };
    let alike = |ms: f64, usual: f64| (ms - usual).abs() <= SPREAD * usual;
    let mut marks = Vec::with_capacity(intervals.len());
    while let Some(interval) = intervals.get(marks.len()) {
        let k = marks.len();
        let Some(ms) = *interval else {
            marks.push(Mark::Odd);
            continue;
        };
        let usual = usual(k);
        let after = intervals.get(k + 1).copied().flatten();
        if alike(ms, usual) {
            let plausible = (PP_MS.0..=PP_MS.1).contains(&ms);
            marks.push(if plausible { Mark::Used } else { Mark::Odd });
        } else if alike(ms / 2.0, usual) || alike(ms / 3.0, usual) {
            marks.push(Mark::Missed);
        } else if ms < usual && after.is_some_and(|after| alike(ms + after, usual)) {
            marks.extend([Mark::Extra, Mark::Extra]);
        } else if ms < usual {
            marks.push(Mark::Premature);
            marks.extend(after.map(|_| Mark::Pause));
        } else {
            marks.push(Mark::Odd);
        }
    }
    marks
}

/// What is kept of a pulse.
#[derive(Debug, Clone, Copy)]
struct Heard {
    onset: SampleIndex,
    /// Samples.
    steepest: f64,
    /// Whether nothing is missing between it and the one before.
    joined: bool,
}

/// The pulses of the last five minutes of a record.
#[derive(Debug)]
pub struct Variability {
    rate: SampleRate,
    pulses: VecDeque<Heard>,
    since: SampleIndex,
    joined: bool,
}

impl Variability {
    /// For a record that begins, or goes on, at `since`; positions at `rate`.
    pub fn new(since: SampleIndex, rate: SampleRate) -> Self {
        Self {
            rate,
            pulses: VecDeque::new(),
            since,
            joined: false,
        }
    }

    /// Takes the next pulse.
    pub fn pulse(&mut self, pulse: &Pulse) {
        self.pulses.push_back(Heard {
            onset: pulse.onset,
            steepest: pulse.steepest,
            joined: self.joined,
        });
        self.joined = true;
        let from = pulse.onset.before(self.rate.count(STRETCH_SECONDS));
        while self.pulses.len() > MOST
            || self.pulses.front().is_some_and(|first| first.onset < from)
        {
            self.pulses.pop_front();
        }
    }

    /// The next interval is none: pulses between could not be seen.
    pub fn interrupt(&mut self) {
        self.joined = false;
    }

    /// The measures of the five minutes before `at`, all pulses before which have come; of less after a start.
    pub fn measures(&self, at: SampleIndex) -> Option<Measures> {
        let from = at.before(self.rate.count(STRETCH_SECONDS)).max(self.since);
        let first = self.pulses.partition_point(|pulse| pulse.onset < from);
        let last = self.pulses.partition_point(|pulse| pulse.onset < at);
        let pulses: Vec<_> = self.pulses.range(first..last.max(first)).copied().collect();
        measures(&pulses, self.rate.seconds(at.since(from)), self.rate)
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.pulses.capacity() * size_of::<Heard>()
    }
}

/// The measures of every stretch of five minutes that enough is known of, with its start; the stretches begin at multiples of
/// their length. The last one goes as far as `end`.
///
/// `pulses` and `gaps` are in order, positions at `rate`.
pub fn stretches(
    pulses: &[Pulse],
    gaps: &[Gap],
    end: SampleIndex,
    rate: SampleRate,
) -> Vec<(SampleIndex, Measures)> {
    let length = rate.count(STRETCH_SECONDS);
    let stretch = |pulse: &Pulse| pulse.onset.0 / length.0.max(1);
    let whole = |from: SampleIndex, to: SampleIndex| {
        let after = gaps.partition_point(|gap| gap.end <= from);
        gaps.get(after).is_none_or(|gap| gap.start >= to)
    };
    pulses
        .chunk_by(|a, b| stretch(a) == stretch(b))
        .filter_map(|pulses| {
            let start = SampleIndex(stretch(pulses.first()?) * length.0);
            let until = start.after(length).min(end);
            let mut before = None;
            let joined = |pulse: &Pulse| {
                let before = before.replace(pulse.onset);
                let joined = before.is_some_and(|before| whole(before, pulse.onset));
                Heard {
                    onset: pulse.onset,
                    steepest: pulse.steepest,
                    joined,
                }
            };
            let pulses: Vec<_> = pulses.iter().map(joined).collect();
            let seconds = rate.seconds(until.since(start));
            Some((start, measures(&pulses, seconds, rate)?))
        })
        .collect()
}

/// Of pulses in a stretch of so many seconds.
fn measures(pulses: &[Heard], seconds: f64, rate: SampleRate) -> Option<Measures> {
    let interval = |pair: &[Heard]| {
        let samples = pair[1].steepest - pair[0].steepest;
        pair[1].joined.then(|| 1e3 * samples / rate.hz())
    };
    let intervals: Vec<Option<f64>> = pulses.windows(2).map(interval).collect();
    let marks = marks(&intervals);
    let mut used = Vec::with_capacity(intervals.len());
    let mut follows = false;
    for (interval, mark) in intervals.iter().zip(&marks) {
        let ms = interval.filter(|_| *mark == Mark::Used);
        used.extend(ms.map(|ms| (ms, follows)));
        follows = ms.is_some();
    }
    let values: Vec<f64> = used.iter().map(|(ms, _)| *ms).collect();
    let share = values.iter().sum::<f64>() / (1e3 * seconds).max(1.0);
    if values.len() < FEWEST || share < LEAST_SHARE {
        return None;
    }
    let count = |mark| marks.iter().filter(|one| **one == mark).count();
    let (rmssd_ms, ppp50_percent) = differences(used.iter().copied());
    Some(Measures {
        seconds,
        used: share.min(1.0),
        n_pulses: pulses.len(),
        n_pp: values.len(),
        n_premature: count(Mark::Premature),
        n_missed: count(Mark::Missed),
        n_extra: count(Mark::Extra) / 2,
        n_odd: count(Mark::Odd),
        mean_pp_ms: mean(&values),
        sdpp_ms: deviation(&values),
        rmssd_ms,
        ppp50_percent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: f64 = 1000.0;

    fn rate() -> SampleRate {
        SampleRate::new(HZ).unwrap()
    }

    /// Where pulses are with these intervals, ms, the first at 1 s.
    fn onsets(intervals: impl IntoIterator<Item = u64>) -> Vec<SampleIndex> {
        let mut all = vec![SampleIndex(1000)];
        for ms in intervals {
            all.push(SampleIndex(all[all.len() - 1].0 + ms));
        }
        all
    }

    /// The measures after the last of these pulses, of a record that begins at 1 s.
    fn after(onsets: &[SampleIndex]) -> Option<Measures> {
        let mut variability = Variability::new(SampleIndex(1000), rate());
        for at in onsets {
            variability.pulse(&pulse(*at));
        }
        variability.measures(SampleIndex(onsets.last()?.0 + 1))
    }

    #[test]
    fn turns_of_two_intervals_have_the_values_of_paper() {
        // 780 and 840 ms by turns: mean 810, every difference 60.
        let found = after(&onsets((0..100).map(|k| 780 + 60 * (k % 2)))).unwrap();
        assert_eq!((found.n_pp, found.n_pulses), (100, 101));
        assert!((found.mean_pp_ms - 810.0).abs() < 1e-9, "{found:?}");
        let sdpp = 30.0 * (100f64 / 99.0).sqrt();
        assert!((found.sdpp_ms - sdpp).abs() < 1e-9, "{found:?}");
        assert!((found.rmssd_ms.unwrap() - 60.0).abs() < 1e-9);
        assert_eq!(found.ppp50_percent, Some(100.0));
        assert!(found.used > 0.999 && (found.seconds - 81.001).abs() < 1e-9);
    }

    #[test]
    fn what_is_no_interval_between_neighbours_is_left_out_and_named() {
        let mut list = vec![800; 60];
        // A premature pulse with its pause, one missed, one too many.
        (list[10], list[11]) = (520, 1050);
        list[25] = 1600;
        (list[40], list[41]) = (260, 540);
        // A premature one whose pause is as long as any other.
        list[50] = 600;
        let found = after(&onsets(list)).unwrap();
        assert_eq!(
            (
                found.n_premature,
                found.n_missed,
                found.n_extra,
                found.n_odd
            ),
            (2, 1, 1, 0)
        );
        assert_eq!(found.n_pp, 60 - 7);
        assert_eq!((found.sdpp_ms, found.rmssd_ms), (0.0, Some(0.0)));
    }

    #[test]
    fn too_little_time_says_nothing() {
        assert_eq!(after(&onsets([800; 29])), None);
        assert!(after(&onsets([800; 30])).is_some());
        // Intervals without any order, as in fibrillation.
        let disorder = (0..200u64).map(|k| 400 + k * k * 37 % 900);
        assert_eq!(after(&onsets(disorder)), None);
        // A minute of pulses, then as long without any as takes them under 60 %.
        let pulses = onsets([800; 75]);
        let mut variability = Variability::new(SampleIndex(1000), rate());
        for at in &pulses {
            variability.pulse(&pulse(*at));
        }
        assert!(variability.measures(SampleIndex(100_000)).is_some());
        assert_eq!(variability.measures(SampleIndex(102_000)), None);
        assert_eq!(
            Variability::new(SampleIndex(0), rate()).measures(SampleIndex(0)),
            None
        );
    }

    #[test]
    fn nothing_reaches_across_a_gap() {
        let pulses = onsets([800; 60]);
        let mut variability = Variability::new(SampleIndex(1000), rate());
        for (k, at) in pulses.iter().enumerate() {
            if k == 30 {
                variability.interrupt();
            }
            variability.pulse(&pulse(*at));
        }
        let found = variability.measures(*pulses.last().unwrap()).unwrap();
        assert_eq!((found.n_pp, found.n_odd), (58, 1));
    }

    #[test]
    fn the_last_five_minutes_are_what_the_stretch_of_them_is() {
        // Ten minutes, slower and slower, a gap in the seventh.
        let pulses = onsets((0..780).map(|k| 700 + k / 4 + 20 * (k % 3)));
        let gap = Gap {
            start: SampleIndex(400_000),
            end: SampleIndex(402_000),
        };
        let all: Vec<Pulse> = pulses
            .iter()
            .filter(|at| **at < gap.start || **at >= gap.end)
            .map(|at| pulse(*at))
            .collect();
        let offline = stretches(&all, &[gap], SampleIndex(650_000), rate());
        assert_eq!(offline.len(), 3, "{offline:?}");
        let mut variability = Variability::new(SampleIndex(0), rate());
        let mut live = Vec::new();
        let mut due = 300_000;
        for pulse in &all {
            if pulse.onset.0 >= due {
                live.extend(variability.measures(SampleIndex(due)));
                due += 300_000;
            }
            if pulse.onset >= gap.end {
                // Once is enough, as often as it is said.
                if variability.pulses.back().unwrap().onset < gap.start {
                    variability.interrupt();
                }
            }
            variability.pulse(pulse);
            assert!(variability.pulses.len() <= MOST);
        }
        let offline: Vec<Measures> = offline.into_iter().map(|(_, measures)| measures).collect();
        assert_eq!(live, offline[..2]);
        assert!((offline[2].seconds - 50.0).abs() < 1e-9);
    }

    fn pulse(onset: SampleIndex) -> Pulse {
        Pulse {
            onset,
            steepest: onset.0 as f64 + 60.5,
            peak: onset.after(ecg::SampleCount(150)),
            level: 0.0,
            amplitude: 1.0,
        }
    }
}
