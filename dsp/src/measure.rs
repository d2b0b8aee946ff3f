//! What is measured of each beat: waves, intervals, amplitudes, ST levels and the frontal axis.
//!
//! The waves are those of [`crate::delineate`], found on the first lead, in order
//! of preference, that is usable in the second of the beat and the one before. Levels
//! are read on every ECG lead **from the samples as they came, at their own rate**: no filter has bent
//! the ST segment or lowered the R peak. They are told against the isoelectric line, which is drawn through the
//! mean of the 20 ms that end 4 ms before the onset of this QRS (the PR segment) and that of the next one,
//! where that is known in time and lies behind this T wave; level otherwise. P, T and ST levels are means of
//! 20 ms, against mains hum.
//!
//! A [`Measurement`] comes [`Chain::SETTLE_SECONDS`](crate::Chain::SETTLE_SECONDS) after its R peak. It says
//! nothing of leads that are not usable in the second of the beat, and there is none where no lead is. **Values outside what a heart can do are absent, not clamped.** The medians are of up to
//! [`MEDIAN_BEATS`] beats, none older than the last [`MEDIAN_SECONDS`].
//!
//! References: Kligfield et al. (AHA/ACCF/HRS recommendations for the standardisation of the
//! electrocardiogram I, Circulation 115, 2007) on the baseline and ST; Meyer & Keiser (Comput Biomed Res 10,
//! 1977) on drawing the baseline through PR segments.

use std::collections::VecDeque;

use ecg::{
    Intervals, Layout, Lead, Levels, Measurement, Quality, SampleIndex, SampleRate, SignalKind,
    Values, Wave,
};

use crate::Error;
use crate::delineate::{self, Judge, Judged, Track};
use crate::quality::second_of;
use crate::resample::{ResamplePlan, Resampler};

/// Beats that the medians are of, at most.
pub const MEDIAN_BEATS: usize = 8;

/// How far back they reach; as far as the search for an atrial rhythm.
pub const MEDIAN_SECONDS: f64 = 8.0;

/// A measurement depends on no sample and no beat older than this before its R peak.
pub(crate) const MEMORY_SECONDS: f64 = MEDIAN_SECONDS + delineate::BACK_SECONDS + 0.13;

/// A beat this long after another one is known when that one is measured.
pub(crate) const NEXT_SECONDS: f64 = 1.0;
/// How far before an R peak its measurement reaches.
const BACK_SECONDS: f64 = 0.55;
/// Means are of so much to either side.
const HALF_SECONDS: f64 = 0.010;
/// From the middle of what is taken for the PR segment to the onset of the QRS.
const PR_SEGMENT_SECONDS: f64 = 0.014;
/// Between two beats whose PR segments are joined by a line.
const LINE_SECONDS: f64 = 0.35;
/// A deflection of the QRS that is no higher is none, mV.
const DEFLECTION_MV: f64 = 0.03;
/// A mean QRS no longer than this points nowhere, mV.
const AXIS_MV: f64 = 0.01;

/// What a heart can do: milliseconds and millivolts.
mod limits {
    pub(super) const RR_MS: (f64, f64) = (200.0, 3000.0);
    pub(super) const PR_MS: (f64, f64) = (60.0, 450.0);
    pub(super) const QRS_MS: (f64, f64) = (40.0, 250.0);
    pub(super) const QT_MS: (f64, f64) = (180.0, 750.0);
    pub(super) const QTC_MS: (f64, f64) = (200.0, 800.0);
    pub(super) const P_MV: (f64, f64) = (-1.0, 1.0);
    pub(super) const QRS_MV: (f64, f64) = (-10.0, 10.0);
    pub(super) const T_MV: (f64, f64) = (-3.0, 3.0);
    pub(super) const ST_MV: (f64, f64) = (-2.5, 2.5);
}

/// Measures the beats of a record.
#[derive(Debug)]
pub(crate) struct Meter {
    base: SampleRate,
    /// One per signal; `None` where that is no ECG lead.
    leads: Vec<Option<Tracks>>,
    /// The signals to find waves on, the most preferred first.
    preferred: Vec<usize>,
    judge: Judge,
    /// Of each beat that the judge has not delineated yet, whether the interval before it means something.
    waiting: VecDeque<bool>,
    /// Whether something before the next beat was not seen.
    blind: bool,
    /// The last beats measured.
    past: VecDeque<Past>,
}

