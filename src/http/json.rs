//! The API's bodies. Domain types carry no serde; this is their boundary.

use std::ops::Range;

use ecg::{
    AlarmId, AlarmState, BootId, Condition, DeviceId, LeadOrigin, SampleIndex, SampleRate,
    SignalKind, Trend as Minute, Utc,
};
use serde::{Deserialize, Serialize};
use store::{AlarmRow, FindingRow};
use utoipa::ToSchema;

use super::patients::json::LimitsInForce;
use crate::delivery::Outgoing;
use crate::findings::to_json;
use crate::live::{
    DeviceStatus, Found, LatestSynthetic, LatestTwelve, ReadingOutcome, to_thousandths,
};
use crate::vitals::Vitals;
use crate::wall::{rfc3339, utc};

/// What went wrong.
#[derive(Serialize, ToSchema)]
pub(super) struct Failure {
    pub(super) error: FailureBody,
}

#[derive(Serialize, ToSchema)]
pub(super) struct FailureBody {
    /// To program against.
    pub(super) code: &'static str,
    /// To read.
    pub(super) message: String,
}

/// Whether packets are taken and what they say is kept.
#[derive(Serialize, ToSchema)]
pub(super) struct Ready {
    pub(super) ready: bool,
    pub(super) checks: Checks,
}

/// What the service needs.
#[derive(Serialize, ToSchema)]
pub(super) struct Checks {
    /// It can be written.
    pub(super) database: Check,
    /// No other process works on it.
    pub(super) lease: Check,
    /// They are loaded.
    pub(super) models: Check,
    /// Every connection stands and is subscribed.
    pub(super) broker: Check,
    /// They answer.
    pub(super) shards: Check,
}

/// How something stands that the service needs.
#[derive(Serialize, ToSchema)]
pub(super) struct Check {
    /// `ok`, `waiting` (not yet), `failing` or `stopping`.
    pub(super) state: &'static str,
    /// Why it is not ok.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

impl Check {
    pub(super) fn ok() -> Self {
        Self {
            state: "ok",
            reason: None,
        }
    }

