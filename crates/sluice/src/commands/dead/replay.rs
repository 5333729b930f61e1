//! `sluice dead replay`: puts refused bodies through every check again and back into their lanes.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use serde::Serialize;
use sluice_engine::{Intake, IntakeAnswer, JobView, Passport, Publication, PublishError};
use sluice_types::{Job, JobState};

use super::reason;
use crate::commands::ask;
use crate::output::{self, Format, FormatArg, note};
use crate::wiring::Outside;

/// Dead letters looked at in one round.
const BATCH: u32 = 500;

/// `sluice dead replay`.
#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// Their numbers, as `sluice dead list` says
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "ID")]
    ids: Vec<i64>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// With --all: only those refused for this reason
    #[arg(long, requires = "all", value_parser = reason(), hide_possible_values = true)]
    reason: Option<String>,
    #[command(flatten)]
    format: FormatArg,
}

/// What became of one dead letter.
#[derive(Serialize)]
struct Fate {
    id: i64,
    #[serde(flatten)]
    kind: FateKind,
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum FateKind {
    /// It is back in its lane; the dead letter is gone.
    Queued,
    /// The store knows the job already; the dead letter is gone.
    Duplicate,
    /// It is still no job that can be taken; it stays.
    Refused { reason: &'static str, field: String, detail: String },
    /// It could not be queued now; it stays.
    Unavailable,
    /// There is nothing under this number.
    Missing,
}

impl FateKind {
    const fn is_done(&self) -> bool {
        matches!(self, Self::Queued | Self::Duplicate)
    }
}

pub(super) async fn run(outside: &Outside, args: ReplayArgs) -> anyhow::Result<bool> {
    outside.broker_ready(ask::BROKER_WAIT).await?;
    let is_json = args.format.format == Format::Json;
    let mut told = Vec::new();
    let (mut done, mut stayed) = (0_u64, 0_u64);
    let mut tell = |fates: Vec<Fate>| {
        for fate in fates {
            if fate.kind.is_done() {
                done += 1
            } else {
                stayed += 1
            }
            if is_json { told.push(fate) } else { print(&fate) }
        }
    };
    if args.all {
        let mut rounds = Rounds { reason: args.reason, newest: None, kept: HashSet::new() };
        loop {
            let ids = rounds.next(outside).await?;
            if ids.is_empty() {
                break;
            }
            let fates = replay(outside, &ids).await?;
            rounds.kept.extend(fates.iter().filter(|it| !it.kind.is_done()).map(|it| it.id));
            tell(fates);
        }
    } else {
        tell(replay(outside, &args.ids).await?);
    }
    if is_json {
        output::json(&told)?;
    } else {
        output::line(format_args!("replayed {done}, {stayed} stayed"))?;
    }
    Ok(stayed == 0)
}

/// What `--all` means while dead letters go, stay and arrive: each that was there at the beginning, once.
struct Rounds {
    reason: Option<String>,
    newest: Option<i64>,
    /// Those that stay, so that they are not tried again.
    kept: HashSet<i64>,
}

impl Rounds {
    /// The next to try, oldest of the round first.
    async fn next(&mut self, outside: &Outside) -> anyhow::Result<Vec<i64>> {
        let kept = u32::try_from(self.kept.len()).unwrap_or(u32::MAX);
        // What arrived meanwhile comes first in the list: a replayed job may have been refused again.
        let mut max = BATCH.saturating_add(kept);
        loop {
            let letters = outside.console.dead_list(self.reason.as_deref(), max).await;
            let letters = letters.context("cannot ask the store")?;
            let newest = *self.newest.get_or_insert(letters.first().map_or(i64::MIN, |it| it.id));
            let listed = u32::try_from(letters.len()).unwrap_or(u32::MAX);
            let wanted = |id: &i64| *id <= newest && !self.kept.contains(id);
            let ids: Vec<i64> = letters.iter().rev().map(|it| it.id).filter(wanted).collect();
            if !ids.is_empty() || listed < max || max == u32::MAX {
                return Ok(ids);
            }
            max = max.saturating_mul(2);
        }
    }
}

async fn replay(outside: &Outside, ids: &[i64]) -> anyhow::Result<Vec<Fate>> {
    let intake =
        Intake::new(Arc::clone(&outside.plan), Arc::clone(&outside.outbox), Arc::clone(&outside.console));
    let mut fates = Vec::with_capacity(ids.len());
    for id in ids {
        let found = outside.console.dead_show(*id).await.context("cannot ask the store")?;
        let kind = match found {
            None => FateKind::Missing,
            Some((_, body)) => publish(outside, &intake, body).await?,
        };
        if kind.is_done() {
            outside
                .console
                .dead_drop(&[*id])
                .await
                .context("replayed, but the dead letter could not be removed")?;
        }
        fates.push(Fate { id: *id, kind });
    }
    Ok(fates)
}

async fn publish(outside: &Outside, intake: &Intake, body: Bytes) -> anyhow::Result<FateKind> {
    let answer = intake.submit(vec![body.clone()]).await.into_iter().next();
    Ok(match answer {
        Some(IntakeAnswer::Queued { .. }) => FateKind::Queued,
        Some(IntakeAnswer::Duplicate { .. }) => resume(outside, body).await?,
        Some(IntakeAnswer::Error { refusal, .. }) => FateKind::Refused {
            reason: refusal.reason.as_str(),
            field: refusal.field,
            detail: refusal.detail,
        },
        Some(IntakeAnswer::Unavailable { .. }) | None => FateKind::Unavailable,
    })
}

/// A job that the store knows is finished, or its body waits elsewhere; except one that is open with no parked copy: a worker
/// was lost with it, or refused its next attempt. Then the dead letter may hold the only body, and it goes back to its lane,
/// where the claim decides.
async fn resume(outside: &Outside, body: Bytes) -> anyhow::Result<FateKind> {
    let Ok(job) = Job::parse(&body) else { return Ok(FateKind::Unavailable) };
    let known = outside.console.job(&job.id).await.context("cannot ask the store")?;
    let Some(attempt) = known.as_ref().and_then(attempt_to_resume) else {
        return Ok(FateKind::Duplicate);
    };
    let lane = outside.plan.get().lane(&job.pool, job.class, job.to.email.domain());
    let passport = Passport { attempt, ..Passport::default() };
    let published = outside.outbox.publish(vec![Publication { lane, id: job.id, body, passport }]).await;
    let is_there = matches!(published.first(), Some(Ok(()) | Err(PublishError::Duplicate)));
    Ok(if is_there { FateKind::Queued } else { FateKind::Unavailable })
}

/// The attempt under which an open job goes on: an earlier one would be taken for an old copy and forgotten. `None` when it
/// needs no copy from here.
fn attempt_to_resume(known: &JobView) -> Option<u32> {
    let is = |state: JobState| known.state == state.as_str();
    if is(JobState::Sending) {
        // The attempt that was claimed.
        return Some(known.attempts.max(1));
    }
    let waits_for_next = is(JobState::Deferred) || is(JobState::Unknown);
    (waits_for_next && known.pending.is_none()).then(|| known.attempts.saturating_add(1))
}

fn print(fate: &Fate) {
    let id = fate.id;
    match &fate.kind {
        FateKind::Queued => {}
        FateKind::Duplicate => note(format_args!("{id}: the job is known already; removed")),
        FateKind::Refused { reason, field, detail } if field.is_empty() => {
            note(format_args!("{id}: still refused: {detail} ({reason})"));
        }
        FateKind::Refused { reason, field, detail } => {
            note(format_args!("{id}: still refused: {field}: {detail} ({reason})"));
        }
        FateKind::Unavailable => note(format_args!("{id}: could not be queued now; try again")),
        FateKind::Missing => note(format_args!("{id}: there is no such dead letter")),
    }
}
