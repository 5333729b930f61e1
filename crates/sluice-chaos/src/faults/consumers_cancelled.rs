//! The broker closes the connections of consumers, as an operator may order; what they held is delivered again.

use fastrand::Rng;

use crate::site::Site;

pub(super) fn strike(site: &Site, _rng: &mut Rng) {
    let vhost = site.vhost();
    site.servers.broker.rabbitmqctl(&["close_all_connections", "--vhost", vhost, "chaos"]);
}
