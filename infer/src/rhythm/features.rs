//! What the facts of a stretch say about its rhythm, in [`N_FEATURES`] numbers.
//!
//! Irregularity of all RR intervals and of those between normal beats, shares of ectopic beats, P waves and PR,
//! QRS and T, quality. A number that cannot be told is `NaN`. References: sample entropy, Richman and Moorman, Am J
//! Physiol Heart Circ Physiol 278 (2000); prematurity and pauses as relative to the median RR.

use ecg::{Beat, BeatClass, Lead, Quality, SignalKind};

use crate::Context;

/// How many numbers there are.
pub const N_FEATURES: usize = NAMES.len();

/// Intervals longer than this, seconds, tell of beats that were not seen.
const MAX_RR: f64 = 3.0;
/// Intervals are alike if they differ by no more than this share of the median.
const ALIKE: f64 = 0.05;
/// Shorter than this share of the median is premature.
const PREMATURE: f64 = 0.85;
/// Longer than this share of the median is a pause.
const LATE: f64 = 1.15;
/// Irregularity is also looked at over so many intervals at a time.
const RUN: usize = 8;
/// Fewer values have no spread.
const FEW: usize = 4;

/// The name of each number.
pub const NAMES: [&str; 46] = [
    "seconds",
    "usable",
    "quality",
    "beats_per_second",
    "rate",
    "rr_cv",
    "rr_iqr",
    "rr_rmssd",
    "rr_change",
    "rr_pnn50",
    "rr_over_10",
    "rr_over_20",
    "rr_entropy",
    "rr_histogram_entropy",
    "rr_lag1",
    "drr_lag1",
    "rr_turning",
    "rr_shortest",
    "rr_longest",
    "rr_alike",
    "premature",
    "late",
    "premature_then_late",
    "v",
    "s",
    "q",
    "nn",
    "nn_cv",
    "nn_rmssd",
    "nn_change",
    "nn_over_10",
    "nn_entropy",
    "run_least",
    "run_most",
    "halves",
    "p",
    "pr_ms",
    "pr_iqr_ms",
    "p_ms",
    "p_mv",
    "qrs_ms",
    "qrs_iqr_ms",
    "t",
    "qt_ms",
    "measured",
    "r_iqr",
];

/// The numbers of a stretch, in the order of [`NAMES`]; quality is that of `lead`.
pub fn features(lead: Lead, context: &Context) -> [f32; N_FEATURES] {
    let rate = context.rate;
    let seconds = rate.seconds(context.end.since(context.start));
    let of_lead = |quality: &&Quality| quality.signal == SignalKind::Ecg(lead);
    let quality: Vec<&Quality> = context.quality.iter().filter(of_lead).collect();
    let beats = &context.beats;
    let n_beats = beats.len() as f64;

    let mut values = Vec::with_capacity(N_FEATURES);
    values.push(seconds);
    values.push(share(quality.iter().map(|second| second.usable())));
    let scores: Vec<f64> = quality.iter().map(|q| f64::from(q.score)).collect();
    values.push(mean(&scores));
    values.push(if seconds > 0.0 {
        n_beats / seconds
    } else {
        f64::NAN
    });

    // Runs of intervals that follow each other: all, and those between normal beats.
    let rr_runs = runs(beats, rate, |_| true);
    let nn_runs = runs(beats, rate, |pair| pair.iter().all(is_normal));
    let rr: Vec<f64> = rr_runs.concat();
    let middle = median(&rr);
    values.push(60.0 / middle);
    values.extend(irregularity(&rr_runs, middle));
    values.push(histogram_entropy(&rr, middle));
    values.push(autocorrelation(&rr));
    let steps: Vec<f64> = rr.windows(2).map(|pair| pair[1] - pair[0]).collect();
    values.push(autocorrelation(&steps));
    values.push(share(steps.windows(2).map(|pair| pair[0] * pair[1] < 0.0)));
    values.push(rr.iter().copied().fold(f64::NAN, f64::min) / middle);
    values.push(rr.iter().copied().fold(f64::NAN, f64::max) / middle);
    values.push(share(rr.iter().map(|rr| (rr / middle - 1.0).abs() < ALIKE)));
    let premature = |rr: &f64| *rr < PREMATURE * middle;
    let late = |rr: &f64| *rr > LATE * middle;
    values.push(share(rr.iter().map(premature)));
    values.push(share(rr.iter().map(late)));
    values.push(share(
        rr.windows(2)
            .map(|pair| premature(&pair[0]) && pair[1] > middle),
    ));
    for class in [BeatClass::V, BeatClass::S, BeatClass::Q] {
        values.push(share(beats.iter().map(|beat| beat.class == Some(class))));
    }
    let nn: Vec<f64> = nn_runs.concat();
    values.push(if rr.is_empty() {
        f64::NAN
    } else {
        nn.len() as f64 / rr.len() as f64
    });
    let [cv, _, rmssd, change, _, over_10, _, entropy] = irregularity(&nn_runs, median(&nn));
    values.extend([cv, rmssd, change, over_10, entropy]);

    let of_run = |run: &[f64]| median(&run.iter().map(|step| step.abs()).collect::<Vec<_>>());
    let changes: Vec<f64> = steps.chunks_exact(RUN).map(of_run).collect();
    values.push(changes.iter().copied().fold(f64::NAN, f64::min) / middle);
    values.push(changes.iter().copied().fold(f64::NAN, f64::max) / middle);
    let (first, second) = rr.split_at(rr.len() / 2);
    values.push((median(second) / median(first)).ln());
    values.extend(waves(context));
    values.push(amplitude_spread(context));

    let mut numbers = [f32::NAN; N_FEATURES];
    for (number, value) in numbers.iter_mut().zip(values) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what is beyond f32 is no number"
        )]
        let value = value as f32;
        *number = if value.is_finite() { value } else { f32::NAN };
    }
    numbers
}

