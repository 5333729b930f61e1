//! Orders for campaigns: their names checked, and waited for until the replicas know.

use std::time::Duration;

use sluice_types::{Campaign, Tenant};

use super::OverviewError;
use crate::ports::Fleet;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A replica that has not asked for so long is away from the store: it claims nothing, and asks before it does again.
const AWAY_AFTER: Duration = Duration::from_secs(3);
/// From the store's answer to a replica until the order is in effect there, at most.
const ADOPTED_WITHIN: Duration = Duration::from_millis(100);

pub(super) fn check(tenant: &str, campaign: &str) -> Result<(), OverviewError> {
    if let Err(reason) = Tenant::new(tenant) {
        return Err(OverviewError::Tenant { tenant: tenant.to_owned(), reason });
    }
    if let Err(reason) = Campaign::new(campaign) {
        return Err(OverviewError::Campaign { campaign: campaign.to_owned(), reason });
    }
    Ok(())
}

/// Waits until every replica that works lanes has asked the store since now.
pub(super) async fn taken_up(fleet: &dyn Fleet) -> Result<(), OverviewError> {
    let began = tokio::time::Instant::now();
    loop {
        let view = fleet.look().await?;
        let since = began.elapsed();
        let waited_for = |ns: i64| {
            let ago = Duration::from_nanos(u64::try_from(ns).unwrap_or(0));
            ago + ADOPTED_WITHIN >= since
        };
        let mut working = view.replicas.iter().filter(|it| it.presence.works);
        if since >= AWAY_AFTER || !working.any(|it| waited_for(it.seen_ago_ns)) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
