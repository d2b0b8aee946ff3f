//! Recordings cut into the windows that models are shown, by the service's own chain.
//!
//! Databases of twelve-lead ECGs hold 10 s, a window is a little longer. Where no more than
//! [`MAX_PADDING`] of a window is missing, the record's first and last values are held, which is what the
//! filters take to be beyond the ends of a segment anyway; [`Cut::real`] says what was recorded.

use std::ops::Range;

use dsp::{Chain, Output};
use ecg::{
    Block, BootId, Layout, Lead, SampleIndex, SampleRate, SignalBlock, SignalKind, SignalSpec, Utc,
    Window,
};

use crate::record::{Player, Record, Signal};
use crate::wearable::Played;

/// The largest share of a window that a record may lack.
pub const MAX_PADDING: f64 = 0.1;

/// One window of a recording.
#[derive(Debug, Clone)]
pub struct Cut {
    /// What a model would be shown.
    pub window: Window,
    /// The samples of it that were recorded; the others hold the first or the last of them.
    pub real: Range<usize>,
}

/// How windows are cut.
#[derive(Debug, Clone)]
pub struct Cutter {
    config: dsp::Config,
    rate: SampleRate,
    n_samples: usize,
}

impl Cutter {
    /// Windows of the length and rate of `config`, each starting `hop` seconds after the one before; one after the
    /// other where that is not said.
    ///
    /// # Errors
    /// Settings outside their limits.
    pub fn new(config: &dsp::Config, hop: Option<f64>) -> Result<Self, String> {
        let mut config = config.clone();
        config.window.hop_seconds = hop.unwrap_or(config.window.seconds);
        config.check().map_err(|error| error.to_string())?;
        let rate = SampleRate::new(config.window.rate_hz).map_err(|error| error.to_string())?;
        let n_samples = usize::try_from(rate.count(config.window.seconds).0).unwrap_or(usize::MAX);
        Ok(Self {
            config,
            rate,
            n_samples,
        })
    }

    /// Samples of a window.
    pub fn n_samples(&self) -> usize {
        self.n_samples
    }

    /// The windows of the signals that `leads` names, of all where it names none.
    ///
    /// # Errors
    /// A record that is too short for a window, has no ECG lead, or cannot be played; the message says why.
    pub fn cut<S: AsRef<str>>(&self, record: Record, leads: &[S]) -> Result<Vec<Cut>, String> {
        let (record, before, seconds) = self.lengthen(record)?;
        let player = Player::new(record, leads).map_err(|error| error.to_string())?;
        let layout = player.layout().clone();
        let mut chain = Chain::new(&layout, &self.config).map_err(|error| error.to_string())?;
        let mut outputs = Vec::new();
        let mut cuts = Vec::new();
        let mut keep = |outputs: &mut Vec<Output>| {
            for output in outputs.drain(..) {
                if let Output::Window(window) = output {
                    let start = layout.base_rate().convert(window.start, self.rate).0;
                    let within = |seconds: f64| {
                        let index = self.rate.count(seconds).0.saturating_sub(start);
                        usize::try_from(index).map_or(self.n_samples, |n| n.min(self.n_samples))
                    };
                    let real = within(before)..within(before + seconds);
                    cuts.push(Cut { window, real });
                }
            }
        };
        let played = Played::new(player, BootId(0), Utc(0)).map_err(|error| error.to_string())?;
        for packet in played {
            let block = packet.map_err(|error| error.to_string())?.to_block();
            chain.push(&block, &mut outputs);
            keep(&mut outputs);
        }
        chain.finish(&mut outputs);
        keep(&mut outputs);
        if cuts.is_empty() {
            return Err("no window: it has no ECG lead".to_owned());
        }
        Ok(cuts)
    }

    /// A record that is long enough for a window, the seconds put before it, and those it had.
    fn lengthen(&self, mut record: Record) -> Result<(Record, f64, f64), String> {
        let window = self.n_samples as f64 / self.rate.hz();
        let seconds = record.n_frames as f64 / record.frame_hz;
        if seconds >= window {
            return Ok((record, 0.0, seconds));
        }
        let least = window * (1.0 - MAX_PADDING);
        if seconds < least {
            return Err(format!(
                "{seconds:.2} s, where a window needs at least {least:.2} s"
            ));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a window has at most 30 s at 2000 Hz"
        )]
        let frames = (window * record.frame_hz).ceil() as u64 - record.n_frames;
        let before = frames / 2;
        for signal in &mut record.signals {
            hold_ends(signal, before, frames - before);
        }
        record.n_frames += frames;
        let before = before as f64 / record.frame_hz;
        Ok((record, before, seconds))
    }
}

