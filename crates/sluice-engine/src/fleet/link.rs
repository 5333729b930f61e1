//! The exchange with the fleet: a report every tick, at once when there is news, and what comes back put into effect.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use sluice_policy::{CampaignOrder, Order, Presence, RampTerms, Report, View, permille};
use sluice_telemetry::Dependency;
use sluice_types::{LimitKind, LimitScope, LimitSpec, Tick, Timestamp};
use tokio::sync::watch;

use super::News;
use crate::case::Case;
use crate::plan::{Orders, Plan};
use crate::ports::{Fleet, FleetError};
use crate::store_clock::StoreClock;
use crate::worker::Worker;

/// Time between two exchanges without news.
const TICK: Duration = Duration::from_millis(500);
/// Least time between two exchanges, however much news there is.
const LEAST_PAUSE: Duration = Duration::from_millis(20);
/// Pause after an exchange that failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(500);
/// Keys told in a presence at most.
const KEYS_TOLD: usize = 200;

/// The tie to the fleet.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) fleet: Arc<dyn Fleet>,
    /// This process's name in the fleet.
    pub(crate) replica: String,
    pub(crate) news: Arc<News>,
    view: ArcSwap<View>,
    /// The orders of that view, by tenant and campaign: each job asks for its own.
    campaigns: ArcSwap<HashMap<String, HashMap<String, Order>>>,
    store_clock: Mutex<StoreClock>,
    /// The store's clock minus ours, in nanoseconds, as last learned.
    store_ahead_ns: AtomicI64,
    /// Whether there was an exchange yet.
    known: watch::Sender<bool>,
}

impl Link {
    pub(crate) fn new(fleet: Arc<dyn Fleet>, news: Arc<News>, replica: String) -> Self {
        Self {
            fleet,
            replica,
            news,
            view: ArcSwap::default(),
            campaigns: ArcSwap::default(),
            store_clock: Mutex::default(),
            store_ahead_ns: AtomicI64::new(0),
            known: watch::Sender::new(false),
        }
    }

    /// What held at the last exchange.
    pub(crate) fn view(&self) -> Guard<Arc<View>> {
        self.view.load()
    }

    /// What the store's clock shows at `now`, to some milliseconds. Our own wall clock decides nothing about a job, since other
    /// replicas have others. Of no use before [`Self::wait_known`].
    pub(crate) fn store_time(&self, now: Tick) -> Timestamp {
        let ours = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        Timestamp::from_micros(ours.saturating_add(self.store_ahead_ns.load(Ordering::Relaxed)) / 1000)
    }

    fn learn_store_time(&self, store_ns: i64, asked_at: Tick, received_at: Tick) {
        let mut clock = self.store_clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.learn((store_ns, store_ns), asked_at, received_at);
        self.store_ahead_ns.store(clock.ahead_ns(), Ordering::Relaxed);
    }

