//! One suite for every adapter of the ports: what the engine relies on, case by case.
//!
//! An adapter's tests call [`crate::ledger_conformance!`], [`crate::lines_conformance!`],
//! [`crate::queue_conformance!`], [`crate::slots_conformance!`], [`crate::fleet_conformance!`] and
//! [`crate::unknowns_conformance!`] with a function that makes a fresh store; each case becomes a test of its own.
#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a case that does not hold has to fail"
)]

pub mod fleet;
pub mod jobs;
pub mod ledger;
pub mod lines;
pub mod queue;
pub mod slots;
pub mod store;
pub mod unknowns;

/// Makes a test of each case with the store that `$make().await` answers.
#[macro_export]
macro_rules! conformance_cases {
    ($module:ident, $make:path, [$($case:ident),+ $(,)?]) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$module::$case($make().await).await;
            }
        )+
    };
}

/// The cases of `Ledger` and `Console`.
#[macro_export]
macro_rules! ledger_conformance {
    ($make:path) => {
        $crate::conformance_cases!(
            ledger,
            $make,
            [
                a_new_job_is_claimed_once,
                a_repeated_call_finds_its_own_claim,
                a_final_job_is_done,
                another_body_under_the_same_id_is_a_conflict,
                a_job_of_another_tenant_under_the_same_id_is_a_conflict,
                a_copy_whose_number_is_past_is_done,
                a_repeated_call_finds_what_it_closed,
                a_job_in_doubt_closes_with_a_resend_only,
                a_job_suppressed_before_its_claim_is_repeated_is_closed,
                a_suppressed_recipient_closes_the_job,
                a_suppression_of_one_tenant_concerns_no_other,
                a_deferred_job_waits_and_is_claimed_with_its_next_number,
                a_lapsed_claim_leaves_the_job_unknown,
                a_late_answer_settles_an_unknown_job,
                a_late_answer_stands_beside_the_attempt_that_was_given_up_on,
                a_result_after_a_resend_is_not_ours,
                an_unsent_job_gets_its_number_back,
                an_unsent_resend_leaves_the_job_in_doubt,
                a_job_in_doubt_is_not_cancelled,
                a_closed_job_is_final,
                parking_twice_keeps_the_first_row,
                a_copy_that_is_further_along_takes_the_place_of_an_older_one,
                a_repeated_record_does_not_settle_a_later_claim,
                what_is_due_is_hidden_until_it_is_published_or_dropped,
                a_final_result_removes_the_parked_copy,
                a_copy_of_a_final_job_is_not_parked,
                another_body_under_a_parked_id_is_a_conflict,
                another_body_makes_room_for_the_first,
                another_body_on_its_way_makes_room_by_itself,
                a_held_job_is_never_due,
                a_batch_of_claims_answers_in_order,
                a_batch_of_records_answers_in_order,
                dead_letters_are_kept_shown_and_dropped,
                suppressions_are_listed_and_removed,
                known_jobs_are_told_apart,
                a_job_is_shown_with_its_attempts,
                hostile_text_is_kept_as_it_is,
            ]
        );
    };
}

/// The cases of parked jobs: lines, turns, and whole campaigns.
#[macro_export]
macro_rules! lines_conformance {
    ($make:path) => {
        $crate::conformance_cases!(
            lines,
            $make,
            [
                a_job_in_line_is_not_due,
                a_held_job_is_in_no_line,
                a_parked_job_keeps_its_group,
                waiting_lists_each_line,
                every_line_comes_up_in_turn,
                a_line_is_released_first_seen_first,
                what_is_released_is_hidden_until_it_is_published_or_dropped,
                several_lines_are_released_in_one_call,
                a_job_in_line_knows_how_many_go_before_it,
                a_place_in_line_is_told_as_owners_take_turns,
                full_lanes_are_left_alone,
                a_full_lane_hides_no_other,
                lanes_of_an_owner_are_merged_by_age,
                transactional_jobs_of_an_owner_go_first,
                what_a_relay_holds_hides_nothing_in_line,
                what_expires_in_line_leaves_it,
                what_a_record_puts_in_line_expires_there,
                what_has_expired_when_it_is_parked_waits_for_its_turn,
                paused_campaigns_are_left_alone,
                tenants_take_turns,
                a_weight_of_two_gets_twice_the_turns,
                campaigns_of_a_tenant_share_its_turns,
                a_hungry_tenant_fills_the_batch_alone,
                no_tenant_starves_among_many,
                a_paused_campaign_takes_no_release,
                a_cancelled_campaign_takes_no_release,
                owners_take_turns_in_a_line,
                turns_in_a_line_come_round_one_by_one,
                a_woken_campaign_is_due_at_once,
                a_large_campaign_is_woken_whole,
            ]
        );
    };
}

