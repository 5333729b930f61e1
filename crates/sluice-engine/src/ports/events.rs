//! What ESPs report of messages after they were handed over.

use async_trait::async_trait;
use sluice_types::{Address, Category, EspId, EventKind, JobId, JobState, Tenant, Timestamp};

use super::LedgerError;

/// Where the events of ESPs land, and how they move jobs.
///
/// An event is kept first and applied afterwards: at once where the job's row allows it, else by [`Events::apply_due`],
/// again and again with a growing pause. So an event that comes before its job's result was recorded, before the job is
/// known at all, or while the store is asked by both, is never lost.
#[async_trait]
pub trait Events: Send + Sync + std::fmt::Debug {
    /// Keeps events of `esp` and the suppressions that they ask for, then applies what can be applied. An event whose
    /// id is known already counts as a duplicate and changes nothing.
    ///
    /// # Errors
    /// When the store could not be asked; the call may be repeated.
    async fn land(&self, esp: &EspId, events: &[EspEvent]) -> Result<Landed, LedgerError>;

    /// Applies up to `max` events that wait for their job; answers the jobs that moved. An event that finds its job
    /// unknown to the ledger or in the hands of a worker waits longer each time, and is given up on after three days.
    ///
    /// # Errors
    /// When the store could not be asked; the call may be repeated.
    async fn apply_due(&self, max: u32) -> Result<Vec<Moved>, LedgerError>;
}

/// One report of an ESP on a job of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EspEvent {
    /// The job.
    pub job: JobId,
    /// Whose it is, where it says; else it is of the job's tenant, and of the default one while the job is unknown.
    pub tenant: Option<Tenant>,
    /// The attempt that it is about, where it says.
    pub attempt: Option<u32>,
    /// What happened.
    pub kind: EventKind,
    /// The ESP's own id of this report, the same in every repetition.
    pub event_id: String,
    /// The ESP's id for the message.
    pub provider_message_id: Option<String>,
    /// When it happened, by the ESP's clock.
    pub occurred_at: Timestamp,
    /// In one word, where it says.
    pub category: Option<Category>,
    /// The ESP's words, cleaned.
    pub detail: Option<String>,
    /// Whom never to send to again because of it.
    pub suppress: Option<Suppress>,
}

/// A recipient that an event asks to suppress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppress {
    /// The recipient.
    pub recipient: Address,
    /// Why.
    pub reason: SuppressReason,
}

/// Why an event suppresses a recipient; the words of `suppression.reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuppressReason {
    /// The mailbox does not exist.
    Bounce,
    /// The recipient reported spam.
    Complaint,
    /// The recipient wants no more.
    Unsubscribe,
}

impl SuppressReason {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bounce => "bounce",
            Self::Complaint => "complaint",
            Self::Unsubscribe => "unsubscribe",
        }
    }
}

/// What came of a landing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Landed {
    /// Events that are new.
    pub fresh: u64,
    /// Events that were known.
    pub duplicates: u64,
    /// Recipients that are suppressed because of them and were not before.
    pub suppressed: u64,
    /// Jobs that they moved.
    pub moved: Vec<Moved>,
}

/// A job that an event has moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The job.
    pub job: JobId,
    /// Whose event it was.
    pub esp: EspId,
    /// The recipient's domain.
    pub domain: String,
    /// Its state before.
    pub before: JobState,
    /// Its state now.
    pub after: JobState,
}
