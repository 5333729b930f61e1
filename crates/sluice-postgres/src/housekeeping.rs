//! Housekeeping: partitions ahead, and what is old enough to go: partitions, finished jobs, limits nobody uses.

use std::time::Duration;

use sluice_engine::LedgerError;

use crate::convert::{column, uint4, wait_us};
use crate::{Postgres, StoreError};

const MAKE_STEP: &str = "make partitions";
const MAKE: &str = "SELECT sluice.make_partitions($1) AS made";

const DROP_STEP: &str = "drop old partitions";
const DROP: &str = "SELECT sluice.drop_partitions($1) AS dropped";

const AGE_STEP: &str = "remove old jobs";

/// `created_at` only helps to find what may be old, and its order makes that a walk along its index. A row that somebody holds is left for the next time. One of which a copy is
/// still parked stays: without it the copy would be sent as a new job.
const AGE: &str = "
WITH old AS (
    SELECT j.id FROM sluice.job j
    WHERE j.created_at < now() - $1::bigint * interval '1 microsecond'
      AND j.updated_at < now() - $1::bigint * interval '1 microsecond'
      AND j.state NOT IN ('sending', 'deferred', 'unknown')
      AND NOT EXISTS (SELECT FROM sluice.pending p WHERE p.job_id = j.id)
    ORDER BY j.created_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM sluice.job j USING old WHERE j.id = old.id RETURNING j.id
), resolutions AS (
    DELETE FROM sluice.resolution r USING gone WHERE r.job_id = gone.id
)
SELECT count(*) AS gone FROM gone
";

const PRUNE_STEP: &str = "remove old limits";

/// Longer than any window, so that what goes counts for nothing. The row of a counted limit in `limit_gcra` is but its
/// lock, and stays as long as its counts. Rows that somebody holds are left for the next time.
const PRUNE: &str = "
WITH old AS (
    SELECT (extract(epoch FROM clock_timestamp() - interval '33 days') * 1000000)::bigint * 1000 AS ns
), counts AS (
    DELETE FROM sluice.limit_count t
    USING (
        SELECT c.key, c.bucket_ns
        FROM sluice.limit_count c
        WHERE c.bucket_ns < (SELECT ns FROM old)
        LIMIT $1
        FOR UPDATE SKIP LOCKED
    ) o
    WHERE t.key = o.key AND t.bucket_ns = o.bucket_ns
    RETURNING t.key
), states AS (
    DELETE FROM sluice.limit_gcra t
    USING (
        SELECT s.key
        FROM sluice.limit_gcra s
        WHERE s.tat_ns < (SELECT ns FROM old)
          AND NOT EXISTS (SELECT FROM sluice.limit_count c WHERE c.key = s.key)
        LIMIT $1
        FOR UPDATE SKIP LOCKED
    ) o
    WHERE t.key = o.key
    RETURNING t.key
)
SELECT (SELECT count(*) FROM counts) + (SELECT count(*) FROM states) AS gone
";

const LOCK_STEP: &str = "ask whether another replica keeps house";

/// The key is arbitrary but must never change. It is free again when the connection ends, however that comes.
const LOCK: &str = "SELECT pg_try_advisory_lock(8260193412707) AS mine";

const UNLOCK_STEP: &str = "let other replicas keep house";
const UNLOCK: &str = "SELECT pg_advisory_unlock(8260193412707)";

/// Rows that go with one statement, so that none holds its locks for long.
const ROWS_PER_STEP: u32 = 5_000;
/// Statements of one kind in one round; the rest goes with the next.
const STEPS_MAX: u32 = 200;
/// Pause between two of them, for those who wait for the disk.
const STEP_PAUSE: Duration = Duration::from_millis(50);

/// How long ids of events are kept to know repetitions by: ESPs repeat themselves for a day, and a call may have been
/// signed three days ago at most.
const EVENT_IDS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long results are kept that nobody could tell: by then they are no news.
const RESULTS_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long what is over is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Jobs in a final state, after their last change.
    pub jobs: Duration,
    /// Attempts and events; they go by whole days.
    pub attempts: Duration,
    /// Days for which partitions are made ahead.
    pub partitions_ahead: u32,
}

/// What one round of housekeeping did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Partitions that are new.
    pub partitions_made: u32,
    /// Partitions that are gone.
    pub partitions_dropped: u32,
    /// Jobs that are gone.
    pub jobs: u64,
    /// States of limits that are gone.
    pub limits: u64,
    /// Ids of events that are forgotten.
    pub event_ids: u64,
    /// Results that are gone untold.
    pub results: u64,
}

impl Kept {
    /// Whether there was nothing to do.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What went wrong first in a round. One kind that fails (a table that somebody holds for hours) keeps no other from its turn:
/// the store would grow.
#[derive(Default)]
struct Failed {
    first: Option<LedgerError>,
}

impl Failed {
    fn or_none<T: Default>(&mut self, done: Result<T, LedgerError>) -> T {
        done.unwrap_or_else(|error| {
            self.first.get_or_insert(error);
            T::default()
        })
    }

