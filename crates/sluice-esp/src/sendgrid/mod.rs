//! SendGrid's v3 mail API, and its event webhook.

mod client;
mod convert;
mod custom_args;
mod request;
mod signature;
mod webhook;

pub use client::{SENDGRID_BASE_URL, SendGridEsp, SendGridSettings};
pub use webhook::{SendGridWebhook, SendGridWebhookSettings};
