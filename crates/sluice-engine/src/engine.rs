//! Starts the lanes, the relay and the services around them, and holds the handles that the outside asks.

use std::collections::BTreeSet;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluice_telemetry::{Dependency, Metrics};
use sluice_types::Lane;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::batcher::Surroundings;
use crate::breakers::Breakers;
use crate::drain::{DrainReport, drain};
use crate::fleet::{count_parked, keep_in_touch, orders};
use crate::health::Health;
use crate::lane::{LaneBook, LaneLoop, Shared, run_lane};
use crate::plan::{Bounds, LivePlan, Plan};
use crate::poison::run_poison;
use crate::ports::{Clock, Esp, Fleet, Inbox, InboxError, Ledger, MxSource, Outbox, SlotSource, Taster};
use crate::relay::run_relay;
use crate::results::{Telling, run_results};
use crate::sides::keep_sides;
use crate::slots::{Slots, keep_slots};
use crate::worker::{Outside, Worker};

/// How often the gauges of lanes are set anew.
const GAUGES_EVERY: Duration = Duration::from_secs(2);
/// How often while the broker is away or takes nothing.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Works the lanes.
    pub worker: bool,
    /// Publishes parked jobs that are due.
    pub relay: bool,
}

/// Everything that an engine is made of.
#[derive(Debug)]
pub struct Parts {
    /// The configuration, indexed: as it is now, and told of side lanes from now on.
    pub plan: Arc<LivePlan>,
    /// What this process does.
    pub roles: Roles,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where jobs come from.
    pub inbox: Arc<dyn Inbox>,
    /// Where jobs are published to.
    pub outbox: Arc<dyn Outbox>,
    /// What happened to every job.
    pub ledger: Arc<dyn Ledger>,
    /// Where slots are leased.
    pub slot_source: Arc<dyn SlotSource>,
    /// What the fleet shares.
    pub fleet: Arc<dyn Fleet>,
    /// This process's name in the fleet: unique among all that ever were.
    pub replica: String,
    /// Looks mail exchanges up; `None` to group by domain name alone.
    pub mx: Option<Arc<dyn MxSource>>,
    /// Decodes what may bring a worker down in a process of its own; `None` to go without.
    pub taster: Option<Arc<dyn Taster>>,
    /// Tells upstream services of final states, where the process relays; `None` to tell nobody.
    pub telling: Option<Telling>,
    /// The ESPs, one per account of the plan.
    pub esps: Vec<Arc<dyn Esp>>,
    /// Their breakers.
    pub breakers: Arc<Breakers>,
    /// The metrics of this process.
    pub metrics: Arc<Metrics>,
    /// Which outside systems answer.
    pub health: Arc<Health>,
}

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    pub(crate) worker: Arc<Worker>,
    /// Connections and clients were made with it.
    started_with: Arc<Plan>,
    pub(crate) lanes: Arc<LaneBook>,
    /// What the loops of lanes share; `None` where none is worked.
    shared: Option<Shared>,
    pub(crate) jobs: TaskTracker,
    pub(crate) lane_tasks: TaskTracker,
    pub(crate) services: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) give_back: CancellationToken,
    pub(crate) stop_services: CancellationToken,
}

