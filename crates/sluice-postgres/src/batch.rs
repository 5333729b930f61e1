//! Batches: parked jobs under lock while a relay publishes them.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use sluice_engine::{DueBatch, LedgerError, Passport, PendingJob};
use sluice_types::{Class, EspId, GroupName, JobId, PoolName};
use tokio_postgres::Row;
use tracing::warn;

use crate::StoreError;
use crate::connections::Lent;
use crate::convert::{column, timestamp, uint4, word};

const STEP: &str = "read parked jobs";

/// What a batch reads of `sluice.pending p`, beside `turn_at`, by which its jobs stand in order.
macro_rules! job_columns {
    () => {
        "p.job_id, p.pool, p.class, p.domain, p.group_name, p.attempt, p.resend, p.first_seen, p.faulted, \
         p.traceparent, p.body"
    };
}
pub(crate) use job_columns;

const HOLD_STEP: &str = "hold rows that are no jobs";

/// Rows that do not read as jobs (written by hand) would come first for ever; they wait for an operator instead.
const HOLD: &str = "UPDATE sluice.pending SET due_at = NULL, limit_key = NULL WHERE job_id = ANY ($1)";

const DONE_STEP: &str = "remove published jobs";
const DELETE: &str = "DELETE FROM sluice.pending WHERE job_id = ANY ($1)";

/// Parked rows that one transaction has locked so far.
#[derive(Debug, Default)]
pub(crate) struct Locked {
    jobs: Vec<(SystemTime, PendingJob)>,
    ids: Vec<String>,
    unreadable: Vec<String>,
}

impl Locked {
    /// Takes rows in, but for those without a job.
    pub(crate) fn take(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        for row in rows {
            let Some(id) = column::<Option<String>>(row, STEP, "job_id")? else { continue };
            match job_of_row(row) {
                Ok(job) => self.jobs.push(job),
                Err(error) => {
                    warn!(job = id, %error, "parked row is not a job, holding it");
                    self.unreadable.push(id.clone());
                }
            }
            self.ids.push(id);
        }
        Ok(())
    }

    /// The rows.
    pub(crate) fn ids(&self) -> &[String] {
        &self.ids
    }

    /// The batch of these jobs, oldest first, with the transaction; that ends here when there are none.
    pub(crate) async fn into_batch(mut self, lent: Lent) -> Result<Option<PostgresDueBatch>, StoreError> {
        if !self.unreadable.is_empty() {
            lent.query(HOLD_STEP, HOLD, &[&self.unreadable]).await?;
        }
        if self.jobs.is_empty() {
            lent.run(DONE_STEP, "COMMIT").await?;
            lent.give_back();
            return Ok(None);
        }
        self.jobs.sort_by_key(|(turn_at, _)| *turn_at);
        let jobs = self.jobs.into_iter().map(|(_, job)| job).collect();
        Ok(Some(PostgresDueBatch { lent, jobs }))
    }
}

/// Jobs and the transaction that hides them; dropped, it ends its connection, and the rows show again.
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
        lent.commit(DONE_STEP, DELETE, &[&ids]).await?;
        lent.give_back();
        Ok(())
    }
}

/// The job, and when its turn was.
fn job_of_row(row: &Row) -> Result<(SystemTime, PendingJob), StoreError> {
    let faulted: Vec<String> = column(row, STEP, "faulted")?;
    let first_seen: Option<SystemTime> = column(row, STEP, "first_seen")?;
    let group: &str = column(row, STEP, "group_name")?;
    let body: &[u8] = column(row, STEP, "body")?;
    let job = PendingJob {
        id: word(row, STEP, "job_id", |text| JobId::new(text).ok())?,
        pool: word(row, STEP, "pool", |text| PoolName::new(text).ok())?,
        class: word(row, STEP, "class", Class::from_word)?,
        domain: column(row, STEP, "domain")?,
        group: GroupName::new(group).unwrap_or_else(|_| GroupName::other()),
        body: Bytes::copy_from_slice(body),
        passport: Passport {
            attempt: uint4(column(row, STEP, "attempt")?),
            first_seen: first_seen.map(timestamp),
            faulted: faulted.iter().filter_map(|esp| EspId::new(esp).ok()).collect(),
            resend: column(row, STEP, "resend")?,
            renewals: 0,
            traceparent: column(row, STEP, "traceparent")?,
        },
    };
    Ok((column(row, STEP, "turn_at")?, job))
}
