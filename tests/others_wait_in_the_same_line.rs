//! Jobs that will not be sent wait before others in the line of one limit: they keep nobody from its slots.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Options, Rig, job, line, rfc3339, until, within};

/// At the rate of the limit these are four minutes: most are left when the others have expired.
const MANY: usize = 480;
const FEW: usize = 10;
const SHORTLY: Duration = Duration::from_secs(90);

fn rig() -> Rig {
    let more = "[[domain_group]]\nname = \"other\"\nlimits_per_domain = [\"2/s\"]\n";
    Rig::new(Options { more: more.to_owned(), ..Options::default() })
}

fn jobs(name: &str, count: usize, with: impl Fn(&mut Value)) -> Vec<Value> {
    let one = |i: usize| {
        let mut job = job(&format!("{name}-{i}"), "default", &format!("{name}{i}@slow.example"));
        with(&mut job);
        line(&job)
    };
    (0..count).map(one).collect()
}

async fn are_in_line(rig: &Rig, least: usize) {
    until("they wait in line", async || {
        let parked = rig.count("select count(*) from sluice.pending where limit_key is not null").await;
        usize::try_from(parked).is_ok_and(|parked| parked >= least)
    })
    .await;
}

fn sent(rig: &Rig, name: &str) -> usize {
    rig.sendgrid.accepted_by_job().keys().filter(|id| id.starts_with(name)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_expire_are_closed_at_once() {
    let rig = rig();
    let replicas = rig.start(1);
    let now = rig.count("select extract(epoch from now())::bigint").await.unsigned_abs();
    let ends = rfc3339(now + 40);
    rig.publish_backlog(&jobs("late", MANY, |job| job["expires_at"] = ends.clone().into()));
    are_in_line(&rig, MANY / 2).await;
    rig.publish(&jobs("fresh", FEW, |_| {}));
    within(SHORTLY, "the others are sent", async || sent(&rig, "fresh") == FEW).await;
    within(SHORTLY, "all that expired are closed", async || {
        let closed = "select count(*) from sluice.job where state in ('accepted', 'expired')";
        usize::try_from(rig.count(closed).await).is_ok_and(|closed| closed == MANY + FEW)
    })
    .await;
    assert!(rig.count("select count(*) from sluice.job where state = 'expired'").await > 300);
    drop(replicas);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_of_a_paused_campaign_are_passed_over() {
    let rig = rig();
    let replicas = rig.start(1);
    let of_spring = |job: &mut Value| {
        job["tenant"] = "acme".into();
        job["campaign"] = "spring".into();
    };
    rig.publish(&jobs("spring", MANY, of_spring));
    are_in_line(&rig, MANY / 2).await;
    rig.cli(&["campaign", "pause", "acme", "spring"]);
    rig.publish(&jobs("fresh", FEW, |_| {}));
    within(SHORTLY, "the others are sent", async || sent(&rig, "fresh") == FEW).await;
    let in_line = "select count(*) from sluice.pending where limit_key like 'domain:%'";
    assert!(rig.count(in_line).await > 300, "they stay where they are");
    until("metrics tell why they wait", async || {
        rig.metric(&replicas, "sluice_fleet_waiting{reason=\"domain_limit\"}") > 300.0
    })
    .await;
    rig.cli(&["campaign", "cancel", "acme", "spring", "--yes"]);
    within(SHORTLY, "a cancelled one leaves the line", async || {
        rig.count("select count(*) from sluice.pending").await == 0
    })
    .await;
    drop(replicas);
}
