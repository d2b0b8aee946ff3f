//! Pure signal processing: from the blocks of one record to its beats, rates, qualities and windows.
//!
//! [`Chain`] is the way in; the stages it is made of stand in modules of their own. Everything here
//! is a plain struct with `push`: **no clock, no I/O, no randomness, no locks**. Signal code
//! cannot fail once it is built: what can be refused is refused by [`Chain::new`].
//!
//! There are three ways through the filters. Detection wants the least delay: causal recursive sections
//! with f64 state. What is drawn and shown to models can wait a second: linear phase, 0.67 to 43 Hz, delay
//! compensated, so that waves keep their shape. A trace that keeps the level of the ST segment as well comes from
//! [`diagnostic`], 0.05 to 150 Hz. `docs/filters.md` has the measured responses. Amplitudes and ST levels of
//! beats are read from the samples as they came ([`measure`]).
//!
//! ```
//! use dsp::{Chain, Config, Output};
//! use ecg::{Block, Layout, Lead, SampleIndex, SampleRate, SignalBlock, SignalKind, SignalSpec};
//!
//! let rate = SampleRate::new(250.0)?;
//! let layout = Layout::new(&[SignalSpec { kind: SignalKind::Ecg(Lead::II), rate }])?;
//! let mut chain = Chain::new(&layout, &Config::default())?;
//!
//! // Ten seconds of spikes, one a second.
//! let spike = |n: u32| (-(f64::from(n % 250) - 125.0).powi(2) / 8.0).exp() as f32;
//! let samples = (0..2500).map(spike).collect();
//! let signals = vec![SignalBlock { samples, lead_off: false }];
//! let mut out = Vec::new();
//! chain.push(&Block { start: SampleIndex(0), signals }, &mut out);
//! chain.finish(&mut out);
//!
//! let beats = out.iter().filter(|output| matches!(output, Output::Beat(_)));
//! assert_eq!(beats.count(), 10);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod baseline;
mod chain;
pub mod class;
mod config;
mod crest;
pub mod delineate;
pub mod diagnostic;
pub mod ectopy;
mod envelope;
mod error;
pub mod filter;
mod forest;
mod fusion;
pub mod hrv;
pub mod measure;
mod motion;
pub mod pulse;
pub mod qrs;
pub mod quality;
pub mod resample;
pub mod respiration;
pub mod rr;
mod selection;
pub mod spectrum;
pub mod variability;
pub mod ventricular;
mod weights;
mod window;

pub use chain::{Chain, Models, Output};
pub use config::{Config, Mains, WindowConfig};
pub use error::Error;
pub use window::Trace;
