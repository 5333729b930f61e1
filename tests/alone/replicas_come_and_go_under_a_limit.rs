//! Replicas whose clocks are hours apart are started, stopped and killed under a full backlog: no limit is ever exceeded.

use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_testkit::peers::busiest_window;

use crate::support::{Options, Rig, job, line, until};

const SECOND: Duration = Duration::from_secs(1);
/// The shortened hour.
const LONG: Duration = Duration::from_secs(10);
/// What the stand-in's own scheduling may shift.
const NOISE: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_window_holds_more_than_the_limits() {
    let more = r#"
        [[esp]]
        name = "slow"
        kind = "sendgrid"
        base_url = "SENDGRID"
        api_key = "KEY"
        timeout = "5s"
        limits = ["50/s", "450/10s rolling"]

        [[pool]]
        name = "limited"
        members = [{ esp = "slow" }]

        [[domain_group]]
        name = "apple"
        domains = ["icloud.com"]
        limits = ["20/s"]
    "#;
    let rig =
        Rig::new(Options { more: more.to_owned(), claim_ttl: "15s", alone: true, ..Options::default() });
    let mut replicas = rig.start_skewed(1);
    let jobs: Vec<Value> = (0..4000)
        .map(|i| {
            let domain = if i % 2 == 0 { "icloud.com" } else { "acme.example" };
            job(&format!("limited-{i}"), "limited", &format!("u{i}@{domain}"))
        })
        .collect();
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    until("sending has begun", async || rig.sendgrid.accepted() > 20).await;
    let begun = Instant::now();
    let steps: [(u64, i64); 3] = [(4, 3), (9, 4), (16, 0)];
    for (at_s, start) in steps {
        tokio::time::sleep(Duration::from_secs(at_s).saturating_sub(begun.elapsed())).await;
        replicas.extend(rig.start_skewed(start));
    }
    // From eight to two: half of them without a word.
    for (i, replica) in replicas.drain(..6).enumerate() {
        if i % 2 == 0 {
            replica.kill9()
        } else {
            replica.sigterm()
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    let elapsed = begun.elapsed();
    drop(replicas);
    for (name, domain, accepted, limits) in [
        ("ESP", "%", rig.sendgrid.accepted_at(|_| true), &[(SECOND, 50), (LONG, 450)][..]),
        ("group", "icloud.com", rig.sendgrid.accepted_at(|it| it.ends_with("@icloud.com")), &[(SECOND, 20)]),
    ] {
        let written = rig.written_at("slow", &[domain]).await;
        let sent = accepted.iter().filter(|at| **at >= begun).count();
        for (window, limit) in limits {
            let busiest = busiest_window(written.clone(), *window);
            let arrived = busiest_window(accepted.clone(), *window - NOISE);
            eprintln!(
                "{name}: {sent} in {elapsed:?}; busiest {window:?} {busiest} written, {arrived} arrived, of {limit}"
            );
            assert!(busiest <= *limit, "{busiest} written to {name} in {window:?}");
        }
        assert!(sent > 100, "almost nothing was sent");
    }
}
