//! A worker whose surroundings keep what they are told, for tests of the steps of a job. It is under no exchange with a fleet
//! and has no slots; its clock is tokio's, which such tests pause.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sluice_config::Config;
use sluice_policy::{CampaignOrder, ClaimVerdict, Edit, FleetBreaker, FleetState, Order, Report, View};
use sluice_telemetry::Metrics;
use sluice_types::{Category, EspId, Job, JobId, JobState, Lane, Limit, Outcome, Tick, Timestamp};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{Outside, Worker};
use crate::batcher::Surroundings;
use crate::breakers::Breakers;
use crate::case::Case;
use crate::engine::{Parts, Roles};
use crate::fleet::keep_in_touch;
use crate::health::Health;
use crate::lane::{InFlight, LaneBook};
use crate::plan::{LivePlan, Plan};
use crate::ports::{
    Acker, Answer, Burial, Claim, Clock, DeadLetter, DueBatch, DueQuery, Esp, Feed, Fleet, FleetError, Inbox,
    InboxError, Intent, LaneDepth, Leased, Ledger, LedgerError, LimitLook, Outbox, ParkVerdict, Parked,
    Passport, PendingJob, Publication, PublishError, ReadyCall, Record, RecordVerdict, ReleaseQuery,
    SlotError, SlotSource, Unused, WaitingKey, Want, WrittenCall,
};
use crate::room::{Room, Rooms};
use crate::slots::{Slots, Ticket};

/// Broker, store, fleet and ESPs.
#[derive(Debug, Default)]
pub(crate) struct Around {
    /// How long the store takes to answer a claim.
    pub(crate) claim_takes: Mutex<Duration>,
    /// The store's word on every claim; by default it goes through.
    pub(crate) verdict: Mutex<Option<ClaimVerdict>>,
    /// No message can be written.
    pub(crate) is_unwritable: AtomicBool,
    /// The connections that have to be opened, the last first: how long each takes, or none where it is refused. There is an idle
    /// one for every further call.
    pub(crate) connecting: Mutex<Vec<Option<Duration>>>,
    /// How long each call takes.
    pub(crate) call_takes: Mutex<Duration>,
    /// What every ESP answers; accepted by default.
    pub(crate) answers: Mutex<Option<Outcome>>,
    pub(crate) closed: Mutex<Vec<JobState>>,
    pub(crate) parked: Mutex<Vec<Parked>>,
    pub(crate) records: Mutex<Vec<Record>>,
    /// How long the store takes to write results.
    pub(crate) record_takes: Mutex<Duration>,
    /// Results are never written.
    pub(crate) records_hang: AtomicBool,
    /// The store takes no result.
    pub(crate) refuses_records: AtomicBool,
    pub(crate) refused: Mutex<Vec<DeadLetter>>,
    /// The ESPs that were called.
    pub(crate) sent: Mutex<Vec<EspId>>,
    /// Whether the broker has no queue of any lane.
    pub(crate) has_no_queues: AtomicBool,
    /// What the fleet answers.
    pub(crate) view: Mutex<View>,
    fleet: Mutex<FleetState>,
    /// What is left under each limit, by key; elsewhere nothing.
    pub(crate) left: Mutex<HashMap<String, u64>>,
    /// Lines of parked jobs.
    pub(crate) lines: Mutex<Vec<WaitingKey>>,
    /// They cannot be read, which takes so long.
    pub(crate) lines_fail_after: Mutex<Option<Duration>>,
    /// How often due jobs were asked for.
    pub(crate) due_asked: AtomicU64,
    pub(crate) parked_by_reason: Mutex<BTreeMap<String, u64>>,
    /// What was asked for of these.
    pub(crate) released: Mutex<Vec<ReleaseQuery>>,
    /// What each release finds; nothing without.
    pub(crate) in_line: Mutex<Option<PendingJob>>,
    /// What the broker says to publications; all go without.
    pub(crate) publishing: Mutex<Option<fn() -> PublishError>>,
}

