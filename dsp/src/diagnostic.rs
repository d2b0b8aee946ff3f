//! The diagnostic path: one lead from 0.05 to 150 Hz, for measuring what the ST segment does.
//!
//! ```text
//! sample --> minus a mean that forgets with 0.05 Hz --> linear-phase low-pass --> sample
//! ```
//!
//! **Output `n` stands for input sample `n`**, at the input's rate, and is known
//! [`delay`](Diagnostic::delay) samples (24 ms, and six at least) later. How the stream is cut changes nothing, and an
//! output depends on no sample older than [`Diagnostic::MEMORY_SECONDS`] and the delay.
//!
//! *The low end* is a first-order high-pass, -3 dB at 0.05 Hz, with f64 state: the slowest that a
//! baseline still follows, and what the practice of ST measurement asks for. A high-pass of 0.5 Hz that is
//! not linear in phase lowers or lifts the segment after a large QRS; this one shifts it by a third of
//! the area of the QRS in mV s, in mV, at most. After 3 mV for 100 ms the baseline is off by 0.094 mV and
//! comes back by 0.03 mV/s; IEC 60601-2-25 and -47 allow 0.1 mV and 0.3 mV/s, which is tested as
//! a property here and claims no conformity. It is minimum phase: it leads by 8 ms at 1 Hz, by 0.3 ms at
//! 5 Hz.
//!
//! A recursive filter remembers for ever, and a chain must not. So four means take turns: one begins
//! every five seconds **of the absolute index**, at first with the plain mean of what it has seen, and is faded
//! in when it is ten seconds old and out when it is fifteen.
//!
//! *The high end* is a Kaiser-windowed sinc over twice that, -3 dB at 150 Hz or at 0.4 of the rate, whichever
//! is less ([`Diagnostic::band`]): at 250 Hz the band ends at 100 Hz, at 360 Hz at 144 Hz. Its delay is that of
//! its middle and is removed. `docs/filters.md` has the figures at the usual rates.
//!
//! Before the first sample of a segment the first sample is taken to repeat, after the last one the
//! last. During the first three seconds the baseline is still being found. A value that is no number
//! counts as the one before it, and what no electrode can give (beyond 1 MV) as that.
//!
//! Reference: Kligfield et al., Recommendations for the standardization and interpretation of the
//! electrocardiogram, part I, J. Am. Coll. Cardiol. 49(10), 2007 (bandwidth, low-frequency response).

use ecg::{SampleIndex, SampleRate};

use crate::quality::{boundary_of, part_of};
use crate::resample::{dot, kaiser, sinc};

/// -3 dB of the high-pass, Hz.
const LOW_HZ: f64 = 0.05;
/// -3 dB of the low-pass, Hz, where the rate allows it.
const HIGH_HZ: f64 = 150.0;
/// ... and otherwise this part of the rate.
const HIGH_PART: f64 = 0.4;
/// Half the length of the low-pass, and at least so many samples.
const HALF_SECONDS: f64 = 0.024;
const HALF_SAMPLES: usize = 6;
/// From the start of one mean to that of the next.
const TURN_SECONDS: f64 = 5.0;
/// Means at work: one that begins, one that settles, one that fades in and one that fades out.
const MEANS: usize = 4;
/// The largest value taken for what it says, mV.
const LARGEST_MV: f32 = 1e9;
/// Samples taken in at once.
const BITE: usize = 128;

/// Filters one lead from 0.05 to 150 Hz.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    rate: SampleRate,
    /// How fast a mean forgets, per sample.
    forget: f64,
    high_hz: f64,
    /// Samples from the middle of the low-pass to either end.
    half: usize,
    /// Its weights, with zeros before them up to a multiple of eight.
    taps: Vec<f32>,
    /// The oldest first.
    means: [Mean; MEANS],
    /// Index of the next input sample, and the turn it is in: its number, its first index and
    /// that of the next.
    next: u64,
    turn: u64,
    turn_start: u64,
    turn_end: u64,
    last: f32,
    /// Samples without baseline, the low-pass's length of them before the first.
    history: Vec<f32>,
    n_in: usize,
    n_out: usize,
}

/// A mean that at first weighs all it has seen alike, and later forgets.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    value: f64,
    n: f64,
}

impl Mean {
    #[inline]
    fn push(&mut self, value: f64, forget: f64) {
        let gain = if self.n * forget < 1.0 {
            self.n += 1.0;
            forget.max(1.0 / self.n)
        } else {
            forget
        };
        self.value += gain * (value - self.value);
    }
}

