//! How likely it is, each second, that the ventricles beat on their own (VT) or flutter or fibrillate (VF).
//!
//! Takes up to [`MAX_LEADS`] ECG leads at the window rate, the beats of all leads and the quality of each; yields one
//! [`Ventricular`] for each whole second of the absolute index that has [`STRETCH_SECONDS`] of its segment before its
//! end. It comes [`Chain::LAG_SECONDS`](crate::Chain::LAG_SECONDS) after the end of its second and
//! **knows nothing of what follows that end**, not even the classes of beats, which look back further than the chain may.
//!
//! ```text
//! lead --> 1 to 20 Hz --> 4 s ----------------> signal.rs: size, spectrum, phase space ... --+
//!               +------> complexes of 14 s ---> beats.rs: how broad, how unlike the usual ---+-> forests --> mean over leads
//! beats of all leads -------------------------> beats.rs: how fast, how regular -------------+      VT, VF   by quality
//! quality of the lead -----------------------------------------------------------------------+
//! ```
//!
//! A lead whose electrode was off, or that was flat or saturated for most of the stretch has no say; where none
//! has, both probabilities are zero and no lead is named. What VT and VF are: five ventricular beats on end above 100 a
//! minute, and four seconds of oscillation (Clifford et al., Computing in Cardiology, 2015). `dsp/training/ventricular.py`
//! fitted the forests.
//!
//! The file: `EVT1`; the number of features (u16); for VT, then for VF, `a` and `b` (f32 each), so that the probability is that of the
//! logit `a x + b`, x being the mean over leads of the sum of the forest (`forest.rs`) that follows. Little-endian.

mod beats;
mod signal;

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use biquad::Biquad as _;
use ecg::{Lead, Quality, QualityReason, SampleIndex, SampleRate, Ventricular};

use crate::Error;
use crate::filter::{Cascade, Section};
use crate::forest::{Forest, Reader};
use crate::quality::{Features, boundary, second_of};
use beats::Look;

/// Leads that are looked at: the most preferred of a record.
pub const MAX_LEADS: usize = 3;

/// What is looked at but for beats: so much before the end of a second.
pub const STRETCH_SECONDS: f64 = 4.0;

/// Beats up to this long before the end of a second matter.
pub const CONTEXT_SECONDS: f64 = 14.0;

/// Measures of a lead.
pub const N: usize = signal::N + beats::N_RHYTHM + beats::N_SHAPE + N_QUALITY;

/// Measures of its quality.
const N_QUALITY: usize = 8;
/// Seconds of quality that are kept; one more than the stretch, for a second of the input to come in.
const N_SECONDS: usize = 8;
/// How far the input may be past the end of a second that is being told, and a little for the beat before it.
const AHEAD_SECONDS: f64 = 3.0;
/// The last beats whose looks are kept, at most.
const MOST_LOOKS: usize = 40;
/// Samples a second, about.
const RATE_HZ: f64 = 62.5;
/// The band.
const BAND_HZ: [f64; 2] = [1.0, 20.0];
/// Beyond is no ECG, mV.
const MOST_MV: f32 = 1000.0;
/// A step from one sample to the next that no heart makes, mV: of an electrode that is put on, or the start.
const STEP_MV: f64 = 20.0;
/// Samples after which the filter has forgotten, about.
const FORGOTTEN: usize = 512;
/// How many seconds of the stretch a lead may be off, flat or saturated.
const MOST_BAD: usize = 2;

const MAGIC: &[u8] = b"EVT1";

static SHIPPED: LazyLock<Arc<Model>> = LazyLock::new(|| {
    let bytes = include_bytes!("ventricular/weights.bin");
    Arc::new(Model::new(bytes).expect("a test reads the very same bytes"))
});

/// Turns the measures of leads into probabilities.
#[derive(Debug)]
pub struct Model {
    /// VT, VF.
    kinds: [Kind; 2],
}

