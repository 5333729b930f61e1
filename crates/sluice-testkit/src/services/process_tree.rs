//! A process and everything below it, read from `/proc`, and signals to it through the shell's `kill`.

use std::collections::{HashMap, VecDeque};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const DEATH_TIMEOUT: Duration = Duration::from_secs(10);
const DEATH_STEP: Duration = Duration::from_millis(2);

/// `root` and all its descendants, parents before children.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").expect("/proc is there").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) =
            std::fs::read_to_string(entry.path().join("stat")).ok().and_then(|s| parent_in(&s))
        {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = VecDeque::from([root]);
    while let Some(pid) = open.pop_front() {
        found.push(pid);
        open.extend(children.remove(&pid).unwrap_or_default());
    }
    found
}

/// Sends `signal` ("TERM", "STOP") to each of `pids`; those that are gone do not matter.
pub(crate) fn signal(signal: &str, pids: &[u32]) {
    Command::new("sh")
        .args(["-c", r#"for pid in "$@"; do kill -s "$0" "$pid"; done"#, signal])
        .args(pids.iter().map(u32::to_string))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("sh starts");
}

/// Kills `root` and everything below it, and returns when all of it is dead: a killed process closes its sockets
/// only when its memory is torn down, which takes a while for a big one. Stopped first, so that nothing forks while
/// the list is made.
pub(crate) fn kill_tree(root: u32) {
    signal("STOP", &tree(root));
    let killed = tree(root);
    signal("KILL", &killed);
    let deadline = Instant::now() + DEATH_TIMEOUT;
    while killed.iter().any(|pid| is_alive(*pid)) && Instant::now() < deadline {
        std::thread::sleep(DEATH_STEP);
    }
}

/// Whether anything of `pid` is left. A zombie is dead, and ours to be waited for; but one with threads is only
/// dying, and holds its sockets until the last thread is gone.
fn is_alive(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    threads > 1 || stat.is_ok_and(|stat| state_in(&stat) != Some("Z"))
}

/// The parent in a line of `/proc/PID/stat`; the name before it is in brackets and may hold anything.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

/// The state letter in such a line.
fn state_in(stat: &str) -> Option<&str> {
    stat.rsplit_once(')')?.1.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_read_past_any_name() {
        assert_eq!(parent_in("77 (a b) c) S 42 77 77 0"), Some(42));
        assert_eq!(parent_in("77 (sh) R 1 77 77 0"), Some(1));
        assert_eq!(parent_in("nonsense"), None);
        assert_eq!(state_in("77 (a b) c) Z 42 77 77 0"), Some("Z"));
    }

    #[test]
    fn a_tree_begins_at_its_root_and_holds_the_children() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let me = std::process::id();
        let found = tree(me);
        assert_eq!(found.first(), Some(&me));
        assert!(found.contains(&child.id()));
        kill_tree(child.id());
        assert!(!child.wait().unwrap().success());
    }
}
