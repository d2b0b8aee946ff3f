//! The patients' own corrections of the model: from the database to the shards, and whether a recording looks
//! like the patient it is said to be of.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dsp::Output;
use ecg::{Lead, SampleRate, SignalKind, Strip, Window};
use infer::Calibration;
use store::{CalibrationRow, Store};
use tokio_util::sync::CancellationToken;

use crate::pipeline::Handle;
use crate::stage::analyse::Calibrations;
use crate::windows::analyse;

/// How often the database is asked for new calibrations.
const EVERY: Duration = Duration::from_secs(5);
/// Seconds of a beat that are compared, before and after its R peak.
const BEAT_SECONDS: (f64, f64) = (0.25, 0.45);
/// Beats whose average is less alike than this, as Pearson's r over the leads, are of two hearts.
pub const ALIKE_R: f64 = 0.5;

/// The correction in a row; `None` where it takes back those before, or cannot be read, which is logged.
pub fn read(row: &CalibrationRow) -> Option<Arc<Calibration>> {
    let (_, body) = row.fitted.as_ref()?;
    match serde_json::from_str(body) {
        Ok(calibration) => Some(Arc::new(calibration)),
        Err(error) => {
            let version = row.version;
            tracing::warn!(version, %error, "calibration cannot be read, the model is used as it is");
            None
        }
    }
}

/// What is in force of the newest versions.
pub fn in_force(rows: Vec<CalibrationRow>) -> Calibrations {
    let by_patient = |row: CalibrationRow| Some((row.patient.to_string(), read(&row)?));
    let all: HashMap<_, _> = rows.into_iter().filter_map(by_patient).collect();
    Arc::new(all)
}

/// Tells the shards of calibrations that come and go in the database, until `shutdown`.
pub async fn follow(
    store: Store,
    mut known: Calibrations,
    handle: Handle,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        match store.calibrations().await {
            Ok(rows) => {
                let now = in_force(rows);
                if now != known {
                    handle.set_calibrations(&now).await;
                    known = now;
                }
            }
            // What is known stays in force; the next time may do better.
            Err(error) => tracing::debug!(%error, "calibrations could not be read"),
        }
    }
}

/// How alike the beats of a recording and of a strip are on the `leads`: Pearson's r of their averages; `None` where
/// one has no beat or lacks a lead.
pub fn likeness(
    recording: &Window,
    strip: &Strip,
    leads: &[Lead],
    config: &dsp::Config,
) -> Option<f64> {
    let of_strip = |lead: Lead| {
        let measured = |signal: &&ecg::StripSignal| {
            signal.kind == SignalKind::Ecg(lead) && signal.origin == ecg::LeadOrigin::Measured
        };
        Some(strip.signals.iter().find(measured)?.samples.as_slice())
    };
    let a = mean_beat(|lead| recording.of(lead), leads, recording.rate, config)?;
    let b = mean_beat(of_strip, leads, strip.rate, config)?;
    if a.len() == b.len() {
        infer::pearson(&a, &b)
    } else {
        None
    }
}

/// The average beat of each lead, one after the other.
fn mean_beat<'a>(
    lead: impl Fn(Lead) -> Option<&'a [f32]>,
    leads: &[Lead],
    rate: SampleRate,
    config: &dsp::Config,
) -> Option<Vec<f32>> {
    let signals: Vec<(Lead, &[f32])> = leads
        .iter()
        .map(|name| Some((*name, lead(*name)?)))
        .collect::<Option<_>>()?;
    let outputs = analyse(&signals, rate, config)?;
    let n = |seconds| usize::try_from(rate.count(seconds).0).unwrap_or(0);
    let (before, after) = (n(BEAT_SECONDS.0), n(BEAT_SECONDS.1));
    let length = signals.first()?.1.len();
    let mut sum = vec![0.0; leads.len() * (before + after)];
    let mut n_beats = 0;
    for output in outputs {
        let Output::Beat(beat) = output else { continue };
        let peak = usize::try_from(beat.r_peak.0).unwrap_or(usize::MAX);
        if peak < before || peak.saturating_add(after) > length {
            continue;
        }
        n_beats += 1;
        for (sum, (_, samples)) in sum.chunks_exact_mut(before + after).zip(&signals) {
            for (sum, mv) in sum.iter_mut().zip(&samples[peak - before..peak + after]) {
                *sum += mv;
            }
        }
    }
    (n_beats > 0).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ecg::simulate::{self, Scenario};
    use ecg::{LeadOrigin, SampleIndex, StripSignal};

    const LEADS: [Lead; 2] = [Lead::II, Lead::V1];

    fn samples(seed: u64, lead: Lead) -> Vec<f32> {
        let scenario = Scenario::new(seed, SampleRate::new(250.0).unwrap());
        let segment = simulate::record(&scenario, 10.24).unwrap();
        segment.lead(lead).unwrap().to_vec()
    }

    fn strip(seed: u64, sign: f32) -> Strip {
        let signal = |lead| StripSignal {
            kind: SignalKind::Ecg(lead),
            origin: LeadOrigin::Measured,
            samples: samples(seed, lead).iter().map(|mv| sign * mv).collect(),
            band: Vec::new(),
        };
        Strip {
            start: SampleIndex(0),
            end: SampleIndex(2560),
            rate: SampleRate::new(250.0).unwrap(),
            signals: LEADS.map(signal).to_vec(),
            model: None,
            trust: None,
            withheld: None,
        }
    }

    #[test]
    fn the_same_heart_looks_alike_and_one_upside_down_does_not() {
        let recording = Window {
            start: SampleIndex(0),
            end: SampleIndex(2560),
            rate: SampleRate::new(250.0).unwrap(),
            leads: LEADS.to_vec(),
            samples: LEADS.map(|lead| samples(4, lead)).concat(),
            n_samples: 2560,
            unusable: Vec::new(),
        };
        let config = dsp::Config::default();
        let r = |strip: &Strip| likeness(&recording, strip, &LEADS, &config);
        assert!(r(&strip(4, 1.0)).unwrap() > 0.99);
        assert!(r(&strip(4, -1.0)).unwrap() < ALIKE_R);
        assert_eq!(
            likeness(&recording, &strip(4, 1.0), &[Lead::V6], &config),
            None
        );
        let mut derived = strip(4, 1.0);
        derived.signals[0].origin = LeadOrigin::Reconstructed;
        assert_eq!(r(&derived), None);
    }

    #[test]
    fn what_cannot_be_read_is_as_if_it_were_not_there() {
        let row = |fitted: Option<&str>| CalibrationRow {
            patient: "p".parse().unwrap(),
            version: 1,
            fitted: fitted.map(|body| ("ecg".to_owned(), body.to_owned())),
            by: "x".to_owned(),
            utc: ecg::Utc(0),
        };
        let good =
            r#"{"model":"a","observed":["II"],"missing":["I"],"weights":[[1.0]],"bands":[1.0]}"#;
        let in_force = |fitted| in_force(vec![row(fitted)]).len();
        assert_eq!(in_force(Some(good)), 1);
        assert_eq!(in_force(Some("{")), 0);
        assert_eq!(in_force(None), 0);
    }
}
