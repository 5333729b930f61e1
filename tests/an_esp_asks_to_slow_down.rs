//! A 429 stops the whole fleet for as long as it says, and halves the rate afterwards.

use std::time::{Duration, Instant};

use sluice_testkit::peers::SendGridAnswer;

use crate::support::{Options, Rig, job, line, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_in_the_reply_holds_for_all_replicas() {
    let more = r#"
        [[esp]]
        name = "strict"
        kind = "sendgrid"
        base_url = "SENDGRID"
        api_key = "KEY"
        timeout = "5s"
        limits = ["100/s"]

        [[pool]]
        name = "strict"
        members = [{ esp = "strict" }]
    "#;
    let rig = Rig::new(Options { more: more.to_owned(), ..Options::default() });
    let replicas = rig.start(3);
    // More than go meanwhile, on however slow a machine.
    let jobs: Vec<_> =
        (0..8000).map(|i| job(&format!("s-{i}"), "strict", &format!("u{i}@gmail.com"))).collect();
    rig.publish_backlog(&jobs.iter().map(line).collect::<Vec<_>>());
    until("sending has begun", async || rig.sendgrid.accepted() > 100).await;
    rig.sendgrid.answer_all(Some(SendGridAnswer::TooManyRequests(Duration::from_secs(10))));
    let before = rig.sendgrid.calls();
    until("it has said so", async || rig.sendgrid.calls() > before).await;
    let said = Instant::now();
    let mut stopped = rig.sendgrid.calls();
    within(Duration::from_secs(6), "all have heard of it", async || {
        tokio::time::sleep(Duration::from_millis(600)).await;
        std::mem::replace(&mut stopped, rig.sendgrid.calls()) == stopped
    })
    .await;
    rig.sendgrid.answer_all(None);
    eprintln!("{} calls until all had heard, after {:?}", stopped - before, said.elapsed());
    assert!(stopped - before <= 300, "{} calls until all had heard of it", stopped - before);
    tokio::time::sleep(Duration::from_secs(9).saturating_sub(said.elapsed())).await;
    assert_eq!(rig.sendgrid.calls(), stopped, "calls of a fleet that was told to wait");
    until("it goes on", async || rig.sendgrid.calls() > stopped + 20).await;
    let (from, count) = (Instant::now(), rig.sendgrid.calls());
    tokio::time::sleep(Duration::from_secs(4)).await;
    let rate = (rig.sendgrid.calls() - count) as f64 / from.elapsed().as_secs_f64();
    eprintln!("{rate:.1}/s afterwards, of 100/s");
    assert!((1.0..=65.0).contains(&rate), "{rate}/s");
    drop(replicas);
}
