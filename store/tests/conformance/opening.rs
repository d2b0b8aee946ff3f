//! Connecting and migrating.

use sqlx::{Connection, SqliteConnection};
use store::{Config, Error, Store};

use crate::database::Database;
use crate::fixtures::full_batch;

pub(crate) async fn migrating_again_changes_nothing(db: &Database) {
    db.store.commit(&full_batch()).await.unwrap();
    let other = db.another().await;
    let (a, b) = tokio::join!(db.store.migrate(), other.migrate());
    a.unwrap();
    b.unwrap();
    assert_eq!(db.count("beats").await, 19);
    other.close().await;
}

pub(crate) async fn a_newer_database_is_left_alone(db: &Database) {
    db.execute("UPDATE _sqlx_migrations SET version = version + 9998")
        .await
        .unwrap();
    let error = db.store.migrate().await.unwrap_err();
    assert!(
        matches!(error, Error::Newer { found: 9999, .. }) && !error.is_transient(),
        "{error:?}"
    );
    assert!(error.to_string().contains("9999"), "{error}");
}

/// A database that is not there is worth another try; one that cannot be meant is not.
#[tokio::test]
async fn opening_tells_retry_from_give_up() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let down = format!("postgres://user:hunter2@127.0.0.1:{port}/x");
    let error = Store::open(&Config::new(down)).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");

    // A server that accepts and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut config = Config::new(format!("postgres://user:hunter2@127.0.0.1:{port}/x"));
    config.acquire_timeout = std::time::Duration::from_millis(200);
    let error = Store::open(&config).await.unwrap_err();
    assert!(
        matches!(error, Error::Timeout(_)) && error.is_transient(),
        "{error:?}"
    );

    let missing = format!("sqlite://{}/no/such/folder/a.db", folder.path().display());
    for (url, named) in [
        ("mysql://user:hunter2@host/x", "\"mysql\""),
        ("hunter2", "neither"),
        ("", "neither"),
        ("postgres://user:hunter2@host:99999/x", "url"),
        ("sqlite::memory:", "names no file"),
        ("sqlite://", "names no file"),
        ("sqlite:a.db?mode=memory", "names no file"),
        ("sqlite:a.db?mode=sideways", "sideways"),
        (missing.as_str(), "no/such/folder"),
    ] {
        let error = Store::open(&Config::new(url)).await.unwrap_err();
        assert!(
            matches!(error, Error::Config(_)) && !error.is_transient(),
            "{url}: {error:?}"
        );
        let shown = format!("{error} {error:?}");
        assert!(
            shown.contains(named) && !shown.contains("hunter2"),
            "{url}: {shown}"
        );
    }

    let text = folder.path().join("letter.txt");
    std::fs::write(&text, "this is no database, but a letter of some length").unwrap();
    let error = Store::open(&Config::new(format!("sqlite:{}", text.display())))
        .await
        .unwrap_err();
    assert!(!error.is_transient(), "{error:?}");
}

/// Another process that holds SQLite's only pen for too long is worth another try.
#[tokio::test]
async fn a_busy_sqlite_is_transient() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/busy.db", folder.path().display());
    let mut config = Config::new(&url);
    config.busy_timeout = std::time::Duration::from_millis(50);
    let store = Store::open(&config).await.unwrap();
    store.migrate().await.unwrap();

    let mut other = SqliteConnection::connect(&url).await.unwrap();
    let held = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = store.commit(&full_batch()).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    // Readers do not mind.
    assert!(store.devices().await.unwrap().is_empty());
    held.rollback().await.unwrap();
    store.commit(&full_batch()).await.unwrap();
    assert_eq!(store.devices().await.unwrap().len(), 1);
}
