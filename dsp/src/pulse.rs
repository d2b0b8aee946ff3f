//! Pulses of a PPG or an arterial pressure, and how far they can be relied on.
//!
//! ```text
//! samples > low-pass, 50 Hz (grid.rs) > upstrokes and their measures (crests.rs) > forest > Pulse
//!                                                     +--> each second (clarity.rs) > forest > clarity
//! ```
//!
//! Every upstroke that is steeper than all within 0.1 s is a candidate. What tells a pulse from a dicrotic wave or a
//! movement is how it compares with the upstrokes of the last 6 s and with the wave around it: a forest of small trees,
//! fitted by `dsp/training/pulse.py` to PPG and pressure beside ECG. The onset is where the steepest tangent meets the level of the
//! foot. Causal, chunk invariant; **each pulse comes at most [`LAG_SECONDS`] after its onset** and depends on the last
//! [`MEMORY_SECONDS`] only. The unit of the signal does not matter, nor, of a PPG, which way it points: blood comes faster than it
//! goes, so that where the slopes of 10 s lean to the falling side ([`ecg::points_down`]), the wave is turned over, the past
//! with it.
//!
//! References: Zong et al., Computers in Cardiology 30, 2003, doi:10.1109/CIC.2003.1291140 (upstrokes); Charlton et al.,
//! Physiological Measurement 43, 2022, doi:10.1088/1361-6579/ac826d (detectors compared); Elgendi, Bioengineering 3, 2016,
//! doi:10.3390/bioengineering3040021 (indices of quality).

mod clarity;
mod crests;
mod grid;

use std::sync::{Arc, LazyLock};

use ecg::{Pulse, SampleIndex, SampleRate, SignalKind};

use crate::Error;
use crate::forest::{Forest, Reader};
use crate::quality::{boundary, second_of};
use grid::{AHEAD, Grid, HZ};

pub use clarity::N_CLARITY;
pub use crests::N_MEASURES;
use crests::{LOOK_SECONDS, RISE_SECONDS, SPAN_SECONDS, Upstroke, Wave};

/// Every pulse whose onset is before `input - LAG_SECONDS` has been reported. It also bounds what is reported: an
/// onset is never earlier than this before the sample that settles it.
pub const LAG_SECONDS: f64 = 0.49;

/// Pulses depend on no sample older than this.
pub const MEMORY_SECONDS: f64 = 2.0 * SPAN_SECONDS + 3.0;

/// How often it is asked which way a wave points.
const TURN_SECONDS: u64 = 4;

const MAGIC: &[u8] = b"EPU1";

static SHIPPED: LazyLock<Arc<Model>> = LazyLock::new(|| {
    let bytes = include_bytes!("pulse/weights.bin");
    Arc::new(Model::new(bytes).expect("a test reads the very same bytes"))
});

/// Tells pulses from other upstrokes, and clear seconds from others.
///
/// In a file: `EPU1`, numbers of measures of an upstroke and of a second (u16 each), the two forests as in `forest.rs`.
#[derive(Debug)]
pub struct Model {
    pulses: Forest,
    clarity: Forest,
}

impl Model {
    /// The one that ships.
    pub fn shipped() -> Arc<Self> {
        Arc::clone(&SHIPPED)
    }

    /// One that has learned nothing: for training, which needs measures before there are weights for them.
    pub fn silent() -> Self {
        Self {
            pulses: Forest::default(),
            clarity: Forest::default(),
        }
    }

    /// A model from the bytes of its file.
    ///
    /// # Errors
    /// [`Error::Weights`] for anything else.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        Self::parse(bytes).ok_or(Error::Weights)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes.strip_prefix(MAGIC)?);
        let sizes = [reader.u16()?, reader.u16()?].map(usize::from);
        if sizes != [N_MEASURES, N_CLARITY] {
            return None;
        }
        let model = Self {
            pulses: reader.forest(N_MEASURES)?,
            clarity: reader.forest(N_CLARITY)?,
        };
        reader.0.is_empty().then_some(model)
    }
}

/// What a detector says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Said {
    /// An upstroke that is a pulse, at the signal's own rate.
    Pulse(Pulse),
    /// How likely the pulses of a second, by number, are what they are taken for, 0 to 1; as soon as the second is over.
    Clarity(u64, f32),
}

