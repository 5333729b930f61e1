//! `sluice run` beside the other commands.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::{Rig, job_line};

/// Longest wait for the service.
const PATIENCE: Duration = Duration::from_secs(120);

fn wait_for(rig: &Rig, what: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let said = rig.run(&["status", "--format", "json"]);
        let status = serde_json::from_str(&said.out).unwrap_or_default();
        if what(&status) {
            return status;
        }
        let log = || std::fs::read_to_string(rig.path().join("log")).unwrap_or_default();
        assert!(began.elapsed() < PATIENCE, "{said:?}\n{}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_is_enqueued_beside_the_service_is_sent_once() {
    let rig = Rig::new();
    let lines = ["a", "b", "c"].map(|id| job_line(id, &format!("{id}@gmail.com")));
    let later =
        job_line("later", "d@gmail.com").replace("\"v\":1", "\"v\":1,\"send_at\":\"2999-01-01T00:00:00Z\"");
    rig.file("jobs.jsonl", format!("{}\n{later}\n", lines.join("\n")));
    rig.run(&["suppress", "add", "c@gmail.com"]);
    let service = rig.start(&["run"]);
    assert_eq!(rig.json(&["enqueue", "jobs.jsonl"])["queued"], 4);
    let status = wait_for(&rig, |it| {
        it["jobs"]["accepted"] == 2 && it["jobs"]["suppressed"] == 1 && it["pending"]["scheduled"] == 1
    });
    assert_eq!(status["dead"], serde_json::json!({}));

    let job = rig.json(&["why", "a"]);
    assert_eq!(
        (&job["state"], &job["attempts"], &job["esp"]),
        (&"accepted".into(), &1.into(), &"sandbox".into())
    );
    let said = rig.run(&["why", "a"]);
    assert!(said.out.contains("state       accepted"), "{}", said.out);
    let said = rig.run(&["why", "later"]);
    assert!(said.out.contains("scheduled: its send_at lies ahead, until 2999-01-01"), "{}", said.out);

    let again = rig.json(&["enqueue", "jobs.jsonl"]);
    assert_eq!((&again["queued"], &again["duplicate"]), (&0.into(), &4.into()), "{again}");
    assert_eq!(service.terminate(), 0, "a drain that leaves nothing is a success");
    let log = std::fs::read_to_string(rig.path().join("log")).unwrap();
    assert!(log.contains("sandbox"), "it says that nothing is delivered: {log}");
    assert!(!log.contains("@gmail.com"), "no address in the log: {log}");
}

#[test]
fn a_second_service_on_the_same_file_is_refused() {
    let rig = Rig::new();
    let service = rig.start(&["run"]);
    wait_for(&rig, |it| it["lanes"].is_array());
    let said = rig.command(&["run"]).env("SLUICE__HTTP__LISTEN", "off").output().unwrap();
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("another worker is running"));
    assert_eq!(service.terminate(), 0);
}

#[test]
fn log_lines_are_json_when_told_so() {
    let rig = Rig::new();
    let service = rig.start(&["run", "--log-format", "json", "--log", "debug"]);
    wait_for(&rig, |it| it["lanes"].is_array());
    assert_eq!(service.terminate(), 0);
    let log = std::fs::read_to_string(rig.path().join("log")).unwrap();
    assert!(!log.is_empty());
    for line in log.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}
