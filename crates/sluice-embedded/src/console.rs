//! Answers for people.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sluice_engine::{
    AttemptView, Console, DeadLetterView, JobView, KnownJob, LedgerError, PendingView, StatusView,
    SuppressionEntry,
};
use sluice_types::{Campaign, JobId, Tenant, Timestamp};

use crate::convert::{self, rfc3339};
use crate::{Embedded, events, line, unknowns};

/// The state of a job that is parked and has no row yet.
const PENDING: &str = "pending";
/// Jobs that are woken in one transaction, at most: the worker's own writes wait for it.
const WAKE_ROWS: usize = 1_000;

#[async_trait]
impl Console for Embedded {
    async fn known(&self, ids: &[JobId]) -> Result<Vec<Option<KnownJob>>, LedgerError> {
        let ids = ids.to_vec();
        let ask = move |connection: &Connection| ids.iter().map(|id| known(connection, id)).collect();
        Ok(self.shared().questions.ask(ask).await?)
    }

    async fn job(&self, id: &JobId) -> Result<Option<JobView>, LedgerError> {
        let id = id.clone();
        Ok(self.shared().questions.ask(move |connection| job(connection, &id)).await?)
    }

    async fn status(&self) -> Result<StatusView, LedgerError> {
        Ok(self.shared().questions.ask(status).await?)
    }

    async fn dead_list(&self, reason: Option<&str>, max: u32) -> Result<Vec<DeadLetterView>, LedgerError> {
        let reason = reason.map(str::to_owned);
        let ask = move |connection: &Connection| {
            let mut select = connection.prepare_cached(
                "select id, job_id, lane, reason, field, detail, received_at, length(body) from dead_letter
                 where ?1 is null or reason = ?1 order by id desc limit ?2",
            )?;
            select.query_map(params![reason, max], dead_letter)?.collect()
        };
        Ok(self.shared().questions.ask(ask).await?)
    }

    async fn dead_show(&self, id: i64) -> Result<Option<(DeadLetterView, Bytes)>, LedgerError> {
        let ask = move |connection: &Connection| {
            connection
                .prepare_cached(
                    "select id, job_id, lane, reason, field, detail, received_at, length(body), body
                     from dead_letter where id = ?1",
                )?
                .query_row([id], |row| Ok((dead_letter(row)?, Bytes::from(row.get::<_, Vec<u8>>(8)?))))
                .optional()
        };
        Ok(self.shared().questions.ask(ask).await?)
    }

    async fn dead_drop(&self, ids: &[i64]) -> Result<u64, LedgerError> {
        let ids = ids.to_vec();
        let work = move |connection: &Connection| {
            let mut delete = connection.prepare_cached("delete from dead_letter where id = ?1")?;
            total(ids.iter().map(|id| delete.execute([id])))
        };
        Ok(self.shared().writer.write(1, work).await?)
    }

    async fn suppress(&self, entries: &[SuppressionEntry]) -> Result<u64, LedgerError> {
        let (entries, now) = (entries.to_vec(), self.shared().clock.now());
        let work =
            move |connection: &Connection| total(entries.iter().map(|one| suppress(connection, now, one)));
        Ok(self.shared().writer.write(1, work).await?)
    }

    async fn unsuppress(&self, tenant: Option<&Tenant>, recipients: &[String]) -> Result<u64, LedgerError> {
        let (tenant, recipients) = (tenant_column(tenant), recipients.to_vec());
        let work = move |connection: &Connection| {
            let mut delete =
                connection.prepare_cached("delete from suppression where recipient = ?1 and tenant = ?2")?;
            total(recipients.iter().map(|one| delete.execute((one.to_ascii_lowercase(), &tenant))))
        };
        Ok(self.shared().writer.write(1, work).await?)
    }

    async fn suppressions(&self, max: u32) -> Result<Vec<SuppressionEntry>, LedgerError> {
        let ask = move |connection: &Connection| {
            let mut select = connection.prepare_cached(
                "select tenant, recipient, reason, source, created_at from suppression
                 order by created_at desc, recipient, tenant limit ?1",
            )?;
            select.query_map([max], suppression)?.collect()
        };
        Ok(self.shared().questions.ask(ask).await?)
    }

