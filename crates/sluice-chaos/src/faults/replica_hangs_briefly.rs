//! A replica stands still for less than its claims last.

use fastrand::Rng;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    let Some(victim) = site.fleet.any(rng) else { return };
    victim.pause();
    span(rng, 100..4_000);
    victim.resume();
}
