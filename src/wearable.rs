//! What wearables send: a recording or a simulation, cut into packets of about one second.
//!
//! `replay` and `annotate` both take their packets from [`Played`], so the offline twin sees the
//! very samples that the service receives.

use ecg::simulate::{Scenario, Simulator, Truth};
use ecg::{
    Axis, Block, BootId, Layout, Lead, SampleIndex, SampleRate, SignalBlock, SignalKind,
    SignalSpec, Utc,
};
use ingest::{Calibration, Encoder, Packet};

use crate::record::Player;

/// A recording as a wearable would send it.
pub struct Played {
    player: Player,
    encoder: Encoder,
    start: Utc,
    rate: SampleRate,
}

impl Played {
    /// Plays `player` as one boot of a device whose first sample is taken at `start`.
    ///
    /// # Errors
    /// A calibration that packets cannot carry.
    pub fn new(player: Player, boot: BootId, start: Utc) -> Result<Self, ingest::Error> {
        let calibrations = player
            .signals()
            .iter()
            .map(|signal| Calibration {
                gain: signal.gain,
                baseline: signal.baseline,
            })
            .collect();
        let layout = player.layout().clone();
        let rate = layout.base_rate();
        let encoder = Encoder::new(boot, layout, calibrations)?;
        Ok(Self {
            player,
            encoder,
            start,
            rate,
        })
    }

    /// The recording.
    pub fn player(&self) -> &Player {
        &self.player
    }
}

impl Iterator for Played {
    type Item = Result<Packet, ingest::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let block = self.player.next()?;
        let signals: Vec<(&[i32], bool)> = block
            .signals
            .iter()
            .map(|signal| (signal.samples.as_slice(), signal.lead_off))
            .collect();
        let time = self
            .start
            .plus_seconds(block.start.0 as f64 / self.rate.hz());
        Some(self.encoder.push_adu(time, &signals))
    }
}

/// A simulated wearable.
pub struct Simulated {
    simulator: Simulator,
    encoder: Encoder,
    layout: Layout,
    rate: SampleRate,
    start: Utc,
}

/// adu per mV of a simulated wearable: 1 adu is 2.5 uV.
const GAIN: f64 = 400.0;
/// adu per g: 1 adu is about 1 mg.
const GAIN_G: f64 = 1024.0;

impl Simulated {
    /// A wearable that sends `leads` of `scenario`, and its PPG and acceleration if the scenario has them, as one boot
    /// whose first sample is taken at `start`.
    ///
    /// # Errors
    /// A scenario or set of signals that cannot be.
    pub fn new(
        scenario: &Scenario,
        leads: &[Lead],
        boot: BootId,
        start: Utc,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let rate = scenario.rate;
        let ecg = leads.iter().map(|&lead| SignalSpec {
            kind: SignalKind::Ecg(lead),
            rate,
        });
        let ppg = scenario.ppg_rate.map(|rate| SignalSpec {
            kind: SignalKind::Ppg(ecg::Wavelength::Green),
            rate,
        });
        let acceleration = scenario.acceleration_rate.map(|rate| {
            Axis::ALL.map(|axis| SignalSpec {
                kind: SignalKind::Acceleration(axis),
                rate,
            })
        });
        let all = ecg.chain(ppg).chain(acceleration.into_iter().flatten());
        let layout = Layout::new(&all.collect::<Vec<_>>())?;
        let calibration = |signal: &SignalSpec| Calibration {
            gain: match signal.kind {
                SignalKind::Acceleration(_) => GAIN_G,
                _ => GAIN,
            },
            baseline: 0,
        };
        let calibrations = layout.iter().map(calibration).collect();
        let encoder = Encoder::new(boot, layout.clone(), calibrations)?;
        let simulator = Simulator::new(scenario)?;
        Ok(Self {
            simulator,
            encoder,
            layout,
            rate,
            start,
        })
    }

    /// Its signals.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The next second.
    ///
    /// # Errors
    /// Samples that a packet cannot carry.
    pub fn second(&mut self) -> Result<Packet, ingest::Error> {
        self.second_and_truth().map(|(packet, _)| packet)
    }

    /// The next second, and what is true of it.
    ///
    /// # Errors
    /// As [`second`](Self::second).
    pub fn second_and_truth(&mut self) -> Result<(Packet, Truth), ingest::Error> {
        let segment = self.simulator.advance(self.rate.count(1.0));
        let start = self.encoder.position();
        let signals = self
            .layout
            .iter()
            .map(|spec| SignalBlock {
                samples: match spec.kind {
                    SignalKind::Ecg(lead) => segment.lead(lead).unwrap_or_default().to_vec(),
                    SignalKind::Ppg(_) | SignalKind::Abp => segment.ppg.clone(),
                    SignalKind::Acceleration(axis) => segment.acceleration[axis as usize].clone(),
                },
                lead_off: segment.lead_off(spec.kind),
            })
            .collect();
        let time = self.time(start);
        let packet = self.encoder.push_mv(time, &Block { start, signals })?;
        Ok((packet, segment.truth))
    }

    fn time(&self, at: SampleIndex) -> Utc {
        self.start
            .plus_seconds(at.0 as f64 / self.layout.base_rate().hz())
    }
}
