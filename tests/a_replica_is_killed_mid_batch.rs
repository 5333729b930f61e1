//! kill -9 in the middle; another replica finishes.

use std::time::Duration;

use sluice_testkit::peers::SendGridAnswer;

use crate::support::{Options, Rig, mixed_jobs, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_finishes_and_what_may_have_gone_twice_is_flagged() {
    another_finishes_over("1.1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_finishes_where_all_calls_shared_a_connection() {
    another_finishes_over("2").await;
}

async fn another_finishes_over(http_version: &'static str) {
    let rig = Rig::new(Options { claim_ttl: "6s", timeout: "2s", http_version, ..Options::default() });
    // Slow enough that some calls are under way when the replica dies.
    rig.sendgrid.script(|_| Some(SendGridAnswer::AcceptAfter(Duration::from_millis(40))));
    let replicas = rig.start(2);
    let mut mix = mixed_jobs("killed", 2000);
    mix.jobs.retain(|job| !job["to"]["email"].as_str().unwrap().starts_with('r'));
    mix.lines.retain(|line| !line["body"]["to"]["email"].as_str().unwrap().starts_with('r'));
    rig.publish(&mix.lines);
    until("a part is sent", async || rig.sendgrid.accepted() > 150).await;
    replicas[0].kill9();
    assert!(rig.sendgrid.journal().iter().all(|call| call.version == http_version));
    let verdict = rig.judge(&mix.jobs, true).await;
    // Bulk jobs in doubt wait for an operator; they are the only ones that are not accepted.
    let unknown = verdict.states.get("unknown").copied().unwrap_or(0);
    let accepted = verdict.states.get("accepted").copied().unwrap_or(0);
    assert_eq!(unknown + accepted, mix.jobs.len(), "{verdict:?}");
    assert!(unknown <= 600, "no more in doubt than were under way: {verdict:?}");
    assert!(verdict.flagged >= unknown);
}
