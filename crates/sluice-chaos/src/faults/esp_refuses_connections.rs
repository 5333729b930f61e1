//! Nobody listens at the ESP.

use fastrand::Rng;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.to_esp.refuse(true);
    site.to_esp.cut();
    span(rng, 500..4_000);
    site.to_esp.refuse(false);
}
