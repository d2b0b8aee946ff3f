//! A batch as rows: checked against what the columns can hold, each key once, sorted by key.
//!
//! Sorting matters: two transactions that lock the same rows in the same order cannot deadlock.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use ecg::{
    AlarmEvent, AlarmState, Beat, Layout, SampleIndex, SampleRate, SignalSpec, Suppression, Utc,
};
use uuid::Uuid;

use crate::findings::MAX_BODY;
use crate::strip;
use crate::{AlarmStrip, Batch, Error, FindingRow, RecordUpdate};

/// Every row of a batch, in the order in which tables are written.
pub(crate) struct Rows<'a> {
    pub(crate) devices: Vec<DeviceSeen<'a>>,
    pub(crate) records: Vec<RecordLine<'a>>,
    pub(crate) beats: Vec<BeatLine<'a>>,
    pub(crate) gaps: Vec<GapLine<'a>>,
    /// By alarm, then by step.
    pub(crate) events: Vec<EventLine<'a>>,
    pub(crate) suppressions: Vec<SuppressionLine<'a>>,
    pub(crate) strips: Vec<StripLine<'a>>,
    pub(crate) findings: Vec<FindingLine<'a>>,
    pub(crate) baselines: Vec<BaselineLine<'a>>,
    pub(crate) trends: Vec<TrendLine<'a>>,
    pub(crate) at: Option<i64>,
}

pub(crate) struct DeviceSeen<'a> {
    pub(crate) device: &'a str,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

pub(crate) struct RecordLine<'a> {
    pub(crate) device: &'a str,
    pub(crate) boot: i64,
    pub(crate) layout: String,
    pub(crate) base_rate_hz: f64,
    pub(crate) anchor_index: i64,
    pub(crate) anchor_utc: i64,
    pub(crate) anchor_hz: f64,
    pub(crate) durable_until: i64,
    pub(crate) ended: bool,
    pub(crate) started_utc: i64,
    pub(crate) updated_utc: i64,
}

pub(crate) struct BeatLine<'a> {
    pub(crate) device: &'a str,
    pub(crate) boot: i64,
    pub(crate) r_peak: i64,
    pub(crate) class: Option<&'static str>,
    pub(crate) utc: i64,
}

pub(crate) struct GapLine<'a> {
    pub(crate) device: &'a str,
    pub(crate) boot: i64,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

pub(crate) struct EventLine<'a> {
    pub(crate) event: Uuid,
    pub(crate) alarm: Uuid,
    pub(crate) device: &'a str,
    pub(crate) boot: i64,
    pub(crate) condition: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) priority: &'static str,
    pub(crate) state: &'static str,
    pub(crate) step: i16,
    pub(crate) onset: i64,
    pub(crate) decided_at: i64,
    pub(crate) utc: i64,
    pub(crate) given_by: Option<&'a str>,
    pub(crate) evidence: &'a str,
    /// Its place among the events of the batch.
    pub(crate) place: usize,
}

pub(crate) struct SuppressionLine<'a> {
    pub(crate) alarm: Uuid,
    pub(crate) device: &'a str,
    pub(crate) boot: i64,
    pub(crate) condition: &'static str,
    pub(crate) priority: &'static str,
    pub(crate) onset: i64,
    pub(crate) decided_at: i64,
    pub(crate) utc: i64,
    pub(crate) evidence: &'a str,
    pub(crate) reason: &'a str,
}

pub(crate) struct StripLine<'a> {
    pub(crate) alarm: Uuid,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) rate_hz: f64,
    pub(crate) model_name: Option<&'a str>,
    pub(crate) model_version: Option<&'a str>,
    pub(crate) model_sha256: Option<&'a str>,
    pub(crate) trust: Option<f64>,
    pub(crate) novelty: Option<f64>,
    pub(crate) withheld: Option<&'static str>,
    pub(crate) body: Vec<u8>,
    pub(crate) findings: Option<&'a str>,
}

pub(crate) struct BaselineLine<'a> {
    pub(crate) patient: &'a str,
    pub(crate) body: &'a str,
}

