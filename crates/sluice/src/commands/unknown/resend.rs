//! `sluice unknown resend`.

use std::io::IsTerminal;

use anyhow::Context;
use sluice_engine::ResendVerdict;
use sluice_types::JobId;

use super::Filter;
use super::decide::{BATCH, Fate, FateKind, by, note_text, once, tell};
use crate::output::{self, FormatArg, note};
use crate::wiring::Outside;

/// `sluice unknown resend`.
#[derive(Debug, clap::Args)]
pub(super) struct ResendArgs {
    /// The jobs, as `sluice unknown list` says
    #[arg(required_unless_present = "all", conflicts_with_all = ["all", "tenant", "class", "esp"], value_name = "JOB_ID")]
    ids: Vec<JobId>,
    /// All jobs in doubt, or those that --tenant, --class and --esp name
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
    /// Why; kept with each job
    #[arg(long, value_name = "TEXT", value_parser = note_text)]
    note: Option<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    format: FormatArg,
}

pub(super) async fn run(outside: &Outside, args: ResendArgs) -> anyhow::Result<bool> {
    let question = "send every one of these jobs again? Some recipients may get a second copy.";
    if args.all && !args.yes && std::io::stdin().is_terminal() && !output::confirm(question)? {
        note("nothing was resent");
        return Ok(false);
    }
    let (by, reason) = (by(), args.note.as_deref());
    let mut fates = Vec::new();
    if args.all {
        let mut query = args.filter.query(u32::try_from(BATCH).unwrap_or(u32::MAX));
        loop {
            let jobs = outside.unknowns.unknown_list(&query).await.context("cannot ask the store")?;
            let Some(last) = jobs.last() else { break };
            query.after = Some((last.since.clone(), last.id.clone()));
            let ids: Vec<JobId> = jobs.iter().filter_map(|job| JobId::new(&job.id).ok()).collect();
            fates.extend(resend(outside, &ids, &by, reason).await?);
        }
    } else {
        for ids in once(args.ids).chunks(BATCH) {
            fates.extend(resend(outside, ids, &by, reason).await?);
        }
    }
    tell(&fates, args.format.format, "resent")
}

async fn resend(
    outside: &Outside,
    ids: &[JobId],
    by: &str,
    reason: Option<&str>,
) -> anyhow::Result<Vec<Fate>> {
    let verdicts = outside.unknowns.unknown_resend(ids, by, reason).await.context("cannot resend")?;
    let fate = |(id, verdict): (&JobId, ResendVerdict)| Fate {
        id: id.to_string(),
        kind: match verdict {
            ResendVerdict::Queued => FateKind::Resent,
            ResendVerdict::NoBody => FateKind::NoBody,
            ResendVerdict::NotUnknown(state) => FateKind::NotUnknown { state },
            ResendVerdict::Missing => FateKind::Missing,
        },
    };
    Ok(ids.iter().zip(verdicts).map(fate).collect())
}
