//! A database of each test's own.

use std::io::Write;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use store::{Config, Store};

/// A database of one test's own.
pub(crate) struct Database {
    pub(crate) store: Store,
    pub(crate) url: String,
    /// Keeps the folder of an SQLite file.
    _folder: Option<tempfile::TempDir>,
    /// The server, and the database to drop at the end.
    pub(crate) server: Option<(String, String)>,
}

impl Database {
    /// Another process on the same database, as far as the database can tell.
    pub(crate) async fn another(&self) -> Store {
        Store::open(&Config::new(&self.url)).await.unwrap()
    }

    /// Runs a statement behind the store's back.
    pub(crate) async fn execute(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.server.is_some() {
            let mut connection = PgConnection::connect(&self.url).await?;
            Ok(sqlx::query(sql)
                .execute(&mut connection)
                .await?
                .rows_affected())
        } else {
            let mut connection = SqliteConnection::connect(&self.url).await?;
            Ok(sqlx::query(sql)
                .execute(&mut connection)
                .await?
                .rows_affected())
        }
    }

    pub(crate) async fn count(&self, from: &str) -> i64 {
        let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM {from}"));
        if self.server.is_some() {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql)
                .fetch_one(&mut connection)
                .await
                .unwrap()
        } else {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(sql)
                .fetch_one(&mut connection)
                .await
                .unwrap()
        }
    }

    pub(crate) async fn end(self) {
        self.store.close().await;
        if let Some((server, name)) = self.server {
            let mut connection = PgConnection::connect(&server).await.unwrap();
            sqlx::query(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)")))
                .execute(&mut connection)
                .await
                .unwrap();
        }
    }
}

pub(crate) async fn sqlite() -> Database {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/test.db", folder.path().display());
    let store = Store::open(&Config::new(&url)).await.unwrap();
    store.migrate().await.unwrap();
    Database {
        store,
        url,
        _folder: Some(folder),
        server: None,
    }
}

/// `None` where there is no server to run on.
pub(crate) async fn postgres() -> Option<Database> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let Ok(server) = std::env::var("EINTHOVEN_TEST_POSTGRES") else {
        static SAID: Once = Once::new();
        // Not by eprintln, which a passing test keeps to itself.
        SAID.call_once(|| {
            let line = "NOT RUN on PostgreSQL: EINTHOVEN_TEST_POSTGRES names no server\n";
            std::io::stderr().write_all(line.as_bytes()).unwrap();
        });
        assert_ne!(
            std::env::var("EINTHOVEN_TEST_REQUIRE_SERVERS").as_deref(),
            Ok("1"),
            "EINTHOVEN_TEST_REQUIRE_SERVERS is 1, but EINTHOVEN_TEST_POSTGRES names no server"
        );
        return None;
    };
    let name = format!(
        "einthoven_store_{}_{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let mut connection = PgConnection::connect(&server).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut connection)
        .await
        .unwrap();
    let (address, query) = server.split_once('?').unwrap_or((&server, ""));
    let after_scheme = address.find("://").unwrap() + 3;
    let host_end = address[after_scheme..]
        .find('/')
        .map_or(address.len(), |slash| after_scheme + slash);
    let url = format!("{}/{name}?{query}", &address[..host_end]);
    let store = Store::open(&Config::new(&url)).await.unwrap();
    store.migrate().await.unwrap();
    Some(Database {
        store,
        url,
        _folder: None,
        server: Some((server, name)),
    })
}
