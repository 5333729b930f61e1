//! Publishing large backlogs: confirms in a wide window, so that the broker is what takes the time.
//!
//! It says what the contract says and no more; [`publish_with_pika`](super::publish_with_pika) is the client that shares
//! no code with ours, for tests of the contract itself.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, PublisherConfirm};
use serde_json::Value;
use tokio::time::timeout;

const EXCHANGE: &str = "sluice.jobs";
/// Messages that wait for their confirm. Beyond some thousands a quorum queue gets no faster.
const WINDOW: usize = 4_000;
/// For each answer of the broker; a busy machine may take long for a window.
const PATIENCE: Duration = Duration::from_secs(180);
/// Persistent (AMQP 0-9-1, basic class).
const DELIVERY_MODE: u8 = 2;

/// One message for the exchange `sluice.jobs`.
#[derive(Debug, Clone)]
pub struct JobMessage {
    /// `<pool>.<class>.<recipient domain>`
    pub routing_key: String,
    /// The job's id, if the body has one.
    pub message_id: Option<String>,
    /// JSON, if it is a job.
    pub body: Bytes,
}

impl JobMessage {
    /// Reads a line of the form that `tests/peers/publish.py` takes: `routing_key`, and `body` (JSON) or `raw` (text).
    ///
    /// # Panics
    /// If the line has no routing key, neither of the bodies, or anything else.
    pub fn from_line(line: &Value) -> Self {
        let fields = line.as_object().expect("a line is an object");
        let known = |name: &String| ["routing_key", "body", "raw"].contains(&name.as_str());
        if let Some(unknown) = fields.keys().find(|name| !known(name)) {
            panic!("a line for the publisher has no field {unknown}");
        }
        let key = fields.get("routing_key").and_then(Value::as_str).expect("a line has a routing_key");
        let (body, message_id) = match (fields.get("body"), fields.get("raw").and_then(Value::as_str)) {
            (Some(body), None) => {
                (body.to_string(), body.get("id").and_then(Value::as_str).map(str::to_owned))
            }
            (None, Some(raw)) => (raw.to_owned(), None),
            _ => panic!("a line for {key} has either a body or a raw text"),
        };
        Self { routing_key: key.to_owned(), message_id, body: body.into() }
    }
}

/// What the broker said to the published messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublishSummary {
    /// Confirmed and routed to a queue.
    pub confirmed: u64,
    /// Confirmed and returned: no queue was bound.
    pub returned: u64,
    /// Refused by the broker.
    pub nacked: u64,
}

/// A connection that publishes as the contract says: persistent, with confirms, `mandatory`. In the order given.
pub struct JobPublisher {
    // The channel does not keep it open.
    connection: Connection,
    channel: Channel,
    open: VecDeque<PublisherConfirm>,
    summary: PublishSummary,
}

impl std::fmt::Debug for JobPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open = self.open.len();
        f.debug_struct("JobPublisher")
            .field("open", &open)
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}

impl JobPublisher {
    /// Connects to the vhost `url`.
    ///
    /// # Panics
    /// If the broker cannot be reached within a minute, as everything here.
    pub async fn connect(url: &str) -> Self {
        let properties = ConnectionProperties::default().with_connection_name("publisher".into());
        let connection = patiently("connect", Connection::connect(url, properties)).await;
        let channel = patiently("open a channel", connection.create_channel()).await;
        patiently("ask for confirms", channel.confirm_select(ConfirmSelectOptions::default())).await;
        Self {
            connection,
            channel,
            open: VecDeque::with_capacity(WINDOW),
            summary: PublishSummary::default(),
        }
    }

    /// Publishes one message, as soon as there is room for it in the window of open confirms.
    ///
    /// # Panics
    /// If the connection is lost, or no confirm comes within a minute.
    pub async fn publish(&mut self, message: &JobMessage) {
        if self.open.len() >= WINDOW {
            self.take_confirm().await;
        }
        let mut properties = BasicProperties::default()
            .with_delivery_mode(DELIVERY_MODE)
            .with_content_type("application/json".into());
        if let Some(id) = message.message_id.as_deref() {
            properties = properties.with_message_id(short(id));
        }
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let key = short(&message.routing_key);
        let publish = self.channel.basic_publish(EXCHANGE.into(), key, options, &message.body, properties);
        let confirm = patiently("publish", publish).await;
        self.open.push_back(confirm);
    }

    /// Waits for the open confirms and answers what all of them were.
    ///
    /// # Panics
    /// As [`publish`](Self::publish).
    pub async fn finish(mut self) -> PublishSummary {
        while !self.open.is_empty() {
            self.take_confirm().await;
        }
        patiently("close", self.connection.close(200, "done".into())).await;
        self.summary
    }

    /// Counts the oldest open confirm. A returned message may come with the confirm of another one, which does not
    /// change how many there are.
    async fn take_confirm(&mut self) {
        let Some(confirm) = self.open.pop_front() else { return };
        match patiently("wait for a confirm", confirm).await {
            Confirmation::Ack(None) => self.summary.confirmed += 1,
            Confirmation::Ack(Some(_)) => self.summary.returned += 1,
            Confirmation::Nack(_) => self.summary.nacked += 1,
            Confirmation::NotRequested => panic!("the channel is not in confirm mode"),
        }
    }
}

/// Publishes lines as [`JobMessage::from_line`] reads them to the vhost `url`, thousands in flight, and waits for all
/// confirms. Blocks the calling thread, inside or outside of a runtime.
///
/// # Panics
/// If a line is malformed, or the broker cannot be reached, or does not answer for a minute.
pub fn publish_jobs<'a, I>(url: &str, lines: I) -> PublishSummary
where
    I: IntoIterator<Item = &'a Value> + Send,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be made");
    let publish = async move || {
        let mut publisher = JobPublisher::connect(url).await;
        for line in lines {
            publisher.publish(&JobMessage::from_line(line)).await;
        }
        publisher.finish().await
    };
    // On a thread of its own: a caller inside a runtime could not enter this one.
    std::thread::scope(|threads| {
        let published = threads.spawn(move || runtime.block_on(publish())).join();
        published.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn short(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap_or_else(|_| panic!("longer than 255 bytes: {text}"))
}

pub(super) async fn patiently<T>(step: &str, call: impl Future<Output = lapin::Result<T>>) -> T {
    let answer =
        timeout(PATIENCE, call).await.unwrap_or_else(|_| panic!("{step}: no answer in {PATIENCE:?}"));
    answer.unwrap_or_else(|error| panic!("{step}: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_read_with_its_id() {
        let line = json!({"routing_key": "default.bulk.a.example", "body": {"v": 1, "id": "a-1"}});
        let message = JobMessage::from_line(&line);
        assert_eq!(message.routing_key, "default.bulk.a.example");
        assert_eq!(message.message_id.as_deref(), Some("a-1"));
        assert_eq!(serde_json::from_slice::<Value>(&message.body).unwrap(), line["body"]);
        let raw = JobMessage::from_line(&json!({"routing_key": "x", "raw": "{not json"}));
        assert_eq!((raw.body.as_ref(), raw.message_id), (&b"{not json"[..], None));
    }

    #[test]
    #[should_panic(expected = "no field properties")]
    fn a_line_with_more_than_it_can_say_is_refused() {
        JobMessage::from_line(&json!({"routing_key": "x", "body": {}, "properties": {"priority": 3}}));
    }
}
