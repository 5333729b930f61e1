//! A fake of the store that the overview asks: the fleet's document in memory, limits that nobody uses, one line.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use sluice_engine::{
    Claim, ClaimVerdict, DeadLetter, DueBatch, DueQuery, Fleet, FleetError, Leased, Ledger, LedgerError,
    LimitLook, ParkVerdict, Parked, Record, RecordVerdict, ReleaseQuery, SlotError, SlotSource, Unused,
    WaitingKey, Want,
};
use sluice_policy::{Edit, FleetState, Report, View};
use sluice_types::{Lane, Limit, Timestamp};

use crate::fakes::{Moody, away};

/// Some noon on the store's clock.
const NOW_NS: i64 = 1_796_126_400_000_000_000;

/// The store.
#[derive(Debug)]
pub(crate) struct FakeStore {
    pub(crate) mood: Moody,
    state: Mutex<FleetState>,
}

impl FakeStore {
    pub(crate) fn new() -> Self {
        Self { mood: Moody::new(), state: Mutex::default() }
    }

    /// What a replica reports.
    pub(crate) fn report(&self, report: &Report) {
        self.state.lock().unwrap().exchange(NOW_NS, report);
    }

    /// What holds now.
    pub(crate) fn view(&self) -> View {
        self.state.lock().unwrap().look(NOW_NS)
    }
}

#[async_trait]
impl Fleet for FakeStore {
    async fn exchange(&self, report: &Report) -> Result<View, FleetError> {
        if self.mood.act().await {
            Ok(self.state.lock().unwrap().exchange(NOW_NS, report))
        } else {
            Err(FleetError(away()))
        }
    }

    async fn edit(&self, edit: Edit) -> Result<(), FleetError> {
        if !self.mood.act().await {
            return Err(FleetError(away()));
        }
        self.state.lock().unwrap().edit(NOW_NS, edit);
        Ok(())
    }

    async fn look(&self) -> Result<View, FleetError> {
        if self.mood.act().await { Ok(self.view()) } else { Err(FleetError(away())) }
    }
}

#[async_trait]
impl SlotSource for FakeStore {
    async fn lease(&self, _: &[Want]) -> Result<Vec<Leased>, SlotError> {
        unreachable!("the HTTP side leases nothing")
    }

    async fn give_back(&self, _: &[Unused]) -> Result<(), SlotError> {
        unreachable!("the HTTP side leases nothing")
    }

    async fn look(&self, limits: &[Limit]) -> Result<Vec<LimitLook>, SlotError> {
        if !self.mood.act().await {
            return Err(SlotError(away()));
        }
        let look = |limit: &Limit| LimitLook {
            used: 0,
            left: u64::from(limit.spec.count.get()),
            next_in: Duration::ZERO,
            resets_in: None,
        };
        Ok(limits.iter().map(look).collect())
    }
}

#[async_trait]
impl Ledger for FakeStore {
    async fn claim(&self, _: &[Claim]) -> Result<Vec<ClaimVerdict>, LedgerError> {
        unreachable!("the HTTP side claims nothing")
    }

    async fn record(&self, _: &[Record]) -> Result<Vec<RecordVerdict>, LedgerError> {
        unreachable!("the HTTP side records nothing")
    }

    async fn park(&self, _: &[Parked]) -> Result<Vec<ParkVerdict>, LedgerError> {
        unreachable!("the HTTP side parks nothing")
    }

    async fn refuse(&self, _: &[DeadLetter]) -> Result<(), LedgerError> {
        unreachable!("the HTTP side refuses nothing")
    }

    async fn due(&self, _: &DueQuery) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        unreachable!("the HTTP side publishes nothing that was parked")
    }

    async fn waiting(&self, _: Option<&str>, _: u32, _: u32) -> Result<Vec<WaitingKey>, LedgerError> {
        if !self.mood.act().await {
            return Err(LedgerError::Unavailable(away()));
        }
        let oldest = Timestamp::from_micros(NOW_NS / 1_000);
        Ok(vec![WaitingKey { key: "esp:sandbox/per:s".to_owned(), jobs: 120, oldest }])
    }

    async fn release(&self, _: &ReleaseQuery) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        unreachable!("the HTTP side publishes nothing that was parked")
    }

    async fn expired(&self, _: u32, _: &[Lane]) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        unreachable!("the HTTP side publishes nothing that was parked")
    }

    async fn parked_by_reason(&self) -> Result<BTreeMap<String, u64>, LedgerError> {
        if !self.mood.act().await {
            return Err(LedgerError::Unavailable(away()));
        }
        Ok(BTreeMap::from([("esp_limit".to_owned(), 120), ("retry".to_owned(), 7)]))
    }

    async fn ping(&self) -> Result<(), LedgerError> {
        if self.mood.act().await { Ok(()) } else { Err(LedgerError::Unavailable(away())) }
    }
}
