//! Sends acks and releases for the deliveries of one channel, in batches, and only over that channel.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use lapin::options::{BasicAckOptions, BasicCancelOptions, BasicGetOptions, BasicNackOptions};
use lapin::types::ShortString;
use lapin::{Channel, Consumer};
use sluice_types::Tick;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ack_tracker::{AckOp, AckTracker};
use crate::connect::{call, within};
use crate::error::RabbitError;

/// How long acks are collected before they are sent. More: fewer frames, and prefetch that stays used up for longer.
const BATCH: Duration = Duration::from_millis(2);
/// So long nothing is acked before a consumer is cancelled: the broker has lent all that it may by then, and none of it is on its way.
/// What is still comes back redelivered, as if this process had died of it. More: acks that come later.
const HOLD: Duration = Duration::from_millis(30);
/// How long a finished delivery above an unfinished one waits for it. More: fewer single acks, and more prefetch used up.
const STRAGGLER: Duration = Duration::from_millis(100);
/// A part of the prefetch, in percent: as many finished deliveries do not wait at all. A little less than what need not be in
/// work of a large one.
const URGENT_PERCENT: usize = 45;
/// Acks and releases at once from which on the broker may keep some back: half of what it says (rabbit_fifo_client's soft limit
/// is 32), since others may be under way.
const CROWD: usize = 16;

/// The engine's way back to one channel.
#[derive(Debug)]
pub(crate) struct LaneAcker {
    state: Mutex<State>,
    wake: Notify,
    start: Instant,
}

#[derive(Debug)]
struct State {
    tracker: AckTracker,
    handles: BTreeMap<u64, lapin::Acker>,
    /// The broker was told so much at once that it may have kept something back.
    crowded: bool,
    feed: FeedState,
    /// The consumer that is to be cancelled.
    stopping: Option<ShortString>,
    /// The channel is gone, and with it the right to ack: the broker delivers again.
    over: bool,
}

#[derive(Debug)]
enum FeedState {
    Open,
    /// Dropped, with deliveries that nobody took.
    Abandoned(Consumer),
    Gone,
}

/// The channel and the signals of a [`LaneAcker`]'s loop.
#[derive(Debug)]
pub(crate) struct AckLoop {
    pub(crate) channel: Channel,
    pub(crate) queue: ShortString,
    /// The connection is lost.
    pub(crate) over: CancellationToken,
    /// The client closes: send what is done, return the rest.
    pub(crate) closing: CancellationToken,
    pub(crate) timeout: Duration,
}

impl LaneAcker {
    pub(crate) fn new(prefetch: u16) -> Self {
        let urgent = (usize::from(prefetch) * URGENT_PERCENT / 100).max(1);
        Self {
            state: Mutex::new(State {
                tracker: AckTracker::new(STRAGGLER, urgent),
                handles: BTreeMap::new(),
                crowded: false,
                feed: FeedState::Open,
                stopping: None,
                over: false,
            }),
            wake: Notify::new(),
            start: Instant::now(),
        }
    }

    /// A delivery goes to the engine. `false` when the channel is gone, so that the delivery is void.
    pub(crate) fn lend(&self, tag: u64, handle: lapin::Acker) -> bool {
        let mut state = self.state();
        if !state.over {
            state.tracker.delivered(tag);
            state.handles.insert(tag, handle);
        }
        !state.over
    }

