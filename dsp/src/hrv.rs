//! Heart rate variability over stretches of minutes.
//!
//! A function over a list of beats, **not a stage of the chain**: five minutes are longer than anything
//! there may remember. Everything is computed from *NN intervals*, those between normal beats. An RR interval is
//! one if
//!
//! 1. no [`Gap`] lies in it;
//! 2. neither of its beats has a class other than N (a beat without a class is taken for normal);
//! 3. it is 300 to 2000 ms long; and
//! 4. it differs by no more than 20 % from the median of the RR intervals around it, five to
//!    either side, which leaves out most ectopic beats where there are no classes, and missed and
//!    false beats where there are.
//!
//! Power is that of the Lomb-Scargle periodogram of the NN intervals, each at the instant of the beat that
//! ends it: no interpolation, and gaps do no harm. With `P` as in Scargle's equation 10 (which is
//! `scipy.signal.lombscargle` without normalisation) of `n` intervals over `T` seconds the density is `2 P T / n`
//! in ms² per hertz, so that a sine of amplitude `A` has the power `A²/2`.
//!
//! References: Task Force of the ESC and NASPE, Circulation 93, 1996 (the measures, stretches of five minutes,
//! the bands); Scargle, Astrophys J 263, 1982; Richman & Moorman, Am J Physiol 278, 2000 (sample entropy).

use ecg::{Beat, BeatClass, Gap, SampleIndex, SampleRate};

/// The length of a stretch.
pub const STRETCH_SECONDS: f64 = 300.0;

/// The low frequency band, hertz.
pub const LF_HZ: (f64, f64) = (0.04, 0.15);
/// The high frequency band, hertz.
pub const HF_HZ: (f64, f64) = (0.15, 0.4);

/// NN intervals, ms.
const NN_MS: (f64, f64) = (300.0, 2000.0);
/// How far an interval may be from the median around it, and how many to either side that is of.
const SPREAD: f64 = 0.2;
const AROUND: usize = 5;
/// With fewer intervals nothing is said.
const FEWEST: usize = 30;
/// A band is looked at if so many of the cycles of its lower edge lie in the stretch: two minutes for the low
/// one, half of one for the high one.
const CYCLES: f64 = 4.8;
/// Frequencies of the periodogram per resolvable one.
const OVERSAMPLING: f64 = 4.0;
/// Sample entropy: values compared, and how near they must be, in standard deviations.
const M: usize = 2;
const R: f64 = 0.2;

/// The variability of one stretch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measures {
    /// Beats of the stretch.
    pub n_beats: usize,
    /// Its NN intervals.
    pub n_nn: usize,
    /// Their mean, ms.
    pub mean_nn_ms: f64,
    /// Their standard deviation (of a sample), ms.
    pub sdnn_ms: f64,
    /// Root mean square of the differences of NN intervals that share a beat, ms.
    pub rmssd_ms: Option<f64>,
    /// Share of these differences beyond 50 ms, percent.
    pub pnn50_percent: Option<f64>,
    /// Power from 0.04 to 0.15 Hz, ms²; of two minutes and more.
    pub lf_ms2: Option<f64>,
    /// Power from 0.15 to 0.4 Hz, ms²; of half a minute and more.
    pub hf_ms2: Option<f64>,
    /// The ratio of the two.
    pub lf_hf: Option<f64>,
    /// Sample entropy of the NN intervals in order, `m` = 2, `r` = 0.2 SDNN; `None` where nothing matches.
    pub sample_entropy: Option<f64>,
    /// Share of supraventricular and ventricular ectopic beats among those with a class, percent.
    pub ectopic_percent: Option<f64>,
}

/// The variability of a whole record, hours or days, in the time domain: what of it has a meaning beyond a few
/// minutes, and takes time in proportion to the number of beats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Whole {
    /// Its beats.
    pub n_beats: usize,
    /// Its NN intervals.
    pub n_nn: usize,
    /// Their mean, ms.
    pub mean_nn_ms: f64,
    /// Their standard deviation (of a sample), ms.
    pub sdnn_ms: f64,
    /// SDANN: the standard deviation of the means of its stretches, ms; of two stretches and more.
    pub sdann_ms: Option<f64>,
    /// The SDNN index: the mean of the standard deviations of its stretches, ms.
    pub sdnn_index_ms: Option<f64>,
    /// Root mean square of the differences of NN intervals that share a beat, ms.
    pub rmssd_ms: Option<f64>,
    /// Share of these differences beyond 50 ms, percent.
    pub pnn50_percent: Option<f64>,
}

/// An interval between normal beats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nn {
    /// The beat that ends it.
    pub at: SampleIndex,
    /// Its length.
    pub ms: f64,
    /// Whether the interval that ends where this one begins is an NN interval too.
    pub follows: bool,
}