impl Diagnostic {
    /// Baselines depend on no sample older than this. Outputs look 24 ms further back, and
    /// ahead.
    pub const MEMORY_SECONDS: f64 = MEANS as f64 * TURN_SECONDS;

    /// For a lead at `rate` whose first sample has the index `start`.
    pub fn new(rate: SampleRate, start: SampleIndex) -> Self {
        let hz = rate.hz();
        let half = usize::try_from(rate.count(HALF_SECONDS).0).unwrap_or(0);
        let half = half.max(HALF_SAMPLES);
        let high_hz = HIGH_HZ.min(HIGH_PART * hz);
        let taps = lowpass(half, high_hz / hz);
        let mut padded = vec![0.0; taps.len().next_multiple_of(8) - taps.len()];
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        padded.extend(taps.iter().map(|tap| *tap as f32));
        let mut path = Self {
            rate,
            forget: 1.0 - (-std::f64::consts::TAU * LOW_HZ / hz).exp(),
            high_hz,
            half,
            history: Vec::with_capacity(padded.len() + BITE),
            taps: padded,
            means: [Mean::default(); MEANS],
            next: 0,
            turn: 0,
            turn_start: 0,
            turn_end: 0,
            last: 0.0,
            n_in: 0,
            n_out: 0,
        };
        path.reset(start);
        path
    }

    /// Begins a new segment at `start`.
    pub fn reset(&mut self, start: SampleIndex) {
        self.means = [Mean::default(); MEANS];
        self.next = start.0;
        self.turn = part_of(start.0, TURN_SECONDS, self.rate);
        self.turn_start = boundary_of(self.turn, TURN_SECONDS, self.rate);
        self.turn_end = boundary_of(self.turn + 1, TURN_SECONDS, self.rate);
        self.last = 0.0;
        self.history.clear();
        self.history.resize(self.taps.len(), 0.0);
        self.n_in = 0;
        self.n_out = 0;
    }

    /// The frequencies at which half the power passes, Hz.
    pub fn band(&self) -> [f64; 2] {
        [LOW_HZ, self.high_hz]
    }

    /// How much later than its sample an output is known, in samples.
    pub fn delay(&self) -> usize {
        self.half
    }

    /// How much of a wave of `hz` passes, once the segment is 20 s old.
    pub fn gain(&self, hz: f64) -> f64 {
        let turn = std::f64::consts::TAU * hz / self.rate.hz();
        let middle = self.taps.len() - 1 - self.half;
        let low: f64 = self.taps.iter().enumerate().fold(0.0, |sum, (k, tap)| {
            sum + f64::from(*tap) * (turn * (k as f64 - middle as f64)).cos()
        });
        let keep = 1.0 - self.forget;
        // |1 - 1/z| over |1 - keep/z|.
        let top = keep * (2.0 - 2.0 * turn.cos()).sqrt();
        let bottom = (1.0 - 2.0 * keep * turn.cos() + keep * keep).sqrt();
        low.abs() * top / bottom
    }

    /// Takes samples in and appends the outputs that they complete to `out`.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        for bite in samples.chunks(BITE) {
            self.make_room(bite.len());
            for sample in bite {
                let level = self.without_baseline(*sample);
                self.history.push(level);
            }
            self.n_in += bite.len();
            self.drain(out);
        }
    }

    /// Ends the segment: appends the outputs up to its last sample.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let missing = self.n_in - self.n_out;
        let before = out.len();
        let last = self.history.last().copied().unwrap_or(0.0);
        while out.len() - before < missing {
            self.make_room(1);
            self.history.push(last);
            self.n_in += 1;
            self.drain(out);
        }
    }

    fn make_room(&mut self, n: usize) {
        if self.history.len() + n > self.history.capacity() {
            let excess = self.history.len() - self.taps.len();
            self.history.drain(..excess);
        }
    }

    /// The sample less the mean of those before it and itself.
    #[inline]
    fn without_baseline(&mut self, sample: f32) -> f32 {
        if sample.is_finite() {
            self.last = sample.clamp(-LARGEST_MV, LARGEST_MV);
        }
        if self.next == self.turn_end {
            self.turn += 1;
            self.turn_start = self.turn_end;
            self.turn_end = boundary_of(self.turn + 1, TURN_SECONDS, self.rate);
            self.means.rotate_left(1);
            self.means[MEANS - 1] = Mean::default();
        }
        let value = f64::from(self.last);
        for mean in &mut self.means {
            mean.push(value, self.forget);
        }
        let along = (self.next - self.turn_start) as f64 / (self.turn_end - self.turn_start) as f64;
        let [old, young, ..] = self.means;
        self.next += 1;
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let level = (value - (old.value + along * (young.value - old.value))) as f32;
        level
    }

    /// Appends every output whose input is complete.
    fn drain(&mut self, out: &mut Vec<f32>) {
        let ready = self.n_in.saturating_sub(self.half);
        // The newest output's span ends with the newest sample.
        let n = ready - self.n_out;
        let first = self.history.len() - self.taps.len() + 1 - n;
        for k in 0..n {
            out.push(dot(
                &self.taps,
                &self.history[first + k..][..self.taps.len()],
            ));
        }
        self.n_out = ready;
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        (self.taps.capacity() + self.history.capacity()) * size_of::<f32>()
    }
}