pub(crate) struct FindingLine<'a> {
    pub(crate) device: &'a str,
    pub(crate) boot: i64,
    pub(crate) source: &'a str,
    pub(crate) name: &'a str,
    pub(crate) onset: i64,
    pub(crate) end: i64,
    pub(crate) ended: bool,
    pub(crate) start_utc: i64,
    pub(crate) end_utc: i64,
    pub(crate) text: &'a str,
    pub(crate) snomed: Option<i64>,
    pub(crate) probability: Option<f64>,
    pub(crate) model_version: Option<&'a str>,
    pub(crate) model_sha256: Option<&'a str>,
    pub(crate) change: Option<&'static str>,
    pub(crate) body: &'a str,
}

pub(crate) struct TrendLine<'a> {
    pub(crate) device: &'a str,
    pub(crate) boot: i64,
    pub(crate) minute: i64,
    pub(crate) start_utc: i64,
    pub(crate) n_beats: i64,
    pub(crate) n_pulses: i64,
    pub(crate) n_rates: i64,
    pub(crate) rate_sum: f64,
    pub(crate) rate_min: Option<f64>,
    pub(crate) rate_max: Option<f64>,
    pub(crate) usable_seconds: i64,
    pub(crate) unusable_seconds: i64,
    pub(crate) gap_samples: i64,
}

impl<'a> Rows<'a> {
    /// The rows of `batch`.
    ///
    /// # Errors
    /// [`Error::Refused`] for the first value that no column can hold.
    pub(crate) fn new(batch: &'a Batch) -> Result<Self, Error> {
        let (devices, records) = records(batch)?;
        Ok(Self {
            devices,
            records,
            beats: beats(batch)?,
            gaps: gaps(batch)?,
            events: events(batch)?,
            suppressions: suppressions(batch)?,
            strips: strips(batch)?,
            findings: findings(batch)?,
            baselines: baselines(batch)?,
            trends: trends(batch)?,
            at: batch.at.map(|at| at.0),
        })
    }
}

fn records(batch: &Batch) -> Result<(Vec<DeviceSeen<'_>>, Vec<RecordLine<'_>>), Error> {
    let mut devices = BTreeMap::new();
    let mut records = BTreeMap::new();
    for update in &batch.records {
        let line = record(update)?;
        devices
            .entry(line.device)
            .and_modify(|seen: &mut DeviceSeen<'_>| {
                seen.first = seen.first.min(line.started_utc);
                seen.last = seen.last.max(line.updated_utc);
            })
            .or_insert(DeviceSeen {
                device: line.device,
                first: line.started_utc,
                last: line.updated_utc,
            });
        match records.entry((line.device, line.boot)) {
            Entry::Vacant(entry) => {
                entry.insert(line);
            }
            Entry::Occupied(mut entry) => {
                let stored: &mut RecordLine<'_> = entry.get_mut();
                let started = stored.started_utc.min(line.started_utc);
                let updated = stored.updated_utc.max(line.updated_utc);
                if line.durable_until >= stored.durable_until {
                    *stored = line;
                }
                stored.started_utc = started;
                stored.updated_utc = updated;
            }
        }
    }
    Ok((
        devices.into_values().collect(),
        records.into_values().collect(),
    ))
}

fn record(update: &RecordUpdate) -> Result<RecordLine<'_>, Error> {
    let anchor = &update.anchor;
    if !(anchor.hz.is_finite() && anchor.hz > 0.0) {
        return Err(Error::Refused(format!(
            "anchor of {} has {} samples per second, which is not above 0",
            update.record, anchor.hz
        )));
    }
    Ok(RecordLine {
        device: update.record.device.as_str(),
        boot: i64::from(update.record.boot.0),
        layout: layout_text(&update.layout),
        base_rate_hz: update.layout.base_rate().hz(),
        anchor_index: index("anchor", anchor.index)?,
        anchor_utc: anchor.utc.0,
        anchor_hz: anchor.hz,
        durable_until: index("durable until", update.durable_until)?,
        ended: update.ended,
        started_utc: update.seen.0,
        updated_utc: update.seen.0,
    })
}

fn beats(batch: &Batch) -> Result<Vec<BeatLine<'_>>, Error> {
    let mut beats = BTreeMap::new();
    for (record, Beat { r_peak, class }, Utc(utc)) in &batch.beats {
        let line = BeatLine {
            device: record.device.as_str(),
            boot: i64::from(record.boot.0),
            r_peak: index("R peak", *r_peak)?,
            class: class.map(class_text),
            utc: *utc,
        };
        beats
            .entry((line.device, line.boot, line.r_peak))
            .and_modify(|stored: &mut BeatLine<'_>| stored.class = stored.class.or(line.class))
            .or_insert(line);
    }
    Ok(beats.into_values().collect())
}

