//! What the service said during the play and says now, against what is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ecg::{AlarmId, BootId, DeviceId};
use serde_json::Value;
use store::{AlarmFilter, Store};

use super::{Accusation, Fault};
use crate::load::expect::Expected;
use crate::load::publish::DeviceLog;
use crate::load::{Api, Ear};

/// How often it is looked whether what is retained has become what is stored, and how long apart.
const LOOKS: (usize, Duration) = (20, Duration::from_millis(500));

/// Who can tell more than the database.
#[derive(Clone, Copy, Default)]
pub struct Witness<'a> {
    /// Who listened during the play, and still does.
    pub ear: Option<&'a Ear>,
    /// The service, to be asked.
    pub api: Option<&'a Api>,
}

/// The windows of a watched device: each must have been told of once.
pub(super) fn readings(log: &DeviceLog, expected: &Expected, ear: &Ear) -> (u64, Vec<Accusation>) {
    let mut told: BTreeMap<(BootId, u64), (u64, usize)> = BTreeMap::new();
    for reading in ear.heard().readings.get(&log.device).into_iter().flatten() {
        let (_, n) = told
            .entry((reading.boot, reading.start))
            .or_insert((reading.end, 0));
        *n += 1;
    }
    let mut accusations = Vec::new();
    let mut accuse = |fault, boot, start, detail: String| {
        accusations.push(Accusation {
            fault,
            what: "reading",
            device: log.device.clone(),
            boot: Some(boot),
            at: Some(start),
            detail,
        });
    };
    let mut n_checked = 0;
    for (&k, record) in &expected.records {
        let boot = log.player.boot(k);
        for (&start, &end) in &record.windows {
            n_checked += 1;
            match told.remove(&(boot, start)) {
                None => accuse(
                    Fault::Missing,
                    boot,
                    start,
                    "neither read nor left out".to_owned(),
                ),
                Some((found, 1)) if found == end => {}
                Some((found, 1)) => {
                    let detail = format!("to {found}, where {end} is its end");
                    accuse(Fault::Different, boot, start, detail);
                }
                Some((_, n)) => accuse(Fault::Twice, boot, start, format!("{n} times")),
            }
        }
    }
    for ((boot, start), _) in told {
        accuse(Fault::Unexpected, boot, start, String::new());
    }
    (n_checked, accusations)
}

/// What is retained on MQTT of each device: the alarms that are open.
pub(super) async fn retained(
    store: &Store,
    devices: impl Iterator<Item = &DeviceId>,
    ear: &Ear,
) -> Result<Vec<Accusation>, store::Error> {
    let mut doubtful: Vec<&DeviceId> = devices.collect();
    let mut accusations = Vec::new();
    for look in 0..LOOKS.0 {
        if look > 0 {
            // Alarms may have come or gone while it was looked.
            tokio::time::sleep(LOOKS.1).await;
        }
        accusations.clear();
        let mut still = Vec::new();
        for device in doubtful {
            let open = open(store, device).await?;
            let shown = ear.heard().retained.get(device).cloned();
            let shown = shown.unwrap_or_default();
            if open == shown {
                continue;
            }
            still.push(device);
            let accuse = |fault, alarm: &AlarmId, what: &str| Accusation {
                fault,
                what: "alarm on MQTT",
                device: device.clone(),
                boot: None,
                at: None,
                detail: format!("{alarm} {what}"),
            };
            let hidden = open.difference(&shown);
            accusations.extend(hidden.map(|id| accuse(Fault::Missing, id, "is open")));
            let stale = shown.difference(&open);
            accusations.extend(stale.map(|id| accuse(Fault::Unexpected, id, "is not open")));
        }
        doubtful = still;
        if doubtful.is_empty() {
            break;
        }
    }
    Ok(accusations)
}

async fn open(store: &Store, device: &DeviceId) -> Result<BTreeSet<AlarmId>, store::Error> {
    let filter = AlarmFilter {
        device: Some(device.clone()),
        open_only: true,
        limit: AlarmFilter::MAX_LIMIT,
        ..AlarmFilter::default()
    };
    let rows = store.alarms(&filter).await?;
    Ok(rows.into_iter().map(|row| row.alarm).collect())
}

/// What the API shows of a device's newest alarms: those that are stored.
pub(super) async fn shown(
    store: &Store,
    device: &DeviceId,
    api: &Api,
) -> Result<(u64, Vec<Accusation>), store::Error> {
    let filter = AlarmFilter {
        device: Some(device.clone()),
        limit: AlarmFilter::MAX_LIMIT,
        ..AlarmFilter::default()
    };
    let rows = store.alarms(&filter).await?;
    let accuse = |fault, detail: String| Accusation {
        fault,
        what: "alarm in the API",
        device: device.clone(),
        boot: None,
        at: None,
        detail,
    };
    let path = format!("/api/v1/alarms?device={device}&limit={}", filter.limit);
    let body = match api.get(&path).await {
        Ok(body) => body,
        Err(problem) => return Ok((0, vec![accuse(Fault::Missing, problem)])),
    };
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let listed = body["alarms"].as_array().map_or(&[][..], |alarms| alarms);
    let states: BTreeMap<&str, &str> = listed
        .iter()
        .filter_map(|alarm| Some((alarm["id"].as_str()?, alarm["state"].as_str()?)))
        .collect();
    let mut accusations = Vec::new();
    for row in &rows {
        let (id, state) = (row.alarm.to_string(), row.state.name());
        match states.get(id.as_str()) {
            None => accusations.push(accuse(Fault::Missing, id)),
            // It may have gone on since it was read.
            Some(shown) if *shown != state => {
                let now = store.alarm(row.alarm).await?;
                if now.is_none_or(|(now, _)| now.state.name() != *shown) {
                    let detail = format!("{id} {shown}, where it is {state}");
                    accusations.push(accuse(Fault::Different, detail));
                }
            }
            Some(_) => {}
        }
    }
    for id in states.keys() {
        let alarm = id.parse().ok().map(AlarmId);
        let is_read = alarm.is_some_and(|alarm| rows.iter().any(|row| row.alarm == alarm));
        if is_read {
            continue;
        }
        let stored = match alarm {
            Some(alarm) => store.alarm(alarm).await?.is_some(),
            None => false,
        };
        if !stored {
            accusations.push(accuse(Fault::Unexpected, (*id).to_owned()));
        }
    }
    Ok((rows.len() as u64, accusations))
}
