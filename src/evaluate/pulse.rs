//! Pulses against the ECG beside them: each record of a folder with a PPG and an ECG is streamed through the chain of the
//! service.
//!
//! **The reference** is the beats that the chain finds in the ECG, in the seconds in which an ECG lead scores
//! [`ECG_SCORE`] or more, as in the seconds before and after, and in which two leads, where there are two, find the very same beats by
//! themselves for [`CONFIRMED_SECONDS`] before and after (Behar et al., IEEE Transactions on Biomedical Engineering 60, 2013). Blood takes its time: beats are shifted by the record's median
//! time from a beat to its pulse. A pulse is right if its onset is within [`TOLERANCE_SECONDS`] of a beat that is not another
//! pulse's, as in Charlton et al., Physiological Measurement 43, 2022, doi:10.1088/1361-6579/ac826d.
//!
//! Counted twice: wherever the ECG is good, and gated, where the PPG is usable as well. A beat that moves no blood counts as
//! missed; nobody can tell it from one that was overlooked.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dsp::pulse::Model;
use dsp::{Chain, Models, Output};
use ecg::{Layout, SampleIndex, SampleRate, SignalKind};
use serde_json::{Value, json};

use super::ec57::{Counts, percent};
use super::report::Excluded;
use super::{name_of, play, playable, player, score_all, weights};
use crate::record::{self, Player};

/// What an ECG lead scores in a second whose beats are the reference.
pub const ECG_SCORE: f32 = 0.8;
/// How long before and after the middle of a second leads must agree.
pub const CONFIRMED_SECONDS: f64 = 3.0;
/// How far an onset may be from where it is due.
pub const TOLERANCE_SECONDS: f64 = 0.15;
/// Rates are compared over so many seconds.
pub const RATE_SECONDS: u64 = 10;
/// Beats of good ECG that a record must have to be scored.
pub(super) const LEAST_BEATS: usize = 20;
/// Where the pulse of a beat is looked for: seconds after it.
pub(super) const TRANSIT_SECONDS: (f64, f64) = (-0.2, 1.0);

/// What is scored how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Weights in place of those that ship: a file, or a folder with `RECORD.bin` for each record.
    pub weights: Option<PathBuf>,
    /// Put what was compared into the report.
    pub lists: bool,
}

/// How one record came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// From a beat to its pulse, median, seconds.
    pub transit_seconds: f64,
    /// Wherever the ECG is good.
    pub all: Counts,
    /// Where the PPG is usable as well.
    pub gated: Counts,
    /// Seconds in which the ECG is good.
    pub seconds: usize,
    /// Those of them in which the PPG is usable.
    pub usable_seconds: usize,
    /// The rate by pulses less that by beats, per minute, of each window of [`RATE_SECONDS`] that is good and usable throughout.
    pub rate_errors: Vec<f64>,
    /// What was compared.
    pub lists: Lists,
}

/// What was compared, seconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lists {
    /// Where pulses are due.
    pub due: Vec<f64>,
    /// The onsets that were found.
    pub onsets: Vec<f64>,
    /// The seconds in which the ECG is good.
    pub good: Vec<u64>,
    /// The seconds in which the PPG is usable.
    pub usable: Vec<u64>,
}

/// How every record of a folder came out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// By record.
    pub per_record: Vec<(String, Score)>,
    /// The records left out.
    pub excluded: Vec<Excluded>,
    /// Whether the JSON has what was compared.
    pub lists: bool,
}

/// Scores every record of `dir`.
///
/// # Errors
/// A folder that cannot be read.
pub fn run(dir: &Path, config: &dsp::Config, options: &Options) -> Result<Report, record::Error> {
    let records = record::records_in(dir)?;
    let mut report = Report {
        lists: options.lists,
        ..Report::default()
    };
    for (record, score) in score_all(&records, |path| score(path, config, options)) {
        match score {
            Ok(score) => report.per_record.push((record, score)),
            Err(reason) => report.excluded.push(Excluded { record, reason }),
        }
    }
    Ok(report)
}

/// What the chain says of a record, seconds.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) beats: Vec<f64>,
    pub(super) onsets: Vec<f64>,
    /// By second: whether an ECG lead is good, and others confirm its beats.
    good: Vec<bool>,
    /// By second: whether a PPG is usable.
    usable: Vec<bool>,
}

