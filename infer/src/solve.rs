//! Small linear systems, as least squares makes them.

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

#[cfg(test)]
mod tests {
    use super::*;

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
