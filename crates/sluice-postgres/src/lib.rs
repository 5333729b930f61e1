//! All Postgres SQL of Sluice: the ledger, parked jobs, slot leases, the fleet's document, the console, and the
//! migrations.
//!
//! One file and one function per statement, its text beside it; what a row means is decided in `convert`, which is
//! pure. Nothing here knows a broker or an ESP. Start at [`Postgres`].
//!
//! It talks to one primary directly or through a pooler in session mode: it uses startup options, prepared
//! statements, and one transaction that lives as long as a relay publishes a batch.

mod batch;
mod claim;
mod client;
mod connections;
mod console;
mod convert;
mod due;
mod error;
mod events;
mod fleet;
mod flows;
mod housekeeping;
mod kinds;
mod ledger;
mod lines;
mod migrate;
mod park;
mod record;
mod refuse;
mod release;
mod results;
mod slots;
mod strands;
mod tls;
mod turns;
mod unknowns;

pub use client::{Postgres, PostgresSettings};
pub use error::{ConnectError, MigrateError, StoreError};
pub use housekeeping::{Kept, Retention};