#[derive(Debug, Default)]
struct Kind {
    /// From the mean of the leads to a logit.
    calibration: [f32; 2],
    forest: Forest,
}

impl Model {
    /// The one that ships.
    pub fn shipped() -> Arc<Self> {
        Arc::clone(&SHIPPED)
    }

    /// One that has learned nothing: for training, which needs measures before there are weights for them.
    pub fn silent() -> Self {
        Self {
            kinds: Default::default(),
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
        if usize::from(reader.u16()?) != N {
            return None;
        }
        let mut kind = || {
            let calibration = [reader.f32()?, reader.f32()?];
            let finite = calibration.iter().all(|x| x.is_finite());
            let forest = reader.forest(N)?;
            finite.then_some(Kind {
                calibration,
                forest,
            })
        };
        let kinds = [kind()?, kind()?];
        reader.0.is_empty().then_some(Self { kinds })
    }
}

/// Looks at the last seconds of the ECG leads of a record, each second.
#[derive(Debug)]
pub struct Detector {
    model: Arc<Model>,
    base: SampleRate,
    window: SampleRate,
    /// Samples at the window rate to one of ours.
    decimation: u64,
    hz: f64,
    /// Samples of the stretch, and samples kept.
    n_stretch: usize,
    n_kept: usize,
    voices: Vec<Voice>,
    meter: signal::Meter,
    /// The beats that matter, oldest first, and those after the second at hand.
    beats: VecDeque<SampleIndex>,
    /// How many of them are known by their looks.
    looked: usize,
    /// The next second to be told.
    second: u64,
}

/// One lead.
#[derive(Debug)]
struct Voice {
    /// Which signal of the record it is.
    signal: usize,
    lead: Lead,
    /// High-pass, then low-pass.
    filter: [Section; 2],
    /// What was last filtered.
    last: f64,
    /// Of the sample at hand, and how much of it there is.
    sum: f32,
    n_sum: u64,
    /// The last samples, and the index of the first of them.
    samples: Vec<f32>,
    first: u64,
    looks: VecDeque<Look>,
    /// By `second % len`.
    qualities: [Judged; N_SECONDS],
    /// What was measured last, where it has a say.
    row: Option<[f32; N]>,
}

/// The quality of a second.
#[derive(Debug, Clone, Copy, Default)]
struct Judged {
    second: Option<u64>,
    score: f32,
    /// Off, flat or saturated.
    bad: bool,
    features: Features,
}

impl Detector {
    /// For records with positions at `base` and signals at `window`; of `leads`, each with its place among the signals, the
    /// first [`MAX_LEADS`] are looked at.
    ///
    /// # Errors
    /// None for window rates within their limits; those of [`Cascade::bandpass`] otherwise.
    pub fn new(
        model: Arc<Model>,
        base: SampleRate,
        window: SampleRate,
        leads: impl Iterator<Item = (usize, Lead)>,
    ) -> Result<Self, Error> {
        let decimation = whole(window.hz() / RATE_HZ + 0.5).max(1) as u64;
        let hz = window.hz() / decimation as f64;
        let n_stretch = whole(STRETCH_SECONDS * hz);
        let n_kept = whole((STRETCH_SECONDS + AHEAD_SECONDS) * hz);
        let mut voices = Vec::with_capacity(MAX_LEADS);
        for (signal, lead) in leads.take(MAX_LEADS) {
            voices.push(Voice {
                signal,
                lead,
                filter: [
                    Cascade::highpass(2, BAND_HZ[0], hz)?.sections()[0],
                    Cascade::lowpass(2, BAND_HZ[1], hz)?.sections()[0],
                ],
                last: 0.0,
                sum: 0.0,
                n_sum: 0,
                samples: Vec::with_capacity(n_kept + n_kept / 4),
                first: 0,
                looks: VecDeque::with_capacity(MOST_LOOKS),
                qualities: [Judged::default(); N_SECONDS],
                row: None,
            });
        }
        Ok(Self {
            model,
            base,
            window,
            decimation,
            hz,
            n_stretch,
            n_kept,
            voices,
            meter: signal::Meter::new(n_stretch, hz),
            beats: VecDeque::with_capacity(96),
            looked: 0,
            second: 0,
        })
    }

