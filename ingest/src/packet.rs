//! Packets: what a device sends, from bytes and to bytes.
//!
//! Two encodings of one shape, described for device makers in `proto/packet.proto`: protobuf with
//! delta-coded samples, and JSON with plain ones. The first byte tells them apart.
//!
//! Invariants of a parsed [`Packet`]: every signal starts at the same instant and covers exactly the
//! same duration, none is empty, every gain gives finite millivolts, and nothing is larger than
//! [`Limits`]. Sizes are checked before anything is allocated for them.

mod json;
mod wire;

use ecg::{Block, BootId, Layout, SampleIndex, SignalBlock, Utc};
use serde::{Deserialize, Serialize};

use crate::Error;

/// The version of the wire format.
const VERSION: u32 = 1;
/// Sequence numbers and sample indices stay below this: exact in JSON and in `f64`, and far from
/// any overflow (at 2000 Hz it is reached after 142,000 years).
const INDEX_END: u64 = 1 << 53;
const GAIN_MIN: f64 = 1e-6;
const GAIN_MAX: f64 = 1e6;

/// The most a packet may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of payload.
    pub payload_bytes: usize,
    /// Signals; never more than [`Layout::MAX_SIGNALS`].
    pub signals: usize,
    /// Samples of one signal.
    pub samples_per_signal: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_bytes: 256 * 1024,
            signals: Layout::MAX_SIGNALS,
            samples_per_signal: 20_000,
        }
    }
}

impl Limits {
    fn check(what: &'static str, value: usize, limit: usize) -> Result<(), Error> {
        if value > limit {
            return Err(Error::TooLarge { what, value, limit });
        }
        Ok(())
    }

    fn check_payload(&self, n_bytes: usize) -> Result<(), Error> {
        Self::check("bytes of payload", n_bytes, self.payload_bytes)
    }

    fn check_signals(&self, n_signals: usize) -> Result<(), Error> {
        let limit = self.signals.min(Layout::MAX_SIGNALS);
        Self::check("signals", n_signals, limit)
    }

    fn check_samples(&self, n_samples: usize) -> Result<(), Error> {
        Self::check("samples in a signal", n_samples, self.samples_per_signal)
    }
}

/// About one second of every signal of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet {
    /// The start of the device it belongs to.
    pub boot: BootId,
    /// Its number since that start.
    pub sequence: u64,
    /// Position in the record of its first sample, at the rate of the first signal.
    pub first_sample: SampleIndex,
    /// When that sample was taken, by the device's clock.
    pub device_time: Utc,
    /// What its signals are.
    pub layout: Layout,
    /// The signals, in the order of the layout.
    pub signals: Vec<PacketSignal>,
    /// Charge of the battery, 0 to 100, if the device says.
    pub battery_percent: Option<u8>,
}

/// The samples of one signal in a [`Packet`].
#[derive(Debug, Clone, PartialEq)]
pub struct PacketSignal {
    /// adu per mV; for PPG, adu per arbitrary unit; for ABP, per mmHg; for acceleration, per g.
    pub gain: f64,
    /// The adu value of 0 mV.
    pub baseline: i32,
    /// The electrode (or the skin contact) is off.
    pub lead_off: bool,
    /// adu.
    pub samples: Vec<i32>,
}

/// What tells one packet of the same samples from another: who sends it, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// As in [`Packet`].
    pub boot: BootId,
    /// As in [`Packet`].
    pub sequence: u64,
    /// As in [`Packet`].
    pub first_sample: SampleIndex,
    /// As in [`Packet`].
    pub device_time: Utc,
    /// As in [`Packet`].
    pub battery_percent: Option<u8>,
}

/// The samples of a packet, encoded once to be sent by many devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body(Box<[u8]>);

impl Body {
    /// The samples of `packet`.
    pub fn new(packet: &Packet) -> Self {
        Self(wire::encode_body(packet).into())
    }

    /// The packet of these samples with this header, in protobuf.
    pub fn encode(&self, header: &Header) -> Vec<u8> {
        wire::encode_around(&self.0, header)
    }

    /// How many bytes they take.
    pub fn n_bytes(&self) -> usize {
        self.0.len()
    }
}

