//! What a replica takes from the broker, and out of `pending`, has a bound in bytes and not only in messages: a publisher of
//! large bodies does not fill its memory.

use serde_json::Value;
use sluice_testkit::services::SluiceProcess;

use crate::support::{Options, Rig, job, line, rfc3339, until};

/// In bytes; a job may have 256 KiB.
const BODY: usize = 200 * 1024;
/// 110 MiB in all, and fewer messages than a lane borrows of small ones.
const JOBS: usize = 550;
/// What a lane borrows takes 16 MiB, some four times that in work, and what came before the size was known.
const PEAK_MAX_MIB: u64 = 190;

/// The broker keeps what was published last in memory and writes all of it: not beside others.
fn rig() -> Rig {
    Rig::new(Options { own_servers: true, ..Options::default() })
}

fn large_jobs() -> Vec<Value> {
    let content = "<p>Hello</p> ".repeat(BODY / 13);
    let large = |number| {
        let mut job = job(&format!("large-{number}"), "default", &format!("u{number}@gmail.com"));
        job["html"] = content.clone().into();
        job
    };
    (0..JOBS).map(large).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_do_not_fill_the_memory() {
    let rig = rig();
    // It declares the queues.
    drop(rig.start(1));
    let jobs = large_jobs();
    rig.publish_backlog(&jobs.iter().map(line).collect::<Vec<_>>());
    let replicas = rig.start(1);
    rig.judge(&jobs, false).await;
    assert_small(&replicas[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_those_that_come_due_at_once() {
    let rig = rig();
    let parking = rig.start(1);
    let mut jobs = large_jobs();
    let now = rig.count("select extract(epoch from now())::bigint").await.unsigned_abs();
    let due = rfc3339(now + 3600);
    jobs.iter_mut().for_each(|job| job["send_at"] = due.clone().into());
    rig.publish_backlog(&jobs.iter().map(line).collect::<Vec<_>>());
    until("all are parked", async || {
        usize::try_from(rig.count("select count(*) from sluice.pending").await) == Ok(JOBS)
    })
    .await;
    assert_small(&parking[0]);
    drop(parking);
    // The hour is over; whoever reads the job sees that too.
    let over = "update sluice.pending set due_at = clock_timestamp(),
        body = convert_to(replace(convert_from(body, 'UTF8'), $1, $2), 'UTF8')";
    rig.sql().await.execute(over, &[&due, &rfc3339(now)]).await.unwrap();
    let replicas = rig.start(1);
    rig.judge(&jobs, false).await;
    assert_small(&replicas[0]);
}

fn assert_small(replica: &SluiceProcess) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", replica.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak = line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024;
    eprintln!("peak of {peak} MiB");
    assert!((1..PEAK_MAX_MIB).contains(&peak), "{peak} MiB");
}
