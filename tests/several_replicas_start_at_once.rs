//! Four replicas start on an empty database and an empty vhost at the same moment.

use std::time::Duration;

use crate::support::{Options, Rig, mixed_jobs};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_and_the_topology_are_made_once() {
    let rig = Rig::new(Options::default());
    let replicas = rig.start(4);
    let mix = mixed_jobs("start", 200);
    rig.publish(&mix.lines);
    rig.judge(&mix.jobs, false, Duration::from_secs(60)).await;
    // A broker that is slow to answer one question makes a replica unready for a moment; here it shall not last.
    replicas.iter().for_each(|replica| replica.wait_ready(Duration::from_secs(20)));
}
