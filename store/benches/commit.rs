//! Beats per second into either database, in batches of 500 of 50 devices; and batches of 500 that
//! are there already, as after a crash.
//!
//! SQLite writes to a temporary folder, PostgreSQL to the database of `EINTHOVEN_TEST_POSTGRES`,
//! where the beats are left behind under boots that no device has; without it, that half is
//! missing from the table.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use divan::Bencher;
use divan::counter::ItemsCount;
use ecg::{Beat, BootId, RecordId, SampleIndex, Utc};
use store::{Batch, Config, Store};
use tokio::runtime::Runtime;

const ROWS: u32 = 500;
const DEVICES: u32 = 50;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime starts"));

static FOLDER: LazyLock<tempfile::TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a temporary folder can be made"));

static NEXT: AtomicU32 = AtomicU32::new(0);

fn main() {
    divan::main();
}

/// Beats that no batch had before.
fn fresh() -> Batch {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let beats = (0..ROWS)
        .map(|k| {
            let record = RecordId {
                device: format!("bench-{}", k % DEVICES).parse().expect("a name"),
                boot: BootId(std::process::id()),
            };
            let position = u64::from(n * (ROWS / DEVICES) + k / DEVICES) * 200;
            let beat = Beat {
                r_peak: SampleIndex(position),
                class: None,
            };
            (record, beat, Utc(position.cast_signed() * 4000))
        })
        .collect();
    Batch {
        beats,
        ..Batch::default()
    }
}

fn open(name: &str) -> Option<Store> {
    let url = match name {
        "sqlite" => format!("sqlite://{}/bench.db", FOLDER.path().display()),
        _ => std::env::var("EINTHOVEN_TEST_POSTGRES").ok()?,
    };
    let store = RUNTIME.block_on(async {
        let store = Store::open(&Config::new(url)).await?;
        store.migrate().await?;
        Ok::<_, store::Error>(store)
    });
    Some(store.expect("the database opens"))
}

#[divan::bench(args = ["sqlite", "postgres"])]
fn new_beats(bencher: Bencher<'_, '_>, database: &str) {
    let Some(store) = open(database) else { return };
    bencher
        .counter(ItemsCount::new(ROWS))
        .with_inputs(fresh)
        .bench_local_refs(|batch| RUNTIME.block_on(store.commit(batch)).expect("stored"));
}

#[divan::bench(args = ["sqlite", "postgres"])]
fn repeated_beats(bencher: Bencher<'_, '_>, database: &str) {
    let Some(store) = open(database) else { return };
    let batch = fresh();
    bencher
        .counter(ItemsCount::new(ROWS))
        .bench_local(|| RUNTIME.block_on(store.commit(&batch)).expect("stored"));
}
