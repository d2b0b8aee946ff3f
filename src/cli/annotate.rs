//! `annotate`: the offline twin. The same monitor as the service's, on a file.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use color_eyre::eyre::WrapErr;
use ecg::{
    AlarmEvent, Anchor, Beat, BootId, DeviceId, Gap, Layout, Measurement, RecordId, SampleIndex,
    Utc, Wave,
};

use super::{AnnotateArgs, Failure, answer};
use crate::holter::{self, Blind, Holter};
use crate::monitor::{Effects, Live, Monitor};
use crate::record::annotation::{self, Annotation, AnnotationCode, Annotations};
use crate::record::{Player, Record, with_suffix};
use crate::vitals::Pulses;
use crate::wall::rfc3339;
use crate::wearable::Played;

/// The extension of the annotations it writes.
const ANNOTATOR: &str = "ein";

/// What is found in a record.
struct Found {
    beats: Vec<Beat>,
    events: Vec<AlarmEvent>,
    measured: Vec<Measurement>,
    pulses: Pulses,
    /// Stretches without an electrode.
    blind: Vec<Gap>,
    /// Where the record ends.
    end: SampleIndex,
}

/// Analyses one record and writes what it finds.
pub(super) fn run(args: &AnnotateArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let record = Record::open(&args.record).map_err(Failure::usage)?;
    let (name, start) = (record.name.clone(), record.start.unwrap_or_default());
    let player = Player::new(record, &args.leads).map_err(Failure::usage)?;
    let layout = player.layout().clone();
    let played = Played::new(player, BootId(0), start).map_err(Failure::usage)?;
    let found = analyse(played, &layout, &name, start, &config).map_err(Failure::Failed)?;
    let out = &args.out;
    std::fs::create_dir_all(out)
        .wrap_err_with(|| format!("cannot create {}", out.display()))
        .map_err(Failure::Failed)?;
    let stem = out.join(Path::new(&name).file_name().unwrap_or(name.as_ref()));
    write(&stem, &layout, &found).map_err(Failure::Failed)?;
    write_measurements(&stem, &layout, &found.measured).map_err(Failure::Failed)?;
    write_report(&stem, &name, &layout, &found).map_err(Failure::Failed)?;
    answer(format_args!(
        "{name}: {} beats, {} alarm events\n",
        found.beats.len(),
        found.events.len()
    ))
}

/// A device name for a record: what a topic cannot carry becomes `_`.
pub(super) fn device_name(record: &str) -> String {
    let allowed = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    record
        .chars()
        .map(allowed)
        .take(DeviceId::MAX_LEN)
        .collect()
}

fn analyse(
    played: Played,
    layout: &Layout,
    name: &str,
    start: Utc,
    config: &crate::config::Config,
) -> color_eyre::Result<Found> {
    let device: DeviceId = device_name(name).parse()?;
    let machine = alarm::Machine::new(device.clone(), &config.alarm, config.alarm.limits);
    let mut monitor = Monitor::new(config.dsp.clone(), machine);
    let anchor = Anchor {
        index: SampleIndex(0),
        utc: start,
        hz: layout.base_rate().hz(),
    };
    let record = RecordId {
        device,
        boot: BootId(0),
    };
    let mut effects = Effects::default();
    let (mut measured, mut blind) = (Vec::new(), Blind::default());
    let mut pulses = Pulses::default();
    let mut end = SampleIndex(0);
    monitor.start(record, layout, anchor, SampleIndex(0), None, &mut effects)?;
    for packet in played {
        let block = packet?.to_block();
        end = block.end();
        monitor.block(&block, anchor, start, &mut effects);
        // Only what is written is kept of a record that may be days long.
        effects.windows.clear();
        effects.pulses.clear();
        effects.strips.clear();
        take_shown(&mut effects, &mut measured, &mut blind, &mut pulses);
        effects.batch.records.clear();
        effects.batch.trends.clear();
    }
    monitor.end(start, &mut effects);
    take_shown(&mut effects, &mut measured, &mut blind, &mut pulses);
    let beats = effects.batch.beats.into_iter();
    Ok(Found {
        beats: beats.map(|(_, beat, _)| beat).collect(),
        events: effects.batch.events,
        measured,
        pulses,
        blind: blind.finish(),
        end,
    })
}

/// Takes the measurements, the pulses and what is known of electrodes out of what is shown; the rest is passed over.
fn take_shown(
    effects: &mut Effects,
    measured: &mut Vec<Measurement>,
    blind: &mut Blind,
    pulses: &mut Pulses,
) {
    for live in effects.live.drain(..) {
        match live {
            Live::Complex(measurement, _) => measured.push(*measurement),
            Live::Quality(quality) => {
                blind.note(&quality);
                pulses.judge(&quality);
            }
            Live::Pulse(pulse) => pulses.push(pulse),
            Live::Vitals(vitals, _) => pulses.note(*vitals),
            _ => {}
        }
    }
}

