//! Closed lists of words, as the API document shows them: taken from the lists themselves.

use sluice_types::{AttemptOutcome, Category, EventKind, JobState, RefusalReason, WaitReason};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

macro_rules! words {
    ($($(#[doc = $doc:literal])+ $name:ident = $words:expr;)+) => {$(
        $(#[doc = $doc])+
        pub(super) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                let description = concat!($($doc),+).trim();
                words(description, $words)
            }
        }

        impl ToSchema for $name {}
    )+};
}

words! {
    /// State of a job; `pending` when it is parked and was not tried yet.
    JobStateWord = JobState::ALL.iter().map(|it| it.as_str()).chain(["pending"]);
    /// What one try came to.
    AttemptOutcomeWord = AttemptOutcome::ALL.iter().map(|it| it.as_str());
    /// What an ESP reports of a message.
    EventKindWord = EventKind::ALL.iter().map(|it| it.as_str());
    /// What happened in one word.
    CategoryWord = Category::ALL.iter().map(|it| it.as_str());
    /// Why a job waits.
    WaitReasonWord = WaitReason::ALL.iter().map(|it| it.as_str());
    /// Why a message is no job that can be taken.
    RefusalWord = RefusalReason::ALL.iter().map(|it| it.as_str());
    /// State of a breaker.
    BreakerWord = ["closed", "open", "half_open"].into_iter();
    /// What an operator holds a breaker at.
    ForcedWord = ["open", "closed"].into_iter();
}

fn words(description: &str, words: impl Iterator<Item = &'static str>) -> RefOr<Schema> {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .enum_values(Some(words));
    RefOr::T(Schema::Object(schema.build()))
}
