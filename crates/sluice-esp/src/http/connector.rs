//! Connects to an API over TCP and TLS, bounded as a whole.

use std::future::{Future, poll_fn};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::HttpVersion;

/// Idle time before the kernel asks whether the peer still lives.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What a connection is made of.
pub(super) type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The name of HTTP/2 in a TLS handshake (RFC 9113 section 3.2), and that of HTTP/1.1 (RFC 7301 section 6).
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// Makes connections: waiting for one's turn, resolving, TCP and the handshake together end within one bound.
#[derive(Debug)]
pub(super) struct Connector {
    https: HttpsConnector<HttpConnector>,
    to: Uri,
    version: HttpVersion,
    bound: Duration,
}

/// Connecting did not end in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection within {} ms", .bound.as_millis())]
pub(super) struct Stalled {
    bound: Duration,
}

/// What the settings ask for, and the server does not speak.
#[derive(Debug, thiserror::Error)]
#[error("the server does not speak HTTP/2")]
struct NoHttp2;

impl Connector {
    /// Connects to the host of `to`, trusts what `trust` does, and gives a connection up after `bound`.
    pub(super) fn new(to: Uri, version: HttpVersion, mut trust: ClientConfig, bound: Duration) -> Self {
        let mut http = HttpConnector::new();
        // The check of `base_url` has decided where plain HTTP may go; the connector takes both.
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(KEEPALIVE));
        trust.alpn_protocols = match version {
            HttpVersion::Auto => vec![HTTP2.to_vec(), HTTP1.to_vec()],
            HttpVersion::Http1 => Vec::new(),
            HttpVersion::Http2 => vec![HTTP2.to_vec()],
        };
        Self { https: HttpsConnector::from((http, trust)), to, version, bound }
    }

    /// Whether the server may turn out to speak HTTP/2.
    pub(super) fn may_be_http2(&self) -> bool {
        self.version != HttpVersion::Http1
    }

    /// Connects, and says whether the server speaks HTTP/2.
    pub(super) async fn connect(&self) -> Result<(Stream, bool), BoxError> {
        let mut https = self.https.clone();
        poll_fn(|context| https.poll_ready(context)).await?;
        let stream = https.call(self.to.clone()).await?;
        let is_http2 = match &stream {
            MaybeHttpsStream::Https(tls) => tls.inner().get_ref().1.alpn_protocol() == Some(HTTP2),
            MaybeHttpsStream::Http(_) => self.version == HttpVersion::Http2,
        };
        if self.version == HttpVersion::Http2 && !is_http2 {
            return Err(NoHttp2.into());
        }
        Ok((stream, is_http2))
    }

    /// Waits for `connecting` within the bound.
    pub(super) async fn bounded<T>(
        &self,
        connecting: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, BoxError> {
        let bound = self.bound;
        timeout(bound, connecting).await.map_err(|_| Stalled { bound })?
    }
}