/// The measures of every stretch of [`STRETCH_SECONDS`] that enough is known of, with its start; the
/// stretches begin at multiples of their length.
///
/// `beats` and `gaps` are in order, positions at `rate`.
pub fn stretches(beats: &[Beat], gaps: &[Gap], rate: SampleRate) -> Vec<(SampleIndex, Measures)> {
    let length = rate.count(STRETCH_SECONDS).0.max(1);
    let stretch = |beat: &Beat| beat.r_peak.0 / length;
    beats
        .chunk_by(|a, b| stretch(a) == stretch(b))
        .filter_map(|beats| {
            let start = SampleIndex(stretch(beats.first()?) * length);
            Some((start, measures(beats, gaps, rate)?))
        })
        .collect()
}

/// The measures of `beats` as one stretch; `None` with fewer than 30 NN intervals.
///
/// `beats` and `gaps` are in order, positions at `rate`.
pub fn measures(beats: &[Beat], gaps: &[Gap], rate: SampleRate) -> Option<Measures> {
    let nn = intervals(beats, gaps, rate);
    if nn.len() < FEWEST {
        return None;
    }
    let values: Vec<f64> = nn.iter().map(|nn| nn.ms).collect();
    let sdnn_ms = deviation(&values);
    let (rmssd_ms, pnn50_percent) = differences(nn.iter().map(|nn| (nn.ms, nn.follows)));
    let times: Vec<f64> = nn.iter().map(|nn| nn.at.0 as f64 / rate.hz()).collect();
    let spectrum = Spectrum::new(&times, &values);
    let (lf_ms2, hf_ms2) = (spectrum.power(LF_HZ), spectrum.power(HF_HZ));
    let classed = beats.iter().filter(|beat| beat.class.is_some()).count();
    let ectopic = |beat: &&Beat| matches!(beat.class, Some(BeatClass::S | BeatClass::V));
    let n_ectopic = beats.iter().filter(ectopic).count();
    Some(Measures {
        n_beats: beats.len(),
        n_nn: nn.len(),
        mean_nn_ms: mean(&values),
        sdnn_ms,
        rmssd_ms,
        pnn50_percent,
        lf_ms2,
        hf_ms2,
        lf_hf: lf_ms2
            .zip(hf_ms2)
            .filter(|(_, hf)| *hf > 0.0)
            .map(|(lf, hf)| lf / hf),
        sample_entropy: sample_entropy(&values, R * sdnn_ms),
        ectopic_percent: (classed > 0).then(|| 100.0 * n_ectopic as f64 / classed as f64),
    })
}

/// The measures of all `beats` together; `None` with fewer than 30 NN intervals. `stretches` are those of
/// [`stretches`] of the same beats.
///
/// `beats` and `gaps` are in order, positions at `rate`.
pub fn whole(
    beats: &[Beat],
    gaps: &[Gap],
    rate: SampleRate,
    stretches: &[(SampleIndex, Measures)],
) -> Option<Whole> {
    let nn = intervals(beats, gaps, rate);
    if nn.len() < FEWEST {
        return None;
    }
    let values: Vec<f64> = nn.iter().map(|nn| nn.ms).collect();
    let of_stretches = |of: fn(&Measures) -> f64| -> Vec<f64> {
        stretches.iter().map(|(_, measures)| of(measures)).collect()
    };
    let means = of_stretches(|measures| measures.mean_nn_ms);
    let deviations = of_stretches(|measures| measures.sdnn_ms);
    let (rmssd_ms, pnn50_percent) = differences(nn.iter().map(|nn| (nn.ms, nn.follows)));
    Some(Whole {
        n_beats: beats.len(),
        n_nn: nn.len(),
        mean_nn_ms: mean(&values),
        sdnn_ms: deviation(&values),
        sdann_ms: (means.len() > 1).then(|| deviation(&means)),
        sdnn_index_ms: (!deviations.is_empty()).then(|| mean(&deviations)),
        rmssd_ms,
        pnn50_percent,
    })
}

/// The NN intervals of `beats`, by the rule that stands above.
pub fn intervals(beats: &[Beat], gaps: &[Gap], rate: SampleRate) -> Vec<Nn> {
    let rr: Vec<f64> = beats
        .windows(2)
        .map(|pair| 1e3 * rate.seconds(pair[1].r_peak.since(pair[0].r_peak)))
        .collect();
    let normal = |beat: &Beat| beat.class.is_none_or(|class| class == BeatClass::N);
    let whole = |pair: &[Beat]| {
        let after = gaps.partition_point(|gap| gap.end <= pair[0].r_peak);
        gaps.get(after)
            .is_none_or(|gap| gap.start >= pair[1].r_peak)
    };
    let mut found: Vec<Nn> = Vec::with_capacity(rr.len());
    let mut last = None;
    for (k, (pair, ms)) in beats.windows(2).zip(&rr).enumerate() {
        let around = &rr[k.saturating_sub(AROUND)..rr.len().min(k + AROUND + 1)];
        let usual = median(around);
        if normal(&pair[0])
            && normal(&pair[1])
            && whole(pair)
            && (NN_MS.0..=NN_MS.1).contains(ms)
            && (ms - usual).abs() <= SPREAD * usual
        {
            found.push(Nn {
                at: pair[1].r_peak,
                ms: *ms,
                follows: k > 0 && last == Some(k - 1),
            });
            last = Some(k);
        }
    }
    found
}