/// A windowed sinc of `2 * half + 1` weights that sum to one, with half the power at `corner`
/// cycles per sample.
fn lowpass(half: usize, corner: f64) -> Vec<f64> {
    let weights = |cut: f64| {
        let at = |k: usize| k as f64 - half as f64;
        let mut taps: Vec<f64> = (0..=2 * half)
            .map(|k| sinc(2.0 * cut * at(k)) * kaiser(at(k) / half as f64))
            .collect();
        let sum: f64 = taps.iter().sum();
        for tap in &mut taps {
            *tap /= sum;
        }
        taps
    };
    let gain = |taps: &[f64]| {
        let turn = std::f64::consts::TAU * corner;
        let terms = taps.iter().enumerate();
        terms.fold(0.0, |sum, (k, tap)| {
            sum + tap * (turn * (k as f64 - half as f64)).cos()
        })
    };
    // The window moves the point of half power; a cut that puts it back is between these.
    let (mut low, mut high) = (corner, 0.5);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if gain(&weights(middle)) < 0.5f64.sqrt() {
            low = middle;
        } else {
            high = middle;
        }
    }
    weights(f64::midpoint(low, high))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATES: [f64; 8] = [100.0, 125.0, 128.2, 250.0, 257.0, 360.0, 500.0, 1000.0];

    fn filtered(hz: f64, start: u64, x: &[f32]) -> Vec<f32> {
        let rate = SampleRate::new(hz).unwrap();
        let mut path = Diagnostic::new(rate, SampleIndex(start));
        let mut out = Vec::new();
        path.push(x, &mut out);
        assert_eq!(out.len(), x.len().saturating_sub(path.delay()));
        path.finish(&mut out);
        assert_eq!(out.len(), x.len());
        out
    }

    fn samples(hz: f64, seconds: f64, at: impl Fn(f64) -> f64) -> Vec<f32> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a test's numbers are small"
        )]
        (0..(hz * seconds) as usize)
            .map(|n| at(n as f64 / hz) as f32)
            .collect()
    }

    #[test]
    fn the_band_ends_where_it_says() {
        for hz in RATES {
            let path = Diagnostic::new(SampleRate::new(hz).unwrap(), SampleIndex(0));
            let [low, high] = path.band();
            assert!((high - f64::min(150.0, 0.4 * hz)).abs() < 1e-9);
            let half = 0.5f64.sqrt();
            assert!(
                (path.gain(low) - half).abs() < 2e-3,
                "{hz}: {}",
                path.gain(low)
            );
            assert!(
                (path.gain(high) - half).abs() < 2e-3,
                "{hz}: {}",
                path.gain(high)
            );
            assert!(path.gain(0.0) < 1e-9);
            for wave in [0.5, 1.0, 5.0, 20.0, 0.5 * high] {
                let gain = path.gain(wave);
                assert!((gain - 1.0).abs() < 0.025, "{hz} at {wave}: {gain}");
            }
            if hz >= 500.0 {
                assert!(path.gain(200.0) < 0.01, "{hz}: {}", path.gain(200.0));
            }
        }
    }

    #[test]
    fn a_wave_keeps_its_place_and_size() {
        for hz in RATES {
            for wave in [5.0, 17.0] {
                let sine = |t: f64| (std::f64::consts::TAU * wave * t).sin();
                let y = filtered(hz, 12_345, &samples(hz, 25.0, sine));
                for (n, y) in y.iter().enumerate().skip(y.len() / 2).take(y.len() / 3) {
                    // The high-pass leads by 0.05 / wave radians.
                    let expected = sine(n as f64 / hz);
                    assert!((f64::from(*y) - expected).abs() < 0.025, "{hz} {wave} {n}");
                }
            }
        }
    }

    /// 3 mV for 100 ms; where and when they come changes nothing.
    #[test]
    fn an_impulse_moves_the_baseline_little_and_slowly() {
        for hz in RATES {
            for at in [5.0, 21.3, 23.9, 27.6] {
                let pulse = |t: f64| if t >= at && t < at + 0.1 { 3.0 } else { 0.0 };
                let y = filtered(hz, 777, &samples(hz, at + 40.0, pulse));
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a test's numbers are small"
                )]
                let after =
                    ((at + 0.1) * hz).ceil() as usize + 2 * HALF_SAMPLES.max((0.024 * hz) as usize);
                for pair in y[after..].windows(2) {
                    assert!(pair[0].abs() <= 0.1, "{hz} Hz: {} mV", pair[0]);
                    let slope = f64::from(pair[1] - pair[0]) * hz;
                    assert!(slope.abs() <= 0.3, "{hz} Hz: {slope} mV/s");
                }
                assert!(y[y.len() - 1].abs() < 0.002);
            }
        }
    }

    /// Beats with an ST segment at a known level over the PQ segment, in four rates of the heart.
    #[test]
    fn the_st_segment_stays_where_it_is() {
        for (rr, st) in [(0.4, 0.0), (0.6, -0.2), (0.8, 0.1), (1.5, 0.3)] {
            let hz = 500.0;
            let beat = |t: f64| {
                let t = t % rr;
                let triangle = |from: f64, to: f64| {
                    (1.0 - ((2.0 * t - from - to) / (to - from)).abs()).max(0.0)
                };
                let qrs = 1.5 * triangle(0.10, 0.18);
                let level = if t >= 0.18 && t < 0.3 { st } else { 0.0 };
                0.4 + qrs + level
            };
            let y = filtered(hz, 0, &samples(hz, 40.0, beat));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a test's numbers are small"
            )]
            let at = |beat: usize, t: f64| f64::from(y[((beat as f64 * rr + t) * hz) as usize]);
            for k in 20..24 {
                let found = at(k, 0.24) - at(k, 0.06);
                assert!((found - st).abs() < 0.025, "{rr} s {st} mV: {found}");
            }
        }
    }

    #[test]
    fn the_start_is_forgotten() {
        for hz in [128.2, 250.0, 500.0] {
            let x = samples(hz, 60.0, |t| (t * 0.3).sin() + (t * 9.0).cos() * t * 0.1);
            let n = x.len() / 6;
            let whole = filtered(hz, 90_001, &x);
            let later = filtered(hz, 90_001 + n as u64, &x[n..]);
            let memory = SampleRate::new(hz).unwrap();
            let memory = usize::try_from(memory.count(Diagnostic::MEMORY_SECONDS).0).unwrap() + 30;
            let end = later.len() - 100;
            assert_eq!(whole[n + memory..n + end], later[memory..end], "{hz}");
        }
    }

    #[test]
    fn no_value_breaks_it() {
        let mut x = vec![
            f32::MAX,
            f32::MIN,
            f32::NAN,
            f32::INFINITY,
            0.0,
            -0.0,
            1e-42,
        ];
        x.extend(std::iter::repeat_n(f32::MAX, 3000));
        x.extend(std::iter::repeat_n(f32::MIN, 3000));
        assert!(filtered(250.0, 0, &x).iter().all(|y| y.is_finite()));
        assert!(filtered(250.0, 3, &[]).is_empty());
        assert_eq!(filtered(250.0, 3, &[0.7]), [0.0]);
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing_and_reset_is_time_zero(
            cuts in prop::collection::vec(1usize..700, 1..12),
            hz in prop::sample::select(RATES.to_vec()),
            start in 0u64..100_000,
        ) {
            let n: usize = cuts.iter().sum();
            let x: Vec<f32> = (0..n).map(|i| ((i * i) as f32 * 0.013).sin()).collect();
            let mut path = Diagnostic::new(SampleRate::new(hz).unwrap(), SampleIndex(5));
            path.push(&x, &mut Vec::new());
            path.reset(SampleIndex(start));
            let mut out = Vec::new();
            let mut rest = &x[..];
            for cut in cuts {
                let (piece, later) = rest.split_at(cut);
                path.push(piece, &mut out);
                rest = later;
            }
            path.finish(&mut out);
            prop_assert_eq!(out, filtered(hz, start, &x));
        }
    }
}
