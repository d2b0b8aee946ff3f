//! The vocabulary of einthoven: a type is here if and only if it crosses from one crate to
//! another. Also [`simulate`], the seeded ECG and PPG simulator.
//!
//! Three rules hold everywhere:
//!
//! * A position is a [`SampleIndex`]: samples of the *input* record at its base rate, counted
//!   from the start of the device, group delay removed. Spans are half-open.
//! * ECG is in mV, lead-major `[lead, sample]`; PPG is in arbitrary units.
//! * Where a lead comes from ([`LeadOrigin`]) travels with it.
//!
//! ```
//! use ecg::{Layout, Lead, SampleRate, SignalKind, SignalSpec};
//!
//! let rate = SampleRate::new(250.0)?;
//! let signal = |lead| SignalSpec { kind: SignalKind::Ecg(lead), rate };
//! let layout = Layout::new(&[signal(Lead::II), signal(Lead::V1), signal(Lead::V5)])?;
//! assert_eq!(layout.base_rate().count(0.2).0, 50);
//! # Ok::<(), ecg::Error>(())
//! ```

mod alarm;
mod block;
mod device;
mod error;
mod facts;
mod finding;
mod lead;
mod limits;
mod polarity;
pub mod simulate;
mod time;
mod window;

pub use alarm::{AlarmEvent, AlarmId, AlarmKind, AlarmState, Condition, Priority, Suppression};
pub use block::{Block, Gap, Layout, SignalBlock, SignalSpec};
pub use device::{BootId, DeviceId, RecordId};
pub use error::Error;
pub use facts::{
    Beat, BeatClass, Intervals, Levels, Measurement, Pulse, Quality, QualityReason, Rate,
    RateSource, Trend, Values, Ventricular, Wave,
};
pub use finding::{Attribution, Change, Evidence, Finding, Label, Limit, Prototype, Source, Value};
pub use lead::{Axis, Lead, LeadOrigin, SignalKind, Wavelength};
pub use limits::{Conditions, PatientLimits};
pub use polarity::points_down;
pub use time::{Anchor, SampleCount, SampleIndex, SampleRate, Utc};
pub use window::{ModelRef, Strip, StripSignal, Trust, TwelveLead, Unusable, Window, Withheld};
