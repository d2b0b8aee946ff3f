//! A pulse wave at one rate, whatever the sensor's: low-passed, and interpolated onto the grid of [`HZ`].

use ecg::{SampleIndex, SampleRate};

use crate::Error;
use crate::filter::Cascade;

/// Samples a second on the grid; sample `k` is at `k / HZ` seconds of the record, later by the filter's delay.
pub(super) const HZ: f64 = 50.0;
/// Native samples that interpolation needs after a point.
pub(super) const AHEAD: u64 = 2;

const LOWPASS_HZ: f64 = 8.0;
/// The filter is shown the first sample for so long before it is shown the second: so it starts without a step, and
/// nothing of the start stays.
const PRIME_SECONDS: f64 = 1.0;

/// Puts samples onto the grid.
#[derive(Debug)]
pub(super) struct Grid {
    lowpass: Cascade,
    /// Of the low-pass, seconds.
    pub(super) delay: f64,
    /// Native samples to one of the grid.
    step: f64,
    n_prime: u64,
    /// The last four low-passed samples, oldest first; `None` where the sensor was off.
    recent: [Option<f64>; 4],
    /// The next native sample and the next of the grid.
    next: u64,
    pub(super) k: u64,
}

impl Grid {
    pub(super) fn new(rate: SampleRate) -> Result<Self, Error> {
        let hz = rate.hz();
        let lowpass = Cascade::lowpass(2, LOWPASS_HZ, hz)?;
        Ok(Self {
            delay: lowpass.group_delay(2.0, hz),
            lowpass,
            step: hz / HZ,
            n_prime: rate.count(PRIME_SECONDS).0,
            recent: [None; 4],
            next: 0,
            k: 0,
        })
    }

    /// Begins a new segment at `start`, a native index.
    pub(super) fn reset(&mut self, start: SampleIndex) {
        self.recent = [None; 4];
        self.next = start.0;
        // The first sample of the grid that has a native one before it.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "float to integer casts saturate"
        )]
        let near = (start.0 as f64 / self.step) as u64;
        self.k = near;
        while self.before(self.k) <= start.0 {
            self.k += 1;
        }
    }

    /// The native sample at or before one of the grid.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positions are not negative and far below the limit"
    )]
    fn before(&self, k: u64) -> u64 {
        (k as f64 * self.step) as u64
    }

    /// Takes a native sample in, `None` where the sensor is off, and hands on those of the grid that it completes; NaN next to
    /// where the sensor was off.
    pub(super) fn push(&mut self, sample: Option<f64>, mut out: impl FnMut(u64, f32)) {
        let value = sample.map(|sample| {
            if self.recent[3].is_none() {
                self.lowpass.reset();
                for _ in 0..self.n_prime {
                    self.lowpass.push(sample);
                }
            }
            self.lowpass.push(sample)
        });
        self.recent.rotate_left(1);
        self.recent[3] = value;
        let at = self.next;
        self.next += 1;
        while self.before(self.k) + AHEAD <= at {
            let u = (self.k as f64 * self.step).fract();
            let value = match self.recent {
                [Some(a), Some(b), Some(c), Some(d)] => between(a, b, c, d, u),
                _ => f64::NAN,
            };
            #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
            out(self.k, value as f32);
            self.k += 1;
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.lowpass.heap_bytes()
    }
}

/// The cubic through `b` and `c` with the slopes of their neighbours (Catmull and Rom), a part `u` of the way from `b`.
fn between(a: f64, b: f64, c: f64, d: f64, u: f64) -> f64 {
    let linear = c - a;
    let square = 2.0 * a - 5.0 * b + 4.0 * c - d;
    let cube = 3.0 * (b - c) + d - a;
    b + 0.5 * u * (linear + u * (square + u * cube))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rate_comes_out_as_the_same_wave() {
        for hz in [25.0, 50.0, 64.0, 100.0, 128.2, 500.0] {
            let rate = SampleRate::new(hz).unwrap();
            let mut grid = Grid::new(rate).unwrap();
            grid.reset(SampleIndex(1000));
            let (mut worst, mut n) = (0.0f64, 0);
            for at in 1000..1000 + rate.count(20.0).0 {
                let t = at as f64 / hz;
                let sample = 5e4 + 100.0 * (std::f64::consts::TAU * 1.3 * t).sin();
                let delay = grid.delay;
                grid.push(Some(sample), |k, value| {
                    let t = k as f64 / HZ - delay;
                    let wave = 100.0 * (std::f64::consts::TAU * 1.3 * t).sin();
                    if t > 1000.0 / hz + 2.0 {
                        worst = worst.max((f64::from(value) - 5e4 - wave).abs());
                        n += 1;
                    }
                });
            }
            assert!(n > 890, "{hz}: {n}");
            assert!(worst < 2.0, "{hz}: {worst}");
        }
    }
}
