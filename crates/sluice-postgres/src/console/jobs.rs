//! Questions about jobs.

use std::time::SystemTime;

use sluice_engine::{AttemptView, EventView, JobView, KnownJob, PendingView, ResolutionView};
use sluice_types::JobId;
use tokio_postgres::Row;

use crate::convert::{column, timestamp, uint4};
use crate::{Postgres, StoreError};

const KNOWN_STEP: &str = "look up ids";
/// The body only of a job without a row: that of any other was claimed with its fingerprint.
const KNOWN: &str = "
SELECT j.tenant, j.fingerprint, coalesce(j.state, CASE WHEN p.job_id IS NOT NULL THEN 'pending' END) AS state,
    CASE WHEN j.id IS NULL THEN p.body END AS body
FROM unnest($1::text[]) WITH ORDINALITY AS i (id, place)
LEFT JOIN sluice.job j ON j.id = i.id
LEFT JOIN sluice.pending p ON p.job_id = i.id
ORDER BY i.place
";

const JOB_STEP: &str = "look up a job";
const JOB: &str = "
SELECT coalesce(j.id, p.job_id) AS id,
    coalesce(j.tenant, p.tenant) AS tenant,
    coalesce(j.campaign, p.campaign) AS campaign,
    coalesce(j.class, p.class) AS class,
    coalesce(j.state, 'pending') AS state,
    coalesce(j.attempts, p.attempt - 1) AS attempts,
    j.esp, j.provider_message_id, j.category, j.detail,
    coalesce(j.updated_at, p.created_at) AS updated_at,
    p.reason, p.limit_key, p.due_at
FROM (SELECT $1::text AS id) i
LEFT JOIN sluice.job j ON j.id = i.id
LEFT JOIN sluice.pending p ON p.job_id = i.id
WHERE j.id IS NOT NULL OR p.job_id IS NOT NULL
";

const ATTEMPTS_STEP: &str = "look up a job's attempts";
const ATTEMPTS: &str = "
SELECT tenant, attempt, esp, outcome, category, detail, started_at, finished_at
FROM sluice.attempt
WHERE job_id = $1
ORDER BY attempt, finished_at
";

const EVENTS_STEP: &str = "look up a job's events";
const EVENTS: &str = "
SELECT e.tenant, e.kind, e.esp, e.attempt, e.category, e.detail, e.occurred_at, e.received_at,
    e.applied_at IS NOT NULL AS applied
FROM sluice.event e
WHERE e.job_id = $1
ORDER BY e.occurred_at, e.received_at
LIMIT $2
";

const RESOLUTIONS_STEP: &str = "look up a job's resolutions";
const RESOLUTIONS: &str = "
SELECT r.tenant, r.attempt, r.before, r.verdict, r.resolved_by, r.note, r.created_at
FROM sluice.resolution r
WHERE r.job_id = $1
ORDER BY r.id
LIMIT $2
";

impl Postgres {
    /// What the store knows of each of `ids`, in order.
    pub(super) async fn known_jobs(&self, ids: &[JobId]) -> Result<Vec<Option<KnownJob>>, StoreError> {
        let ids: Vec<&str> = ids.iter().map(JobId::as_str).collect();
        let rows = self.readers.query(KNOWN_STEP, KNOWN, &[&ids]).await?;
        rows.iter().map(known_of_row).collect()
    }

    /// One job with its parked copy, without its attempts.
    pub(super) async fn one_job(&self, id: &JobId) -> Result<Option<JobView>, StoreError> {
        let rows = self.readers.query(JOB_STEP, JOB, &[&id.as_str()]).await?;
        let mut job = rows.first().map(job_of_row).transpose()?;
        let pending = job.as_mut().and_then(|job| job.pending.as_mut());
        if let Some(pending) = pending.filter(|it| it.due_at.is_none() && it.limit_key.is_some()) {
            pending.ahead = self.ahead_of(id).await?;
        }
        Ok(job)
    }

    /// The attempts of one job, in order.
    pub(super) async fn attempts_of(&self, id: &JobId) -> Result<Vec<AttemptView>, StoreError> {
        let rows = self.readers.query(ATTEMPTS_STEP, ATTEMPTS, &[&id.as_str()]).await?;
        rows.iter().map(attempt_of_row).collect()
    }

    /// The first events of one job, in the order in which they happened.
    pub(super) async fn events_of(&self, id: &JobId) -> Result<Vec<EventView>, StoreError> {
        let max = i64::from(JobView::EVENTS_MAX);
        let rows = self.readers.query(EVENTS_STEP, EVENTS, &[&id.as_str(), &max]).await?;
        rows.iter().map(event_of_row).collect()
    }

