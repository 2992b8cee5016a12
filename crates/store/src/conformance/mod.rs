//! What a store must do, said once and held against both databases, and what sessions must do against Redis as well. SQLite is
//! a file in a temporary directory; PostgreSQL and Redis are servers of our own, shared by the tests, with an empty database or
//! keys of its own for each.

mod audit;
mod backup;
mod bench;
mod clients;
mod email_codes;
mod forgetful_redis;
mod identities;
mod keys;
mod login_names;
mod migrating;
mod outage;
mod revocation_news;
mod revocations;
mod rights;
mod rotation;
mod second_factors;
mod sessions;
mod users;

/// Makes each scenario a test of one store.
macro_rules! tests_of {
    ($store:ident: $($subject:ident::$scenario:ident),+ $(,)?) => {
        mod $store {
            use super::{bench::Bench, *};
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() { $subject::$scenario(&Bench::$store().await).await; })+
        }
    };
}

/// Makes each scenario a test of both databases.
macro_rules! conformance {
    ($($scenarios:tt)+) => {
        tests_of! { sqlite: $($scenarios)+ }
        tests_of! { postgres: $($scenarios)+ }
    };
}

/// Sessions are held to the same wherever their refresh tokens are counted.
macro_rules! conformance_of_sessions {
    ($($scenarios:tt)+) => {
        mod kept_in {
            use super::*;
            conformance! { $($scenarios)+ }
            tests_of! { redis: $($scenarios)+ }
        }
    };
}

