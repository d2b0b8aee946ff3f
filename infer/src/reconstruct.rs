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

use ecg::{Lead, LeadOrigin, Trust, TwelveLead, Window, Withheld};

use crate::calibration::{Calibration, Corrected};
use crate::library::{Library, Model};
use crate::manifest::{LeadSet, WindowShape};
use crate::tensor::{Answer, Given};
use crate::{Error, tensor};

/// A lead that stays within so little, mV, is flat.
const MIN_MV: f32 = 0.02;
/// No heart makes more, mV: the electrode or the converter does.
const MAX_MV: f32 = 20.0;

/// The limb leads are the first rows.
const N_LIMB: usize = 6;
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
    /// them gives, corrected by the patient's own `calibration` where there is one for this model and
    /// these leads. Where the model should not say anything, [`TwelveLead::withheld`] says why.
    ///
    /// # Errors
    /// [`Error::Window`] for a window that is not of [`window`](Self::window)'s shape or not well
    /// formed; [`Error::Run`] and [`Error::NotFinite`] for a model that failed, with the leads that
    /// stand without it.
    pub fn reconstruct(
        &self,
        window: &Window,
        calibration: Option<&Calibration>,
    ) -> Result<TwelveLead, Error> {
        if let Some(shape) = self.window() {
            check_shape(window, shape)?;
        }
        let mut twelve = derive(window)?;
        let usable = usable(window, &twelve);
        let Some((model, set)) = self.model_for(|row| usable[row].is_some()) else {
            twelve.withheld = self.why_not(&twelve);
            return Ok(twelve);
        };
        let form = &model.form;
        if form.leads.iter().all(|lead| twelve.lead(*lead).is_some()) {
            return Ok(twelve);
        }
        let given = |lead: &Lead| {
            let usable = usable[lead.row()?].as_deref()?;
            let samples = twelve.lead(*lead)?;
            Some(Given { samples, usable })
        };
        let leads: Vec<_> = form.leads.iter().map(given).collect();
        let input = tensor::encode(form, &leads);
        let fail = |mut twelve: TwelveLead| {
            twelve.withheld = Some(Withheld::Failed);
            Box::new(twelve)
        };
        let run = model.plan.run(&input).and_then(|outputs| {
            let other = || "its outputs have another form than when it was loaded".to_owned();
            Answer::decode(form, outputs).ok_or_else(other)
        });
        let answer = match run {
            Ok(answer) => answer,
            Err(reason) => {
                return Err(Error::Run {
                    model: model.about.name.clone(),
                    reason,
                    leads: fail(twelve),
                });
            }
        };
        let missing = |k: usize| twelve.lead(form.leads[k]).is_none();
        if let Some((k, sample, value)) = answer.not_finite(missing) {
            return Err(Error::NotFinite {
                model: model.about.name.clone(),
                lead: form.leads[k],
                sample,
                value,
                leads: fail(twelve),
            });
        }
        if answer.novelty > set.novelty_limit {
            twelve.withheld = Some(Withheld::Unfamiliar);
            return Ok(twelve);
        }
        let correction = calibration
            .filter(|calibration| calibration.fits(&model.about.sha256, &window.leads))
            // It looks at the measured leads themselves, so they have to mean something throughout.
            .filter(|_| window.leads.iter().all(|lead| throughout(&usable, *lead)))
            .and_then(|calibration| {
                calibration.apply(window, |lead| {
                    let k = form.leads.iter().position(|other| *other == lead)?;
                    Some(answer.lead(k))
                })
            });
        complete(
            &mut twelve,
            model,
            set,
            &answer,
            &correction.unwrap_or_default(),
        );
        Ok(twelve)
    }

    /// The model that knows the largest set of the leads that are `there`, the first loaded of equals, and that set.
    fn model_for(&self, there: impl Fn(usize) -> bool) -> Option<(&Model, &LeadSet)> {
        let known = |lead: Lead| lead.row().is_some_and(&there);
        self.library
            .reconstructing()
            .filter_map(|model| Some((model, model.form.set_for(known)?)))
            .reduce(|best, next| {
                let more = next.1.observed.len() > best.1.observed.len();
                if more { next } else { best }
            })
    }

    /// Why no model can complete these leads, if there is one at all and leads are missing.
    fn why_not(&self, twelve: &TwelveLead) -> Option<Withheld> {
        self.library.reconstructing().next()?;
        if !twelve.origin.contains(&LeadOrigin::Absent) {
            return None;
        }
        let there = |row: usize| twelve.origin[row] != LeadOrigin::Absent;
        Some(match self.model_for(there) {
            Some(_) => Withheld::Unusable,
            None => Withheld::TooFewLeads,
        })
    }
}

/// Which samples of each of the twelve rows mean something; `None` for a lead that is absent, or useless for more
/// than half of the window. A derived lead is as good as the worst of the limb leads.
fn usable(window: &Window, twelve: &TwelveLead) -> [Option<Vec<bool>>; 12] {
    let n = window.n_samples;
    let mut rows: [Option<Vec<bool>>; 12] = std::array::from_fn(|_| None);
    let mut limbs = vec![true; n];
    for (k, lead) in window.leads.iter().enumerate() {
        let Some(row) = lead.row() else { continue };
        let samples = window.lead(k);
        let mut usable: Vec<bool> = samples
            .iter()
            .map(|mv| mv.is_finite() && mv.abs() <= MAX_MV)
            .collect();
        for hole in window.unusable.iter().filter(|hole| hole.lead == k) {
            let (from, to) = (hole.samples.start.min(n), hole.samples.end.min(n));
            usable[from..to.max(from)].fill(false);
        }
        if spread(samples, &usable) < MIN_MV {
            usable.fill(false);
        }
        if row < N_LIMB {
            limbs
                .iter_mut()
                .zip(&usable)
                .for_each(|(all, this)| *all &= this);
        }
        rows[row] = Some(usable);
    }
    for (row, usable) in rows.iter_mut().enumerate() {
        if twelve.origin[row] == LeadOrigin::Derived {
            *usable = Some(limbs.clone());
        }
        if let Some(samples) = usable
            && samples.iter().filter(|usable| **usable).count() * 2 < n
        {
            *usable = None;
        }
    }
    rows
}

