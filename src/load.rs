//! Load with an oracle: many simulated wearables, and proof that *an acknowledged packet is never without effect*.
//!
//! ```text
//! Plan > Script (signals, encoded once) > Course (what the link makes of them)
//!                                           |
//!          +--------------------------------+------------------------------+
//!          v                                                               v
//!       publish: N devices > broker > service > database   expect: the offline twin of the course
//!          |                                       |                       |
//!          +---- Run: what was acknowledged -------+-----> verify <--------+
//!                                                            v
//!                                                         Verdict: every obligation unmet, every effect without cause
//! ```
//!
//! What a device sends is a pure function of the plan: losses, duplicates, reordering and reboots are drawn before the
//! play. So the twin, which is the service's own [`Device`](crate::device::Device) over the packets in the order of their
//! publication, says exactly what must be in the database, and a [`Run`] needs to remember of each device only how many
//! packets were published and acknowledged. Devices that play the same course share one run of the twin.
//!
//! At-least-once is no reason for an accusation: a packet that the broker got twice, a service or a broker that was
//! restarted change nothing in what must be found.

pub mod ear;
pub mod expect;
pub mod latency;
pub mod link;
pub mod plan;
pub mod publish;
pub mod report;
pub mod script;
pub mod settle;
pub mod truth;
pub mod verify;

pub use ear::Ear;
pub use latency::{Latency, measure};
pub use plan::{Bad, Mix, Plan};
pub use publish::{DeviceLog, Load, Progress, Run};
pub use settle::{Api, settle};
pub use verify::{Accusation, Fault, Verdict, Witness, verify};

/// What cannot be played.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A plan that cannot be.
    #[error("{what} is {value}, where {limits} is allowed")]
    Plan {
        /// What of it.
        what: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        limits: String,
    },
    /// Signals that cannot be simulated or sent.
    #[error("signals cannot be made: {0}")]
    Signals(String),
    /// No connection to the broker.
    #[error(transparent)]
    Broker(#[from] ingest::Error),
}
