//! Jobs whose outcome nobody knows, for a person to decide about.

use async_trait::async_trait;
use serde::Serialize;
use sluice_types::{Class, JobId, JobState, Tenant};

use super::LedgerError;

/// Questions and decisions about jobs in the state `unknown`. Every decision is kept with who made it.
#[async_trait]
pub trait Unknowns: Send + Sync + std::fmt::Debug {
    /// Jobs whose outcome is unknown, the longest first.
    ///
    /// # Errors
    /// When the store could not be asked (so for every method).
    async fn unknown_list(&self, query: &UnknownQuery) -> Result<Vec<UnknownView>, LedgerError>;

    /// Sends jobs again now, which may make a second copy of each; one verdict per id, in order. A job that goes out is
    /// marked `resent`. May be run twice: a job that has gone on is told so.
    async fn unknown_resend(
        &self,
        ids: &[JobId],
        by: &str,
        note: Option<&str>,
    ) -> Result<Vec<ResendVerdict>, LedgerError>;

    /// Closes jobs as what a person has found out; one verdict per id, in order. Their parked bodies go.
    async fn unknown_settle(
        &self,
        ids: &[JobId],
        settle_as: SettleAs,
        by: &str,
        note: Option<&str>,
    ) -> Result<Vec<SettleVerdict>, LedgerError>;
}

/// Which unknown jobs are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnknownQuery {
    /// Only of this tenant.
    pub tenant: Option<Tenant>,
    /// Only of this class.
    pub class: Option<Class>,
    /// Only of this ESP.
    pub esp: Option<String>,
    /// Only those after this one, by when they became unknown and then by id: where the last call ended.
    pub after: Option<(String, String)>,
    /// At most so many.
    pub max: u32,
}

/// A job in doubt, for people. Never its recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownView {
    /// The id.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// Its campaign.
    pub campaign: Option<String>,
    /// Its class.
    pub class: String,
    /// The ESP of the attempt in doubt.
    pub esp: Option<String>,
    /// The attempt in doubt.
    pub attempt: u32,
    /// `answer_lost` or `worker_lost`.
    pub category: Option<String>,
    /// Since when, RFC 3339.
    pub since: String,
    /// When policy sends it again, RFC 3339; `None`: it waits for an operator or an event.
    pub resend_at: Option<String>,
    /// Whether its body is parked, without which it cannot be sent again.
    pub has_body: bool,
}

/// What came of a wish to send a job again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResendVerdict {
    /// It is due now; the relay publishes it.
    Queued,
    /// Its body is not parked: it is on its way already, or lost.
    NoBody,
    /// It is not unknown but in this state.
    NotUnknown(JobState),
    /// The ledger has no such job.
    Missing,
}

/// What a person has found out about an unknown job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleAs {
    /// The ESP took it.
    Accepted,
    /// It was never sent, and shall not be.
    Rejected,
}

impl SettleAs {
    /// The state of the job from then on.
    #[must_use]
    pub const fn state(self) -> JobState {
        match self {
            Self::Accepted => JobState::Accepted,
            Self::Rejected => JobState::Rejected,
        }
    }
}

/// What came of a wish to settle a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleVerdict {
    /// It is settled.
    Settled,
    /// It is not unknown but in this state.
    NotUnknown(JobState),
    /// The ledger has no such job.
    Missing,
}

/// The word in `resolution.verdict` for a resend.
pub const RESEND_WORD: &str = "resend";
