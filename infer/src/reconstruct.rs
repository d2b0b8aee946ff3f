//! From measured leads to twelve.
//!
//! Where each lead comes from, in the order tried:
//!
//! 1. **Measured** leads pass through untouched.
//! 2. **Derived**: two measured limb leads give the other four, by Einthoven (III = II - I) and
//!    Goldberger (aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2).
//! 3. **Reconstructed**: what a model gives; also the limb leads that follow from one it gave.
//! 4. **Absent**: the rest.
//!
//! Every derived or reconstructed limb lead other than I and II is computed from the final I and
//! II, so the identities hold to the last bit whatever the model says.

use ecg::{Lead, LeadOrigin, ModelRef, TwelveLead, Window};

use crate::library::{Library, Model};
use crate::manifest::WindowShape;
use crate::{Error, tensor};

/// The limb leads as sums of I and II: `lead = axis.0 * I + axis.1 * II`, in the order of rows.
const AXES: [(f64, f64); 6] = [
    (1.0, 0.0),
    (0.0, 1.0),
    (-1.0, 1.0),
    (-0.5, -0.5),
    (1.0, -0.5),
    (-0.5, 1.0),
];
const ROW_I: usize = 0;
const ROW_II: usize = 1;

/// Completes windows to twelve leads with the models of a [`Library`].
///
/// Immutable, so that threads share one.
#[derive(Debug)]
pub struct Reconstructor {
    library: Library,
}

impl Reconstructor {
    /// A reconstructor with these models.
    pub fn new(library: Library) -> Self {
        Self { library }
    }

    /// The models.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// The windows to cut; `None` without models, when any will do.
    pub fn window(&self) -> Option<WindowShape> {
        self.library.window()
    }

    /// The twelve leads of a window: measured, derived, and what the model that can use most of
    /// them gives.
    ///
    /// # Errors
    /// [`Error::Window`] for a window that is not of [`window`](Self::window)'s shape or not well
    /// formed; [`Error::Run`] and [`Error::NotFinite`] for a model that failed, with the leads that
    /// stand without it.
    pub fn reconstruct(&self, window: &Window) -> Result<TwelveLead, Error> {
        if let Some(shape) = self.window() {
            check_shape(window, shape)?;
        }
        let twelve = derive(window)?;
        let Some(model) = self.model_for(&twelve) else {
            return Ok(twelve);
        };
        let manifest = &model.manifest;
        let input = tensor::encode(manifest, |lead| twelve.lead(lead));
        let output = match model.plan.run(&input) {
            Ok(output) => output,
            Err(reason) => {
                return Err(Error::Run {
                    model: manifest.model.name.clone(),
                    reason,
                    leads: Box::new(twelve),
                });
            }
        };
        let given: Vec<(Lead, Vec<f32>)> = tensor::decode(manifest, &output).collect();
        for (lead, samples) in &given {
            if let Some(sample) = samples.iter().position(|value| !value.is_finite()) {
                return Err(Error::NotFinite {
                    model: manifest.model.name.clone(),
                    lead: *lead,
                    sample,
                    value: samples[sample],
                    leads: Box::new(twelve),
                });
            }
        }
        Ok(complete(twelve, given, manifest.model.clone()))
    }

    /// The model that observes most of the leads at hand, the first loaded of equals; `None` if
    /// none has all it observes, or none gives what is missing.
    fn model_for(&self, twelve: &TwelveLead) -> Option<&Model> {
        let there = |lead: &Lead| twelve.lead(*lead).is_some();
        self.library
            .reconstructing()
            .filter(|model| model.manifest.observed.iter().all(there))
            .filter(|model| !model.manifest.output.iter().all(there))
            .reduce(|best, model| {
                let more = model.manifest.observed.len() > best.manifest.observed.len();
                if more { model } else { best }
            })
    }
}

