//! kill -9 at every boundary between two steps, each time with a job standing exactly there: what became of that job is
//! told by the boundary alone. With one replica, and with three.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_engine::Failpoint;
use sluice_testkit::services::{SluiceProcess, TcpProxy};

use crate::support::{Options, PATIENCE, Rig, job, line, until};

/// What must become of the job that stood at a point.
struct Fate {
    state: &'static str,
    calls: u32,
    flagged: bool,
}

/// Before the claim nothing has happened; between claim and record nobody can know; after the record all is known.
fn fate(point: Failpoint) -> Option<Fate> {
    let accepted = Some(Fate { state: "accepted", calls: 1, flagged: false });
    match point {
        Failpoint::Claimed | Failpoint::BeforeSend => {
            Some(Fate { state: "unknown", calls: 0, flagged: true })
        }
        Failpoint::Answered | Failpoint::BeforeRecord => {
            Some(Fate { state: "unknown", calls: 1, flagged: true })
        }
        Failpoint::Buried | Failpoint::Refused => None,
        Failpoint::Decoding
        | Failpoint::Decoded
        | Failpoint::BeforeClaim
        | Failpoint::Recorded
        | Failpoint::BeforePark
        | Failpoint::Parked
        | Failpoint::BeforeAck
        | Failpoint::Acked
        | Failpoint::RelayTook
        | Failpoint::RelayConfirmed
        | Failpoint::RelayDeleted => accepted,
    }
}

/// Once it is confirmed a job is back in its lane, and whoever dies as a relay may have claimed it as a worker.
fn is_with_a_worker(point: Failpoint) -> bool {
    matches!(point, Failpoint::RelayConfirmed | Failpoint::RelayDeleted)
}

fn job_of(point: Failpoint) -> String {
    format!("at-{}", point.as_str().replace('_', "-"))
}

fn message(point: Failpoint) -> Value {
    let mut it = job(&job_of(point), "default", "ada@acme.example");
    match point {
        Failpoint::BeforePark
        | Failpoint::Parked
        | Failpoint::RelayTook
        | Failpoint::RelayConfirmed
        | Failpoint::RelayDeleted => {
            it["send_at"] = json!(in_a_moment());
        }
        Failpoint::Buried | Failpoint::Refused => it["subject"] = json!(5),
        Failpoint::Decoding
        | Failpoint::Decoded
        | Failpoint::BeforeClaim
        | Failpoint::Claimed
        | Failpoint::BeforeSend
        | Failpoint::Answered
        | Failpoint::BeforeRecord
        | Failpoint::Recorded
        | Failpoint::BeforeAck
        | Failpoint::Acked => {}
    }
    it
}

/// Some seconds from now, as RFC 3339: time enough to publish it on a busy machine.
fn in_a_moment() -> String {
    let output =
        std::process::Command::new("date").args(["-u", "-d", "5 seconds", "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

fn armed(rig: &Rig, once: &Path) -> SluiceProcess {
    let points: Vec<String> =
        Failpoint::ALL.iter().map(|it| format!("{}=kill#{}", it.as_str(), job_of(*it))).collect();
    SluiceProcess::command(&rig.config())
        .env("SLUICE_FAILPOINTS", points.join(","))
        .env("SLUICE_FAILPOINTS_ONCE", once)
        .start()
}

/// Publishes a job for each point, and replaces each replica that dies of it.
async fn die_at_every_point(replicas: usize) {
    let rig = Rig::new(Options { claim_ttl: "6s", timeout: "2s", ..Options::default() });
    let once = tempfile::tempdir().unwrap();
    let mut running: Vec<SluiceProcess> = (0..replicas).map(|_| armed(&rig, once.path())).collect();
    running.iter().for_each(|it| it.wait_ready(PATIENCE));
    for point in Failpoint::ALL {
        rig.publish(&[line(&message(point))]);
        let marker = once.path().join(point.as_str());
        let begin = Instant::now();
        while !marker.exists() || running.iter().all(|it| it.status().is_none()) {
            assert!(begin.elapsed() < PATIENCE, "nobody died at {}", point.as_str());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for it in &mut running {
            if let Some(status) = it.status() {
                assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
                *it = armed(&rig, once.path());
                it.wait_ready(PATIENCE);
            }
        }
        settle(&rig, point).await;
    }
    let client = rig.sql().await;
    let journal = rig.sendgrid.accepted_by_job();
    for point in Failpoint::ALL {
        let (id, name) = (job_of(point), point.as_str());
        let Some(fate) = fate(point) else {
            let rows =
                rig.count(&format!("select count(*) from sluice.dead_letter where job_id = '{id}'")).await;
            assert!((1..=2).contains(&rows), "{name}: {rows} dead letters");
            continue;
        };
        let row = client.query_one("select state from sluice.job where id = $1", &[&id]).await.unwrap();
        let (state, calls): (String, _) = (row.get(0), journal.get(&id).copied().unwrap_or(0));
        let unknown = "select count(*) from sluice.attempt where outcome = 'unknown' and job_id = $1";
        let flagged: i64 = client.query_one(unknown, &[&id]).await.unwrap().get(0);
        if is_with_a_worker(point) && state == "unknown" {
            assert!(flagged > 0 && calls <= 1, "{name}: {calls} calls, {flagged} times unknown");
            continue;
        }
        assert_eq!((state.as_str(), calls, flagged > 0), (fate.state, fate.calls, fate.flagged), "{name}");
    }
    until("the lanes are empty", async || rig.in_lanes() == 0).await;
}

/// Until the job that stood at `point` is where it belongs, so that the next death takes nobody along.
async fn settle(rig: &Rig, point: Failpoint) {
    let id = job_of(point);
    let what = format!("the job at {} is settled", point.as_str());
    let query = match fate(point) {
        Some(fate) => {
            let or_unknown = if is_with_a_worker(point) { "unknown" } else { fate.state };
            let states = format!("'{}', '{or_unknown}'", fate.state);
            format!("select count(*) from sluice.job where id = '{id}' and state in ({states})")
        }
        None => format!("select count(*) from sluice.dead_letter where job_id = '{id}'"),
    };
    until(&what, async || rig.count(&query).await >= 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_alone() {
    die_at_every_point(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three() {
    die_at_every_point(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_half_written_is_in_doubt_and_was_not_sent() {
    let mut rig = Rig::new(Options { claim_ttl: "6s", timeout: "5s", ..Options::default() });
    let addr = rig.sendgrid.url().trim_start_matches("http://").parse().unwrap();
    let proxy = TcpProxy::start(addr);
    rig.set_more(&format!(
        r#"
        [[esp]]
        name = "far"
        kind = "sendgrid"
        base_url = "http://{}"
        api_key = "KEY"
        timeout = "5s"

        [[pool]]
        name = "far"
        members = [{{ esp = "far" }}]
        "#,
        proxy.addr()
    ));
    let replica = rig.start(1);
    proxy.allow_only(Some(30_000));
    let mut half = job("half", "far", "ada@acme.example");
    half["text"] = "x".repeat(100_000).into();
    rig.publish(&[line(&half)]);
    assert!(proxy.wait_held(Duration::from_secs(20)), "the request was begun");
    replica[0].kill9();
    proxy.cut();
    let _next = rig.start(1);
    let verdict = rig.judge(&[half], true).await;
    assert_eq!(verdict.states.get("unknown"), Some(&1));
    assert_eq!(rig.sendgrid.calls(), 0, "half a request is no message");
}
