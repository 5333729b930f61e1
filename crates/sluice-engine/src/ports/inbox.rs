//! Where jobs come from: one feed per lane, and a receipt per delivery.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sluice_types::{EspId, Lane, Side, Timestamp};

/// The lanes of a broker.
#[async_trait]
pub trait Inbox: Send + Sync + std::fmt::Debug {
    /// Starts to consume `lane`, with at most `prefetch` deliveries neither acked nor released.
    ///
    /// # Errors
    /// When the broker cannot be reached or refuses; try again later.
    async fn open(&self, lane: &Lane, prefetch: u16) -> Result<Box<dyn Feed>, InboxError>;

    /// How many jobs wait in each of `lanes`.
    ///
    /// # Errors
    /// When the broker cannot be reached.
    async fn depths(&self, lanes: &[Lane]) -> Result<Vec<LaneDepth>, InboxError>;

    /// Whether the queue can give single domains lanes of their own.
    fn has_sides(&self) -> bool {
        false
    }

    /// From now on jobs of these domains go into these side lanes of their pool's `other` lanes, and into no others.
    ///
    /// # Errors
    /// When the broker cannot be reached or refuses; try again later.
    async fn sort(&self, _sides: &BTreeMap<String, Side>) -> Result<(), InboxError> {
        Ok(())
    }

    /// How often a message may come back without an ack before the broker gives up on it; `None` where it never does.
    fn delivery_limit(&self) -> Option<u32> {
        None
    }

    /// Starts to consume the messages that the broker has given up on; `None` where there is no such thing.
    ///
    /// # Errors
    /// When the broker cannot be reached or refuses; try again later.
    async fn open_poison(&self, _prefetch: u16) -> Result<Option<Box<dyn PoisonFeed>>, InboxError> {
        Ok(None)
    }
}

/// Messages that were delivered too often without an ack: each brought down the workers that tried it.
#[async_trait]
pub trait PoisonFeed: Send {
    /// The next message, and the lane that it came from where the broker tells; `None` when the feed is over.
    async fn next(&mut self) -> Option<(Option<Lane>, Delivery)>;
}

/// The deliveries of one lane over one connection generation.
#[async_trait]
pub trait Feed: Send {
    /// The next delivery; `None` when this feed is over (connection lost, cancelled) and must be opened anew.
    ///
    /// Cancel safe.
    async fn next(&mut self) -> Option<Delivery>;

    /// Asks the broker for no more. What it has sent by the time that it hears of it still comes out of [`Feed::next`], then `None`.
    async fn stop(&mut self);
}

/// One message as the broker lent it.
#[derive(Debug)]
pub struct Delivery {
    /// The body: a job as JSON, unchecked.
    pub body: Bytes,
    /// What travels beside the body.
    pub passport: Passport,
    /// Whether the broker says that it gave this message before.
    pub redelivered: bool,
    /// How often it came back without an ack, where the broker counts that against it.
    pub returns: u32,
    /// The means to give it back.
    pub receipt: Receipt,
}

/// What travels beside a body from publication to publication. A fresh job has the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passport {
    /// The number that the next attempt will have, from 1.
    pub attempt: u32,
    /// When Sluice first saw the job; after its first attempt, when that ended: the retry schedule counts from there.
    pub first_seen: Option<Timestamp>,
    /// ESPs that have faulted on this job, for routing around them.
    pub faulted: Vec<EspId>,
    /// The last outcome is unknown, and policy or an operator wants it sent again.
    pub resend: bool,
    /// How often a copy took the place of a message that had come back too often through no fault of its own. Not kept in
    /// `pending`.
    pub renewals: u32,
    /// W3C trace context of the publisher.
    pub traceparent: Option<String>,
}

impl Default for Passport {
    fn default() -> Self {
        Self {
            attempt: 1,
            first_seen: None,
            faulted: Vec::new(),
            resend: false,
            renewals: 0,
            traceparent: None,
        }
    }
}

/// The duty to give one delivery back. Dropped without a word (a panic, a cancelled task) it releases.
#[derive(Debug)]
pub struct Receipt {
    tag: u64,
    acker: Option<Arc<dyn Acker>>,
}

impl Receipt {
    /// A receipt for the delivery `tag` of the feed behind `acker`.
    #[must_use]
    pub fn new(tag: u64, acker: Arc<dyn Acker>) -> Self {
        Self { tag, acker: Some(acker) }
    }

    /// The job is safely stored: the broker may forget the message.
    pub fn ack(mut self) {
        if let Some(acker) = self.acker.take() {
            acker.ack(self.tag);
        }
    }

    /// The broker shall give the message to somebody else, now.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some(acker) = self.acker.take() {
            acker.release(self.tag);
        }
    }
}

/// Takes deliveries back; each belongs to one connection generation and never blocks.
pub trait Acker: Send + Sync + std::fmt::Debug {
    /// The message is done with.
    fn ack(&self, tag: u64);
    /// The message goes back to the lane.
    fn release(&self, tag: u64);
}

/// Jobs waiting in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneDepth {
    /// The lane.
    pub lane: Lane,
    /// Messages ready for delivery.
    pub ready: u64,
}

/// The broker could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
    /// It cannot be reached, or did not answer in time.
    #[error("broker unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answered with a refusal that waiting will not mend.
    #[error("broker refused")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}
