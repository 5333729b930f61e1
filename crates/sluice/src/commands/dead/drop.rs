//! `sluice dead drop`: removes refused messages and their bodies.

use std::io::IsTerminal;

use anyhow::Context;
use serde::Serialize;

use super::reason;
use crate::output::{self, Format, FormatArg, note};
use crate::wiring::Outside;

/// Dead letters removed in one call.
const BATCH: u32 = 1000;

/// `sluice dead drop`.
#[derive(Debug, clap::Args)]
pub(super) struct DropArgs {
    /// Their numbers, as `sluice dead list` says
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "ID")]
    ids: Vec<i64>,
    /// Every one that was refused for --reason
    #[arg(long, requires = "reason")]
    all: bool,
    /// With --all: the reason
    #[arg(long, requires = "all", value_parser = reason(), hide_possible_values = true)]
    reason: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    format: FormatArg,
}

#[derive(Serialize)]
struct Dropped {
    dropped: u64,
    /// Numbers under which there was nothing.
    missing: u64,
}

pub(super) async fn run(outside: &Outside, args: DropArgs) -> anyhow::Result<bool> {
    if !args.yes && std::io::stdin().is_terminal() && !output::confirm(&question(&args))? {
        note("nothing was dropped");
        return Ok(false);
    }
    let dropped = match &args.reason {
        Some(reason) => Dropped { dropped: drop_all(outside, reason).await?, missing: 0 },
        None => {
            let dropped = drop_some(outside, &args.ids).await?;
            let asked = u64::try_from(args.ids.len()).unwrap_or(u64::MAX);
            Dropped { dropped, missing: asked.saturating_sub(dropped) }
        }
    };
    match args.format.format {
        Format::Json => output::json(&dropped)?,
        Format::Text if dropped.missing == 0 => output::line(format_args!("dropped {}", dropped.dropped))?,
        Format::Text => output::line(format_args!(
            "dropped {}; there was nothing under {} of the numbers",
            dropped.dropped, dropped.missing
        ))?,
    }
    Ok(dropped.missing == 0)
}

fn question(args: &DropArgs) -> String {
    match &args.reason {
        Some(reason) => format!("drop every dead letter with the reason {reason}, bodies and all?"),
        None if args.ids.len() == 1 => "drop this dead letter and its body?".to_owned(),
        None => format!("drop {} dead letters and their bodies?", args.ids.len()),
    }
}

/// Drops what was there when it began.
async fn drop_all(outside: &Outside, reason: &str) -> anyhow::Result<u64> {
    let mut dropped = 0;
    let mut newest = None;
    loop {
        let letters = outside.console.dead_list(Some(reason), BATCH).await.context("cannot ask the store")?;
        let newest = *newest.get_or_insert(letters.first().map_or(i64::MIN, |letter| letter.id));
        let ids: Vec<i64> = letters.iter().map(|letter| letter.id).filter(|id| *id <= newest).collect();
        if ids.is_empty() {
            return Ok(dropped);
        }
        dropped += drop_some(outside, &ids).await?;
    }
}

async fn drop_some(outside: &Outside, ids: &[i64]) -> anyhow::Result<u64> {
    outside.console.dead_drop(ids).await.context("cannot drop")
}
