//! The one thread that writes: it takes every request that waits and runs them in one transaction with one commit.
//!
//! A commit costs a flush of the disk whatever its size, so throughput comes from sharing it. Each request runs in a
//! savepoint of its own: one bad request does not undo the others. Acks need no flush of their own and ride along.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;
use crate::lanes::Acks;

/// Requests that may wait before callers have to.
const QUEUE: usize = 256;
/// Requests in one transaction, at most.
const BATCH_REQUESTS: usize = 64;
/// Rows in one transaction before no more requests are taken into it.
const BATCH_ROWS: usize = 4000;
/// How long acks wait for something to ride along with.
const ACK_LINGER: Duration = Duration::from_millis(2);

/// Sends requests to the thread.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    requests: mpsc::Sender<Message>,
    stopping: Arc<AtomicBool>,
}

/// The thread's own part.
pub(crate) struct WriterLoop {
    connection: Connection,
    requests: mpsc::Receiver<Message>,
    acks: Arc<Acks>,
    stopping: Arc<AtomicBool>,
}

enum Message {
    Request(Box<dyn Request>),
    /// Look at the acks and at `stopping`.
    Nudge,
}

type Committed = Result<(), Arc<rusqlite::Error>>;

/// A request as the thread sees it: the type of its answer is its own business.
trait Request: Send {
    /// Roughly how many rows it writes.
    fn rows(&self) -> usize;
    /// Runs it inside a savepoint; false when the savepoint must be undone.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Answers the caller after the commit.
    fn answer(self: Box<Self>, committed: &Committed);
}

struct Call<T, F> {
    rows: usize,
    work: Option<F>,
    result: Option<rusqlite::Result<T>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Request for Call<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> rusqlite::Result<T> + Send,
{
    fn rows(&self) -> usize {
        self.rows
    }

    fn run(&mut self, connection: &Connection) -> bool {
        self.result = self.work.take().map(|work| work(connection));
        matches!(self.result, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, committed: &Committed) {
        let answer = match (self.result, committed) {
            (Some(Err(error)), _) => Err(StoreError::Statement(error)),
            (_, Err(error)) => Err(StoreError::Transaction(error.clone())),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(StoreError::Closed),
        };
        // A caller that went away does not want to know.
        drop(self.reply.send(answer));
    }
}

impl Writer {
    /// The two ends; the caller runs the loop on a thread.
    pub(crate) fn new(connection: Connection, acks: Arc<Acks>) -> (Self, WriterLoop) {
        let (sender, requests) = mpsc::channel(QUEUE);
        let stopping = Arc::new(AtomicBool::new(false));
        let writer = Self { requests: sender, stopping: stopping.clone() };
        (writer, WriterLoop { connection, requests, acks, stopping })
    }

    /// Runs `work`, which writes about `rows` rows, in the next transaction; returns when it is durable.
    pub(crate) async fn write<T, F>(&self, rows: usize, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let call = Call { rows, work: Some(work), result: None, reply };
        let message = Message::Request(Box::new(call));
        self.requests.send(message).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Tells the thread that there are acks.
    pub(crate) fn nudge(&self) {
        // When the queue is full the thread is busy, and looks before it waits again.
        drop(self.requests.try_send(Message::Nudge));
    }

    /// Tells the thread to finish what it has and to end.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.nudge();
    }
}

impl WriterLoop {
    /// Works until it is told to stop.
    pub(crate) fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_REQUESTS);
        while !self.stopping.load(Ordering::Acquire) {
            let Some(first) = self.requests.blocking_recv() else { break };
            self.take_more(first, &mut batch);
            if batch.is_empty() && !self.stopping.load(Ordering::Acquire) {
                std::thread::sleep(ACK_LINGER);
                self.take_more(Message::Nudge, &mut batch);
            }
            self.commit(&mut batch);
        }
        self.requests.close();
        loop {
            self.take_more(Message::Nudge, &mut batch);
            let last = batch.is_empty();
            self.commit(&mut batch);
            if last {
                return;
            }
        }
    }

    fn take_more(&mut self, first: Message, batch: &mut Vec<Box<dyn Request>>) {
        let mut rows = 0;
        let mut next = Some(first);
        while let Some(message) = next {
            if let Message::Request(request) = message {
                rows += request.rows();
                batch.push(request);
            }
            if batch.len() >= BATCH_REQUESTS || rows >= BATCH_ROWS {
                return;
            }
            next = self.requests.try_recv().ok();
        }
    }

    /// Runs a batch and everything that was acked, then answers.
    fn commit(&self, batch: &mut Vec<Box<dyn Request>>) {
        let acked = self.acks.take();
        if batch.is_empty() && acked.is_empty() {
            return;
        }
        let committed = self.transact(batch, &acked).map_err(Arc::new);
        for request in batch.drain(..) {
            request.answer(&committed);
        }
        match committed {
            Ok(()) => self.acks.forgotten(&acked),
            Err(error) => {
                tracing::warn!(error = %error, acks = acked.len(), "transaction failed, acks are kept for the next");
                self.acks.put_back(acked);
            }
        }
    }

    fn transact(
        &self,
        batch: &mut [Box<dyn Request>],
        acked: &[crate::lanes::Acked],
    ) -> rusqlite::Result<()> {
        let mut tx = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        for request in batch {
            let savepoint = tx.savepoint()?;
            // A full disk or an IO error may roll back the whole transaction, and this savepoint with it; then this fails.
            if request.run(&savepoint) {
                savepoint.commit()?;
            } else {
                savepoint.finish()?;
            }
        }
        let mut delete = tx.prepare_cached("delete from lane_message where seq = ?1")?;
        for one in acked {
            delete.execute([one.seq()])?;
        }
        drop(delete);
        tx.commit()
    }
}
