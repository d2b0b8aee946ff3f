//! From a signal's own rate to the window rate: a polyphase low-pass at 40 Hz.
//!
//! A linear-phase FIR whose delay is compensated: output `n` stands for the instant
//! `n / rate` of the record. Outputs are **aligned on the absolute sample index**, and each is one
//! dot product over a fixed span of input, so it depends neither on how the stream is cut nor on
//! where it began. Before the first sample of a segment the first sample is taken to repeat, after
//! the last one the last; nothing reaches across a gap.

#![expect(
    clippy::inline_always,
    reason = "what is inlined takes on the instructions of the function that was dispatched to"
)]

use std::sync::{Arc, Mutex, PoisonError, Weak};

use ecg::{SampleIndex, SampleRate};
use pulp::{Arch, Simd, WithSimd};

/// Half the length of the filter in seconds: this much later an output is known.
pub(crate) const HALF_SECONDS: f64 = 0.122;

/// The -6 dB point in hertz. 40 Hz pass, 50 Hz and above are down by 50 dB.
const CORNER_HZ: f64 = 44.5;

/// Where input and output share no small ratio, this many phases are told apart; the nearest one
/// is off by at most 1/256 of a sample.
const MAX_PHASES: u64 = 128;

/// Input samples taken in at once; the history is a little longer than the filter and this.
const BITE: usize = 128;

/// The coefficients for one pair of rates, up to some 70 kB.
#[derive(Debug)]
pub struct ResamplePlan {
    input: SampleRate,
    output: SampleRate,
    /// Input samples per output sample, as a reduced fraction.
    step: u64,
    per: u64,
    /// The same as whole samples and a rest: divisions are slow.
    whole_step: u64,
    rest_step: u64,
    phases: u64,
    /// Input samples needed after the instant of an output.
    ahead: u64,
    /// Taps per phase, a multiple of eight.
    n_taps: usize,
    /// `[phase, tap]`
    taps: Vec<f32>,
}

impl ResamplePlan {
    /// The plan from `input` to `output` that all signals of these rates share as long as there are any.
    pub fn shared(input: SampleRate, output: SampleRate) -> Arc<Self> {
        static PLANS: Mutex<Vec<Weak<ResamplePlan>>> = Mutex::new(Vec::new());
        let mut plans = PLANS.lock().unwrap_or_else(PoisonError::into_inner);
        plans.retain(|plan| plan.strong_count() > 0);
        let mut there = plans.iter().filter_map(Weak::upgrade);
        if let Some(plan) = there.find(|plan| plan.input == input && plan.output == output) {
            return plan;
        }
        let plan = Arc::new(Self::new(input, output));
        plans.push(Arc::downgrade(&plan));
        plan
    }

    /// The plan from `input` to `output`; any two rates will do.
    pub fn new(input: SampleRate, output: SampleRate) -> Self {
        let (from, to) = (microhertz(input), microhertz(output));
        let divisor = gcd(from, to);
        let (step, per) = (from / divisor, to / divisor);
        let phases = per.min(MAX_PHASES);
        let half = HALF_SECONDS * input.hz();
        let ahead = ceil(half);
        let support = index(2 * ahead + 1);
        let n_taps = support.next_multiple_of(8);
        let corner = CORNER_HZ.min(0.45 * input.hz()).min(0.45 * output.hz()) / input.hz();
        // Phase `phases` is phase 0 of the next sample, for fractions that round up to one.
        let mut taps = Vec::with_capacity(n_taps * (index(phases) + 1));
        for phase in 0..=phases {
            let fraction = phase as f64 / phases as f64;
            let row: Vec<f64> = (0..n_taps)
                .map(|tap| {
                    let at = tap as f64 - (n_taps as f64 - 1.0) + ahead as f64 - fraction;
                    sinc(2.0 * corner * at) * kaiser(at / half)
                })
                .collect();
            let sum: f64 = row.iter().sum();
            #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
            taps.extend(row.iter().map(|tap| (tap / sum) as f32));
        }
        Self {
            input,
            output,
            step,
            per,
            whole_step: step / per,
            rest_step: step % per,
            phases,
            ahead,
            n_taps,
            taps,
        }
    }
}

