//! Starts the lanes, the relay and the services around them, and holds the handles that the outside asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sluice_telemetry::{Dependency, Metrics};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::batcher::Surroundings;
use crate::breakers::Breakers;
use crate::drain::{DrainReport, drain};
use crate::health::Health;
use crate::lane::{LaneLoop, Shared, run_lane};
use crate::plan::Plan;
use crate::poison::run_poison;
use crate::ports::{Clock, Esp, Inbox, Ledger, Outbox, SlotSource};
use crate::relay::run_relay;
use crate::slots::{Slots, keep_slots};
use crate::worker::Worker;

/// How often the gauges of lanes are set anew.
const GAUGES_EVERY: Duration = Duration::from_secs(2);

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
    /// The configuration, indexed.
    pub plan: Arc<Plan>,
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
    pub(crate) lanes: Vec<Arc<LaneLoop>>,
    pub(crate) jobs: TaskTracker,
    pub(crate) lane_tasks: TaskTracker,
    pub(crate) services: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) stop_services: CancellationToken,
}

impl Engine {
    /// Starts the roles. Must be called within a tokio runtime; ends with [`Engine::drain`].
    #[must_use]
    pub fn start(parts: Parts) -> Self {
        let Parts { plan, roles, clock, inbox, outbox, ledger, slot_source, esps, breakers, metrics, health } =
            parts;
        let (stop, stop_services) = (CancellationToken::new(), CancellationToken::new());
        let (jobs, lane_tasks, services) = (TaskTracker::new(), TaskTracker::new(), TaskTracker::new());
        let slots = Arc::new(Slots::new(Arc::clone(&clock), Arc::clone(&metrics)));
        // The batchers end when the worker is dropped, so they belong to no tracker that a drain waits for.
        let around = Surroundings { clock, metrics, health, tasks: TaskTracker::new() };
        let lanes = plan.lanes();
        let places = Arc::new(Semaphore::new(plan.bounds().max_in_flight.clamp(1, Semaphore::MAX_PERMITS)));
        let worker = Arc::new(Worker::new(plan, inbox, outbox, ledger, esps, slots, breakers, &around));

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
        if roles.relay {
            lane_tasks.spawn(run_relay(Arc::clone(&worker), stop.clone()));
            lane_tasks.spawn(run_poison(Arc::clone(&worker), stop.clone()));
        }
        let lanes: Vec<Arc<LaneLoop>> = if roles.worker {
            lanes
                .into_iter()
                .map(|lane| Arc::new(LaneLoop { lane, in_flight: AtomicUsize::new(0) }))
                .collect()
        } else {
            Vec::new()
        };
        if roles.worker {
            let it = Arc::clone(&worker);
            service(Box::pin(async move { keep_slots(&it.slots, slot_source.as_ref(), &it.health).await }));
            let it = Arc::clone(&worker);
            service(Box::pin(async move { it.slots.run().await }));
            let shared =
                Shared { worker: Arc::clone(&worker), places, jobs: jobs.clone(), stop: stop.clone() };
            for lane in &lanes {
                lane_tasks.spawn(run_lane(Arc::clone(lane), shared.clone()));
            }
        }
        let (it, counted) = (Arc::clone(&worker), lanes.clone());
        service(Box::pin(async move { set_gauges(&it, &counted).await }));
        Self { worker, lanes, jobs, lane_tasks, services, stop, stop_services }
    }

    /// Jobs in work in this process.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.jobs.len()
    }

    /// Stops in named steps: consume no more, return what was not begun, finish what was until `deadline`.
    pub async fn drain(&self, deadline: Duration) -> DrainReport {
        drain(self, deadline).await
    }
}

/// Sets the gauges of all lanes, again and again.
async fn set_gauges(worker: &Worker, lanes: &[Arc<LaneLoop>]) {
    let names = worker.plan.lanes();
    loop {
        for it in lanes {
            worker.metrics.lane_in_flight(&it.lane.to_string(), it.in_flight.load(Ordering::Relaxed));
        }
        match worker.inbox.depths(&names).await {
            Ok(depths) => {
                worker.health.up(Dependency::Queue);
                for depth in depths {
                    worker.metrics.lane_ready(&depth.lane, depth.ready);
                }
            }
            Err(error) => worker.health.down(Dependency::Queue, &error),
        }
        tokio::time::sleep(GAUGES_EVERY).await;
    }
}