/// What the chain says of a stretch of leads, each as many samples at `rate`; `None` where it refuses them.
pub fn analyse(
    leads: &[(Lead, &[f32])],
    rate: SampleRate,
    config: &dsp::Config,
) -> Option<Vec<Output>> {
    let kind = |(lead, _): &(Lead, &[f32])| SignalSpec {
        kind: SignalKind::Ecg(*lead),
        rate,
    };
    let signal = |(_, samples): &(Lead, &[f32])| SignalBlock {
        samples: samples.to_vec(),
        lead_off: false,
    };
    let layout = Layout::new(&leads.iter().map(kind).collect::<Vec<_>>()).ok()?;
    let mut chain = Chain::new(&layout, config).ok()?;
    let block = Block {
        start: SampleIndex(0),
        signals: leads.iter().map(signal).collect(),
    };
    let mut outputs = Vec::new();
    chain.push(&block, &mut outputs);
    chain.finish(&mut outputs);
    Some(outputs)
}

/// Repeats the first and the last sample of a signal for so many frames.
fn hold_ends(signal: &mut Signal, before: u64, after: u64) {
    let (Some(&first), Some(&last)) = (signal.samples.first(), signal.samples.last()) else {
        return;
    };
    let n = |frames: u64| usize::try_from(frames * signal.per_frame).unwrap_or(0);
    let held = std::iter::repeat_n(first, n(before));
    signal.samples.splice(0..0, held);
    signal.samples.extend(std::iter::repeat_n(last, n(after)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small positive numbers, and waves of less than 1000 adu"
    )]
    fn record(hz: f64, seconds: f64, names: &[&str]) -> Record {
        let n_frames = (seconds * hz) as u64;
        let signals = names.iter().enumerate().map(|(k, name)| Signal {
            name: (*name).to_owned(),
            kind: name.parse().ok(),
            per_frame: 1,
            hz,
            gain: 1000.0,
            baseline: 0,
            units: "mV".to_owned(),
            samples: (0..n_frames)
                .map(|i| ((i as f64 / hz * (9.0 + k as f64)).sin() * 800.0) as i32)
                .collect(),
        });
        Record {
            name: "r".to_owned(),
            start: None,
            frame_hz: hz,
            n_frames,
            signals: signals.collect(),
            comments: Vec::new(),
        }
    }

    fn cutter(hop: Option<f64>) -> Cutter {
        Cutter::new(&dsp::Config::default(), hop).unwrap()
    }

    #[test]
    fn ten_seconds_make_one_window_that_says_what_was_recorded() {
        for hz in [250.0, 500.0, 100.0] {
            let cuts = cutter(None)
                .cut::<&str>(record(hz, 10.0, &["II", "V1"]), &[])
                .unwrap();
            assert_eq!(cuts.len(), 1, "{hz}");
            assert_eq!(
                (cuts[0].window.n_samples, cuts[0].window.leads.len()),
                (2560, 2)
            );
            assert_eq!(cuts[0].real, 30..2530, "{hz}");
        }
    }

    #[test]
    fn long_records_make_windows_at_the_hop_and_short_ones_none() {
        let cut = |hop, seconds| cutter(hop).cut(record(250.0, seconds, &["II"]), &["II"]);
        let starts = |hop| -> Vec<u64> {
            let cuts = cut(hop, 31.0).unwrap();
            cuts.iter().map(|cut| cut.window.start.0).collect()
        };
        assert_eq!(starts(None), [0, 2560, 5120]);
        // Windows end at multiples of the hop.
        assert_eq!(starts(Some(10.0)), [2440, 4940]);
        let error = cut(None, 9.0).unwrap_err();
        assert_eq!(error, "9.00 s, where a window needs at least 9.22 s");
    }
}
