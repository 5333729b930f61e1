//! The server on a real port, over fakes of what it asks, with clients that write every byte themselves.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod auth;
mod client;
mod connections;
mod dashboard;
mod fakes;
mod hostile;
mod jobs;
mod orders;
mod rig;
mod store;
mod system;
mod tls;
mod webhooks;
