//! The tasks of the pipeline, one file each: receive, call the core, send, count.

pub mod analyse;
pub mod announce;
pub mod deliver;
pub mod escalate;
pub mod persist;
pub mod retain;
pub mod route;
