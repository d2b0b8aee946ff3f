//! `calibrate`: the model fitted to one patient.

use color_eyre::eyre::{WrapErr as _, eyre};
use infer::Calibration;
use store::{AlarmFilter, PatientId, Store};

use super::service::open;
use super::{CalibrateArgs, Failure, answer, block_on, start_logging};
use crate::calibration::{ALIKE_R, likeness};
use crate::record::Record;
use crate::wall;
use crate::windows::{Cut, Cutter};

/// So many of the patient's newest strips are compared.
const STRIPS: u32 = 5;

/// Fits, checks and stores a calibration, or takes back what is in force.
pub(super) fn run(args: &CalibrateArgs) -> Result<(), Failure> {
    let config = args.config.load()?;
    let patient: PatientId = args.patient.parse().map_err(Failure::usage)?;
    start_logging("warn");
    let fitted = args
        .record
        .as_ref()
        .map(|path| {
            let record = Record::open(path).map_err(Failure::usage)?;
            let name = record.name.clone();
            let refuse = |reason: String| Failure::usage(eyre!("{}: {reason}", path.display()));
            let cutter = Cutter::new(&config.dsp, None).map_err(refuse)?;
            let cuts = cutter.cut::<&str>(record, &[]).map_err(refuse)?;
            let reconstructor =
                crate::pipeline::reconstructor(&config.infer).map_err(Failure::usage)?;
            let parts: Vec<_> = cuts
                .iter()
                .map(|cut| (&cut.window, cut.real.clone()))
                .collect();
            let calibration = Calibration::fit(&reconstructor, &args.observed, &parts)
                .map_err(|error| refuse(error.to_string()))?;
            let body = serde_json::to_string(&calibration).map_err(color_eyre::Report::from)?;
            Ok::<_, Failure>((name, body, cuts))
        })
        .transpose()?;
    block_on(async {
        let store = open(&config.store).await?;
        if let Some((name, _, cuts)) = &fitted
            && !args.force
        {
            compare(&store, &patient, name, cuts, args, &config.dsp).await?;
        }
        let body = fitted
            .as_ref()
            .map(|(name, body, _)| (name.as_str(), body.as_str()));
        store
            .calibrate(&patient, body, &args.by, wall::utc())
            .await
            .map_err(Failure::usage)?;
        let row = store
            .calibration(&patient)
            .await
            .wrap_err("cannot read what was stored")?;
        let version = row.map_or(0, |row| row.version);
        match &fitted {
            Some((name, ..)) => answer(format_args!(
                "{patient}: calibrated on {name}, version {version}\n"
            )),
            None => answer(format_args!(
                "{patient}: no calibration from version {version} on\n"
            )),
        }
    })
}

/// Refuses a recording that looks like none of the patient's newest strips, where there are any.
async fn compare(
    store: &Store,
    patient: &PatientId,
    name: &str,
    cuts: &[Cut],
    args: &CalibrateArgs,
    config: &dsp::Config,
) -> Result<(), Failure> {
    let filter = AlarmFilter {
        patient: Some(patient.clone()),
        limit: STRIPS,
        ..AlarmFilter::default()
    };
    let alarms = store
        .alarms(&filter)
        .await
        .wrap_err("cannot read the patient's alarms")?;
    let mut best: Option<f64> = None;
    for row in alarms.iter().filter(|row| row.has_strip) {
        let strip = store
            .strip(row.alarm)
            .await
            .wrap_err("cannot read a strip of the patient")?;
        let Some(kept) = strip else { continue };
        for cut in cuts {
            let r = likeness(&cut.window, &kept.strip, &args.observed, config);
            best = r.into_iter().chain(best).reduce(f64::max);
        }
    }
    match best {
        Some(r) if r < ALIKE_R => Err(Failure::usage(eyre!(
            "{name} does not look like {patient}: r = {r:.2} between their beats, where {ALIKE_R} is needed; \
             --force takes it nevertheless"
        ))),
        _ => Ok(()),
    }
}
