//! The embedded store on a real file.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod claims;
mod conformance;
mod console;
mod feeds;
mod parking;
mod processes;
mod records;
mod slots;
mod support;
