//! Jobs.

use serde::Serialize;
use sluice_engine::IntakeAnswer;
use utoipa::openapi::schema::{ArrayBuilder, OneOfBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::system::Order;
use super::words::{
    AttemptOutcomeWord, CategoryWord, EventKindWord, JobStateWord, RefusalWord, WaitReasonWord,
};
use super::{Mirror, mirror};

mirror! {
    /// One try.
    struct AttemptView {
        /// Its number, from 1.
        attempt: u32,
        /// The ESP.
        #[schema(example = "main")]
        esp: String,
        /// What it came to.
        #[schema(value_type = AttemptOutcomeWord)]
        outcome: String,
        /// In one word.
        #[schema(value_type = Option<CategoryWord>)]
        category: Option<String>,
        /// The ESP's words.
        detail: Option<String>,
        /// When it began.
        #[schema(format = DateTime)]
        started_at: String,
        /// When it ended.
        #[schema(format = DateTime)]
        finished_at: String,
    }

    /// One report of an ESP.
    struct EventView {
        /// What was reported.
        #[schema(value_type = EventKindWord)]
        kind: String,
        /// The ESP.
        #[schema(example = "main")]
        esp: String,
        /// The attempt that it names.
        attempt: Option<u32>,
        /// In one word.
        #[schema(value_type = Option<CategoryWord>)]
        category: Option<String>,
        /// The ESP's words.
        detail: Option<String>,
        /// When it happened, by the ESP's clock.
        #[schema(format = DateTime)]
        occurred_at: String,
        /// When Sluice heard of it.
        #[schema(format = DateTime)]
        received_at: String,
        /// Whether the job's state takes it into account: not while a worker may be sending the job.
        applied: bool,
    }

    /// How an unknown outcome was dealt with.
    struct ResolutionView {
        /// The attempt that was in doubt.
        attempt: u32,
        /// The state before.
        #[schema(example = "unknown")]
        before: String,
        /// The state after, or `resend`: it is sent again.
        #[schema(example = "accepted")]
        verdict: String,
        /// Who or what: `webhook:ESP`, or `cli:USER`.
        #[schema(example = "webhook:main")]
        by: String,
        /// Why, in the words of a person.
        note: Option<String>,
        /// When.
        #[schema(format = DateTime)]
        at: String,
    }

    /// When a parked job goes on.
    struct Until {
        /// The instant.
        #[schema(format = DateTime)]
        at: String,
        /// Whether it is worked out from the line and the limit, and may change with either; else it is the due time.
        estimated: bool,
    }
}

/// One job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct JobView {
    /// The id.
    #[schema(example = "0192f0c1-6f0e-7c3a-b0de-3f1d0a7c1e55")]
    id: String,
    /// Whose it is.
    #[schema(example = "acme")]
    tenant: String,
    /// Its campaign.
    campaign: Option<String>,
    /// Whether an operator has paused or cancelled its campaign.
    campaign_order: Option<Order>,
    /// Its class: `transactional` or `bulk`.
    #[schema(example = "bulk")]
    class: String,
    /// Its state.
    #[schema(value_type = JobStateWord)]
    state: String,
    /// Attempts so far.
    attempts: u32,
    /// The ESP of the last attempt.
    esp: Option<String>,
    /// The ESP's id for it.
    provider_message_id: Option<String>,
    /// What happened last.
    #[schema(value_type = Option<CategoryWord>)]
    category: Option<String>,
    /// The ESP's words.
    detail: Option<String>,
    /// Last change.
    #[schema(format = DateTime)]
    updated_at: Option<String>,
    /// Each try.
    attempt_list: Vec<AttemptView>,
    /// Why and until when it waits; `null` when it does not.
    pending: Option<PendingView>,
    /// What ESPs have reported of it, in the order in which it happened; the first hundred.
    events: Vec<EventView>,
    /// Who or what has settled or resent it when its outcome was unknown, oldest first; the first hundred.
    resolutions: Vec<ResolutionView>,
}

