//! A replica stands still past the deadline of its claims, and goes on: a zombie must neither send nor overwrite.

use std::time::Duration;

use fastrand::Rng;

use super::span;
use crate::site::{CLAIM_TTL, Site};

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    let Some(victim) = site.fleet.any(rng) else { return };
    victim.pause();
    std::thread::sleep(CLAIM_TTL + Duration::from_secs(1));
    span(rng, 0..3_000);
    victim.resume();
}
