//! What every step needs: the ports, the plan, and the shared state of this process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::Guard;
use async_trait::async_trait;
use sluice_policy::{Availability, prefetch_at_once};
use sluice_telemetry::{Batch, Dependency, Metrics};
use sluice_types::{Class, EspId, GroupName, Lane, Limit, Tick, Timestamp};
use tokio::sync::Notify;

use crate::batcher::{Batcher, Gather, Surroundings, Write};
use crate::breakers::Breakers;
use crate::connections::Connections;
use crate::fleet::Link;
use crate::health::Health;
use crate::places::Places;
use crate::plan::{LivePlan, Plan, Sides};
use crate::ports::{
    Claim, ClaimVerdict, Clock, DeadLetter, Esp, Fleet, Inbox, Ledger, LedgerError, MxSource, Outbox,
    ParkVerdict, Parked, Record, RecordVerdict, SlotSource, Taster,
};
use crate::slots::Slots;
use crate::taste::Caution;

#[cfg(test)]
pub(crate) mod rig;

/// Most deliveries that a lane borrows before an ESP of its pool has answered: more than a breaker with default terms needs.
const PREFETCH_UNTRIED: u16 = 50;

/// How long rows are gathered that somebody waits for.
const SOON: Gather = Gather::Beside(Duration::from_millis(3));
/// And those of jobs that are put aside, so that this takes less from the others.
const LATER: Gather = Gather::Always(Duration::from_millis(20));

/// One ESP account with its share of this process.
#[derive(Debug)]
pub(crate) struct EspHandle {
    pub(crate) esp: Arc<dyn Esp>,
    pub(crate) places: Arc<Places>,
}

/// The shared state of a worker process.
pub(crate) struct Worker {
    pub(crate) clock: Arc<dyn Clock>,
    plan: LivePlan,
    /// Held from reading a plan until another that was made of it holds.
    plan_changes: Mutex<()>,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) esps: BTreeMap<EspId, EspHandle>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) slot_source: Arc<dyn SlotSource>,
    pub(crate) breakers: Arc<Breakers>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) link: Arc<Link>,
    pub(crate) mx: Option<Arc<dyn MxSource>>,
    pub(crate) taster: Option<Arc<dyn Taster>>,
    pub(crate) caution: Caution,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
    pub(crate) claims: Batcher<ClaimWrite>,
    pub(crate) records: Batcher<RecordWrite>,
    pub(crate) parks: Batcher<ParkWrite>,
    pub(crate) refusals: Batcher<RefuseWrite>,
    /// Something was parked that is due at once.
    pub(crate) due_now: Notify,
    next_token: AtomicI64,
    /// The process drains.
    is_draining: AtomicBool,
}

impl Worker {
    pub(crate) fn new(outside: Outside, slots: Arc<Slots>, around: &Surroundings) -> Self {
        let Outside { plan, inbox, outbox, ledger, slot_source, fleet, replica, esps, mx, taster, breakers } =
            outside;
        let news = Arc::clone(&breakers.news);
        let longest = plan.longest_timeout();
        let bounds = *plan.bounds();
        let reserved = bounds.reserved_permille;
        let connections = Connections::new(Arc::clone(&around.clock), Arc::clone(&news), longest, reserved);
        let link = Arc::new(Link::new(fleet, news, replica));
        let (writers, patience) = (bounds.writers, Some(bounds.unhealthy_release));
        let places: BTreeMap<EspId, usize> =
            plan.esps().map(|(id, esp)| (id.clone(), esp.max_in_flight)).collect();
        let esps = esps
            .into_iter()
            .map(|esp| {
                let count = places.get(esp.id()).copied().unwrap_or(1);
                let places = Places::new(count, reserved, Arc::clone(&around.clock));
                places.set_stake(plan.breaker_terms().min_calls);
                (esp.id().clone(), EspHandle { esp, places })
            })
            .collect();
        Self {
            claims: Batcher::start(ClaimWrite(Arc::clone(&ledger)), writers, SOON, patience, around),
            // A result is kept at hand until the store takes it: losing it would make the job `unknown`.
            records: Batcher::start(RecordWrite(Arc::clone(&ledger)), writers, SOON, None, around),
            parks: Batcher::start(ParkWrite(Arc::clone(&ledger)), 1, LATER, patience, around),
            refusals: Batcher::start(RefuseWrite(Arc::clone(&ledger)), 1, SOON, patience, around),
            clock: Arc::clone(&around.clock),
            metrics: Arc::clone(&around.metrics),
            health: Arc::clone(&around.health),
            plan: LivePlan::new(plan),
            plan_changes: Mutex::default(),
            inbox,
            outbox,
            ledger,
            esps,
            slots,
            slot_source,
            breakers,
            connections,
            link,
            mx,
            taster,
            caution: Caution::default(),
            due_now: Notify::new(),
            next_token: AtomicI64::new(1),
            is_draining: AtomicBool::new(false),
        }
    }