/// Resamples one signal.
#[derive(Debug, Clone)]
pub struct Resampler {
    plan: Arc<ResamplePlan>,
    history: Vec<f32>,
    /// Input samples taken in before `history[0]`, counted from `n_taps` before the segment.
    dropped: u64,
    /// Input index of the segment's first sample.
    start: u64,
    /// Input samples seen in this segment.
    seen: u64,
    /// The output to come: its index, and its place in the input as whole samples and a rest.
    next: u64,
    whole: u64,
    rest: u64,
}

impl Resampler {
    /// A resampler whose first input sample is `start`, an index at the input rate.
    pub fn new(plan: Arc<ResamplePlan>, start: SampleIndex) -> Self {
        let capacity = plan.n_taps + BITE;
        let mut resampler = Self {
            plan,
            history: Vec::with_capacity(capacity),
            dropped: 0,
            start: 0,
            seen: 0,
            next: 0,
            whole: 0,
            rest: 0,
        };
        resampler.reset(start);
        resampler
    }

    /// Begins a new segment at input index `start`.
    pub fn reset(&mut self, start: SampleIndex) {
        self.history.clear();
        self.dropped = 0;
        self.start = start.0;
        self.seen = 0;
        let next = u128::from(start.0) * u128::from(self.plan.per);
        self.next = narrow(next.div_ceil(u128::from(self.plan.step)));
        let place = u128::from(self.next) * u128::from(self.plan.step);
        self.whole = narrow(place / u128::from(self.plan.per));
        self.rest = narrow(place % u128::from(self.plan.per));
    }

    /// The index of the next output, at the output rate.
    pub fn next_index(&self) -> SampleIndex {
        SampleIndex(self.next)
    }

    /// Takes samples in and appends what they complete to `out`.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        for bite in samples.chunks(BITE) {
            if self.seen == 0 {
                self.history.resize(self.plan.n_taps, bite[0]);
            }
            if self.history.len() + bite.len() > self.history.capacity() {
                let excess = self.history.len() - self.plan.n_taps;
                self.history.drain(..excess);
                self.dropped += excess as u64;
            }
            self.history.extend_from_slice(bite);
            self.seen += bite.len() as u64;
            self.drain(u64::MAX, out);
        }
    }

    /// Ends the segment: the last sample is taken to repeat, and every output up to the end of
    /// the input is appended to `out`.
    pub fn finish(&mut self, out: &mut Vec<f32>) {
        let Some(&last) = self.history.last() else {
            return;
        };
        let end = self.start + self.seen;
        let mut left = index(self.plan.ahead) + 1;
        while left > 0 {
            let n = left.min(BITE);
            self.push_padding(last, n, end, out);
            left -= n;
        }
    }

    fn push_padding(&mut self, sample: f32, n: usize, end: u64, out: &mut Vec<f32>) {
        if self.history.len() + n > self.history.capacity() {
            let excess = self.history.len() - self.plan.n_taps;
            self.history.drain(..excess);
            self.dropped += excess as u64;
        }
        self.history.resize(self.history.len() + n, sample);
        self.seen += n as u64;
        self.drain(end, out);
    }

    /// Appends every output whose input is complete and whose instant is before `end`.
    fn drain(&mut self, end: u64, out: &mut Vec<f32>) {
        Arch::new().dispatch(Drain {
            resampler: self,
            end,
            out,
        });
    }

    #[inline(always)]
    fn drain_inline<S: Simd>(&mut self, simd: S, end: u64, out: &mut Vec<f32>) {
        let plan = &*self.plan;
        // history[i] is input index start + dropped + i - n_taps.
        let history = &self.history[..];
        let before = self.start + self.dropped;
        let known = (self.start + self.seen).saturating_sub(plan.ahead).min(end);
        // Copies that live in registers.
        let (mut whole, mut rest) = (self.whole, self.rest);
        while whole < known {
            let phase = if plan.phases == plan.per {
                rest
            } else {
                (rest * plan.phases + plan.per / 2) / plan.per
            };
            let row = &plan.taps[index(phase) * plan.n_taps..][..plan.n_taps];
            let after = whole + plan.ahead + 1 - before;
            let span = &history[index(after)..][..plan.n_taps];
            out.push(dot_with(simd, row, span));
            self.next += 1;
            whole += plan.whole_step;
            rest += plan.rest_step;
            if rest >= plan.per {
                rest -= plan.per;
                whole += 1;
            }
        }
        (self.whole, self.rest) = (whole, rest);
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.history.capacity() * size_of::<f32>()
    }
}

