//! Scores against reference annotations by the field's own rules.

pub mod delineate;
pub mod ec57;
pub mod qrs;
pub mod report;
