//! A recording as a wearable would send it: one-second blocks of adu with lead-off flags.
//!
//! **Whoever reads a recording reads it here**, so that what is replayed over a broker and what
//! is analysed offline are the same samples. Blocks follow each other without a gap; together
//! they are the whole record. What the file marks as missing is what a wearable cannot send:
//! it holds the last valid value (before the first one: 0 mV), and a block of which more than
//! half is missing says that the lead is off.

use ecg::{Layout, SampleIndex, SampleRate, SignalKind, SignalSpec};

use super::{Error, Record, Signal};

/// Plays the chosen signals of a [`Record`]: an iterator of [`AduBlock`]s.
#[derive(Debug, Clone)]
pub struct Player {
    record: Record,
    layout: Layout,
    signals: Vec<PlayedSignal>,
    passed_over: Vec<PassedOver>,
    /// Per signal, in step with `signals`.
    tracks: Vec<Track>,
    /// The rate of the shortest span that is a whole number of samples of every signal.
    step_hz: f64,
    n_steps: u64,
    steps_per_block: u64,
    next_step: u64,
}

/// A signal that is played, and its calibration: mV = (adu - baseline) / gain.
#[derive(Debug, Clone, PartialEq)]
pub struct PlayedSignal {
    /// The name in the file.
    pub name: String,
    /// What it is.
    pub kind: SignalKind,
    /// Its sampling rate.
    pub rate: SampleRate,
    /// adu per unit of its [`SignalKind`]; positive.
    pub gain: f64,
    /// The adu of 0 mV.
    pub baseline: i32,
}

/// A signal that is not played though nobody said so, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// The name in the file.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// Contiguous samples of every played signal, adu: about a second, the last block the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AduBlock {
    /// Position of the first sample, at the rate of the first signal.
    pub start: SampleIndex,
    /// One entry per signal of the layout, in its order; all cover the same span of time.
    pub signals: Vec<AduSignal>,
}

/// The samples of one signal in an [`AduBlock`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AduSignal {
    /// adu, nothing missing.
    pub samples: Vec<i32>,
    /// More than half of these samples were missing in the record.
    pub lead_off: bool,
}

/// Where a played signal stands.
#[derive(Debug, Clone)]
struct Track {
    /// Its position among the record's signals.
    index: usize,
    per_step: usize,
    last_valid: i32,
}

/// How far a block's duration may be from a second where a second is no whole number of samples.
const BLOCK_SECONDS: std::ops::RangeInclusive<f64> = 0.5..=1.5;

impl Player {
    /// A player of the signals that `leads` names, in that order; of all ECG and PPG signals where
    /// it names none.
    ///
    /// A signal is named as in the file (`MLII`) or by what it is (`II`), in any case. Of two
    /// signals of one kind the first is played unless the other is named as in the file.
    ///
    /// # Errors
    /// [`Error::Choice`] where a name fits no signal or one that is neither ECG nor PPG, where a
    /// kind is named twice or a rate is outside 25 to 2000 Hz, where nothing remains to play, or
    /// where no whole number of samples of every signal makes about a second.
    pub fn new<S: AsRef<str>>(record: Record, leads: &[S]) -> Result<Self, Error> {
        let (chosen, passed_over) = if leads.is_empty() {
            choose_all(&record)
        } else {
            (choose_named(&record, leads)?, Vec::new())
        };
        let refuse = |reason: String| Error::Choice {
            record: record.name.clone(),
            reason,
        };
        if chosen.is_empty() {
            return Err(refuse(format!(
                "no ECG, PPG or ABP among its signals ({})",
                names(&record)
            )));
        }
        let specs: Vec<SignalSpec> = chosen
            .iter()
            .map(|(_, signal)| SignalSpec {
                kind: signal.kind,
                rate: signal.rate,
            })
            .collect();
        let layout = Layout::new(&specs).map_err(|error| refuse(error.to_string()))?;

        let per_frame = |index: usize| record.signals[index].per_frame;
        let steps_per_frame = chosen
            .iter()
            .fold(0, |divisor, &(index, _)| gcd(divisor, per_frame(index)))
            .max(1);
        let step_hz = record.frame_hz * steps_per_frame as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most 2000, the highest rate of a signal"
        )]
        let steps_per_block = (step_hz.round() as u64).max(1);
        if !BLOCK_SECONDS.contains(&(steps_per_block as f64 / step_hz)) {
            return Err(refuse(format!(
                "its rates have whole numbers of samples in common only every {} s, where 1.5 s are allowed",
                1.0 / step_hz
            )));
        }
        let tracks = chosen
            .iter()
            .map(|&(index, ref signal)| Track {
                index,
                per_step: usize::try_from(per_frame(index) / steps_per_frame).unwrap_or(0),
                last_valid: signal.baseline,
            })
            .collect();
        Ok(Self {
            layout,
            signals: chosen.into_iter().map(|(_, signal)| signal).collect(),
            passed_over,
            tracks,
            step_hz,
            n_steps: record.n_frames * steps_per_frame,
            steps_per_block,
            next_step: 0,
            record,
        })
    }

    /// The record that is played.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The layout of the blocks.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Names and calibration of the played signals, in the order of the layout.
    pub fn signals(&self) -> &[PlayedSignal] {
        &self.signals
    }

    /// What a player of all signals leaves out.
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }

    /// How long the record is, seconds.
    pub fn seconds(&self) -> f64 {
        self.n_steps as f64 / self.step_hz
    }

    /// How long every block but the last is, seconds.
    pub fn block_seconds(&self) -> f64 {
        self.steps_per_block as f64 / self.step_hz
    }
}

