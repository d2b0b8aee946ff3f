//! Twelve leads from fewer, against the twelve that were recorded.
//!
//! Each recording is cut into windows as the service cuts them ([`Cutter`]). A window keeps the leads that are
//! named as observed; what the service's own reconstructor makes of the others is compared with what was
//! recorded, sample by sample, over that part of the window that was recorded. **Missing** are all leads of the
//! twelve that are not observed, those that follow from two observed limb leads included.
//!
//! Per lead of a window: Pearson r, root mean square and mean absolute error in mV, and whether samples lie in
//! the 90 % band. Means are over windows of a record, then over records, every record the same. A lead that
//! was recorded flat has no r and is left out. Beside stand, on the same windows, the mean of each lead over
//! the training records (a constant), the least-squares matrix fitted on them ([`Moments`]) and, where
//! asked for, least squares and the model's own calibration fitted on another recording of the same patient, and
//! the calibration on the first half of a window for its second half.
//!
//! What a clinician would read is compared too: the service's own measurements on the recorded and on the
//! reconstructed twelve leads, R and S amplitude, ST 60 ms after the J point, intervals.

mod clinical;
mod moments;
mod report;

use std::collections::BTreeMap;
use std::path::Path;

use ecg::{Lead, TwelveLead, Window};
use infer::{Calibration, Reconstructor};

use super::report::Excluded;
use crate::record::collection::{self, Entry};
use crate::record::{self, Record};
use crate::wall;
use crate::windows::{Cut, Cutter};

pub use clinical::Readings;
pub use moments::{Linear, Moments};
pub use report::Report;

/// A lead that stays within so little, mV, was not recorded.
const FLAT_MV: f32 = 0.01;

/// What is compared how.
pub struct Options {
    /// The leads that are kept of each window.
    pub observed: Vec<Lead>,
    /// Only records in these folds; all where there is none.
    pub folds: Vec<u8>,
    /// Whether to calibrate on another recording of the same patient as well.
    pub personal: bool,
    /// What reconstructs.
    pub reconstructor: Reconstructor,
}

/// One lead of a window, reconstructed, against what was recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeadScore {
    /// The lead.
    pub lead: Lead,
    /// Pearson's r; `None` where either is constant.
    pub r: Option<f64>,
    /// Root mean square of the error, mV.
    pub rmse_mv: f64,
    /// Mean of its absolute value, mV.
    pub mae_mv: f64,
    /// Share of samples within the band; `None` where there is no band.
    pub covered: Option<f64>,
}

/// What came of one window.
#[derive(Debug, Clone)]
pub struct WindowScore {
    /// The missing leads as the model gave them; none where it withheld them.
    pub model: Vec<LeadScore>,
    /// As the mean over training records has them.
    pub mean: Vec<LeadScore>,
    /// As least squares has them.
    pub least_squares: Vec<LeadScore>,
    /// As the model calibrated on another recording has them.
    pub calibrated: Vec<LeadScore>,
    /// As least squares fitted on another recording has them.
    pub personal: Vec<LeadScore>,
    /// The second half of the window, as the model gave it and as calibrated on the first half.
    pub halves: Option<[Vec<LeadScore>; 2]>,
    /// Trust and novelty.
    pub trust: Option<ecg::Trust>,
    /// Why nothing was reconstructed.
    pub withheld: Option<ecg::Withheld>,
    /// What a clinician would read, recorded and reconstructed.
    pub clinical: Readings,
    /// What the model took, seconds.
    pub seconds: f64,
}

/// What came of one record.
pub struct RecordScore {
    /// Its name.
    pub record: String,
    /// Its windows, at least one.
    pub windows: Vec<WindowScore>,
}

