//! The client of one account: a call takes a line that is idle, or a new one, and leaves it to the next call.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, Uri};

use super::connector::{BoxError, Connector};
use super::idle::Idle;
use super::line::{Line, Reply};

/// A client of one account. It knows one address, so that no redirect and no mistake leads anywhere else.
#[derive(Debug)]
pub(crate) struct Client {
    connector: Connector,
    endpoint: Uri,
    idle: Arc<Idle>,
}

/// Why a call brought no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// Nothing of the request was written.
    Unsent(BoxError),
    /// It was written, or some of it.
    Lost(hyper::Error),
}

impl Client {
    pub(super) fn new(connector: Connector, endpoint: Uri) -> Self {
        Self { connector, endpoint, idle: Arc::default() }
    }

    /// Makes a call. Its URI is the path, and the header `Host` the caller's.
    ///
    /// # Errors
    /// [`CallError`] when no head of an answer came.
    pub(crate) async fn call(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, CallError> {
        loop {
            let (line, is_new) = match self.idle.take() {
                Some(line) => (line, false),
                // Boxed, as few calls need a new one, and each would have room for it.
                None => (Box::pin(self.open()).await.map_err(CallError::Unsent)?, true),
            };
            let mut failed = match line.ask(request).await {
                Ok((reply, line)) => return Ok(Answer { reply, line, idle: Arc::clone(&self.idle) }),
                Err(failed) => failed,
            };
            // A peer may close an idle line at any time; as long as the request was not begun, another one will do.
            match failed.take_message() {
                Some(unsent) if !is_new => request = unsent,
                Some(_) => return Err(CallError::Unsent(failed.into_error().into())),
                None => return Err(CallError::Lost(failed.into_error())),
            }
        }
    }

    async fn open(&self) -> Result<Line, BoxError> {
        Ok(Line::open(self.connector.connect(&self.endpoint).await?).await?)
    }
}

/// An answer whose head has been read. Dropped, it closes its line.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    line: Line,
    idle: Arc<Idle>,
}

impl Answer {
    /// Reads at most `most` bytes of the body; what cannot be read is left out.
    pub(crate) async fn body(&mut self, most: usize) -> Vec<u8> {
        self.line.read(&mut self.reply, most).await
    }

    /// Leaves the line to the next call, if nothing of this one is left on it.
    pub(crate) fn leave(self) {
        drop(self.reply);
        self.idle.put(self.line);
    }
}
