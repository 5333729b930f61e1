//! For tests only: clocks, port fakes, private RabbitMQ and Postgres, scripted ESPs, builders.
//!
//! - [`services`]: the real thing, private and killable: Postgres, RabbitMQ, the `sluice` binary, a TCP proxy.
//! - [`peers`]: the outside world, scripted: ESPs that answer as told and keep a journal, a foreign publisher.
//! - [`mutated`]: good input, broken a little, for parsers.
//! - [`conformance`]: the cases that every adapter of the engine's ports must pass.

mod background;
pub mod conformance;
mod mutation;
pub mod peers;
pub mod services;

pub use mutation::mutated;