/// The cases of `Inbox` and `Outbox`.
#[macro_export]
macro_rules! queue_conformance {
    ($make:path) => {
        $crate::conformance_cases!(
            queue,
            $make,
            [
                a_published_job_is_delivered_with_its_passport,
                an_acked_job_is_gone,
                a_released_job_comes_again,
                a_dropped_receipt_releases,
                no_more_than_the_prefetch_is_lent,
                a_stopped_feed_runs_dry,
                lanes_do_not_mix,
                two_feeds_share_a_lane,
                depths_count_what_waits,
            ]
        );
    };
}

/// The cases of `SlotSource`.
#[macro_export]
macro_rules! slots_conformance {
    ($make:path) => {
        $crate::conformance_cases!(
            slots,
            $make,
            [
                a_spaced_limit_is_spaced_over_lessees,
                a_bucket_of_a_hundred_million_stops_nobody,
                a_burst_is_lent_once,
                a_counted_limit_is_used_up,
                several_limits_are_leased_in_one_call,
                an_edit_keeps_what_was_spent,
                a_spent_bucket_that_is_lowered_lends_nothing_of_it_again,
                a_spent_bucket_that_is_raised_lends_at_its_new_rate,
                a_limit_that_is_spaced_for_a_while_forgets_nothing,
                lessees_at_the_same_time_never_exceed,
                slots_left_out_by_one_lessee_are_leased_by_another,
                a_joint_lease_names_the_limit_that_holds_it_back,
                a_count_is_not_leased_together_with_others,
                a_spaced_slot_given_back_is_leased_again,
                a_spaced_slot_of_before_an_edit_lapses,
                urgent_jobs_lease_further_than_bulk,
                a_share_of_a_count_is_kept_for_urgent_jobs,
                a_brake_slows,
                a_brake_lends_no_burst,
                slots_given_back_are_leased_again,
                slots_of_an_earlier_lease_lapse,
                a_count_is_given_back_within_its_sub_bucket,
                a_look_tells_how_a_count_stands,
                a_look_tells_how_a_bucket_stands,
                a_look_leases_nothing,
            ]
        );
    };
}

/// The cases of `Fleet`.
#[macro_export]
macro_rules! fleet_conformance {
    ($make:path) => {
        $crate::conformance_cases!(
            fleet,
            $make,
            [
                replicas_see_each_other,
                a_replica_that_leaves_is_gone,
                an_edit_is_seen_by_every_replica,
                an_order_can_be_taken_back,
                a_repeated_report_is_harmless,
                a_look_changes_nothing,
                exchanges_at_the_same_time_lose_nothing,
                hostile_names_are_kept_as_they_are,
            ]
        );
    };
}

/// The cases of `Unknowns` and `Events`.
#[macro_export]
macro_rules! unknowns_conformance {
    ($make:path) => {
        $crate::conformance_cases!(
            unknowns,
            $make,
            [
                jobs_in_doubt_are_listed,
                jobs_in_doubt_are_narrowed_down,
                a_resend_is_due_and_recorded,
                a_resend_that_cannot_be_is_told_so,
                a_settled_job_is_closed,
                an_event_settles_a_job_in_doubt,
                an_event_stops_a_retry,
                a_late_event_undoes_nothing,
                a_repeated_event_counts_once,
                an_event_before_the_result_waits_for_it,
                an_event_before_the_job_waits_for_it,
                results_and_events_at_the_same_time_lose_nothing,
                an_event_settles_a_job_whose_worker_was_lost,
                an_event_of_another_tenant_moves_nothing,
                an_event_without_a_tenant_is_of_the_jobs_tenant,
                an_event_suppresses_its_recipient,
                a_bounce_tells_why,
                an_event_beats_a_guess,
            ]
        );
    };
}
