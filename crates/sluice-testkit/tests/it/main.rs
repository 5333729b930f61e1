//! The testkit on the real things: servers that crash and come back, stand-ins that answer as scripted, and nothing
//! left behind.
#![expect(
    clippy::disallowed_methods,
    reason = "real servers run in real time; the watchdog's victim knows from its environment"
)]

mod http_client;
mod mutations;
mod postgres;
mod rabbitmq;
mod sendgrid;
mod sluice_process;
mod smtp;
mod tcp_proxy;
mod watchdog;
