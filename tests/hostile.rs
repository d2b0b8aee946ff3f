//! The bodies of the fuzz targets over the corpus that is kept: what a fuzzer tries for hours on
//! demand, every change tries once. See `tests/fuzz/README.md`.

use std::path::Path;

#[allow(unreachable_pub, reason = "the fuzz targets reach it")]
#[path = "fuzz/src/bodies.rs"]
mod bodies;

/// Runs `body` over every file of a target's corpus.
fn replay(target: &str, body: fn(&[u8])) {
    let corpus = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus")).join(target);
    let mut n_files = 0;
    for entry in std::fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        // Shown where the body fails.
        println!("{}", path.display());
        body(&std::fs::read(&path).unwrap());
        n_files += 1;
    }
    assert!(n_files > 5, "{n_files} files in {}", corpus.display());
}

#[test]
fn wfdb_records() {
    replay("wfdb", bodies::wfdb);
}

#[test]
fn edf_files() {
    replay("edf", bodies::edf);
}

#[test]
fn annotation_files() {
    replay("annotation", bodies::annotation);
}

#[test]
fn packets() {
    replay("packet", bodies::packet);
}

#[test]
fn packets_out_of_order() {
    replay("resequence", bodies::resequence);
}
