//! What can be said of an ECG beyond its beats: twelve leads and what is in them, with tract, and statements.
//!
//! A [`Library`] holds models that were checked against their manifests; a [`Reconstructor`]
//! completes a window of measured leads to twelve, each with its origin; a [`Classifier`] says what
//! is in them, with its evidence; [`statements`] are findings that follow from what the signal chain knows of a
//! stretch ([`Context`]), [`baseline`] how they differ from what the patient usually has. A [`Reader`] puts all that
//! together, a [`Pool`] reads windows on threads of its own, newest of each device first. Nothing here
//! reads a clock, is async, or touches a file other than the models that are loaded at start.
//!
//! ```
//! use ecg::{Lead, LeadOrigin, SampleIndex, Window};
//! use infer::{Library, Reconstructor};
//!
//! let reconstructor = Reconstructor::new(Library::shipped()?);
//! let shape = reconstructor.window().expect("a model is shipped");
//! let twelve = reconstructor.reconstruct(&Window {
//!     start: SampleIndex(0),
//!     end: SampleIndex(shape.n_samples as u64),
//!     rate: shape.rate,
//!     leads: vec![Lead::II, Lead::V1, Lead::V5],
//!     samples: (0..3 * shape.n_samples).map(|k| (k as f32 * 0.04).sin()).collect(),
//!     n_samples: shape.n_samples,
//!     unusable: Vec::new(),
//! }, None)?;
//! assert_eq!(twelve.origin[1], LeadOrigin::Measured);
//! // No heart makes sine waves: what is missing is reconstructed, or withheld with a reason.
//! assert!(twelve.model.is_some() || twelve.withheld.is_some());
//! # Ok::<(), infer::Error>(())
//! ```

pub mod baseline;
mod calibration;
mod classify;
mod context;
mod error;
mod library;
mod manifest;
mod model;
mod numbers;
mod pool;
mod prepare;
pub mod pulse_rhythm;
mod reader;
mod reconstruct;
pub mod rhythm;
pub mod statements;
pub mod surrogate;
mod tensor;

pub use calibration::{Calibration, Part, Unfit};
pub use classify::{Classifier, Diagnosis, Refused};
pub use context::{Context, Stretch};
pub use error::Error;
pub use library::Library;
pub use manifest::{
    Activation, Classification, Example, Kind, Layout, LeadSet, Manifest, Normalise, Platt,
    Preparation, PulseRhythmForm, Reconstruction, RhythmForm, SurrogateForm, Target, When,
    WindowShape,
};
pub use model::Runtime;
pub use numbers::{pearson, solve};
pub use pool::{Config as PoolConfig, Job, Outcome, Pool};
pub use pulse_rhythm::{PulseLabel, PulseRhythmDecision, PulseRhythmModel, PulseStretch};
pub use reader::{PulseReading, Reader, Reading, Said, Task, WindowTask};
pub use reconstruct::{Reconstructor, derive};
pub use rhythm::{RhythmDecision, RhythmLabel, RhythmModel};
pub use surrogate::{SurrogateModel, Synthetic};
