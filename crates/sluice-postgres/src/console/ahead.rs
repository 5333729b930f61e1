//! How many jobs go before one that waits in line.

use sluice_engine::PendingView;
use sluice_types::JobId;

use crate::convert::column;
use crate::{Postgres, StoreError};

const STEP: &str = "look for a job's place in its line";

/// Strands of a line that are looked at, at most.
const STRANDS_MAX: i64 = 1_000;

/// Owners take turns, so as many of each other owner go before the job as of its own, or all that there are. Of its own those
/// first seen go first, transactional ones before bulk. No count goes beyond $2, that of the others over all of them.
const AHEAD: &str = "
WITH RECURSIVE job AS (
    SELECT p.limit_key COLLATE \"C\" AS key, p.tenant COLLATE \"C\" AS tenant,
        coalesce(p.campaign, '') COLLATE \"C\" AS campaign, p.class = 'bulk' AS is_bulk,
        coalesce(p.first_seen, p.created_at) AS seen
    FROM sluice.pending p
    WHERE p.job_id = $1 AND p.due_at IS NULL AND p.limit_key IS NOT NULL
), walk (key, tenant, campaign, lane) AS (
    SELECT j.key, '' COLLATE \"C\", '' COLLATE \"C\", '' COLLATE \"C\" FROM job j
    UNION ALL
    SELECT w.key, n.tenant, n.campaign, n.lane
    FROM walk w
    CROSS JOIN LATERAL (
        SELECT p.tenant COLLATE \"C\" AS tenant, coalesce(p.campaign, '') COLLATE \"C\" AS campaign,
            (p.pool || '.' || p.class || '.' || p.group_name) COLLATE \"C\" AS lane
        FROM sluice.pending p
        WHERE p.due_at IS NULL
          AND coalesce(p.limit_key, '') COLLATE \"C\" = w.key
          AND (p.tenant COLLATE \"C\", coalesce(p.campaign, '') COLLATE \"C\",
               (p.pool || '.' || p.class || '.' || p.group_name) COLLATE \"C\") > (w.tenant, w.campaign, w.lane)
        ORDER BY 1, 2, 3
        LIMIT 1
    ) n
), strand AS MATERIALIZED (
    SELECT w.*, w.tenant = j.tenant AND w.campaign = j.campaign AS is_own
    FROM (SELECT * FROM walk LIMIT $3) w CROSS JOIN job j
    WHERE w.lane <> ''
), own AS MATERIALIZED (
    SELECT least(sum(c.jobs), $2)::bigint AS jobs
    FROM strand s
    CROSS JOIN job j
    CROSS JOIN LATERAL (
        SELECT count(*) AS jobs
        FROM (
            SELECT FROM sluice.pending p
            WHERE p.due_at IS NULL
              AND coalesce(p.limit_key, '') COLLATE \"C\" = s.key
              AND p.tenant COLLATE \"C\" = s.tenant
              AND coalesce(p.campaign, '') COLLATE \"C\" = s.campaign
              AND (p.pool || '.' || p.class || '.' || p.group_name) COLLATE \"C\" = s.lane
              AND coalesce(p.first_seen, p.created_at) < CASE
                  WHEN (split_part(s.lane, '.', 2) = 'bulk') = j.is_bulk THEN j.seen
                  WHEN j.is_bulk THEN 'infinity'
                  ELSE '-infinity' END
            LIMIT $2
        ) counted
    ) c
    WHERE s.is_own
)
SELECT o.jobs + least(coalesce(sum(least(others.jobs, o.jobs)) FILTER (WHERE others.jobs IS NOT NULL), 0), $2 - o.jobs)::bigint AS ahead
FROM own o
LEFT JOIN LATERAL (
    SELECT sum(c.jobs) AS jobs
    FROM strand s
    CROSS JOIN LATERAL (
        SELECT count(*) AS jobs
        FROM (
            SELECT FROM sluice.pending p
            WHERE p.due_at IS NULL
              AND coalesce(p.limit_key, '') COLLATE \"C\" = s.key
              AND p.tenant COLLATE \"C\" = s.tenant
              AND coalesce(p.campaign, '') COLLATE \"C\" = s.campaign
              AND (p.pool || '.' || p.class || '.' || p.group_name) COLLATE \"C\" = s.lane
            LIMIT least(o.jobs, $2 / (SELECT count(*) FROM strand))
        ) counted
    ) c
    WHERE NOT s.is_own
    GROUP BY s.tenant, s.campaign
) others ON true
WHERE o.jobs IS NOT NULL
GROUP BY o.jobs
";

impl Postgres {
    /// How many jobs go before `id`; `None` when it is not in line.
    pub(super) async fn ahead_of(&self, id: &JobId) -> Result<Option<u64>, StoreError> {
        let max = i64::from(PendingView::AHEAD_MAX);
        let rows = self.readers.query(STEP, AHEAD, &[&id.as_str(), &max, &STRANDS_MAX]).await?;
        let ahead = rows.first().map(|row| column::<i64>(row, STEP, "ahead")).transpose()?;
        Ok(ahead.and_then(|jobs| u64::try_from(jobs).ok()))
    }
}
