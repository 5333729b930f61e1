//! The ESP refuses, with JSON that breaks off.

use fastrand::Rng;
use sluice_testkit::peers::SendGridAnswer;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.esp.answer_all(Some(SendGridAnswer::Garbage));
    span(rng, 100..1_000);
    site.esp.answer_all(None);
}
