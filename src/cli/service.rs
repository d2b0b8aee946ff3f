//! `run`, `migrate` and `check-config`.

use color_eyre::eyre::WrapErr;
use store::Store;

use super::{ConfigArgs, Failure, answer, block_on, on_signal, start_logging};
use crate::app::{self, App};

/// The service, until a signal ends it.
pub(super) fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let config = args.load()?;
    start_logging("info");
    block_on(async {
        let shutdown = on_signal().map_err(color_eyre::Report::from)?;
        let app = App::build(config, shutdown).await.map_err(failure)?;
        tracing::info!(address = %app.address(), "listening");
        app.run().await.map_err(failure)
    })
}

/// Tells settings that cannot work from failures that may pass.
pub(super) fn failure(error: app::Error) -> Failure {
    match error {
        app::Error::Pipeline(_)
        | app::Error::Listen { .. }
        | app::Error::Store(store::Error::Config(_) | store::Error::Newer { .. }) => {
            Failure::usage(error)
        }
        error => Failure::Failed(error.into()),
    }
}

/// The database, brought up to date.
pub(super) async fn open(config: &store::Config) -> color_eyre::Result<Store> {
    let store = Store::open(config)
        .await
        .wrap_err("cannot open the database")?;
    store
        .migrate()
        .await
        .wrap_err("cannot bring the database up to date")?;
    Ok(store)
}

/// Brings the database up to date.
pub(super) fn migrate(args: &ConfigArgs) -> Result<(), Failure> {
    let config = args.load()?;
    start_logging("info");
    block_on(async {
        let store = Store::open(&config.store).await;
        let migrated = match store {
            Ok(store) => store.migrate().await,
            Err(error) => Err(error),
        };
        migrated.map_err(|error| failure(error.into()))?;
        tracing::info!("database up to date");
        Ok(())
    })
}

/// Prints the effective settings.
pub(super) fn check_config(args: &ConfigArgs) -> Result<(), Failure> {
    let text = args.load()?.effective().map_err(color_eyre::Report::from)?;
    answer(text)
}
