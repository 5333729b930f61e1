//! Why a resolver cannot be built.

use hickory_resolver::net::NetError;

/// A resolver that cannot be built from its settings.
#[derive(Debug, thiserror::Error)]
pub enum ResolverError {
    /// The system's list of name servers cannot be read, or is empty.
    #[error("the system's name servers cannot be read")]
    SystemServers(#[source] NetError),
    /// The DNS client cannot be set up.
    #[error("the DNS client cannot be set up")]
    Client(#[source] NetError),
}
