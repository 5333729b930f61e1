//! Final states that upstream services are to be told of.

use async_trait::async_trait;
use bytes::Bytes;

use super::{LedgerError, PublishError};

/// Final states that were committed and not told yet, where the store keeps them.
#[async_trait]
pub trait Results: Send + Sync + std::fmt::Debug {
    /// The next ones, at most `max`, in the order in which they came about, kept from other replicas; `None` when there are
    /// none, or another replica is at it.
    ///
    /// # Errors
    /// When the store could not be asked.
    async fn untold(&self, max: u32) -> Result<Option<Box<dyn ResultBatch>>, LedgerError>;
}

/// Results in the hands of one replica. Dropped, they will be told by whoever asks next.
#[async_trait]
pub trait ResultBatch: Send {
    /// The results.
    fn results(&self) -> &[Announcement];

    /// The first `count` of them are told, and go.
    ///
    /// # Errors
    /// When the store could not be asked; they are told again then.
    async fn told(self: Box<Self>, count: usize) -> Result<(), LedgerError>;
}

/// Tells upstream services.
#[async_trait]
pub trait Herald: Send + Sync + std::fmt::Debug {
    /// Publishes results in order; answers one result for each once the broker has confirmed it. That nobody listens is no
    /// error.
    async fn announce(&self, results: &[Announcement]) -> Vec<Result<(), PublishError>>;
}

/// One final state on its way to upstream services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The job.
    pub job_id: String,
    /// Whose it is.
    pub tenant: String,
    /// Its state.
    pub state: String,
    /// What is said of it: JSON.
    pub body: Bytes,
}
