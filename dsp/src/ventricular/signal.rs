//! What the last seconds of one lead look like, beats aside.
//!
//! Everything but the first two is independent of gain. References, each **differing** in that all of them look at the
//! same four seconds of a band of 1 to 20 Hz at about 62.5 Hz, and that none has a threshold of its own:
//! leak, Kuo and Dillman (Computers in Cardiology, 1978); time above a fifth of the highest point, Arafat et al. (Signal Image Video
//! Process. 5, 2011); mean absolute value, Anas et al. (`BioMed` Eng `OnLine` 9, 2010); visited boxes of phase space at
//! a delay of half a second, Amann et al. (Phys Med Biol 52, 2007), here 20 by 20; dominant frequency and the shares of bands of the
//! spectrum, Barro et al. (J Biomed Eng 11, 1989), here of the autocorrelation by Blackman and Tukey; its highest
//! side peak after Chen et al. (IEEE TBME 34, 1987); mobility and complexity, Hjorth (Electroenceph Clin Neurophysiol 29, 1970).

use crate::resample::pairwise;

/// Measures of a stretch of signal.
pub(super) const N: usize = 28;

/// Sums are kept in so many lanes, which a processor adds at once.
const LANES: usize = 8;
/// Pieces that the stretch is cut into to see whether it is steady.
const PIECES: usize = 8;
/// Boxes of the phase space to a side.
const BOXES: usize = 20;
/// From the samples on one axis of the phase space to those on the other.
const DELAY_SECONDS: f64 = 0.5;
/// The longest lag of the autocorrelation.
const LAG_SECONDS: f64 = 0.64;
/// The frequencies of the spectrum: half this, and so on.
const N_HZ: usize = 28;
/// The largest number of lags.
const MOST_LAGS: usize = 64;

/// Measures stretches of signals at one rate, with room to work in.
#[derive(Debug)]
pub(super) struct Meter {
    hz: f32,
    delay: usize,
    n_lags: usize,
    /// Weights of the lags of the autocorrelation, `[frequency, lag]`.
    cosines: Vec<f32>,
    stretch: Vec<f32>,
    steps: Vec<f32>,
    places: Vec<u32>,
    /// Of the stretch at hand: the lowest and highest sample, the sums of sizes, of squares, and of steps.
    extent: (f32, f32),
    size: f32,
    square: f32,
    slope: f32,
}

