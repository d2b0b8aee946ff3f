//! Scores against reference annotations by the field's own rules.

pub mod beats;
pub mod delineate;
pub mod ec57;
pub mod noise;
pub mod qrs;
pub mod report;

use std::path::Path;

use crate::record::annotation::{self, Annotations};

/// The extension of reference annotations.
const REFERENCE: &str = "atr";

/// The annotations of `annotator` beside the record at `path`.
fn annotations(path: &Path, annotator: &str) -> Result<Annotations, String> {
    let file = annotation::path(path, annotator);
    if !file.exists() {
        return Err(format!("no .{annotator} file"));
    }
    Annotations::read(&file).map_err(|error| error.to_string())
}

/// Where the beats of the record at `path` are by its reference annotations.
fn reference(path: &Path) -> Result<Vec<ecg::SampleIndex>, String> {
    let labels = ec57::Labels::from_annotations(&annotations(path, REFERENCE)?.list);
    Ok(labels.beats.iter().map(|beat| beat.r_peak).collect())
}
