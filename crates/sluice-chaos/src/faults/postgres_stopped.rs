//! Postgres is stopped at once (immediate shutdown) and started again.

use fastrand::Rng;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.servers.database.stop_immediate();
    span(rng, 0..4_000);
    site.servers.database.restart();
}
