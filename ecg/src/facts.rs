//! What is known of a record: beats, pulses, rates and the quality of its signals.
//!
//! Every position is an index of the *input* record at its base rate, group delay removed.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Lead, RecordId, SampleIndex, SignalKind, Utc};

/// The EC57 class of a beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BeatClass {
    /// Normal, and any beat that is none of the others.
    N,
    /// Supraventricular ectopic.
    S,
    /// Ventricular ectopic.
    V,
    /// Fusion of a ventricular and a normal beat.
    F,
    /// Paced, a fusion of paced and normal, or not classifiable.
    Q,
}

impl BeatClass {
    /// The letter.
    pub fn letter(self) -> char {
        match self {
            BeatClass::N => 'N',
            BeatClass::S => 'S',
            BeatClass::V => 'V',
            BeatClass::F => 'F',
            BeatClass::Q => 'Q',
        }
    }

    /// Its place in N, S, V, F, Q, as in the tables of EC57.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for BeatClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter())
    }
}

impl FromStr for BeatClass {
    type Err = Error;

    fn from_str(letter: &str) -> Result<Self, Error> {
        [Self::N, Self::S, Self::V, Self::F, Self::Q]
            .into_iter()
            .find(|class| letter.len() == 1 && letter.starts_with(class.letter()))
            .ok_or_else(|| Error::Word {
                what: "beat class",
                value: letter.to_owned(),
            })
    }
}

/// A heartbeat found in an ECG.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beat {
    /// Its R peak: the extremum of the QRS complex.
    pub r_peak: SampleIndex,
    /// Its class, `None` while nothing has classified it.
    pub class: Option<BeatClass>,
}

/// A pulse found in a PPG or an arterial pressure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pulse {
    /// The foot of the upstroke.
    pub onset: SampleIndex,
    /// Where it rises most steeply, in samples and a fraction of one: what intervals are measured between, for the foot is
    /// flat and its place less sure.
    pub steepest: f64,
    /// The systolic peak.
    pub peak: SampleIndex,
    /// The signal at the foot, in its own unit.
    pub level: f32,
    /// From foot to peak, in the same unit; positive.
    pub amplitude: f32,
}

/// Where a heart rate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateSource {
    /// RR intervals of the ECG.
    Ecg,
    /// Pulse intervals of the PPG.
    Ppg,
}

impl RateSource {
    /// The word for it in rows and JSON.
    pub fn name(self) -> &'static str {
        match self {
            RateSource::Ecg => "ecg",
            RateSource::Ppg => "ppg",
        }
    }
}

/// The heart rate as a monitor shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// The beat or pulse that completed it.
    pub at: SampleIndex,
    /// Beats per minute.
    pub bpm: f32,
    /// What it was counted on.
    pub source: RateSource,
}

/// Why a signal is as good or as bad as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QualityReason {
    /// Nothing is wrong.
    Good,
    /// The device reported the electrode or sensor off.
    LeadOff,
    /// No change at all: a dead input, or a heart without any activity.
    Flat,
    /// At the limits of the converter.
    Saturated,
    /// Noise or motion outweigh the signal.
    Noisy,
    /// The sensor works, but its pulses cannot be told from what else moves: motion, or a heart that moves little blood.
    Unclear,
    /// An accelerometer says that the wearer moves too much for the pulse.
    Motion,
}

impl QualityReason {
    /// Every reason.
    pub const ALL: [QualityReason; 7] = [
        Self::Good,
        Self::LeadOff,
        Self::Flat,
        Self::Saturated,
        Self::Noisy,
        Self::Unclear,
        Self::Motion,
    ];

    /// The word for it in rows, labels and JSON.
    pub fn name(self) -> &'static str {
        match self {
            QualityReason::Good => "good",
            QualityReason::LeadOff => "lead_off",
            QualityReason::Flat => "flat",
            QualityReason::Saturated => "saturated",
            QualityReason::Noisy => "noisy",
            QualityReason::Unclear => "unclear",
            QualityReason::Motion => "motion",
        }
    }
}

impl fmt::Display for QualityReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How usable one second of one signal is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// The signal judged.
    pub signal: SignalKind,
    /// The first sample judged.
    pub start: SampleIndex,
    /// The first sample after those judged.
    pub end: SampleIndex,
    /// 0 (unusable) to 1 (clean).
    pub score: f32,
    /// What decided the score.
    pub reason: QualityReason,
}

impl Quality {
    /// Below this score nothing should be concluded from the signal.
    pub const USABLE: f32 = 0.5;

    /// Whether beats may be looked for in this second.
    pub fn usable(&self) -> bool {
        self.score >= Self::USABLE
    }
}

/// How likely it is that the ventricles beat on their own, as of one second of a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ventricular {
    /// The first sample of the second.
    pub start: SampleIndex,
    /// The first sample after it: nothing later was looked at.
    pub end: SampleIndex,
    /// The probability of ventricular tachycardia, 0 to 1.
    pub vt: f32,
    /// The probability of ventricular flutter or fibrillation, 0 to 1.
    pub vf: f32,
    /// The leads that it is told from; none where no lead was fit for it, and then both are zero.
    pub leads: [Option<Lead>; 3],
}

