//! Who decodes a message that may bring its process down.

use async_trait::async_trait;
use bytes::Bytes;

/// Decodes messages in a process of its own, one at a time. That one may die of it, and the worker and all that it holds
/// live on.
#[async_trait]
pub trait Taster: Send + Sync + std::fmt::Debug {
    /// Does with `body` what a worker does to decode it.
    ///
    /// Cancel safe.
    async fn taste(&self, body: &Bytes) -> Taste;
}

/// What became of whoever tasted a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taste {
    /// It lives: the message is a job or is none, and a worker can find out which.
    Harmless,
    /// It died of it, or did not answer in time.
    Deadly {
        /// The job's id, if that could be read before.
        job_id: Option<String>,
    },
    /// There was no such process, for reasons that have nothing to do with the message.
    Unknown,
}