fn gaps(batch: &Batch) -> Result<Vec<GapLine<'_>>, Error> {
    let mut gaps = BTreeMap::new();
    for (record, gap) in &batch.gaps {
        if gap.start >= gap.end {
            return Err(Error::Refused(format!(
                "gap of {record} from {} ends at {}, not after it",
                gap.start, gap.end
            )));
        }
        let line = GapLine {
            device: record.device.as_str(),
            boot: i64::from(record.boot.0),
            start: index("gap start", gap.start)?,
            end: index("gap end", gap.end)?,
        };
        gaps.entry((line.device, line.boot, line.start))
            .and_modify(|stored: &mut GapLine<'_>| stored.end = stored.end.max(line.end))
            .or_insert(line);
    }
    Ok(gaps.into_values().collect())
}

fn suppressions(batch: &Batch) -> Result<Vec<SuppressionLine<'_>>, Error> {
    let mut lines = BTreeMap::new();
    for held in &batch.suppressions {
        let line = suppression(held)?;
        lines.entry(line.alarm).or_insert(line);
    }
    Ok(lines.into_values().collect())
}

fn suppression(held: &Suppression) -> Result<SuppressionLine<'_>, Error> {
    Ok(SuppressionLine {
        alarm: held.alarm.0,
        device: held.record.device.as_str(),
        boot: i64::from(held.record.boot.0),
        condition: held.condition.name(),
        priority: held.priority.name(),
        onset: index("onset", held.onset)?,
        decided_at: index("deciding sample", held.at)?,
        utc: held.utc.0,
        evidence: text("evidence", &held.evidence)?,
        reason: text("reason", &held.reason)?,
    })
}

fn events(batch: &Batch) -> Result<Vec<EventLine<'_>>, Error> {
    let mut events = BTreeMap::new();
    for (place, event) in batch.events.iter().enumerate() {
        let line = event_line(event, place)?;
        events.entry((line.alarm, line.step)).or_insert(line);
    }
    Ok(events.into_values().collect())
}

fn event_line(event: &AlarmEvent, place: usize) -> Result<EventLine<'_>, Error> {
    Ok(EventLine {
        event: event.id(),
        alarm: event.alarm.0,
        device: event.record.device.as_str(),
        boot: i64::from(event.record.boot.0),
        condition: event.condition.name(),
        kind: event.kind.name(),
        priority: event.priority.name(),
        state: event.state.name(),
        step: match event.state {
            AlarmState::Active => 0,
            AlarmState::Acknowledged => 1,
            AlarmState::Latched => 2,
            AlarmState::Cleared => 3,
        },
        onset: index("onset", event.onset)?,
        decided_at: index("deciding sample", event.at)?,
        utc: event.utc.0,
        given_by: optional_text("name of who acknowledged", event.by.as_deref())?,
        evidence: text("evidence", &event.evidence)?,
        place,
    })
}

fn strips(batch: &Batch) -> Result<Vec<StripLine<'_>>, Error> {
    let mut strips = BTreeMap::new();
    for AlarmStrip {
        alarm,
        strip,
        findings,
    } in &batch.strips
    {
        let Entry::Vacant(entry) = strips.entry(alarm.0) else {
            continue;
        };
        if strip.start > strip.end {
            return Err(Error::Refused(format!(
                "strip of alarm {alarm} from {} ends at {}, before it",
                strip.start, strip.end
            )));
        }
        let model = strip.model.as_ref();
        entry.insert(StripLine {
            alarm: alarm.0,
            start: index("strip start", strip.start)?,
            end: index("strip end", strip.end)?,
            rate_hz: strip.rate.hz(),
            model_name: optional_text("model reference", model.map(|model| model.name.as_str()))?,
            model_version: optional_text(
                "model reference",
                model.map(|model| model.version.as_str()),
            )?,
            model_sha256: optional_text(
                "model reference",
                model.map(|model| model.sha256.as_str()),
            )?,
            trust: strip.trust.map(|trust| f64::from(trust.score)),
            novelty: strip.trust.map(|trust| f64::from(trust.novelty)),
            withheld: strip.withheld.map(ecg::Withheld::name),
            body: strip::encode(&strip.signals)?,
            findings: findings.as_deref().map(body).transpose()?,
        });
    }
    Ok(strips.into_values().collect())
}

