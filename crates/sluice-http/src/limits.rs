//! What one client may cost.

use std::time::Duration;

/// What one client, and all of them together, may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of one request in bytes, default 8 MiB. More: one caller can hold more memory. Less: large lists of
    /// jobs have to be sent in more calls.
    pub body_max_bytes: usize,
    /// Bytes of bodies held at the same time over all requests, default 256 MiB; never less than one body. Webhooks, which
    /// anybody may call, hold a quarter of it at most, but one body in any case. What does not fit is told to come again.
    pub bodies_max_bytes: usize,
    /// Connections at the same time, default 512. Who comes later waits to be accepted.
    pub max_connections: usize,
    /// A request's headers must be complete so soon after the connection or the answer before; default 10 s. A
    /// connection that is kept open without a request ends then, too.
    pub header_timeout: Duration,
    /// A request's body must be complete so soon after its headers; default 30 s.
    pub body_timeout: Duration,
    /// An answer must be there so soon after the headers; default 60 s.
    pub request_timeout: Duration,
    /// A connection takes no new request after this time; default 10 min. With `request_timeout` this ends connections
    /// whose client does not read its answers.
    pub connection_age: Duration,
    /// On shutdown, requests in work have so long to finish; default 5 s.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_max_bytes: 8 * 1024 * 1024,
            bodies_max_bytes: 256 * 1024 * 1024,
            max_connections: 512,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            connection_age: Duration::from_secs(600),
            drain_timeout: Duration::from_secs(5),
        }
    }
}