/// The last seconds of an ECG lead.
#[derive(Debug)]
struct Tracks {
    lead: Lead,
    rate: SampleRate,
    /// As it came; NaN while the electrode is off.
    raw: Track,
    /// At 125 Hz, as the delineator wants it.
    slow: Track,
    source: Source,
    /// Whether the last seconds were usable, by `second % len`, with the second.
    verdicts: [(u64, bool); 4],
}

/// Where a lead at 125 Hz comes from.
#[derive(Debug)]
enum Source {
    /// Each so many samples at the window rate, which have passed the same low-pass.
    Window(u64),
    /// A resampler of its own, where the window rate is no multiple.
    Own(Box<Resampler>),
}

/// A beat measured.
#[derive(Debug)]
struct Past {
    at: SampleIndex,
    values: Values,
    /// The PR interval of what looked like a P wave.
    pr_ms: Option<f32>,
}

impl Meter {
    /// For a record of this `layout`; waves are found on the signals `preferred`, the best first.
    pub(crate) fn new(
        layout: &Layout,
        window_rate: SampleRate,
        preferred: &[usize],
    ) -> Result<Self, Error> {
        let slow_rate = SampleRate::new(delineate::RATE_HZ)?;
        let every = window_rate.hz() / delineate::RATE_HZ;
        let seconds = 1.0 + crate::Chain::SETTLE_SECONDS;
        let tracks = |lead: Lead, rate: SampleRate| {
            let source = if every >= 1.0 && every.fract() == 0.0 {
                Source::Window(whole(every))
            } else {
                let plan = ResamplePlan::shared(rate, slow_rate);
                Source::Own(Box::new(Resampler::new(plan, SampleIndex(0))))
            };
            let room = |rate: SampleRate, seconds: f64| {
                usize::try_from(rate.count(seconds).0).unwrap_or(0) + 2 * Track::SLACK
            };
            Tracks {
                lead,
                rate,
                raw: Track::with_capacity(room(rate, seconds + BACK_SECONDS)),
                slow: Track::with_capacity(room(slow_rate, seconds + delineate::BACK_SECONDS)),
                source,
                verdicts: [(u64::MAX, true); 4],
            }
        };
        let leads = layout.iter().map(|signal| match signal.kind {
            SignalKind::Ecg(lead) => Some(tracks(lead, signal.rate)),
            SignalKind::Ppg(_) | SignalKind::Abp | SignalKind::Acceleration(_) => None,
        });
        Ok(Self {
            base: layout.base_rate(),
            leads: leads.collect(),
            preferred: preferred.to_vec(),
            judge: Judge::new(layout.base_rate()),
            waiting: VecDeque::with_capacity(16),
            blind: true,
            past: VecDeque::with_capacity(MEDIAN_BEATS + 1),
        })
    }

    /// Begins a new segment.
    pub(crate) fn reset(&mut self) {
        self.judge.reset();
        self.waiting.clear();
        self.blind = true;
        self.past.clear();
    }

    /// The first sample of the new segment of a signal: its index at its own rate and at the window rate.
    pub(crate) fn reset_signal(&mut self, signal: usize, own: SampleIndex, window: SampleIndex) {
        let Some(tracks) = &mut self.leads[signal] else {
            return;
        };
        tracks.raw.reset(own);
        tracks.verdicts = [(u64::MAX, true); 4];
        let first = match &mut tracks.source {
            Source::Window(every) => SampleIndex(window.0.div_ceil(*every)),
            Source::Own(resampler) => {
                resampler.reset(own);
                resampler.next_index()
            }
        };
        tracks.slow.reset(first);
    }

    /// Takes in samples of a signal as they came, at most a second of them.
    pub(crate) fn push(&mut self, signal: usize, samples: &[f32], off: bool) {
        let Some(tracks) = &mut self.leads[signal] else {
            return;
        };
        if off {
            tracks.raw.push_none(samples.len());
        } else {
            tracks.raw.push(samples);
        }
        if let Source::Own(resampler) = &mut tracks.source {
            let mut out = Vec::new();
            if off {
                resampler.push(&vec![0.0; samples.len()], &mut out);
            } else {
                resampler.push(samples, &mut out);
            }
            tracks.slow.push(&out);
        }
    }

