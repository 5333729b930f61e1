//! Whole campaigns.

use sluice_types::{Campaign, Tenant};
use tokio_postgres::types::ToSql;

use crate::convert::column;
use crate::{Postgres, StoreError};

/// Jobs woken by one statement.
const BATCH: i64 = 5_000;

const LINES_STEP: &str = "wake a campaign's waiting jobs";

/// A walk from line to line over the index of strands, what is held among them. A row that a relay holds is on its way already.
const WAKE_LINES: &str = "
WITH RECURSIVE line (key) AS (
    (SELECT coalesce(p.limit_key, '') COLLATE \"C\"
     FROM sluice.pending p
     WHERE p.due_at IS NULL
     ORDER BY 1
     LIMIT 1)
    UNION ALL
    SELECT n.key
    FROM line l
    CROSS JOIN LATERAL (
        SELECT coalesce(p.limit_key, '') COLLATE \"C\" AS key
        FROM sluice.pending p
        WHERE p.due_at IS NULL AND coalesce(p.limit_key, '') COLLATE \"C\" > l.key
        ORDER BY 1
        LIMIT 1
    ) n
), parked AS MATERIALIZED (
    SELECT q.job_id
    FROM line l
    CROSS JOIN LATERAL (
        SELECT p.job_id
        FROM sluice.pending p
        WHERE p.due_at IS NULL
          AND coalesce(p.limit_key, '') COLLATE \"C\" = l.key
          AND p.tenant COLLATE \"C\" = $1 AND coalesce(p.campaign, '') COLLATE \"C\" = $2
          AND p.reason <> 'unknown'
        LIMIT $3
        FOR UPDATE SKIP LOCKED
    ) q
    LIMIT $3
), woken AS (
    UPDATE sluice.pending SET due_at = statement_timestamp(), limit_key = NULL
    WHERE job_id = ANY (ARRAY(SELECT job_id FROM parked))
    RETURNING job_id
)
SELECT count(*) AS woken FROM woken
";

const TIMED_STEP: &str = "wake a campaign's timed jobs";

/// A walk from lane to lane over the index of flows, since a flow is found by its whole name.
const WAKE_TIMED: &str = "
WITH RECURSIVE lane (name) AS (
    (SELECT split_part(sluice.flow(p.pool, p.class, p.group_name, p.tenant, p.campaign), '/', 1)
     FROM sluice.pending p
     WHERE p.due_at IS NOT NULL
     ORDER BY sluice.flow(p.pool, p.class, p.group_name, p.tenant, p.campaign) COLLATE \"C\"
     LIMIT 1)
    UNION ALL
    SELECT n.name
    FROM lane l
    CROSS JOIN LATERAL (
        SELECT split_part(sluice.flow(p.pool, p.class, p.group_name, p.tenant, p.campaign), '/', 1) AS name
        FROM sluice.pending p
        WHERE p.due_at IS NOT NULL
          AND sluice.flow(p.pool, p.class, p.group_name, p.tenant, p.campaign) COLLATE \"C\" > l.name || '0'
        ORDER BY sluice.flow(p.pool, p.class, p.group_name, p.tenant, p.campaign) COLLATE \"C\"
        LIMIT 1
    ) n
), parked AS MATERIALIZED (
    SELECT q.job_id
    FROM lane l
    CROSS JOIN LATERAL (
        SELECT p.job_id
        FROM sluice.pending p
        WHERE p.due_at > statement_timestamp()
          AND sluice.flow(p.pool, p.class, p.group_name, p.tenant, p.campaign) COLLATE \"C\"
              = l.name || '/' || $1 || '/' || $2
          AND p.reason <> 'unknown'
        LIMIT $3
        FOR UPDATE SKIP LOCKED
    ) q
    LIMIT $3
), woken AS (
    UPDATE sluice.pending SET due_at = statement_timestamp(), limit_key = NULL
    WHERE job_id = ANY (ARRAY(SELECT job_id FROM parked))
    RETURNING job_id
)
SELECT count(*) AS woken FROM woken
";

impl Postgres {
    /// Makes what is parked of a campaign due now; answers how many jobs there were.
    pub(super) async fn wake(&self, tenant: &Tenant, campaign: &Campaign) -> Result<u64, StoreError> {
        let mut all = 0;
        for (step, sql) in [(LINES_STEP, WAKE_LINES), (TIMED_STEP, WAKE_TIMED)] {
            loop {
                let params: [&(dyn ToSql + Sync); 3] = [&tenant.as_str(), &campaign.as_str(), &BATCH];
                // The relay's connections plan by index, whatever the statistics say.
                let rows = self.relay.query(step, sql, &params).await?;
                let woken: i64 = rows.first().map_or(Ok(0), |row| column(row, step, "woken"))?;
                all += u64::try_from(woken).unwrap_or(0);
                if woken < BATCH {
                    break;
                }
            }
        }
        Ok(all)
    }
}
