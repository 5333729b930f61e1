//! The ESP takes the message and breaks off in the middle of its answer.

use fastrand::Rng;
use sluice_testkit::peers::SendGridAnswer;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.esp.answer_all(Some(SendGridAnswer::HalfAnswer));
    span(rng, 100..1_500);
    site.esp.answer_all(None);
}
