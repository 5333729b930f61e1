//! HTTP/1.1: one connection for one call at a time, driven by whoever waits for its answer. No task of its own, and no
//! hop between two.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};

use super::client::CallError;
use super::connector::Stream;

/// What has to be polled for anything to happen on a connection; none once it has ended.
type Driven = Option<Pin<Box<http1::Connection<Stream, Full<Bytes>>>>>;

/// An open connection.
pub(super) struct Line {
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
    ///
    /// # Errors
    /// [`CallError`] when none came.
    pub(super) async fn ask(
        mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Self), CallError> {
        let answer = self.requests.try_send_request(request);
        match drive(&mut self.connection, answer).await {
            Ok(reply) => Ok((reply, self)),
            Err(mut failed) => Err(match failed.take_message() {
                Some(_) => CallError::Unsent(failed.into_error().into()),
                None => CallError::Lost(failed.into_error().into()),
            }),
        }
    }

    /// The next piece of a body; `None` where it ends or breaks off.
    pub(super) async fn read(&mut self, body: &mut Incoming) -> Option<Bytes> {
        loop {
            let frame = drive(&mut self.connection, body.frame()).await?.ok()?;
            if let Ok(piece) = frame.into_data() {
                return Some(piece);
            }
        }
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
