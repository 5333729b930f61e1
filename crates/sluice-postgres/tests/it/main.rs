//! The adapter against a private Postgres.
#![expect(
    clippy::disallowed_methods,
    reason = "tests run concurrent tasks against a real server in real time"
)]
#![expect(clippy::unwrap_used, reason = "what a helper cannot do fails its test")]

mod claim;
mod conformance;
mod console;
mod due;
mod faults;
mod fixture;
mod fleet;
mod hostile_text;
mod housekeeping;
mod migrate;
mod park;
mod record;
mod results;
mod slots;
mod tls;
