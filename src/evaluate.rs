//! Scores against reference annotations by the field's own rules.

pub mod alarms;
pub mod beats;
pub mod classify;
pub mod delineate;
pub mod ec57;
pub mod episodes;
pub mod noise;
pub mod ppg_rhythm;
pub mod pulse;
pub mod qrs;
pub mod reconstruct;
pub mod report;
pub mod rhythm;
pub mod rhythms;
pub mod roc;
pub mod runs;
pub mod surrogate;
pub mod ventricular;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use dsp::{Chain, Output};
use ecg::{Block, BootId, SampleIndex, SignalKind, Utc};

use crate::record::annotation::{self, Annotations};
use crate::record::{Player, Record};
use crate::wearable::Played;

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

/// Whether a fold was asked for: one of `folds`, or any where there is none.
fn is_wanted(fold: Option<u8>, folds: &[u8]) -> bool {
    folds.is_empty() || fold.is_some_and(|fold| folds.contains(&fold))
}

/// The names of those signals of a record that would be played and are of a kind that is `wanted`.
fn playable(path: &Path, wanted: impl Fn(SignalKind) -> bool) -> Result<Vec<String>, String> {
    let player = player(path, &[])?;
    let signals = player.signals().iter().filter(|signal| wanted(signal.kind));
    Ok(signals.map(|signal| signal.name.clone()).collect())
}

/// Plays the signals of these names of the record at `path`; all without any.
fn player(path: &Path, names: &[String]) -> Result<Player, String> {
    let record = Record::open(path).map_err(|error| error.to_string())?;
    Player::new(record, names).map_err(|error| error.to_string())
}

/// The bytes of weights for a record: of a file, or of `NAME.bin` in a folder.
fn weights(path: &Path, name: &str) -> Result<Vec<u8>, String> {
    let own = path.join(format!("{name}.bin"));
    let path = if path.is_dir() { &own } else { path };
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The name of a record: that of its file.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The name of each record with what `score` says of it or why it says nothing, in the order of the
/// records, computed on all cores.
fn score_all<T: Send>(
    records: &[PathBuf],
    score: impl Fn(&Path) -> Result<T, String> + Sync,
) -> Vec<(String, Result<T, String>)> {
    let scores = on_all_cores(records, |_, _| {}, |path| score(path));
    let names = records.iter().map(|path| name_of(path));
    names.zip(scores).collect()
}

/// What `work` makes of each item, in their order, computed on all cores. `progress` is told how many are done, of how
/// many.
fn on_all_cores<I: Sync, T: Send>(
    items: &[I],
    progress: impl Fn(usize, usize) + Sync,
    work: impl Fn(&I) -> T + Sync,
) -> Vec<T> {
    let results = Mutex::new(Vec::new());
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let k = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(k) else { break };
                    let result = work(item);
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, items.len());
                    results
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((k, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(k, _)| *k);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Plays a record through `chain`, each block as `alter` leaves it; hands on every output, and says
/// where the record ends.
fn play(
    player: Player,
    chain: &mut Chain,
    alter: impl Fn(&mut Block),
    mut said: impl FnMut(Output),
) -> Result<SampleIndex, String> {
    let mut outputs = Vec::new();
    let mut end = SampleIndex(0);
    for packet in Played::new(player, BootId(0), Utc(0)).map_err(|error| error.to_string())? {
        let mut block = packet.map_err(|error| error.to_string())?.to_block();
        alter(&mut block);
        end = block.end();
        chain.push(&block, &mut outputs);
        outputs.drain(..).for_each(&mut said);
    }
    chain.finish(&mut outputs);
    outputs.into_iter().for_each(said);
    Ok(end)
}
