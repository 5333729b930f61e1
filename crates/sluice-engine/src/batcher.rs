//! Gathers single requests of many jobs into batches: at once when idle, as many as have come in while the store
//! was busy otherwise. So a lone job pays no delay and a flood pays few statements.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sluice_telemetry::{Batch, Dependency, Metrics};
use sluice_types::Tick;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::health::{Health, jittered};
use crate::ports::{Clock, LedgerError};
use inflow::Inflow;

mod inflow;

/// Most rows of one batch.
const BATCH_MAX_ROWS: usize = 500;
/// Rows that have to come in the time of a gather for it to be waited out whatever else is written. Fewer: a replica with some
/// thousand jobs a second delays each by that time.
const FLOOD_ROWS: usize = 8;
/// Requests that may wait for a writer; further callers wait for a place.
const QUEUE_MAX: usize = 8192;
/// First and longest pause before a failed batch is tried again.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long a batch is gathered: a statement costs as much as dozens of its rows, so few large ones leave the machine to
/// the jobs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Gather {
    /// Beside a batch that is being written, and for as long as it is; not at all when none is, so that a lone job waits for
    /// nobody. For the whole time in a flood of which less has come than will come meanwhile. More: larger batches, and longer
    /// waits where a commit is slow.
    Beside(Duration),
    /// Whatever else goes on: nobody waits for these rows.
    Always(Duration),
}

/// A batched write of the ledger.
#[async_trait]
pub(crate) trait Write: Send + Sync + 'static {
    type Row: Send + Sync + 'static;
    type Answer: Send + 'static;

    const KIND: Batch;

    /// Two rows with the same key never go into one batch.
    fn key<'a>(&self, row: &'a Self::Row) -> Option<&'a str>;

    /// Writes the rows; one answer per row, in order.
    async fn write(&self, rows: &[Self::Row]) -> Result<Vec<Self::Answer>, LedgerError>;
}

/// An answer, and when the call that brought it was begun.
#[derive(Debug)]
pub(crate) struct Written<A> {
    pub(crate) answer: A,
    pub(crate) asked_at: Tick,
}

/// Why a row was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    /// The store was away for longer than the batcher waits, or the process is ending.
    #[error("store unavailable")]
    Unavailable,
    /// The store will not take this row.
    #[error("store refused the row")]
    Refused(#[source] LedgerError),
}

/// What came of one row.
pub(crate) type Settled<W> = Result<Written<<W as Write>::Answer>, BatchError>;

/// What is done with a row that has been written, or could not be.
type Then<W> = Box<dyn FnOnce(&<W as Write>::Row, Settled<W>) + Send>;

/// Who is told what came of a row.
enum Reply<W: Write> {
    /// The job's task, which waits for it.
    Waiting(oneshot::Sender<Settled<W>>),
    /// Nobody waits: this is done in the batch.
    Then(Then<W>),
}

struct Request<W: Write> {
    row: W::Row,
    reply: Reply<W>,
}

/// The entrance to a batched write.
pub(crate) struct Batcher<W: Write> {
    queue: mpsc::Sender<Request<W>>,
}

/// What every batcher needs of its surroundings.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
    pub(crate) tasks: TaskTracker,
}

