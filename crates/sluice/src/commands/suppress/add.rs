//! `sluice suppress add`: from the command line, or one a line from a file of any size.

use std::collections::HashSet;
use std::path::PathBuf;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use sluice_engine::SuppressionEntry;
use sluice_types::{Address, Tenant};

use super::address;
use crate::commands::lines::{Line, Lines, open};
use crate::commands::progress::Progress;
use crate::output::{self, Format, FormatArg};
use crate::wiring::Outside;

/// Entries written in one call.
const BATCH: usize = 500;
/// Longest line of a file; an address is far shorter.
const LINE_MAX_BYTES: usize = 4096;
/// So many bad lines are told one by one.
const BAD_LINES_TOLD: u64 = 20;
/// Who says so.
const SOURCE: &str = "cli";

/// `sluice suppress add`.
#[derive(Debug, clap::Args)]
pub(super) struct AddArgs {
    /// The addresses
    #[arg(required_unless_present = "file", value_name = "ADDRESS", value_parser = address)]
    addresses: Vec<Address>,
    /// Add the addresses of this file too, one a line; `-` is stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// For this tenant; without it for every tenant
    #[arg(long)]
    tenant: Option<Tenant>,
    /// Why
    #[arg(long, default_value = "manual", value_name = "manual|bounce|complaint|unsubscribe")]
    #[arg(hide_possible_values = true)]
    #[arg(value_parser = PossibleValuesParser::new(["manual", "bounce", "complaint", "unsubscribe"]))]
    reason: String,
    #[command(flatten)]
    format: FormatArg,
}

/// What came of it.
#[derive(Default, Serialize)]
struct Added {
    added: u64,
    /// Were on the list before, and have the new reason now.
    replaced: u64,
    /// Lines that are no address.
    errors: u64,
}

pub(super) async fn run(outside: &Outside, args: AddArgs) -> anyhow::Result<bool> {
    let mut added = Added::default();
    let entry = |address: &Address| SuppressionEntry {
        tenant: args.tenant.clone(),
        recipient: address.suppression_key(),
        reason: args.reason.clone(),
        source: SOURCE.to_owned(),
        created_at: None,
    };
    for some in args.addresses.chunks(BATCH) {
        let mut entries = some.iter().map(entry).collect();
        write(outside, &mut entries, &mut added).await?;
    }
    if let Some(path) = &args.file {
        let (input, size) = open(path)?;
        let mut lines = Lines::new(input, LINE_MAX_BYTES);
        let mut progress = Progress::new(size);
        let mut entries = Vec::with_capacity(BATCH);
        while let Some(line) = lines.next().with_context(|| format!("cannot read {}", path.display()))? {
            match read(&line) {
                Ok(None) => {}
                Ok(Some(address)) => entries.push(entry(&address)),
                Err(fault) => {
                    added.errors += 1;
                    if added.errors <= BAD_LINES_TOLD {
                        progress.say(format_args!("line {}: {fault}", line.number));
                    }
                }
            }
            if entries.len() == BATCH {
                write(outside, &mut entries, &mut added).await?;
                progress.at(lines.consumed_bytes(), || format!("{} added", added.added));
            }
        }
        write(outside, &mut entries, &mut added).await?;
        if let Some(more) = added.errors.checked_sub(BAD_LINES_TOLD).filter(|more| *more > 0) {
            progress.say(format_args!("and {more} more bad lines"));
        }
    }
    match args.format.format {
        Format::Json => output::json(&added)?,
        Format::Text => output::line(format_args!(
            "added {}, replaced {}, errors {}",
            added.added, added.replaced, added.errors
        ))?,
    }
    Ok(added.errors == 0)
}

async fn write(
    outside: &Outside,
    entries: &mut Vec<SuppressionEntry>,
    added: &mut Added,
) -> anyhow::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let read = entries.len();
    // The same row twice in one statement is more than a store must take.
    let mut taken = HashSet::new();
    entries.retain(|entry| taken.insert(entry.recipient.clone()));
    let new = outside.console.suppress(entries).await.context("cannot add")?;
    added.added += new;
    added.replaced += u64::try_from(read).unwrap_or(u64::MAX).saturating_sub(new);
    entries.clear();
    Ok(())
}

/// The address of a line; `None` for a comment.
fn read(line: &Line) -> Result<Option<Address>, String> {
    let bytes = line.bytes.as_deref().ok_or_else(|| format!("is longer than {LINE_MAX_BYTES} bytes"))?;
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let text = text.trim();
    // Only at the beginning: an address may hold one.
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    Address::parse(text).map(Some).map_err(|error| error.to_string())
}
