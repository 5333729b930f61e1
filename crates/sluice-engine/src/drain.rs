//! The named steps of a shutdown, and what was left at its end.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use crate::engine::Engine;
use crate::health::chain;

/// How long results may still be written after the deadline.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a drain left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DrainReport {
    /// Jobs still in work at the deadline, by lane; the broker gives them to others.
    pub left: BTreeMap<String, usize>,
}

impl DrainReport {
    /// Whether nothing was left.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.left.is_empty()
    }
}

/// Stops consuming, returns what was not begun, finishes what was, until `deadline`.
pub(crate) async fn drain(engine: &Engine, deadline: Duration) -> DrainReport {
    tracing::info!(step = "stop consuming", "drain");
    engine.stop.cancel();
    engine.worker.drain();
    engine.lane_tasks.close();
    engine.lane_tasks.wait().await;

    tracing::info!(step = "finish in flight", in_flight = engine.jobs.len(), "drain");
    engine.jobs.close();
    if tokio::time::timeout(deadline, engine.jobs.wait()).await.is_err() {
        tracing::warn!(step = "deadline passed", in_flight = engine.jobs.len(), "drain");
        engine.worker.health.close();
        if tokio::time::timeout(LAST_WORDS, engine.jobs.wait()).await.is_err() {
            tracing::warn!(in_flight = engine.jobs.len(), "jobs are left to other workers");
        }
    }
    let left = report(engine);
    tracing::info!(step = "stop services", "drain");
    engine.stop_services.cancel();
    engine.services.close();
    if tokio::time::timeout(LAST_WORDS, engine.services.wait()).await.is_err() {
        tracing::warn!("services did not end in time");
    }
    // Not before: a service would lease again, and tell the fleet that this process is still there.
    give_back(engine).await;
    left
}

/// Gives leased slots, connections and probes back, so that others have them at once and not when they lapse.
async fn give_back(engine: &Engine) {
    tracing::info!(step = "give leases back", "drain");
    let worker = &engine.worker;
    let unused = worker.slots.take_unused();
    let all = async {
        if !unused.is_empty()
            && let Err(error) = worker.slot_source.give_back(&unused).await
        {
            tracing::warn!(error = %chain(&error), "slots could not be given back, they lapse");
        }
        if let Err(error) = worker.link.leave().await {
            tracing::warn!(error = %chain(&error), "could not leave the fleet, it will notice");
        }
    };
    if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
        tracing::warn!("leases could not be given back in time, they lapse");
    }
}

fn report(engine: &Engine) -> DrainReport {
    let lanes = engine.lanes.all();
    let counts = lanes.iter().map(|it| (it.lane.to_string(), it.in_flight.load(Ordering::Relaxed)));
    let left: BTreeMap<String, usize> = counts.filter(|(_, count)| *count > 0).collect();
    if left.is_empty() {
        tracing::info!("drained: nothing left");
    } else {
        tracing::warn!(left = ?left, "drained: jobs left in work by lane");
    }
    DrainReport { left }
}
