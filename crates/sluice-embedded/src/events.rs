//! What ESPs report is kept, then moves jobs.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};
use sluice_engine::{EspEvent, EventView, Events, JobView, Landed, LedgerError, Moved, Suppress};
use sluice_types::{Category, EspId, EventKind, JobId, JobState, Tenant, Timestamp};

use crate::convert::{self, rfc3339};
use crate::unknowns::{self, Resolution};
use crate::{Embedded, park};

/// Events that are kept in one transaction, at most: the worker's own writes wait for it.
const LAND_ROWS: usize = 500;
/// An event that cannot be applied is looked at again after as long as it has waited so far, within these bounds.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// And given up on after so long: longer than any claim stands and any ESP repeats itself.
const GIVE_UP: Duration = Duration::from_secs(3 * 24 * 3600);

#[async_trait]
impl Events for Embedded {
    async fn land(&self, esp: &EspId, events: &[EspEvent]) -> Result<Landed, LedgerError> {
        let mut landed = Landed::default();
        for chunk in events.chunks(LAND_ROWS) {
            let (esp, chunk, now) = (esp.clone(), chunk.to_vec(), self.shared().clock.now());
            let rows = chunk.len();
            let work = move |connection: &Connection| land(connection, now, &esp, &chunk);
            let more = self.shared().writer.write(rows, work).await?;
            landed.fresh += more.fresh;
            landed.duplicates += more.duplicates;
            landed.suppressed += more.suppressed;
            landed.moved.extend(more.moved);
        }
        Ok(landed)
    }

    async fn apply_due(&self, max: u32) -> Result<Vec<Moved>, LedgerError> {
        let (shared, now) = (self.shared(), self.shared().clock.now());
        let find = move |connection: &Connection| due(connection, now, max);
        let ids: Vec<i64> = shared.questions.ask(find).await?;
        let mut moved = Vec::new();
        for chunk in ids.chunks(LAND_ROWS) {
            let chunk = chunk.to_vec();
            let apply = move |connection: &Connection| -> rusqlite::Result<Vec<Option<Moved>>> {
                chunk.iter().map(|event| apply(connection, now, *event)).collect()
            };
            moved.extend(shared.writer.write(ids.len(), apply).await?.into_iter().flatten());
        }
        Ok(moved)
    }
}

/// Events whose time has come, the first due first.
fn due(connection: &Connection, now: Timestamp, max: u32) -> rusqlite::Result<Vec<i64>> {
    connection
        .prepare_cached("select id from event where due_at <= ?1 order by due_at, id limit ?2")?
        .query_map(params![now.as_micros(), max], |row| row.get(0))?
        .collect()
}

fn land(
    connection: &Connection,
    now: Timestamp,
    esp: &EspId,
    events: &[EspEvent],
) -> rusqlite::Result<Landed> {
    let mut landed = Landed::default();
    for event in events {
        let tenant = tenant_of(connection, event)?;
        let Some(id) = keep(connection, now, esp, &tenant, event)? else {
            landed.duplicates += 1;
            continue;
        };
        landed.fresh += 1;
        if let Some(suppress) = &event.suppress {
            landed.suppressed += u64::from(bar(connection, now, esp, &tenant, suppress)?);
        }
        landed.moved.extend(apply(connection, now, id)?);
    }
    Ok(landed)
}

/// Whose the event is; one that does not say is of the job's tenant, since an id names one job over all tenants.
fn tenant_of(connection: &Connection, event: &EspEvent) -> rusqlite::Result<Tenant> {
    if let Some(tenant) = &event.tenant {
        return Ok(tenant.clone());
    }
    let of_job = connection
        .prepare_cached("select tenant from job where id = ?1")?
        .query_row([event.job.as_str()], |row| convert::parsed(row, 0))
        .optional()?;
    Ok(of_job.unwrap_or_default())
}

/// The number of the event's row; `None` when the event is known.
fn keep(
    connection: &Connection,
    now: Timestamp,
    esp: &EspId,
    tenant: &Tenant,
    event: &EspEvent,
) -> rusqlite::Result<Option<i64>> {
    let mut insert = connection.prepare_cached(
        "insert into event (job_id, tenant, kind, esp, provider_event_id, attempt, category, detail,
             provider_message_id, occurred_at, received_at, due_at)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11)
         on conflict (esp, provider_event_id) do nothing returning id",
    )?;
    let values = params![
        event.job.as_str(),
        tenant.as_str(),
        event.kind.as_str(),
        esp.as_str(),
        event.event_id,
        event.attempt,
        event.category.map(Category::as_str),
        event.detail.as_deref().and_then(convert::not_empty),
        event.provider_message_id.as_deref().and_then(convert::not_empty),
        event.occurred_at.as_micros(),
        now.as_micros(),
    ];
    insert.query_row(values, |row| row.get(0)).optional()
}

