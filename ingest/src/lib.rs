//! Bytes to blocks: topics, packets, resequencing, device clocks and the MQTT client.
//!
//! ```text
//! broker --> mqtt::run --> Delivery --> Packet::parse --> Resequencer --> Ordered (Block, Gap, ...)
//!               ^                             |
//!               +---------- Ack::done         +--> Clock --> Anchor (sample index to UTC)
//! ```
//!
//! Only [`mqtt`] awaits and talks to a network. The rest is plain values: bytes or packets and the
//! time of their arrival go in, packets, blocks, gaps and anchors come out, the same ones every
//! time. Untrusted bytes can neither panic nor take more memory than [`Limits`] allows.
//!
//! ```
//! use ecg::{BootId, Layout, Lead, SampleRate, SignalKind, SignalSpec, Utc};
//! use ingest::{Calibration, Encoder, Limits, Ordered, Packet, PacketSignal, Resequencer};
//!
//! // A device: one lead at 250 Hz, 200 adu per mV.
//! let rate = SampleRate::new(250.0)?;
//! let layout = Layout::new(&[SignalSpec { kind: SignalKind::Ecg(Lead::II), rate }])?;
//! let calibration = Calibration { gain: 200.0, baseline: 0 };
//! let mut encoder = Encoder::new(BootId(7), layout, vec![calibration])?;
//! let payload = encoder.push_adu(Utc(0), &[(&[0, 20, 100, 40], false)])?.encode();
//!
//! // The service.
//! let packet = Packet::parse(&payload, &Limits::default())?;
//! let mut resequencer = Resequencer::new(ingest::resequence::Config::default());
//! let mut ordered = Vec::new();
//! resequencer.push(packet, &mut ordered);
//! assert!(matches!(ordered[0], Ordered::Start { boot: BootId(7), .. }));
//! let Ordered::Block { block, .. } = &ordered[1] else { unreachable!() };
//! assert_eq!(block.signals[0].samples, [0.0, 0.1, 0.5, 0.2]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod clock;
mod encoder;
mod error;
pub mod mqtt;
mod packet;
pub mod resequence;
mod topic;

use serde::{Deserialize, Serialize};

pub use clock::{Clock, ClockEvent};
pub use encoder::{Calibration, Encoder};
pub use error::Error;
pub use packet::{Body, Header, Limits, Packet, PacketSignal};
pub use resequence::{Ordered, Outcome, Resequencer};
pub use topic::{Status, Topic, TopicKind, alarm_topic, device_of_alarm_topic, every_alarm_topic};

/// Settings of everything between the broker and the blocks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The broker and how to talk to it.
    pub mqtt: mqtt::Config,
    /// What a packet may hold.
    pub limits: Limits,
    /// How long to wait for packets that are missing.
    pub resequence: resequence::Config,
    /// How far to trust the clocks of devices.
    pub clock: clock::Config,
}
