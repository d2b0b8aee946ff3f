//! 12-lead reconstruction with tract.
//!
//! A [`Library`] holds models that were checked against their manifests; a [`Reconstructor`]
//! completes a window of measured leads to twelve, each with its origin; a [`Pool`] does so on
//! threads of its own, newest window of each device first. Nothing here reads a clock, is async,
//! or touches a file other than the models that are loaded at start.
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
//!     samples: vec![0.1; 3 * shape.n_samples],
//!     n_samples: shape.n_samples,
//! })?;
//! assert_eq!(twelve.origin[1], LeadOrigin::Measured);
//! assert_eq!(twelve.origin[0], LeadOrigin::Reconstructed);
//! # Ok::<(), infer::Error>(())
//! ```

mod error;
mod library;
mod manifest;
mod model;
mod pool;
mod reconstruct;
mod tensor;

pub use error::Error;
pub use library::Library;
pub use manifest::{Kind, Manifest, Normalisation, WindowShape};
pub use pool::{Job, Outcome, Pool};
pub use reconstruct::{Reconstructor, derive};
