//! Counts the parked jobs of the whole fleet: one replica for all, since a count reads much of the store.

use std::time::Duration;

use crate::health::chain;
use crate::worker::Worker;

/// Time between two counts, and between two looks whether it is our turn.
const EVERY: Duration = Duration::from_secs(15);

/// Tells how many jobs are parked, for as long as this is the first replica by name; for ever.
pub(crate) async fn count_parked(worker: &Worker) {
    worker.link.wait_known().await;
    loop {
        let counts = if is_first(worker) {
            let counted = worker.ledger.parked_by_reason().await;
            counted
                .inspect_err(|error| tracing::debug!(error = %chain(error), "could not count parked jobs"))
                .ok()
        } else {
            None
        };
        worker.metrics.fleet_waiting(counts.as_ref());
        tokio::time::sleep(EVERY).await;
    }
}

fn is_first(worker: &Worker) -> bool {
    let view = worker.link.view();
    view.here().map(|it| &it.name).min() == Some(&worker.link.replica)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sluice_policy::{Presence, ReplicaView, View};

    use super::*;
    use crate::worker::rig::Rig;

    fn replica(name: &str) -> ReplicaView {
        ReplicaView { name: name.to_owned(), up_ns: 0, seen_ago_ns: 0, presence: Presence::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_replica_tells_for_all() {
        let rig = Rig::new("esp = [{ name = \"a\", kind = \"sandbox\" }]");
        *rig.around.parked_by_reason.lock().unwrap() = BTreeMap::from([("retry".to_owned(), 7)]);
        let told = async |replicas: &[&str]| {
            let replicas = replicas.iter().map(|name| replica(name)).collect();
            rig.see(View { replicas, ..View::default() }).await;
            tokio::time::timeout(EVERY * 2, count_parked(&rig.worker)).await.unwrap_err();
            let metrics = rig.worker.metrics.render().unwrap();
            let lines = metrics.lines().filter(|line| line.starts_with("sluice_fleet_waiting{"));
            lines.filter(|line| line.ends_with(" 7") || line.ends_with(" 0")).count()
        };
        assert_eq!(told(&["r1", "r2"]).await, sluice_types::WaitReason::ALL.len());
        assert_eq!(told(&["r0", "r1"]).await, 0, "what it told before is gone");
    }
}