    /// The broker answers. It is up if it takes messages too: without that no job is taken over HTTP,
    /// and none comes back from `pending`.
    pub(crate) fn queue_answers(&self) {
        if self.outbox.takes() {
            self.health.up(Dependency::Queue);
        } else {
            self.health.down(Dependency::Queue, &TakesNothing);
        }
    }

    /// The wall clock that all replicas agree on: the store's.
    pub(crate) fn now(&self) -> Timestamp {
        self.link.store_time(self.clock.tick())
    }

    /// A number that no other claim of this process has.
    pub(crate) fn token(&self) -> i64 {
        self.next_token.fetch_add(1, Ordering::Relaxed)
    }

    /// From now on nobody waits long for a call.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// The plan that holds now. Who needs it beyond an `await` keeps a clone, which is a third as large.
    pub(crate) fn plan(&self) -> Guard<Arc<Plan>> {
        self.plan.get()
    }

    /// Replaces the plan by what `change` makes of it, if anything. One change at a time: nobody makes a plan of one that
    /// is replaced meanwhile.
    pub(crate) fn change_plan(&self, change: impl FnOnce(&Plan) -> Option<Plan>) {
        let _alone = self.plan_changes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = change(&self.plan()) {
            self.set_plan(Arc::new(plan));
        }
    }

    /// Replaces the plan, and puts everybody who waits under its limits.
    fn set_plan(&self, plan: Arc<Plan>) {
        self.plan.set(Arc::clone(&plan));
        let reserved = plan.bounds().reserved_permille;
        self.slots.set_reserved(reserved);
        self.connections.set_reserved(reserved);
        for handle in self.esps.values() {
            handle.places.set_reserved(reserved);
            handle.places.set_stake(plan.breaker_terms().min_calls);
        }
        self.breakers.set_terms(*plan.breaker_terms());
        self.relimit();
        self.breakers.closed.notify_waiters();
    }

    /// Puts everybody who waits under the limits of the plan that holds now.
    pub(crate) fn relimit(&self) {
        let plan = self.plan();
        self.slots.relimit(|line| plan.limits_of_line(line));
    }

    /// From now on there are these side lanes.
    pub(crate) fn set_sides(&self, sides: &Sides) {
        self.plan.set_sides(sides);
    }

    /// Whether `esp` can take a job of this class and group: its breaker, and the limits that hold for all of them.
    pub(crate) fn standing(&self, esp: &EspId, group: &GroupName, class: Class, now: Tick) -> Standing {
        let plan = self.plan();
        if !self.esps.contains_key(esp) {
            return Standing::Broken { until: now + plan.bounds().hold_max };
        }
        match self.breakers.availability(esp, now) {
            Availability::Down { until } => Standing::Broken { until },
            Availability::Up { weight } => match self.slots.shut(class, &plan.shared_limits(esp, group), now)
            {
                // What opens within the time that jobs are held is waited for in line.
                Some((until, limit)) if until > now + plan.bounds().hold_max => {
                    Standing::Shut { until, limit }
                }
                Some(_) | None => Standing::Up { weight },
            },
        }
    }

