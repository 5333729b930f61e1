//! A test process that is killed leaves nothing behind.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sluice_testkit::peers::SmtpStandIn;
use sluice_testkit::services::{shared_postgres, shared_rabbitmq};

const VICTIM: &str = "SLUICE_TESTKIT_VICTIM";
const READY: &str = "the victim is ready";

/// Runs itself once more as the victim, which starts everything and waits for its end.
#[test]
fn a_killed_test_process_leaves_no_process_and_no_directory() {
    if std::env::var_os(VICTIM).is_some() {
        be_the_victim();
    }
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "watchdog::a_killed_test_process_leaves_no_process_and_no_directory",
            "--nocapture",
        ])
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(READY)), "the victim does not get ready");
    let before = processes_below(victim.id());
    let dirs: Vec<PathBuf> = before.iter().filter_map(|(_, dir)| dir.clone()).collect();
    let servers = ["sluice-test-postgres-", "sluice-test-rabbitmq-", "sluice-test-smtp-"];
    for kind in servers {
        assert!(dirs.iter().any(|dir| dir.to_string_lossy().contains(kind)), "no {kind} among {before:?}");
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let left: Vec<_> = before.iter().filter(|(pid, _)| is_alive(*pid)).collect();
        let dirs_left: Vec<_> = dirs.iter().filter(|dir| dir.exists()).collect();
        if left.is_empty() && dirs_left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {left:?} {dirs_left:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[expect(clippy::print_stdout, reason = "the parent waits for the line")]
/// The worst of it: paused servers, which no signal but KILL reaches.
fn be_the_victim() -> ! {
    shared_postgres().create_database();
    shared_rabbitmq().pause();
    let smtp = SmtpStandIn::start();
    println!("{READY} {}", smtp.addr());
    std::thread::sleep(Duration::from_secs(600));
    unreachable!("killed long ago")
}

/// Process ids below `root`, and for servers the scratch directory they work in.
fn processes_below(root: u32) -> BTreeSet<(u32, Option<PathBuf>)> {
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for pid in all_processes().filter(|pid| parent_of(*pid) == Some(parent)) {
            let dir = std::fs::read_link(format!("/proc/{pid}/cwd")).ok().and_then(|dir| scratch_dir(&dir));
            found.insert((pid, dir));
            open.push(pid);
        }
    }
    found
}

fn scratch_dir(dir: &Path) -> Option<PathBuf> {
    let is_scratch =
        |dir: &&Path| dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with("sluice-test-"));
    dir.ancestors().find(is_scratch).map(Path::to_path_buf)
}

fn all_processes() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").expect("/proc is there");
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// A zombie is dead; it waits for an init process that reaps.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
