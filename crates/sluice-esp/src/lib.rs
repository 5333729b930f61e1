//! The ESPs: one module each, request out, answer to [`Outcome`](sluice_types::Outcome).
//!
//! [`SmtpEsp`] speaks to any SMTP relay, [`SendGridEsp`] to SendGrid's v3 API, and [`SandboxEsp`] delivers nothing.
//! Each is built from plain settings and implements [`sluice_engine::Esp`]. In each folder `client.rs` makes the calls
//! and `convert.rs` says, without any IO, what an answer means.
//!
//! The line that matters most: a failure is `Faulted` only when the ESP has surely not taken the message; from the
//! moment it may have been handed over, it is `Unknown`.
//!
//! What an ESP reports later comes by webhook: [`SendGridWebhook`] reads SendGrid's, as pure as `convert.rs`.
//!
//! Not for: queues, limits, retry schedules.

mod error;
mod http;
mod retry_hint;
mod sandbox;
mod sendgrid;
mod smtp;
mod tls;
mod webhook;

pub use error::SettingsError;
pub use http::HttpVersion;
pub use sandbox::{JournalEntry, JournalError, SandboxEsp, SandboxSettings, read_journal};
pub use sendgrid::{
    SENDGRID_BASE_URL, SendGridEsp, SendGridSettings, SendGridWebhook, SendGridWebhookSettings,
};
pub use smtp::{SmtpEsp, SmtpSettings};
