//! The wall clocks of replicas are wrong by hours. When a job is due, and when it is too late for it, the store's clock says.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Options, Rig, job, line, rfc3339, until};

const EACH: usize = 30;
const HALF_AN_HOUR: u64 = 1_800;

/// Jobs with one more field.
fn jobs(prefix: &str, field: &str, value: &str) -> Vec<Value> {
    let one = |i: usize| {
        let mut job = job(&format!("{prefix}-{i}"), "default", &format!("u{i}@gmail.com"));
        job[field] = value.into();
        job
    };
    (0..EACH).map(one).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_goes_too_early_and_none_is_too_late() {
    let rig = Rig::new(Options::default());
    // One is right, one an hour behind, one two hours ahead.
    let replicas = rig.start_skewed(3);
    let now = rig.count("select extract(epoch from now())::bigint").await.unsigned_abs();
    let early = jobs("early", "send_at", &rfc3339(now + HALF_AN_HOUR));
    let ripe = jobs("ripe", "send_at", &rfc3339(now - HALF_AN_HOUR));
    let good = jobs("good", "expires_at", &rfc3339(now + HALF_AN_HOUR));
    let late = jobs("late", "expires_at", &rfc3339(now - HALF_AN_HOUR));
    rig.publish(&[&early, &ripe, &good, &late].into_iter().flatten().map(line).collect::<Vec<_>>());
    let each = i64::try_from(EACH).unwrap();
    let in_state = async |prefix: &str, state: &str| {
        rig.count(&format!(
            "select count(*) from sluice.job where id like '{prefix}-%' and state = '{state}'"
        ))
        .await
    };
    until("all have gone their ways", async || {
        in_state("ripe", "accepted").await == each
            && in_state("good", "accepted").await == each
            && in_state("late", "expired").await == each
            && rig.count("select count(*) from sluice.pending where reason = 'scheduled'").await == each
    })
    .await;
    let due = format!(
        "select count(*) from sluice.pending where extract(epoch from due_at) = {}",
        now + HALF_AN_HOUR
    );
    assert_eq!(rig.count(&due).await, each);
    assert_eq!(rig.sendgrid.accepted(), 2 * EACH);
    drop(replicas);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_campaign_that_is_resumed_before_its_time_waits_on() {
    let rig = Rig::new(Options::default());
    let replicas = rig.start(1);
    let now = rig.count("select extract(epoch from now())::bigint").await.unsigned_abs();
    let mut scheduled = jobs("sale", "send_at", &rfc3339(now + HALF_AN_HOUR));
    for job in &mut scheduled {
        job["tenant"] = "acme".into();
        job["campaign"] = "sale".into();
    }
    rig.cli(&["campaign", "pause", "acme", "sale"]);
    rig.publish(&scheduled.iter().map(line).collect::<Vec<_>>());
    let parked = async || rig.count("select count(*) from sluice.pending").await;
    let each = i64::try_from(EACH).unwrap();
    until("all are parked", async || parked().await == each).await;
    rig.cli(&["campaign", "resume", "acme", "sale"]);
    until("all wait for their time", async || {
        let due = format!(
            "select count(*) from sluice.pending where extract(epoch from due_at) = {}",
            now + HALF_AN_HOUR
        );
        rig.count(&due).await == each
    })
    .await;
    // Longer than the relay takes to find what is due.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((rig.sendgrid.accepted(), parked().await), (0, each));
    drop(replicas);
}
