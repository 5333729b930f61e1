//! Nothing passes either way for a while, and no connection ends; then all of it arrives, or is cut.

use fastrand::Rng;

use super::{any_line, span};
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    let line = any_line(site, rng);
    line.black_hole(true);
    span(rng, 500..9_000);
    if rng.bool() {
        line.cut();
    }
    line.black_hole(false);
}
