//! Any SMTP relay: one connection at a time per message, many messages per connection.

mod client;
mod convert;
mod message;
mod own_words;
mod reply;
mod session;
mod settings;
mod throttle;
mod wire;

pub use client::SmtpEsp;
pub use settings::SmtpSettings;