/// A worker, and what is around it.
pub(crate) struct Rig {
    pub(crate) worker: Worker,
    pub(crate) around: Arc<Around>,
}

impl Rig {
    /// A worker under this configuration.
    pub(crate) fn new(toml: &str) -> Self {
        let plan = Arc::new(plan(toml));
        let clock: Arc<dyn Clock> = Arc::new(PausedClock(Instant::now()));
        let metrics = Arc::new(Metrics::new("test").unwrap());
        let health = Arc::new(Health::new(Arc::clone(&metrics)));
        let slots = Arc::new(Slots::new(Arc::clone(&clock), Arc::clone(&metrics), 0));
        let breakers = Arc::new(Breakers::new(&plan, Arc::clone(&clock), Arc::clone(&metrics)));
        let surroundings = Surroundings { clock, metrics, health, tasks: TaskTracker::new() };
        let around = Arc::new(Around::default());
        let esp =
            |id: &EspId| Arc::new(StandIn { id: id.clone(), around: Arc::clone(&around) }) as Arc<dyn Esp>;
        let outside = Outside {
            inbox: Arc::clone(&around) as _,
            outbox: Arc::clone(&around) as _,
            ledger: Arc::clone(&around) as _,
            slot_source: Arc::clone(&around) as _,
            fleet: Arc::clone(&around) as _,
            replica: "r1".to_owned(),
            esps: plan.esps().map(|(id, _)| esp(id)).collect(),
            mx: None,
            taster: None,
            breakers,
            plan,
        };
        Self { worker: Worker::new(outside, slots, &surroundings), around }
    }

    /// The fleet knows these breakers as open for so long, and all others as closed.
    pub(crate) fn open(&self, breakers: &[(&str, Duration)]) {
        let open = |(esp, time): &(&str, Duration)| {
            let open_for_ns = Some(i64::try_from(time.as_nanos()).unwrap());
            ((*esp).to_owned(), FleetBreaker { open_for_ns, trips: 1, ..FleetBreaker::default() })
        };
        let breakers = breakers.iter().map(open).collect();
        self.worker.breakers.adopt(&View { breakers, ..View::default() });
    }

    /// Nothing goes through these ESPs for so long.
    pub(crate) fn shut(&self, esps: &[(&str, Duration)]) {
        let now = self.worker.clock.tick();
        let brakes = esps.iter().map(|(esp, time)| (limit(esp, "1/s").scope, 0, now + *time));
        self.worker.slots.set_brakes(brakes);
    }

    /// What of the campaign of [`job_of_campaign`] is ordered from now on.
    pub(crate) async fn order(&self, order: Order) {
        let job = job_of_campaign();
        let (tenant, campaign) = (job.tenant.to_string(), job.campaign.unwrap().to_string());
        self.see(View { campaigns: vec![CampaignOrder { tenant, campaign, order }], ..View::default() })
            .await;
    }

    /// This holds for the fleet from now on.
    pub(crate) async fn see(&self, view: View) {
        let now_ns = i64::try_from(self.worker.clock.tick().as_nanos()).unwrap();
        *self.around.view.lock().unwrap() = View { now_ns, ..view };
        let exchange = keep_in_touch(&self.worker, true);
        tokio::time::timeout(Duration::from_millis(1), exchange).await.unwrap_err();
    }

    /// A line of 100 jobs at each of these ESPs, for as long as the tickets are kept.
    pub(crate) fn long_lines(&self, esps: &[&str]) -> Vec<Ticket> {
        let (plan, job, group) = (self.worker.plan(), job(None), lane(&self.worker).group);
        let mut tickets = Vec::new();
        for name in esps {
            let (line, limits) = plan.line(job.class, &esp(name), &group, &job.tenant, job.to.email.domain());
            tickets.extend((0..100).map(|_| self.worker.slots.draw(&line, &limits)));
        }
        tickets
    }

