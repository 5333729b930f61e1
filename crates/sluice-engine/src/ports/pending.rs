//! The one place for everything that is not due yet.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sluice_types::{Campaign, Class, GroupName, JobId, Lane, PoolName, Tenant, Timestamp, WaitReason};

use super::{LedgerError, Passport};

/// When a parked job is due, by the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// So long after the store writes it.
    In(Duration),
    /// At this instant.
    At(Timestamp),
    /// Not until an operator or an event says so.
    Held,
    /// When the relay releases it from the line of jobs that wait under [`Parked::limit_key`], first seen first.
    InLine,
}

/// A job put aside with its body.
#[derive(Clone, Debug)]
pub struct Parked {
    /// The job.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Its campaign.
    pub campaign: Option<Campaign>,
    /// Its pool, for the lane.
    pub pool: PoolName,
    /// Its class, for the lane.
    pub class: Class,
    /// The recipient's domain.
    pub domain: String,
    /// Its domain group, for the lane.
    pub group: GroupName,
    /// When it goes on.
    pub due: Due,
    /// Why it waits.
    pub reason: WaitReason,
    /// The key of the limit that holds it, where one does.
    pub limit_key: Option<String>,
    /// When it need not be sent any more. Kept for jobs in line alone ([`Due::InLine`]), and only where it lies ahead by
    /// the store's clock: one that it calls past and the parking worker does not would come and go for ever.
    pub expires_at: Option<Timestamp>,
    /// The body as published.
    pub body: Bytes,
    /// What goes into the next publication.
    pub passport: Passport,
}

/// Which due jobs a relay wants.
#[derive(Clone, Debug, Default)]
pub struct DueQuery {
    /// At most so many.
    pub max: u32,
    /// Lanes that are long enough: their jobs stay where they are.
    pub full: Vec<Lane>,
    /// Campaigns that are paused, as (tenant, campaign): their jobs stay where they are.
    pub paused: Vec<(String, String)>,
    /// Tenants whose weight is not 1.
    pub weights: Vec<(Tenant, u32)>,
}

/// Which jobs a relay wants from lines.
#[derive(Clone, Debug, Default)]
pub struct ReleaseQuery {
    /// How many of each line, by its key.
    pub counts: Vec<(String, u32)>,
    /// Lanes that are long enough: their jobs stay where they are.
    pub full: Vec<Lane>,
    /// Campaigns that are paused, as (tenant, campaign): their jobs stay where they are.
    pub paused: Vec<(String, String)>,
    /// Campaigns that are cancelled: their jobs go whatever the counts say, for they only go to be closed.
    pub cancelled: Vec<(String, String)>,
    /// Tenants whose weight is not 1.
    pub weights: Vec<(Tenant, u32)>,
}

/// Jobs that wait in line under one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingKey {
    /// The key of the limit, or `campaign:TENANT/NAME`.
    pub key: String,
    /// How many, counted up to what was asked for.
    pub jobs: u64,
    /// When the first of them was first seen.
    pub oldest: Timestamp,
}

/// A parked job whose time has come.
#[derive(Clone, Debug)]
pub struct PendingJob {
    /// The job.
    pub id: JobId,
    /// Its pool.
    pub pool: PoolName,
    /// Its class.
    pub class: Class,
    /// The recipient's domain.
    pub domain: String,
    /// Its domain group when it was parked.
    pub group: GroupName,
    /// The body.
    pub body: Bytes,
    /// What travels beside it.
    pub passport: Passport,
}

/// Due jobs that no other relay sees until this is dropped or told what was published.
#[async_trait]
pub trait DueBatch: Send {
    /// The jobs, oldest first.
    fn jobs(&self) -> &[PendingJob];

    /// Removes the jobs whose publication the broker has confirmed; the rest become visible again.
    ///
    /// # Errors
    /// When the store cannot be reached: the jobs will be published twice, and the claim makes the second a no-op.
    async fn published(self: Box<Self>, confirmed: &[JobId]) -> Result<(), LedgerError>;
}
