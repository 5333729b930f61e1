//! `sluice why JOB_ID`: what became of one job, and why it waits and until when.

use anyhow::Context;
use sluice_config::Config;
use sluice_engine::{JobView, PendingView};
use sluice_types::{JobId, WaitReason};

use super::ask;
use crate::output::{self, Format, FormatArg, Table, note};

const EXAMPLES: &str = "\
Examples:
  sluice why 0192f0c1-6f0e-7c3a-b0de-3f1d0a7c1e55
  sluice why 0192f0c1-6f0e-7c3a-b0de-3f1d0a7c1e55 --format json | jq .state

Exit code 1: the store does not know the job. It is in the store once a worker has looked at it;
before that it is counted under its lane in `sluice status`.";

/// `sluice why`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WhyArgs {
    /// The job's id
    id: JobId,
    #[command(flatten)]
    format: FormatArg,
}

/// Prints the job; `false` when the store does not know it.
pub(crate) async fn run(config: &Config, args: &WhyArgs) -> anyhow::Result<bool> {
    let outside = ask::open_existing(config)?;
    let asked = outside.console.job(&args.id).await.context("cannot ask the store");
    ask::close(&outside).await;
    let job = asked?;
    match (args.format.format, &job) {
        (Format::Json, _) => output::json(&job)?,
        (Format::Text, Some(job)) => print(job)?,
        (Format::Text, None) => {
            note("the store does not know this job: it may still be in its lane, or the id is another");
        }
    }
    Ok(job.is_some())
}

fn print(job: &JobView) -> anyhow::Result<()> {
    let mut facts = Table::of_facts();
    facts.fact("job", Some(&job.id));
    facts.fact("state", Some(&job.state));
    facts.fact("waits", job.pending.as_ref().map(waits));
    facts.fact("category", job.category.as_ref());
    facts.fact("detail", job.detail.as_ref());
    facts.fact("esp", job.esp.as_ref());
    facts.fact("message id", job.provider_message_id.as_ref());
    facts.fact("tenant", Some(&job.tenant));
    facts.fact("campaign", job.campaign.as_ref());
    facts.fact("class", Some(&job.class));
    facts.fact("attempts", Some(job.attempts));
    facts.fact("changed", job.updated_at.as_ref());
    let mut text = facts.to_string();
    if !job.attempt_list.is_empty() {
        let mut table = Table::new(["attempt", "esp", "outcome", "category", "began", "ended", "detail"]);
        for it in &job.attempt_list {
            table.row([
                it.attempt.to_string(),
                it.esp.clone(),
                it.outcome.clone(),
                it.category.clone().unwrap_or_default(),
                it.started_at.clone(),
                it.finished_at.clone(),
                it.detail.clone().unwrap_or_default(),
            ]);
        }
        text.push('\n');
        text.push_str(&table.to_string());
    }
    output::raw(text.as_bytes())
}

/// Why and until when, in a sentence.
fn waits(pending: &PendingView) -> String {
    let mut text = WaitReason::from_word(&pending.reason)
        .map_or_else(|| pending.reason.clone(), |reason| sentence(reason).to_owned());
    if let Some(key) = &pending.limit_key {
        text.push_str(&format!(" ({key})"));
    }
    match &pending.due_at {
        Some(due_at) => text.push_str(&format!(", until {due_at}")),
        None => text.push_str(", until an operator or an event says so"),
    }
    text
}

const fn sentence(reason: WaitReason) -> &'static str {
    match reason {
        WaitReason::EspLimit => "esp_limit: a limit of the ESP is used up",
        WaitReason::GroupLimit => "group_limit: a limit of the domain group is used up",
        WaitReason::EspGroupLimit => "esp_group_limit: a limit of the domain group at this ESP is used up",
        WaitReason::TenantLimit => "tenant_limit: a limit of the tenant is used up",
        WaitReason::DomainLimit => "domain_limit: a limit of the recipient's domain is used up",
        WaitReason::BreakerOpen => "breaker_open: every ESP of the pool is being left alone",
        WaitReason::Retry => "retry: the last attempt did not go through, the next one is scheduled",
        WaitReason::Scheduled => "scheduled: its send_at lies ahead",
        WaitReason::InFlightElsewhere => "in_flight_elsewhere: another worker may be sending it",
        WaitReason::Unknown => "unknown: nobody knows whether the last attempt was sent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_job_says_why_and_until_when() {
        let pending = PendingView {
            reason: "group_limit".to_owned(),
            limit_key: Some("group:gmail gcra s".to_owned()),
            due_at: Some("2026-11-24T12:00:00Z".to_owned()),
        };
        assert_eq!(
            waits(&pending),
            "group_limit: a limit of the domain group is used up (group:gmail gcra s), until 2026-11-24T12:00:00Z"
        );
    }

    #[test]
    fn every_sentence_begins_with_the_word_of_the_closed_list() {
        for reason in WaitReason::ALL {
            assert!(sentence(*reason).starts_with(reason.as_str()), "{reason}");
        }
    }
}