    /// The first resolutions of one job, in order.
    pub(super) async fn resolutions_of(&self, id: &JobId) -> Result<Vec<ResolutionView>, StoreError> {
        let max = i64::from(JobView::RESOLUTIONS_MAX);
        let rows = self.readers.query(RESOLUTIONS_STEP, RESOLUTIONS, &[&id.as_str(), &max]).await?;
        rows.iter().map(resolution_of_row).collect()
    }
}

fn known_of_row(row: &Row) -> Result<Option<KnownJob>, StoreError> {
    let state: Option<String> = column(row, KNOWN_STEP, "state")?;
    let claimed_with: Option<i64> = column(row, KNOWN_STEP, "fingerprint")?;
    let body: Option<&[u8]> = column(row, KNOWN_STEP, "body")?;
    let fingerprint = claimed_with.or_else(|| body.map(sluice_types::fingerprint));
    Ok(state.map(|state| KnownJob { fingerprint, state }))
}

fn job_of_row(row: &Row) -> Result<JobView, StoreError> {
    let reason: Option<String> = column(row, JOB_STEP, "reason")?;
    let pending = match reason {
        Some(reason) => Some(PendingView {
            reason,
            limit_key: column(row, JOB_STEP, "limit_key")?,
            due_at: column::<Option<SystemTime>>(row, JOB_STEP, "due_at")?.map(rfc3339),
            ahead: None,
        }),
        None => None,
    };
    Ok(JobView {
        id: column(row, JOB_STEP, "id")?,
        tenant: column(row, JOB_STEP, "tenant")?,
        campaign: column(row, JOB_STEP, "campaign")?,
        class: column(row, JOB_STEP, "class")?,
        state: column(row, JOB_STEP, "state")?,
        attempts: uint4(column(row, JOB_STEP, "attempts")?),
        esp: column(row, JOB_STEP, "esp")?,
        provider_message_id: column(row, JOB_STEP, "provider_message_id")?,
        category: column(row, JOB_STEP, "category")?,
        detail: column(row, JOB_STEP, "detail")?,
        updated_at: column::<Option<SystemTime>>(row, JOB_STEP, "updated_at")?.map(rfc3339),
        attempt_list: Vec::new(),
        pending,
        events: Vec::new(),
        resolutions: Vec::new(),
    })
}

fn attempt_of_row(row: &Row) -> Result<AttemptView, StoreError> {
    Ok(AttemptView {
        attempt: uint4(column(row, ATTEMPTS_STEP, "attempt")?),
        esp: column(row, ATTEMPTS_STEP, "esp")?,
        outcome: column(row, ATTEMPTS_STEP, "outcome")?,
        category: column(row, ATTEMPTS_STEP, "category")?,
        detail: column(row, ATTEMPTS_STEP, "detail")?,
        started_at: rfc3339(column(row, ATTEMPTS_STEP, "started_at")?),
        finished_at: rfc3339(column(row, ATTEMPTS_STEP, "finished_at")?),
    })
}

fn event_of_row(row: &Row) -> Result<EventView, StoreError> {
    Ok(EventView {
        kind: column(row, EVENTS_STEP, "kind")?,
        esp: column(row, EVENTS_STEP, "esp")?,
        attempt: column::<Option<i32>>(row, EVENTS_STEP, "attempt")?.map(uint4),
        category: column(row, EVENTS_STEP, "category")?,
        detail: column(row, EVENTS_STEP, "detail")?,
        occurred_at: rfc3339(column(row, EVENTS_STEP, "occurred_at")?),
        received_at: rfc3339(column(row, EVENTS_STEP, "received_at")?),
        applied: column(row, EVENTS_STEP, "applied")?,
    })
}

fn resolution_of_row(row: &Row) -> Result<ResolutionView, StoreError> {
    Ok(ResolutionView {
        attempt: uint4(column(row, RESOLUTIONS_STEP, "attempt")?),
        before: column(row, RESOLUTIONS_STEP, "before")?,
        verdict: column(row, RESOLUTIONS_STEP, "verdict")?,
        by: column(row, RESOLUTIONS_STEP, "resolved_by")?,
        note: column(row, RESOLUTIONS_STEP, "note")?,
        at: rfc3339(column(row, RESOLUTIONS_STEP, "created_at")?),
    })
}

/// RFC 3339 in UTC.
pub(super) fn rfc3339(at: SystemTime) -> String {
    timestamp(at).to_string()
}
