//! A server on a port of its own, and the handles to what stands behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sluice_config::Config;
use sluice_engine::{Bounces, Breakers, Clock, Health, Intake, LivePlan, Overview, Plan, SystemClock};
use sluice_http::{Access, AppState, HttpServer, InFlight, Limits, Tls};
use sluice_telemetry::{Dependency, Metrics};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::fakes::{FakeConsole, FakeOutbox};
use crate::store::FakeStore;
use crate::webhooks::{FakeEvents, FakeWebhook};

/// Two ESPs, one with a limit.
const CONFIG: &str = "
[[esp]]
name = 'sandbox'
kind = 'sandbox'
limits = ['100/s']

[[esp]]
name = 'spare'
kind = 'sandbox'
";

/// A running server.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) addr: SocketAddr,
    pub(crate) console: Arc<FakeConsole>,
    pub(crate) store: Arc<FakeStore>,
    pub(crate) outbox: Arc<FakeOutbox>,
    pub(crate) events: Arc<FakeEvents>,
    pub(crate) health: Arc<Health>,
    pub(crate) draining: CancellationToken,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<()>,
}

/// How a server is made.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) access: Access,
    pub(crate) limits: Limits,
    pub(crate) worker: bool,
    pub(crate) tls: Option<Tls>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { access: Access::Open, limits: Limits::default(), worker: true, tls: None }
    }
}

impl Setup {
    pub(crate) fn limited(change: impl FnOnce(&mut Limits)) -> Self {
        let mut setup = Self::default();
        change(&mut setup.limits);
        setup
    }
}

/// A server that lets everybody in, with both dependencies up.
pub(crate) async fn start() -> Rig {
    start_with(Setup::default()).await
}

pub(crate) async fn start_with(setup: Setup) -> Rig {
    let console = Arc::new(FakeConsole::new());
    let store = Arc::new(FakeStore::new());
    let outbox = Arc::new(FakeOutbox::new());
    let events = Arc::new(FakeEvents::new());
    let config = Config::load(CONFIG, &[], &|_| Err(String::new())).unwrap();
    let plan = Arc::new(Plan::of(&config));
    let metrics = Arc::new(Metrics::new("1.2.3").unwrap());
    let health = Arc::new(Health::new(Arc::clone(&metrics)));
    health.up(Dependency::Queue);
    health.up(Dependency::Store);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let breakers =
        setup.worker.then(|| Arc::new(Breakers::new(&plan, Arc::clone(&clock), Arc::clone(&metrics))));
    let draining = CancellationToken::new();
    let live = Arc::new(LivePlan::new(plan));
    let overview = Overview::new(
        Arc::clone(&live),
        Arc::clone(&store) as _,
        Arc::clone(&store) as _,
        Arc::clone(&store) as _,
    );
    let state = AppState {
        intake: Intake::new(Arc::clone(&live), Arc::clone(&outbox) as _, Arc::clone(&console) as _),
        console: Arc::clone(&console) as _,
        events: Arc::clone(&events) as _,
        bounces: Arc::new(Bounces::new(Arc::clone(&live), None, Arc::clone(&metrics))),
        webhooks: Arc::new([Arc::new(FakeWebhook::new()) as _]),
        overview,
        health: Arc::clone(&health),
        metrics,
        breakers,
        in_flight: InFlight::new(|| 7),
        draining: draining.clone(),
        access: setup.access,
        started: clock.tick(),
        clock,
        version: "1.2.3",
    };
    let mut server = HttpServer::bind("127.0.0.1:0".parse().unwrap(), state, setup.limits).await.unwrap();
    if let Some(tls) = setup.tls {
        server = server.with_tls(tls);
    }
    let addr = server.local_addr();
    let stop = CancellationToken::new();
    let served = TaskTracker::new().spawn(server.serve(stop.clone()));
    Rig { addr, console, store, outbox, events, health, draining, stop, served }
}

impl Rig {
    /// Stops the server; answers how long that took.
    pub(crate) async fn stop(self) -> Duration {
        let before = tokio::time::Instant::now();
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(60), self.served).await.unwrap().unwrap();
        before.elapsed()
    }
}

/// A good job.
pub(crate) fn job(id: &str) -> Value {
    json!({
        "v": 1,
        "id": id,
        "from": {"email": "news@acme.example"},
        "to": {"email": "ada@gmail.com"},
        "subject": "Hello",
        "text": "Hello Ada",
    })
}
