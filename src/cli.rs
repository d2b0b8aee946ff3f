//! The command line.

mod annotate;
mod calibrate;
mod demo;
mod evaluate;
mod load;
mod replay;
mod service;
mod windows;

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use color_eyre::eyre::WrapErr;
use ecg::SignalKind;
use indicatif::{ProgressBar, ProgressStyle};

use crate::evaluate::qrs::Channel;
use crate::load::Mix;

/// Exit codes, so that a supervisor can tell what to do.
pub mod exit {
    /// Settings or arguments that cannot be used: starting again will not help.
    pub const CONFIG: u8 = 2;
    /// It could not start or failed while running: starting again may help.
    pub const FAILED: u8 = 1;
}

/// Streaming wearable-ECG pipeline: from packet to alarm. Not a medical device.
#[derive(Debug, Parser)]
#[command(name = "einthoven", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything in one: broker, database file, simulated wearables, web page
    Demo(DemoArgs),
    /// The service
    Run(ConfigArgs),
    /// Play a WFDB or EDF+ record as a wearable would
    Replay(ReplayArgs),
    /// Play many simulated wearables, and prove that nothing acknowledged is without effect
    ///
    /// Each wearable has a connection of its own. What they send, losses, duplicates, reordering and reboots included,
    /// follows from the seed, so what must be in the database is known to the row. At the end it is read and compared:
    /// every obligation unmet and every effect without cause is listed, and the exit status is 0 only if there is none.
    /// Use a database and names of devices that nothing else writes to, and the settings of the service (--config).
    Load(Box<LoadArgs>),
    /// Analyse a record offline, exactly as the service would
    ///
    /// It writes, each named as the record:
    ///
    /// .ein            WFDB annotations: beats with classes, rhythms (+: VT, IVR, SVTA, B, AB, T; N where none of
    ///                 these is), alarms as notes
    /// .jsonl          alarm events
    /// .csv            waves, intervals and levels of each beat
    /// .ectopy.csv     couplets, runs, bigeminy and trigeminy
    /// .hrv.csv        heart rate variability of each five minutes, from normal beats alone
    /// .prv.csv        pulse rate variability of each five minutes, of records with PPG or arterial pressure
    /// .breath.csv     respiration rate and perfusion every four seconds, of the same records
    /// .summary.json   ectopic beats (percent, per hour, runs) and variability of the whole record
    #[command(verbatim_doc_comment)]
    Annotate(AnnotateArgs),
    /// Score against reference annotations
    #[command(subcommand)]
    Evaluate(EvaluateCommand),
    /// Cut the recordings of a folder into windows for training, as the service would
    ///
    /// FILE is a numpy array of records, to be read with numpy.load: record (name, bytes),
    /// patient (bytes, empty where unknown), fold (0 where there is none), start (sample of the record, at its own
    /// rate), first and last (the samples between which the window was recorded), samples [12, sample] (mV, in
    /// the order I, II, III, aVR, aVL, aVF, V1..V6; NaN for a lead that is not there) and usable [12, sample].
    #[command(verbatim_doc_comment)]
    Windows(WindowsArgs),
    /// Fit the twelve-lead model to a patient, by one recording of all twelve leads
    ///
    /// What a running service reconstructs for devices that the patient wears uses it within seconds. Each calibration
    /// is a version of its own; --revert takes it back. A recording with swapped electrodes, or one that does not
    /// look like the patient's strips in the database, is refused.
    Calibrate(CalibrateArgs),
    /// Bring the database up to date
    Migrate(ConfigArgs),
    /// Print the effective settings, secrets hidden
    CheckConfig(ConfigArgs),
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// Settings over the built-in defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Port of the web page; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Address of the web page
    #[arg(long, default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Where the database file lives
    #[arg(long, default_value = "einthoven-data", value_name = "DIR")]
    data: PathBuf,
    /// Seed of the simulated wearables
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The record: WFDB with or without .hea, or an .edf file
    record: PathBuf,
    /// Where to publish
    #[arg(long, default_value = "mqtt://127.0.0.1:1883", value_name = "URL")]
    broker: String,
    /// Name to publish as; the record's name without it
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Times real time
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Signals to send, by name, comma-separated; all ECG and PPG without it
    #[arg(long, value_delimiter = ',')]
    leads: Vec<String>,
    /// Boot id to send, so that a replay can be repeated; random without it
    #[arg(long)]
    boot: Option<u32>,
    /// Seconds of the record to play; all of it without it
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Shuffle packets within so many neighbours, as a bad link might
    #[arg(long, default_value_t = 1, value_name = "N")]
    shuffle: usize,
    /// Share of packets to send twice
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    duplicate: f64,
    /// Share of packets never to send
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    lose: f64,
    /// Seed of the above
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// Where to publish
    #[arg(long, default_value = "mqtt://127.0.0.1:1883", value_name = "URL")]
    broker: String,
    /// How many wearables
    #[arg(long, default_value_t = 10, value_name = "N")]
    devices: usize,
    /// Seconds of signal of each
    #[arg(long, default_value_t = 60, value_name = "S")]
    seconds: u32,
    /// Times real time
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    speed: f64,
    /// All that is random follows from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Names of devices begin so
    #[arg(long, default_value = "load", value_name = "NAME")]
    prefix: String,
    /// How many different signals there are; 0 for as many as devices, 64 at most
    #[arg(long, default_value_t = 0, value_name = "P")]
    scripts: usize,
    /// What signals show, NAME or NAME:SHARE, comma-separated: normal, af, ectopy, vt, vf, asystole, pause, brady, tachy,
    /// leads-off, noisy
    #[arg(long, default_value_t = Mix::default())]
    mix: Mix,
    /// The leads that are measured
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "II,V1,V5",
        value_name = "LEADS"
    )]
    leads: Vec<ecg::Lead>,
    /// Share of packets never to send
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    lose: f64,
    /// Share of packets to send twice
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    duplicate: f64,
    /// Shuffle packets within so many neighbours
    #[arg(long, default_value_t = 1, value_name = "N")]
    shuffle: u32,
    /// Let each packet wait for up to so many seconds of signal
    #[arg(long, default_value_t = 0.0, value_name = "S")]
    jitter: f64,
    /// How often a device starts anew, per hour of signal
    #[arg(long, default_value_t = 0.0, value_name = "N")]
    reboots: f64,
    /// How far clocks of devices run off, parts per million
    #[arg(long, default_value_t = 0.0, value_name = "PPM")]
    drift: f64,
    /// The database of the service; that of its settings without it
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// The service, such as `http://127.0.0.1:8080`: it is asked whether it is done, its live stream is listened to for
    /// latencies, and what it lists is held against what is stored
    #[arg(long, value_name = "URL")]
    api: Option<String>,
    /// How many devices are watched for latencies and windows, where the service can be asked
    #[arg(long, default_value_t = 10, value_name = "M")]
    watch: usize,
    /// How long the service may take to be done with everything after the last packet, seconds; it closes a record after
    /// pipeline.silence
    #[arg(long, default_value_t = 90.0, value_name = "S")]
    settle: f64,
    /// Only play
    #[arg(long)]
    no_oracle: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct AnnotateArgs {
    /// The record: WFDB with or without .hea, or an .edf file
    record: PathBuf,
    /// Where to write the files
    #[arg(long, default_value = ".", value_name = "DIR")]
    out: PathBuf,
    /// Signals to use, by name, comma-separated; all ECG and PPG without it
    #[arg(long, value_delimiter = ',')]
    leads: Vec<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct WindowsArgs {
    /// A folder of recordings: PTB-XL as published, or any tree of WFDB and EDF files
    dir: PathBuf,
    /// Where the windows go
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// From one window to the next, seconds; windows follow each other without it
    #[arg(long, value_name = "S")]
    hop: Option<f64>,
    /// adu per mV, in place of what the headers say, with 0 mV at 0 adu
    #[arg(long, value_name = "GAIN")]
    gain: Option<f64>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct CalibrateArgs {
    /// The recording: WFDB with or without .hea, or an .edf file, with all twelve leads
    #[arg(required_unless_present = "revert")]
    record: Option<PathBuf>,
    /// Whose it is: the pseudonym
    #[arg(long, value_name = "ID")]
    patient: String,
    /// The leads that the patient's device measures
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "II,V1,V5",
        value_name = "LEADS"
    )]
    observed: Vec<ecg::Lead>,
    /// Who calibrates, kept with it
    #[arg(long, default_value = "command line", value_name = "NAME")]
    by: String,
    /// Take back what is in force; the model is as it ships from then on
    #[arg(long, conflicts_with = "record")]
    revert: bool,
    /// Take the recording though it does not look like the patient's strips
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Subcommand)]
enum EvaluateCommand {
    /// Beat detection against .atr files, by the rules of EC57
    Qrs(QrsArgs),
    /// Classes of beats, runs and rhythms against .atr files, by the rules of EC57
    Beats(BeatsArgs),
    /// P, QRS and T against one annotation file per lead, as in LUDB
    Delineate(DelineateArgs),
    /// Alarms against those of Challenge 2015, true and false
    Alarms(AlarmsArgs),
    /// Ventricular tachycardia and fibrillation against .atr files, or alarms as of Challenge 2015
    Ventricular(VentricularArgs),
    /// Alarms of the whole chain against .atr files: found, false in 24 h, delay
    Episodes(EpisodesArgs),
    /// Twelve leads from fewer, against recordings of all twelve
    Reconstruct(ReconstructArgs),
    /// Diagnostic superclasses against PTB-XL's labels, on measured and on reconstructed leads
    Classify(ClassifyArgs),
    /// Sinus rhythm, atrial fibrillation or another, against labels of records or rhythm marks
    Rhythm(RhythmArgs),
    /// Pulses of a PPG against the beats of the ECG beside it
    Pulse(PulseArgs),
    /// A synthetic ECG drawn from a PPG against the true one beside it, and a template against both
    Surrogate(SurrogateArgs),
    /// Atrial fibrillation in segments of a pulse wave, against their labels
    PpgRhythm(PpgRhythmArgs),
}

