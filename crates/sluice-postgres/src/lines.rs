//! Lines: jobs that wait under a limit, and those that have waited for too long.

use std::time::SystemTime;

use sluice_engine::WaitingKey;
use sluice_types::Lane;
use tokio_postgres::Row;

use crate::batch::{Locked, PostgresDueBatch, job_columns};
use crate::convert::{column, timestamp};
use crate::{Postgres, StoreError};

/// Expired jobs are looked through for lanes that are not full up to here.
const LOOK_MAX: i64 = 10_000;

const WAITING_STEP: &str = "list lines";

/// A walk from key to key over the index. Every key sorts after the empty one.
const WAITING: &str = "
WITH RECURSIVE line (key) AS (
    (SELECT p.limit_key COLLATE \"C\"
     FROM sluice.pending p
     WHERE p.due_at IS NULL AND p.limit_key IS NOT NULL AND p.limit_key COLLATE \"C\" > $3
     ORDER BY 1
     LIMIT 1)
    UNION ALL
    SELECT n.key
    FROM line l
    CROSS JOIN LATERAL (
        SELECT p.limit_key COLLATE \"C\" AS key
        FROM sluice.pending p
        WHERE p.due_at IS NULL AND p.limit_key COLLATE \"C\" > l.key
        ORDER BY 1
        LIMIT 1
    ) n
)
SELECT l.key, jobs.n AS jobs, first.seen AS oldest
FROM (SELECT key FROM line LIMIT $1) l
CROSS JOIN LATERAL (
    SELECT count(*) AS n
    FROM (SELECT FROM sluice.pending p WHERE p.due_at IS NULL AND p.limit_key COLLATE \"C\" = l.key LIMIT $2) p
) jobs
CROSS JOIN LATERAL (
    SELECT coalesce(p.first_seen, p.created_at) AS seen
    FROM sluice.pending p
    WHERE p.due_at IS NULL AND p.limit_key COLLATE \"C\" = l.key
    ORDER BY 1
    LIMIT 1
) first
";

const EXPIRED_STEP: &str = "take expired jobs from lines";

/// A look at the first row of an index that only jobs with an end are in. What stays for its full lane is passed over, but not
/// endlessly.
const EXPIRED: &str = concat!(
    "
SELECT p.expires_at AS turn_at, ",
    job_columns!(),
    "
FROM (
    SELECT q.job_id, q.expires_at, q.pool || '.' || q.class || '.' || q.group_name AS lane
    FROM sluice.pending q
    WHERE q.due_at IS NULL AND q.limit_key IS NOT NULL AND q.expires_at <= statement_timestamp()
    ORDER BY q.expires_at
    LIMIT $3
) w
JOIN sluice.pending p ON p.job_id = w.job_id
WHERE NOT w.lane = ANY ($2)
ORDER BY w.expires_at
LIMIT $1
FOR UPDATE OF p SKIP LOCKED
"
);

impl Postgres {
    /// The lines after one, in key order.
    pub(crate) async fn lines(
        &self,
        after: Option<&str>,
        max: u32,
        count_max: u32,
    ) -> Result<Vec<WaitingKey>, StoreError> {
        let (max, count_max, after) = (i64::from(max), i64::from(count_max), after.unwrap_or_default());
        let rows = self.relay.query(WAITING_STEP, WAITING, &[&max, &count_max, &after]).await?;
        rows.iter().map(line_of_row).collect()
    }

    /// Takes jobs that have expired in line; they stay locked as long as the batch lives.
    pub(crate) async fn take_expired(
        &self,
        max: u32,
        full: &[Lane],
    ) -> Result<Option<PostgresDueBatch>, StoreError> {
        let full: Vec<String> = full.iter().map(ToString::to_string).collect();
        let lent = self.relay.borrow(EXPIRED_STEP).await?;
        let mut locked = Locked::default();
        locked.take(&lent.begin(EXPIRED_STEP, EXPIRED, &[&i64::from(max), &full, &LOOK_MAX]).await?)?;
        locked.into_batch(lent).await
    }
}

fn line_of_row(row: &Row) -> Result<WaitingKey, StoreError> {
    let jobs: i64 = column(row, WAITING_STEP, "jobs")?;
    let oldest: SystemTime = column(row, WAITING_STEP, "oldest")?;
    Ok(WaitingKey {
        key: column(row, WAITING_STEP, "key")?,
        jobs: u64::try_from(jobs).unwrap_or(0),
        oldest: timestamp(oldest),
    })
}
