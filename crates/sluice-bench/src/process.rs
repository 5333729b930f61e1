//! What a process used so far, read from `/proc`.

use std::time::Duration;

use anyhow::Context;

/// `USER_HZ`, in which `/proc/PID/stat` counts: 100 on every Linux that this runs on (proc(5)).
const TICKS_PER_SECOND: u64 = 100;

/// CPU time of a process, user and system, all threads.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("the worker has ended")?;
    ticks_in(&stat, 2).with_context(|| format!("cannot read /proc/{pid}/stat"))
}

/// CPU time of several processes.
pub(crate) fn cpu_of(pids: &[u32]) -> anyhow::Result<Duration> {
    pids.iter().map(|pid| cpu(*pid)).sum()
}

/// CPU time of a server with children that come and go: of what runs, and of what they have waited for.
pub(crate) fn cpu_of_server(pids: &[u32]) -> Duration {
    let stats = pids.iter().filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    stats.filter_map(|stat| ticks_in(&stat, 4)).sum()
}

/// The most memory a process ever had resident, in MiB.
pub(crate) fn peak_rss_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("the worker has ended")?;
    peak_in(&status).with_context(|| format!("cannot read /proc/{pid}/status"))
}

/// The sum of the first `count` fields from 14 on, which are user and system time, of the process and then of children
/// that it has waited for; the name in brackets before them may hold anything.
fn ticks_in(stat: &str, count: usize) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().skip(11).take(count).collect();
    let ticks: Option<u64> = fields.iter().map(|field| field.parse::<u64>().ok()).sum();
    (fields.len() == count).then_some(Duration::from_millis(ticks? * 1_000 / TICKS_PER_SECOND))
}

fn peak_in(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_memory_are_read() {
        let stat = "77 (a b) c) S 1 77 77 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 4 0 100";
        assert_eq!(ticks_in(stat, 2), Some(Duration::from_secs(2)));
        assert_eq!(ticks_in(stat, 4), Some(Duration::from_millis(2_180)));
        assert_eq!(ticks_in("77 (x) S 1", 2), None);
        assert_eq!(peak_in("Name:\tx\nVmHWM:\t    2048 kB\n"), Some(2.0));
        assert_eq!(peak_in("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        let me = std::process::id();
        assert!(peak_rss_mib(me).unwrap() > 0.5);
        cpu(me).unwrap();
    }
}