    /// Begins a new segment at `start`.
    pub fn reset(&mut self, start: SampleIndex) {
        for voice in &mut self.voices {
            voice.filter.iter_mut().for_each(Section::reset_state);
            voice.n_sum = 0;
            voice.samples.clear();
            voice.looks.clear();
            voice.qualities = [Judged::default(); N_SECONDS];
            voice.row = None;
        }
        self.beats.clear();
        self.looked = 0;
        self.second = second_of(start.0, self.base);
    }

    /// Takes in samples of a signal at the window rate; the first of them has index `at`.
    pub fn push(&mut self, signal: usize, at: SampleIndex, samples: &[f32]) {
        let Some(voice) = self.voices.iter_mut().find(|v| v.signal == signal) else {
            return;
        };
        let mut phase = at.0 % self.decimation;
        let mut index = at.0 / self.decimation;
        let mut rest = samples;
        while !rest.is_empty() {
            if phase == 0 {
                (voice.sum, voice.n_sum) = (0.0, 0);
            }
            let left = usize::try_from(self.decimation - phase).unwrap_or(usize::MAX);
            let (part, later) = rest.split_at(left.min(rest.len()));
            rest = later;
            for sample in part {
                voice.sum += sample.clamp(-MOST_MV, MOST_MV);
            }
            voice.n_sum += part.len() as u64;
            phase += part.len() as u64;
            if phase == self.decimation {
                phase = 0;
                // One that was begun before the start is passed over.
                if voice.n_sum == self.decimation {
                    voice.keep(index, self.n_kept);
                }
                index += 1;
            }
        }
    }

    /// Takes note of a second of a signal.
    pub fn judge(&mut self, signal: usize, quality: &Quality, features: Features) {
        let second = second_of(quality.start.0, self.base);
        if let Some(voice) = self.voices.iter_mut().find(|v| v.signal == signal) {
            let reason = quality.reason;
            voice.qualities[place(second)] = Judged {
                second: Some(second),
                score: quality.score,
                bad: !matches!(reason, QualityReason::Good | QualityReason::Noisy),
                features,
            };
        }
    }

    /// The next beat.
    pub fn beat(&mut self, at: SampleIndex) {
        self.beats.push_back(at);
    }

    /// Tells every second that ends by `until`. Beats, qualities and samples before `until` are known.
    pub fn take(&mut self, until: SampleIndex, mut told: impl FnMut(Ventricular)) {
        loop {
            let end = boundary(self.second + 1, self.base);
            if end > until.0 {
                break;
            }
            if self.measure(end) {
                told(self.tell(end));
            }
            self.second += 1;
        }
    }

