//! `sluice suppress`: which recipients are never sent to.

mod add;

use anyhow::Context;
use clap::Subcommand;
use serde::Serialize;
use sluice_config::Config;
use sluice_engine::SuppressionEntry;
use sluice_types::{Address, Tenant};

use super::ask;
use crate::output::{self, Format, FormatArg, Table, note};
use crate::wiring::Outside;

const EXAMPLES: &str = "\
Examples:
  sluice suppress add ada@example.com bob@example.com
  sluice suppress add --file unsubscribed.txt --reason unsubscribe --tenant acme
  sluice suppress remove ada@example.com
  sluice suppress list --max 20

A job for a suppressed recipient ends in the state `suppressed` and is not sent. Without --tenant the
entry holds for every tenant. Case does not matter.";

const ADD_EXAMPLES: &str = "\
Examples:
  sluice suppress add ada@example.com
  sluice suppress add --file unsubscribed.txt --reason unsubscribe
      one address a line; a line that begins with # is left out
  psql -Atc 'select email from gone' | sluice suppress add --file -

What is not an address is told with its line, and the rest goes on. Exit code 1: there were such.";

/// `sluice suppress`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SuppressArgs {
    #[command(subcommand)]
    command: SuppressCommand,
}

#[derive(Debug, Subcommand)]
enum SuppressCommand {
    /// Add recipients
    #[command(after_help = ADD_EXAMPLES)]
    Add(add::AddArgs),
    /// Remove recipients, so that they are sent to again
    Remove(RemoveArgs),
    /// List entries, newest first
    List(ListArgs),
}

/// `sluice suppress remove`.
#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// The addresses
    #[arg(required = true, value_name = "ADDRESS", value_parser = address)]
    addresses: Vec<Address>,
    /// Remove the entries of this tenant, not those for every tenant
    #[arg(long)]
    tenant: Option<Tenant>,
    #[command(flatten)]
    format: FormatArg,
}

/// `sluice suppress list`.
#[derive(Debug, clap::Args)]
struct ListArgs {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    max: u32,
    #[command(flatten)]
    format: FormatArg,
}

/// Does what the subcommand says.
pub(crate) async fn run(config: &Config, args: SuppressArgs) -> anyhow::Result<bool> {
    let outside = match &args.command {
        SuppressCommand::Add(_) => ask::open_store(config)?,
        SuppressCommand::Remove(_) | SuppressCommand::List(_) => ask::open_existing_store(config)?,
    };
    let done = match args.command {
        SuppressCommand::Add(args) => add::run(&outside, args).await,
        SuppressCommand::Remove(args) => remove(&outside, args).await,
        SuppressCommand::List(args) => list(&outside, &args).await,
    };
    ask::close(&outside).await;
    done
}

#[derive(Serialize)]
struct Removed {
    removed: u64,
    /// Recipients that had no such entry.
    absent: u64,
}

async fn remove(outside: &Outside, args: RemoveArgs) -> anyhow::Result<bool> {
    let keys: Vec<String> = args.addresses.iter().map(Address::suppression_key).collect();
    let removed = outside.console.unsuppress(args.tenant.as_ref(), &keys).await.context("cannot remove")?;
    let asked = u64::try_from(keys.len()).unwrap_or(u64::MAX);
    let removed = Removed { removed, absent: asked.saturating_sub(removed) };
    match args.format.format {
        Format::Json => output::json(&removed)?,
        Format::Text => output::line(format_args!("removed {}", removed.removed))?,
    }
    if removed.absent > 0 {
        let scope = args.tenant.map_or_else(|| "every tenant".to_owned(), |it| format!("tenant {it}"));
        note(format_args!("{} had no entry for {scope}", removed.absent));
    }
    Ok(true)
}

#[derive(Serialize)]
struct EntryRow<'a> {
    recipient: &'a str,
    tenant: Option<&'a Tenant>,
    reason: &'a str,
    source: &'a str,
    created_at: Option<String>,
}

impl<'a> From<&'a SuppressionEntry> for EntryRow<'a> {
    fn from(entry: &'a SuppressionEntry) -> Self {
        Self {
            recipient: &entry.recipient,
            tenant: entry.tenant.as_ref(),
            reason: &entry.reason,
            source: &entry.source,
            created_at: entry.created_at.map(|at| at.to_string()),
        }
    }
}

async fn list(outside: &Outside, args: &ListArgs) -> anyhow::Result<bool> {
    let entries = outside.console.suppressions(args.max).await.context("cannot ask the store")?;
    let rows: Vec<EntryRow<'_>> = entries.iter().map(EntryRow::from).collect();
    if args.format.format == Format::Json {
        output::json(&rows)?;
        return Ok(true);
    }
    if rows.is_empty() {
        note("no suppressed recipients");
        return Ok(true);
    }
    let mut table = Table::new(["recipient", "tenant", "reason", "source", "since"]);
    for it in &rows {
        table.row([
            it.recipient.to_owned(),
            it.tenant.map_or_else(|| "(every)".to_owned(), ToString::to_string),
            it.reason.to_owned(),
            it.source.to_owned(),
            it.created_at.clone().unwrap_or_default(),
        ]);
    }
    table.print()?;
    if u32::try_from(rows.len()).is_ok_and(|shown| shown == args.max) {
        note(format_args!("the newest {} are shown; there may be more, see --max", args.max));
    }
    Ok(true)
}

/// Reads an address of the command line.
fn address(text: &str) -> Result<Address, sluice_types::AddressError> {
    Address::parse(text.trim())
}
