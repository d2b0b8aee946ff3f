//! From twelve leads to a differential diagnosis with its evidence.
//!
//! A classifier says of each of its labels how probable it is, calibrated on held-out recordings; leads that are
//! reconstructed have a calibration of their own. **Nothing is said of a window that the twelve leads were withheld
//! of, or where a lead that the model needs is absent or means nothing.** Which parts of the window an answer rests on
//! is found by hiding them one by one; which recordings of the training data are most alike, by the angle between
//! embeddings. All of it is deterministic.

use std::fmt;

use ecg::{
    Attribution, Evidence, Finding, Label, Lead, LeadOrigin, Limit, ModelRef, Prototype, Source,
    TwelveLead, Value, Withheld,
};

use crate::manifest::{Activation, Classification, Example, Manifest, Target, When, WindowShape};
use crate::model::{Plan, Runtime};
use crate::prepare::{Prepare, Seen};
use crate::{Error, tensor};

/// A lead that stays within so little, mV, is flat.
const MIN_MV: f32 = 0.02;
/// Probabilities this near to 0 and 1 are moved there before they are made logits.
const NEAREST: f32 = 1e-7;
/// Labels of the differential that a finding names.
const DIFFERENTIAL: usize = 10;
/// Labels of the set that holds the truth that the line of a finding names.
const NAMED: usize = 5;
/// Recordings of the training data that a finding names.
const PROTOTYPES: usize = 3;

/// A model that says what is in twelve leads.
///
/// Immutable, so that threads share one.
#[derive(Debug, Clone)]
pub struct Classifier {
    model: ModelRef,
    form: Classification,
    prepare: Prepare,
    plan: Plan,
    /// The names of the labels, for as long as the program lives: what is measured goes by such names.
    names: Vec<&'static str>,
}

/// What a classifier says of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnosis {
    /// The classifier.
    pub model: ModelRef,
    /// The differential: every label with its calibrated probability, the most probable first.
    pub probabilities: Vec<(Label, f32)>,
    /// Those of them that hold the truth nine times out of ten, the most probable first; empty where the model does
    /// not say.
    pub conformal: Vec<Label>,
    /// Where the window lies in the space of the model; empty if it has none.
    pub embedding: Vec<f32>,
    /// Why nothing is said, if so; then everything else is empty.
    pub refused: Option<Refused>,
}

/// Why a classifier says nothing of a window. A finding, not a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// The twelve leads were withheld.
    Withheld(Withheld),
    /// A lead that the model needs is not there.
    Absent(Lead),
    /// A lead that the model needs is flat, or not made of numbers.
    Unusable(Lead),
}

impl Refused {
    /// The word for it in rows, labels and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Withheld(reason) => reason.name(),
            Self::Absent(_) => "lead_absent",
            Self::Unusable(_) => "lead_unusable",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Withheld(reason) => write!(f, "twelve leads withheld: {reason}"),
            Self::Absent(lead) => write!(f, "lead {lead} is absent"),
            Self::Unusable(lead) => write!(f, "lead {lead} means nothing"),
        }
    }
}

/// What a run of the model gives.
struct Output {
    /// Of each label, in the order of the manifest.
    logits: Vec<f32>,
    embedding: Vec<f32>,
}

impl Classifier {
    /// A classifier for windows of shape `from`; others are taken too, but take longer.
    pub(crate) fn new(
        manifest: &Manifest,
        form: &Classification,
        from: WindowShape,
        runtime: &Runtime,
        onnx: &[u8],
    ) -> Result<Self, Error> {
        let plan = Plan::build(runtime, manifest, onnx)?;
        let name = |target: &Target| &*String::leak(target.label.name.clone().into_owned());
        Ok(Self {
            model: manifest.model.clone(),
            prepare: Prepare::design(form, from),
            plan,
            names: form.labels.iter().map(name).collect(),
            form: form.clone(),
        })
    }

    /// Name, version and hash.
    pub fn model(&self) -> &ModelRef {
        &self.model
    }

    /// When it is to be run.
    pub fn when(&self) -> When {
        self.form.when
    }

    /// What its manifest says of it.
    pub fn form(&self) -> &Classification {
        &self.form
    }

