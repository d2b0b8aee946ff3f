//! The device's side: numbers packets and counts samples.

use ecg::{Block, BootId, Layout, SampleCount, SampleIndex, Utc};

use crate::{Error, Limits, Packet, PacketSignal};

/// How one signal was digitised: mV = (adu - baseline) / gain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Calibration {
    /// adu per mV; for PPG, adu per arbitrary unit; for ABP, per mmHg; for acceleration, per g.
    pub gain: f64,
    /// The adu value of 0 mV.
    pub baseline: i32,
}

/// Turns samples into packets as a device does: it draws a boot id once, then counts.
#[derive(Debug, Clone)]
pub struct Encoder {
    boot: BootId,
    layout: Layout,
    calibrations: Vec<Calibration>,
    sequence: u64,
    position: SampleIndex,
    /// Put into every packet from now on; unknown at first.
    pub battery_percent: Option<u8>,
}

impl Encoder {
    /// An encoder at sample 0 of a record, with one calibration per signal of the layout.
    ///
    /// # Errors
    /// [`Error::Field`] unless there is one calibration per signal.
    pub fn new(
        boot: BootId,
        layout: Layout,
        calibrations: Vec<Calibration>,
    ) -> Result<Self, Error> {
        if calibrations.len() != layout.len() {
            return Err(Error::Field {
                field: "calibrations",
                value: calibrations.len().to_string(),
                limits: "the number of signals in the layout",
            });
        }
        Ok(Self {
            boot,
            layout,
            calibrations,
            sequence: 0,
            position: SampleIndex(0),
            battery_percent: None,
        })
    }

    /// The position of the next sample.
    pub fn position(&self) -> SampleIndex {
        self.position
    }

    /// Leaves out `n_samples` of the first signal, which the device could not keep.
    pub fn skip(&mut self, n_samples: SampleCount) {
        self.position = self.position.after(n_samples);
    }

    /// The next packet, from the samples (adu) and lead-off flag of each signal.
    ///
    /// # Errors
    /// What [`Packet::parse`] would say of it; nothing is counted then.
    pub fn push_adu(
        &mut self,
        device_time: Utc,
        signals: &[(&[i32], bool)],
    ) -> Result<Packet, Error> {
        let signal =
            |(&(samples, lead_off), calibration): (&(&[i32], bool), &Calibration)| PacketSignal {
                gain: calibration.gain,
                baseline: calibration.baseline,
                lead_off,
                samples: samples.to_vec(),
            };
        let calibrations = &self.calibrations;
        let signals = signals.iter().zip(calibrations).map(signal).collect();
        self.push(device_time, signals)
    }

    /// The next packet, from samples in the units of their [`SignalKind`](ecg::SignalKind), rounded to the nearest adu. The
    /// start of the block is not looked at: what is pushed follows what was pushed before.
    ///
    /// # Errors
    /// What [`Packet::parse`] would say of it; nothing is counted then.
    pub fn push_mv(&mut self, device_time: Utc, block: &Block) -> Result<Packet, Error> {
        let signal = |(samples, calibration): (&ecg::SignalBlock, &Calibration)| {
            let adu = |&mv: &f32| {
                let adu = f64::from(mv) * calibration.gain + f64::from(calibration.baseline);
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "float to integer casts saturate, as a converter does"
                )]
                {
                    adu.round() as i32
                }
            };
            PacketSignal {
                gain: calibration.gain,
                baseline: calibration.baseline,
                lead_off: samples.lead_off,
                samples: samples.samples.iter().map(adu).collect(),
            }
        };
        let calibrations = &self.calibrations;
        let signals = block.signals.iter().zip(calibrations).map(signal).collect();
        self.push(device_time, signals)
    }

    fn push(&mut self, device_time: Utc, signals: Vec<PacketSignal>) -> Result<Packet, Error> {
        let packet = Packet {
            boot: self.boot,
            sequence: self.sequence,
            first_sample: self.position,
            device_time,
            layout: self.layout.clone(),
            signals,
            battery_percent: self.battery_percent,
        };
        packet.check(&Limits::default())?;
        self.sequence += 1;
        self.position = packet.end();
        Ok(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::{SampleRate, SignalBlock, SignalSpec};

    #[test]
    fn packets_are_numbered_and_millivolts_survive() {
        let spec = |kind: &str, hz| SignalSpec {
            kind: kind.parse().unwrap(),
            rate: SampleRate::new(hz).unwrap(),
        };
        let layout = Layout::new(&[spec("II", 250.0), spec("PPG", 50.0)]).unwrap();
        let calibration = Calibration {
            gain: 1000.0,
            baseline: 512,
        };
        assert!(Encoder::new(BootId(1), layout.clone(), vec![]).is_err());
        let mut encoder = Encoder::new(BootId(1), layout, vec![calibration; 2]).unwrap();
        let block = Block {
            start: SampleIndex(0),
            signals: vec![
                SignalBlock {
                    samples: vec![0.25; 10],
                    lead_off: false,
                },
                SignalBlock {
                    samples: vec![-1.5; 2],
                    lead_off: true,
                },
            ],
        };
        let first = encoder.push_mv(Utc(0), &block).unwrap();
        assert_eq!(first.to_block(), block);
        encoder.skip(SampleCount(5));
        let second = encoder.push_mv(Utc(0), &block).unwrap();
        assert_eq!((second.sequence, second.first_sample.0), (1, 15));
        // 10 samples of 250 Hz do not last as long as 3 of 50 Hz.
        let error = encoder
            .push_adu(Utc(0), &[(&[0; 10], false), (&[0; 3], false)])
            .unwrap_err();
        assert_eq!(error.reason(), "misaligned");
        assert_eq!(encoder.position(), SampleIndex(25));
    }
}