/// Of the measured beats: P, PR, its spread, length and height of P, QRS, its spread, T, QT; then the share of beats that
/// are measured.
fn waves(context: &Context) -> [f64; 10] {
    let all = &context.measurements;
    let ms = |wave: &ecg::Wave| (wave.offset - wave.onset) * 1000.0 / context.rate.hz();
    let p: Vec<f64> = all.iter().filter_map(|m| m.p.as_ref().map(ms)).collect();
    let of = |value: fn(&ecg::Intervals) -> Option<f32>| -> Vec<f64> {
        let values = all.iter().filter_map(|m| value(&m.values.intervals));
        values.map(f64::from).collect()
    };
    let pr = of(|intervals| intervals.pr_ms);
    let qrs = of(|intervals| intervals.qrs_ms);
    let qt = of(|intervals| intervals.qt_ms);
    let height = |m: &ecg::Measurement| {
        let level = m.values.levels.iter().find(|level| level.lead == m.lead)?;
        level.p_mv.map(|p| f64::from(p.abs()))
    };
    let heights: Vec<f64> = all.iter().filter_map(height).collect();
    [
        share(all.iter().map(|m| m.p.is_some())),
        median(&pr),
        spread(&pr),
        median(&p),
        median(&heights),
        median(&qrs),
        spread(&qrs),
        share(all.iter().map(|m| m.t.is_some())),
        median(&qt),
        if context.beats.is_empty() {
            f64::NAN
        } else {
            all.len() as f64 / context.beats.len() as f64
        },
    ]
}

/// How much the size of the QRS varies from beat to beat, as a share of its median.
fn amplitude_spread(context: &Context) -> f64 {
    let size = |m: &ecg::Measurement| {
        let level = m.values.levels.iter().find(|level| level.lead == m.lead)?;
        let r = level.r_mv.unwrap_or(0.0);
        let s = level.s_mv.or(level.q_mv).unwrap_or(0.0);
        Some(f64::from(r - s))
    };
    let sizes: Vec<f64> = context.measurements.iter().filter_map(size).collect();
    spread(&sizes) / median(&sizes)
}