/// What a detector rests on, for training.
#[derive(Debug, Clone, Copy)]
pub enum Measured {
    /// An upstroke: the second of the record at which it is steepest, what its forest says of it, and its measures.
    Upstroke(f64, f32, [f32; N_MEASURES]),
    /// A second, by number.
    Second(u64, [f32; N_CLARITY]),
}

/// Finds the pulses of one signal.
#[derive(Debug)]
pub struct PulseDetector {
    model: Arc<Model>,
    rate: SampleRate,
    grid: Grid,
    /// Upwards, as far as is known.
    wave: Wave,
    /// Whether the signal may point down, and whether it does.
    either_way: bool,
    down: bool,
    next: u64,
    /// The second that is running, and the index after its last sample.
    second: u64,
    second_end: u64,
    last: Option<u64>,
}

impl PulseDetector {
    /// A detector for a signal of this kind at `rate`: a PPG may point either way, an arterial pressure only upwards.
    ///
    /// # Errors
    /// None for rates of 25 Hz or more; those of [`Cascade::lowpass`](crate::filter::Cascade::lowpass) otherwise.
    pub fn new(kind: SignalKind, rate: SampleRate) -> Result<Self, Error> {
        Self::with_model(kind, rate, Model::shipped())
    }

    /// A detector with another model than the one that ships.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_model(
        kind: SignalKind,
        rate: SampleRate,
        model: Arc<Model>,
    ) -> Result<Self, Error> {
        let mut detector = Self {
            model,
            rate,
            grid: Grid::new(rate)?,
            wave: Wave::new(),
            either_way: matches!(kind, SignalKind::Ppg(_)),
            down: false,
            next: 0,
            second: 0,
            second_end: 0,
            last: None,
        };
        detector.reset(SampleIndex(0));
        Ok(detector)
    }

    /// Begins a new segment at `start`, an index at this signal's rate.
    pub fn reset(&mut self, start: SampleIndex) {
        self.grid.reset(start);
        self.wave.reset(self.grid.k);
        self.down = false;
        self.next = start.0;
        self.second = second_of(start.0, self.rate);
        self.second_end = boundary(self.second + 1, self.rate);
        self.last = None;
    }

    /// Takes samples in and hands on what they settle, pulses in their order. With `off` the sensor is off and the samples mean
    /// nothing.
    pub fn push(&mut self, samples: &[f32], off: bool, said: impl FnMut(Said)) {
        self.push_measured(samples, off, said, |_| {});
    }

    /// The same, and what it rests on.
    pub fn push_measured(
        &mut self,
        samples: &[f32],
        off: bool,
        mut said: impl FnMut(Said),
        mut measured: impl FnMut(Measured),
    ) {
        for sample in samples {
            let sample = (!off && sample.is_finite()).then(|| f64::from(*sample));
            let (wave, model) = (&mut self.wave, &self.model);
            let (delay, rate) = (self.grid.delay, self.rate.hz());
            let last = &mut self.last;
            let sign = sign(self.down);
            self.grid.push(sample, |_, height| {
                if let Some((upstroke, measures)) = judged(wave, model, sign * height) {
                    let at = upstroke.at as f64 / HZ - delay;
                    measured(Measured::Upstroke(at, upstroke.opinion, measures));
                    if upstroke.opinion > 0.0 {
                        let mut pulse = pulse_of(&upstroke, wave.height(upstroke.at), delay, rate);
                        pulse.level *= sign;
                        if last.is_none_or(|last| pulse.onset.0 > last) {
                            *last = Some(pulse.onset.0);
                            said(Said::Pulse(pulse));
                        }
                    }
                    wave.upstrokes.push_back(upstroke);
                }
            });
            self.next += 1;
            if self.next == self.second_end {
                self.turn();
                let measures = clarity::measures(&self.wave, self.wave.end());
                let odds = self.model.clarity.sum(&measures);
                measured(Measured::Second(self.second, measures));
                said(Said::Clarity(self.second, 1.0 / (1.0 + (-odds).exp())));
                self.second += 1;
                self.second_end = boundary(self.second + 1, self.rate);
            }
        }
    }

    /// Each [`TURN_SECONDS`], turns the wave over if it points down: what is remembered is then as if it had pointed up all
    /// along.
    fn turn(&mut self) {
        if !self.either_way || !self.second.is_multiple_of(TURN_SECONDS) {
            return;
        }
        let down = self.wave.points_down(sign(self.down));
        if std::mem::replace(&mut self.down, down) == down {
            return;
        }
        let (first, heights) = self.wave.last();
        self.wave.reset(first);
        for height in heights {
            if let Some((upstroke, _)) = judged(&mut self.wave, &self.model, -height) {
                self.wave.upstrokes.push_back(upstroke);
            }
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.grid.heap_bytes() + self.wave.heap_bytes()
    }
}

