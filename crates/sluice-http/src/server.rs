//! Takes the port, and answers on it until told to stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::{shake_hands, talk};
use crate::limits::Limits;
use crate::routes::router;
use crate::state::{AppState, Context};
use crate::tls::Tls;

/// Pause after an error that the next accept would meet again, such as no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Once all answers are made, so long may connections take to write them.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// The HTTP server; begins with [`HttpServer::bind`].
#[derive(Debug)]
pub struct HttpServer;

/// A server that has its port and does not answer yet: the kernel keeps who comes meanwhile.
#[derive(Debug)]
pub struct BoundServer {
    listener: TcpListener,
    local_addr: SocketAddr,
    router: Router,
    limits: Limits,
    requests: TaskTracker,
    tls: Option<Tls>,
}

/// The port could not be taken.
#[derive(Debug, thiserror::Error)]
#[error("could not listen on {addr}")]
pub struct BindError {
    /// The address that was wanted.
    pub addr: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

impl HttpServer {
    /// Takes `addr`; port 0 takes any free one.
    ///
    /// # Errors
    /// When the address is in use, not of this machine, or not permitted.
    pub async fn bind(addr: SocketAddr, state: AppState, limits: Limits) -> Result<BoundServer, BindError> {
        let failed = |source| BindError { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let context = Arc::new(Context::new(state, limits));
        let requests = context.requests.clone();
        Ok(BoundServer { listener, local_addr, router: router(context), limits, requests, tls: None })
    }
}

impl BoundServer {
    /// The address that it listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Speaks HTTPS, and nothing else, with this certificate.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Answers until `stop`; then takes no new connection, finishes the requests in work within
    /// [`Limits::drain_timeout`], and cuts what is left.
    pub async fn serve(self, stop: CancellationToken) {
        let Self { listener, router, limits, requests, tls, .. } = self;
        let places = Arc::new(Semaphore::new(limits.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        while let Some((stream, place)) = stop.run_until_cancelled(next_client(&listener, &places)).await {
            let (router, stop, cut, tls) = (router.clone(), stop.clone(), cut.clone(), tls.clone());
            connections.spawn(async move {
                match tls {
                    None => talk(stream, router, limits, stop, cut).await,
                    Some(tls) => {
                        if let Some(stream) = shake_hands(stream, &tls, limits.header_timeout, &cut).await {
                            talk(stream, router, limits, stop, cut).await;
                        }
                    }
                }
                drop(place);
            });
        }
        drop(listener);
        requests.close();
        if timeout(limits.drain_timeout, requests.wait()).await.is_err() {
            tracing::warn!(requests = requests.len(), "cut requests that did not finish in time");
        }
        connections.close();
        if timeout(FLUSH_TIMEOUT, connections.wait()).await.is_err() {
            tracing::debug!(connections = connections.len(), "cut idle connections");
        }
        cut.cancel();
        connections.wait().await;
    }
}

/// The next connection, once there is a place for it.
async fn next_client(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a permit in the end.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "could not set nodelay");
                }
                return (stream, place);
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                tracing::error!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The client has left before it was accepted; the next accept meets another one.
fn is_of_the_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