impl Packet {
    /// Reads a packet in either encoding.
    ///
    /// # Errors
    /// Whatever is wrong with it, naming value and limit; see [`Error::reason`].
    pub fn parse(payload: &[u8], limits: &Limits) -> Result<Self, Error> {
        limits.check_payload(payload.len())?;
        let packet = if payload.first() == Some(&b'{') {
            json::parse(payload, limits)?
        } else {
            wire::parse(payload, limits)?
        };
        packet.check(limits)?;
        Ok(packet)
    }

    /// The packet in protobuf.
    pub fn encode(&self) -> Vec<u8> {
        wire::encode(self)
    }

    /// The packet in JSON.
    pub fn encode_json(&self) -> Vec<u8> {
        json::encode(self)
    }

    /// The position after its last sample.
    pub fn end(&self) -> SampleIndex {
        let n_samples = self.signals.first().map_or(0, |s| s.samples.len() as u64);
        SampleIndex(self.first_sample.0.saturating_add(n_samples))
    }

    /// The samples of all signals together.
    pub fn n_samples(&self) -> usize {
        self.signals.iter().map(|s| s.samples.len()).sum()
    }

    /// The samples in the unit of their [`SignalKind`](ecg::SignalKind).
    pub fn to_block(&self) -> Block {
        let millivolts = |signal: &PacketSignal| SignalBlock {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "f32 holds every ADC's resolution, and the smallest gain keeps it finite"
            )]
            samples: signal
                .samples
                .iter()
                .map(|&adu| ((f64::from(adu) - f64::from(signal.baseline)) / signal.gain) as f32)
                .collect(),
            lead_off: signal.lead_off,
        };
        Block {
            start: self.first_sample,
            signals: self.signals.iter().map(millivolts).collect(),
        }
    }

    /// Checks the invariants of the module comment.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check(&self, limits: &Limits) -> Result<(), Error> {
        limits.check_signals(self.signals.len())?;
        if self.signals.len() != self.layout.len() {
            return Err(Error::Field {
                field: "n_signals",
                value: self.signals.len().to_string(),
                limits: "the number of signals in the layout",
            });
        }
        for (field, value) in [
            ("sequence", self.sequence),
            ("first_sample", self.first_sample.0),
        ] {
            if value >= INDEX_END {
                return Err(Error::Field {
                    field,
                    value: value.to_string(),
                    limits: "0 to 2^53 - 1",
                });
            }
        }
        if let Some(percent) = self.battery_percent.filter(|&percent| percent > 100) {
            return Err(battery_error(u32::from(percent)));
        }
        let base = self.layout.base_rate();
        for (spec, signal) in self.layout.iter().zip(&self.signals) {
            limits.check_samples(signal.samples.len())?;
            if !(signal.gain >= GAIN_MIN && signal.gain <= GAIN_MAX) {
                return Err(Error::Field {
                    field: "gain",
                    value: signal.gain.to_string(),
                    limits: "0.000001 to 1000000 adu/mV",
                });
            }
            let misaligned = |problem| Error::Misaligned {
                kind: spec.kind.name(),
                problem,
            };
            if signal.samples.is_empty() {
                return Err(misaligned("no samples".to_owned()));
            }
            let start = base.convert_exact(self.first_sample, spec.rate);
            let start = start.ok_or_else(|| {
                misaligned(format!(
                    "sample {} of {base} is between two samples of {}",
                    self.first_sample, spec.rate
                ))
            })?;
            let end = SampleIndex(start.0.saturating_add(signal.samples.len() as u64));
            if base.convert_exact(self.end(), spec.rate) != Some(end) {
                return Err(misaligned(format!(
                    "{} samples at {} do not last as long as {} at {base}",
                    signal.samples.len(),
                    spec.rate,
                    self.signals[0].samples.len(),
                )));
            }
        }
        Ok(())
    }
}

fn battery_error(percent: u32) -> Error {
    Error::Field {
        field: "battery_percent",
        value: percent.to_string(),
        limits: "0 to 100",
    }
}

fn check_version(version: u32) -> Result<(), Error> {
    if version == VERSION {
        Ok(())
    } else {
        Err(Error::Version(version))
    }
}

fn check_n_signals(announced: u32, present: usize) -> Result<(), Error> {
    if usize::try_from(announced).is_ok_and(|announced| announced == present) {
        return Ok(());
    }
    Err(Error::Field {
        field: "n_signals",
        value: announced.to_string(),
        limits: "the number of signals that follow",
    })
}

#[cfg(test)]
mod tests;
