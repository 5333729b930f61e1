//! A tenant with a long campaign and one with a short one are due at the same moment: the short one need not wait for the end
//! of the long one.

use serde_json::Value;

use crate::support::{Options, Rig, job, line, rfc3339, until};

/// Three times what two replicas borrow at a time.
const LONG: usize = 6_000;
const SHORT: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_campaign_passes_a_long_one() {
    let more = r#"
        [[domain_group]]
        name = "apple"
        domains = ["icloud.com"]
        limits = ["100/s"]
    "#;
    let rig = Rig::new(Options { more: more.to_owned(), ..Options::default() });
    let replicas = rig.start(2);
    let now = rig.count("select extract(epoch from now())::bigint").await.unsigned_abs();
    let due = rfc3339(now + 3600);
    let campaign = |tenant: &str, count: usize| -> Vec<Value> {
        let one = |i: usize| {
            let mut job = job(&format!("{tenant}-{i}"), "default", &format!("{tenant}{i}@icloud.com"));
            job["tenant"] = tenant.into();
            job["campaign"] = "spring".into();
            job["send_at"] = due.clone().into();
            job
        };
        (0..count).map(one).collect()
    };
    let (long, short) = (campaign("long", LONG), campaign("short", SHORT));
    rig.publish_backlog(&long.iter().chain(&short).map(line).collect::<Vec<_>>());
    until("all are parked", async || {
        let parked = rig.count("select count(*) from sluice.pending").await;
        usize::try_from(parked).is_ok_and(|parked| parked == LONG + SHORT)
    })
    .await;
    // The hour is over, for all in the same moment; whoever reads the job sees that too.
    let over = "update sluice.pending set due_at = clock_timestamp(),
        body = convert_to(replace(convert_from(body, 'UTF8'), $1, $2), 'UTF8')";
    let made_due = rig.sql().await.execute(over, &[&due, &rfc3339(now)]).await.unwrap();
    assert_eq!(usize::try_from(made_due), Ok(LONG + SHORT));
    let sent =
        |tenant: &str| rig.sendgrid.accepted_by_job().keys().filter(|id| id.starts_with(tenant)).count();
    until("the short one has gone", async || sent("short") == SHORT).await;
    // As the ESP took them: whoever looks on a busy machine looks late.
    let taken: Vec<String> = rig
        .sendgrid
        .journal()
        .into_iter()
        .filter(|call| call.accepted)
        .filter_map(|call| call.job_id)
        .collect();
    let last = taken.iter().rposition(|id| id.starts_with("short")).unwrap();
    let passed = taken[..last].iter().filter(|id| id.starts_with("long")).count();
    eprintln!("{passed} of {LONG} had gone when all {SHORT} of the short one had");
    assert!(passed < LONG * 2 / 3, "{passed} of the long one were sent first");
    drop(replicas);
}
