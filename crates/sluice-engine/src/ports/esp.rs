//! The system that takes the mail.

use async_trait::async_trait;
use sluice_types::{EspId, Job, Outcome};

/// One configured ESP account.
#[async_trait]
pub trait Esp: Send + Sync + std::fmt::Debug {
    /// The account.
    fn id(&self) -> &EspId;

    /// Hands over one rendered job. Keeps to the account's own timeout.
    ///
    /// What the ESP answers is an [`Outcome`]; so is what went wrong on the way, told apart by whether the ESP may
    /// have taken the message ([`Outcome::Unknown`]) or surely has not ([`Outcome::Faulted`]).
    async fn send(&self, job: &Job, attempt: u32) -> Outcome;
}
