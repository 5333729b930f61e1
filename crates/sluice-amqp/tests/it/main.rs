//! The adapter against a real broker of its own.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests, though not marked as such"
)]

mod acks;
mod broker_loss;
mod conformance;
mod logs;
mod publishing;
mod rig;
mod routing;
mod tls;
mod topology;
