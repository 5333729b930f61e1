//! An empty lane's queue is deleted under its consumers, which cancels them.

use fastrand::Rng;

use crate::site::Site;

/// Only an empty queue, and one that nobody publishes to: what an operator deletes with messages in it is the operator's.
const QUEUE: &str = "sluice.lane.tls.bulk.microsoft";

pub(super) fn strike(site: &Site, _rng: &mut Rng) {
    // Another strike can come before it is there again, while every replica is away.
    if !site.servers.broker.queue_depths(site.vhost()).contains_key(QUEUE) {
        return;
    }
    site.servers.broker.delete_queue(site.vhost(), QUEUE);
    std::thread::sleep(std::time::Duration::from_secs(2));
}
