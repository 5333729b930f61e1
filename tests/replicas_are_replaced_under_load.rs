//! A rolling restart of three replicas under load costs not one extra attempt; and a second SIGTERM ends a drain at once.

use std::time::Duration;

use sluice_testkit::peers::SendGridAnswer;

use crate::support::{Options, PATIENCE, Rig, job, line, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_costs_no_attempt() {
    let rig = Rig::new(Options::default());
    rig.sendgrid.script(|_| Some(SendGridAnswer::AcceptAfter(Duration::from_millis(300))));
    let mut replicas = rig.start(3);
    let mut jobs = Vec::new();
    for (place, replica) in replicas.iter_mut().enumerate() {
        let next = rig.start(1).remove(0);
        let more: Vec<_> = (0..500)
            .map(|i| job(&format!("rolled-{place}-{i}"), "default", &format!("u{i}@acme.example")))
            .collect();
        let sent = rig.sendgrid.calls();
        rig.publish(&more.iter().map(line).collect::<Vec<_>>());
        jobs.extend(more);
        until("it is sent", async || rig.sendgrid.calls() > sent).await;
        let before = std::mem::replace(replica, next);
        before.sigterm();
        let status = before.wait(PATIENCE);
        assert!(status.success(), "{status}\n{}", before.log());
    }
    let verdict = rig.judge(&jobs, false).await;
    assert_eq!(verdict.states.get("accepted"), Some(&jobs.len()));
    assert_eq!(rig.sendgrid.calls(), jobs.len(), "one call a job");
    let attempts = rig.count("select count(*) from sluice.attempt").await;
    assert_eq!(usize::try_from(attempts).unwrap(), jobs.len(), "one attempt a job");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_sigterm_ends_at_once_and_loses_nothing() {
    let rig = Rig::new(Options { claim_ttl: "6s", timeout: "4s", ..Options::default() });
    rig.sendgrid.script(|call| {
        call.recipient.starts_with("late").then_some(SendGridAnswer::AcceptAfter(Duration::from_secs(3)))
    });
    let replicas = rig.start(1);
    let jobs: Vec<_> =
        (0..20).map(|i| job(&format!("twice-{i}"), "default", &format!("late+{i}@acme.example"))).collect();
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    until("calls are under way", async || rig.sendgrid.calls() >= 10).await;
    replicas[0].sigterm();
    until("it drains", async || replicas[0].log().contains("finish in flight")).await;
    replicas[0].sigterm();
    let status = replicas[0].wait(Duration::from_secs(10));
    assert_eq!(status.code(), Some(1), "left without draining");
    let _next = rig.start(1);
    let verdict = rig.judge(&jobs, true).await;
    let of = |state: &str| verdict.states.get(state).copied().unwrap_or(0);
    assert_eq!(of("accepted") + of("unknown"), jobs.len(), "{verdict:?}");
    assert!(of("unknown") >= 1, "who is left in the middle of a call is in doubt: {verdict:?}");
}
