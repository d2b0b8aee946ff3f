//! Rate, its source, its evenness, pauses and the PR interval.

use ecg::Value;

use super::conduction::Qrs;
use super::view::{Seen, View, mean, variation};
use super::{Draft, Limits, above, below, labels, peaks, plain};
use crate::numbers::{median, median_deviation};

/// Fewer intervals tell no rhythm.
const MIN_INTERVALS: usize = 3;
/// Sinus arrhythmia needs so many, as the longest and the shortest are left out.
const MIN_UNEVEN: usize = 6;
/// RR intervals of a sinus rhythm vary no more than this, standard deviation over mean.
const MAX_SINUS_CV: f32 = 0.2;
/// PR intervals of a sinus rhythm are off their median by no more than this in half of the beats, ms.
const MAX_PR_DEVIATION_MS: f32 = 25.0;

/// The rhythm of some beats.
#[derive(Debug)]
pub(super) struct Rhythm<'a> {
    /// Those whose interval counts.
    beats: Vec<Seen<'a>>,
    rr: Vec<f32>,
    rr_ms: f32,
    mean_rr_ms: f32,
    n_measured: usize,
    n_p: usize,
    pr: Vec<f32>,
}

impl<'a> Rhythm<'a> {
    /// The rhythm of the intervals between normal beats; of all intervals where those are the smaller part.
    pub(super) fn own(view: &View<'a>) -> Option<Self> {
        let all = view.beats.iter().filter(|beat| beat.rr_ms.is_some());
        let all: Vec<_> = all.copied().collect();
        let nn: Vec<_> = all.iter().filter(|beat| beat.nn).copied().collect();
        let beats = if nn.len() >= MIN_INTERVALS && 2 * nn.len() >= all.len() {
            nn
        } else {
            all
        };
        Self::of(beats)
    }

    fn of(beats: Vec<Seen<'a>>) -> Option<Self> {
        let rr: Vec<f32> = beats.iter().filter_map(|beat| beat.rr_ms).collect();
        if rr.len() < MIN_INTERVALS {
            return None;
        }
        let measured = || beats.iter().filter_map(|beat| beat.measured);
        let pr = measured().filter_map(|measured| measured.values.intervals.pr_ms);
        Some(Self {
            rr_ms: median(rr.iter().copied())?,
            mean_rr_ms: mean(&rr)?,
            n_measured: measured().count(),
            n_p: measured().filter(|measured| measured.p.is_some()).count(),
            pr: pr.filter(|pr| pr.is_finite()).collect(),
            rr,
            beats,
        })
    }

    fn rate_bpm(&self) -> f32 {
        60_000.0 / self.rr_ms
    }

    fn mean_rate_bpm(&self) -> f32 {
        60_000.0 / self.mean_rr_ms
    }

    fn p_share(&self) -> f32 {
        self.n_p as f32 / self.n_measured.max(1) as f32
    }

    /// Whether the sinus node sets it: a P wave before most beats, at a steady distance, and no wild intervals.
    pub(super) fn sinus(&self, limits: &Limits) -> bool {
        self.beats.iter().all(|beat| beat.nn)
            && self.n_measured >= MIN_INTERVALS
            && self.p_share() >= limits.p_share
            && median_deviation(&self.pr).is_some_and(|off| off <= MAX_PR_DEVIATION_MS)
            && variation(&self.rr).is_some_and(|cv| cv <= MAX_SINUS_CV)
    }

    /// Too slow or too fast, by the median interval and by all of them: pairs of early beats do not make it fast, nor
    /// do a few pauses make it slow.
    pub(super) fn rate(&self, view: &View<'a>, limits: &Limits) -> Option<Draft> {
        let (rate, mean_rate) = (self.rate_bpm(), self.mean_rate_bpm());
        let sinus = self.sinus(limits);
        let beyond = |limit: fn(&'static str, f32, &'static str, f32) -> Value, bpm: f32| {
            let values = [("rate_bpm", rate), ("mean_rate_bpm", mean_rate)];
            values.map(|(name, value)| limit(name, value, "/min", bpm))
        };
        let (label, beyond) = if rate.max(mean_rate) < limits.bradycardia_bpm {
            let label = if sinus {
                labels::SINUS_BRADYCARDIA
            } else {
                labels::BRADYCARDIA
            };
            (label, beyond(below, limits.bradycardia_bpm))
        } else if rate.min(mean_rate) > limits.tachycardia_bpm {
            let label = if sinus {
                labels::SINUS_TACHYCARDIA
            } else {
                labels::TACHYCARDIA
            };
            (label, beyond(above, limits.tachycardia_bpm))
        } else {
            return None;
        };
        let mut values = Vec::from(beyond);
        values.push(plain("rr_ms", self.rr_ms, "ms"));
        values.extend(self.regularity());
        Some(Draft {
            label,
            text: format!(
                "{rate:.0}/min (median RR {:.0} ms of {}), {}",
                self.rr_ms,
                self.rr.len(),
                self.p_words()
            ),
            values,
            beats: peaks(&self.beats),
            leads: view.context.leads.clone(),
        })
    }