impl<W: Write> Batcher<W> {
    /// Starts `writers` tasks that write batches. Rows that cannot be written for `give_up` are answered
    /// `Unavailable`; `None` tries until the store is back or the last entrance is dropped.
    pub(crate) fn start(
        write: W,
        writers: usize,
        gather: Gather,
        give_up: Option<Duration>,
        around: &Surroundings,
    ) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            write,
            requests: Mutex::new(Requests { queue: requests, inflow: Inflow::new(around.clock.tick()) }),
            writing: AtomicUsize::new(0),
            all_written: Notify::new(),
            gather,
            give_up,
            around: around.clone(),
        });
        for _ in 0..writers.max(1) {
            let shared = Arc::clone(&shared);
            around.tasks.spawn(async move { shared.run().await });
        }
        Self { queue }
    }

    /// Writes one row as part of some batch.
    ///
    /// The row goes into the queue before the future is polled, so that no job carries copies of it while it waits.
    pub(crate) fn submit(
        &self,
        row: W::Row,
    ) -> impl Future<Output = Result<Written<W::Answer>, BatchError>> + Send + use<'_, W> {
        let (reply, answer) = oneshot::channel();
        let queued = self.queue(Request { row, reply: Reply::Waiting(reply) });
        async move {
            queued.await;
            answer.await.map_err(|_| BatchError::Unavailable)?
        }
    }

    /// Writes one row as part of some batch, which does `then` with it: quickly, as all others of the batch wait for that. Where no
    /// writer is left both are dropped.
    ///
    /// Over a task that waits, and would be woken with all that it has long out of the processor's caches, to do no more than that.
    pub(crate) fn submit_then<F: FnOnce(&W::Row, Settled<W>) + Send + 'static>(
        &self,
        row: W::Row,
        then: F,
    ) -> impl Future<Output = ()> + Send + use<'_, W, F> {
        self.queue(Request { row, reply: Reply::Then(Box::new(then)) })
    }

    /// Puts a request into the queue. What finds no place waits for one; a closed queue drops the reply with the row.
    fn queue(&self, request: Request<W>) -> impl Future<Output = ()> + Send + use<'_, W> {
        let crowded_out = match self.queue.try_send(request) {
            Err(TrySendError::Full(request)) => Some(Box::pin(self.queue.send(request))),
            Ok(()) | Err(TrySendError::Closed(_)) => None,
        };
        async move {
            if let Some(place) = crowded_out {
                drop(place.await);
            }
        }
    }
}

struct Requests<W: Write> {
    queue: mpsc::Receiver<Request<W>>,
    inflow: Inflow,
}

struct Shared<W: Write> {
    write: W,
    requests: Mutex<Requests<W>>,
    /// Batches with the store.
    writing: AtomicUsize,
    /// The last of them has come back.
    all_written: Notify,
    gather: Gather,
    give_up: Option<Duration>,
    around: Surroundings,
}

impl<W: Write> Shared<W> {
    /// One writer: takes what is waiting, writes it, until all entrances are gone.
    async fn run(&self) {
        let mut carried: Vec<Request<W>> = Vec::new();
        loop {
            let mut batch = std::mem::take(&mut carried);
            if batch.is_empty() && !self.gather(&mut batch).await {
                return;
            }
            carried = self.set_repeats_aside(&mut batch);
            self.writing.fetch_add(1, Ordering::Relaxed);
            self.settle(batch).await;
            if self.writing.fetch_sub(1, Ordering::Relaxed) == 1 {
                self.all_written.notify_waiters();
            }
        }
    }

    /// Waits for a request, and for more of them as [`Gather`] says. `false` when all entrances are gone.
    async fn gather(&self, batch: &mut Vec<Request<W>>) -> bool {
        let Requests { queue, inflow } = &mut *self.requests.lock().await;
        if queue.recv_many(batch, BATCH_MAX_ROWS).await == 0 {
            return false;
        }
        // Made before the look, so that no end is missed in between.
        let all_written = self.all_written.notified();
        let is_lone = self.writing.load(Ordering::Relaxed) == 0;
        // More will come in the time than there are: most likely one of the batches that answer each other in quick turns.
        let (now, enough) = (self.around.clock.tick(), batch.len().max(FLOOD_ROWS));
        let is_worth_it = |time| inflow.rows_in(time, now) >= enough;
        match self.gather {
            _ if batch.len() >= BATCH_MAX_ROWS => {}
            Gather::Beside(time) if is_worth_it(time) => tokio::time::sleep(time).await,
            Gather::Beside(_) if is_lone => {}
            Gather::Beside(time) => tokio::select! {
                () = all_written => {}
                () = tokio::time::sleep(time) => {}
            },
            Gather::Always(time) => tokio::time::sleep(time).await,
        }
        while batch.len() < BATCH_MAX_ROWS {
            let Ok(request) = queue.try_recv() else { break };
            batch.push(request);
        }
        inflow.add(batch.len(), self.around.clock.tick());
        true
    }

