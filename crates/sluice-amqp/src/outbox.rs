//! Publishes with the broker's confirmation, and tells ack, nack and returned apart.
//!
//! A call borrows a channel for itself and publishes in windows: send all of a window, wait for all its confirms, then judge.
//! Only then is it sure which messages were returned: the client library hands a returned message to whichever confirm of the
//! channel comes next, so each carries its number in `correlation_id`, and none is judged while another is open. A window that
//! is not confirmed whole is not trusted at all: its messages may or may not be with the broker, and the channel is discarded.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation};
use sluice_engine::{Announcement, Burial, Publication, PublishError};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::connect::{call, close_channel, open_channel, within};
use crate::convert::{burial_properties, job_properties, result_properties, sequence};
use crate::error::RabbitError;
use crate::health::Health;
use crate::supervisor::{Link, Live};
use crate::topology::{DEAD, RESULTS, lane_queue, short};

/// Channels that publish at the same time. More: more windows in flight.
const CHANNELS: u32 = 4;
/// Messages that wait for their confirm on one channel. More: fewer round trips, and more to repeat after a loss.
const WINDOW_MESSAGES: usize = 256;
/// Bytes of bodies that wait for their confirm on one channel.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// Publishes over the connection that is for publishing.
#[derive(Debug)]
pub(crate) struct Publisher {
    link: Link,
    health: Arc<Health>,
    permits: Semaphore,
    idle: Mutex<Vec<ConfirmChannel>>,
    timeout: Duration,
}

#[derive(Debug)]
struct ConfirmChannel {
    channel: Channel,
    generation: u64,
}

/// One message, ready for the wire.
pub(crate) struct Message {
    exchange: &'static str,
    key: String,
    body: Bytes,
    properties: BasicProperties,
    /// That no queue takes it is a failure.
    mandatory: bool,
}

impl Message {
    /// Straight into the lane's queue, over the default exchange.
    pub(crate) fn job(job: &Publication, sequence: usize) -> Self {
        let properties = job_properties(job, sequence);
        Self { exchange: "", key: lane_queue(&job.lane), body: job.body.clone(), properties, mandatory: true }
    }

    pub(crate) fn burial(burial: &Burial, sequence: usize) -> Self {
        let properties = burial_properties(burial, sequence);
        Self { exchange: DEAD, key: String::new(), body: burial.body.clone(), properties, mandatory: true }
    }

    pub(crate) fn result(result: &Announcement) -> Self {
        let key = format!("{}.{}", result.tenant, result.state);
        let properties = result_properties(result);
        Self { exchange: RESULTS, key, body: result.body.clone(), properties, mandatory: false }
    }
}

/// What the broker said of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Confirmed,
    Refused,
    Returned,
}

impl Publisher {
    pub(crate) fn new(link: Link, health: Arc<Health>, timeout: Duration) -> Self {
        let permits = Semaphore::new(CHANNELS as usize);
        Self { link, health, permits, idle: Mutex::new(Vec::new()), timeout }
    }

    pub(crate) fn link(&self) -> &Link {
        &self.link
    }

    /// One answer per message, in order. The messages' sequence numbers are their places in `messages`.
    pub(crate) async fn publish(&self, messages: Vec<Message>) -> Vec<Result<(), PublishError>> {
        let mut answers = Vec::with_capacity(messages.len());
        if messages.is_empty() {
            return answers;
        }
        if let Err(error) = self.publish_windows(&messages, &mut answers).await {
            // Whatever has no answer yet was not sent, or not confirmed in a way to rely on.
            answers.resize_with(messages.len(), || Err(error.clone().into()));
        }
        answers
    }

    async fn publish_windows(
        &self,
        messages: &[Message],
        answers: &mut Vec<Result<(), PublishError>>,
    ) -> Result<(), RabbitError> {
        let _permit = self.permit().await?;
        let lent = self.channel().await?;
        let mut rest = messages;
        while !rest.is_empty() {
            if self.health.is_blocked() {
                return Err(RabbitError::Blocked);
            }
            let (window, later) = rest.split_at(window_length(rest));
            let first = messages.len() - rest.len();
            let verdicts = publish_window(&lent.channel, window, first);
            let verdicts = within(self.timeout, "publisher confirms", Box::pin(verdicts)).await?;
            answers.extend(verdicts.into_iter().map(|verdict| match verdict {
                Verdict::Confirmed => Ok(()),
                Verdict::Refused => Err(PublishError::Refused),
                Verdict::Returned => Err(PublishError::Unroutable),
            }));
            rest = later;
        }
        self.give_back(lent);
        Ok(())
    }

