//! Statements that follow from measured values: rhythm, conduction, axis, voltage, QT and ST.
//!
//! A statement names what was measured, the limit that it is beyond and the beats that it was measured on, so that it can
//! be checked by hand: **every value of its evidence follows from the [`Context`] and those beats.** An RR interval
//! belongs to the beat that ends it. Values are medians over the beats; those of classes S, V, F and Q count for nothing
//! but ectopic beats, pauses and wide-QRS tachycardia, those without a class count as normal. A beat says nothing of a
//! lead, and an interval nothing at all, where [`Quality`](ecg::Quality) calls the second unusable. Only measured leads
//! are looked at: reconstructed ones are not in a context. Nothing here remembers: how long something must last is the
//! caller's.
//!
//! | statement | when | from |
//! |---|---|---|
//! | sinus (bradycardia, tachycardia, arrhythmia; AV block; normal) | P in 75 % of the beats, PR steady (median deviation at most 25 ms), RR not wild (CV at most 0.2) | convention |
//! | bradycardia | < 50/min, by median and mean RR | A |
//! | tachycardia | > 100/min, by both | B |
//! | sinus arrhythmia | RR apart by > 120 ms, without the longest and the shortest | C |
//! | pause, long pause | RR > 2 s, > 3 s | convention of Holter reports, A |
//! | first-degree AV block | PR > 200 ms | A |
//! | wide QRS | > 120 ms | D |
//! | LBBB pattern | wide; V1 negative; R in I, V5 or V6, ST or T opposite to it in one of them, Q in none | D |
//! | RBBB pattern | wide; V1 positive; S in I, V5 or V6 | D |
//! | wide-QRS tachycardia | both limits | B |
//! | left, right, extreme axis | below -30°, above 90°, below -90° | D |
//! | low voltage | < 0.5 mV from peak to peak in all limb leads, of two and more; < 1 mV in all chest leads, of four and more | convention |
//! | long corrected QT | > 460 ms, the limit for women, that for men being 450; RR CV at most 0.1 | E |
//! | short corrected QT | < 360 ms; E has 390 | F |
//! | ST elevation | at J, J + 60 and J + 80 > 0.1 mV; in V2 and V3 > 0.25 mV, the highest of the limits by sex and age | G |
//! | ST depression | J + 60 and J + 80 < -0.05 mV, not rising by more than 1 mV/s | G |
//! | ventricular tachycardia | three V and more in a row, > 100/min | H |
//! | idioventricular rhythm | three V and more in a row, slower; pacing looks the same | H |
//! | ventricular couplet, bigeminy, premature beats | two V in a row; three singles and more in turn with one N; singles; QRS not <= 110 ms | H, D |
//! | supraventricular premature beats | S, after less than 80 % of the median RR | convention |
//!
//! A: Kusumoto et al., ACC/AHA/HRS guideline on bradycardia and conduction delay, Circulation 140, 2019. B: Page et al.,
//! ACC/AHA/HRS guideline on supraventricular tachycardia, Circulation 133, 2016. C: Surawicz and Knilans, Chou's
//! Electrocardiography in Clinical Practice, 6th ed., 2008. D: Surawicz et al., AHA/ACCF/HRS recommendations for the
//! electrocardiogram III, Circulation 119, 2009. E: the same, IV (Rautaharju et al.). F: Zeppenfeld et al., ESC guidelines
//! on ventricular arrhythmias, Eur Heart J 43, 2022. G: Thygesen et al., Fourth Universal Definition of Myocardial
//! Infarction, Circulation 138, 2018. H: Al-Khatib et al., AHA/ACC/HRS guideline on ventricular arrhythmias, Circulation
//! 138, 2018.
//!
//! Where two statements exclude each other:
//!
//! | said | not said then | because |
//! |---|---|---|
//! | long pause | pause | it is one |
//! | sinus bradycardia, sinus tachycardia | bradycardia, tachycardia | they are |
//! | wide-QRS tachycardia | tachycardia, sinus tachycardia, wide QRS, bundle branch blocks, AV block | what it is takes more than rules |
//! | bundle branch block | wide QRS | it is one |
//! | any wide QRS | QT, ST | repolarisation follows depolarisation |
//! | any other | normal sinus rhythm | |
//!
//! A rate takes three intervals, sinus arrhythmia six, a pause or an ectopic beat is said of one, everything else of
//! [`Limits::min_beats`].
//!
//! G has its limits at J, where no level is measured: it is taken from the line through those 60 and 80 ms after it. A
//! lead that stands alone, with no contiguous one measured, is enough for a statement on ST and the text says so; where
//! there are contiguous leads, two of them must agree. aVR is not looked at, nor is hypertrophy, though it shifts ST too.
//! Notches are not measured, so that a bundle branch block is a pattern of heights. Paced rhythms are not told: class Q
//! does not tell paced beats from unclassifiable ones.