/// Scores every recording of `dir` that has the twelve leads; the others are listed as left out.
///
/// # Errors
/// A folder that cannot be read, or observed leads that no model starts from.
pub fn run(
    dir: &Path,
    config: &dsp::Config,
    options: &Options,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Report, record::Error> {
    let cutter = Cutter::new(config, None).map_err(|reason| record::Error::Choice {
        record: dir.display().to_string(),
        reason,
    })?;
    let entries: Vec<Entry> = collection::recordings(dir)?
        .into_iter()
        .filter(|entry| super::is_wanted(entry.fold, &options.folds))
        .collect();
    let mut by_patient: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.unfit.is_none()) {
        if let Some(patient) = &entry.patient {
            by_patient.entry(patient).or_default().push(entry);
        }
    }
    let job = Job {
        cutter,
        config,
        options,
        linear: Moments::shipped().map(&options.observed),
    };
    let scores = super::on_all_cores(&entries, progress, |entry| {
        let others = entry.patient.as_deref().and_then(|id| by_patient.get(id));
        let other = others.and_then(|others| reference_of(entry, others));
        job.score(entry, other)
    });
    let mut report = Report::new(options);
    for (entry, score) in entries.iter().zip(scores) {
        let record = entry.name.clone();
        match score {
            Ok(windows) => report.records.push(RecordScore { record, windows }),
            Err(reason) => report.excluded.push(Excluded { record, reason }),
        }
    }
    Ok(report)
}

/// The recording before this one of the same patient, or the one after where this is the first.
fn reference_of<'a>(entry: &Entry, others: &[&'a Entry]) -> Option<&'a Entry> {
    let place = others.iter().position(|other| other.path == entry.path)?;
    let before = place.checked_sub(1).map(|before| others[before]);
    before.or_else(|| others.get(place + 1).copied())
}

/// What every recording is scored with.
struct Job<'a> {
    cutter: Cutter,
    config: &'a dsp::Config,
    options: &'a Options,
    linear: Linear,
}

impl Job<'_> {
    fn score(&self, entry: &Entry, other: Option<&Entry>) -> Result<Vec<WindowScore>, String> {
        if let Some(reason) = &entry.unfit {
            return Err(reason.clone());
        }
        let cuts = self.cuts(entry)?;
        let reference = match other {
            Some(other) if self.options.personal => Some(self.cuts(other)?),
            _ => None,
        };
        let observed = &self.options.observed;
        let personal = reference.as_ref().map(|cuts| {
            let calibration = Calibration::fit(&self.options.reconstructor, observed, &parts(cuts));
            let linear = Moments::of(&parts(cuts)).map(observed);
            (calibration, linear)
        });
        cuts.iter()
            .map(|cut| {
                let window = cut.window.only(observed);
                let before = wall::instant();
                let twelve = self.options.reconstructor.reconstruct(&window, None);
                let seconds = before.elapsed().as_secs_f64();
                let twelve = twelve.map_err(|error| error.to_string())?;
                let (mut calibrated, mut own) = (Vec::new(), Vec::new());
                if let Some((calibration, linear)) = &personal {
                    own = self.compare(cut, |lead| linear.lead(&window, lead), None);
                    // A recording that cannot be calibrated on leaves the model as it is.
                    calibrated = self.calibrated(cut, &window, calibration.as_ref().ok())?;
                }
                let halves = if self.options.personal {
                    self.halves(cut, &window, &twelve)?
                } else {
                    None
                };
                Ok(WindowScore {
                    model: self.compare(cut, of(&twelve), Some(&twelve)),
                    mean: self.compare(cut, |_| Some(vec![0.0; window.n_samples]), None),
                    least_squares: self.compare(cut, |lead| self.linear.lead(&window, lead), None),
                    calibrated,
                    personal: own,
                    halves,
                    trust: twelve.trust,
                    withheld: twelve.withheld,
                    clinical: Readings::of(&cut.window, &twelve, self.config),
                    seconds,
                })
            })
            .collect()
    }

    /// The missing leads of a window as the model has them with a calibration.
    fn calibrated(
        &self,
        cut: &Cut,
        window: &Window,
        calibration: Option<&Calibration>,
    ) -> Result<Vec<LeadScore>, String> {
        let twelve = self.options.reconstructor.reconstruct(window, calibration);
        let twelve = twelve.map_err(|error| error.to_string())?;
        Ok(self.compare(cut, of(&twelve), Some(&twelve)))
    }

    /// The second half of a window as the model has it, and with a calibration on the first half; `None` where that
    /// cannot be calibrated on.
    fn halves(
        &self,
        cut: &Cut,
        window: &Window,
        twelve: &TwelveLead,
    ) -> Result<Option<[Vec<LeadScore>; 2]>, String> {
        let middle = usize::midpoint(cut.real.start, cut.real.end);
        let first = [(&cut.window, cut.real.start..middle)];
        let (reconstructor, observed) = (&self.options.reconstructor, &self.options.observed);
        let Ok(calibration) = Calibration::fit(reconstructor, observed, &first) else {
            return Ok(None);
        };
        let second = Cut {
            window: cut.window.clone(),
            real: middle..cut.real.end,
        };
        let plain = self.compare(&second, of(twelve), Some(twelve));
        let calibrated = self.calibrated(&second, window, Some(&calibration))?;
        Ok(Some([plain, calibrated]))
    }

    /// The windows of a recording that has all twelve leads.
    fn cuts(&self, entry: &Entry) -> Result<Vec<Cut>, String> {
        let record = Record::open(&entry.path).map_err(|error| error.to_string())?;
        let names = Lead::TWELVE.map(Lead::name);
        self.cutter.cut(record, &names)
    }

    /// The missing leads of a window, as `given`, against what was recorded.
    fn compare(
        &self,
        cut: &Cut,
        given: impl Fn(Lead) -> Option<Vec<f32>>,
        twelve: Option<&TwelveLead>,
    ) -> Vec<LeadScore> {
        let mut scores = Vec::new();
        for (k, lead) in cut.window.leads.iter().enumerate() {
            if self.options.observed.contains(lead) {
                continue;
            }
            let whole = cut.window.lead(k);
            let truth = &whole[cut.real.clone()];
            let flat = truth.iter().fold((f32::MAX, f32::MIN), |(low, high), mv| {
                (low.min(*mv), high.max(*mv))
            });
            if flat.1 - flat.0 < FLAT_MV {
                continue;
            }
            let Some(found) = given(*lead) else { continue };
            let band = twelve.and_then(|twelve| twelve.band(*lead).map(|band| (twelve, band)));
            let covered = band.map(|(twelve, band)| {
                let step = twelve.n_samples / band.len().max(1);
                let within = |k: &usize| (found[*k] - whole[*k]).abs() <= band[*k / step];
                let inside = cut.real.clone().filter(within).count();
                inside as f64 / cut.real.len() as f64
            });
            let found = &found[cut.real.clone()];
            let errors = || found.iter().zip(truth).map(|(a, b)| f64::from(a - b));
            let n = truth.len() as f64;
            scores.push(LeadScore {
                lead: *lead,
                r: infer::pearson(found, truth),
                rmse_mv: (errors().map(|e| e * e).sum::<f64>() / n).sqrt(),
                mae_mv: errors().map(f64::abs).sum::<f64>() / n,
                covered,
            });
        }
        scores
    }
}

