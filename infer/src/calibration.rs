//! A patient's own correction of the model, from one twelve-lead recording of the same patient.
//!
//! What the model gives of a missing lead becomes a sum of what it gives of every missing lead and of the
//! measured leads at a few moments around: ridge regression whose prior is the model as it is. So a recording
//! of a few seconds moves it as far as it has evidence for, and no recording leaves it alone. It is the
//! patient-specific transform of the literature (Nelwan et al., J Electrocardiol 37, 2004) with the model
//! in place of the population's.

use std::ops::Range;

use ecg::{Lead, LeadOrigin, Window};
use serde::{Deserialize, Serialize};

use crate::numbers::{pearson, solve};
use crate::{Error, Reconstructor};

/// Moments of the measured leads that are looked at, seconds from the sample in question.
const TAPS_SECONDS: [f64; 5] = [-0.032, -0.016, 0.0, 0.016, 0.032];
/// How strongly the prior holds against the recording: as if it had been seen for so many seconds. From 0.1 to 10 s
/// patients with a second recording come out the same to 0.002 of r; the choice is in docs/models.md.
const PRIOR_SECONDS: f64 = 3.0;
/// How far the limb leads of a recording may be from the laws that bind them, relative to their size.
const MAX_VIOLATION: f64 = 0.1;
/// A recorded lead that runs against its reconstruction more than this, as Pearson's r, is taken to be reversed.
const REVERSED_R: f64 = -0.5;
/// A correction for the missing leads of one patient.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// SHA-256 of the model that it corrects.
    model: String,
    /// The measured leads that it starts from.
    observed: Vec<String>,
    /// The leads that it corrects, in the order of their weights.
    missing: Vec<String>,
    /// `[missing, missing + taps * observed]`.
    weights: Vec<Vec<f32>>,
    /// By how much the band of each missing lead is narrowed or widened.
    bands: Vec<f32>,
}

/// A missing lead as corrected.
pub(crate) struct Corrected {
    pub(crate) lead: Lead,
    /// mV.
    pub(crate) samples: Vec<f32>,
    /// By how much its band changes.
    pub(crate) band: f32,
}

/// Why a recording cannot be calibrated on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// A lead that is needed is not there.
    #[error("lead {0} is not in the recording")]
    Missing(Lead),
    /// The limb leads contradict each other: electrodes were swapped, or leads are named wrongly.
    #[error(
        "lead {lead} is not what follows from I and II (off by {percent:.0} % of their size, where {limit:.0} % are \
         allowed): are electrodes swapped?",
        limit = 100.0 * MAX_VIOLATION
    )]
    Law {
        /// The lead.
        lead: Lead,
        /// How far off it is, percent.
        percent: f64,
    },
    /// A lead is upside down, as when two electrodes are swapped.
    #[error(
        "lead {lead} runs against what the other leads say (r = {r:.2}): are electrodes swapped?"
    )]
    Reversed {
        /// The lead.
        lead: Lead,
        /// Pearson's r of what was recorded and what was reconstructed.
        r: f64,
    },
    /// Nothing can be reconstructed of the recording.
    #[error("nothing can be reconstructed of the recording: {0}")]
    Withheld(ecg::Withheld),
    /// The model refused it or failed.
    #[error(transparent)]
    Model(#[from] Error),
}

/// The part of a window that counts: the recorded samples of a recording that is a little too short.
pub type Part<'a> = (&'a Window, Range<usize>);

