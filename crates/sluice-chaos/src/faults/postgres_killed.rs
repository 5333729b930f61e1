//! Postgres and all its backends are killed and started again: a crash.

use fastrand::Rng;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.servers.database.kill9();
    span(rng, 0..2_000);
    site.servers.database.restart();
}
