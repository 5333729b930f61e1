//! A replica is told to stop and replaced, as in a rolling restart.

use fastrand::Rng;

use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.fleet.start();
    let Some(one) = site.fleet.any(rng) else { return };
    site.fleet.drain(&one);
}
