//! The connection to either database.
//!
//! PostgreSQL has one pool. SQLite has two: one connection that writes, since SQLite lets only one
//! write at a time and a queue in this process is fairer than its busy loop, and several that read
//! beside it, which its write-ahead log makes possible.

use std::str::FromStr;
use std::time::Duration;

use ecg::Utc;
use secrecy::ExposeSecret;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, PgPool, SqliteConnection, SqlitePool};

use crate::{Config, Error};

static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");

/// The database. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) pools: Pools,
    /// How long the server may take for a transaction.
    pub(crate) patience: Duration,
}

#[derive(Debug, Clone)]
pub(crate) enum Pools {
    Postgres(PgPool),
    Sqlite {
        /// A single connection.
        write: SqlitePool,
        read: SqlitePool,
    },
}

/// Runs a query on whichever pool is there for reading. The SQL is the same for both.
macro_rules! read {
    ($store:expr, $pool:ident => $query:expr) => {
        match &$store.pools {
            $crate::database::Pools::Postgres($pool) => {
                $crate::database::in_time($store.patience, async { $query }).await
            }
            $crate::database::Pools::Sqlite { read: $pool, .. } => $query,
        }
    };
}

/// Runs statements in one transaction, whichever database it is, and commits it; what the statements come to. The SQL is
/// the same for both.
macro_rules! in_transaction {
    ($store:expr, $connection:ident => $statements:block) => {
        match &$store.pools {
            $crate::database::Pools::Postgres(pool) => {
                let all = async {
                    let mut transaction = pool.begin().await?;
                    let $connection = &mut *transaction;
                    let value = $statements;
                    transaction.commit().await?;
                    Ok::<_, $crate::Error>(value)
                };
                $crate::database::in_time($store.patience, all).await?
            }
            $crate::database::Pools::Sqlite { write, .. } => {
                let mut connection = write.acquire().await?;
                let all = async {
                    let mut transaction = $crate::database::begin_write(&mut connection).await?;
                    let $connection = &mut *transaction;
                    let value = $statements;
                    transaction.commit().await?;
                    Ok::<_, $crate::Error>(value)
                };
                let outcome = all.await;
                $crate::database::hand_back(connection, outcome).await?
            }
        }
    };
}

pub(crate) use {in_transaction, read};

impl Store {
    /// Connects to the database of `config`, once: where it cannot be reached at the moment, the
    /// error is [transient](Error::is_transient), and when to try again is up to the caller. Once
    /// open, connections that break are replaced as needed.
    ///
    /// # Errors
    /// [`Error::Config`] for a URL that names neither database, or an SQLite file without its
    /// folder; [`Error::Timeout`] and [`Error::Unavailable`] where there is no connection yet.
    pub async fn open(config: &Config) -> Result<Self, Error> {
        let url = config.url.expose_secret();
        let pools = match url.split_once(':') {
            Some(("postgres" | "postgresql", _)) => open_postgres(url, config).await?,
            Some(("sqlite", _)) => open_sqlite(url, config).await?,
            // The scheme may be shown, the rest may be a password.
            Some((scheme, _)) => {
                return Err(Error::Config(format!(
                    "url begins with {scheme:?}, not with postgres or sqlite"
                )));
            }
            None => {
                return Err(Error::Config(
                    "url begins neither with postgres: nor with sqlite:".to_owned(),
                ));
            }
        };
        let patience = config.transaction_timeout;
        Ok(Self { pools, patience })
    }

    /// Brings the tables up to date. Forward only; several processes may do it at once: one does it, the others wait.
    ///
    /// # Errors
    /// [`Error::Newer`] where the tables are those of a newer version; [`Error::Migration`] where a migration fails.
    pub async fn migrate(&self) -> Result<(), Error> {
        match &self.pools {
            // Under an advisory lock of the database.
            Pools::Postgres(pool) => POSTGRES
                .run(pool)
                .await
                .map_err(|error| refusal(error, &POSTGRES)),
            // SQLite has no such lock, but a transaction that writes has the file to itself. All migrations in one: each
            // is a savepoint of it.
            Pools::Sqlite { write, .. } => {
                let mut transaction = write.begin_with("BEGIN IMMEDIATE").await?;
                SQLITE
                    .run(&mut *transaction)
                    .await
                    .map_err(|error| refusal(error, &SQLITE))?;
                transaction.commit().await?;
                Ok(())
            }
        }
    }

    /// Asks the database for an answer.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ping(&self) -> Result<(), Error> {
        read!(self, pool => sqlx::query("SELECT 1").execute(pool).await.map(drop))?;
        Ok(())
    }

    /// Writes something, so that it is known whether anything can be written.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn heartbeat(&self, now: Utc) -> Result<(), Error> {
        let sql = "INSERT INTO heartbeat (id, utc) VALUES (1, $1)
             ON CONFLICT (id) DO UPDATE SET utc = excluded.utc";
        match &self.pools {
            Pools::Postgres(pool) => sqlx::query(sql).bind(now.0).execute(pool).await.map(drop)?,
            Pools::Sqlite { write, .. } => {
                sqlx::query(sql)
                    .bind(now.0)
                    .execute(write)
                    .await
                    .map(drop)?;
            }
        }
        Ok(())
    }

    /// Waits until everything under way is done, and disconnects.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Postgres(pool) => pool.close().await,
            Pools::Sqlite { write, read } => {
                read.close().await;
                write.close().await;
            }
        }
    }
}

