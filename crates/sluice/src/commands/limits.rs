//! `sluice limits`: how every limit stands, and other numbers for it while the service runs.

use std::fmt::Display;

use clap::Subcommand;
use serde::Serialize;
use sluice_config::Config;
use sluice_engine::{LimitChange, LimitWord, RateLimit, RateLimitsView};
use sluice_types::LimitSpec;

use super::ask;
use super::span::span;
use crate::environment;
use crate::output::{self, Format, FormatArg, Table, note};
use crate::wiring::Outside;

const EXAMPLES: &str = "\
Examples:
  sluice limits list
  sluice limits list --format json | jq '.limits[] | select(.left == 0).key'
  sluice limits set esp:main 50/s              until it is reset, for all replicas at once
  sluice limits reset esp:main/per:s           back to what the configuration says

A limit has a key: whose it is, and what it counts over. Whose it is:
  esp:NAME  group:NAME  esp:NAME/group:NAME  tenant:NAME  domain:NAME";

const SET_EXAMPLES: &str = "\
Examples:
  sluice limits set esp:main/per:s 50/s
  sluice limits set esp:main '50/s burst 100'     the limit says which one is meant: that per second
  sluice limits set group:gmail 20000/h           one more, if gmail has none per hour
  sluice limits set esp:main/group:yahoo '4 connections'

Running replicas follow within two ticks, a second; what was spent in the window stays spent. It
holds until `sluice limits reset`, restarts included. Exit codes: 1 there is no such ESP or group,
2 the key or the limit is wrong.";

const RESET_EXAMPLES: &str = "\
Examples:
  sluice limits reset esp:main/per:s
  sluice limits reset esp:main          if only one limit of it was set

Exit code 1: nothing was set there.";

/// `sluice limits`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LimitsArgs {
    #[command(subcommand)]
    command: LimitsCommand,
}

#[derive(Debug, Subcommand)]
enum LimitsCommand {
    /// List every limit that holds now, how far it is used and what waits for it
    List(ListArgs),
    /// Set a limit while the service runs, in place of the configured one or beside it
    #[command(after_help = SET_EXAMPLES)]
    Set(SetArgs),
    /// Go back to the configured limit
    #[command(after_help = RESET_EXAMPLES)]
    Reset(ResetArgs),
}

/// `sluice limits list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    format: FormatArg,
}

/// `sluice limits set`.
#[derive(Debug, clap::Args)]
struct SetArgs {
    /// The limit's key, as `sluice limits list` shows it, or only whose it is
    #[arg(value_name = "KEY")]
    key: String,
    /// The limit, such as `100/s`, `100/s burst 200`, `50000/h`, `50000/day calendar` or `10 connections`
    #[arg(value_name = "LIMIT")]
    limit: LimitSpec,
    #[command(flatten)]
    format: FormatArg,
}

/// `sluice limits reset`.
#[derive(Debug, clap::Args)]
struct ResetArgs {
    /// The limit's key, as `sluice limits list` shows it, or only whose it is
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    format: FormatArg,
}

/// Does what the subcommand says.
pub(crate) async fn run(config: &Config, args: LimitsArgs) -> anyhow::Result<bool> {
    let outside = ask::open_existing_store(config)?;
    let done = match args.command {
        LimitsCommand::List(args) => list(&outside, &args).await,
        LimitsCommand::Set(args) => set(&outside, &args).await,
        LimitsCommand::Reset(args) => reset(&outside, &args).await,
    };
    ask::close(&outside).await;
    done
}

async fn list(outside: &Outside, args: &ListArgs) -> anyhow::Result<bool> {
    let view = ask::overview(outside).rate_limits().await.map_err(|it| ask::failed("limits", it))?;
    match args.format.format {
        Format::Json => output::json(&view)?,
        Format::Text => print(&view)?,
    }
    Ok(true)
}

fn print(view: &RateLimitsView) -> anyhow::Result<()> {
    if view.limits.is_empty() {
        note("no limits: none is configured and none is set; see `sluice limits set --help`");
    } else {
        let mut table =
            Table::new(["key", "limit", "used", "left", "next slot", "resets", "waiting", "edited by", ""]);
        view.limits.iter().for_each(|it| table.row(row(it)));
        table.print()?;
    }
    if !view.per_domain.is_empty() {
        note(format_args!(
            "each domain of the group `other` has {}; listed while something waits for it",
            view.per_domain.join(", ")
        ));
    }
    if view.left_out > 0 {
        note(format_args!("{} more keys are left out", view.left_out));
    }
    Ok(())
}

