//! What lasts: devices, beats, alarms, strips, findings and trends in PostgreSQL (15 or later) or SQLite.
//!
//! **Commit a [`Batch`], and all of it is durable or none of it is; commit it again, and nothing
//! changes.** Everything in the database follows from that:
//!
//! * Every row has a key computed from what it says (record and R peak, alarm and state), so a
//!   repeat after a crash finds its rows already there.
//! * A beat, a gap, an alarm event or a strip is never taken back. An alarm only moves forward, in
//!   whatever order its events arrive.
//! * An alarm event that is new brings its [message](Message) into the outbox in the same transaction, and one that is
//!   not brings none: what is to be told to others is as durable as the event, and told of once.
//! * [`Store::resume`] tells a restarted process all that it needs to carry on.
//!
//! One [`Store`] speaks to either database, chosen by the URL in [`Config`]; the same tests run on
//! both. The tables are described in `migrations/`, the best place to start reading.
//!
//! No clock is read here: every instant comes with the data.
//!
//! ```
//! # async fn example(dir: &std::path::Path) -> Result<(), store::Error> {
//! use ecg::{Anchor, Beat, BootId, Layout, Lead, RecordId, SampleIndex, SampleRate, SignalKind, SignalSpec, Utc};
//! use store::{Batch, Config, RecordUpdate, Store};
//!
//! let store = Store::open(&Config::new(format!("sqlite://{}/e.db", dir.display()))).await?;
//! store.migrate().await?;
//!
//! let record = RecordId { device: "vest-7".parse().expect("a name"), boot: BootId(1) };
//! let rate = SampleRate::new(250.0).expect("a rate");
//! let lead = SignalSpec { kind: SignalKind::Ecg(Lead::II), rate };
//! let mut batch = Batch::default();
//! batch.records.push(RecordUpdate {
//!     record: record.clone(),
//!     layout: Layout::new(&[lead]).expect("one lead"),
//!     anchor: Anchor { index: SampleIndex(0), utc: Utc(0), hz: 250.0 },
//!     durable_until: SampleIndex(500),
//!     ended: false,
//!     seen: Utc(2_000_000),
//! });
//! let beat = Beat { r_peak: SampleIndex(310), class: None };
//! batch.beats.push((record.clone(), beat, Utc(1_240_000)));
//! store.commit(&batch).await?;
//! store.commit(&batch).await?; // a repeat, after a crash perhaps
//!
//! assert_eq!(store.beats(&record, SampleIndex(0)..SampleIndex(500)).await?.len(), 1);
//! assert_eq!(store.resume().await?[0].durable_until, SampleIndex(500));
//! # Ok(())
//! # }
//! # let dir = tempfile::tempdir().unwrap();
//! # tokio::runtime::Runtime::new().unwrap().block_on(example(dir.path())).unwrap();
//! ```

mod alarms;
mod batch;
mod calibrations;
mod commit;
mod config;
mod database;
mod days;
mod deliveries;
mod devices;
mod error;
mod findings;
mod history;
mod lease;
mod limits;
mod outbox;
mod pauses;
mod resume;
mod retention;
mod rows;
mod strip;
mod subscribers;
mod suppressions;

pub use alarms::{AlarmFilter, AlarmRow};
pub use batch::{AlarmStrip, Batch, RecordUpdate};
pub use calibrations::CalibrationRow;
pub use config::{Config, Retention};
pub use database::Store;
pub use days::{AlarmTimes, BeatCount, EpisodeSpan, HeldBack, Worn};
pub use deliveries::{Backlog, Delivery, DeliveryState, Held, NewDelivery, Outcome};
pub use devices::{DeviceRow, PatientId, RecordRow};
pub use error::Error;
pub use findings::FindingRow;
pub use lease::Lease;
pub use limits::LimitChange;
pub use outbox::{EscalationRule, Message, MessageKind};
pub use pauses::Pause;
pub use resume::{RECENT_SECONDS, Resume};
pub use retention::{DAYS_AHEAD, Kept};
pub use subscribers::{Subscriber, SubscriberFilter, SubscriberSettings};
