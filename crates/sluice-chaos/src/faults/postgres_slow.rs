//! A slow disk: each statement and its answer take their time.

use std::time::Duration;

use fastrand::Rng;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.to_database.delay(Duration::from_millis(rng.u64(20..400)));
    span(rng, 2_000..6_000);
    site.to_database.delay(Duration::ZERO);
}
