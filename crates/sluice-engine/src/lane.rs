//! One lane's loop: pull what can be worked on, give each delivery a task, pause when nothing can go.

mod working;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluice_policy::{BodySize, under_way};
use sluice_telemetry::Dependency;
use sluice_types::{Class, Lane};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use self::working::Working;
use crate::pipeline::run_job;
use crate::ports::{Delivery, InboxError};
use crate::room::Room;
use crate::worker::{Borrows, Worker};

/// Pause after a broker that could not be reached.
const REOPEN_PAUSE: Duration = Duration::from_millis(250);
/// A lane that has enough stops when nothing has come for so long: what is on its way to a consumer as it ends is redelivered.
const QUIET: Duration = Duration::from_millis(50);
/// How often a paused lane looks whether an ESP is back.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How often, at most, a lane that works looks whether it still can: not for each delivery.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The part of the places in work that is kept for bulk lanes which have few: the same for each of them.
const KEPT_PART: usize = 4;
/// How soon a lane that has its part looks again.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// One lane of a worker, and how many of its deliveries are in work.
#[derive(Debug)]
pub(crate) struct LaneLoop {
    pub(crate) lane: Lane,
    pub(crate) in_flight: AtomicUsize,
}

/// The lanes that a process works.
#[derive(Debug, Default)]
pub(crate) struct LaneBook(Mutex<Vec<Arc<LaneLoop>>>);

impl LaneBook {
    fn lanes(&self) -> MutexGuard<'_, Vec<Arc<LaneLoop>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Arc<LaneLoop>> {
        self.lanes().clone()
    }

    /// Adds those that are new, and answers them.
    pub(crate) fn add(&self, lanes: Vec<Lane>) -> Vec<Arc<LaneLoop>> {
        let mut known = self.lanes();
        let mut added = Vec::new();
        for lane in lanes {
            if !known.iter().any(|it| it.lane == lane) {
                let lane = Arc::new(LaneLoop { lane, in_flight: AtomicUsize::new(0) });
                known.push(Arc::clone(&lane));
                added.push(lane);
            }
        }
        added
    }

    /// Forgets `lane` if it `is_gone`, and answers whether it was. Asked while no lane can be added, so that one which has come
    /// back meanwhile is either kept here or added anew.
    fn retire(&self, lane: &Arc<LaneLoop>, is_gone: impl FnOnce() -> bool) -> bool {
        let mut known = self.lanes();
        let is_gone = is_gone();
        if is_gone {
            known.retain(|it| !Arc::ptr_eq(it, lane));
        }
        is_gone
    }
}

/// What the loops of all lanes share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) worker: Arc<Worker>,
    pub(crate) lanes: Arc<LaneBook>,
    /// Jobs in work over all lanes, and how many there can be.
    pub(crate) places: Arc<Semaphore>,
    pub(crate) places_max: usize,
    /// Places kept for transactional jobs.
    pub(crate) reserved: Arc<Semaphore>,
    /// Has a token of each job in work; no tasks.
    pub(crate) jobs: TaskTracker,
    /// Nothing more is consumed.
    pub(crate) stop: CancellationToken,
    /// Nor is anything begun that was consumed: it goes back to the broker.
    pub(crate) give_back: CancellationToken,
}

impl Shared {
    /// Whether a bulk lane may take a place: it leaves to each other one what that lacks of its own part.
    fn has_place_for(&self, lane: &LaneLoop) -> bool {
        let left = self.places.available_permits();
        // Asked for each delivery, and lanes may be many.
        if left > self.places_max / KEPT_PART {
            return true;
        }
        let lanes = self.lanes.lanes();
        let bulk = || lanes.iter().filter(|it| it.lane.class == Class::Bulk);
        let part = (self.places_max / KEPT_PART / bulk().count().max(1)).max(1);
        let lacks = |it: &LaneLoop| part.saturating_sub(it.in_flight.load(Ordering::Relaxed));
        lacks(lane) > 0 || left > bulk().map(|it| lacks(it)).sum()
    }
}

