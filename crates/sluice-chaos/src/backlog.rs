//! A lane with a long queue before any replica is there: what does one need, and does it work?

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::load::Load;
use crate::publisher::Publisher;
use crate::site::{Servers, Site};

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Backlog {
    /// Jobs in the lanes before the replica came.
    pub queued: usize,
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
        let site = Arc::new(Site::new(&its));
        // The first replica declares the topology.
        site.fleet.start_ready(1);
        site.fleet.end();
        site
    });
    let site = made.await.expect("servers start");
    let begin = Instant::now();
    let publisher = Publisher {
        url: site.amqp_url.clone(),
        load: Load { seed: 1, count, malformed_permille: 0 },
        rate: f64::MAX,
        patience: Duration::from_secs(1800),
        fleet: Arc::clone(&site.fleet),
    };
    let told = publisher.run().await;
    let published_s = begin.elapsed().as_secs_f64();
    let its = Arc::clone(&site);
    tokio::task::spawn_blocking(move || its.fleet.start_ready(1)).await.expect("a replica starts");
    tokio::time::sleep(watch).await;
    Backlog {
        queued: told.acknowledged.iter().filter(|it| **it).count(),
        published_s,
        watched_s: watch.as_secs(),
        calls: site.esp.calls(),
        peak_mib: site.fleet.peak_mib(),
    }
}
