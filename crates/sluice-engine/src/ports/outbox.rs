//! Where jobs are published to: the lanes, and the dead letters.

use async_trait::async_trait;
use bytes::Bytes;
use sluice_types::{JobId, Lane, Refusal};

use super::Passport;

/// Publishes with the broker's confirmation.
#[async_trait]
pub trait Outbox: Send + Sync + std::fmt::Debug {
    /// Puts each job into its lane; answers one result per job, in order, once the broker has confirmed it.
    async fn publish(&self, jobs: Vec<Publication>) -> Vec<Result<(), PublishError>>;

    /// Puts refused messages into `sluice.dead` with reason headers; same answers.
    async fn bury(&self, messages: Vec<Burial>) -> Vec<Result<(), PublishError>>;

    /// Whether it would take messages now, as far as is known without asking. An outbox in the same process always does.
    fn takes(&self) -> bool {
        true
    }
}

/// A job on its way into a lane.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The job's id: `message_id`.
    pub id: JobId,
    /// The lane.
    pub lane: Lane,
    /// The body as it was published first.
    pub body: Bytes,
    /// What travels beside it.
    pub passport: Passport,
}

/// A refused message on its way to `sluice.dead`.
#[derive(Clone, Debug)]
pub struct Burial {
    /// The id that could be read from the body: `message_id`.
    pub job_id: Option<String>,
    /// Why.
    pub refusal: Refusal,
    /// The lane that it came from.
    pub lane: Lane,
    /// The body, untouched.
    pub body: Bytes,
    /// W3C trace context of the publisher.
    pub traceparent: Option<String>,
}

/// A message that the broker has not (surely) taken.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The broker cannot be reached, or did not confirm in time: it may or may not have the message.
    #[error("broker unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The broker returned the message: no queue takes it.
    #[error("no queue takes the message")]
    Unroutable,
    /// The broker said no (nack): full, or out of resources.
    #[error("broker refused the message")]
    Refused,
    /// The same job is already queued there (embedded queue only).
    #[error("job is already queued")]
    Duplicate,
}
