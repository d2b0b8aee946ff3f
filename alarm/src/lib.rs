//! When to alarm: a pure state machine and the table of conditions.
//!
//! A [`Machine`] watches one device. It is told facts (beats, pulses, rates, quality, ventricular seconds, gaps) and how
//! far they are complete, and answers with [`AlarmEvent`](ecg::AlarmEvent)s. What the pulse speaks against is held back,
//! as a [`Suppression`](ecg::Suppression) with its reason. Slower conditions are told to it ([`Report`]). [`table`] says what it
//! knows how to alarm on, [`Config`] with which numbers, [`Limits`] what is asked for one patient.
//!
//! Three rules hold everywhere:
//!
//! * It reads no clock, draws nothing at random and does no I/O: the same facts give the same
//!   events, however often it is asked.
//! * Only facts measured on the signal count; nothing reconstructed by a model reaches it.
//! * Equipment that cannot tell is an alarm of its own, never the absence of alarms.
//!
//! ```
//! use alarm::{Config, Machine};
//! use ecg::{Anchor, AlarmState, Beat, BootId, Condition, Layout, Lead, RecordId, SampleIndex,
//!           SampleRate, SignalKind, SignalSpec, Utc};
//!
//! let config = Config::default();
//! let rate = SampleRate::new(250.0)?;
//! let layout = Layout::new(&[SignalSpec { kind: SignalKind::Ecg(Lead::II), rate }])?;
//! let record = RecordId { device: "wearable-7".parse()?, boot: BootId(1) };
//! let anchor = Anchor { index: SampleIndex(0), utc: Utc(0), hz: rate.hz() };
//!
//! let mut machine = Machine::new(record.device.clone(), &config, config.limits);
//! let mut events = Vec::new();
//! machine.start(record, &layout, anchor, SampleIndex(0), &mut events);
//! machine.beat(&Beat { r_peak: SampleIndex(200), class: None });
//! machine.decided(SampleIndex(1300), &mut events);
//!
//! // A pause after 3 s, and at 4 s the asystole, which is announced instead of it.
//! let asystole = &events[1];
//! assert_eq!((asystole.condition, asystole.state), (Condition::Asystole, AlarmState::Active));
//! assert_eq!((asystole.onset, asystole.at), (SampleIndex(200), SampleIndex(1200)));
//! assert_eq!(asystole.evidence, "no QRS for 4.0 s, rate before unknown");
//! # Ok::<(), ecg::Error>(())
//! ```

mod conditions;
mod config;
mod error;
mod judge;
mod limits;
mod machine;
mod memory;
mod pending;
mod pulse;
mod suspicion;
mod watch;

pub use conditions::{Definition, definition, markdown, table};
pub use config::{Config, Extreme};
pub use error::Error;
pub use limits::{InForce, Limits, can_be_off};
pub use machine::{Machine, Report, Said, is_reported};