    /// How probable each label is in a window, or why nothing is said.
    ///
    /// # Errors
    /// [`Error::Classify`] for a model that failed, or answered with what is no number.
    pub fn classify(&self, twelve: &TwelveLead) -> Result<Diagnosis, Error> {
        let mut diagnosis = Diagnosis {
            model: self.model.clone(),
            probabilities: Vec::new(),
            conformal: Vec::new(),
            embedding: Vec::new(),
            refused: self.refused(twelve),
        };
        if diagnosis.refused.is_some() {
            return Ok(diagnosis);
        }
        let output = self.run(&self.prepare.run(twelve).values)?;
        let reconstructed = self.reconstructed(twelve);
        let of = |(target, logit): (&Target, &f32)| {
            (
                target.label.clone(),
                probability(target, *logit, reconstructed),
            )
        };
        let ranked = |pair: &(Label, f32), other: &(Label, f32)| other.1.total_cmp(&pair.1);
        diagnosis.probabilities = self
            .form
            .labels
            .iter()
            .zip(&output.logits)
            .map(of)
            .collect();
        diagnosis.probabilities.sort_by(ranked);
        let within = |(label, p): &(Label, f32)| {
            let limit = self.target(label)?.conformal?;
            (*p >= limit).then(|| label.clone())
        };
        diagnosis.conformal = diagnosis.probabilities.iter().filter_map(within).collect();
        diagnosis.embedding = output.embedding;
        Ok(diagnosis)
    }

    /// What the model is shown of a window, `[lead, sample]`: to check it against what it was trained on.
    pub fn prepared(&self, twelve: &TwelveLead) -> Vec<f32> {
        self.prepare.run(twelve).values
    }

    /// What the model gives of each label for an input that was prepared elsewhere, `[lead, sample]`, as logits: to check
    /// it against the program that it was exported from.
    ///
    /// # Errors
    /// [`Error::Classify`] for an input of another size, and as [`classify`](Self::classify).
    pub fn logits(&self, prepared: &[f32]) -> Result<Vec<f32>, Error> {
        let expected = self.form.leads.len() * self.form.input.n_samples;
        if prepared.len() != expected {
            return Err(Error::Classify {
                model: self.model.name.clone(),
                reason: format!("{} values, where it takes {expected}", prepared.len()),
            });
        }
        Ok(self.run(prepared)?.logits)
    }

    /// The labels that are probable enough to be said, with what speaks for each; the most probable first.
    /// `diagnosis` is what this classifier said of `twelve`.
    pub fn findings(&self, diagnosis: &Diagnosis, twelve: &TwelveLead) -> Vec<Finding> {
        let prototypes = self.nearest(&diagnosis.embedding);
        let origin = |lead: &Lead| Some((*lead, twelve.origin[lead.row()?]));
        let leads: Vec<(Lead, LeadOrigin)> = self.form.leads.iter().filter_map(origin).collect();
        let mut findings = Vec::new();
        for (label, p) in &diagnosis.probabilities {
            let Some(target) = self.target(label) else {
                continue;
            };
            if *p < target.threshold {
                continue;
            }
            findings.push(Finding {
                label: label.clone(),
                start: twelve.start,
                end: twelve.end,
                probability: Some(*p),
                source: Source::Model(self.model.clone()),
                leads: leads.clone(),
                evidence: Evidence {
                    text: text(diagnosis, label, *p, &prototypes),
                    values: self.values(diagnosis),
                    beats: Vec::new(),
                    attribution: Attribution::default(),
                    prototypes: prototypes.clone(),
                },
            });
        }
        findings
    }

