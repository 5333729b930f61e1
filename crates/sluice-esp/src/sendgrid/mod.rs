//! SendGrid's v3 mail API.

mod client;
mod convert;
mod request;

pub use client::{SENDGRID_BASE_URL, SendGridEsp, SendGridSettings};
