//! The port `Unknowns`: jobs in doubt, and what people decide about them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::SystemTime;

use async_trait::async_trait;
use sluice_engine::{
    LedgerError, ResendVerdict, SettleAs, SettleVerdict, UnknownQuery, UnknownView, Unknowns,
};
use sluice_types::{Class, JobId, JobState, Tenant, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::convert::{clean, clean_some, column, instant, timestamp, uint4, word};
use crate::park::waits_for_outcome;
use crate::{Postgres, StoreError};

const LIST_STEP: &str = "list unknown jobs";

/// A scan, like the counts of `sluice status`: an index on the state would cost every claim and every record.
const LIST: &str = "
SELECT j.id, j.tenant, j.campaign, j.class, j.esp, j.attempts, j.category, j.updated_at,
    p.due_at, p.job_id IS NOT NULL AS has_body
FROM (
    SELECT * FROM sluice.job j
    WHERE j.state = 'unknown'
      AND ($1::text IS NULL OR j.tenant = $1)
      AND ($2::text IS NULL OR j.class = $2)
      AND ($3::text IS NULL OR j.esp = $3)
      AND ($4::timestamptz IS NULL OR (j.updated_at, j.id) > ($4, $5::text))
    ORDER BY j.updated_at, j.id
    LIMIT $6
) j
LEFT JOIN sluice.pending p ON p.job_id = j.id AND p.resend
ORDER BY j.updated_at, j.id
";

const RESEND_STEP: &str = "send unknown jobs again";

/// The job's row is locked first, as everywhere, so that neither a late result nor an event passes in between. A pending
/// row that a relay holds is waited for; when that has published it there is none any more.
const RESEND: &str = "
WITH locked AS MATERIALIZED (
    SELECT j.id, j.tenant, j.state, j.attempts
    FROM sluice.job j
    WHERE j.id = ANY ($1)
    ORDER BY j.id COLLATE \"C\"
    FOR UPDATE
), woken AS (
    UPDATE sluice.pending p
    SET due_at = clock_timestamp(), limit_key = NULL
    FROM locked l
    WHERE p.job_id = l.id AND l.state = 'unknown' AND p.resend
    RETURNING p.job_id
), told AS (
    INSERT INTO sluice.resolution (job_id, tenant, attempt, before, verdict, resolved_by, note)
    SELECT l.id, l.tenant, l.attempts, l.state, $2, $3, $4
    FROM locked l
    JOIN woken w ON w.job_id = l.id
)
SELECT l.id, l.state, w.job_id IS NOT NULL AS done
FROM locked l
LEFT JOIN woken w ON w.job_id = l.id
";

const SETTLE_STEP: &str = "settle unknown jobs";

/// A pending row that a relay holds is left: its copy will find the job done.
const SETTLE: &str = concat!(
    "
WITH locked AS MATERIALIZED (
    SELECT j.id, j.tenant, j.state, j.attempts
    FROM sluice.job j
    WHERE j.id = ANY ($1)
    ORDER BY j.id COLLATE \"C\"
    FOR UPDATE
), settled AS (
    UPDATE sluice.job j
    SET state = $2, updated_at = clock_timestamp()
    FROM locked l
    WHERE j.id = l.id AND l.state = 'unknown'
    RETURNING j.id
), told AS (
    INSERT INTO sluice.resolution (job_id, tenant, attempt, before, verdict, resolved_by, note)
    SELECT l.id, l.tenant, l.attempts, l.state, $2, $3, $4
    FROM locked l
    JOIN settled s ON s.id = l.id
), gone AS (
    DELETE FROM sluice.pending
    WHERE job_id = ANY (ARRAY(
        SELECT q.job_id FROM sluice.pending q
        WHERE q.job_id = ANY (ARRAY(SELECT s.id FROM settled s))
          AND ",
    waits_for_outcome!(),
    "
        FOR UPDATE SKIP LOCKED))
)
SELECT l.id, l.state, s.id IS NOT NULL AS done
FROM locked l
LEFT JOIN settled s ON s.id = l.id
"
);

#[async_trait]
impl Unknowns for Postgres {
    async fn unknown_list(&self, query: &UnknownQuery) -> Result<Vec<UnknownView>, LedgerError> {
        Ok(self.list_unknown(query).await?)
    }

    async fn unknown_resend(
        &self,
        ids: &[JobId],
        by: &str,
        note: Option<&str>,
    ) -> Result<Vec<ResendVerdict>, LedgerError> {
        let found = self.decide(RESEND_STEP, RESEND, ids, sluice_engine::RESEND_WORD, by, note).await?;
        let verdict = |id: &JobId| match found.get(id.as_str()) {
            None => ResendVerdict::Missing,
            Some(Decided { done: true, .. }) => ResendVerdict::Queued,
            Some(Decided { state: JobState::Unknown, .. }) => ResendVerdict::NoBody,
            Some(Decided { state, .. }) => ResendVerdict::NotUnknown(*state),
        };
        Ok(ids.iter().map(verdict).collect())
    }

    async fn unknown_settle(
        &self,
        ids: &[JobId],
        settle_as: SettleAs,
        by: &str,
        note: Option<&str>,
    ) -> Result<Vec<SettleVerdict>, LedgerError> {
        let found = self.decide(SETTLE_STEP, SETTLE, ids, settle_as.state().as_str(), by, note).await?;
        let verdict = |id: &JobId| match found.get(id.as_str()) {
            None => SettleVerdict::Missing,
            Some(Decided { done: true, .. }) => SettleVerdict::Settled,
            Some(Decided { state, .. }) => SettleVerdict::NotUnknown(*state),
        };
        Ok(ids.iter().map(verdict).collect())
    }
}

/// A job's state before a decision, and whether it was carried out.
struct Decided {
    state: JobState,
    done: bool,
}

impl Postgres {
    async fn list_unknown(&self, query: &UnknownQuery) -> Result<Vec<UnknownView>, StoreError> {
        let tenant = query.tenant.as_ref().map(Tenant::as_str);
        let class = query.class.map(Class::as_str);
        let esp = query.esp.as_deref().map(clean);
        let (after, after_id) = match &query.after {
            Some((at, id)) => (Timestamp::parse(at).map(instant), Some(clean(id))),
            None => (None, None),
        };
        let max = i64::from(query.max);
        let params: [&(dyn ToSql + Sync); 6] = [&tenant, &class, &esp, &after, &after_id, &max];
        let rows = self.readers.query(LIST_STEP, LIST, &params).await?;
        rows.iter().map(view_of_row).collect()
    }

    async fn decide(
        &self,
        step: &'static str,
        sql: &'static str,
        ids: &[JobId],
        word_of: &str,
        by: &str,
        note: Option<&str>,
    ) -> Result<HashMap<String, Decided>, StoreError> {
        let ids: Vec<&str> = ids.iter().map(JobId::as_str).collect();
        let (by, note): (Cow<'_, str>, _) = (clean(by), note.and_then(clean_some));
        let params: [&(dyn ToSql + Sync); 4] = [&ids, &word_of, &by, &note];
        let rows = self.readers.query(step, sql, &params).await?;
        let read = |row: &Row| {
            let state = word(row, step, "state", JobState::from_word)?;
            Ok((column(row, step, "id")?, Decided { state, done: column(row, step, "done")? }))
        };
        rows.iter().map(read).collect()
    }
}

fn view_of_row(row: &Row) -> Result<UnknownView, StoreError> {
    let rfc3339 = |at: SystemTime| timestamp(at).to_string();
    Ok(UnknownView {
        id: column(row, LIST_STEP, "id")?,
        tenant: column(row, LIST_STEP, "tenant")?,
        campaign: column(row, LIST_STEP, "campaign")?,
        class: column(row, LIST_STEP, "class")?,
        esp: column(row, LIST_STEP, "esp")?,
        attempt: uint4(column(row, LIST_STEP, "attempts")?),
        category: column(row, LIST_STEP, "category")?,
        since: rfc3339(column(row, LIST_STEP, "updated_at")?),
        resend_at: column::<Option<SystemTime>>(row, LIST_STEP, "due_at")?.map(rfc3339),
        has_body: column(row, LIST_STEP, "has_body")?,
    })
}
