//! The embedded store on a real file.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod claims;
mod conformance;
mod console;
mod feeds;
mod fleet;
mod lines;
mod parking;
mod processes;
mod records;
mod schema;
mod slots;
mod support;
mod turns;
