//! The real binary on the embedded default, in a folder of its own for each test.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests are tests, though not marked as such"
)]

mod campaign;
mod check_config;
mod dead;
mod demo;
mod enqueue_csv;
mod enqueue_jsonl;
mod esp;
mod facts;
mod help;
mod limits;
mod rig;
mod schema;
mod service;
mod site;
mod suppress;
mod unknown;