    /// How many deliveries of `lane` to borrow: none while no ESP of its pool takes any, or while more wait for a call than
    /// get one within the time that jobs are held; and few until an ESP has answered, since each that was borrowed for one
    /// that turns out to be dead has to be read and parked. Failover ESPs count as far as routing turns to them.
    pub(crate) fn borrows(&self, lane: &Lane) -> Borrows {
        let plan = self.plan();
        let prefetch = plan.prefetch(lane);
        // Taken out of the configuration, perhaps by a slip: its jobs would all be refused, so the broker keeps them.
        let Some(pool) = plan.pool(&lane.pool) else { return Borrows::Nothing };
        let bounds = plan.bounds();
        // A domain that has the lane to itself, out of its day or told to wait: as if no ESP took any.
        let now = self.clock.tick();
        let shut = self.slots.shut(lane.class, &plan.limits_of_side(lane), now);
        if shut.is_some_and(|(until, _)| until > now + bounds.hold_max) {
            return Borrows::Nothing;
        }
        let (mut is_up, mut has_room, mut has_answered, mut for_calls) = (false, false, false, 0_u16);
        // The largest share of a member: what is short of 1 is left to the failover.
        let mut ready = 0.0_f64;
        let members = pool.members.members.iter().map(|(esp, _)| (esp, true));
        for (esp, is_member) in members.chain(pool.members.failover.iter().map(|esp| (esp, false))) {
            has_answered |= self.breakers.has_answered(esp);
            if ready >= 1.0 && !is_member {
                continue;
            }
            let standing = self.standing(esp, &lane.group, lane.class, now);
            if let (Standing::Up { weight }, Some(handle)) = (standing, self.esps.get(esp)) {
                ready = if is_member { ready.max(weight) } else { ready };
                // At least the next call, however long they take.
                let next = (2 * handle.places.call()).min(bounds.lane_hold_max / 2);
                let wait = self.call_wait(&plan, esp, &lane.group, lane.class);
                is_up = true;
                has_room |= wait <= bounds.hold_max.max(next);
                let connections = self.connections.likely(&plan.connection_limits(esp, &lane.group));
                let at_once = handle.places.count().min(connections);
                let ahead = prefetch_at_once(at_once, handle.places.call(), prefetch);
                for_calls = for_calls.saturating_add(ahead);
            }
        }
        let prefetch = prefetch.min(for_calls);
        match (is_up, has_room) {
            (false, _) => Borrows::Nothing,
            (true, false) => Borrows::Enough,
            (true, true) if has_answered => Borrows::UpTo(prefetch),
            (true, true) => Borrows::UpTo(prefetch.min(PREFETCH_UNTRIED)),
        }
    }

    /// About how long a further job would wait for a connection and a place at `esp`: where it has to, no shorter than no call
    /// has been answered.
    pub(crate) fn call_wait(&self, plan: &Plan, esp: &EspId, group: &GroupName, class: Class) -> Duration {
        let Some(handle) = self.esps.get(esp) else { return Duration::ZERO };
        let limits = plan.connection_limits(esp, group);
        let connection = self.connections.wait(&limits, class, handle.places.call());
        match connection.max(handle.places.wait(class)) {
            Duration::ZERO => Duration::ZERO,
            wait => wait.max(handle.places.silence()),
        }
    }
}

/// The broker is short of memory or disk, or gone for publishers.
#[derive(Debug, thiserror::Error)]
#[error("the broker takes no messages")]
struct TakesNothing;

/// What a lane may borrow from the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Borrows {
    /// So many deliveries at a time.
    UpTo(u16),
    /// No more: what is there waits long for a call.
    Enough,
    /// None: no ESP takes any.
    Nothing,
}

/// Whether an ESP can take jobs of a kind.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// It can.
    Up {
        /// Part of its normal share that it should get.
        weight: f64,
    },
    /// Its breaker refuses.
    Broken {
        /// When to ask again.
        until: Tick,
    },
    /// A limit that holds for all of them opens later than jobs are held: out of its day, or told to wait.
    Shut {
        /// When it opens.
        until: Tick,
        /// Which.
        limit: Limit,
    },
}