impl Meter {
    /// For stretches of `n` samples at `hz`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small positive numbers"
    )]
    pub(super) fn new(n: usize, hz: f64) -> Self {
        let half = hz / 2.0;
        let n_lags = ((LAG_SECONDS * half) as usize + 1).clamp(2, MOST_LAGS);
        let stride = n_lags.next_multiple_of(2 * LANES);
        let mut cosines = vec![0.0; N_HZ * stride];
        for (k, row) in cosines.chunks_exact_mut(stride).enumerate() {
            let turn = std::f64::consts::PI * (k + 1) as f64 / half;
            for (lag, cosine) in row[..n_lags].iter_mut().enumerate() {
                let taper = (std::f64::consts::FRAC_PI_2 * lag as f64 / n_lags as f64)
                    .cos()
                    .powi(2);
                let twice = if lag == 0 { 1.0 } else { 2.0 };
                *cosine = (twice * taper * (turn * lag as f64).cos()) as f32;
            }
        }
        Self {
            hz: hz as f32,
            delay: (DELAY_SECONDS * hz) as usize,
            n_lags,
            cosines,
            stretch: Vec::with_capacity(n.next_multiple_of(LANES)),
            steps: Vec::with_capacity(n.next_multiple_of(2 * LANES) + MOST_LAGS),
            places: Vec::with_capacity(n),
            extent: (0.0, 0.0),
            size: 0.0,
            square: 0.0,
            slope: 0.0,
        }
    }

    /// The measures of a stretch of two seconds or more.
    pub(super) fn features(&mut self, samples: &[f32]) -> [f32; N] {
        let n = samples.len();
        let mut sums = [0.0; LANES];
        for part in samples.as_chunks::<LANES>().0 {
            for (sum, x) in sums.iter_mut().zip(part) {
                *sum += x;
            }
        }
        let mean = pairwise(sums) / (n - n % LANES) as f32;
        self.stretch.clear();
        self.stretch.extend(samples.iter().map(|x| x - mean));
        let mut row = [0.0; N];

        // How large, and how steady in size.
        let mut ranges = [0.0; PIECES];
        for (range, piece) in ranges
            .iter_mut()
            .zip(self.stretch.chunks(n.div_ceil(PIECES)))
        {
            let (low, high) = extent(piece);
            *range = high - low;
        }
        ranges.sort_by(f32::total_cmp);
        let [least, second, .., last_but_one, most] = ranges;
        let middle = f32::midpoint(ranges[3], ranges[4]);
        let level = |mv: f32| mv.clamp(1e-3, 100.0).ln();
        row[0] = level(middle);
        row[1] = level(most);
        row[2] = ratio(least, most);
        row[3] = ratio(second, last_but_one);
        row[4] = ratio(middle, most);

        self.sizes(n, &mut row);
        self.slopes(n, &mut row);
        self.leak(n, &mut row);
        self.phase_space(n, &mut row);
        self.spectrum(n, &mut row);
        row
    }

    /// How the sizes of the samples are distributed.
    fn sizes(&mut self, n: usize, row: &mut [f32; N]) {
        // Zeros up to whole lanes add nothing to any sum.
        self.stretch.resize(n.next_multiple_of(LANES), 0.0);
        let x = &self.stretch[..n.next_multiple_of(LANES)];
        let (low, high) = extent(x);
        let top = high.max(-low);
        let mut sums = [[0.0f32; LANES]; 6];
        for part in x.as_chunks::<LANES>().0 {
            for (k, &x) in part.iter().enumerate() {
                let (size, square) = (x.abs(), x * x);
                sums[0][k] += size;
                sums[1][k] += square;
                sums[2][k] += square * x;
                sums[3][k] += square * square;
                sums[4][k] += one_if(size > 0.2 * top);
                sums[5][k] += one_if(size > 0.5 * top);
            }
        }
        let [size, square, cube, fourth, above, far] = sums.map(pairwise);
        let count = n as f32;
        row[5] = ratio(size / count, top);
        row[6] = above / count;
        row[7] = far / count;
        row[10] = ratio(fourth * count, square * square).min(50.0);
        let deviation = (square / count).sqrt();
        row[11] = ratio((cube / count).abs(), deviation * deviation * deviation).min(8.0);
        (self.extent, self.size, self.square) = ((low, high), size, square);
    }

    /// How steep it is, and how often it turns.
    fn slopes(&mut self, n: usize, row: &mut [f32; N]) {
        self.steps.clear();
        let pairs = self.stretch[..n].windows(2);
        self.steps.extend(pairs.map(|pair| pair[1] - pair[0]));
        self.steps.resize(n.next_multiple_of(LANES), 0.0);
        let steps = &self.steps[..];
        let (low, high) = extent(steps);
        let steepest = high.max(-low);
        let mut sums = [[0.0f32; LANES]; 3];
        for part in steps.as_chunks::<LANES>().0 {
            for (k, &step) in part.iter().enumerate() {
                sums[0][k] += step.abs();
                sums[1][k] += step * step;
                sums[2][k] += one_if(step.abs() > 0.2 * steepest);
            }
        }
        let [slope, slopes, busy] = sums.map(pairwise);
        let mut sums = [[0.0f32; LANES]; 2];
        let next = steps[1..n - 1].as_chunks::<LANES>().0.iter();
        for (part, next) in steps.as_chunks::<LANES>().0.iter().zip(next) {
            for (k, (a, b)) in part.iter().zip(next).enumerate() {
                sums[0][k] += (b - a) * (b - a);
            }
        }
        let x = &self.stretch[..n];
        let next = x[1..].as_chunks::<LANES>().0.iter();
        for (part, next) in x.as_chunks::<LANES>().0.iter().zip(next) {
            for (k, (a, b)) in part.iter().zip(next).enumerate() {
                sums[1][k] += one_if(a * b < 0.0);
            }
        }
        let [bends, crossings] = sums.map(pairwise);
        let count = n as f32;
        row[8] = ratio(slope / count, steepest);
        row[9] = busy / count;
        let mobility = ratio(slopes, self.square).sqrt();
        row[12] = mobility * self.hz / std::f32::consts::TAU;
        row[13] = ratio(ratio(bends, slopes).sqrt(), mobility).min(20.0);
        row[14] = crossings * self.hz / count;
        self.slope = slope;
    }

    /// What is left of the signal next to itself half a period ago.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "half a period is a small positive number"
    )]
    fn leak(&self, n: usize, row: &mut [f32; N]) {
        let half = (std::f32::consts::PI * ratio(self.size, self.slope)) as usize;
        let half = half.clamp(1, n / 4);
        let mut sums = [[0.0f32; LANES]; 2];
        let x = &self.stretch[..n];
        let later = x[half..].as_chunks::<LANES>().0.iter();
        for (part, later) in x.as_chunks::<LANES>().0.iter().zip(later) {
            for (k, (a, b)) in part.iter().zip(later).enumerate() {
                sums[0][k] += (a + b).abs();
                sums[1][k] += a.abs() + b.abs();
            }
        }
        let [left, both] = sums.map(pairwise);
        row[15] = ratio(left, both);
    }

    /// How much of the phase space is visited.
    fn phase_space(&mut self, n: usize, row: &mut [f32; N]) {
        let (low, high) = self.extent;
        let scale = ratio(BOXES as f32 - 0.01, high - low);
        self.places.clear();
        // The lowest bits of so large a number are the number that was added: the box.
        let place = |x: &f32| ((x - low) * scale - 0.495 + 8_388_608.0).to_bits() & 31;
        self.places.extend(self.stretch[..n].iter().map(place));
        let mut visited = [0u32; 32];
        for (a, b) in self.places.iter().zip(&self.places[self.delay.min(n)..]) {
            visited[(a & 31) as usize] |= 1 << b;
        }
        let boxes: u32 = visited.iter().map(|row| row.count_ones()).sum();
        row[16] = boxes as f32 / (BOXES * BOXES) as f32;
    }

    /// Autocorrelation and spectrum; uses the room of the steps.
    fn spectrum(&mut self, n: usize, row: &mut [f32; N]) {
        // Every other sample will do for it, as means of two.
        let pairs = self.stretch[..n].as_chunks::<2>().0;
        let whole = pairs.len().next_multiple_of(2 * LANES);
        self.steps.clear();
        self.steps.extend(pairs.iter().map(|[a, b]| a + b));
        self.steps.resize(whole + self.n_lags, 0.0);
        let mut correlation = [0.0; MOST_LAGS];
        let x = &self.steps[..];
        for (lag, product) in correlation[..self.n_lags].iter_mut().enumerate() {
            *product = scalar(&x[..whole], &x[lag..lag + whole]);
        }
        let power = correlation[0];
        for product in &mut correlation {
            *product = ratio(*product, power);
        }
        let stride = self.n_lags.next_multiple_of(2 * LANES);
        let mut spectrum = [0.0f32; N_HZ];
        for (power, cosines) in spectrum.iter_mut().zip(self.cosines.chunks_exact(stride)) {
            *power = scalar(cosines, &correlation[..stride]).max(0.0);
        }
        let total: f32 = spectrum.iter().sum::<f32>().max(1e-9);
        let share = |from: usize, to: usize| spectrum[from..to].iter().sum::<f32>() / total;
        let highest = |from: usize, to: usize| {
            let places = from..to;
            places.fold(from, |best, k| {
                if spectrum[k] > spectrum[best] {
                    k
                } else {
                    best
                }
            })
        };
        let peak = highest(2, N_HZ);
        row[17] = 0.5 * (peak + 1) as f32;
        row[18] = share(peak.saturating_sub(1), (peak + 2).min(N_HZ));
        // Below 2.5, from there to 5, 7.5 and 10 Hz, and above.
        row[19] = share(0, 5);
        row[20] = share(5, 10);
        row[21] = share(10, 15);
        row[22] = share(15, 20);
        row[23] = share(20, N_HZ);
        let moment = |power: i32| {
            let hz = (0..N_HZ).map(|k| (0.5 * (k + 1) as f32).powi(power) * spectrum[k]);
            hz.sum::<f32>() / total
        };
        row[24] = moment(1);
        row[25] = (moment(2) - row[24] * row[24]).max(0.0).sqrt();
        // The highest point beyond the first valley.
        let lags = &correlation[..self.n_lags];
        let valley = lags
            .windows(2)
            .position(|pair| pair[1] > pair[0])
            .unwrap_or(self.n_lags - 1);
        let side = (valley..self.n_lags).fold(
            valley,
            |best, k| if lags[k] > lags[best] { k } else { best },
        );
        row[26] = lags[side];
        row[27] = 2.0 * side as f32 / self.hz;
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let floats = self.cosines.capacity() + self.stretch.capacity() + self.steps.capacity();
        floats * size_of::<f32>() + self.places.capacity() * size_of::<u32>()
    }
}

