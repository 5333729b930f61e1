//! Every connection of a line is cut, some times in a row.

use fastrand::Rng;

use super::{any_line, span};
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    let line = any_line(site, rng);
    for _ in 0..rng.u32(1..5) {
        line.cut();
        span(rng, 10..600);
    }
}
