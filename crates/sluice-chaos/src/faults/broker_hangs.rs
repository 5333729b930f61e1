//! RabbitMQ stands still with its connections open, for longer than a heartbeat now and then.

use fastrand::Rng;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.servers.broker.pause();
    span(rng, 500..9_000);
    site.servers.broker.resume();
}
