//! A store under test, and what cases ask of it.

use std::sync::Arc;
use std::time::Duration;

use sluice_engine::{Claim, ClaimVerdict, Console, Due, DueQuery, Ledger, Record, RecordVerdict};
use sluice_types::JobId;

/// A fresh store under test. The handles may share one worker.
#[derive(Debug)]
pub struct Store {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Its console.
    pub console: Arc<dyn Console>,
    /// Whatever must live as long as the store.
    pub keep: Box<dyn std::fmt::Debug + Send + Sync>,
}

impl Store {
    pub(super) async fn claim_one(&self, claim: Claim) -> ClaimVerdict {
        self.ledger.claim(&[claim]).await.unwrap()[0]
    }

    pub(super) async fn record_one(&self, record: Record) -> RecordVerdict {
        self.ledger.record(&[record]).await.unwrap()[0]
    }

    pub(super) async fn state(&self, id: &JobId) -> String {
        self.console.job(id).await.unwrap().unwrap().state
    }

    /// What is due now; it is due again when this returns.
    pub(super) async fn due_ids(&self) -> Vec<JobId> {
        self.due_ids_of(&up_to(100)).await
    }

    /// The same for any query.
    pub(super) async fn due_ids_of(&self, query: &DueQuery) -> Vec<JobId> {
        let Some(batch) = self.ledger.due(query).await.unwrap() else {
            return Vec::new();
        };
        let ids = batch.jobs().iter().map(|job| job.id.clone()).collect();
        batch.published(&[]).await.unwrap();
        ids
    }
}

/// The wish for due jobs of any lane.
pub(super) fn up_to(max: u32) -> DueQuery {
    DueQuery { max, ..DueQuery::default() }
}

pub(super) const SOON: Due = Due::In(Duration::ZERO);
pub(super) const LATER: Due = Due::In(Duration::from_secs(600));
