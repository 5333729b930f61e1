//! A database of its own for each test, and short ways to write its calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use sluice_engine::{
    Claim, ClaimVerdict, Due, DueQuery, Intent, Ledger, NextStep, Parked, Passport, Record, RecordVerdict,
    ReleaseQuery,
};
use sluice_postgres::{Postgres, PostgresSettings};
use sluice_testkit::services::shared_postgres;
use sluice_types::{
    Address, Category, Class, EspId, GroupName, JobId, JobState, Outcome, PoolName, Tenant, Timestamp,
    WaitReason,
};
use tokio_postgres::{Client, NoTls};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
/// 2026-11-24T12:00:00Z.
pub(crate) const NOON: Timestamp = Timestamp::from_micros(1_795_521_600_000_000);

static TOKEN: AtomicI64 = AtomicI64::new(1);

/// A migrated database.
pub(crate) struct Fixture {
    pub(crate) url: String,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let fixture = Self { url: shared_postgres().create_database() };
        fixture.worker("migrator").migrate().await.unwrap();
        fixture
    }

    /// The adapter of the worker `name`.
    pub(crate) fn worker(&self, name: &str) -> Postgres {
        // Leases begin at once, however busy the machine is: what they bring is compared to the instant.
        let settings = PostgresSettings::new(SecretString::from(self.url.as_str()), name);
        Postgres::connect(PostgresSettings { lease_lead_max: Duration::ZERO, ..settings }).unwrap()
    }

    /// A plain client beside the adapter.
    pub(crate) async fn sql(&self) -> Arc<Client> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        Arc::new(client)
    }

    /// One text that `query` answers; empty for no row or null.
    pub(crate) async fn text(&self, query: &str) -> String {
        let rows = self.sql().await.query(query, &[]).await.unwrap();
        rows.first().and_then(|row| row.get::<_, Option<String>>(0)).unwrap_or_default()
    }

    /// `state/attempts/category/resent` of a job.
    pub(crate) async fn job(&self, id: &str) -> String {
        self.text(&format!(
            "select concat_ws('/', state, attempts, coalesce(category, '-'), resent) from sluice.job where id = '{id}'"
        ))
        .await
    }

    /// `reason/attempt/body` of a parked job.
    pub(crate) async fn pending(&self, id: &str) -> String {
        self.text(&format!(
            "select concat_ws('/', reason, attempt, convert_from(body, 'UTF8')) from sluice.pending where job_id = '{id}'"
        ))
        .await
    }

    /// `attempt:outcome:category` of each attempt of a job.
    pub(crate) async fn attempts(&self, id: &str) -> String {
        self.text(&format!(
            "select string_agg(concat_ws(':', attempt, outcome, category), ' ' order by attempt, outcome) \
             from sluice.attempt where job_id = '{id}'"
        ))
        .await
    }
}

pub(crate) fn id(text: &str) -> JobId {
    JobId::new(text).unwrap()
}

pub(crate) fn esp() -> EspId {
    EspId::new("main").unwrap()
}

/// A claim to send, with a token of its own.
pub(crate) fn claim(job: &str, attempt: u32) -> Claim {
    Claim {
        id: id(job),
        tenant: Tenant::default(),
        campaign: None,
        pool: PoolName::default(),
        class: Class::Bulk,
        recipient: Address::parse("Ada@gmail.com").unwrap(),
        fingerprint: 7,
        attempt,
        resend: false,
        token: TOKEN.fetch_add(1, Ordering::Relaxed),
        intent: Intent::Send { ttl: MINUTE, esp: esp() },
    }
}

/// A claim whose ttl is over at once.
pub(crate) fn lapsing(job: &str, attempt: u32) -> Claim {
    Claim { intent: Intent::Send { ttl: Duration::ZERO, esp: esp() }, ..claim(job, attempt) }
}

/// A claim to close as expired.
pub(crate) fn close(job: &str, attempt: u32) -> Claim {
    let intent = Intent::Close { state: JobState::Expired, category: Category::Expired };
    Claim { intent, ..claim(job, attempt) }
}

pub(crate) fn parked(job: &str, attempt: u32, due: Due, reason: WaitReason) -> Parked {
    Parked {
        id: id(job),
        tenant: Tenant::default(),
        campaign: None,
        pool: PoolName::default(),
        class: Class::Bulk,
        domain: "gmail.com".to_owned(),
        group: GroupName::new("gmail").unwrap(),
        due,
        reason,
        limit_key: None,
        expires_at: None,
        body: Bytes::from_static(b"{}"),
        passport: Passport { attempt, first_seen: Some(NOON), ..Passport::default() },
    }
}

/// The wish for due jobs of any lane.
pub(crate) fn up_to(max: u32) -> DueQuery {
    DueQuery { max, ..DueQuery::default() }
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

pub(crate) fn unknown() -> Outcome {
    Outcome::Unknown { detail: "reset".to_owned() }
}

pub(crate) fn record(job: &str, attempt: u32, outcome: Option<Outcome>, next: NextStep) -> Record {
    Record {
        id: id(job),
        tenant: Tenant::default(),
        attempt,
        token: None,
        esp: esp(),
        started_at: NOON,
        finished_at: NOON + Duration::from_secs(1),
        outcome,
        next,
    }
}

/// The record of an accepted send.
pub(crate) fn sent(job: &str, attempt: u32) -> Record {
    record(job, attempt, Some(accepted()), NextStep::Final { state: JobState::Accepted, category: None })
}

/// The record of a fault that will be retried in a minute.
pub(crate) fn retried(job: &str, attempt: u32) -> Record {
    let next = NextStep::Retry(Box::new(parked(job, attempt + 1, Due::In(MINUTE), WaitReason::Retry)));
    record(job, attempt, Some(faulted()), next)
}

/// The record of a lost answer.
pub(crate) fn lost(job: &str, attempt: u32) -> Record {
    let mut copy = parked(job, attempt + 1, Due::In(MINUTE), WaitReason::Unknown);
    copy.passport.resend = true;
    record(job, attempt, Some(unknown()), NextStep::Unknown(Box::new(copy)))
}

/// The record of a claim given back.
pub(crate) fn unsent(job: &str, attempt: u32) -> Record {
    record(
        job,
        attempt,
        None,
        NextStep::Unsent(Box::new(parked(job, attempt, Due::In(MINUTE), WaitReason::EspLimit))),
    )
}

pub(crate) async fn claim_one(worker: &Postgres, claim: Claim) -> ClaimVerdict {
    worker.claim(&[claim]).await.unwrap().pop().unwrap()
}

pub(crate) async fn record_one(worker: &Postgres, record: Record) -> RecordVerdict {
    worker.record(&[record]).await.unwrap().pop().unwrap()
}
