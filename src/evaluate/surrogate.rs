//! A synthetic ECG, drawn from the PPG, against the true one beside it: each record of a folder with lead II and a PPG is
//! streamed through the chain of the service, and drawn by the model and by the template, the mean beat of the training laid at
//! the nominal time before each pulse.
//!
//! **The reference** is that of [`pulse`]: beats that the chain finds in good ECG, where the PPG is usable a
//! record's own transit time later. What is drawn goes through the chain as a lead II of its own, so that its beats are found as
//! those of the true one are; then it is shifted by the record's median distance from beat to drawn beat, as neither the delay
//! of the monitor nor the transit time of the patient is known.
//!
//! * Timing: how far a drawn beat is from the beat that it is paired with within 150 ms, and F1 within 150 and 50 ms.
//! * Morphology: from 250 ms before to 400 ms after the R peak of each pair, each around its own, Pearson's r and the root of
//!   the mean square in mV; and r of all that is in good and usable seconds, as it lies.
//!
//! **Every record weighs the same.** Intervals are the 2.5th to the 97.5th percentile of [`N_RESAMPLES`] resamples of records,
//! of the difference between model and template record by record. The model is better where the interval of a difference lies
//! on its side of zero.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dsp::{Chain, Models, Output};
use ecg::{
    Block, Layout, Lead, SampleCount, SampleIndex, SampleRate, SignalBlock, SignalKind, SignalSpec,
};
use infer::pulse_rhythm::Remembered;
use infer::surrogate::{Beats, SurrogateModel};
use infer::{PulseStretch, Synthetic, pearson};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::pulse::{
    self, Heard, LEAST_BEATS, TRANSIT_SECONDS, count, pairs, second_of, share_below, transit,
};
use super::report::Excluded;
use super::{name_of, on_all_cores, playable, weights};
use crate::record;

/// Resamples of records for an interval.
pub const N_RESAMPLES: usize = 2000;
/// How far a drawn beat may be from a beat.
const WIDE_SECONDS: f64 = 0.15;
const NARROW_SECONDS: f64 = 0.05;
/// How far the record's shift may be from what transit time and nominal arrival time say.
const MOST_SHIFT_SECONDS: f64 = 0.25;
/// What is compared of a beat, seconds before and after its R peak.
const BEAT_SECONDS: (f64, f64) = (0.25, 0.4);

/// What is scored how.
#[derive(Debug, Clone)]
pub struct Options {
    /// What draws.
    pub model: Arc<SurrogateModel>,
    /// ONNX files in its place: one, or a folder with `RECORD.bin` for each record.
    pub weights: Option<PathBuf>,
    /// Weights of the pulse detector in place of those that ship: a file, or such a folder.
    pub detector: Option<PathBuf>,
}

/// How good what was drawn of a record is, in the order of [`NAMES`].
type Figures = [f64; 7];

/// The figures, and whether more is better.
const NAMES: [(&str, bool); 7] = [
    ("median_ms", false),
    ("p95_ms", false),
    ("f1_150", true),
    ("f1_50", true),
    ("r", true),
    ("rmse_mv", false),
    ("r_throughout", true),
];
/// So many of them are about timing.
const N_TIMING: usize = 4;

/// How one record came out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Beats that were compared.
    pub beats: usize,
    /// Of the model.
    pub model: Figures,
    /// Of the template.
    pub template: Figures,
}

/// How every record of a folder came out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Report {
    /// By record.
    pub per_record: Vec<(String, Score)>,
    /// The records left out.
    pub excluded: Vec<Excluded>,
}

