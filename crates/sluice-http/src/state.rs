//! The handles that the routes ask.

use std::sync::Arc;

use sluice_engine::{Bounces, Breakers, Clock, Console, Events, Health, Intake, Overview, Webhook};
use sluice_telemetry::Metrics;
use sluice_types::Tick;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::Access;
use crate::limits::Limits;

/// Bodies of webhooks may take so much of the room for all bodies: one part in four.
const WEBHOOK_PART: usize = 4;

/// Everything that the routes ask.
#[derive(Clone, Debug)]
pub struct AppState {
    /// The door for jobs.
    pub intake: Intake,
    /// Questions to the store.
    pub console: Arc<dyn Console>,
    /// Where events of ESPs land.
    pub events: Arc<dyn Events>,
    /// What events have made of messages that were taken.
    pub bounces: Arc<Bounces>,
    /// The webhooks that are on, one for an ESP at most.
    pub webhooks: Arc<[Arc<dyn Webhook>]>,
    /// How the fleet stands, and orders to it.
    pub overview: Overview,
    /// Which outside systems answer.
    pub health: Arc<Health>,
    /// The metrics of this process.
    pub metrics: Arc<Metrics>,
    /// The breakers of this process; `None` when it does not work lanes.
    pub breakers: Option<Arc<Breakers>>,
    /// Jobs in work in this process.
    pub in_flight: InFlight,
    /// Cancelled when the process begins to drain: `/ready` says so, while everything else still answers.
    pub draining: CancellationToken,
    /// Who may call.
    pub access: Access,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// When the process started, on `clock`.
    pub started: Tick,
    /// The version of this build.
    pub version: &'static str,
}

/// Asks how many jobs are in work. The default answers 0.
#[derive(Clone, Default)]
pub struct InFlight(Option<Arc<dyn Fn() -> usize + Send + Sync>>);

impl InFlight {
    /// Asks `count` each time.
    #[must_use]
    pub fn new(count: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(count)))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |count| count())
    }
}

impl std::fmt::Debug for InFlight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("InFlight").field(&self.count()).finish()
    }
}

/// What every request shares.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) app: AppState,
    pub(crate) limits: Limits,
    /// One permit per byte of a body that is held.
    pub(crate) body_bytes: Arc<Semaphore>,
    /// As many as bodies of webhooks may hold of those: whoever calls there has shown no token, and is known by the whole body.
    pub(crate) webhook_bytes: Arc<Semaphore>,
    /// Requests in work.
    pub(crate) requests: TaskTracker,
}

impl Context {
    pub(crate) fn new(app: AppState, limits: Limits) -> Self {
        let room = |bytes: usize| {
            let bytes = bytes.max(limits.body_max_bytes).min(Semaphore::MAX_PERMITS);
            Arc::new(Semaphore::new(bytes))
        };
        Self {
            app,
            limits,
            body_bytes: room(limits.bodies_max_bytes),
            webhook_bytes: room(limits.bodies_max_bytes / WEBHOOK_PART),
            requests: TaskTracker::new(),
        }
    }
}
