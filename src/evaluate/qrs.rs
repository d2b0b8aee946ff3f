//! Beat detection against reference annotations: the service's own chain on one signal of each
//! record of a folder.

use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use dsp::{Chain, Output};
use ecg::{Beat, BootId, SampleIndex, Utc};

use super::ec57::{self, Counts, Labels};
use super::noise::{Noise, is_noisy};
use super::report::Report;
use super::{REFERENCE, annotations};
use crate::record::{self, Player, Record};
use crate::wearable::Played;

/// What is scored how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which signals of each record beats are looked for in.
    pub channel: Channel,
    /// Seconds at the start of each record that are not scored; EC57 says five minutes.
    pub skip_seconds: f64,
    /// Noise to be added to the first of these signals.
    pub noise: Option<Noise>,
    /// Score the annotation files with this extension instead of the chain's beats.
    pub annotator: Option<String>,
}

/// Signals of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// One, by its position in the file.
    One(usize),
    /// All that are ECG, as a wearable would send them.
    All,
}

impl FromStr for Channel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        let index = text.parse().map(Self::One);
        index.map_err(|_| format!("{text:?} is neither a position, counted from 0, nor \"all\""))
    }
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
            Ok((counts, noisy)) => report.push(name, counts, noisy),
            Err(reason) => report.exclude(name, reason),
        }
    }
    Ok(report)
}

/// The counts of one record, those of its noisy minutes, or why there are none.
fn score(
    path: &Path,
    config: &dsp::Config,
    options: &Options,
) -> Result<(Counts, Option<Counts>), String> {
    let reference = Labels::from_annotations(&annotations(path, REFERENCE)?.list);
    let record = Record::open(path).map_err(|error| error.to_string())?;
    let names = match options.channel {
        Channel::All => Vec::new(),
        Channel::One(channel) => {
            let signal = record.signals.get(channel);
            let n = record.signals.len();
            let signal = signal.ok_or_else(|| format!("channel {channel} of {n} signals"))?;
            vec![signal.name.clone()]
        }
    };
    let player = Player::new(record, &names).map_err(|error| error.to_string())?;
    let rate = player.layout().base_rate();
    let end = SampleIndex(rate.count(player.seconds()).0);
    let test = match &options.annotator {
        Some(annotator) => Labels::from_annotations(&annotations(path, annotator)?.list),
        None => Labels::from_beats(detect(player, config, options, &reference)?),
    };
    let rules = ec57::Config {
        start: options.skip_seconds,
        ..ec57::Config::default()
    };
    let whole = ec57::compare(&reference, &test, rate, end, &rules);
    let noisy = options.noise.as_ref().map(|_| {
        let noisy = ec57::compare_where(&reference, &test, rate, end, &rules, is_noisy);
        noisy.qrs()
    });
    Ok((whole.qrs(), noisy))
}

/// The beats that the chain finds in what `player` plays.
fn detect(
    player: Player,
    config: &dsp::Config,
    options: &Options,
    reference: &Labels,
) -> Result<Vec<Beat>, String> {
    let layout = player.layout().clone();
    let mut chain = Chain::new(&layout, config).map_err(|error| error.to_string())?;
    let noise = options.noise.as_ref().map(|noise| {
        let first = player.signals().first().map(|played| &played.name);
        let signals = &player.record().signals;
        let channel = signals
            .iter()
            .position(|signal| Some(&signal.name) == first);
        let channel = channel.unwrap_or(0);
        let marks: Vec<SampleIndex> = reference.beats.iter().map(|beat| beat.r_peak).collect();
        noise.scaled(&signals[channel], channel, &marks, layout[0].rate)
    });
    let noise = noise.transpose()?;
    let mut outputs = Vec::new();
    let mut beats = Vec::new();
    let mut take = |outputs: &mut Vec<Output>| {
        beats.extend(outputs.drain(..).filter_map(|output| match output {
            Output::Beat(beat) => Some(beat),
            _ => None,
        }));
    };
    for packet in Played::new(player, BootId(0), Utc(0)).map_err(|error| error.to_string())? {
        let mut block = packet.map_err(|error| error.to_string())?.to_block();
        if let Some(noise) = &noise {
            let start = layout.base_rate().convert(block.start, layout[0].rate);
            noise.add(start, &mut block.signals[0].samples);
        }
        chain.push(&block, &mut outputs);
        take(&mut outputs);
    }
    chain.finish(&mut outputs);
    take(&mut outputs);
    Ok(beats)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_a_position_or_all() {
        assert_eq!("1".parse(), Ok(Channel::One(1)));
        assert_eq!("all".parse(), Ok(Channel::All));
        let refused = "MLII".parse::<Channel>().unwrap_err();
        assert!(refused.contains("MLII"), "{refused}");
    }
}