fn score(path: &Path, config: &dsp::Config, options: &Options) -> Result<Score, String> {
    let weights = options.weights.as_deref();
    hear(path, config, weights, |_, _| {})?.score()
}

/// What the chain says of a record with a PPG and an ECG; `also` is told everything that it says of both together, with their
/// layout.
pub(super) fn hear(
    path: &Path,
    config: &dsp::Config,
    own: Option<&Path>,
    mut also: impl FnMut(&Layout, &Output),
) -> Result<Heard, String> {
    let mut models = Models::default();
    if let Some(file) = own {
        let model = Model::new(&weights(file, &name_of(path))?);
        let failed = |error| format!("{}: {error}", file.display());
        models.pulse = Arc::new(model.map_err(failed)?);
    }
    // The arterial pressure would be listened to in place of the PPG.
    let ppg = playable(path, |kind| matches!(kind, SignalKind::Ppg(_)))?;
    let ecg = playable(path, |kind| kind.lead().is_some())?;
    if ppg.is_empty() {
        return Err("no PPG".into());
    }
    if ecg.is_empty() {
        return Err("no ECG".into());
    }
    let both = player(path, &[&ecg[..], &ppg].concat())?;
    let mut heard = Heard::of(both, config, &models, &mut also)?;
    // What a lead says by itself is what another can confirm.
    let alone: Vec<Vec<f64>> = match ecg.len() {
        1 => Vec::new(),
        _ => (ecg.iter())
            .map(|lead| {
                let lead = player(path, std::slice::from_ref(lead))?;
                Heard::of(lead, config, &models, |_, _| {}).map(|heard| heard.beats)
            })
            .collect::<Result<_, _>>()?,
    };
    heard.confirm(&alone);
    Ok(heard)
}

impl Heard {
    fn of(
        player: Player,
        config: &dsp::Config,
        models: &Models,
        mut also: impl FnMut(&Layout, &Output),
    ) -> Result<Self, String> {
        let layout = player.layout().clone();
        let rate = layout.base_rate();
        let chain = Chain::with_models(&layout, config, models);
        let mut chain = chain.map_err(|error| error.to_string())?;
        let mut heard = Self::default();
        play(
            player,
            &mut chain,
            |_| {},
            |output| {
                heard.take(&output, rate);
                also(&layout, &output);
            },
        )?;
        Ok(heard)
    }

    pub(super) fn take(&mut self, output: &Output, rate: SampleRate) {
        let seconds = |at: SampleIndex| at.0 as f64 / rate.hz();
        match output {
            Output::Beat(beat) => self.beats.push(seconds(beat.r_peak)),
            Output::Pulse(pulse) => self.onsets.push(seconds(pulse.onset)),
            Output::Quality(quality) => {
                let second = second_of(seconds(quality.start));
                match quality.signal {
                    SignalKind::Ecg(_) => {
                        *at(&mut self.good, second) |=
                            quality.usable() && quality.score >= ECG_SCORE;
                    }
                    SignalKind::Ppg(_) => *at(&mut self.usable, second) |= quality.usable(),
                    SignalKind::Abp | SignalKind::Acceleration(_) => {}
                }
            }
            _ => {}
        }
    }

    /// Leaves of the good seconds those around which two leads found the very same beats by themselves.
    fn confirm(&mut self, alone: &[Vec<f64>]) {
        if alone.is_empty() {
            return;
        }
        let within = |times: &[f64], from: f64, to: f64| {
            let start = times.partition_point(|t| *t < from);
            times[start..times.partition_point(|t| *t < to)].to_vec()
        };
        for (second, good) in self.good.iter_mut().enumerate() {
            let middle = second as f64 + 0.5;
            let (from, to) = (middle - CONFIRMED_SECONDS, middle + CONFIRMED_SECONDS);
            let own = within(&self.beats, from, to);
            let agrees = |lead: &&Vec<f64>| {
                // A beat at the edge of one list may be beyond that of the other.
                let wide = within(lead, from - TOLERANCE_SECONDS, to + TOLERANCE_SECONDS);
                let near = |beats: &[f64], t: f64| {
                    beats
                        .iter()
                        .any(|beat| (beat - t).abs() <= TOLERANCE_SECONDS)
                };
                let inner = |t: &&f64| (from..to).contains(*t);
                own.iter().all(|t| near(&wide, *t))
                    && wide.iter().filter(inner).all(|t| near(&self.beats, *t))
            };
            *good &= alone.iter().filter(agrees).count() >= 2;
        }
    }

