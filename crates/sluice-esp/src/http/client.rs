//! The client of one account: a call has a line that was idle, or a new one, and leaves it to the next call.

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

    /// A line that is open as far as we were told: one that is idle, or a new one.
    ///
    /// # Errors
    /// [`CallError::Unsent`] when none can be opened.
    pub(crate) async fn line(&self) -> Result<Line, CallError> {
        self.idle_or_new().await.map(|(line, _)| line)
    }

    /// Makes a call over `line`. Its URI is the path, and the header `Host` the caller's.
    ///
    /// # Errors
    /// [`CallError`] when no head of an answer came.
    pub(crate) async fn call(
        &self,
        mut line: Line,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Answer, CallError> {
        let mut is_new = false;
        loop {
            let mut failed = match line.ask(request).await {
                Ok((reply, line)) => return Ok(Answer { reply, line, idle: Arc::clone(&self.idle) }),
                Err(failed) => failed,
            };
            // A peer may close a line that waits at any time; as long as the request was not begun, another one will do.
            match failed.take_message() {
                Some(unsent) if !is_new => request = unsent,
                Some(_) => return Err(CallError::Unsent(failed.into_error().into())),
                None => return Err(CallError::Lost(failed.into_error())),
            }
            (line, is_new) = self.idle_or_new().await?;
        }
    }

    /// A line, and whether it was opened for this.
    async fn idle_or_new(&self) -> Result<(Line, bool), CallError> {
        if let Some(line) = self.idle.take() {
            return Ok((line, false));
        }
        // Boxed, as few calls need a new one, and each would have room for it.
        let opened = Box::pin(self.open()).await;
        Ok((opened.map_err(CallError::Unsent)?, true))
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