mod conduction;
mod ectopy;
pub mod labels;
mod limits;
mod repolarisation;
mod rhythm;
mod shape;
#[cfg(test)]
mod tests;
mod view;

use ecg::{Evidence, Finding, Label, Lead, LeadOrigin, Limit, SampleIndex, Source, Value};

pub use limits::{Correction, Limits};

use crate::Context;
use rhythm::Rhythm;
use view::{Seen, View};

/// What follows from the values of a context, in the order of [`labels::ALL`].
pub fn statements(context: &Context, limits: &Limits) -> Vec<Finding> {
    if context.leads.is_empty() {
        return Vec::new();
    }
    let view = View::of(context);
    let rhythm = Rhythm::own(&view);
    let sinus = rhythm.as_ref().filter(|rhythm| rhythm.sinus(limits));
    let qrs = conduction::Qrs::of(&view, limits);
    let fast_and_wide = conduction::tachycardia(&view, limits);
    let mut drafts = Vec::new();
    drafts.extend(rhythm::pause(&view, limits));
    if fast_and_wide.is_none() {
        drafts.extend(
            rhythm
                .as_ref()
                .and_then(|rhythm| rhythm.rate(&view, limits)),
        );
        drafts.extend(sinus.and_then(|rhythm| rhythm.av_block(&view, limits)));
        drafts.extend(qrs.as_ref().and_then(|qrs| qrs.wide(&view, limits)));
    }
    drafts.extend(sinus.and_then(|rhythm| rhythm.arrhythmia(&view, limits)));
    drafts.extend(ectopy::drafts(&view));
    drafts.extend(shape::axis(&view, limits));
    drafts.extend(shape::low_voltage(&view, limits));
    if fast_and_wide.is_none() && !qrs.as_ref().is_some_and(|qrs| qrs.qrs_ms > limits.qrs_ms) {
        drafts.extend(repolarisation::qtc(&view, limits));
        drafts.extend(repolarisation::st(&view, limits));
    }
    drafts.extend(fast_and_wide);
    if drafts.is_empty() {
        let known = sinus.filter(|_| qrs.is_some());
        drafts.extend(known.and_then(|rhythm| rhythm.normal(&view, limits)));
    }
    let place = |draft: &Draft| labels::ALL.iter().position(|label| *label == draft.label);
    drafts.sort_by_key(place);
    drafts
        .into_iter()
        .map(|draft| draft.finish(context))
        .collect()
}

/// A statement in the making.
struct Draft {
    label: Label,
    text: String,
    values: Vec<Value>,
    beats: Vec<SampleIndex>,
    leads: Vec<Lead>,
}

impl Draft {
    fn finish(self, context: &Context) -> Finding {
        let leads = self.leads.into_iter();
        Finding {
            label: self.label,
            start: context.start,
            end: context.end,
            probability: None,
            source: Source::Rule,
            leads: leads.map(|lead| (lead, LeadOrigin::Measured)).collect(),
            evidence: Evidence {
                text: self.text,
                values: self.values,
                beats: self.beats,
                ..Evidence::default()
            },
        }
    }
}

/// The R peaks of beats.
fn peaks(beats: &[Seen<'_>]) -> Vec<SampleIndex> {
    beats.iter().map(|beat| beat.at).collect()
}

/// A value without a limit.
fn plain(name: &'static str, value: f32, unit: &'static str) -> Value {
    Value {
        name,
        lead: None,
        value,
        unit,
        limit: None,
    }
}

/// A value that is more than a limit.
fn above(name: &'static str, value: f32, unit: &'static str, limit: f32) -> Value {
    Value {
        limit: Some(Limit::Above(limit)),
        ..plain(name, value, unit)
    }
}

/// A value that is less than a limit.
fn below(name: &'static str, value: f32, unit: &'static str, limit: f32) -> Value {
    Value {
        limit: Some(Limit::Below(limit)),
        ..plain(name, value, unit)
    }
}

/// A value of a lead.
fn on(lead: Lead, mut value: Value) -> Value {
    value.lead = Some(lead);
    value
}

/// Names of leads as they are read: `II, aVF`.
fn names(leads: &[Lead]) -> String {
    let names: Vec<_> = leads.iter().map(|lead| lead.name()).collect();
    names.join(", ")
}