/// The twelve leads of a window of any length without a model: measured, derived or absent.
///
/// # Errors
/// [`Error::Window`] if the samples are not as many as the window says, or a lead is there twice.
pub fn derive(window: &Window) -> Result<TwelveLead, Error> {
    let n_samples = window.n_samples;
    let expected = n_samples.checked_mul(window.leads.len());
    if expected != Some(window.samples.len()) {
        return Err(Error::Window {
            field: "samples",
            expected: format!("{} leads of {n_samples}", window.leads.len()),
            found: window.samples.len().to_string(),
        });
    }
    let mut twelve = TwelveLead {
        start: window.start,
        end: window.end,
        rate: window.rate,
        samples: vec![0.0; 12 * n_samples],
        n_samples,
        origin: [LeadOrigin::Absent; 12],
        model: None,
    };
    for (k, lead) in window.leads.iter().enumerate() {
        // A lead whose electrodes are unknown is none of the twelve.
        let Some(row) = lead.row() else { continue };
        if twelve.origin[row] != LeadOrigin::Absent {
            return Err(Error::Window {
                field: "leads",
                expected: "each lead once".to_owned(),
                found: format!("{lead} twice"),
            });
        }
        put(&mut twelve, row, LeadOrigin::Measured, window.lead(k));
    }
    complete_limb_leads(&mut twelve, LeadOrigin::Derived);
    Ok(twelve)
}

fn check_shape(window: &Window, shape: WindowShape) -> Result<(), Error> {
    if window.rate != shape.rate {
        return Err(Error::Window {
            field: "rate",
            expected: shape.rate.to_string(),
            found: window.rate.to_string(),
        });
    }
    if window.n_samples != shape.n_samples {
        return Err(Error::Window {
            field: "n_samples",
            expected: shape.n_samples.to_string(),
            found: window.n_samples.to_string(),
        });
    }
    Ok(())
}

/// Adds what a model gave where nothing better stands, and the limb leads that follow.
fn complete(mut twelve: TwelveLead, given: Vec<(Lead, Vec<f32>)>, model: ModelRef) -> TwelveLead {
    let mut limb_leads = present_limb_leads(&twelve).len();
    for (lead, samples) in given {
        let Some(row) = lead.row() else { continue };
        if twelve.origin[row] != LeadOrigin::Absent {
            continue;
        }
        if row < AXES.len() {
            // Two limb leads say all; a third from the model would contradict them.
            if limb_leads >= 2 {
                continue;
            }
            limb_leads += 1;
        }
        put(&mut twelve, row, LeadOrigin::Reconstructed, &samples);
    }
    complete_limb_leads(&mut twelve, LeadOrigin::Reconstructed);
    twelve.model = Some(model);
    twelve
}

/// Fills the absent limb leads from two that are there.
fn complete_limb_leads(twelve: &mut TwelveLead, origin: LeadOrigin) {
    let present = present_limb_leads(twelve);
    let &[a, b, ..] = present.as_slice() else {
        return;
    };
    // First I and II, then everything else from these two, as they stand in f32.
    for row in [ROW_I, ROW_II] {
        if twelve.origin[row] == LeadOrigin::Absent {
            put_combination(twelve, row, origin, (a, b));
        }
    }
    for row in ROW_II + 1..AXES.len() {
        if twelve.origin[row] == LeadOrigin::Absent {
            put_combination(twelve, row, origin, (ROW_I, ROW_II));
        }
    }
}

fn present_limb_leads(twelve: &TwelveLead) -> Vec<usize> {
    (0..AXES.len())
        .filter(|&row| twelve.origin[row] != LeadOrigin::Absent)
        .collect()
}

/// Computes a limb lead from two others. No two of the six are parallel, so any two do.
fn put_combination(twelve: &mut TwelveLead, row: usize, origin: LeadOrigin, from: (usize, usize)) {
    let ((a1, a2), (b1, b2), (t1, t2)) = (AXES[from.0], AXES[from.1], AXES[row]);
    let determinant = a1 * b2 - a2 * b1;
    let of_a = (t1 * b2 - t2 * b1) / determinant;
    let of_b = (t2 * a1 - t1 * a2) / determinant;
    let n = twelve.n_samples;
    let (a, b) = (
        &twelve.samples[from.0 * n..][..n],
        &twelve.samples[from.1 * n..][..n],
    );
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounded once, to what samples are"
    )]
    let samples: Vec<f32> = a
        .iter()
        .zip(b)
        .map(|(&a, &b)| (of_a * f64::from(a) + of_b * f64::from(b)) as f32)
        .collect();
    put(twelve, row, origin, &samples);
}

fn put(twelve: &mut TwelveLead, row: usize, origin: LeadOrigin, samples: &[f32]) {
    let n = twelve.n_samples;
    twelve.samples[row * n..(row + 1) * n].copy_from_slice(samples);
    twelve.origin[row] = origin;
}

#[cfg(test)]
#[path = "reconstruct_tests.rs"]
mod tests;