    /// Whether beats of a second are the reference.
    pub(super) fn is_good(&self, second: usize) -> bool {
        let good = |second: usize| self.good.get(second) == Some(&true);
        second > 0 && (second - 1..=second + 1).all(good)
    }

    /// Whether the PPG is usable in a second.
    pub(super) fn is_usable(&self, second: usize) -> bool {
        self.usable.get(second) == Some(&true)
    }

    fn score(&self) -> Result<Score, String> {
        let good = |t: f64| self.is_good(second_of(t));
        let reference: Vec<f64> = self.beats.iter().copied().filter(|t| good(*t)).collect();
        if reference.len() < LEAST_BEATS {
            return Err(format!(
                "{} beats of good ECG, where {LEAST_BEATS} are needed",
                reference.len()
            ));
        }
        let transit = transit(&reference, &self.onsets, TRANSIT_SECONDS);
        let transit = transit.ok_or("no pulse after any beat")?;
        let due: Vec<f64> = self.beats.iter().map(|t| t + transit).collect();
        // Where a pulse is due, the ECG is good if it was when the blood set out.
        let in_good = |t: f64| good(t - transit);
        let in_gate = |t: f64| in_good(t) && self.is_usable(second_of(t));
        let n = self.good.len();
        let seconds = (0..n).filter(|second| self.is_good(*second));
        Ok(Score {
            transit_seconds: transit,
            all: count(&due, &self.onsets, TOLERANCE_SECONDS, in_good),
            gated: count(&due, &self.onsets, TOLERANCE_SECONDS, in_gate),
            seconds: seconds.clone().count(),
            usable_seconds: seconds.filter(|second| self.is_usable(*second)).count(),
            rate_errors: self.rate_errors(&due, n),
            lists: Lists {
                good: (0..n)
                    .filter(|s| self.is_good(*s))
                    .map(|s| s as u64)
                    .collect(),
                usable: (0..n)
                    .filter(|s| self.is_usable(*s))
                    .map(|s| s as u64)
                    .collect(),
                onsets: self.onsets.clone(),
                due,
            },
        })
    }

    fn rate_errors(&self, due: &[f64], n_seconds: usize) -> Vec<f64> {
        let length = usize::try_from(RATE_SECONDS).unwrap_or(usize::MAX);
        let mut errors = Vec::new();
        let mut first = 0;
        while first + length <= n_seconds {
            let fits = |second: usize| self.is_good(second) && self.is_usable(second);
            if let Some(bad) = (first..first + length).rfind(|second| !fits(*second)) {
                first = bad + 1;
                continue;
            }
            let (from, to) = (first as f64, (first + length) as f64);
            if let Some((pulses, beats)) = rate(&self.onsets, from, to).zip(rate(due, from, to)) {
                errors.push(pulses - beats);
            }
            first += length;
        }
        errors
    }
}

/// The second that holds a time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times are small and not negative; others saturate"
)]
pub(super) fn second_of(t: f64) -> usize {
    t as usize
}

/// The place of a second in what is told by second.
fn at<T: Default + Clone>(list: &mut Vec<T>, second: usize) -> &mut T {
    if list.len() <= second {
        list.resize(second + 1, T::default());
    }
    &mut list[second]
}

/// The mean rate per minute of what lies from `from` to before `to`.
fn rate(times: &[f64], from: f64, to: f64) -> Option<f64> {
    let within: Vec<f64> = times
        .iter()
        .copied()
        .filter(|t| (from..to).contains(t))
        .collect();
    let (first, last) = (within.first()?, within.last()?);
    (within.len() > 2).then(|| 60.0 * (within.len() - 1) as f64 / (last - first))
}

