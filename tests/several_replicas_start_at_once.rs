//! Four replicas start on an empty database and an empty vhost at the same moment.

use crate::support::{Options, PATIENCE, Rig, mixed_jobs};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_and_the_topology_are_made_once() {
    let rig = Rig::new(Options::default());
    let replicas = rig.start(4);
    let mix = mixed_jobs("start", 200);
    rig.publish(&mix.lines);
    rig.judge(&mix.jobs, false).await;
    // A broker that is slow to answer one question makes a replica unready for a moment; here it shall not last.
    replicas.iter().for_each(|replica| replica.wait_ready(PATIENCE));
}
