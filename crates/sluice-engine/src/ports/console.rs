//! What operators and the HTTP API ask of the store. Never on the way of a job.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use sluice_types::{Campaign, JobId, Tenant, Timestamp};

use super::LedgerError;

/// Questions and edits for people.
#[async_trait]
pub trait Console: Send + Sync + std::fmt::Debug {
    /// What the store knows of each of `ids`, in order; for telling duplicates apart at the door.
    ///
    /// # Errors
    /// When the store could not be asked (so for every method).
    async fn known(&self, ids: &[JobId]) -> Result<Vec<Option<KnownJob>>, LedgerError>;

    /// One job with its attempts and its parked copy.
    async fn job(&self, id: &JobId) -> Result<Option<JobView>, LedgerError>;

    /// Counts over the whole store.
    async fn status(&self) -> Result<StatusView, LedgerError>;

    /// Dead letters, newest first, without bodies; `reason` narrows the list.
    async fn dead_list(&self, reason: Option<&str>, max: u32) -> Result<Vec<DeadLetterView>, LedgerError>;

    /// One dead letter and its body.
    async fn dead_show(&self, id: i64) -> Result<Option<(DeadLetterView, Bytes)>, LedgerError>;

    /// Removes dead letters; answers how many there were.
    async fn dead_drop(&self, ids: &[i64]) -> Result<u64, LedgerError>;

    /// Adds or replaces suppressions; answers how many are new.
    async fn suppress(&self, entries: &[SuppressionEntry]) -> Result<u64, LedgerError>;

    /// Removes suppressions of `tenant` (`None`: those for every tenant); answers how many there were.
    async fn unsuppress(&self, tenant: Option<&Tenant>, recipients: &[String]) -> Result<u64, LedgerError>;

    /// Suppressions, newest first.
    async fn suppressions(&self, max: u32) -> Result<Vec<SuppressionEntry>, LedgerError>;

    /// Makes every parked job of a campaign due now, those that wait in line included; answers how many there were.
    ///
    /// Jobs whose outcome is unknown are left as they are, held or timed: when they go on is for policy or a person to
    /// decide. May be run twice, and goes on where a call that failed has stopped.
    async fn wake_campaign(&self, tenant: &Tenant, campaign: &Campaign) -> Result<u64, LedgerError>;
}

/// What the store knows of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownJob {
    /// The fingerprint of the body it was first claimed with, or of the one that waits where it was never claimed. `None`
    /// where that is not known.
    pub fingerprint: Option<i64>,
    /// Its state, or `pending`.
    pub state: String,
}

/// One job, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobView {
    /// The id.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// Its campaign.
    pub campaign: Option<String>,
    /// Its class.
    pub class: String,
    /// Its state; `pending` when it is parked and has no row yet.
    pub state: String,
    /// Attempts so far.
    pub attempts: u32,
    /// The ESP of the last attempt.
    pub esp: Option<String>,
    /// The ESP's id for it.
    pub provider_message_id: Option<String>,
    /// In one word.
    pub category: Option<String>,
    /// The ESP's words.
    pub detail: Option<String>,
    /// Last change, RFC 3339.
    pub updated_at: Option<String>,
    /// Each try.
    pub attempt_list: Vec<AttemptView>,
    /// Why and until when it waits.
    pub pending: Option<PendingView>,
    /// What ESPs have reported of it, in the order in which it happened, at most [`JobView::EVENTS_MAX`].
    pub events: Vec<EventView>,
    /// Who or what has settled or resent it when its outcome was unknown, oldest first.
    pub resolutions: Vec<ResolutionView>,
}

impl JobView {
    /// Events that are shown of one job, at most: the first ones.
    pub const EVENTS_MAX: u32 = 100;
    /// Resolutions that are shown of one job, at most: the first ones.
    pub const RESOLUTIONS_MAX: u32 = 100;
}

/// One report of an ESP, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventView {
    /// What was reported.
    pub kind: String,
    /// The ESP.
    pub esp: String,
    /// The attempt that it names.
    pub attempt: Option<u32>,
    /// In one word.
    pub category: Option<String>,
    /// The ESP's words.
    pub detail: Option<String>,
    /// When it happened, by the ESP's clock, RFC 3339.
    pub occurred_at: String,
    /// When we heard of it, RFC 3339.
    pub received_at: String,
    /// Whether the job's state takes it into account: not while a worker may be sending the job.
    pub applied: bool,
}

/// How an unknown outcome was dealt with, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResolutionView {
    /// The attempt that was in doubt.
    pub attempt: u32,
    /// The state before.
    pub before: String,
    /// The state after, or `resend`: it is sent again.
    pub verdict: String,
    /// Who or what: `webhook:ESP`, or `cli:USER`.
    pub by: String,
    /// Why, in the words of a person.
    pub note: Option<String>,
    /// When, RFC 3339.
    pub at: String,
}

/// One try, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttemptView {
    /// Its number.
    pub attempt: u32,
    /// The ESP.
    pub esp: String,
    /// Its outcome.
    pub outcome: String,
    /// In one word.
    pub category: Option<String>,
    /// The ESP's words.
    pub detail: Option<String>,
    /// Began, RFC 3339.
    pub started_at: String,
    /// Ended, RFC 3339.
    pub finished_at: String,
}

/// A parked copy, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PendingView {
    /// Why it waits.
    pub reason: String,
    /// The limit that holds it.
    pub limit_key: Option<String>,
    /// Until when, RFC 3339; `None`: until its turn in the line of that limit comes, or until an operator or an event
    /// says so.
    pub due_at: Option<String>,
    /// For a job in line: how many go before it, as tenants and campaigns take turns, where all weigh the same; up to
    /// [`Self::AHEAD_MAX`].
    pub ahead: Option<u64>,
}

impl PendingView {
    /// Jobs in line are counted up to here.
    pub const AHEAD_MAX: u32 = 100_000;
}

/// Counts over the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StatusView {
    /// Jobs by state.
    pub jobs: BTreeMap<String, u64>,
    /// Parked jobs by reason.
    pub pending: BTreeMap<String, u64>,
    /// Dead letters by reason.
    pub dead: BTreeMap<String, u64>,
    /// Suppressed recipients.
    pub suppressions: u64,
    /// A table is so long that counts were made up from a sample of it.
    pub estimated: bool,
}

/// A dead letter without its body, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetterView {
    /// Its number.
    pub id: i64,
    /// The job's id, if one could be read.
    pub job_id: Option<String>,
    /// The lane that it came from.
    pub lane: String,
    /// Why.
    pub reason: String,
    /// The field at fault.
    pub field: String,
    /// What to mend.
    pub detail: String,
    /// When it was refused, RFC 3339.
    pub received_at: String,
    /// Length of the body.
    pub body_bytes: u64,
}

/// A suppressed recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuppressionEntry {
    /// For this tenant; `None`: for every tenant.
    pub tenant: Option<Tenant>,
    /// The address in lower case ([`sluice_types::Address::suppression_key`]).
    pub recipient: String,
    /// Why: `manual`, `bounce`, `complaint`, `unsubscribe`.
    pub reason: String,
    /// Who says so: `cli`, `api`, an ESP's name.
    pub source: String,
    /// Since when; the store sets it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
}