/// The leads that are there.
fn of(twelve: &TwelveLead) -> impl Fn(Lead) -> Option<Vec<f32>> {
    |lead| twelve.lead(lead).map(<[f32]>::to_vec)
}

/// What was recorded of each window.
fn parts(cuts: &[Cut]) -> Vec<(&Window, std::ops::Range<usize>)> {
    cuts.iter()
        .map(|cut| (&cut.window, cut.real.clone()))
        .collect()
}

/// The missing leads that no law gives: with two limb leads observed, only those of the chest.
fn estimated_leads(observed: &[Lead]) -> Vec<Lead> {
    let limb = |lead: &Lead| lead.row().is_some_and(|row| row < 6);
    let derived = observed.iter().filter(|lead| limb(lead)).count() >= 2;
    Lead::TWELVE
        .into_iter()
        .filter(|lead| !(observed.contains(lead) || derived && limb(lead)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_recording_is_the_one_before_else_the_one_after() {
        let entry = |name: &str| Entry {
            path: name.into(),
            name: name.to_owned(),
            patient: Some("p".to_owned()),
            fold: None,
            unfit: None,
        };
        let all = [entry("1"), entry("2"), entry("3")];
        let others: Vec<&Entry> = all.iter().collect();
        let name = |k: usize| reference_of(&all[k], &others).map(|other| other.name.as_str());
        assert_eq!(
            [name(0), name(1), name(2)],
            [Some("2"), Some("1"), Some("2")]
        );
        assert_eq!(reference_of(&all[0], &others[..1]), None);
    }
}
