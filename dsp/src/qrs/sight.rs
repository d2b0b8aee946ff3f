//! What the detector sees of the lead around a candidate, as numbers without a scale.
//!
//! | inputs | what | unit |
//! |---|---|---|
//! | 39 | the lead from -300 to +250 ms, finer in the middle, its mean taken off | heights |
//! | 37 | the envelope from -2 to +0.2 s | octaves of the height |
//! | 37 | how sharply the lead bends at the same instants: 15 to 47 Hz, where the motion of electrodes has little | octaves of that at the candidate |
//! | 1 | how sharply it bends at the candidate | octaves of the height |
//! | 8 | the highest crests of the last eight half seconds, highest first | octaves of the height |
//! | 3 | height; how much the lead moves in the middle and around | octaves |
//!
//! The height is that of the candidate's own crest.

use crate::crest::Crest;

/// Points of the lead.
pub(super) const N_FORM: usize = 39;
/// Points of the envelope.
pub(super) const N_ENVELOPE: usize = 37;
/// Half seconds.
pub(super) const N_HALVES: usize = 8;
/// All inputs.
pub(super) const N_SIGHT: usize = N_FORM + 2 * N_ENVELOPE + 1 + N_HALVES + 3;

/// Half of the stretch that a point of the lead is the mean of: 20 ms take out 50 Hz.
const HALF_SECONDS: f64 = 0.01;
/// How far the lead is looked at.
pub(super) const BEFORE_SECONDS: f64 = 0.31;
pub(super) const AFTER_SECONDS: f64 = 0.26;
/// How far the envelope is looked at.
pub(super) const ENVELOPE_SECONDS: f64 = 2.0;

/// From the middle of a bend to its ends: the second difference over so much passes 15 to 47 Hz.
pub(super) const BEND_SECONDS: f64 = 0.016;
/// Half of the stretch that a bend is the mean of.
const BEND_HALF_SECONDS: f64 = 0.024;

/// Where the points of the lead are, in seconds from the middle of the complex.
fn form_offset(k: usize) -> f64 {
    match k {
        0..10 => -0.30 + 0.02 * k as f64,
        10..31 => -0.10 + 0.01 * (k - 10) as f64,
        _ => 0.11 + 0.02 * (k - 31) as f64,
    }
}

/// Where those of the envelope are, from the crest.
pub(super) fn envelope_offset(k: usize) -> f64 {
    match k {
        0..17 => -1.96 + 0.08 * k as f64,
        17..32 => -0.60 + 0.04 * (k - 17) as f64,
        _ => 0.04 * (k - 31) as f64,
    }
}

/// Added to both sides of a ratio, mV.
const FAINT: f32 = 1e-4;

/// The base-two logarithm of a ratio, limited.
#[inline]
pub(super) fn octaves(value: f32, of: f32) -> f32 {
    log2((value + FAINT) / (of + FAINT)).clamp(-6.0, 4.0)
}

/// The same of many values.
pub(super) fn all_octaves(values: &mut [f32], of: f32) {
    for value in values {
        *value = octaves(*value, of);
    }
}

/// The base-two logarithm of a positive number to a millionth, by steps that a processor can take for several
/// numbers at once.
#[inline]
fn log2(x: f32) -> f32 {
    const ROOT_HALF: u32 = std::f32::consts::FRAC_1_SQRT_2.to_bits();
    const SCALE: f32 = 2.0 * std::f32::consts::LOG2_E;
    // A power of two, and a rest from the root of one half to that of two.
    let bits = x.to_bits().wrapping_sub(ROOT_HALF);
    let power = (bits.cast_signed() >> 23) as f32;
    let rest = f32::from_bits((bits & 0x007f_ffff) + ROOT_HALF);
    let s = (rest - 1.0) / (rest + 1.0);
    let q = s * s;
    power + SCALE * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q / 7.0)))
}

/// The sum of `values` from one position to another, each value reaching from its index to the next.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positions within a short, positive span"
)]
fn between(values: &[f32], from: f64, to: f64) -> f32 {
    let part = |position: f64| {
        let position = position.max(0.0);
        let whole = (position as usize).min(values.len());
        let rest = (position - whole as f64).min(1.0) as f32;
        (whole, rest * values.get(whole).copied().unwrap_or(0.0))
    };
    let ((first, before), (last, after)) = (part(from), part(to));
    values[first..last].iter().sum::<f32>() - before + after
}

