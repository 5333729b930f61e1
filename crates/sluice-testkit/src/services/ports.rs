//! Free loopback ports that stay ours while a server is down.

use std::net::{Ipv4Addr, TcpListener};

/// Above the ports of well-known services, and above those left to `rabbitmqctl` (see `rabbitmq.rs`).
const LOWEST: u16 = 15_000;
/// Below the usual range of outgoing connections (Linux: 32768 and up). A port of that range could be taken by any
/// client between kill and restart, even by a client that connects to the port and meets itself.
const HIGHEST: u16 = 32_000;
const TRIES: u32 = 1_000;

/// A port nobody listens on now. Another process may take it first, so a failed start is tried with another one.
///
/// # Panics
/// If no port is free.
pub(crate) fn free_port() -> u16 {
    (0..TRIES)
        .map(|_| fastrand::u16(LOWEST..=HIGHEST))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .unwrap_or_else(|| panic!("no free port in {LOWEST}..={HIGHEST}"))
}
