//! HTTP/2 (RFC 9113): a connection that several calls share, each with a stream of its own.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream};
use hyper::body::Bytes;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use super::client::CallError;
use super::connector::{self, BoxError};
use super::corked::{Corked, Outlet, cork};

/// Calls that share a connection at most, as each is in doubt when it is lost. Servers have a bound of their own, 100 at
/// least if they do as they are asked (RFC 9113 section 6.5.2).
const STREAMS_MAX: usize = 256;
/// The bodies of these calls at most, if there are several. A server that never widens its window for a connection takes
/// 64 KiB in a round trip (section 6.9.2), and no call is to wait for many of these.
const BYTES_MAX: usize = 512 * 1024;
/// The most of an answer's head; the client's body has a bound of its own.
const HEAD_MAX_BYTES: u32 = 64 * 1024;

type Transport = TokioIo<connector::Stream>;

/// What has to be polled for anything to happen on a connection.
pub(super) struct Driven {
    frames: h2::client::Connection<Corked<Transport>, Bytes>,
    outlet: Outlet<Transport>,
    /// Whether others were let go first.
    has_waited: bool,
}

/// An open connection. Dropped, it ends with its last stream.
#[derive(Debug)]
pub(super) struct Connection {
    requests: SendRequest<Bytes>,
    /// How many the server allows, when it was last looked at.
    streams_max: AtomicUsize,
    streams: AtomicUsize,
    /// Of all its calls' bodies.
    bytes: AtomicUsize,
    /// Whether it had a stream since it was last looked at.
    was_used: AtomicBool,
    /// Whether it is not to carry any further call.
    is_retired: AtomicBool,
}

/// A place on a connection, for one call.
pub(super) struct Stream {
    connection: Arc<Connection>,
    bytes: usize,
    /// Whether a call was begun that has no answer yet: dropped then, it retires the connection.
    is_asking: bool,
}

impl Connection {
    /// Waits for the server's settings too: they say how many streams it allows, and that it speaks HTTP/2 at all.
    pub(super) async fn open(transport: connector::Stream) -> Result<(Arc<Self>, Driven), BoxError> {
        let (corked, outlet) = cork(TokioIo::new(transport));
        let (requests, frames) = Builder::new()
            .enable_push(false)
            .max_header_list_size(HEAD_MAX_BYTES)
            .initial_max_send_streams(0)
            .handshake(corked)
            .await?;
        let mut driven = Driven { frames, outlet, has_waited: false };
        poll_fn(|context| {
            let ended = Pin::new(&mut driven).poll(context);
            if driven.streams_max() > 0 {
                return Poll::Ready(Ok(()));
            }
            ended.map(|ended| ended.and(Err("the server closed the connection".into())))
        })
        .await?;
        let connection = Self {
            requests,
            streams_max: AtomicUsize::new(driven.streams_max()),
            streams: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            was_used: AtomicBool::new(true),
            is_retired: AtomicBool::new(false),
        };
        Ok((Arc::new(connection), driven))
    }

    /// A place for one call with a body of so many bytes, if there is room. To be called by one at a time.
    pub(super) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Stream> {
        let streams = self.streams.load(Ordering::Relaxed);
        let most = STREAMS_MAX.min(self.streams_max.load(Ordering::Relaxed));
        let is_wide = streams == 0 || self.bytes.load(Ordering::Relaxed).saturating_add(bytes) <= BYTES_MAX;
        if self.is_retired() || streams >= most || !is_wide {
            return None;
        }
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.was_used.store(true, Ordering::Relaxed);
        Some(Stream { connection: Arc::clone(self), bytes, is_asking: false })
    }

    pub(super) fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Relaxed)
    }

    pub(super) fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    /// Learns how many streams the server allows by now, and retires if it carries nothing, and has not since this was last
    /// called.
    pub(super) fn look(&self, driven: &Driven) {
        self.streams_max.store(driven.streams_max(), Ordering::Relaxed);
        if !self.was_used.swap(false, Ordering::Relaxed) && self.streams.load(Ordering::Relaxed) == 0 {
            self.retire();
        }
    }
}