/// Why a feed is no longer read.
#[derive(Debug)]
enum Ended {
    /// The connection is gone, or the broker has cancelled the consumer.
    FeedOver,
    /// The process drains.
    Stopped,
    /// The store is away for too long.
    StoreAway,
    /// No ESP of the pool takes jobs of this lane, or enough wait for a call already.
    NowhereToSend,
    /// The limits have changed, or how long calls take, or how large the bodies are, or an ESP has answered, and with that how
    /// much is borrowed from the broker.
    Resized,
}

/// Works a lane until the process drains, or until the broker no longer has a lane that the configuration has dropped.
pub(crate) async fn run_lane(this: Arc<LaneLoop>, shared: Shared) {
    let worker = &shared.worker;
    let name = this.lane.to_string();
    let mut bodies = BodySize::default();
    loop {
        worker.metrics.lane_paused(&name, true);
        let prefetch = tokio::select! {
            () = shared.stop.cancelled() => return,
            prefetch = until_worth_pulling(worker, &this.lane, bodies) => prefetch,
        };
        let feed = match worker.inbox.open(&this.lane, prefetch).await {
            Ok(feed) => feed,
            Err(InboxError::Refused(_)) if retires(&this, &shared) => return,
            Err(error) => {
                worker.health.down(Dependency::Queue, &error);
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    () = tokio::time::sleep(REOPEN_PAUSE) => continue,
                }
            }
        };
        worker.queue_answers();
        worker.metrics.lane_paused(&name, false);
        tracing::debug!(lane = %name, prefetch, "consuming");
        let mut feed = Working::new(feed, under_way(prefetch));
        let ended = pull(&this, &shared, &mut feed, prefetch, &mut bodies).await;
        tracing::debug!(lane = %name, ?ended, "no longer consuming");
        match ended {
            Ended::FeedOver => {}
            Ended::Stopped if worker.health.is_up(Dependency::Store) => {
                return work_rest(&this, &shared, feed).await;
            }
            Ended::Stopped => return feed.give_back().await,
            Ended::StoreAway => feed.give_back().await,
            Ended::NowhereToSend | Ended::Resized => work_rest(&this, &shared, feed).await,
        }
    }
}

/// Whether the configuration has no such lane any more: then its queue was deleted, which is as it should be, and the lane is
/// forgotten. Another SIGHUP that brings it back starts it anew.
fn retires(this: &Arc<LaneLoop>, shared: &Shared) -> bool {
    let worker = &shared.worker;
    let is_gone = shared.lanes.retire(this, || !worker.plan().lanes().contains(&this.lane));
    if is_gone {
        worker.metrics.lane_gone(&this.lane);
        tracing::info!(lane = %this.lane, "lane is gone");
    }
    is_gone
}