/// Scores every record of `dir`. `progress` is told how many are done, of how many.
///
/// # Errors
/// A folder that cannot be read.
pub fn run(
    dir: &Path,
    config: &dsp::Config,
    options: &Options,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Report, record::Error> {
    let records = record::records_in(dir)?;
    let scores = on_all_cores(&records, progress, |path| score(path, config, options));
    let mut report = Report::default();
    for (path, score) in records.iter().zip(scores) {
        let record = name_of(path);
        match score {
            Ok(score) => report.per_record.push((record, score)),
            Err(reason) => report.excluded.push(Excluded { record, reason }),
        }
    }
    Ok(report)
}

fn score(path: &Path, config: &dsp::Config, options: &Options) -> Result<Score, String> {
    if playable(path, |kind| kind.lead() == Some(Lead::II))?.is_empty() {
        return Err("no lead II".into());
    }
    if playable(path, |kind| matches!(kind, SignalKind::Ppg(_)))?.is_empty() {
        return Err("no PPG".into());
    }
    let own = match &options.weights {
        Some(folder) => {
            let model = options
                .model
                .with_weights(&weights(folder, &name_of(path))?);
            Some(model.map_err(|error| error.to_string())?)
        }
        None => None,
    };
    let model = own.as_ref().unwrap_or(&options.model);
    let mut tracks = Tracks::default();
    let detector = options.detector.as_deref();
    let heard = pulse::hear(path, config, detector, |layout, output| {
        tracks.take(layout, output);
    })?;
    let compared = Compared::new(&heard)?;
    let arrival = f64::from(model.form().arrival_seconds);
    let figures = |beats| -> Result<(usize, Figures), String> {
        let drawn = tracks.draw(model, beats, &heard.onsets)?;
        compared.figures(&tracks, (&drawn, arrival), config)
    };
    let (beats, of_model) = figures(Beats::Model)?;
    let (_, of_template) = figures(Beats::Template)?;
    Ok(Score {
        beats,
        model: of_model,
        template: of_template,
    })
}

/// The traces of lead II and a PPG of a record.
#[derive(Debug, Default)]
struct Tracks {
    base: Option<SampleRate>,
    parts: Vec<Part>,
}

/// What is without a gap.
#[derive(Debug)]
struct Part {
    signal: SignalKind,
    start: SampleIndex,
    end: SampleIndex,
    rate: SampleRate,
    ecg: Vec<f32>,
    ppg: Vec<f32>,
}

impl Tracks {
    fn take(&mut self, layout: &Layout, output: &Output) {
        let Output::Trace(trace) = output else { return };
        let place = |is: fn(SignalKind) -> bool| {
            let mut signals = layout.iter().enumerate();
            let found = signals.find(|(_, signal)| is(signal.kind));
            found.map(|(k, signal)| (k, signal.kind))
        };
        let two = place(|kind| kind.lead() == Some(Lead::II));
        let ppg = place(|kind| matches!(kind, SignalKind::Ppg(_)));
        let Some(((ecg, _), (ppg, signal))) = two.zip(ppg) else {
            return;
        };
        self.base = Some(layout.base_rate());
        if self.parts.last().is_none_or(|last| last.end != trace.start) {
            self.parts.push(Part {
                signal,
                start: trace.start,
                end: trace.start,
                rate: trace.rate,
                ecg: Vec::new(),
                ppg: Vec::new(),
            });
        }
        if let Some(part) = self.parts.last_mut() {
            let samples = |k: usize| trace.signals.get(k).map(Vec::as_slice);
            part.ecg.extend_from_slice(samples(ecg).unwrap_or_default());
            part.ppg.extend_from_slice(samples(ppg).unwrap_or_default());
            part.end = trace.end;
        }
    }

    /// What is drawn of each part, `None` where that is too short.
    fn draw(
        &self,
        model: &SurrogateModel,
        beats: Beats,
        onsets: &[f64],
    ) -> Result<Vec<Option<Synthetic>>, String> {
        let base = self.base.ok_or("no lead II")?;
        let at = |onset: &f64| SampleIndex(0).after(base.count(*onset));
        let draw = |part: &Part| {
            let stretch = PulseStretch {
                signal: part.signal,
                start: part.start,
                end: part.end,
                base,
                rate: part.rate,
                samples: part.ppg.clone(),
                pulses: onsets.iter().map(at).collect(),
                said: Remembered::default(),
            };
            match model.draw(&stretch, beats) {
                Ok(drawn) => Ok(Some(drawn)),
                Err(infer::Error::Window { .. }) => Ok(None),
                Err(error) => Err(error.to_string()),
            }
        };
        self.parts.iter().map(draw).collect()
    }
}

/// What a drawn ECG is compared with.
struct Compared<'a> {
    heard: &'a Heard,
    /// From a beat to its pulse, s.
    transit: f64,
    /// The beats that count.
    beats: Vec<f64>,
}