impl Engine {
    /// Starts the roles. Must be called within a tokio runtime; ends with [`Engine::drain`].
    #[must_use]
    pub fn start(parts: Parts) -> Self {
        let Parts { plan: doors, roles, clock, inbox, outbox, ledger, slot_source, fleet, .. } = parts;
        let Parts { replica, mx, taster, telling, esps, breakers, metrics, health, .. } = parts;
        let [stop, give_back, stop_services] = [(); 3].map(|()| CancellationToken::new());
        let (jobs, lane_tasks, services) = (TaskTracker::new(), TaskTracker::new(), TaskTracker::new());
        let plan = Arc::clone(&doors.get());
        let (bounds, started_with) = (*plan.bounds(), Arc::clone(&plan));
        let slots = Arc::new(Slots::new(Arc::clone(&clock), Arc::clone(&metrics), bounds.reserved_permille));
        // The batchers end when the worker is dropped, so they belong to no tracker that a drain waits for.
        let around = Surroundings { clock, metrics, health, tasks: TaskTracker::new() };
        let outside =
            Outside { plan, inbox, outbox, ledger, slot_source, fleet, replica, esps, mx, taster, breakers };
        let worker = Arc::new(Worker::new(outside, slots, &around));

        let service = |work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            let stop = stop_services.clone();
            services.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = work => {}
                }
            });
        };
        let it = Arc::clone(&worker);
        service(Box::pin(async move { it.health.watch_store(it.ledger.as_ref()).await }));
        let it = Arc::clone(&worker);
        service(Box::pin(async move { keep_in_touch(&it, roles.worker).await }));
        let it = Arc::clone(&worker);
        service(Box::pin(async move { count_parked(&it).await }));
        if roles.relay {
            lane_tasks.spawn(run_relay(Arc::clone(&worker), stop.clone()));
            lane_tasks.spawn(run_poison(Arc::clone(&worker), stop.clone()));
            if let Some(telling) = telling {
                lane_tasks.spawn(run_results(Arc::clone(&worker), telling, stop.clone()));
            }
        }
        let lanes = Arc::new(LaneBook::default());
        let shared = roles.worker.then(|| {
            let (common, reserved) = places(&bounds);
            Shared {
                worker: Arc::clone(&worker),
                lanes: Arc::clone(&lanes),
                places: Arc::new(Semaphore::new(common)),
                places_max: common,
                reserved: Arc::new(Semaphore::new(reserved)),
                jobs: jobs.clone(),
                stop: stop.clone(),
                give_back: give_back.clone(),
            }
        });
        if roles.worker {
            let it = Arc::clone(&worker);
            service(Box::pin(
                async move { keep_slots(&it.slots, it.slot_source.as_ref(), &it.health).await },
            ));
            let it = Arc::clone(&worker);
            service(Box::pin(async move { it.slots.run().await }));
        }
        let (it, counted) = (Arc::clone(&worker), Arc::clone(&lanes));
        service(Box::pin(async move { set_gauges(&it, &counted).await }));
        let work = {
            let (it, lanes, shared) = (Arc::clone(&worker), Arc::clone(&lanes), shared.clone());
            let tasks = lane_tasks.clone();
            move || work_lanes(&it, &lanes, shared.as_ref(), &tasks)
        };
        work();
        let it = Arc::clone(&worker);
        service(Box::pin(async move { keep_sides(&it, &doors, work).await }));
        Self {
            worker,
            started_with,
            lanes,
            shared,
            jobs,
            lane_tasks,
            services,
            stop,
            give_back,
            stop_services,
        }
    }

    /// Goes on with the limits, pools and groups of another configuration. Lanes of groups that it does not have any more are
    /// worked until their queues are deleted, those of pools wait; ESPs that were not there at the start cannot be called, and what needs a restart stays
    /// as it was.
    pub fn reload(&self, plan: &Plan) {
        let taken_up = plan.as_taken_up(&self.started_with);
        self.worker.change_plan(|_| Some(taken_up.with_orders(orders(&self.worker.link.view(), &taken_up))));
        work_lanes(&self.worker, &self.lanes, self.shared.as_ref(), &self.lane_tasks);
    }

    /// Jobs in work in this process.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.jobs.len()
    }

    /// Stops in named steps: consume no more, begin what is lent for a second, return the rest, finish what was begun until `deadline`.
    pub async fn drain(&self, deadline: Duration) -> DrainReport {
        drain(self, deadline).await
    }
}

/// Works every lane of the plan that is not worked yet, unless the process drains.
fn work_lanes(worker: &Worker, lanes: &LaneBook, shared: Option<&Shared>, tasks: &TaskTracker) {
    let Some(shared) = shared.filter(|shared| !shared.stop.is_cancelled()) else { return };
    for lane in lanes.add(worker.plan().lanes()) {
        tasks.spawn(run_lane(lane, shared.clone()));
    }
}

/// Places in work: those for everybody, and those kept for transactional jobs.
fn places(bounds: &Bounds) -> (usize, usize) {
    let all = bounds.max_in_flight.clamp(2, Semaphore::MAX_PERMITS);
    let share = usize::try_from(bounds.reserved_permille).unwrap_or(0);
    let reserved = (all.saturating_mul(share) / 1000).min(all - 1);
    (all - reserved, reserved)
}

/// Sets the gauges of all lanes, again and again.
async fn set_gauges(worker: &Worker, lanes: &LaneBook) {
    // The lanes that the gauges tell of.
    let mut told: BTreeSet<Lane> = BTreeSet::new();
    loop {
        let names = worker.plan().lanes();
        let is_told = |it: &Arc<LaneLoop>| names.contains(&it.lane) || told.contains(&it.lane);
        for it in lanes.all().iter().filter(|it| is_told(it)) {
            worker.metrics.lane_in_flight(&it.lane.to_string(), it.in_flight.load(Ordering::Relaxed));
        }
        match worker.inbox.depths(&names).await {
            Ok(depths) => {
                worker.queue_answers();
                for depth in depths {
                    worker.metrics.lane_ready(&depth.lane, depth.ready);
                }
                recount_left(worker, &mut told, &names).await;
            }
            Err(error) => worker.health.down(Dependency::Queue, &error),
        }
        let is_up = worker.health.is_up(Dependency::Queue);
        tokio::time::sleep(if is_up { GAUGES_EVERY } else { LOOK_AGAIN }).await;
    }
}

/// Sets the gauges of lanes that have left the plan, each for itself, since their queues may be gone; those of a queue that is
/// gone end.
async fn recount_left(worker: &Worker, told: &mut BTreeSet<Lane>, planned: &[Lane]) {
    let left: Vec<Lane> = told.iter().filter(|lane| !planned.contains(lane)).cloned().collect();
    told.extend(planned.iter().cloned());
    for lane in left {
        match worker.inbox.depths(slice::from_ref(&lane)).await {
            Ok(depths) => depths.iter().for_each(|it| worker.metrics.lane_ready(&it.lane, it.ready)),
            Err(InboxError::Unavailable(_)) => {}
            Err(InboxError::Refused(_)) => {
                worker.metrics.lane_gone(&lane);
                told.remove(&lane);
            }
        }
    }
}