/// Waits until jobs of the lane can go; answers how many deliveries to borrow.
async fn until_worth_pulling(worker: &Worker, lane: &Lane, bodies: BodySize) -> u16 {
    worker.link.wait_known().await;
    loop {
        worker.health.wait_up(Dependency::Store).await;
        if let Borrows::UpTo(prefetch) = borrows(worker, lane, bodies) {
            return prefetch;
        }
        tokio::select! {
            () = worker.breakers.closed.notified() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}

/// How many deliveries to borrow, of bodies of this size.
fn borrows(worker: &Worker, lane: &Lane, bodies: BodySize) -> Borrows {
    match worker.borrows(lane) {
        Borrows::UpTo(prefetch) => Borrows::UpTo(prefetch.min(bodies.fit())),
        other => other,
    }
}

/// Reads the feed and gives each delivery a task, until something speaks against it.
async fn pull(
    this: &Arc<LaneLoop>,
    shared: &Shared,
    feed: &mut Working,
    prefetch: u16,
    bodies: &mut BodySize,
) -> Ended {
    let worker = &shared.worker;
    let (mut looked, mut has_enough) = (None, false);
    loop {
        if !worker.health.is_up(Dependency::Store) && !store_returns(shared).await {
            return if shared.stop.is_cancelled() { Ended::Stopped } else { Ended::StoreAway };
        }
        let (plan, now) = (worker.plan(), worker.clock.tick());
        if looked
            .as_ref()
            .is_none_or(|(known, at)| !Arc::ptr_eq(known, &plan) || now.since(*at) >= LOOK_EVERY)
        {
            let borrows = borrows(worker, &this.lane, *bodies);
            match borrows {
                Borrows::Nothing => return Ended::NowhereToSend,
                Borrows::UpTo(other) if other != prefetch => return Ended::Resized,
                Borrows::UpTo(_) | Borrows::Enough => has_enough = borrows == Borrows::Enough,
            }
            looked = Some((Arc::clone(&plan), now));
        }
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return Ended::Stopped,
            delivery = feed.next() => match delivery {
                None => return Ended::FeedOver,
                Some((delivery, room)) => {
                    bodies.seen(delivery.body.len());
                    start(this, shared, delivery, room).await;
                }
            },
            () = worker.health.wait_down(Dependency::Store) => {}
            () = worker.breakers.closed.notified() => {}
            () = tokio::time::sleep(QUIET), if has_enough => return Ended::NowhereToSend,
        }
    }
}

/// Waits for the store, but no longer than deliveries may be held.
async fn store_returns(shared: &Shared) -> bool {
    tokio::select! {
        () = shared.stop.cancelled() => false,
        () = tokio::time::sleep(shared.worker.plan().bounds().unhealthy_release) => false,
        () = shared.worker.health.wait_up(Dependency::Store) => true,
    }
}

/// Starts the way of one job, as soon as there is a place for it. Once a drain gives back, it goes to the broker instead.
async fn start(this: &Arc<LaneLoop>, shared: &Shared, delivery: Delivery, room: Room) {
    let place = tokio::select! {
        biased;
        () = shared.give_back.cancelled() => None,
        place = place(this, shared) => place,
    };
    let Some(place) = place else { return delivery.receipt.release() };
    let worker = Arc::clone(&shared.worker);
    let in_flight = InFlight::new(Arc::clone(this), place, shared.jobs.token());
    // Boxed, since the runtime moves a task's future about, and this one has some kilobytes.
    let job = Box::pin(async move { run_job(&worker, in_flight, delivery, &room).await });
    #[expect(clippy::disallowed_methods, reason = "the tracker waits for what it has in flight")]
    tokio::spawn(job);
}

/// Waits for a place in work. Bulk leaves some to transactional jobs, so that a backlog does not stand in their way, and a lane some
/// to the other lanes: those of an ESP that hangs would else have all of them.
async fn place(this: &LaneLoop, shared: &Shared) -> Option<OwnedSemaphorePermit> {
    let common = Arc::clone(&shared.places).acquire_owned();
    match this.lane.class {
        Class::Bulk => {
            while !shared.has_place_for(this) {
                tokio::time::sleep(FULL_PAUSE).await;
            }
            common.await.ok()
        }
        Class::Transactional => tokio::select! {
            biased;
            place = Arc::clone(&shared.reserved).acquire_owned() => place.ok(),
            place = common => place.ok(),
        },
    }
}

/// A job in work, from its delivery to its ack: counted in its lane, with its place in the process, and waited for when that drains.
/// Its task may have ended before.
#[derive(Debug)]
pub(crate) struct InFlight {
    lane: Arc<LaneLoop>,
    _place: OwnedSemaphorePermit,
    _awaited: TaskTrackerToken,
}

impl InFlight {
    pub(crate) fn new(lane: Arc<LaneLoop>, place: OwnedSemaphorePermit, awaited: TaskTrackerToken) -> Self {
        lane.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { lane, _place: place, _awaited: awaited }
    }

    pub(crate) fn lane(&self) -> &Lane {
        &self.lane.lane
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.lane.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Ends the feed and lets what it holds go its way; where nothing can be sent, that is the way to `pending`. Once a drain gives back,
/// the rest goes to the broker, whether there is room for it or not.
async fn work_rest(this: &Arc<LaneLoop>, shared: &Shared, mut feed: Working) {
    feed.stop().await;
    loop {
        tokio::select! {
            biased;
            () = shared.give_back.cancelled() => return feed.give_back().await,
            next = feed.next() => match next {
                Some((delivery, room)) => start(this, shared, delivery, room).await,
                None => return,
            },
        }
    }
}

#[cfg(test)]
mod tests;