/// A wave of a heartbeat. Positions are sample indices at the record's base rate, with fractions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wave {
    /// Where it leaves the baseline.
    pub onset: f64,
    /// Where it is farthest from the line between its ends; of the QRS, the R peak.
    pub peak: f64,
    /// Where it is back; of the QRS, the J point.
    pub offset: f64,
}

/// Intervals of a beat, or their medians, milliseconds. What cannot be measured, or is outside
/// what a heart can do, is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Intervals {
    /// From the R peak before to this one.
    pub rr_ms: Option<f32>,
    /// From the onset of P to that of the QRS.
    pub pr_ms: Option<f32>,
    /// From the onset of the QRS to the J point.
    pub qrs_ms: Option<f32>,
    /// From the onset of the QRS to the end of T.
    pub qt_ms: Option<f32>,
    /// QT over the square root of RR in seconds (Bazett, Heart 7, 1920), of the RR here.
    pub qtc_bazett_ms: Option<f32>,
    /// QT over the cube root of RR in seconds (Fridericia, Acta Med Scand 53, 1920), of the RR here.
    pub qtc_fridericia_ms: Option<f32>,
}

/// Levels of a beat on one measured lead against its PR segment, or their medians, millivolts.
/// What is not there, not seen or outside what a heart can do is `None`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Levels {
    /// The lead; measured, never reconstructed.
    pub lead: Lead,
    /// At the peak of P.
    pub p_mv: Option<f32>,
    /// Q: the lowest point of the QRS before R, where it is below the PR segment.
    pub q_mv: Option<f32>,
    /// R: the highest point of the QRS, where it is above the PR segment.
    pub r_mv: Option<f32>,
    /// S: the lowest point of the QRS after R, or of one without R, where it is below the PR segment.
    pub s_mv: Option<f32>,
    /// At the peak of T.
    pub t_mv: Option<f32>,
    /// 60 ms after the J point.
    pub st_j60_mv: Option<f32>,
    /// 80 ms after the J point.
    pub st_j80_mv: Option<f32>,
}

/// What is measured of one beat.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// Its R peak.
    pub r_peak: SampleIndex,
    /// The lead that its waves were found on.
    pub lead: Lead,
    /// The P wave that precedes the QRS, if any.
    pub p: Option<Wave>,
    /// The QRS complex; its offset is the J point.
    pub qrs: Wave,
    /// The T wave, if it stands out.
    pub t: Option<Wave>,
    /// Its values.
    pub values: Values,
    /// The medians of the last beats, this one included: what is shown and reported.
    pub median: Values,
    /// How many beats the medians are of.
    pub n_beats: usize,
}

/// The values of a beat, or their medians.
#[derive(Debug, Clone, PartialEq)]
pub struct Values {
    /// Durations.
    pub intervals: Intervals,
    /// The frontal axis of the QRS, degrees, -180 to 180, zero towards I and 90 towards aVF.
    pub axis_degrees: Option<f32>,
    /// Of each measured lead, in the order of the layout.
    pub levels: Vec<Levels>,
}

/// One minute of one record in numbers. Every field is a sum or an extremum, so that a minute
/// cut in two by a restart can be carried on.
#[derive(Debug, Clone, PartialEq)]
pub struct Trend {
    /// The record.
    pub record: RecordId,
    /// Which minute of it: sample index divided by the samples in 60 s, rounded down.
    pub minute: u64,
    /// Estimated UTC of the minute's first sample.
    pub start: Utc,
    /// Beats of the ECG.
    pub n_beats: u32,
    /// Pulses of the PPG.
    pub n_pulses: u32,
    /// How many rates were seen.
    pub n_rates: u32,
    /// Their sum, beats per minute.
    pub rate_sum: f64,
    /// The lowest of them; infinite while there is none.
    pub rate_min: f32,
    /// The highest of them; zero while there is none.
    pub rate_max: f32,
    /// Signal-seconds judged usable.
    pub usable_seconds: u32,
    /// Signal-seconds judged unusable.
    pub unusable_seconds: u32,
    /// Samples that never came.
    pub gap_samples: u64,
}

impl Trend {
    /// A minute of which nothing is known yet.
    pub fn new(record: RecordId, minute: u64, start: Utc) -> Self {
        Self {
            record,
            minute,
            start,
            n_beats: 0,
            n_pulses: 0,
            n_rates: 0,
            rate_sum: 0.0,
            rate_min: f32::INFINITY,
            rate_max: 0.0,
            usable_seconds: 0,
            unusable_seconds: 0,
            gap_samples: 0,
        }
    }

    /// The mean rate in beats per minute, `None` while there is none.
    pub fn rate_mean(&self) -> Option<f64> {
        (self.n_rates > 0).then(|| self.rate_sum / f64::from(self.n_rates))
    }
}
