//! The ESP redirects every call.

use fastrand::Rng;
use sluice_testkit::peers::SendGridAnswer;

use super::span;
use crate::site::Site;

pub(super) fn strike(site: &Site, rng: &mut Rng) {
    site.esp.answer_all(Some(SendGridAnswer::Redirect));
    span(rng, 500..3_000);
    site.esp.answer_all(None);
}
