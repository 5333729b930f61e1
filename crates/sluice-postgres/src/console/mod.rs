//! The port `Console`: what operators and the API ask. Never on the way of a job.

mod ahead;
mod campaigns;
mod dead_letters;
mod jobs;
mod status;
mod suppressions;

use async_trait::async_trait;
use bytes::Bytes;
use sluice_engine::{Console, DeadLetterView, JobView, KnownJob, LedgerError, StatusView, SuppressionEntry};
use sluice_types::{Campaign, JobId, Tenant};

use crate::Postgres;

#[async_trait]
impl Console for Postgres {
    async fn known(&self, ids: &[JobId]) -> Result<Vec<Option<KnownJob>>, LedgerError> {
        Ok(self.known_jobs(ids).await?)
    }

    async fn job(&self, id: &JobId) -> Result<Option<JobView>, LedgerError> {
        let Some(mut view) = self.one_job(id).await? else {
            return Ok(None);
        };
        view.attempt_list = self.attempts_of(id).await?;
        view.events = self.events_of(id).await?;
        view.resolutions = self.resolutions_of(id).await?;
        Ok(Some(view))
    }

    async fn status(&self) -> Result<StatusView, LedgerError> {
        Ok(self.counts().await?)
    }

    async fn dead_list(&self, reason: Option<&str>, max: u32) -> Result<Vec<DeadLetterView>, LedgerError> {
        Ok(self.dead_letters(reason, max).await?)
    }

    async fn dead_show(&self, id: i64) -> Result<Option<(DeadLetterView, Bytes)>, LedgerError> {
        Ok(self.one_dead_letter(id).await?)
    }

    async fn dead_drop(&self, ids: &[i64]) -> Result<u64, LedgerError> {
        Ok(self.drop_dead_letters(ids).await?)
    }

    async fn suppress(&self, entries: &[SuppressionEntry]) -> Result<u64, LedgerError> {
        Ok(self.add_suppressions(entries).await?)
    }

    async fn unsuppress(&self, tenant: Option<&Tenant>, recipients: &[String]) -> Result<u64, LedgerError> {
        Ok(self.remove_suppressions(tenant, recipients).await?)
    }

    async fn suppressions(&self, max: u32) -> Result<Vec<SuppressionEntry>, LedgerError> {
        Ok(self.list_suppressions(max).await?)
    }
    async fn wake_campaign(&self, tenant: &Tenant, campaign: &Campaign) -> Result<u64, LedgerError> {
        Ok(self.wake(tenant, campaign).await?)
    }
}