    /// Takes in samples of a signal at the window rate, the first of them at `index`, before their baseline
    /// is taken off.
    pub(crate) fn push_window(&mut self, signal: usize, index: SampleIndex, samples: &[f32]) {
        let Some(tracks) = &mut self.leads[signal] else {
            return;
        };
        if let Source::Window(every) = tracks.source {
            let skip = index.0.next_multiple_of(every) - index.0;
            let (skip, step) = (to_usize(skip), to_usize(every));
            let picked = samples.iter().skip(skip).step_by(step);
            tracks.slow.extend(picked.copied());
        }
    }

    /// Notes how good a second of a signal was.
    pub(crate) fn judge(&mut self, signal: usize, quality: &Quality) {
        if let Some(tracks) = &mut self.leads[signal] {
            let second = second_of(quality.start.0, self.base);
            tracks.verdicts[to_usize(second % 4)] = (second, quality.usable());
        }
    }

    /// A beat, later than all before.
    pub(crate) fn beat(&mut self, at: SampleIndex) {
        let joined = !std::mem::take(&mut self.blind);
        if self.judge.beat(at) {
            self.waiting.push_back(joined);
        }
    }

    /// From here on nothing can be seen for a while.
    pub(crate) fn interrupt(&mut self) {
        self.blind = true;
    }

    /// The segment ends: nothing follows.
    pub(crate) fn finish(&mut self) {
        for tracks in self.leads.iter_mut().flatten() {
            if let Source::Own(resampler) = &mut tracks.source {
                let mut out = Vec::new();
                resampler.finish(&mut out);
                tracks.slow.push(&out);
            }
        }
    }

