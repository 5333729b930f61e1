//! A store in a folder of its own, a clock to turn, and jobs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sluice_embedded::{Embedded, EmbeddedSettings};
use sluice_engine::{
    Claim, ClaimVerdict, Clock, Delivery, Due, DueBatch, DueQuery, Feed, Intent, Ledger, NextStep, Outbox,
    Parked, Passport, Publication, PublishError, Record, RecordVerdict, ReleaseQuery,
};
use sluice_types::{
    Address, Category, Class, EspId, JobId, JobState, Lane, Outcome, PoolName, Tenant, Tick, Timestamp,
    WaitReason,
};
use tempfile::TempDir;

pub(crate) const TTL: Duration = Duration::from_secs(60);
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a test waits to see that nothing comes.
const QUIET: Duration = Duration::from_millis(200);

/// A clock that moves when told.
#[derive(Debug)]
pub(crate) struct TestClock {
    micros: AtomicI64,
    /// How far the wall clock was set beside it.
    stepped: AtomicI64,
}

impl TestClock {
    /// Sets the wall clock; the monotonic one goes on.
    pub(crate) fn step(&self, by_micros: i64) {
        self.stepped.fetch_add(by_micros, Ordering::SeqCst);
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.micros.fetch_add(i64::try_from(by.as_micros()).unwrap(), Ordering::SeqCst);
    }

    pub(crate) fn micros(&self) -> i64 {
        self.micros.load(Ordering::SeqCst)
    }
}

impl Clock for TestClock {
    fn tick(&self) -> Tick {
        Tick::from_nanos(u64::try_from(self.micros()).unwrap() * 1000)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.micros() + self.stepped.load(Ordering::SeqCst))
    }
}

/// A folder with one file, opened as often as a test likes.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<TestClock>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let clock =
            Arc::new(TestClock { micros: AtomicI64::new(1_700_000_000_000_000), stepped: AtomicI64::new(0) });
        Self { folder: tempfile::tempdir().unwrap(), clock }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("sluice.db")
    }

    pub(crate) fn settings(&self) -> EmbeddedSettings {
        EmbeddedSettings { path: self.path(), worker: "w".to_owned(), clock: self.clock.clone() }
    }

    pub(crate) fn open(&self) -> Arc<Embedded> {
        Embedded::open(self.settings()).unwrap()
    }
}

pub(crate) fn id(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

pub(crate) fn lane(text: &str) -> Lane {
    text.parse().unwrap()
}

pub(crate) fn esp() -> EspId {
    "main".parse().unwrap()
}

pub(crate) fn claim(job: &str, attempt: u32, token: i64) -> Claim {
    Claim {
        id: id(job),
        tenant: Tenant::default(),
        campaign: None,
        pool: PoolName::default(),
        class: Class::Bulk,
        recipient: Address::parse("Ada.L@gmail.com").unwrap(),
        fingerprint: 1,
        attempt,
        resend: false,
        token,
        intent: Intent::Send { ttl: TTL, esp: esp() },
    }
}

pub(crate) async fn claim_one(store: &Embedded, claim: Claim) -> ClaimVerdict {
    store.claim(&[claim]).await.unwrap().pop().unwrap()
}

pub(crate) fn parked(job: &str, attempt: u32, due: Due) -> Parked {
    Parked {
        id: id(job),
        tenant: Tenant::default(),
        campaign: None,
        pool: PoolName::default(),
        class: Class::Bulk,
        domain: "gmail.com".to_owned(),
        group: "gmail".parse().unwrap(),
        due,
        reason: WaitReason::Retry,
        limit_key: None,
        expires_at: None,
        body: Bytes::from(format!("body of {job}")),
        passport: Passport { attempt, first_seen: Some(Timestamp::from_micros(5)), ..Passport::default() },
    }
}

/// The wish for jobs of one line.
pub(crate) fn from_line(key: &str, jobs: u32) -> ReleaseQuery {
    ReleaseQuery { counts: vec![(key.to_owned(), jobs)], ..ReleaseQuery::default() }
}

pub(crate) fn accepted() -> Outcome {
    Outcome::Accepted { provider_message_id: Some("pm-1".to_owned()) }
}

pub(crate) fn faulted() -> Outcome {
    Outcome::Faulted { category: Category::Connect, detail: "refused".to_owned() }
}

pub(crate) fn record(job: &str, attempt: u32, outcome: Option<Outcome>, next: NextStep) -> Record {
    Record {
        id: id(job),
        tenant: Tenant::default(),
        attempt,
        token: None,
        esp: esp(),
        started_at: Timestamp::from_micros(10),
        finished_at: Timestamp::from_micros(20),
        outcome,
        next,
    }
}

pub(crate) fn accept(job: &str, attempt: u32) -> Record {
    let next = NextStep::Final { state: JobState::Accepted, category: None };
    record(job, attempt, Some(accepted()), next)
}

pub(crate) async fn record_one(store: &Embedded, record: Record) -> RecordVerdict {
    store.record(&[record]).await.unwrap().pop().unwrap()
}

pub(crate) fn publication(job: &str, to: &str) -> Publication {
    Publication {
        id: id(job),
        lane: lane(to),
        body: Bytes::from(format!("body of {job}")),
        passport: Passport::default(),
    }
}

pub(crate) async fn publish(store: &Embedded, job: &str, to: &str) -> Result<(), PublishError> {
    store.publish(vec![publication(job, to)]).await.pop().unwrap()
}

pub(crate) async fn next(feed: &mut Box<dyn Feed>) -> Delivery {
    tokio::time::timeout(PATIENCE, feed.next()).await.expect("a delivery in time").expect("a delivery")
}

pub(crate) async fn nothing(feed: &mut Box<dyn Feed>) -> bool {
    tokio::time::timeout(QUIET, feed.next()).await.is_err()
}

pub(crate) fn body(delivery: &Delivery) -> &str {
    std::str::from_utf8(&delivery.body).unwrap()
}

/// Whether the job was queued already.
pub(crate) fn is_duplicate(result: &Result<(), PublishError>) -> bool {
    matches!(result, Err(PublishError::Duplicate))
}

/// The ids of the jobs that are due now, released again at once.
pub(crate) async fn due_ids(store: &Embedded) -> Vec<String> {
    ids(store.due(&up_to(100)).await.unwrap().as_deref())
}

pub(crate) fn ids(batch: Option<&dyn DueBatch>) -> Vec<String> {
    batch.map_or_else(Vec::new, |batch| batch.jobs().iter().map(|job| job.id.to_string()).collect())
}

/// The wish for due jobs of any lane.
pub(crate) fn up_to(max: u32) -> DueQuery {
    DueQuery { max, ..DueQuery::default() }
}
