//! `evaluate`: scores of the chain against reference annotations.

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use color_eyre::eyre::{WrapErr as _, eyre};
use dsp::Models;
use dsp::class::Model;
use dsp::qrs::Networks;
use infer::Manifest;

use super::{
    AlarmsArgs, BeatsArgs, ClassifyArgs, DelineateArgs, EpisodesArgs, Failure, PpgRhythmArgs,
    PulseArgs, QrsArgs, ReconstructArgs, RhythmArgs, SurrogateArgs, VentricularArgs, answer,
};
use crate::evaluate::alarms;
use crate::evaluate::beats as classes;
use crate::evaluate::classify as classification;
use crate::evaluate::delineate as delineation;
use crate::evaluate::episodes;
use crate::evaluate::noise::Noise;
use crate::evaluate::ppg_rhythm as segments;
use crate::evaluate::pulse as pulses;
use crate::evaluate::qrs as scores;
use crate::evaluate::reconstruct as reconstruction;
use crate::evaluate::rhythm as rhythms;
use crate::evaluate::surrogate as surrogates;
use crate::evaluate::ventricular as ventricles;

/// Scores beat detection on every record of a folder.
pub(super) fn qrs(args: &QrsArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let noise = args.noise.as_deref().zip(args.snr);
    let noise = noise.map(|(file, snr)| Noise::read(file, &args.dir, snr));
    let options = scores::Options {
        channel: args.channel,
        skip_seconds: args.skip,
        noise: noise
            .transpose()
            .map_err(|reason| Failure::usage(color_eyre::Report::msg(reason)))?,
        annotator: args.annotator.clone(),
        models: models(args.weights.as_deref(), None)?,
    };
    let report = scores::run(&args.dir, &config.dsp, &options).map_err(color_eyre::Report::from)?;
    print(&report, args.json.then(|| report.to_json()))
}

/// Scores the classes of beats on every record of a folder.
pub(super) fn beats(args: &BeatsArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let options = classes::Options {
        models: models(args.detector.as_deref(), args.model.as_deref())?,
        skip_seconds: args.skip,
        annotator: args.annotator.clone(),
    };
    let report =
        classes::run(&args.dir, &config.dsp, &options).map_err(color_eyre::Report::from)?;
    print(&report, args.json.then(|| report.to_json()))
}

/// Scores delineation on every lead of every record of a folder.
pub(super) fn delineate(args: &DelineateArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let weights = args.weights.as_deref();
    let weights = weights
        .map(|path| std::fs::read(path).wrap_err_with(|| path.display().to_string()))
        .transpose()?;
    let report = delineation::run(&args.dir, &config.dsp, weights.as_deref())
        .map_err(color_eyre::Report::from)?;
    print(&report, args.json.then(|| report.to_json()))
}

/// Scores alarms on every record of a folder.
pub(super) fn alarms(args: &AlarmsArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let options = ventricles::Options {
        weights: args.weights.clone(),
        ..ventricles::Options::default()
    };
    let report = alarms::run(
        &args.dir,
        &config.dsp,
        &config.alarm,
        &options,
        &args.without,
    )
    .map_err(color_eyre::Report::from)?;
    print(&report, args.json.then(|| report.to_json()))
}

/// Scores pulses on every record of a folder.
pub(super) fn pulse(args: &PulseArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let options = pulses::Options {
        weights: args.weights.clone(),
        lists: args.lists,
    };
    let report = pulses::run(&args.dir, &config.dsp, &options).map_err(color_eyre::Report::from)?;
    print(&report, args.json.then(|| report.to_json()))
}

/// Scores synthetic traces on every record of a folder.
pub(super) fn surrogate(args: &SurrogateArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let library = crate::pipeline::library(&config.infer).map_err(Failure::usage)?;
    let model = library.surrogate();
    let model = model.ok_or_else(|| Failure::usage(eyre!("no model draws synthetic traces")))?;
    let options = surrogates::Options {
        model: Arc::clone(model),
        weights: args.weights.clone(),
        detector: args.detector.clone(),
    };
    let report = with_bar(|progress| surrogates::run(&args.dir, &config.dsp, &options, progress))?;
    print(&report, args.json.then(|| report.to_json()))
}

/// Scores ventricular tachycardia and fibrillation on every record of a folder.
pub(super) fn ventricular(args: &VentricularArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let options = ventricles::Options {
        models: Models::default(),
        weights: args.weights.clone(),
        detector: args.detector.clone(),
    };
    let report =
        ventricles::run(&args.dir, &config.dsp, &options).map_err(color_eyre::Report::from)?;
    print(&report, args.json.then(|| report.to_json()))
}

/// Scores the alarms of the whole chain on every record of a folder, or on simulated patients.
pub(super) fn episodes(args: &EpisodesArgs) -> Result<(), Failure> {
    let mut config = args.config.load()?;
    if let Some(models) = &args.models {
        config.infer.models.clone_from(models);
    }
    let reader = crate::pipeline::reader(&config).map_err(Failure::usage)?;
    let options = episodes::Options {
        dsp: config.dsp,
        alarm: config.alarm,
        reader: Arc::new(reader),
        diagnose: args.diagnose,
        weights: ventricles::Options {
            models: Models::default(),
            weights: args.weights.clone(),
            detector: args.detector.clone(),
        },
    };
    let days = args.simulate.map(|patients| episodes::Days {
        patients,
        hours: args.hours,
        seed: args.seed,
    });
    let report = with_bar(|progress| match (days, &args.dir) {
        (Some(days), _) => Ok(episodes::simulate(&days, &options, progress)),
        (None, Some(dir)) => episodes::run(dir, &options, progress),
        (None, None) => Ok(episodes::Report::default()),
    })?;
    print(&report, args.json.then(|| report.to_json()))
}

