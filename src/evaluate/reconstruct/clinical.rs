//! What a clinician would read of twelve leads, by the service's own chain: recorded and reconstructed.

use dsp::{Chain, Output};
use ecg::{
    Block, Layout, Lead, Levels, SampleIndex, SignalBlock, SignalKind, SignalSpec, TwelveLead,
    Values, Window,
};

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
        let recorded = |lead: Lead| {
            let place = window.leads.iter().position(|other| *other == lead)?;
            Some(window.lead(place))
        };
        let both =
            read(window, recorded, config).zip(read(window, |lead| twelve.lead(lead), config));
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
    let mut specs = Vec::new();
    let mut signals = Vec::new();
    for name in Lead::TWELVE {
        specs.push(SignalSpec {
            kind: SignalKind::Ecg(name),
            rate: window.rate,
        });
        signals.push(SignalBlock {
            samples: lead(name)?.to_vec(),
            lead_off: false,
        });
    }
    let mut chain = Chain::new(&Layout::new(&specs).ok()?, config).ok()?;
    let mut outputs = Vec::new();
    let start = SampleIndex(0);
    chain.push(&Block { start, signals }, &mut outputs);
    chain.finish(&mut outputs);
    outputs.into_iter().rev().find_map(|output| match output {
        Output::Complex(measurement) => Some(measurement.median),
        _ => None,
    })
}
