//! First claims of jobs that have no row yet and may be sent: nearly all there are, at half of the price.
//!
//! `ON CONFLICT` inserts a row twice over, on trial and then for good, each with a record in the log. A plain insert goes
//! once. One row that is there already fails all of a batch, which then goes the other way; for a while after that each is
//! looked for before, and those that are there are left to the other statement.

use std::sync::atomic::{AtomicU32, Ordering};

use sluice_engine::{Claim, Intent};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{ClaimColumns, STEP, claims};
use crate::{Postgres, StoreError};

/// Answers the jobs that it has claimed. Rows go in as they are told, so they are told in the order of their ids: of two replicas
/// that have some of the same, one waits for the other.
macro_rules! first {
    ($and:literal) => {
        concat!(
            "
INSERT INTO sluice.job
    (id, tenant, campaign, class, pool, recipient, state, attempts, esp, worker, claim_token, deadline, fingerprint)
SELECT i.id, i.tenant, i.campaign, i.class, i.pool, i.recipient, 'sending', 1, i.esp, $1, i.token,
    clock_timestamp() + i.ttl_us * interval '1 microsecond', i.fingerprint
FROM ",
            claims!(""),
            "
WHERE NOT EXISTS (
    SELECT FROM sluice.suppression s
    WHERE s.recipient = lower(i.recipient COLLATE \"C\") AND (s.tenant = '' OR s.tenant = i.tenant) OFFSET 0)",
            $and,
            "
RETURNING id
"
        )
    };
}

/// Fails when a job has a row.
const FIRST: &str = first!("");

const FIRST_WITH_LOOK: &str =
    first!("\n  AND NOT EXISTS (SELECT FROM sluice.job j WHERE j.id = i.id OFFSET 0)");

/// For how many batches jobs are looked for after one had a row: where many have, few batches fail.
const LOOKS: u32 = 1_000;

/// How many of the next batches look for each job before they insert it.
#[derive(Debug, Default)]
pub(crate) struct Looks(AtomicU32);

impl Looks {
    fn takes_one(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn begin(&self) {
        self.0.store(LOOKS, Ordering::Relaxed);
    }
}

/// Whether a claim may be a job's first.
fn is_first(claim: &Claim) -> bool {
    claim.attempt == 1 && !claim.resend && matches!(claim.intent, Intent::Send { .. })
}

impl Postgres {
    /// Claims those that have no row yet and may be sent, and answers their ids.
    pub(super) async fn claim_first<'a>(
        &self,
        claims: impl Iterator<Item = &'a Claim>,
    ) -> Result<Vec<Row>, StoreError> {
        let mut first: Vec<&Claim> = claims.filter(|claim| is_first(claim)).collect();
        if first.is_empty() {
            return Ok(Vec::new());
        }
        first.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let columns = ClaimColumns::of(first.into_iter());
        let worker: &str = &self.worker;
        let mut params: Vec<&(dyn ToSql + Sync)> = vec![&worker];
        params.extend(columns.of_first());
        let statement = if self.looks.takes_one() { FIRST_WITH_LOOK } else { FIRST };
        match self.writers.query(STEP, statement, &params).await {
            Err(error) if error.is_repetition() => {
                self.looks.begin();
                Ok(Vec::new())
            }
            answered => answered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_looked_for_in_the_next_batches_after_one_had_a_row() {
        let looks = Looks::default();
        assert!(!looks.takes_one());
        looks.begin();
        for _ in 0..LOOKS {
            assert!(looks.takes_one());
        }
        assert!(!looks.takes_one());
    }
}
