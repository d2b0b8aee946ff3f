//! QT and ST, where the QRS is narrow.

use ecg::{Lead, Levels};

use super::view::{View, variation};
use super::{Correction, Draft, Limits, above, below, labels, names, on, peaks, plain};
use crate::numbers::median;

/// Where RR varies more than this, no correction of QT holds.
const MAX_QT_CV: f32 = 0.1;

/// ST that rises by more than this from 60 to 80 ms after J is not called depressed, mV: 1 mV/s.
const RISING_MV: f32 = 0.02;

/// Leads that look at neighbouring parts of the heart.
const CONTIGUOUS: [(Lead, Lead); 9] = [
    (Lead::I, Lead::AVL),
    (Lead::II, Lead::III),
    (Lead::II, Lead::AVF),
    (Lead::III, Lead::AVF),
    (Lead::V1, Lead::V2),
    (Lead::V2, Lead::V3),
    (Lead::V3, Lead::V4),
    (Lead::V4, Lead::V5),
    (Lead::V5, Lead::V6),
];

/// `QTc` that is too long or too short.
pub(super) fn qtc(view: &View<'_>, limits: &Limits) -> Option<Draft> {
    let qt = |measured: &ecg::Measurement| measured.values.intervals.qt_ms;
    let beats = view.measured();
    let beats =
        beats.filter(|beat| beat.nn && beat.measured.and_then(qt).is_some_and(f32::is_finite));
    let beats: Vec<_> = beats.copied().collect();
    let rr: Vec<f32> = beats.iter().filter_map(|beat| beat.rr_ms).collect();
    variation(&rr).filter(|cv| beats.len() >= limits.min_beats && *cv <= MAX_QT_CV)?;
    let rr_ms = median(rr)?;
    let qt_ms = median(beats.iter().filter_map(|beat| beat.measured.and_then(qt)))?;
    let seconds = rr_ms / 1e3;
    let (fridericia, bazett) = (qt_ms / seconds.cbrt(), qt_ms / seconds.sqrt());
    let (judged, other) = match limits.qt_correction {
        Correction::Fridericia => (("qtc_fridericia_ms", fridericia), ("qtc_bazett_ms", bazett)),
        Correction::Bazett => (("qtc_bazett_ms", bazett), ("qtc_fridericia_ms", fridericia)),
    };
    let (label, value) = if judged.1 > limits.long_qtc_ms {
        let value = above(judged.0, judged.1, "ms", limits.long_qtc_ms);
        (labels::LONG_QTC, value)
    } else if judged.1 < limits.short_qtc_ms {
        let value = below(judged.0, judged.1, "ms", limits.short_qtc_ms);
        (labels::SHORT_QTC, value)
    } else {
        return None;
    };
    Some(Draft {
        label,
        text: format!(
            "QTc {fridericia:.0} ms (Fridericia), {bazett:.0} ms (Bazett): QT {qt_ms:.0} ms at RR {rr_ms:.0} ms, \
             medians of {} beats; sex not known",
            beats.len()
        ),
        values: vec![
            value,
            plain(other.0, other.1, "ms"),
            plain("qt_ms", qt_ms, "ms"),
            plain("rr_ms", rr_ms, "ms"),
        ],
        beats: peaks(&beats),
        leads: view.found_on(&beats),
    })
}

/// What ST does on a lead, mV.
#[derive(Debug, Clone, Copy)]
struct St {
    lead: Lead,
    /// 60 ms after J.
    j60: f32,
    /// 80 ms after J.
    j80: f32,
}

impl St {
    /// At J, on the line through the two levels. Where ST curves up into T, J lies above it.
    fn j(self) -> f32 {
        self.j60 - 3.0 * (self.j80 - self.j60)
    }
}

