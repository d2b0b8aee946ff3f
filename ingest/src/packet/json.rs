//! Packets as JSON: the schema's shape with plain samples, for hands, shells and scripts.

use ecg::{BootId, Layout, SampleIndex, SampleRate, SignalSpec, Utc};
use serde::{Deserialize, Serialize};

use super::{Limits, Packet, PacketSignal, VERSION, battery_error, check_n_signals, check_version};
use crate::Error;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPacket {
    version: u32,
    boot: u32,
    sequence: u64,
    first_sample: u64,
    device_time_us: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    battery_percent: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n_signals: Option<u32>,
    signals: Vec<JsonSignal>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonSignal {
    kind: String,
    rate_hz: f64,
    gain: f64,
    #[serde(default)]
    baseline: i32,
    #[serde(default)]
    lead_off: bool,
    samples: Vec<i32>,
}

/// Reads JSON. The limit on the payload bounds what is allocated: a sample takes at least two bytes.
pub(super) fn parse(payload: &[u8], limits: &Limits) -> Result<Packet, Error> {
    let json: JsonPacket =
        serde_json::from_slice(payload).map_err(|error| Error::Json(error.to_string()))?;
    check_version(json.version)?;
    limits.check_signals(json.signals.len())?;
    if let Some(announced) = json.n_signals {
        check_n_signals(announced, json.signals.len())?;
    }
    let specs = json
        .signals
        .iter()
        .map(|signal| {
            Ok(SignalSpec {
                kind: signal.kind.parse()?,
                rate: SampleRate::new(signal.rate_hz)?,
            })
        })
        .collect::<Result<Vec<_>, ecg::Error>>()?;
    let battery_percent = json
        .battery_percent
        .map(|percent| u8::try_from(percent).map_err(|_| battery_error(percent)))
        .transpose()?;
    Ok(Packet {
        boot: BootId(json.boot),
        sequence: json.sequence,
        first_sample: SampleIndex(json.first_sample),
        device_time: Utc(json.device_time_us),
        layout: Layout::new(&specs)?,
        signals: json
            .signals
            .into_iter()
            .map(|signal| PacketSignal {
                gain: signal.gain,
                baseline: signal.baseline,
                lead_off: signal.lead_off,
                samples: signal.samples,
            })
            .collect(),
        battery_percent,
    })
}

pub(super) fn encode(packet: &Packet) -> Vec<u8> {
    let json = JsonPacket {
        version: VERSION,
        boot: packet.boot.0,
        sequence: packet.sequence,
        first_sample: packet.first_sample.0,
        device_time_us: packet.device_time.0,
        battery_percent: packet.battery_percent.map(u32::from),
        n_signals: None,
        signals: packet
            .layout
            .iter()
            .zip(&packet.signals)
            .map(|(spec, signal)| JsonSignal {
                kind: spec.kind.name().to_owned(),
                rate_hz: spec.rate.hz(),
                gain: signal.gain,
                baseline: signal.baseline,
                lead_off: signal.lead_off,
                samples: signal.samples.clone(),
            })
            .collect(),
    };
    serde_json::to_vec(&json).expect("a struct of numbers and strings is always JSON")
}
