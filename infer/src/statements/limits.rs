//! The limits that statements depend on, in the units in which clinicians read them.

use serde::{Deserialize, Serialize};

use crate::Error;

/// How QT is corrected for the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Correction {
    /// By the cube root of RR.
    #[default]
    Fridericia,
    /// By its square root: too much when the heart is fast, too little when it is slow.
    Bazett,
}

/// The limits. The defaults are those of guidelines for adults whose sex and age are unknown; [`statements`](super::statements)
/// says which. **A value that equals a limit is within it.**
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Slower is bradycardia, beats per minute, 30 to 60.
    pub bradycardia_bpm: f32,
    /// Faster is tachycardia, beats per minute, 90 to 150.
    pub tachycardia_bpm: f32,
    /// A longer RR interval is a pause, seconds, 1.5 to 3.
    pub pause_seconds: f32,
    /// A longer RR interval is a long pause, seconds, 2 to 10; no less than a pause.
    pub long_pause_seconds: f32,
    /// Sinus RR intervals that differ by more are sinus arrhythmia, ms, 80 to 400.
    pub sinus_arrhythmia_ms: f32,
    /// A longer PR interval is first-degree AV block, ms, 180 to 300.
    pub pr_ms: f32,
    /// A longer QRS is wide, ms, 100 to 160.
    pub qrs_ms: f32,
    /// The `QTc` that limits are for.
    pub qt_correction: Correction,
    /// A longer `QTc` is prolonged, ms, 430 to 520.
    pub long_qtc_ms: f32,
    /// A shorter `QTc` is short, ms, 300 to 400.
    pub short_qtc_ms: f32,
    /// QRS lower than this in every limb lead is low, mV from peak to peak, 0.2 to 0.8.
    pub low_limb_mv: f32,
    /// QRS lower than this in every chest lead is low, mV from peak to peak, 0.5 to 1.5.
    pub low_chest_mv: f32,
    /// ST higher than this is elevated, mV, 0.05 to 0.5; not in V2 and V3.
    pub st_elevation_mv: f32,
    /// The same in V2 and V3.
    pub st_elevation_v2_v3_mv: f32,
    /// ST lower than this below the PR segment is depressed, mV, 0.03 to 0.5.
    pub st_depression_mv: f32,
    /// The least share of beats with a P wave in sinus rhythm, 0.5 to 1.
    pub p_share: f32,
    /// The least number of beats that conduction, axis, voltage, QT and ST are judged by, 3 to 20.
    pub min_beats: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bradycardia_bpm: 50.0,
            tachycardia_bpm: 100.0,
            pause_seconds: 2.0,
            long_pause_seconds: 3.0,
            sinus_arrhythmia_ms: 120.0,
            pr_ms: 200.0,
            qrs_ms: 120.0,
            qt_correction: Correction::Fridericia,
            long_qtc_ms: 460.0,
            short_qtc_ms: 360.0,
            low_limb_mv: 0.5,
            low_chest_mv: 1.0,
            st_elevation_mv: 0.1,
            st_elevation_v2_v3_mv: 0.25,
            st_depression_mv: 0.05,
            p_share: 0.75,
            min_beats: 4,
        }
    }
}

impl Limits {
    /// Checks every limit against its range.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first one that is outside.
    pub fn check(&self) -> Result<(), Error> {
        let min_beats = self.min_beats.min(1000) as f32;
        let checks = [
            ("bradycardia_bpm", self.bradycardia_bpm, 30.0, 60.0),
            ("tachycardia_bpm", self.tachycardia_bpm, 90.0, 150.0),
            ("pause_seconds", self.pause_seconds, 1.5, 3.0),
            (
                "long_pause_seconds",
                self.long_pause_seconds,
                self.pause_seconds.max(2.0),
                10.0,
            ),
            ("sinus_arrhythmia_ms", self.sinus_arrhythmia_ms, 80.0, 400.0),
            ("pr_ms", self.pr_ms, 180.0, 300.0),
            ("qrs_ms", self.qrs_ms, 100.0, 160.0),
            ("long_qtc_ms", self.long_qtc_ms, 430.0, 520.0),
            ("short_qtc_ms", self.short_qtc_ms, 300.0, 400.0),
            ("low_limb_mv", self.low_limb_mv, 0.2, 0.8),
            ("low_chest_mv", self.low_chest_mv, 0.5, 1.5),
            ("st_elevation_mv", self.st_elevation_mv, 0.05, 0.5),
            (
                "st_elevation_v2_v3_mv",
                self.st_elevation_v2_v3_mv,
                0.05,
                0.5,
            ),
            ("st_depression_mv", self.st_depression_mv, 0.03, 0.5),
            ("p_share", self.p_share, 0.5, 1.0),
            ("min_beats", min_beats, 3.0, 20.0),
        ];
        for (key, value, low, high) in checks {
            if !(value >= low && value <= high) {
                return Err(Error::Setting {
                    key,
                    value,
                    low,
                    high,
                });
            }
        }
        Ok(())
    }
}