    /// Calls `with` the job of a delivery that came just now.
    pub(crate) fn with_case<T>(&self, passport: &Passport, with: impl FnOnce(&Case<'_>) -> T) -> T {
        let (job, lane, body) = (job(None), lane(&self.worker), Bytes::new());
        let group = lane.group.clone();
        with(&Case::new(&self.worker, &lane, job, group, &body, passport))
    }
}

/// What a configuration means.
pub(crate) fn plan(toml: &str) -> Plan {
    Plan::of(&Config::load(toml, &[], &|_| Err(String::new())).unwrap())
}

/// What an engine under this configuration is made of: the surroundings of a [`Rig`], but for the broker.
pub(crate) fn parts(toml: &str, inbox: Arc<dyn Inbox>) -> (Parts, Arc<Around>) {
    let plan = Arc::new(plan(toml));
    let clock: Arc<dyn Clock> = Arc::new(PausedClock(Instant::now()));
    let metrics = Arc::new(Metrics::new("test").unwrap());
    let around = Arc::new(Around::default());
    let esp = |(id, _): (&EspId, _)| {
        Arc::new(StandIn { id: id.clone(), around: Arc::clone(&around) }) as Arc<dyn Esp>
    };
    let parts = Parts {
        roles: Roles { worker: true, relay: true },
        inbox,
        outbox: Arc::clone(&around) as _,
        ledger: Arc::clone(&around) as _,
        slot_source: Arc::clone(&around) as _,
        fleet: Arc::clone(&around) as _,
        replica: "r1".to_owned(),
        mx: None,
        taster: None,
        telling: None,
        esps: plan.esps().map(esp).collect(),
        breakers: Arc::new(Breakers::new(&plan, Arc::clone(&clock), Arc::clone(&metrics))),
        health: Arc::new(Health::new(Arc::clone(&metrics))),
        plan: Arc::new(LivePlan::new(plan)),
        clock,
        metrics,
    };
    (parts, around)
}

/// A configuration with a pool `shop`, and what it is without.
pub(crate) fn with_and_without_shop() -> (&'static str, String) {
    let with = r#"
        esp = [{ name = "a", kind = "sandbox" }]
        pool = [{ name = "default", members = [{ esp = "a" }] }, { name = "shop", members = [{ esp = "a" }] }]
    "#;
    (with, with.replace("\"shop\"", "\"shpo\""))
}

/// A job that expires so long after the start of the clock.
pub(crate) fn job(expires_after: Option<Duration>) -> Box<Job> {
    let body = r#"{"v": 1, "id": "j1", "to": {"email": "ada@a.example"}, "from": {"email": "shop@b.example"},
        "subject": "Hi", "text": "Hello"}"#;
    let mut job = Box::new(Job::parse(body.as_bytes()).unwrap());
    job.expires_at = expires_after.map(|after| Timestamp::from_micros(0) + after);
    job
}

/// One of the campaign `spring`.
pub(crate) fn job_of_campaign() -> Box<Job> {
    let mut job = job(None);
    job.campaign = Some("spring".parse().unwrap());
    job
}

pub(crate) fn lane(worker: &Worker) -> Lane {
    let job = job(None);
    worker.plan().lane(&job.pool, job.class, job.to.email.domain())
}

/// What was done with deliveries: true for an ack.
#[derive(Debug, Default)]
pub(crate) struct Done(pub(crate) Mutex<Vec<bool>>);

impl Acker for Done {
    fn ack(&self, _: u64) {
        self.0.lock().unwrap().push(true);
    }

    fn release(&self, _: u64) {
        self.0.lock().unwrap().push(false);
    }
}

/// What a job of `lane` that is tested by itself has in the process.
pub(crate) fn in_flight(lane: Lane) -> InFlight {
    let looped = LaneBook::default().add(vec![lane]).remove(0);
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    InFlight::new(looped, place, TaskTracker::new().token())
}