fn findings(batch: &Batch) -> Result<Vec<FindingLine<'_>>, Error> {
    let mut findings = BTreeMap::new();
    for row in &batch.findings {
        let line = finding(row)?;
        let key = (line.device, line.boot, line.source, line.name, line.onset);
        match findings.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(line);
            }
            // The same merge as that with a row that is there.
            Entry::Occupied(mut entry) => {
                let known: &mut FindingLine<'_> = entry.get_mut();
                if line.end >= known.end {
                    known.ended = line.ended;
                    known.end = line.end;
                    known.end_utc = line.end_utc;
                }
                known.probability = match (known.probability, line.probability) {
                    (Some(a), Some(b)) => Some(a.max(b)),
                    (known, new) => known.or(new),
                };
            }
        }
    }
    Ok(findings.into_values().collect())
}

fn finding(row: &FindingRow) -> Result<FindingLine<'_>, Error> {
    if row.onset > row.end {
        return Err(Error::Refused(format!(
            "finding {} from {} ends at {}, before it",
            row.name, row.onset, row.end
        )));
    }
    if let Some(p) = row.probability.filter(|p| !(0.0..=1.0).contains(p)) {
        return Err(Error::Refused(format!(
            "finding {} has probability {p}, where 0 to 1 are allowed",
            row.name
        )));
    }
    let snomed = row.snomed.map(i64::try_from).transpose().map_err(|_| {
        Error::Refused(format!(
            "finding {}: no such concept of SNOMED CT",
            row.name
        ))
    })?;
    let model = row.model.as_ref();
    Ok(FindingLine {
        device: row.record.device.as_str(),
        boot: i64::from(row.record.boot.0),
        source: text("source of a finding", &row.source)?,
        name: text("name of a finding", &row.name)?,
        onset: index("onset", row.onset)?,
        end: index("end", row.end)?,
        ended: row.ended,
        start_utc: row.start_utc.0,
        end_utc: row.end_utc.0,
        text: text("text of a finding", &row.text)?,
        snomed,
        probability: row.probability.map(f64::from),
        model_version: optional_text("model reference", model.map(|model| model.0.as_str()))?,
        model_sha256: optional_text("model reference", model.map(|model| model.1.as_str()))?,
        change: row.change.map(ecg::Change::name),
        body: body(&row.body)?,
    })
}

fn baselines(batch: &Batch) -> Result<Vec<BaselineLine<'_>>, Error> {
    let mut baselines = BTreeMap::new();
    for (patient, text) in &batch.baselines {
        let line = BaselineLine {
            patient: patient.as_str(),
            body: body(text)?,
        };
        baselines.entry(line.patient).or_insert(line);
    }
    Ok(baselines.into_values().collect())
}

/// What was found, as JSON.
fn body(body: &str) -> Result<&str, Error> {
    if body.len() > MAX_BODY {
        return Err(Error::Refused(format!(
            "findings of {} bytes, where {MAX_BODY} are allowed",
            body.len()
        )));
    }
    text("body of a finding", body)
}

fn trends(batch: &Batch) -> Result<Vec<TrendLine<'_>>, Error> {
    let mut trends = BTreeMap::new();
    for trend in &batch.trends {
        if trend.n_rates > 0
            && !(trend.rate_sum.is_finite()
                && trend.rate_min.is_finite()
                && trend.rate_max.is_finite())
        {
            return Err(Error::Refused(format!(
                "minute {} of {} has {} rates that are not finite (sum {}, from {} to {})",
                trend.minute,
                trend.record,
                trend.n_rates,
                trend.rate_sum,
                trend.rate_min,
                trend.rate_max
            )));
        }
        let rate = |bpm: f32| (trend.n_rates > 0).then_some(f64::from(bpm));
        let line = TrendLine {
            device: trend.record.device.as_str(),
            boot: i64::from(trend.record.boot.0),
            minute: number("minute", trend.minute)?,
            start_utc: trend.start.0,
            n_beats: i64::from(trend.n_beats),
            n_pulses: i64::from(trend.n_pulses),
            n_rates: i64::from(trend.n_rates),
            rate_sum: if trend.n_rates > 0 {
                trend.rate_sum
            } else {
                0.0
            },
            rate_min: rate(trend.rate_min),
            rate_max: rate(trend.rate_max),
            usable_seconds: i64::from(trend.usable_seconds),
            unusable_seconds: i64::from(trend.unusable_seconds),
            gap_samples: number("gap samples", trend.gap_samples)?,
        };
        trends.insert((line.device, line.boot, line.minute), line);
    }
    Ok(trends.into_values().collect())
}

