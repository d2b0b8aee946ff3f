//! The readers without the rest of the program, for a fuzzer.
//!
//! The root package is large; its readers of recordings need nothing of it. They are compiled
//! from where they are, under the name that they have there, so that [`bodies`] is the same text
//! here and in the tests of the root package.

extern crate self as einthoven;

#[allow(dead_code, reason = "the readers do more than is tried here")]
#[path = "../../../src"]
mod root {
    pub mod record;
}

pub mod bodies;
pub use root::record;