    /// Measures the beats before `until`, of which all is known.
    pub(crate) fn take(&mut self, until: SampleIndex, mut measured: impl FnMut(Measurement)) {
        while let Some(at) = self.judge.pending().filter(|at| *at < until)
            && let Some(joined) = self.waiting.pop_front()
        {
            self.measure(at, joined).into_iter().for_each(&mut measured);
        }
        // Beats to come may lie as far back.
        let seconds = until.0 as f64 / self.base.hz();
        for tracks in self.leads.iter_mut().flatten() {
            let raw = (seconds - BACK_SECONDS) * tracks.rate.hz();
            let slow = (seconds - delineate::BACK_SECONDS) * delineate::RATE_HZ;
            tracks.raw.forget(down(raw));
            tracks.slow.forget(down(slow));
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let tracks = |tracks: &Tracks| {
            let own = match &tracks.source {
                Source::Window(_) => 0,
                Source::Own(resampler) => size_of::<Resampler>() + resampler.heap_bytes(),
            };
            own + tracks.raw.heap_bytes() + tracks.slow.heap_bytes()
        };
        let levels = |past: &Past| past.values.levels.capacity() * size_of::<Levels>();
        self.leads.capacity() * size_of::<Option<Tracks>>()
            + self.leads.iter().flatten().map(tracks).sum::<usize>()
            + self.judge.heap_bytes()
            + self.waiting.capacity() * size_of::<bool>()
            + self.preferred.capacity() * size_of::<usize>()
            + self.past.capacity() * size_of::<Past>()
            + self.past.iter().map(levels).sum::<usize>()
    }

    /// The signal to find the waves of a beat of `second` on.
    fn choose(&self, second: u64) -> Option<usize> {
        let usable = |k: usize, second: u64| {
            let tracks = self.leads[k].as_ref();
            tracks.is_some_and(|tracks| tracks.usable(second))
        };
        let before = second.saturating_sub(1);
        let mut signals = self.preferred.iter().copied();
        let mut now = signals.clone().filter(|k| usable(*k, second));
        signals
            .find(|k| usable(*k, second) && usable(*k, before))
            .or_else(|| now.next())
    }

    fn measure(&mut self, at: SampleIndex, joined: bool) -> Option<Measurement> {
        let (before, next) = self.judge.neighbours();
        let second = second_of(at.0, self.base);
        let chosen = self.choose(second);
        let Some(tracks) = chosen.and_then(|k| self.leads[k].as_ref()) else {
            self.judge.skip();
            return None;
        };
        let lead = tracks.lead;
        let judged = self.judge.next(&tracks.slow)?;
        let before = before.filter(|_| joined);
        let near = self.base.count(NEXT_SECONDS);
        let next = next.filter(|next| next.since(at) <= near);
        let beat = self.beat_at(&judged, next);
        let leads = self.leads.iter().flatten();
        let read = leads.map(|tracks| (tracks.lead, beat.read(tracks, second)));
        let read: Vec<_> = read.collect();
        let areas = read
            .iter()
            .filter_map(|(lead, read)| Some((*lead, read.as_ref()?.area_mv)));
        let values = Values {
            intervals: self.intervals(&judged, before),
            axis_degrees: axis(areas),
            levels: read
                .iter()
                .map(|(lead, read)| levels(*lead, read.as_ref()))
                .collect(),
        };
        let pr_ms = judged.p_like.and_then(|p| self.pr(&p, &judged.complex.qrs));
        let complex = judged.complex;
        self.past.push_back(Past {
            at,
            values: values.clone(),
            pr_ms,
        });
        let reach = self.base.count(MEDIAN_SECONDS);
        let old = |past: &Past| at.since(past.at) >= reach;
        while self.past.len() > MEDIAN_BEATS || self.past.front().is_some_and(old) {
            self.past.pop_front();
        }
        Some(Measurement {
            r_peak: at,
            lead,
            p: complex.p,
            qrs: complex.qrs,
            t: complex.t,
            values,
            median: self.median(at, judged.astray),
            n_beats: self.past.len(),
        })
    }

    /// Where to read levels, seconds from the start of the record.
    fn beat_at(&self, judged: &Judged, next: Option<SampleIndex>) -> Beat {
        let hz = self.base.hz();
        let complex = &judged.complex;
        let r = complex.r_peak.0 as f64 / hz;
        let onset = complex.qrs.onset / hz;
        let next_onset = next.map(|next| next.0 as f64 / hz - (r - onset));
        let t_end = complex.t.map_or(onset, |t| t.offset / hz);
        let line = |next: &f64| *next - onset >= LINE_SECONDS && *next - 0.02 > t_end;
        Beat {
            onset,
            j: complex.qrs.offset / hz,
            p: complex.p.map(|p| p.peak / hz),
            t: complex.t.map(|t| t.peak / hz),
            next: next_onset,
            line_to: next_onset.filter(line),
        }
    }

    /// Milliseconds between two positions at the base rate.
    fn ms(&self, from: f64, to: f64) -> f64 {
        1e3 * (to - from) / self.base.hz()
    }

    fn pr(&self, p: &Wave, qrs: &Wave) -> Option<f32> {
        within(self.ms(p.onset, qrs.onset), limits::PR_MS)
    }

    fn intervals(&self, judged: &Judged, before: Option<SampleIndex>) -> Intervals {
        let complex = &judged.complex;
        let rr = before.map(|before| self.ms(before.0 as f64, complex.r_peak.0 as f64));
        let qrs = self.ms(complex.qrs.onset, complex.qrs.offset);
        let qt = complex.t.map(|t| self.ms(complex.qrs.onset, t.offset));
        Intervals {
            rr_ms: rr.and_then(|rr| within(rr, limits::RR_MS)),
            pr_ms: complex.p.and_then(|p| self.pr(&p, &complex.qrs)),
            qrs_ms: within(qrs, limits::QRS_MS),
            qt_ms: qt.and_then(|qt| within(qt, limits::QT_MS)),
            ..Intervals::default()
        }
        .corrected()
    }

    /// The medians of the last beats, as of the one at `now`. Without an atrial rhythm there is no PR
    /// interval; with one, it is that of all that looked like P waves.
    fn median(&self, now: SampleIndex, astray: bool) -> Values {
        let over =
            |value: &dyn Fn(&Past) -> Option<f32>| median(self.past.iter().filter_map(value));
        let span = |past: &Past, rr_ms: f32| {
            self.base.seconds(now.since(past.at)) + f64::from(rr_ms) / 1e3
        };
        // An interval from before the reach of the medians is as old as its older beat.
        let rr = |past: &Past| {
            let rr = past.values.intervals.rr_ms;
            rr.filter(|rr| span(past, *rr) < MEDIAN_SECONDS)
        };
        let level = |k: usize, of: fn(&Levels) -> Option<f32>| {
            over(&|past| past.values.levels.get(k).and_then(of))
        };
        let leads = self.leads.iter().flatten().map(|tracks| tracks.lead);
        let levels = leads.enumerate().map(|(k, lead)| Levels {
            lead,
            p_mv: level(k, |levels| levels.p_mv).filter(|_| !astray),
            q_mv: level(k, |levels| levels.q_mv),
            r_mv: level(k, |levels| levels.r_mv),
            s_mv: level(k, |levels| levels.s_mv),
            t_mv: level(k, |levels| levels.t_mv),
            st_j60_mv: level(k, |levels| levels.st_j60_mv),
            st_j80_mv: level(k, |levels| levels.st_j80_mv),
        });
        let intervals = Intervals {
            rr_ms: over(&rr),
            pr_ms: over(&|past| past.pr_ms).filter(|_| !astray),
            qrs_ms: over(&|past| past.values.intervals.qrs_ms),
            qt_ms: over(&|past| past.values.intervals.qt_ms),
            ..Intervals::default()
        };
        let axes = self.past.iter().filter_map(|past| past.values.axis_degrees);
        Values {
            intervals: intervals.corrected(),
            axis_degrees: median_angle(axes),
            levels: levels.collect(),
        }
    }
}

/// Adds the rate-corrected QT intervals.
trait Corrected {
    fn corrected(self) -> Self;
}

impl Corrected for Intervals {
    fn corrected(self) -> Self {
        let qtc = |power: f64| {
            let (qt, rr) = (f64::from(self.qt_ms?), f64::from(self.rr_ms?) / 1e3);
            within(qt / rr.powf(power), limits::QTC_MS)
        };
        Self {
            qtc_bazett_ms: qtc(0.5),
            qtc_fridericia_ms: qtc(1.0 / 3.0),
            ..self
        }
    }
}

impl Tracks {
    /// Whether the lead may be read in `second`; a second cut off by a start or a gap is not judged.
    fn usable(&self, second: u64) -> bool {
        let (judged, usable) = self.verdicts[to_usize(second % 4)];
        judged != second || usable
    }