    /// Measures each lead at the `end` of the second; whether there is enough of this segment.
    fn measure(&mut self, end: u64) -> bool {
        let hz = self.base.hz();
        let seconds = |at: SampleIndex| at.0 as f64 / hz;
        let now = end as f64 / hz;
        while self
            .beats
            .front()
            .is_some_and(|at| now - seconds(*at) > CONTEXT_SECONDS)
        {
            self.beats.pop_front();
            self.looked = self.looked.saturating_sub(1);
        }
        // The middle of sample 0, seconds.
        let middle = (self.decimation - 1) as f64 / 2.0 / self.window.hz();
        while let Some(at) = self.beats.get(self.looked).map(|at| seconds(*at))
            && at + beats::AFTER_SECONDS < now
        {
            for voice in &mut self.voices {
                let first = middle + voice.first as f64 / self.hz;
                if let Some(look) = Look::of(&voice.samples, self.hz, first, at) {
                    if voice.looks.len() == MOST_LOOKS {
                        voice.looks.pop_front();
                    }
                    voice.looks.push_back(look);
                }
            }
            self.looked += 1;
        }
        let before = self.beats.partition_point(|at| at.0 < end);
        let known = self.beats.range(..before).map(|at| seconds(*at));
        let rhythm = beats::rhythm(&known, now);
        let last = self.base.convert(SampleIndex(end), self.window).0 / self.decimation;
        let mut enough = false;
        for voice in &mut self.voices {
            while voice
                .looks
                .front()
                .is_some_and(|look| now - look.at > CONTEXT_SECONDS)
            {
                voice.looks.pop_front();
            }
            voice.row = None;
            let to = usize::try_from(last.saturating_sub(voice.first)).unwrap_or(usize::MAX);
            let stretch = to
                .checked_sub(self.n_stretch)
                .and_then(|from| voice.samples.get(from..to));
            let Some(stretch) = stretch else { continue };
            enough = true;
            let Some(quality) = voice.quality(self.second) else {
                continue;
            };
            let mut row = [0.0; N];
            let (signal, rest) = row.split_at_mut(signal::N);
            let (rhythms, rest) = rest.split_at_mut(beats::N_RHYTHM);
            let (shape, rest) = rest.split_at_mut(beats::N_SHAPE);
            signal.copy_from_slice(&self.meter.features(stretch));
            rhythms.copy_from_slice(&rhythm);
            shape.copy_from_slice(&beats::shape(voice.looks.iter(), now));
            rest.copy_from_slice(&quality);
            voice.row = Some(row);
        }
        enough
    }

    /// What the leads say together of the second that ends at `end`.
    fn tell(&self, end: u64) -> Ventricular {
        let mut leads = [None; MAX_LEADS];
        let mut sums = [0.0; 2];
        let mut total = 0.0;
        for (slot, voice) in leads.iter_mut().zip(&self.voices) {
            let Some(row) = &voice.row else { continue };
            *slot = Some(voice.lead);
            let weight = weight(row);
            total += weight;
            for (sum, kind) in sums.iter_mut().zip(&self.model.kinds) {
                *sum += weight * kind.forest.sum(row);
            }
        }
        let [vt, vf] = [0, 1].map(|k| {
            let [a, b] = self.model.kinds[k].calibration;
            if total > 0.0 {
                1.0 / (1.0 + (-(a * sums[k] / total + b)).exp())
            } else {
                0.0
            }
        });
        Ventricular {
            start: SampleIndex(boundary(self.second, self.base)),
            end: SampleIndex(end),
            vt,
            vf,
            leads,
        }
    }

    /// What was last measured of each lead, `None` of one without a say: for training.
    pub fn rows(&self) -> impl Iterator<Item = Option<&[f32; N]>> {
        self.voices.iter().map(|voice| voice.row.as_ref())
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let voice = |voice: &Voice| {
            voice.samples.capacity() * size_of::<f32>() + voice.looks.capacity() * size_of::<Look>()
        };
        self.voices.iter().map(voice).sum::<usize>()
            + self.voices.capacity() * size_of::<Voice>()
            + self.meter.heap_bytes()
            + self.beats.capacity() * size_of::<SampleIndex>()
    }
}

/// What a lead counts beside others: as much as its last seconds were usable.
fn weight(row: &[f32; N]) -> f32 {
    0.1 + row[N - N_QUALITY]
}

impl Voice {
    /// The sample with `index` is complete.
    fn keep(&mut self, index: u64, n_kept: usize) {
        let mean = f64::from(self.sum) / self.n_sum as f64;
        let mean = if mean.is_nan() { 0.0 } else { mean };
        if self.samples.is_empty() || (mean - self.last).abs() > STEP_MV {
            // As if it had been there for ever.
            (0..FORGOTTEN).for_each(|_| {
                self.filter(mean);
            });
        }
        self.last = mean;
        if self.samples.is_empty() {
            self.first = index;
        }
        if self.samples.len() == self.samples.capacity() {
            let excess = self.samples.len().saturating_sub(n_kept);
            self.samples.drain(..excess);
            self.first += excess as u64;
        }
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let sample = self.filter(mean) as f32;
        self.samples.push(sample);
    }

