//! A context as the rules look at it: every beat with the interval before it and what was measured of it, without
//! what lies in seconds that mean nothing.
//!
//! **An ectopic class is believed only where what makes it one is in the stretch**: [`BEFORE`] beats and the interval before
//! it, and [`AFTER_SECONDS`] after it; of a supraventricular beat, also that it comes early, or follows one that does and no later than usual.
//! The first beats after a start or a gap have been found and classified without anything to compare them with. A beat
//! whose class is not believed is neither ectopic nor normal.

use ecg::{BeatClass, Lead, Levels, Measurement, SampleIndex, SampleRate, SignalKind};

use crate::Context;
use crate::numbers::median;

/// A supraventricular beat is early after less than this share of the usual interval.
pub(super) const EARLY_SHARE: f32 = 0.8;
/// Beats farther apart do not follow each other, ms.
pub(super) const MAX_APART_MS: f32 = 3000.0;
/// The usual interval is known from so many.
const MIN_USUAL: usize = 3;
/// So many beats must lie before an ectopic one.
const BEFORE: usize = 3;
/// An ectopic beat must lie this far before the end of the stretch.
const AFTER_SECONDS: f64 = 0.5;

/// A context, looked at.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) context: &'a Context,
    /// The beats, in order.
    pub(super) beats: Vec<Seen<'a>>,
    /// The median of all intervals, ms, where there are enough.
    pub(super) usual_ms: Option<f32>,
    /// Stretches of a lead that mean nothing.
    unusable: Vec<(Lead, SampleIndex, SampleIndex)>,
}

/// A beat, looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) at: SampleIndex,
    /// As far as it is believed.
    pub(super) class: Option<BeatClass>,
    /// Normal, or not classified: intervals and levels of it speak for the patient's own rhythm.
    pub(super) normal: bool,
    /// From the beat before, ms; `None` for the first one and where some of it was not seen in any lead.
    pub(super) rr_ms: Option<f32>,
    /// Whether this beat and the one before are normal, and the interval is known.
    pub(super) nn: bool,
    /// What was measured, where the lead that waves were found on is usable.
    pub(super) measured: Option<&'a Measurement>,
}

impl<'a> View<'a> {
    pub(super) fn of(context: &'a Context) -> Self {
        let unusable: Vec<_> = context
            .quality
            .iter()
            .filter(|quality| !quality.usable())
            .filter_map(|quality| match quality.signal {
                SignalKind::Ecg(lead) => Some((lead, quality.start, quality.end)),
                SignalKind::Ppg(_) | SignalKind::Abp | SignalKind::Acceleration(_) => None,
            })
            .collect();
        let mut view = Self {
            context,
            beats: Vec::with_capacity(context.beats.len()),
            usual_ms: None,
            unusable,
        };
        let blind = view.blind();
        let dark = |from: SampleIndex, to: SampleIndex| {
            blind.iter().any(|(start, end)| *start <= to && *end > from)
        };
        let mut before: Option<SampleIndex> = None;
        for beat in &context.beats {
            let at = beat.r_peak;
            let rr_ms = before
                .filter(|last| *last < at && !dark(*last, at))
                .map(|last| milliseconds(context.rate, last, at));
            let visible = !dark(at, at);
            let place = context.measurements.binary_search_by_key(&at, |m| m.r_peak);
            let measured = place.ok().map(|k| &context.measurements[k]);
            view.beats.push(Seen {
                at,
                class: beat.class.filter(|_| visible),
                normal: beat.class.is_none_or(|class| class == BeatClass::N),
                rr_ms,
                nn: false,
                measured: measured.filter(|m| visible && view.usable(m.lead, at)),
            });
            before = Some(at);
        }
        view.believe();
        view
    }

