//! Results: final states that are to be told, in the order of their commits as far as one job is concerned.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;
use sluice_engine::{Announcement, LedgerError, ResultBatch, Results};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::connections::Lent;
use crate::convert::{column, timestamp, uint4, wait_us};
use crate::{Postgres, StoreError};

/// Version of the body.
const VERSION: u32 = 1;

const SWITCH_STEP: &str = "switch results on or off";

/// Only where it changes something: it waits for every writer of `job`.
const SWITCH_ON: &str = "
SET lock_timeout = '10s';
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'sluice.job'::regclass
               AND tgname IN ('job_result', 'job_result_new') AND tgenabled = 'D') THEN
        ALTER TABLE sluice.job ENABLE TRIGGER job_result, ENABLE TRIGGER job_result_new;
    END IF;
END $$;
RESET lock_timeout
";
const SWITCH_OFF: &str = "
SET lock_timeout = '10s';
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'sluice.job'::regclass
               AND tgname IN ('job_result', 'job_result_new') AND tgenabled <> 'D') THEN
        ALTER TABLE sluice.job DISABLE TRIGGER job_result, DISABLE TRIGGER job_result_new;
    END IF;
END $$;
RESET lock_timeout
";

const LOOK_STEP: &str = "look whether results are kept";
const LOOK: &str = "
SELECT count(*) = 2 AS kept FROM pg_trigger
WHERE tgrelid = 'sluice.job'::regclass AND tgname IN ('job_result', 'job_result_new') AND tgenabled <> 'D'
";

const TAKE_STEP: &str = "take results to tell";

/// One replica at a time, so that a job's states are told in order. The key of the lock is arbitrary but must never change;
/// it is free again when the transaction ends, however that comes.
const TAKE: &str = "
SELECT r.id, r.job_id, r.tenant, r.campaign, r.class, r.pool, r.state, r.attempts, r.esp, r.provider_message_id,
    r.category, r.detail, r.updated_at
FROM sluice.result r
WHERE (SELECT pg_try_advisory_xact_lock(8260193412708))
ORDER BY r.id
LIMIT $1
FOR UPDATE
";

const TOLD_STEP: &str = "remove results that are told";
const TOLD: &str = "DELETE FROM sluice.result WHERE id = ANY ($1)";

const AGE_STEP: &str = "remove old results";
const AGE: &str = "
WITH old AS (
    SELECT r.id FROM sluice.result r
    WHERE r.updated_at < now() - $1::bigint * interval '1 microsecond'
    ORDER BY r.id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM sluice.result r USING old WHERE r.id = old.id RETURNING r.id
)
SELECT count(*) AS gone FROM gone
";

impl Postgres {
    /// From now on final states are kept to be told, or are not. For all replicas: it is a property of the schema.
    ///
    /// # Errors
    /// When the store could not be asked, or a lock did not come within 10 s; the call may be repeated.
    pub async fn keep_results(&self, on: bool) -> Result<(), StoreError> {
        let lent = self.readers.borrow(SWITCH_STEP).await?;
        lent.run(SWITCH_STEP, if on { SWITCH_ON } else { SWITCH_OFF }).await?;
        lent.give_back();
        Ok(())
    }

    /// Whether final states are kept to be told.
    ///
    /// # Errors
    /// When the store could not be asked.
    pub async fn keeps_results(&self) -> Result<bool, StoreError> {
        let rows = self.readers.query(LOOK_STEP, LOOK, &[]).await?;
        rows.first().map_or(Ok(false), |row| column(row, LOOK_STEP, "kept"))
    }

    /// Removes up to `max` results that nobody told for `older_than`; answers how many there were. Call again while it
    /// answers `max`.
    ///
    /// # Errors
    /// When the store could not be asked; the call may be repeated.
    pub async fn forget_results(&self, older_than: Duration, max: u32) -> Result<u64, LedgerError> {
        let params: [&(dyn ToSql + Sync); 2] = [&wait_us(older_than), &i64::from(max)];
        let rows = self.readers.query(AGE_STEP, AGE, &params).await?;
        let gone: i64 = rows.first().map_or(Ok(0), |row| column(row, AGE_STEP, "gone"))?;
        Ok(u64::try_from(gone).unwrap_or(0))
    }
}

#[async_trait]
impl Results for Postgres {
    async fn untold(&self, max: u32) -> Result<Option<Box<dyn ResultBatch>>, LedgerError> {
        let lent = self.relay.borrow(TAKE_STEP).await?;
        let rows = lent.begin(TAKE_STEP, TAKE, &[&i64::from(max)]).await?;
        if rows.is_empty() {
            lent.run(TAKE_STEP, "COMMIT").await?;
            lent.give_back();
            return Ok(None);
        }
        let (mut ids, mut results) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for row in &rows {
            ids.push(column(row, TAKE_STEP, "id")?);
            results.push(announcement(row)?);
        }
        Ok(Some(Box::new(Untold { lent, ids, results })))
    }
}

/// Results and the transaction that keeps them from others; dropped, it ends its connection.
#[derive(Debug)]
struct Untold {
    lent: Lent,
    ids: Vec<i64>,
    results: Vec<Announcement>,
}

#[async_trait]
impl ResultBatch for Untold {
    fn results(&self) -> &[Announcement] {
        &self.results
    }

    async fn told(self: Box<Self>, count: usize) -> Result<(), LedgerError> {
        let Self { lent, mut ids, .. } = *self;
        ids.truncate(count);
        lent.commit(TOLD_STEP, TOLD, &[&ids]).await?;
        lent.give_back();
        Ok(())
    }
}

/// What is said of a job: the columns of its row under their names, but for the recipient, whom the publisher knows.
fn announcement(row: &Row) -> Result<Announcement, StoreError> {
    let text = |name| column::<&str>(row, TAKE_STEP, name);
    let some = |name| column::<Option<&str>>(row, TAKE_STEP, name);
    let (job_id, tenant, state) = (text("job_id")?, text("tenant")?, text("state")?);
    let body = json!({
        "v": VERSION,
        "id": job_id,
        "tenant": tenant,
        "campaign": some("campaign")?,
        "class": text("class")?,
        "pool": text("pool")?,
        "state": state,
        "attempts": uint4(column(row, TAKE_STEP, "attempts")?),
        "esp": some("esp")?,
        "provider_message_id": some("provider_message_id")?,
        "category": some("category")?,
        "detail": some("detail")?,
        "updated_at": timestamp(column(row, TAKE_STEP, "updated_at")?).to_string(),
    });
    let body = Bytes::from(body.to_string());
    Ok(Announcement { job_id: job_id.to_owned(), tenant: tenant.to_owned(), state: state.to_owned(), body })
}
