//! The client of one account: a call has a line that is open, or a new one, and leaves it to the next call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderValue};
use hyper::http::response::Parts;
use hyper::{Method, Request, Uri, Version};
use tokio::sync::Mutex;

use super::connector::{BoxError, Connector};
use super::idle::Idle;
use super::shared::Shared;
use super::{http1, http2};

/// A client of one account. It knows one address, so that no redirect and no mistake leads anywhere else.
#[derive(Debug)]
pub(crate) struct Client {
    connector: Connector,
    /// Over HTTP/1.1 it has a path, and the host in a header.
    head_http1: Head,
    /// Over HTTP/2 it has the whole address.
    head_http2: Head,
    idle: Arc<Idle>,
    shared: Arc<Shared>,
    /// Whether the server speaks HTTP/2, as it did when it was last connected to; may do, before it was.
    is_http2: AtomicBool,
    /// Held while a connection is opened that others may share. Who waited looks for room on it first.
    turn: Mutex<()>,
}

/// What each request begins with.
#[derive(Debug)]
struct Head {
    uri: Uri,
    version: Version,
    headers: HeaderMap,
}

/// What carries one call.
pub(crate) struct Line(Carrier);

enum Carrier {
    /// A connection of its own.
    Http1(http1::Line),
    /// A place on one.
    Http2(http2::Stream),
}

/// Why a call brought no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// Nothing of the request was written, or the server says that it has not begun with it.
    Unsent(BoxError),
    /// It was written, or some of it.
    Lost(BoxError),
}

/// An answer whose head has been read. Dropped, it closes its line, if that is a connection of its own.
pub(crate) struct Answer {
    pub(crate) head: Parts,
    rest: Rest,
}

enum Rest {
    Http1(Incoming, http1::Line, Arc<Idle>),
    Http2(h2::RecvStream, http2::Stream),
}

impl Client {
    /// A client that posts to `endpoint`, with `headers` in each request.
    pub(super) fn new(connector: Connector, endpoint: Uri, mut headers: HeaderMap) -> Self {
        let host = endpoint.authority().and_then(|it| HeaderValue::try_from(it.as_str()).ok());
        let path = endpoint.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
        // Each request puts its own there: one more in a copy would have it grow.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let mut with_host = headers.clone();
        with_host.extend(host.map(|host| (HOST, host)));
        Self {
            is_http2: AtomicBool::new(connector.may_be_http2()),
            connector,
            head_http1: Head { uri: path, version: Version::HTTP_11, headers: with_host },
            head_http2: Head { uri: endpoint, version: Version::HTTP_2, headers },
            idle: Arc::default(),
            shared: Arc::default(),
            turn: Mutex::default(),
        }
    }

    /// A line for a body of so many bytes that is open as far as we were told: one that has room, or a new one.
    ///
    /// # Errors
    /// [`CallError::Unsent`] when none can be opened.
    pub(crate) async fn line(&self, bytes: usize) -> Result<Line, CallError> {
        self.free_or_new(bytes).await.map(|(line, _)| line)
    }

    /// Posts `body` over `line`.
    ///
    /// # Errors
    /// [`CallError`] when no head of an answer came.
    pub(crate) async fn post(&self, mut line: Line, body: Bytes) -> Result<Answer, CallError> {
        let mut is_new = false;
        loop {
            match self.ask(line, body.clone()).await {
                // A peer may close a line that waits at any time; as long as the request was not begun, another one will do.
                Err(CallError::Unsent(_)) if !is_new => {}
                ended => return ended,
            }
            (line, is_new) = self.free_or_new(body.len()).await?;
        }
    }

    async fn ask(&self, line: Line, body: Bytes) -> Result<Answer, CallError> {
        let (head, rest) = match line.0 {
            Carrier::Http1(line) => {
                let request = self.head_http1.request(body.len()).map(|()| Full::new(body));
                let (reply, line) = line.ask(request).await?;
                let (head, body) = reply.into_parts();
                (head, Rest::Http1(body, line, Arc::clone(&self.idle)))
            }
            Carrier::Http2(stream) => {
                let (reply, stream) = stream.ask(self.head_http2.request(body.len()), body).await?;
                let (head, body) = reply.into_parts();
                (head, Rest::Http2(body, stream))
            }
        };
        Ok(Answer { head, rest })
    }

    /// A line, and whether it was opened for this, or while this waited for its turn.
    async fn free_or_new(&self, bytes: usize) -> Result<(Line, bool), CallError> {
        if let Some(line) = self.free(bytes) {
            return Ok((line, false));
        }
        // Boxed, as few calls need a new one, and each would have room for it.
        let opened = Box::pin(self.connector.bounded(self.open(bytes))).await;
        Ok((opened.map_err(CallError::Unsent)?, true))
    }

    fn free(&self, bytes: usize) -> Option<Line> {
        let shared = self.is_http2.load(Ordering::Relaxed).then(|| self.shared.take(bytes)).flatten();
        shared.map(Carrier::Http2).or_else(|| self.idle.take().map(Carrier::Http1)).map(Line)
    }

    async fn open(&self, bytes: usize) -> Result<Line, BoxError> {
        let mut turn = None;
        if self.is_http2.load(Ordering::Relaxed) {
            turn = Some(self.turn.lock().await);
            if let Some(line) = self.free(bytes) {
                return Ok(line);
            }
            // Whoever was before has learnt that there is nothing to share.
            if !self.is_http2.load(Ordering::Relaxed) {
                turn = None;
            }
        }
        let (stream, is_http2) = self.connector.connect().await?;
        self.is_http2.store(is_http2, Ordering::Relaxed);
        let carrier = if is_http2 {
            Carrier::Http2(self.shared.open(stream, bytes).await?)
        } else {
            Carrier::Http1(http1::Line::open(stream).await?)
        };
        drop(turn);
        Ok(Line(carrier))
    }
}

impl Head {
    /// A request that lacks its body of so many bytes.
    fn request(&self, length: usize) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        request
    }
}

impl Answer {
    /// Reads at most `most` bytes of the body; what cannot be read is left out.
    pub(crate) async fn body(&mut self, most: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.rest.read().await {
            let room = most.saturating_sub(bytes.len());
            bytes.extend_from_slice(piece.get(..room).unwrap_or(&piece));
            if bytes.len() >= most {
                break;
            }
        }
        bytes
    }

    /// Whether the body may be left where it is. A stream that is given up before its end is reset, and servers close
    /// connections with many of these (CVE-2023-44487).
    pub(crate) fn may_stay_unread(&self) -> bool {
        match &self.rest {
            Rest::Http1(..) => true,
            Rest::Http2(body, _) => body.is_end_stream(),
        }
    }

    /// Leaves the line to the next call, if nothing of this one is left on it.
    pub(crate) fn leave(self) {
        match self.rest {
            Rest::Http1(body, line, idle) => {
                drop(body);
                idle.put(line);
            }
            Rest::Http2(body, stream) => drop((body, stream)),
        }
    }
}

impl Rest {
    /// The next piece of the body; `None` where it ends or breaks off.
    async fn read(&mut self) -> Option<Bytes> {
        match self {
            Self::Http1(body, line, _) => line.read(body).await,
            Self::Http2(body, _) => http2::read(body).await,
        }
    }
}