impl Calibration {
    /// A correction for what `reconstructor` makes of the `observed` leads, from windows of one recording with all
    /// twelve.
    ///
    /// # Errors
    /// [`Unfit`] for a recording that lacks leads, breaks the laws of the limb leads, or has a lead upside down.
    pub fn fit(
        reconstructor: &Reconstructor,
        observed: &[Lead],
        recording: &[Part<'_>],
    ) -> Result<Self, Unfit> {
        check_laws(recording)?;
        let mut sums: Option<Sums> = None;
        for (window, real) in recording {
            let seen = window.only(observed);
            let twelve = reconstructor.reconstruct(&seen, None)?;
            let (Some(model), None) = (&twelve.model, twelve.withheld) else {
                let why = twelve.withheld.unwrap_or(ecg::Withheld::TooFewLeads);
                return Err(Unfit::Withheld(why));
            };
            let missing: Vec<Lead> = Lead::INDEPENDENT
                .into_iter()
                .filter(|lead| {
                    let row = lead.row().unwrap_or(0);
                    twelve.origin[row] == LeadOrigin::Reconstructed
                })
                .collect();
            let truth: Vec<&[f32]> = missing
                .iter()
                .map(|lead| window.of(*lead).ok_or(Unfit::Missing(*lead)))
                .collect::<Result<_, _>>()?;
            let given: Vec<&[f32]> = missing
                .iter()
                .filter_map(|lead| twelve.lead(*lead))
                .collect();
            for ((lead, given), truth) in missing.iter().zip(&given).zip(&truth) {
                let r = pearson(&given[real.clone()], &truth[real.clone()]);
                if let Some(r) = r.filter(|r| *r < REVERSED_R) {
                    return Err(Unfit::Reversed { lead: *lead, r });
                }
            }
            let features = features(&given, &seen, window.rate.hz());
            let sums = sums
                .get_or_insert_with(|| Sums::new(model.sha256.clone(), &missing, features.len()));
            sums.add(&features, &truth, &given, real.clone());
        }
        let sums = sums.ok_or(Unfit::Withheld(ecg::Withheld::TooFewLeads))?;
        Ok(sums.solve(observed, recording))
    }

    /// Whether it is for this model and these measured leads.
    pub(crate) fn fits(&self, sha256: &str, leads: &[Lead]) -> bool {
        self.model == sha256
            && self.observed.len() == leads.len()
            && leads
                .iter()
                .all(|lead| self.observed.iter().any(|name| name == lead.name()))
    }

    /// The missing leads as corrected, and by how much their bands change. `given` is what the model says of each;
    /// `None` if a lead is not there that it needs.
    pub(crate) fn apply<'a>(
        &self,
        seen: &Window,
        given: impl Fn(Lead) -> Option<&'a [f32]>,
    ) -> Option<Vec<Corrected>> {
        let missing: Vec<Lead> = self
            .missing
            .iter()
            .map(|name| name.parse().ok())
            .collect::<Option<_>>()?;
        let given: Vec<&[f32]> = missing
            .iter()
            .map(|lead| given(*lead))
            .collect::<Option<_>>()?;
        let ordered = only_named(seen, &self.observed)?;
        let features = features(&given, &ordered, seen.rate.hz());
        let mut corrected = Vec::with_capacity(missing.len());
        for ((lead, weights), band) in missing.iter().zip(&self.weights).zip(&self.bands) {
            if weights.len() != features.len() {
                return None;
            }
            let mut sum = vec![0.0f32; seen.n_samples];
            for (weight, feature) in weights.iter().zip(&features) {
                for (sum, x) in sum.iter_mut().zip(feature) {
                    *sum += weight * x;
                }
            }
            corrected.push(Corrected {
                lead: *lead,
                samples: sum,
                band: *band,
            });
        }
        Some(corrected)
    }
}

/// The window of the leads that are named, `None` if one of them is not there.
fn only_named(window: &Window, names: &[String]) -> Option<Window> {
    let leads: Vec<Lead> = names
        .iter()
        .map(|name| name.parse().ok())
        .collect::<Option<_>>()?;
    let ordered = window.only(&leads);
    (ordered.leads.len() == leads.len()).then_some(ordered)
}

/// What a lead is a sum of: the model's missing leads, then each measured lead at each tap.
fn features(given: &[&[f32]], seen: &Window, hz: f64) -> Vec<Vec<f32>> {
    let mut features: Vec<Vec<f32>> = given.iter().map(|lead| lead.to_vec()).collect();
    for k in 0..seen.leads.len() {
        let samples = seen.lead(k);
        for seconds in TAPS_SECONDS {
            #[expect(clippy::cast_possible_truncation, reason = "a few dozen samples")]
            let shift = (seconds * hz).round() as isize;
            let at = |i: usize| {
                let at = i.checked_add_signed(shift).unwrap_or(0);
                samples[at.min(samples.len() - 1)]
            };
            let finite = |mv: f32| if mv.is_finite() { mv } else { 0.0 };
            features.push((0..samples.len()).map(|i| finite(at(i))).collect());
        }
    }
    features
}

