//! For tests only: clocks, port fakes, private RabbitMQ and Postgres, scripted ESPs, builders.
//!
//! - [`services`]: the real thing, private and killable: Postgres, RabbitMQ, the `sluice` binary, a TCP proxy.
//! - [`peers`]: the outside world, scripted: ESPs that answer as told and keep a journal, a foreign publisher.
//! - [`pool_of_one`]: a part of a configuration file.
//! - [`mutated`]: good input, broken a little, for parsers.
//! - [`conformance`]: the cases that every adapter of the engine's ports must pass.

mod background;
mod configured;
pub mod conformance;
mod mutation;
pub mod peers;
pub mod services;

pub use configured::pool_of_one;
pub use mutation::mutated;
