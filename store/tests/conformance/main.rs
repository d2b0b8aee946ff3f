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
mod days;
mod delivery;
mod devices;
mod fixtures;
mod opening;
mod retention;
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
    alarms::the_steps_and_strips_of_a_device
    alarms::filters_and_pages
    alarms::text_of_any_length_and_script
    devices::limits_are_kept_with_every_change
    devices::limits_that_silence_what_kills_are_refused
    devices::calibrations_are_versions_that_can_be_taken_back
    days::a_patient_changes_devices
    days::a_day_is_read_from_what_a_device_saw
    storing::what_no_column_holds_is_refused
    storing::a_damaged_row_is_an_error
    storing::commits_from_all_sides
    delivery::a_new_event_brings_one_message
    delivery::a_reader_misses_no_message
    delivery::who_nobody_answers_is_escalated_once
    delivery::deliveries_are_in_order_per_device
    delivery::what_is_held_knows_its_alarm
    delivery::subscribers_come_back_and_keep_their_secret
    delivery::the_last_pause_of_a_device_is_in_force
    delivery::devices_with_alarms_are_found
    opening::migrating_again_changes_nothing
    opening::a_newer_database_is_left_alone
    retention::what_is_old_goes_and_what_is_young_stays
    retention::an_open_alarm_keeps_its_rows
    retention::nothing_young_is_ever_removed
    retention::one_process_at_a_time_has_the_lease
    retention::removed_rows_give_their_room_back
    retention::absurd_positions_are_kept_like_others
}
