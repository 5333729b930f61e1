//! Jobs in doubt, and what people decide about them.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sluice_engine::{
    JobView, LedgerError, ResendVerdict, ResolutionView, SettleAs, SettleVerdict, UnknownQuery, UnknownView,
    Unknowns,
};
use sluice_types::{Class, JobId, JobState, Tenant, Timestamp};

use crate::convert::{self, rfc3339};
use crate::{Embedded, park};

#[async_trait]
impl Unknowns for Embedded {
    async fn unknown_list(&self, query: &UnknownQuery) -> Result<Vec<UnknownView>, LedgerError> {
        let query = query.clone();
        Ok(self.shared().questions.ask(move |connection| list(connection, &query)).await?)
    }

    async fn unknown_resend(
        &self,
        ids: &[JobId],
        by: &str,
        note: Option<&str>,
    ) -> Result<Vec<ResendVerdict>, LedgerError> {
        let (ids, by, note) = (ids.to_vec(), by.to_owned(), note.map(str::to_owned));
        let (count, now) = (ids.len(), self.shared().clock.now());
        let work = move |connection: &Connection| {
            ids.iter().map(|id| resend(connection, now, id, &by, note.as_deref())).collect()
        };
        Ok(self.shared().writer.write(count, work).await?)
    }

    async fn unknown_settle(
        &self,
        ids: &[JobId],
        settle_as: SettleAs,
        by: &str,
        note: Option<&str>,
    ) -> Result<Vec<SettleVerdict>, LedgerError> {
        let (ids, by, note) = (ids.to_vec(), by.to_owned(), note.map(str::to_owned));
        let (count, now) = (ids.len(), self.shared().clock.now());
        let work = move |connection: &Connection| {
            ids.iter().map(|id| settle(connection, now, id, settle_as, (&by, note.as_deref()))).collect()
        };
        Ok(self.shared().writer.write(count, work).await?)
    }
}

/// How a job left `unknown`, or was sent again.
pub(crate) struct Resolution<'a> {
    pub(crate) job: &'a JobId,
    pub(crate) tenant: &'a str,
    pub(crate) attempt: u32,
    pub(crate) before: JobState,
    pub(crate) verdict: &'a str,
    pub(crate) by: &'a str,
    pub(crate) note: Option<&'a str>,
}

/// Keeps it.
pub(crate) fn tell(connection: &Connection, now: Timestamp, it: &Resolution<'_>) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "insert into resolution (job_id, tenant, attempt, before, verdict, resolved_by, note, created_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            it.job.as_str(),
            it.tenant,
            it.attempt,
            it.before.as_str(),
            it.verdict,
            it.by,
            it.note.and_then(convert::not_empty),
            now.as_micros(),
        ])?;
    Ok(())
}

/// The first resolutions of one job, in order.
pub(crate) fn resolutions(connection: &Connection, id: &JobId) -> rusqlite::Result<Vec<ResolutionView>> {
    let mut select = connection.prepare_cached(
        "select attempt, before, verdict, resolved_by, note, created_at
         from resolution where job_id = ?1 order by id limit ?2",
    )?;
    let view = |row: &Row<'_>| {
        Ok(ResolutionView {
            attempt: row.get(0)?,
            before: row.get(1)?,
            verdict: row.get(2)?,
            by: row.get(3)?,
            note: row.get(4)?,
            at: rfc3339(row.get(5)?),
        })
    };
    select.query_map(params![id.as_str(), JobView::RESOLUTIONS_MAX], view)?.collect()
}

fn list(connection: &Connection, query: &UnknownQuery) -> rusqlite::Result<Vec<UnknownView>> {
    let mut select = connection.prepare_cached(
        "select j.id, j.tenant, j.campaign, j.class, j.esp, j.attempts, j.category, j.updated_at, p.due_at,
             p.job_id is not null
         from job j left join pending p on p.job_id = j.id and p.resend
         where j.state = 'unknown' and (?1 is null or j.tenant = ?1) and (?2 is null or j.class = ?2)
             and (?3 is null or j.esp = ?3) and (?4 is null or (j.updated_at, j.id) > (?4, ?5))
         order by j.updated_at, j.id limit ?6",
    )?;
    let (after, after_id) = match &query.after {
        Some((at, id)) => (Timestamp::parse(at).map(Timestamp::as_micros), Some(id)),
        None => (None, None),
    };
    let (tenant, class) = (query.tenant.as_ref().map(Tenant::as_str), query.class.map(Class::as_str));
    let view = |row: &Row<'_>| {
        Ok(UnknownView {
            id: row.get(0)?,
            tenant: row.get(1)?,
            campaign: row.get(2)?,
            class: row.get(3)?,
            esp: row.get(4)?,
            attempt: row.get(5)?,
            category: row.get(6)?,
            since: rfc3339(row.get(7)?),
            resend_at: row.get::<_, Option<i64>>(8)?.map(rfc3339),
            has_body: row.get(9)?,
        })
    };
    select.query_map(params![tenant, class, query.esp, after, after_id, query.max], view)?.collect()
}

/// What a decision finds of a job: tenant, state and attempts.
fn standing(connection: &Connection, id: &JobId) -> rusqlite::Result<Option<(String, JobState, u32)>> {
    connection
        .prepare_cached("select tenant, state, attempts from job where id = ?1")?
        .query_row([id.as_str()], |row| {
            Ok((row.get(0)?, convert::word(row, 1, JobState::from_word)?, row.get(2)?))
        })
        .optional()
}

fn resend(
    connection: &Connection,
    now: Timestamp,
    id: &JobId,
    by: &str,
    note: Option<&str>,
) -> rusqlite::Result<ResendVerdict> {
    let (tenant, attempt) = match standing(connection, id)? {
        None => return Ok(ResendVerdict::Missing),
        Some((tenant, JobState::Unknown, attempts)) => (tenant, attempts),
        Some((_, state, _)) => return Ok(ResendVerdict::NotUnknown(state)),
    };
    let woken = connection
        .prepare_cached("update pending set due_at = ?2, limit_key = null where job_id = ?1 and resend")?
        .execute(params![id.as_str(), now.as_micros()])?;
    if woken == 0 {
        return Ok(ResendVerdict::NoBody);
    }
    let verdict = sluice_engine::RESEND_WORD;
    let before = JobState::Unknown;
    tell(connection, now, &Resolution { job: id, tenant: &tenant, attempt, before, verdict, by, note })?;
    Ok(ResendVerdict::Queued)
}

fn settle(
    connection: &Connection,
    now: Timestamp,
    id: &JobId,
    settle_as: SettleAs,
    (by, note): (&str, Option<&str>),
) -> rusqlite::Result<SettleVerdict> {
    let (tenant, attempt) = match standing(connection, id)? {
        None => return Ok(SettleVerdict::Missing),
        Some((tenant, JobState::Unknown, attempts)) => (tenant, attempts),
        Some((_, state, _)) => return Ok(SettleVerdict::NotUnknown(state)),
    };
    let (verdict, before) = (settle_as.state().as_str(), JobState::Unknown);
    connection
        .prepare_cached("update job set state = ?2, updated_at = ?3 where id = ?1")?
        .execute(params![id.as_str(), verdict, now.as_micros()])?;
    tell(connection, now, &Resolution { job: id, tenant: &tenant, attempt, before, verdict, by, note })?;
    park::forget(connection, id)?;
    Ok(SettleVerdict::Settled)
}