conformance! {
    audit::a_change_whose_audit_row_cannot_be_kept_leaves_nothing,
    audit::a_name_with_a_nul_is_kept,
    audit::a_search_goes_through_the_whole_log_in_bounded_pieces,
    audit::an_observer_is_shown_what_was_committed_and_nothing_else,
    audit::every_column_reads_back_as_it_was_said,
    audit::rows_come_in_pages_and_by_action,
    audit::the_chain_verifies_after_mixed_concurrent_writers,
    audit::two_chains_do_not_touch_each_other,
    clients::a_client_has_a_secret_or_keys_and_changes_them,
    clients::a_created_client_reads_back_by_id_by_name_and_in_pages,
    clients::a_deleted_client_is_gone_with_its_tokens,
    clients::a_name_is_one_clients_only,
    clients::a_token_that_races_with_a_disable_does_not_win,
    clients::disabling_a_client_outdates_its_tokens_once,
    clients::each_change_of_a_client_outdates_its_tokens,
    clients::the_head_of_the_log_is_the_last_number_given_out,
    clients::the_last_use_is_kept_to_the_minute,
    email_codes::a_code_ends_with_its_time_with_a_change_and_with_a_disable,
    email_codes::a_code_is_another_users_for_nobody,
    email_codes::a_code_resets_the_password_once_and_ends_what_there_was,
    email_codes::a_user_without_an_address_gets_no_code,
    email_codes::expired_codes_are_swept,
    email_codes::of_many_who_present_one_code_one_resets,
    email_codes::the_newest_code_alone_is_good_and_for_its_purpose_only,
    identities::an_account_elsewhere_is_its_issuer_and_its_subject,
    identities::an_account_elsewhere_is_one_users_only,
    identities::what_is_spent_is_forgotten_once_it_is_moot,
    identities::what_is_spent_is_spent_once_whoever_comes_at_the_same_time,
    keys::a_key_reads_back_as_it_was_kept,
    keys::a_key_that_is_next_takes_over_once,
    keys::a_retired_key_is_replaced_revoked_and_audited_in_one_change,
    keys::a_retired_key_that_did_not_sign_replaces_nothing,
    keys::many_who_retire_one_key_make_one_replacement,
    keys::of_many_that_announce_one_makes_the_next_key,
    keys::only_a_key_that_signs_no_more_is_forgotten,
    keys::two_starts_make_one_signing_key,
    migrating::a_changed_migration_is_refused,
    migrating::a_database_of_a_newer_version_is_refused,
    migrating::a_second_migration_finds_nothing_to_do,
    migrating::an_empty_database_is_not_migrated,
    migrating::of_several_processes_one_migrates,
    outage::a_closed_store_is_unavailable,
    outage::an_abandoned_change_leaves_nothing_half_done,
    revocations::a_moot_revocation_is_neither_told_nor_kept,
    revocations::a_poller_never_misses_a_revocation,
    second_factors::a_challenge_ends_with_its_tries_and_its_time,
    second_factors::a_challenge_that_races_with_a_disable_is_not_opened,
    second_factors::a_removed_factor_leaves_nothing_behind,
    second_factors::a_secret_is_shown_again_until_it_is_confirmed,
    second_factors::a_secret_of_nobody_is_not_kept,
    second_factors::an_abandoned_secret_is_swept_and_a_confirmed_one_stays,
    second_factors::another_users_recovery_code_opens_nothing,
    second_factors::many_tries_at_once_are_no_more_than_one_after_the_other,
    second_factors::new_recovery_codes_end_the_old_ones,
    second_factors::no_step_is_taken_twice_or_after_a_later_one,
    second_factors::of_many_who_redeem_one_challenge_one_gets_in,
    second_factors::of_many_who_use_one_code_one_gets_in,
    second_factors::wrong_codes_hold_up_the_next_until_a_right_one,
    rights::a_role_reads_back_by_name_and_in_pages,
    rights::a_role_that_somebody_has_is_neither_deleted_nor_made,
    rights::a_role_of_a_tenant_stands_beside_that_of_no_tenant,
    rights::a_change_of_a_role_outdates_the_tokens_of_its_holders_once,
    rights::a_change_of_a_role_reaches_a_hundred_thousand_holders,
    rights::a_deleted_user_is_gone_with_its_tokens,
    rights::only_a_role_that_exists_is_granted,
    rights::a_user_has_a_bounded_number_of_roles,
    rights::a_change_of_tenant_outdates_the_tokens_once,
    login_names::another_name_is_found_and_the_one_before_is_free,
    login_names::a_name_is_one_users_and_the_last_one_stays,
    login_names::another_address_is_not_verified_and_its_code_is_worth_nothing,
    rights::the_last_administrator_stays_whatever_the_change,
    rights::a_user_of_a_tenant_is_no_administrator,
    rights::of_two_administrators_who_demote_each_other_one_stays,
    users::a_change_of_nobody_is_not_found_and_leaves_no_row,
    users::a_created_user_reads_back_with_its_roles,
    users::a_disabled_user_is_enabled_again,
    users::a_new_hash_needs_the_old_one,
    users::a_password_is_changed_once_for_each_state_of_its_user,
    users::a_profile_changes_no_version,
    users::a_text_with_a_nul_is_never_stored,
    users::a_user_is_found_by_username_and_by_email,
    users::a_username_cannot_pass_for_an_email_address,
    users::disabling_outdates_the_tokens_once,
    users::granting_and_revoking_a_role_outdate_the_tokens_once,
    users::nobody_is_found_by_a_name_that_nobody_has,
    users::of_many_who_take_one_name_one_gets_it,
    users::users_come_in_pages_in_the_order_of_their_ids,
}

conformance_of_sessions! {
    rotation::a_current_token_moves_the_session_on,
    rotation::a_spent_token_in_the_grace_gets_the_same_successor,
    rotation::a_spent_token_outside_the_grace_ends_its_session,
    rotation::a_token_that_no_history_made_ends_its_session,
    rotation::many_who_present_one_token_make_one_successor,
    rotation::repeats_are_bounded_and_leave_the_session_alive,
    rotation::what_has_ended_or_expired_is_not_rotated,
    rotation::of_a_rotation_and_an_end_no_session_survives,
    sessions::a_session_and_its_events_are_one_change,
    sessions::a_session_ends_once_and_for_its_user_only,
    sessions::a_session_is_swept_at_its_end,
    sessions::a_session_of_nobody_is_not_opened,
    sessions::a_session_reads_back_as_it_was_opened,
    sessions::a_sign_in_that_races_with_a_disable_does_not_win,
    sessions::an_end_of_all_ends_what_was_opened_and_nothing_later,
    sessions::sessions_come_in_pages_the_latest_first,
    sessions::the_others_end_and_the_one_that_is_kept_goes_on,
}