/// Scores twelve leads from fewer on every recording of a folder.
pub(super) fn reconstruct(args: &ReconstructArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let reconstructor = crate::pipeline::reconstructor(&config.infer).map_err(Failure::usage)?;
    let known = |manifest: &Manifest| {
        let form = manifest.reconstruction();
        form.is_some_and(|form| form.set_for(|lead| args.observed.contains(&lead)).is_some())
    };
    if !reconstructor.library().manifests().any(known) {
        let names: Vec<&str> = args.observed.iter().map(|lead| lead.name()).collect();
        let reason = eyre!("no model starts from {} alone", names.join(", "));
        return Err(Failure::usage(reason));
    }
    let options = reconstruction::Options {
        observed: args.observed.clone(),
        folds: args.folds.clone(),
        personal: args.personal,
        reconstructor,
    };
    let report =
        with_bar(|progress| reconstruction::run(&args.dir, &config.dsp, &options, progress))?;
    print(&report, args.json.then(|| report.to_json()))
}

/// Scores diagnostic superclasses on every labelled recording of a folder.
pub(super) fn classify(args: &ClassifyArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let options = classification::Options {
        observed: args.observed.clone(),
        folds: args.folds.clone(),
        reconstructor: crate::pipeline::reconstructor(&config.infer).map_err(Failure::usage)?,
    };
    let report =
        with_bar(|progress| classification::run(&args.dir, &config.dsp, &options, progress))?;
    print(&report, args.json.then(|| report.to_json()))
}

/// Scores rhythms on every record of a folder.
pub(super) fn rhythm(args: &RhythmArgs) -> Result<(), Failure> {
    let mut config = args.config.load()?;
    if let Some(models) = &args.models {
        config.infer.models.clone_from(models);
    }
    let reconstructor = crate::pipeline::reconstructor(&config.infer).map_err(Failure::usage)?;
    let model = reconstructor.library().rhythm();
    let model = model.ok_or_else(|| Failure::usage(eyre!("no model names rhythms")))?;
    let records = args.records.as_deref().map(|path| {
        let text = std::fs::read_to_string(path);
        let text = text.wrap_err_with(|| path.display().to_string())?;
        let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
        Ok::<_, color_eyre::Report>(names.map(str::to_owned).collect())
    });
    let options = rhythms::Options {
        model: Arc::clone(model),
        records: records.transpose().map_err(Failure::usage)?,
    };
    let report = with_bar(|progress| rhythms::run(&args.dir, &config.dsp, &options, progress))?;
    print(&report, args.json.then(|| report.to_json()))
}

/// Scores rhythms on the segments of a file.
pub(super) fn ppg_rhythm(args: &PpgRhythmArgs) -> Result<(), Failure> {
    let mut config = args.config.load()?;
    if let Some(models) = &args.models {
        config.infer.models.clone_from(models);
    }
    let rate = ecg::SampleRate::new(args.rate).map_err(Failure::usage)?;
    let reconstructor = crate::pipeline::reconstructor(&config.infer).map_err(Failure::usage)?;
    let model = reconstructor.library().pulse_rhythm();
    let model = model.ok_or_else(|| Failure::usage(eyre!("no model names rhythms of pulses")))?;
    let bar = super::progress("batches");
    let report = segments::run(&args.file, rate, model, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let report = report.map_err(color_eyre::Report::from)?;
    print(&report, args.json.then(|| report.to_json()))
}

/// Runs what tells how many records are done, of how many, under a bar.
fn with_bar<T>(
    run: impl FnOnce(&(dyn Fn(usize, usize) + Sync)) -> Result<T, crate::record::Error>,
) -> Result<T, Failure> {
    let bar = super::progress("records");
    let report = run(&|done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    Ok(report.map_err(color_eyre::Report::from)?)
}

/// The models that ship, or those in the files that are named.
fn models(detector: Option<&Path>, classes: Option<&Path>) -> Result<Models, Failure> {
    let read = |path: &Path| std::fs::read(path).wrap_err_with(|| path.display().to_string());
    let mut models = Models::default();
    if let Some(path) = detector {
        let networks = Networks::new(&read(path)?);
        models.qrs = Arc::new(networks.wrap_err_with(|| path.display().to_string())?);
    }
    if let Some(path) = classes {
        let model = Model::new(&read(path)?);
        models.classes = Arc::new(model.wrap_err_with(|| path.display().to_string())?);
    }
    Ok(models)
}

/// Prints a report: its `json` where that is asked for, its table otherwise.
fn print(report: &impl Display, json: Option<String>) -> Result<(), Failure> {
    match json {
        Some(json) => answer(format_args!("{json}\n")),
        None => answer(report),
    }
}