/// What to multiply a signal with so that it points upwards.
fn sign(down: bool) -> f32 {
    if down { -1.0 } else { 1.0 }
}

/// Takes a sample of the grid in; the upstroke that it completes with an opinion of it, and what that rests on.
#[inline]
fn judged(wave: &mut Wave, model: &Model, height: f32) -> Option<(Upstroke, [f32; N_MEASURES])> {
    let (mut upstroke, measures) = wave.push(height)?;
    upstroke.opinion = model.pulses.sum(&measures);
    Some((upstroke, measures))
}

/// The pulse of an upstroke whose steepest point is at `height`, at `rate`; the wave is `delay` seconds late.
fn pulse_of(upstroke: &Upstroke, height: f32, delay: f64, rate: f64) -> Pulse {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positions are far below the limit, and under zero is zero"
    )]
    let native = |k: f64| SampleIndex(((k / HZ - delay) * rate).round() as u64);
    Pulse {
        onset: native(upstroke.onset(height)),
        steepest: ((upstroke.steepest / HZ - delay) * rate).max(0.0),
        peak: native(upstroke.peak.0 as f64),
        level: upstroke.foot.1,
        amplitude: upstroke.rise(),
    }
}

const _: () = {
    // The filter's delay is under 40 ms; the slowest sensors have 25 samples a second.
    let lag = LOOK_SECONDS + RISE_SECONDS + 2.0 / HZ + 0.04 + (AHEAD as f64) / 25.0;
    assert!(lag <= LAG_SECONDS);
};

#[cfg(test)]
mod tests {
    use ecg::simulate::{self, Noise, Rhythm, Scenario};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_weights_that_ship_are_read() {
        assert!(Model::new(include_bytes!("pulse/weights.bin")).is_ok());
        assert!(Model::new(&include_bytes!("pulse/weights.bin")[..99]).is_err());
        assert!(Model::new(b"EPU1").is_err());
    }

    /// The pulses of a signal and the clarity of its seconds.
    fn said(rate: SampleRate, samples: &[f32], piece: usize) -> (Vec<Pulse>, Vec<(u64, f32)>) {
        let kind = SignalKind::Ppg(ecg::Wavelength::Green);
        let mut detector = PulseDetector::new(kind, rate).unwrap();
        let (mut pulses, mut seconds) = (Vec::new(), Vec::new());
        for samples in samples.chunks(piece) {
            detector.push(samples, false, |said| match said {
                Said::Pulse(pulse) => pulses.push(pulse),
                Said::Clarity(second, clarity) => seconds.push((second, clarity)),
            });
        }
        assert!(detector.heap_bytes() + size_of::<PulseDetector>() < 20 * 1024);
        (pulses, seconds)
    }

    fn simulated(rhythm: Rhythm, noise: Noise, hz: f64) -> (SampleRate, simulate::Segment) {
        let rate = SampleRate::new(hz).unwrap();
        let scenario = Scenario {
            ppg_rate: Some(rate),
            rhythms: vec![(rhythm, f64::INFINITY)],
            noise,
            ..Scenario::new(5, SampleRate::new(250.0).unwrap())
        };
        (rate, simulate::record(&scenario, 120.0).unwrap())
    }

