//! A replica is killed, and another started in its place.

use fastrand::Rng;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    let Some(victim) = site.fleet.any(rng) else { return };
    site.fleet.kill(&victim);
    span(rng, 0..1_500);
    site.fleet.start();
}
