//! Around the port [`Events`]: the sweep that applies what had to wait, and what is counted.

use std::time::Duration;

use sluice_telemetry::Metrics;

use crate::ports::{Events, Moved};

/// How often events that wait for their job are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// Events that are looked at in one sweep.
const SWEEP_MAX: u32 = 1_000;

/// Applies events that came before their job's result, for ever. Every replica may do this: they share the work.
pub async fn sweep_events(events: &dyn Events, metrics: &Metrics) {
    let mut away = false;
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        match events.apply_due(SWEEP_MAX).await {
            Ok(moved) => {
                away = false;
                count_moves(metrics, &moved);
            }
            // Said once: that the store is away is told elsewhere too.
            Err(error) if !away => {
                away = true;
                tracing::warn!(error = %crate::health::chain(&error), "could not apply events that wait");
            }
            Err(_) => {}
        }
    }
}

/// Counts jobs that events have moved.
pub fn count_moves(metrics: &Metrics, moved: &[Moved]) {
    for Moved { job, before, after } in moved {
        metrics.job(*after);
        if before.rank() == Some(0) {
            metrics.resolved(*before);
            tracing::info!(%job, %before, %after, "an event has settled a job");
        }
    }
}
