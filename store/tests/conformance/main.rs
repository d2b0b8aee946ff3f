//! What every database must do, run on each: SQLite in a temporary file, and PostgreSQL on the
//! server named by `EINTHOVEN_TEST_POSTGRES`, the URL of a database from which others may be
//! created; every test gets its own. Without it the PostgreSQL half says that it did not run, and
//! fails if `EINTHOVEN_TEST_REQUIRE_SERVERS` is 1.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, also in what its functions share"
)]

mod alarms;
mod database;
mod devices;
mod fixtures;
mod opening;
mod storing;

/// Each function below as a test on either database.
macro_rules! on_both {
    ($($module:ident::$name:ident)*) => {
        mod on_sqlite {
            $(#[tokio::test]
            async fn $name() {
                let db = crate::database::sqlite().await;
                crate::$module::$name(&db).await;
                db.end().await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test]
            async fn $name() {
                if let Some(db) = crate::database::postgres().await {
                    crate::$module::$name(&db).await;
                    db.end().await;
                }
            })*
        }
    };
}

on_both! {
    storing::a_batch_committed_twice_is_stored_once
    storing::everything_comes_back_as_it_went_in
    storing::a_failed_batch_leaves_nothing
    storing::what_is_twice_in_a_batch_is_merged
    devices::an_older_update_changes_nothing
    alarms::an_alarm_only_moves_forward
    alarms::an_alarm_keeps_its_patient
    devices::resume_tells_where_each_device_was_left
    alarms::filters_and_pages
    alarms::text_of_any_length_and_script
    devices::limits_are_checked_here_and_in_the_database
    devices::calibrations_are_versions_that_can_be_taken_back
    storing::what_no_column_holds_is_refused
    storing::a_damaged_row_is_an_error
    storing::commits_from_all_sides
    opening::migrating_again_changes_nothing
    opening::a_newer_database_is_left_alone
}
