//! A warm-up caps an ESP's day over all replicas; what does not fit goes to the others of the pool, else waits.

use std::time::Duration;

use crate::support::{Options, Rig, job, line, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_overflows_or_waits() {
    let more = r#"
        [[esp]]
        name = "fresh"
        kind = "sendgrid"
        base_url = "SENDGRID"
        api_key = "KEY"
        timeout = "5s"
        warmup = { caps = [20, 40] }

        [[pool]]
        name = "warm"
        members = [{ esp = "fresh", weight = 1000 }, { esp = "post", weight = 1 }]

        [[pool]]
        name = "cold"
        members = [{ esp = "fresh" }]
    "#;
    let rig = Rig::new(Options { more: more.to_owned(), ..Options::default() });
    let replicas = rig.start(2);
    until("the ramp is known", async || {
        rig.cli(&["limits", "list"]).to_string().contains("esp:fresh/warm-up")
    })
    .await;
    let jobs: Vec<_> = (0..60).map(|i| job(&format!("w-{i}"), "warm", &format!("u{i}@gmail.com"))).collect();
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    let verdict = rig.judge(&jobs, false).await;
    assert_eq!(verdict.states.get("accepted"), Some(&60));
    let through_fresh = rig.sendgrid.accepted();
    eprintln!("{through_fresh} through the one that is warmed up, {} through the other", 60 - through_fresh);
    assert!((10..=20).contains(&through_fresh), "{through_fresh} of a cap of 20");
    let waits = job("waits", "cold", "ada@gmail.com");
    let more: Vec<_> = (0..30).map(|i| job(&format!("c-{i}"), "cold", &format!("c{i}@gmail.com"))).collect();
    rig.publish(&more.iter().map(line).collect::<Vec<_>>());
    rig.publish(&[line(&waits)]);
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(rig.sendgrid.accepted() <= 20, "{}", rig.sendgrid.accepted());
    drop(replicas);
}
