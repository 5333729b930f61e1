//! The ESP takes the message and resets the connection instead of answering.

use fastrand::Rng;
use sluice_testkit::peers::SendGridAnswer;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.esp.answer_all(Some(SendGridAnswer::CutAfter));
    span(rng, 100..1_500);
    site.esp.answer_all(None);
}
