//! How well numbers tell two kinds apart.

/// The area under the receiver operating characteristic: the probability that one of the positives has the higher
/// score, ties counted half. `None` without positives or without negatives.
pub fn auc(scored: &[(f64, bool)]) -> Option<f64> {
    let mut scored = scored.to_vec();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n_positive = scored.iter().filter(|(_, positive)| *positive).count();
    let n_negative = scored.len() - n_positive;
    if n_positive == 0 || n_negative == 0 {
        return None;
    }
    // Pairs won by positives, from the lowest score up, equals together.
    let (mut won, mut below) = (0.0, 0.0);
    for equals in scored.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let positives = equals.iter().filter(|(_, positive)| *positive).count() as f64;
        let negatives = equals.len() as f64 - positives;
        won += positives * (below + negatives / 2.0);
        below += negatives;
    }
    Some(won / (n_positive as f64 * n_negative as f64))
}

/// The expected calibration error: how far the mean probability of a bin is from the share of positives in it, over
/// `n_bins` bins of equal width, each weighing as many as are in it. `None` of nothing.
///
/// Reference: Naeini, Cooper, Hauskrecht, *Obtaining well calibrated probabilities using Bayesian binning* (AAAI, 2015).
pub fn calibration_error(scored: &[(f64, bool)], n_bins: usize) -> Option<f64> {
    if scored.is_empty() {
        return None;
    }
    let mut bins = vec![(0.0, 0.0, 0.0); n_bins.max(1)];
    for (probability, positive) in scored {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it saturates, and the last bin takes what is over"
        )]
        let bin = ((probability * n_bins as f64) as usize).min(bins.len() - 1);
        bins[bin].0 += probability;
        bins[bin].1 += f64::from(u8::from(*positive));
        bins[bin].2 += 1.0;
    }
    let off = bins.iter().filter(|bin| bin.2 > 0.0);
    let off: f64 = off.map(|(sum, positives, _)| (sum - positives).abs()).sum();
    Some(off / scored.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_the_share_of_pairs_in_order() {
        let scored = |positives: &[f64], negatives: &[f64]| {
            let positives = positives.iter().map(|x| (*x, true));
            let negatives = negatives.iter().map(|x| (*x, false));
            positives.chain(negatives).collect::<Vec<_>>()
        };
        assert_eq!(auc(&scored(&[0.9, 0.8], &[0.1, 0.2])), Some(1.0));
        assert_eq!(auc(&scored(&[0.1], &[0.1, 0.1])), Some(0.5));
        // Won 2, tied 1, lost 1 of 4 pairs.
        assert_eq!(auc(&scored(&[0.5, 0.2], &[0.2, 0.3])), Some(0.625));
        assert_eq!(auc(&scored(&[2.0, 1.0], &[1.0, 0.0])), Some(0.875));
        assert_eq!(auc(&scored(&[0.5], &[])), None);
        assert_eq!(auc(&scored(&[], &[1.0])), None);
    }

    #[test]
    fn calibration_is_off_by_what_a_bin_promises_too_much() {
        let scored = [(0.95, true), (0.95, false), (0.05, false), (0.05, false)];
        let error = calibration_error(&scored, 10).unwrap();
        assert!((error - (0.45 * 0.5 + 0.05 * 0.5)).abs() < 1e-12, "{error}");
        assert_eq!(calibration_error(&[(1.0, true)], 10), Some(0.0));
        assert_eq!(calibration_error(&[], 10), None);
    }
}
