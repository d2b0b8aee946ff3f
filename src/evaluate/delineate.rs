//! Delineation against reference annotations, lead by lead, in the layout of the LUDB database:
//! beside each record one annotation file per lead, its extension the lead's name (`1.ii`), with
//! `(` and `)` around `p`, `N` and `t`.
//!
//! Each lead is judged alone: R peaks come from the service's own detector on that lead, never from
//! the reference. Records of ten seconds are short against what detector and delineator learn
//! from, so each is **played twice on end, and what is said of the second time counts**.
//! Amplitudes mean nothing here (the gains of LUDB force every lead to 1 mV), so leads are scaled to that.
//!
//! A wave is found where its peak lies within 150 ms of one of the reference. Only what lies from the
//! first to the last annotated QRS counts, since what is beyond is often not annotated. Errors of the
//! ends are found minus reference. The usual figure is the standard deviation within a lead of a record,
//! averaged over all of them; the deviation over all waves pooled, which has the differences
//! between patients in it too, stands beside it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::Path;

use dsp::delineate::{Complex, Delineator, Wave};
use dsp::qrs::Qrs;
use ecg::{SampleIndex, SampleRate};
use serde::Serialize;

use super::report::Excluded;
use super::score_all;
use crate::record::annotation::{self, Annotation, Annotations};
use crate::record::{self, Record, Signal};

/// A wave is found within so much of the reference, seconds.
const TOLERANCE_SECONDS: f64 = 0.15;

/// The waves, in the order of all arrays here.
const WAVES: [&str; 3] = ["P", "QRS", "T"];

/// How every lead of a folder came out.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Records with a lead that was compared.
    pub records: usize,
    /// The leads compared: name, and what was found of P, QRS and T.
    pub leads: Vec<(String, [Tally; 3])>,
    /// What was left out, and why.
    pub excluded: Vec<Excluded>,
}

/// What was found of one kind of wave on one lead.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Waves found.
    pub tp: u64,
    /// Waves missed.
    pub fn_: u64,
    /// Waves found where there are none.
    pub fp: u64,
    /// Errors of the onsets, ms.
    pub onsets: Vec<f64>,
    /// Errors of the offsets, ms.
    pub offsets: Vec<f64>,
}

/// The statistics of one kind of wave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Statistics {
    /// Sensitivity, percent.
    pub se: Option<f64>,
    /// Positive predictivity, percent.
    pub ppv: Option<f64>,
    /// Mean error of the onsets, ms.
    pub onset_mean_ms: Option<f64>,
    /// Standard deviation of the onset errors of a lead of a record, averaged over those with two waves.
    pub onset_sd_ms: Option<f64>,
    /// Standard deviation of all onset errors.
    pub onset_sd_pooled_ms: Option<f64>,
    /// Mean error of the offsets, ms.
    pub offset_mean_ms: Option<f64>,
    /// As for onsets.
    pub offset_sd_ms: Option<f64>,
    /// As for onsets.
    pub offset_sd_pooled_ms: Option<f64>,
    /// Waves found.
    pub tp: u64,
    /// Waves missed.
    #[serde(rename = "fn")]
    pub fn_: u64,
    /// Waves found where there are none.
    pub fp: u64,
}

impl Statistics {
    /// Over the tallies of any leads.
    pub fn of<'a>(tallies: &(impl Iterator<Item = &'a Tally> + Clone)) -> Self {
        let sum = |count: fn(&Tally) -> u64| tallies.clone().map(count).sum::<u64>();
        let (tp, fn_, fp) = (sum(|t| t.tp), sum(|t| t.fn_), sum(|t| t.fp));
        let share = |of: u64| (of > 0).then(|| 100.0 * tp as f64 / of as f64);
        let errors = |errors: fn(&Tally) -> &Vec<f64>| {
            let pooled: Vec<f64> = tallies.clone().flat_map(errors).copied().collect();
            let within: Vec<f64> = tallies
                .clone()
                .filter_map(|t| deviation(errors(t)))
                .collect();
            (mean(&pooled), mean(&within), deviation(&pooled))
        };
        let onsets = errors(|tally| &tally.onsets);
        let offsets = errors(|tally| &tally.offsets);
        Self {
            se: share(tp + fn_),
            ppv: share(tp + fp),
            onset_mean_ms: onsets.0,
            onset_sd_ms: onsets.1,
            onset_sd_pooled_ms: onsets.2,
            offset_mean_ms: offsets.0,
            offset_sd_ms: offsets.1,
            offset_sd_pooled_ms: offsets.2,
            tp,
            fn_,
            fp,
        }
    }
}

