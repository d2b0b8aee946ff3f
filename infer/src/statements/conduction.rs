//! How long the ventricles take to depolarise, which way, and tachycardia with a wide QRS.

use ecg::{Lead, Levels, Value};

use super::view::{Seen, View, mean, median_angle, variation};
use super::{Draft, Limits, above, labels, names, on, peaks, plain};
use crate::numbers::median;

/// A Q of less is none, mV.
const Q_MV: f32 = 0.05;
/// An S of less is none, mV.
const S_MV: f32 = 0.1;
/// The leads that look at the left ventricle from the side.
const LATERAL: [Lead; 3] = [Lead::I, Lead::V5, Lead::V6];

/// The QRS of the patient's own rhythm.
#[derive(Debug)]
pub(super) struct Qrs<'a> {
    beats: Vec<Seen<'a>>,
    pub(super) qrs_ms: f32,
}

/// How high and how deep a lead goes, mV, where a deflection that is not there is zero.
#[derive(Debug, Clone, Copy)]
struct Heights {
    q: f32,
    r: f32,
    s: f32,
    /// `None` where it was not seen.
    t: Option<f32>,
    /// The same, 60 ms after J.
    st: Option<f32>,
}

impl<'a> Qrs<'a> {
    /// `None` where too few normal beats were measured.
    pub(super) fn of(view: &View<'a>, limits: &Limits) -> Option<Self> {
        let beats: Vec<_> = view.measured().filter(|beat| qrs(beat).is_some()).collect();
        if beats.len() < limits.min_beats {
            return None;
        }
        let beats: Vec<_> = beats.into_iter().copied().collect();
        let qrs_ms = Self::over(&beats)?;
        Some(Self { beats, qrs_ms })
    }

    /// The median QRS of beats.
    pub(super) fn over(beats: &[Seen<'_>]) -> Option<f32> {
        median(beats.iter().filter_map(qrs))
    }

    /// Wide, with the pattern where leads show one.
    pub(super) fn wide(&self, view: &View<'a>, limits: &Limits) -> Option<Draft> {
        let qrs_ms = Some(self.qrs_ms).filter(|qrs_ms| *qrs_ms > limits.qrs_ms)?;
        let mut values = vec![above("qrs_ms", qrs_ms, "ms", limits.qrs_ms)];
        let mut leads = view.found_on(&self.beats);
        let (label, pattern) = match self.pattern(view, limits) {
            Some(pattern) => {
                values.extend(pattern.values);
                leads.extend(pattern.leads);
                (pattern.label, pattern.text)
            }
            None => (labels::WIDE_QRS, "no bundle branch pattern seen".to_owned()),
        };
        let order = |lead: &Lead| view.context.leads.iter().position(|l| l == lead);
        leads.sort_by_key(order);
        leads.dedup();
        Some(Draft {
            label,
            text: format!(
                "QRS {qrs_ms:.0} ms (median of {} beats), {pattern}",
                self.beats.len()
            ),
            values,
            beats: peaks(&self.beats),
            leads,
        })
    }

    /// The bundle branch block that it looks like.
    fn pattern(&self, view: &View<'a>, limits: &Limits) -> Option<Draft> {
        let heights = |lead: Lead| Some((lead, self.heights(view, lead)?));
        let (_, v1) = heights(Lead::V1)?;
        let lateral: Vec<_> = LATERAL.into_iter().filter_map(heights).collect();
        // What follows a deep Q in V1 may be the ST segment: it counts for R only where it is higher than that is deep.
        let left = v1.depth() > v1.r;
        let shows = |h: &Heights| {
            if left {
                h.r > h.depth() && -h.q <= Q_MV
            } else {
                -h.s > S_MV
            }
        };
        let q = left && lateral.iter().any(|(_, h)| -h.q > Q_MV);
        let showing: Vec<_> = lateral.iter().filter(|(_, h)| shows(h)).collect();
        let opposite = !left || showing.iter().any(|(_, h)| h.opposite(limits));
        if showing.is_empty() || q || !opposite {
            return None;
        }
        let sides: Vec<_> = showing.iter().map(|(lead, _)| *lead).collect();
        let (label, text) = if left {
            let sides = names(&sides);
            let text = format!("V1 negative, R without Q in {sides}, ST or T opposite");
            (labels::LEFT_BUNDLE_BRANCH_BLOCK, text)
        } else {
            let text = format!("V1 positive, S in {}", names(&sides));
            (labels::RIGHT_BUNDLE_BRANCH_BLOCK, text)
        };
        let shown = showing.iter().map(|(lead, h)| (*lead, *h));
        let values = std::iter::once((Lead::V1, v1)).chain(shown);
        Some(Draft {
            label,
            text,
            values: values.flat_map(|(lead, h)| h.values(lead)).collect(),
            beats: Vec::new(),
            leads: std::iter::once(Lead::V1).chain(sides).collect(),
        })
    }

    fn heights(&self, view: &View<'a>, lead: Lead) -> Option<Heights> {
        let read = self.beats.iter().filter_map(|beat| view.levels(beat, lead));
        let read: Vec<_> = read.filter(|levels| seen(levels)).collect();
        let middle = |of: fn(&Levels) -> Option<f32>| {
            median(read.iter().map(|levels| of(levels).unwrap_or(0.0)))
        };
        Some(Heights {
            q: middle(|levels| levels.q_mv)?,
            r: middle(|levels| levels.r_mv)?,
            s: middle(|levels| levels.s_mv)?,
            t: median(read.iter().filter_map(|levels| levels.t_mv)),
            st: median(read.iter().filter_map(|levels| levels.st_j60_mv)),
        })
    }
}

impl Heights {
    fn depth(self) -> f32 {
        (-self.q).max(-self.s)
    }

