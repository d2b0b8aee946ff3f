//! The noise stress test: recorded noise, scaled and added to part of a clean record.
//!
//! After the first five minutes two minutes with noise and two without alternate; what counts is
//! how beats are found in the minutes with noise. The noise comes from a WFDB record:
//!
//! * **A record that `nst` made** (its header says that, "from records C and N (SNR = x dB)",
//!   as those of the MIT-BIH noise stress database do): the noise is what it has more than record C.
//!   The noise in it counts as x dB by `nst`'s own word, and is scaled with the QRS amplitudes of the two
//!   records and the difference of the two ratios.
//! * **Any other record** is noise. Its amplitude is the mean of the standard deviations of its
//!   one-second windows in the noisy minutes, largest and smallest 5 % left out, and
//!   SNR = 10 lg(S^2 / 8 / N^2).
//!
//! S is the mean peak-to-peak amplitude of the first 300 QRS complexes within 50 ms of their marks,
//! largest and smallest 5 % left out. Noise is added in mV to the first signal that is evaluated, at
//! the same sample of the same rate, over again where it is shorter; the converter of the recorder is
//! not imitated.
//!
//! Reference: Moody, Muldrow & Mark, Computers in Cardiology 11, 1984, and `nst(1)` of the WFDB
//! Applications Guide. Differs in: the amplitude of noise is not frequency-weighted.

use std::path::Path;

use ecg::{SampleIndex, SampleRate};

use super::ec57::Labels;
use crate::record::{Record, Signal};

/// Seconds without noise at the start.
const LEARNING_SECONDS: f64 = 300.0;
/// Seconds of noise, and then of rest.
const TURN_SECONDS: f64 = 120.0;
/// A QRS is measured this far around its mark.
const QRS_SECONDS: f64 = 0.05;
/// How many complexes are measured.
const MEASURED_BEATS: usize = 300;

/// Whether noise is added at `seconds` from the start of a record.
pub(super) fn is_noisy(seconds: f64) -> bool {
    seconds >= LEARNING_SECONDS
        && ((seconds - LEARNING_SECONDS) / TURN_SECONDS).rem_euclid(2.0) < 1.0
}

/// Recorded noise and the ratio it is to be added with.
#[derive(Debug, Clone)]
pub struct Noise {
    name: String,
    rate_hz: f64,
    /// mV, one list per signal.
    signals: Vec<Vec<f32>>,
    /// The QRS amplitude that each signal of noise is scaled from, mV, at 0 dB.
    reference: Vec<f64>,
    snr_db: f64,
}

impl Noise {
    /// Reads the noise of the record at `file`, to be added at `snr_db`. `folder` is where the
    /// clean record that `nst` started from is looked for, after the folder of `file`.
    ///
    /// # Errors
    /// A record that cannot be read, is empty or silent, or whose clean record is not found or
    /// does not fit.
    pub fn read(file: &Path, folder: &Path, snr_db: f64) -> Result<Self, String> {
        if !snr_db.is_finite() {
            return Err(format!(
                "a ratio of {snr_db} dB, where a finite one is needed"
            ));
        }
        let noisy = Record::open(file).map_err(|error| error.to_string())?;
        let mut noise = Self {
            name: noisy.name.clone(),
            rate_hz: noisy.frame_hz,
            signals: noisy.signals.iter().map(millivolts).collect(),
            reference: Vec::new(),
            snr_db,
        };
        if let Some((clean, made_db)) = noisy.comments.iter().find_map(|line| made_by_nst(line)) {
            noise.subtract(clean, made_db, file, folder)?;
        } else {
            let amplitudes = noise.signals.iter();
            let amplitudes = amplitudes.map(|signal| noise_amplitude(signal, noise.rate_hz));
            noise.reference = amplitudes.map(|n| n * 8.0_f64.sqrt()).collect();
        }
        let heard = |k: &f64| k.is_finite() && *k > 0.0;
        if noise.reference.is_empty() || !noise.reference.iter().all(heard) {
            return Err(format!("{} has no noise in it", noise.name));
        }
        Ok(noise)
    }