    /// Waits until no publication is under way, lets no new one begin, and closes the channels.
    pub(crate) async fn drain(&self) {
        let drained = async {
            if let Ok(all) = self.permits.acquire_many(CHANNELS).await {
                all.forget();
            }
            let idle = std::mem::take(&mut *self.idle());
            join_all(idle.iter().map(|lent| close_channel(&lent.channel, self.timeout))).await;
        };
        if tokio::time::timeout(self.timeout, drained).await.is_err() {
            tracing::debug!("publishing channels not closed in time");
        }
        self.permits.close();
        self.idle().clear();
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, RabbitError> {
        within(self.timeout, "a free publishing channel", async {
            self.permits.acquire().await.map_err(|_| RabbitError::Closed)
        })
        .await
    }

    async fn channel(&self) -> Result<ConfirmChannel, RabbitError> {
        if self.health.is_blocked() {
            return Err(RabbitError::Blocked);
        }
        let Live { connection, generation, .. } = self.link.live().await?;
        if let Some(idle) = self.take_idle(generation) {
            return Ok(idle);
        }
        let channel = open_channel(&connection, self.timeout).await?;
        let select = channel.confirm_select(ConfirmSelectOptions::default());
        call(self.timeout, "confirm.select", select).await?;
        Ok(ConfirmChannel { channel, generation })
    }

    fn take_idle(&self, generation: u64) -> Option<ConfirmChannel> {
        let mut idle = self.idle();
        idle.retain(|lent| lent.generation == generation && lent.channel.status().connected());
        idle.pop()
    }

    fn give_back(&self, lent: ConfirmChannel) {
        self.idle().push(lent);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<ConfirmChannel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of `messages` make the next window; one at least.
fn window_length(messages: &[Message]) -> usize {
    let mut bytes = 0_usize;
    let fitting = messages.iter().take(WINDOW_MESSAGES).take_while(|message| {
        bytes = bytes.saturating_add(message.body.len());
        bytes <= WINDOW_BYTES
    });
    fitting.count().max(1)
}

/// Sends `window` and waits for all its confirms. `first` is the sequence number of its first message.
async fn publish_window(
    channel: &Channel,
    window: &[Message],
    first: usize,
) -> Result<Vec<Verdict>, RabbitError> {
    let mut confirms: FuturesUnordered<_> = window
        .iter()
        .enumerate()
        .map(|(place, message)| async move { (place, publish_one(channel, message).await) })
        .collect();
    let mut verdicts = vec![Verdict::Refused; window.len()];
    let mut returned = BTreeSet::new();
    while let Some((place, confirmation)) = confirms.next().await {
        let (verdict, message) = match confirmation? {
            Confirmation::Ack(message) => (Verdict::Confirmed, message),
            Confirmation::Nack(message) => (Verdict::Refused, message),
            Confirmation::NotRequested => return Err(RabbitError::Unconfirmed),
        };
        if let Some(slot) = verdicts.get_mut(place) {
            *slot = verdict;
        }
        if let Some(message) = message {
            // A returned message that cannot be told would leave its own confirm looking like success.
            returned.insert(sequence(&message.delivery.properties).ok_or(RabbitError::Unconfirmed)?);
        }
    }
    for (place, verdict) in verdicts.iter_mut().enumerate() {
        if returned.contains(&(first + place)) {
            *verdict = Verdict::Returned;
        }
    }
    Ok(verdicts)
}

async fn publish_one(channel: &Channel, message: &Message) -> Result<Confirmation, RabbitError> {
    let failed = |source| RabbitError::call("basic.publish", source);
    let options = BasicPublishOptions { mandatory: message.mandatory, immediate: false };
    let key: ShortString = short(&message.key)?;
    channel
        .basic_publish(message.exchange.into(), key, options, &message.body, message.properties.clone())
        .await
        .map_err(failed)?
        .await
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(bodies: &[usize]) -> Vec<Message> {
        let message = |length: &usize| Message {
            exchange: "",
            key: String::new(),
            body: vec![0; *length].into(),
            properties: BasicProperties::default(),
            mandatory: true,
        };
        bodies.iter().map(message).collect()
    }

    #[test]
    fn a_window_is_bounded_by_messages_and_by_bytes_but_is_never_empty() {
        assert_eq!(window_length(&messages(&[1; 1000])), WINDOW_MESSAGES);
        assert_eq!(window_length(&messages(&[1; 3])), 3);
        assert_eq!(window_length(&messages(&[256 * 1024; 100])), 32);
        assert_eq!(window_length(&messages(&[WINDOW_BYTES + 1, 1])), 1);
    }
}
