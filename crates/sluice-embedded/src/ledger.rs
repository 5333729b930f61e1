//! The ledger's calls: each is one request to the writer.

use std::collections::BTreeMap;

use async_trait::async_trait;
use sluice_engine::{
    Claim, ClaimVerdict, DeadLetter, DueBatch, DueQuery, Ledger, LedgerError, ParkVerdict, Parked, Record,
    RecordVerdict, ReleaseQuery, WaitingKey,
};
use sluice_types::Lane;

use crate::batch::Batch;
use crate::{Embedded, StoreError, claim, console, due, line, park, record, refuse, release};

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
        let (me, leases) = (shared.worker.clone(), shared.due.clone());
        let (count, records, now) = (records.len(), records.to_vec(), shared.clock.now());
        let work = move |connection: &_| {
            record::record(connection, &leases, me.as_deref().unwrap_or(NOBODY), now, &records)
        };
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

    async fn due(&self, query: &DueQuery) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        let (shared, query) = (self.worker_shared()?.clone(), query.clone());
        let (inner, now) = (shared.clone(), shared.clock.now());
        let lease = move |connection: &_| {
            due::due(connection, (&inner.due, &inner.rounds), &inner.writer, now, &query)
        };
        Ok(shared.relay.ask(lease).await?.map(boxed))
    }

    async fn waiting(
        &self,
        after: Option<&str>,
        max: u32,
        count_max: u32,
    ) -> Result<Vec<WaitingKey>, LedgerError> {
        let (shared, after) = (self.shared(), after.map(str::to_owned));
        // A client has no relay.
        let reader = if shared.worker.is_some() { &shared.relay } else { &shared.questions };
        Ok(reader.ask(move |connection| line::waiting(connection, after, max, count_max)).await?)
    }

    async fn release(&self, query: &ReleaseQuery) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        let (shared, query) = (self.worker_shared()?.clone(), query.clone());
        let (inner, now) = (shared.clone(), shared.clock.now());
        let lease = move |connection: &_| {
            release::release(connection, (&inner.due, &inner.lines), &inner.writer, now, &query)
        };
        Ok(shared.relay.ask(lease).await?.map(boxed))
    }

    async fn expired(&self, max: u32, full: &[Lane]) -> Result<Option<Box<dyn DueBatch>>, LedgerError> {
        let (shared, full) = (self.worker_shared()?.clone(), full.to_vec());
        let (inner, now) = (shared.clone(), shared.clock.now());
        let lease =
            move |connection: &_| line::expired(connection, (&inner.due, &inner.writer), now, max, &full);
        Ok(shared.relay.ask(lease).await?.map(boxed))
    }

    async fn parked_by_reason(&self) -> Result<BTreeMap<String, u64>, LedgerError> {
        Ok(self.shared().questions.ask(console::parked).await?)
    }

    /// Takes the write lock for an instant, so that it answers for writes too.
    async fn ping(&self) -> Result<(), LedgerError> {
        Ok(self.shared().writer.write(0, |_| Ok(())).await?)
    }
}

fn boxed(batch: Batch) -> Box<dyn DueBatch> {
    Box::new(batch)
}
