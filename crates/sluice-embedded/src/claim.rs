//! Claims: one row of `job`, durable before the send.

use rusqlite::{Connection, OptionalExtension, params};
use sluice_engine::{Claim, ClaimVerdict, Intent};
use sluice_policy::{ClaimStep, FoundJob};
use sluice_types::{AttemptOutcome, Category, JobState, Timestamp};

use crate::{convert, park};

/// Claims each job, or says why not. `me` names this opening of the file by its worker.
pub(crate) fn claim(
    connection: &Connection,
    me: &str,
    now: Timestamp,
    claims: &[Claim],
) -> rusqlite::Result<Vec<ClaimVerdict>> {
    claims.iter().map(|claim| claim_one(connection, me, now, claim)).collect()
}

fn claim_one(
    connection: &Connection,
    me: &str,
    now: Timestamp,
    claim: &Claim,
) -> rusqlite::Result<ClaimVerdict> {
    let goal = Goal::of(connection, now, claim)?;
    if insert(connection, me, now, claim, &goal)? {
        return finish(connection, claim, &goal);
    }
    let Some(row) = JobRow::read(connection, claim)? else {
        // It was there an instant ago in this very transaction.
        return Err(rusqlite::Error::QueryReturnedNoRows);
    };
    match claim.wish().meet(&row.found_by(claim, me, now)) {
        ClaimStep::Take => {
            take(connection, me, now, claim, &goal)?;
            finish(connection, claim, &goal)
        }
        ClaimStep::Lost => {
            give_up(connection, now, claim, &row)?;
            Ok(ClaimVerdict::Lost { attempt: row.attempts })
        }
        ClaimStep::Stay(verdict) => Ok(verdict),
    }
}

/// What the row becomes when the claim goes through.
#[derive(Clone, Copy, Debug)]
struct Goal<'a> {
    state: JobState,
    category: Option<Category>,
    attempts: u32,
    esp: Option<&'a str>,
    deadline: Option<Timestamp>,
    resent: bool,
    verdict: ClaimVerdict,
}

impl<'a> Goal<'a> {
    fn of(connection: &Connection, now: Timestamp, claim: &'a Claim) -> rusqlite::Result<Self> {
        let close = |state, category, verdict| Self {
            state,
            category: Some(category),
            // Nothing is tried, so the counter stays where it was.
            attempts: claim.attempt.saturating_sub(1),
            esp: None,
            deadline: None,
            resent: false,
            verdict,
        };
        Ok(match &claim.intent {
            Intent::Close { state, category } => close(*state, *category, ClaimVerdict::Closed),
            Intent::Send { .. } if is_suppressed(connection, claim)? => {
                close(JobState::Suppressed, Category::Suppressed, ClaimVerdict::Suppressed)
            }
            Intent::Send { ttl, esp } => Self {
                state: JobState::Sending,
                category: None,
                attempts: claim.attempt,
                esp: Some(esp.as_str()),
                deadline: Some(now + *ttl),
                resent: claim.resend,
                verdict: ClaimVerdict::Go,
            },
        })
    }
}

fn is_suppressed(connection: &Connection, claim: &Claim) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("select 1 from suppression where recipient = ?1 and tenant in ('', ?2)")?
        .exists(params![claim.recipient.suppression_key(), claim.tenant.as_str()])
}

/// False when there is a row already.
fn insert(
    connection: &Connection,
    me: &str,
    now: Timestamp,
    claim: &Claim,
    goal: &Goal<'_>,
) -> rusqlite::Result<bool> {
    let mut insert = connection.prepare_cached(
        "insert into job (id, tenant, campaign, class, pool, recipient, state, attempts, esp, category,
             updated_at, created_at, worker, claim_token, deadline, fingerprint, resent)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, ?12, ?13, ?14, ?15, ?16)
         on conflict (id) do nothing",
    )?;
    let inserted = insert.execute(params![
        claim.id.as_str(),
        claim.tenant.as_str(),
        claim.campaign.as_ref().map(|campaign| campaign.as_str()),
        claim.class.as_str(),
        claim.pool.as_str(),
        claim.recipient.as_str(),
        goal.state.as_str(),
        goal.attempts,
        goal.esp,
        goal.category.map(Category::as_str),
        now.as_micros(),
        me,
        claim.token,
        goal.deadline.map(Timestamp::as_micros),
        claim.fingerprint,
        goal.resent,
    ])?;
    Ok(inserted == 1)
}