/// The Lomb-Scargle periodogram of values at uneven instants, their mean taken off.
struct Spectrum<'a> {
    times: &'a [f64],
    values: Vec<f64>,
    seconds: f64,
}

impl<'a> Spectrum<'a> {
    fn new(times: &'a [f64], values: &[f64]) -> Self {
        let mean = mean(values);
        let span = times.last().zip(times.first()).map_or(0.0, |(b, a)| b - a);
        Self {
            times,
            values: values.iter().map(|value| value - mean).collect(),
            seconds: span,
        }
    }

    /// The power of a band, the upper edge excluded; `None` where the stretch is too short for it.
    fn power(&self, (low, high): (f64, f64)) -> Option<f64> {
        if self.seconds * low < CYCLES {
            return None;
        }
        let step = 1.0 / (OVERSAMPLING * self.seconds);
        let first = (low / step).ceil();
        let density = 2.0 * self.seconds / self.values.len() as f64;
        let bins = (0..).map(|k| (first + f64::from(k)) * step);
        let bins = bins.take_while(|hz| *hz < high);
        Some(bins.map(|hz| density * self.scargle(hz) * step).sum())
    }

    /// Scargle's `P`, not normalised.
    fn scargle(&self, hz: f64) -> f64 {
        let omega = std::f64::consts::TAU * hz;
        let (mut s2, mut c2) = (0.0, 0.0);
        for t in self.times {
            let (sin, cos) = (2.0 * omega * t).sin_cos();
            s2 += sin;
            c2 += cos;
        }
        let shift = f64::atan2(s2, c2) / 2.0;
        let (mut xc, mut xs, mut cc, mut ss) = (0.0, 0.0, 0.0, 0.0);
        for (t, x) in self.times.iter().zip(&self.values) {
            let (sin, cos) = (omega * t - shift).sin_cos();
            xc += x * cos;
            xs += x * sin;
            cc += cos * cos;
            ss += sin * sin;
        }
        0.5 * (xc * xc / cc.max(1e-12) + xs * xs / ss.max(1e-12))
    }
}

/// How unlikely runs of `M` values that match go on to match; `None` where none do.
fn sample_entropy(values: &[f64], tolerance: f64) -> Option<f64> {
    let n = values.len().checked_sub(M)?;
    let (mut short, mut long) = (0u64, 0u64);
    for i in 0..n {
        for j in i + 1..n {
            let near = |k: usize| (values[i + k] - values[j + k]).abs() <= tolerance;
            if (0..M).all(near) {
                short += 1;
                long += u64::from(near(M));
            }
        }
    }
    (long > 0).then(|| (short as f64 / long as f64).ln())
}

/// RMSSD, ms, and the share of differences beyond 50 ms, percent, of intervals in order, each with whether the one before
/// it in the list ends where it begins; `None` where none does.
pub(crate) fn differences(
    intervals: impl Iterator<Item = (f64, bool)>,
) -> (Option<f64>, Option<f64>) {
    let (mut n, mut squares, mut beyond) = (0.0, 0.0, 0.0);
    let mut last = None;
    for (ms, follows) in intervals {
        if let Some(last) = last.replace(ms).filter(|_| follows) {
            let difference: f64 = ms - last;
            n += 1.0;
            squares += difference.powi(2);
            beyond += f64::from(u8::from(difference.abs() > 50.0));
        }
    }
    let of_all = |sum: f64| (n > 0.0).then(|| sum / n);
    (of_all(squares).map(f64::sqrt), of_all(100.0 * beyond))
}