/// Fills `out`, `[N_FORM]`, with the points of the lead. `samples` are at `rate` Hz, the middle of the
/// complex at index `middle`; not finite where there is nothing to be seen, which they are made to be.
pub(super) fn form(samples: &mut [f32], middle: f64, rate: f64, out: &mut [f32]) {
    let (mut first, mut last) = (None, 0.0);
    for sample in &mut *samples {
        if sample.is_finite() {
            let offset = *first.get_or_insert(*sample);
            last = (*sample - offset).clamp(-1e5, 1e5);
        }
        *sample = last;
    }
    let half = HALF_SECONDS * rate;
    #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
    let scale = 0.5 / half as f32;
    let mut mean = 0.0;
    for (k, out) in out.iter_mut().enumerate() {
        // Half a sample, for a sum ends where its last sample does.
        let place = middle + 0.5 + form_offset(k) * rate;
        *out = between(samples, place - half, place + half) * scale;
        mean += *out / N_FORM as f32;
    }
    for out in out {
        *out -= mean;
    }
}

/// Fills `out`, `[N_ENVELOPE + 1]`, with how sharply the lead bends where the points of the envelope are, beside how
/// sharply it bends in the middle; that beside the height comes last. `values` are at `rate` Hz, the
/// middle of the complex at `middle`.
pub(super) fn bends(values: &[f32], middle: f64, rate: f64, crest: Crest, out: &mut [f32]) {
    let half = BEND_HALF_SECONDS * rate;
    #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
    let scale = 0.5 / half as f32;
    let mean = |seconds: f64| {
        let place = middle + seconds * rate;
        between(values, place - half, place + half).max(0.0) * scale
    };
    let own = [-0.04, -0.02, 0.0, 0.02, 0.04].map(mean);
    let own = own.into_iter().fold(0.0, f32::max);
    for (k, out) in out[..N_ENVELOPE].iter_mut().enumerate() {
        *out = mean(envelope_offset(k));
    }
    all_octaves(&mut out[..N_ENVELOPE], own);
    out[N_ENVELOPE] = octaves(own, crest.height);
}

/// Brings the points of the lead to heights, and appends how much they move.
pub(super) fn finish_form(crest: Crest, form: &mut [f32], moves: &mut [f32]) {
    let scale = 1.0 / (3.0 * crest.height + 1e-4);
    let move_of = |part: &[f32]| {
        let steps = part.windows(2).map(|pair| (pair[1] - pair[0]).abs());
        steps.sum::<f32>()
    };
    let middle = move_of(&form[10..31]);
    let around = move_of(&form[..11]) + move_of(&form[30..]);
    moves[0] = 0.5 * (crest.height + 1e-4).log2();
    moves[1] = octaves(middle, crest.height);
    moves[2] = octaves(around, crest.height);
    for value in form {
        *value = (*value * scale).clamp(-3.0, 3.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_one() {
        for k in 0..100_000 {
            let x = 1e-9 * 1.0005_f32.powi(k % 80_000) + k as f32 * 1e-3;
            let (ours, exact) = (log2(x), x.log2());
            assert!(
                (ours - exact).abs() < 2e-6 * exact.abs().max(1.0),
                "{x}: {ours} {exact}"
            );
        }
        assert_eq!((log2(1.0), log2(8.0), log2(0.25)), (0.0, 3.0, -2.0));
    }

    #[test]
    fn a_sum_ends_within_values() {
        let values = [1.0, 2.0, 4.0, 8.0];
        let near = |from, to, sum: f32| (between(&values, from, to) - sum).abs() < 1e-6;
        assert!(near(0.0, 4.0, 15.0) && near(1.0, 3.0, 6.0));
        assert!(near(0.5, 2.25, 3.5) && near(2.25, 2.75, 2.0));
        assert!(near(-3.0, 0.5, 0.5) && near(3.5, 9.0, 4.0) && near(5.0, 9.0, 0.0));
    }
}
