//! How the fleet stands, and how operators change it: asked of the store and not of a process, so that the HTTP side of
//! any replica and the command line answer the same.

mod campaign;
mod change;
mod error;
mod esp;
mod limit_key;
mod limits;
mod outlook;
mod replica;

use std::sync::Arc;

use sluice_policy::{Edit, View};
use sluice_types::Timestamp;

pub use change::LimitChange;
pub use error::OverviewError;
pub use esp::{BreakerStatus, EspView, Quota, ScopeBrake, WarmUp};
pub use limits::{Brake, LimitWord, Ramp, RateLimit, RateLimitsView};
pub use outlook::{Outlook, Until};
pub use replica::{CampaignView, FleetView, Replica};
pub use sluice_policy::Order;

use crate::fleet::orders;
use crate::plan::{LivePlan, Plan};
use crate::ports::{Fleet, JobView, Ledger, SlotSource};

/// Asks the store how the fleet stands, and gives it orders.
#[derive(Clone, Debug)]
pub struct Overview {
    plan: Arc<LivePlan>,
    fleet: Arc<dyn Fleet>,
    slot_source: Arc<dyn SlotSource>,
    ledger: Arc<dyn Ledger>,
}

/// What holds at one instant.
#[derive(Debug)]
struct Now {
    /// The configuration alone.
    configured: Arc<Plan>,
    /// With edits, ramps and brakes.
    plan: Plan,
    view: View,
}

/// Jobs of a line are counted up to here.
const COUNT_MAX: u32 = 10_000;

impl Overview {
    /// Over the ports of one store, and the configuration as it was read last.
    #[must_use]
    pub fn new(
        plan: Arc<LivePlan>,
        fleet: Arc<dyn Fleet>,
        slot_source: Arc<dyn SlotSource>,
        ledger: Arc<dyn Ledger>,
    ) -> Self {
        Self { plan, fleet, slot_source, ledger }
    }

    /// Every limit that holds now: configured, set at run time, ramps and brakes; and what waits under each.
    ///
    /// # Errors
    /// When the store could not be asked (so for every method).
    pub async fn rate_limits(&self) -> Result<RateLimitsView, OverviewError> {
        let lines = self.ledger.waiting(None, limits::LINES_MAX, COUNT_MAX).await?;
        let parked = self.ledger.parked_by_reason().await?;
        let now = self.now().await?;
        limits::rate_limits(&now, lines, parked, self.slot_source.as_ref()).await
    }

    /// Every configured ESP, by name.
    ///
    /// # Errors
    /// When the store could not be asked.
    pub async fn esps(&self) -> Result<Vec<EspView>, OverviewError> {
        let now = self.now().await?;
        esp::esps(&now, self.slot_source.as_ref()).await
    }

    /// The replicas, and the campaigns that are paused or cancelled.
    ///
    /// # Errors
    /// When the store could not be asked.
    pub async fn system(&self) -> Result<FleetView, OverviewError> {
        Ok(FleetView::of(&self.fleet.look().await?))
    }

    /// What lies ahead of a job. `now` is the caller's wall clock, for the estimate.
    ///
    /// # Errors
    /// When the store could not be asked.
    pub async fn outlook(&self, job: &JobView, now: Timestamp) -> Result<Outlook, OverviewError> {
        if job.pending.is_none() && job.campaign.is_none() {
            return Ok(Outlook::default());
        }
        outlook::outlook(&self.now().await?, job, now, self.slot_source.as_ref()).await
    }

    /// Sets a limit at run time, in place of the configured one or beside it; `spec` `None` goes back to that.
    ///
    /// `key` is one as [`RateLimit::key`] shows it (`esp:main/per:s`), or the scope alone (`esp:main`): the limit is
    /// then the one whose window the spec names, and without a spec the only one of the scope that was set. A window
    /// that the scope has no limit for is added ([`LimitChange::before`] is `None`). The edit says `by` whom and `at`
    /// when; replicas take it up within a second.
    ///
    /// # Errors
    /// When the key or the spec is no good ([`OverviewError::is_refusal`]), or the store could not be asked; the call
    /// may be repeated.
    pub async fn set_limit(
        &self,
        key: &str,
        spec: Option<&str>,
        by: &str,
        at: Timestamp,
    ) -> Result<LimitChange, OverviewError> {
        let now = self.now().await?;
        let (change, edit) = change::plan_change(&now, key, spec, by, at)?;
        self.fleet.edit(Edit::Limit { key: change.key.clone(), edit }).await?;
        Ok(change)
    }

    /// Holds the breaker of an ESP open (`Some(true)`) or closed, or lets it decide itself again (`None`).
    ///
    /// # Errors
    /// When there is no such ESP, or the store could not be asked; the call may be repeated.
    pub async fn order_breaker(&self, esp: &str, open: Option<bool>) -> Result<(), OverviewError> {
        self.known_esp(esp, open).await?;
        Ok(self.fleet.edit(Edit::Breaker { esp: esp.to_owned(), open }).await?)
    }

    /// Pauses, cancels or resumes (`None`) a campaign, known or not yet.
    ///
    /// Returns when every replica has taken the order up, or those that have not are away from the store for long and
    /// so send nothing. After a cancellation wake its parked jobs by [`crate::Console::wake_campaign`], and never before: a
    /// replica that does not know of it yet would send them.
    ///
    /// # Errors
    /// When a name is none, or the store could not be asked; the call may be repeated.
    pub async fn order_campaign(
        &self,
        tenant: &str,
        campaign: &str,
        order: Option<Order>,
    ) -> Result<(), OverviewError> {
        campaign::check(tenant, campaign)?;
        let (tenant, campaign) = (tenant.to_owned(), campaign.to_owned());
        self.fleet.edit(Edit::Campaign { tenant, campaign, order }).await?;
        campaign::taken_up(self.fleet.as_ref()).await
    }

    async fn known_esp(&self, esp: &str, open: Option<bool>) -> Result<(), OverviewError> {
        let plan = self.plan.get();
        if plan.esps().any(|(id, _)| id.as_str() == esp) {
            return Ok(());
        }
        // An order that was given to an ESP of another configuration may be taken back.
        if open.is_none() && self.fleet.look().await?.breakers.contains_key(esp) {
            return Ok(());
        }
        Err(error::unknown_esp(&plan, esp))
    }

    async fn now(&self) -> Result<Now, OverviewError> {
        let view = self.fleet.look().await?;
        let configured = Arc::clone(&self.plan.get());
        let plan = configured.with_orders(orders(&view, &configured));
        Ok(Now { configured, plan, view })
    }
}

#[cfg(test)]
mod tests;