/// Whether every sample of a lead means something.
fn throughout(usable: &[Option<Vec<bool>>; 12], lead: Lead) -> bool {
    let samples = lead.row().and_then(|row| usable[row].as_ref());
    samples.is_some_and(|samples| samples.iter().all(|usable| *usable))
}

/// From the least to the largest of the usable samples, mV.
fn spread(samples: &[f32], usable: &[bool]) -> f32 {
    let there = samples.iter().zip(usable).filter(|(_, usable)| **usable);
    let (low, high) = there.fold(
        (f32::INFINITY, f32::NEG_INFINITY),
        |(low, high), (mv, _)| (low.min(*mv), high.max(*mv)),
    );
    high - low
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
        bands: Vec::new(),
        n_bands: 0,
        trust: None,
        withheld: None,
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

/// Adds what a model gave where nothing better stands, the limb leads that follow, and how sure it is of each.
fn complete(
    twelve: &mut TwelveLead,
    model: &Model,
    set: &LeadSet,
    answer: &Answer,
    corrected: &[Corrected],
) {
    let form = &model.form;
    let n_bands = form.n_bands;
    twelve.n_bands = n_bands;
    twelve.bands = vec![0.0; 12 * n_bands];
    let mut limb_leads = present_limb_leads(twelve).len();
    for (k, lead) in form.leads.iter().enumerate() {
        let Some(row) = lead.row() else { continue };
        if twelve.origin[row] != LeadOrigin::Absent {
            continue;
        }
        if row < N_LIMB {
            // Two limb leads say all; a third from the model would contradict them.
            if limb_leads >= 2 {
                continue;
            }
            limb_leads += 1;
        }
        let own = corrected.iter().find(|own| own.lead == *lead);
        let samples = own.map_or(answer.lead(k), |own| &own.samples);
        put(twelve, row, LeadOrigin::Reconstructed, samples);
        let factor = set.band[k] * own.map_or(1.0, |own| own.band);
        let band = twelve.bands[row * n_bands..][..n_bands].iter_mut();
        for (half, deviation) in band.zip(answer.deviation(k)) {
            *half = factor * deviation;
        }
    }
    let given: Vec<usize> = (0..N_LIMB)
        .filter(|&row| twelve.origin[row] == LeadOrigin::Absent)
        .collect();
    complete_limb_leads(twelve, LeadOrigin::Reconstructed);
    for row in given {
        band_of_combination(twelve, row);
    }
    twelve.model = Some(model.about.clone());
    twelve.trust = Some(Trust {
        score: 1.0 - share_below(&set.expected_error, answer.expected_error),
        novelty: share_below(&set.novelty, answer.novelty),
    });
}

/// The band of a limb lead that was computed from I and II, whose errors are taken to be independent; where one of
/// them is measured, that is exact.
fn band_of_combination(twelve: &mut TwelveLead, row: usize) {
    let n = twelve.n_bands;
    for k in 0..n {
        let of = |axis: f64, row: usize| axis * f64::from(twelve.bands[row * n + k]);
        let (of_i, of_ii) = axis(row);
        let half = of(of_i, ROW_I).hypot(of(of_ii, ROW_II));
        #[expect(clippy::cast_possible_truncation, reason = "as precise as samples")]
        {
            twelve.bands[row * n + k] = half as f32;
        }
    }
}

/// The share of a population below `value`, by its evenly spaced `quantiles`, straight between them.
fn share_below(quantiles: &[f32], value: f32) -> f32 {
    let above = quantiles.partition_point(|quantile| *quantile < value);
    let steps = (quantiles.len() - 1) as f32;
    match (
        above.checked_sub(1).map(|k| quantiles[k]),
        quantiles.get(above),
    ) {
        (None, _) => 0.0,
        (_, None) => 1.0,
        (Some(low), Some(high)) => (above as f32 - 1.0 + (value - low) / (high - low)) / steps,
    }
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
    for row in ROW_II + 1..N_LIMB {
        if twelve.origin[row] == LeadOrigin::Absent {
            put_combination(twelve, row, origin, (ROW_I, ROW_II));
        }
    }
}

/// The limb lead of a row as a sum of I and II.
fn axis(row: usize) -> (f64, f64) {
    Lead::TWELVE[row].of_i_and_ii().unwrap_or_default()
}

fn present_limb_leads(twelve: &TwelveLead) -> Vec<usize> {
    (0..N_LIMB)
        .filter(|&row| twelve.origin[row] != LeadOrigin::Absent)
        .collect()
}

/// Computes a limb lead from two others. No two of the six are parallel, so any two do.
fn put_combination(twelve: &mut TwelveLead, row: usize, origin: LeadOrigin, from: (usize, usize)) {
    let ((a1, a2), (b1, b2), (t1, t2)) = (axis(from.0), axis(from.1), axis(row));
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
