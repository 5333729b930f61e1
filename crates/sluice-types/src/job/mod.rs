//! A job: one email to one recipient. [`JobDocument`] is what a publisher writes, [`Job`] what has passed every check.

mod check;
mod document;
mod parse;

use std::collections::BTreeMap;

pub use check::check_subject;
pub use document::{JobDocument, MailboxDocument};
pub use parse::fingerprint;

use crate::{Address, Campaign, Class, JobId, PoolName, Tenant, Timestamp};

/// Largest body of a job, in bytes.
pub const BODY_MAX_BYTES: usize = 256 * 1024;
/// Largest number of extra headers.
pub(crate) const HEADERS_MAX: usize = 64;
/// Longest subject, name or header value in bytes (RFC 5322 section 2.1.1, one line).
pub const LINE_MAX_BYTES: usize = 998;

/// An address with a display name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The checked address.
    pub email: Address,
    /// The display name: one line without control characters.
    pub name: Option<String>,
}

/// A job that has passed every check.
#[derive(Clone, PartialEq)]
pub struct Job {
    /// The idempotency key.
    pub id: JobId,
    /// Whose job it is.
    pub tenant: Tenant,
    /// The traffic class.
    pub class: Class,
    /// The pool of ESPs that sends it.
    pub pool: PoolName,
    /// The campaign, if any.
    pub campaign: Option<Campaign>,
    /// Sender.
    pub from: Mailbox,
    /// The one recipient.
    pub to: Mailbox,
    /// Where replies go.
    pub reply_to: Option<Mailbox>,
    /// Subject, a template when `vars` is there.
    pub subject: String,
    /// HTML body; this or `text` is there.
    pub html: Option<String>,
    /// Text body.
    pub text: Option<String>,
    /// Template values.
    pub vars: Option<serde_json::Map<String, serde_json::Value>>,
    /// Extra headers.
    pub headers: BTreeMap<String, String>,
    /// https URL for one-click unsubscribe.
    pub unsubscribe_url: Option<String>,
    /// Passed on to the ESP.
    pub metadata: BTreeMap<String, String>,
    /// Not before.
    pub send_at: Option<Timestamp>,
    /// Not after.
    pub expires_at: Option<Timestamp>,
    /// First 64 bits of the SHA-256 of the body: tells a repeated job from a changed one under the same id.
    pub fingerprint: i64,
}

impl Job {
    /// Frees what only the message is made of, once that is written: what is left says whose job it is, for whom, and when.
    pub fn forget_content(&mut self) {
        (self.subject, self.html, self.text, self.vars) = (String::new(), None, None, None);
        (self.headers, self.metadata) = (BTreeMap::new(), BTreeMap::new());
        (self.reply_to, self.unsubscribe_url) = (None, None);
        (self.from.name, self.to.name) = (None, None);
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("id", &self.id).field("tenant", &self.tenant).finish_non_exhaustive()
    }
}