    /// Takes every row out of `batch` whose key an earlier one has.
    fn set_repeats_aside(&self, batch: &mut Vec<Request<W>>) -> Vec<Request<W>> {
        let mut seen = HashSet::with_capacity(batch.len());
        let repeated: Vec<bool> = batch
            .iter()
            .map(|request| self.write.key(&request.row).is_some_and(|key| !seen.insert(key)))
            .collect();
        if !repeated.contains(&true) {
            return Vec::new();
        }
        let mut aside = Vec::new();
        let mut kept = Vec::with_capacity(batch.len());
        for (request, repeated) in batch.drain(..).zip(repeated) {
            if repeated { aside.push(request) } else { kept.push(request) }
        }
        *batch = kept;
        aside
    }

    /// Writes one batch and answers every caller; splits it when the store refuses it, to find the row at fault.
    async fn settle(&self, batch: Vec<Request<W>>) {
        let (rows, replies): (Vec<W::Row>, Vec<Reply<W>>) =
            batch.into_iter().map(|request| (request.row, request.reply)).unzip();
        let mut open = vec![(rows, replies)];
        while let Some((mut rows, mut replies)) = open.pop() {
            match self.write_with_patience(&rows).await {
                Ok((answers, asked_at)) => {
                    for ((row, reply), answer) in rows.iter().zip(replies).zip(answers) {
                        reply.tell(row, Ok(Written { answer, asked_at }));
                    }
                }
                Err(BatchError::Unavailable) => {
                    for (row, reply) in rows.iter().zip(replies) {
                        reply.tell(row, Err(BatchError::Unavailable));
                    }
                }
                Err(BatchError::Refused(error)) if rows.len() <= 1 => {
                    if let (Some(row), Some(reply)) = (rows.first(), replies.pop()) {
                        reply.tell(row, Err(BatchError::Refused(error)));
                    }
                }
                Err(BatchError::Refused(_)) => {
                    let half = rows.len() / 2;
                    let (back_rows, back_replies) = (rows.split_off(half), replies.split_off(half));
                    open.push((back_rows, back_replies));
                    open.push((rows, replies));
                }
            }
        }
    }

    async fn write_with_patience(&self, rows: &[W::Row]) -> Result<(Vec<W::Answer>, Tick), BatchError> {
        let Surroundings { clock, metrics, health, .. } = &self.around;
        let first_try = clock.tick();
        let mut pause = RETRY_PAUSES.0;
        loop {
            let asked_at = clock.tick();
            match self.write.write(rows).await {
                Ok(answers) => {
                    metrics.batch(W::KIND, rows.len(), clock.tick().since(asked_at));
                    return Ok((answers, asked_at));
                }
                Err(error @ LedgerError::Refused(_)) => return Err(BatchError::Refused(error)),
                Err(error @ LedgerError::Unavailable(_)) => {
                    health.down(Dependency::Store, &error);
                    let waited = clock.tick().since(first_try);
                    if self.give_up.is_some_and(|limit| waited >= limit) || health.is_closing() {
                        return Err(BatchError::Unavailable);
                    }
                    tokio::time::sleep(jittered(pause)).await;
                    pause = (pause * 2).min(RETRY_PAUSES.1);
                }
            }
        }
    }
}

impl<W: Write> Reply<W> {
    fn tell(self, row: &W::Row, settled: Settled<W>) {
        match self {
            Self::Waiting(task) => {
                if task.send(settled).is_err() {
                    tracing::debug!("a batched write finished after its caller had gone");
                }
            }
            Self::Then(then) => then(row, settled),
        }
    }
}

#[cfg(test)]
mod tests;
