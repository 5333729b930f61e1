//! What a resolver is built from.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluice_engine::Clock;

/// The time of a whole lookup: a recursive resolver nearby answers most questions in a few tens of milliseconds.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Domains that are remembered.
const TABLE_MAX: usize = 100_000;
/// Lookups at the same time.
const LOOKUPS_MAX: usize = 64;
/// The longest time for which found hosts are remembered.
const FOUND_FOR: Duration = Duration::from_secs(60 * 60);
/// The longest time for which it is remembered that a domain has no exchanges.
const NOT_FOUND_FOR: Duration = Duration::from_secs(5 * 60);

/// The settings of an [`MxResolver`](crate::MxResolver).
#[derive(Clone, Debug)]
pub struct MxSettings {
    /// The recursive name servers, asked by UDP, and by TCP where an answer is too long. Empty: the system's
    /// (`/etc/resolv.conf`), read once.
    pub servers: Vec<SocketAddr>,
    /// The longest time of a whole lookup. More: slow domains are found out too, but their jobs wait.
    pub timeout: Duration,
    /// How many domains are remembered, at least 1. When there are more, those go first that would be forgotten next.
    ///
    /// A usual entry takes some 300 bytes; the longest (20 hosts of 255 bytes) takes 6 KB.
    pub table_max: usize,
    /// How many lookups may ask at the same time, and 15 times as many wait for that; 0 asks nothing, so that every domain is
    /// unknown. Each takes up to three sockets per name server, two servers at a time.
    pub lookups_max: usize,
    /// The longest time for which found hosts are remembered, where their own TTL is not shorter; at least 60 s.
    pub found_for: Duration,
    /// The longest time for which it is remembered that a domain has no exchanges, where the TTL is not shorter; at
    /// least 60 s.
    pub not_found_for: Duration,
    /// The clock by which entries expire.
    pub clock: Arc<dyn Clock>,
}

impl MxSettings {
    /// The defaults: the system's name servers, 1 s, 100 000 domains, 64 lookups, 1 h and 5 min.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            servers: Vec::new(),
            timeout: TIMEOUT,
            table_max: TABLE_MAX,
            lookups_max: LOOKUPS_MAX,
            found_for: FOUND_FOR,
            not_found_for: NOT_FOUND_FOR,
            clock,
        }
    }
}
