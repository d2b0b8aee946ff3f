//! The machine from outside: timelines of single scenarios, and properties of random ones.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "this is all tests, and their numbers are small and positive"
)]

mod facts;
mod properties;
mod timelines;
