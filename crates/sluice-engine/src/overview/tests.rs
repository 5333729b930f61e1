//! The overview over a fleet's document in memory.

mod changes;
mod views;

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sluice_config::Config;
use sluice_policy::{FleetState, Presence, Report};
use sluice_types::{Lane, Limit};

use super::*;
use crate::ports::{
    Claim, ClaimVerdict, DeadLetter, DueBatch, DueQuery, FleetError, Leased, LedgerError, LimitLook,
    ParkVerdict, Parked, Record, RecordVerdict, ReleaseQuery, SlotError, Unused, WaitingKey, Want,
};

const SECOND_NS: i64 = 1_000_000_000;
/// Some noon.
const NOON_NS: i64 = (20_000 * 86_400 + 43_200) * SECOND_NS;

const TWO_ESPS: &str = r#"
[[esp]]
name = "main"
kind = "sandbox"
limits = ["100/s", "50000/h", "10 connections"]
warmup = { caps = [50, 100] }

[[esp]]
name = "spare"
kind = "sandbox"

[[domain_group]]
name = "gmail"
domains = ["gmail.com"]
limits = ["50/s"]
limits_per_esp = ["20/s"]

[[domain_group]]
name = "other"
limits_per_domain = ["5/s"]

[[tenant]]
name = "acme"
limits = ["10/s burst 20"]
"#;

/// A store that keeps the document, and says of limits and lines what it was told.
#[derive(Debug)]
struct Store {
    state: Mutex<FleetState>,
    now_ns: AtomicI64,
    looks: Mutex<HashMap<String, LimitLook>>,
    lines: Mutex<Vec<WaitingKey>>,
    parked: Mutex<BTreeMap<String, u64>>,
    away: AtomicBool,
}

impl Store {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            now_ns: AtomicI64::new(NOON_NS),
            looks: Mutex::default(),
            lines: Mutex::default(),
            parked: Mutex::default(),
            away: AtomicBool::new(false),
        })
    }

    fn now_ns(&self) -> i64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    fn report(&self, report: &Report) {
        self.state.lock().unwrap().exchange(self.now_ns(), report);
    }

    fn has_line(&self, key: &str, jobs: u64) {
        let oldest = Timestamp::parse("2026-11-24T12:00:00Z").unwrap();
        self.lines.lock().unwrap().push(WaitingKey { key: key.to_owned(), jobs, oldest });
    }

    fn looks_like(&self, key: &str, used: u64, left: u64, next_in_s: u64) {
        let next_in = Duration::from_secs(next_in_s);
        let look = LimitLook { used, left, next_in, resets_in: Some(Duration::from_secs(9)) };
        self.looks.lock().unwrap().insert(key.to_owned(), look);
    }

    fn answers<E>(&self, error: impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> E) -> Result<(), E> {
        if self.away.load(Ordering::Relaxed) { Err(error("away".into())) } else { Ok(()) }
    }
}

/// An overview of `toml` over `store`.
fn overview(toml: &str, store: &Arc<Store>) -> Overview {
    let config = Config::load(toml, &[], &|_| Err(String::new())).unwrap();
    let plan = Arc::new(LivePlan::new(Arc::new(Plan::of(&config))));
    Overview::new(plan, Arc::clone(store) as _, Arc::clone(store) as _, Arc::clone(store) as _)
}

/// A report of a worker.
fn worker(name: &str, presence: Presence) -> Report {
    let presence = Presence { version: "1.2.3".to_owned(), works: true, ..presence };
    Report { replica: name.to_owned(), presence: Some(presence), ..Report::default() }
}

fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

#[async_trait]
impl Fleet for Store {
    async fn exchange(&self, report: &Report) -> Result<View, FleetError> {
        self.answers(FleetError)?;
        Ok(self.state.lock().unwrap().exchange(self.now_ns(), report))
    }

    async fn edit(&self, edit: Edit) -> Result<(), FleetError> {
        self.answers(FleetError)?;
        self.state.lock().unwrap().edit(self.now_ns(), edit);
        Ok(())
    }

    async fn look(&self) -> Result<View, FleetError> {
        self.answers(FleetError)?;
        Ok(self.state.lock().unwrap().look(self.now_ns()))
    }
}

#[async_trait]
impl SlotSource for Store {
    async fn lease(&self, _: &[Want]) -> Result<Vec<Leased>, SlotError> {
        panic!("an overview leases nothing")
    }

    async fn give_back(&self, _: &[Unused]) -> Result<(), SlotError> {
        panic!("an overview leases nothing")
    }

    async fn look(&self, limits: &[Limit]) -> Result<Vec<LimitLook>, SlotError> {
        self.answers(SlotError)?;
        let looks = self.looks.lock().unwrap();
        Ok(limits.iter().map(|limit| looks.get(&limit.key()).copied().unwrap_or_default()).collect())
    }
}

#[async_trait]
impl Ledger for Store {
    async fn claim(&self, _: &[Claim]) -> Result<Vec<ClaimVerdict>, LedgerError> {
        panic!("an overview claims nothing")
    }

    async fn record(&self, _: &[Record]) -> Result<Vec<RecordVerdict>, LedgerError> {
        panic!("an overview records nothing")
    }

    async fn park(&self, _: &[Parked]) -> Result<Vec<ParkVerdict>, LedgerError> {
        panic!("an overview parks nothing")
    }

    async fn refuse(&self, _: &[DeadLetter]) -> Result<(), LedgerError> {
        panic!("an overview refuses nothing")
    }

    async fn due(&self, _: &DueQuery) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        panic!("an overview publishes nothing")
    }

    async fn waiting(
        &self,
        _after: Option<&str>,
        max: u32,
        _count_max: u32,
    ) -> Result<Vec<WaitingKey>, LedgerError> {
        self.answers(LedgerError::Unavailable)?;
        let lines = self.lines.lock().unwrap();
        Ok(lines.iter().take(usize::try_from(max).unwrap()).cloned().collect())
    }

    async fn release(&self, _: &ReleaseQuery) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        panic!("an overview publishes nothing")
    }

    async fn expired(&self, _: u32, _: &[Lane]) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        panic!("an overview publishes nothing")
    }

    async fn parked_by_reason(&self) -> Result<BTreeMap<String, u64>, LedgerError> {
        self.answers(LedgerError::Unavailable)?;
        Ok(self.parked.lock().unwrap().clone())
    }

    async fn ping(&self) -> Result<(), LedgerError> {
        self.answers(LedgerError::Unavailable)
    }
}
