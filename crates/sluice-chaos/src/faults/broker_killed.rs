//! RabbitMQ is killed and started again.

use fastrand::Rng;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.servers.broker.kill9();
    span(rng, 0..2_000);
    site.servers.broker.restart();
}
