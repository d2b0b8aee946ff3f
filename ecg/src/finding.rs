//! What was found in a stretch of a record, how sure that is, and what it rests on.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::{Error, Lead, LeadOrigin, ModelRef, SampleIndex};

/// What a finding says, in words and, where there is one, in a code of SNOMED CT.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label {
    /// A short word for it in rows, labels and JSON, such as `atrial_fibrillation`; unique among the labels of one source.
    pub name: Cow<'static, str>,
    /// What a person reads, such as `Atrial fibrillation`.
    pub text: Cow<'static, str>,
    /// The concept of SNOMED CT.
    pub snomed: Option<u64>,
}

impl Label {
    /// A label that the program knows.
    pub const fn new(name: &'static str, text: &'static str, snomed: Option<u64>) -> Self {
        Self {
            name: Cow::Borrowed(name),
            text: Cow::Borrowed(text),
            snomed,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Who says a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A rule on measured values: what it says follows from its evidence.
    Rule,
    /// A model.
    Model(ModelRef),
}

/// Something found in a stretch of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What.
    pub label: Label,
    /// The first sample of the stretch that it is about.
    pub start: SampleIndex,
    /// The first sample after that stretch.
    pub end: SampleIndex,
    /// 0 to 1, calibrated: of findings said with 0.8, 80 % are true in held-out recordings. `None` for a rule.
    pub probability: Option<f32>,
    /// Who says so.
    pub source: Source,
    /// The leads that it rests on, and where each comes from.
    pub leads: Vec<(Lead, LeadOrigin)>,
    /// Why.
    pub evidence: Evidence,
}

/// What a finding rests on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evidence {
    /// One line, grounded in the numbers: `irregular RR (CV 0.21), no P in 9 of 10 beats, 112/min`.
    pub text: String,
    /// The numbers.
    pub values: Vec<Value>,
    /// The R peaks of the beats that they were measured on.
    pub beats: Vec<SampleIndex>,
    /// What a model looked at; empty for a rule, and where nobody asked.
    pub attribution: Attribution,
    /// Recordings that a model finds most alike, the nearest first.
    pub prototypes: Vec<Prototype>,
}

/// A measured number, and the limit that it is beyond.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// What was measured, such as `qrs_ms`.
    pub name: &'static str,
    /// On which lead, where it belongs to one.
    pub lead: Option<Lead>,
    /// How much.
    pub value: f32,
    /// In what, such as `ms`; empty for a share or a count.
    pub unit: &'static str,
    /// The limit that the statement depends on.
    pub limit: Option<Limit>,
}

/// A limit, and on which side of it the value is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// The value is more than this.
    Above(f32),
    /// The value is less than this.
    Below(f32),
}

/// How much a model's probability falls when it may not see a part.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Attribution {
    /// Of each lead.
    pub leads: Vec<(Lead, f32)>,
    /// Of equal parts of the stretch, in order.
    pub parts: Vec<f32>,
}

/// A recording of the training data.
#[derive(Debug, Clone, PartialEq)]
pub struct Prototype {
    /// Its database and name, such as `ptbxl/00017_hr`.
    pub recording: Cow<'static, str>,
    /// What it is labelled with.
    pub labels: Vec<Cow<'static, str>>,
    /// How far it is in the space of the model: the cosine distance, 0 to 2.
    pub distance: f32,
}

/// How a finding stands to what is usual for a patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// Not usual.
    New,
    /// Usual, and farther beyond its limit than usual.
    Worse,
    /// Usual, and less far.
    Better,
    /// As usual.
    Unchanged,
}

impl Change {
    /// Every change.
    pub const ALL: [Change; 4] = [Self::New, Self::Worse, Self::Better, Self::Unchanged];

    /// The word for it in rows and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Change::New => "new",
            Change::Worse => "worse",
            Change::Better => "better",
            Change::Unchanged => "unchanged",
        }
    }
}

impl FromStr for Change {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|change| change.name() == name)
            .ok_or_else(|| Error::Word {
                what: "change of a finding",
                value: name.to_owned(),
            })
    }
}
