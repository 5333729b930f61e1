//! RabbitMQ is killed and restarted in the middle. No replica is restarted by hand.

use crate::support::{Options, Rig, mixed_jobs, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_replicas_go_on_by_themselves() {
    let rig = Rig::new(Options { own_servers: true, claim_ttl: "6s", timeout: "2s", ..Options::default() });
    let replicas = rig.start(2);
    let mix = mixed_jobs("broker", 3000);
    rig.publish(&mix.lines);
    until("a part is sent", async || rig.sendgrid.accepted() > 100).await;
    rig.broker().kill9();
    until("the replicas notice", async || {
        replicas.iter().all(|replica| replica.get("/ready").is_ok_and(|(status, _)| status == 503))
    })
    .await;
    rig.broker().restart();
    // What was in flight when the broker died is recorded; its redelivery is a no-op, not a second send.
    let verdict = rig.judge(&mix.jobs, false).await;
    assert_eq!(verdict.flagged_duplicates, 0);
    assert!(replicas.iter().all(|replica| replica.status().is_none()), "a replica ended");
    for replica in &replicas {
        let log = replica.log();
        assert!(log.contains(" WARN ") && log.contains("broker lost"), "the loss was not told:\n{log}");
        assert!(!log.contains("lapin::"), "the client library is heard:\n{log}");
    }
}
