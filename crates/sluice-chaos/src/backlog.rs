//! A lane with a long queue before any replica is there: what does one need, and does it work?

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::judge::longest_lane;
use crate::load::Load;
use crate::publisher::Publisher;
use crate::site::{Servers, Site};

/// How long the broker's counts may lag behind.
const COUNTED: Duration = Duration::from_secs(6);

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Backlog {
    /// Jobs that were published before the replica came.
    pub queued: usize,
    /// Messages in the longest lane, as the broker counts them, before the replica came.
    pub longest_lane: u64,
    /// How long publishing took, in seconds.
    pub published_s: f64,
    /// How long the replica was watched, in seconds.
    pub watched_s: u64,
    /// Calls that the ESP saw in that time.
    pub calls: usize,
    /// The most memory that the replica has had resident, in MiB.
    pub peak_mib: u64,
}

/// Queues `count` jobs, starts one replica and watches it for `watch`.
///
/// # Panics
/// If servers or the replica cannot be started.
pub async fn backlog(servers: &Arc<Servers>, count: usize, watch: Duration) -> Backlog {
    let its = Arc::clone(servers);
    let made = tokio::task::spawn_blocking(move || {
        let site = Arc::new(Site::new(&its, None, 0));
        // The first replica declares the topology.
        site.fleet.start_ready(1);
        site.fleet.end();
        site
    });
    let site = made.await.expect("servers start");
    let begin = Instant::now();
    let publisher = Publisher {
        url: site.amqp_url.clone(),
        load: Load { seed: 1, count, malformed_permille: 0, one_lane: true },
        rate: f64::MAX,
        patience: Duration::from_secs(1800),
        fleet: Arc::clone(&site.fleet),
    };
    let told = publisher.run().await;
    let published_s = begin.elapsed().as_secs_f64();
    let its = Arc::clone(&site);
    let started = tokio::task::spawn_blocking(move || {
        // The broker counts what is ready a moment after it has confirmed it.
        std::thread::sleep(COUNTED);
        let longest_lane = longest_lane(&its);
        its.fleet.start_ready(1);
        longest_lane
    });
    let longest_lane = started.await.expect("a replica starts");
    tokio::time::sleep(watch).await;
    Backlog {
        queued: told.acknowledged.iter().filter(|it| **it).count(),
        longest_lane,
        published_s,
        watched_s: watch.as_secs(),
        calls: site.esp.calls(),
        peak_mib: site.fleet.peak_mib(),
    }
}

/// A Markdown table, one row a backlog.
#[must_use]
pub fn backlog_table(backlogs: &[Backlog]) -> String {
    let mut text = String::from(
        "| jobs queued | in the longest lane | published in s | watched for s | calls in that time | replica's peak MiB |\n\
         |--:|--:|--:|--:|--:|--:|\n",
    );
    for it in backlogs {
        let Backlog { queued, longest_lane, published_s, watched_s, calls, peak_mib } = it;
        let line = format!(
            "| {queued} | {longest_lane} | {published_s:.0} | {watched_s} | {calls} | {peak_mib} |\n"
        );
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_a_row() {
        let one =
            Backlog { queued: 10, longest_lane: 9, published_s: 1.6, watched_s: 60, calls: 7, peak_mib: 40 };
        assert_eq!(backlog_table(&[one]).lines().nth(2), Some("| 10 | 9 | 2 | 60 | 7 | 40 |"));
    }
}
