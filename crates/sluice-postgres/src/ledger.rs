//! The port `Ledger`, call by call.

use async_trait::async_trait;
use sluice_engine::{
    Claim, ClaimVerdict, DeadLetter, DueBatch, Ledger, LedgerError, ParkVerdict, Parked, Record,
    RecordVerdict,
};

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

    async fn due(&self, max: u32) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        Ok(self.take_due(max).await?.map(|batch| Box::new(batch) as Box<dyn DueBatch>))
    }

    async fn ping(&self) -> Result<(), LedgerError> {
        self.control.query("ping", "SELECT 1", &[]).await?;
        Ok(())
    }
}
