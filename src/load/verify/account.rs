//! What the database holds of a device.

use std::collections::{BTreeSet, HashMap};

use ecg::{AlarmEvent, AlarmId, Beat, BootId, DeviceId, Gap, RecordId, Suppression, Trend, Utc};
use store::{AlarmFilter, AlarmRow, FindingRow, Message, RecordRow, Store};

use crate::load::Run;

/// All that is stored of a device.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) records: Vec<RecordRow>,
    pub(super) beats: Vec<(RecordId, Beat, Utc)>,
    pub(super) gaps: Vec<(BootId, Gap)>,
    pub(super) trends: Vec<Trend>,
    pub(super) alarms: Vec<AlarmRow>,
    pub(super) events: Vec<AlarmEvent>,
    pub(super) held_back: Vec<Suppression>,
    pub(super) findings: Vec<FindingRow>,
    pub(super) strips: BTreeSet<AlarmId>,
}

impl Account {
    pub(super) async fn read(store: &Store, device: &DeviceId) -> Result<Self, store::Error> {
        let always = || Utc(i64::MIN)..Utc(i64::MAX);
        let records = store.records(device).await?;
        let mut gaps = Vec::new();
        for row in &records {
            let of = store.gaps(&row.record).await?;
            gaps.extend(of.into_iter().map(|gap| (row.record.boot, gap)));
        }
        let mut alarms: Vec<AlarmRow> = Vec::new();
        loop {
            let filter = AlarmFilter {
                device: Some(device.clone()),
                before: alarms.last().map(|last| (last.raised, last.alarm)),
                limit: AlarmFilter::MAX_LIMIT,
                ..AlarmFilter::default()
            };
            let page = store.alarms(&filter).await?;
            let last = page.len() < AlarmFilter::MAX_LIMIT as usize;
            alarms.extend(page);
            if last {
                break;
            }
        }
        let ids = alarms
            .iter()
            .flat_map(|row| [row.alarm, row.alarm.at_end()]);
        let ids: Vec<AlarmId> = ids.collect();
        Ok(Self {
            records,
            beats: store.beats_of_device(device, always()).await?,
            gaps,
            trends: store.trends(device, always()).await?,
            alarms,
            events: store.alarm_events(device).await?,
            held_back: store.suppressions(device, always(), u32::MAX).await?,
            findings: store.findings(device, always(), u32::MAX).await?,
            strips: store.strips_among(&ids).await?,
        })
    }
}

/// The messages about the alarms of a play.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) of: HashMap<DeviceId, Vec<Message>>,
    /// The newest message, of this play or not.
    pub(super) last: i64,
}

impl Messages {
    const PAGE: u32 = 5000;

    /// Those after a place in the outbox.
    pub(super) async fn read(
        store: &Store,
        run: &Run,
        mut after: i64,
    ) -> Result<Self, store::Error> {
        let devices = run.devices.iter().map(|log| log.device.clone());
        let mut of: HashMap<DeviceId, Vec<Message>> =
            devices.map(|device| (device, Vec::new())).collect();
        loop {
            let page = store.messages_after(after, Self::PAGE).await?;
            let last = page.len() < Self::PAGE as usize;
            for message in page {
                after = message.seq;
                if let Some(of) = of.get_mut(&message.record.device) {
                    of.push(message);
                }
            }
            if last {
                return Ok(Self { of, last: after });
            }
        }
    }

    pub(super) fn tells(&self, event: &AlarmEvent) -> bool {
        let of = self.of.get(&event.record.device);
        of.is_some_and(|of| of.iter().any(|message| message.id == event.id()))
    }
}
