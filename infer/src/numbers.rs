//! Small linear systems, as least squares makes them, how alike two signals are, medians, and probabilities of logits.

/// Solves a small symmetric positive definite system by elimination; zeros where it is singular.
pub fn solve(mut gram: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for k in 0..n {
        let pivot = gram[k][k];
        if pivot <= 0.0 {
            return vec![0.0; n];
        }
        let (above, below) = gram.split_at_mut(k + 1);
        for (row, values) in below.iter_mut().enumerate() {
            let factor = values[k] / pivot;
            for (value, of_pivot) in values.iter_mut().zip(&above[k]) {
                *value -= factor * of_pivot;
            }
            right[k + 1 + row] -= factor * right[k];
        }
    }
    for k in (0..n).rev() {
        let known: f64 = (k + 1..n).map(|c| gram[k][c] * right[c]).sum();
        right[k] = (right[k] - known) / gram[k][k];
    }
    right
}

/// Pearson's r of two signals of the same length; `None` where either is constant.
pub fn pearson(a: &[f32], b: &[f32]) -> Option<f64> {
    let n = a.len() as f64;
    let mean = |x: &[f32]| x.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (f64::from(*a) - mean_a, f64::from(*b) - mean_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    (aa > 0.0 && bb > 0.0).then(|| ab / (aa * bb).sqrt())
}

/// The middle one of the finite values, or the mean of the middle two; `None` of none.
pub(crate) fn median(values: impl IntoIterator<Item = f32>) -> Option<f32> {
    let mut sorted: Vec<f32> = values.into_iter().filter(|v| v.is_finite()).collect();
    sorted.sort_unstable_by(f32::total_cmp);
    let n = sorted.len();
    Some(f32::midpoint(
        *sorted.get(n.checked_sub(1)? / 2)?,
        sorted[n / 2],
    ))
}

/// The median distance from the median.
pub(crate) fn median_deviation(values: &[f32]) -> Option<f32> {
    let middle = median(values.iter().copied())?;
    median(values.iter().map(|value| (value - middle).abs()))
}

/// Probabilities of logits.
pub(crate) fn softmax<const N: usize>(logits: [f32; N]) -> [f32; N] {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let odds = logits.map(|logit| (logit - most).exp());
    let sum: f32 = odds.iter().sum();
    odds.map(|odds| odds / sum)
}

/// The place of the greatest value, the first of equals; 0 of none.
pub(crate) fn greatest(values: &[f32]) -> usize {
    (1..values.len()).fold(0, |best, k| if values[k] > values[best] { k } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r_is_that_of_pearson() {
        assert_eq!(pearson(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]), Some(1.0));
        assert_eq!(pearson(&[1.0, 2.0, 3.0], &[1.0, 0.0, -1.0]), Some(-1.0));
        assert_eq!(pearson(&[1.0, 1.0], &[1.0, 2.0]), None);
    }

    #[test]
    fn a_system_is_solved_and_a_singular_one_gives_nothing() {
        let gram = vec![
            vec![4.0, 1.0, 0.0],
            vec![1.0, 3.0, -1.0],
            vec![0.0, -1.0, 2.0],
        ];
        let x = [1.0, -2.0, 0.5];
        let right = gram
            .iter()
            .map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum())
            .collect();
        let found = solve(gram, right);
        assert!(found.iter().zip(x).all(|(a, b)| (a - b).abs() < 1e-12));
        assert_eq!(solve(vec![vec![0.0]], vec![1.0]), [0.0]);
    }
}
