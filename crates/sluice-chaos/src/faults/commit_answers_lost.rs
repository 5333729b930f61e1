//! Statements arrive and are committed, and the answers are lost with the connections.

use fastrand::Rng;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    for _ in 0..rng.u32(1..5) {
        site.to_database.lose_answers(true);
        span(rng, 20..300);
        site.to_database.cut();
        site.to_database.lose_answers(false);
        span(rng, 100..800);
    }
}