/// The statistics of P, QRS and T.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Waves {
    /// Of the P waves.
    pub p: Statistics,
    /// Of the QRS complexes.
    pub qrs: Statistics,
    /// Of the T waves.
    pub t: Statistics,
}

impl Waves {
    fn of<'a>(leads: &(impl Iterator<Item = &'a [Tally; 3]> + Clone)) -> Self {
        let wave = |k: usize| Statistics::of(&leads.clone().map(move |lead| &lead[k]));
        Self {
            p: wave(0),
            qrs: wave(1),
            t: wave(2),
        }
    }
}

impl Report {
    /// Over all leads of all records.
    pub fn gross(&self) -> Waves {
        Waves::of(&self.leads.iter().map(|lead| &lead.1))
    }

    /// Lead by lead, over all records.
    pub fn per_lead(&self) -> BTreeMap<&str, Waves> {
        let names = self.leads.iter().map(|lead| lead.0.as_str());
        let of = |name: &str| {
            let leads = self.leads.iter().filter(|lead| lead.0 == name);
            Waves::of(&leads.map(|lead| &lead.1))
        };
        names.map(|name| (name, of(name))).collect()
    }

    /// The report as one line of JSON.
    #[expect(clippy::missing_panics_doc, reason = "it cannot panic")]
    pub fn to_json(&self) -> String {
        let json = Json {
            task: "delineate",
            records: self.records,
            leads: self.leads.len(),
            waves: self.gross(),
            per_lead: self.per_lead(),
            excluded: &self.excluded,
        };
        serde_json::to_string(&json).expect("a report has nothing but strings and numbers")
    }
}

/// A [`Report`] as it stands in JSON.
#[derive(Serialize)]
struct Json<'a> {
    task: &'static str,
    records: usize,
    leads: usize,
    #[serde(flatten)]
    waves: Waves,
    per_lead: BTreeMap<&'a str, Waves>,
    excluded: &'a [Excluded],
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} leads of {} records; errors in ms, SD within a lead (pooled)",
            self.leads.len(),
            self.records
        )?;
        writeln!(
            f,
            "{:<6}{:<5}{:>8}{:>8}{:>9}{:>16}{:>10}{:>16}",
            "lead", "wave", "Se", "+P", "onset", "SD", "offset", "SD"
        )?;
        let all = [("all", self.gross())];
        for (lead, waves) in all.into_iter().chain(self.per_lead()) {
            for (name, wave) in WAVES.iter().zip([waves.p, waves.qrs, waves.t]) {
                let figure = |value: Option<f64>, digits: usize| {
                    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
                };
                let sd = |within, pooled| format!("{} ({})", figure(within, 1), figure(pooled, 1));
                writeln!(
                    f,
                    "{lead:<6}{name:<5}{:>8}{:>8}{:>9}{:>16}{:>10}{:>16}",
                    figure(wave.se, 2),
                    figure(wave.ppv, 2),
                    figure(wave.onset_mean_ms, 1),
                    sd(wave.onset_sd_ms, wave.onset_sd_pooled_ms),
                    figure(wave.offset_mean_ms, 1),
                    sd(wave.offset_sd_ms, wave.offset_sd_pooled_ms),
                )?;
            }
        }
        for Excluded { record, reason } in &self.excluded {
            writeln!(f, "left out: {record}: {reason}")?;
        }
        Ok(())
    }
}

/// Scores every lead of `dir`, or of its folder `data`, that has a reference; what has none is listed
/// as left out. `weights` take the place of those of the delineator.
///
/// # Errors
/// A folder that cannot be read.
pub fn run(
    dir: &Path,
    config: &dsp::Config,
    weights: Option<&[u8]>,
) -> Result<Report, record::Error> {
    let mut records = record::records_in(dir)?;
    let data = dir.join("data");
    if records.is_empty() && data.is_dir() {
        records = record::records_in(&data)?;
    }
    let mut report = Report::default();
    for (record, score) in score_all(&records, |path| score(path, config, weights)) {
        match score {
            Ok(leads) => {
                report.records += 1;
                report.leads.extend(leads);
            }
            Err(reason) => report.excluded.push(Excluded { record, reason }),
        }
    }
    Ok(report)
}

