//! From a window to all that is said of it: twelve leads, and findings.
//!
//! Who says what of a window, in this order:
//!
//! 1. [`statements`] of the values that were measured in it, on measured leads alone.
//! 2. The rhythm model, of the lead of the best quality: on what came before as well, up to half a minute, or, for the
//!    strip of an alarm, on the window alone, so that the strip holds all that a finding rests on.
//! 3. Every classifier that is to run on such a window ([`When`]), on the twelve leads.
//!
//! Where there is no time for all of that, [`Reader::read_measured`] leaves out the twelve leads and those who need them.
//!
//! **The same task gives the same reading**, whichever thread reads it. A classifier that fails takes nothing else with
//! it: its error stands in the reading.

use std::sync::Arc;

use ecg::{Finding, TwelveLead, Window, Withheld};

use crate::statements::{Limits, statements};
use crate::{
    Calibration, Classifier, Error, Library, PulseRhythmDecision, PulseStretch, Reconstructor,
    RhythmDecision, Stretch, When, derive,
};

/// What is to be read.
#[derive(Debug)]
pub enum Task {
    /// A window of the ECG.
    Window(WindowTask),
    /// A stretch of a pulse wave.
    Pulse(PulseStretch),
}

/// What is said of a task.
#[derive(Debug)]
pub enum Said {
    /// Of a window.
    Window(Reading),
    /// Of a pulse wave.
    Pulse(PulseReading),
}

impl Said {
    /// What is said of a window, if it is of one.
    pub fn into_window(self) -> Option<Reading> {
        match self {
            Self::Window(reading) => Some(reading),
            Self::Pulse(_) => None,
        }
    }

    /// What is said of a pulse wave, if it is of one.
    pub fn into_pulse(self) -> Option<PulseReading> {
        match self {
            Self::Pulse(reading) => Some(reading),
            Self::Window(_) => None,
        }
    }
}

/// What is said of a pulse wave.
#[derive(Debug)]
pub struct PulseReading {
    /// What the model decided; `None` without such a model.
    pub decision: Option<PulseRhythmDecision>,
    /// What that says to a person.
    pub finding: Option<Finding>,
}

/// A window, and what is known with it.
#[derive(Debug)]
pub struct WindowTask {
    /// The measured leads; shared, since whoever asks may want them again.
    pub window: Arc<Window>,
    /// The patient's own correction of the model, where there is one.
    pub calibration: Option<Arc<Calibration>>,
    /// What is known of it, and of what came before; `None` where nothing is to be found in it.
    pub stretch: Option<Stretch>,
}

/// What is said of a window.
#[derive(Debug)]
pub struct Reading {
    /// The twelve leads.
    pub twelve: TwelveLead,
    /// What was found on measured leads: statements, then the rhythm.
    pub findings: Vec<Finding>,
    /// What each classifier says of the twelve leads, the most probable first.
    pub diagnoses: Vec<Finding>,
    /// What the rhythm model decided, where it did.
    pub rhythm: Option<RhythmDecision>,
    /// The models that failed. What they should have said is missing.
    pub failures: Vec<Error>,
}

impl Reading {
    /// Everything that was found.
    pub fn all(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().chain(&self.diagnoses)
    }

    /// The same, taken out of the reading.
    pub fn into_all(self) -> impl Iterator<Item = Finding> {
        self.findings.into_iter().chain(self.diagnoses)
    }

    /// Whether there was no time to complete the twelve leads and ask the classifiers.
    pub fn is_partial(&self) -> bool {
        self.twelve.withheld == Some(Withheld::Overloaded)
    }
}

/// Reads windows with the models of a [`Library`] and the limits of statements.
///
/// Immutable, so that threads share one.
#[derive(Debug)]
pub struct Reader {
    reconstructor: Reconstructor,
    limits: Limits,
}

impl Reader {
    /// A reader with these models and limits.
    ///
    /// # Errors
    /// [`Error::Setting`] for a limit that is outside its range.
    pub fn new(library: Library, limits: Limits) -> Result<Self, Error> {
        limits.check()?;
        Ok(Self {
            reconstructor: Reconstructor::new(library),
            limits,
        })
    }

    /// What completes leads, and knows the models.
    pub fn reconstructor(&self) -> &Reconstructor {
        &self.reconstructor
    }

    /// What is said of a window. `when` says for what: classifiers run on every window, on those of alarms as well,
    /// or also on request; on all but the first, what each finding of a classifier looked at is found out too, which takes
    /// as many runs as there are leads and seconds.
    ///
    /// # Errors
    /// [`Error::Window`] for a window that is not of the models' shape or not well formed.
    pub fn read(&self, task: &WindowTask, when: When) -> Result<Reading, Error> {
        let calibration = task.calibration.as_deref();
        let mut failures = Vec::new();
        let twelve = match self.reconstructor.reconstruct(&task.window, calibration) {
            Ok(twelve) => twelve,
            Err(error) => {
                // What is measured and derived stands without the model.
                let Some(leads) = error.leads().cloned() else {
                    return Err(error);
                };
                failures.push(error);
                leads
            }
        };
        let (mut findings, mut diagnoses) = (Vec::new(), Vec::new());
        let mut rhythm = None;
        if let Some(stretch) = &task.stretch {
            rhythm = self.listen(stretch, &task.window, when, &mut findings, &mut failures);
            self.classify(&twelve, when, &mut diagnoses, &mut failures);
        }
        Ok(Reading {
            twelve,
            findings,
            diagnoses,
            rhythm,
            failures,
        })
    }