impl<'a> Compared<'a> {
    fn new(heard: &'a Heard) -> Result<Self, String> {
        let good = |t: &f64| heard.is_good(second_of(*t));
        let reference: Vec<f64> = heard.beats.iter().copied().filter(good).collect();
        let transit = transit(&reference, &heard.onsets, TRANSIT_SECONDS);
        let transit = transit.ok_or("no pulse after any beat")?;
        let usable = |t: &f64| heard.is_usable(second_of(t + transit));
        let beats: Vec<f64> = reference.into_iter().filter(usable).collect();
        let n = beats.len();
        if n < LEAST_BEATS {
            return Err(format!(
                "{n} beats of good ECG with a usable PPG, where {LEAST_BEATS} are needed"
            ));
        }
        Ok(Self {
            heard,
            transit,
            beats,
        })
    }

    /// Whether a time of the ECG counts.
    fn counts(&self, t: f64) -> bool {
        self.heard.is_good(second_of(t)) && self.heard.is_usable(second_of(t + self.transit))
    }

    /// How many beats were compared, and how that came out.
    fn figures(
        &self,
        tracks: &Tracks,
        (drawn, arrival): (&[Option<Synthetic>], f64),
        config: &dsp::Config,
    ) -> Result<(usize, Figures), String> {
        let base = tracks.base.ok_or("no lead II")?;
        let start = |part: &Part| base.seconds(part.start.since(SampleIndex(0)));
        let mut found = Vec::new();
        for (part, drawn) in tracks.parts.iter().zip(drawn) {
            let Some(drawn) = drawn else { continue };
            let beats = beats_of(drawn, config)?;
            found.extend(beats.into_iter().map(|t| t + start(part)));
        }
        let due = self.transit - arrival;
        let span = (due - MOST_SHIFT_SECONDS, due + MOST_SHIFT_SECONDS);
        let shift = transit(&self.beats, &found, span).ok_or("no beat was drawn")?;
        let found: Vec<f64> = found.into_iter().map(|t| t - shift).collect();
        let all = &self.heard.beats;
        let near = pairs(all, &found, WIDE_SECONDS);
        let near: Vec<(f64, f64)> = (near.into_iter())
            .map(|(k, j)| (all[k], found[j]))
            .filter(|(beat, _)| self.counts(*beat))
            .collect();
        let mut apart: Vec<f64> = near.iter().map(|(a, b)| 1000.0 * (a - b).abs()).collect();
        apart.sort_unstable_by(f64::total_cmp);
        let f1 = |tolerance: f64| {
            let counts = count(all, &found, tolerance, |t| self.counts(t));
            counts.f1().unwrap_or(0.0)
        };
        let (mut r, mut errors) = (Vec::new(), Vec::new());
        let (mut true_all, mut drawn_all) = (Vec::new(), Vec::new());
        for (part, drawn) in tracks.parts.iter().zip(drawn) {
            let Some(drawn) = drawn else { continue };
            let own = |beat: f64, found: f64| {
                let ecg = around(&part.ecg, part.rate, beat - start(part))?;
                let drawn = around(
                    drawn.millivolts(),
                    drawn.rate(),
                    found + shift - start(part),
                )?;
                Some((ecg, drawn))
            };
            for (beat, found) in &near {
                let Some((ecg, drawn)) = own(*beat, *found) else {
                    continue;
                };
                r.push(pearson(&ecg, &drawn).unwrap_or(0.0));
                errors.push(rmse(&ecg, &drawn));
            }
            for (k, sample) in part.ecg.iter().enumerate() {
                let own = k as f64 / part.rate.hz();
                let t = start(part) + own;
                if t >= 0.0 && self.counts(t) {
                    let drawn = sample_at(drawn.millivolts(), drawn.rate(), own + shift);
                    true_all.push(*sample);
                    drawn_all.push(drawn.unwrap_or(0.0));
                }
            }
        }
        if apart.is_empty() || r.is_empty() {
            return Err("no drawn beat is near a true one".into());
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let share = |share| share_below(&apart, share).unwrap_or(0.0);
        let figures = [
            share(0.5),
            share(0.95),
            f1(WIDE_SECONDS),
            f1(NARROW_SECONDS),
            mean(&r),
            mean(&errors),
            pearson(&true_all, &drawn_all).unwrap_or(0.0),
        ];
        Ok((self.beats.len(), figures))
    }
}

/// The beats that the chain finds in what was drawn, s. **The only place where a drawn trace meets a chain**, one of its own.
fn beats_of(drawn: &Synthetic, config: &dsp::Config) -> Result<Vec<f64>, String> {
    let spec = SignalSpec {
        kind: SignalKind::Ecg(Lead::II),
        rate: drawn.rate(),
    };
    let layout = Layout::new(&[spec]).map_err(|error| error.to_string())?;
    let chain = Chain::with_models(&layout, config, &Models::default());
    let mut chain = chain.map_err(|error| error.to_string())?;
    let mut outputs = Vec::new();
    let second = usize::try_from(drawn.rate().count(1.0).0).unwrap_or(1);
    let mut start = SampleIndex(0);
    for samples in drawn.millivolts().chunks(second.max(1)) {
        let signal = SignalBlock {
            samples: samples.to_vec(),
            lead_off: false,
        };
        let block = Block {
            start,
            signals: vec![signal],
        };
        start = start.after(SampleCount(samples.len() as u64));
        chain.push(&block, &mut outputs);
    }
    chain.finish(&mut outputs);
    let beat = |output: &Output| match output {
        Output::Beat(beat) => Some(drawn.rate().seconds(beat.r_peak.since(SampleIndex(0)))),
        _ => None,
    };
    Ok(outputs.iter().filter_map(beat).collect())
}

/// The sample at a time, s.
fn sample_at(samples: &[f32], rate: SampleRate, t: f64) -> Option<f32> {
    let place = (t * rate.hz()).round();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative; what is too large saturates"
    )]
    let place = (place >= 0.0).then_some(place as usize);
    samples.get(place?).copied()
}

