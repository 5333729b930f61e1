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
    pub(crate) async fn call(&self, request: Request<Full<Bytes>>) -> Result<Answer, CallError> {
        let mut request = request;
        // A peer may close an idle line at any time; as long as the request was not begun, another one will do.
        while let Some(line) = self.idle.take() {
            match line.ask(request).await {
                Ok((reply, line)) => return Ok(self.answer(reply, line)),
                Err(mut failed) => match failed.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(CallError::Lost(failed.into_error())),
                },
            }
        }
        let stream = self.connector.connect(&self.endpoint).await.map_err(CallError::Unsent)?;
        let line = Line::open(stream).await.map_err(|error| CallError::Unsent(error.into()))?;
        match line.ask(request).await {
            Ok((reply, line)) => Ok(self.answer(reply, line)),
            Err(mut failed) => match failed.take_message() {
                Some(_) => Err(CallError::Unsent(failed.into_error().into())),
                None => Err(CallError::Lost(failed.into_error())),
            },
        }
    }

    fn answer(&self, reply: Reply, line: Line) -> Answer {
        Answer { reply, line, idle: Arc::clone(&self.idle) }
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