/// The lowest and the highest of samples whose mean is zero.
fn extent(x: &[f32]) -> (f32, f32) {
    let (mut low, mut high) = ([0.0f32; LANES], [0.0f32; LANES]);
    let (parts, rest) = x.as_chunks::<LANES>();
    // Not `min`, which minds what is no number.
    let less = |a: f32, b: f32| if a < b { a } else { b };
    let more = |a: f32, b: f32| if a > b { a } else { b };
    for part in parts {
        for k in 0..LANES {
            low[k] = less(part[k], low[k]);
            high[k] = more(part[k], high[k]);
        }
    }
    let low = low.into_iter().fold(0.0, less);
    let high = high.into_iter().fold(0.0, more);
    rest.iter().fold((low, high), |(low, high), x| {
        (less(*x, low), more(*x, high))
    })
}

/// The sum of products, whole pairs of lanes only: two, for one sum has to wait for the last.
fn scalar(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 2 * LANES];
    let parts = a.as_chunks::<{ 2 * LANES }>().0;
    for (a, b) in parts.iter().zip(b.as_chunks::<{ 2 * LANES }>().0) {
        for k in 0..2 * LANES {
            sums[k] += a[k] * b[k];
        }
    }
    let (low, high) = sums.split_at(LANES);
    let mut both = [0.0; LANES];
    for (sum, (a, b)) in both.iter_mut().zip(low.iter().zip(high)) {
        *sum = a + b;
    }
    pairwise(both)
}

