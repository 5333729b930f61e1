//! RabbitMQ behind the engine's ports: lanes as quorum queues, acks, publisher confirms, reconnecting, dead letters.
//!
//! What it is for: [`Rabbit`] implements `Inbox` and `Outbox` over two supervised connections, one to consume and one to
//! publish. What it is not for: it never looks into a body, and knows neither ESPs nor limits.
//!
//! Start at [`Rabbit::start`], then `topology.rs` for what is declared. `supervisor.rs` keeps a connection alive: each new one
//! is a generation, and nothing outlives its generation; a feed of an old one ends, its receipts do nothing, the broker
//! delivers again. `ack_tracker.rs` decides which acks to send, `acker.rs` sends them. `outbox.rs` publishes in windows and
//! tells ack, nack and returned apart.

mod ack_tracker;
mod acker;
mod client;
mod connect;
mod convert;
mod declaration;
mod error;
mod feed;
mod health;
mod outbox;
mod poison;
mod reconnect_delay;
mod supervisor;
mod topology;

pub use client::{Rabbit, RabbitSettings};
pub use error::RabbitError;
pub use topology::{
    Binding, DEAD, Exchange, ExchangeType, JOBS, POISON, Queue, RESULTS, Topology, TopologyPlan, lane_queue,
};