    /// The channel is gone: acks and releases do nothing any more.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        state.over = true;
        state.tracker = AckTracker::new(STRAGGLER, 0);
        state.handles.clear();
        drop(state);
        self.wake.notify_one();
    }

    /// Nobody will take deliveries from the feed any more. `consumer` may hold some, which go back to the lane.
    pub(crate) fn feed_gone(&self, consumer: Option<Consumer>) {
        self.state().feed = consumer.map_or(FeedState::Gone, FeedState::Abandoned);
        self.wake.notify_one();
    }

    /// Ends a consumer. What the broker has lent it by then still comes.
    pub(crate) fn stop(&self, consumer: ShortString) {
        self.state().stopping = Some(consumer);
        self.wake.notify_one();
    }

    /// Sends until the feed is gone and everything it lent has come back, or the channel is gone.
    pub(crate) async fn run(self: Arc<Self>, on: AckLoop) {
        loop {
            tokio::select! {
                () = on.over.cancelled() => break,
                () = on.closing.cancelled() => {
                    self.flush(true, on.timeout).await;
                    break;
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep(STRAGGLER), if self.has_unsent() => {}
            }
            tokio::time::sleep(BATCH).await;
            // Both before anything is released, which would come again.
            let stopping = self.state().stopping.take();
            if let Some(consumer) = stopping {
                stop(&on, consumer).await;
            }
            if let Some(consumer) = self.take_abandoned() {
                let returned = return_buffered(&on, consumer).await;
                self.state().crowded |= returned >= CROWD;
            }
            if !self.flush(false, on.timeout).await || self.finished() {
                break;
            }
        }
        self.end();
        if on.channel.status().connected()
            && let Err(error) = self.close(&on).await
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "lane channel not closed in order");
        }
    }

    /// Closes the channel, once the broker's side of it has passed on to the queue what it was told.
    ///
    /// After 32 acks and releases that a quorum queue has not written yet, it keeps back what follows, and forgets that when it is
    /// closed (rabbitmq-server#10327). A get is answered after those 32, and by the time of the close the rest is on its way.
    /// What is got goes back with the channel.
    async fn close(&self, on: &AckLoop) -> Result<(), RabbitError> {
        if self.state().crowded {
            let get = on.channel.basic_get(on.queue.clone(), BasicGetOptions { no_ack: false });
            call(on.timeout, "basic.get", get).await?;
        }
        call(on.timeout, "channel.close", on.channel.close(200, "OK".into())).await
    }

    /// Tells the broker what is ready. `false` when the channel is gone.
    async fn flush(&self, everything: bool, timeout: Duration) -> bool {
        let (releases, acks) = self.take(everything);
        // An ack with `multiple` covers released tags below it: the releases must be with the broker before.
        let released = join_all(releases.into_iter().map(|handle| async move {
            handle.nack(BasicNackOptions { multiple: false, requeue: true }).await
        }));
        let acked = join_all(
            acks.into_iter()
                .map(|(handle, multiple)| async move { handle.ack(BasicAckOptions { multiple }).await }),
        );
        let sent = within(timeout, "basic.ack", async { Ok(taken(&released.await) && taken(&acked.await)) });
        sent.await.unwrap_or(false)
    }

    fn take(&self, everything: bool) -> (Vec<lapin::Acker>, Vec<(lapin::Acker, bool)>) {
        let now = Tick::ZERO + self.start.elapsed();
        let mut state = self.state();
        let ops = if everything { state.tracker.take_all(now) } else { state.tracker.take_ready(now) };
        let (mut releases, mut acks) = (Vec::new(), Vec::new());
        for op in ops {
            match op {
                AckOp::Release { tag } => releases.extend(state.handles.remove(&tag)),
                AckOp::Ack { tag, multiple } => {
                    acks.extend(state.handles.remove(&tag).map(|handle| (handle, multiple)));
                    if multiple {
                        state.handles = state.handles.split_off(&tag);
                    }
                }
            }
        }
        state.crowded |= releases.len() + acks.len() >= CROWD;
        drop(state);
        (releases, acks)
    }

    fn take_abandoned(&self) -> Option<Consumer> {
        let mut state = self.state();
        match std::mem::replace(&mut state.feed, FeedState::Gone) {
            FeedState::Abandoned(consumer) => Some(consumer),
            other @ (FeedState::Open | FeedState::Gone) => {
                state.feed = other;
                None
            }
        }
    }

    fn has_unsent(&self) -> bool {
        self.state().tracker.has_unsent()
    }

    fn finished(&self) -> bool {
        let state = self.state();
        state.over
            || matches!(state.feed, FeedState::Gone)
                && state.tracker.lent() == 0
                && !state.tracker.has_unsent()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl sluice_engine::Acker for LaneAcker {
    fn ack(&self, tag: u64) {
        self.state().tracker.done(tag);
        self.wake.notify_one();
    }

    fn release(&self, tag: u64) {
        self.state().tracker.release(tag);
        self.wake.notify_one();
    }
}

/// Whether the connection took all of them. `Ok(false)` means that it was not sent, which is no ack.
fn taken(answers: &[lapin::Result<bool>]) -> bool {
    answers.iter().all(|answer| matches!(answer, Ok(true)))
}

/// Cancels a consumer, once nothing has been acked for [`HOLD`].
async fn stop(on: &AckLoop, consumer: ShortString) {
    tokio::select! {
        () = on.over.cancelled() => return,
        () = on.closing.cancelled() => {}
        () = tokio::time::sleep(HOLD) => {}
    }
    let cancel = on.channel.basic_cancel(consumer, BasicCancelOptions::default());
    if let Err(error) = call(on.timeout, "basic.cancel", cancel).await {
        tracing::debug!(error = &error as &dyn std::error::Error, "consumer not cancelled in order");
    }
}

/// Ends the consumer of a dropped feed, and gives back what it had buffered; answers how many.
async fn return_buffered(on: &AckLoop, mut consumer: Consumer) -> usize {
    let cancel = on.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
    let mut count = 0;
    let returned = within(on.timeout, "basic.cancel", async {
        call(on.timeout, "basic.cancel", cancel).await?;
        while let Some(Ok(delivery)) = consumer.next().await {
            let nack = delivery.nack(BasicNackOptions { multiple: false, requeue: true });
            call(on.timeout, "basic.nack", nack).await?;
            count += 1;
        }
        Ok(())
    });
    if let Err(error) = returned.await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "buffered deliveries go back with the channel"
        );
    }
    count
}
