//! Sends into the void.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sluice_engine::{Answer, Clock, Esp, ReadyCall, WrittenCall};
use sluice_types::{Address, Category, DeferralScope, EspId, Job, JobId, Outcome};

use super::journal::{Journal, JournalEntry, has_job};
use crate::SettingsError;

/// What a throttled recipient is told to wait.
const THROTTLE_WAIT: Duration = Duration::from_secs(2);

/// One sandbox.
#[derive(Clone, Debug)]
pub struct SandboxSettings {
    /// The account.
    pub id: EspId,
    /// How long each send takes.
    pub latency: Duration,
    /// The file to append a line to for each message taken; see [`super::read_journal`].
    pub journal: Option<PathBuf>,
    /// The first call, counted from 1, that fails with a server error; `None`: none fails.
    pub fail_from: Option<u32>,
    /// How many calls fail from there on.
    pub fail_count: u32,
    /// Whether a job that the journal has is known again: accepted, and written no second time.
    pub idempotent: bool,
}

impl SandboxSettings {
    /// A sandbox without latency, journal or failures.
    #[must_use]
    pub const fn new(id: EspId) -> Self {
        Self { id, latency: Duration::ZERO, journal: None, fail_from: None, fail_count: 0, idempotent: false }
    }
}

/// An ESP that takes every message and delivers none.
///
/// Four kinds of recipient are answered otherwise, by the beginning of the local part: `reject` is refused for good,
/// `defer` is deferred, `throttle` is deferred with the word that its domain group must slow down, and `unknown` is taken
/// while the answer is lost.
#[derive(Debug)]
pub struct SandboxEsp {
    id: EspId,
    latency: Duration,
    journal: Option<Journal>,
    /// The journal's file, where jobs are looked up in it.
    known: Option<PathBuf>,
    failing: std::ops::Range<u64>,
    calls: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl SandboxEsp {
    /// Opens the journal, which it creates if need be.
    ///
    /// # Errors
    /// When the journal cannot be opened.
    pub fn new(settings: &SandboxSettings, clock: Arc<dyn Clock>) -> Result<Self, SettingsError> {
        let journal = match &settings.journal {
            None => None,
            Some(path) => Some(Journal::open(path).map_err(|source| SettingsError::Journal {
                esp: settings.id.clone(),
                path: path.clone(),
                source,
            })?),
        };
        let failing = settings.fail_from.map_or(0..0, |first| {
            let first = u64::from(first);
            first..first + u64::from(settings.fail_count)
        });
        Ok(Self {
            id: settings.id.clone(),
            latency: settings.latency,
            journal,
            known: settings.journal.clone().filter(|_| settings.idempotent),
            failing,
            calls: AtomicU64::new(0),
            clock,
        })
    }

    /// Calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Writes the journal's line; it stands in the file before anyone hears that the message was taken.
    fn take(&self, message: &Message) -> Result<(), Outcome> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let entry = JournalEntry {
            job_id: message.id.as_str().into(),
            attempt: message.attempt,
            recipient_domain: message.recipient.domain().into(),
            at_us: self.clock.now().as_micros(),
        };
        journal.append(&entry).map_err(|error| Outcome::Faulted {
            category: Category::ServerError,
            detail: format!("the journal cannot be written: {}", error.kind()),
        })
    }

    /// Whether the journal has the job: only asked of a job that was tried before.
    async fn knows(&self, message: &Message) -> bool {
        let Some(path) = self.known.clone().filter(|_| message.attempt > 1) else { return false };
        let id = message.id.clone();
        let look = move || has_job(&path, id.as_str());
        tokio::task::spawn_blocking(look).await.is_ok_and(|found| found.unwrap_or(false))
    }

    /// What becomes of the call with this number.
    fn outcome(&self, message: &Message, call: u64) -> Outcome {
        if self.failing.contains(&call) {
            return Outcome::Faulted {
                category: Category::ServerError,
                detail: "the sandbox was told to fail this call".to_owned(),
            };
        }
        let recipient = message.recipient.as_str();
        if recipient.starts_with("reject") {
            return Outcome::Rejected {
                category: Category::RecipientUnknown,
                detail: "the sandbox rejects recipients that begin with `reject`".to_owned(),
            };
        }
        if recipient.starts_with("defer") {
            return Outcome::Deferred {
                retry_after: None,
                scope: DeferralScope::Recipient,
                category: Category::Temporary,
                detail: "the sandbox defers recipients that begin with `defer`".to_owned(),
            };
        }
        if recipient.starts_with("throttle") {
            return Outcome::Deferred {
                retry_after: Some(THROTTLE_WAIT),
                scope: DeferralScope::DomainGroup,
                category: Category::Throttled,
                detail: "the sandbox throttles recipients that begin with `throttle`".to_owned(),
            };
        }
        if let Err(outcome) = self.take(message) {
            return outcome;
        }
        if recipient.starts_with("unknown") {
            return Outcome::Unknown {
                detail: "the sandbox loses the answer for recipients that begin with `unknown`".to_owned(),
            };
        }
        let Message { id, attempt, .. } = message;
        Outcome::Accepted { provider_message_id: Some(format!("sandbox-{id}-{attempt}")) }
    }
}

#[async_trait]
impl Esp for SandboxEsp {
    fn id(&self) -> &EspId {
        &self.id
    }

    fn write(&self, job: &Job, attempt: u32) -> Result<Box<dyn WrittenCall<'_> + '_>, Answer> {
        let message = Message { id: job.id.clone(), recipient: job.to.email.clone(), attempt };
        Ok(Box::new(SandboxCall { esp: self, message }))
    }

    fn is_idempotent(&self) -> bool {
        self.known.is_some()
    }
}

/// A call that has yet to be counted.
struct SandboxCall<'e> {
    esp: &'e SandboxEsp,
    message: Message,
}

/// What the answer and the journal are made of.
struct Message {
    id: JobId,
    recipient: Address,
    attempt: u32,
}

#[async_trait]
impl<'e> WrittenCall<'e> for SandboxCall<'e> {
    async fn ready(self: Box<Self>) -> Result<Box<dyn ReadyCall + 'e>, Answer> {
        Ok(self)
    }
}

#[async_trait]
impl ReadyCall for SandboxCall<'_> {
    async fn make(self: Box<Self>) -> Answer {
        let Self { esp, message } = *self;
        let call = esp.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if !esp.latency.is_zero() {
            tokio::time::sleep(esp.latency).await;
        }
        if esp.knows(&message).await {
            return Outcome::Accepted { provider_message_id: Some(format!("sandbox-{}", message.id)) }.into();
        }
        esp.outcome(&message, call).into()
    }
}