/// What a worker is made of.
pub(crate) struct Outside {
    pub(crate) plan: Arc<Plan>,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) slot_source: Arc<dyn SlotSource>,
    pub(crate) fleet: Arc<dyn Fleet>,
    pub(crate) replica: String,
    pub(crate) esps: Vec<Arc<dyn Esp>>,
    pub(crate) mx: Option<Arc<dyn MxSource>>,
    pub(crate) taster: Option<Arc<dyn Taster>>,
    pub(crate) breakers: Arc<Breakers>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("esps", &self.esps.keys()).finish_non_exhaustive()
    }
}

macro_rules! batched {
    ($name:ident, $kind:ident, $row:ty => $answer:ty, |$it:ident| $key:expr, |$ledger:ident, $rows:ident| $call:expr) => {
        pub(crate) struct $name(Arc<dyn Ledger>);

        #[async_trait]
        impl Write for $name {
            type Row = $row;
            type Answer = $answer;

            const KIND: Batch = Batch::$kind;

            fn key<'a>(&self, $it: &'a $row) -> Option<&'a str> {
                $key
            }

            async fn write(&self, $rows: &[$row]) -> Result<Vec<$answer>, LedgerError> {
                let $ledger = &self.0;
                $call
            }
        }
    };
}

batched!(ClaimWrite, Claim, Claim => ClaimVerdict, |it| Some(it.id.as_str()), |ledger, rows| ledger.claim(rows).await);
batched!(RecordWrite, Record, Record => RecordVerdict, |it| Some(it.id.as_str()), |ledger, rows| ledger.record(rows).await);
batched!(ParkWrite, Park, Parked => ParkVerdict, |it| Some(it.id.as_str()), |ledger, rows| ledger.park(rows).await);
batched!(RefuseWrite, Refuse, DeadLetter => (), |_it| None, |ledger, rows| ledger.refuse(rows).await.map(|()| vec![(); rows.len()]));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::rig::{Rig, lane};

    #[tokio::test(start_paused = true)]
    async fn a_lane_borrows_for_a_failover_only_while_no_member_is_up_in_full() {
        let toml = r#"
            esp = [
                { name = "a", kind = "sandbox", max_in_flight = 2 }, { name = "f", kind = "sandbox", max_in_flight = 9 },
            ]
            pool = [{ name = "default", members = [{ esp = "a" }], failover = ["f"] }]
        "#;
        let rig = Rig::new(toml);
        for name in ["a", "f"] {
            // Their calls take long, so that few are borrowed ahead.
            let places = &rig.worker.esps[&rig::esp(name)].places;
            (0..100).for_each(|_| places.took(Duration::from_secs(60)));
        }
        let lane = lane(&rig.worker);
        assert_eq!(rig.worker.borrows(&lane), Borrows::UpTo(3));
        rig.open(&[("a", Duration::from_secs(60))]);
        assert_eq!(rig.worker.borrows(&lane), Borrows::UpTo(10));
        rig.open(&[]);
        assert_eq!(rig.worker.borrows(&lane), Borrows::UpTo(13), "traffic comes back by degrees");
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(rig.worker.borrows(&lane), Borrows::UpTo(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_whose_pool_was_taken_away_borrows_nothing_until_it_is_back() {
        let (with, without) = rig::with_and_without_shop();
        let rig = Rig::new(with);
        let lane = Lane { pool: "shop".parse().unwrap(), ..lane(&rig.worker) };
        assert!(matches!(rig.worker.borrows(&lane), Borrows::UpTo(_)));
        rig.worker.change_plan(|_| Some(rig::plan(&without)));
        assert_eq!(rig.worker.borrows(&lane), Borrows::Nothing);
        rig.worker.change_plan(|_| Some(rig::plan(with)));
        assert!(matches!(rig.worker.borrows(&lane), Borrows::UpTo(_)));
    }
}
