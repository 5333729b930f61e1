//! `sluice unknown list`.

use anyhow::Context;

use super::Filter;
use crate::output::{self, Format, FormatArg, Table, note};
use crate::wiring::Outside;

/// `sluice unknown list`.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: Filter,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    format: FormatArg,
}

pub(super) async fn run(outside: &Outside, args: &ListArgs) -> anyhow::Result<bool> {
    let jobs = outside.unknowns.unknown_list(&args.filter.query(args.limit)).await;
    let jobs = jobs.context("cannot ask the store")?;
    if args.format.format == Format::Json {
        output::json(&jobs)?;
        return Ok(true);
    }
    if jobs.is_empty() {
        note("no job is in doubt");
        return Ok(true);
    }
    let mut table = Table::new(["job", "since", "tenant", "class", "esp", "attempt", "why", "goes on"]);
    for it in &jobs {
        let goes_on = match (&it.resend_at, it.has_body) {
            (Some(at), _) => format!("resent at {at}"),
            (None, true) => "when you or an event say so".to_owned(),
            (None, false) => "its body is not parked".to_owned(),
        };
        table.row([
            it.id.clone(),
            it.since.clone(),
            it.tenant.clone(),
            it.class.clone(),
            it.esp.clone().unwrap_or_default(),
            it.attempt.to_string(),
            it.category.clone().unwrap_or_default(),
            goes_on,
        ]);
    }
    table.print()?;
    if u32::try_from(jobs.len()).is_ok_and(|shown| shown == args.limit) {
        note(format_args!("the oldest {} are shown; there may be more, see --limit", args.limit));
    }
    Ok(true)
}
