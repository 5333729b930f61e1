//! The ESP answers 500 to everything.

use fastrand::Rng;
use sluice_testkit::peers::SendGridAnswer;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.esp.answer_all(Some(SendGridAnswer::Status(500)));
    span(rng, 500..4_000);
    site.esp.answer_all(None);
}
