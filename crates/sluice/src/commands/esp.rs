//! `sluice esp`: how the ESPs do over the whole fleet, and breakers held open or closed by hand.

use clap::Subcommand;
use serde::Serialize;
use sluice_config::Config;
use sluice_engine::EspView;

use super::ask;
use super::limits::{brake_words, ramp_words};
use super::span::span;
use crate::output::{self, Format, FormatArg, Table, note};
use crate::wiring::Outside;

const EXAMPLES: &str = "\
Examples:
  sluice esp list
  sluice esp list --format json | jq '.[] | select(.breaker.state != \"closed\").name'
  sluice esp open main        nothing more goes through it: other members of its pool, or waiting
  sluice esp auto main        the breaker decides itself again, beginning with a few probes
  sluice esp close main       everything goes through it, whatever becomes of it

A breaker opens by itself when an ESP fails or is slow. What an operator orders holds for all
replicas, restarts included, until `auto`; they follow within two ticks, a second. Exit code 1:
there is no such ESP.";

/// `sluice esp`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EspArgs {
    #[command(subcommand)]
    command: EspCommand,
}

#[derive(Debug, Subcommand)]
enum EspCommand {
    /// List the ESPs: breaker, brakes, calls, errors, quotas and warm-up
    List(ListArgs),
    /// Hold a breaker open: nothing is sent through this ESP
    Open(OrderArgs),
    /// Hold a breaker closed: everything is sent, though it fails
    Close(OrderArgs),
    /// Let a breaker decide itself again
    Auto(OrderArgs),
}

/// `sluice esp list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    format: FormatArg,
}

/// `sluice esp open`, `close` and `auto`.
#[derive(Debug, clap::Args)]
struct OrderArgs {
    /// The ESP's `name` in the configuration
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    format: FormatArg,
}

/// Does what the subcommand says.
pub(crate) async fn run(config: &Config, args: EspArgs) -> anyhow::Result<bool> {
    let outside = ask::open_existing_store(config)?;
    let done = match args.command {
        EspCommand::List(args) => list(&outside, &args).await,
        EspCommand::Open(args) => order(&outside, &args, Some(true)).await,
        EspCommand::Close(args) => order(&outside, &args, Some(false)).await,
        EspCommand::Auto(args) => order(&outside, &args, None).await,
    };
    ask::close(&outside).await;
    done
}

/// What an operator has ordered.
#[derive(Serialize)]
struct Ordered<'a> {
    esp: &'a str,
    /// `open`, `closed`, or `null`: it decides itself.
    forced: Option<&'static str>,
}

async fn order(outside: &Outside, args: &OrderArgs, open: Option<bool>) -> anyhow::Result<bool> {
    let overview = ask::overview(outside);
    overview.order_breaker(&args.name, open).await.map_err(|it| ask::failed("NAME", it))?;
    let forced = open.map(|open| if open { "open" } else { "closed" });
    if args.format.format == Format::Json {
        output::json(&Ordered { esp: &args.name, forced })?;
        return Ok(true);
    }
    match forced {
        Some(state) => output::line(format_args!("{}: held {state} until `sluice esp auto {0}`", args.name))?,
        None => output::line(format_args!("{}: decides itself", args.name))?,
    }
    note("running replicas follow within two ticks (1s)");
    Ok(true)
}

async fn list(outside: &Outside, args: &ListArgs) -> anyhow::Result<bool> {
    let esps = ask::overview(outside).esps().await.map_err(|it| ask::failed("esps", it))?;
    match args.format.format {
        Format::Json => output::json(&esps)?,
        Format::Text => output::raw(text(&esps).as_bytes())?,
    }
    Ok(true)
}

fn text(esps: &[EspView]) -> String {
    let mut table =
        Table::new(["esp", "breaker", "forced", "open for", "in flight", "calls/s", "errors in 10min"]);
    for it in esps {
        table.row([
            it.name.clone(),
            it.breaker.state.to_owned(),
            it.breaker.forced.unwrap_or("-").to_owned(),
            it.breaker.open_for_ms.map_or_else(|| "-".to_owned(), span),
            it.in_flight.to_string(),
            format!("{:.1}", it.rates.values().fold(0.0, |sum, rate| sum + rate)),
            errors(it),
        ]);
    }
    let mut blocks = vec![table.to_string()];
    let mut quotas = Table::new(["quota", "limit", "used", "left", "resets"]);
    for it in esps.iter().flat_map(|esp| &esp.quotas) {
        let resets = it.resets_in_ms.map_or_else(|| "-".to_owned(), span);
        quotas.row([it.key.clone(), it.spec.clone(), it.used.to_string(), it.left.to_string(), resets]);
    }
    if esps.iter().any(|esp| !esp.quotas.is_empty()) {
        blocks.push(quotas.to_string());
    }
    let mut slowed = Table::of_facts();
    for it in esps.iter().flat_map(|esp| &esp.brakes) {
        slowed.fact(&it.scope, Some(brake_words(&it.brake)));
    }
    for it in esps.iter().flat_map(|esp| &esp.warm_up) {
        let cap = it.ramp.cap.map(|cap| format!(", {} of {cap} sent today", it.ramp.sent_today));
        slowed.fact(&it.scope, Some(format!("warm-up: {}{}", ramp_words(&it.ramp), cap.unwrap_or_default())));
    }
    if esps.iter().any(|esp| !esp.brakes.is_empty() || !esp.warm_up.is_empty()) {
        blocks.push(slowed.to_string());
    }
    blocks.join("\n")
}

/// The most frequent categories first.
fn errors(esp: &EspView) -> String {
    let mut errors: Vec<(&String, &u64)> = esp.recent.iter().collect();
    errors.sort_by_key(|(word, count)| (std::cmp::Reverse(**count), *word));
    let words: Vec<String> = errors.into_iter().map(|(word, count)| format!("{count} {word}")).collect();
    if words.is_empty() { "-".to_owned() } else { words.join(", ") }
}

#[cfg(test)]
mod tests;
