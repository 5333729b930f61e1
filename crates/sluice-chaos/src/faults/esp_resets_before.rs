//! The ESP resets connections at the head of a request, before the body.

use fastrand::Rng;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.esp.cut_at_head(true);
    span(rng, 200..2_000);
    site.esp.cut_at_head(false);
}
