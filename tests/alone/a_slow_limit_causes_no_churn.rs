//! A long backlog under a slow limit waits in the broker: it is neither delivered nor written again and again.

use std::time::Duration;

use crate::support::{Options, Rig, job, line, until};

const JOBS: u64 = 50_000;
const RATE: u64 = 10;
const SECONDS: u64 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_jobs_wait() {
    let more = r#"
        [[domain_group]]
        name = "apple"
        domains = ["icloud.com"]
        limits = ["10/s"]
    "#;
    let rig =
        Rig::new(Options { more: more.to_owned(), lane_hold_max: "45s", alone: true, ..Options::default() });
    let lines: Vec<_> =
        (0..JOBS).map(|i| line(&job(&format!("n-{i}"), "default", &format!("u{i}@icloud.com")))).collect();
    let replicas = rig.start(2);
    rig.publish_backlog(&lines);
    until("sending has begun", async || rig.sendgrid.accepted() > 0).await;
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let sent = u64::try_from(rig.sendgrid.accepted()).unwrap();
    let lent = rig.lent();
    let written = rig.metric(&replicas, "sluice_parked_total");
    let delivered = JOBS - rig.ready();
    // Two seconds of the rate for each consumer.
    let prefetch = 2 * RATE * u64::try_from(replicas.len()).unwrap();
    // Jobs go on while the broker is asked, which takes seconds on a busy machine.
    let sent_since = u64::try_from(rig.sendgrid.accepted()).unwrap();
    eprintln!(
        "{sent} to {sent_since} sent, {delivered} delivered, {lent} of them lent, {written} written to pending"
    );
    // It was sent while the backlog was published, too.
    assert!(sent >= RATE * SECONDS / 5, "{sent} sent");
    let most = sent_since * 11 + 10 * prefetch;
    assert!(delivered * 10 <= most, "{delivered} deliveries for {sent_since} sends");
    assert!(written * 10.0 <= f64::from(u32::try_from(most).unwrap()), "{written}");
    let redelivered = rig.metric(&replicas, "sluice_redeliveries_total");
    assert!(redelivered < 1.0, "{redelivered} redelivered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_is_used_up_pauses_the_lane() {
    let more = r#"
        [[domain_group]]
        name = "apple"
        domains = ["icloud.com"]
        limits = ["100/day"]
    "#;
    let rig = Rig::new(Options { more: more.to_owned(), ..Options::default() });
    let replicas = rig.start(2);
    let lines: Vec<_> =
        (0..10_000).map(|i| line(&job(&format!("d-{i}"), "default", &format!("u{i}@icloud.com")))).collect();
    rig.publish_backlog(&lines);
    // Bulk leaves a fifth of it to transactional jobs, which melts as the day goes on.
    until("the day is used up", async || rig.sendgrid.accepted() >= 80).await;
    tokio::time::sleep(Duration::from_secs(15)).await;
    let (sent, ready) = (rig.sendgrid.accepted(), rig.ready());
    let parked =
        rig.count("select count(*) from sluice.pending where limit_key = 'group:apple/per:day'").await;
    eprintln!("{sent} sent, {parked} parked, {ready} ready");
    assert!((80..=81).contains(&sent), "{sent} sent");
    // At most one prefetch for each replica; one more where a turn came too late, so that its slot came back.
    assert!(parked <= 2 * 2 * 1000, "{parked} parked");
    assert!(ready >= 5900, "{ready} wait in the lane");
    let mut urgent = job("urgent", "default", "ada@icloud.com");
    urgent["class"] = "transactional".into();
    rig.publish(&[line(&urgent)]);
    until("a transactional job has its share", async || {
        rig.sendgrid.accepted_by_job().contains_key("urgent")
    })
    .await;
    let status = rig.cli(&["limits", "list"]).to_string();
    assert!(status.contains("group:apple/per:day"), "{status}");
    drop(replicas);
}