fn row(it: &RateLimit) -> [String; 9] {
    let next = it.next_slot_in_ms.map(|ms| if ms == 0 { "now".to_owned() } else { span(ms) });
    [
        it.key.clone(),
        dash(it.spec.as_ref()),
        dash(it.used),
        dash(it.left),
        dash(next),
        dash(it.resets_in_ms.map(span)),
        waiting(it),
        dash(it.edited_by.as_ref()),
        remark(it),
    ]
}

/// Jobs in the memory of replicas and parked ones.
fn waiting(it: &RateLimit) -> String {
    match (it.waiting, it.parked) {
        (held, 0) => held.to_string(),
        (held, parked) => format!("{held} + {parked} parked"),
    }
}

/// What else there is to say, in a few words.
fn remark(it: &RateLimit) -> String {
    let mut words: Vec<String> = Vec::new();
    match it.kind {
        LimitWord::Brake => words.push("there while a brake is on".to_owned()),
        LimitWord::Campaign => words.push("a campaign that is paused, or goes on again".to_owned()),
        LimitWord::Gone => words.push("holds no more".to_owned()),
        LimitWord::Rate
        | LimitWord::Bucket
        | LimitWord::Counted
        | LimitWord::Calendar
        | LimitWord::WarmUp
        | LimitWord::Connections => {}
    }
    if it.edited_by.is_some() && it.kind != LimitWord::Gone {
        words.push(match &it.configured {
            Some(configured) => format!("configured {configured}"),
            None => "not configured".to_owned(),
        });
    }
    if let Some(brake) = &it.brake {
        words.push(brake_words(brake));
    }
    if let Some(ramp) = &it.ramp {
        words.push(ramp_words(ramp));
    }
    words.join("; ")
}

/// A brake in a few words.
pub(super) fn brake_words(brake: &sluice_engine::Brake) -> String {
    let off = span(brake.off_in_ms);
    match brake.hold_ms {
        0 => format!("brake: {}% of the rate, off in {off}", brake.share_percent),
        hold => format!("brake: nothing for {}, off in {off}", span(hold)),
    }
}

/// Where a warm-up stands, in a few words.
pub(super) fn ramp_words(ramp: &sluice_engine::Ramp) -> String {
    let day = ramp.step.saturating_add(1);
    match (ramp.cap, ramp.held) {
        (None, _) => "done".to_owned(),
        (Some(_), false) => format!("sending day {day}"),
        (Some(_), true) => format!("sending day {day}, held by deferrals"),
    }
}

fn dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// What an edit has changed, and who has made it.
#[derive(Serialize)]
struct Edited {
    #[serde(flatten)]
    change: LimitChange,
    by: String,
}

async fn set(outside: &Outside, args: &SetArgs) -> anyhow::Result<bool> {
    edit(outside, &args.key, Some(&args.limit.to_string()), args.format.format).await
}

async fn reset(outside: &Outside, args: &ResetArgs) -> anyhow::Result<bool> {
    edit(outside, &args.key, None, args.format.format).await
}

async fn edit(outside: &Outside, key: &str, limit: Option<&str>, format: Format) -> anyhow::Result<bool> {
    let by = environment::user().unwrap_or_else(|| "unknown".to_owned());
    let edited = ask::overview(outside).set_limit(key, limit, &by, outside.clock.now()).await;
    let edited = Edited { change: edited.map_err(|it| ask::failed("KEY", it))?, by };
    if format == Format::Json {
        output::json(&edited)?;
        return Ok(true);
    }
    let of = |limit: &Option<String>| limit.clone().unwrap_or_else(|| "no limit".to_owned());
    let LimitChange { key, before, after } = &edited.change;
    output::line(format_args!("{key}: {} -> {}", of(before), of(after)))?;
    note("running replicas follow within two ticks (1s)");
    Ok(true)
}

#[cfg(test)]
mod tests;
