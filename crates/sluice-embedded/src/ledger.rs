//! The ledger's calls: each is one request to the writer.

use async_trait::async_trait;
use sluice_engine::{
    Claim, ClaimVerdict, DeadLetter, DueBatch, Ledger, LedgerError, ParkVerdict, Parked, Record,
    RecordVerdict,
};

use crate::{Embedded, StoreError, claim, due, park, record, refuse};

/// Stands for the worker's name where there is none; no worker has it.
const NOBODY: &str = "";

#[async_trait]
impl Ledger for Embedded {
    async fn claim(&self, claims: &[Claim]) -> Result<Vec<ClaimVerdict>, LedgerError> {
        let shared = self.shared();
        let me = shared.worker.clone().ok_or(StoreError::NotTheWorker)?;
        let (count, claims, now) = (claims.len(), claims.to_vec(), shared.clock.now());
        let work = move |connection: &_| claim::claim(connection, &me, now, &claims);
        Ok(shared.writer.write(count, work).await?)
    }

    async fn record(&self, records: &[Record]) -> Result<Vec<RecordVerdict>, LedgerError> {
        let shared = self.shared();
        let me = shared.worker.clone();
        let (count, records, now) = (records.len(), records.to_vec(), shared.clock.now());
        let work =
            move |connection: &_| record::record(connection, me.as_deref().unwrap_or(NOBODY), now, &records);
        Ok(shared.writer.write(count, work).await?)
    }

    async fn park(&self, jobs: &[Parked]) -> Result<Vec<ParkVerdict>, LedgerError> {
        let shared = self.shared();
        let (count, jobs, leases) = (jobs.len(), jobs.to_vec(), shared.due.clone());
        let now = shared.clock.now();
        let work = move |connection: &_| park::park(connection, &leases, now, &jobs);
        Ok(shared.writer.write(count, work).await?)
    }

    async fn refuse(&self, messages: &[DeadLetter]) -> Result<(), LedgerError> {
        let shared = self.shared();
        let (count, messages, now) = (messages.len(), messages.to_vec(), shared.clock.now());
        let work = move |connection: &_| refuse::refuse(connection, now, &messages);
        Ok(shared.writer.write(count, work).await?)
    }

    async fn due(&self, max: u32) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        let shared = self.shared();
        if shared.worker.is_none() {
            return Err(StoreError::NotTheWorker.into());
        }
        let (leases, writer, now) = (shared.due.clone(), shared.writer.clone(), shared.clock.now());
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let lease = move |connection: &_| due::due(connection, &leases, &writer, now, max);
        let batch = shared.feeds.ask(lease).await?;
        Ok(batch.map(|batch| Box::new(batch) as Box<dyn DueBatch>))
    }

    /// Takes the write lock for an instant, so that it answers for writes too.
    async fn ping(&self) -> Result<(), LedgerError> {
        Ok(self.shared().writer.write(0, |_| Ok(())).await?)
    }
}