/// Why and until when a job waits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PendingView {
    /// Why.
    #[schema(value_type = WaitReasonWord)]
    reason: String,
    /// The limit that holds it, or the campaign.
    #[schema(example = "group:gmail/per:s")]
    limit_key: Option<String>,
    /// When it is due; `null`: when its turn in the line of that limit comes, or when an operator or an event says so.
    #[schema(format = DateTime)]
    due_at: Option<String>,
    /// For a job in line: how many go before it, as tenants and campaigns take turns. Counted up to 100,000, and `until` is the earliest then.
    ahead: Option<u64>,
    /// When it is likely to go on; `null` when nobody can tell.
    until: Option<Until>,
}

impl JobView {
    /// A view of the engine, with what lies ahead of it.
    pub(crate) fn of(job: sluice_engine::JobView, outlook: sluice_engine::Outlook) -> Self {
        let sluice_engine::Outlook { until, campaign_order } = outlook;
        let sluice_engine::JobView {
            id,
            tenant,
            campaign,
            class,
            state,
            attempts,
            esp,
            provider_message_id,
            category,
            detail,
            updated_at,
            attempt_list,
            pending,
            events,
            resolutions,
        } = job;
        Self {
            id,
            tenant,
            campaign,
            campaign_order: campaign_order.mirror(),
            class,
            state,
            attempts,
            esp,
            provider_message_id,
            category,
            detail,
            updated_at,
            attempt_list: attempt_list.mirror(),
            pending: pending.map(|it| PendingView::of(it, until)),
            events: events.mirror(),
            resolutions: resolutions.mirror(),
        }
    }
}

impl PendingView {
    fn of(pending: sluice_engine::PendingView, until: Option<sluice_engine::Until>) -> Self {
        let sluice_engine::PendingView { reason, limit_key, due_at, ahead } = pending;
        Self { reason, limit_key, due_at, ahead, until: until.mirror() }
    }
}

/// What became of one job at the door.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum JobAnswer {
    /// It is in its lane, durably.
    Queued {
        /// The job.
        id: String,
    },
    /// The same job was queued before; nothing was done.
    Duplicate {
        /// The job.
        id: String,
    },
    /// It is no job that can be taken; nothing was done.
    Error {
        /// Its id, if one could be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// Why.
        #[schema(value_type = RefusalWord)]
        reason: String,
        /// The field at fault.
        #[schema(example = "to.email")]
        field: String,
        /// What to mend.
        detail: String,
    },
    /// It could not be queued now; try again.
    Unavailable {
        /// The job.
        id: String,
    },
}

impl Mirror<JobAnswer> for IntakeAnswer {
    fn mirror(self) -> JobAnswer {
        match self {
            Self::Queued { id } => JobAnswer::Queued { id },
            Self::Duplicate { id } => JobAnswer::Duplicate { id },
            Self::Unavailable { id } => JobAnswer::Unavailable { id },
            Self::Error { id, refusal } => {
                let sluice_types::Refusal { reason, field, detail } = refusal;
                JobAnswer::Error { id, reason: reason.as_str().to_owned(), field, detail }
            }
        }
    }
}

/// One job or a list of them, by the schema that the contract has for a job.
pub(crate) enum JobsSchema {}

/// One answer or a list of them.
pub(crate) enum AnswersSchema {}

impl PartialSchema for JobsSchema {
    fn schema() -> RefOr<Schema> {
        one_or_list(|| Ref::from_schema_name(crate::openapi::JOB))
    }
}

impl PartialSchema for AnswersSchema {
    fn schema() -> RefOr<Schema> {
        one_or_list(|| Ref::from_schema_name(JobAnswer::name()))
    }
}

fn one_or_list(one: impl Fn() -> Ref) -> RefOr<Schema> {
    OneOfBuilder::new().item(one()).item(ArrayBuilder::new().items(one())).into()
}

impl ToSchema for JobsSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        "Jobs".into()
    }
}

impl ToSchema for AnswersSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        "JobAnswers".into()
    }
}
