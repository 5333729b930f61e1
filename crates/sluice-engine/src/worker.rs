//! What every step needs: the ports, the plan, and the shared state of this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use sluice_telemetry::{Batch, Metrics};
use sluice_types::{EspId, Lane};
use tokio::sync::{Notify, Semaphore};

use crate::batcher::{Batcher, Surroundings, Write};
use crate::breakers::Breakers;
use crate::health::Health;
use crate::plan::Plan;
use crate::ports::{
    Claim, ClaimVerdict, Clock, DeadLetter, Esp, Inbox, Ledger, LedgerError, Outbox, ParkVerdict, Parked,
    Record, RecordVerdict,
};
use crate::slots::Slots;

/// One ESP account with its share of this process.
#[derive(Debug)]
pub(crate) struct EspHandle {
    pub(crate) esp: Arc<dyn Esp>,
    pub(crate) places: Arc<Semaphore>,
}

/// The shared state of a worker process.
pub(crate) struct Worker {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) plan: Arc<Plan>,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) outbox: Arc<dyn Outbox>,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) esps: BTreeMap<EspId, EspHandle>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) breakers: Arc<Breakers>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
    pub(crate) claims: Batcher<ClaimWrite>,
    pub(crate) records: Batcher<RecordWrite>,
    pub(crate) parks: Batcher<ParkWrite>,
    pub(crate) refusals: Batcher<RefuseWrite>,
    /// Something was parked that is due at once.
    pub(crate) due_now: Notify,
    next_token: AtomicI64,
}

impl Worker {
    #[expect(clippy::too_many_arguments, reason = "called once, by the engine's start")]
    pub(crate) fn new(
        plan: Arc<Plan>,
        inbox: Arc<dyn Inbox>,
        outbox: Arc<dyn Outbox>,
        ledger: Arc<dyn Ledger>,
        esps: Vec<Arc<dyn Esp>>,
        slots: Arc<Slots>,
        breakers: Arc<Breakers>,
        around: &Surroundings,
    ) -> Self {
        let bounds = plan.bounds();
        let (writers, patience) = (bounds.writers, Some(bounds.unhealthy_release));
        let places: BTreeMap<EspId, usize> =
            plan.esps().map(|(id, esp)| (id.clone(), esp.max_in_flight)).collect();
        let esps = esps
            .into_iter()
            .map(|esp| {
                let places = places.get(esp.id()).copied().unwrap_or(1).min(Semaphore::MAX_PERMITS);
                (esp.id().clone(), EspHandle { esp, places: Arc::new(Semaphore::new(places)) })
            })
            .collect();
        Self {
            claims: Batcher::start(ClaimWrite(Arc::clone(&ledger)), writers, patience, around),
            // A result is kept at hand until the store takes it: losing it would make the job `unknown`.
            records: Batcher::start(RecordWrite(Arc::clone(&ledger)), writers, None, around),
            parks: Batcher::start(ParkWrite(Arc::clone(&ledger)), 1, patience, around),
            refusals: Batcher::start(RefuseWrite(Arc::clone(&ledger)), 1, patience, around),
            clock: Arc::clone(&around.clock),
            metrics: Arc::clone(&around.metrics),
            health: Arc::clone(&around.health),
            plan,
            inbox,
            outbox,
            ledger,
            esps,
            slots,
            breakers,
            due_now: Notify::new(),
            next_token: AtomicI64::new(1),
        }
    }

    /// A number that no other claim of this process has.
    pub(crate) fn token(&self) -> i64 {
        self.next_token.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether any ESP of the lane's pool takes calls now.
    pub(crate) fn lane_can_send(&self, lane: &Lane) -> bool {
        let now = self.clock.tick();
        self.plan.pool(&lane.pool).is_none_or(|pool| {
            pool.members.iter().map(|(esp, _)| esp).chain(&pool.failover).any(|esp| {
                matches!(self.breakers.availability(esp, now), sluice_policy::Availability::Up { .. })
            })
        })
    }
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
