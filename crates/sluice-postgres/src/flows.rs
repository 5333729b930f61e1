//! Which flows have due jobs: a walk from flow to flow over the index, without reading what is between.

use std::sync::PoisonError;

use sluice_engine::DueQuery;

use crate::convert::column;
use crate::turns::Flow;
use crate::{Postgres, StoreError};

const STEP: &str = "look for due jobs";

/// Flows that are walked over in one statement, with due jobs or without.
const FLOWS_MAX: i64 = 2_000;

/// The first row of a flow in the index is its oldest, which tells whether it is due. The lanes of $3 are passed over
/// whole: a `0` comes right after the `/` that ends a lane.
///
/// Where all that is due fits into a batch of $1 there is nothing to share, and no walk. Instants are the statement's:
/// a clock that moves while it runs cannot be looked up in an index.
const FLOWS: &str = "
WITH RECURSIVE due AS MATERIALIZED (
    SELECT count(*) AS jobs
    FROM (
        SELECT FROM sluice.pending p WHERE p.due_at <= statement_timestamp() ORDER BY p.due_at LIMIT $1::bigint + 1
    ) d
), flow (name, due_at) AS (
    (SELECT sluice.flow(p.pool, p.class, p.group_name, p.tenant, p.campaign) COLLATE \"C\", p.due_at
     FROM sluice.pending p
     WHERE (SELECT jobs FROM due) > $1
       AND p.due_at IS NOT NULL
       AND sluice.flow(p.pool, p.class, p.group_name, p.tenant, p.campaign) COLLATE \"C\" > $2
     ORDER BY 1, 2
     LIMIT 1)
    UNION ALL
    SELECT n.name, n.due_at
    FROM flow f
    CROSS JOIN LATERAL (
        SELECT sluice.flow(p.pool, p.class, p.group_name, p.tenant, p.campaign) COLLATE \"C\" AS name, p.due_at
        FROM sluice.pending p
        WHERE p.due_at IS NOT NULL
          AND sluice.flow(p.pool, p.class, p.group_name, p.tenant, p.campaign) COLLATE \"C\"
              > CASE WHEN split_part(f.name, '/', 1) = ANY ($3) THEN split_part(f.name, '/', 1) || '0'
                     ELSE f.name END
        ORDER BY 1, 2
        LIMIT 1
    ) n
)
SELECT d.jobs, f.name, f.due_at <= statement_timestamp() AS is_due
FROM due d LEFT JOIN (SELECT * FROM flow LIMIT $4) f ON true
";

/// What is due.
#[derive(Debug)]
pub(crate) enum Look {
    /// No job.
    Nothing,
    /// Not more than fit into a batch.
    Few,
    /// More.
    Many {
        /// Flows with due jobs that the query wants.
        flows: Vec<Flow>,
        /// Whether these are all there are.
        are_all: bool,
    },
}

impl Postgres {
    /// Looks at as many flows as one statement may, from where the last look ended.
    pub(crate) async fn look_for_flows(
        &self,
        query: &DueQuery,
        full: &[String],
        paused: &[String],
    ) -> Result<Look, StoreError> {
        let max = i64::from(query.max);
        let after = self.flows_after.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rows = self.relay.query(STEP, FLOWS, &[&max, &after, &full, &FLOWS_MAX]).await?;
        let jobs: i64 = rows.first().map_or(Ok(0), |row| column(row, STEP, "jobs"))?;
        match jobs {
            0 => return Ok(Look::Nothing),
            some if some <= max => return Ok(Look::Few),
            _ => {}
        }
        let mut flows = Vec::with_capacity(rows.len());
        for row in &rows {
            let Some(name) = column::<Option<String>>(row, STEP, "name")? else {
                continue;
            };
            let is_due = column::<Option<bool>>(row, STEP, "is_due")? == Some(true);
            flows.push((Flow { name }, is_due));
        }
        let ended = i64::try_from(flows.len()).is_ok_and(|seen| seen < FLOWS_MAX);
        let last = flows.last().filter(|_| !ended).map(|(flow, _)| flow.name.clone()).unwrap_or_default();
        *self.flows_after.lock().unwrap_or_else(PoisonError::into_inner) = last;
        let is_wanted = |flow: &Flow| {
            !full.iter().any(|lane| lane == flow.lane()) && !paused.iter().any(|it| it == flow.owner())
        };
        let flows = flows.into_iter().filter(|(flow, is_due)| *is_due && is_wanted(flow));
        Ok(Look::Many { flows: flows.map(|(flow, _)| flow).collect(), are_all: ended && after.is_empty() })
    }
}
