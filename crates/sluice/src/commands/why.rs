//! `sluice why JOB_ID`: what became of one job, and why it waits and until when.

use anyhow::Context;
use serde::Serialize;
use sluice_config::Config;
use sluice_engine::{JobView, Order, Outlook, PendingView, Until};
use sluice_types::{JobId, WaitReason};

use super::{ask, campaign};
use crate::output::{self, Format, FormatArg, Table, note};
use crate::wiring::Outside;

const EXAMPLES: &str = "\
Examples:
  sluice why 0192f0c1-6f0e-7c3a-b0de-3f1d0a7c1e55
  sluice why 0192f0c1-6f0e-7c3a-b0de-3f1d0a7c1e55 --format json | jq '.state, .until'

A job that waits for a limit stands in its line; \"likely until\" is its place divided by the
rate, and moves with both. `sluice limits list` shows the limit, `sluice limits set` changes it.

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

/// A job, and what the fleet adds to it.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    job: JobView,
    #[serde(flatten)]
    outlook: Outlook,
}

/// Prints the job; `false` when the store does not know it.
pub(crate) async fn run(config: &Config, args: &WhyArgs) -> anyhow::Result<bool> {
    let outside = ask::open_existing_store(config)?;
    let asked = question(&outside, &args.id).await;
    ask::close(&outside).await;
    let answer = asked?;
    match (args.format.format, &answer) {
        (Format::Json, _) => output::json(&answer)?,
        (Format::Text, Some(answer)) => print(answer)?,
        (Format::Text, None) => {
            note("the store does not know this job: it may still be in its lane, or the id is another");
        }
    }
    Ok(answer.is_some())
}

async fn question(outside: &Outside, id: &JobId) -> anyhow::Result<Option<Answer>> {
    let Some(job) = outside.console.job(id).await.context("cannot ask the store")? else { return Ok(None) };
    let outlook = ask::overview(outside).outlook(&job, outside.clock.now()).await;
    let outlook = outlook.map_err(|it| ask::failed("limits and campaigns", it))?;
    Ok(Some(Answer { job, outlook }))
}

fn print(answer: &Answer) -> anyhow::Result<()> {
    let job = &answer.job;
    let mut facts = Table::of_facts();
    facts.fact("job", Some(&job.id));
    facts.fact("state", Some(&job.state));
    facts.fact("waits", job.pending.as_ref().map(|pending| waits(pending, &answer.outlook)));
    facts.fact("category", job.category.as_ref());
    facts.fact("detail", job.detail.as_ref());
    facts.fact("esp", job.esp.as_ref());
    facts.fact("message id", job.provider_message_id.as_ref());
    facts.fact("tenant", Some(&job.tenant));
    facts
        .fact("campaign", job.campaign.as_ref().map(|name| of_campaign(name, answer.outlook.campaign_order)));
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
    if !job.events.is_empty() {
        let mut table = Table::new(["event", "esp", "attempt", "category", "happened", "applied", "detail"]);
        for it in &job.events {
            table.row([
                it.kind.clone(),
                it.esp.clone(),
                it.attempt.map(|attempt| attempt.to_string()).unwrap_or_default(),
                it.category.clone().unwrap_or_default(),
                it.occurred_at.clone(),
                if it.applied { "yes" } else { "not yet" }.to_owned(),
                it.detail.clone().unwrap_or_default(),
            ]);
        }
        text.push('\n');
        text.push_str(&table.to_string());
    }
    if !job.resolutions.is_empty() {
        let mut table = Table::new(["resolved", "attempt", "was", "at", "by", "note"]);
        for it in &job.resolutions {
            table.row([
                it.verdict.clone(),
                it.attempt.to_string(),
                it.before.clone(),
                it.at.clone(),
                it.by.clone(),
                it.note.clone().unwrap_or_default(),
            ]);
        }
        text.push('\n');
        text.push_str(&table.to_string());
    }
    output::raw(text.as_bytes())
}

fn of_campaign(name: &str, order: Option<Order>) -> String {
    order.map_or_else(|| name.to_owned(), |order| format!("{name} ({})", campaign::word(order)))
}

