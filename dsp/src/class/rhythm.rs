//! What the intervals around a beat say about it, as [`N`] numbers.
//!
//! Takes the instants of the beats in seconds: the one judged, those of the last
//! seconds before it, as many as asked for, and those up to [`AFTER_SECONDS`] after it. Ratios of intervals are
//! natural logarithms, so that twice as long and half as long weigh the same. What cannot be told is
//! [`MISSING`].

use super::{AFTER_SECONDS, MISSING, median, single};

/// How many features there are.
pub const N: usize = 24;

/// Intervals looked at: no more than these fit into the context.
const MOST: usize = 80;

/// The features of beat `k` of `beats`, instants in seconds in order, next to the `context` seconds before it.
pub fn features(beats: &[f64], k: usize, context: f64) -> [f32; N] {
    let mut row = [MISSING; N];
    let now = beats[k];
    let first = beats[..k].partition_point(|at| *at < now - context);
    let first = first.max(k.saturating_sub(MOST));
    let last = beats.partition_point(|at| *at <= now + AFTER_SECONDS) - 1;
    if first == k {
        return row;
    }
    let interval = |k: usize| single(beats[k] - beats[k - 1]);
    let own = interval(k);
    let mut past = [0.0; MOST];
    let n = k - 1 - first;
    for (slot, at) in past[..n].iter_mut().zip(first + 1..k) {
        *slot = interval(at);
    }
    let past = &past[..n];
    let mut sorted = [0.0; MOST];
    sorted[..n].copy_from_slice(past);
    let sorted = &mut sorted[..n];
    sorted.sort_by(f32::total_cmp);

    let next = if last > k {
        interval(k + 1)
    } else {
        single(AFTER_SECONDS)
    };
    let usual = if n == 0 { own } else { median(sorted) };
    row[0] = own;
    row[1] = next;
    row[2] = usual;
    row[3] = (own / usual).ln();
    row[4] = (next / usual).ln();
    row[5] = (own / next).ln();
    row[6] = ((own + next) / (2.0 * usual)).ln();
    if last > k + 1 {
        row[7] = (interval(k + 2) / usual).ln();
    }
    for back in 1..=3 {
        if let Some(interval) = n.checked_sub(back).map(|at| past[at]) {
            row[7 + back] = (interval / usual).ln();
        }
    }
    for back in 1..=2 {
        if let Some(interval) = n.checked_sub(back).map(|at| past[at]) {
            row[10 + back] = (own / interval).ln();
        }
    }
    if n >= 3 {
        irregularity(&mut row, own, usual, past, sorted);
    }
    row
}

/// What it takes a few intervals to tell: how regular the rhythm was, and how `own` stands out.
fn irregularity(row: &mut [f32; N], own: f32, usual: f32, past: &[f32], sorted: &[f32]) {
    let n = past.len() as f32;
    let share = |is: &dyn Fn(&&f32) -> bool| past.iter().filter(is).count() as f32 / n;
    let mut spread = [0.0; MOST];
    for (slot, interval) in spread.iter_mut().zip(past) {
        *slot = (interval / usual).ln().abs();
    }
    let spread = &mut spread[..past.len()];
    spread.sort_by(f32::total_cmp);
    let spread = median(spread);
    let mut steps = [0.0; MOST];
    for (slot, pair) in steps.iter_mut().zip(past.windows(2)) {
        *slot = (pair[1] / pair[0]).ln().abs();
    }
    let steps = &mut steps[..past.len() - 1];
    steps.sort_by(f32::total_cmp);
    let product = |pair: &[f32]| (pair[0] / usual).ln() * (pair[1] / usual).ln();
    let square: f32 = past.iter().map(|x| (x / usual).ln().powi(2)).sum();
    let last = &past[past.len() - 3..];
    row[13] = spread;
    row[14] = median(steps);
    row[15] = share(&|x| **x < own);
    row[16] = (own / sorted[0]).ln();
    row[17] = (own / sorted[sorted.len() - 1]).ln();
    row[18] = share(&|x| **x < 0.85 * usual);
    row[19] = (own / (last.iter().sum::<f32>() / 3.0)).ln();
    row[20] = (own / sorted[sorted.len() / 4]).ln();
    row[21] = (own / sorted[sorted.len() * 3 / 4]).ln();
    row[22] = (own / usual).ln() / (0.03 + spread);
    row[23] = past.windows(2).map(product).sum::<f32>() / (n - 1.0) / (square / n + 1e-3);
}

#[cfg(test)]
mod tests {
    use super::super::CONTEXT_SECONDS;
    use super::*;

    #[test]
    fn a_premature_beat_stands_out() {
        let mut beats: Vec<f64> = (0..12).map(|k| 0.8 * f64::from(k)).collect();
        let even = features(&beats, 10, CONTEXT_SECONDS);
        assert!((even[0] - 0.8).abs() < 1e-6 && even[3].abs() < 1e-5);
        assert!(even[22].abs() < 1e-3);
        beats[10] -= 0.3;
        let early = features(&beats, 10, CONTEXT_SECONDS);
        assert!(early[3] < -0.4 && early[5] < -0.7 && early[22] < -10.0);
        assert!(
            (early[6] - even[6]).abs() < 1e-5,
            "the pause makes up for it"
        );
        assert!(early[15] <= 0.0, "none was shorter");
    }

    #[test]
    fn what_is_not_known_is_missing() {
        assert!(
            features(&[5.0], 0, CONTEXT_SECONDS)
                .iter()
                .all(|x| *x <= MISSING)
        );
        let two = features(&[0.0, 0.7, 9.0], 1, CONTEXT_SECONDS);
        assert!((two[1] - 1.2).abs() < 1e-6, "no beat follows within sight");
        assert!(two[13] <= MISSING && two[7] <= MISSING);
        let old = features(&[0.0, 0.7, 20.0, 20.9], 3, CONTEXT_SECONDS);
        assert!(old[8] <= MISSING, "nothing before the context counts");
    }
}
