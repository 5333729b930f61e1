//! Scenarios that judge by time and have the machine to themselves. In one module, so that they come one after another and
//! the rest makes way for them once.

mod a_slow_limit_causes_no_churn;
mod an_esp_turns_bad;
mod connections_are_shared_by_the_fleet;
mod few_connections_cause_no_churn;
mod hosted_domains_share_their_providers_limits;
mod limits_are_used_in_full;
mod replicas_come_and_go_under_a_limit;
mod transactional_jobs_meet_a_backlog;