/// What is compared of the beat at a time, s; `None` where some of it is missing.
fn around(samples: &[f32], rate: SampleRate, t: f64) -> Option<Vec<f32>> {
    let (before, after) = BEAT_SECONDS;
    let n = rate.count(before + after).0;
    let step = |k: u64| t - before + k as f64 / rate.hz();
    (0..n).map(|k| sample_at(samples, rate, step(k))).collect()
}

fn rmse(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
    (squares.sum::<f64>() / a.len().max(1) as f64).sqrt()
}

/// A figure over all records.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Summary {
    model: Spread,
    template: Spread,
    /// Model less template.
    difference: Spread,
}

/// Mean and median over records, and the interval of the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    mean: f64,
    median: f64,
    interval: (f64, f64),
}

impl Spread {
    fn of(values: &[f64], resamples: &[Vec<usize>]) -> Self {
        let mean = |values: &mut dyn Iterator<Item = f64>, n: usize| values.sum::<f64>() / n as f64;
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let mut means: Vec<f64> = (resamples.iter())
            .map(|chosen| mean(&mut chosen.iter().map(|k| values[*k]), chosen.len()))
            .collect();
        means.sort_unstable_by(f64::total_cmp);
        let share = |sorted: &[f64], share| share_below(sorted, share).unwrap_or(f64::NAN);
        Self {
            mean: mean(&mut values.iter().copied(), values.len()),
            median: share(&sorted, 0.5),
            interval: (share(&means, 0.025), share(&means, 0.975)),
        }
    }
}

impl Report {
    /// Each figure over all records, in the order of [`NAMES`].
    fn summaries(&self) -> Vec<Summary> {
        let n = self.per_record.len();
        if n == 0 {
            return Vec::new();
        }
        let mut rng = StdRng::seed_from_u64(2015);
        let resamples: Vec<Vec<usize>> = (0..N_RESAMPLES)
            .map(|_| (0..n).map(|_| rng.random_range(0..n)).collect())
            .collect();
        (0..NAMES.len())
            .map(|k| {
                let of = |figure: &dyn Fn(&Score) -> f64| {
                    let values: Vec<f64> = self.per_record.iter().map(|(_, s)| figure(s)).collect();
                    Spread::of(&values, &resamples)
                };
                Summary {
                    model: of(&|score| score.model[k]),
                    template: of(&|score| score.template[k]),
                    difference: of(&|score| score.model[k] - score.template[k]),
                }
            })
            .collect()
    }

