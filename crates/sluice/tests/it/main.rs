//! The real binary on the embedded default, in a folder of its own for each test.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests, though not marked as such"
)]

mod check_config;
mod dead;
mod demo;
mod enqueue_csv;
mod enqueue_jsonl;
mod facts;
mod help;
mod rig;
mod service;
mod suppress;
