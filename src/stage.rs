//! The tasks of the pipeline, one file each: receive, call the core, send, count.

pub mod analyse;
pub mod persist;
pub mod route;