    /// The report as one line of JSON: `{"task", "records", "model", "template", "difference", "medians", "intervals",
    /// "per_record", "excluded"}`, F1 in percent. `model`, `template` and `difference` are means over records.
    pub fn to_json(&self) -> String {
        let summaries = self.summaries();
        let tree = |value: &dyn Fn(&Summary) -> Value| {
            let part = |from: usize, to: usize| {
                let named = NAMES.iter().zip(&summaries).take(to).skip(from);
                let named = named.map(|((name, _), summary)| ((*name).to_owned(), value(summary)));
                Value::Object(named.collect())
            };
            json!({"timing": part(0, N_TIMING), "morphology": part(N_TIMING, NAMES.len())})
        };
        let interval = |spread: Spread| json!([spread.interval.0, spread.interval.1]);
        let per_record = self.per_record.iter().map(|(record, score)| {
            json!({"record": record, "beats": score.beats, "model": score.model, "template": score.template})
        });
        json!({
            "task": "surrogate",
            "records": self.per_record.len(),
            "model": tree(&|summary| json!(summary.model.mean)),
            "template": tree(&|summary| json!(summary.template.mean)),
            "difference": tree(&|summary| json!(summary.difference.mean)),
            "medians": {
                "model": tree(&|summary| json!(summary.model.median)),
                "template": tree(&|summary| json!(summary.template.median)),
            },
            "intervals": {
                "model": tree(&|summary| interval(summary.model)),
                "template": tree(&|summary| interval(summary.template)),
                "difference": tree(&|summary| interval(summary.difference)),
            },
            "figures": NAMES.map(|(name, _)| name),
            "per_record": per_record.collect::<Vec<Value>>(),
            "excluded": self.excluded,
        })
        .to_string()
    }
}

