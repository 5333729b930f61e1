//! Threads that only read, each with a connection of its own: one for the feeds, one for the relay, one for people's
//! questions, so that a count over a large table never holds up a lane.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;

/// Questions that may wait before callers have to.
const QUEUE: usize = 256;

type Question = Box<dyn FnOnce(&mut Connection) + Send>;

/// Sends questions to a thread.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    questions: mpsc::Sender<Question>,
    stopping: Arc<AtomicBool>,
}

/// The thread's own part.
pub(crate) struct ReaderLoop {
    connection: Connection,
    questions: mpsc::Receiver<Question>,
    stopping: Arc<AtomicBool>,
}

impl Reader {
    /// The two ends; the caller runs the loop on a thread.
    pub(crate) fn new(connection: Connection) -> (Self, ReaderLoop) {
        let (sender, questions) = mpsc::channel(QUEUE);
        let stopping = Arc::new(AtomicBool::new(false));
        let reader = Self { questions: sender, stopping: stopping.clone() };
        (reader, ReaderLoop { connection, questions, stopping })
    }

    /// Runs `question` in one read transaction and answers what it answers.
    pub(crate) async fn ask<T, F>(&self, question: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.start(question).await?.await.map_err(|_| StoreError::Closed)?
    }

    /// Like [`Reader::ask`], but answers the means to wait, which may be kept and waited on again.
    pub(crate) async fn start<T, F>(
        &self,
        question: F,
    ) -> Result<oneshot::Receiver<Result<T, StoreError>>, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |connection| {
            let result = connection.transaction().and_then(|tx| question(&tx));
            // A caller that went away does not want to know.
            drop(reply.send(result.map_err(StoreError::Statement)));
        });
        self.questions.send(question).await.map_err(|_| StoreError::Closed)?;
        Ok(answer)
    }

    /// Tells the thread to end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        // When the queue is full the thread is awake anyway.
        drop(self.questions.try_send(Box::new(|_| ())));
    }
}

impl ReaderLoop {
    /// Works until it is told to stop.
    pub(crate) fn run(mut self) {
        while !self.stopping.load(Ordering::Acquire) {
            let Some(question) = self.questions.blocking_recv() else { return };
            question(&mut self.connection);
        }
    }
}
