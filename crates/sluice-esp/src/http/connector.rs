//! Connects to an API over TCP and TLS, bounded as a whole.

use std::future::poll_fn;
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

/// Idle time before the kernel asks whether the peer still lives.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What a connection is made of.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes connections: resolving, TCP and the handshake together end within one bound.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    bound: Duration,
}

/// Connecting did not end in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {} ms", .bound.as_millis())]
pub(super) struct Stalled {
    bound: Duration,
}

impl Connector {
    /// Trusts what `trust` does, and gives a connection up after `bound`.
    pub(super) fn new(trust: ClientConfig, bound: Duration) -> Self {
        let mut http = HttpConnector::new();
        // The check of `base_url` has decided where plain HTTP may go; the connector takes both.
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEPALIVE));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(trust)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Self { https, bound }
    }

    /// Connects to the host of `to`.
    pub(super) async fn connect(&self, to: &Uri) -> Result<Stream, BoxError> {
        let mut https = self.https.clone();
        let bound = self.bound;
        let connecting = async {
            poll_fn(|context| https.poll_ready(context)).await?;
            https.call(to.clone()).await
        };
        timeout(bound, connecting).await.map_err(|_| Stalled { bound })?
    }
}