impl fmt::Display for Report {
    /// The table: means over records, the interval of the difference, and who is better.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<14} {:>9} {:>9} {:>9}  95 % of resamples",
            "", "model", "template", "apart"
        )?;
        for ((name, more), summary) in NAMES.iter().zip(self.summaries()) {
            let Summary {
                model,
                template,
                difference,
            } = summary;
            let (low, high) = difference.interval;
            let verdict = match (low > 0.0, high < 0.0) {
                (true, _) if *more => "model better",
                (_, true) if !*more => "model better",
                (false, false) => "no difference",
                _ => "template better",
            };
            let (model, template, apart) = (model.mean, template.mean, difference.mean);
            writeln!(
                f,
                "{name:<14} {model:>9.3} {template:>9.3} {apart:>+9.3}  {low:+.3} to {high:+.3}, {verdict}"
            )?;
        }
        let beats: usize = self.per_record.iter().map(|(_, score)| score.beats).sum();
        let (n, left) = (self.per_record.len(), self.excluded.len());
        writeln!(f, "{n} records, {left} left out; {beats} beats")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(model: &[f64], template: &[f64]) -> Report {
        let score = |(model, template): (&f64, &f64)| Score {
            beats: 30,
            model: [*model; 7],
            template: [*template; 7],
        };
        let scores = model.iter().zip(template).map(score);
        Report {
            per_record: scores.map(|score| (String::from("a"), score)).collect(),
            excluded: Vec::new(),
        }
    }

    #[test]
    fn who_is_better_depends_on_the_interval_and_the_figure() {
        let better = report(&[0.6, 0.7, 0.9], &[0.5, 0.6, 0.8]).to_string();
        let verdict = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(", ").next().unwrap().to_owned()
        };
        assert_eq!(verdict(&better, "f1_50"), "model better");
        assert_eq!(verdict(&better, "r "), "model better");
        assert_eq!(verdict(&better, "rmse_mv"), "template better");
        let same = report(&[0.4, 0.7, 0.7], &[0.5, 0.6, 0.7]).to_string();
        assert_eq!(verdict(&same, "median_ms"), "no difference");
        assert!(same.ends_with("3 records, 0 left out; 90 beats\n"));
    }

    #[test]
    fn the_json_has_model_and_template_side_by_side() {
        let text = report(&[0.6, 0.8], &[0.5, 0.6]).to_json();
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["task"], "surrogate");
        assert_eq!(json["records"], 2);
        let near = |value: &Value, expected: f64| {
            let value = value.as_f64().unwrap();
            assert!((value - expected).abs() < 1e-9, "{value}");
        };
        near(&json["model"]["timing"]["f1_50"], 0.7);
        near(&json["template"]["morphology"]["rmse_mv"], 0.55);
        near(&json["difference"]["morphology"]["r"], 0.15);
        let interval = &json["intervals"]["difference"]["timing"]["p95_ms"];
        near(&interval[0], 0.1);
        near(&interval[1], 0.2);
        let empty: Value = serde_json::from_str(&Report::default().to_json()).unwrap();
        assert_eq!(empty["records"], 0);
    }

    /// Of a simulated heart, which the model does not know.
    #[test]
    fn what_is_drawn_beats_with_the_heart() {
        use ecg::simulate::{Noise, Rhythm, Scenario, record};
        let rate = SampleRate::new(250.0).unwrap();
        let scenario = Scenario {
            rhythms: vec![(Rhythm::Sinus { bpm: 72.0 }, f64::INFINITY)],
            ppg_rate: Some(rate),
            noise: Noise::REST,
            ..Scenario::new(5, rate)
        };
        let segment = record(&scenario, 60.0).unwrap();
        let signals = [segment.lead(Lead::II).unwrap(), &segment.ppg];
        let kinds = [
            SignalKind::Ecg(Lead::II),
            SignalKind::Ppg(ecg::Wavelength::Green),
        ];
        let layout = Layout::new(&kinds.map(|kind| SignalSpec { kind, rate })).unwrap();
        let config = dsp::Config::default();
        let mut chain = Chain::new(&layout, &config).unwrap();
        let mut outputs = Vec::new();
        for second in 0..60 {
            let signal = |samples: &[f32]| SignalBlock {
                samples: samples[250 * second..250 * (second + 1)].to_vec(),
                lead_off: false,
            };
            let block = Block {
                start: SampleIndex(250 * second as u64),
                signals: signals.map(signal).into(),
            };
            chain.push(&block, &mut outputs);
        }
        chain.finish(&mut outputs);
        let (mut heard, mut tracks) = (Heard::default(), Tracks::default());
        for output in &outputs {
            heard.take(output, rate);
            tracks.take(&layout, output);
        }
        let library = infer::Library::shipped().unwrap();
        let model = library.surrogate().unwrap();
        let compared = Compared::new(&heard).unwrap();
        let arrival = f64::from(model.form().arrival_seconds);
        for beats in [Beats::Model, Beats::Template] {
            let drawn = tracks.draw(model, beats, &heard.onsets).unwrap();
            let figures = compared.figures(&tracks, (&drawn, arrival), &config);
            let (n, [median, p95, wide, narrow, r, rmse, throughout]) = figures.unwrap();
            assert!(n > 40, "{n}");
            assert!(median < 20.0 && p95 < 60.0, "{median} {p95}");
            assert!(wide > 95.0 && narrow > 90.0, "{wide} {narrow}");
            assert!(r > 0.3 && throughout > 0.2 && rmse < 1.0, "{r} {rmse}");
        }
    }

    #[test]
    fn what_is_compared_of_a_beat_is_cut_around_it() {
        let rate = SampleRate::new(100.0).unwrap();
        let samples: Vec<f32> = (0u8..200).map(f32::from).collect();
        let cut = around(&samples, rate, 1.0).unwrap();
        assert_eq!((cut.len(), cut[0], cut[25]), (65, 75.0, 100.0));
        assert_eq!(around(&samples, rate, 0.1), None);
        assert_eq!(around(&samples, rate, 1.9), None);
    }
}