/// The leads of one record that have a reference, or why there are none.
fn score(
    path: &Path,
    config: &dsp::Config,
    weights: Option<&[u8]>,
) -> Result<Vec<(String, [Tally; 3])>, String> {
    let record = Record::open(path).map_err(|error| error.to_string())?;
    let mut leads = Vec::new();
    for signal in &record.signals {
        let Some(lead) = signal.kind.and_then(ecg::SignalKind::lead) else {
            continue;
        };
        let reference = annotation::path(path, &signal.name.to_lowercase());
        if !reference.exists() {
            continue;
        }
        let reference = Annotations::read(&reference).map_err(|error| error.to_string())?;
        let Some(reference) = Reference::new(&reference.list) else {
            continue;
        };
        let found = delineate(signal, config, weights)?;
        leads.push((lead.to_string(), reference.compare(&found, signal.hz)));
    }
    if leads.is_empty() {
        return Err("no lead with annotations of its own".into());
    }
    Ok(leads)
}

/// The complexes of a lead that is played twice, as positions of the second time.
fn delineate(
    signal: &Signal,
    config: &dsp::Config,
    weights: Option<&[u8]>,
) -> Result<Vec<[Option<Wave>; 3]>, String> {
    let reason = |error: dsp::Error| error.to_string();
    let rate = SampleRate::new(signal.hz).map_err(|error| error.to_string())?;
    let kind = signal.kind.ok_or("no ECG lead")?;
    let samples = scaled(signal);
    let mut qrs = Qrs::new(kind, rate, config.mains).map_err(reason)?;
    let mut delineator = match weights {
        Some(weights) => Delineator::with_weights(kind, rate, weights),
        None => Delineator::new(kind, rate),
    }
    .map_err(reason)?;
    let (mut peaks, mut out) = (VecDeque::new(), Vec::new());
    for block in [&samples, &samples]
        .into_iter()
        .flat_map(|twice| twice.chunks(100))
    {
        qrs.push(block, false, &mut peaks);
        peaks.drain(..).for_each(|peak| delineator.beat(peak));
        delineator.push(block, false);
        delineator.take(&mut out);
    }
    qrs.finish(&mut peaks);
    peaks.drain(..).for_each(|peak| delineator.beat(peak));
    delineator.finish(&mut out);
    let second = SampleIndex(samples.len() as u64);
    let shift = samples.len() as f64;
    let own = |wave: Wave| Wave {
        onset: wave.onset - shift,
        peak: wave.peak - shift,
        offset: wave.offset - shift,
    };
    let found = out.into_iter().filter(|complex| complex.r_peak >= second);
    let found = found.map(|Complex { p, qrs, t, .. }| [p.map(own), Some(own(qrs)), t.map(own)]);
    Ok(found.collect())
}

/// The samples of a lead, 0 to 1 mV; one that is missing is like the one before.
fn scaled(signal: &Signal) -> Vec<f32> {
    let there = || (0..signal.samples.len()).filter_map(|k| signal.sample(k));
    let low = there().min().unwrap_or(0);
    let height = (f64::from(there().max().unwrap_or(0)) - f64::from(low)).max(1.0);
    let mut last = 0.0;
    let sample = |k: usize| {
        if let Some(adu) = signal.sample(k) {
            last = (f64::from(adu) - f64::from(low)) / height;
        }
        #[expect(clippy::cast_possible_truncation, reason = "samples are f32")]
        let sample = last as f32;
        sample
    };
    (0..signal.samples.len()).map(sample).collect()
}

/// A wave of the reference; an end is missing where the annotator left it out.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mark {
    onset: Option<f64>,
    peak: f64,
    offset: Option<f64>,
}

/// The annotated waves of one lead.
#[derive(Debug)]
struct Reference {
    waves: [Vec<Mark>; 3],
    /// What counts.
    from: f64,
    to: f64,
}

impl Reference {
    /// `None` without a QRS.
    fn new(annotations: &[Annotation]) -> Option<Self> {
        let symbol = |k: usize| annotations.get(k).and_then(|a| a.code.symbol());
        let at = |k: usize| annotations[k].at.0 as f64;
        let mut waves: [Vec<Mark>; 3] = Default::default();
        for (k, annotation) in annotations.iter().enumerate() {
            let kind = match annotation.code.symbol() {
                Some('p') => 0,
                Some('t') => 2,
                _ if annotation.code.is_qrs() => 1,
                _ => continue,
            };
            let before = k.checked_sub(1).filter(|k| symbol(*k) == Some('('));
            waves[kind].push(Mark {
                onset: before.map(at),
                peak: at(k),
                offset: (symbol(k + 1) == Some(')')).then(|| at(k + 1)),
            });
        }
        let (first, last) = (waves[1].first()?, waves[1].last()?);
        let from = first.onset.unwrap_or(first.peak);
        let to = last.offset.unwrap_or(last.peak);
        Some(Self { waves, from, to })
    }

