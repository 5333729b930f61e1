//! A long line: each byte arrives later.

use std::time::Duration;

use fastrand::Rng;

use super::{any_line, span};
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    let line = any_line(site, rng);
    line.delay(Duration::from_millis(rng.u64(20..500)));
    span(rng, 1_000..5_000);
    line.delay(Duration::ZERO);
}