    /// What is said of a live window when there is no time for all of it: by rules and by the rhythm model, on measured leads.
    /// The leads that are not measured, and do not follow from those that are, are withheld as [`Withheld::Overloaded`];
    /// so no classifier says anything.
    ///
    /// # Errors
    /// [`Error::Window`] for a window that is not well formed.
    pub fn read_measured(&self, task: &WindowTask) -> Result<Reading, Error> {
        let mut twelve = derive(&task.window)?;
        twelve.withheld = Some(Withheld::Overloaded);
        let (mut findings, mut failures) = (Vec::new(), Vec::new());
        let rhythm = task.stretch.as_ref().and_then(|stretch| {
            let when = When::Window;
            self.listen(stretch, &task.window, when, &mut findings, &mut failures)
        });
        Ok(Reading {
            twelve,
            findings,
            diagnoses: Vec::new(),
            rhythm,
            failures,
        })
    }

    /// What is said without twelve leads, by rules and by the rhythm model, as in [`read`](Self::read); what the rhythm
    /// model decided, where it did.
    pub fn listen(
        &self,
        stretch: &Stretch,
        window: &Window,
        when: When,
        findings: &mut Vec<Finding>,
        failures: &mut Vec<Error>,
    ) -> Option<RhythmDecision> {
        let own = stretch.context.clone().within(window.start, window.end);
        findings.extend(statements(&own, &self.limits));
        match self.rhythm(stretch, window, when) {
            Ok(None) => None,
            Ok(Some((decision, finding))) => {
                findings.extend(finding);
                Some(decision)
            }
            Err(error) => {
                failures.push(error);
                None
            }
        }
    }

    /// What the rhythm model decides, and what that says to a person.
    fn rhythm(
        &self,
        stretch: &Stretch,
        window: &Window,
        when: When,
    ) -> Result<Option<(RhythmDecision, Option<Finding>)>, Error> {
        let Some(model) = self.reconstructor.library().rhythm() else {
            return Ok(None);
        };
        let own;
        let stretch = if when == When::Window {
            stretch
        } else {
            own = stretch.since(window.start);
            &own
        };
        let decision = model.decide(stretch.lead, &stretch.samples, &stretch.context)?;
        let finding = model.finding(&decision, &stretch.context);
        Ok(Some((decision, finding)))
    }

    /// What is said of a stretch of a pulse wave.
    ///
    /// # Errors
    /// Those of [`PulseRhythmModel::decide`](crate::PulseRhythmModel::decide).
    pub fn read_pulse(&self, stretch: &PulseStretch) -> Result<PulseReading, Error> {
        let Some(model) = self.reconstructor.library().pulse_rhythm() else {
            return Ok(PulseReading {
                decision: None,
                finding: None,
            });
        };
        let decision = model.decide(stretch)?;
        Ok(PulseReading {
            finding: model.finding(&decision, stretch),
            decision: Some(decision),
        })
    }

    /// What the classifiers say of twelve leads, as in [`read`](Self::read).
    pub fn classify(
        &self,
        twelve: &TwelveLead,
        when: When,
        findings: &mut Vec<Finding>,
        failures: &mut Vec<Error>,
    ) {
        for classifier in self.reconstructor.library().classifiers() {
            if runs(classifier.when(), when) {
                match self::classify(classifier, twelve, when != When::Window) {
                    Ok(said) => findings.extend(said),
                    Err(error) => failures.push(error),
                }
            }
        }
    }
}

/// Whether a classifier that is to run `when` runs on a window that is read for `what`.
fn runs(when: When, what: When) -> bool {
    match when {
        When::Window => true,
        When::Alarm => what != When::Window,
        When::Request => what == When::Request,
    }
}

fn classify(
    classifier: &Classifier,
    twelve: &TwelveLead,
    explain: bool,
) -> Result<Vec<Finding>, Error> {
    let diagnosis = classifier.classify(twelve)?;
    let mut findings = classifier.findings(&diagnosis, twelve);
    if explain && !findings.is_empty() {
        let names: Vec<_> = findings.iter().map(|f| f.label.name.clone()).collect();
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let attributions = classifier.explain(twelve, &names)?;
        for (finding, attribution) in findings.iter_mut().zip(attributions) {
            finding.evidence.attribution = attribution;
        }
    }
    Ok(findings)
}
