//! The ESPs against servers that answer as told: raw sockets of our own, and the test kit's stand-ins.

#![expect(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]

mod hostile_replies;
mod http2;
mod jobs;
mod raw_http;
mod raw_smtp;
mod sandbox;
mod sendgrid;
mod sendgrid_stand_in;
mod smtp;
mod smtp_connections;
mod smtp_stand_in;
mod smtp_starttls;
