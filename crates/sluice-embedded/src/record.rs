//! Results: the attempt, and where the job goes from here.

use rusqlite::{Connection, OptionalExtension, params};
use sluice_engine::{NextStep, Parked, Record, RecordVerdict};
use sluice_types::{Category, JobState, Outcome, Timestamp};

use crate::batch::DueLeases;
use crate::refuse::refuse;
use crate::{convert, park};

/// Records each result. `me` names this opening of the file by its worker.
pub(crate) fn record(
    connection: &Connection,
    leases: &DueLeases,
    me: &str,
    now: Timestamp,
    records: &[Record],
) -> rusqlite::Result<Vec<RecordVerdict>> {
    records.iter().map(|record| record_one(connection, leases, me, now, record)).collect()
}

fn record_one(
    connection: &Connection,
    leases: &DueLeases,
    me: &str,
    now: Timestamp,
    record: &Record,
) -> rusqlite::Result<RecordVerdict> {
    if let Some(outcome) = &record.outcome {
        keep_attempt(connection, record, outcome)?;
    }
    let goal = Goal::of(record);
    if !settle(connection, me, now, record, &goal)? {
        return verdict_on_repeat(connection, me, record, &goal);
    }
    match goal.parked {
        Some(parked) => {
            // One that a relay holds is on its way, and becomes a dead letter at its claim.
            if !leases.holds(&parked.id)
                && let Some(displaced) = park::another_body(connection, parked)?
            {
                refuse(connection, now, &[displaced])?;
            }
            park::replace(connection, now, parked)?;
        }
        None => park::forget(connection, &record.id)?,
    }
    Ok(RecordVerdict::Recorded)
}

/// What the job's row becomes.
#[derive(Clone, Copy, Debug)]
struct Goal<'a> {
    state: JobState,
    category: Option<Category>,
    attempts: u32,
    parked: Option<&'a Parked>,
}

impl<'a> Goal<'a> {
    fn of(record: &'a Record) -> Self {
        let category = record.outcome.as_ref().and_then(Outcome::category);
        let (state, category, attempts, parked) = match &record.next {
            NextStep::Final { state, category } => (*state, *category, record.attempt, None),
            NextStep::Retry(parked) => (JobState::Deferred, category, record.attempt, Some(parked)),
            NextStep::Unknown(parked) => (JobState::Unknown, category, record.attempt, Some(parked)),
            // What was in doubt before stays so.
            NextStep::Unsent(parked) if parked.passport.resend => {
                (JobState::Unknown, category, record.attempt.saturating_sub(1), Some(parked))
            }
            NextStep::Unsent(parked) => {
                (JobState::Deferred, category, record.attempt.saturating_sub(1), Some(parked))
            }
        };
        Self { state, category, attempts, parked: parked.map(Box::as_ref) }
    }
}

/// Keeps the attempt. It takes the place of what was written when its worker counted as lost, which is kept aside; any
/// other row stays.
fn keep_attempt(connection: &Connection, record: &Record, outcome: &Outcome) -> rusqlite::Result<()> {
    let mut aside = connection.prepare_cached(
        "insert into attempt_lost (job_id, attempt, esp, outcome, category, detail, started_at, finished_at)
         select job_id, attempt, esp, outcome, category, detail, started_at, finished_at from attempt
         where job_id = ?1 and attempt = ?2 and category = 'worker_lost'
         on conflict do nothing",
    )?;
    aside.execute(params![record.id.as_str(), record.attempt])?;
    let mut insert = connection.prepare_cached(
        "insert into attempt (job_id, attempt, tenant, esp, outcome, category, detail, provider_message_id,
             started_at, finished_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         on conflict (job_id, attempt) do update set esp = excluded.esp, outcome = excluded.outcome,
             category = excluded.category, detail = excluded.detail,
             provider_message_id = excluded.provider_message_id, started_at = excluded.started_at,
             finished_at = excluded.finished_at
         where attempt.category = 'worker_lost'",
    )?;
    insert.execute(params![
        record.id.as_str(),
        record.attempt,
        record.tenant.as_str(),
        record.esp.as_str(),
        outcome.kind().as_str(),
        outcome.category().map(Category::as_str),
        convert::not_empty(outcome.detail()),
        provider_message_id(outcome),
        record.started_at.as_micros(),
        record.finished_at.as_micros(),
    ])?;
    Ok(())
}

/// Moves the job's row; false when the claim is not ours any more. A final result also settles an `unknown` job.
fn settle(
    connection: &Connection,
    me: &str,
    now: Timestamp,
    record: &Record,
    goal: &Goal<'_>,
) -> rusqlite::Result<bool> {
    let mut update = connection.prepare_cached(
        "update job set state = ?4, attempts = ?5, esp = ?6, provider_message_id = coalesce(?7, provider_message_id),
             category = ?8, detail = ?9, updated_at = ?10, deadline = null
         where id = ?1 and attempts = ?2
             and ((state = 'sending' and worker = ?3 and coalesce(claim_token = ?12, true)) or (state = 'unknown' and ?11))",
    )?;
    let is_final = matches!(record.next, NextStep::Final { .. });
    let moved = update.execute(params![
        record.id.as_str(),
        record.attempt,
        me,
        goal.state.as_str(),
        goal.attempts,
        record.esp.as_str(),
        record.outcome.as_ref().and_then(provider_message_id),
        goal.category.map(Category::as_str),
        record.outcome.as_ref().map(Outcome::detail).and_then(convert::not_empty),
        now.as_micros(),
        is_final,
        record.token,
    ])?;
    Ok(moved == 1)
}

/// A repeated call finds the row as the first one left it.
fn verdict_on_repeat(
    connection: &Connection,
    me: &str,
    record: &Record,
    goal: &Goal<'_>,
) -> rusqlite::Result<RecordVerdict> {
    let as_left = connection
        .prepare_cached("select 1 from job where id = ?1 and state = ?2 and attempts = ?3 and worker = ?4")?
        .query_row(params![record.id.as_str(), goal.state.as_str(), goal.attempts, me], |_| Ok(()))
        .optional()?;
    Ok(if as_left.is_some() { RecordVerdict::Recorded } else { RecordVerdict::NotOurs })
}

fn provider_message_id(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Accepted { provider_message_id } => provider_message_id.as_deref(),
        Outcome::Deferred { .. }
        | Outcome::Rejected { .. }
        | Outcome::Faulted { .. }
        | Outcome::Unknown { .. } => None,
    }
}