    /// Compares with what was found, `[P, QRS, T]` of each beat, at `hz`.
    fn compare(&self, found: &[[Option<Wave>; 3]], hz: f64) -> [Tally; 3] {
        let tolerance = TOLERANCE_SECONDS * hz;
        let counts = |peak: f64| peak >= self.from && peak <= self.to;
        std::array::from_fn(|kind| {
            let mut tally = Tally::default();
            let mut left: Vec<Wave> = found.iter().filter_map(|waves| waves[kind]).collect();
            for mark in self.waves[kind].iter().filter(|mark| counts(mark.peak)) {
                let distance = |wave: &Wave| (wave.peak - mark.peak).abs();
                let nearest = left
                    .iter()
                    .enumerate()
                    .min_by(|a, b| distance(a.1).total_cmp(&distance(b.1)))
                    .filter(|(_, wave)| distance(wave) <= tolerance);
                let Some((k, wave)) = nearest else {
                    tally.fn_ += 1;
                    continue;
                };
                tally.tp += 1;
                let ms = |found: f64, mark: Option<f64>| mark.map(|m| 1e3 * (found - m) / hz);
                tally.onsets.extend(ms(wave.onset, mark.onset));
                tally.offsets.extend(ms(wave.offset, mark.offset));
                left.remove(k);
            }
            tally.fp = left.iter().filter(|wave| counts(wave.peak)).count() as u64;
            tally
        })
    }
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The standard deviation of a sample of two or more.
fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use crate::record::annotation::AnnotationCode;

    use super::*;

    fn reference(marks: &[(u64, char)]) -> Reference {
        let annotation = |(at, symbol): &(u64, char)| {
            let code = AnnotationCode::from_symbol(*symbol).unwrap();
            Annotation::new(SampleIndex(*at), code)
        };
        Reference::new(&marks.iter().map(annotation).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn counts_between_the_first_and_the_last_qrs() {
        let reference = reference(&[
            (90, '('),
            (100, 'N'),
            (110, ')'),
            (200, '('),
            (220, 't'),
            (240, ')'),
            (350, 'p'),
            (400, 'N'),
            (410, ')'),
            (500, 't'),
        ]);
        let wave = |onset, peak, offset| {
            Some(Wave {
                onset,
                peak,
                offset,
            })
        };
        let found = [
            // its P lies before what counts
            [
                wave(20.0, 30.0, 40.0),
                wave(92.0, 100.0, 109.0),
                wave(204.0, 230.0, 236.0),
            ],
            // a second T within reach of the first is one too many
            [None, wave(395.0, 401.0, 413.0), wave(235.0, 238.0, 241.0)],
        ];
        let [p, qrs, t] = reference.compare(&found, 500.0);
        assert_eq!((p.tp, p.fn_, p.fp), (0, 1, 0));
        assert_eq!((qrs.tp, qrs.fn_, qrs.fp), (2, 0, 0));
        assert_eq!((qrs.onsets, qrs.offsets), (vec![4.0], vec![-2.0, 6.0]));
        assert_eq!((t.tp, t.fn_, t.fp), (1, 0, 1));
        assert_eq!((t.onsets, t.offsets), (vec![8.0], vec![-8.0]));
    }

    #[test]
    fn deviations_are_averaged_and_pooled() {
        let tally = |onsets: [f64; 2]| Tally {
            tp: 3,
            fn_: 1,
            fp: 0,
            onsets: onsets.to_vec(),
            offsets: Vec::new(),
        };
        let tallies = [tally([0.0, 2.0]), tally([10.0, 14.0])];
        let statistics = Statistics::of(&tallies.iter());
        assert_eq!(statistics.se, Some(75.0));
        assert_eq!(statistics.ppv, Some(100.0));
        assert_eq!(statistics.onset_mean_ms, Some(6.5));
        let within = f64::midpoint(2.0_f64.sqrt(), 8.0_f64.sqrt());
        assert!((statistics.onset_sd_ms.unwrap() - within).abs() < 1e-12);
        let pooled = (131.0_f64 / 3.0).sqrt();
        assert!((statistics.onset_sd_pooled_ms.unwrap() - pooled).abs() < 1e-12);
        assert_eq!(statistics.offset_mean_ms, None);
    }
}
