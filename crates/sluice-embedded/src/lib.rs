//! The ports of the engine on one SQLite file: the queue, the ledger, the limits and the fleet's document of a Sluice
//! without servers.
//!
//! Everything that a call confirmed survives `kill -9` and a power cut (WAL, `synchronous = FULL`). One worker process
//! per file, which an advisory lock enforces; any number of other processes may enqueue, look, suppress and give
//! orders at the same time through [`Embedded::open_client`].
//!
//! Not for more than one machine, and not for a network file system: SQLite's WAL needs shared memory.
//!
//! Start at [`Embedded::open`]; `writer.rs` is the heart (one thread, many requests, one commit).

mod batch;
mod claim;
mod client;
mod clock;
mod console;
mod convert;
mod due;
mod error;
mod events;
mod feed;
mod fleet;
mod inbox;
mod lanes;
mod ledger;
mod line;
mod outbox;
mod park;
mod reader;
mod record;
mod refuse;
mod release;
mod schema;
mod slots;
mod turns;
mod unknowns;
mod watch;
mod writer;

pub use client::{Embedded, EmbeddedSettings};
pub use error::{EmbeddedError, StoreError};
