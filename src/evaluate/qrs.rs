//! Beat detection against reference annotations: the service's own chain on one signal of each
//! record of a folder.

use std::path::Path;
use std::str::FromStr;

use dsp::{Chain, Models, Output};
use ecg::{Beat, Block, SampleIndex};

use super::ec57::{self, Counts, Labels};
use super::noise::{Noise, is_noisy};
use super::report::Report;
use super::{REFERENCE, annotations, play, score_all};
use crate::record::{self, Player, Record};

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
    /// What finds the beats.
    pub models: Models,
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
    let mut report = Report::new("qrs");
    for (name, score) in score_all(&records, |path| score(path, config, options)) {
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
    let chain = Chain::with_models(&layout, config, &options.models);
    let mut chain = chain.map_err(|error| error.to_string())?;
    let noise = options.noise.as_ref().map(|noise| {
        let first = player.signals().first().map(|played| &played.name);
        let signals = &player.record().signals;
        let channel = signals
            .iter()
            .position(|signal| Some(&signal.name) == first);
        let channel = channel.unwrap_or(0);
        noise.scaled(
            &signals[channel],
            channel,
            &reference.r_peaks(),
            layout[0].rate,
        )
    });
    let noise = noise.transpose()?;
    let add_noise = |block: &mut Block| {
        if let Some(noise) = &noise {
            let start = layout.base_rate().convert(block.start, layout[0].rate);
            noise.add(start, &mut block.signals[0].samples);
        }
    };
    let mut beats = Vec::new();
    play(player, &mut chain, add_noise, |output| {
        if let Output::Beat(beat) = output {
            beats.push(beat);
        }
    })?;
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
