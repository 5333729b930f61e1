//! Which mail exchanges take a domain's mail.

use async_trait::async_trait;

/// Looks mail exchanges up, from a table where it can.
#[async_trait]
pub trait MxSource: Send + Sync + std::fmt::Debug {
    /// The exchanges of `domain` (in lower case, A-labels).
    ///
    /// Never waits for longer than the configured timeout, and not at all when too many lookups are under way or the
    /// resolver does not answer: the job then counts as one of an unknown provider, and the next one asks again.
    async fn exchanges(&self, domain: &str) -> MxAnswer;
}

/// What is known of a domain's mail exchanges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MxAnswer {
    /// Their host names, most preferred first, in lower case and without a final dot; empty when the domain has none
    /// (its own host takes the mail then) or does not exist.
    Hosts(std::sync::Arc<[String]>),
    /// It could not be found out in time.
    NotKnown,
}
