//! One process at a time works on a database: the others stand by.
//!
//! Two processes that shared a broker session or a database would each see half of the packets, and take the other half for
//! gaps. So a process reads what is stored, and connects to the broker, only while it holds the database's
//! [`Lease`]; it gives the lease back when its last transaction is done, and loses it with its life.

use std::time::Duration;

use store::{Lease, Store};
use tokio::sync::watch;
use uuid::Uuid;

use crate::wall;

/// How often it is made sure of, and something is written.
const TICK: Duration = Duration::from_secs(2);
/// How long the database may take for that.
const PATIENCE: Duration = Duration::from_secs(10);
/// Tries to get the lease back over a new connection, and the pause between them: the server may take a moment to end
/// the old one.
const TRIES: (u32, Duration) = (20, Duration::from_millis(250));

/// Makes sure of the lease for as long as it can, and says in `heartbeat` why nothing can be written, if so. Ends when
/// another process has the lease: why, in words for people.
///
/// A database that is away takes the lease with it, but nobody else can work meanwhile; when it is back, whoever asks
/// first has it.
pub async fn keep(
    store: &Store,
    lease: &mut Lease,
    owner: Uuid,
    heartbeat: &watch::Sender<Option<String>>,
) -> String {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let written = tokio::time::timeout(PATIENCE, store.heartbeat(wall::utc())).await;
        let problem = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.explain()),
            Err(_) => Some(format!("nothing could be written within {PATIENCE:?}")),
        };
        heartbeat.send_if_modified(|known| {
            let is_news = *known != problem;
            *known = problem;
            is_news
        });
        match lease.take().await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "connection that holds the lease of the database lost");
                match again(store, owner).await {
                    Ok(Some(new)) => {
                        *lease = new;
                        continue;
                    }
                    Ok(None) => {}
                    // The database is away: at the next tick.
                    Err(_) => continue,
                }
            }
        }
        return "another process has taken this database over while it could not be reached".into();
    }
}

/// The lease over a new connection; `None` if another process has it.
async fn again(store: &Store, owner: Uuid) -> Result<Option<Lease>, store::Error> {
    let mut lease = store.lease(owner).await?;
    for _ in 0..TRIES.0 {
        if lease.take().await? {
            return Ok(Some(lease));
        }
        tokio::time::sleep(TRIES.1).await;
    }
    Ok(None)
}