fn take(
    connection: &Connection,
    me: &str,
    now: Timestamp,
    claim: &Claim,
    goal: &Goal<'_>,
) -> rusqlite::Result<()> {
    let mut update = connection.prepare_cached(
        "update job set state = ?2, attempts = ?3, esp = coalesce(?4, esp), category = ?5, detail = null,
             updated_at = ?6, worker = ?7, claim_token = ?8, deadline = ?9, resent = max(resent, ?10)
         where id = ?1",
    )?;
    update.execute(params![
        claim.id.as_str(),
        goal.state.as_str(),
        goal.attempts,
        goal.esp,
        goal.category.map(Category::as_str),
        now.as_micros(),
        me,
        claim.token,
        goal.deadline.map(Timestamp::as_micros),
        goal.resent,
    ])?;
    Ok(())
}

/// A closed job waits for nothing any more.
fn finish(connection: &Connection, claim: &Claim, goal: &Goal<'_>) -> rusqlite::Result<ClaimVerdict> {
    if goal.state.is_final() {
        park::forget(connection, &claim.id)?;
    }
    Ok(goal.verdict)
}

/// A dead claim: nobody knows what became of its attempt.
fn give_up(connection: &Connection, now: Timestamp, claim: &Claim, row: &JobRow) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "update job set state = ?2, category = ?3, detail = null, updated_at = ?4, deadline = null where id = ?1",
        )?
        .execute(params![
            claim.id.as_str(),
            JobState::Unknown.as_str(),
            Category::WorkerLost.as_str(),
            now.as_micros(),
        ])?;
    connection
        .prepare_cached(
            "insert into attempt (job_id, attempt, tenant, esp, outcome, category, started_at, finished_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) on conflict (job_id, attempt) do nothing",
        )?
        .execute(params![
            claim.id.as_str(),
            row.attempts,
            claim.tenant.as_str(),
            row.esp.as_deref().unwrap_or_default(),
            AttemptOutcome::Unknown.as_str(),
            Category::WorkerLost.as_str(),
            row.updated_at,
            now.as_micros(),
        ])?;
    Ok(())
}

/// What a claim finds.
#[derive(Clone, Debug)]
struct JobRow {
    tenant: String,
    state: JobState,
    attempts: u32,
    worker: Option<String>,
    token: Option<i64>,
    deadline: Option<i64>,
    fingerprint: i64,
    esp: Option<String>,
    updated_at: i64,
}

impl JobRow {
    fn read(connection: &Connection, claim: &Claim) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached(
                "select tenant, state, attempts, worker, claim_token, deadline, fingerprint, esp, updated_at
                 from job where id = ?1",
            )?
            .query_row([claim.id.as_str()], |row| {
                Ok(Self {
                    tenant: row.get(0)?,
                    state: convert::word(row, 1, JobState::from_word)?,
                    attempts: row.get(2)?,
                    worker: row.get(3)?,
                    token: row.get(4)?,
                    deadline: row.get(5)?,
                    fingerprint: row.get(6)?,
                    esp: row.get(7)?,
                    updated_at: row.get(8)?,
                })
            })
            .optional()
    }

    /// There is one worker per file, so a claim of any other opening of it is dead at once.
    fn found_by(&self, claim: &Claim, me: &str, now: Timestamp) -> FoundJob<'_> {
        let is_mine = self.worker.as_deref() == Some(me);
        let deadline = self.deadline.filter(|_| is_mine).map(Timestamp::from_micros);
        FoundJob {
            tenant: &self.tenant,
            fingerprint: Some(self.fingerprint),
            state: self.state,
            attempts: self.attempts,
            is_ours: is_mine && self.token == Some(claim.token),
            remaining: deadline.map(|deadline| deadline.after(now)).filter(|left| !left.is_zero()),
        }
    }
}
