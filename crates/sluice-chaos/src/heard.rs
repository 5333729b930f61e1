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

/// What of the telling was not as it must be, in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Amiss {
    /// Jobs in a final state that nobody was told of.
    pub(crate) untold: Vec<String>,
    /// Jobs told of in a state that they are not in.
    pub(crate) wrong: Vec<String>,
}

/// Compares the jobs' `states`, by id, with what was told. Each final state must be told at least once; a job in doubt is left to
/// its operator.
pub(crate) fn amiss(states: &HashMap<&str, &str>, heard: &Heard) -> Amiss {
    let mut amiss = Amiss::default();
    for (id, state) in states {
        let is_told = heard.get(*id).is_some_and(|told| told.contains(*state));
        if !is_told && !matches!(*state, "sending" | "deferred" | "unknown") {
            amiss.untold.push(format!("{id} is {state}, and nobody was told"));
        }
    }
    for (id, told) in heard {
        let state = states.get(id.as_str()).copied().unwrap_or("not there");
        if let Some(other) = told.iter().find(|it| *it != state) {
            amiss.wrong.push(format!("{id} is {state}, and was told of as {other}"));
        }
    }
    amiss
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_state_that_nobody_heard_of_is_seen() {
        let states =
            HashMap::from([("a", "accepted"), ("b", "rejected"), ("c", "unknown"), ("d", "deferred")]);
        let told = |pairs: &[(&str, &str)]| {
            let mut heard = Heard::new();
            for (id, state) in pairs {
                heard.entry((*id).to_owned()).or_default().insert((*state).to_owned());
            }
            heard
        };
        assert_eq!(amiss(&states, &told(&[("a", "accepted"), ("b", "rejected")])), Amiss::default());
        let seen = amiss(&states, &told(&[("a", "accepted"), ("c", "accepted"), ("e", "accepted")]));
        assert_eq!(seen.untold, ["b is rejected, and nobody was told"]);
        assert_eq!(seen.wrong.len(), 2, "{:?}", seen.wrong);
    }
}