async fn open_postgres(url: &str, config: &Config) -> Result<Pools, Error> {
    let options = PgConnectOptions::from_str(url).map_err(|error| bad_url(&error))?;
    // A connection outside of the pool first: the pool would try again until its time is up and
    // then not say why.
    within(config.acquire_timeout, options.connect())
        .await?
        .close()
        .await?;
    let (patience, test) = (config.transaction_timeout, config.acquire_timeout);
    let pool = PgPoolOptions::new()
        .max_connections(config.max_connections.get())
        .acquire_timeout(config.acquire_timeout)
        // A transaction whose client the server does not hear of any more holds its locks, and the same rows over a new
        // connection would wait for them: the server ends it no later than the client gives up.
        .after_connect(move |connection, _| {
            Box::pin(async move {
                let limit = patience.as_millis();
                let sql = format!("SET idle_in_transaction_session_timeout = {limit}");
                sqlx::query(sqlx::AssertSqlSafe(sql))
                    .execute(connection)
                    .await?;
                Ok(())
            })
        })
        // What comes back from a query that was given up may be dead, and must not be waited for.
        .after_release(move |connection, _| {
            Box::pin(async move {
                let answer = tokio::time::timeout(test, connection.ping()).await;
                answer.map_err(|_| too_late())?.map(|()| true)
            })
        })
        .connect_lazy_with(options);
    Ok(Pools::Postgres(pool))
}

async fn open_sqlite(url: &str, config: &Config) -> Result<Pools, Error> {
    // FULL, not NORMAL: in write-ahead mode NORMAL may lose the last commits when power fails, and
    // a packet is acknowledged on the strength of its commit.
    let options = SqliteConnectOptions::from_str(url)
        .map_err(|error| bad_url(&error))?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(config.busy_timeout);
    let file = options.get_filename();
    // Each connection would have a database of its own.
    if url.contains(":memory:") || url.contains("mode=memory") || file.as_os_str().is_empty() {
        return Err(Error::Config(
            "url names no file, and SQLite is only used with one".to_owned(),
        ));
    }
    if let Some(folder) = file.parent()
        && !folder.as_os_str().is_empty()
        && !folder.is_dir()
    {
        return Err(Error::Config(format!(
            "folder {} of the SQLite file does not exist",
            folder.display()
        )));
    }
    let pool = |size: u32| {
        SqlitePoolOptions::new()
            .max_connections(size)
            .acquire_timeout(config.acquire_timeout)
    };
    // Before the first table, or only a VACUUM does it; and nothing that would wait for those who write.
    let is_new = std::fs::metadata(file).map_or(true, |file| file.len() == 0);
    let mut writer = options.clone();
    if is_new {
        writer = writer.auto_vacuum(SqliteAutoVacuum::Incremental);
    }
    // The writer first: it creates the file and turns the write-ahead log on.
    let write = pool(1).connect_lazy_with(writer);
    within(config.acquire_timeout, write.acquire()).await?;
    let readers = config.max_connections.get().saturating_sub(1).max(1);
    let read = pool(readers).connect_lazy_with(options.pragma("query_only", "on"));
    Ok(Pools::Sqlite { write, read })
}

/// The answer of `future` if it comes in time.
pub(crate) async fn within<T>(
    limit: Duration,
    future: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(limit, future).await {
        Ok(Err(sqlx::Error::PoolTimedOut)) | Err(_) => Err(Error::Timeout(limit)),
        Ok(answer) => Ok(answer?),
    }
}

/// Tells tables of a newer version from migrations that fail.
fn refusal(error: MigrateError, migrator: &Migrator) -> Error {
    let known = migrator.iter().map(|migration| migration.version).max();
    match (error, known) {
        (MigrateError::VersionMissing(found), Some(known)) if found > known => {
            Error::Newer { found, known }
        }
        (error, _) => error.into(),
    }
}

/// Begins to write to SQLite. At once: a transaction that began by reading could not wait for another process to finish
/// writing.
pub(crate) async fn begin_write(
    connection: &mut SqliteConnection,
) -> Result<sqlx::Transaction<'_, sqlx::Sqlite>, sqlx::Error> {
    connection.begin_with("BEGIN IMMEDIATE").await
}

/// Hands the connection that writes to SQLite back, or closes it where it has failed. What fails for lack of room is rolled
/// back by SQLite itself, and sqlx, which does not know, would take the connection to be within a transaction for ever.
pub(crate) async fn hand_back<T>(
    connection: PoolConnection<sqlx::Sqlite>,
    outcome: Result<T, Error>,
) -> Result<T, Error> {
    if outcome.is_err() {
        // Whether in order or not, it is gone.
        connection.close().await.ok();
    }
    outcome
}

/// The answer of `future`, which the server gives: within `patience`, or it counts as gone. Without, a connection that
/// was cut without a word would be waited on for as long as the operating system keeps it, a quarter of an hour or for ever.
pub(crate) async fn in_time<T, E: From<sqlx::Error>>(
    patience: Duration,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    // Boxed, for transactions are large.
    match tokio::time::timeout(patience, Box::pin(future)).await {
        Ok(answer) => answer,
        Err(_) => Err(too_late().into()),
    }
}

fn too_late() -> sqlx::Error {
    let why = "the database has not answered in time";
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, why))
}

/// What is wrong with a URL, without the URL.
fn bad_url(error: &sqlx::Error) -> Error {
    match error {
        sqlx::Error::Configuration(why) => Error::Config(format!("url: {why}")),
        _ => Error::Config("url cannot be read".to_owned()),
    }
}
