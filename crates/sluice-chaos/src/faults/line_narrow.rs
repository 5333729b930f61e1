//! A narrow line.

use fastrand::Rng;

use super::{any_line, span};
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    let line = any_line(site, rng);
    line.narrow(rng.u32(10_000..200_000));
    span(rng, 1_000..5_000);
    line.narrow(0);
}
