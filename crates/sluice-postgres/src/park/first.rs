//! Parking of jobs that are not parked yet: nearly all there are. A plain insert, as first claims are; the others are left to
//! the other statement.

use std::collections::HashSet;

use sluice_engine::Parked;
use sluice_types::WaitReason;

use super::STEP;
use crate::convert::column;
use crate::{Postgres, StoreError};

/// Answers the jobs that it has parked. One whose row a relay holds has a row: it is not among them.
const FIRST: &str = "
INSERT INTO sluice.pending
    (job_id, tenant, campaign, pool, class, domain, group_name, due_at, reason, limit_key,
     attempt, resend, first_seen, faulted, traceparent, body)
SELECT p.job_id, p.tenant, p.campaign, p.pool, p.class, p.domain, p.group_name,
    coalesce(p.due_at, clock_timestamp() + p.due_in_us * interval '1 microsecond'), p.reason, p.limit_key,
    p.attempt, p.resend, p.first_seen, string_to_array(p.faulted, ','), p.traceparent, p.body
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
        $8::timestamptz[], $9::bigint[], $10::text[], $11::text[], $12::int[], $13::boolean[],
        $14::timestamptz[], $15::text[], $16::text[], $17::bytea[])
    AS p (job_id, tenant, campaign, pool, class, domain, group_name, due_at, due_in_us, reason, limit_key,
          attempt, resend, first_seen, faulted, traceparent, body)
WHERE NOT EXISTS (SELECT FROM sluice.pending q WHERE q.job_id = p.job_id OFFSET 0)
RETURNING job_id
";

impl Postgres {
    /// Parks those that have no row yet, and answers their ids. The rows are in the order of their ids.
    pub(super) async fn park_first(&self, jobs: &[&Parked]) -> Result<HashSet<String>, StoreError> {
        // Whether a copy of a claimed job is parked depends on that job.
        let mut first = jobs.to_vec();
        first.retain(|job| job.reason != WaitReason::InFlightElsewhere);
        if first.is_empty() {
            return Ok(HashSet::new());
        }
        match self.ask_to_park(FIRST, &first).await {
            Ok(rows) => rows.iter().map(|row| column(row, STEP, "job_id")).collect(),
            Err(error) if error.is_repetition() => Ok(HashSet::new()),
            Err(error) => Err(error),
        }
    }
}