    /// Waits until it is known what holds for the fleet: nothing is sent past orders that stand.
    pub(crate) async fn wait_known(&self) {
        let mut known = self.known.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        if known.wait_for(|known| *known).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Replicas that work lanes, this one included.
    pub(crate) fn workers(&self) -> u32 {
        u32::try_from(self.view().workers().count()).unwrap_or(u32::MAX).max(1)
    }

    /// Whether jobs wait in line under the key.
    pub(crate) fn has_line(&self, key: &str) -> bool {
        self.view().lines.contains(key)
    }

    /// What an operator has ordered for the campaign of a job.
    pub(crate) fn order(&self, case: &Case<'_>) -> Option<Order> {
        let campaign = case.job.campaign.as_ref()?.as_str();
        self.campaigns.load().get(case.job.tenant.as_str())?.get(campaign).copied()
    }

    /// Tells the fleet that this process ends.
    pub(crate) async fn leave(&self) -> Result<(), FleetError> {
        let report = Report { replica: self.replica.clone(), leaves: true, ..Report::default() };
        self.fleet.exchange(&report).await.map(drop)
    }
}

/// Exchanges news with the fleet, for ever. While the store is away nothing is known: leases run out, limits fail closed.
pub(crate) async fn keep_in_touch(worker: &Worker, works: bool) {
    loop {
        let pause = match exchange(worker, works).await {
            Ok(()) => LEAST_PAUSE,
            Err(error) => {
                worker.health.down(Dependency::Store, &error);
                PAUSE_AFTER_ERROR
            }
        };
        tokio::time::sleep(pause).await;
        tokio::select! {
            () = worker.link.news.urgent.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

async fn exchange(worker: &Worker, works: bool) -> Result<(), FleetError> {
    let asked_at = worker.clock.tick();
    let taken = worker.link.news.take();
    let plan = worker.plan();
    let report = Report {
        replica: worker.link.replica.clone(),
        presence: Some(presence(worker, works)),
        leaves: false,
        turns: taken.turns.clone(),
        probes: taken.probes.clone(),
        throttles: taken.throttles.clone(),
        sends: taken.sends.clone(),
        ramps: plan.ramps(),
        connections: worker.connections.wishes(),
        releases: Vec::new(),
    };
    match worker.link.fleet.exchange(&report).await {
        Ok(view) => {
            adopt(worker, view, asked_at);
            Ok(())
        }
        Err(error) => {
            worker.link.news.put_back(taken);
            Err(error)
        }
    }
}

fn presence(worker: &Worker, works: bool) -> Presence {
    let (waiting, slots) = worker.slots.totals(KEYS_TOLD);
    let in_flight = worker.esps.iter().map(|(esp, handle)| (esp.to_string(), handle.places.in_use()));
    Presence {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        config_digest: worker.plan().digest().to_owned(),
        works,
        in_flight: in_flight.filter(|(_, count)| *count > 0).collect(),
        waiting: waiting.into_iter().collect(),
        slots: slots.into_iter().collect(),
    }
}

/// Puts into effect what holds for the fleet.
fn adopt(worker: &Worker, view: View, asked_at: Tick) {
    worker.link.learn_store_time(view.now_ns, asked_at, worker.clock.tick());
    worker.breakers.adopt(&view);
    worker.connections.adopt(&view, &worker.link.replica, asked_at);
    let now = worker.clock.tick();
    worker.slots.set_brakes(view.brakes.iter().filter_map(|(scope, brake)| {
        let hold = Duration::from_nanos(u64::try_from(brake.hold_ns).unwrap_or(0));
        Some((scope.parse().ok()?, permille(brake.factor), now + hold))
    }));
    worker.slots.set_sharers(sharers(&view));
    worker.change_plan(|live| {
        let orders = orders(&view, live);
        if *live.orders() == orders {
            return None;
        }
        tracing::info!(
            edits = orders.edits.len(),
            ramps = orders.ramps.len(),
            brakes = orders.brakes.len(),
            "limits changed"
        );
        Some(live.with_orders(orders))
    });
    let digests: BTreeSet<&str> = view.workers().map(|it| it.presence.config_digest.as_str()).collect();
    let differ = digests.len() > 1;
    if worker.health.configs_differ(differ) {
        tracing::error!(severity = "high", "replicas run with different limits, pools or groups");
    }
    worker.metrics.fleet(view.here().count(), differ, view.brakes.len());
    if worker.link.view().campaigns != view.campaigns {
        worker.link.campaigns.store(Arc::new(campaigns(&view)));
    }
    worker.link.view.store(Arc::new(view));
    worker.link.known.send_replace(true);
}

/// What is ordered, by tenant and campaign.
fn campaigns(view: &View) -> HashMap<String, HashMap<String, Order>> {
    let mut campaigns: HashMap<String, HashMap<String, Order>> = HashMap::new();
    for CampaignOrder { tenant, campaign, order, .. } in &view.campaigns {
        campaigns.entry(tenant.clone()).or_default().insert(campaign.clone(), *order);
    }
    campaigns
}

/// How many replicas have jobs waiting under each limit, where there are several.
fn sharers(view: &View) -> HashMap<String, u32> {
    let mut sharers: HashMap<String, u32> = HashMap::new();
    for key in view.here().flat_map(|it| it.presence.waiting.keys()) {
        *sharers.entry(key.clone()).or_default() += 1;
    }
    sharers.retain(|_, count| *count > 1);
    sharers
}

/// What a view means for the limits.
pub(crate) fn orders(view: &View, plan: &Plan) -> Orders {
    let edits =
        view.limit_edits.iter().filter_map(|(key, edit)| Some((key.clone(), edit.spec.parse().ok()?)));
    // The ramp of a warm-up that was taken out of the configuration is kept, and holds nobody; one that the fleet has not begun
    // yet is at its first day.
    let today = |ramp: RampTerms| {
        let known = view.ramps.get(&ramp.scope).map(|it| it.quota);
        Some((ramp.scope.parse().ok()?, known.unwrap_or_else(|| ramp.caps.first().copied())?))
    };
    let ramps = plan.ramps().into_iter().filter_map(today);
    let brakes: BTreeMap<LimitScope, LimitSpec> = view
        .brakes
        .iter()
        .filter_map(|(scope, brake)| {
            // A stop alone slows nothing: the limit is there to be held, and wider than any.
            let rate = if brake.factor < 1.0 { brake.rate } else { f64::from(sluice_types::COUNT_MAX) };
            Some((scope.parse().ok()?, spec_of(rate)?))
        })
        .collect();
    Orders { edits: edits.collect(), ramps: ramps.collect(), brakes }
}

/// A limit of about so many messages per second, at least one a minute.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bounded rate")]
fn spec_of(rate: f64) -> Option<LimitSpec> {
    let (count, window) = if rate >= 1.0 { (rate, 1) } else { (rate * 60.0, 60) };
    let count = NonZeroU32::new((count.round() as u32).clamp(1, sluice_types::COUNT_MAX))?;
    Some(LimitSpec { count, kind: LimitKind::Spaced { window: Duration::from_secs(window) } })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};

    use sluice_policy::{BrakeView, LimitEdit, RampView};
    use sluice_types::Class;

    use super::*;
    use crate::worker::rig::{Rig, esp, plan};

    const FREE: &str =
        "esp = [{ name = 'a', kind = 'sandbox' }]\npool = [{ name = 'default', members = [{ esp = 'a' }] }]";

    fn adopt_brake(rig: &Rig, factor: f64) {
        let brake = BrakeView { factor, rate: 1.0 / 60.0, hold_ns: 1_000_000_000, off_in_ns: 1_000_000_000 };
        let view = View { brakes: [("esp:a".to_owned(), brake)].into(), ..View::default() };
        adopt(&rig.worker, view, rig.worker.clock.tick());
    }

    /// It counted as one a minute, so that jobs behind the first one were parked for that.
    #[tokio::test(start_paused = true)]
    async fn a_stop_alone_of_an_esp_without_a_limit_is_no_longer_than_it_says() {
        let rig = Rig::new(FREE);
        adopt_brake(&rig, 1.0);
        let _tickets = rig.long_lines(&["a"]);
        let plan = rig.worker.plan();
        let limits = plan.shared_limits(&esp("a"), &sluice_types::GroupName::other());
        assert_eq!(limits.len(), 1, "there is something to hold");
        let wait = rig.worker.slots.estimate(Class::Bulk, &limits, rig.worker.clock.tick()).wait;
        assert!(wait >= Duration::from_millis(900) && wait <= Duration::from_secs(2), "{wait:?}");
        // One that is slowed as well goes by the rate that was measured.
        adopt_brake(&rig, 0.5);
        let slowed = rig.worker.plan().orders().brakes.values().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(slowed, ["1/min"]);
    }

    /// It went unlimited until the next exchange.
    #[test]
    fn a_ramp_that_the_fleet_has_not_begun_is_at_its_first_day() {
        let warm = plan(
            r#"
                esp = [{ name = "a", kind = "sandbox", warmup = { caps = [50, 100] } }]
                pool = [{ name = "default", members = [{ esp = "a" }] }]
            "#,
        );
        let ramp = |quota| RampView { quota, step: 2, held: false, sent: 0 };
        let of = |ramps: &[(&str, Option<u32>)]| {
            let ramps = ramps.iter().map(|(scope, quota)| ((*scope).to_owned(), ramp(*quota))).collect();
            orders(&View { ramps, ..View::default() }, &warm).ramps.into_values().collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), [50]);
        assert_eq!(of(&[("esp:a", Some(100)), ("esp:gone", Some(7))]), [100]);
        assert!(of(&[("esp:a", None)]).is_empty(), "it is done");
    }

    #[tokio::test]
    async fn a_configuration_is_not_lost_to_an_order_that_comes_at_the_same_time() {
        let config = |limit: &str| {
            plan(&format!(
                r#"
                    esp = [{{ name = "a", kind = "sandbox", limits = ["{limit}"] }}]
                    pool = [{{ name = "default", members = [{{ esp = "a" }}] }}]
                "#
            ))
        };
        let edited = |spec: &str| {
            let edit = LimitEdit { spec: spec.to_owned(), by: String::new(), at: String::new() };
            View { limit_edits: [("esp:a/per:s".to_owned(), edit)].into(), ..View::default() }
        };
        let plans = [config("10/s"), config("20/s")];
        let Rig { worker, .. } = Rig::new("");
        let mut lost = Vec::new();
        let (adopted, done) = (AtomicUsize::new(0), AtomicBool::new(false));
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let spec = ["5/s", "6/s"][adopted.load(Ordering::Relaxed) % 2];
                    adopt(&worker, edited(spec), worker.clock.tick());
                    adopted.fetch_add(1, Ordering::Relaxed);
                }
            });
            for round in 0..100 {
                let plan = &plans[round % 2];
                worker.change_plan(|live| Some(plan.with_orders(live.orders().clone())));
                // The order that was under way meanwhile is through, and the one after it.
                let before = adopted.load(Ordering::Relaxed);
                while adopted.load(Ordering::Relaxed) < before + 2 {
                    std::thread::yield_now();
                }
                if worker.plan().digest() != plan.digest() {
                    lost.push(round);
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(lost, Vec::<usize>::new(), "rounds whose configuration was lost");
    }
}