/// The median time from a beat to its pulse, looked for in a span: of the differences near the most frequent one.
pub(super) fn transit(beats: &[f64], onsets: &[f64], (least, most): (f64, f64)) -> Option<f64> {
    let mut apart = Vec::new();
    for beat in beats {
        let from = onsets.partition_point(|onset| *onset < beat + least);
        let near = onsets[from..]
            .iter()
            .take_while(|onset| **onset <= beat + most);
        apart.extend(near.map(|onset| onset - beat));
    }
    apart.sort_unstable_by(f64::total_cmp);
    // The window of twice the tolerance with the most of them, the first of equals.
    let count = |from: f64| {
        let end = apart.partition_point(|t| *t <= from + 2.0 * TOLERANCE_SECONDS);
        end - apart.partition_point(|t| *t < from)
    };
    let from = apart.iter().copied().reduce(|best, from| {
        if count(from) > count(best) {
            from
        } else {
            best
        }
    })?;
    let start = apart.partition_point(|t| *t < from);
    Some(apart[start + (count(from) - 1) / 2])
}

/// Pairs each onset with the nearest time at which one is due, and counts what lies where `part` is true.
pub(super) fn count(
    due: &[f64],
    onsets: &[f64],
    tolerance: f64,
    part: impl Fn(f64) -> bool,
) -> Counts {
    let (mut met, mut right) = (vec![false; due.len()], vec![false; onsets.len()]);
    for (k, j) in pairs(due, onsets, tolerance) {
        (met[k], right[j]) = (true, true);
    }
    let of = |times: &[f64], flags: &[bool], wanted: bool| {
        let times = times.iter().zip(flags);
        times
            .filter(|(t, flag)| **flag == wanted && part(**t))
            .count() as u64
    };
    Counts {
        tp: of(due, &met, true),
        fn_: of(due, &met, false),
        fp: of(onsets, &right, false),
        ..Counts::default()
    }
}

/// The pairs of times that are due and onsets, each in one at most, nearest first.
pub(super) fn pairs(due: &[f64], onsets: &[f64], tolerance: f64) -> Vec<(usize, usize)> {
    let mut near = Vec::new();
    for (k, time) in due.iter().enumerate() {
        let from = onsets.partition_point(|onset| *onset < time - tolerance);
        for (j, onset) in onsets.iter().enumerate().skip(from) {
            if *onset > time + tolerance {
                break;
            }
            near.push(((onset - time).abs(), k, j));
        }
    }
    near.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let (mut met, mut right) = (vec![false; due.len()], vec![false; onsets.len()]);
    let mut pairs = Vec::new();
    for (_, k, j) in near {
        if !met[k] && !right[j] {
            (met[k], right[j]) = (true, true);
            pairs.push((k, j));
        }
    }
    pairs
}

impl Report {
    fn sum(&self, of: fn(&Score) -> Counts) -> Counts {
        let mut sum = Counts::default();
        for (_, score) in &self.per_record {
            sum += of(score);
        }
        sum
    }

    /// The share of the seconds of good ECG in which the PPG is usable, percent.
    pub fn usable(&self) -> Option<f64> {
        let sum = |of: fn(&Score) -> usize| self.per_record.iter().map(|(_, s)| of(s) as u64).sum();
        percent(
            sum(|score| score.usable_seconds),
            sum(|score| score.seconds),
        )
    }

    /// The errors of rates without their signs, per minute, smallest first.
    fn rate_errors(&self) -> Vec<f64> {
        let errors = self
            .per_record
            .iter()
            .flat_map(|(_, score)| &score.rate_errors);
        let mut errors: Vec<f64> = errors.map(|error| error.abs()).collect();
        errors.sort_unstable_by(f64::total_cmp);
        errors
    }

    /// The report as one line of JSON: `{"task", "records", "gross", "gated", "usable", "rate", "per_record", "excluded"}`, shares in
    /// percent.
    pub fn to_json(&self) -> String {
        let errors = self.rate_errors();
        let per_record = self.per_record.iter().map(|(record, score)| {
            let mut line = json!({
                "record": record,
                "transit_ms": (1000.0 * score.transit_seconds).round(),
                "gross": counts(score.all), "gated": counts(score.gated),
                "seconds": score.seconds, "usable_seconds": score.usable_seconds,
            });
            if self.lists {
                let lists = &score.lists;
                line["due"] = json!(lists.due);
                line["onsets"] = json!(lists.onsets);
                line["good"] = json!(lists.good);
                line["usable"] = json!(lists.usable);
            }
            line
        });
        json!({
            "task": "pulse",
            "records": self.per_record.len(),
            "gross": counts(self.sum(|score| score.all)),
            "gated": counts(self.sum(|score| score.gated)),
            "usable": self.usable(),
            "rate": {
                "windows": errors.len(),
                "median_bpm": share_below(&errors, 0.5),
                "p95_bpm": share_below(&errors, 0.95),
            },
            "per_record": per_record.collect::<Vec<Value>>(),
            "excluded": self.excluded,
        })
        .to_string()
    }
}

