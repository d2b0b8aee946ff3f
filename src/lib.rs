//! The root of einthoven: wiring, command line, HTTP and the page. No signal code, no SQL.
//!
//! Read [`pipeline`] first: it lists every channel and task in the order of a sample's way.

pub mod app;
pub mod calibration;
pub mod cli;
pub mod config;
pub mod day;
pub mod delivery;
pub mod device;
pub mod evaluate;
pub mod findings;
pub mod health;
pub mod holter;
pub mod http;
pub mod limits;
pub mod live;
pub mod load;
pub mod metrics;
pub mod monitor;
pub mod ownership;
pub mod pipeline;
pub mod proposal;
pub mod record;
pub mod rhythm;
pub mod stage;
pub mod trends;
pub mod usual;
pub mod vitals;
pub mod wall;
pub mod wearable;
pub mod windows;
