//! Due batches: parked jobs under lock while a relay publishes them.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use sluice_engine::{DueBatch, LedgerError, Passport, PendingJob};
use sluice_types::{Class, EspId, JobId, PoolName};
use tokio_postgres::Row;
use tracing::warn;

use crate::convert::{column, timestamp, uint4, word};
use crate::line::Lent;
use crate::{Postgres, StoreError};

const STEP: &str = "take due jobs";
const DONE_STEP: &str = "remove published jobs";

/// The instant is the statement's: a clock that moves while it runs cannot be looked up in an index.
const DUE: &str = "
SELECT job_id, tenant, pool, class, domain, attempt, resend, first_seen, faulted, traceparent, body
FROM sluice.pending
WHERE due_at <= statement_timestamp()
ORDER BY due_at
LIMIT $1
FOR UPDATE SKIP LOCKED
";

const DELETE: &str = "DELETE FROM sluice.pending WHERE job_id = ANY ($1)";

/// Rows that do not read as jobs (written by hand) would come first for ever; they wait for an operator instead.
const HOLD: &str = "UPDATE sluice.pending SET due_at = NULL WHERE job_id = ANY ($1)";

impl Postgres {
    /// Takes up to `max` due jobs; they stay locked as long as the batch lives.
    pub(crate) async fn take_due(&self, max: u32) -> Result<Option<PostgresDueBatch>, StoreError> {
        let lent = self.relay.borrow(STEP).await?;
        lent.run(STEP, "BEGIN").await?;
        let rows = lent.query(STEP, DUE, &[&i64::from(max)]).await?;
        let mut jobs = Vec::with_capacity(rows.len());
        let mut unreadable: Vec<String> = Vec::new();
        for row in &rows {
            match job_of_row(row) {
                Ok(job) => jobs.push(job),
                Err(error) => {
                    let id: String = column(row, STEP, "job_id")?;
                    warn!(job = id, %error, "parked row is not a job, holding it");
                    unreadable.push(id);
                }
            }
        }
        if !unreadable.is_empty() {
            lent.query(STEP, HOLD, &[&unreadable]).await?;
        }
        if jobs.is_empty() {
            lent.run(STEP, "COMMIT").await?;
            lent.give_back();
            return Ok(None);
        }
        Ok(Some(PostgresDueBatch { lent, jobs }))
    }
}

/// Due jobs and the transaction that hides them; dropped, it ends its connection, and the rows show again.
#[derive(Debug)]
pub(crate) struct PostgresDueBatch {
    lent: Lent,
    jobs: Vec<PendingJob>,
}

#[async_trait]
impl DueBatch for PostgresDueBatch {
    fn jobs(&self) -> &[PendingJob] {
        &self.jobs
    }

    async fn published(self: Box<Self>, confirmed: &[JobId]) -> Result<(), LedgerError> {
        let Self { lent, .. } = *self;
        let ids: Vec<&str> = confirmed.iter().map(JobId::as_str).collect();
        lent.query(DONE_STEP, DELETE, &[&ids]).await?;
        lent.run(DONE_STEP, "COMMIT").await?;
        lent.give_back();
        Ok(())
    }
}

fn job_of_row(row: &Row) -> Result<PendingJob, StoreError> {
    let faulted: Vec<String> = column(row, STEP, "faulted")?;
    let first_seen: Option<SystemTime> = column(row, STEP, "first_seen")?;
    let body: &[u8] = column(row, STEP, "body")?;
    Ok(PendingJob {
        id: word(row, STEP, "job_id", |text| JobId::new(text).ok())?,
        pool: word(row, STEP, "pool", |text| PoolName::new(text).ok())?,
        class: word(row, STEP, "class", Class::from_word)?,
        domain: column(row, STEP, "domain")?,
        body: Bytes::copy_from_slice(body),
        passport: Passport {
            attempt: uint4(column(row, STEP, "attempt")?),
            first_seen: first_seen.map(timestamp),
            faulted: faulted.iter().filter_map(|esp| EspId::new(esp).ok()).collect(),
            resend: column(row, STEP, "resend")?,
            traceparent: column(row, STEP, "traceparent")?,
        },
    })
}
