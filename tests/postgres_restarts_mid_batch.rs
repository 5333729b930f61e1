//! Postgres is stopped at once and restarted in the middle. No replica is restarted by hand, nothing is sent meanwhile.

use std::time::Duration;

use crate::support::{Options, Rig, mixed_jobs, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_without_a_claim_and_the_replicas_go_on() {
    let rig = Rig::new(Options { own_servers: true, claim_ttl: "20s", timeout: "2s", ..Options::default() });
    let replicas = rig.start(2);
    let mix = mixed_jobs("postgres", 3000);
    rig.publish(&mix.lines);
    until("a part is sent", async || rig.sendgrid.accepted() > 100).await;
    rig.database().stop_immediate();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let sent = rig.sendgrid.calls();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(rig.sendgrid.calls(), sent, "nothing is sent while nothing can be claimed");
    let (status, body) = replicas[0].get("/ready").unwrap();
    assert_eq!(status, 503);
    assert!(body.contains("store"), "{body}");
    rig.database().restart();
    let verdict = rig.judge(&mix.jobs, true).await;
    assert_eq!(verdict.flagged_duplicates, 0);
    assert!(replicas.iter().all(|replica| replica.status().is_none()), "a replica ended");
}