/// Elevated and depressed ST.
pub(super) fn st(view: &View<'_>, limits: &Limits) -> Vec<Draft> {
    let beats: Vec<_> = view.measured().copied().collect();
    let level = |lead: Lead, of: fn(&Levels) -> Option<f32>| {
        let read = beats.iter().filter_map(|beat| view.levels(beat, lead));
        let read: Vec<_> = read.filter_map(of).filter(|mv| mv.is_finite()).collect();
        (read.len() >= limits.min_beats).then(|| median(read))?
    };
    let leads = view.context.leads.iter().copied();
    let leads = leads.filter(|lead| contiguous(*lead).next().is_some());
    let levels = leads.filter_map(|lead| {
        Some(St {
            lead,
            j60: level(lead, |levels| levels.st_j60_mv)?,
            j80: level(lead, |levels| levels.st_j80_mv)?,
        })
    });
    let levels: Vec<St> = levels.collect();
    let elevation = |lead: Lead| match lead {
        Lead::V2 | Lead::V3 => limits.st_elevation_v2_v3_mv,
        _ => limits.st_elevation_mv,
    };
    let depression = -limits.st_depression_mv;
    let up = |st: &St| st.j().min(st.j60).min(st.j80) > elevation(st.lead);
    let down = |st: &St| st.j60.max(st.j80) < depression && st.j80 - st.j60 <= RISING_MV;
    let draft = |label, said: Vec<St>| {
        let values = said.iter().flat_map(|st| {
            let raised = st.j60 > 0.0;
            let values = [("st_j60_mv", st.j60), ("st_j80_mv", st.j80)];
            let at_j = raised.then_some(("st_j_mv", st.j()));
            values.into_iter().chain(at_j).map(move |(name, mv)| {
                let value = if raised {
                    above(name, mv, "mV", elevation(st.lead))
                } else {
                    below(name, mv, "mV", depression)
                };
                on(st.lead, value)
            })
        });
        Draft {
            label,
            text: words(&said, &levels),
            values: values.collect(),
            beats: peaks(&beats),
            leads: said.iter().map(|st| st.lead).collect(),
        }
    };
    let all = [
        (labels::ST_ELEVATION, agreeing(&levels, up)),
        (labels::ST_DEPRESSION, agreeing(&levels, down)),
    ];
    let said = all.into_iter().filter(|(_, said)| !said.is_empty());
    said.map(|(label, said)| draft(label, said)).collect()
}

/// The leads beside one.
fn contiguous(lead: Lead) -> impl Iterator<Item = Lead> {
    CONTIGUOUS.into_iter().filter_map(move |(a, b)| {
        let other = if a == lead { Some(b) } else { Some(a) };
        other.filter(|_| a == lead || b == lead)
    })
}

/// The leads beyond a limit that have a contiguous one which is too, or none that was measured.
fn agreeing(levels: &[St], beyond: impl Fn(&St) -> bool) -> Vec<St> {
    let find = |lead: Lead| levels.iter().find(|st| st.lead == lead);
    let agrees = |st: &&St| {
        let mut beside = contiguous(st.lead).filter_map(find).peekable();
        beside.peek().is_none() || beside.any(&beyond)
    };
    let found = levels.iter().filter(|st| beyond(st)).filter(agrees);
    found.copied().collect()
}

/// `J+60 of 0.14 mV in II, 0.20 mV in III; contiguous: II with III`.
fn words(said: &[St], levels: &[St]) -> String {
    let measured = |lead: Lead| levels.iter().any(|st| st.lead == lead);
    let each = said.iter().map(|st| {
        let alone = !contiguous(st.lead).any(measured);
        let note = if alone {
            " (no contiguous lead is measured)"
        } else {
            ""
        };
        format!("{:+.2} mV in {}{note}", st.j60, st.lead)
    });
    let each = each.collect::<Vec<_>>().join(", ");
    let is_said = |lead: Lead| said.iter().any(|st| st.lead == lead);
    let pairs = CONTIGUOUS
        .into_iter()
        .filter(|(a, b)| is_said(*a) && is_said(*b))
        .map(|(a, b)| names(&[a, b]).replace(", ", " with "));
    let pairs: Vec<_> = pairs.collect();
    let pairs = if pairs.is_empty() {
        String::new()
    } else {
        format!("; contiguous: {}", pairs.join(", "))
    };
    format!("60 ms after J {each}{pairs}")
}
