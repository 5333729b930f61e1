//! Who listens to an exchange, as an upstream service would.

use lapin::message::Delivery;
use lapin::options::{BasicGetOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use serde_json::Value;

use super::publisher::patiently;

/// A queue of its own, bound to an exchange; gone when this is dropped.
pub struct Listener {
    // The channel does not keep it open.
    _connection: Connection,
    channel: Channel,
    queue: String,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("queue", &self.queue).finish_non_exhaustive()
    }
}

impl Listener {
    /// Listens to what comes through `exchange` with a key like `pattern`.
    ///
    /// # Panics
    /// If the broker cannot be reached within a minute, or has no such exchange.
    pub async fn start(url: &str, exchange: &str, pattern: &str) -> Self {
        let properties = ConnectionProperties::default().with_connection_name("listener".into());
        let connection = patiently("connect", Connection::connect(url, properties)).await;
        let channel = patiently("open a channel", connection.create_channel()).await;
        let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
        let declare = channel.queue_declare("".into(), options, FieldTable::default());
        let queue = patiently("declare a queue", declare).await.name().to_string();
        let bind = channel.queue_bind(
            queue.as_str().into(),
            exchange.into(),
            pattern.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        patiently("bind the queue", bind).await;
        Self { _connection: connection, channel, queue }
    }

    /// The key and the JSON of every message that has come since the last call.
    ///
    /// # Panics
    /// If the broker does not answer within a minute, or a message is no JSON.
    pub async fn take(&mut self) -> Vec<(String, Value)> {
        let mut taken = Vec::new();
        while let Some(message) = self.next().await {
            let body = serde_json::from_slice(&message.data).expect("a result is JSON");
            taken.push((message.routing_key.to_string(), body));
        }
        taken
    }

    /// The oldest message that has come and was not taken, with its properties.
    ///
    /// # Panics
    /// If the broker does not answer within a minute.
    pub async fn next(&mut self) -> Option<Delivery> {
        let get = self.channel.basic_get(self.queue.as_str().into(), BasicGetOptions { no_ack: true });
        patiently("get a message", get).await.map(|message| message.delivery)
    }
}
