//! Fakes of what the routes ask, told by the test how to answer.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use sluice_engine::{
    AttemptView, Burial, Console, DeadLetterView, JobView, KnownJob, LedgerError, Outbox, PendingView,
    Publication, PublishError, StatusView, SuppressionEntry,
};
use sluice_types::{Campaign, JobId, Tenant};

/// How a fake answers from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mood {
    Well,
    Away,
    Panics,
    Hangs,
}

/// A mood that a test can change.
#[derive(Debug)]
pub(crate) struct Moody(AtomicU8);

impl Moody {
    pub(crate) const fn new() -> Self {
        Self(AtomicU8::new(Mood::Well as u8))
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.0.store(mood as u8, Ordering::SeqCst);
    }

    /// `false` when it is away.
    pub(crate) async fn act(&self) -> bool {
        let mood = self.0.load(Ordering::SeqCst);
        assert_ne!(mood, Mood::Panics as u8, "told to panic");
        if mood == Mood::Hangs as u8 {
            std::future::pending::<()>().await;
        }
        mood == Mood::Well as u8
    }
}

pub(crate) fn away() -> Box<dyn std::error::Error + Send + Sync> {
    "away".into()
}

/// Knows the job `known`, and three that wait: `due`, `inline` and `held`.
#[derive(Debug)]
pub(crate) struct FakeConsole {
    pub(crate) mood: Moody,
    /// Campaigns whose parked jobs were woken.
    pub(crate) woken: Mutex<Vec<(String, String)>>,
}

impl FakeConsole {
    pub(crate) const fn new() -> Self {
        Self { mood: Moody::new(), woken: Mutex::new(Vec::new()) }
    }
}

#[async_trait]
impl Console for FakeConsole {
    async fn known(&self, ids: &[JobId]) -> Result<Vec<Option<KnownJob>>, LedgerError> {
        let parked = KnownJob { fingerprint: None, state: "pending".to_owned() };
        if !self.mood.act().await {
            return Err(LedgerError::Unavailable(away()));
        }
        Ok(ids.iter().map(|id| (id.as_str() == "known").then(|| parked.clone())).collect())
    }

    async fn job(&self, id: &JobId) -> Result<Option<JobView>, LedgerError> {
        if !self.mood.act().await {
            return Err(LedgerError::Unavailable(away()));
        }
        let attempt = AttemptView {
            attempt: 1,
            esp: "sandbox".to_owned(),
            outcome: "accepted".to_owned(),
            category: None,
            detail: None,
            started_at: "2026-11-24T12:00:00Z".to_owned(),
            finished_at: "2026-11-24T12:00:01Z".to_owned(),
        };
        let known = JobView {
            id: id.to_string(),
            tenant: "acme".to_owned(),
            campaign: None,
            class: "bulk".to_owned(),
            state: "accepted".to_owned(),
            attempts: 1,
            esp: Some("sandbox".to_owned()),
            provider_message_id: Some("m-1".to_owned()),
            category: None,
            detail: None,
            updated_at: Some("2026-11-24T12:00:01Z".to_owned()),
            attempt_list: vec![attempt],
            pending: None,
            events: Vec::new(),
            resolutions: Vec::new(),
        };
        let waits = |reason: &str, limit_key: Option<&str>, due_at: Option<&str>, ahead| JobView {
            state: "pending".to_owned(),
            attempts: 0,
            esp: None,
            provider_message_id: None,
            updated_at: None,
            attempt_list: Vec::new(),
            pending: Some(PendingView {
                reason: reason.to_owned(),
                limit_key: limit_key.map(str::to_owned),
                due_at: due_at.map(str::to_owned),
                ahead,
            }),
            ..known.clone()
        };
        Ok(match id.as_str() {
            "known" => Some(known),
            "due" => Some(waits("scheduled", None, Some("2026-11-24T13:00:00Z"), None)),
            "inline" => Some(waits("esp_limit", Some("esp:sandbox/per:s"), None, Some(120))),
            "held" => Some(waits("unknown", None, None, None)),
            _ => None,
        })
    }

    async fn status(&self) -> Result<StatusView, LedgerError> {
        if !self.mood.act().await {
            return Err(LedgerError::Unavailable(away()));
        }
        Ok(StatusView {
            jobs: BTreeMap::from([("accepted".to_owned(), 3)]),
            pending: BTreeMap::from([("limit".to_owned(), 2)]),
            dead: BTreeMap::new(),
            suppressions: 1,
            estimated: false,
        })
    }

    async fn dead_list(&self, _: Option<&str>, _: u32) -> Result<Vec<DeadLetterView>, LedgerError> {
        Ok(Vec::new())
    }

    async fn dead_show(&self, _: i64) -> Result<Option<(DeadLetterView, Bytes)>, LedgerError> {
        Ok(None)
    }

    async fn dead_drop(&self, _: &[i64]) -> Result<u64, LedgerError> {
        Ok(0)
    }

    async fn suppress(&self, _: &[SuppressionEntry]) -> Result<u64, LedgerError> {
        Ok(0)
    }

    async fn unsuppress(&self, _: Option<&Tenant>, _: &[String]) -> Result<u64, LedgerError> {
        Ok(0)
    }

    async fn suppressions(&self, _: u32) -> Result<Vec<SuppressionEntry>, LedgerError> {
        Ok(Vec::new())
    }

    async fn wake_campaign(&self, tenant: &Tenant, campaign: &Campaign) -> Result<u64, LedgerError> {
        if !self.mood.act().await {
            return Err(LedgerError::Unavailable(away()));
        }
        self.woken.lock().unwrap().push((tenant.to_string(), campaign.to_string()));
        Ok(3)
    }
}

/// Keeps what is published. The jobs `full` and `twice` are refused in their way.
#[derive(Debug)]
pub(crate) struct FakeOutbox {
    pub(crate) mood: Moody,
    published: Mutex<Vec<Publication>>,
}

impl FakeOutbox {
    pub(crate) const fn new() -> Self {
        Self { mood: Moody::new(), published: Mutex::new(Vec::new()) }
    }

    /// The bodies that were published, in order.
    pub(crate) fn bodies(&self) -> Vec<Bytes> {
        self.published.lock().unwrap().iter().map(|it| it.body.clone()).collect()
    }
}

#[async_trait]
impl Outbox for FakeOutbox {
    async fn publish(&self, jobs: Vec<Publication>) -> Vec<Result<(), PublishError>> {
        let well = self.mood.act().await;
        let mut results = Vec::new();
        for job in jobs {
            results.push(match job.id.as_str() {
                _ if !well => Err(PublishError::Unavailable(away())),
                "full" => Err(PublishError::Refused),
                "twice" => Err(PublishError::Duplicate),
                _ => {
                    self.published.lock().unwrap().push(job);
                    Ok(())
                }
            });
        }
        results
    }

    async fn bury(&self, messages: Vec<Burial>) -> Vec<Result<(), PublishError>> {
        messages.iter().map(|_| Ok(())).collect()
    }
}
