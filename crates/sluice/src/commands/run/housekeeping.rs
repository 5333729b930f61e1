//! Keeps the store's tables in order: partitions ahead, and what is old enough goes. The embedded store has none of this.

use std::sync::Arc;
use std::time::Duration;

use sluice_config::Config;
use sluice_postgres::Retention;
use tokio::sync::watch;

use super::RunRoles;
use crate::wiring::Outside;

/// The first round comes so soon after the start, or an interval after it if that is shorter: a process that is restarted
/// often keeps house too.
const FIRST_ROUND: Duration = Duration::from_secs(60);

/// Keeps house for ever, where there is a house to keep and this process has the role `relay`.
pub(super) async fn keep_house(outside: &Outside, roles: RunRoles, config: watch::Receiver<Arc<Config>>) {
    let Some(postgres) = outside.postgres().filter(|_| roles.relay) else {
        return std::future::pending().await;
    };
    let mut pause = FIRST_ROUND;
    loop {
        let (retention, interval) = {
            let retention = &config.borrow().retention;
            let kept = Retention {
                jobs: retention.jobs,
                attempts: retention.attempts,
                partitions_ahead: retention.partitions_ahead,
            };
            (kept, retention.interval)
        };
        // Replicas do not come in step; the one that comes first does it.
        tokio::time::sleep(pause.min(interval).mul_f64(0.75 + fastrand::f64() / 4.0)).await;
        pause = interval;
        match postgres.keep_house(&retention).await {
            Ok(None) => tracing::debug!("another replica keeps house"),
            Ok(Some(done)) if done.is_nothing() => tracing::debug!("kept house, there was nothing to do"),
            Ok(Some(done)) => tracing::info!(
                partitions_made = done.partitions_made,
                partitions_dropped = done.partitions_dropped,
                jobs = done.jobs,
                limits = done.limits,
                event_ids = done.event_ids,
                results = done.results,
                "kept house"
            ),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(error, "could not keep house, it is tried again");
            }
        }
    }
}