/// Suppresses a recipient; one that is there stands as it is: an ESP does not overrule a person's words.
fn bar(
    connection: &Connection,
    now: Timestamp,
    esp: &EspId,
    tenant: &Tenant,
    suppress: &Suppress,
) -> rusqlite::Result<bool> {
    let barred = connection
        .prepare_cached(
            "insert into suppression (recipient, tenant, reason, source, created_at)
             values (?1, ?2, ?3, ?4, ?5) on conflict (recipient, tenant) do nothing",
        )?
        .execute(params![
            suppress.recipient.suppression_key(),
            tenant.as_str(),
            suppress.reason.as_str(),
            esp.as_str(),
            now.as_micros(),
        ])?;
    Ok(barred == 1)
}

/// An event and the row of its job, if it is there.
struct Pair {
    kind: EventKind,
    job: JobId,
    tenant: String,
    esp: EspId,
    /// Of the recipient; empty without a job.
    domain: String,
    attempt: Option<u32>,
    received_at: Timestamp,
    standing: Option<(JobState, u32)>,
}

impl Pair {
    fn read(connection: &Connection, event: i64) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached(
                "select e.kind, e.job_id, e.tenant, e.esp, e.attempt, e.received_at, j.state, j.attempts, j.recipient
                 from event e left join job j on j.id = e.job_id and j.tenant = e.tenant
                 where e.id = ?1 and e.due_at is not null",
            )?
            .query_row([event], |row| {
                let attempts: Option<u32> = row.get(7)?;
                let standing = match attempts {
                    Some(attempts) => Some((convert::word(row, 6, JobState::from_word)?, attempts)),
                    None => None,
                };
                let recipient: Option<String> = row.get(8)?;
                Ok(Self {
                    kind: convert::word(row, 0, EventKind::from_word)?,
                    job: convert::parsed(row, 1)?,
                    tenant: row.get(2)?,
                    esp: convert::parsed(row, 3)?,
                    domain: recipient.as_deref().and_then(domain_of).unwrap_or_default().to_owned(),
                    attempt: row.get(4)?,
                    received_at: Timestamp::from_micros(row.get(5)?),
                    standing,
                })
            })
            .optional()
    }
}

/// Applies one event that waits, or says when to look again.
fn apply(connection: &Connection, now: Timestamp, event: i64) -> rusqlite::Result<Option<Moved>> {
    let Some(pair) = Pair::read(connection, event)? else { return Ok(None) };
    let ranked = pair.standing.and_then(|(state, attempts)| Some((state, attempts, state.rank()?)));
    let Some((before, attempts, rank)) = ranked else {
        postpone(connection, now, event, pair.received_at)?;
        return Ok(None);
    };
    connection
        .prepare_cached("update event set applied_at = ?2, due_at = null where id = ?1")?
        .execute(params![event, now.as_micros()])?;
    let after = pair.kind.state();
    if Some(rank) >= after.rank() {
        return Ok(None);
    }
    connection
        .prepare_cached(
            "update job set state = ?2, esp = e.esp,
                 provider_message_id = coalesce(job.provider_message_id, e.provider_message_id),
                 category = e.category, detail = e.detail, updated_at = ?3, deadline = null
             from event e where e.id = ?1 and job.id = e.job_id",
        )?
        .execute(params![event, after.as_str(), now.as_micros()])?;
    if rank == 0 {
        let by = format!("webhook:{}", pair.esp);
        let resolution = Resolution {
            job: &pair.job,
            tenant: &pair.tenant,
            attempt: pair.attempt.unwrap_or(attempts),
            before,
            verdict: after.as_str(),
            by: &by,
            note: None,
        };
        unknowns::tell(connection, now, &resolution)?;
        park::forget(connection, &pair.job)?;
    }
    Ok(Some(Moved { job: pair.job, esp: pair.esp, domain: pair.domain, before, after }))
}

fn domain_of(recipient: &str) -> Option<&str> {
    recipient.rsplit('@').next()
}

fn postpone(
    connection: &Connection,
    now: Timestamp,
    event: i64,
    received_at: Timestamp,
) -> rusqlite::Result<()> {
    let waited = now.after(received_at);
    let next = (waited <= GIVE_UP).then(|| (now + waited.clamp(PAUSE.0, PAUSE.1)).as_micros());
    connection.prepare_cached("update event set due_at = ?2 where id = ?1")?.execute(params![event, next])?;
    Ok(())
}

/// The first events of one job, in the order in which they happened.
pub(crate) fn of_job(connection: &Connection, id: &JobId) -> rusqlite::Result<Vec<EventView>> {
    let mut select = connection.prepare_cached(
        "select kind, esp, attempt, category, detail, occurred_at, received_at, applied_at is not null
         from event where job_id = ?1 order by occurred_at, id limit ?2",
    )?;
    let view = |row: &Row<'_>| {
        Ok(EventView {
            kind: row.get(0)?,
            esp: row.get(1)?,
            attempt: row.get(2)?,
            category: row.get(3)?,
            detail: row.get(4)?,
            occurred_at: rfc3339(row.get(5)?),
            received_at: rfc3339(row.get(6)?),
            applied: row.get(7)?,
        })
    };
    select.query_map(params![id.as_str(), JobView::EVENTS_MAX], view)?.collect()
}
