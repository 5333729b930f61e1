//! Postgres stands still with its connections open.

use fastrand::Rng;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.servers.database.pause();
    span(rng, 500..8_000);
    site.servers.database.resume();
}