fn counts(counts: Counts) -> Value {
    json!({
        "tp": counts.tp, "fn": counts.fn_, "fp": counts.fp,
        "se": counts.se(), "ppv": counts.ppv(), "f1": counts.f1(),
    })
}

/// The value under which a share of sorted `values` lies.
pub(super) fn share_below(values: &[f64], share: f64) -> Option<f64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let place = (share * values.len().saturating_sub(1) as f64).round() as usize;
    values.get(place).copied()
}

impl fmt::Display for Report {
    /// The table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = |value: Option<f64>| value.map_or_else(|| "-".into(), |x| format!("{x:.2}"));
        writeln!(f, "{:<12} {:>8} {:>8} {:>8}", "", "Se", "+P", "F1")?;
        for (name, counts) in [
            ("all", self.sum(|score| score.all)),
            ("usable", self.sum(|score| score.gated)),
        ] {
            let (se, ppv, f1) = (
                column(counts.se()),
                column(counts.ppv()),
                column(counts.f1()),
            );
            writeln!(f, "{name:<12} {se:>8} {ppv:>8} {f1:>8}")?;
        }
        let errors = self.rate_errors();
        writeln!(
            f,
            "{} records, {} left out; usable {} % of the time; rate off by {} (median) and {} (95 %) a minute in {} windows",
            self.per_record.len(),
            self.excluded.len(),
            column(self.usable()),
            column(share_below(&errors, 0.5)),
            column(share_below(&errors, 0.95)),
            errors.len(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lost: &[usize], extra: &[f64]) -> Heard {
        let beats: Vec<f64> = (0..60).map(|k| 0.3 + 0.8 * f64::from(k)).collect();
        let kept = beats.iter().enumerate().filter(|(k, _)| !lost.contains(k));
        let mut onsets: Vec<f64> = kept
            .map(|(_, t)| t + 0.23)
            .chain(extra.iter().copied())
            .collect();
        onsets.sort_by(f64::total_cmp);
        Heard {
            beats,
            onsets,
            good: vec![true; 49],
            usable: (0..49).map(|second| second < 40).collect(),
        }
    }

    #[test]
    fn pulses_are_due_a_transit_time_after_beats() {
        let score = heard(&[], &[]).score().unwrap();
        assert!((score.transit_seconds - 0.23).abs() < 1e-9);
        assert_eq!((score.all.fn_, score.all.fp), (0, 0));
        assert_eq!(score.seconds, 47);
        assert_eq!(score.usable_seconds, 39);
        assert!(score.rate_errors.iter().all(|error| error.abs() < 1e-9));
        assert_eq!(score.rate_errors.len(), 3);
    }

    #[test]
    fn the_gate_leaves_out_what_is_not_usable() {
        // Beats 10 and 55 have no pulse (8.5 s, 44.5 s); a pulse too many at 20.9 and at 42.0 s.
        let score = heard(&[10, 55], &[20.9, 42.0]).score().unwrap();
        assert_eq!((score.all.fn_, score.all.fp), (2, 2));
        assert_eq!((score.gated.fn_, score.gated.fp), (1, 1));
        assert!(score.gated.tp < score.all.tp);
    }

    #[test]
    fn leads_that_disagree_are_no_reference() {
        let mut doubtful = heard(&[], &[]);
        let (same, mut other) = (doubtful.beats.clone(), doubtful.beats.clone());
        other.push(20.9);
        other.sort_by(f64::total_cmp);
        doubtful.confirm(&[same, other]);
        let good: Vec<usize> = (0..49).filter(|second| !doubtful.good[*second]).collect();
        assert_eq!(good, [18, 19, 20, 21, 22, 23]);
    }

    #[test]
    fn a_record_without_reference_is_left_out() {
        let mut silent = heard(&[], &[]);
        silent.good.fill(false);
        assert!(silent.score().unwrap_err().contains("0 beats"));
        let mut dark = heard(&[], &[]);
        dark.onsets.clear();
        assert_eq!(dark.score().unwrap_err(), "no pulse after any beat");
    }
}
