//! Beat detection against reference annotations: the service's own chain on one signal of each
//! record of a folder.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use dsp::{Chain, Output};
use ecg::{BootId, SampleIndex, Utc};

use super::ec57::{self, Counts, Labels};
use super::report::Report;
use crate::record::annotation::{self, Annotations};
use crate::record::{self, Player, Record};
use crate::wearable::Played;

/// The extension of the reference annotations.
const REFERENCE: &str = "atr";

/// What is scored how.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Which signal of each record, by position in the file.
    pub channel: usize,
    /// Seconds at the start of each record that are not scored; EC57 says five minutes.
    pub skip_seconds: f64,
}

/// Scores every record of `dir` that has reference annotations; the others are listed as left out.
///
/// # Errors
/// A folder that cannot be read.
pub fn run(dir: &Path, config: &dsp::Config, options: &Options) -> Result<Report, record::Error> {
    let records = record::records_in(dir)?;
    let scores = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(path) = records.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let score = score(path, config, options);
                    scores
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((path, score));
                }
            });
        }
    });
    let mut scores = scores.into_inner().unwrap_or_else(PoisonError::into_inner);
    scores.sort_by_key(|(path, _)| *path);
    let mut report = Report::new("qrs");
    for (path, score) in scores {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match score {
            Ok(counts) => report.push(name, counts),
            Err(reason) => report.exclude(name, reason),
        }
    }
    Ok(report)
}

/// The counts of one record, or why there are none.
fn score(path: &PathBuf, config: &dsp::Config, options: &Options) -> Result<Counts, String> {
    let reference = annotation::path(path, REFERENCE);
    if !reference.exists() {
        return Err(format!("no .{REFERENCE} file"));
    }
    let reference = Annotations::read(&reference).map_err(|error| error.to_string())?;
    let record = Record::open(path).map_err(|error| error.to_string())?;
    let signal = record
        .signals
        .get(options.channel)
        .map(|signal| signal.name.clone());
    let signal = signal.ok_or_else(|| {
        format!(
            "channel {} of {} signals",
            options.channel,
            record.signals.len()
        )
    })?;
    let player = Player::new(record, &[signal]).map_err(|error| error.to_string())?;
    let layout = player.layout().clone();
    let rate = layout.base_rate();
    let mut chain = Chain::new(&layout, config).map_err(|error| error.to_string())?;
    let mut outputs = Vec::new();
    let (mut beats, mut end) = (Vec::new(), SampleIndex(0));
    let mut take = |outputs: &mut Vec<Output>| {
        beats.extend(outputs.drain(..).filter_map(|output| match output {
            Output::Beat(beat) => Some(beat),
            _ => None,
        }));
    };
    for packet in Played::new(player, BootId(0), Utc(0)).map_err(|error| error.to_string())? {
        let block = packet.map_err(|error| error.to_string())?.to_block();
        end = block.end();
        chain.push(&block, &mut outputs);
        take(&mut outputs);
    }
    chain.finish(&mut outputs);
    take(&mut outputs);
    let rules = ec57::Config {
        start: options.skip_seconds,
        ..ec57::Config::default()
    };
    let labels = Labels::from_annotations(&reference.list);
    Ok(ec57::compare(&labels, &Labels::from_beats(beats), rate, end, &rules).qrs())
}