    async fn wake_campaign(&self, tenant: &Tenant, campaign: &Campaign) -> Result<u64, LedgerError> {
        let (shared, now) = (self.shared(), self.shared().clock.now());
        let (mut woken, mut after) = (0, 0);
        loop {
            let (tenant, campaign) = (tenant.clone(), campaign.clone());
            let find = move |connection: &Connection| asleep(connection, &tenant, &campaign, now, after);
            let seqs: Vec<i64> = shared.questions.ask(find).await?;
            let Some(last) = seqs.last() else { return Ok(woken) };
            after = *last;
            let wake = move |connection: &Connection| wake(connection, now, &seqs);
            woken += shared.writer.write(WAKE_ROWS, wake).await?;
        }
    }
}

/// Rows after `after` of a campaign's jobs that are not due at `now`, but for those whose outcome is unknown.
fn asleep(
    connection: &Connection,
    tenant: &Tenant,
    campaign: &Campaign,
    now: Timestamp,
    after: i64,
) -> rusqlite::Result<Vec<i64>> {
    let mut select = connection.prepare_cached(
        "select seq from pending
         where seq > ?1 and tenant = ?2 and campaign = ?3 and reason <> 'unknown'
             and (due_at is null or due_at > ?4)
         order by seq limit ?5",
    )?;
    let rows = i64::try_from(WAKE_ROWS).unwrap_or(i64::MAX);
    let found = params![after, tenant.as_str(), campaign.as_str(), now.as_micros(), rows];
    select.query_map(found, |row| row.get(0))?.collect()
}

fn wake(connection: &Connection, now: Timestamp, seqs: &[i64]) -> rusqlite::Result<u64> {
    let mut update = connection.prepare_cached(
        "update pending set due_at = ?2, limit_key = null
         where seq = ?1 and (due_at is null or due_at > ?2)",
    )?;
    total(seqs.iter().map(|seq| update.execute((seq, now.as_micros()))))
}

/// Sums what each statement changed.
fn total(changed: impl Iterator<Item = rusqlite::Result<usize>>) -> rusqlite::Result<u64> {
    let sum = changed.sum::<rusqlite::Result<usize>>()?;
    Ok(u64::try_from(sum).unwrap_or(u64::MAX))
}

fn known(connection: &Connection, id: &JobId) -> rusqlite::Result<Option<KnownJob>> {
    connection
        .prepare_cached(
            "select fingerprint, state, null from job where id = ?1
             union all
             select null, ?2, body from pending where job_id = ?1
             union all
             select null, ?2, body from lane_message where job_id = ?1
             limit 1",
        )?
        .query_row((id.as_str(), PENDING), |row| {
            let body: Option<Vec<u8>> = row.get(2)?;
            let claimed_with: Option<i64> = row.get(0)?;
            let fingerprint = claimed_with.or_else(|| body.as_deref().map(sluice_types::fingerprint));
            Ok(KnownJob { fingerprint, state: row.get(1)? })
        })
        .optional()
}

fn job(connection: &Connection, id: &JobId) -> rusqlite::Result<Option<JobView>> {
    let claimed = connection
        .prepare_cached(
            "select id, tenant, campaign, class, state, attempts, esp, provider_message_id, category, detail,
                 updated_at
             from job where id = ?1",
        )?
        .query_row([id.as_str()], job_view)
        .optional()?;
    let parked = connection
        .prepare_cached(
            "select job_id, tenant, campaign, class, ?2, max(attempt - 1, 0), null, null, null, null, created_at,
                 reason, limit_key, due_at
             from pending where job_id = ?1",
        )?
        .query_row((id.as_str(), PENDING), |row| {
            let due_at: Option<i64> = row.get(13)?;
            let pending = PendingView {
                reason: row.get(11)?,
                limit_key: row.get(12)?,
                due_at: due_at.map(rfc3339),
                ahead: line::ahead(connection, id.as_str())?,
            };
            Ok((job_view(row)?, pending))
        })
        .optional()?;
    let (as_parked, pending) = parked.unzip();
    let Some(mut view) = claimed.or(as_parked) else { return Ok(None) };
    view.pending = pending;
    view.attempt_list = attempts(connection, id)?;
    view.events = events::of_job(connection, id)?;
    view.resolutions = unknowns::resolutions(connection, id)?;
    Ok(Some(view))
}

