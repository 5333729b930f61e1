//! What happened to every job, durable before and after each send.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
pub use sluice_policy::ClaimVerdict;
use sluice_policy::ClaimWish;
use sluice_types::{
    Address, Campaign, Category, Class, EspId, JobId, JobState, Lane, Outcome, PoolName, Refusal, Tenant,
    Timestamp,
};

use super::{DueBatch, DueQuery, Parked, ReleaseQuery, WaitingKey};

/// The ledger of jobs, attempts, parked jobs and dead letters. A call returns when its rows are durable.
#[async_trait]
pub trait Ledger: Send + Sync + std::fmt::Debug {
    /// Claims jobs before they are sent, or closes them without a send; one verdict per claim, in order.
    ///
    /// A claim goes through when the job has no row, whatever its attempt (rows are not kept for ever), or as
    /// [`ClaimWish::meet`] says of the row there is. A suppressed recipient closes a job that was to be sent. Two
    /// claims of one batch never name the same job.
    ///
    /// # Errors
    /// When the store could not be asked; the call may be repeated: a claim of the same worker, job, attempt and
    /// token as one that went through is answered as that was, unless its recipient has been suppressed since.
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<ClaimVerdict>, LedgerError>;

    /// Records results; one verdict per record, in order. The attempt is kept in any case, if there was a call.
    ///
    /// # Errors
    /// When the store could not be asked; the call may be repeated.
    async fn record(&self, records: &[Record]) -> Result<Vec<RecordVerdict>, LedgerError>;

    /// Parks jobs that hold no claim; one verdict per job, in order. No two jobs of one call have the same id.
    ///
    /// A job that is parked already keeps its row, unless this copy has a later attempt, or the same one and may
    /// resend: then the row becomes this copy's. A row that a relay holds may be gone at any instant, and the job is
    /// parked all the same. A copy that waits for another's claim is not parked when the job is final.
    ///
    /// # Errors
    /// When the store could not be asked; the call may be repeated.
    async fn park(&self, jobs: &[Parked]) -> Result<Vec<ParkVerdict>, LedgerError>;

    /// Keeps refused messages for a person to look at.
    ///
    /// # Errors
    /// When the store could not be asked; a repeated call may keep a message twice.
    async fn refuse(&self, messages: &[DeadLetter]) -> Result<(), LedgerError>;

    /// Parked jobs that are due, hidden from other relays; `None` when none is.
    ///
    /// Lanes take turns evenly, within a lane tenants by weight, within a tenant its campaigns evenly; within one of
    /// them the oldest goes first.
    ///
    /// # Errors
    /// When the store could not be asked.
    async fn due(&self, query: &DueQuery) -> Result<Option<Box<dyn DueBatch>>, LedgerError>;

    /// The keys under which jobs wait in line ([`super::Due::InLine`]), at most `max`, in key order, those after `after`
    /// alone; the jobs of each are counted up to `count_max`.
    ///
    /// # Errors
    /// When the store could not be asked.
    async fn waiting(
        &self,
        after: Option<&str>,
        max: u32,
        count_max: u32,
    ) -> Result<Vec<WaitingKey>, LedgerError>;

    /// Jobs of each line, up to the count beside its key, hidden from other relays; `None` when there are none. Expired
    /// ones are left to [`Ledger::expired`].
    ///
    /// Tenants take turns by weight, and campaigns within a tenant; within one of them the first seen goes first.
    ///
    /// # Errors
    /// When the store could not be asked.
    async fn release(&self, query: &ReleaseQuery) -> Result<Option<Box<dyn DueBatch>>, LedgerError>;

    /// Jobs in line whose [`Parked::expires_at`] has passed on the store's clock, at most `max`, hidden from other relays;
    /// `None` when there are none. Jobs of `full` lanes stay where they are.
    ///
    /// # Errors
    /// When the store could not be asked.
    async fn expired(&self, max: u32, full: &[Lane]) -> Result<Option<Box<dyn DueBatch>>, LedgerError>;