    pub(super) fn not(state: &'static str, reason: impl Into<String>) -> Self {
        Self {
            state,
            reason: Some(reason.into()),
        }
    }
}

impl Checks {
    pub(super) fn all_ok(&self) -> bool {
        let all = [
            &self.database,
            &self.lease,
            &self.models,
            &self.broker,
            &self.shards,
        ];
        all.iter().all(|check| check.state == "ok")
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct Devices {
    pub(super) devices: Vec<Device>,
}

/// How a device is.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the API's word for its name")]
pub(super) struct Device {
    pub(super) device: String,
    /// The pseudonym of the patient who wears it.
    pub(super) patient: Option<String>,
    /// Whether data arrived lately.
    pub(super) online: bool,
    pub(super) last_seen: Option<String>,
    /// The boot id of the record being received, in hexadecimal.
    pub(super) record: Option<String>,
    pub(super) signals: Vec<SignalName>,
    /// Heart rate, beats per minute.
    pub(super) bpm: Option<f32>,
    /// `ecg` or `ppg`.
    pub(super) rate_source: Option<&'static str>,
    /// The last judged second of each signal.
    pub(super) quality: std::collections::BTreeMap<&'static str, SignalQuality>,
    /// How its pulse wave serves to tell a rhythm; null where there is none, or the ECG tells.
    pub(super) pulse_rhythm: Option<PulseRhythm>,
    /// What was measured of the newest beats; null where nothing was of late.
    pub(super) measurement: Option<Measurement>,
    /// What its pulse says beyond the rate; null without a PPG or arterial pressure, and where nothing came of late.
    pub(super) pulse: Option<Pulse>,
    /// Whether a synthetic trace of its pulse wave may be asked for.
    pub(super) synthetic: bool,
    /// What is found in its signals by now, the longest standing first.
    pub(super) findings: Vec<Standing>,
    pub(super) battery_percent: Option<u8>,
    pub(super) limits: LimitsInForce,
    /// Until when messages of medium and low priority are held back; null where they are not.
    pub(super) paused_until: Option<String>,
    /// Who asked for that.
    pub(super) paused_by: Option<String>,
}

impl Device {
    /// With the pause in force, if there is one.
    pub(super) fn paused(mut self, outgoing: &Outgoing) -> Self {
        let device: Option<DeviceId> = self.device.parse().ok();
        let pause = device.and_then(|device| outgoing.pause(&device, utc()));
        self.paused_until = pause.as_ref().map(|pause| rfc3339(pause.until));
        self.paused_by = pause.map(|pause| pause.by);
        self
    }
}

/// How the pulse wave of a record serves to tell a rhythm. What is not usable says nothing and alarms of nothing.
#[derive(Serialize, ToSchema)]
pub(super) struct PulseRhythm {
    /// The signal that was asked last.
    pub(super) signal: &'static str,
    /// How likely its last stretch is good enough, 0 to 1.
    pub(super) usable: f32,
    /// Stretches asked in this record.
    pub(super) asked: u64,
    /// Those that were not good enough.
    pub(super) unusable: u64,
}

/// What was measured of a beat and, as medians, of those before it, on measured leads only. What cannot be measured
/// is null.
#[derive(Serialize, ToSchema)]
pub(super) struct Measurement {
    /// Estimated instant of the newest beat's R peak.
    pub(super) at: String,
    /// Index of that sample.
    pub(super) r_peak_sample: u64,
    /// The lead that its waves were found on.
    pub(super) lead: &'static str,
    /// How many beats the medians are of; at most 8, of the last 8 s.
    pub(super) n_beats: usize,
    pub(super) rr_ms: Option<f64>,
    pub(super) pr_ms: Option<f64>,
    pub(super) qrs_ms: Option<f64>,
    pub(super) qt_ms: Option<f64>,
    pub(super) qtc_bazett_ms: Option<f64>,
    pub(super) qtc_fridericia_ms: Option<f64>,
    /// The frontal axis of the QRS, -180 to 180.
    pub(super) axis_degrees: Option<f64>,
    pub(super) leads: std::collections::BTreeMap<&'static str, Levels>,
}

/// Levels of one lead against its PR segment, millivolts.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the unit of each")]
pub(super) struct Levels {
    pub(super) p_mv: Option<f64>,
    pub(super) q_mv: Option<f64>,
    pub(super) r_mv: Option<f64>,
    pub(super) s_mv: Option<f64>,
    pub(super) t_mv: Option<f64>,
    /// 60 ms after the J point.
    pub(super) st_j60_mv: Option<f64>,
    /// 80 ms after the J point.
    pub(super) st_j80_mv: Option<f64>,
}

impl Measurement {
    fn new(measured: &ecg::Measurement, at: Utc) -> Self {
        let whole = |value: Option<f32>| value.map(|value| f64::from(value).round());
        let thousandths = |value: Option<f32>| value.map(|v| (f64::from(v) * 1e3).round() / 1e3);
        let intervals = &measured.median.intervals;
        let levels = |levels: &ecg::Levels| Levels {
            p_mv: thousandths(levels.p_mv),
            q_mv: thousandths(levels.q_mv),
            r_mv: thousandths(levels.r_mv),
            s_mv: thousandths(levels.s_mv),
            t_mv: thousandths(levels.t_mv),
            st_j60_mv: thousandths(levels.st_j60_mv),
            st_j80_mv: thousandths(levels.st_j80_mv),
        };
        let leads = measured.median.levels.iter();
        Self {
            at: rfc3339(at),
            r_peak_sample: measured.r_peak.0,
            lead: measured.lead.name(),
            n_beats: measured.n_beats,
            rr_ms: whole(intervals.rr_ms),
            pr_ms: whole(intervals.pr_ms),
            qrs_ms: whole(intervals.qrs_ms),
            qt_ms: whole(intervals.qt_ms),
            qtc_bazett_ms: whole(intervals.qtc_bazett_ms),
            qtc_fridericia_ms: whole(intervals.qtc_fridericia_ms),
            axis_degrees: whole(measured.median.axis_degrees),
            leads: leads.map(|lead| (lead.lead.name(), levels(lead))).collect(),
        }
    }
}

/// What the pulse of PPG or arterial pressure says beyond its rate. Not of the ECG: pulse intervals (PP) are not RR
/// intervals. After a restart of the service or a new record, all of it starts anew.
#[derive(Serialize, ToSchema)]
pub(super) struct Pulse {
    /// Estimated instant as of which this is known; every four seconds of signal.
    pub(super) at: String,
    /// The median amplitude of the last pulses against the level of the signal, percent; null where the sensor takes the
    /// level off, or nothing is known.
    pub(super) perfusion_percent: Option<f64>,
    /// From the R peak to the onset of its pulse, median of the last 32, ms: pre-ejection period, transit and the delay of the
    /// sensor; null without an ECG.
    pub(super) arrival_ms: Option<f64>,
    /// Of the half minute before; null until there was one.
    pub(super) respiration: Option<Respiration>,
    /// Of the five minutes before; null with fewer than 30 intervals, or if those that can be used fill less than 60 % of
    /// the time.
    pub(super) variability: Option<PulseVariability>,
}

/// Breath as it moves the pulse.
#[derive(Serialize, ToSchema)]
pub(super) struct Respiration {
    /// Breaths per minute, 4 to 60; null where level, amplitude and interval of the pulses do not agree on it.
    pub(super) per_minute: Option<f64>,
    /// 0 to 1.
    pub(super) quality: f64,
}

/// Pulse rate variability.
#[derive(Serialize, ToSchema)]
pub(super) struct PulseVariability {
    /// What it is of, seconds; 300 in the end.
    pub(super) seconds: f64,
    /// The share of them that the intervals fill which are used, percent.
    pub(super) used_percent: f64,
    pub(super) n_pulses: usize,
    /// The intervals that are used.
    pub(super) n_pp: usize,
    /// Premature pulses, left out with their pauses.
    pub(super) n_premature: usize,
    /// Intervals in which a pulse was missed.
    pub(super) n_missed: usize,
    /// Pulses that are none.
    pub(super) n_extra: usize,
    /// Other intervals that were left out.
    pub(super) n_odd: usize,
    pub(super) mean_pp_ms: f64,
    /// Standard deviation of the intervals.
    pub(super) sdpp_ms: f64,
    /// Root mean square of successive differences.
    pub(super) rmssd_ms: Option<f64>,
    /// Share of successive differences beyond 50 ms, percent.
    pub(super) ppp50_percent: Option<f64>,
}

impl Pulse {
    fn new(vitals: &Vitals, at: Utc) -> Self {
        Self {
            at: rfc3339(at),
            perfusion_percent: vitals
                .perfusion_percent
                .map(|p| tenths(100.0 * f64::from(p)) / 100.0),
            arrival_ms: vitals.arrival_ms.map(|ms| f64::from(ms).round()),
            respiration: vitals.respiration.map(|rate| Respiration {
                per_minute: rate.per_minute.map(|rate| tenths(rate.into())),
                quality: (f64::from(rate.quality) * 100.0).round() / 100.0,
            }),
            variability: vitals.variability.map(|of| PulseVariability {
                seconds: tenths(of.seconds),
                used_percent: tenths(100.0 * of.used),
                n_pulses: of.n_pulses,
                n_pp: of.n_pp,
                n_premature: of.n_premature,
                n_missed: of.n_missed,
                n_extra: of.n_extra,
                n_odd: of.n_odd,
                mean_pp_ms: tenths(of.mean_pp_ms),
                sdpp_ms: tenths(of.sdpp_ms),
                rmssd_ms: of.rmssd_ms.map(tenths),
                ppp50_percent: of.ppp50_percent.map(tenths),
            }),
        }
    }
}

/// To one decimal.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[derive(Serialize, ToSchema)]
pub(super) struct SignalName {
    pub(super) name: &'static str,
    pub(super) rate_hz: f64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SignalQuality {
    /// 0 (unusable) to 1 (clean).
    pub(super) score: f32,
    /// `good`, `lead_off`, `flat`, `saturated` or `noisy`.
    pub(super) reason: &'static str,
}

impl From<&DeviceStatus> for Device {
    fn from(status: &DeviceStatus) -> Self {
        Self {
            device: status.device.to_string(),
            patient: status.patient.clone(),
            online: status.online,
            last_seen: status.last_seen.map(rfc3339),
            record: status.record.clone(),
            signals: status
                .signals
                .iter()
                .map(|(kind, rate)| SignalName {
                    name: kind.name(),
                    rate_hz: rate.hz(),
                })
                .collect(),
            bpm: status.bpm,
            rate_source: status.rate_source.map(ecg::RateSource::name),
            quality: status
                .quality
                .iter()
                .map(|&(kind, score, reason)| {
                    (
                        kind.name(),
                        SignalQuality {
                            score,
                            reason: reason.name(),
                        },
                    )
                })
                .collect(),
            pulse_rhythm: status.pulse.map(|pulse| PulseRhythm {
                signal: pulse.signal.name(),
                usable: pulse.usable,
                asked: pulse.n_asked,
                unusable: pulse.n_unusable,
            }),
            measurement: status
                .measurement
                .as_ref()
                .map(|(measured, at)| Measurement::new(measured, *at)),
            pulse: status
                .vitals
                .as_ref()
                .map(|(vitals, at)| Pulse::new(vitals, *at)),
            synthetic: status.synthetic,
            findings: status.findings.iter().map(Standing::from).collect(),
            battery_percent: status.battery_percent,
            limits: LimitsInForce::from(&status.limits),
            paused_until: None,
            paused_by: None,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct Alarms {
    pub(super) alarms: Vec<Alarm>,
    /// Give it as `before` to read on; null at the end.
    pub(super) next: Option<String>,
}

/// An alarm as it stands.
#[derive(Serialize, ToSchema)]
pub(super) struct Alarm {
    pub(super) id: String,
    pub(super) device: String,
    pub(super) patient: Option<String>,
    /// The boot id of the record, in hexadecimal.
    pub(super) record: String,
    /// `asystole`, `high_rate` and so on.
    pub(super) condition: &'static str,
    /// `physiological` or `technical`.
    pub(super) kind: &'static str,
    /// `high`, `medium` or `low`.
    pub(super) priority: &'static str,
    /// `active`, `acknowledged`, `latched` or `cleared`.
    pub(super) state: &'static str,
    /// Index of the sample at which the condition began.
    pub(super) onset_sample: u64,
    /// Estimated instant of the sample that satisfied it.
    pub(super) raised: String,
    /// Instant of the last change.
    pub(super) updated: String,
    pub(super) acknowledged_by: Option<String>,
    pub(super) acknowledged_at: Option<String>,
    /// Why, with the numbers it rests on.
    pub(super) evidence: String,
    /// Where the signals around it are, once they are there.
    pub(super) strip: Option<String>,
    /// Where the signals at its end are, of a rhythm that is over.
    pub(super) end_strip: Option<String>,
    /// How often it was escalated because nobody acknowledged it; 0 for not.
    pub(super) escalated_level: u32,
    /// When last.
    pub(super) escalated_at: Option<String>,
    /// Whether its messages are held back because the device is paused; never for high priority.
    pub(super) paused: bool,
}

/// Where the strip of an alarm is.
fn strip_of(alarm: AlarmId) -> String {
    format!("/api/v1/strips/{alarm}")
}

impl Alarm {
    pub(super) fn new(row: &AlarmRow) -> Self {
        Self {
            id: row.alarm.to_string(),
            device: row.record.device.to_string(),
            patient: row.patient.as_ref().map(ToString::to_string),
            record: row.record.boot.to_string(),
            condition: row.condition.name(),
            kind: row.kind.name(),
            priority: row.priority.name(),
            state: row.state.name(),
            onset_sample: row.onset.0,
            raised: rfc3339(row.raised),
            updated: rfc3339(row.updated),
            acknowledged_by: row.acknowledged_by.clone(),
            acknowledged_at: row.acknowledged_at.map(rfc3339),
            evidence: row.evidence.clone(),
            strip: row.has_strip.then(|| strip_of(row.alarm)),
            end_strip: {
                let over = matches!(row.state, AlarmState::Latched | AlarmState::Cleared);
                (over && row.condition.is_rhythm()).then(|| format!("{}/end", strip_of(row.alarm)))
            },
            escalated_level: row.escalated.map_or(0, |(level, _)| level),
            escalated_at: row.escalated.map(|(_, at)| rfc3339(at)),
            paused: false,
        }
    }

    /// With whether its messages are held back.
    pub(super) fn paused(mut self, outgoing: &Outgoing) -> Self {
        let device: Option<DeviceId> = self.device.parse().ok();
        let is_paused = device.is_some_and(|device| outgoing.pause(&device, utc()).is_some());
        self.paused = is_paused && self.priority != ecg::Priority::High.name();
        self
    }
}

/// An alarm and its life so far.
#[derive(Serialize, ToSchema)]
pub(super) struct AlarmDetail {
    #[serde(flatten)]
    pub(super) alarm: Alarm,
    /// Estimated instant at which the condition began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) onset: Option<String>,
    pub(super) events: Vec<AlarmStep>,
}

/// A step in the life of an alarm.
#[derive(Serialize, ToSchema)]
pub(super) struct AlarmStep {
    /// The state entered.
    pub(super) state: &'static str,
    pub(super) at: String,
    pub(super) by: Option<String>,
    pub(super) evidence: String,
}

/// Who acknowledges.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Acknowledge {
    /// A name, 1 to 64 characters.
    pub(super) by: String,
}

/// New rate limits.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetLimits {
    pub(super) low_bpm: f32,
    pub(super) high_bpm: f32,
    /// Who sets them, 1 to 64 characters.
    pub(super) by: String,
}

/// Who wears a device.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetPatient {
    /// A pseudonym, 1 to 64 characters of `A-Z a-z 0-9 _ -`.
    pub(super) patient: String,
    /// Who says so, 1 to 64 characters.
    pub(super) by: String,
}

/// How long messages wait.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SetPause {
    /// 1 to 30.
    pub(super) minutes: u32,
    /// Who asks for it, 1 to 64 characters.
    pub(super) by: String,
}

/// Signals over a span of time.
#[derive(Serialize, ToSchema)]
pub(super) struct Strip {
    /// The alarm it belongs to; null for the newest twelve leads.
    pub(super) alarm: Option<String>,
    pub(super) start: String,
    pub(super) seconds: f64,
    pub(super) rate_hz: f64,
    /// Index of the record's sample at which they begin, as R peaks of findings are counted.
    pub(super) start_sample: u64,
    /// Index of the sample after them.
    pub(super) end_sample: u64,
    /// The model behind the reconstructed leads.
    pub(super) model: Option<Model>,
    /// How far they can be trusted: 0 (not at all) to 1, the share of recordings that are expected to come out worse.
    pub(super) trust: Option<f32>,
    /// How unusual the measured leads are to the model: 0 to 1, the share of recordings that are less so.
    pub(super) novelty: Option<f32>,
    /// Why nothing was reconstructed: `too_few_leads`, `unusable`, `unfamiliar`, `failed` or `overloaded`.
    pub(super) withheld: Option<&'static str>,
    pub(super) signals: Vec<StripSignal>,
    /// What was found in these signals; null where nothing looked for anything.
    #[schema(value_type = Option<Vec<crate::findings::Finding<'static>>>)]
    pub(super) findings: Option<serde_json::Value>,
}

/// What a model draws of a pulse wave. No ECG.
#[derive(Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the API's word for what it is")]
pub(super) struct Synthetic {
    pub(super) device: String,
    /// Always true.
    pub(super) synthetic: bool,
    /// What that means, to be shown beside it.
    pub(super) notice: &'static str,
    /// The signal that it is drawn from.
    pub(super) drawn_from: &'static str,
    pub(super) model: Model,
    pub(super) start: String,
    pub(super) seconds: f64,
    pub(super) rate_hz: f64,
    /// How lead II might look, uV.
    pub(super) samples: Vec<i32>,
}

/// What is said of every synthetic trace.
const NOTICE: &str = "Synthetic, not an ECG: drawn from the pulse wave by a model. Nothing was measured on it; do not read intervals, ST \
    or rhythms off it.";

impl Synthetic {
    pub(super) fn new(device: &DeviceId, drawn: &LatestSynthetic) -> Self {
        let trace = &drawn.trace;
        Self {
            device: device.to_string(),
            synthetic: true,
            notice: NOTICE,
            drawn_from: drawn.signal.name(),
            model: trace.model().into(),
            start: rfc3339(drawn.start),
            seconds: trace.millivolts().len() as f64 / trace.rate().hz(),
            rate_hz: trace.rate().hz(),
            samples: to_thousandths(trace.millivolts()),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) sha256: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct StripSignal {
    pub(super) name: &'static str,
    /// `measured`, `derived` or `reconstructed`.
    pub(super) origin: &'static str,
    /// `uV`; `au/1000` (thousandths of the device's arbitrary unit) for PPG and arterial pressure; `mg` for acceleration.
    pub(super) unit: &'static str,
    pub(super) samples: Vec<i32>,
    /// Half the width of the 90 % band of a reconstructed lead, uV, each value for `samples / band` samples in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) band: Option<Vec<i32>>,
}

impl StripSignal {
    fn new(kind: SignalKind, origin: LeadOrigin, samples: &[f32], band: &[f32]) -> Self {
        Self {
            name: kind.name(),
            origin: origin.name(),
            unit: match kind {
                SignalKind::Ecg(_) => "uV",
                SignalKind::Ppg(_) | SignalKind::Abp => "au/1000",
                SignalKind::Acceleration(_) => "mg",
            },
            samples: to_thousandths(samples),
            band: (!band.is_empty()).then(|| to_thousandths(band)),
        }
    }
}

impl From<&ecg::ModelRef> for Model {
    fn from(model: &ecg::ModelRef) -> Self {
        let ecg::ModelRef {
            name,
            version,
            sha256,
        } = model.clone();
        Self {
            name,
            version,
            sha256,
        }
    }
}

impl Strip {
    /// That of an alarm, or of its end, which was `decided` at this instant.
    pub(super) fn of_alarm(row: &AlarmRow, decided: Utc, kept: &store::AlarmStrip) -> Self {
        let strip = &kept.strip;
        let n_samples = strip
            .signals
            .first()
            .map_or(0, |signal| signal.samples.len());
        let seconds = n_samples as f64 / strip.rate.hz();
        Self {
            alarm: Some(row.alarm.to_string()),
            // The strip ends at the sample that satisfied the condition, or where the signal ended.
            start: rfc3339(decided.plus_seconds(-seconds)),
            seconds,
            rate_hz: strip.rate.hz(),
            start_sample: strip.start.0,
            end_sample: strip.end.0,
            model: strip.model.as_ref().map(Model::from),
            trust: strip.trust.map(|trust| trust.score),
            novelty: strip.trust.map(|trust| trust.novelty),
            withheld: strip.withheld.map(ecg::Withheld::name),
            signals: strip
                .signals
                .iter()
                .map(|signal| {
                    StripSignal::new(signal.kind, signal.origin, &signal.samples, &signal.band)
                })
                .collect(),
            findings: kept.findings.as_deref().map(parsed),
        }
    }

    pub(super) fn latest(latest: &LatestTwelve) -> Self {
        let leads = &latest.leads;
        Self {
            alarm: None,
            start: rfc3339(latest.start),
            seconds: leads.n_samples as f64 / leads.rate.hz(),
            rate_hz: leads.rate.hz(),
            start_sample: leads.start.0,
            end_sample: leads.end.0,
            model: leads.model.as_ref().map(Model::from),
            trust: leads.trust.map(|trust| trust.score),
            novelty: leads.trust.map(|trust| trust.novelty),
            withheld: leads.withheld.map(ecg::Withheld::name),
            signals: ecg::Lead::TWELVE
                .into_iter()
                .zip(leads.origin)
                .filter_map(|(lead, origin)| {
                    Some(StripSignal::new(
                        SignalKind::Ecg(lead),
                        origin,
                        leads.lead(lead)?,
                        leads.band(lead).unwrap_or_default(),
                    ))
                })
                .collect(),
            findings: Some(parsed(&to_json(&*latest.findings))),
        }
    }
}

/// What this program wrote as JSON.
fn parsed(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// What was found in a window.
#[derive(Serialize, ToSchema)]
pub(super) struct Findings {
    #[schema(value_type = Vec<crate::findings::Finding<'static>>)]
    pub(super) findings: serde_json::Value,
}

impl Findings {
    pub(super) fn new(findings: &[ecg::Finding]) -> Self {
        Self {
            findings: parsed(&to_json(findings)),
        }
    }
}

/// Episodes of findings of a device.
#[derive(Serialize, ToSchema)]
pub(super) struct Episodes {
    pub(super) episodes: Vec<Episode>,
}

/// Something that was found in window after window.
#[derive(Serialize, ToSchema)]
pub(super) struct Episode {
    /// To program against, such as `atrial_fibrillation`.
    pub(super) name: String,
    /// To read.
    pub(super) text: String,
    /// `rule`, or the name of the model that says so.
    pub(super) source: String,
    /// The concept of SNOMED CT.
    pub(super) snomed: Option<u64>,
    /// The highest calibrated probability of the episode; null for a rule.
    pub(super) probability: Option<f32>,
    /// Estimated instant at which the first window that says so begins.
    pub(super) start: String,
    /// Estimated instant at which the last one ends.
    pub(super) end: String,
    /// Whether it is over; if not, `end` is how far it has been written down.
    pub(super) ended: bool,
    /// The boot id of the record, in hexadecimal.
    pub(super) record: String,
    pub(super) onset_sample: u64,
    pub(super) end_sample: u64,
    /// Against what is usual for the patient: `new`, `worse`, `better` or `unchanged`; null while nothing is known of
    /// that.
    pub(super) change: Option<&'static str>,
    /// Where the signals are on which an alarm of it was raised, of a rhythm that alarms.
    pub(super) strip: Option<String>,
    /// Where those are on which it ended.
    pub(super) end_strip: Option<String>,
    /// The finding of the first window, with its evidence.
    #[schema(value_type = crate::findings::Finding<'static>)]
    pub(super) first: serde_json::Value,
}

impl From<&FindingRow> for Episode {
    fn from(row: &FindingRow) -> Self {
        // Its alarm begins where it begins, so that the id is known.
        let of_ecg = row.name == infer::rhythm::FIBRILLATION.name;
        let of_pulse = row.name == infer::pulse_rhythm::PULSE_FIBRILLATION.name;
        let condition = Condition::AtrialFibrillation;
        let alarm = (of_ecg || of_pulse).then(|| AlarmId::new(&row.record, condition, row.onset));
        let strip = alarm.map(strip_of);
        Self {
            end_strip: strip
                .as_ref()
                .filter(|_| row.ended)
                .map(|strip| format!("{strip}/end")),
            strip,
            name: row.name.clone(),
            text: row.text.clone(),
            source: row.source.clone(),
            snomed: row.snomed,
            probability: row.probability,
            start: rfc3339(row.start_utc),
            end: rfc3339(row.end_utc),
            ended: row.ended,
            record: row.record.boot.to_string(),
            onset_sample: row.onset.0,
            end_sample: row.end.0,
            change: row.change.map(ecg::Change::name),
            first: parsed(&row.body),
        }
    }
}

/// Alarms that were held back.
#[derive(Serialize, ToSchema)]
pub(super) struct Suppressed {
    pub(super) alarms: Vec<HeldBack>,
}

/// An alarm that was held back.
#[derive(Serialize, ToSchema)]
pub(super) struct HeldBack {
    /// The id that it would have, and has where it was raised after all.
    pub(super) id: String,
    pub(super) condition: &'static str,
    pub(super) priority: &'static str,
    /// The boot id of the record, in hexadecimal.
    pub(super) record: String,
    pub(super) onset_sample: u64,
    /// Estimated instant at which it was due.
    pub(super) due: String,
    /// What spoke for it.
    pub(super) evidence: String,
    /// What spoke against it.
    pub(super) reason: String,
}

impl From<&ecg::Suppression> for HeldBack {
    fn from(held: &ecg::Suppression) -> Self {
        Self {
            id: held.alarm.to_string(),
            condition: held.condition.name(),
            priority: held.priority.name(),
            record: held.record.boot.to_string(),
            onset_sample: held.onset.0,
            due: rfc3339(held.utc),
            evidence: held.evidence.clone(),
            reason: held.reason.clone(),
        }
    }
}

/// What is found in a device's signals by now.
#[derive(Serialize, ToSchema)]
pub(super) struct Standing {
    pub(super) name: String,
    pub(super) text: String,
    /// `rule`, or the name of the model that says so.
    pub(super) source: String,
    /// The highest calibrated probability so far; null for a rule.
    pub(super) probability: Option<f32>,
    /// Estimated instant at which it began.
    pub(super) since: String,
    pub(super) change: Option<&'static str>,
}

impl From<&Found> for Standing {
    fn from(found: &Found) -> Self {
        Self {
            name: found.name.clone(),
            text: found.text.clone(),
            source: found.source.clone(),
            probability: found.probability,
            since: rfc3339(found.since),
            change: found.change.map(ecg::Change::name),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct Trends {
    pub(super) trends: Vec<Trend>,
}

/// One minute of one device.
#[derive(Serialize, ToSchema)]
pub(super) struct Trend {
    pub(super) start: String,
    pub(super) bpm_mean: Option<f64>,
    pub(super) bpm_min: Option<f32>,
    pub(super) bpm_max: Option<f32>,
    pub(super) beats: u32,
    pub(super) pulses: u32,
    /// Signal-seconds.
    pub(super) usable_seconds: u32,
    /// Signal-seconds.
    pub(super) unusable_seconds: u32,
    pub(super) gap_samples: u64,
}

impl From<&Minute> for Trend {
    fn from(minute: &Minute) -> Self {
        let seen = minute.n_rates > 0;
        Self {
            start: rfc3339(minute.start),
            bpm_mean: minute.rate_mean(),
            bpm_min: seen.then_some(minute.rate_min),
            bpm_max: seen.then_some(minute.rate_max),
            beats: minute.n_beats,
            pulses: minute.n_pulses,
            usable_seconds: minute.usable_seconds,
            unusable_seconds: minute.unusable_seconds,
            gap_samples: minute.gap_samples,
        }
    }
}

/// Live samples of a device.
#[derive(Serialize)]
pub(super) struct Trace<'a> {
    device: &'a str,
    start_ms: f64,
    rate_hz: f64,
    signals: std::collections::BTreeMap<&'static str, &'a [i32]>,
}

impl<'a> Trace<'a> {
    pub(super) fn new(
        device: &'a DeviceId,
        start: Utc,
        rate: SampleRate,
        signals: &'a [(SignalKind, Vec<i32>)],
    ) -> Self {
        Self {
            device: device.as_str(),
            start_ms: start.0 as f64 / 1e3,
            rate_hz: rate.hz(),
            signals: signals
                .iter()
                .map(|(kind, xs)| (kind.name(), xs.as_slice()))
                .collect(),
        }
    }
}

/// A live heartbeat.
#[derive(Serialize)]
pub(super) struct Beat<'a> {
    device: &'a str,
    at_ms: f64,
}

impl<'a> Beat<'a> {
    pub(super) fn new(device: &'a DeviceId, at: Utc) -> Self {
        Self {
            device: device.as_str(),
            at_ms: at.0 as f64 / 1e3,
        }
    }
}

/// Nobody acknowledged an alarm in time.
#[derive(Serialize)]
pub(super) struct Escalated<'a> {
    device: &'a str,
    alarm: String,
    level: u32,
    at: String,
}

impl<'a> Escalated<'a> {
    pub(super) fn new(device: &'a DeviceId, alarm: ecg::AlarmId, level: u32, at: Utc) -> Self {
        Self {
            device: device.as_str(),
            alarm: alarm.to_string(),
            level,
            at: rfc3339(at),
        }
    }
}

/// Messages of a device are paused, or go on.
#[derive(Serialize)]
pub(super) struct Paused<'a> {
    device: &'a str,
    /// Null where they go on.
    until: Option<String>,
    by: Option<&'a str>,
}

impl<'a> Paused<'a> {
    pub(super) fn new(device: &'a DeviceId, until: Option<Utc>, by: Option<&'a str>) -> Self {
        Self {
            device: device.as_str(),
            until: until.map(rfc3339),
            by,
        }
    }
}

/// The models are done with a window.
#[derive(Serialize)]
pub(super) struct Reading<'a> {
    device: &'a str,
    /// The boot id of the record, in hexadecimal.
    record: String,
    start_sample: u64,
    end_sample: u64,
    /// `read`, `left_out` or `failed`.
    outcome: &'static str,
    /// How much was found in it; null where it was not read.
    n_findings: Option<usize>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        device: &'a DeviceId,
        boot: BootId,
        window: Range<SampleIndex>,
        outcome: ReadingOutcome,
    ) -> Self {
        let (outcome, n_findings) = match outcome {
            ReadingOutcome::Read(n) => ("read", Some(n)),
            ReadingOutcome::LeftOut => ("left_out", None),
            ReadingOutcome::Failed => ("failed", None),
        };
        Self {
            device: device.as_str(),
            record: boot.to_string(),
            start_sample: window.start.0,
            end_sample: window.end.0,
            outcome,
            n_findings,
        }
    }
}

/// Live events that were missed.
#[derive(Serialize)]
pub(super) struct Lagged {
    pub(super) skipped: u64,
}
