//! SIGTERM in the middle: a drain in named steps, nothing in doubt, the rest goes to the other replica.

use crate::support::{Options, PATIENCE, Rig, mixed_jobs, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_drains_and_nothing_is_in_doubt() {
    let rig = Rig::new(Options::default());
    let replicas = rig.start(2);
    let mix = mixed_jobs("drain", 2000);
    rig.publish(&mix.lines);
    until("a part is sent", async || rig.sendgrid.accepted() > 100).await;
    replicas[0].sigterm();
    let status = replicas[0].wait(PATIENCE);
    let log = replicas[0].log();
    assert!(status.success(), "{status}\n{log}");
    for step in [
        "stop consuming",
        "finish in flight",
        "stop services",
        "give leases back",
        "close connections",
        "nothing left",
    ] {
        assert!(log.contains(step), "the log does not tell the step `{step}`");
    }
    rig.judge(&mix.jobs, false).await;
}