fn job_view(row: &Row<'_>) -> rusqlite::Result<JobView> {
    Ok(JobView {
        id: row.get(0)?,
        tenant: row.get(1)?,
        campaign: row.get(2)?,
        class: row.get(3)?,
        state: row.get(4)?,
        attempts: row.get(5)?,
        esp: row.get(6)?,
        provider_message_id: row.get(7)?,
        category: row.get(8)?,
        detail: row.get(9)?,
        updated_at: Some(rfc3339(row.get(10)?)),
        attempt_list: Vec::new(),
        pending: None,
        events: Vec::new(),
        resolutions: Vec::new(),
    })
}

fn attempts(connection: &Connection, id: &JobId) -> rusqlite::Result<Vec<AttemptView>> {
    let mut select = connection.prepare_cached(
        "select attempt, esp, outcome, category, detail, started_at, finished_at from attempt where job_id = ?1
         union all
         select attempt, esp, outcome, category, detail, started_at, finished_at from attempt_lost where job_id = ?1
         order by attempt, finished_at",
    )?;
    let view = |row: &Row<'_>| {
        Ok(AttemptView {
            attempt: row.get(0)?,
            esp: row.get(1)?,
            outcome: row.get(2)?,
            category: row.get(3)?,
            detail: row.get(4)?,
            started_at: rfc3339(row.get(5)?),
            finished_at: rfc3339(row.get(6)?),
        })
    };
    select.query_map([id.as_str()], view)?.collect()
}

/// Parked jobs by reason.
pub(crate) fn parked(connection: &Connection) -> rusqlite::Result<BTreeMap<String, u64>> {
    counts(connection, "select reason, count(*) from pending group by reason")
}

fn counts(connection: &Connection, sql: &str) -> rusqlite::Result<BTreeMap<String, u64>> {
    let mut select = connection.prepare_cached(sql)?;
    select.query_map([], |row| Ok((row.get(0)?, convert::count(row, 1)?)))?.collect()
}

fn status(connection: &Connection) -> rusqlite::Result<StatusView> {
    Ok(StatusView {
        jobs: counts(connection, "select state, count(*) from job group by state")?,
        pending: parked(connection)?,
        dead: counts(connection, "select reason, count(*) from dead_letter group by reason")?,
        suppressions: connection
            .prepare_cached("select count(*) from suppression")?
            .query_row([], |row| convert::count(row, 0))?,
        estimated: false,
    })
}

fn dead_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetterView> {
    Ok(DeadLetterView {
        id: row.get(0)?,
        job_id: row.get(1)?,
        lane: row.get(2)?,
        reason: row.get(3)?,
        field: row.get(4)?,
        detail: row.get(5)?,
        received_at: rfc3339(row.get(6)?),
        body_bytes: convert::count(row, 7)?,
    })
}

/// The column for a tenant; every tenant is the empty text.
fn tenant_column(tenant: Option<&Tenant>) -> String {
    tenant.map_or_else(String::new, |tenant| tenant.as_str().to_owned())
}

/// 1 when the entry is new, 0 when it changes an older one, which keeps its date.
fn suppress(connection: &Connection, now: Timestamp, entry: &SuppressionEntry) -> rusqlite::Result<usize> {
    let key = (entry.recipient.to_ascii_lowercase(), tenant_column(entry.tenant.as_ref()));
    let is_new = !connection
        .prepare_cached("select 1 from suppression where recipient = ?1 and tenant = ?2")?
        .exists(params![key.0, key.1])?;
    connection
        .prepare_cached(
            "insert into suppression (recipient, tenant, reason, source, created_at) values (?1, ?2, ?3, ?4, ?5)
             on conflict (recipient, tenant) do update set reason = excluded.reason, source = excluded.source",
        )?
        .execute(params![key.0, key.1, entry.reason, entry.source, now.as_micros()])?;
    Ok(usize::from(is_new))
}

fn suppression(row: &Row<'_>) -> rusqlite::Result<SuppressionEntry> {
    let tenant = match row.get_ref(0)?.as_str() {
        Ok("") => None,
        Ok(_) | Err(_) => Some(convert::parsed(row, 0)?),
    };
    Ok(SuppressionEntry {
        tenant,
        recipient: row.get(1)?,
        reason: row.get(2)?,
        source: row.get(3)?,
        created_at: Some(Timestamp::from_micros(row.get(4)?)),
    })
}