#[derive(Debug, Args)]
struct QrsArgs {
    /// A folder of WFDB records with .atr files
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Which signal of each record to look for beats in, by position from 0, or "all" ECG leads
    #[arg(long, default_value = "0")]
    channel: Channel,
    /// Seconds at the start of each record that are not scored
    #[arg(long, default_value_t = 300.0, value_name = "S")]
    skip: f64,
    /// Add the noise of this WFDB record to the first signal, two minutes in four, and score those apart
    #[arg(long, value_name = "RECORD", requires = "snr")]
    noise: Option<PathBuf>,
    /// Signal-to-noise ratio of the noisy minutes, dB
    #[arg(
        long,
        value_name = "DB",
        requires = "noise",
        allow_negative_numbers = true
    )]
    snr: Option<f64>,
    /// Score NAME.EXT beside each record, the beats of another detector, in place of our own
    #[arg(long, value_name = "EXT")]
    annotator: Option<String>,
    /// Find beats by these weights instead of those that ship, such as those of a cross-validation
    #[arg(long, value_name = "FILE", conflicts_with = "annotator")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct BeatsArgs {
    /// A folder of WFDB records with .atr files
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Seconds at the start of each record that are not scored
    #[arg(long, default_value_t = 300.0, value_name = "S")]
    skip: f64,
    /// Classify by these weights instead of those that ship
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Find beats by these weights instead of those that ship
    #[arg(long, value_name = "FILE")]
    detector: Option<PathBuf>,
    /// Score NAME.EXT beside each record, classes and rhythms of its beats, in place of our own
    #[arg(long, value_name = "EXT", conflicts_with_all = ["model", "detector"])]
    annotator: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct DelineateArgs {
    /// A folder of WFDB records with an annotation file per lead (.i, .ii ... .v6), or the one above it
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Weights in place of the built-in ones, such as those of a cross-validation
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct AlarmsArgs {
    /// A folder of WFDB records that end with an alarm, with ALARMS.csv
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Weights of VT and VF in place of those that ship: a file, or a folder with RECORD.bin for each record
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    /// Signals to leave out, comma-separated: PPG, ABP
    #[arg(long, value_delimiter = ',', value_name = "SIGNALS")]
    without: Vec<SignalKind>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct PulseArgs {
    /// A folder of WFDB records with ECG and PPG (PLETH)
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Put what was compared into the JSON: where pulses are due, onsets, good and usable seconds
    #[arg(long, requires = "json")]
    lists: bool,
    /// Weights in place of those that ship: a file, or a folder with RECORD.bin for each record
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct SurrogateArgs {
    /// A folder of WFDB records with lead II and PPG (PLETH)
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// ONNX file in place of the one that ships, or a folder with RECORD.bin for each record
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    /// Find pulses by these weights instead of those that ship: a file or such a folder
    #[arg(long, value_name = "PATH")]
    detector: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct VentricularArgs {
    /// A folder of WFDB records with ALARMS.csv, or with .atr files
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Weights in place of those that ship: a file, or a folder with RECORD.bin for each record
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    /// Find beats by these weights instead of those that ship: a file or such a folder
    #[arg(long, value_name = "PATH")]
    detector: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct EpisodesArgs {
    /// A folder of WFDB records with .atr files
    #[arg(required_unless_present = "simulate")]
    dir: Option<PathBuf>,
    /// Simulated patients in place of records, with everything that can happen to them
    #[arg(long, value_name = "N", conflicts_with = "dir")]
    simulate: Option<usize>,
    /// Hours of each simulated patient
    #[arg(long, default_value_t = 24.0, requires = "simulate", value_name = "H")]
    hours: f64,
    /// Seed of the simulated patients
    #[arg(long, default_value_t = 1, requires = "simulate", value_name = "S")]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Weights of ventricular rhythms in place of those that ship: a file, or a folder with RECORD.bin for each record
    #[arg(long, value_name = "PATH")]
    weights: Option<PathBuf>,
    /// Find beats by these weights instead of those that ship: a file or such a folder
    #[arg(long, value_name = "PATH")]
    detector: Option<PathBuf>,
    /// Use the models of this folder, such as the rhythm model of a cross-validation
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Make and classify twelve leads of every window too, as the service does; takes many times as long
    #[arg(long)]
    diagnose: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct ReconstructArgs {
    /// A folder of twelve-lead recordings: PTB-XL as published, or any tree of WFDB and EDF files
    dir: PathBuf,
    /// The leads that are given
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "II,V1,V5",
        value_name = "LEADS"
    )]
    observed: Vec<ecg::Lead>,
    /// Only records in these folds, where the database has folds
    #[arg(long, value_delimiter = ',', value_name = "N")]
    folds: Vec<u8>,
    /// Calibrate on another recording of the same patient as well, where the database says whose they are
    #[arg(long)]
    personal: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct ClassifyArgs {
    /// PTB-XL as published, or its records scaled lead by lead (labels.csv beside a numpy array)
    dir: PathBuf,
    /// The leads that are given where the others are reconstructed
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "II,V1,V5",
        value_name = "LEADS"
    )]
    observed: Vec<ecg::Lead>,
    /// Only records in these folds; the models that ship were trained on folds 1 to 8
    #[arg(long, value_delimiter = ',', value_name = "N")]
    folds: Vec<u8>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct PpgRhythmArgs {
    /// An .npz file of x, [segment, sample], and y, [segment]: 0 sinus, 1 PVC, 2 PAC, 3 VT, 4 SVT, 5 AF
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The rate of the waves
    #[arg(long, value_name = "HZ", default_value_t = 100.0)]
    rate: f64,
    /// Use the model of this folder
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Debug, Args)]
struct RhythmArgs {
    /// A folder of records with REFERENCE.csv, as in the Challenge 2017, or of records with rhythm marks in .atr files
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Use the rhythm model of this folder, such as one of a cross-validation
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Only the records that this file names, one a line
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

/// What a command came to, other than success.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Settings or arguments.
    #[error(transparent)]
    Usage(color_eyre::Report),
    /// Anything else.
    #[error(transparent)]
    Failed(#[from] color_eyre::Report),
}

impl Failure {
    fn usage(error: impl Into<color_eyre::Report>) -> Self {
        Self::Usage(error.into())
    }
}

impl ConfigArgs {
    fn load(&self) -> Result<crate::config::Config, Failure> {
        crate::config::Config::load(self.config.as_deref(), std::env::vars(), &[])
            .map_err(Failure::usage)
    }
}

/// Runs the command of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Run(args) => service::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Annotate(args) => annotate::run(&args),
        Command::Evaluate(EvaluateCommand::Qrs(args)) => evaluate::qrs(&args),
        Command::Evaluate(EvaluateCommand::Beats(args)) => evaluate::beats(&args),
        Command::Evaluate(EvaluateCommand::Delineate(args)) => evaluate::delineate(&args),
        Command::Evaluate(EvaluateCommand::Alarms(args)) => evaluate::alarms(&args),
        Command::Evaluate(EvaluateCommand::Ventricular(args)) => evaluate::ventricular(&args),
        Command::Evaluate(EvaluateCommand::Episodes(args)) => evaluate::episodes(&args),
        Command::Evaluate(EvaluateCommand::Reconstruct(args)) => evaluate::reconstruct(&args),
        Command::Evaluate(EvaluateCommand::Classify(args)) => evaluate::classify(&args),
        Command::Evaluate(EvaluateCommand::Rhythm(args)) => evaluate::rhythm(&args),
        Command::Evaluate(EvaluateCommand::Pulse(args)) => evaluate::pulse(&args),
        Command::Evaluate(EvaluateCommand::Surrogate(args)) => evaluate::surrogate(&args),
        Command::Evaluate(EvaluateCommand::PpgRhythm(args)) => evaluate::ppg_rhythm(&args),
        Command::Windows(args) => windows::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Migrate(args) => service::migrate(&args),
        Command::CheckConfig(args) => service::check_config(&args),
    };
    let (code, error) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => (exit::CONFIG, error),
        Err(Failure::Failed(error)) => (exit::FAILED, error),
    };
    // The exit code says it too, where nobody reads this.
    drop(writeln!(std::io::stderr(), "einthoven: {error:#}"));
    ExitCode::from(code)
}

/// Prints what a command has to say to standard output. A reader who has seen enough (`| head`) is no failure.
fn answer(text: impl Display) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done.wrap_err("cannot write to standard output")?),
    }
}

/// A bar that counts up to a length that is set later; hidden where standard error is no terminal.
fn progress(what: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = format!("{{bar:40}} {{pos}} of {{len}} {what}, {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

/// Logs to standard error; `RUST_LOG` chooses what.
fn start_logging(default: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if std::env::var("EINTHOVEN_LOG").is_ok_and(|format| format == "json") {
        lines.json().init();
    } else {
        lines.init();
    }
}

/// Cancelled by the first Ctrl-C or SIGTERM; the second ends the process at once.
fn on_signal() -> std::io::Result<tokio_util::sync::CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let token = tokio_util::sync::CancellationToken::new();
    let cancelled = token.clone();
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::spawn(async move {
        for again in [false, true] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if again {
                std::process::exit(i32::from(exit::FAILED));
            }
            cancelled.cancel();
        }
    });
    Ok(token)
}

/// Runs a command's async part.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(color_eyre::Report::from)?
        .block_on(command)
}
