//! Replicas are started, stopped and killed under a full backlog: no limit is ever exceeded, and it is well used.

use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_testkit::peers::busiest_window;

use crate::support::{Options, Rig, job, line, until};

/// A little less than the limits' second: what the stand-in's own scheduling may shift on a busy machine.
const WINDOW: Duration = Duration::from_millis(950);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_window_holds_more_than_the_limits() {
    let more = r#"
        [[esp]]
        name = "slow"
        kind = "sendgrid"
        base_url = "SENDGRID"
        api_key = "KEY"
        timeout = "5s"
        limits = ["50/s"]

        [[pool]]
        name = "limited"
        members = [{ esp = "slow" }]

        [[domain_group]]
        name = "apple"
        domains = ["icloud.com"]
        limits = ["20/s"]
    "#;
    let rig = Rig::new(Options { more: more.to_owned(), claim_ttl: "15s", ..Options::default() });
    let mut replicas = rig.start(1);
    let jobs: Vec<Value> = (0..4000)
        .map(|i| {
            let domain = if i % 2 == 0 { "icloud.com" } else { "acme.example" };
            job(&format!("limited-{i}"), "limited", &format!("u{i}@{domain}"))
        })
        .collect();
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    until("sending has begun", Duration::from_secs(30), async || rig.sendgrid.accepted() > 20).await;
    let begun = Instant::now();
    let steps: [(u64, usize); 3] = [(4, 3), (9, 4), (16, 0)];
    for (at_s, start) in steps {
        tokio::time::sleep(Duration::from_secs(at_s).saturating_sub(begun.elapsed())).await;
        replicas.extend(rig.start(start));
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
    let all = rig.sendgrid.accepted_at(|_| true);
    let apple = rig.sendgrid.accepted_at(|recipient| recipient.ends_with("@icloud.com"));
    let (busiest, busiest_apple) =
        (busiest_window(all.clone(), WINDOW), busiest_window(apple.clone(), WINDOW));
    let used = all.iter().filter(|at| **at >= begun).count();
    eprintln!("{used} in {elapsed:?}; busiest windows: {busiest} of 50, {busiest_apple} of 20");
    assert!(busiest <= 50, "{busiest} through the ESP in one window");
    assert!(busiest_apple <= 20, "{busiest_apple} to the group in one window");
    assert!(used > 100, "almost nothing was sent");
}