    /// Leaves what the record has more than `clean`, to which `nst` added it at `made_db`.
    fn subtract(
        &mut self,
        clean: &str,
        made_db: f64,
        file: &Path,
        folder: &Path,
    ) -> Result<(), String> {
        let beside = file.parent().unwrap_or(Path::new("."));
        let clean = [beside, folder]
            .iter()
            .map(|folder| folder.join(clean))
            .find(|path| path.with_extension("hea").exists())
            .ok_or_else(|| {
                format!(
                    "{} is record {clean} with noise, and {clean} is neither in {} nor in {}",
                    self.name,
                    beside.display(),
                    folder.display()
                )
            })?;
        let record = Record::open(&clean).map_err(|error| error.to_string())?;
        let marks = super::annotations(&clean, super::REFERENCE)?.list;
        let marks = Labels::from_annotations(&marks).r_peaks();
        if record.signals.len() != self.signals.len() || !same_rate(record.frame_hz, self.rate_hz) {
            return Err(format!(
                "{} and {} differ: {} and {} signals at {} and {} Hz",
                self.name,
                record.name,
                self.signals.len(),
                record.signals.len(),
                self.rate_hz,
                record.frame_hz
            ));
        }
        for (noise, clean) in self.signals.iter_mut().zip(&record.signals) {
            let clean = millivolts(clean);
            self.reference
                .push(qrs_amplitude(&clean, &marks, self.rate_hz) * decibels(-made_db));
            for (noise, clean) in noise.iter_mut().zip(clean) {
                *noise -= clean;
            }
        }
        Ok(())
    }

    /// The noise for a record at `rate` whose signal number `channel`, mV, has its QRS complexes at `marks`.
    ///
    /// # Errors
    /// Noise of another rate.
    pub(super) fn scaled(
        &self,
        signal: &Signal,
        channel: usize,
        marks: &[SampleIndex],
        rate: SampleRate,
    ) -> Result<Scaled<'_>, String> {
        if !same_rate(rate.hz(), self.rate_hz) {
            return Err(format!(
                "{} Hz, and the noise in {} has {} Hz",
                rate.hz(),
                self.name,
                self.rate_hz
            ));
        }
        let k = channel.min(self.signals.len() - 1);
        let amplitude = qrs_amplitude(&millivolts(signal), marks, rate.hz());
        let gain = amplitude / self.reference[k] * decibels(-self.snr_db);
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let gain = gain as f32;
        Ok(Scaled {
            samples: &self.signals[k],
            gain,
        })
    }
}

/// Noise with the gain that one record needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaled<'a> {
    samples: &'a [f32],
    gain: f32,
}

impl Scaled<'_> {
    /// Adds the noise to `samples`, mV, the first of which has the index `start`.
    pub(super) fn add(&self, start: SampleIndex, samples: &mut [f32]) {
        let n = self.samples.len() as u64;
        for (at, sample) in (start.0..).zip(samples) {
            let slot = usize::try_from(at % n).unwrap_or(0);
            *sample += self.gain * self.samples[slot];
        }
    }
}

/// The factor of an amplitude.
fn decibels(db: f64) -> f64 {
    10.0_f64.powf(db / 20.0)
}

fn same_rate(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-6 * a.max(b)
}

/// A signal in mV; a missing sample repeats the one before.
fn millivolts(signal: &Signal) -> Vec<f32> {
    let mut last = 0.0;
    let value = |k| {
        if let Some(adu) = signal.sample(k) {
            #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
            let value = ((f64::from(adu) - f64::from(signal.baseline)) / signal.gain) as f32;
            last = value;
        }
        last
    };
    (0..signal.samples.len()).map(value).collect()
}

/// The clean record and the ratio in dB that a comment of `nst` names.
fn made_by_nst(comment: &str) -> Option<(&str, f64)> {
    let rest = comment.strip_prefix("Created by `nst' from records ")?;
    let (clean, rest) = rest.split_once(" and ")?;
    let (_, rest) = rest.split_once("(SNR = ")?;
    let db = rest.split_once(" dB")?.0.trim().parse().ok()?;
    Some((clean.trim(), db))
}

/// The mean without the largest and smallest twentieth; NaN where there is nothing.
fn trimmed_mean(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let cut = values.len() / 20;
    let kept = &values[cut..values.len() - cut];
    kept.iter().sum::<f64>() / kept.len() as f64
}

