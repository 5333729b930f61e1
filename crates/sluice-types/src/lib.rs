//! The nouns of Sluice: jobs, addresses, lanes, limits, outcomes and time.
//!
//! Pure data and its checks: no IO, no async, no clock. Start at [`Job`].

mod address;
mod ids;
mod job;
mod lane;
mod limit;
mod outcome;
mod refusal;
mod state;
mod time;

pub use address::{ADDRESS_MAX_BYTES, Address, AddressError, LOCAL_PART_MAX_BYTES, normalise_domain};
pub use ids::{Campaign, EspId, GroupName, JobId, NameError, PoolName, Tenant};
pub use job::{
    BODY_MAX_BYTES, Job, JobDocument, LINE_MAX_BYTES, Mailbox, MailboxDocument, check_subject, fingerprint,
};
pub use lane::{Class, Lane, LaneError, Side};
pub use limit::{COUNT_MAX, Limit, LimitKind, LimitScope, LimitScopeError, LimitSpec, LimitSpecError};
pub use outcome::{DETAIL_MAX_CHARS, DeferralScope, Outcome, clean_detail};
pub use refusal::{FIELD_MAX_CHARS, Refusal, RefusalReason};
pub use state::{AttemptOutcome, Category, EventKind, JobState, Severity, WaitReason, WebhookRefusal};
pub use time::{Tick, Timestamp};