    /// Takes the classes away that nothing in the stretch bears out, and tells intervals between normal beats.
    fn believe(&mut self) {
        let rr: Vec<f32> = self.beats.iter().filter_map(|beat| beat.rr_ms).collect();
        self.usual_ms = median(rr.iter().copied()).filter(|_| rr.len() >= MIN_USUAL);
        let until = self
            .context
            .end
            .before(self.context.rate.count(AFTER_SECONDS));
        let usual = self.usual_ms.unwrap_or(0.0);
        let (mut before, mut normal_before) = (None, false);
        for (k, beat) in self.beats.iter_mut().enumerate() {
            let seen = k >= BEFORE && beat.at <= until && beat.rr_ms.is_some();
            let borne_out = match beat.class {
                Some(BeatClass::V | BeatClass::F) => seen,
                Some(BeatClass::S) => {
                    let in_row = before == Some(BeatClass::S);
                    let share = if in_row { 1.0 } else { EARLY_SHARE };
                    let limit = (share * usual).min(MAX_APART_MS);
                    seen && beat.rr_ms.is_some_and(|rr| rr < limit)
                }
                _ => true,
            };
            beat.class = beat.class.filter(|_| borne_out);
            beat.nn = normal_before && beat.normal && beat.rr_ms.is_some();
            (before, normal_before) = (beat.class, beat.normal);
        }
    }

    /// Whether a lead is usable where a beat is; a second that nothing judged is.
    pub(super) fn usable(&self, lead: Lead, at: SampleIndex) -> bool {
        !self
            .unusable
            .iter()
            .any(|(of, start, end)| *of == lead && *start <= at && at < *end)
    }

    /// The levels of a beat on a lead.
    pub(super) fn levels(&self, beat: &Seen<'a>, lead: Lead) -> Option<&'a Levels> {
        let levels = &beat.measured?.values.levels;
        let levels = levels.iter().find(|levels| levels.lead == lead)?;
        self.usable(lead, beat.at).then_some(levels)
    }

    /// The normal beats that were measured.
    pub(super) fn measured(&self) -> impl Iterator<Item = &Seen<'a>> {
        let beats = self.beats.iter();
        beats.filter(|beat| beat.normal && beat.measured.is_some())
    }

    /// The leads that waves of `beats` were found on, in the order of the record.
    pub(super) fn found_on(&self, beats: &[Seen<'a>]) -> Vec<Lead> {
        let on = |lead: &Lead| {
            let mut beats = beats.iter().filter_map(|beat| beat.measured);
            beats.any(|measured| measured.lead == *lead)
        };
        self.context.leads.iter().copied().filter(on).collect()
    }

    /// The stretches in which no lead means anything.
    fn blind(&self) -> Vec<(SampleIndex, SampleIndex)> {
        let mut stretches: Vec<_> = self.unusable.clone();
        stretches.retain(|(lead, ..)| self.context.leads.contains(lead));
        stretches.sort_unstable_by_key(|(lead, start, end)| (*start, *end, *lead));
        stretches.dedup();
        stretches
            .chunk_by(|a, b| (a.1, a.2) == (b.1, b.2))
            .filter(|same| same.len() >= self.context.leads.len())
            .filter_map(|same| same.first().map(|(_, start, end)| (*start, *end)))
            .collect()
    }
}

/// Milliseconds between two positions.
pub(super) fn milliseconds(rate: SampleRate, from: SampleIndex, to: SampleIndex) -> f32 {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an interval to be read is an f32"
    )]
    let ms = (rate.seconds(to.since(from)) * 1e3) as f32;
    ms
}

/// The mean; `None` of none.
pub(super) fn mean(values: &[f32]) -> Option<f32> {
    let mean = values.iter().sum::<f32>() / values.len() as f32;
    Some(mean).filter(|mean| mean.is_finite())
}

/// Standard deviation over mean; `None` of fewer than two values and of a mean of zero.
pub(super) fn variation(values: &[f32]) -> Option<f32> {
    let (n, mean) = (values.len() as f32, mean(values)?);
    let square = |value: &f32| (value - mean) * (value - mean);
    let variance = values.iter().map(square).sum::<f32>() / (n - 1.0);
    Some(variance.sqrt() / mean).filter(|cv| cv.is_finite())
}

/// The median of angles, degrees in -180 to 180, turned so that their mean direction is in the middle; `None` where they
/// have none.
pub(super) fn median_angle(angles: &[f32]) -> Option<f32> {
    let sum = |of: fn(f32) -> f32| angles.iter().map(|angle| of(angle.to_radians())).sum();
    let (x, y): (f32, f32) = (sum(f32::cos), sum(f32::sin));
    let middle = Some(y.atan2(x).to_degrees()).filter(|_| x.hypot(y) > 1e-3)?;
    let wrap = |angle: f32| (angle + 180.0).rem_euclid(360.0) - 180.0;
    let turn = median(angles.iter().map(|angle| wrap(angle - middle)))?;
    Some(wrap(middle + turn))
}