    /// Uneven, without what a premature beat or a single pause makes of it.
    pub(super) fn arrhythmia(&self, view: &View<'a>, limits: &Limits) -> Option<Draft> {
        let range = range(&self.rr).filter(|range| *range > limits.sinus_arrhythmia_ms)?;
        if self.rr.len() < MIN_UNEVEN {
            return None;
        }
        let mut values = vec![
            above("rr_range_ms", range, "ms", limits.sinus_arrhythmia_ms),
            plain("rr_ms", self.rr_ms, "ms"),
        ];
        values.extend(self.regularity());
        Some(Draft {
            label: labels::SINUS_ARRHYTHMIA,
            text: format!(
                "RR apart by {range:.0} ms around {:.0} ms, {}",
                self.rr_ms,
                self.p_words()
            ),
            values,
            beats: peaks(&self.beats),
            leads: view.context.leads.clone(),
        })
    }

    /// A long PR interval.
    pub(super) fn av_block(&self, view: &View<'a>, limits: &Limits) -> Option<Draft> {
        let pr_ms = median(self.pr.iter().copied()).filter(|pr_ms| *pr_ms > limits.pr_ms)?;
        if self.pr.len() < limits.min_beats {
            return None;
        }
        let mut values = vec![above("pr_ms", pr_ms, "ms", limits.pr_ms)];
        let regularity = self.regularity().into_iter();
        values.extend(regularity.filter(|value| value.name != "pr_ms"));
        Some(Draft {
            label: labels::FIRST_DEGREE_AV_BLOCK,
            text: format!(
                "PR {pr_ms:.0} ms (median of {}), {}",
                self.pr.len(),
                self.p_words()
            ),
            values,
            beats: peaks(&self.beats),
            leads: view.found_on(&self.beats),
        })
    }

    /// Sinus rhythm with what must be known to call it normal.
    pub(super) fn normal(&self, view: &View<'a>, limits: &Limits) -> Option<Draft> {
        let (rate, qrs_ms) = (self.rate_bpm(), Qrs::over(&self.beats)?);
        let pr_ms = median(self.pr.iter().copied())?;
        if self.pr.len() < limits.min_beats {
            return None;
        }
        let mut values = vec![
            plain("rate_bpm", rate, "/min"),
            plain("rr_ms", self.rr_ms, "ms"),
        ];
        values.extend(self.regularity());
        values.push(plain("qrs_ms", qrs_ms, "ms"));
        Some(Draft {
            label: labels::NORMAL_SINUS_RHYTHM,
            text: format!(
                "{rate:.0}/min, {}, PR {pr_ms:.0} ms, QRS {qrs_ms:.0} ms",
                self.p_words()
            ),
            values,
            beats: peaks(&self.beats),
            leads: view.context.leads.clone(),
        })
    }

    /// What tells whether it is regular, and whether atria lead it.
    fn regularity(&self) -> Vec<Value> {
        let cv = variation(&self.rr).map(|cv| plain("rr_cv", cv, ""));
        let p = (self.n_measured > 0).then(|| plain("p_share", self.p_share(), ""));
        let pr = median(self.pr.iter().copied()).map(|pr| plain("pr_ms", pr, "ms"));
        cv.into_iter().chain(p).chain(pr).collect()
    }

    fn p_words(&self) -> String {
        format!(
            "P before {} of {} measured beats",
            self.n_p, self.n_measured
        )
    }
}

/// By how much intervals are apart, the longest and the shortest left out.
fn range(rr: &[f32]) -> Option<f32> {
    let mut sorted = rr.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    let last = sorted.len().checked_sub(2)?;
    Some(sorted.get(last)? - sorted.get(1)?)
}

/// RR intervals that are too long, whatever the beats at their ends.
pub(super) fn pause(view: &View<'_>, limits: &Limits) -> Option<Draft> {
    let longer = |seconds: f32| {
        let beats = view.beats.iter();
        let beats = beats.filter(move |beat| beat.rr_ms.is_some_and(|rr| rr > 1e3 * seconds));
        beats.copied().collect::<Vec<_>>()
    };
    let long = longer(limits.long_pause_seconds);
    let (label, seconds, beats) = if long.is_empty() {
        let pauses = longer(limits.pause_seconds);
        (labels::PAUSE, limits.pause_seconds, pauses)
    } else {
        (labels::LONG_PAUSE, limits.long_pause_seconds, long)
    };
    let longest = beats
        .iter()
        .filter_map(|beat| beat.rr_ms)
        .reduce(f32::max)?;
    let n = beats.len();
    Some(Draft {
        label,
        text: format!(
            "{n} RR {} of more than {seconds:.1} s, the longest {:.2} s",
            if n == 1 { "interval" } else { "intervals" },
            longest / 1e3
        ),
        values: vec![
            above("longest_rr_ms", longest, "ms", 1e3 * seconds),
            above("n_beats", n as f32, "", 0.0),
        ],
        beats: peaks(&beats),
        leads: view.context.leads.clone(),
    })
}