/// [`Resampler::drain`], for whatever vectors the machine has.
struct Drain<'a> {
    resampler: &'a mut Resampler,
    end: u64,
    out: &'a mut Vec<f32>,
}

impl WithSimd for Drain<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.resampler.drain_inline(simd, self.end, self.out);
    }
}

/// [`dot`] in vectors, of up to eight lanes: the same bits.
#[inline(always)]
fn dot_with<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let n = 8 / S::F32_LANES;
    let (a, b) = (S::as_simd_f32s(a).0, S::as_simd_f32s(b).0);
    let mut vectors = [simd.splat_f32s(0.0); 8];
    for (a, b) in a.chunks_exact(n).zip(b.chunks_exact(n)) {
        for k in 0..n {
            vectors[k] = simd.add_f32s(vectors[k], simd.mul_f32s(a[k], b[k]));
        }
    }
    let mut sums = [0f32; 8];
    S::as_mut_simd_f32s(&mut sums)
        .0
        .copy_from_slice(&vectors[..n]);
    pairwise(sums)
}

/// Eight partial sums in a fixed order: fast, and the same bits every time.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        for k in 0..8 {
            sums[k] += a[k] * b[k];
        }
    }
    pairwise(sums)
}

/// Their sum, in a fixed order.
#[inline(always)]
pub(crate) fn pairwise(sums: [f32; 8]) -> f32 {
    (sums[0] + sums[4]) + (sums[1] + sums[5]) + ((sums[2] + sums[6]) + (sums[3] + sums[7]))
}

pub(crate) fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-12 {
        1.0
    } else {
        (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x)
    }
}

/// The Kaiser window for 50 dB, over -1 to 1.
pub(crate) fn kaiser(x: f64) -> f64 {
    const BETA: f64 = 4.55;
    if x.abs() > 1.0 {
        return 0.0;
    }
    bessel(BETA * (1.0 - x * x).sqrt()) / bessel(BETA)
}

/// The modified Bessel function of order zero, by its series.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..40 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn microhertz(rate: SampleRate) -> u64 {
    ceil(rate.hz() * 1e6 - 0.5)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small positive number"
)]
fn ceil(value: f64) -> u64 {
    value.ceil() as u64
}

