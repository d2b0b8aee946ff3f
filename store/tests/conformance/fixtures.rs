//! What the tests store.

use ecg::{
    AlarmEvent, AlarmId, AlarmKind, AlarmState, Anchor, Beat, BeatClass, BootId, Change, Condition,
    DeviceId, Gap, Layout, Lead, LeadOrigin, ModelRef, Priority, RecordId, SampleIndex, SampleRate,
    SignalKind, SignalSpec, Strip, StripSignal, Suppression, Trend, Trust, Utc,
};
use store::{AlarmFilter, AlarmStrip, Batch, FindingRow, PatientId, RecordUpdate, Store};

pub(crate) fn record(device: &str, boot: u32) -> RecordId {
    RecordId {
        device: device.parse().unwrap(),
        boot: BootId(boot),
    }
}

pub(crate) fn device(name: &str) -> DeviceId {
    name.parse().unwrap()
}

pub(crate) fn patient(id: &str) -> PatientId {
    id.parse().unwrap()
}

pub(crate) fn update(record: &RecordId, durable_until: u64, seen: i64) -> RecordUpdate {
    let rate = SampleRate::new(250.0).unwrap();
    let spec = |lead| SignalSpec {
        kind: SignalKind::Ecg(lead),
        rate,
    };
    RecordUpdate {
        record: record.clone(),
        layout: Layout::new(&[spec(Lead::II), spec(Lead::V1)]).unwrap(),
        anchor: Anchor {
            index: SampleIndex(durable_until),
            utc: Utc(seen),
            hz: 250.0125,
        },
        durable_until: SampleIndex(durable_until),
        ended: false,
        seen: Utc(seen),
    }
}

pub(crate) fn beat(r_peak: u64, class: Option<BeatClass>) -> Beat {
    Beat {
        r_peak: SampleIndex(r_peak),
        class,
    }
}

pub(crate) fn event(record: &RecordId, onset: u64, state: AlarmState) -> AlarmEvent {
    let step = AlarmState::ALL.iter().position(|&s| s == state).unwrap() as u64;
    let onset = SampleIndex(onset);
    AlarmEvent {
        alarm: AlarmId::new(record, Condition::Asystole, onset),
        record: record.clone(),
        condition: Condition::Asystole,
        kind: AlarmKind::Physiological,
        priority: Priority::High,
        state,
        onset,
        at: SampleIndex(onset.0 + 1000 * (step + 1)),
        utc: Utc(((onset.0 + 1000 * (step + 1)) * 4000).cast_signed()),
        by: (state == AlarmState::Acknowledged).then(|| "Nurse Ada".to_owned()),
        evidence: format!("no QRS for 4.0 s, step {step}"),
    }
}

pub(crate) fn held_back(record: &RecordId, onset: u64) -> Suppression {
    Suppression {
        alarm: AlarmId::new(record, Condition::Asystole, SampleIndex(onset)),
        record: record.clone(),
        condition: Condition::Asystole,
        priority: Priority::High,
        onset: SampleIndex(onset),
        at: SampleIndex(onset + 1000),
        utc: Utc(onset.cast_signed() * 4000),
        evidence: "no QRS for 4.0 s".to_owned(),
        reason: "5 pulses meanwhile, 71/min".to_owned(),
    }
}

pub(crate) fn strip(n_samples: usize) -> Strip {
    let samples = |k: usize| {
        (0..n_samples)
            .map(|i| ((i * (k + 1)) as f32 / 40.0).sin())
            .collect()
    };
    Strip {
        start: SampleIndex(1000),
        end: SampleIndex(1000 + n_samples as u64),
        rate: SampleRate::new(500.0).unwrap(),
        signals: [LeadOrigin::Measured, LeadOrigin::Reconstructed]
            .into_iter()
            .enumerate()
            .map(|(k, origin)| StripSignal {
                kind: SignalKind::Ecg(Lead::TWELVE[k + 1]),
                origin,
                samples: samples(k),
                band: match origin {
                    LeadOrigin::Reconstructed => vec![0.05; n_samples / 8],
                    _ => Vec::new(),
                },
            })
            .collect(),
        model: Some(ModelRef {
            name: "leastsquares".to_owned(),
            version: "1".to_owned(),
            sha256: "ab".repeat(32),
        }),
        trust: Some(Trust {
            score: 0.75,
            novelty: 0.5,
        }),
        withheld: None,
    }
}

