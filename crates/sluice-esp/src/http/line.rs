//! One connection, driven by whoever waits for its answer: no task of its own, and no hop between two.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{TrySendError, http1};
use hyper::{Request, Response};

use super::connector::Stream;

/// The head of an answer, and what comes of its body.
pub(crate) type Reply = Response<Incoming>;

/// What has to be polled for anything to happen on a connection; none once it has ended.
type Driven = Option<Pin<Box<http1::Connection<Stream, Full<Bytes>>>>>;

/// An open HTTP/1.1 connection.
pub(crate) struct Line {
    requests: http1::SendRequest<Full<Bytes>>,
    connection: Driven,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("open", &self.connection.is_some()).finish_non_exhaustive()
    }
}

impl Line {
    pub(super) async fn open(stream: Stream) -> hyper::Result<Self> {
        let (requests, connection) = http1::handshake(stream).await?;
        Ok(Self { requests, connection: Some(Box::pin(connection)) })
    }

    /// Sends a request and waits for the head of its answer. Dropped before that, it closes the connection.
    pub(super) async fn ask(
        mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Reply, Self), TrySendError<Request<Full<Bytes>>>> {
        let answer = self.requests.try_send_request(request);
        let reply = drive(&mut self.connection, answer).await?;
        Ok((reply, self))
    }

    /// Reads at most `most` bytes of a body, as far as it comes.
    pub(super) async fn read(&mut self, reply: &mut Reply, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(Ok(frame)) = drive(&mut self.connection, reply.body_mut().frame()).await {
            let Some(chunk) = frame.data_ref() else { continue };
            let room = most.saturating_sub(bytes.len());
            bytes.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
            if bytes.len() >= most {
                break;
            }
        }
        bytes
    }

    /// Whether it can carry a request now: open as far as we were told, and nothing of an earlier answer is left.
    pub(super) fn is_free(&mut self) -> bool {
        // Nobody waits, so nobody is to be woken: the next driver asks again.
        advance(&mut self.connection, &mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.requests.is_ready()
    }
}

/// Waits for `wanted`, which comes over the connection, and lets the connection work meanwhile.
async fn drive<T>(connection: &mut Driven, wanted: impl Future<Output = T>) -> T {
    let mut wanted = pin!(wanted);
    poll_fn(|context| {
        advance(connection, context);
        wanted.as_mut().poll(context)
    })
    .await
}

/// Lets a connection do what it can. How it ends is told to whoever waits for an answer, so not here.
fn advance(connection: &mut Driven, context: &mut Context<'_>) {
    if let Some(open) = connection
        && let Poll::Ready(_) = open.as_mut().poll(context)
    {
        *connection = None;
    }
}
