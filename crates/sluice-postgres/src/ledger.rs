//! The port `Ledger`, call by call.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sluice_engine::{
    Claim, ClaimVerdict, DeadLetter, DueBatch, DueQuery, Ledger, LedgerError, ParkVerdict, Parked, Record,
    RecordVerdict, ReleaseQuery, WaitingKey,
};
use sluice_types::Lane;

use crate::Postgres;

#[async_trait]
impl Ledger for Postgres {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<ClaimVerdict>, LedgerError> {
        Ok(self.claim_jobs(claims).await?)
    }

    async fn record(&self, records: &[Record]) -> Result<Vec<RecordVerdict>, LedgerError> {
        Ok(self.record_results(records).await?)
    }

    async fn park(&self, jobs: &[Parked]) -> Result<Vec<ParkVerdict>, LedgerError> {
        Ok(self.park_jobs(jobs).await?)
    }

    async fn refuse(&self, messages: &[DeadLetter]) -> Result<(), LedgerError> {
        Ok(self.keep_refused(messages).await?)
    }

    async fn due(&self, query: &DueQuery) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        Ok(self.take_due(query).await?.map(|batch| Box::new(batch) as Box<dyn DueBatch>))
    }

    async fn waiting(
        &self,
        after: Option<&str>,
        max: u32,
        count_max: u32,
    ) -> Result<Vec<WaitingKey>, LedgerError> {
        Ok(self.lines(after, max, count_max).await?)
    }

    async fn release(&self, query: &ReleaseQuery) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        let batch = self.take_from_lines(query).await?;
        Ok(batch.map(|batch| Box::new(batch) as Box<dyn DueBatch>))
    }

    async fn expired(&self, max: u32, full: &[Lane]) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        let batch = self.take_expired(max, full).await?;
        Ok(batch.map(|batch| Box::new(batch) as Box<dyn DueBatch>))
    }

    async fn parked_by_reason(&self) -> Result<BTreeMap<String, u64>, LedgerError> {
        Ok(self.count_parked().await?)
    }

    async fn ping(&self) -> Result<(), LedgerError> {
        self.control.query("ping", "SELECT 1", &[]).await?;
        Ok(())
    }
}
