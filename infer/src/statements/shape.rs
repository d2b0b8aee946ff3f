//! The frontal axis and the height of the QRS.

use ecg::{Lead, Levels};

use super::conduction::seen;
use super::view::{View, median_angle};
use super::{Draft, Limits, above, below, labels, names, on, peaks, plain};
use crate::numbers::median;

/// Left of this, degrees, the axis is deviated.
const LEFT_DEGREES: f32 = -30.0;
/// Right of this.
const RIGHT_DEGREES: f32 = 90.0;
/// Further left than this, it points away from both I and aVF.
const EXTREME_DEGREES: f32 = -90.0;
/// So many limb leads span the frontal plane.
const MIN_LIMB: usize = 2;
/// Of so many chest leads one is V2, V3 or V4, where the QRS is highest.
const MIN_CHEST: usize = 4;

/// A deviated axis.
pub(super) fn axis(view: &View<'_>, limits: &Limits) -> Option<Draft> {
    let axis = |measured: &ecg::Measurement| measured.values.axis_degrees;
    let beats = view.measured();
    let beats = beats.filter(|beat| beat.measured.and_then(axis).is_some_and(f32::is_finite));
    let beats: Vec<_> = beats.copied().collect();
    let axes = beats.iter().filter_map(|beat| beat.measured.and_then(axis));
    let degrees = median_angle(&axes.collect::<Vec<f32>>())?;
    let leads: Vec<_> = limb(view).collect();
    if beats.len() < limits.min_beats || leads.len() < MIN_LIMB {
        return None;
    }
    let (label, value) = if degrees < EXTREME_DEGREES {
        let value = below("axis_degrees", degrees, "°", EXTREME_DEGREES);
        (labels::EXTREME_AXIS_DEVIATION, value)
    } else if degrees < LEFT_DEGREES {
        let value = below("axis_degrees", degrees, "°", LEFT_DEGREES);
        (labels::LEFT_AXIS_DEVIATION, value)
    } else if degrees > RIGHT_DEGREES {
        let value = above("axis_degrees", degrees, "°", RIGHT_DEGREES);
        (labels::RIGHT_AXIS_DEVIATION, value)
    } else {
        return None;
    };
    Some(Draft {
        label,
        text: format!(
            "frontal axis {degrees:.0}° (median of {} beats), from {}",
            beats.len(),
            names(&leads)
        ),
        values: vec![value],
        beats: peaks(&beats),
        leads,
    })
}

fn limb<'v>(view: &'v View<'_>) -> impl Iterator<Item = Lead> + 'v {
    let leads = view.context.leads.iter().copied();
    leads.filter(|lead| lead.of_i_and_ii().is_some())
}

/// A low QRS in all limb leads, all chest leads, or both.
pub(super) fn low_voltage(view: &View<'_>, limits: &Limits) -> Option<Draft> {
    let beats: Vec<_> = view.measured().copied().collect();
    let height = |lead: Lead| {
        let read = beats.iter().filter_map(|beat| view.levels(beat, lead));
        let read: Vec<_> = read
            .filter(|levels| seen(levels))
            .map(peak_to_peak)
            .collect();
        (read.len() >= limits.min_beats).then(|| Some((lead, median(read)?)))?
    };
    let low = |leads: Vec<Lead>, least: usize, limit: f32| {
        let heights: Vec<_> = leads.into_iter().filter_map(height).collect();
        let all = heights.iter().all(|(_, mv)| *mv < limit);
        (heights.len() >= least && all).then_some((heights, limit))
    };
    let chest = view.context.leads.iter().copied();
    let chest = chest.filter(|lead| lead.row().is_some_and(|row| row >= 6));
    let groups = [
        (
            " limb",
            low(limb(view).collect(), MIN_LIMB, limits.low_limb_mv),
        ),
        (
            " chest",
            low(chest.collect(), MIN_CHEST, limits.low_chest_mv),
        ),
    ];
    let (mut values, mut leads, mut words) = (Vec::new(), Vec::new(), Vec::new());
    for (name, group) in groups {
        let Some((heights, limit)) = group else {
            continue;
        };
        let highest = heights.iter().map(|(_, mv)| *mv).reduce(f32::max)?;
        let n = heights.len();
        words.push(format!(
            "QRS of at most {highest:.2} mV in all {n}{name} leads measured"
        ));
        for (lead, mv) in heights {
            values.push(on(lead, below("qrs_mv", mv, "mV", limit)));
            leads.push(lead);
        }
    }
    values.push(plain("n_leads", leads.len() as f32, ""));
    (!leads.is_empty()).then(|| Draft {
        label: labels::LOW_QRS_VOLTAGE,
        text: words.join("; "),
        values,
        beats: peaks(&beats),
        leads,
    })
}

/// From the lowest to the highest point of the QRS, mV.
fn peak_to_peak(levels: &Levels) -> f32 {
    let depth = levels.q_mv.unwrap_or(0.0).min(levels.s_mv.unwrap_or(0.0));
    levels.r_mv.unwrap_or(0.0) - depth
}