/// Room for a job that is tested by itself.
pub(crate) fn room() -> Room {
    Rooms::new(1).try_take().unwrap()
}

pub(crate) fn esp(name: &str) -> EspId {
    EspId::new(name).unwrap()
}

pub(crate) fn limit(esp: &str, spec: &str) -> Limit {
    Limit { scope: format!("esp:{esp}").parse().unwrap(), spec: spec.parse().unwrap() }
}

/// Both count from its start.
#[derive(Debug)]
pub(crate) struct PausedClock(pub(crate) Instant);

impl Clock for PausedClock {
    fn tick(&self) -> Tick {
        Tick::ZERO + self.0.elapsed()
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0) + self.0.elapsed()
    }
}

#[derive(Debug)]
struct StandIn {
    id: EspId,
    around: Arc<Around>,
}

#[async_trait]
impl Esp for StandIn {
    fn id(&self) -> &EspId {
        &self.id
    }

    fn write(&self, _: &Job, _: u32) -> Result<Box<dyn WrittenCall<'_> + '_>, Answer> {
        if self.around.is_unwritable.load(Ordering::Relaxed) {
            let detail = "cannot be written".to_owned();
            return Err(Outcome::Rejected { category: Category::Content, detail }.into());
        }
        Ok(Box::new(StandInCall(self)))
    }
}

struct StandInCall<'e>(&'e StandIn);

#[async_trait]
impl<'e> WrittenCall<'e> for StandInCall<'e> {
    async fn ready(self: Box<Self>) -> Result<Box<dyn ReadyCall + 'e>, Answer> {
        let connecting = self.0.around.connecting.lock().unwrap().pop();
        match connecting {
            Some(Some(takes)) => tokio::time::sleep(takes).await,
            Some(None) => {
                let detail = "could not connect".to_owned();
                return Err(Outcome::Faulted { category: Category::Connect, detail }.into());
            }
            None => {}
        }
        Ok(self)
    }
}

#[async_trait]
impl ReadyCall for StandInCall<'_> {
    async fn make(self: Box<Self>) -> Answer {
        let StandIn { id, around } = self.0;
        around.sent.lock().unwrap().push(id.clone());
        let takes = *around.call_takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        let told = around.answers.lock().unwrap().clone();
        told.unwrap_or(Outcome::Accepted { provider_message_id: None }).into()
    }
}

#[async_trait]
impl Ledger for Around {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<ClaimVerdict>, LedgerError> {
        let takes = *self.claim_takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        if let Some(verdict) = *self.verdict.lock().unwrap() {
            return Ok(vec![verdict; claims.len()]);
        }
        let verdict = |claim: &Claim| match &claim.intent {
            Intent::Send { .. } => ClaimVerdict::Go,
            Intent::Close { state, .. } => {
                self.closed.lock().unwrap().push(*state);
                ClaimVerdict::Closed
            }
        };
        Ok(claims.iter().map(verdict).collect())
    }

    async fn record(&self, records: &[Record]) -> Result<Vec<RecordVerdict>, LedgerError> {
        if self.records_hang.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let takes = *self.record_takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        if self.refuses_records.load(Ordering::Relaxed) {
            return Err(LedgerError::Refused("no such thing".into()));
        }
        self.records.lock().unwrap().extend_from_slice(records);
        Ok(vec![RecordVerdict::Recorded; records.len()])
    }

    async fn park(&self, jobs: &[Parked]) -> Result<Vec<ParkVerdict>, LedgerError> {
        self.parked.lock().unwrap().extend_from_slice(jobs);
        Ok(vec![ParkVerdict::Parked; jobs.len()])
    }

    async fn refuse(&self, letters: &[DeadLetter]) -> Result<(), LedgerError> {
        self.refused.lock().unwrap().extend_from_slice(letters);
        Ok(())
    }