/// Why and until when, in a sentence.
fn waits(pending: &PendingView, outlook: &Outlook) -> String {
    let reason = WaitReason::from_word(&pending.reason);
    let mut text = reason.map_or_else(|| pending.reason.clone(), |reason| sentence(reason).to_owned());
    if let Some(key) = &pending.limit_key {
        text.push_str(&format!(" ({key})"));
    }
    let is_uncounted = pending.ahead.is_some_and(|ahead| ahead >= u64::from(PendingView::AHEAD_MAX));
    match pending.ahead {
        Some(0) => text.push_str(", first in line"),
        Some(ahead) if is_uncounted => text.push_str(&format!(", {ahead} or more go before it")),
        Some(1) => text.push_str(", 1 goes before it"),
        Some(ahead) => text.push_str(&format!(", {ahead} go before it")),
        None => {}
    }
    let goes_by_itself = pending.due_at.is_some() || pending.ahead.is_some();
    if goes_by_itself && outlook.campaign_order == Some(Order::Paused) {
        if reason != Some(WaitReason::CampaignPaused) {
            text.push_str("; its campaign is paused");
        }
        text.push_str(", until `sluice campaign resume`");
        return text;
    }
    match (&outlook.until, &pending.due_at) {
        (Some(Until { at, estimated: true }), _) if is_uncounted => {
            text.push_str(&format!(", likely not before {at}"))
        }
        (Some(Until { at, estimated: true }), _) => text.push_str(&format!(", likely until {at}")),
        (Some(Until { at, estimated: false }), _) | (None, Some(at)) => {
            text.push_str(&format!(", until {at}"))
        }
        (None, None) if pending.ahead.is_some() => text.push_str(", until its turn comes"),
        (None, None) => text.push_str(", until an operator or an event says so"),
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
        WaitReason::WarmUp => "warm_up: the warm-up of the ESP allows no more today",
        WaitReason::CampaignPaused => "campaign_paused: an operator has paused its campaign",
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

    fn check(
        reason: &str,
        key: &str,
        due_at: Option<&str>,
        ahead: Option<u64>,
        until: Option<Until>,
        text: &str,
    ) {
        let outlook = Outlook { until, campaign_order: None };
        assert_eq!(waits(&pending(reason, key, due_at, ahead), &outlook), text);
    }

    fn pending(reason: &str, key: &str, due_at: Option<&str>, ahead: Option<u64>) -> PendingView {
        PendingView {
            reason: reason.to_owned(),
            limit_key: Some(key.to_owned()).filter(|key| !key.is_empty()),
            due_at: due_at.map(str::to_owned),
            ahead,
        }
    }

    #[test]
    fn a_waiting_job_says_why_and_until_when() {
        let at = "2026-11-24T12:00:00Z";
        let until = |estimated| Some(Until { at: at.to_owned(), estimated });
        let gmail = "group:gmail/per:s";
        let group = "group_limit: a limit of the domain group is used up (group:gmail/per:s)";
        let (retry, held) = (
            "retry: the last attempt did not go through, the next one is scheduled",
            "unknown: nobody knows whether the last attempt was sent",
        );
        check("retry", "", Some(at), None, until(false), &format!("{retry}, until {at}"));
        check("unknown", "", None, None, None, &format!("{held}, until an operator or an event says so"));
        for (ahead, place) in [
            (0, "first in line"),
            (1, "1 goes before it"),
            (37, "37 go before it"),
            (10_000, "10000 go before it"),
        ] {
            let text = format!("{group}, {place}, likely until {at}");
            check("group_limit", gmail, None, Some(ahead), until(true), &text);
        }
        let text = format!("{group}, 100000 or more go before it, likely not before {at}");
        check("group_limit", gmail, None, Some(100_000), until(true), &text);
        check(
            "group_limit",
            gmail,
            None,
            Some(3),
            None,
            &format!("{group}, 3 go before it, until its turn comes"),
        );
    }

    #[test]
    fn a_job_of_a_paused_campaign_says_how_it_goes_on() {
        let paused = Outlook { until: None, campaign_order: Some(Order::Paused) };
        let at = Some("2026-11-24T12:00:00Z");
        for (pending, text) in [
            (
                pending("campaign_paused", "campaign:acme/spring", None, Some(2)),
                "campaign_paused: an operator has paused its campaign (campaign:acme/spring), 2 go before it, \
                 until `sluice campaign resume`",
            ),
            (
                pending("scheduled", "", at, None),
                "scheduled: its send_at lies ahead; its campaign is paused, until `sluice campaign resume`",
            ),
            (
                pending("unknown", "", None, None),
                "unknown: nobody knows whether the last attempt was sent, until an operator or an event says so",
            ),
        ] {
            assert_eq!(waits(&pending, &paused), text);
        }
        assert_eq!(of_campaign("spring", Some(Order::Cancelled)), "spring (cancelled)");
    }

    #[test]
    fn every_sentence_begins_with_the_word_of_the_closed_list() {
        for reason in WaitReason::ALL {
            assert!(sentence(*reason).starts_with(reason.as_str()), "{reason}");
        }
    }
}