    /// Repeats a statement while it finds as many rows as it may take; answers how many there were.
    async fn in_steps<F>(&mut self, mut step: impl FnMut() -> F) -> u64
    where
        F: Future<Output = Result<u64, LedgerError>>,
    {
        let mut all = 0;
        for _ in 0..STEPS_MAX {
            let gone = self.or_none(step().await);
            all += gone;
            if gone < u64::from(ROWS_PER_STEP) {
                break;
            }
            tokio::time::sleep(STEP_PAUSE).await;
        }
        all
    }
}

impl Postgres {
    /// One round of housekeeping, unless another replica is at it: then `None`. Bounded: what is left goes with the next.
    ///
    /// # Errors
    /// When the store could not be asked, or a lock did not come within 3 s: the first fault, after everything else was
    /// tried. What was done stays done, and the call may be repeated.
    pub async fn keep_house(&self, retention: &Retention) -> Result<Option<Kept>, LedgerError> {
        let lent = self.readers.borrow(LOCK_STEP).await?;
        let rows = lent.query(LOCK_STEP, LOCK, &[]).await?;
        let mine: bool = rows.first().map_or(Ok(false), |row| column(row, LOCK_STEP, "mine"))?;
        if !mine {
            lent.give_back();
            return Ok(None);
        }
        // With an error the connection is closed, and the lock with it.
        let kept = self.keep_house_alone(retention).await?;
        lent.query(UNLOCK_STEP, UNLOCK, &[]).await?;
        lent.give_back();
        Ok(Some(kept))
    }

    async fn keep_house_alone(&self, retention: &Retention) -> Result<Kept, LedgerError> {
        let days = u32::try_from(retention.attempts.as_secs().div_ceil(86_400)).unwrap_or(u32::MAX);
        let mut failed = Failed::default();
        let kept = Kept {
            partitions_made: failed.or_none(self.make_partitions(retention.partitions_ahead).await),
            partitions_dropped: failed.or_none(self.drop_partitions(days).await),
            jobs: failed.in_steps(|| self.age_out(retention.jobs, ROWS_PER_STEP)).await,
            limits: failed.in_steps(|| self.prune_limits(ROWS_PER_STEP)).await,
            event_ids: failed.in_steps(|| self.forget_event_ids(EVENT_IDS_KEPT, ROWS_PER_STEP)).await,
            results: failed.in_steps(|| self.forget_results(RESULTS_KEPT, ROWS_PER_STEP)).await,
        };
        failed.first.map_or(Ok(kept), Err)
    }

    /// Makes the daily partitions of today and of `days_ahead` days after it; answers how many are new.
    ///
    /// # Errors
    /// When the store could not be asked, or a lock did not come within 3 s; the call may be repeated.
    pub async fn make_partitions(&self, days_ahead: u32) -> Result<u32, LedgerError> {
        let days = i32::try_from(days_ahead).unwrap_or(i32::MAX).min(400);
        Ok(self.one_number(MAKE_STEP, MAKE, "made", days).await?)
    }

    /// Drops the daily partitions of attempts and events that ended more than `keep_days` days ago; answers how many
    /// there were.
    ///
    /// # Errors
    /// When the store could not be asked, or a lock did not come within 3 s; the call may be repeated.
    pub async fn drop_partitions(&self, keep_days: u32) -> Result<u32, LedgerError> {
        let days = i32::try_from(keep_days).unwrap_or(i32::MAX).min(100_000);
        Ok(self.one_number(DROP_STEP, DROP, "dropped", days).await?)
    }

    /// Removes up to `max` rows of final jobs that have not changed for `older_than`; answers how many there were.
    /// Their ids can be sent again from then on. Call again while it answers `max`.
    ///
    /// # Errors
    /// When the store could not be asked; the call may be repeated.
    pub async fn age_out(&self, older_than: Duration, max: u32) -> Result<u64, LedgerError> {
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&wait_us(older_than), &i64::from(max)];
        let rows = self.readers.query(AGE_STEP, AGE, &params).await?;
        let gone: i64 = rows.first().map_or(Ok(0), |row| column(row, AGE_STEP, "gone"))?;
        Ok(u64::try_from(gone).unwrap_or(0))
    }

    /// Removes the state of limits that were last used so long ago that it counts for nothing, at most `max` rows of
    /// each of its two tables; answers how many there were. Call again while it answers `max` or more.
    ///
    /// # Errors
    /// When the store could not be asked; the call may be repeated.
    pub async fn prune_limits(&self, max: u32) -> Result<u64, LedgerError> {
        let rows = self.readers.query(PRUNE_STEP, PRUNE, &[&i64::from(max)]).await?;
        let gone: i64 = rows.first().map_or(Ok(0), |row| column(row, PRUNE_STEP, "gone"))?;
        Ok(u64::try_from(gone).unwrap_or(0))
    }

    async fn one_number(
        &self,
        step: &'static str,
        sql: &'static str,
        name: &'static str,
        days: i32,
    ) -> Result<u32, StoreError> {
        let rows = self.readers.query(step, sql, &[&days]).await?;
        rows.first().map_or(Ok(0), |row| column(row, step, name)).map(uint4)
    }
}