/// Refuses a recording whose limb leads contradict each other.
fn check_laws(recording: &[Part<'_>]) -> Result<(), Unfit> {
    for (window, real) in recording {
        let part = |lead: Lead| {
            let samples = window.of(lead).ok_or(Unfit::Missing(lead))?;
            Ok::<_, Unfit>(&samples[real.clone()])
        };
        let (i, ii) = (part(Lead::I)?, part(Lead::II)?);
        let power = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let size = power(&mut i.iter().chain(ii).map(|mv| f64::from(*mv)));
        for lead in Lead::TWELVE {
            let Some((of_i, of_ii)) = lead.of_i_and_ii() else {
                continue;
            };
            // A recording of the eight independent leads says nothing of the others.
            let Ok(samples) = part(lead) else { continue };
            let off = power(&mut samples.iter().zip(i).zip(ii).map(|((mv, i), ii)| {
                f64::from(*mv) - of_i * f64::from(*i) - of_ii * f64::from(*ii)
            }));
            if off > MAX_VIOLATION * size {
                return Err(Unfit::Law {
                    lead,
                    percent: 100.0 * off / size,
                });
            }
        }
    }
    Ok(())
}

/// The normal equations of all missing leads.
struct Sums {
    model: String,
    missing: Vec<Lead>,
    /// `[feature, feature]`.
    gram: Vec<Vec<f64>>,
    /// `[missing, feature]`: of what is recorded beyond what the model says.
    cross: Vec<Vec<f64>>,
    /// Power of that, per missing lead.
    power: Vec<f64>,
    n_samples: usize,
}

impl Sums {
    fn new(model: String, missing: &[Lead], n_features: usize) -> Self {
        Self {
            model,
            missing: missing.to_vec(),
            gram: vec![vec![0.0; n_features]; n_features],
            cross: vec![vec![0.0; n_features]; missing.len()],
            power: vec![0.0; missing.len()],
            n_samples: 0,
        }
    }

    fn add(
        &mut self,
        features: &[Vec<f32>],
        truth: &[&[f32]],
        given: &[&[f32]],
        real: Range<usize>,
    ) {
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(a, b)| f64::from(*a) * f64::from(*b))
                .sum()
        };
        for (row, a) in self.gram.iter_mut().zip(features) {
            for (sum, b) in row.iter_mut().zip(features) {
                *sum += dot(&a[real.clone()], &b[real.clone()]);
            }
        }
        for (k, (truth, given)) in truth.iter().zip(given).enumerate() {
            let beyond: Vec<f32> = truth.iter().zip(*given).map(|(t, g)| t - g).collect();
            let beyond = &beyond[real.clone()];
            self.power[k] += dot(beyond, beyond);
            for (sum, feature) in self.cross[k].iter_mut().zip(features) {
                *sum += dot(beyond, &feature[real.clone()]);
            }
        }
        self.n_samples += real.len();
    }

    /// Ridge: what is added to the model as it is.
    fn solve(self, observed: &[Lead], recording: &[Part<'_>]) -> Calibration {
        let n = self.gram.len();
        let hz = recording
            .first()
            .map_or(250.0, |(window, _)| window.rate.hz());
        let prior = PRIOR_SECONDS * hz / self.n_samples.max(1) as f64;
        let trace: f64 = (0..n).map(|k| self.gram[k][k]).sum();
        let mut gram = self.gram.clone();
        for (k, row) in gram.iter_mut().enumerate() {
            row[k] += prior * trace / n as f64 + f64::MIN_POSITIVE;
        }
        let (mut weights, mut bands) = (Vec::new(), Vec::new());
        for (k, cross) in self.cross.iter().enumerate() {
            let added = solve(gram.clone(), cross.clone());
            // The error that is left, of the recording itself: power - 2 w.c + w G w.
            let explained: f64 = added.iter().zip(cross).map(|(w, c)| w * c).sum();
            let quadratic: f64 = (0..n)
                .map(|a| added[a] * (0..n).map(|b| self.gram[a][b] * added[b]).sum::<f64>())
                .sum();
            let left = (self.power[k] - 2.0 * explained + quadratic).max(0.0);
            // Another recording will not be fitted as well: half of the way.
            let ratio = (left / self.power[k].max(f64::MIN_POSITIVE)).sqrt();
            #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
            {
                bands.push((0.5 + 0.5 * ratio.min(1.0)) as f32);
                let mut row: Vec<f32> = added.iter().map(|w| *w as f32).collect();
                row[k] += 1.0;
                weights.push(row);
            }
        }
        let names = |leads: &[Lead]| leads.iter().map(|lead| lead.name().to_owned()).collect();
        Calibration {
            model: self.model,
            observed: names(observed),
            missing: names(&self.missing),
            weights,
            bands,
        }
    }
}
