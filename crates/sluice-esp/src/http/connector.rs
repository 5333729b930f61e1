//! Connects to an API over TCP and TLS, bounded as a whole.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
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

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes connections: resolving, TCP and the handshake together end within one bound.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    https: HttpsConnector<HttpConnector>,
    bound: Duration,
}

/// Connecting did not end in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {} ms", .bound.as_millis())]
pub(crate) struct Stalled {
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
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, bound) = (self.https.call(to), self.bound);
        Box::pin(async move { timeout(bound, connecting).await.map_err(|_| Stalled { bound })? })
    }
}