/// Writes `NAME.csv`: each beat's waves in samples, intervals in ms and levels in mV; empty where there is none.
fn write_measurements(
    stem: &Path,
    layout: &Layout,
    measured: &[Measurement],
) -> color_eyre::Result<()> {
    let path = with_suffix(stem, "csv");
    let context = || format!("cannot write {}", path.display());
    let mut lines = BufWriter::new(File::create(&path).wrap_err_with(context)?);
    write!(
        lines,
        "r_peak,lead,p_onset,p_peak,p_offset,qrs_onset,j,t_onset,t_peak,t_offset,\
         rr_ms,pr_ms,qrs_ms,qt_ms,qtc_bazett_ms,qtc_fridericia_ms,axis_degrees"
    )
    .wrap_err_with(context)?;
    for lead in layout.iter().filter_map(|signal| signal.kind.lead()) {
        for column in ["p", "q", "r", "s", "t", "st_j60", "st_j80"] {
            write!(lines, ",{lead}_{column}_mv").wrap_err_with(context)?;
        }
    }
    writeln!(lines).wrap_err_with(context)?;
    for measurement in measured {
        writeln!(lines, "{}", row(measurement)).wrap_err_with(context)?;
    }
    lines.flush().wrap_err_with(context)
}

fn row(measurement: &Measurement) -> String {
    let ends = |wave: Option<Wave>| wave.map(|wave| [wave.onset, wave.peak, wave.offset]);
    let spread = |ends: Option<[f64; 3]>| ends.map_or([None; 3], |ends| ends.map(Some));
    let (p, t) = (spread(ends(measurement.p)), spread(ends(measurement.t)));
    let qrs = [measurement.qrs.onset, measurement.qrs.offset].map(Some);
    let values = &measurement.values;
    let intervals = &values.intervals;
    let durations = [
        intervals.rr_ms,
        intervals.pr_ms,
        intervals.qrs_ms,
        intervals.qt_ms,
        intervals.qtc_bazett_ms,
        intervals.qtc_fridericia_ms,
        values.axis_degrees,
    ];
    let levels = values.levels.iter().flat_map(|levels| {
        [
            levels.p_mv,
            levels.q_mv,
            levels.r_mv,
            levels.s_mv,
            levels.t_mv,
            levels.st_j60_mv,
            levels.st_j80_mv,
        ]
    });
    let text = |digits: usize| {
        move |value: Option<f64>| value.map_or_else(String::new, |v| format!("{v:.digits$}"))
    };
    let first = [measurement.r_peak.to_string(), measurement.lead.to_string()];
    let samples = p.into_iter().chain(qrs).chain(t).map(text(2));
    let durations = durations.map(|value| value.map(f64::from));
    let levels = levels.map(|value| value.map(f64::from));
    let cells = first.into_iter().chain(samples);
    let cells = cells.chain(durations.into_iter().map(text(1)));
    cells
        .chain(levels.map(text(4)))
        .collect::<Vec<_>>()
        .join(",")
}

/// Writes `NAME.ein` (beats, rhythms, and alarms as notes) and `NAME.jsonl` (alarm events).
fn write(stem: &Path, layout: &Layout, found: &Found) -> color_eyre::Result<()> {
    let rate = layout.base_rate();
    let beats = found
        .beats
        .iter()
        .map(|beat| Annotation::new(beat.r_peak, AnnotationCode::from(beat.class)));
    let notes = found.events.iter().map(|event| Annotation {
        aux: format!("{} {}", event.condition, event.state),
        ..Annotation::new(event.at, AnnotationCode::NOTE)
    });
    let rhythms = holter::rhythms(&found.beats, &found.blind, rate);
    let mut list: Vec<Annotation> = rhythms.into_iter().chain(beats).chain(notes).collect();
    list.sort_by_key(|annotation| annotation.at);
    let annotations = Annotations {
        list,
        resolution_hz: Some(rate.hz()),
    };
    annotations.write(&annotation::path(stem, ANNOTATOR))?;

    let path = with_suffix(stem, "jsonl");
    let context = || format!("cannot write {}", path.display());
    let mut lines = BufWriter::new(File::create(&path).wrap_err_with(context)?);
    for event in &found.events {
        writeln!(lines, "{}", line(event)).wrap_err_with(context)?;
    }
    lines.flush().wrap_err_with(context)
}

/// Writes `NAME.ectopy.csv` (couplets, runs, bigeminy, trigeminy), `NAME.hrv.csv` (heart rate variability in stretches
/// of five minutes), `NAME.prv.csv` and `NAME.breath.csv` (pulse rate variability of the same, and breath, where there is a pulse) and `NAME.summary.json` (ectopic
/// beats and variability of the whole record).
fn write_report(stem: &Path, name: &str, layout: &Layout, found: &Found) -> color_eyre::Result<()> {
    let rate = layout.base_rate();
    let report = Holter::of(&found.beats, &found.blind, rate);
    let blind = found.blind.iter();
    let blind_seconds = blind
        .map(|gap| rate.seconds(gap.end.since(gap.start)))
        .sum();
    let summary = report.summary(name, found.end, blind_seconds);
    let pulses = [
        ("prv.csv", found.pulses.stretches_csv(found.end, rate)),
        ("breath.csv", found.pulses.breath_csv(rate)),
    ];
    let pulses = pulses.into_iter();
    for (extension, text) in [
        ("ectopy.csv", report.episodes_csv()),
        ("hrv.csv", report.stretches_csv()),
        ("summary.json", format!("{summary:#}\n")),
    ]
    .into_iter()
    .chain(pulses.filter_map(|(name, text)| Some((name, text?))))
    {
        let path = with_suffix(stem, extension);
        std::fs::write(&path, text).wrap_err_with(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn line(event: &AlarmEvent) -> serde_json::Value {
    serde_json::json!({
        "alarm": event.alarm.to_string(),
        "condition": event.condition.name(),
        "kind": event.kind.name(),
        "priority": event.priority.name(),
        "state": event.state.name(),
        "onset_sample": event.onset.0,
        "sample": event.at.0,
        "utc": rfc3339(event.utc),
        "evidence": event.evidence,
    })
}
