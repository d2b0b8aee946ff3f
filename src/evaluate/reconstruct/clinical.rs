//! What a clinician would read of twelve leads, by the service's own chain: recorded and reconstructed.

use dsp::Output;
use ecg::{Lead, Levels, TwelveLead, Values, Window};

use crate::windows::analyse;

/// Medians over the beats of a window.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    /// Of the recorded twelve leads, and of the twelve with the missing ones reconstructed.
    pub both: Option<(Values, Values)>,
}

impl Readings {
    pub(super) fn of(window: &Window, twelve: &TwelveLead, config: &dsp::Config) -> Self {
        if twelve.trust.is_none() {
            return Self::default();
        }
        let both = read(window, |lead| window.of(lead), config).zip(read(
            window,
            |lead| twelve.lead(lead),
            config,
        ));
        Self { both }
    }

    /// The levels of a lead, recorded and reconstructed.
    pub(super) fn levels(&self, lead: Lead) -> Option<(&Levels, &Levels)> {
        let (recorded, found) = self.both.as_ref()?;
        let of = |values: &'_ Values| values.levels.iter().position(|levels| levels.lead == lead);
        Some((&recorded.levels[of(recorded)?], &found.levels[of(found)?]))
    }
}

/// The medians that the chain ends with on a window of twelve leads; `None` without a beat.
fn read<'a>(
    window: &Window,
    lead: impl Fn(Lead) -> Option<&'a [f32]>,
    config: &dsp::Config,
) -> Option<Values> {
    let leads: Vec<(Lead, &[f32])> = Lead::TWELVE
        .into_iter()
        .map(|name| Some((name, lead(name)?)))
        .collect::<Option<_>>()?;
    let outputs = analyse(&leads, window.rate, config)?;
    outputs.into_iter().rev().find_map(|output| match output {
        Output::Complex(measurement) => Some(measurement.median),
        _ => None,
    })
}
