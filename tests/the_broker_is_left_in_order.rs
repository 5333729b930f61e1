//! Commands that work, and replicas that are told to stop, take leave of the broker without a warning.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use sluice_testkit::services::{SluiceProcess, sluice_binary};

use crate::support::{Options, PATIENCE, Rig, job, mixed_jobs};

/// The lines of a log that would wake somebody.
fn alarms(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains(" WARN ") || line.contains(" ERROR ")).collect()
}

fn run(folder: &Path, args: &[&str]) -> String {
    let output = Command::new(sluice_binary())
        .args(["--config", "sluice.toml"])
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {told}");
    told
}

/// Which of the two connections stands by the time that a command is done differs from run to run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_work_warn_of_nothing() {
    let rig = Rig::new(Options::default());
    drop(rig.start(1));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("sluice.toml"), rig.config()).unwrap();
    for round in 0..8 {
        let line: Value = job(&format!("quiet-{round}"), "default", "ada@gmail.com");
        std::fs::write(folder.path().join("jobs.jsonl"), format!("{line}\n")).unwrap();
        for args in [
            &["status"][..],
            &["status", "--format", "json"],
            &["enqueue", "jobs.jsonl"],
            &["suppress", "list"],
            &["dead", "list"],
        ] {
            let told = run(folder.path(), args);
            assert_eq!(alarms(&told), [""; 0], "{args:?}, round {round}");
        }
    }
}

/// Several channels are open for publishing when the connection is closed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_drains_warns_of_nothing() {
    let rig = Rig::new(Options::default());
    for round in 0..4 {
        let replicas = rig.start(2);
        rig.publish(&mixed_jobs(&format!("leave{round}"), 200).lines);
        std::thread::scope(|threads| {
            for n in 0..24 {
                let replica = &replicas[n % 2];
                let body = job(&format!("posted-{round}-{n}"), "default", "ada@gmail.com").to_string();
                threads.spawn(move || assert_eq!(replica.post("/jobs", &body).unwrap().0, 202));
            }
        });
        let before: Vec<usize> = replicas.iter().map(|replica| replica.log().len()).collect();
        replicas.iter().for_each(SluiceProcess::sigterm);
        for (replica, before) in replicas.iter().zip(before) {
            let status = replica.wait(PATIENCE);
            let log = replica.log();
            assert!(status.success(), "{status}\n{log}");
            let (_, leaving) = log.split_at(before);
            assert_eq!(alarms(leaving), [""; 0], "round {round}");
        }
    }
}