impl Iterator for Player {
    type Item = AduBlock;

    fn next(&mut self) -> Option<AduBlock> {
        let start = self.next_step;
        let end = self.n_steps.min(start + self.steps_per_block);
        if start >= end {
            return None;
        }
        self.next_step = end;
        let base = self.tracks.first()?.per_step as u64;
        let signals = self
            .tracks
            .iter_mut()
            .map(|track| {
                let at = |step: u64| usize::try_from(step).unwrap_or(usize::MAX) * track.per_step;
                let samples = &self.record.signals[track.index].samples[at(start)..at(end)];
                let missing = samples.iter().filter(|&&adu| adu == Signal::MISSING);
                AduSignal {
                    lead_off: missing.count() * 2 > samples.len(),
                    samples: track.hold(samples),
                }
            })
            .collect();
        Some(AduBlock {
            start: SampleIndex(start * base),
            signals,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.n_steps - self.next_step).div_ceil(self.steps_per_block);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Player {}

impl Track {
    /// `samples` with the last valid value in place of the missing ones.
    fn hold(&mut self, samples: &[i32]) -> Vec<i32> {
        samples
            .iter()
            .map(|&adu| {
                if adu != Signal::MISSING {
                    self.last_valid = adu;
                }
                self.last_valid
            })
            .collect()
    }
}

/// All signals that a wearable could send, and why not the others.
fn choose_all(record: &Record) -> (Vec<(usize, PlayedSignal)>, Vec<PassedOver>) {
    let mut chosen: Vec<(usize, PlayedSignal)> = Vec::new();
    let mut passed_over = Vec::new();
    for (index, signal) in record.signals.iter().enumerate() {
        let earlier = |played: &PlayedSignal| {
            let (_, first) = chosen.iter().find(|(_, other)| other.kind == played.kind)?;
            Some(format!("{} is played from {:?}", first.kind, first.name))
        };
        let full = || {
            (chosen.len() >= Layout::MAX_SIGNALS)
                .then(|| format!("{} signals are played already", Layout::MAX_SIGNALS))
        };
        let judged = playable(signal).and_then(|played| match earlier(&played).or_else(full) {
            Some(reason) => Err(reason),
            None => Ok(played),
        });
        match judged {
            Ok(played) => chosen.push((index, played)),
            Err(reason) => passed_over.push(PassedOver {
                name: signal.name.clone(),
                reason,
            }),
        }
    }
    (chosen, passed_over)
}

/// The signals that `leads` names.
fn choose_named<S: AsRef<str>>(
    record: &Record,
    leads: &[S],
) -> Result<Vec<(usize, PlayedSignal)>, Error> {
    let refuse = |reason| Error::Choice {
        record: record.name.clone(),
        reason,
    };
    leads
        .iter()
        .map(|lead| {
            let lead = lead.as_ref().trim();
            let kind = super::kind_of(lead);
            let signals = || record.signals.iter().enumerate();
            let (index, signal) = signals()
                .find(|(_, signal)| signal.name.eq_ignore_ascii_case(lead))
                .or_else(|| signals().find(|(_, signal)| kind.is_some() && signal.kind == kind))
                .ok_or_else(|| refuse(format!("no signal {lead:?} among {}", names(record))))?;
            let played = playable(signal)
                .map_err(|reason| refuse(format!("signal {lead:?} cannot be played: {reason}")))?;
            Ok((index, played))
        })
        .collect()
}

/// m/s² of 1 g.
const STANDARD_GRAVITY: f64 = 9.80665;

/// The signal as it would be played, or why it cannot be.
fn playable(signal: &Signal) -> Result<PlayedSignal, String> {
    let kind = signal
        .kind
        .ok_or_else(|| "neither an ECG lead nor a pulse".to_owned())?;
    let rate = SampleRate::new(signal.hz).map_err(|error| error.to_string())?;
    let per_unit = match (kind, signal.units.trim()) {
        (SignalKind::Acceleration(_), "g" | "G") => 1.0,
        (SignalKind::Acceleration(_), "mg") => 1e3,
        (SignalKind::Acceleration(_), "m/s2" | "m/s^2" | "m/s\u{b2}") => STANDARD_GRAVITY,
        (SignalKind::Acceleration(_), unit) => {
            return Err(format!("{unit:?} is none of g, mg and m/s2"));
        }
        _ => 1.0,
    };
    Ok(PlayedSignal {
        name: signal.name.clone(),
        kind,
        rate,
        gain: per_unit * signal.gain,
        baseline: signal.baseline,
    })
}

fn names(record: &Record) -> String {
    let names: Vec<&str> = record
        .signals
        .iter()
        .map(|signal| signal.name.as_str())
        .collect();
    names.join(", ")
}

/// The greatest common divisor; that of a number and 0 is the number.
fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::kind_of;

    /// A record of `frame_hz` with signals of the given names and samples per frame that count up.
    fn record(frame_hz: f64, n_frames: u64, signals: &[(&str, u64)]) -> Record {
        Record {
            name: "r".into(),
            start: None,
            frame_hz,
            n_frames,
            signals: signals
                .iter()
                .map(|&(name, per_frame)| Signal {
                    name: name.into(),
                    kind: kind_of(name),
                    per_frame,
                    hz: frame_hz * per_frame as f64,
                    gain: 200.0,
                    baseline: -7,
                    units: "mV".into(),
                    samples: (0..)
                        .zip(0..n_frames * per_frame)
                        .map(|(adu, _)| adu)
                        .collect(),
                })
                .collect(),
            comments: Vec::new(),
        }
    }

    const ALL: [&str; 0] = [];

    #[test]
    fn blocks_are_seconds_and_together_the_whole_record() {
        let player = Player::new(record(250.0, 1100, &[("II", 1), ("PLETH", 2)]), &ALL).unwrap();
        assert_eq!(player.len(), 5);
        assert_eq!((player.seconds(), player.block_seconds()), (4.4, 1.0));
        assert_eq!(player.layout()[1].rate, SampleRate::new(500.0).unwrap());
        let blocks: Vec<AduBlock> = player.collect();
        assert_eq!(blocks.len(), 5);
        assert_eq!(blocks[4].start, SampleIndex(1000));
        assert_eq!(blocks[4].signals[0].samples.len(), 100);
        for (signal, n) in [(0, 1100), (1, 2200)] {
            let whole: Vec<i32> = blocks
                .iter()
                .flat_map(|block| block.signals[signal].samples.iter().copied())
                .collect();
            assert_eq!(whole, (0..n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn missing_samples_hold_and_many_of_them_are_lead_off() {
        let mut record = record(100.0, 300, &[("II", 1)]);
        let samples = &mut record.signals[0].samples;
        samples[..50].fill(Signal::MISSING);
        samples[149..200].fill(Signal::MISSING);
        let blocks: Vec<AduBlock> = Player::new(record, &ALL).unwrap().collect();
        let off: Vec<bool> = blocks
            .iter()
            .map(|block| block.signals[0].lead_off)
            .collect();
        assert_eq!(off, [false, true, false]);
        assert_eq!(
            blocks[0].signals[0].samples[..51],
            [[-7; 50].as_slice(), &[50]].concat()
        );
        assert_eq!(blocks[1].signals[0].samples[48..], [148; 52]);
        assert_eq!(blocks[2].signals[0].samples[0], 200);
    }

    #[test]
    fn records_without_whole_seconds_have_blocks_of_almost_one() {
        let player = Player::new(record(99.6, 1000, &[("II", 1), ("V1", 3)]), &ALL).unwrap();
        assert!((player.block_seconds() - 100.0 / 99.6).abs() < 1e-12);
        assert_eq!(player.len(), 10);
        // Ten-second frames whose rates share no shorter span.
        let refused = Player::new(record(0.1, 3, &[("II", 2567), ("V1", 999)]), &ALL);
        assert!(refused.unwrap_err().to_string().contains("only every 10 s"));
        // ... and such that share a tenth of a second.
        let shared = Player::new(record(0.1, 3, &[("II", 2500), ("V1", 1000)]), &ALL).unwrap();
        assert_eq!((shared.block_seconds(), shared.len()), (1.0, 30));
    }

    #[test]
    fn leads_are_chosen_by_name() {
        let make = || {
            record(
                250.0,
                250,
                &[("V1", 1), ("MLII", 1), ("II", 1), ("RESP", 1)],
            )
        };
        let names = |leads: &[&str]| {
            let player = Player::new(make(), leads).unwrap();
            let names: Vec<String> = player.signals().iter().map(|s| s.name.clone()).collect();
            names
        };
        assert_eq!(names(&["ii", "v1"]), ["II", "V1"]);
        assert_eq!(names(&["mlii"]), ["MLII"]);
        let player = Player::new(make(), &ALL).unwrap();
        let passed: Vec<&str> = player
            .passed_over()
            .iter()
            .map(|p| p.name.as_str())
            .collect();
        assert_eq!(passed, ["II", "RESP"]);
        for (leads, said) in [
            (&["V6"][..], "no signal \"V6\" among V1, MLII, II, RESP"),
            (&["RESP"], "neither an ECG lead nor a pulse"),
            (&["II", "MLII"], "II is there twice"),
        ] {
            let error = Player::new(make(), leads).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        let slow = Player::new(record(1.0, 9, &[("II", 1)]), &ALL).unwrap_err();
        assert!(slow.to_string().contains("no ECG, PPG or ABP among"));
    }
}