pub(crate) fn kept(alarm: AlarmId, n_samples: usize) -> AlarmStrip {
    AlarmStrip {
        alarm,
        strip: strip(n_samples),
        findings: Some(format!(r#"[{{"name":"pause","n":{n_samples}}}]"#)),
    }
}

pub(crate) fn finding(record: &RecordId, onset: u64, end: u64) -> FindingRow {
    FindingRow {
        record: record.clone(),
        source: "rhythm-1".to_owned(),
        name: "atrial_fibrillation".to_owned(),
        onset: SampleIndex(onset),
        end: SampleIndex(end),
        ended: false,
        start_utc: Utc((onset * 4000).cast_signed()),
        end_utc: Utc((end * 4000).cast_signed()),
        text: "Atrial fibrillation".to_owned(),
        snomed: Some(164_889_003),
        probability: Some(0.75),
        model: Some(("1.0.0".to_owned(), "cd".repeat(32))),
        change: Some(Change::New),
        body: r#"{"name":"atrial_fibrillation"}"#.to_owned(),
    }
}

pub(crate) fn trend(record: &RecordId, minute: u64, n_rates: u32) -> Trend {
    let start = Utc(minute.cast_signed() * 60_000_000);
    let mut trend = Trend::new(record.clone(), minute, start);
    if n_rates > 0 {
        trend.n_beats = n_rates + 1;
        trend.n_rates = n_rates;
        trend.rate_sum = f64::from(n_rates) * 72.4;
        trend.rate_min = 70.1;
        trend.rate_max = 75.3;
    }
    trend.usable_seconds = 118;
    trend.unusable_seconds = 2;
    trend.gap_samples = 125;
    trend
}

/// Something of everything.
pub(crate) fn full_batch() -> Batch {
    let one = record("vest-1", 7);
    let raised = event(&one, 500, AlarmState::Active);
    Batch {
        records: vec![update(&one, 5000, 20_000_000)],
        beats: (1..20)
            .map(|k| {
                (
                    one.clone(),
                    beat(k * 200, (k % 3 == 0).then_some(BeatClass::V)),
                    Utc(k.cast_signed()),
                )
            })
            .collect(),
        gaps: vec![(
            one.clone(),
            Gap {
                start: SampleIndex(4000),
                end: SampleIndex(4100),
            },
        )],
        strips: vec![kept(raised.alarm, 500)],
        findings: vec![finding(&one, 500, 3060)],
        baselines: Vec::new(),
        suppressions: vec![held_back(&one, 900), held_back(&one, 2000)],
        events: vec![raised, event(&one, 500, AlarmState::Latched)],
        trends: vec![trend(&one, 0, 18), trend(&one, 1, 0)],
        at: None,
    }
}

pub(crate) const ALL: std::ops::Range<Utc> = Utc(i64::MIN)..Utc(i64::MAX);

pub(crate) fn to(end: u64) -> std::ops::Range<SampleIndex> {
    SampleIndex(0)..SampleIndex(end)
}

/// Everything there is of one device, to compare.
pub(crate) async fn everything(
    store: &Store,
    record: &RecordId,
) -> impl PartialEq + std::fmt::Debug {
    let alarms = store.alarms(&AlarmFilter::default()).await.unwrap();
    let mut lives = Vec::new();
    for row in &alarms {
        lives.push((
            store.alarm(row.alarm).await.unwrap().unwrap(),
            store.strip(row.alarm).await.unwrap(),
        ));
    }
    let held_back = store.suppressions(&record.device, ALL, 1000).await.unwrap();
    (
        store.devices().await.unwrap(),
        store.beats(record, to(u64::MAX)).await.unwrap(),
        store.beats_of_device(&record.device, ALL).await.unwrap(),
        store.gaps(record).await.unwrap(),
        store.trends(&record.device, ALL).await.unwrap(),
        store.records(&record.device).await.unwrap(),
        store.findings(&record.device, ALL, 1000).await.unwrap(),
        (alarms, lives, held_back),
        store.resume().await.unwrap(),
    )
}