    /// Whether ST or T is opposite to an R.
    fn opposite(self, limits: &Limits) -> bool {
        self.t.is_some_and(|t| t < 0.0) || self.st.is_some_and(|st| st < -limits.st_depression_mv)
    }

    fn values(self, lead: Lead) -> impl Iterator<Item = Value> {
        let values = [
            ("q_mv", Some(self.q)),
            ("r_mv", Some(self.r)),
            ("s_mv", Some(self.s)),
            ("st_j60_mv", self.st),
            ("t_mv", self.t),
        ];
        let value = move |(name, mv): (_, Option<f32>)| Some(on(lead, plain(name, mv?, "mV")));
        values.into_iter().filter_map(value)
    }
}

/// Whether a QRS was seen on a lead.
pub(super) fn seen(levels: &Levels) -> bool {
    levels.q_mv.is_some() || levels.r_mv.is_some() || levels.s_mv.is_some()
}

fn qrs(beat: &Seen<'_>) -> Option<f32> {
    let qrs_ms = beat.measured?.values.intervals.qrs_ms;
    qrs_ms.filter(|qrs_ms| qrs_ms.is_finite())
}

/// A fast rhythm with a wide QRS, whatever the classes of its beats, with what tells one kind from another.
pub(super) fn tachycardia(view: &View<'_>, limits: &Limits) -> Option<Draft> {
    let beats = view.beats.iter();
    let beats = beats.filter(|beat| beat.rr_ms.is_some() && qrs(beat).is_some());
    let beats: Vec<_> = beats.copied().collect();
    let rr: Vec<f32> = beats.iter().filter_map(|beat| beat.rr_ms).collect();
    let (rr_ms, qrs_ms) = (median(rr.iter().copied())?, Qrs::over(&beats)?);
    let (rate, mean_rate) = (60_000.0 / rr_ms, 60_000.0 / mean(&rr)?);
    let beyond = rate.min(mean_rate) > limits.tachycardia_bpm && qrs_ms > limits.qrs_ms;
    if beats.len() < limits.min_beats || !beyond {
        return None;
    }
    let measured = || beats.iter().filter_map(|beat| beat.measured);
    let (n, n_p) = (
        measured().count(),
        measured().filter(|measured| measured.p.is_some()).count(),
    );
    let axes = measured().filter_map(|measured| measured.values.axis_degrees);
    let axes: Vec<f32> = axes.filter(|axis| axis.is_finite()).collect();
    let (cv, axis) = (variation(&rr), median_angle(&axes));
    let mut values = vec![
        above("rate_bpm", rate, "/min", limits.tachycardia_bpm),
        above("mean_rate_bpm", mean_rate, "/min", limits.tachycardia_bpm),
        above("qrs_ms", qrs_ms, "ms", limits.qrs_ms),
        plain("rr_ms", rr_ms, "ms"),
        plain("p_share", n_p as f32 / n.max(1) as f32, ""),
    ];
    values.extend(cv.map(|cv| plain("rr_cv", cv, "")));
    values.extend(axis.map(|axis| plain("axis_degrees", axis, "°")));
    let mut words = vec![format!("{rate:.0}/min, QRS {qrs_ms:.0} ms")];
    words.extend(cv.map(|cv| format!("RR CV {cv:.2}")));
    words.extend(axis.map(|axis| format!("axis {axis:.0}°")));
    words.push(format!("P before {n_p} of {n} measured beats"));
    Some(Draft {
        label: labels::WIDE_QRS_TACHYCARDIA,
        text: words.join(", "),
        values,
        beats: peaks(&beats),
        leads: view.found_on(&beats),
    })
}