    /// How much the probability of each of `labels`, given by their names, falls when the model may not see a lead, or
    /// a second of all leads: those are put to the mean. The parts are equal, about a second each, and cover what the
    /// model sees of the window, which is its middle where the model takes less. A label that the model does not have,
    /// and any label of a window of which it says nothing, comes out empty.
    ///
    /// # Errors
    /// [`Error::Classify`] as [`classify`](Self::classify).
    pub fn explain(&self, twelve: &TwelveLead, labels: &[&str]) -> Result<Vec<Attribution>, Error> {
        let mut attributions = vec![Attribution::default(); labels.len()];
        if self.refused(twelve).is_some() {
            return Ok(attributions);
        }
        let reconstructed = self.reconstructed(twelve);
        let Seen { values, real } = self.prepare.run(twelve);
        let place = |name: &&str| self.names.iter().position(|other| other == name);
        let places: Vec<_> = labels.iter().map(place).collect();
        let probabilities = |values: &[f32]| -> Result<Vec<Option<f32>>, Error> {
            let logits = self.run(values)?.logits;
            let of = |k: usize| probability(&self.form.labels[k], logits[k], reconstructed);
            Ok(places.iter().map(|place| place.map(of)).collect())
        };
        let whole = probabilities(&values)?;
        let n = self.form.input.n_samples;
        let falls = |hidden: &dyn Fn(usize, usize) -> bool| {
            let show = |(k, x): (usize, &f32)| if hidden(k / n, k % n) { 0.0 } else { *x };
            let left: Vec<f32> = values.iter().enumerate().map(show).collect();
            let pairs = whole.iter().zip(probabilities(&left)?);
            let fall = |(whole, left): (&Option<f32>, Option<f32>)| Some((*whole)? - left?);
            Ok::<Vec<Option<f32>>, Error>(pairs.map(fall).collect())
        };
        for (row, lead) in self.form.leads.iter().enumerate() {
            let falls = falls(&|of, _| of == row)?;
            for (attribution, fall) in attributions.iter_mut().zip(falls) {
                attribution.leads.extend(fall.map(|fall| (*lead, fall)));
            }
        }
        let n_parts = self.n_parts(real.len());
        for part in 0..n_parts {
            let edge = |part: usize| real.start + part * real.len() / n_parts;
            let falls = falls(&|_, sample| (edge(part)..edge(part + 1)).contains(&sample))?;
            for (attribution, fall) in attributions.iter_mut().zip(falls) {
                attribution.parts.extend(fall);
            }
        }
        Ok(attributions)
    }

    /// The recordings of the training data that are most alike, the nearest first, by the cosine distance.
    pub fn nearest(&self, embedding: &[f32]) -> Vec<Prototype> {
        let examples = self.form.examples.iter();
        let mut near: Vec<(f32, &Example)> = examples
            .filter_map(|example| Some((distance(&example.embedding, embedding)?, example)))
            .collect();
        near.sort_by(|a, b| a.0.total_cmp(&b.0));
        let prototype = |(distance, example): (f32, &Example)| Prototype {
            recording: example.recording.clone().into(),
            labels: example.labels.iter().cloned().map(Into::into).collect(),
            distance,
        };
        near.into_iter().take(PROTOTYPES).map(prototype).collect()
    }

    /// Why nothing can be said of a window.
    fn refused(&self, twelve: &TwelveLead) -> Option<Refused> {
        if let Some(reason) = twelve.withheld {
            return Some(Refused::Withheld(reason));
        }
        self.form.leads.iter().find_map(|lead| {
            let Some(samples) = twelve.lead(*lead) else {
                return Some(Refused::Absent(*lead));
            };
            let least = samples.iter().copied().fold(f32::INFINITY, f32::min);
            let most = samples.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let numbers = samples.iter().all(|mv| mv.is_finite());
            (!numbers || most - least < MIN_MV).then_some(Refused::Unusable(*lead))
        })
    }

    /// Whether a lead of the chest that the model sees is reconstructed.
    fn reconstructed(&self, twelve: &TwelveLead) -> bool {
        let is = |lead: &Lead| {
            let row = lead.row().filter(|_| lead.of_i_and_ii().is_none());
            row.is_some_and(|row| twelve.origin[row] == LeadOrigin::Reconstructed)
        };
        self.form.leads.iter().any(is)
    }

    /// Runs the model on what was prepared.
    fn run(&self, values: &[f32]) -> Result<Output, Error> {
        let fail = |reason| Error::Classify {
            model: self.model.name.clone(),
            reason,
        };
        let input = tensor::lay(&self.form, values);
        let mut outputs = self.plan.run(&input).map_err(fail)?.into_iter();
        let answer = outputs.next().unwrap_or_default();
        let embedding = outputs.next().unwrap_or_default();
        if answer.len() != self.form.labels.len()
            || embedding.len() != self.form.embedding.unwrap_or_default()
        {
            let reason = "its outputs have another form than when it was loaded";
            return Err(fail(reason.to_owned()));
        }
        if let Some(value) = embedding.iter().find(|value| !value.is_finite()) {
            return Err(fail(format!("it gave {value} in its embedding")));
        }
        for (value, name) in answer.iter().zip(&self.names) {
            let known = match self.form.activation {
                Activation::None => (0.0..=1.0).contains(value),
                Activation::Sigmoid | Activation::Softmax => value.is_finite(),
            };
            if !known {
                return Err(fail(format!("it gave {value} for {name}")));
            }
        }
        Ok(Output {
            logits: logits(self.form.activation, answer),
            embedding,
        })
    }