fn one_if(so: bool) -> f32 {
    if so { 1.0 } else { 0.0 }
}

/// A quotient of what is not negative, or zero.
fn ratio(a: f32, b: f32) -> f32 {
    if b > 1e-12 { a / b } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: f64 = 62.5;

    fn measure(signal: impl Fn(f64) -> f64) -> [f32; N] {
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let samples: Vec<f32> = (0..250).map(|n| signal(f64::from(n) / HZ) as f32).collect();
        Meter::new(250, HZ).features(&samples)
    }

    #[test]
    fn a_sine_is_a_sine() {
        let row = measure(|t| 0.7 * (std::f64::consts::TAU * 5.0 * t).sin());
        let near = |k: usize, value: f32, by: f32| {
            assert!((row[k] - value).abs() < by, "{k}: {} for {value}", row[k]);
        };
        near(0, 1.4f32.ln(), 0.1);
        near(2, 1.0, 0.1);
        // The mean of a rectified sine, and the share of it above a fifth and a half.
        near(5, std::f32::consts::FRAC_2_PI, 0.02);
        near(6, 0.872, 0.03);
        near(7, 2.0 / 3.0, 0.03);
        near(10, 1.5, 0.02);
        near(12, 4.8, 0.3);
        near(14, 10.0, 0.5);
        assert!(row[15] < 0.15, "{row:?}");
        near(17, 5.0, 0.01);
        assert!(row[18] > 0.4 && row[21] + row[20] > 0.8, "{row:?}");
        assert!(row[26] > 0.85, "{row:?}");
        near(27, 0.2, 0.02);
    }

    #[test]
    fn spikes_are_no_sine() {
        let row = measure(|t| if (t * HZ) % 50.0 < 2.0 { 1.0 } else { 0.0 });
        assert!(row[10] > 10.0 && row[6] < 0.1 && row[15] > 0.5, "{row:?}");
    }

    #[test]
    fn silence_and_any_gain_are_measured() {
        assert!(measure(|_| 0.0).iter().all(|x| x.is_finite()));
        let wave = |t: f64| (7.0 * t).sin() + 0.4 * (31.0 * t).cos();
        let (one, ten) = (measure(wave), measure(|t| 10.0 * wave(t)));
        for (a, b) in one.iter().zip(&ten).skip(2) {
            assert!((a - b).abs() < 0.02 * a.abs().max(0.05), "{one:?} {ten:?}");
        }
    }

    /// Sums in lanes against one after the other.
    #[test]
    fn lanes_add_up() {
        let wave = |t: f64| (7.0 * t).sin() + 0.4 * (31.0 * t).cos() + 0.2 * (3.0 * t).sin();
        let row = measure(wave);
        let x: Vec<f64> = (0..250).map(|n| wave(f64::from(n) / HZ)).collect();
        let mean = x[..248].iter().sum::<f64>() / 248.0;
        let x: Vec<f64> = x.iter().map(|x| x - mean).collect();
        let steps: Vec<f64> = x.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let power = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
        let fourth = x.iter().map(|x| x.powi(4)).sum::<f64>();
        let near = |k: usize, value: f64| {
            assert!(
                (f64::from(row[k]) - value).abs() < 1e-3 * value,
                "{k}: {} for {value}",
                row[k]
            );
        };
        let top = x.iter().fold(0.0, |top: f64, x| top.max(x.abs()));
        near(5, x.iter().map(|x| x.abs()).sum::<f64>() / 250.0 / top);
        near(10, fourth * 250.0 / power(&x).powi(2));
        near(
            12,
            (power(&steps) / power(&x)).sqrt() * HZ / std::f64::consts::TAU,
        );
    }
}
