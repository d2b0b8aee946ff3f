//! Least squares: the matrix that clinics use, from second moments of the twelve leads.
//!
//! From the mean of `x xᵀ` over recordings follows the least-squares map from any leads to any others, so
//! one small table is the baseline for every set of observed leads. The shipped one is of the records that
//! the shipped model was trained on; `infer/training` writes it.

use std::ops::Range;

use ecg::{Lead, Window};

/// The leads whose moments are kept: the other four follow from I and II.
const LEADS: [Lead; 8] = Lead::INDEPENDENT;

/// The share of the mean power that is added to the diagonal, so that leads that say the same can be solved for.
const RIDGE: f64 = 1e-6;

/// `[8, 8]`, mV squared.
const SHIPPED: &str = include_str!("../../../infer/models/moments.csv");

/// The mean of `x xᵀ` over samples of I, II and V1 to V6.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments([[f64; 8]; 8]);

/// A map from observed leads to the eight.
#[derive(Debug, Clone)]
pub struct Linear {
    observed: Vec<Lead>,
    /// `[8, observed]`.
    weights: Vec<Vec<f64>>,
}

impl Moments {
    /// Those of the records that the shipped model was trained on.
    ///
    /// # Panics
    /// If the table that is compiled in is not of that form, which a test excludes.
    pub fn shipped() -> Self {
        Self::parse(SHIPPED).expect("a test reads it")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut moments = [[0.0; 8]; 8];
        let mut lines = text.lines();
        for row in &mut moments {
            let mut values = lines.next()?.split(',');
            for value in row.iter_mut() {
                *value = values.next()?.trim().parse().ok()?;
            }
        }
        Some(Self(moments))
    }

    /// Those of windows of all twelve leads.
    pub fn of(windows: &[(&Window, Range<usize>)]) -> Self {
        let mut moments = [[0.0; 8]; 8];
        for (window, real) in windows {
            let row = |lead: Lead| Some(&window.of(lead)?[real.clone()]);
            let rows = LEADS.map(row);
            for (a, sums) in rows.iter().zip(&mut moments) {
                for (b, sum) in rows.iter().zip(sums) {
                    if let (Some(a), Some(b)) = (a, b) {
                        let products = a.iter().zip(*b).map(|(a, b)| f64::from(*a) * f64::from(*b));
                        *sum += products.sum::<f64>() / real.len() as f64;
                    }
                }
            }
        }
        Self(moments)
    }

    /// The root mean square of one of the twelve leads, mV; of any other, 1.
    pub fn size(&self, lead: Lead) -> f64 {
        let place = |lead: Lead| LEADS.iter().position(|other| *other == lead);
        let square = match (place(lead), lead.of_i_and_ii()) {
            (Some(k), _) => self.0[k][k],
            (None, Some((i, ii))) => {
                let m = &self.0;
                i * i * m[0][0] + 2.0 * i * ii * m[0][1] + ii * ii * m[1][1]
            }
            (None, None) => 1.0,
        };
        square.sqrt()
    }

    /// The least-squares map from `observed` leads, of which those that are none of the eight are not used.
    pub fn map(&self, observed: &[Lead]) -> Linear {
        let place = |lead: &Lead| LEADS.iter().position(|other| other == lead);
        let places: Vec<usize> = observed.iter().filter_map(place).collect();
        let power: f64 = places.iter().map(|k| self.0[*k][*k]).sum();
        let ridge = RIDGE * power / places.len().max(1) as f64;
        let gram: Vec<Vec<f64>> = places
            .iter()
            .map(|a| {
                let row = places.iter().map(|b| {
                    let same = if a == b { ridge } else { 0.0 };
                    self.0[*a][*b] + same
                });
                row.collect()
            })
            .collect();
        let weights = (0..8)
            .map(|k| infer::solve(gram.clone(), places.iter().map(|a| self.0[*a][k]).collect()))
            .collect();
        Linear {
            observed: places.iter().map(|k| LEADS[*k]).collect(),
            weights,
        }
    }
}

impl Linear {
    /// A lead as the map has it of a window of the observed leads, mV; `None` where one of them is not there.
    pub fn lead(&self, window: &Window, lead: Lead) -> Option<Vec<f32>> {
        let (Some((a, b)), false) = (lead.of_i_and_ii(), LEADS.contains(&lead)) else {
            return self.one_of_eight(window, lead);
        };
        let of = |lead: Lead| self.one_of_eight(window, lead);
        let (i, ii) = (of(Lead::I)?, of(Lead::II)?);
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let both = i
            .iter()
            .zip(&ii)
            .map(|(i, ii)| (a * f64::from(*i) + b * f64::from(*ii)) as f32);
        Some(both.collect())
    }

    fn one_of_eight(&self, window: &Window, lead: Lead) -> Option<Vec<f32>> {
        if let Some(measured) = window.of(lead) {
            return Some(measured.to_vec());
        }
        let weights = &self.weights[LEADS.iter().position(|other| *other == lead)?];
        let mut sum = vec![0.0f64; window.n_samples];
        for (weight, observed) in weights.iter().zip(&self.observed) {
            for (sum, mv) in sum.iter_mut().zip(window.of(*observed)?) {
                *sum += weight * f64::from(*mv);
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        Some(sum.into_iter().map(|mv| mv as f32).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::{SampleIndex, SampleRate};

    #[test]
    fn the_shipped_table_reads_and_is_symmetric() {
        let Moments(table) = Moments::shipped();
        for (a, row) in table.iter().enumerate() {
            assert!(row[a] > 0.0);
            for (b, moment) in row.iter().enumerate() {
                assert!((moment - table[b][a]).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn leads_that_are_sums_of_the_observed_come_back() {
        let n = 50;
        let wave = |k: usize| -> Vec<f32> {
            (0..n)
                .map(|i| ((i * (k + 2)) as f32 * 0.37).sin())
                .collect()
        };
        let (ii, v1) = (wave(0), wave(1));
        let mix = |a: f32, b: f32| -> Vec<f32> {
            ii.iter().zip(&v1).map(|(ii, v1)| a * ii + b * v1).collect()
        };
        let rows = [
            mix(0.5, -0.2),
            ii.clone(),
            v1.clone(),
            mix(0.0, 2.0),
            mix(1.0, 1.0),
            mix(-1.0, 1.0),
            mix(0.3, 0.0),
            mix(0.1, 0.1),
        ];
        let window = |leads: &[Lead], rows: &[&Vec<f32>]| Window {
            start: SampleIndex(0),
            end: SampleIndex(n as u64),
            rate: SampleRate::new(250.0).unwrap(),
            leads: leads.to_vec(),
            samples: rows.iter().flat_map(|row| row.iter()).copied().collect(),
            n_samples: n,
            unusable: Vec::new(),
        };
        let all = window(&LEADS, &rows.each_ref());
        let map = Moments::of(&[(&all, 0..n)]).map(&[Lead::II, Lead::V1]);
        let seen = window(&[Lead::II, Lead::V1], &[&ii, &v1]);
        for (lead, expected) in [(Lead::V3, mix(1.0, 1.0)), (Lead::AVL, mix(0.0, -0.2))] {
            let found = map.lead(&seen, lead).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (found - expected).abs() < 1e-3,
                    "{lead}: {found} {expected}"
                );
            }
        }
        assert_eq!(map.lead(&seen, Lead::II).unwrap(), ii);
    }
}