    fn target(&self, label: &Label) -> Option<&Target> {
        let mut targets = self.form.labels.iter();
        targets.find(|target| target.label.name == label.name)
    }

    /// The differential as numbers, each with the limit of a finding.
    fn values(&self, diagnosis: &Diagnosis) -> Vec<Value> {
        let value = |(label, p): &(Label, f32)| {
            let place = self.names.iter().position(|name| *name == label.name)?;
            let threshold = self.form.labels[place].threshold;
            let beyond = if *p >= threshold {
                Limit::Above
            } else {
                Limit::Below
            };
            Some(Value {
                name: self.names[place],
                lead: None,
                value: *p,
                unit: "",
                limit: Some(beyond(threshold)),
            })
        };
        let differential = diagnosis.probabilities.iter().take(DIFFERENTIAL);
        differential.filter_map(value).collect()
    }

    /// Into how many parts what the model sees is cut: about a second each.
    fn n_parts(&self, n_samples: usize) -> usize {
        let per_second = self.form.input.rate.count(1.0).0;
        let per_second = usize::try_from(per_second).unwrap_or(usize::MAX).max(1);
        ((n_samples + per_second / 2) / per_second).max(1)
    }
}

/// What the output of the model is as logits of each label for itself.
fn logits(activation: Activation, mut values: Vec<f32>) -> Vec<f32> {
    if activation == Activation::Softmax {
        let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for x in &mut values {
            *x = (*x - most).exp();
        }
        let sum: f32 = values.iter().sum();
        for x in &mut values {
            *x /= sum;
        }
    }
    if activation != Activation::Sigmoid {
        for p in &mut values {
            let inner = p.clamp(NEAREST, 1.0 - NEAREST);
            *p = (inner / (1.0 - inner)).ln();
        }
    }
    values
}

/// The calibrated probability of a label.
fn probability(target: &Target, logit: f32, reconstructed: bool) -> f32 {
    let platt = if reconstructed {
        target.calibration_reconstructed
    } else {
        target.calibration
    };
    // Both ends are numbers: an infinite logit makes 0 or 1.
    1.0 / (1.0 + (-(platt.slope * logit + platt.offset)).exp())
}

/// The cosine distance, 0 to 2; `None` where one of them has no direction or they are of two spaces.
fn distance(a: &[f32], b: &[f32]) -> Option<f32> {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum()
    };
    let norm = (dot(a, a) * dot(b, b)).sqrt();
    #[expect(clippy::cast_possible_truncation, reason = "as precise as embeddings")]
    let distance = (1.0 - dot(a, b) / norm).clamp(0.0, 2.0) as f32;
    (a.len() == b.len() && norm > 0.0).then_some(distance)
}

/// One line: the label, the set that holds the truth, what comes next, and the nearest recording.
fn text(diagnosis: &Diagnosis, label: &Label, p: f32, prototypes: &[Prototype]) -> String {
    let mut parts = vec![format!("{label} {p:.2}")];
    if !diagnosis.conformal.is_empty() {
        let (named, more) = diagnosis
            .conformal
            .split_at(diagnosis.conformal.len().min(NAMED));
        let named: Vec<&str> = named.iter().map(|label| &*label.text).collect();
        let more = match more.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        parts.push(format!("90 % set: {}{more}", named.join(", ")));
    }
    let mut ranked = diagnosis.probabilities.iter();
    ranked.find(|(other, _)| other == label);
    if let Some((next, p)) = ranked.next() {
        parts.push(format!("next: {next} {p:.2}"));
    }
    if let Some(nearest) = prototypes.first() {
        let labels = nearest.labels.join(", ");
        parts.push(format!("nearest: {} ({labels})", nearest.recording));
    }
    parts.join("; ")
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