    fn filter(&mut self, sample: f64) -> f64 {
        let [high, low] = &mut self.filter;
        low.run(high.run(sample))
    }

    /// What the quality of the stretch that ends with `second` was; `None` where the lead has no say.
    fn quality(&self, second: u64) -> Option<[f32; N_QUALITY]> {
        let seconds = whole(STRETCH_SECONDS) as u64;
        let stretch = (0..seconds).filter_map(|back| {
            let second = second.checked_sub(back)?;
            let judged = &self.qualities[place(second)];
            (judged.second == Some(second)).then_some(judged)
        });
        let n = stretch.clone().count();
        let bad = stretch.clone().filter(|judged| judged.bad).count();
        if n == 0 || bad > MOST_BAD {
            return None;
        }
        let mean = |of: fn(&Judged) -> f32| stretch.clone().map(of).sum::<f32>() / n as f32;
        let most = |of: fn(&Judged) -> f32| stretch.clone().map(of).fold(0.0, f32::max);
        Some([
            mean(|judged| judged.score),
            stretch
                .clone()
                .map(|judged| judged.score)
                .fold(1.0, f32::min),
            bad as f32,
            mean(|judged| judged.features.hiss),
            most(|judged| judged.features.hiss),
            most(|judged| judged.features.drift),
            most(|judged| judged.features.jump),
            mean(|judged| judged.features.turns),
        ])
    }
}

/// Where the quality of a second is kept.
fn place(second: u64) -> usize {
    usize::try_from(second % N_SECONDS as u64).unwrap_or(0)
}

/// A small positive number, rounded down.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates and seconds are small"
)]
fn whole(value: f64) -> usize {
    value as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Chain, Config, Output};
    use ecg::simulate::{Noise, Rhythm, Scenario, Segment, record};
    use ecg::{Block, Layout, SignalBlock, SignalKind, SignalSpec};

    const LEADS: [Lead; 3] = [Lead::II, Lead::V1, Lead::V5];

    /// In the order that the chain prefers them in.
    fn told_leads() -> [Option<Lead>; 3] {
        [Lead::II, Lead::V5, Lead::V1].map(Some)
    }

    fn scenario(seed: u64, rhythms: Vec<(Rhythm, f64)>) -> Scenario {
        Scenario {
            rhythms,
            noise: Noise::REST,
            ..Scenario::new(seed, SampleRate::new(250.0).unwrap())
        }
    }

    fn chain() -> Chain {
        let rate = SampleRate::new(250.0).unwrap();
        let spec = |lead| SignalSpec {
            kind: SignalKind::Ecg(lead),
            rate,
        };
        let layout = Layout::new(&LEADS.map(spec)).unwrap();
        Chain::new(&layout, &Config::default()).unwrap()
    }

    /// What is told of a record, in blocks of a second, each as `alter` leaves it.
    fn told(segment: &Segment, alter: impl Fn(u64, &mut [SignalBlock])) -> Vec<Ventricular> {
        let mut chain = chain();
        let mut out = Vec::new();
        for start in (0..segment.n_samples).step_by(250) {
            let end = (start + 250).min(segment.n_samples);
            let mut signals = LEADS.map(|lead| SignalBlock {
                samples: segment.lead(lead).unwrap()[start..end].to_vec(),
                lead_off: false,
            });
            alter(start as u64 / 250, &mut signals);
            let block = Block {
                start: SampleIndex(start as u64),
                signals: signals.into(),
            };
            chain.push(&block, &mut out);
        }
        chain.finish(&mut out);
        let second = |output| match output {
            Output::Ventricular(second) => Some(second),
            _ => None,
        };
        out.into_iter().filter_map(second).collect()
    }

    #[test]
    fn each_second_is_told_once_from_the_fourth_on() {
        let sinus = vec![(Rhythm::Sinus { bpm: 70.0 }, f64::INFINITY)];
        let all = told(&record(&scenario(3, sinus), 20.0).unwrap(), |_, _| {});
        let ends: Vec<u64> = all.iter().map(|second| second.end.0 / 250).collect();
        assert_eq!(ends, (4..=20).collect::<Vec<u64>>());
        for second in all {
            assert_eq!(second.end.0 - second.start.0, 250);
            assert_eq!(second.leads, told_leads());
            assert!(second.vt < 0.5 && second.vf < 0.5, "{second:?}");
        }
    }

    #[test]
    fn fibrillation_is_found_and_sinus_rhythm_is_not() {
        for seed in 0..6 {
            let rhythms = vec![
                (Rhythm::Sinus { bpm: 80.0 }, 15.0),
                (Rhythm::VentricularFibrillation, 15.0),
            ];
            let all = told(&record(&scenario(seed, rhythms), 30.0).unwrap(), |_, _| {});
            for second in &all {
                let into = second.end.0 as f64 / 250.0 - 15.0;
                let likely = second.vf >= 0.5;
                assert!(!likely || into > 0.0, "{seed}: {second:?}");
                assert!(likely || into < 5.0, "{seed}: {second:?}");
            }
        }
    }

    #[test]
    fn a_standstill_is_no_fibrillation() {
        let rhythms = vec![
            (Rhythm::Sinus { bpm: 80.0 }, 15.0),
            (Rhythm::Asystole, 15.0),
        ];
        let all = told(&record(&scenario(1, rhythms), 30.0).unwrap(), |_, _| {});
        assert!(all.iter().all(|second| second.vf < 0.5 && second.vt < 0.5));
    }

    #[test]
    fn a_lead_that_is_off_has_no_say() {
        let sinus = vec![(Rhythm::Sinus { bpm: 70.0 }, f64::INFINITY)];
        let segment = record(&scenario(3, sinus), 20.0).unwrap();
        let all = told(&segment, |second, signals| {
            signals[1].lead_off = second >= 6;
            for signal in signals.iter_mut() {
                signal.lead_off |= second >= 13;
            }
        });
        for second in all {
            let expected = match second.end.0 / 250 {
                ..=8 => told_leads(),
                9..=15 => [Some(Lead::II), Some(Lead::V5), None],
                _ => [None; 3],
            };
            assert_eq!(second.leads, expected, "{second:?}");
            assert!(second.leads != [None; 3] || (second.vt, second.vf) == (0.0, 0.0));
        }
    }

    #[test]
    fn nothing_but_probabilities_comes_out() {
        let sinus = vec![(Rhythm::Sinus { bpm: 70.0 }, f64::INFINITY)];
        let segment = record(&scenario(3, sinus), 30.0).unwrap();
        for bad in [
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN_POSITIVE,
            0.0,
        ] {
            let all = told(&segment, |second, signals| {
                if second == 9 || second > 20 {
                    signals[0].samples.fill(bad);
                }
                if second == 12 {
                    signals[1].samples[7] = bad;
                }
            });
            for second in all {
                let sane = |p: f32| (0.0..=1.0).contains(&p);
                assert!(sane(second.vt) && sane(second.vf), "{bad}: {second:?}");
            }
        }
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let whole = include_bytes!("ventricular/weights.bin");
        assert!(Model::new(whole).is_ok());
        for end in (0..whole.len()).step_by(7) {
            assert!(Model::new(&whole[..end]).is_err(), "{end}");
        }
        let mut wrong = whole.to_vec();
        wrong[6..10].copy_from_slice(&f32::NAN.to_le_bytes());
        assert!(Model::new(&wrong).is_err());
        assert!(Model::new(&[&whole[..], &[0]].concat()).is_err());
    }
}
