//! The call to the name servers.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tracing::Dispatch;
use tracing::instrument::WithSubscriber;

use crate::convert::{Finding, finding};
use crate::error::ResolverError;

/// Asks name servers, and remembers nothing.
#[derive(Debug)]
pub(crate) struct Client {
    resolver: TokioResolver,
}

impl Client {
    /// A client of `servers`, or of the system's where there are none.
    ///
    /// # Errors
    /// When the system's name servers cannot be read, or the client cannot be set up.
    pub(crate) fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Self, ResolverError> {
        let config = if servers.is_empty() {
            read_system_conf().map_err(ResolverError::SystemServers)?.0
        } else {
            ResolverConfig::from_name_servers(servers.iter().map(name_server).collect())
        };
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        set_options(builder.options_mut(), timeout);
        Ok(Self { resolver: builder.build().map_err(ResolverError::Client)? })
    }

    /// Asks for the exchanges of `domain`, a tidy name, within `timeout`.
    pub(crate) async fn ask(&self, domain: &str, timeout: Duration) -> Finding {
        // A name from labels is absolute: the system's search list is not used.
        let Ok(name) = Name::from_labels(domain.split('.').map(str::as_bytes)) else {
            return Finding::Unclear;
        };
        // The client's own log events hold domains, at levels that are written.
        let lookup = self.resolver.mx_lookup(name.clone()).with_subscriber(Dispatch::none());
        match tokio::time::timeout(timeout, lookup).await {
            Ok(end) => finding(&name, end),
            Err(_) => Finding::NotAnswered,
        }
    }

    /// Whether a name server answers at all within `timeout`: each knows who serves the root, whatever domain is dead.
    pub(crate) async fn is_there(&self, timeout: Duration) -> bool {
        let root = Name::root();
        let lookup = self.resolver.lookup(root.clone(), RecordType::NS).with_subscriber(Dispatch::none());
        let end = tokio::time::timeout(timeout, lookup).await;
        end.is_ok_and(|end| finding(&root, end) != Finding::NotAnswered)
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

fn set_options(options: &mut ResolverOpts, timeout: Duration) {
    options.timeout = timeout;
    // A datagram without an answer is sent again within the attempt; a failure that was answered is one.
    options.attempts = 0;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
}