/// The standard deviation of a sample; zero of fewer than two values.
pub(crate) fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean).powi(2));
    (squares.sum::<f64>() / values.len().saturating_sub(1).max(1) as f64).sqrt()
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The middle value, or the mean of the middle two; zero of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n => f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HZ: f64 = 1000.0;

    fn rate() -> SampleRate {
        SampleRate::new(HZ).unwrap()
    }

    /// Beats with these intervals, ms, the first one at 1 s, and the class of each but the first.
    fn beats(intervals: &[(u64, Option<BeatClass>)]) -> Vec<Beat> {
        let beat = |at: u64, class| Beat {
            r_peak: SampleIndex(at),
            class,
        };
        let mut all = vec![beat(1000, None)];
        for (ms, class) in intervals {
            all.push(beat(all[all.len() - 1].r_peak.0 + ms, *class));
        }
        all
    }

    #[test]
    fn only_normal_beats_count() {
        let n = (800, Some(BeatClass::N));
        let mut list = vec![n; 20];
        list[8] = (560, Some(BeatClass::V));
        list[9] = (1000, Some(BeatClass::N));
        list[14] = (790, Some(BeatClass::S));
        let nn = intervals(&beats(&list), &[], rate());
        assert_eq!(nn.len(), 16);
        assert_eq!(nn.iter().filter(|nn| !nn.follows).count(), 3);
        // Without classes the premature beat and its pause stand out all the same.
        let bare: Vec<_> = list.iter().map(|(ms, _)| (*ms, None)).collect();
        assert_eq!(intervals(&beats(&bare), &[], rate()).len(), 18);
    }

    #[test]
    fn nothing_reaches_across_a_gap() {
        let beats = beats(&[(800, None); 10]);
        let gap = |start, end| Gap {
            start: SampleIndex(start),
            end: SampleIndex(end),
        };
        let gaps = [
            gap(0, 900),
            gap(2700, 2750),
            gap(5000, 5001),
            gap(20_000, 30_000),
        ];
        assert_eq!(intervals(&beats, &gaps, rate()).len(), 8);
    }

    #[test]
    fn a_sine_has_its_power_in_its_band() {
        // 30 ms at 0.1 Hz and 20 ms at 0.25 Hz.
        let (mut list, mut at) = (Vec::new(), 0.0);
        while at < 300.0 {
            let turn = |hz: f64| (std::f64::consts::TAU * hz * at).sin();
            let ms = 800.0 + 30.0 * turn(0.1) + 20.0 * turn(0.25);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "some ms"
            )]
            list.push((ms.round() as u64, None));
            at += ms / 1e3;
        }
        let found = measures(&beats(&list), &[], rate()).unwrap();
        let (lf, hf) = (found.lf_ms2.unwrap(), found.hf_ms2.unwrap());
        assert!((lf / 450.0 - 1.0).abs() < 0.06, "{lf}");
        assert!((hf / 200.0 - 1.0).abs() < 0.1, "{hf}");
        assert!((found.sdnn_ms - 650f64.sqrt()).abs() < 0.8, "{found:?}");
        assert_eq!(found.ectopic_percent, None);
    }

    #[test]
    fn a_short_stretch_says_less() {
        let found = measures(&beats(&[(800, Some(BeatClass::N)); 60]), &[], rate()).unwrap();
        assert_eq!((found.lf_ms2, found.sdnn_ms), (None, 0.0));
        assert!(found.hf_ms2.is_some());
        assert_eq!(found.ectopic_percent, Some(0.0));
        assert_eq!(measures(&beats(&[(800, None); 20]), &[], rate()), None);
        assert_eq!(measures(&[], &[], rate()), None);
    }

    #[test]
    fn stretches_begin_at_multiples_of_five_minutes() {
        let found = stretches(&beats(&[(750, None); 1000]), &[], rate());
        let starts: Vec<u64> = found.iter().map(|(start, _)| start.0).collect();
        assert_eq!(starts, [0, 300_000, 600_000]);
        assert_eq!(found[1].1.n_nn, 399);
    }

    #[test]
    fn a_whole_record_is_more_than_its_stretches() {
        // Five minutes at 800 ms, five at 1000, every other interval 10 ms longer.
        let turns = |ms: u64, n: u64| (0..n).map(move |k| (ms + 10 * (k % 2), None));
        let list: Vec<_> = turns(795, 374).chain(turns(995, 300)).collect();
        let beats = beats(&list);
        let parts = stretches(&beats, &[], rate());
        assert_eq!(parts.len(), 2);
        let found = whole(&beats, &[], rate(), &parts).unwrap();
        assert_eq!((found.n_beats, found.n_nn), (675, 674));
        assert!((found.sdnn_ms - 99.6).abs() < 0.2, "{found:?}");
        let sdann = found.sdann_ms.unwrap();
        assert!((sdann - 200.0 / 2f64.sqrt()).abs() < 1.0, "{found:?}");
        assert!((found.sdnn_index_ms.unwrap() - 5.0).abs() < 3.0);
        // 672 differences of 10 ms and one of 200.
        assert!((found.rmssd_ms.unwrap() - 12.6).abs() < 0.5, "{found:?}");
        assert_eq!(found.pnn50_percent, Some(100.0 / 673.0));
        assert_eq!(whole(&beats[..20], &[], rate(), &[]), None);
    }
}