    /// How many jobs are parked, by the reason; of a large store an estimate.
    ///
    /// # Errors
    /// When the store could not be asked.
    async fn parked_by_reason(&self) -> Result<BTreeMap<String, u64>, LedgerError>;

    /// Whether the store answers.
    ///
    /// # Errors
    /// When it does not.
    async fn ping(&self) -> Result<(), LedgerError>;
}

/// A worker's wish to send a job now, or to close it unsent.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The job.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Its campaign.
    pub campaign: Option<Campaign>,
    /// Its pool.
    pub pool: PoolName,
    /// Its class.
    pub class: Class,
    /// The recipient.
    pub recipient: Address,
    /// Tells the same body from another.
    pub fingerprint: i64,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// Set when an `unknown` job may be sent again.
    pub resend: bool,
    /// Unique in this process: tells a repeated call from a redelivered message.
    pub token: i64,
    /// What for.
    pub intent: Intent,
}

impl Claim {
    /// What it comes to when it meets a row.
    #[must_use]
    pub fn wish(&self) -> ClaimWish<'_> {
        ClaimWish {
            tenant: &self.tenant,
            fingerprint: self.fingerprint,
            attempt: self.attempt,
            resend: self.resend,
            close: match &self.intent {
                Intent::Send { .. } => None,
                Intent::Close { state, .. } => Some(*state),
            },
        }
    }
}

/// What a claim is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// To send it; after `ttl` on the store's clock the claim counts as a dead worker's.
    Send {
        /// How long the claim stands.
        ttl: Duration,
        /// The ESP that will be asked.
        esp: EspId,
    },
    /// To close it unsent in a final state.
    Close {
        /// The final state.
        state: JobState,
        /// In one word.
        category: Category,
    },
}

/// The result of one attempt.
#[derive(Clone, Debug)]
pub struct Record {
    /// The job.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// The attempt, as claimed.
    pub attempt: u32,
    /// The token of the claim that this is the result of. An attempt that was given back unsent is claimed again under
    /// its number: a repeated record of the first claim must not settle the second. `None`: of whichever claim stands.
    pub token: Option<i64>,
    /// The ESP that was asked.
    pub esp: EspId,
    /// When the call began.
    pub started_at: Timestamp,
    /// When its outcome was known.
    pub finished_at: Timestamp,
    /// The outcome; `None` when the claim is given back without a call.
    pub outcome: Option<Outcome>,
    /// Where the job goes from here.
    pub next: NextStep,
}

/// Where a job goes after a record.
#[derive(Clone, Debug)]
pub enum NextStep {
    /// It is final, and the parked copies that wait for its outcome go. One that waits for a slot or its time stays:
    /// it may have another body, which its claim will find out.
    Final {
        /// The state.
        state: JobState,
        /// In one word, where there is one.
        category: Option<Category>,
    },
    /// It becomes `deferred` and waits in `pending`.
    Retry(Box<Parked>),
    /// It becomes `unknown` and its body waits in `pending` for policy or an operator.
    Unknown(Box<Parked>),
    /// It was not sent after all: the attempt counter goes back and it waits in `pending`.
    Unsent(Box<Parked>),
}

/// The ledger's word on a job to be parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkVerdict {
    /// It is parked, was parked before, or need not be since it is final.
    Parked,
    /// The same id is parked with another body, and keeps its row.
    Conflict,
}

/// The ledger's word on a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordVerdict {
    /// Recorded.
    Recorded,
    /// The claim was no longer ours: the attempt is kept, the job's state is not touched.
    NotOurs,
}

/// A refused message.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The job's id, if one could be read.
    pub job_id: Option<String>,
    /// The lane that it came from.
    pub lane: Lane,
    /// Why, and which field.
    pub refusal: Refusal,
    /// The body, untouched.
    pub body: Bytes,
}

/// The store could not be asked, or will not take a row.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be reached, is shutting down, or did not answer in time: the call may be repeated.
    #[error("store unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It will not take this batch, now or later: split it to find the row at fault.
    #[error("store refused the batch")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}
