//! The system that takes the mail.

use std::time::Duration;

use async_trait::async_trait;
use sluice_types::{EspId, Job, Outcome};

/// One configured ESP account.
#[async_trait]
pub trait Esp: Send + Sync + std::fmt::Debug {
    /// The account.
    fn id(&self) -> &EspId;

    /// Writes the message of one call from a rendered job, of which nothing is needed any more then.
    ///
    /// # Errors
    /// The answer, when the message cannot be written.
    fn write(&self, job: &Job, attempt: u32) -> Result<Box<dyn WrittenCall<'_> + '_>, Answer>;

    /// Hands over one rendered job: all steps of a call in one.
    async fn send(&self, job: &Job, attempt: u32) -> Answer {
        let written = match self.write(job, attempt) {
            Ok(written) => written,
            Err(answer) => return answer,
        };
        match written.ready().await {
            Ok(call) => call.make().await,
            Err(answer) => answer,
        }
    }

    /// Whether the account knows a job that it has taken when it is sent again, by a key that is the same for every
    /// attempt of the job, and then takes no second copy.
    ///
    /// An outcome that is unknown is then resolved by sending it again.
    fn is_idempotent(&self) -> bool {
        false
    }
}

/// A call over the account `'e` whose message is written.
#[async_trait]
pub trait WrittenCall<'e>: Send {
    /// Makes all ready, so that the call reaches the ESP as soon as it is [made](ReadyCall::make): takes a connection that is idle
    /// or opens one. Tells the ESP nothing of the job. Keeps to the account's own timeout.
    ///
    /// # Errors
    /// The answer, when there is nothing to call with.
    async fn ready(self: Box<Self>) -> Result<Box<dyn ReadyCall + 'e>, Answer>;
}

/// A call that waits for its turn. Dropped, it leaves its connection to the next.
#[async_trait]
pub trait ReadyCall: Send {
    /// Hands the job over. Keeps to the account's own timeout.
    ///
    /// What the ESP answers is an [`Outcome`]; so is what went wrong on the way, told apart by whether the ESP may
    /// have taken the message ([`Outcome::Unknown`]) or surely has not ([`Outcome::Faulted`]).
    async fn make(self: Box<Self>) -> Answer;
}

/// What came of one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The outcome of the job.
    pub outcome: Outcome,
    /// What the ESP said of its own limits beside it.
    pub quota: Option<QuotaHint>,
}

/// What an ESP says of its own limits, by headers such as `X-RateLimit-Remaining` and `-Reset`, or by a 503 that says when
/// to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaHint {
    /// Calls that it will still take in its current window.
    pub remaining: u32,
    /// When that window ends.
    pub resets_in: Duration,
}

impl From<Outcome> for Answer {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, quota: None }
    }
}
