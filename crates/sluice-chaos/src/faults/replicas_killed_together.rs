//! All replicas are killed at the same moment, and as many started.

use fastrand::Rng;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    let mut killed = 0;
    while let Some(victim) = site.fleet.any(rng) {
        site.fleet.kill(&victim);
        killed += 1;
    }
    span(rng, 0..1_000);
    for _ in 0..killed {
        site.fleet.start();
    }
}
