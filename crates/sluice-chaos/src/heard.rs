//! What an upstream service hears over `sluice.results`: a durable queue, bound before the first replica comes, and read when
//! the run is over.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use anyhow::Context;
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use serde_json::Value;

const EXCHANGE: &str = "sluice.results";
const QUEUE: &str = "chaos.results";
/// Longest wait for the next message, and for each answer of the broker.
const PATIENCE: Duration = Duration::from_secs(30);

/// By job, the states that were told of it.
pub(crate) type Heard = HashMap<String, HashSet<String>>;

/// Binds a queue to everything that is told from now on.
pub(crate) async fn listen(url: &str) -> anyhow::Result<()> {
    let (connection, channel) = open(url).await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), durable, arguments).await?;
    let bind = QueueBindOptions::default();
    channel.queue_bind(QUEUE.into(), EXCHANGE.into(), "#".into(), bind, FieldTable::default()).await?;
    connection.close(200, "OK".into()).await?;
    Ok(())
}

/// Takes all that has been told.
pub(crate) async fn heard(url: &str) -> anyhow::Result<Heard> {
    let (connection, channel) = open(url).await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let waiting = channel.queue_declare(QUEUE.into(), passive, FieldTable::default()).await?.message_count();
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let consume = channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default());
    let mut messages = consume.await?;
    let mut heard = Heard::new();
    for _ in 0..waiting {
        let next = tokio::time::timeout(PATIENCE, messages.next()).await;
        let delivery =
            next.context("the broker counts more results than it delivers")?.context("closed")??;
        let body: Value = serde_json::from_slice(&delivery.data).context("a result is no JSON")?;
        let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        heard.entry(text("id")).or_default().insert(text("state"));
    }
    connection.close(200, "OK".into()).await?;
    Ok(heard)
}

async fn open(url: &str) -> anyhow::Result<(Connection, Channel)> {
    let connecting = Connection::connect(url, ConnectionProperties::default());
    let connection = tokio::time::timeout(PATIENCE, connecting).await.context("no connection in time")??;
    let channel = connection.create_channel().await?;
    Ok((connection, channel))
}
