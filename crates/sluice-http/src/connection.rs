//! One connection, from its first byte to its end, which comes in any case.

use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::limits::Limits;
use crate::tls::Tls;

/// Largest head of a request, and the buffer for reading and writing.
const BUFFER_MAX_BYTES: usize = 64 * 1024;

/// Agrees on TLS with the client, or gives it up: it has as long as for the headers of a request.
pub(crate) async fn shake_hands(
    stream: TcpStream,
    tls: &Tls,
    within: Duration,
    cut: &CancellationToken,
) -> Option<TlsStream<TcpStream>> {
    let hands = tokio::time::timeout(within, tls.acceptor().accept(stream));
    match cut.run_until_cancelled(hands).await? {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            None
        }
    }
}

/// Answers the requests of one connection. It takes no new one after `stop` or once it is old, and ends at `cut`.
pub(crate) async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(BUFFER_MAX_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return ended(result),
        () = cut.cancelled() => return,
        () = stop.cancelled() => {}
        () = tokio::time::sleep(limits.connection_age) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        result = connection => ended(result),
        () = cut.cancelled() => {}
        () = tokio::time::sleep(limits.request_timeout) => tracing::debug!("cut a connection that did not end"),
    }
}

/// Clients come and go as they like; nobody but a person who looks for it wants to know.
fn ended<E: std::fmt::Display>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
