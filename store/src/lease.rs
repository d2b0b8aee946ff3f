//! The right to be the one process that works on a database.
//!
//! **At most one process holds it.** It is held by a connection (PostgreSQL: an advisory lock of a session) or by an open
//! file (SQLite: a lock on a file beside the database), so it ends with the process, however that ends, and is there
//! for the next one at once. A process that finds its connection broken may have lost it: [`Lease::take`] says.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::PathBuf;
use std::time::Duration;

use sqlx::{ConnectOptions, Connection, PgConnection};
use uuid::Uuid;

use crate::database::{Pools, within};
use crate::{Error, Store};

/// Any number that nothing else locks.
const KEY: i64 = 7_309_417_745_910_002;
/// How long the database may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to say goodbye: without one, the end of the connection says the same.
const GOODBYE: Duration = Duration::from_secs(1);

/// The right to be the one process that works on a database, or the wish for it.
#[derive(Debug)]
pub struct Lease {
    how: How,
    is_held: bool,
}

#[derive(Debug)]
enum How {
    Postgres(Box<PgConnection>),
    Sqlite(File),
}

impl Lease {
    /// Asks for the right, or makes sure that it is still there; true if it is. After an error it is not: begin anew
    /// with [`Store::lease`].
    ///
    /// # Errors
    /// What the database says.
    pub async fn take(&mut self) -> Result<bool, Error> {
        match &mut self.how {
            How::Postgres(connection) if self.is_held => {
                within(PATIENCE, connection.ping()).await?;
            }
            How::Postgres(connection) => {
                let asked = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
                    .bind(KEY)
                    .fetch_one(&mut **connection);
                self.is_held = within(PATIENCE, asked).await?;
            }
            How::Sqlite(file) => match file.try_lock() {
                Ok(()) => self.is_held = true,
                Err(TryLockError::WouldBlock) => self.is_held = false,
                Err(TryLockError::Error(error)) => {
                    return Err(Error::Unavailable(sqlx::Error::Io(error)));
                }
            },
        }
        Ok(self.is_held)
    }

    /// Gives the right back.
    pub async fn release(self) {
        if let How::Postgres(connection) = self.how {
            // Where this fails there is no connection any more, and no lock.
            tokio::time::timeout(GOODBYE, connection.close()).await.ok();
        }
    }
}

impl Store {
    /// Prepares to [take](Lease::take) the right to work on this database, for the process that calls itself `owner`. What
    /// a broken connection of the same owner may still hold is taken from it.
    ///
    /// # Errors
    /// What the database says.
    pub async fn lease(&self, owner: Uuid) -> Result<Lease, Error> {
        let how = match &self.pools {
            Pools::Postgres(pool) => {
                let name = format!("einthoven {}", owner.simple());
                // The server finds out within half a minute that this machine is gone, and gives the lock to another.
                let options = pool
                    .connect_options()
                    .as_ref()
                    .clone()
                    .application_name(&name)
                    .options([
                        ("tcp_keepalives_idle", "10"),
                        ("tcp_keepalives_interval", "5"),
                        ("tcp_keepalives_count", "3"),
                        ("idle_session_timeout", "0"),
                    ]);
                let mut connection = within(PATIENCE, options.connect()).await?;
                let former = sqlx::query(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE application_name = $1 AND pid <> pg_backend_pid()",
                )
                .bind(&name)
                .execute(&mut connection);
                within(PATIENCE, former).await?;
                How::Postgres(Box::new(connection))
            }
            Pools::Sqlite { write, .. } => {
                let options = write.connect_options();
                let mut name = options.get_filename().as_os_str().to_owned();
                name.push("-lease");
                let file = OpenOptions::new()
                    .create(true)
                    .truncate(false)
                    .write(true)
                    .open(PathBuf::from(name))
                    .map_err(|error| Error::Unavailable(sqlx::Error::Io(error)))?;
                How::Sqlite(file)
            }
        };
        Ok(Lease {
            how,
            is_held: false,
        })
    }
}
