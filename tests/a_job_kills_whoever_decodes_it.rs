//! A job brings down every process that decodes it. It becomes a dead letter after the delivery limit, and neither its
//! neighbours nor what waits in other lanes go with it. Nor do jobs of a replica that dies again and again of something else.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_testkit::services::SluiceProcess;

use crate::support::{Options, PATIENCE, Rig, job, line};

/// Small, so that a few deaths are enough to lose what is not looked after.
const DELIVERY_LIMIT: u32 = 5;

/// Dies when it comes to `point` with one of the jobs.
fn replica(rig: &Rig, point: &str, deadly: &[String]) -> SluiceProcess {
    let points: Vec<String> = deadly.iter().map(|id| format!("{point}=kill#{id}")).collect();
    SluiceProcess::command(&rig.config())
        .env("SLUICE__QUEUE__DELIVERY_LIMIT", DELIVERY_LIMIT.to_string())
        .env("SLUICE_FAILPOINTS", points.join(","))
        .start()
}

/// Declares the lanes, so that they can be filled before anybody works them.
fn declare(rig: &Rig) {
    let first = replica(rig, "", &[]);
    first.wait_ready(PATIENCE);
    first.sigterm();
    first.wait(PATIENCE);
}

/// Jobs of three lanes, beside those that are deadly.
fn neighbours() -> Vec<Value> {
    let lanes = [("default", "gmail.com"), ("default", "acme.example"), ("mail", "outlook.com")];
    let job = |i: usize| {
        let (pool, domain) = lanes[i % lanes.len()];
        job(&format!("good-{i}"), pool, &format!("u{i}@{domain}"))
    };
    (0..300).map(job).collect()
}

/// Fills the lanes, and works them until all that is deadly lies in the dead letters and all else is sent. Answers how many
/// replicas died of it.
async fn work(deadly: &[Value], good: &[Value]) -> usize {
    let rig = Rig::new(Options { claim_ttl: "6s", timeout: "2s", ..Options::default() });
    declare(&rig);
    // A deadly one stands at the head, and others between its neighbours.
    let step = good.len().div_ceil(deadly.len());
    for (deadly, good) in deadly.iter().zip(good.chunks(step)) {
        rig.publish(&std::iter::once(deadly).chain(good).map(line).collect::<Vec<_>>());
    }
    let ids: Vec<String> = deadly.iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect();
    let wanted = i64::try_from(ids.len()).unwrap();
    let mut running = replica(&rig, "decoding", &ids);
    let mut deaths = 0;
    let begin = Instant::now();
    while rig.count("select count(*) from sluice.dead_letter where job_id like 'deadly%'").await < wanted {
        let others = rig.count("select count(*) from sluice.dead_letter where job_id like 'good%'").await;
        assert!(others <= 0, "{others} neighbours were dead-lettered after {deaths} deaths");
        assert!(begin.elapsed() < PATIENCE, "not dead-lettered after {deaths} deaths");
        if let Some(status) = running.status() {
            assert_eq!(status.signal(), Some(9), "{status}");
            deaths += 1;
            running = replica(&rig, "decoding", &ids);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rig.judge(good, true).await;
    let rows = rig.sql().await.query("select job_id, reason from sluice.dead_letter", &[]).await.unwrap();
    let mut dead: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let mut expected: Vec<_> = ids.into_iter().map(|id| (id, "delivery_limit".to_owned())).collect();
    dead.sort();
    expected.sort();
    assert_eq!(dead, expected, "the deadly ones, and no other");
    deaths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_dead_lettered_and_takes_no_neighbour_along() {
    let deaths = work(&[job("deadly", "default", "ada@gmail.com")], &neighbours()).await;
    assert!((1..=2).contains(&deaths), "{deaths} replicas died of one job");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dozen_of_them_in_several_lanes_do_no_more_harm() {
    let domains = ["gmail.com", "acme.example", "outlook.com"];
    let deadly: Vec<Value> = (0..12)
        .map(|i| job(&format!("deadly-{i}"), "default", &format!("d{i}@{}", domains[i % 3])))
        .collect();
    let deaths = work(&deadly, &neighbours()).await;
    assert!(deaths < 12, "{deaths} replicas died");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_holds_that_dies_of_something_else_again_and_again_is_not_given_up_on() {
    let rig = Rig::new(Options { claim_ttl: "6s", timeout: "2s", ..Options::default() });
    declare(&rig);
    let jobs = neighbours();
    rig.publish(&jobs.iter().map(line).collect::<Vec<_>>());
    let first = [jobs[0]["id"].as_str().unwrap().to_owned()];
    for _ in 0..DELIVERY_LIMIT + 3 {
        let status = replica(&rig, "before_claim", &first).wait(PATIENCE);
        assert_eq!(status.signal(), Some(9), "{status}");
    }
    let healthy = replica(&rig, "", &[]);
    healthy.wait_ready(PATIENCE);
    rig.judge(&jobs, true).await;
    assert_eq!(rig.count("select count(*) from sluice.dead_letter").await, 0);
}