fn narrow(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(
        from: f64,
        to: f64,
        start: u64,
        signal: impl Fn(f64) -> f64,
        n: usize,
    ) -> (u64, Vec<f32>) {
        let (from, to) = (SampleRate::new(from).unwrap(), SampleRate::new(to).unwrap());
        let plan = Arc::new(ResamplePlan::new(from, to));
        let mut resampler = Resampler::new(plan, SampleIndex(start));
        let first = resampler.next_index().0;
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let samples: Vec<f32> = (0..n)
            .map(|i| signal((start + i as u64) as f64 / from.hz()) as f32)
            .collect();
        let mut out = Vec::new();
        resampler.push(&samples, &mut out);
        resampler.finish(&mut out);
        (first, out)
    }

    #[test]
    fn a_sine_keeps_its_place_at_any_rate() {
        for (from, to) in [
            (360.0, 250.0),
            (500.0, 250.0),
            (128.0, 250.0),
            (1000.0, 250.0),
            (250.0, 250.0),
            (257.0, 250.0),
            (128.205, 250.0),
            (2000.0, 100.0),
            (300.0, 500.0),
        ] {
            let sine = |t: f64| (std::f64::consts::TAU * 7.0 * t).sin();
            let (first, out) = run(from, to, 777, sine, 4000);
            assert!((first as f64 / to - 777.0 / from) < 1.0 / to + 1e-9);
            let edge = 70;
            for (n, value) in out.iter().enumerate().skip(edge).take(out.len() - 2 * edge) {
                let expected = sine((first + n as u64) as f64 / to);
                assert!(
                    (f64::from(*value) - expected).abs() < 0.005,
                    "{from} to {to} at {n}: {value} {expected}"
                );
            }
            let span = 4000.0 / from * to;
            assert!((out.len() as f64 - span).abs() <= 1.0, "{from} to {to}");
        }
    }

    #[test]
    fn the_band_is_zero_to_forty_hertz() {
        let level = |hz: f64| {
            let (_, out) = run(
                360.0,
                250.0,
                0,
                |t| (std::f64::consts::TAU * hz * t).cos(),
                7200,
            );
            let middle = &out[500..out.len() - 500];
            let power: f32 = middle.iter().map(|v| v * v).sum();
            (2.0 * power / middle.len() as f32).sqrt()
        };
        assert!((level(20.0) - 1.0).abs() < 0.005);
        assert!((level(38.0) - 1.0).abs() < 0.06, "{}", level(38.0));
        assert!(level(50.0) < 0.06, "{}", level(50.0));
        assert!(level(60.0) < 0.005, "{}", level(60.0));
    }

    #[test]
    fn the_machine_changes_nothing() {
        struct Dot<'a>(&'a [f32], &'a [f32]);
        impl WithSimd for Dot<'_> {
            type Output = f32;
            fn with_simd<S: Simd>(self, simd: S) -> f32 {
                dot_with(simd, self.0, self.1)
            }
        }
        let row = |seed: f32| -> Vec<f32> { (0..72).map(|k| (k as f32 * seed).sin()).collect() };
        let (a, b) = (row(0.7), row(1.3));
        let expected = dot(&a, &b).to_bits();
        assert_eq!(Arch::new().dispatch(Dot(&a, &b)).to_bits(), expected);
        assert_eq!(dot_with(pulp::Scalar, &a, &b).to_bits(), expected);
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing(
            cuts in prop::collection::vec(1usize..300, 1..20),
            rate in prop::sample::select(vec![100.0, 128.0, 250.0, 257.0, 360.0, 1000.0]),
            start in 0u64..100_000,
        ) {
            let rate = SampleRate::new(rate).unwrap();
            let plan = Arc::new(ResamplePlan::new(rate, SampleRate::new(250.0).unwrap()));
            let n: usize = cuts.iter().sum();
            let x: Vec<f32> = (0..n).map(|i| ((i * i) as f32 * 0.013).sin()).collect();
            let mut whole = Vec::new();
            let mut resampler = Resampler::new(Arc::clone(&plan), SampleIndex(start));
            resampler.push(&x, &mut whole);
            resampler.finish(&mut whole);
            let mut pieces = Vec::new();
            let mut resampler = Resampler::new(plan, SampleIndex(start));
            let mut rest = &x[..];
            for cut in cuts {
                let (piece, later) = rest.split_at(cut);
                resampler.push(piece, &mut pieces);
                rest = later;
            }
            resampler.finish(&mut pieces);
            prop_assert_eq!(whole, pieces);
        }
    }
}