/// A position as a column holds it.
pub(crate) fn index(what: &str, index: SampleIndex) -> Result<i64, Error> {
    number(what, index.0)
}

fn number(what: &str, value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| Error::Refused(format!("{what} {value} is over {}", i64::MAX)))
}

/// A position or count as it was stored.
pub(crate) fn unsigned(what: &str, value: i64) -> Result<u64, Error> {
    u64::try_from(value).map_err(|_| Error::Corrupt(format!("{what} {value} is negative")))
}

/// A boot or count as it was stored.
pub(crate) fn unsigned32(what: &str, value: i64) -> Result<u32, Error> {
    u32::try_from(value)
        .map_err(|_| Error::Corrupt(format!("{what} {value} is not 0 to {}", u32::MAX)))
}

/// A word as it was stored.
pub(crate) fn word<T: std::str::FromStr<Err = ecg::Error>>(text: &str) -> Result<T, Error> {
    text.parse()
        .map_err(|error: ecg::Error| Error::Corrupt(error.to_string()))
}

/// Text that both databases keep as it is: PostgreSQL knows no NUL.
pub(crate) fn text<'a>(what: &str, text: &'a str) -> Result<&'a str, Error> {
    match text.find('\0') {
        None => Ok(text),
        Some(at) => Err(Error::Refused(format!(
            "{what} has a NUL character at byte {at}"
        ))),
    }
}

fn optional_text<'a>(what: &str, part: Option<&'a str>) -> Result<Option<&'a str>, Error> {
    part.map(|part| text(what, part)).transpose()
}

fn class_text(class: ecg::BeatClass) -> &'static str {
    use ecg::BeatClass;
    match class {
        BeatClass::N => "N",
        BeatClass::S => "S",
        BeatClass::V => "V",
        BeatClass::F => "F",
        BeatClass::Q => "Q",
    }
}

/// `II@250 V1@250 PPG@100`: each signal with its rate in hertz.
fn layout_text(layout: &Layout) -> String {
    let signals: Vec<_> = layout
        .iter()
        .map(|signal| format!("{}@{}", signal.kind, signal.rate.hz()))
        .collect();
    signals.join(" ")
}

/// Reads what [`layout_text`] wrote.
pub(crate) fn parse_layout(text: &str) -> Result<Layout, Error> {
    let corrupt = |why: &dyn std::fmt::Display| Error::Corrupt(format!("layout {text:?}: {why}"));
    let mut signals = Vec::new();
    for signal in text.split(' ') {
        let (kind, hz) = signal.split_once('@').ok_or_else(|| corrupt(&"no rate"))?;
        let hz: f64 = hz.parse().map_err(|error| corrupt(&error))?;
        signals.push(SignalSpec {
            kind: kind.parse().map_err(|error: ecg::Error| corrupt(&error))?,
            rate: SampleRate::new(hz).map_err(|error| corrupt(&error))?,
        });
    }
    Layout::new(&signals).map_err(|error| corrupt(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_round_trips_and_a_broken_one_is_named() {
        for text in ["II@250 V1@250 PPG@100", "ECG@360.000001", "PPG-green@25"] {
            assert_eq!(layout_text(&parse_layout(text).unwrap()), text);
        }
        for text in [
            "",
            "II",
            "II@",
            "II@nan",
            "II@1e9",
            "X@250",
            "II@250 II@250",
        ] {
            let error = parse_layout(text).unwrap_err();
            assert!(matches!(error, Error::Corrupt(_)), "{error:?}");
        }
    }

    #[test]
    fn what_no_column_holds_is_refused_with_value_and_limit() {
        let error = number("R peak", 1 << 63).unwrap_err().to_string();
        assert_eq!(
            error,
            "refused: R peak 9223372036854775808 is over 9223372036854775807"
        );
        assert_eq!(number("R peak", (1 << 63) - 1).unwrap(), i64::MAX);
        assert!(text("evidence", "a\0b").is_err());
        assert!(unsigned("minute", -1).is_err());
        assert!(unsigned32("boot", 1 << 32).is_err());
    }
}