    /// The mean around an instant; `None` where samples are missing.
    fn mean(&self, seconds: f64) -> Option<f64> {
        let samples = self.between(seconds - HALF_SECONDS, seconds + HALF_SECONDS)?;
        Some(samples.iter().map(|v| f64::from(*v)).sum::<f64>() / samples.len() as f64)
    }

    /// The samples between two instants; `None` where one is missing or there are none.
    fn between(&self, from: f64, to: f64) -> Option<&[f32]> {
        let hz = self.rate.hz();
        let (from, to) = (down((from * hz).ceil()), down(to * hz) + 1);
        let samples = self.raw.span(from, to);
        let whole = !samples.is_empty() && usize::try_from(to - from) == Ok(samples.len());
        (whole && samples.iter().all(|v| v.is_finite())).then_some(samples)
    }
}

/// Where to read a beat, seconds from the start of the record.
#[derive(Debug, Clone, Copy)]
struct Beat {
    onset: f64,
    j: f64,
    p: Option<f64>,
    t: Option<f64>,
    /// The onset of the next QRS, if it is near.
    next: Option<f64>,
    /// The same, if the isoelectric line is drawn to it.
    line_to: Option<f64>,
}

/// A beat as read on one lead, mV.
#[derive(Debug, Clone, Copy)]
struct Read {
    p: Option<f64>,
    q: Option<f64>,
    r: Option<f64>,
    s: Option<f64>,
    t: Option<f64>,
    st: [Option<f64>; 2],
    /// The mean of the QRS.
    area_mv: f64,
}

impl Beat {
    /// `None` where the lead is not usable or its QRS or PR segment not there.
    fn read(&self, tracks: &Tracks, second: u64) -> Option<Read> {
        if !tracks.usable(second) {
            return None;
        }
        let segment = |onset: f64| tracks.mean(onset - PR_SEGMENT_SECONDS);
        let level = segment(self.onset)?;
        let slope = self
            .line_to
            .and_then(|to| Some((segment(to)? - level) / (to - self.onset)));
        let slope = slope.unwrap_or(0.0);
        let line = |at: f64| level + slope * (at - self.onset);
        let read = |at: f64| Some(tracks.mean(at)? - line(at));
        let (q, r, s, area_mv) = qrs(tracks.between(self.onset, self.j)?, |part| {
            line(self.onset + part * (self.j - self.onset))
        });
        let free = |at: &f64| self.next.is_none_or(|next| at + HALF_SECONDS < next);
        let st = |after: f64| Some(self.j + after).filter(free).and_then(read);
        Some(Read {
            p: self.p.and_then(read),
            q,
            r,
            s,
            t: self.t.and_then(read),
            st: [st(0.06), st(0.08)],
            area_mv,
        })
    }
}

/// Q, R, S and the mean of the samples of a QRS against a `line` over the parts of its way.
fn qrs(samples: &[f32], line: impl Fn(f64) -> f64) -> (Option<f64>, Option<f64>, Option<f64>, f64) {
    let n = samples.len();
    let height = |k: usize| f64::from(samples[k]) - line(k as f64 / n as f64);
    let lowest = |from: usize, to: usize| {
        let low = (from..to).map(height).min_by(f64::total_cmp);
        low.filter(|low| *low < -DEFLECTION_MV)
    };
    let area = (0..n).map(height).sum::<f64>() / n as f64;
    let top = (0..n).max_by(|a, b| height(*a).total_cmp(&height(*b)));
    match top.filter(|top| height(*top) > DEFLECTION_MV) {
        Some(top) => (lowest(0, top), Some(height(top)), lowest(top, n), area),
        None => (None, None, lowest(0, n), area),
    }
}

fn levels(lead: Lead, read: Option<&Read>) -> Levels {
    let pick = |of: fn(&Read) -> Option<f64>, limits| {
        read.and_then(of).and_then(|value| within(value, limits))
    };
    Levels {
        lead,
        p_mv: pick(|read| read.p, limits::P_MV),
        q_mv: pick(|read| read.q, limits::QRS_MV),
        r_mv: pick(|read| read.r, limits::QRS_MV),
        s_mv: pick(|read| read.s, limits::QRS_MV),
        t_mv: pick(|read| read.t, limits::T_MV),
        st_j60_mv: pick(|read| read.st[0], limits::ST_MV),
        st_j80_mv: pick(|read| read.st[1], limits::ST_MV),
    }
}

/// Where the frontal vector points whose projections on limb leads are nearest to `projections`: exact
/// with two leads, as the laws of Einthoven and Goldberger derive the others from them (I and aVF among
/// them); `None` with fewer.
fn axis(projections: impl Iterator<Item = (Lead, f64)>) -> Option<f32> {
    let mut n = 0;
    // The normal equations of the projections on the directions `(x, y)`.
    let (mut xx, mut xy, mut yy, mut xv, mut yv) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (lead, value) in projections {
        // Goldberger's leads are shorter by this.
        let short = 3f64.sqrt() / 2.0;
        let (degrees, length) = match lead {
            Lead::I => (0.0, 1.0),
            Lead::II => (60.0, 1.0),
            Lead::III => (120.0, 1.0),
            Lead::AVR => (-150.0, short),
            Lead::AVL => (-30.0, short),
            Lead::AVF => (90.0, short),
            _ => continue,
        };
        let angle = f64::to_radians(degrees);
        let (x, y) = (length * angle.cos(), length * angle.sin());
        n += 1;
        xx += x * x;
        xy += x * y;
        yy += y * y;
        xv += x * value;
        yv += y * value;
    }
    if n < 2 {
        return None;
    }
    let determinant = xx * yy - xy * xy;
    let x = (yy * xv - xy * yv) / determinant;
    let y = (xx * yv - xy * xv) / determinant;
    #[expect(clippy::cast_possible_truncation, reason = "an angle is an f32")]
    (x.hypot(y) >= AXIS_MV).then(|| y.atan2(x).to_degrees() as f32)
}

/// A value, if it is no less and no more than the limits.
fn within(value: f64, (low, high): (f64, f64)) -> Option<f32> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a value to be read is an f32"
    )]
    (value >= low && value <= high).then_some(value as f32)
}

/// The middle one of the values of up to [`MEDIAN_BEATS`] beats, or the mean of the middle two.
fn median(values: impl Iterator<Item = f32>) -> Option<f32> {
    let (mut sorted, mut n) = ([0.0; MEDIAN_BEATS], 0);
    for (slot, value) in sorted.iter_mut().zip(values) {
        *slot = value;
        n += 1;
    }
    let sorted = &mut sorted[..n];
    sorted.sort_unstable_by(f32::total_cmp);
    Some(f32::midpoint(
        *sorted.get(n.wrapping_sub(1) / 2)?,
        sorted[n / 2],
    ))
}

/// The median of angles, degrees, taken from the last one to either side.
fn median_angle(angles: impl Iterator<Item = f32> + Clone) -> Option<f32> {
    let wrap = |angle: f32| (angle + 180.0).rem_euclid(360.0) - 180.0;
    let last = angles.clone().last()?;
    let turn = median(angles.map(|angle| wrap(angle - last)))?;
    Some(wrap(last + turn))
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a small positive number"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

/// The index at or before a position.
#[expect(
    clippy::cast_possible_truncation,
    reason = "an index of 2^53 samples is out of reach"
)]
fn down(position: f64) -> i64 {
    position.floor() as i64
}
