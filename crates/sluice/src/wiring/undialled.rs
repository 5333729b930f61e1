//! The queue of a command that has no business with it: the broker is not dialled.

use async_trait::async_trait;
use sluice_engine::{Burial, Feed, Inbox, InboxError, LaneDepth, Outbox, Publication, PublishError};
use sluice_types::Lane;

/// Answers everything with an error.
#[derive(Debug)]
pub(super) struct Undialled;

/// A command asked for what it said it would not.
#[derive(Debug, thiserror::Error)]
#[error("this command does not dial the broker")]
struct NotDialled;

#[async_trait]
impl Inbox for Undialled {
    async fn open(&self, _lane: &Lane, _prefetch: u16) -> Result<Box<dyn Feed>, InboxError> {
        Err(InboxError::Unavailable(Box::new(NotDialled)))
    }

    async fn depths(&self, _lanes: &[Lane]) -> Result<Vec<LaneDepth>, InboxError> {
        Err(InboxError::Unavailable(Box::new(NotDialled)))
    }
}

#[async_trait]
impl Outbox for Undialled {
    async fn publish(&self, jobs: Vec<Publication>) -> Vec<Result<(), PublishError>> {
        jobs.iter().map(|_| Err(PublishError::Unavailable(Box::new(NotDialled)))).collect()
    }

    async fn bury(&self, messages: Vec<Burial>) -> Vec<Result<(), PublishError>> {
        messages.iter().map(|_| Err(PublishError::Unavailable(Box::new(NotDialled)))).collect()
    }
}
