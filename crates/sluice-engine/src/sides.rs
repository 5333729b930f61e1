//! Side lanes: the queue sorts as the fleet has agreed, before anybody counts on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::health::chain;
use crate::plan::LivePlan;
use crate::ports::InboxError;
use crate::worker::Worker;

/// How often it is looked whether the fleet has agreed on something else.
const LOOK: Duration = Duration::from_millis(250);
/// Pause after a queue that could not be reached, and after one that refuses.
const AWAY_PAUSE: Duration = Duration::from_secs(1);
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// Has the queue sort domains with a side lane into it, for ever. Only then the lane is part of the plan, also of `doors`, by
/// which jobs are taken that no publisher sends; and `work` is called, which starts the loops of new lanes.
pub(crate) async fn keep_sides(worker: &Worker, doors: &LivePlan, work: impl Fn()) {
    if !worker.inbox.has_sides() {
        return;
    }
    worker.link.wait_known().await;
    let mut sorted = BTreeMap::new();
    loop {
        let view = worker.link.view();
        if view.sides == sorted {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        if let Err(error) = worker.inbox.sort(&view.sides).await {
            let pause = match &error {
                InboxError::Unavailable(_) => AWAY_PAUSE,
                InboxError::Refused(_) => REFUSED_PAUSE,
            };
            tracing::warn!(error = %chain(&error), "side lanes could not be declared");
            tokio::time::sleep(pause).await;
            continue;
        }
        sorted.clone_from(&view.sides);
        let sides = Arc::new(sorted.clone());
        worker.set_sides(&sides);
        doors.set_sides(&sides);
        tracing::info!(domains = sides.len(), "domains have side lanes");
        work();
    }
}