/// CV, interquartile range, RMSSD and median change (all as shares), pNN50, shares of changes above 10 and 20 %, sample
/// entropy. Changes are within a run only.
fn irregularity(runs: &[Vec<f64>], middle: f64) -> [f64; 8] {
    let rr = runs.concat();
    if rr.len() < FEW {
        return [f64::NAN; 8];
    }
    let changes: Vec<f64> = runs
        .iter()
        .flat_map(|run| run.windows(2).map(|pair| (pair[1] - pair[0]).abs()))
        .collect();
    let squares: Vec<f64> = changes.iter().map(|change| change * change).collect();
    let beyond = |limit: f64| share(changes.iter().map(|change| *change > limit));
    [
        deviation(&rr) / mean(&rr),
        spread(&rr) / middle,
        mean(&squares).sqrt() / mean(&rr),
        median(&changes) / middle,
        beyond(0.05),
        beyond(0.1 * middle),
        beyond(0.2 * middle),
        sample_entropy(&rr, ALIKE * middle),
    ]
}

/// The intervals of beats in seconds, in runs that no long interval, and none that `keep` leaves out, interrupts.
fn runs(beats: &[Beat], rate: ecg::SampleRate, keep: impl Fn(&[Beat]) -> bool) -> Vec<Vec<f64>> {
    let mut runs = vec![Vec::new()];
    for pair in beats.windows(2) {
        let rr = rate.seconds(pair[1].r_peak.since(pair[0].r_peak));
        if rr > 0.0 && rr <= MAX_RR && keep(pair) {
            if let Some(run) = runs.last_mut() {
                run.push(rr);
            }
        } else {
            runs.push(Vec::new());
        }
    }
    runs
}

fn is_normal(beat: &Beat) -> bool {
    matches!(beat.class, None | Some(BeatClass::N))
}

/// Minus the logarithm of the odds that two intervals that are alike are followed by two that are; one is added to
/// both counts, so that it is always a number.
fn sample_entropy(rr: &[f64], alike: f64) -> f64 {
    let (mut pairs, mut followed) = (1.0, 1.0);
    let n = rr.len().saturating_sub(1);
    for i in 0..n {
        for j in i + 1..n {
            if (rr[i] - rr[j]).abs() <= alike {
                pairs += 1.0;
                if (rr[i + 1] - rr[j + 1]).abs() <= alike {
                    followed += 1.0;
                }
            }
        }
    }
    -f64::ln(followed / pairs)
}

/// The entropy of intervals in twentieths of the median, as a share of the most that so many can have.
fn histogram_entropy(rr: &[f64], middle: f64) -> f64 {
    if rr.len() < FEW {
        return f64::NAN;
    }
    let mut bins = [0u32; 32];
    for rr in rr {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the bins"
        )]
        let bin = ((rr / middle - 0.2) * 20.0).clamp(0.0, 31.0) as usize;
        bins[bin] += 1;
    }
    let n = rr.len() as f64;
    let shares = bins.iter().filter(|n| **n > 0).map(|k| f64::from(*k) / n);
    shares.map(|p| -p * p.ln()).sum::<f64>() / n.ln()
}

fn autocorrelation(values: &[f64]) -> f64 {
    if values.len() < FEW {
        return f64::NAN;
    }
    let middle = mean(values);
    let off: Vec<f64> = values.iter().map(|value| value - middle).collect();
    let power: f64 = off.iter().map(|off| off * off).sum();
    if power <= 0.0 {
        return 0.0;
    }
    off.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / power
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn deviation(values: &[f64]) -> f64 {
    let middle = mean(values);
    let squares: Vec<f64> = values.iter().map(|v| (v - middle).powi(2)).collect();
    mean(&squares).sqrt()
}

fn share(is: impl Iterator<Item = bool>) -> f64 {
    let (mut n, mut yes) = (0.0, 0.0);
    for is in is {
        n += 1.0;
        yes += f64::from(u8::from(is));
    }
    yes / n
}

/// The median; `NaN` of nothing.
pub(super) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The interquartile range; `NaN` of few.
fn spread(values: &[f64]) -> f64 {
    if values.len() < FEW {
        return f64::NAN;
    }
    quantile(values, 0.75) - quantile(values, 0.25)
}

/// A quantile, between neighbours in proportion.
pub(super) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let at = q * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last place"
    )]
    let low = at.floor() as usize;
    let high = (low + 1).min(last);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}