impl Driven {
    /// How many streams the server allows; none before it has said so.
    fn streams_max(&self) -> usize {
        self.frames.max_concurrent_send_streams()
    }
}

impl Future for Driven {
    type Output = Result<(), BoxError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Calls that are ready as well, a batch of claims perhaps, put their requests into the same write.
        self.has_waited = !self.has_waited;
        if self.has_waited {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Poll::Ready(ended) = Pin::new(&mut self.frames).poll(context) {
            return Poll::Ready(ended.map_err(BoxError::from));
        }
        match self.outlet.poll_drain(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Stream {
    /// Sends a request and waits for the head of its answer. Dropped before that, it gives its stream up and
    /// lets nobody else on the connection: who knows whether it still carries anything.
    ///
    /// # Errors
    /// [`CallError`] when none came.
    pub(super) async fn ask(
        mut self,
        request: Request<()>,
        body: Bytes,
    ) -> Result<(Response<RecvStream>, Self), CallError> {
        self.is_asking = true;
        let unsent = |error: h2::Error| CallError::Unsent(error.into());
        let (answer, mut rest) =
            self.connection.requests.clone().send_request(request, false).map_err(unsent)?;
        // What is wrong with a stream is told in place of its answer.
        rest.send_data(body, true).ok();
        drop(rest);
        let answer = answer.await.map_err(|error| {
            if is_unprocessed(&error) { unsent(error) } else { CallError::Lost(error.into()) }
        })?;
        self.is_asking = false;
        Ok((answer, self))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.is_asking {
            self.connection.retire();
        }
        self.connection.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.connection.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The next piece of a body; `None` where it ends or breaks off.
pub(super) async fn read(body: &mut RecvStream) -> Option<Bytes> {
    let piece = body.data().await?.ok()?;
    body.flow_control().release_capacity(piece.len()).ok()?;
    Some(piece)
}

/// Whether the server says that it has not begun with a request: it refused its stream (RFC 9113 section 8.7), or it is
/// going away and the stream is above the last one that it looked at (section 6.8; `h2` gives this error to no other). A
/// server that goes away for an error of ours or its own is not taken at its word.
fn is_unprocessed(error: &h2::Error) -> bool {
    let reason = error.reason();
    error.is_remote()
        && (error.is_reset() && reason == Some(Reason::REFUSED_STREAM)
            || error.is_go_away() && reason == Some(Reason::NO_ERROR))
}

#[cfg(test)]
mod tests {
    use hyper_rustls::MaybeHttpsStream;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::JoinSet;

    use super::*;

    /// A connection to a server that does what its library does.
    async fn open() -> (Arc<Connection>, Driven, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut server = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
            while server.accept().await.is_some() {}
        });
        let stream = TcpStream::connect(addr).await.unwrap();
        let (connection, driven) =
            Connection::open(MaybeHttpsStream::Http(TokioIo::new(stream))).await.unwrap();
        (connection, driven, server)
    }

    #[tokio::test]
    async fn one_that_carries_nothing_from_one_look_to_the_next_retires() {
        let (connection, driven, _server) = open().await;
        connection.look(&driven);
        assert!(!connection.is_retired(), "it is new");
        let stream = connection.reserve(1).unwrap();
        connection.look(&driven);
        connection.look(&driven);
        assert!(!connection.is_retired(), "it carries a call");
        drop(stream);
        drop(connection.reserve(1));
        connection.look(&driven);
        assert!(!connection.is_retired(), "it has carried one since");
        connection.look(&driven);
        assert!(connection.is_retired());
        assert!(connection.reserve(1).is_none());
    }

    #[tokio::test]
    async fn what_a_call_took_of_it_is_given_back() {
        let (connection, _driven, _server) = open().await;
        let all = connection.reserve(BYTES_MAX).unwrap();
        assert!(connection.reserve(1).is_none());
        drop(all);
        let streams: Vec<_> = std::iter::from_fn(|| connection.reserve(1)).collect();
        assert_eq!(streams.len(), STREAMS_MAX);
        drop(streams);
        assert!(connection.reserve(BYTES_MAX + 1).is_some(), "who is larger than that has it alone");
    }
}
