//! An ESP that delivers nothing: for trying things out, for demos, and for counting sends in tests.

mod client;
mod journal;

pub use client::{SandboxEsp, SandboxSettings};
pub use journal::{JournalEntry, JournalError, read_journal};
