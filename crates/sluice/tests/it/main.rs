//! The real binary on the embedded default, in a folder of its own for each test.

mod check_config;
mod dead;
mod enqueue_csv;
mod enqueue_jsonl;
mod facts;
mod help;
mod rig;
mod service;
mod suppress;
