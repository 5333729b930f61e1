//! The whole worker against private services, one scenario a file, named for the event.

#![expect(clippy::disallowed_methods, reason = "tests wait for other processes and so for real time")]
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail loudly")]

mod a_foreign_client_publishes_five_thousand_jobs;
mod a_job_kills_whoever_decodes_it;
mod a_replica_dies_between_two_steps;
mod a_replica_is_killed_mid_batch;
mod a_replica_is_told_to_stop_mid_batch;
mod a_replicas_clock_is_wrong;
mod a_server_will_not_have_us;
mod a_stale_ack_acks_nothing;
mod a_zombie_comes_back;
mod alone;
mod an_esp_asks_to_slow_down;
mod an_esp_is_warmed_up;
mod an_outcome_is_unknown;
mod broker_restarts_mid_batch;
mod deferred_jobs_are_tried_again;
mod deploy_files_fit_the_code;
mod final_states_are_told;
mod groups_and_pools_are_taken_away;
mod half_of_the_traffic_cannot_go;
mod large_messages_arrive;
mod limits_are_edited_while_they_hold;
mod malformed_messages_arrive;
mod old_rows_go;
mod others_wait_in_the_same_line;
mod postgres_restarts_mid_batch;
mod replicas_are_replaced_under_load;
mod several_faults_strike;
mod several_replicas_start_at_once;
mod support;
mod tenants_take_turns;
mod the_broker_is_away_from_commands;
mod the_broker_is_left_in_order;
mod the_broker_takes_nothing;
mod the_configuration_is_read_again;
mod the_embedded_default_is_killed;
mod the_layers_hold;
mod the_mutants_fit_the_code;
mod the_schema_is_changed_under_load;
