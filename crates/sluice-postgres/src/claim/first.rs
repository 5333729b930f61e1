//! First claims of jobs that have no row yet and may be sent: nearly all there are, at two thirds of the price.
//!
//! `ON CONFLICT` inserts a row twice over, on trial and then for good, each with a record in the log. A plain insert goes
//! once, and the other rows are left to the other statement. When two workers insert the same id at the same instant, the
//! later one's statement fails as a whole, and all of its rows go that way.

use sluice_engine::{Claim, Intent};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{ClaimColumns, STEP};
use crate::{Postgres, StoreError};

/// Answers the jobs that it has claimed.
const FIRST: &str = "
INSERT INTO sluice.job
    (id, tenant, campaign, class, pool, recipient, state, attempts, esp, worker, claim_token, deadline, fingerprint)
SELECT i.id, i.tenant, i.campaign, i.class, i.pool, i.recipient, 'sending', 1, i.esp, $1, i.token,
    clock_timestamp() + i.ttl_us * interval '1 microsecond', i.fingerprint
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[],
            $10::text[], $11::bigint[])
    AS i (id, tenant, campaign, class, pool, recipient, fingerprint, token, esp, ttl_us)
WHERE NOT EXISTS (SELECT FROM sluice.job j WHERE j.id = i.id OFFSET 0)
  AND NOT EXISTS (
    SELECT FROM sluice.suppression s
    WHERE s.recipient = lower(i.recipient COLLATE \"C\") AND s.tenant IN ('', i.tenant) OFFSET 0)
ORDER BY i.id COLLATE \"C\"
RETURNING id, true AS put, state, attempts
";

/// Whether a claim may be a job's first.
fn is_first(claim: &Claim) -> bool {
    claim.attempt == 1 && !claim.resend && matches!(claim.intent, Intent::Send { .. })
}

impl Postgres {
    /// Claims those that have no row yet and may be sent, and answers them.
    pub(super) async fn claim_first<'a>(
        &self,
        claims: impl Iterator<Item = &'a Claim>,
    ) -> Result<Vec<Row>, StoreError> {
        let columns = ClaimColumns::of(claims.filter(|claim| is_first(claim)));
        if columns.ids.is_empty() {
            return Ok(Vec::new());
        }
        let worker: &str = &self.worker;
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&worker];
        params.extend(columns.of_first());
        match self.writers.query(STEP, FIRST, &params).await {
            Err(error) if error.is_repetition() => Ok(Vec::new()),
            answered => answered,
        }
    }
}
