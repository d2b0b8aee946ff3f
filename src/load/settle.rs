//! Waits until the service has nothing left to do of a play.

use std::collections::BTreeMap;
use std::time::Duration;

use store::Store;

use super::publish::Run;
use crate::wall;

/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(500);
/// How long strips may be on their way after the end of the records, where the service cannot be asked.
const STRIPS: Duration = Duration::from_secs(3);

/// What a service says of itself, for reading it from its `/metrics`.
#[derive(Debug, Clone)]
pub struct Api {
    client: reqwest::Client,
    base: String,
}

impl Api {
    /// The service at `base`, such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// Why there can be no client.
    pub fn new(base: &str) -> Result<Self, String> {
        let client = crate::stage::deliver::client().map_err(|error| error.to_string())?;
        Ok(Self {
            client,
            base: base.trim_end_matches('/').to_owned(),
        })
    }

    /// The body of a GET.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(&self, path: &str) -> Result<String, String> {
        let answer = self.open(path).await?;
        answer.text().await.map_err(|error| error.to_string())
    }

    /// The answer to a GET, to read its body as it comes.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn open(&self, path: &str) -> Result<reqwest::Response, String> {
        let url = format!("{}{path}", self.base);
        let answer = self.client.get(url).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        answer.map_err(|error| error.to_string())
    }

    /// The metrics without labels, and the sums of those with labels, by name.
    ///
    /// # Errors
    /// Why they are not known.
    pub async fn metrics(&self) -> Result<BTreeMap<String, f64>, String> {
        let mut metrics = BTreeMap::new();
        for line in self.get("/metrics").await?.lines() {
            if line.starts_with('#') {
                continue;
            }
            let Some((name, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let name = name.split('{').next().unwrap_or(name);
            *metrics.entry(name.to_owned()).or_default() += value.parse().unwrap_or(0.0);
        }
        Ok(metrics)
    }
}

/// Waits until every record of the play is closed and, where the service can be asked, no packet is unacknowledged; for
/// `limit` at most. What it still waited for then, else nothing.
///
/// # Errors
/// What the database says.
pub async fn settle(
    store: &Store,
    run: &Run,
    api: Option<&Api>,
    limit: Duration,
) -> Result<Option<String>, store::Error> {
    let begin = wall::instant();
    let mut calm = 0;
    loop {
        let open = open(store, run).await?;
        let unacked = match api {
            Some(api) => api.metrics().await.map(|metrics| {
                metrics
                    .get("ingest_unacked_packets")
                    .copied()
                    .unwrap_or(0.0)
            }),
            None => Ok(0.0),
        };
        let waiting = match unacked {
            _ if open > 0 => Some(format!("{open} records are not closed")),
            Ok(unacked) if unacked > 0.0 => Some(format!("{unacked} packets are unacknowledged")),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        // Between two starts of a device, all may seem to be closed.
        calm = if waiting.is_none() { calm + 1 } else { 0 };
        if calm == 2 {
            if api.is_none() {
                tokio::time::sleep(STRIPS).await;
            }
            return Ok(None);
        }
        if wall::instant().saturating_duration_since(begin) > limit {
            return Ok(waiting.or_else(|| Some("records that were closed a moment ago".to_owned())));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How many devices of the play have a record that is not closed, or none yet.
async fn open(store: &Store, run: &Run) -> Result<usize, store::Error> {
    let mut latest: BTreeMap<_, _> = store
        .devices()
        .await?
        .into_iter()
        .map(|row| (row.device, row.record))
        .collect();
    let is_open = |log: &&super::DeviceLog| {
        let record = latest.remove(&log.device).flatten();
        let n_boots = run.courses[log.course].n_boots;
        log.acked > 0
            && !record.is_some_and(|row| {
                let ours = log.player.boot_number(row.record.boot, n_boots);
                row.ended && ours.is_some()
            })
    };
    Ok(run.devices.iter().filter(is_open).count())
}