    async fn due(&self, _: &DueQuery) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        self.due_asked.fetch_add(1, Ordering::Relaxed);
        Ok(None)
    }

    async fn waiting(&self, _: Option<&str>, _: u32, _: u32) -> Result<Vec<WaitingKey>, LedgerError> {
        let fails_after = *self.lines_fail_after.lock().unwrap();
        if let Some(after) = fails_after {
            tokio::time::sleep(after).await;
            return Err(LedgerError::Unavailable("a lock".into()));
        }
        Ok(self.lines.lock().unwrap().clone())
    }

    async fn release(&self, query: &ReleaseQuery) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        self.released.lock().unwrap().push(query.clone());
        let found = self.in_line.lock().unwrap().clone();
        Ok(found.map(|job| Box::new(OneJob([job])) as Box<dyn DueBatch>))
    }

    async fn expired(&self, _: u32, _: &[Lane]) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        Ok(None)
    }

    async fn parked_by_reason(&self) -> Result<BTreeMap<String, u64>, LedgerError> {
        Ok(self.parked_by_reason.lock().unwrap().clone())
    }

    async fn ping(&self) -> Result<(), LedgerError> {
        Ok(())
    }
}

#[async_trait]
impl Inbox for Around {
    fn delivery_limit(&self) -> Option<u32> {
        Some(20)
    }

    async fn open(&self, _: &Lane, _: u16) -> Result<Box<dyn Feed>, InboxError> {
        if self.has_no_queues.load(Ordering::Relaxed) {
            return Err(InboxError::Refused("no such queue".into()));
        }
        Err(InboxError::Unavailable("there is none".into()))
    }

    async fn depths(&self, _: &[Lane]) -> Result<Vec<LaneDepth>, InboxError> {
        Ok(Vec::new())
    }
}

/// A batch that nobody needs to remove.
struct OneJob([PendingJob; 1]);

#[async_trait]
impl DueBatch for OneJob {
    fn jobs(&self) -> &[PendingJob] {
        &self.0
    }

    async fn published(self: Box<Self>, _: &[JobId]) -> Result<(), LedgerError> {
        Ok(())
    }
}

#[async_trait]
impl Outbox for Around {
    async fn publish(&self, jobs: Vec<Publication>) -> Vec<Result<(), PublishError>> {
        let fails = *self.publishing.lock().unwrap();
        jobs.iter().map(|_| fails.map_or(Ok(()), |error| Err(error()))).collect()
    }

    async fn bury(&self, messages: Vec<Burial>) -> Vec<Result<(), PublishError>> {
        messages.iter().map(|_| Ok(())).collect()
    }
}

#[async_trait]
impl SlotSource for Around {
    async fn lease(&self, wants: &[Want]) -> Result<Vec<Leased>, SlotError> {
        Ok(wants.iter().map(|_| Leased::default()).collect())
    }

    async fn give_back(&self, _: &[Unused]) -> Result<(), SlotError> {
        Ok(())
    }

    async fn look(&self, limits: &[Limit]) -> Result<Vec<LimitLook>, SlotError> {
        let left = self.left.lock().unwrap();
        let look = |limit: &Limit| LimitLook {
            left: left.get(&limit.key()).copied().unwrap_or(0),
            ..LimitLook::default()
        };
        Ok(limits.iter().map(look).collect())
    }
}

#[async_trait]
impl Fleet for Around {
    async fn exchange(&self, report: &Report) -> Result<View, FleetError> {
        let view = self.view.lock().unwrap().clone();
        let releases = self.fleet.lock().unwrap().exchange(view.now_ns, report).releases;
        Ok(View { releases, ..view })
    }

    async fn edit(&self, _: Edit) -> Result<(), FleetError> {
        Ok(())
    }

    async fn look(&self) -> Result<View, FleetError> {
        Ok(View::default())
    }
}