/// Peak to peak, mV.
fn qrs_amplitude(signal: &[f32], marks: &[SampleIndex], hz: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few samples"
    )]
    let half = (QRS_SECONDS * hz).round() as usize;
    let heights = marks.iter().take(MEASURED_BEATS).filter_map(|mark| {
        let at = usize::try_from(mark.0).ok()?;
        let near = signal.get(at.saturating_sub(half)..(at + half + 1).min(signal.len()))?;
        let low = near.iter().copied().fold(f32::INFINITY, f32::min);
        let high = near.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        Some(f64::from(high - low))
    });
    trimmed_mean(heights.collect())
}

/// The standard deviation within one-second windows of the noisy minutes, mV.
fn noise_amplitude(signal: &[f32], hz: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "samples of one second"
    )]
    let second = (hz.round() as usize).max(1);
    let windows = signal.chunks_exact(second).enumerate();
    let noisy = windows.filter(|(k, _)| is_noisy(*k as f64));
    let deviation = |window: &[f32]| {
        let n = window.len() as f64;
        let mean = window.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let square = |v: &f32| (f64::from(*v) - mean).powi(2);
        (window.iter().map(square).sum::<f64>() / n).sqrt()
    };
    trimmed_mean(noisy.map(|(_, window)| deviation(window)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_comes_in_turns_after_five_minutes() {
        let noisy = |seconds: &f64| is_noisy(*seconds);
        assert!([300.0, 419.9, 540.0, 1740.0].iter().all(noisy));
        assert!(![0.0, 299.9, 420.0, 539.9, 660.0].iter().any(noisy));
    }

    #[test]
    fn the_header_says_what_was_added_to_what() {
        let comment = "Created by `nst' from records 118 and em (SNR = 6 dB)";
        assert_eq!(made_by_nst(comment), Some(("118", 6.0)));
        let comment = "Created by `nst' from records 119 and bw (SNR = -6 dB)";
        assert_eq!(made_by_nst(comment), Some(("119", -6.0)));
        assert_eq!(made_by_nst("69 M 1456 653 x2"), None);
    }

    #[test]
    fn amplitudes() {
        // a QRS of 2 mV every second at 100 Hz, and a sine of 1 mV
        let spike = |k: usize| if k % 100 == 50 { 2.0 } else { 0.0 };
        let signal: Vec<f32> = (0..2000).map(spike).collect();
        let marks: Vec<SampleIndex> = (0..20).map(|k| SampleIndex(k * 100 + 52)).collect();
        assert!((qrs_amplitude(&signal, &marks, 100.0) - 2.0).abs() < 1e-9);
        let sine = |k: usize| (k as f32 * std::f32::consts::TAU / 20.0).sin();
        let noise: Vec<f32> = (0..40_000).map(sine).collect();
        let rms = 0.5_f64.sqrt();
        assert!((noise_amplitude(&noise, 100.0) - rms).abs() < 1e-4);
        // noise of the reference amplitude is at 0 dB
        let noise = Noise {
            name: "em".into(),
            rate_hz: 100.0,
            signals: vec![noise],
            reference: vec![rms * 8.0_f64.sqrt()],
            snr_db: 6.0,
        };
        let beats = Signal {
            name: "II".into(),
            kind: None,
            per_frame: 1,
            hz: 100.0,
            gain: 1.0,
            baseline: 0,
            units: "mV".into(),
            samples: (0..2000).map(|k| i32::from(k % 100 == 50) * 2).collect(),
        };
        let rate = SampleRate::new(100.0).unwrap();
        let scaled = noise.scaled(&beats, 3, &marks, rate).unwrap();
        let n = 2.0 / 8.0_f64.sqrt() / rms * decibels(-6.0);
        let mut samples = [1.0, 1.0];
        scaled.add(SampleIndex(40_005), &mut samples);
        assert!(
            (f64::from(samples[0]) - 1.0 - n).abs() < 1e-4,
            "{samples:?}"
        );
        let other = noise.scaled(&beats, 0, &marks, SampleRate::new(360.0).unwrap());
        assert!(other.unwrap_err().contains("360"));
    }
}