    #[test]
    fn pulses_are_where_they_are_at_every_rate() {
        for hz in [25.0, 64.0, 100.0, 250.0, 500.0] {
            for rhythm in [
                Rhythm::Sinus { bpm: 70.0 },
                Rhythm::AtrialFibrillation { bpm: 90.0 },
            ] {
                let (rate, segment) = simulated(rhythm, Noise::REST, hz);
                let (pulses, seconds) = said(rate, &segment.ppg, 100);
                assert_eq!(
                    said(rate, &segment.ppg, 7),
                    (pulses.clone(), seconds.clone())
                );
                let found: Vec<f64> = pulses.iter().map(|p| p.onset.0 as f64 / hz).collect();
                let due = segment
                    .truth
                    .beats
                    .iter()
                    .filter_map(|beat| beat.pulse_onset);
                let due: Vec<f64> = due.map(|at| at.0 as f64 / 250.0).collect();
                let due: Vec<f64> = due.into_iter().filter(|t| *t > 3.0 && *t < 119.0).collect();
                let near = |t: &&f64| found.iter().any(|f| (f - **t).abs() < 0.08);
                let met = due.iter().filter(near).count();
                assert!(
                    met * 100 >= due.len() * 98,
                    "{hz} {rhythm:?}: {met} of {}",
                    due.len()
                );
                let clear = seconds
                    .iter()
                    .filter(|(_, clarity)| *clarity >= 0.5)
                    .count();
                assert!(clear >= 100, "{hz} {rhythm:?}: {clear} s clear");
                for pulse in &pulses {
                    assert!(pulse.peak > pulse.onset && pulse.amplitude > 0.0);
                    assert!(pulse.steepest > pulse.onset.0 as f64 - 0.5);
                    assert!(pulse.steepest < pulse.peak.0 as f64 + 0.5);
                }
                // Intervals are those between the feet of the simulated waves, each as exact as a fraction of a sample.
                let mut off: Vec<f64> = due
                    .windows(2)
                    .filter_map(|pair| {
                        let of = |due: f64| {
                            let near = |p: &&Pulse| (p.onset.0 as f64 / hz - due).abs() < 0.08;
                            pulses.iter().find(near).map(|p| p.steepest / hz)
                        };
                        let found = 1e3 * (of(pair[1])? - of(pair[0])?);
                        Some((found - 1e3 * (pair[1] - pair[0])).abs())
                    })
                    .collect();
                off.sort_by(f64::total_cmp);
                let middle = off[off.len() / 2];
                assert!(middle < 4.0, "{hz} {rhythm:?}: off by {middle} ms");
            }
        }
    }

    #[test]
    fn a_wave_that_points_down_is_turned_over() {
        for level in [0.0, 50_000.0] {
            let rhythm = Rhythm::AtrialFibrillation { bpm: 90.0 };
            let (rate, segment) = simulated(rhythm, Noise::REST, 100.0);
            let up: Vec<f32> = segment.ppg.iter().map(|x| 100.0 * x + level).collect();
            let down: Vec<f32> = segment.ppg.iter().map(|x| level - 100.0 * x).collect();
            let late = |samples: &[f32]| {
                let (mut pulses, mut seconds) = said(rate, samples, 100);
                pulses.retain(|pulse| pulse.onset.0 > 20 * 100);
                seconds.retain(|(second, _)| *second > 20);
                (pulses, seconds)
            };
            let (up, down) = (late(&up), late(&down));
            assert!(up.0.len() > 100);
            assert_eq!(up.0.len(), down.0.len());
            for (up, down) in up.0.iter().zip(&down.0) {
                assert_eq!(up.onset, down.onset);
                assert!(down.amplitude > 0.0);
                assert!((up.amplitude - down.amplitude).abs() < 0.1 * up.amplitude);
                assert!((down.level - (2.0 * level - up.level)).abs() < 0.1 * up.amplitude);
            }
            let clear = |seconds: &[(u64, f32)]| seconds.iter().filter(|(_, c)| *c >= 0.5).count();
            assert_eq!(clear(&up.1), clear(&down.1));
        }
    }

    #[test]
    fn noise_is_not_clear() {
        let mut state = 1u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(state >> 8) / f64::from(1 << 24) - 0.5
        };
        let mut level = 0.0;
        let rate = SampleRate::new(100.0).unwrap();
        let wander = |_| {
            level = 0.9 * level + random();
            #[expect(clippy::cast_possible_truncation, reason = "a small number")]
            let sample = level as f32;
            sample
        };
        let noise: Vec<f32> = (0..12_000).map(wander).collect();
        let (_, seconds) = said(rate, &noise, 100);
        let clear = seconds
            .iter()
            .filter(|(_, clarity)| *clarity >= 0.5)
            .count();
        assert!(clear <= 6, "{clear} s clear");
    }

    proptest! {
        /// Whatever comes, clarity is a share and pulses are in order.
        #[test]
        fn no_signal_does_harm(
            samples in prop::collection::vec(prop::num::f32::ANY, 200..900),
            hz in prop::sample::select(vec![25.0, 100.0, 128.2, 2000.0]),
        ) {
            let (pulses, seconds) = said(SampleRate::new(hz).unwrap(), &samples, 64);
            prop_assert!(seconds.iter().all(|(_, clarity)| (0.0..=1.0).contains(clarity)));
            prop_assert!(pulses.windows(2).all(|pair| pair[0].onset < pair[1].onset));
        }
    }
}
