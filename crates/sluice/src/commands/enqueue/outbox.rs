//! Where a dry run publishes to.

use async_trait::async_trait;
use sluice_engine::{Burial, Outbox, Publication, PublishError};

/// Takes everything and keeps nothing.
#[derive(Debug)]
pub(super) struct NoOutbox;

#[async_trait]
impl Outbox for NoOutbox {
    async fn publish(&self, jobs: Vec<Publication>) -> Vec<Result<(), PublishError>> {
        jobs.iter().map(|_| Ok(())).collect()
    }

    async fn bury(&self, messages: Vec<Burial>) -> Vec<Result<(), PublishError>> {
        messages.iter().map(|_| Ok(())).collect()
    }
}
