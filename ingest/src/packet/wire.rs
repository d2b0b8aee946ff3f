//! Packets as protobuf.
//!
//! A message of two bytes can decode to a hundred, so the payload is scanned first: the scan allocates
//! nothing and refuses too many signals or samples before the decoder sees them.

use ecg::{BootId, Layout, SampleIndex, SampleRate, SignalSpec, Utc};
use prost::Message;

use super::{
    Header, Limits, Packet, PacketSignal, VERSION, battery_error, check_n_signals, check_version,
};
use crate::Error;

#[expect(
    clippy::pedantic,
    unreachable_pub,
    reason = "generated; the schema holds the documentation"
)]
mod schema {
    include!(concat!(env!("OUT_DIR"), "/einthoven.v1.rs"));
}

/// Field numbers of the schema that can repeat.
const PACKET_SIGNALS: u64 = 8;
const SIGNAL_SAMPLES: u64 = 6;

pub(super) fn parse(payload: &[u8], limits: &Limits) -> Result<Packet, Error> {
    scan_packet(payload, limits)?;
    let wire =
        schema::Packet::decode(payload).map_err(|error| Error::Protobuf(error.to_string()))?;
    check_version(wire.version)?;
    check_n_signals(wire.n_signals, wire.signals.len())?;
    let specs = wire
        .signals
        .iter()
        .map(|signal| {
            Ok(SignalSpec {
                kind: signal.kind.parse()?,
                rate: SampleRate::new(signal.rate_hz)?,
            })
        })
        .collect::<Result<Vec<_>, ecg::Error>>()?;
    let battery_percent = wire
        .battery_percent
        .map(|percent| u8::try_from(percent).map_err(|_| battery_error(percent)))
        .transpose()?;
    Ok(Packet {
        boot: BootId(wire.boot),
        sequence: wire.sequence,
        first_sample: SampleIndex(wire.first_sample),
        device_time: Utc(wire.device_time_us),
        layout: Layout::new(&specs)?,
        signals: wire
            .signals
            .into_iter()
            .map(|signal| {
                Ok(PacketSignal {
                    samples: accumulate(&signal.kind, &signal.samples)?,
                    gain: signal.gain,
                    baseline: signal.baseline,
                    lead_off: signal.lead_off,
                })
            })
            .collect::<Result<_, Error>>()?,
        battery_percent,
    })
}

pub(super) fn encode(packet: &Packet) -> Vec<u8> {
    schema::Packet {
        boot: packet.boot.0,
        sequence: packet.sequence,
        first_sample: packet.first_sample.0,
        device_time_us: packet.device_time.0,
        battery_percent: packet.battery_percent.map(u32::from),
        ..constant(packet)
    }
    .encode_to_vec()
}

/// What of a packet does not say by whom and when it is sent.
pub(super) fn encode_body(packet: &Packet) -> Vec<u8> {
    constant(packet).encode_to_vec()
}

/// A header, then a body: protobuf takes the fields of a message in any order.
pub(super) fn encode_around(body: &[u8], header: &Header) -> Vec<u8> {
    let header = schema::Packet {
        boot: header.boot.0,
        sequence: header.sequence,
        first_sample: header.first_sample.0,
        device_time_us: header.device_time.0,
        battery_percent: header.battery_percent.map(u32::from),
        ..schema::Packet::default()
    };
    let mut payload = Vec::with_capacity(header.encoded_len() + body.len());
    header.encode_raw(&mut payload);
    payload.extend_from_slice(body);
    payload
}

fn constant(packet: &Packet) -> schema::Packet {
    let signals: Vec<_> = packet
        .layout
        .iter()
        .zip(&packet.signals)
        .map(|(spec, signal)| schema::Signal {
            kind: spec.kind.name().to_owned(),
            rate_hz: spec.rate.hz(),
            gain: signal.gain,
            baseline: signal.baseline,
            lead_off: signal.lead_off,
            samples: differences(&signal.samples),
        })
        .collect();
    schema::Packet {
        version: VERSION,
        n_signals: u32::try_from(signals.len()).unwrap_or(u32::MAX),
        signals,
        ..schema::Packet::default()
    }
}

/// The first sample, then the difference of each from the one before.
fn differences(samples: &[i32]) -> Vec<i64> {
    let mut before = 0;
    let difference = |&sample: &i32| {
        let sample = i64::from(sample);
        sample - std::mem::replace(&mut before, sample)
    };
    samples.iter().map(difference).collect()
}

/// The inverse of [`differences`].
fn accumulate(kind: &str, differences: &[i64]) -> Result<Vec<i32>, Error> {
    let mut sum = 0_i32;
    let sample = |(index, &difference): (usize, &i64)| {
        let next = i64::from(sum).checked_add(difference);
        sum = next
            .and_then(|next| i32::try_from(next).ok())
            .ok_or_else(|| Error::SampleRange {
                kind: kind.chars().take(80).collect(),
                index,
            })?;
        Ok(sum)
    };
    differences.iter().enumerate().map(sample).collect()
}

/// Counts the signals of a packet and the samples of each.
fn scan_packet(payload: &[u8], limits: &Limits) -> Result<(), Error> {
    let mut n_signals = 0;
    let mut scan = Scan(payload);
    while let Some((field, value)) = scan.next_field()? {
        if let (PACKET_SIGNALS, Value::Bytes(signal)) = (field, value) {
            n_signals += 1;
            limits.check_signals(n_signals)?;
            scan_signal(signal, limits)?;
        }
    }
    Ok(())
}

fn scan_signal(signal: &[u8], limits: &Limits) -> Result<(), Error> {
    let mut n_samples = 0;
    let mut scan = Scan(signal);
    while let Some((field, value)) = scan.next_field()? {
        if field == SIGNAL_SAMPLES {
            n_samples += match value {
                // Each varint ends with the one byte whose high bit is clear.
                Value::Bytes(packed) => packed.iter().filter(|&&byte| byte < 0x80).count(),
                Value::Number => 1,
            };
            limits.check_samples(n_samples)?;
        }
    }
    Ok(())
}

/// What a field holds, as far as counting needs it.
enum Value<'a> {
    Number,
    Bytes(&'a [u8]),
}

/// The rest of a message, read field by field.
struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    /// The number and value of the next field, `None` at the end.
    fn next_field(&mut self) -> Result<Option<(u64, Value<'a>)>, Error> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => {
                self.varint()?;
                Value::Number
            }
            1 => {
                self.take(8)?;
                Value::Number
            }
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Value::Number
            }
            wire_type => {
                return Err(Error::Protobuf(format!(
                    "field {} has wire type {wire_type}, which the schema does not use",
                    key >> 3
                )));
            }
        };
        Ok(Some((key >> 3, value)))
    }

    fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Error::Protobuf(
            "a number is longer than 64 bits".to_owned(),
        ))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Error> {
        let taken = usize::try_from(length)
            .ok()
            .and_then(|length| self.0.split_at_checked(length));
        let (taken, rest) = taken.ok_or_else(|| {
            let left = self.0.len();
            Error::Protobuf(format!("{length} bytes announced where {left} are left"))
        })?;
        self.0 = rest;
        Ok(taken)
    }
}
